// SPDX-License-Identifier: MIT
// Exhausted pools: each kind of allocation without enough quota is an error to its caller alone, and leaks nothing.
// Also the calls of the trace buffer.
#include "abi/trace.hpp"
#include "tests/native/ktest.hpp"

namespace ktest {
namespace {

u64 argument_of(Type t) {
    switch (t) {
        case kTypePool: return 100;
        case kTypeSpace: return 64;
        case kTypeMemory: return 3 * kPage;
        default: return 0;
    }
}
// The charge of one object, measured by making it.
u64 cost_of(Type t) {
    Slot p = make(kTypePool, 1 << 20), s = slot();
    u64 before = used_of(p);
    if (raw_call(kCreate, p, t, s, argument_of(t)) < 0) return 0;
    u64 cost = used_of(p) - before;
    (void)remove(s);
    (void)remove(p);
    return cost;
}
void exhausted(Type t) {
    u64 cost = cost_of(t);
    KCHECK(cost != 0);
    for (u64 quota : {u64{1}, cost / 2, cost - 1}) {
        Slot p = make(kTypePool, quota), s = slot();
        KREFUSED(kNoMem, raw_call(kCreate, p, t, s, argument_of(t)));
        KCHECK(empty(s) && used_of(p) == 0);
    }
    Slot p = make(kTypePool, cost), s = slot();
    KDONE(raw_call(kCreate, p, t, s, argument_of(t)));
    Slot another = slot();
    KREFUSED(kNoMem, raw_call(kCreate, p, t, another, argument_of(t)));
    KDONE(raw_call(kDelete, s));
    KCHECK(until([&] { return used_of(p) == 0; }));
    KDONE(raw_call(kCreate, p, t, another, argument_of(t)));
}

}  // namespace

KTEST(pool_ends_with_a_pool, pool_quota) { exhausted(kTypePool); }
KTEST(pool_ends_with_a_space, pool_quota) { exhausted(kTypeSpace); }
KTEST(pool_ends_with_a_thread, pool_quota) { exhausted(kTypeThread); }
KTEST(pool_ends_with_an_endpoint, pool_quota) { exhausted(kTypeEndpoint); }
KTEST(pool_ends_with_a_reply, pool_quota) { exhausted(kTypeReply); }
KTEST(pool_ends_with_a_notification, pool_quota) { exhausted(kTypeNotification); }
KTEST(pool_ends_with_memory, pool_quota) { exhausted(kTypeMemory); }
KTEST(pool_ends_with_a_sched, pool_quota) { exhausted(kTypeSched); }
KTEST(pool_cannot_give_more_than_it_has, pool_quota) {
    Slot p = make(kTypePool, 4 * kPage), s = slot();
    KREFUSED(kNoMem, raw_call(kCreate, p, kTypePool, s, 4 * kPage));
    KREFUSED(kNoMem, raw_call(kCreate, p, kTypeMemory, s, 5 * kPage));
    KREFUSED(kNoMem, raw_call(kCreate, p, kTypeMemory, s, u64{1} << 40));
    KREFUSED(kNoMem, raw_call(kCreate, p, kTypePool, s, (u64{1} << 48) - 1));
}
KTEST(pool_of_all_memory_has_an_end, pool_quota) {
    Slot s = slot();
    KREFUSED(kNoMem, raw_call(kCreate, kSlotPool, kTypePool, s, boot_info().free_bytes));
    KREFUSED(kNoMem, raw_call(kCreate, kSlotPool, kTypeMemory, s, (boot_info().free_bytes + kPage) & ~(kPage - 1)));
    // The quota allows it; the frames may not be there. Either way nothing remains allocated.
    Charges before = charges();
    i64 r = raw_call(kCreate, kSlotPool, kTypeMemory, s, (boot_info().free_bytes / 2) & ~(kPage - 1));
    KCHECK(r == 0 || r == -i64(Errno::kNoMem));
    if (r == 0) KDONE(raw_call(kDelete, s));
    KCHECK(until([&] { return charges() == before; }));
}
KTEST(table_ends_with_a_copy, pool_quota) {
    // The record of a capability is charged to the pool of the table that contains it.
    u64 cost = cost_of(kTypeSpace);
    Slot p = make(kTypePool, cost), space = slot(), e = make(kTypeEndpoint);
    KDONE(raw_call(kCreate, p, kTypeSpace, space, 64));
    KREFUSED(kNoMem, raw_call(kCopy, e, 3, kAllRights, 0, space));
    KREFUSED(kNoMem, raw_call(kMove, e, 3, space));
    KCHECK(!empty(e));
}
KTEST(mapping_ends_with_its_tables, pool_quota) {
    u64 cost = cost_of(kTypeSpace);
    Slot p = make(kTypePool, cost + 2 * kPage), space = slot(), m = make(kTypeMemory, kPage);
    KDONE(raw_call(kCreate, p, kTypeSpace, space, 64));
    KREFUSED(kNoMem, raw_call(kMap, space, m, kAreaStart, 0, kPage, kReadRight));
}
KTEST(mapping_gives_back_its_tables, none) {
    Slot p = make(kTypePool, 64 * kPage), space = slot(), m = make(kTypeMemory, 4 * kPage);
    KDONE(raw_call(kCreate, p, kTypeSpace, space, 64));
    u64 before = used_of(p);
    for (int i = 0; i < 50; ++i) {
        KDONE(raw_call(kMap, space, m, kAreaStart, 0, 4 * kPage, kReadRight));
        KCHECK(used_of(p) > before);
        KDONE(raw_call(kUnmap, space, kAreaStart, 4 * kPage));
        KCHECK(used_of(p) == before);
    }
    KDONE(raw_call(kMap, space, m, kAreaStart, 0, 4 * kPage, kReadRight));
    KDONE(raw_call(kUnmap, space, kAreaStart + kPage, kPage));
    KDONE(raw_call(kUnmap, space, kAreaStart, 4 * kPage));
    KCHECK(used_of(p) == before);
}
KTEST(others_do_not_feel_the_end_of_a_pool, none) {
    Slot p = make(kTypePool, kPage), s = slot();
    KREFUSED(kNoMem, raw_call(kCreate, p, kTypeMemory, s, kPage));
    KDONE(raw_call(kCreate, pool(), kTypeMemory, s, kPage));
}
KTEST(pools_in_pools, none) {
    Slot outer = make(kTypePool, 64 * kPage), inner = slot(), m = slot();
    KDONE(raw_call(kCreate, outer, kTypePool, inner, 32 * kPage));
    u64 used = used_of(outer);
    KCHECK(used >= 32 * kPage);
    KDONE(raw_call(kCreate, inner, kTypeMemory, m, 8 * kPage));
    KCHECK(used_of(outer) == used && used_of(inner) > 8 * kPage);
    KDONE(raw_call(kRevoke, outer));
    KCHECK(empty(inner) && empty(m));
    KCHECK(until([&] { return used_of(outer) == 0; }));
}
KTEST(made_and_deleted_many_times, none) {
    Slot p = make(kTypePool, 200 * kPage);
    for (Type t :
         {kTypePool, kTypeSpace, kTypeThread, kTypeEndpoint, kTypeReply, kTypeNotification, kTypeMemory, kTypeSched}) {
        Slot s = slot();
        for (int i = 0; i < 40; ++i) {
            i64 r = raw_call(kCreate, p, t, s, argument_of(t));
            // A deleted object is charged until no CPU can access it any more.
            if (r == -i64(Errno::kNoMem)) {
                sleep(kMillisecond);
                r = raw_call(kCreate, p, t, s, argument_of(t));
            }
            KDONE(r);
            KDONE(raw_call(kDelete, s));
        }
    }
    KCHECK(until([&] { return used_of(p) == 0; }));
}
KTEST(fresh_memory_is_empty, none) {
    for (int round = 0; round < 3; ++round) {
        Slot m = make(kTypeMemory, 4 * kPage);
        KDONE(raw_call(kMap, kSlotSpace, m, kAreaStart, 0, 4 * kPage, kReadRight | kWriteRight));
        auto* words = reinterpret_cast<volatile u64*>(kAreaStart);
        for (u64 i = 0; i < 4 * kPage / 8; ++i) {
            KCHECK(words[i] == 0);
            words[i] = ~u64{0};
        }
        KDONE(raw_call(kDelete, m));
    }
}
KTEST(fresh_pages_of_threads_are_empty, none) {
    for (int round = 0; round < 3; ++round) {
        Slot t = make(kTypeThread);
        KDONE(raw_call(kThreadConfigure, t, kSlotSpace, kAreaStart));
        auto* words = reinterpret_cast<volatile u64*>(kAreaStart);
        KCHECK(words[0] == kAreaStart);
        for (u64 i = 1; i < kPage / 8; ++i) {
            KCHECK(words[i] == 0);
            words[i] = ~u64{0};
        }
        KDONE(raw_call(kDelete, t));
    }
}
KTEST(memory_shared_by_two_spaces, none) {
    static std::atomic<u64> there;
    static auto look = [](u64) {
        auto* word = reinterpret_cast<volatile u64*>(kAreaStart + kPage);
        there = *word;
        *word = 66;
    };
    there = 0;
    Slot m = make(kTypeMemory, kPage), space = other_space();
    KDONE(raw_call(kMap, kSlotSpace, m, kAreaStart, 0, kPage, kReadRight | kWriteRight));
    KDONE(raw_call(kMap, space, m, kAreaStart + kPage, 0, kPage, kReadRight | kWriteRight));
    auto* word = reinterpret_cast<volatile u64*>(kAreaStart);
    *word = 44;
    Helper& h = start(+look, 0, {.cpu = far_cpu(), .space = space});
    KCHECK(until_done(h) && there == 44 && *word == 66);
}
KTEST(unmapped_in_the_middle, none) {
    Slot m = make(kTypeMemory, 4 * kPage);
    KDONE(raw_call(kMap, kSlotSpace, m, kAreaStart, 0, 4 * kPage, kReadRight | kWriteRight));
    for (u64 i = 0; i < 4; ++i) *reinterpret_cast<volatile u64*>(kAreaStart + i * kPage) = i;
    KDONE(raw_call(kUnmap, kSlotSpace, kAreaStart + kPage, 2 * kPage));
    KREFUSED(kFault, raw_call(kWrite, kSlotSystem, kAreaStart + kPage, 1));
    KREFUSED(kFault, raw_call(kWrite, kSlotSystem, kAreaStart + 2 * kPage, 1));
    KCHECK(*reinterpret_cast<volatile u64*>(kAreaStart) == 0 &&
           *reinterpret_cast<volatile u64*>(kAreaStart + 3 * kPage) == 3);
    KDONE(raw_call(kMap, kSlotSpace, m, kAreaStart + kPage, 2 * kPage, kPage, kReadRight));
    KCHECK(*reinterpret_cast<volatile u64*>(kAreaStart + kPage) == 2);
    KDONE(raw_call(kDelete, m));
    for (u64 i : {0, 1, 3}) KREFUSED(kFault, raw_call(kWrite, kSlotSystem, kAreaStart + i * kPage, 1));
}

// --- Traces

KTEST_CPUS(trace_tells_what_happened, none) {
    static auto echo = [](u64 e) {
        Message m;
        for (auto r = receive(e, m); r.ok(); r = reply_receive(e, m)) {
        }
    };
    static abi::trace::Record records[512];
    auto read = [] { return raw_call(kTraceControl, kSlotSystem, kTraceRead, u64(records), sizeof records); };
    Slot e = make(kTypeEndpoint);
    Helper& h = start(+echo, e, {.cpu = cpu});
    KCHECK(until_state(h, kStateReceiving));
    // Before tracing starts, because a call that reads leaves a record of itself.
    while (read() > 0) {
    }
    KDONE(raw_call(kTraceControl, kSlotSystem, kTraceStart));
    for (int i = 0; i < 10; ++i) {
        Message m = message(0);
        KDONE(code(call(e, m)));
    }
    KDONE(raw_call(kTraceControl, kSlotSystem, kTraceStop));
    i64 bytes = read();
    KCHECK(bytes > 0 && bytes % i64(sizeof records[0]) == 0);
    u64 found = 0;
    for (u64 i = 0; i < u64(bytes) / sizeof records[0]; ++i) {
        KCHECK(records[i].path < abi::trace::Path::kCount && records[i].test < abi::trace::Test::kCount);
        KCHECK(records[i].cpu < boot_info().cpus);
        found += records[i].path == abi::trace::Path::kFastCall || records[i].path == abi::trace::Path::kSlowCall;
    }
    KCHECK(found >= 10);
    while (read() > 0) {
    }
    KCHECK(read() == 0);
}
// The time for which a thread waits, with no other thread to run, is not part of its call.
KTEST(trace_leaves_out_what_is_waited, none) {
    static abi::trace::Record records[64];
    auto read = [] { return raw_call(kTraceControl, kSlotSystem, kTraceRead, u64(records), sizeof records); };
    constexpr u64 kWait = 40 * kMillisecond;
    const u64 most = boot_info().cycle_hz / 1000 * (kWait / kMillisecond) / 2;
    Slot n = make(kTypeNotification);
    bool found = false;
    // Repeated if the host stopped the CPU during the call.
    for (int i = 0; i < 10 && !found; ++i) {
        while (read() > 0) {
        }
        KDONE(raw_call(kTraceControl, kSlotSystem, kTraceStart));
        Message m;
        KREFUSED(kTimedOut, code(receive_soon(n, m, kWait)));
        KDONE(raw_call(kTraceControl, kSlotSystem, kTraceStop));
        i64 bytes = read();
        for (u64 r = 0; r < u64(bytes) / sizeof records[0]; ++r)
            found |= records[r].reason == abi::trace::Reason::kWaits && records[r].cycles < most;
    }
    KCHECK(found);
}
KTEST(trace_read_to_nowhere, none) {
    KDONE(raw_call(kTraceControl, kSlotSystem, kTraceStart));
    for (int i = 0; i < 5; ++i) KDONE(raw_call(kIdentify, pool()));
    KDONE(raw_call(kTraceControl, kSlotSystem, kTraceStop));
    KREFUSED(kFault, raw_call(kTraceControl, kSlotSystem, kTraceRead, kAreaStart, 64));
    KREFUSED(kFault, raw_call(kTraceControl, kSlotSystem, kTraceRead, 0xffff'8000'0000'0000, 64));
    KCHECK(raw_call(kTraceControl, kSlotSystem, kTraceRead, kAreaStart, 0) == 0);
}

}  // namespace ktest
