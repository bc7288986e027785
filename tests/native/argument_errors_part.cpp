// SPDX-License-Identifier: MIT
// Each argument value that a call must refuse: numbers, sizes, addresses, slots, and states that do not allow it.
#include "tests/native/ktest.hpp"

namespace ktest {

// --- The call itself

KTEST(unknown_calls, call_number) {
    for (u64 n : {8, 15, 23, 31, 60, 61, 63, 73, 100, 255}) KREFUSED(kNoSys, raw_call(n, kSlotPool));
}
KTEST(flags_only_with_ipc, call_flags) {
    KREFUSED(kInval, raw_call(kIdentify | kNonBlocking, kSlotPool));
    KREFUSED(kInval, raw_call(kClock | 1u << 20));
    KREFUSED(kInval, raw_call(kClock | u64{1} << 63));
}
KTEST(unknown_ipc_flags, call_flags) {
    Slot e = make(kTypeEndpoint);
    for (u64 call : {kCall, kSend, kReceive, kReplyReceive}) {
        KREFUSED(kInval, raw_call(call | kNonBlocking | 1u << 12, e));
        KREFUSED(kInval, raw_call(call | kNonBlocking | u64{1} << 40, e));
    }
}

// --- Slots

KTEST(create_beyond_the_table, slot_in_range) {
    KREFUSED(kInval, raw_call(kCreate, pool(), kTypeEndpoint, kFirstSlots));
    KREFUSED(kInval, raw_call(kCreate, pool(), kTypeEndpoint, ~u64{0}));
}
KTEST(copy_beyond_the_table, slot_in_range) { KREFUSED(kInval, raw_call(kCopy, pool(), kFirstSlots, kAllRights)); }
KTEST(move_beyond_the_table, slot_in_range) {
    Slot e = make(kTypeEndpoint);
    KREFUSED(kInval, raw_call(kMove, e, kFirstSlots));
    KCHECK(!empty(e));
}
KTEST(copy_into_small_table, slot_in_range) {
    Slot space = make(kTypeSpace, 16);
    KREFUSED(kInval, raw_call(kCopy, pool(), 16, kAllRights, 0, space));
    KDONE(raw_call(kCopy, pool(), 15, kAllRights, 0, space));
}
KTEST(create_at_slot_0, none) { KREFUSED(kInval, raw_call(kCreate, pool(), kTypeEndpoint, 0)); }
KTEST(copy_to_slot_0, slot_not_null) { KREFUSED(kInval, raw_call(kCopy, pool(), 0, kAllRights)); }
KTEST(move_to_slot_0, slot_not_null) {
    Slot e = make(kTypeEndpoint);
    KREFUSED(kInval, raw_call(kMove, e, 0));
    KCHECK(!empty(e));
}
KTEST(create_where_something_is, slot_empty) {
    Slot e = make(kTypeEndpoint);
    u64 kind = kind_of(e);
    for (Type t : {kTypePool, kTypeSpace, kTypeThread, kTypeNotification, kTypeMemory})
        KREFUSED(kExist, raw_call(kCreate, pool(), t, e,
                                  t == kTypePool || t == kTypeMemory ? kPage
                                  : t == kTypeSpace                  ? 16
                                                                     : 0));
    KCHECK(kind_of(e) == kind);
}
KTEST(copy_where_something_is, slot_empty) {
    Slot e = make(kTypeEndpoint), n = make(kTypeNotification);
    KREFUSED(kExist, raw_call(kCopy, n, e, kAllRights));
    KREFUSED(kExist, raw_call(kCopy, e, e, kAllRights));
    KCHECK((kind_of(e) & 0xff) == kTypeEndpoint);
}
KTEST(move_where_something_is, slot_empty) {
    Slot e = make(kTypeEndpoint), n = make(kTypeNotification);
    KREFUSED(kExist, raw_call(kMove, n, e));
    KREFUSED(kExist, raw_call(kMove, e, e));
    KCHECK((kind_of(e) & 0xff) == kTypeEndpoint && !empty(n));
}

// --- Sizes

KTEST(create_unknown_type, create_type) {
    for (u64 t : {u64{kTypeNone}, u64{kTypeIrq}, u64{kTypeSystem}, u64{11}, u64{255}, ~u64{0}})
        KREFUSED(kInval, raw_call(kCreate, pool(), t, slot(), kPage));
}
KTEST(pool_of_no_bytes, pool_size) { KREFUSED(kInval, raw_call(kCreate, pool(), kTypePool, slot(), 0)); }
KTEST(pool_of_all_bytes, pool_size) {
    for (u64 size : {~u64{0}, ~u64{0} - 64, u64{1} << 63, u64{1} << 48})
        KREFUSED(kInval, raw_call(kCreate, pool(), kTypePool, slot(), size));
}
KTEST(space_with_odd_tables, space_slots) {
    for (u64 n : {0, 1, 8, 15, 17, 48, 65536}) KREFUSED(kInval, raw_call(kCreate, pool(), kTypeSpace, slot(), n));
    KREFUSED(kInval, raw_call(kCreate, pool(), kTypeSpace, slot(), u64{1} << 40));
}
KTEST(memory_of_no_bytes, memory_size) { KREFUSED(kInval, raw_call(kCreate, pool(), kTypeMemory, slot(), 0)); }
KTEST(memory_of_all_bytes, memory_size) {
    for (u64 size : {~u64{4095}, u64{1} << 63, u64{1} << 41})
        KREFUSED(kInval, raw_call(kCreate, pool(), kTypeMemory, slot(), size));
}
KTEST(memory_of_half_a_page, memory_aligned) {
    for (u64 size : {u64{1}, kPage / 2, kPage + 8})
        KREFUSED(kInval, raw_call(kCreate, pool(), kTypeMemory, slot(), size));
}

// --- Capabilities

KTEST(copy_with_more_rights, copy_no_more_rights) {
    Slot e = make(kTypeEndpoint), less = derive(e, kSendRight);
    for (u64 more : {u64{kAllRights}, u64{kReceiveRight}, kSendRight | u64{kGrantRight}})
        KREFUSED(kPerm, raw_call(kCopy, less, slot(), more));
    KDONE(raw_call(kCopy, less, slot(), kSendRight));
}
KTEST(copy_with_another_badge, copy_keeps_badge) {
    Slot e = make(kTypeEndpoint), badged = derive(e, kAllRights, 5);
    KREFUSED(kPerm, raw_call(kCopy, badged, slot(), kAllRights, 6));
    KREFUSED(kPerm, raw_call(kCopy, badged, slot(), kAllRights, 5));
    KDONE(raw_call(kCopy, badged, slot(), kAllRights, 0));
}

// --- Threads

namespace {
std::atomic<u64> spinning{0};
void spin(u64) {
    spinning = 1;
    while (spinning) {
    }
}
// Runs, at a priority below the test's, until `spinning` is cleared.
Helper& runner() {
    spinning = 0;
    Helper& h = start(spin, 0, {.priority = 1});
    (void)until([] { return spinning != 0; });
    return h;
}
}  // namespace

KTEST(configure_a_running_thread, thread_not_running) {
    Helper& h = runner();
    KREFUSED(kBusy, raw_call(kThreadConfigure, h.thread, kSlotSpace, 0));
    spinning = 0;
}
KTEST(set_registers_of_a_running_thread, thread_not_running) {
    Helper& h = runner();
    utcb().registers = {};
    KREFUSED(kBusy, raw_call(kThreadSetRegisters, h.thread));
    spinning = 0;
}
KTEST(get_registers_of_a_running_thread, thread_not_running) {
    Helper& h = runner();
    KREFUSED(kBusy, raw_call(kThreadGetRegisters, h.thread));
    KREFUSED(kBusy, raw_call(kThreadGetRegisters, kSlotThread));
    spinning = 0;
}
KTEST(bind_a_running_thread, thread_not_running) {
    Helper& h = runner();
    Slot n = make(kTypeNotification);
    KREFUSED(kBusy, raw_call(kThreadBind, h.thread, n));
    spinning = 0;
}
KTEST(resume_a_running_thread, resume_inactive) {
    Helper& h = runner();
    KREFUSED(kBusy, raw_call(kThreadResume, h.thread));
    KREFUSED(kBusy, raw_call(kThreadResume, kSlotThread));
    spinning = 0;
    KCHECK(until_stopped(h));
}
KTEST(resume_without_a_space, thread_has_space) {
    Slot t = make(kTypeThread);
    KREFUSED(kInval, raw_call(kThreadResume, t));
    KCHECK(state_of(t) == kStateInactive);
}
KTEST(configure_unknown_flags, thread_flags) {
    Slot t = make(kTypeThread);
    for (u64 flags : {u64{4}, u64{8}, u64{1} << 63, ~u64{0}})
        KREFUSED(kInval, raw_call(kThreadConfigure, t, kSlotSpace, 0, 0, flags));
}
KTEST(configure_odd_utcb, none) {
    Slot t = make(kTypeThread);
    for (u64 at : {kAreaStart + 8, u64{1}, u64{0x8000'0000'0000}, u64{0xffff'8000'0000'0000}, ~u64{4095}})
        KREFUSED(kInval, raw_call(kThreadConfigure, t, kSlotSpace, at));
    KREFUSED(kExist, raw_call(kThreadConfigure, t, kSlotSpace, kFirstUtcb));
}
// After a refused call, the old UTCB page is still mapped.
KTEST(configure_refused_keeps_the_utcb, none) {
    Slot t = make(kTypeThread);
    KDONE(raw_call(kThreadConfigure, t, kSlotSpace, kAreaStart));
    auto& page = *reinterpret_cast<volatile u64*>(kAreaStart + 0x800);
    page = 77;
    KREFUSED(kInval, raw_call(kThreadConfigure, t, kSlotSpace, kAreaStart + 8));
    KCHECK(page == 77);
    KREFUSED(kExist, raw_call(kThreadConfigure, t, kSlotSpace, kFirstUtcb));
    KCHECK(page == 77);
    // The same address, and another one.
    KDONE(raw_call(kThreadConfigure, t, kSlotSpace, kAreaStart));
    KCHECK(page == 77);
    KDONE(raw_call(kThreadConfigure, t, kSlotSpace, kAreaStart + kPage));
    KCHECK(*reinterpret_cast<volatile u64*>(kAreaStart + kPage + 0x800) == 77);
    KDONE(raw_call(kMap, kSlotSpace, make(kTypeMemory, kPage), kAreaStart, 0, kPage, kReadRight));
}
KTEST(fastpaths_unknown_bits, thread_fastpaths) {
    KREFUSED(kInval, raw_call(kThreadFastpaths, kSlotThread, kFastAll + 1));
    KREFUSED(kInval, raw_call(kThreadFastpaths, kSlotThread, ~u64{0}));
}
KTEST(set_registers_pc_of_the_kernel, thread_pc) {
    Slot t = make(kTypeThread);
    for (u64 pc : {u64{0x8000'0000'0000}, u64{0xffff'8000'0000'0000}, ~u64{0}}) {
        utcb().registers = {};
        utcb().registers.rip = pc;
        KREFUSED(kInval, raw_call(kThreadSetRegisters, t));
    }
}
KTEST(set_registers_fs_of_the_kernel, thread_tls) {
    Slot t = make(kTypeThread);
    for (u64 base : {u64{0x8000'0000'0000}, u64{0xffff'8000'0000'0000}, ~u64{0}}) {
        utcb().registers = {};
        utcb().registers.fs_base = base;
        KREFUSED(kInval, raw_call(kThreadSetRegisters, t));
    }
}
KTEST(set_registers_gs_of_the_kernel, thread_tls) {
    Slot t = make(kTypeThread);
    for (u64 base : {u64{0x8000'0000'0000}, u64{0xffff'8000'0000'0000}, ~u64{0}}) {
        utcb().registers = {};
        utcb().registers.gs_base = base;
        KREFUSED(kInval, raw_call(kThreadSetRegisters, t));
    }
}
KTEST(priority_above_the_highest, thread_priority) {
    Slot t = make(kTypeThread);
    for (u64 p : {kHighestPriority + 1, u64{256}, ~u64{0}})
        KREFUSED(kPerm, raw_call(kThreadSchedule, t, kSlotSched, p, 0));
}
KTEST(priority_above_the_sched, thread_priority) {
    Slot t = make(kTypeThread), s = make(kTypeSched, 5);
    KREFUSED(kPerm, raw_call(kThreadSchedule, t, s, 6, 0));
    KDONE(raw_call(kThreadSchedule, t, s, 5, 0));
}
KTEST(cpu_that_is_not_there, thread_cpu) {
    Slot t = make(kTypeThread);
    for (u64 cpu : {boot_info().cpus, u64{63}, u64{64}, u64{1} << 32, ~u64{0}})
        KREFUSED(kInval, raw_call(kThreadSchedule, t, kSlotSched, 1, cpu));
}
KTEST(cpu_not_of_the_sched, thread_cpu) {
    Slot t = make(kTypeThread), s = make(kTypeSched, 5);
    KDONE(raw_call(kSchedConfigure, s, 1, 5, 0, 0));
    for (u64 cpu = 1; cpu < boot_info().cpus; ++cpu) KREFUSED(kInval, raw_call(kThreadSchedule, t, s, 1, cpu));
    KREFUSED(kInval, raw_call(kThreadSchedule, t, s, 1, boot_info().cpus));
}
KTEST(bind_twice, bind_one) {
    Slot t = make(kTypeThread), a = make(kTypeNotification), b = make(kTypeNotification);
    KDONE(raw_call(kThreadBind, t, a));
    KREFUSED(kBusy, raw_call(kThreadBind, t, b));
    KDONE(raw_call(kThreadBind, t, 0));
    KDONE(raw_call(kThreadBind, t, b));
}
KTEST(bind_what_another_has, bind_free) {
    Slot t = make(kTypeThread), other = make(kTypeThread), n = make(kTypeNotification);
    KDONE(raw_call(kThreadBind, t, n));
    KREFUSED(kBusy, raw_call(kThreadBind, other, n));
    KDONE(raw_call(kDelete, t));
    KDONE(raw_call(kThreadBind, other, n));
}
KTEST(wait_for_what_another_has, bind_one) {
    Slot t = make(kTypeThread), n = make(kTypeNotification);
    KDONE(raw_call(kThreadBind, t, n));
    KREFUSED(kBusy, raw_call(kReceive | kNonBlocking, n));
    KDONE(raw_call(kSignal, n, 1));
    KREFUSED(kBusy, raw_call(kReceive | kNonBlocking, n));
}

// --- Scheduling

KTEST(sched_above_ones_own, sched_priority) {
    KREFUSED(kPerm, raw_call(kCreate, pool(), kTypeSched, slot(), kHighestPriority + 1));
    KREFUSED(kPerm, raw_call(kCreate, pool(), kTypeSched, slot(), ~u64{0}));
}
KTEST(sched_raised, sched_priority) {
    Slot s = make(kTypeSched, 5);
    KREFUSED(kPerm, raw_call(kSchedConfigure, s, 1, 6, 0, 0));
    KDONE(raw_call(kSchedConfigure, s, 1, 4, 0, 0));
    KREFUSED(kPerm, raw_call(kSchedConfigure, s, 1, 5, 0, 0));
}
KTEST(sched_without_cpus, sched_cpus) {
    Slot s = make(kTypeSched, 5);
    for (u64 set : {u64{0}, u64{1} << 31, u64{1} << 32 | 1, u64{1} << boot_info().cpus, ~u64{0}})
        KREFUSED(kInval, raw_call(kSchedConfigure, s, set, 5, 0, 0));
}
KTEST(sched_odd_budgets, sched_budget) {
    Slot s = make(kTypeSched, 5);
    KREFUSED(kInval, raw_call(kSchedConfigure, s, 1, 5, 100, 0));
    KREFUSED(kInval, raw_call(kSchedConfigure, s, 1, 5, 0, 100));
    KREFUSED(kInval, raw_call(kSchedConfigure, s, 1, 5, 101, 100));
    KREFUSED(kInval, raw_call(kSchedConfigure, s, 1, 5, 1, ~u64{0}));
}

// --- Memory

namespace {
i64 map_at(Slot m, u64 address, u64 offset, u64 length, u64 rights = kReadRight | kWriteRight) {
    return raw_call(kMap, kSlotSpace, m, address, offset, length, rights);
}
}  // namespace

KTEST(map_misaligned, map_aligned) {
    Slot m = make(kTypeMemory, 4 * kPage);
    KREFUSED(kInval, map_at(m, kAreaStart + 1, 0, kPage));
    KREFUSED(kInval, map_at(m, kAreaStart + 0x800, 0, kPage));
    KREFUSED(kInval, map_at(m, kAreaStart, 8, kPage));
    KREFUSED(kInval, map_at(m, kAreaStart, 0, kPage + 1));
    KREFUSED(kInval, map_at(m, kAreaStart, 0, 1));
}
KTEST(map_foreign_addresses, map_range) {
    Slot m = make(kTypeMemory, 4 * kPage);
    for (u64 at : {u64{0x7fff'ffff'f000}, u64{0x8000'0000'0000}, u64{0xffff'8000'0000'0000}, ~u64{4095}})
        KREFUSED(kInval, map_at(m, at, 0, 2 * kPage));
}
KTEST(map_no_length, map_range) {
    Slot m = make(kTypeMemory, kPage);
    KREFUSED(kInval, map_at(m, kAreaStart, 0, 0));
}
KTEST(map_more_than_there_is, map_offset) {
    Slot m = make(kTypeMemory, 4 * kPage);
    KREFUSED(kInval, map_at(m, kAreaStart, 0, 5 * kPage));
    KREFUSED(kInval, map_at(m, kAreaStart, 4 * kPage, kPage));
    KREFUSED(kInval, map_at(m, kAreaStart, ~u64{4095}, kPage));
    KREFUSED(kInval, map_at(m, kAreaStart, ~u64{4095}, 2 * kPage));
}
KTEST(map_with_more_rights, map_rights) {
    Slot m = make(kTypeMemory, kPage), read = derive(m, kReadRight), none = derive(m, 0);
    KREFUSED(kPerm, map_at(read, kAreaStart, 0, kPage, kReadRight | kWriteRight));
    KREFUSED(kPerm, map_at(read, kAreaStart, 0, kPage, kReadRight | kExecuteRight));
    KREFUSED(kPerm, map_at(none, kAreaStart, 0, kPage, kReadRight));
    KREFUSED(kPerm, map_at(m, kAreaStart, 0, kPage, kReadRight | kSendRight));
}
KTEST(map_of_another_kind, map_type) {
    Slot m = make(kTypeMemory, kPage);
    KREFUSED(kInval, map_at(m, kAreaStart, 0, kPage, kReadRight | 1 << 8));
    KREFUSED(kInval, map_at(m, kAreaStart, 0, kPage, kReadRight | u64{1} << 63));
}
KTEST(map_over_something, map_free) {
    Slot m = make(kTypeMemory, 4 * kPage), other = make(kTypeMemory, kPage);
    KDONE(map_at(m, kAreaStart + kPage, 0, 2 * kPage));
    *reinterpret_cast<volatile u64*>(kAreaStart + kPage) = 5;
    KREFUSED(kExist, map_at(other, kAreaStart + kPage, 0, kPage));
    KREFUSED(kExist, map_at(other, kAreaStart + 2 * kPage, 0, kPage));
    KREFUSED(kExist, map_at(m, kAreaStart, 0, 4 * kPage));
    KREFUSED(kExist, map_at(other, kFirstUtcb, 0, kPage));
    KCHECK(*reinterpret_cast<volatile u64*>(kAreaStart + kPage) == 5);
}
KTEST(unmap_odd_ranges, unmap_range) {
    KREFUSED(kInval, raw_call(kUnmap, kSlotSpace, kAreaStart + 1, kPage));
    KREFUSED(kInval, raw_call(kUnmap, kSlotSpace, kAreaStart, 100));
    KREFUSED(kInval, raw_call(kUnmap, kSlotSpace, kAreaStart, 0));
    KREFUSED(kInval, raw_call(kUnmap, kSlotSpace, 0xffff'8000'0000'0000, kPage));
    KREFUSED(kInval, raw_call(kUnmap, kSlotSpace, kAreaStart, ~u64{4095}));
}
KTEST(protect_odd_ranges, protect_range) {
    KREFUSED(kInval, raw_call(kProtect, kSlotSpace, kAreaStart + 1, kPage, kReadRight));
    KREFUSED(kInval, raw_call(kProtect, kSlotSpace, kAreaStart, 100, kReadRight));
    KREFUSED(kInval, raw_call(kProtect, kSlotSpace, kAreaStart, 0, kReadRight));
    KREFUSED(kInval, raw_call(kProtect, kSlotSpace, 0xffff'8000'0000'0000, kPage, kReadRight));
    KREFUSED(kInval, raw_call(kProtect, kSlotSpace, kAreaStart, ~u64{4095}, kReadRight));
}
KTEST(protect_with_more_rights, protect_rights) {
    Slot read = derive(make(kTypeMemory, kPage), kReadRight);
    KDONE(map_at(read, kAreaStart, 0, kPage, kReadRight));
    KREFUSED(kPerm, raw_call(kProtect, kSlotSpace, kAreaStart, kPage, kReadRight | kWriteRight));
    KREFUSED(kPerm, raw_call(kProtect, kSlotSpace, kAreaStart, kPage, kReadRight | kExecuteRight));
    KREFUSED(kPerm, raw_call(kProtect, kSlotSpace, kAreaStart, kPage, kReadRight | 1 << 8));
}

// --- Interrupts

KTEST(irq_line_that_is_not_there, irq_line) {
    for (u64 badge : {u64{25}, u64{100}, ~u64{0}})
        KREFUSED(kInval, raw_call(kCopy, kSlotIrq, slot(), kAllRights, badge));
}
KTEST(irq_without_a_line, none) {
    Slot n = make(kTypeNotification);
    KREFUSED(kInval, raw_call(kIrqBind, kSlotIrq, n, 1));
    KREFUSED(kInval, raw_call(kIrqAck, kSlotIrq));
}
KTEST(irq_bound_twice, irq_bound) {
    Slot line = derive(kSlotIrq, kAllRights, 7), n = make(kTypeNotification), m = make(kTypeNotification);
    KDONE(raw_call(kIrqBind, line, n, 1));
    i64 again = raw_call(kIrqBind, line, m, 1);
    KDONE(raw_call(kIrqBind, line, 0, 0));
    KCHECK(again == -i64(Errno::kBusy));
    KDONE(raw_call(kIrqBind, line, m, 1));
    KDONE(raw_call(kIrqAck, line));
    KDONE(raw_call(kIrqBind, line, 0, 0));
    KREFUSED(kInval, raw_call(kIrqAck, line));
}

// --- The system

KTEST(write_too_much, write_size) {
    static char text[600];
    for (char& c : text) c = '\n';  // in case it is written, the lines of the tests stay whole
    KREFUSED(kInval, raw_call(kWrite, kSlotSystem, u64(text), 513));
    KREFUSED(kInval, raw_call(kWrite, kSlotSystem, u64(text), ~u64{0}));
}
KTEST(write_from_nowhere, none) {
    for (u64 at : {kAreaStart, u64{0}, u64{0xffff'8000'0000'0000}, ~u64{0}})
        KREFUSED(kFault, raw_call(kWrite, kSlotSystem, at, 1));
}
KTEST(trace_unknown_operation, trace_op) {
    KREFUSED(kInval, raw_call(kTraceControl, kSlotSystem, 3));
    KREFUSED(kInval, raw_call(kTraceControl, kSlotSystem, ~u64{0}));
}
KTEST(trace_odd_buffer, trace_buffer) {
    static char buffer[64];
    KREFUSED(kInval, raw_call(kTraceControl, kSlotSystem, kTraceRead, u64(buffer), 33));
    KREFUSED(kInval, raw_call(kTraceControl, kSlotSystem, kTraceRead, u64(buffer), 1));
}

KTEST(console_unknown_operation, none) {
    for (u64 op : {u64{11}, u64{64}, ~u64{0}}) KREFUSED(kInval, raw_call(kConsole, kSlotSystem, op));
}
KTEST(console_unknown_stream, none) {
    static char text[8];
    for (u64 stream : {u64{3}, ~u64{0}}) {
        KREFUSED(kInval, raw_call(kConsole, kSlotSystem, kConsoleRead, stream, u64(text), sizeof text));
        KREFUSED(kInval, raw_call(kConsole, kSlotSystem, kConsoleWrite, stream, u64(text), 0));
    }
}
KTEST(console_bytes_of_nowhere, none) {
    for (u64 at : {kAreaStart, u64{0}, u64{0xffff'8000'0000'0000}, ~u64{0}}) {
        KREFUSED(kFault, raw_call(kConsole, kSlotSystem, kEntropy, at, 16));
        KREFUSED(kFault, raw_call(kConsole, kSlotSystem, kConsoleLog, at, 16));
    }
    static const char read_only[16] = "";
    KREFUSED(kFault, raw_call(kConsole, kSlotSystem, kEntropy, u64(read_only), 16));
}
KTEST(console_counts_of_a_server, none) {
    static ServerCounts counts[17];
    const u64 size = cpus() * sizeof(ServerCounts);
    for (u64 other : {u64{0}, size - 1, size + 1, sizeof counts, ~u64{0}})
        KREFUSED(kInval, raw_call(kConsole, kSlotSystem, kServerCounts, u64(counts), other));
    for (u64 at : {kAreaStart, u64{0}, u64{0xffff'8000'0000'0000}, ~u64{0}})
        KREFUSED(kFault, raw_call(kConsole, kSlotSystem, kServerCounts, at, size));
}
KTEST(console_gives_random_bytes, none) {
    static unsigned char a[64], b[64];
    KCHECK(raw_call(kConsole, kSlotSystem, kEntropy, u64(a), sizeof a) == sizeof a);
    KCHECK(raw_call(kConsole, kSlotSystem, kEntropy, u64(b), sizeof b) == sizeof b);
    KCHECK(std::memcmp(a, b, sizeof a) != 0);
    static unsigned char large[8192];
    KCHECK(raw_call(kConsole, kSlotSystem, kEntropy, u64(large), sizeof large) == 4096);
}
KTEST(console_tells_one_notification, none) {
    const Slot n = make(kTypeNotification), deaf = derive(n, kReceiveRight);
    for (u64 op : {kConsoleBind, kConsoleDumps}) {
        KREFUSED(kBadF, raw_call(kConsole, kSlotSystem, op, 999, 1));
        KREFUSED(kInval, raw_call(kConsole, kSlotSystem, op, kSlotPool, 1));
        KREFUSED(kPerm, raw_call(kConsole, kSlotSystem, op, deaf, 1));
        KDONE(raw_call(kConsole, kSlotSystem, op, n, 1));
        KREFUSED(kBusy, raw_call(kConsole, kSlotSystem, op, n, 1));
        KDONE(raw_call(kConsole, kSlotSystem, op, 0, 0));
        KDONE(raw_call(kConsole, kSlotSystem, op, 0, 0));
    }
}

}  // namespace ktest
