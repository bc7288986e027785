// SPDX-License-Identifier: MIT
// Executors on host threads, for tests of rt/ and of what runs on it: the test's own thread is CPU 0.
#pragma once
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <thread>
#include <vector>

#include "rt/executor.hpp"
#include "rt/mem/pages.hpp"
#include "rt/task.hpp"

namespace hosted_test {

// One test's CPUs. At most one at a time; when it goes, its CPUs are idle for the epochs.
class Cpus {
public:
    explicit Cpus(u32 count) : count_(count) {
        hal::Machine::set_cpu_count(lib::kMaxCpus);
        hal::Machine::bind_cpu(CpuId{0});
        rt::Executor::start(CpuId{0});
        if (rt::mem_stats().total_bytes == 0) rt::mem_add_range(hal::Machine::kMemoryStart, u64{64} << 20);
        std::atomic<u32> up{1};
        for (u32 i = 1; i < count; ++i)
            threads_.emplace_back([this, i, &up] {
                hal::Machine::bind_cpu(CpuId{i});
                rt::Executor& ex = rt::Executor::start(CpuId{i});
                up.fetch_add(1);
                while (!stop_.load()) {
                    ex.run_until_idle();
                    if (stop_.load()) break;
                    ex.wait_for_work();
                }
                leave();
            });
        while (up.load() != count) std::this_thread::yield();
    }
    ~Cpus() {
        stop_.store(true);
        for (u32 i = 1; i < count_; ++i) hal::Machine::wake(CpuId{i});
        for (auto& t : threads_) t.join();
        rt::Executor::current().run_until_idle();
        leave();
    }
    Cpus(const Cpus&) = delete;

    rt::Executor& operator[](u32 i) { return rt::Executor::of(CpuId{i}); }
    u32 count() const { return count_; }

    // Runs CPU 0 until `done`, which any CPU may make true. False after `seconds`: a wake-up was lost.
    template <class F>
    bool run_until(F done, int seconds = 60) {
        rt::Executor& ex = rt::Executor::current();
        auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
        for (u32 idle = 0; !done();) {
            if (ex.run_one()) {
                idle = 0;
                continue;
            }
            rt::epoch_enter_idle();
            if (++idle > 50) std::this_thread::sleep_for(std::chrono::microseconds(50));
            rt::epoch_leave_idle();
            ex.run_due_timers();
            if (std::chrono::steady_clock::now() > limit) return false;
        }
        return true;
    }

private:
    static void leave() {
        for (int i = 0; i < 8 && rt::epoch_pending() != 0; ++i) rt::quiescent();
        rt::epoch_enter_idle();
    }
    u32 count_;
    std::atomic<bool> stop_{false};
    std::vector<std::thread> threads_;
};

// A job that a test owns: it can be interrupted, and tells when it has ended.
struct TestJob : rt::Job {
    TestJob()
        : Job("test", [](rt::Job& j) { static_cast<TestJob&>(j).ended.store(true, std::memory_order_release); }) {}
    std::atomic<bool> ended{false};
};

// Small enough for a coroutine's frame (splitmix64).
class Random {
public:
    explicit Random(u64 seed) : state_(seed) {}
    u64 operator()() {
        u64 z = (state_ += 0x9e3779b97f4a7c15);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        return z ^ (z >> 31);
    }

private:
    u64 state_;
};

}  // namespace hosted_test
