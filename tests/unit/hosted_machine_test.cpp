// SPDX-License-Identifier: MIT
// hal/hosted: a wake is never lost, timers end a wait and only once, CPUs keep their own data.
#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/unit/mem_support.hpp"

namespace {

using hal::Machine;

TEST(HostedMachine, AWakeBeforeTheWaitEndsIt) {
    Machine::bind_cpu(CpuId{0});
    Machine::disarm_timer();
    Machine::wake(CpuId{0});
    Machine::wait_for_event();
    Nanoseconds start = Machine::now();
    Machine::arm_timer(start + lib::milliseconds(5));
    Machine::wait_for_event();  // the wake was taken: only the timer ends this one
    EXPECT_GE(Machine::now(), start + lib::milliseconds(5));
}

TEST(HostedMachine, PingPongOverWakesLosesNone) {
    std::atomic<u32> turn{0};
    mem_test::on_cpus(2, [&](u32 me) {
        Machine::disarm_timer();
        for (u32 i = 0; i < 5000; ++i) {
            while (turn.load() % 2 != me) Machine::wait_for_event();
            turn.fetch_add(1);
            Machine::wake(CpuId{1 - me});
        }
    });
    EXPECT_EQ(turn.load(), 10000u);
}

TEST(HostedMachine, EachCpuHasItsOwnLocalPointer) {
    int data[4];
    mem_test::on_cpus(4, [&](u32 me) {
        Machine::set_local(&data[me]);
        std::this_thread::yield();
        EXPECT_EQ(Machine::local(), &data[me]);
        EXPECT_EQ(Machine::this_cpu(), CpuId{me});
    });
}

TEST(HostedMachine, PhysicalMemoryIsTheMemfd) {
    PhysAddr at = Machine::kMemoryStart + 12 * kPageSize;
    auto* p = static_cast<char*>(Machine::phys_to_virt(at));
    EXPECT_EQ(Machine::virt_to_phys(p), at);
    p[7] = 'x';
    char byte = 0;
    EXPECT_EQ(pread(Machine::memory_fd(), &byte, 1, 12 * kPageSize + 7), 1);
    EXPECT_EQ(byte, 'x');
}

}  // namespace
