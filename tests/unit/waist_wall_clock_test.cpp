// SPDX-License-Identifier: MIT
// port::WallClock: what a program reads of the data page while the clock is set, as vdso/x86_64/vdso.cpp reads it.
#include "port/api/wall_clock.hpp"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

namespace {

using abi::vdso::Clock;

struct Page {
    alignas(4096) std::byte bytes[4096] = {};
    Clock& clock() { return *reinterpret_cast<Clock*>(bytes); }
};

// False: being written.
bool read_offset(Clock& c, u64& offset) {
    u32 before = std::atomic_ref{c.sequence}.load(std::memory_order_acquire);
    if (before & 1) return false;
    offset = std::atomic_ref{c.realtime_offset}.load(std::memory_order_acquire);
    return std::atomic_ref{c.sequence}.load(std::memory_order_relaxed) == before;
}

}  // namespace

TEST(WallClock, without_a_page_keeps_the_offset) {
    port::WallClock clock;
    EXPECT_EQ(clock.offset().value, 0u);
    clock.set(Nanoseconds{7});
    EXPECT_EQ(clock.offset().value, 7u);
}

TEST(WallClock, a_page_shows_what_was_set_before_and_what_is_set_later) {
    port::WallClock clock;
    clock.set(Nanoseconds{7});
    Page page;
    clock.show_in(page.bytes, 100, 1ull << 32);
    EXPECT_EQ(page.clock().source, abi::vdso::kTsc);
    EXPECT_EQ(page.clock().tsc_base, 100u);
    EXPECT_EQ(page.clock().tsc_to_ns, 1ull << 32);
    EXPECT_EQ(page.clock().realtime_offset, 7u);
    EXPECT_EQ(page.clock().sequence, 0u);
    clock.set(Nanoseconds{8});
    EXPECT_EQ(clock.offset().value, 8u);
    EXPECT_EQ(page.clock().realtime_offset, 8u);
    EXPECT_EQ(page.clock().sequence, 2u);
}

TEST(WallClock, a_clock_without_a_counter_is_asked_of_the_kernel) {
    port::WallClock clock;
    Page page;
    clock.show_in(page.bytes, 0, 0);
    EXPECT_EQ(page.clock().source, abi::vdso::kSystemCall);
}

// Several threads set it at once; no thread sees an offset that was never set, nor the old one after having seen the
// new one by a system call, nor a page older than the kernel's value.
TEST(WallClock, readers_never_see_the_page_behind_the_kernel) {
    port::WallClock clock;
    Page page;
    clock.show_in(page.bytes, 0, 1);
    std::atomic<u64> next{1};
    std::atomic<bool> stop{false};
    std::atomic<u32> wrong{0};
    std::vector<std::thread> threads;
    for (int n = 0; n < 2; ++n)
        threads.emplace_back([&] {
            for (int i = 0; i < 20'000; ++i) clock.set(Nanoseconds{next.fetch_add(1)});
        });
    for (int n = 0; n < 2; ++n)
        threads.emplace_back([&] {
            u32 last = 0;
            while (!stop.load()) {
                u32 sequence = std::atomic_ref{page.clock().sequence}.load(std::memory_order_acquire);
                if (sequence < last) ++wrong;
                last = sequence;
                u64 offset;
                if (read_offset(page.clock(), offset) && offset >= next.load()) ++wrong;
            }
        });
    threads[0].join();
    threads[1].join();
    stop.store(true);
    threads[2].join();
    threads[3].join();
    EXPECT_EQ(wrong.load(), 0u);
    EXPECT_EQ(page.clock().sequence, 80'000u);
    EXPECT_EQ(page.clock().realtime_offset, clock.offset().value);
}

// One thread sets it in a known order: a reader that has seen n in either place sees no less in the other.
TEST(WallClock, page_and_kernel_agree_in_both_directions) {
    port::WallClock clock;
    Page page;
    clock.show_in(page.bytes, 0, 1);
    std::atomic<bool> stop{false};
    std::thread writer([&] {
        for (u64 i = 1; i <= 50'000; ++i) clock.set(Nanoseconds{i});
        stop.store(true);
    });
    u32 back = 0;
    u64 last = 0;
    while (!stop.load()) {
        u64 there = 0;
        if (!read_offset(page.clock(), there)) continue;
        back += there < last;
        last = clock.offset().value;
        back += last < there;
    }
    writer.join();
    EXPECT_EQ(back, 0u);
}
