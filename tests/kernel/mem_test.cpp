// SPDX-License-Identifier: MIT
// The allocators inside the kernel: all CPUs at once, frames and objects freed on other CPUs than they came from,
// nothing lost, statistics exact. The unit tests (tests/unit/mem_*.cpp) go deeper; these show that the machine's memory
// map, per-CPU data and operators hold up.
#include <cstring>

#include "rt/mem/frames.hpp"
#include "rt/mem/pages.hpp"
#include "rt/wait.hpp"
#include "tests/kernel/ktest.hpp"

namespace {

using namespace rt;

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
            CO_TRY(co_await wait_on(queue, seen, "memory test jobs", hal::Machine::now() + lib::milliseconds(30'000)));
        }
    }
};

// Objects passed from CPU to CPU: the one that takes it out checks and frees it.
struct Exchange {
    static constexpr u32 kSlots = 64;
    std::atomic<u64*> slot[kSlots] = {};
    std::atomic<u32> bad{0};
};
constexpr size_t kSizes[] = {16, 40, 64, 100, 192, 256, 500, 1024, 2000, 3000, 5000};

// The first word holds the size, the second the pattern that fills the rest.
void check_and_free(Exchange& x, u64* p) {
    size_t n = p[0];
    for (size_t i = 2; i < n / 8; ++i)
        if (p[i] != p[1]) x.bad.fetch_add(1);
    deallocate(p, n);
}

Task<void> exchanger(Exchange& x, u32 seed, Done& done) {
    u64 random = seed * 0x9e3779b97f4a7c15 + 1;
    for (u32 step = 0; step < 4000; ++step) {
        random = random * 6364136223846793005 + 1442695040888963407;
        size_t n = kSizes[(random >> 40) % std::size(kSizes)];
        auto* p = static_cast<u64*>(allocate(n));
        if (!p) {
            x.bad.fetch_add(1);
            break;
        }
        p[0] = n;
        for (size_t i = 1; i < n / 8; ++i) p[i] = random;
        // acq_rel: the one that takes it out sees what was written into it.
        u64* other = x.slot[(random >> 33) % Exchange::kSlots].exchange(p, std::memory_order_acq_rel);
        if (other) check_and_free(x, other);
        if (step % 32 == 0) co_await Yield{};
    }
    done.one();
}

Task<void> drain_here(Done& done) {
    drain_object_caches();
    drain_frame_cache();
    done.one();
    co_return;
}

// Every CPU returns the frames it caches; then the figures depend only on what is in use.
Task<Result<void>> drain_everywhere() {
    Done done;
    for (u32 i = 0; i < executor_count(); ++i)
        if (!spawn("drain", drain_here(done), Executor::of(CpuId{i}))) co_return Errno::kNoMem;
    co_return co_await done.wait(executor_count());
}

u64 object_bytes_in_use() {
    MemStats s = mem_stats();
    return s.slab_bytes - s.slab_free_bytes;
}

KTEST(mem_objects_move_between_cpus_and_none_is_lost) {
    CO_TRY(co_await drain_everywhere());
    u64 before = object_bytes_in_use();
    {
        // On the heap: too large for a coroutine frame's class.
        Owned<Exchange> x{make<Exchange>()};
        KCHECK(x);
        Done done;
        for (u32 i = 0; i < executor_count(); ++i)
            KCHECK(spawn("exchanger", exchanger(*x, i + 1, done), Executor::of(CpuId{i})));
        CO_TRY(co_await done.wait(executor_count()));
        for (auto& s : x->slot)
            if (u64* p = s.load(std::memory_order_acquire)) check_and_free(*x, p);
        KCHECK(x->bad.load() == 0);
    }
    CO_TRY(co_await drain_everywhere());
    KCHECK(object_bytes_in_use() <= before + 1024);  // jobs of this test that are not quite gone
    KCHECK(mem_check() == nullptr);
    co_return lib::kOk;
}

// An idle CPU that zeroes a frame holds it for a moment: the maximum of several readings is taken.
Task<Result<u64>> settled_free_frames() {
    u64 most = 0;
    for (u32 i = 0; i < 8; ++i) {
        Wait wait{"idle CPUs to put their frames down"};
        wait.until(hal::Machine::now() + lib::milliseconds(1));
        (void)co_await wait;
        u64 now = free_frame_count();
        if (now > most) most = now;
    }
    co_return most;
}

KTEST(mem_frames_of_every_order_are_aligned_and_come_back) {
    CO_TRY(co_await drain_everywhere());
    u64 before = CO_TRY(co_await settled_free_frames());
    for (unsigned order = 0; order <= 6; ++order) {
        PhysAddr block[16];
        for (PhysAddr& p : block) {
            p = CO_TRY(alloc_frames(order));
            KCHECK(p.aligned(kPageSize << order));
            KCHECK(frame_info(p).address() == p && frame_info(p).order() == order);
            auto* words = static_cast<u64*>(hal::Machine::phys_to_virt(p));
            words[0] = words[(kPageSize << order) / 8 - 1] = p.value;
        }
        co_await Yield{};
        for (PhysAddr p : block) {
            auto* words = static_cast<u64*>(hal::Machine::phys_to_virt(p));
            KCHECK(words[0] == p.value && words[(kPageSize << order) / 8 - 1] == p.value);
            free_frames(p, order);
        }
    }
    u64 after = CO_TRY(co_await settled_free_frames());
    KCHECK(after == before);
    KCHECK(mem_check() == nullptr);
    co_return lib::kOk;
}

KTEST(mem_zeroed_frames_are_zero) {
    for (u32 i = 0; i < 200; ++i) {
        PhysAddr p = CO_TRY(alloc_zeroed_frame());
        auto* words = static_cast<u64*>(hal::Machine::phys_to_virt(p));
        u64 all = 0;
        for (u32 k = 0; k < kPageSize / 8; ++k) all |= words[k];
        memset(words, 0xff, kPageSize);
        free_frame(p);
        KCHECK(all == 0);
        if (i % 16 == 0) co_await Yield{};
        if (i % 32 == 0) zero_some_in_idle();
    }
    co_return lib::kOk;
}

struct alignas(128) Wide {
    char bytes[200] = {};
};
struct Base {
    virtual ~Base() { ++*gone; }
    explicit Base(u32* g) : gone(g) {}
    u32* gone;
};
struct Derived : Base {
    using Base::Base;
    char more[300] = {};
};

KTEST(mem_new_and_delete_know_sizes_and_alignments) {
    u32 gone = 0;
    for (u32 i = 0; i < 100; ++i) {
        Wide* w = make<Wide>();
        KCHECK(w && reinterpret_cast<u64>(w) % 128 == 0);
        Base* b = make<Derived>(&gone);
        KCHECK(b && allocated_size(b) >= sizeof(Derived));
        delete w;
        delete b;
        auto* array = new (std::nothrow) u64[50];
        KCHECK(array);
        delete[] array;
    }
    KCHECK(gone == 100);
    co_return lib::kOk;
}

KTEST(mem_plain_functions_allocate_no_coroutine_frame) {
    u64 before = frames_allocated();
    void* p = frame_allocate(200);
    KCHECK(p && frames_allocated() == before + 1);
    frame_free(p, 200);
    KCHECK(frames_allocated() == before + 1);
    co_return lib::kOk;
}

}  // namespace
