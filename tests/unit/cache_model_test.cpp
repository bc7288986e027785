// SPDX-License-Identifier: MIT
// The cache and TLB model of the plugin against traces whose misses are counted by hand.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <thread>

#include "tools/cache_model/cpu.hpp"

namespace cache_model {
namespace {

using testing::HasSubstr;

constexpr uint64_t kKernelHalf = 0xffff'8000'0000'0000;

// A small machine: 2 sets of 2 ways in each first level, 2 sets of 4 in the second, 4 of 4 in the last.
MachineShape small() {
    return {.line = 64,
            .l1i = {256, 2},
            .l1d = {256, 2},
            .l2 = {512, 4},
            .llc = {1024, 4},
            .itlb = {2, 2},
            .dtlb = {4, 2},
            .stlb = {8, 4},
            .itlb2m = {},
            .dtlb2m = {}};
}

class Machine {
public:
    explicit Machine(unsigned cpus = 1, const MachineShape& shape = small(), std::vector<PageRange> ranges = {})
        : last_(shape) {
        for (unsigned n = 0; n < cpus; ++n)
            cpus_.push_back(std::make_unique<Cpu>(shape, n, cpus == 1, ranges, states_, last_));
    }
    Cpu& cpu(unsigned n = 0) { return *cpus_[n]; }
    void load(uint64_t address, uint32_t size = 8, unsigned cpu = 0) { access(address, size, false, cpu); }
    void store(uint64_t address, uint32_t size = 8, unsigned cpu = 0) { access(address, size, true, cpu); }
    void lines(std::initializer_list<uint64_t> lines, unsigned cpu = 0) {
        for (uint64_t line : lines) load(line * 64, 8, cpu);
    }
    void pages(std::initializer_list<uint64_t> pages) {
        for (uint64_t page : pages) load(page << 12);
    }
    void code(uint64_t address, uint32_t instructions, bool next_too = false) {
        cpu().code(address, address, instructions, next_too, kUser);
    }
    uint64_t of(Field field, unsigned n = 0, Code kind = kUser) { return cpu(n).counters()[kind][field].get(); }
    uint64_t offset = 0;  // physical - virtual
    uint64_t resolved = 0;

private:
    void access(uint64_t address, uint32_t size, bool store, unsigned cpu) {
        cpus_[cpu]->data(address, size, store, kUser, [this](uint64_t at) {
            ++resolved;
            return at + offset;
        });
    }
    LineStates states_;
    SharedCache last_;
    std::vector<std::unique_ptr<Cpu>> cpus_;
};

TEST(CacheModel, ALineIsLoadedOnce) {
    Machine m;
    for (uint64_t at = 0; at < 64; at += 8) m.load(at);
    EXPECT_EQ(m.of(kLoads), 8u);
    EXPECT_EQ(m.of(kStores), 0u);
    EXPECT_EQ(m.of(kL1d), 1u);
    EXPECT_EQ(m.of(kL2), 1u);
    EXPECT_EQ(m.of(kLlc), 1u);
    m.load(64);
    EXPECT_EQ(m.of(kL1d), 2u);
}

TEST(CacheModel, TheLeastRecentWayGoes) {
    Machine m;
    m.lines({0, 2, 0, 4});  // one set of two ways: 4 takes the place of 2
    EXPECT_EQ(m.of(kL1d), 3u);
    m.lines({0});
    EXPECT_EQ(m.of(kL1d), 3u);
    m.lines({2});  // and 2 that of 4
    EXPECT_EQ(m.of(kL1d), 4u);
    m.lines({0, 2, 0, 2});
    EXPECT_EQ(m.of(kL1d), 4u);
    m.lines({4});
    EXPECT_EQ(m.of(kL1d), 5u);
}

TEST(CacheModel, SetsDoNotDisturbEachOther) {
    Machine m;
    m.lines({0, 1, 2, 3, 0, 1, 2, 3});  // two in each set
    EXPECT_EQ(m.of(kL1d), 4u);
    m.lines({5, 7, 0, 2});  // the other set
    EXPECT_EQ(m.of(kL1d), 6u);
}

TEST(CacheModel, MoreWaysHoldMoreLinesOfASet) {
    MachineShape shape = small();
    shape.l1d = {256, 4};  // one set of four
    Machine m(1, shape);
    m.lines({0, 2, 4, 6, 0, 2, 4, 6});
    EXPECT_EQ(m.of(kL1d), 4u);
    m.lines({8, 0});  // 8 for 0, then 0 for 2
    EXPECT_EQ(m.of(kL1d), 6u);
}

TEST(CacheModel, LongerLinesAreFewer) {
    MachineShape shape = small();
    shape.line = 128;
    Machine m(1, shape);
    for (uint64_t at = 0; at < 256; at += 8) m.load(at);
    EXPECT_EQ(m.of(kL1d), 2u);
    shape.line = 32;
    Machine fine(1, shape);
    for (uint64_t at = 0; at < 256; at += 8) fine.load(at);
    EXPECT_EQ(fine.of(kL1d), 8u);
}

TEST(CacheModel, AnAccessAcrossALineCountsOnceAndTouchesBoth) {
    Machine m;
    m.load(60, 8);
    EXPECT_EQ(m.of(kLoads), 1u);
    EXPECT_EQ(m.of(kL1d), 1u);
    m.lines({0, 1});
    EXPECT_EQ(m.of(kL1d), 1u);
    m.load(124, 8);  // one of the two is new
    EXPECT_EQ(m.of(kL1d), 2u);
}

TEST(CacheModel, WhatTheFirstLevelLosesTheSecondAndTheLastHave) {
    Machine m;
    m.lines({0, 2, 4, 6});  // the second level's set of four
    EXPECT_EQ(m.of(kLlc), 4u);
    m.lines({0});
    EXPECT_EQ(m.of(kL1d), 5u);
    EXPECT_EQ(m.of(kL2), 4u);
    m.lines({8, 2});  // 8 takes the place of 2 in the second level; the last has both
    EXPECT_EQ(m.of(kL1d), 7u);
    EXPECT_EQ(m.of(kL2), 6u);
    EXPECT_EQ(m.of(kLlc), 5u);
}

TEST(CacheModel, WithoutASecondLevelTheLastIsNext) {
    MachineShape shape = small();
    shape.l2 = {};
    Machine m(1, shape);
    m.lines({0, 2, 4, 0});
    EXPECT_EQ(m.of(kL1d), 4u);
    EXPECT_EQ(m.of(kL2), 0u);
    EXPECT_EQ(m.of(kLlc), 3u);
}

TEST(CacheModel, CodeAndDataShareTheSecondLevelOnly) {
    Machine m;
    m.code(0, 5);
    m.code(20, 3);
    m.code(64, 1, true);  // its last instruction ends in the line after it
    m.code(128, 1);
    EXPECT_EQ(m.of(kInstructions), 10u);
    EXPECT_EQ(m.of(kL1i), 2u);
    EXPECT_EQ(m.of(kL1d), 0u);
    m.lines({0, 2, 4, 6});  // with lines 0 and 2 of the code, six in the second level's set of four
    m.code(256, 1);
    m.code(384, 1);
    const uint64_t l2 = m.of(kL2);
    m.code(0, 1);
    EXPECT_EQ(m.of(kL1i), 5u);
    EXPECT_EQ(m.of(kL2), l2 + 1);
}

TEST(CacheModel, AWriteTakesTheLineFromOtherCpus) {
    Machine m(2);
    m.load(0, 8, 0);
    m.load(0, 8, 1);
    EXPECT_EQ(m.of(kLlc, 1), 0u);  // the last level is shared
    m.store(0, 8, 1);              // a hit, for CPU 1
    EXPECT_EQ(m.of(kL1d, 1), 1u);
    m.load(0, 8, 0);
    EXPECT_EQ(m.of(kL1d, 0), 2u);
    EXPECT_EQ(m.of(kL2, 0), 2u);
    EXPECT_EQ(m.of(kLlc, 0), 1u);
    EXPECT_EQ(m.of(kInvalidated, 0), 1u);
    m.load(0, 8, 1);  // a read leaves the writer its copy
    EXPECT_EQ(m.of(kL1d, 1), 1u);
    m.store(0, 8, 1);  // the second write after another's read invalidates again
    m.load(0, 8, 0);
    EXPECT_EQ(m.of(kInvalidated, 0), 2u);
    EXPECT_EQ(m.of(kInvalidated, 1), 0u);
}

TEST(CacheModel, ReadersDoNotInvalidateEachOther) {
    Machine m(3);
    for (int i = 0; i < 10; ++i)
        for (unsigned cpu = 0; cpu < 3; ++cpu) m.lines({0, 1}, cpu);
    for (unsigned cpu = 0; cpu < 3; ++cpu) EXPECT_EQ(m.of(kL1d, cpu), 2u) << cpu;
}

TEST(CacheModel, ALineInTheSecondLevelAloneIsInvalidatedToo) {
    Machine m(2);
    m.lines({0, 2, 4}, 0);  // 0 is in CPU 0's second level only
    m.store(0, 8, 1);
    m.load(0, 8, 0);
    EXPECT_EQ(m.of(kL2, 0), 4u);
    // But one's own write, which it has seen, is no loss.
    m.store(0, 8, 0);
    m.lines({2, 4}, 0);
    m.load(0, 8, 0);
    EXPECT_EQ(m.of(kL2, 0), 4u);
}

TEST(CacheModel, AnInvalidWayIsTakenFirst) {
    Machine m(2);
    m.lines({2, 0}, 0);  // 2 is the least recent
    m.store(0, 8, 1);    // 0 is invalid
    m.lines({4}, 0);
    m.lines({2}, 0);
    EXPECT_EQ(m.of(kL1d, 0), 3u);
}

TEST(CacheModel, WritesInTurnMissEachTime) {
    Machine m(2);
    for (int i = 0; i < 10; ++i) {
        m.store(0, 8, 0);
        m.store(32, 8, 1);  // the same line: false sharing
    }
    EXPECT_EQ(m.of(kL1d, 0), 10u);
    EXPECT_EQ(m.of(kL1d, 1), 10u);
    EXPECT_EQ(m.of(kInvalidated, 0), 9u);
    EXPECT_EQ(m.of(kLlc, 0) + m.of(kLlc, 1), 1u);
}

TEST(CacheModel, TheTlbsHaveSetsAndWays) {
    Machine m;
    m.pages({0, 2, 0, 4});  // a set of two
    EXPECT_EQ(m.of(kDtlb), 3u);
    EXPECT_EQ(m.of(kDtlbWalk), 3u);
    m.pages({0, 2});  // the second level has 2
    EXPECT_EQ(m.of(kDtlb), 4u);
    EXPECT_EQ(m.of(kDtlbWalk), 3u);
    m.pages({6, 8, 10, 12});  // its set of four is full without 0
    m.pages({0});
    EXPECT_EQ(m.of(kDtlbWalk), 8u);
    m.pages({1, 3, 1});
    EXPECT_EQ(m.of(kDtlb), 11u);
    EXPECT_EQ(m.of(kItlb), 0u);
}

TEST(CacheModel, TheSecondTlbServesCodeAndData) {
    Machine m;
    m.load(0x5000);
    m.code(0x5000, 1);
    EXPECT_EQ(m.of(kItlb), 1u);
    EXPECT_EQ(m.of(kItlbWalk), 0u);
    EXPECT_EQ(m.of(kDtlbWalk), 1u);
}

TEST(CacheModel, AnotherAddressSpaceKeepsGlobalPagesOnly) {
    Machine m(1, small(), {{.begin = kKernelHalf, .end = 0, .shift = 12, .global = true}});
    m.load(0x1000);
    m.load(kKernelHalf + 0x2000);
    m.code(0x3000, 1);
    EXPECT_EQ(m.of(kDtlb), 2u);
    m.cpu().flush_space(kKernel);
    m.load(0x1000);
    m.load(kKernelHalf + 0x2000);
    m.code(0x3000, 1);
    EXPECT_EQ(m.of(kDtlb), 3u);
    EXPECT_EQ(m.of(kDtlbWalk), 3u);
    EXPECT_EQ(m.of(kItlbWalk), 2u);
    m.cpu().flush_all(kKernel);
    m.load(0x1000);
    m.load(kKernelHalf + 0x2000);
    EXPECT_EQ(m.of(kDtlbWalk), 5u);
    EXPECT_EQ(m.of(kSpaceFlushes, 0, kKernel), 2u);
    EXPECT_EQ(m.of(kL1d), 2u);  // caches are physical: they keep everything
}

TEST(CacheModel, WithoutARangeTheKernelIsNotGlobal) {
    Machine m;
    m.load(kKernelHalf);
    m.cpu().flush_space(kKernel);
    m.load(kKernelHalf);
    EXPECT_EQ(m.of(kDtlbWalk), 2u);
}

TEST(CacheModel, ADroppedEntrysWayIsTakenFirst) {
    Machine m(1, small(), {{.begin = kKernelHalf, .end = 0, .shift = 12, .global = true}});
    m.load(kKernelHalf);  // least recent, and global
    m.load(0x2000);
    m.cpu().flush_space(kKernel);
    m.load(0x4000);
    m.load(kKernelHalf);
    EXPECT_EQ(m.of(kDtlb), 3u);
}

TEST(CacheModel, ALargePageIsOneEntry) {
    MachineShape shape = small();
    Machine m(1, shape, {{.begin = kKernelHalf, .end = kKernelHalf + (1 << 30), .shift = 21, .global = true}});
    for (uint64_t at = 0; at < (2 << 20); at += 4096) m.load(kKernelHalf + at);
    EXPECT_EQ(m.of(kDtlb), 1u);
    EXPECT_EQ(m.resolved, 1u);
    m.load(kKernelHalf + (2 << 20));
    EXPECT_EQ(m.of(kDtlb), 2u);
    m.load(kKernelHalf + (1 << 30));  // beyond the range
    m.load(kKernelHalf + (1 << 30) + 4096);
    EXPECT_EQ(m.of(kDtlb), 4u);
}

TEST(CacheModel, LargePagesHaveEntriesOfTheirOwnWhereTheMachineHas) {
    MachineShape shape = small();
    shape.dtlb2m = {1, 1};
    Machine m(1, shape, {{.begin = kKernelHalf, .end = 0, .shift = 21, .global = true}});
    m.load(kKernelHalf);
    m.pages({0, 2, 4, 6});
    m.load(kKernelHalf);
    EXPECT_EQ(m.of(kDtlb), 5u);
    m.load(kKernelHalf + (2 << 20));
    m.load(kKernelHalf);
    EXPECT_EQ(m.of(kDtlb), 7u);
}

TEST(CacheModel, AfterAPageFlushOnlyAPageWithAnotherFrameIsAMiss) {
    Machine m;
    m.pages({1, 3});
    m.cpu().flush_page(kKernel);
    m.pages({1});
    EXPECT_EQ(m.of(kDtlb), 2u);
    m.cpu().flush_page(kKernel);
    m.offset = 1 << 20;
    m.pages({1});
    EXPECT_EQ(m.of(kDtlb), 3u);
    EXPECT_EQ(m.of(kDtlbWalk), 3u);
    EXPECT_EQ(m.of(kL1d), 3u);  // and another line
    EXPECT_EQ(m.of(kPageFlushes, 0, kKernel), 2u);
}

TEST(CacheModel, CodeOnAPageWithAnotherFrameIsAMissToo) {
    Machine m;
    m.cpu().code(0x1000, 0x7000, 1, false, kUser);
    m.cpu().flush_page(kKernel);
    m.cpu().code(0x1000, 0x7000, 1, false, kUser);
    EXPECT_EQ(m.of(kItlb), 1u);
    m.cpu().flush_page(kKernel);
    m.cpu().code(0x1000, 0x8000, 1, false, kUser);
    EXPECT_EQ(m.of(kItlb), 2u);
    EXPECT_EQ(m.of(kL1i), 2u);
}

TEST(CacheModel, TwoAddressesOfOneFrameAreOneLine) {
    Machine m;
    m.load(0x1000);
    m.cpu().data(0x9000, 8, false, kUser, [](uint64_t) { return uint64_t{0x1000}; });
    EXPECT_EQ(m.of(kL1d), 1u);
    EXPECT_EQ(m.of(kDtlb), 2u);
}

TEST(CacheModel, DevicesAreNotCached) {
    Machine m;
    for (int i = 0; i < 3; ++i) m.cpu().data(0x9000, 4, true, kKernel, [](uint64_t) { return kDevice; });
    EXPECT_EQ(m.of(kStores, 0, kKernel), 3u);
    EXPECT_EQ(m.of(kDtlb, 0, kKernel), 1u);
    EXPECT_EQ(m.of(kL1d, 0, kKernel), 0u);
}

TEST(CacheModel, KindsOfCodeAreCountedApartAndShareTheCaches) {
    Machine m;
    m.cpu().code(0, 0, 4, false, kKernel);
    m.cpu().data(0, 8, false, kKernel, [](uint64_t at) { return at; });
    m.load(0);
    EXPECT_EQ(m.of(kL1d, 0, kKernel), 1u);
    EXPECT_EQ(m.of(kL1d, 0, kUser), 0u);
    EXPECT_EQ(m.of(kInstructions, 0, kKernel), 4u);
}

// Each CPU writes lines of its own and reads those of the other: whatever the order, a line that only its owner uses is
// never lost, and no count goes astray.
TEST(CacheModel, CpusMayRunAtOnce) {
    MachineShape shape = small();
    shape.l1d = {4096, 8};
    shape.l2 = {16384, 8};
    shape.llc = {65536, 16};
    Machine m(2, shape);
    constexpr uint64_t kRounds = 20000;
    auto run = [&](unsigned n) {
        Cpu& cpu = m.cpu(n);
        for (uint64_t i = 0; i < kRounds; ++i) {
            cpu.data(0, 8, true, kUser, [](uint64_t at) { return at; });
            cpu.data(0x1000 + n * 0x1000, 8, true, kUser, [](uint64_t at) { return at; });
        }
    };
    std::thread other(run, 1);
    run(0);
    other.join();
    for (unsigned n : {0u, 1u}) {
        EXPECT_EQ(m.of(kStores, n), 2 * kRounds);
        EXPECT_EQ(m.of(kL1d, n), 2 + m.of(kInvalidated, n));
        EXPECT_LE(m.of(kInvalidated, n), kRounds);
    }
    EXPECT_EQ(m.of(kLlc, 0) + m.of(kLlc, 1), 3u);
}

TEST(CacheModel, ModelsAreReadFromText) {
    MachineShape shape;
    for (const char* preset : {"i5-8279u", "cortex-a9", "server"}) EXPECT_EQ(read_model(shape, preset), "") << preset;
    EXPECT_EQ(read_model(shape, "i5-8279u"), "");
    EXPECT_EQ(shape.llc.bytes, 6u << 20);
    EXPECT_EQ(read_model(shape, "cortex-a9,l2=256K/8,line=64,stlb=none,dtlb=64/64"), "");
    EXPECT_EQ(shape.line, 64u);
    EXPECT_EQ(shape.l2, (CacheShape{256 << 10, 8}));
    EXPECT_EQ(shape.stlb.entries, 0u);
    EXPECT_EQ(shape.dtlb, (TlbShape{64, 64}));
}

TEST(CacheModel, AModelThatCannotBeIsRefused) {
    MachineShape shape;
    const std::pair<const char*, const char*> bad[] = {{"", "no such model"},
                                                       {"i7", "i5-8279u"},
                                                       {"server,l1d", "no such model"},
                                                       {"server,l1x=1K/2", "not understood"},
                                                       {"server,l1d=", "not understood"},
                                                       {"server,l1d=32K", "not understood"},
                                                       {"server,l1d=0/8", "not understood"},
                                                       {"server,l1d=99999999999999M/8", "not understood"},
                                                       {"server,l1d=32K/7", "l1d"},
                                                       {"server,l1d=48K/8", "l1d"},
                                                       {"server,l1d=none", "l1d"},
                                                       {"server,llc=none", "llc"},
                                                       {"server,dtlb=96/8", "dtlb"},
                                                       {"server,itlb=none", "itlb"},
                                                       {"server,line=48", "line"},
                                                       {"server,line=4K", "line"},
                                                       {"server,", "no such model"}};
    for (const auto& [text, part] : bad) EXPECT_THAT(read_model(shape, text), HasSubstr(part)) << text;
}

}  // namespace
}  // namespace cache_model
