// SPDX-License-Identifier: MIT
// Negative authority: programs in a space of their own, with exactly the capabilities that a test gives them, try what
// these do not allow. Each attempt is refused with the documented error, and it charges, maps and changes nothing.
#include "tests/native/ktest.hpp"

namespace ktest {
namespace {

struct Attempt {
    u64 number;
    u64 argument[6];
    Errno refused_with;
    u64 line;
};
// The confined program's attempts and their results, in the program's data, which its space shares.
struct {
    Attempt attempts[64];
    u64 count;
    i64 got[64];
} tried;

void try_all(u64) {
    for (u64 i = 0; i < tried.count; ++i) {
        const Attempt& a = tried.attempts[i];
        tried.got[i] = raw_call(a.number, a.argument[0], a.argument[1], a.argument[2], a.argument[3], a.argument[4],
                                a.argument[5]);
    }
}

// A confined program: its space contains only the capabilities that has() gives it, in the slots where this program has
// them.
struct Program {
    Slot space = other_space();
    void has(Slot s, u64 rights, u64 badge = 0) const { give(space, s, rights, badge); }
    // Runs the body in that space. False: it did not finish, or some charge is different afterwards.
    bool run(void (*body)(u64), Options o = {}) const {
        o.space = space;
        o.start = false;
        Helper& h = start(body, 0, o);
        const Charges before = charges();
        return resume(h.thread).ok() && until_done(h) && charges() == before;
    }
    // Checks that every attempt is refused with its error.
    template <u64 kCount>
    void is_refused(const Attempt (&list)[kCount], const Options& o = {}) const {
        static_assert(kCount <= sizeof tried.got / sizeof tried.got[0]);
        for (u64 i = 0; i < kCount; ++i) tried.attempts[i] = list[i];  // this thread's stack is not in that space
        tried.count = kCount;
        KCHECK(run(try_all, o));
        for (u64 i = 0; i < kCount; ++i)
            if (tried.got[i] != -i64(list[i].refused_with))
                return note_result("an attempt", tried.got[i], "the documented error", __FILE_NAME__,
                                   int(list[i].line));
    }
};
#define TRY_TO(NUMBER, ERROR, ...) \
    Attempt { NUMBER, {__VA_ARGS__}, Errno::ERROR, __LINE__ }

constexpr Slot kNothing = 40;  // an empty slot in all tests
constexpr u64 kWriteOnly = kWriteRight, kReadOnly = kReadRight;

}  // namespace

// --- Nothing at all

namespace {

struct {
    u64 wrong;  // number of a call that was not refused, + 1
    i64 got;
} sweep;

bool harmless(u64 number) {
    return number == kYield || number == kClock || number == kCpuCount || number == kAlarm;  // of its own thread
}

// Every call number with every argument that may name an object, without and with the flag.
void sweep_with_nothing(u64) {
    for (u64 number = 0; number < 256; ++number) {
        if (harmless(number)) continue;
        for (u64 flag : {u64{0}, kNonBlocking}) {
            for (u64 a : {u64{0}, u64{1}, u64{2}, u64{kSlotPool}, u64{kSlotSystem}, ~u64{0}}) {
                const i64 got = raw_call(number | flag, a, kTypeEndpoint, 50, 1, 1);
                if (got < 0) continue;
                sweep.wrong = number + 1;
                sweep.got = got;
                return;
            }
        }
    }
}

}  // namespace

KTEST(program_with_nothing_can_do_nothing, cap_exists) {
    Program p;
    sweep = {};
    KCHECK(p.run(sweep_with_nothing));
    KCHECK(sweep.wrong == 0 && kind_of(kSlotPool) != 0);
}

namespace {

struct {
    Slot at[16];
    u64 count;
} rightless;

// Calls that need no right: those on the program's own slots, and the statistics of a pool.
bool needs_no_right(u64 number) {
    return harmless(number) || number == kIdentify || number == kPoolInfo || number == kDelete || number == kRevoke ||
           number == kMove || number == kCopy || number == kSpaceStale;
}
void sweep_without_rights(u64) {
    for (u64 number = 0; number < 128; ++number) {
        if (needs_no_right(number)) continue;
        for (u64 i = 0; i < rightless.count; ++i) {
            for (u64 j = 0; j < rightless.count; ++j) {
                const i64 got = raw_call(number <= kReceive ? number | kNonBlocking : number, rightless.at[i],
                                         rightless.at[j], kAreaStart, 0, kPage, kReadRight);
                if (got < 0) continue;
                sweep.wrong = number + 1;
                sweep.got = got;
                return;
            }
        }
    }
}

}  // namespace

KTEST(program_without_rights_can_use_no_object, cap_right) {
    Program p;
    rightless.count = 0;
    for (Type t : {kTypePool, kTypeSpace, kTypeThread, kTypeEndpoint, kTypeReply, kTypeNotification, kTypeMemory,
                   kTypeIrq, kTypeSched, kTypeSystem}) {
        const Slot s = any_object(t);
        rightless.at[rightless.count++] = s;
        p.has(s, 0, t == kTypeIrq ? 7 : 0);
    }
    sweep = {};
    KCHECK(p.run(sweep_without_rights));
    KCHECK(sweep.wrong == 0);
}

// --- Grant and badge

namespace {

i64 handed[4];
Slot hand_to, hand_from;
void hands_over(u64) {
    Utcb& u = utcb();
    u.caps[0] = hand_from;
    u.cap_rights[0] = 0;
    Message m = message(1);
    m.tag = make_tag(1, 0, 1);
    u.timeout = 50 * kMillisecond;
    handed[0] = code(send(hand_to, m, kTimed));
    handed[1] = code(call(hand_to, m, kTimed));
    u.caps[0] = kNothing;
    handed[2] = code(send(hand_to, m, kTimed));
}

}  // namespace

KTEST(no_capability_goes_through_an_endpoint_without_grant, caps_need_grant) {
    Program p;
    hand_to = make(kTypeEndpoint);
    hand_from = make(kTypeNotification);
    p.has(hand_to, kSendRight | kReceiveRight);
    p.has(hand_from, kAllRights);
    KCHECK(p.run(hands_over));
    for (u64 i : {0, 1, 2}) KCHECK(handed[i] == -i64(Errno::kPerm));
}
KTEST(no_capability_is_granted_that_is_not_held, cap_to_send) {
    static auto hands_nothing = [](u64) {
        utcb().caps[0] = kNothing;
        utcb().timeout = 50 * kMillisecond;
        Message m = message(1);
        m.tag = make_tag(1, 0, 1);
        handed[0] = code(send(hand_to, m, kTimed));
    };
    Program p;
    hand_to = make(kTypeEndpoint);
    p.has(hand_to, kSendRight | kGrantRight);
    KCHECK(p.run(+hands_nothing));
    KCHECK(handed[0] == -i64(Errno::kBadF));
}
KTEST(what_arrives_has_no_more_rights_than_the_sender, none) {
    static auto hands_more = [](u64) {
        utcb().caps[0] = hand_from;
        utcb().cap_rights[0] = kAllRights;
        utcb().timeout = kPatience;
        Message m = message(1);
        m.tag = make_tag(1, 0, 1);
        handed[0] = code(send(hand_to, m, kTimed));
    };
    Program p;
    hand_to = make(kTypeEndpoint);
    hand_from = make(kTypeNotification);
    p.has(hand_to, kSendRight | kGrantRight);
    p.has(hand_from, kSendRight);
    Helper& h = start(+hands_more, 0, {.space = p.space});
    const Slot got = slot();
    utcb().receive[0] = got;
    Message m;
    KDONE(code(receive_soon(hand_to, m)));
    KCHECK(until_done(h) && handed[0] == 0 && m.caps() == 1);
    KCHECK(kind_of(got) == (kTypeNotification | u64{kSendRight} << 8));
}
KTEST(badge_cannot_be_changed, copy_keeps_badge) {
    Program p;
    const Slot e = make(kTypeEndpoint), line = derive(kSlotIrq, kAllRights, 8);
    p.has(e, kAllRights, 5);
    p.has(line, kAllRights);
    p.is_refused({TRY_TO(kCopy, kPerm, e, kNothing, kSendRight, 6, 0),
                  TRY_TO(kCopy, kPerm, e, kNothing, kSendRight, 5, 0),
                  TRY_TO(kCopy, kPerm, line, kNothing, kAllRights, 9, 0)});
    KCHECK(kind_of(e) != 0);
}

// --- Slots and tables

KTEST(tables_of_others_are_out_of_reach, cap_right) {
    Program p;
    const Slot mine = make(kTypeEndpoint), taken = make(kTypeEndpoint), other = make(kTypeSpace, 16);
    p.has(mine, kAllRights);
    p.has(taken, kSendRight);
    p.has(other, kAllRights & ~kWriteRight);
    p.is_refused({TRY_TO(kCopy, kPerm, mine, 5, kAllRights, 0, other), TRY_TO(kMove, kPerm, mine, 5, other),
                  TRY_TO(kCopy, kBadF, mine, 5, kAllRights, 0, kNothing), TRY_TO(kMove, kBadF, mine, 5, kNothing),
                  TRY_TO(kCopy, kInval, mine, 5, kAllRights, 0, mine), TRY_TO(kMove, kInval, mine, 5, taken)});
    KCHECK(kind_of(mine) != 0 && kind_of(taken) != 0);
}
KTEST(slots_stay_within_the_table, slot_in_range) {
    Program p;
    const Slot mine = make(kTypeEndpoint), taken = make(kTypeEndpoint), from = pool();
    p.has(mine, kSendRight);
    p.has(taken, kSendRight);
    p.has(from, kCreateRight);
    p.is_refused({TRY_TO(kCopy, kInval, mine, 0, kSendRight, 0, 0), TRY_TO(kMove, kInval, mine, 0, 0),
                  TRY_TO(kCopy, kInval, mine, kSpaceSlots, kSendRight, 0, 0), TRY_TO(kMove, kInval, mine, ~u64{0}, 0),
                  TRY_TO(kCopy, kExist, mine, taken, kSendRight, 0, 0), TRY_TO(kMove, kExist, mine, taken, 0),
                  TRY_TO(kCopy, kPerm, mine, kNothing, kAllRights, 0, 0),
                  TRY_TO(kCreate, kInval, from, kTypeEndpoint, 0, 0),
                  TRY_TO(kCreate, kInval, from, kTypeEndpoint, kSpaceSlots, 0),
                  TRY_TO(kCreate, kExist, from, kTypeEndpoint, taken, 0), TRY_TO(kDelete, kBadF, kNothing),
                  TRY_TO(kRevoke, kBadF, kNothing), TRY_TO(kIdentify, kBadF, kNothing),
                  TRY_TO(kDelete, kBadF, kSpaceSlots), TRY_TO(kRevoke, kBadF, ~u64{0})});
}
KTEST(a_derived_capability_is_revoked_in_every_space, none) {
    static Slot named;
    static i64 after;
    static auto uses = [](u64) {
        while (identify(named).ok()) yield();
        after = raw_call(kSignal, named, 1);
    };
    Program p;
    named = make(kTypeNotification);
    p.has(named, kSendRight);
    Helper& h = start(+uses, 0, {.space = p.space});
    sleep(kMillisecond);
    KDONE(code(revoke(named)));
    KCHECK(until_done(h) && after == -i64(Errno::kBadF));
}

// --- Memory and spaces

KTEST(memory_has_no_more_rights_than_its_capability, map_rights) {
    Program p;
    const Slot m = make(kTypeMemory, 2 * kPage), runs = make(kTypeMemory, kPage), none = make(kTypeMemory, kPage);
    const Slot space = make(kTypeSpace, 16);
    p.has(m, kReadRight);
    p.has(runs, kReadRight | kExecuteRight);
    p.has(none, kSendRight);
    p.has(space, kWriteRight);
    constexpr u64 kAt = kAreaStart, kX = kExecuteRight, kW = kWriteRight, kR = kReadRight;
    p.is_refused(
        {TRY_TO(kMap, kPerm, space, m, kAt, 0, kPage, kR | kW), TRY_TO(kMap, kPerm, space, m, kAt, 0, kPage, kX),
         TRY_TO(kMap, kPerm, space, runs, kAt, 0, kPage, kR | kW | kX),
         TRY_TO(kMap, kPerm, space, none, kAt, 0, kPage, kR), TRY_TO(kMap, kInval, space, m, kAt, kPage, 2 * kPage, kR),
         TRY_TO(kMap, kInval, space, m, kAt, 0, kPage, kR | 1u << 8),
         TRY_TO(kMap, kBadF, space, kNothing, kAt, 0, kPage, kR)});
    // The maximum rights of a mapping are fixed when it is made, even for a program with more rights.
    KDONE(raw_call(kMap, space, derive(m, kReadRight), kAt, 0, kPage, kR));
    p.is_refused({TRY_TO(kProtect, kPerm, space, kAt, kPage, kR | kW), TRY_TO(kProtect, kPerm, space, kAt, kPage, kX)});
    KREFUSED(kPerm, raw_call(kProtect, space, kAt, kPage, kR | kW));
}
KTEST(a_handler_maps_no_more_than_it_may, map_rights) {
    static Slot faults, gives;
    static i64 first, second;
    static auto handles = [](u64) {
        Message m;
        if (!receive_soon(faults, m).ok()) return;
        utcb().map = {gives, m.words[0] & ~(kPage - 1), 0, kPage, kReadRight | kWriteRight};
        first = code(reply(message(kResume | kReplyMaps)));
        utcb().map.rights = kReadRight;
        second = code(reply(message(kStop | kReplyMaps)));
    };
    static auto writes = [](u64) { *reinterpret_cast<volatile u64*>(kAreaStart) = 1; };
    Program p;
    faults = make(kTypeEndpoint);
    gives = make(kTypeMemory, kPage);
    p.has(faults, kReceiveRight);
    p.has(gives, kReadRight);
    first = second = 1;
    Helper& h = start(+handles, 0, {.space = p.space});
    Helper& client = start(+writes, 0, {.handler = faults});
    KCHECK(until_done(h) && until_stopped(client));
    KCHECK(first == -i64(Errno::kPerm) && second == 0);
}
KTEST(window_shows_no_more_of_a_memory_than_its_capability, window_rights) {
    static Slot space, reads;
    static i64 got[6];
    static auto reaches = [](u64) {
        auto one = [](u64 offset, u64 rights) {
            utcb().words[0] = kAreaStart;
            utcb().words[1] = offset | rights;
            return raw_call(kMapFrames, space, reads, 1);
        };
        got[0] = one(0, kReadRight | kWriteRight);
        got[1] = one(0, kExecuteRight);
        got[2] = one(2 * kPage, kReadRight);
        got[3] = one(~u64{0} & ~(kPage - 1), kReadRight);
        got[4] = one(kPage, kReadRight);
        utcb().words[1] = kAreaStart + kPage;
        got[5] = raw_call(kChangeFrames, space, 1, kReadRight | kWriteRight);
    };
    // Whether the window was made with all rights or with those of the program.
    for (const bool by_another : {false, true}) {
        Program p;
        const Slot m = make(kTypeMemory, 2 * kPage);
        reads = derive(m, kReadRight);
        space = make(kTypeSpace, 16);
        p.has(reads, kReadRight);
        p.has(space, kWriteRight);
        utcb().words[0] = kAreaStart + 4 * kPage;
        utcb().words[1] = kReadRight | kWriteRight;
        if (by_another) KDONE(raw_call(kMapFrames, space, m, 1));
        const Options o{.space = p.space};
        KCHECK(until_done(start(+reaches, 0, o)));
        for (u64 i : {0, 1, 5}) KCHECK(got[i] == -i64(Errno::kPerm));
        for (u64 i : {2, 3}) KCHECK(got[i] == -i64(Errno::kInval));
        KCHECK(got[4] == 0);
    }
}
KTEST(spaces_are_not_changed_without_write, cap_right) {
    Program p;
    const Slot m = make(kTypeMemory, kPage), space = make(kTypeSpace, 16), t = make(kTypeThread);
    p.has(m, kAllRights);
    p.has(t, kAllRights);
    p.has(space, kAllRights & ~kWriteRight);
    p.is_refused({TRY_TO(kMap, kPerm, space, m, kAreaStart, 0, kPage, kReadRight),
                  TRY_TO(kUnmap, kPerm, space, kAreaStart, kPage), TRY_TO(kProtect, kPerm, space, kAreaStart, kPage, 0),
                  TRY_TO(kMapFrames, kPerm, space, m, 1), TRY_TO(kChangeFrames, kPerm, space, 1, 0),
                  TRY_TO(kFreeTables, kPerm, space, 0, kPage, 0, kPage),
                  // Its own space is no exception: the program has no capability for it.
                  TRY_TO(kMap, kBadF, kNothing, m, kAreaStart, 0, kPage, kReadRight),
                  TRY_TO(kUnmap, kBadF, kSlotSpace, kAreaStart, kPage),
                  TRY_TO(kProtect, kBadF, kSlotSpace, kAreaStart, kPage, 0),
                  TRY_TO(kThreadConfigure, kPerm, t, space, 0, 0, 0)});
}

// --- Threads

KTEST(threads_are_not_ruled_without_write, cap_right) {
    Program p;
    const Slot t = make(kTypeThread), n = make(kTypeNotification);
    KDONE(code(configure(t, kSlotSpace, 0)));
    p.has(t, kReadOnly);
    p.has(n, kAllRights);
    p.has(kSlotSched, kAllRights);
    p.has(p.space, kAllRights);
    p.is_refused({TRY_TO(kThreadConfigure, kPerm, t, p.space, 0, 0, 0), TRY_TO(kThreadSetRegisters, kPerm, t),
                  TRY_TO(kThreadResume, kPerm, t), TRY_TO(kThreadSuspend, kPerm, t),
                  TRY_TO(kThreadSchedule, kPerm, t, kSlotSched, 1, 0), TRY_TO(kThreadBind, kPerm, t, n),
                  TRY_TO(kThreadFastpaths, kPerm, t, 0), TRY_TO(kThreadHandler, kPerm, t, 0, 0),
                  TRY_TO(kThreadSpace, kPerm, t, p.space), TRY_TO(kThreadKick, kPerm, t),
                  TRY_TO(kThreadSetFpu, kPerm, t, 0, 0)});
    KCHECK(state_of(t) == kStateInactive);
}
KTEST(threads_are_not_read_without_read, cap_right) {
    Program p;
    const Slot t = make(kTypeThread);
    p.has(t, kAllRights & ~kReadRight);
    p.is_refused({TRY_TO(kThreadGetRegisters, kPerm, t), TRY_TO(kThreadState, kPerm, t), TRY_TO(kThreadTimes, kPerm, t),
                  TRY_TO(kThreadGetFpu, kPerm, t, 0, 0)});
}

// --- Replies

KTEST(answers_are_given_with_the_reply_alone, cap_right) {
    static Slot saved, calls_to;
    static i64 answered;
    static auto calls = [](u64) {
        Message m = message(1, 5);
        answered = code(call(calls_to, m));
    };
    Program p;
    calls_to = make(kTypeEndpoint);
    saved = make(kTypeReply);
    const Slot busy = make(kTypeReply);
    answered = 1;
    Helper& h = start(+calls);
    Message m;
    KDONE(code(receive_soon(calls_to, m)));
    KDONE(code(reply_save(saved)));
    p.has(saved, kReceiveRight);
    p.has(busy, kSendRight);
    // The program's thread owes no reply, and may not reply for others.
    p.is_refused({TRY_TO(kReplyTo, kPerm, saved, 0), TRY_TO(kReplySave, kPerm, busy), TRY_TO(kReply, kBadF, 0, 0),
                  TRY_TO(kReplySave, kBadF, saved), TRY_TO(kReplyTo, kBadF, busy, 0),
                  TRY_TO(kReplyTo, kBadF, kNothing, 0), TRY_TO(kReplySave, kBadF, kNothing)});
    KCHECK(answered == 1);
    // A saved reply can be used once.
    KDONE(code(reply_to(saved, message(0))));
    KCHECK(until_done(h) && answered == 0);
    KREFUSED(kBadF, code(reply_to(saved, message(0))));
}

// --- CPU time

KTEST(priority_stays_below_the_scheds, sched_priority) {
    Program p;
    const Slot s = make(kTypeSched, 3), t = make(kTypeThread), from = pool();
    p.has(s, kAllRights);
    p.has(t, kAllRights);
    p.has(from, kCreateRight);
    p.is_refused(
        {TRY_TO(kThreadSchedule, kPerm, t, s, 4, 0), TRY_TO(kThreadSchedule, kPerm, t, s, kHighestPriority, 0),
         TRY_TO(kThreadSchedule, kPerm, t, s, ~u64{0}, 0), TRY_TO(kThreadSchedule, kInval, t, s, 3, 64),
         TRY_TO(kThreadSchedule, kInval, t, s, 3, ~u64{0}), TRY_TO(kThreadSchedule, kBadF, t, kSlotSched, 3, 0),
         TRY_TO(kSchedConfigure, kPerm, s, 1, 4, 0, 0), TRY_TO(kSchedConfigure, kInval, s, 0, 3, 0, 0),
         TRY_TO(kCreate, kPerm, from, kTypeSched, kNothing, 4)},
        {.priority = 3, .sched = s});
}
KTEST(priority_once_given_up_is_gone, sched_priority) {
    Program p;
    const Slot s = make(kTypeSched, 6);
    p.has(s, kAllRights);
    KDONE(raw_call(kSchedConfigure, s, 1, 4, 0, 0));
    p.is_refused({TRY_TO(kSchedConfigure, kPerm, s, 1, 5, 0, 0), TRY_TO(kSchedConfigure, kPerm, s, 1, 6, 0, 0)},
                 {.priority = 4, .sched = s});
}
KTEST(scheds_are_not_used_or_read_without_their_rights, cap_right) {
    Program p;
    const Slot s = make(kTypeSched, 3), blind = make(kTypeSched, 3), t = make(kTypeThread);
    p.has(s, kReadOnly);
    p.has(blind, kWriteOnly);
    p.has(t, kAllRights);
    p.is_refused({TRY_TO(kSchedConfigure, kPerm, s, 1, 3, 0, 0), TRY_TO(kThreadSchedule, kPerm, t, s, 1, 0),
                  TRY_TO(kSchedInfo, kPerm, blind), TRY_TO(kLockInfo, kPerm, blind)});
}

// --- Pools

KTEST(pools_give_no_more_than_their_quota, pool_quota) {
    Program p;
    constexpr u64 kQuota = 4 * kPage;
    const Slot small = make(kTypePool, kQuota);
    p.has(small, kAllRights);
    p.is_refused({TRY_TO(kCreate, kNoMem, small, kTypePool, kNothing, kQuota),
                  TRY_TO(kCreate, kNoMem, small, kTypePool, kNothing, (u64{1} << 48) - 1),
                  TRY_TO(kCreate, kNoMem, small, kTypeMemory, kNothing, kQuota),
                  TRY_TO(kCreate, kNoMem, small, kTypeMemory, kNothing, u64{1} << 40),
                  TRY_TO(kCreate, kNoMem, small, kTypeSpace, kNothing, 32768),
                  TRY_TO(kCreate, kInval, small, kTypePool, kNothing, 0),
                  TRY_TO(kCreate, kInval, small, kTypeMemory, kNothing, (u64{1} << 40) + kPage)});
    KCHECK(used_of(small) == 0);
}
KTEST(pools_make_nothing_without_create, cap_right) {
    Program p;
    const Slot from = make(kTypePool, 1 << 20);
    p.has(from, kAllRights & ~kCreateRight);
    p.is_refused({TRY_TO(kCreate, kPerm, from, kTypePool, kNothing, kPage),
                  TRY_TO(kCreate, kPerm, from, kTypeSpace, kNothing, 16),
                  TRY_TO(kCreate, kPerm, from, kTypeThread, kNothing, 0),
                  TRY_TO(kCreate, kPerm, from, kTypeEndpoint, kNothing, 0),
                  TRY_TO(kCreate, kPerm, from, kTypeReply, kNothing, 0),
                  TRY_TO(kCreate, kPerm, from, kTypeNotification, kNothing, 0),
                  TRY_TO(kCreate, kPerm, from, kTypeMemory, kNothing, kPage),
                  TRY_TO(kCreate, kPerm, from, kTypeSched, kNothing, 0)});
    KCHECK(used_of(from) == 0);
}
KTEST(machine_objects_are_not_made, create_type) {
    Program p;
    const Slot from = make(kTypePool, 1 << 20);
    p.has(from, kAllRights);
    p.is_refused({TRY_TO(kCreate, kInval, from, kTypeIrq, kNothing, 0),
                  TRY_TO(kCreate, kInval, from, kTypeSystem, kNothing, 0),
                  TRY_TO(kCreate, kInval, from, kTypeNone, kNothing, 0),
                  TRY_TO(kCreate, kInval, from, kTypeSystem + 1, kNothing, 0)});
}
// Derived capabilities are charged to the pool of the table that contains them.
KTEST(capabilities_are_charged_to_the_tables_pool, pool_quota) {
    static Slot copied, into;
    static i64 last;
    static u64 made;
    static auto copies = [](u64) {
        last = 0;
        for (made = 0; made < 400 && last == 0; ++made) last = raw_call(kCopy, copied, 1 + made, 0, 0, into);
    };
    Program p;
    const Slot small = make(kTypePool, 32 * kPage);
    copied = make(kTypeEndpoint);
    into = slot();
    KDONE(raw_call(kCreate, small, kTypeSpace, into, 512));
    const Slot rest = slot();
    KDONE(raw_call(kCreate, small, kTypePool, rest, 32 * kPage - used_of(small) - kPage));
    p.has(copied, kSendRight);
    p.has(into, kWriteRight);
    KCHECK(p.run(+copies));
    KCHECK(last == -i64(Errno::kNoMem) && made > 1 && made < 400);
}

// --- Interrupt lines, and the machine

KTEST(lines_are_not_bound_without_write, cap_right) {
    Program p;
    const Slot line = derive(kSlotIrq, kAllRights, 8), n = make(kTypeNotification), mute = make(kTypeNotification);
    p.has(line, kAllRights & ~kWriteRight);
    p.has(n, kAllRights);
    p.has(mute, kAllRights & ~kSendRight);
    const Slot other = derive(kSlotIrq, kAllRights, 9);
    p.has(other, kWriteRight);
    p.is_refused({TRY_TO(kIrqBind, kPerm, line, n, 1), TRY_TO(kIrqBind, kPerm, line, 0, 0),
                  TRY_TO(kIrqAck, kPerm, line), TRY_TO(kIrqBind, kPerm, other, mute, 1),
                  TRY_TO(kIrqBind, kBadF, kSlotIrq, n, 1), TRY_TO(kIrqAck, kInval, other)});
}
KTEST(a_line_does_not_name_another, irq_line) {
    Program p;
    const Slot all = derive(kSlotIrq, kAllRights), n = make(kTypeNotification);
    p.has(all, kAllRights);
    p.has(n, kAllRights);
    // A capability without a badge names no line, and neither does a badge beyond the last line.
    p.is_refused({TRY_TO(kIrqBind, kInval, all, n, 1), TRY_TO(kIrqAck, kInval, all),
                  TRY_TO(kCopy, kInval, all, kNothing, kAllRights, 25, 0),
                  TRY_TO(kCopy, kInval, all, kNothing, kAllRights, ~u64{0}, 0)});
}
KTEST(a_bound_line_is_not_taken_over, irq_bound) {
    Program p;
    const Slot line = derive(kSlotIrq, kAllRights, 8), mine = make(kTypeNotification), other = make(kTypeNotification);
    KDONE(raw_call(kIrqBind, line, mine, 1));
    p.has(line, kAllRights);
    p.has(other, kAllRights);
    p.is_refused({TRY_TO(kIrqBind, kBusy, line, other, 1)});
    KDONE(raw_call(kIrqBind, line, 0, 0));
}
KTEST(the_machine_is_not_reached_without_system, cap_right) {
    Program p;
    const Slot reads = derive(kSlotSystem, kAllRights & ~kWriteRight);
    p.has(reads, kReadOnly);
    p.is_refused({TRY_TO(kWrite, kPerm, reads, u64("x"), 1), TRY_TO(kShutDown, kPerm, reads, 3),
                  TRY_TO(kTraceControl, kPerm, reads, kTraceStart),
                  TRY_TO(kTraceControl, kPerm, reads, kTraceRead, 0, 0),
                  TRY_TO(kWrite, kBadF, kSlotSystem, u64("x"), 1), TRY_TO(kShutDown, kBadF, kSlotSystem, 3),
                  TRY_TO(kTraceControl, kBadF, kSlotSystem, kTraceStop)});
}
KTEST(the_machine_tells_nothing_without_read, cap_right) {
    Program p;
    const Slot writes = derive(kSlotSystem, kWriteRight), m = make(kTypeMemory, kPage), e = make(kTypeEndpoint),
               n = make(kTypeNotification);
    p.has(writes, kWriteRight);
    p.has(m, kAllRights);
    p.has(e, kAllRights & ~kReadRight);
    p.has(n, kAllRights & ~kReadRight);
    p.is_refused({TRY_TO(kMemoryInfo, kPerm, writes), TRY_TO(kLockInfo, kPerm, writes), TRY_TO(kLockInfo, kPerm, e),
                  TRY_TO(kLockInfo, kPerm, n), TRY_TO(kMemoryInfo, kBadF, kSlotSystem),
                  TRY_TO(kMemoryExtent, kPerm, writes, m, 0), TRY_TO(kMemoryExtent, kBadF, kSlotSystem, m, 0),
                  TRY_TO(kLockInfo, kBadF, kSlotSystem)});
}

}  // namespace ktest
