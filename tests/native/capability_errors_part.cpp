// SPDX-License-Identifier: MIT
// Each capability argument of each call: without a capability, with one of every wrong type, and without the right.
#include "tests/native/ktest.hpp"

namespace ktest {
namespace {

using Make = i64 (*)(Slot);

constexpr Type kTypes[] = {kTypePool,   kTypeSpace,        kTypeThread, kTypeEndpoint, kTypeReply,
                           kTypeMemory, kTypeNotification, kTypeIrq,    kTypeSched,    kTypeSystem};

// A slot that was never used, a slot whose capability was deleted, and numbers beyond the table.
void without_capability(Make call) {
    Slot ended = make(kTypeEndpoint);
    KDONE(raw_call(kDelete, ended));
    KREFUSED(kBadF, call(slot()));
    KREFUSED(kBadF, call(ended));
    KREFUSED(kBadF, call(kFirstSlots));
    KREFUSED(kBadF, call(~u64{0}));
}

void with_wrong_type(Make call, Type right_one, Type and_this) {
    for (Type t : kTypes) {
        if (t == right_one || t == and_this) continue;
        // With a badge, so that a call that takes it for an interrupt line finds one.
        Slot object = any_object(t), s = derive(object, kAllRights, 7);
        u64 kind = kind_of(s);
        KREFUSED(kInval, call(s));
        KCHECK(kind_of(s) == kind);
        KDONE(raw_call(kDelete, s));
        KDONE(raw_call(kDelete, object));
    }
}

void without_right(Make call, Type type, u64 right) {
    Slot s = any_object(type);
    Slot less = derive(s, kAllRights & ~right);
    Slot none = derive(s, 0);
    KREFUSED(kPerm, call(less));
    KREFUSED(kPerm, call(none));
}

}  // namespace
}  // namespace ktest

#define MISSING_AND_TYPE_NAMED(NAME, CHECK, TYPE, AND, ...)                                       \
    KTEST(NAME##_without_capability, cap_exists) {                                                \
        ::ktest::without_capability([](::native::Slot s) -> i64 { return __VA_ARGS__; });         \
    }                                                                                             \
    KTEST(NAME##_with_wrong_type, CHECK) {                                                        \
        ::ktest::with_wrong_type([](::native::Slot s) -> i64 { return __VA_ARGS__; }, TYPE, AND); \
    }
#define MISSING_AND_TYPE(NAME, TYPE, AND, ...) MISSING_AND_TYPE_NAMED(NAME, cap_type, TYPE, AND, __VA_ARGS__)
#define NAMED_THREE(NAME, CHECK, TYPE, RIGHT, ...)                                                \
    MISSING_AND_TYPE_NAMED(NAME, CHECK, TYPE, TYPE, __VA_ARGS__)                                  \
    KTEST(NAME##_without_right, cap_right) {                                                      \
        ::ktest::without_right([](::native::Slot s) -> i64 { return __VA_ARGS__; }, TYPE, RIGHT); \
    }
#define ALL_THREE(NAME, TYPE, RIGHT, ...) NAMED_THREE(NAME, cap_type, TYPE, RIGHT, __VA_ARGS__)

namespace ktest {

// --- IPC. Never blocks: a call that is wrongly accepted returns kAgain.
ALL_THREE(call, kTypeEndpoint, kSendRight, raw_call(kCall | kNonBlocking, s))
ALL_THREE(send, kTypeEndpoint, kSendRight, raw_call(kSend | kNonBlocking, s))
MISSING_AND_TYPE(receive, kTypeEndpoint, kTypeNotification, raw_call(kReceive | kNonBlocking, s))
ALL_THREE(reply_receive, kTypeEndpoint, kReceiveRight, raw_call(kReplyReceive | kNonBlocking, s))
ALL_THREE(reply_to, kTypeReply, kSendRight, raw_call(kReplyTo, s))
ALL_THREE(reply_save, kTypeReply, kReceiveRight, raw_call(kReplySave, s))
ALL_THREE(signal, kTypeNotification, kSendRight, raw_call(kSignal, s, 1))

KTEST(receive_without_right, cap_right) {
    without_right([](Slot s) { return raw_call(kReceive | kNonBlocking, s); }, kTypeEndpoint, kReceiveRight);
}
KTEST(wait_without_right, cap_right) {
    Slot n = make(kTypeNotification);
    Slot less = derive(n, kAllRights & ~kReceiveRight), enough = derive(n, kReceiveRight);
    KREFUSED(kPerm, raw_call(kReceive | kNonBlocking, less));
    KREFUSED(kAgain, raw_call(kReceive | kNonBlocking, enough));
}

// --- Capabilities
ALL_THREE(create, kTypePool, kCreateRight, raw_call(kCreate, s, kTypeEndpoint, kLastSlot))
ALL_THREE(copy_space, kTypeSpace, kWriteRight, raw_call(kCopy, kSlotPool, 5, 0, 0, s))
ALL_THREE(move_space, kTypeSpace, kWriteRight, raw_call(kMove, kLastSlot, 5, s))
MISSING_AND_TYPE(pool_info, kTypePool, kTypePool, raw_call(kPoolInfo, s))

KTEST(copy_of_nothing, cap_exists) {
    without_capability([](Slot s) { return raw_call(kCopy, s, kLastSlot, kAllRights); });
}
KTEST(move_of_nothing, cap_exists) {
    without_capability([](Slot s) { return raw_call(kMove, s, kLastSlot); });
}
KTEST(delete_of_nothing, cap_exists) {
    without_capability([](Slot s) { return raw_call(kDelete, s); });
}
KTEST(revoke_of_nothing, cap_exists) {
    without_capability([](Slot s) { return raw_call(kRevoke, s); });
}
KTEST(identify_of_nothing, identify_exists) {
    without_capability([](Slot s) { return raw_call(kIdentify, s); });
}

// --- Threads
ALL_THREE(configure, kTypeThread, kWriteRight, raw_call(kThreadConfigure, s, 0, 0, 0, 0))
ALL_THREE(set_registers, kTypeThread, kWriteRight, (utcb().registers = {}, raw_call(kThreadSetRegisters, s)))
ALL_THREE(get_registers, kTypeThread, kReadRight, raw_call(kThreadGetRegisters, s))
NAMED_THREE(resume, none, kTypeThread, kWriteRight, raw_call(kThreadResume, s))  // other types have no space
ALL_THREE(suspend, kTypeThread, kWriteRight, raw_call(kThreadSuspend, s))
ALL_THREE(schedule, kTypeThread, kWriteRight, raw_call(kThreadSchedule, s, kSlotSched, 1, 0))
ALL_THREE(bind, kTypeThread, kWriteRight, raw_call(kThreadBind, s, 0))
ALL_THREE(fastpaths, kTypeThread, kWriteRight, raw_call(kThreadFastpaths, s, 0))
ALL_THREE(thread_state, kTypeThread, kReadRight, raw_call(kThreadState, s))
ALL_THREE(thread_handler, kTypeThread, kWriteRight, raw_call(kThreadHandler, s, 0, 0))
ALL_THREE(thread_space, kTypeThread, kWriteRight, raw_call(kThreadSpace, s, kSlotSpace))
ALL_THREE(kick, kTypeThread, kWriteRight, raw_call(kThreadKick, s))
ALL_THREE(thread_times, kTypeThread, kReadRight, raw_call(kThreadTimes, s))
// none: without the type's check, sizes and counts of 0 are refused all the same.
NAMED_THREE(get_fpu, none, kTypeThread, kReadRight, raw_call(kThreadGetFpu, s, 0, 0))
ALL_THREE(set_fpu, kTypeThread, kWriteRight, raw_call(kThreadSetFpu, s, 0, 0))

namespace {
// Calls with a thread in addition to the tested argument, and deletes it again.
template <class F>
i64 with_thread(F&& call) {
    Slot t = kLastSlot + 1;
    if (!create(kSlotPool, kTypeThread, t).ok()) return -i64(Errno::kNoMem);
    i64 result = call(t);
    (void)remove(t);
    (void)until([] { return true; });
    return result;
}
}  // namespace

ALL_THREE(configure_space, kTypeSpace, kWriteRight,
          with_thread([=](Slot t) { return raw_call(kThreadConfigure, t, s, 0, 0, 0); }))
ALL_THREE(schedule_sched, kTypeSched, kWriteRight,
          with_thread([=](Slot t) { return raw_call(kThreadSchedule, t, s, 0, 0); }))

namespace {
// In these two, 0 means "none": only other values can be wrong.
i64 configure_handler(Slot s) {
    return with_thread([=](Slot t) { return raw_call(kThreadConfigure, t, kSlotSpace, 0, s, 0); });
}
i64 handler_endpoint(Slot s) {
    return with_thread([=](Slot t) { return raw_call(kThreadHandler, t, s, 0); });
}
i64 bind_notification(Slot s) {
    return with_thread([=](Slot t) { return raw_call(kThreadBind, t, s); });
}
}  // namespace
ALL_THREE(configure_handler, kTypeEndpoint, kSendRight, configure_handler(s))
ALL_THREE(handler_endpoint, kTypeEndpoint, kSendRight, handler_endpoint(s))
ALL_THREE(space_of_thread, kTypeSpace, kWriteRight, with_thread([=](Slot t) { return raw_call(kThreadSpace, t, s); }))
ALL_THREE(bind_notification, kTypeNotification, kReceiveRight, bind_notification(s))

// --- Memory
ALL_THREE(map_space, kTypeSpace, kWriteRight, raw_call(kMap, s, 0, kAreaStart, 0, kPage, kReadRight))
MISSING_AND_TYPE(map_memory, kTypeMemory, kTypeMemory, raw_call(kMap, kSlotSpace, s, kAreaStart, 0, kPage, kReadRight))
ALL_THREE(unmap, kTypeSpace, kWriteRight, raw_call(kUnmap, s, kAreaStart, kPage))
ALL_THREE(protect, kTypeSpace, kWriteRight, raw_call(kProtect, s, kAreaStart, kPage, 0))

ALL_THREE(map_frames_space, kTypeSpace, kWriteRight, raw_call(kMapFrames, s, 0, 1))
MISSING_AND_TYPE_NAMED(map_frames_memory, none, kTypeMemory, kTypeMemory, raw_call(kMapFrames, kSlotSpace, s, 0))
NAMED_THREE(change_frames, none, kTypeSpace, kWriteRight, raw_call(kChangeFrames, s, 0, 0))
NAMED_THREE(free_tables, none, kTypeSpace, kWriteRight, raw_call(kFreeTables, s, kPage, 0, 0, 0))
MISSING_AND_TYPE(space_stale, kTypeSpace, kTypeSpace, raw_call(kSpaceStale, s))
ALL_THREE(memory_extent_system, kTypeSystem, kReadRight, raw_call(kMemoryExtent, s, 0, 0))
ALL_THREE(memory_extent_memory, kTypeMemory, kReadRight, raw_call(kMemoryExtent, kSlotSystem, s, 9))

// --- Scheduling, interrupts, the system
namespace {
// Calls while line 6 (badge 7) is bound.
template <class F>
i64 with_line(F&& call) {
    Slot line = kLastSlot + 1, n = kLastSlot + 2;
    (void)copy(kSlotIrq, line, kAllRights, 7);
    (void)create(kSlotPool, kTypeNotification, n);
    (void)raw_call(kIrqBind, line, n, 1);
    i64 result = call();
    (void)raw_call(kIrqBind, line, 0, 0);
    (void)remove(n);
    (void)remove(line);
    return result;
}
}  // namespace
ALL_THREE(sched_configure, kTypeSched, kWriteRight, raw_call(kSchedConfigure, s, 1, 0, 0, 0))
ALL_THREE(sched_info, kTypeSched, kReadRight, raw_call(kSchedInfo, s))
ALL_THREE(irq_bind, kTypeIrq, kWriteRight, raw_call(kIrqBind, s, 0, 1))
MISSING_AND_TYPE(irq_ack, kTypeIrq, kTypeIrq, with_line([=] { return raw_call(kIrqAck, s); }))
KTEST(irq_ack_without_right, cap_right) {
    Slot line = derive(kSlotIrq, kAllRights & ~kWriteRight, 7);
    KREFUSED(kPerm, with_line([=] { return raw_call(kIrqAck, line); }));
}
ALL_THREE(write, kTypeSystem, kWriteRight, raw_call(kWrite, s, u64("x"), 0))
ALL_THREE(console, kTypeSystem, kGrantRight, raw_call(kConsole, s, kConsoleSize))
ALL_THREE(shut_down, kTypeSystem, kWriteRight, raw_call(kShutDown, s, 3))
ALL_THREE(trace_control, kTypeSystem, kGrantRight, raw_call(kTraceControl, s, kTraceStop))

KTEST(irq_bind_notification_without_capability, cap_exists) {
    without_capability([](Slot s) {
        Slot line = derive(kSlotIrq, kAllRights, 6);
        i64 r = raw_call(kIrqBind, line, s, 1);
        (void)remove(line);
        return r;
    });
}
KTEST(irq_bind_notification_without_right, cap_right) {
    Slot line = derive(kSlotIrq, kAllRights, 6);
    Slot n = make(kTypeNotification), less = derive(n, kAllRights & ~kSendRight);
    KREFUSED(kPerm, raw_call(kIrqBind, line, less, 1));
}

// --- Each right suffices for its purpose, and for nothing else

KTEST(one_right_is_enough, none) {
    Slot e = make(kTypeEndpoint), n = make(kTypeNotification), t = make(kTypeThread), r = make(kTypeReply);
    Slot to_send = derive(e, kSendRight), to_receive = derive(e, kReceiveRight);
    KREFUSED(kAgain, raw_call(kSend | kNonBlocking, to_send));
    KREFUSED(kAgain, raw_call(kReceive | kNonBlocking, to_receive));
    KDONE(raw_call(kSignal, derive(n, kSendRight), 1));
    KDONE(raw_call(kReceive | kNonBlocking, derive(n, kReceiveRight)));
    KDONE(raw_call(kThreadState, derive(t, kReadRight)));
    KDONE(raw_call(kThreadSuspend, derive(t, kWriteRight)));
    Slot to_answer = derive(r, kSendRight), to_save = derive(r, kReceiveRight);
    KREFUSED(kBadF, raw_call(kReplyTo, to_answer));
    KREFUSED(kBadF, raw_call(kReplySave, to_save));
    KDONE(raw_call(kCreate, derive(pool(), kCreateRight), kTypeEndpoint, slot()));
    KDONE(raw_call(kWrite, derive(kSlotSystem, kWriteRight), 0, 0));
}

}  // namespace ktest
