// SPDX-License-Identifier: MIT
// Page frames: a buddy allocator with a cache of single frames per CPU, and one FrameInfo per frame.
//
// Invariants: a frame is in exactly one place: a buddy list, one CPU's cache, or its owner's hands. A CPU's cache is
// touched by that CPU only. The buddy lists are guarded by one lock (Rank::frames), taken once per batch.
// Out of memory is Errno::kNoMem, never a panic; the last frames are kept for Alloc::kMustNotFail.
//
// A FrameInfo has no defined content until its 4 MiB chunk is first split or handed out: a large memory costs nothing
// at boot. Ranges are only recorded by mem_add_range; the first allocation lays out the FrameInfo arrays (buddy.cpp).
#pragma once
#include <atomic>
#include <cstddef>

#include "hal/bind.hpp"
#include "lib/result.hpp"
#include "lib/types.hpp"
#include "rt/assert.hpp"

namespace rt {

inline constexpr unsigned kMaxOrder = 10;          // 4 MiB: the largest block, and the unit of lazy initialisation
inline constexpr u64 kMaxPhysical = u64{1} << 39;  // frames beyond 512 GiB are not used

enum class Alloc : u8 {
    kNormal,       // fails while only the reserve is left
    kMustNotFail,  // exit, kill, unmap, close: may use the reserve
};

enum class FrameState : u8 {
    kTail,    // inside a block, or (debug builds) in a CPU's cache
    kFree,    // head of a free block of `order`
    kUsed,    // head of an allocated block, or in a CPU's cache
    kSlab,    // head of a slab; size_class says which
    kAbsent,  // not RAM, or never given to the allocator
};

struct FrameInfo {
    u32 frame_number;
    // State, order and size class in one word. Relaxed: the owner of a block writes it; a neighbour that looks whether
    // it could merge does so under the buddy lock and can only mistake one kind of "not free" for another.
    std::atomic<u32> tag;
    // While the frame is allocated both belong to its owner: a place in a list, and 40 bytes of what it likes (the page
    // cache's Page). Their content after allocation is undefined.
    FrameInfo* next;
    FrameInfo* prev;
    alignas(8) std::byte owner[40];

    static constexpr u32 make_tag(FrameState s, unsigned order, u32 size_class = 0) {
        return u32(s) | order << 8 | size_class << 16;
    }
    void set_tag(FrameState s, unsigned order, u32 size_class = 0) {
        tag.store(make_tag(s, order, size_class), std::memory_order_relaxed);
    }
    FrameState state() const { return FrameState(u8(tag.load(std::memory_order_relaxed))); }
    unsigned order() const { return u8(tag.load(std::memory_order_relaxed) >> 8); }
    u32 size_class() const { return u8(tag.load(std::memory_order_relaxed) >> 16); }

    PhysAddr address() const { return PhysAddr{u64{frame_number} << lib::kPageShift}; }
    void* bytes() const { return hal::Machine::phys_to_virt(address()); }
    template <class T>
    T* owner_as() {
        static_assert(sizeof(T) <= sizeof(owner) && alignof(T) <= 8);
        return reinterpret_cast<T*>(owner);
    }
    // From the owner area back to its frame.
    static FrameInfo& of_owner(void* owner_area) {
        return *reinterpret_cast<FrameInfo*>(static_cast<std::byte*>(owner_area) - offsetof(FrameInfo, owner));
    }
};
static_assert(sizeof(FrameInfo) == 64);

// ---- Set-up. Before the first allocation, from one CPU, page-aligned (unaligned ends are cut off). ----

// RAM that may be allocated.
void mem_add_range(PhysAddr start, u64 bytes);
// RAM that holds something (the initial RAM disk) and gets FrameInfos as used order-0 frames. free_frames each later.
void mem_add_used_range(PhysAddr start, u64 bytes);

// ---- Frames ----

// 2^order frames, aligned to their size.
Result<PhysAddr> alloc_frames(unsigned order, Alloc how = Alloc::kNormal);
void free_frames(PhysAddr at, unsigned order);
// 2^order single frames that lie one after the other, to be freed one by one.
Result<PhysAddr> alloc_adjacent(unsigned order);

namespace detail {

inline constexpr u32 kCacheSize = 256;

struct alignas(64) CpuFrames {
    // Relaxed: written by the owning CPU only, read by others for statistics.
    std::atomic<u32> count{0};
    std::atomic<u32> zeroed_count{0};
    u32 limit = 0;  // of `frame`; 0 until the first use
    u32 batch = 0;
    u64 frame[kCacheSize] = {};
    static constexpr u32 kZeroedSize = 64;
    u64 zeroed[kZeroedSize] = {};
};
extern CpuFrames cpu_frames[lib::kMaxCpus];

Result<PhysAddr> alloc_frame_slow(Alloc how);
void free_frame_slow(PhysAddr at);
bool inject_failure();
// Debug builds: poison, and a frame that is freed twice stops the machine.
void debug_freed(PhysAddr at, unsigned order);
void debug_allocated(PhysAddr at);

inline CpuFrames& my_frames() { return cpu_frames[hal::Machine::this_cpu().value]; }

}  // namespace detail

// One frame, from this CPU's cache.
inline Result<PhysAddr> alloc_frame(Alloc how = Alloc::kNormal) {
    if constexpr (kDebug)
        if (how == Alloc::kNormal && detail::inject_failure()) return Errno::kNoMem;
    detail::CpuFrames& c = detail::my_frames();
    u32 n = c.count.load(std::memory_order_relaxed);
    if (n == 0) [[unlikely]]
        return detail::alloc_frame_slow(how);
    c.count.store(n - 1, std::memory_order_relaxed);
    if constexpr (kDebug) detail::debug_allocated(PhysAddr{c.frame[n - 1]});
    return PhysAddr{c.frame[n - 1]};
}
inline void free_frame(PhysAddr at) {
    if constexpr (kDebug) detail::debug_freed(at, 0);
    detail::CpuFrames& c = detail::my_frames();
    u32 n = c.count.load(std::memory_order_relaxed);
    if (n >= c.limit) [[unlikely]]
        return detail::free_frame_slow(at);
    c.frame[n] = at.value;
    c.count.store(n + 1, std::memory_order_relaxed);
}
// One frame full of zeros: one that was zeroed in idle time if there is any.
Result<PhysAddr> alloc_zeroed_frame(Alloc how = Alloc::kNormal);
// Called when the CPU has nothing to do. True: it zeroed a frame, and there may be more to do.
bool zero_some_in_idle();
// Gives this CPU's cached frames back to the buddy lists.
void drain_frame_cache();

// ---- From address to FrameInfo ----

namespace detail {
inline constexpr unsigned kSectionShift = 27;  // 128 MiB share one array of FrameInfo
inline constexpr u64 kSections = kMaxPhysical >> kSectionShift;
// Biased: section_frames[s] + frame number is the frame's info; null for sections without RAM.
extern FrameInfo* section_frames[kSections];
// One bit for each 4 MiB chunk whose FrameInfos have been initialised. Set with release, under the buddy lock.
extern std::atomic<u32> section_ready[kSections];
}  // namespace detail

// Of a frame that is allocated or was added as used.
inline FrameInfo& frame_info(PhysAddr at) {
    return *(detail::section_frames[at.value >> detail::kSectionShift] + (at.value >> lib::kPageShift));
}
// Null for addresses that are not RAM known to the allocator (devices, the kernel image).
FrameInfo* find_frame_info(PhysAddr at);

// ---- Statistics and tests ----

struct MemStats {
    u64 total_bytes;       // all RAM added, FrameInfos included
    u64 info_bytes;        // of which FrameInfos
    u64 free_bytes;        // in buddy lists and CPU caches, the reserve included
    u64 reserve_bytes;     // kept for Alloc::kMustNotFail
    u64 slab_bytes;        // pages held by slabs and large objects
    u64 slab_free_bytes;   // of which free objects
    u64 frame_bytes;       // pages held by coroutine frames
    u64 frame_free_bytes;  // of which free objects
};
MemStats mem_stats();
// Frames in buddy lists and CPU caches, and whether fewer than an eighth of a percent plus the reserve are left.
u64 free_frame_count();
bool memory_is_short();
// Fewer than a sixteenth, or an allocation has found nothing within the last 100 ms (by the time somebody asks why it failed,
// another CPU may have given much back): frees are not put off, and who finds none waits for what is on its way back
// (rt/reclaim.hpp).
bool memory_is_low();
u64 frame_total();

// Debug and hosted builds: the n-th allocation from now (0: the next) and the `count - 1` after it fail, whatever they
// allocate (frames, objects, coroutine frames), unless they must not fail. False in other builds: nothing happens.
bool mem_fail_after(u64 n, u64 count = 1);
void mem_fail_never();
u64 mem_injected_failures();  // how many have failed by it since the last mem_fail_after

// Unit tests: forget all ranges and caches. Nobody may hold memory.
void mem_reset_for_test();
// Unit tests: every buddy list is consistent, and no two free buddies are left unmerged. Null or what is wrong.
const char* mem_check();

}  // namespace rt
