// SPDX-License-Identifier: MIT
// Capabilities that work: copies, moves, badges, the derivation tree, and the ends of objects.
#include "tests/native/ktest.hpp"

namespace ktest {
namespace {

// A call with its second result (rsi).
i64 call_two(u64 number, Slot s, u64& second) {
    i64 result;
    u64 a = s, b = 0;
    asm volatile("syscall" : "=a"(result), "+D"(a), "+S"(b) : "a"(number) : "rcx", "r11", "memory");
    second = b;
    return result;
}

void wait_at(u64 endpoint) {
    Message m;
    (void)receive(endpoint, m);
}

}  // namespace

KTEST(identify_tells_type_and_rights, identify_exists) {
    for (Type t : {kTypePool, kTypeSpace, kTypeThread, kTypeEndpoint, kTypeReply, kTypeNotification, kTypeMemory,
                   kTypeIrq, kTypeSched, kTypeSystem}) {
        Slot s = any_object(t);
        KCHECK(kind_of(s) == (u64{t} | u64{kAllRights} << 8));
        KCHECK(kind_of(derive(s, kReadRight)) == (u64{t} | u64{kReadRight} << 8));
        KCHECK(kind_of(derive(s, 0)) == u64{t});
    }
    KREFUSED(kBadF, raw_call(kIdentify, slot()));
}
KTEST(pool_info_tells_use_and_quota, none) {
    Slot p = make(kTypePool, 3 * kPage);
    u64 quota = 0;
    KCHECK(call_two(kPoolInfo, p, quota) == 0 && quota == 3 * kPage);
    KDONE(raw_call(kCreate, p, kTypeMemory, slot(), kPage));
    KCHECK(call_two(kPoolInfo, p, quota) > i64(kPage) && quota == 3 * kPage);
    KCHECK(call_two(kPoolInfo, derive(p, 0), quota) > 0);
}
KTEST(copy_into_another_space, none) {
    Slot space = make(kTypeSpace, 16), e = make(kTypeEndpoint);
    KDONE(raw_call(kCopy, e, 5, kSendRight, 9, space));
    KREFUSED(kExist, raw_call(kCopy, e, 5, kSendRight, 9, space));
    // The slot in the other space is in use; revoking the original empties it.
    KDONE(raw_call(kRevoke, e));
    KDONE(raw_call(kCopy, e, 5, kSendRight, 9, space));
}
KTEST(move_keeps_rights_and_badge, none) {
    Slot e = make(kTypeEndpoint), less = derive(e, kSendRight, 3), to = slot();
    KDONE(raw_call(kMove, less, to));
    KCHECK(empty(less) && kind_of(to) == (u64{kTypeEndpoint} | u64{kSendRight} << 8));
    KREFUSED(kPerm, raw_call(kCopy, to, slot(), kSendRight, 4));
}
KTEST(move_into_another_space, none) {
    Slot space = make(kTypeSpace, 16), e = make(kTypeEndpoint), copy = derive(e, kAllRights);
    KDONE(raw_call(kMove, copy, 5, space));
    KCHECK(empty(copy));
    KREFUSED(kExist, raw_call(kCopy, e, 5, kAllRights, 0, space));
    KDONE(raw_call(kRevoke, e));
    KDONE(raw_call(kCopy, e, 5, kAllRights, 0, space));
}

// --- Derivation

KTEST(revoke_takes_children, none) {
    Slot e = make(kTypeEndpoint), a = derive(e, kAllRights), b = derive(e, kSendRight);
    KDONE(raw_call(kRevoke, e));
    KCHECK(empty(a) && empty(b) && !empty(e));
}
KTEST(revoke_takes_grandchildren, revoke_reaches_all) {
    Slot e = make(kTypeEndpoint), a = derive(e, kAllRights), b = derive(a, kAllRights), c = derive(b, kAllRights);
    KDONE(raw_call(kRevoke, e));
    KCHECK(empty(a) && empty(b) && empty(c) && !empty(e));
}
KTEST(revoke_spares_what_is_not_below, none) {
    Slot e = make(kTypeEndpoint), a = derive(e, kAllRights), b = derive(e, kAllRights), c = derive(a, kAllRights);
    KDONE(raw_call(kRevoke, a));
    KCHECK(!empty(a) && !empty(b) && empty(c));
}
KTEST(revoke_follows_moves, revoke_reaches_all) {
    Slot e = make(kTypeEndpoint), a = derive(e, kAllRights), b = derive(a, kAllRights), to = slot(), below = slot();
    KDONE(raw_call(kMove, a, to));
    KDONE(raw_call(kMove, b, below));
    KDONE(raw_call(kRevoke, e));
    KCHECK(empty(to) && empty(below));
}
KTEST(revoke_across_spaces, revoke_reaches_all) {
    Slot one = make(kTypeSpace, 16), e = make(kTypeEndpoint), a = derive(e, kAllRights);
    KDONE(raw_call(kCopy, a, 3, kAllRights, 0, one));
    KDONE(raw_call(kCopy, a, 4, kAllRights, 0, one));
    KDONE(raw_call(kRevoke, e));
    KDONE(raw_call(kCopy, e, 3, kAllRights, 0, one));
    KDONE(raw_call(kCopy, e, 4, kAllRights, 0, one));
}
KTEST(revoke_many_children, none) {
    Slot e = make(kTypeEndpoint);
    Slot first = slot(), last = first;
    KDONE(raw_call(kCopy, e, first, kAllRights));
    for (u64 i = 0; i < 400; ++i) {
        last = derive(e, kAllRights);
        KCHECK(!failed());
    }
    KDONE(raw_call(kRevoke, e));
    for (Slot s = first; s <= last; ++s) KCHECK(empty(s));
    KCHECK(!empty(e));
}
KTEST(revoke_a_long_chain, revoke_reaches_all) {
    Slot e = make(kTypeEndpoint), first = derive(e, kAllRights), last = first;
    for (u64 i = 0; i < 400; ++i) last = derive(last, kAllRights);
    KCHECK(!failed());
    KDONE(raw_call(kRevoke, e));
    for (Slot s = first; s <= last; ++s) KCHECK(empty(s));
}
KTEST(delete_leaves_children_to_the_parent, none) {
    Slot e = make(kTypeEndpoint), a = derive(e, kAllRights), b = derive(a, kAllRights);
    KDONE(raw_call(kDelete, a));
    KCHECK(empty(a) && !empty(b));
    KDONE(raw_call(kRevoke, e));
    KCHECK(empty(b));
}
KTEST(delete_the_first_keeps_the_object, none) {
    Slot e = make(kTypeEndpoint), a = derive(e, kAllRights);
    Helper& h = start(wait_at, a);
    KCHECK(until_state(h, kStateReceiving));
    KDONE(raw_call(kDelete, e));
    KCHECK(state_of(h.thread) == kStateReceiving);
    KDONE(raw_call(kSend | kNonBlocking, a));
    KCHECK(until_done(h));
}
KTEST(revoke_a_pool_ends_what_was_made_of_it, none) {
    Slot p = make(kTypePool, 64 * kPage);
    u64 before = used_of(p);
    Slot e = slot(), n = slot(), t = slot(), m = slot();
    KDONE(raw_call(kCreate, p, kTypeEndpoint, e));
    KDONE(raw_call(kCreate, p, kTypeNotification, n));
    KDONE(raw_call(kCreate, p, kTypeThread, t));
    KDONE(raw_call(kCreate, p, kTypeMemory, m, kPage));
    Slot copy = derive(e, kSendRight);
    KDONE(raw_call(kRevoke, p));
    KCHECK(empty(e) && empty(n) && empty(t) && empty(m) && empty(copy));
    KCHECK(until([&] { return used_of(p) == before; }));
}
KTEST(delete_a_pool_keeps_what_was_made_of_it, none) {
    Slot p = make(kTypePool, 64 * kPage), m = slot();
    KDONE(raw_call(kCreate, p, kTypeMemory, m, kPage));
    KDONE(raw_call(kDelete, p));
    KDONE(raw_call(kMap, kSlotSpace, m, kAreaStart, 0, kPage, kReadRight | kWriteRight));
    *reinterpret_cast<volatile u64*>(kAreaStart) = 1;
}
KTEST(delete_a_space_takes_its_capabilities, none) {
    Slot space = make(kTypeSpace, 16), e = make(kTypeEndpoint), n = make(kTypeNotification);
    Slot waits = derive(e, kAllRights);
    Helper& h = start(wait_at, waits);
    KCHECK(until_state(h, kStateReceiving));
    // The space gets the only remaining capability.
    KDONE(raw_call(kCopy, n, 6, kAllRights, 0, space));
    KDONE(raw_call(kMove, e, 5, space));
    KDONE(raw_call(kDelete, waits));
    KCHECK(state_of(h.thread) == kStateReceiving);
    KDONE(raw_call(kDelete, space));
    KCHECK(until_done(h));
    KCHECK(!empty(n));
}

// --- Ends: waiters are notified

namespace {
std::atomic<i64> told;
void tell_receive(u64 s) {
    Message m;
    told = code(receive(s, m));
}
void tell_send(u64 s) { told = code(send(s, message(1))); }
void tell_call(u64 s) {
    Message m = message(1);
    told = code(call(s, m));
}
void ends_wait(void (*body)(u64), Type type, ThreadState waiting, u64 cpu) {
    told = 1;
    Slot s = make(type);
    Helper& h = start(body, s, {.cpu = cpu});
    KCHECK(until_state(h, waiting));
    KDONE(raw_call(kDelete, s));
    KCHECK(until_done(h));
    KCHECK(told == -i64(Errno::kIdRm));
}
}  // namespace

KTEST_CPUS(deleted_endpoint_tells_receivers, none) { ends_wait(tell_receive, kTypeEndpoint, kStateReceiving, cpu); }
KTEST_CPUS(deleted_endpoint_tells_senders, none) { ends_wait(tell_send, kTypeEndpoint, kStateSending, cpu); }
KTEST_CPUS(deleted_endpoint_tells_callers, none) { ends_wait(tell_call, kTypeEndpoint, kStateSending, cpu); }
KTEST_CPUS(deleted_notification_tells_waiters, none) { ends_wait(tell_receive, kTypeNotification, kStateWaiting, cpu); }
KTEST_CPUS(revoked_endpoint_is_gone_for_senders, cap_exists) {
    Slot e = make(kTypeEndpoint), copy = derive(e, kSendRight);
    told = 1;
    Helper& h = start(tell_send, copy, {.cpu = cpu});
    KCHECK(until_state(h, kStateSending));
    KDONE(raw_call(kRevoke, e));
    // A message that is already queued is still delivered: the endpoint exists.
    Message m;
    KDONE(code(receive_soon(e, m)));
    KCHECK(until_done(h) && told == 0);
    KREFUSED(kBadF, raw_call(kSend | kNonBlocking, copy));
}
KTEST_CPUS(deleted_server_tells_its_caller, none) {
    Slot e = make(kTypeEndpoint);
    told = 1;
    Helper& server = start(wait_at, e, {.cpu = cpu});
    KCHECK(until_state(server, kStateReceiving));
    Helper& caller = start(tell_call, e);
    // The server has received the call and finished without a reply.
    KCHECK(until_done(server));
    KCHECK(until_state(caller, kStateAwaitingReply));
    KDONE(raw_call(kDelete, server.thread));
    KCHECK(until_done(caller));
    KCHECK(told == -i64(Errno::kIdRm));
}
KTEST_CPUS(deleted_reply_tells_the_caller, none) {
    Slot e = make(kTypeEndpoint), r = make(kTypeReply);
    told = 1;
    Helper& caller = start(tell_call, e, {.cpu = cpu});
    Message m;
    KDONE(code(receive_soon(e, m)));
    KDONE(raw_call(kReplySave, r));
    KDONE(raw_call(kDelete, r));
    KCHECK(until_done(caller));
    KCHECK(told == -i64(Errno::kIdRm));
}
KTEST_CPUS(deleted_thread_stops, none) {
    static std::atomic<u64> turns;
    static auto count = [](u64) {
        for (;;) turns = turns + 1;
    };
    turns = 0;
    Helper& h = start(+count, 0, {.priority = 3, .cpu = cpu});
    KCHECK(until([] { return turns != 0; }));
    KDONE(raw_call(kDelete, h.thread));
    u64 then = turns;
    sleep(2 * kMillisecond);
    KCHECK(turns == then);
}
KTEST_CPUS(deleted_thread_leaves_its_queue, none) {
    Slot e = make(kTypeEndpoint);
    Helper& first = start(tell_send, e, {.cpu = cpu});
    KCHECK(until_state(first, kStateSending));
    KDONE(raw_call(kDelete, first.thread));
    utcb().timeout = 0;
    KREFUSED(kAgain, raw_call(kReceive | kNonBlocking, e));
    Helper& second = start(tell_receive, e, {.cpu = cpu});
    KCHECK(until_state(second, kStateReceiving));
    KDONE(raw_call(kDelete, second.thread));
    KREFUSED(kAgain, raw_call(kSend | kNonBlocking, e));
}
KTEST(deleted_memory_is_unmapped, none) {
    Slot m = make(kTypeMemory, kPage);
    KDONE(raw_call(kMap, kSlotSpace, m, kAreaStart, 0, kPage, kReadRight | kWriteRight));
    KDONE(raw_call(kWrite, kSlotSystem, kAreaStart, 0));
    KDONE(raw_call(kDelete, m));
    KREFUSED(kFault, raw_call(kWrite, kSlotSystem, kAreaStart, 1));
}
KTEST(deleted_sched_keeps_its_threads, none) {
    Slot s = make(kTypeSched, 20), e = make(kTypeEndpoint);
    Helper& h = start(wait_at, e, {.sched = s});
    KCHECK(until_state(h, kStateReceiving));
    KDONE(raw_call(kDelete, s));
    KDONE(raw_call(kSend | kNonBlocking, e));
    KCHECK(until_done(h));
}
KTEST(deleted_space_stops_its_threads, none) {
    Slot space = other_space(), e = make(kTypeEndpoint);
    give(space, e);
    Helper& h = start(wait_at, e, {.space = space});
    KCHECK(until_state(h, kStateReceiving));
    KDONE(raw_call(kDelete, space));
    // Its thread has no code any more and no handler: it stops.
    KDONE(raw_call(kSend | kNonBlocking, e));
    KCHECK(until_stopped(h));
}
KTEST(delete_takes_what_is_busy, none) {
    // The end of an object while other CPUs use it.
    Slot e = make(kTypeEndpoint);
    for (u64 i = 0; i < 8; ++i) (void)start(tell_receive, e, {.cpu = i & 1 ? far_cpu() : 0});
    sleep(2 * kMillisecond);
    KDONE(raw_call(kDelete, e));
}

}  // namespace ktest
