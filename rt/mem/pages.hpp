// SPDX-License-Identifier: MIT
// Page frames: a buddy allocator with a cache of single frames per CPU, and one FrameInfo per frame.
//
// Invariants: each frame is in exactly one place: a buddy list, one CPU's cache, or in use by its owner. A CPU's cache
// is used by that CPU only. The buddy lists are guarded by one lock (Rank::frames), taken once per batch. Out of memory
// is Errno::kNoMem, never a panic; the last frames are kept for Alloc::kMustNotFail.
//
// The content of a FrameInfo is undefined until its 4 MiB chunk is first split or allocated, so a large memory costs no
// time at boot. mem_add_range only records ranges; the first allocation lays out the FrameInfo arrays (buddy.cpp).
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
    kAbsent,  // not RAM, or never added to the allocator
};

struct FrameInfo {
    u32 frame_number;
    // State, order and size class in one word. Relaxed: the owner of a block writes it. A neighbour that checks whether
    // it can merge does so under the buddy lock, and can only mistake one kind of "not free" for another.
    std::atomic<u32> tag;
    // While the frame is allocated, the owner uses all three: links for a list, and 40 bytes for any data (the page
    // cache's Page). Their content is undefined after allocation.
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
    // From the owner area to its FrameInfo.
    static FrameInfo& of_owner(void* owner_area) {
        return *reinterpret_cast<FrameInfo*>(static_cast<std::byte*>(owner_area) - offsetof(FrameInfo, owner));
    }
};
static_assert(sizeof(FrameInfo) == 64);

// ---- Set-up: before the first allocation, on one CPU. Unaligned ends of ranges of RAM are cut off. ----

// RAM that may be allocated.
void mem_add_range(PhysAddr start, u64 bytes);
// RAM that is in use (the initial RAM disk). It gets FrameInfos as allocated frames of order 0, each of which can be
// freed later with free_frames().
void mem_add_used_range(PhysAddr start, u64 bytes);

// ---- Frames ----

// Allocates 2^order frames, aligned to their size; kNoMem. Never blocks. The content is undefined.
Result<PhysAddr> alloc_frames(unsigned order, Alloc how = Alloc::kNormal);
// From any CPU, with the order that alloc_frames() got. Never fails.
void free_frames(PhysAddr at, unsigned order);
// Allocates 2^order adjacent single frames, to be freed one by one; kNoMem.
Result<PhysAddr> alloc_adjacent(unsigned order);

namespace detail {

inline constexpr u32 kCacheSize = 256;

struct alignas(64) CpuFrames {
    // Relaxed: written by the owning CPU only, read by others for statistics.
    std::atomic<u32> count{0};
    std::atomic<u32> zeroed_count{0};
    u32 limit = 0;  // capacity of `frame`; 0 until the first use
    u32 batch = 0;
    u64 frame[kCacheSize] = {};
    static constexpr u32 kZeroedSize = 64;
    u64 zeroed[kZeroedSize] = {};
};
extern CpuFrames cpu_frames[lib::kMaxCpus];

Result<PhysAddr> alloc_frame_slow(Alloc how);
void free_frame_slow(PhysAddr at);
bool inject_failure();
// Debug builds: a freed frame is poisoned, and freeing it twice panics.
void debug_freed(PhysAddr at, unsigned order);
void debug_allocated(PhysAddr at);

inline CpuFrames& my_frames() { return cpu_frames[hal::Machine::this_cpu().value]; }

}  // namespace detail

// One frame from this CPU's cache; kNoMem. Never blocks. The content is undefined.
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
// One frame full of zeros, pre-zeroed in idle time if one is left; kNoMem.
Result<PhysAddr> alloc_zeroed_frame(Alloc how = Alloc::kNormal);
// Called when the CPU has nothing to do. Returns true if it zeroed a frame; there may be more to do.
bool zero_some_in_idle();
// Returns this CPU's cached frames to the buddy lists.
void drain_frame_cache();

// ---- From address to FrameInfo ----

namespace detail {
inline constexpr unsigned kSectionShift = 27;  // 128 MiB share one array of FrameInfo
inline constexpr u64 kSections = kMaxPhysical >> kSectionShift;
// Biased: section_frames[s] + frame number is the frame's info. Null for sections without RAM.
extern FrameInfo* section_frames[kSections];
// One bit for each 4 MiB chunk whose FrameInfos are initialised. Set with release order, under the buddy lock.
extern std::atomic<u32> section_ready[kSections];
}  // namespace detail

// The frame must be allocated or have been added as used.
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
// Free frames in the buddy lists and the CPU caches.
u64 free_frame_count();
// When an allocation last found no memory, of any thread; 0: never.
Nanoseconds memory_ran_out();
// Fewer frames than 1/800 of the memory plus the reserve are left in the buddy lists, or page tables are short.
bool memory_is_short();
// Where page tables come from elsewhere (the pool of a user-level server): there was none for one that was needed, which counts
// as an allocation that found no memory. It is a shortage until some have come back; whoever then finds none says so again.
void tables_ran_out();
void tables_came_back();
bool tables_are_short();
// Fewer frames than 1/16 of the memory plus the reserve are left in the buddy lists, or an allocation has found none
// within the last 100 ms (by the time the caller asks why it failed, another CPU may have freed many). Then frees are
// not deferred, and an allocation that finds no memory waits for what is about to be freed (rt/reclaim.hpp).
bool memory_is_low();
// Frames of all RAM that was added.
u64 frame_total();

// Debug and hosted builds: after n more allocations, the next `count` fail, whatever they allocate (frames, objects,
// coroutine frames), except those that must not fail. In other builds it returns false and does nothing.
bool mem_fail_after(u64 n, u64 count = 1);
void mem_fail_never();
u64 mem_injected_failures();  // allocations failed by it since the last mem_fail_after()

// Unit tests: forgets all ranges and caches. No memory may be in use.
void mem_reset_for_test();
// Unit tests: checks that every buddy list is consistent and no two free buddies are unmerged. Returns null, or what is
// wrong.
const char* mem_check();

}  // namespace rt
