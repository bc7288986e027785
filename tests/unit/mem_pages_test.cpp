// SPDX-License-Identifier: MIT
// rt/mem/pages: blocks never overlap, everything coalesces again, the counts are exact, the reserve is kept.
#include "rt/mem/pages.hpp"

#include <atomic>
#include <cstring>
#include <map>
#include <mutex>
#include <random>

#include "tests/unit/mem_support.hpp"

namespace {

using hal::Machine;
using mem_test::MemTest;

constexpr u64 kMiB = u64{1} << 20;

class Pages : public MemTest {};

u64 count_blocks(unsigned order) {
    std::vector<PhysAddr> taken;
    while (true) {
        auto block = rt::alloc_frames(order, rt::Alloc::kMustNotFail);
        if (!block.ok()) break;
        taken.push_back(block.value());
    }
    for (PhysAddr p : taken) rt::free_frames(p, order);
    return taken.size();
}

TEST_F(Pages, RandomBlocksNeverOverlapAndCoalesceAgain) {
    u64 largest_before = count_blocks(rt::kMaxOrder);
    EXPECT_GE(largest_before, 14u);  // of 16 chunks of 4 MiB, one is spent on FrameInfos
    for (u32 seed = 1; seed <= 5; ++seed) {
        std::mt19937 random(seed);
        std::map<u64, unsigned> model;  // address -> order
        u64 used = 0;
        for (int step = 0; step < 6000; ++step) {
            bool grow = model.empty() || random() % 100 < (step < 4000 ? 60 : 40);
            if (grow) {
                unsigned order = random() % 4 == 0 ? random() % 8 : 0;
                auto got = rt::alloc_frames(order);
                if (!got.ok()) continue;
                u64 at = got.value().value, size = kPageSize << order;
                ASSERT_EQ(at % size, 0u);
                ASSERT_GE(at, Machine::kMemoryStart.value);
                ASSERT_LE(at + size, Machine::kMemoryStart.value + 64 * kMiB);
                auto after = model.lower_bound(at);
                if (after != model.end()) ASSERT_LE(at + size, after->first);
                if (after != model.begin()) {
                    auto b = std::prev(after);
                    ASSERT_LE(b->first + (kPageSize << b->second), at);
                }
                model[at] = order;
                used += u64{1} << order;
            } else {
                auto it = model.begin();
                std::advance(it, random() % model.size());
                rt::free_frames(PhysAddr{it->first}, it->second);
                used -= u64{1} << it->second;
                model.erase(it);
            }
            ASSERT_EQ(rt::free_frame_count() + used, before_) << step;
            if (step % 500 == 0) ASSERT_EQ(rt::mem_check(), nullptr);
        }
        for (auto [at, order] : model) rt::free_frames(PhysAddr{at}, order);
        rt::drain_frame_cache();
        ASSERT_EQ(rt::free_frame_count(), before_);
        ASSERT_EQ(rt::mem_check(), nullptr);
    }
    EXPECT_EQ(count_blocks(rt::kMaxOrder), largest_before);
}

TEST_F(Pages, FrameInfoAndAddressLeadToEachOther) {
    auto block = rt::alloc_frames(3);
    ASSERT_TRUE(block.ok());
    for (u64 i = 0; i < 8; ++i) {
        PhysAddr at = block.value() + i * kPageSize;
        rt::FrameInfo& f = rt::frame_info(at);
        EXPECT_EQ(f.address(), at);
        EXPECT_EQ(rt::find_frame_info(at), &f);
        EXPECT_EQ(&rt::FrameInfo::of_owner(f.owner), &f);
    }
    EXPECT_EQ(rt::find_frame_info(PhysAddr{0xfee0'0000}), nullptr);
    EXPECT_EQ(rt::find_frame_info(PhysAddr{~u64{0} << 12}), nullptr);
    rt::free_frames(block.value(), 3);
}

TEST_F(Pages, OwnerWordsOfNeighboursAreTheirOwn) {
    std::vector<PhysAddr> frames;
    for (u32 i = 0; i < 500; ++i) {
        PhysAddr p = rt::alloc_frame().value();
        memset(rt::frame_info(p).owner, static_cast<int>(i), sizeof(rt::FrameInfo::owner));
        frames.push_back(p);
    }
    for (u32 i = 0; i < frames.size(); ++i)
        for (std::byte b : rt::frame_info(frames[i]).owner) ASSERT_EQ(b, std::byte(i));
    for (PhysAddr p : frames) rt::free_frame(p);
}

TEST_F(Pages, OutOfMemoryIsAnErrorAndKeepsTheReserve) {
    std::vector<PhysAddr> taken;
    while (true) {
        auto p = rt::alloc_frame();
        if (!p.ok()) {
            EXPECT_EQ(p.error(), Errno::kNoMem);
            break;
        }
        taken.push_back(p.value());
    }
    EXPECT_TRUE(rt::memory_is_short());
    u64 reserve = rt::mem_stats().reserve_bytes / kPageSize;
    EXPECT_GE(reserve, 16u);
    EXPECT_EQ(rt::free_frame_count(), reserve);
    EXPECT_FALSE(rt::alloc_frames(2).ok());
    for (u64 i = 0; i < reserve; ++i) {
        auto p = rt::alloc_frame(rt::Alloc::kMustNotFail);
        ASSERT_TRUE(p.ok());
        taken.push_back(p.value());
    }
    EXPECT_FALSE(rt::alloc_frame(rt::Alloc::kMustNotFail).ok());
    EXPECT_EQ(rt::free_frame_count(), 0u);
    for (PhysAddr p : taken) rt::free_frame(p);
    EXPECT_EQ(rt::free_frame_count(), before_);
    EXPECT_FALSE(rt::alloc_frames(rt::kMaxOrder + 1).ok());
}

TEST_F(Pages, ZeroedFramesAreZeroAlsoWhenZeroedInIdleTime) {
    std::vector<PhysAddr> taken;
    for (int round = 0; round < 3; ++round) {
        int ahead = 0;
        while (rt::zero_some_in_idle()) ++ahead;
        EXPECT_GT(ahead, 0);
        EXPECT_EQ(rt::free_frame_count() + taken.size(), before_);
        for (int i = 0; i < ahead + 5; ++i) {
            PhysAddr p = rt::alloc_zeroed_frame().value();
            auto* b = static_cast<unsigned char*>(Machine::phys_to_virt(p));
            for (u64 k = 0; k < kPageSize; ++k) ASSERT_EQ(b[k], 0);
            memset(b, 0xee, kPageSize);
            taken.push_back(p);
        }
        for (size_t i = 0; i < taken.size() / 2; ++i) {
            rt::free_frame(taken.back());
            taken.pop_back();
        }
    }
    for (PhysAddr p : taken) rt::free_frame(p);
    EXPECT_EQ(rt::free_frame_count(), before_);
}

TEST_F(Pages, RangesWithHolesUsedRangesAndOddEndsAreRespected) {
    rt::mem_reset_for_test();
    PhysAddr base = Machine::kMemoryStart;
    rt::mem_add_range(base + 100, 1 * kMiB);                // odd ends are cut off
    rt::mem_add_used_range(base + 3 * kMiB + 5, 2 * kMiB);  // an initial RAM disk: 513 frames
    rt::mem_add_range(base + 6 * kMiB, 130 * kMiB);         // crosses into another section
    rt::mem_add_range(base + 400 * kMiB, 8 * kMiB);
    rt::MemStats s = rt::mem_stats();
    EXPECT_EQ(s.total_bytes, (255 + 513) * kPageSize + 138 * kMiB);
    EXPECT_EQ(s.free_bytes + s.info_bytes, 255 * kPageSize + 138 * kMiB);
    EXPECT_EQ(rt::mem_check(), nullptr);
    EXPECT_EQ(rt::find_frame_info(base), nullptr);
    EXPECT_EQ(rt::find_frame_info(base + 2 * kMiB), nullptr);  // the hole
    std::map<u64, int> seen;
    while (true) {
        auto p = rt::alloc_frame(rt::Alloc::kMustNotFail);
        if (!p.ok()) break;
        u64 o = p.value() - base;
        ASSERT_TRUE((o >= 4096 && o + 4096 <= kMiB + 100) || (o >= 6 * kMiB && o < 136 * kMiB) ||
                    (o >= 400 * kMiB && o < 408 * kMiB));
        ASSERT_EQ(seen[o]++, 0);
    }
    EXPECT_EQ(seen.size() * kPageSize, s.free_bytes);
    for (auto [o, n] : seen) rt::free_frame(base + o);
    // The RAM disk's pages, given back one by one.
    for (u64 i = 0; i < 513; ++i) rt::free_frame(base + 3 * kMiB + i * kPageSize);
    EXPECT_EQ(rt::mem_stats().free_bytes, s.free_bytes + 513 * kPageSize);
    EXPECT_EQ(rt::mem_check(), nullptr);
    // A range whose FrameInfos have no place is left unused, not written out of bounds.
    rt::mem_add_range(base + 200 * kMiB, kMiB);
    EXPECT_EQ(rt::mem_stats().total_bytes, s.total_bytes);
}

TEST_F(Pages, EveryAllocationCanBeMadeToFail) {
    for (u64 n = 0; n < 20; ++n) {
        ASSERT_TRUE(rt::mem_fail_after(n));
        std::vector<PhysAddr> taken;
        u64 failed_at = ~u64{0};
        for (u64 i = 0; i < 20; ++i) {
            auto p = i % 3 == 0 ? rt::alloc_frames(1) : i % 3 == 1 ? rt::alloc_frame() : rt::alloc_zeroed_frame();
            if (!p.ok()) {
                EXPECT_EQ(p.error(), Errno::kNoMem);
                failed_at = i;
                continue;
            }
            taken.push_back(p.value());
        }
        EXPECT_EQ(failed_at, n);
        EXPECT_EQ(rt::mem_injected_failures(), 1u);
        EXPECT_TRUE(rt::mem_fail_after(0, 100));
        auto must = rt::alloc_frame(rt::Alloc::kMustNotFail);
        EXPECT_TRUE(must.ok());
        rt::free_frame(must.value());
        rt::mem_fail_never();
        size_t at = 0;
        for (u64 i = 0; i < 20; ++i)
            if (i != failed_at) rt::free_frames(taken[at++], i % 3 == 0 ? 1 : 0);
    }
    EXPECT_EQ(rt::free_frame_count(), before_);
}

TEST_F(Pages, FourCpusNeverGetTheSameFrame) {
    constexpr u32 kCpus = 4;
    std::mutex mutex;
    std::vector<std::pair<PhysAddr, unsigned>> shared;  // handed over to be freed elsewhere
    mem_test::on_cpus(kCpus, [&](u32 cpu) {
        std::mt19937 random(cpu + 1);
        std::vector<std::pair<PhysAddr, unsigned>> mine;
        auto release = [&](std::pair<PhysAddr, unsigned> block) {
            // The thread that wrote these bytes wrote all of them: no other had the frame.
            auto* words = static_cast<u64*>(Machine::phys_to_virt(block.first));
            u64 tag = words[0];
            for (u64 i = 0; i < (kPageSize << block.second) / 8; i += 64) ASSERT_EQ(words[i], tag);
            rt::free_frames(block.first, block.second);
        };
        for (int step = 0; step < 30000; ++step) {
            if (random() % 2) {
                unsigned order = random() % 8 == 0 ? random() % 4 : 0;
                auto p = rt::alloc_frames(order);
                if (!p.ok()) continue;
                auto* words = static_cast<u64*>(Machine::phys_to_virt(p.value()));
                u64 tag = u64{cpu} << 32 | static_cast<u64>(step);
                for (u64 i = 0; i < (kPageSize << order) / 8; i += 64) words[i] = tag;
                mine.emplace_back(p.value(), order);
            } else if (!mine.empty()) {
                size_t at = random() % mine.size();
                auto block = mine[at];
                mine[at] = mine.back();
                mine.pop_back();
                if (random() % 4 == 0) {
                    std::lock_guard hold(mutex);
                    shared.push_back(block);
                    std::swap(shared.back(), shared[random() % shared.size()]);
                    block = shared.back();
                    shared.pop_back();
                }
                release(block);
            }
            if (step % 64 == 0) rt::free_frame_count();
            if (step % 1000 == 999) rt::drain_frame_cache();
        }
        for (auto block : mine) release(block);
        rt::drain_frame_cache();
    });
    EXPECT_EQ(rt::free_frame_count(), before_);
    EXPECT_EQ(rt::mem_check(), nullptr);
}

TEST_F(Pages, FreeingTwiceStopsTheMachine) {
    PhysAddr p = rt::alloc_frame().value();
    rt::free_frame(p);
    EXPECT_DEATH(rt::free_frame(p), "not allocated");
    PhysAddr block = rt::alloc_frames(2).value();
    EXPECT_DEATH(rt::free_frames(block, 1), "not allocated");
    EXPECT_DEATH(rt::free_frame(PhysAddr{0x1000}), "not RAM");
    rt::free_frames(block, 2);
}

}  // namespace
