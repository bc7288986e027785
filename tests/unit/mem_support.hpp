// SPDX-License-Identifier: MIT
// What the tests of rt/mem share: a fresh allocator over a part of the hosted memory, and threads as CPUs.
#pragma once
#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "hal/bind.hpp"
#include "rt/mem/pages.hpp"

namespace mem_test {

// The allocator over `bytes` of memory from `offset`; whatever was there before is forgotten.
inline void fresh_memory(u64 bytes, u64 offset = 0) {
    rt::mem_fail_never();
    rt::mem_reset_for_test();
    rt::mem_add_range(hal::Machine::kMemoryStart + offset, bytes);
}

class MemTest : public testing::Test {
protected:
    void SetUp() override {
        hal::Machine::set_cpu_count(4);
        hal::Machine::bind_cpu(CpuId{0});
        fresh_memory(u64{64} << 20);
        before_ = rt::mem_stats().free_bytes / kPageSize;
    }
    void TearDown() override {
        rt::mem_fail_never();
        EXPECT_EQ(rt::mem_check(), nullptr);
    }
    u64 before_ = 0;
};

// Runs body(cpu) on `cpus` threads, each bound to its CPU; returns when all have ended.
template <class F>
void on_cpus(u32 cpus, F body) {
    std::vector<std::thread> threads;
    for (u32 i = 0; i < cpus; ++i)
        threads.emplace_back([i, &body] {
            hal::Machine::bind_cpu(CpuId{i});
            body(i);
        });
    for (std::thread& t : threads) t.join();
}

}  // namespace mem_test
