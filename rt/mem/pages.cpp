// SPDX-License-Identifier: MIT
// Per-CPU frame caches over the buddy lists, pre-zeroed frames, statistics, failure injection.
#include "rt/mem/pages.hpp"

#include <cstring>

#include "rt/mem/buddy.hpp"
#include "rt/mem/slab.hpp"

namespace rt {
namespace detail {

constinit CpuFrames cpu_frames[lib::kMaxCpus];

namespace {

// Failure injection: after `inject_after` allocations, the next `inject_count` fail. Relaxed: tests only.
constinit std::atomic<bool> inject_armed{false};
constinit std::atomic<u64> inject_seen{0}, inject_after{0}, inject_count{0}, inject_failed{0};

void set_limits(CpuFrames& c) {
    // A CPU may cache 1/512 of the memory, so that 16 CPUs cache 1/32.
    u64 limit = buddy.total() / 512;
    c.limit = static_cast<u32>(limit < 16 ? 16 : limit > kCacheSize ? kCacheSize : limit);
    c.batch = c.limit / 4;
}

u32 load(const std::atomic<u32>& n) { return n.load(std::memory_order_relaxed); }

Result<PhysAddr> pop_zeroed(CpuFrames& c) {
    u32 n = load(c.zeroed_count);
    if (n == 0) return Errno::kNoMem;
    c.zeroed_count.store(n - 1, std::memory_order_relaxed);
    PhysAddr at{c.zeroed[n - 1]};
    if constexpr (kDebug) debug_allocated(at);
    return at;
}

}  // namespace

bool inject_failure() {
    if (!inject_armed.load(std::memory_order_relaxed)) return false;
    u64 n = inject_seen.fetch_add(1, std::memory_order_relaxed);
    u64 after = inject_after.load(std::memory_order_relaxed);
    if (n < after || n - after >= inject_count.load(std::memory_order_relaxed)) return false;
    inject_failed.fetch_add(1, std::memory_order_relaxed);
    return true;
}

void debug_freed(PhysAddr at, unsigned order) {
    FrameInfo* f = find_frame_info(at);
    RT_CHECK(f, "free of a frame that is not RAM");
    RT_CHECK(f->state() == FrameState::kUsed && f->order() == order, "free of a frame that is not allocated");
    f->set_tag(FrameState::kTail, 0);
    memset(f->bytes(), 0x5a, kPageSize << order);
}
void debug_allocated(PhysAddr at) {
    FrameInfo& f = frame_info(at);
    RT_CHECK(f.state() == FrameState::kTail, "a cached frame changed its state");
    f.set_tag(FrameState::kUsed, 0);
}

// The time at which an allocation last found no memory; 0: never.
constinit std::atomic<u64> ran_out{0};

Errno no_memory() {
    ran_out.store(hal::Machine::now().value, std::memory_order_relaxed);
    return Errno::kNoMem;
}

Result<PhysAddr> alloc_frame_slow(Alloc how) {
    CpuFrames& c = my_frames();
    if (c.limit == 0) [[unlikely]] {
        buddy.settle();
        set_limits(c);
    }
    u32 n = buddy.take_many(c.frame, c.batch, Alloc::kNormal);
    if (n == 0) {
        if (load(c.zeroed_count) != 0) return pop_zeroed(c);
        PhysAddr at = how == Alloc::kMustNotFail ? buddy.take(0, how) : PhysAddr{0};
        if (at.value == 0) return no_memory();
        return at;
    }
    if constexpr (kDebug)
        for (u32 i = 0; i + 1 < n; ++i) frame_info(PhysAddr{c.frame[i]}).set_tag(FrameState::kTail, 0);
    c.count.store(n - 1, std::memory_order_relaxed);
    return PhysAddr{c.frame[n - 1]};
}

void free_frame_slow(PhysAddr at) {
    CpuFrames& c = my_frames();
    if (c.limit == 0) {
        buddy.give(at, 0);
        set_limits(c);
        return;
    }
    // The oldest frames go back; the newest, which are in the processor's cache, stay.
    u32 n = load(c.count);
    buddy.give_many(c.frame, c.batch);
    for (u32 i = c.batch; i < n; ++i) c.frame[i - c.batch] = c.frame[i];
    c.frame[n - c.batch] = at.value;
    c.count.store(n - c.batch + 1, std::memory_order_relaxed);
}

}  // namespace detail

using detail::buddy;
using detail::CpuFrames;

void mem_add_range(PhysAddr start, u64 bytes) { buddy.add_range(start, bytes, false); }
void mem_add_used_range(PhysAddr start, u64 bytes) { buddy.add_range(start, bytes, true); }

Result<PhysAddr> alloc_frames(unsigned order, Alloc how) {
    if (order == 0) return alloc_frame(how);
    if (order > kMaxOrder) return Errno::kNoMem;
    if constexpr (kDebug)
        if (how == Alloc::kNormal && detail::inject_failure()) return Errno::kNoMem;
    PhysAddr at = buddy.take(order, how);
    if (at.value == 0) return detail::no_memory();
    return at;
}

Result<PhysAddr> alloc_adjacent(unsigned order) {
    PhysAddr at = TRY(alloc_frames(order));
    FrameInfo* f = &frame_info(at);
    for (u64 i = 0; i < u64{1} << order; ++i) f[i].set_tag(FrameState::kUsed, 0);
    return at;
}

void free_frames(PhysAddr at, unsigned order) {
    if (order == 0) return free_frame(at);
    if constexpr (kDebug) detail::debug_freed(at, order);
    buddy.give(at, order);
}

Result<PhysAddr> alloc_zeroed_frame(Alloc how) {
    CpuFrames& c = detail::my_frames();
    if (detail::load(c.zeroed_count) != 0) {
        if constexpr (kDebug)
            if (how == Alloc::kNormal && detail::inject_failure()) return Errno::kNoMem;
        return detail::pop_zeroed(c);
    }
    PhysAddr at = TRY(alloc_frame(how));
    memset(hal::Machine::phys_to_virt(at), 0, kPageSize);
    return at;
}

bool zero_some_in_idle() {
    CpuFrames& c = detail::my_frames();
    if (c.limit == 0) [[unlikely]] {
        buddy.settle();
        detail::set_limits(c);
    }
    u32 have = detail::load(c.zeroed_count);
    u32 want = c.limit / 4 < CpuFrames::kZeroedSize ? c.limit / 4 : CpuFrames::kZeroedSize;
    if (have >= want || memory_is_short()) return false;
    u32 n = detail::load(c.count);
    if (n == 0) {
        n = buddy.take_many(c.frame, c.batch, Alloc::kNormal);
        if (n == 0) return false;
        if constexpr (kDebug)
            for (u32 i = 0; i < n; ++i) frame_info(PhysAddr{c.frame[i]}).set_tag(FrameState::kTail, 0);
    }
    u64 at = c.frame[n - 1];
    c.count.store(n - 1, std::memory_order_relaxed);
    memset(hal::Machine::phys_to_virt(PhysAddr{at}), 0, kPageSize);
    c.zeroed[have] = at;
    c.zeroed_count.store(have + 1, std::memory_order_relaxed);
    return true;
}

void drain_frame_cache() {
    CpuFrames& c = detail::my_frames();
    buddy.give_many(c.frame, detail::load(c.count));
    c.count.store(0, std::memory_order_relaxed);
    buddy.give_many(c.zeroed, detail::load(c.zeroed_count));
    c.zeroed_count.store(0, std::memory_order_relaxed);
}

FrameInfo* find_frame_info(PhysAddr at) {
    if (at.value >= kMaxPhysical) return nullptr;
    u64 section = at.value >> detail::kSectionShift;
    u64 chunk = at.value >> (kMaxOrder + lib::kPageShift) & 31;
    // Acquire: pairs with Buddy::make_ready().
    if (!(detail::section_ready[section].load(std::memory_order_acquire) >> chunk & 1)) return nullptr;
    FrameInfo& f = frame_info(at);
    return f.state() == FrameState::kAbsent ? nullptr : &f;
}

u64 free_frame_count() {
    u64 n = buddy.free();
    for (const CpuFrames& c : detail::cpu_frames) n += detail::load(c.count) + detail::load(c.zeroed_count);
    return n;
}

Nanoseconds memory_ran_out() { return Nanoseconds{detail::ran_out.load(std::memory_order_relaxed)}; }
bool memory_is_short() { return tables_are_short() || buddy.free() < buddy.reserve() + buddy.total() / 800; }

namespace {
constinit std::atomic<bool> no_tables{false};
}
void tables_ran_out() {
    no_tables.store(true, std::memory_order_relaxed);
    (void)detail::no_memory();
}
void tables_came_back() {
    if (tables_are_short()) no_tables.store(false, std::memory_order_relaxed);
}
bool tables_are_short() { return no_tables.load(std::memory_order_relaxed); }

bool memory_is_low() {
    if (buddy.free() < buddy.reserve() + buddy.total() / 16) return true;
    u64 last = detail::ran_out.load(std::memory_order_relaxed);
    return last != 0 && hal::Machine::now().value < last + lib::milliseconds(100).value;
}
u64 frame_total() { return buddy.total(); }

MemStats mem_stats() {
    buddy.settle();
    MemStats s{};
    s.total_bytes = buddy.total() * kPageSize;
    s.info_bytes = buddy.info() * kPageSize;
    s.free_bytes = free_frame_count() * kPageSize;
    s.reserve_bytes = buddy.reserve() * kPageSize;
    slab_stats(s);
    return s;
}

bool mem_fail_after(u64 n, u64 count) {
    if constexpr (!kDebug) return false;
    detail::inject_seen = 0;
    detail::inject_after = n;
    detail::inject_count = count;
    detail::inject_failed = 0;
    detail::inject_armed = true;
    return true;
}
void mem_fail_never() { detail::inject_armed = false; }
u64 mem_injected_failures() { return detail::inject_failed; }

void mem_reset_for_test() {
    slab_reset_for_test();
    for (CpuFrames& c : detail::cpu_frames) {
        c.count = 0;
        c.zeroed_count = 0;
        c.limit = 0;
    }
    buddy.reset();
}

const char* mem_check() { return buddy.check(); }

}  // namespace rt
