// SPDX-License-Identifier: MIT
// A CPU that has calls of others to serve without a moment's pause (here: the serving hook makes the call pending again
// at once) still lets its own user threads into user mode, runs its jobs and notices its timers.
#include <cstring>

#include "core/trap.hpp"
#include "rt/mem/pages.hpp"
#include "rt/mem/slab.hpp"
#include "rt/wait.hpp"
#include "tests/kernel/ktest.hpp"

namespace {

using namespace rt;
using hal::Machine;

constexpr unsigned char kCountForEver[] = {0x48, 0xff, 0x07,  // 1: incq (%rdi)
                                           0xeb, 0xfb};       //    jmp 1b
constexpr u64 kCode = 0x40'0000, kData = 0x50'0000;

struct Counting : core::Thread {
    std::atomic<bool> over{false}, trapped{false};
};

struct Load {
    Executor* server = nullptr;
    CallWord word{0};
    std::atomic<u64> served{0};
    std::atomic<bool> stop{false};
    std::atomic<u32> wakes{0}, told{0}, ended{0};
    Counting threads[2];
};
constinit Load* load = nullptr;  // for the hook

void serve_again(Executor&, CallWord& word) {
    load->served.fetch_add(1, std::memory_order_relaxed);
    word.store(load->stop.load(std::memory_order_relaxed) ? kCallActive | kCallDone : call_for(load->server->cpu()),
               std::memory_order_release);
}

void counting_is_over(core::Thread& thread) {
    Counting& t = static_cast<Counting&>(thread);
    t.leave_cpu();
    t.over.store(true, std::memory_order_release);
}
void counting_trap(core::Thread& thread, const lib::Trap&) {
    static_cast<Counting&>(thread).trapped.store(true);
    Executor::current().leave_user_state();
    counting_is_over(thread);
    Executor::current().run_forever();
}
void counting_syscall(core::Thread& t) { counting_trap(t, {}); }
constinit core::Abi counting_abi{&counting_syscall, &counting_trap, &counting_is_over};

Task<void> pause_for(u64 ns) {
    Wait wait{"a pause"};
    wait.until(Machine::now() + Nanoseconds{ns});
    (void)co_await wait;
}

// On the serving CPU.
Task<void> sleeper() {
    while (!load->stop.load(std::memory_order_relaxed)) {
        co_await pause_for(500'000);
        load->wakes.fetch_add(1);
    }
    load->ended.fetch_add(1);
}
// On another: as a waiter for a call does it there.
Task<void> caller() {
    while (!load->stop.load(std::memory_order_relaxed)) {
        for (u32 n = 0; n < 2000; ++n)
            if (load->server->user_state.must_be_told()) {
                load->server->attract(kAttnInbox);
                load->told.fetch_add(1);
            }
        co_await pause_for(10'000);
    }
    load->ended.fetch_add(1);
}
Task<void> unload_here() {
    core::Space::unload();
    load->ended.fetch_add(1);
    co_return;
}

Task<bool> within_seconds(u32 seconds, auto done) {
    Nanoseconds give_up = Machine::now() + lib::milliseconds(seconds * 1000);
    while (!done()) {
        if (Machine::now() > give_up) co_return false;
        co_await pause_for(1'000'000);
    }
    co_return true;
}

// The threads of `load`, each of which counts for ever in a word of its own.
struct CountingThreads {
    PhysAddr code{}, data{};

    // Not ready yet; at home on `ex` alone.
    Result<void> start(Executor& ex) {
        auto space = TRY(core::Space::create());
        code = TRY(alloc_zeroed_frame()), data = TRY(alloc_zeroed_frame());
        std::memcpy(Machine::phys_to_virt(code), kCountForEver, sizeof kCountForEver);
        lib::MapEntry entries[] = {{UserAddr{kCode}, code, {.read = true, .exec = true}},
                                   {UserAddr{kData}, data, {.read = true, .write = true}}};
        TRY(space->map(entries));
        for (u32 i = 0; i < 2; ++i) {
            Counting& t = load->threads[i];
            TRY(t.allocate_fpu());
            t.abi = &counting_abi;
            t.space = space;
            t.affinity = CpuSet{1u << ex.cpu().value};
            t.set_home(ex);
            t.context.set_pc(UserAddr{kCode});
            t.context.rdi = kData + i * 8;
        }
        return lib::kOk;
    }
    u64 count(u32 i) const {
        return __atomic_load_n(static_cast<u64*>(Machine::phys_to_virt(data)) + i, __ATOMIC_RELAXED);
    }
    void free() {
        free_frame(code);
        free_frame(data);
    }
};

KTEST(calls_without_end_leave_user_threads_jobs_and_timers_their_turn) {
    Owned<Load> owned{make<Load>()};
    KCHECK(owned);
    load = owned.get();
    Executor& server = Executor::of(CpuId{executor_count() - 1});
    load->server = &server;
    CountingThreads counting;
    CO_TRY(counting.start(server));
    auto count = [&](u32 i) { return counting.count(i); };

    const CallService::How usual = CallService::serve_with<&serve_again>();
    server.service.begin();
    KCHECK(lane_claim(lane(server.cpu(), CpuId{0}), load->word).ok);
    load->word.store(call_for(server.cpu()), std::memory_order_release);
    bool others = &server != &Executor::current();
    KCHECK(spawn("sleeper", sleeper(), server));
    if (others) KCHECK(spawn("caller", caller(), Executor::current()));
    for (Counting& t : load->threads) t.make_ready();

    // The threads compute, and calls are served all the while; four times, so that it is no matter of the beginning.
    bool all = true;
    for (u32 round = 0; round < 4 && all; ++round) {
        u64 before[] = {count(0), count(1)}, served = load->served.load();
        u32 wakes = load->wakes.load();
        all = co_await within_seconds(10, [&] {
            return count(0) > before[0] + 50'000 && count(1) > before[1] + 50'000 && load->wakes.load() > wakes + 3 &&
                   load->served.load() > served + 1000;
        });
    }
    load->stop.store(true);
    for (Counting& t : load->threads) t.kick();
    bool over = co_await within_seconds(10, [&] {
        return load->threads[0].over.load() && load->threads[1].over.load() && load->ended.load() == (others ? 2 : 1);
    });
    KCHECK(over);
    lane_forget(load->word, ~0u >> (32 - executor_count()), 1);
    for (u32 i = 0; i < executor_count(); ++i) KCHECK(spawn("unload", unload_here(), Executor::of(CpuId{i})));
    u32 ended = executor_count() + (others ? 2 : 1);
    KCHECK(co_await within_seconds(10, [&] { return load->ended.load() == ended; }));
    CallService::serve_with(usual);
    bool trapped = load->threads[0].trapped.load() || load->threads[1].trapped.load();
    counting.free();
    KCHECK(all);
    KCHECK(!trapped);
    co_return lib::kOk;
}

// The CPU of the threads is in the kernel while another CPU makes both ready.
constinit std::atomic<bool> hold{false}, held{false};
Task<void> hold_cpu() {
    held.store(true);
    while (hold.load()) Machine::poll_mailbox();
    load->ended.fetch_add(1);
    co_return;
}

KTEST(threads_that_come_back_together_share_their_cpu) {
    Executor& home = Executor::of(CpuId{executor_count() - 1});
    if (&home == &Executor::current()) co_return lib::kOk;  // nobody to look on without taking the CPU from them
    Owned<Load> owned{make<Load>()};
    KCHECK(owned);
    load = owned.get();
    CountingThreads counting;
    CO_TRY(counting.start(home));
    hold.store(true), held.store(false);
    KCHECK(spawn("hold", hold_cpu(), home));
    KCHECK(co_await within_seconds(10, [] { return held.load(); }));
    for (Counting& t : load->threads) t.return_to_queue();
    hold.store(false);
    bool both = co_await within_seconds(10, [&] { return counting.count(0) > 50'000 && counting.count(1) > 50'000; });
    for (Counting& t : load->threads) t.kick();
    KCHECK(co_await within_seconds(10, [] { return load->threads[0].over.load() && load->threads[1].over.load(); }));
    KCHECK(spawn("unload", unload_here(), home));
    KCHECK(co_await within_seconds(10, [] { return load->ended.load() == 2; }));
    counting.free();
    KCHECK(both);
    co_return lib::kOk;
}

}  // namespace
