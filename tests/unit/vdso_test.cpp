// SPDX-License-Identifier: MIT
// The vDSO itself, loaded into this process with a data page of the test's: what it computes from the counter, and that
// it asks the kernel where the page requires it. (Where it is and what Linux's own does: tests/linux/programs/vdso.c.)
#include <elf.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include <chrono>
#include <cstring>
#include <thread>

#include "port/api/wall_clock.hpp"

namespace {

using abi::vdso::Clock;
using abi::vdso::kCodePages, abi::vdso::kDataPages, abi::vdso::kPageBytes;

struct Loaded {
    std::byte* data = nullptr;
    std::byte* code = nullptr;
    Loaded() {
        int fd = open(VDSO_FILE, O_RDONLY | O_CLOEXEC);
        struct stat s{};
        if (fd < 0 || fstat(fd, &s) != 0 || u64(s.st_size) > kCodePages * kPageBytes) return;
        size_t size = (kDataPages + kCodePages) * kPageBytes;
        auto* at =
            static_cast<std::byte*>(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        std::byte* to = at + kDataPages * kPageBytes;
        bool whole = read(fd, to, size_t(s.st_size)) == s.st_size;
        close(fd);
        if (!whole || mprotect(to, kCodePages * kPageBytes, PROT_READ | PROT_EXEC) != 0) return;
        data = at;
        code = to;
    }
    ~Loaded() {
        if (data) munmap(data, (kDataPages + kCodePages) * kPageBytes);
    }
    Clock& clock() { return *reinterpret_cast<Clock*>(data); }

    template <class F>
    F* function(const char* name) {
        auto* header = reinterpret_cast<Elf64_Ehdr*>(code);
        auto* table = reinterpret_cast<Elf64_Phdr*>(code + header->e_phoff);
        const Elf64_Dyn* dynamic = nullptr;
        for (int i = 0; i < header->e_phnum; ++i)
            if (table[i].p_type == PT_DYNAMIC) dynamic = reinterpret_cast<Elf64_Dyn*>(code + table[i].p_vaddr);
        const char* strings = nullptr;
        const Elf64_Sym* symbols = nullptr;
        const u32* hash = nullptr;
        for (; dynamic && dynamic->d_tag != DT_NULL; ++dynamic) {
            std::byte* p = code + dynamic->d_un.d_ptr;
            if (dynamic->d_tag == DT_STRTAB) strings = reinterpret_cast<const char*>(p);
            if (dynamic->d_tag == DT_SYMTAB) symbols = reinterpret_cast<const Elf64_Sym*>(p);
            if (dynamic->d_tag == DT_HASH) hash = reinterpret_cast<const u32*>(p);
        }
        for (u32 i = 1; hash && i < hash[1]; ++i)
            if (std::strcmp(strings + symbols[i].st_name, name) == 0)
                return reinterpret_cast<F*>(code + symbols[i].st_value);
        return nullptr;
    }
};

using GetTime = int(int, timespec*);
using GetTimeOfDay = int(timeval*, void*);
using Time = i64(i64*);

u64 ns(const timespec& t) { return u64(t.tv_sec) * 1'000'000'000 + u64(t.tv_nsec); }

struct Vdso : testing::Test {
    void SetUp() override {
        ASSERT_NE(loaded.code, nullptr);
        gettime = loaded.function<GetTime>("__vdso_clock_gettime");
        timeofday = loaded.function<GetTimeOfDay>("__vdso_gettimeofday");
        seconds = loaded.function<Time>("__vdso_time");
        ASSERT_TRUE(gettime && timeofday && seconds);
    }
    u64 ask(int clock) {
        timespec t{-1, -1};
        EXPECT_EQ(gettime(clock, &t), 0);
        EXPECT_TRUE(t.tv_nsec >= 0 && t.tv_nsec < 1'000'000'000);
        return ns(t);
    }
    // As hal::Machine::now() computes it.
    static u64 now(u64 base, u64 scale) {
        _mm_lfence();
        u64 ticks = __rdtsc() - base;
        _mm_lfence();
        return u64((static_cast<unsigned __int128>(ticks) * scale) >> 32);
    }
    Loaded loaded;
    GetTime* gettime = nullptr;
    GetTimeOfDay* timeofday = nullptr;
    Time* seconds = nullptr;
};

constexpr u64 kScale = (1'000'000'000ull << 32) / 2'500'000'000;  // of a counter of 2.5 GHz
constexpr u64 kOffset = 1'700'000'000'123'456'789;

}  // namespace

TEST_F(Vdso, tells_what_the_kernel_would) {
    u64 base = __rdtsc() - 1'000'000'000'000;
    port::WallClock clock;
    clock.set(Nanoseconds{kOffset});
    clock.show_in(loaded.data, base, kScale);
    for (int i = 0; i < 2000; ++i) {
        for (int id : {CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW, CLOCK_BOOTTIME}) {
            u64 before = now(base, kScale), told = ask(id), after = now(base, kScale);
            ASSERT_LE(before, told);
            ASSERT_LE(told, after);
        }
        for (int id : {CLOCK_REALTIME, CLOCK_TAI}) {
            u64 before = now(base, kScale), told = ask(id) - kOffset, after = now(base, kScale);
            ASSERT_LE(before, told);
            ASSERT_LE(told, after);
        }
        u64 before = now(base, kScale), coarse = ask(CLOCK_MONOTONIC_COARSE), wall = ask(CLOCK_REALTIME_COARSE);
        timeval day{};
        ASSERT_EQ(timeofday(&day, nullptr), 0);
        u64 real = u64(day.tv_sec) * 1'000'000'000 + u64(day.tv_usec) * 1000;
        i64 second = seconds(nullptr);
        u64 after = now(base, kScale);
        ASSERT_EQ(coarse % abi::vdso::kCoarseTick, 0u);
        ASSERT_EQ(wall % abi::vdso::kCoarseTick, 0u);
        ASSERT_LE(before - before % abi::vdso::kCoarseTick, coarse);
        ASSERT_LE(coarse, after);
        ASSERT_LT(before + kOffset - abi::vdso::kCoarseTick, wall);
        ASSERT_LE(wall, after + kOffset);
        ASSERT_LT(before + kOffset - 1000, real);
        ASSERT_LE(real, after + kOffset);
        ASSERT_LE(i64((before + kOffset) / 1'000'000'000), second);
        ASSERT_LE(second, i64((after + kOffset) / 1'000'000'000));
    }
}

TEST_F(Vdso, asks_the_kernel_where_the_page_says_so) {
    port::WallClock clock;
    clock.set(Nanoseconds{kOffset});
    clock.show_in(loaded.data, 0, 0);
    for (int id : {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW, CLOCK_BOOTTIME, CLOCK_TAI}) {
        timespec before, after;
        clock_gettime(id, &before);
        u64 told = ask(id);
        clock_gettime(id, &after);
        EXPECT_LE(ns(before), told) << id;
        EXPECT_LE(told, ns(after)) << id;
    }
    timeval day{};
    EXPECT_EQ(timeofday(&day, nullptr), 0);
    EXPECT_LE(std::abs(day.tv_sec - time(nullptr)), 1);
    EXPECT_LE(std::abs(seconds(nullptr) - time(nullptr)), 1);
}

TEST_F(Vdso, asks_the_kernel_for_clocks_that_are_not_its_own) {
    port::WallClock clock;
    clock.show_in(loaded.data, 0, kScale);
    timespec t;
    EXPECT_EQ(gettime(CLOCK_PROCESS_CPUTIME_ID, &t), 0);
    EXPECT_LT(ns(t), ask(CLOCK_MONOTONIC));
    EXPECT_EQ(gettime(1000, &t), -22);
    EXPECT_EQ(gettime(CLOCK_PROCESS_CPUTIME_ID, reinterpret_cast<timespec*>(8)), -14);
}

TEST_F(Vdso, waits_while_the_page_is_written) {
    port::WallClock clock;
    clock.show_in(loaded.data, 0, kScale);
    std::atomic_ref{loaded.clock().sequence}.store(1);
    std::atomic<bool> told{false};
    std::thread reader([&] {
        ask(CLOCK_REALTIME);
        told.store(true);
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(30));
    EXPECT_FALSE(told.load());
    std::atomic_ref{loaded.clock().sequence}.store(2);
    reader.join();
    EXPECT_TRUE(told.load());
}

TEST_F(Vdso, never_tells_an_older_wall_clock_than_the_kernel_has_told) {
    port::WallClock clock;
    clock.show_in(loaded.data, 0, 0);
    loaded.clock().source = abi::vdso::kTsc;  // a counter that stands still: the wall clock is the offset
    std::atomic<bool> stop{false};
    std::thread writer([&] {
        for (u64 i = 1; i <= 50'000; ++i) clock.set(Nanoseconds{i * 1'000'000'000});
        stop.store(true);
    });
    u32 back = 0;
    u64 last = 0;
    while (!stop.load()) {
        u64 told = ask(CLOCK_REALTIME);
        back += told < last;
        last = clock.offset().value;
        back += last < told;
        if (told % 1'000'000'000 != 0) ++back;
    }
    writer.join();
    EXPECT_EQ(back, 0u);
}
