// SPDX-License-Identifier: MIT
// The runtime inside the kernel: jobs on every CPU, wake-ups across CPUs, timers, epochs.
#include "rt/async_mutex.hpp"
#include "rt/mem/pages.hpp"
#include "rt/mem/retire.hpp"
#include "tests/kernel/ktest.hpp"

namespace {

using namespace rt;

// A flag that a job sets and the test waits for.
struct Done {
    std::atomic<u32> count{0};
    WaitQueue queue;
    void one() {
        count.fetch_add(1);
        queue.wake_all();
    }
    Task<Result<void>> wait(u32 n) {
        for (;;) {
            u32 seen = queue.sequence();
            if (count.load() >= n) co_return lib::kOk;
            Nanoseconds deadline = hal::Machine::now() + lib::milliseconds(20'000);
            CO_TRY(co_await wait_on(queue, seen, "test jobs", deadline));
        }
    }
};

Task<void> visit_every_cpu(Done& done, u32 rounds) {
    for (u32 r = 0; r < rounds; ++r)
        for (u32 i = 0; i < executor_count(); ++i) {
            co_await MoveTo{Executor::of(CpuId{i})};
            if (hal::Machine::this_cpu().value != i) co_return;  // the waiter then times out
        }
    done.one();
}

KTEST(rt_job_moves_over_all_cpus) {
    Done done;
    KCHECK(spawn("mover", visit_every_cpu(done, 200), Executor::current()));
    CO_TRY(co_await done.wait(1));
    co_return lib::kOk;
}

struct PingPong {
    std::atomic<u32> turn{0};
    WaitQueue queue;
};
Task<void> player(PingPong& game, u32 me, u32 rounds, Done& done) {
    for (u32 i = 0; i < rounds; ++i) {
        for (;;) {
            u32 seen = game.queue.sequence();
            if (game.turn.load() % 2 == me) break;
            (void)co_await wait_on(game.queue, seen, "my turn");
        }
        game.turn.fetch_add(1);
        game.queue.wake_all();
    }
    done.one();
}

KTEST(rt_wake_ups_across_cpus_are_not_lost) {
    PingPong game;
    Done done;
    u32 last = executor_count() - 1;
    KCHECK(spawn("ping", player(game, 0, 2000, done), Executor::of(CpuId{0})));
    KCHECK(spawn("pong", player(game, 1, 2000, done), Executor::of(CpuId{last})));
    CO_TRY(co_await done.wait(2));
    KCHECK(game.turn.load() == 4000);
    co_return lib::kOk;
}

KTEST(rt_sleep_is_not_shorter_than_asked) {
    Nanoseconds start = hal::Machine::now();
    Wait wait{"sleep"};
    wait.until(start + lib::milliseconds(3));
    KCHECK(co_await wait == Wake::kTimeout);
    KCHECK(hal::Machine::now() >= start + lib::milliseconds(3));
    co_return lib::kOk;
}

Task<void> sleeper(Done& done, Wake& why, std::atomic<Job*>& self) {
    self = &co_await ThisJob{};
    Wait wait{"for ever"};
    why = co_await wait;
    done.one();
}

KTEST(rt_interrupt_ends_a_wait_on_another_cpu) {
    Done done;
    Wake why = Wake::kWoken;
    std::atomic<Job*> job{nullptr};
    KCHECK(spawn("sleeper", sleeper(done, why, job), Executor::of(CpuId{executor_count() - 1})));
    do {
        Wait pause{"let it sleep"};
        pause.until(hal::Machine::now() + lib::milliseconds(2));
        (void)co_await pause;
    } while (!job.load());  // a busy host may keep that CPU from running for long
    job.load()->interrupt();
    CO_TRY(co_await done.wait(1));
    KCHECK(why == Wake::kInterrupted);
    co_return lib::kOk;
}

Task<void> incrementer(AsyncMutex& m, u32& plain, u32 rounds, Done& done) {
    for (u32 i = 0; i < rounds; ++i) {
        auto guard = co_await m.lock();
        u32 v = plain;
        co_await Yield{};
        plain = v + 1;
    }
    done.one();
}

KTEST(rt_async_mutex_excludes_across_cpus) {
    AsyncMutex mutex;
    u32 plain = 0;
    Done done;
    for (u32 i = 0; i < executor_count(); ++i)
        KCHECK(spawn("incrementer", incrementer(mutex, plain, 300, done), Executor::of(CpuId{i})));
    CO_TRY(co_await done.wait(executor_count()));
    KCHECK(plain == 300 * executor_count());
    co_return lib::kOk;
}

KTEST(rt_retired_frames_come_back) {
    u64 before = mem_stats().free_bytes;
    for (u32 i = 0; i < 400; ++i) {
        auto frame = alloc_frame();
        KCHECK(frame.ok());
        retire_frame(frame.value());
        if (i % 64 == 0) co_await Yield{};
    }
    // Another CPU may have a frame in its hand for a moment (zeroing while idle).
    for (u32 i = 0; i < 100 && (epoch_pending() != 0 || mem_stats().free_bytes < before); ++i) {
        Wait wait{"an epoch"};
        wait.until(hal::Machine::now() + lib::milliseconds(1));
        (void)co_await wait;
    }
    KCHECK(epoch_pending() == 0);
    KCHECK(mem_stats().free_bytes >= before);
    co_return lib::kOk;
}

}  // namespace
