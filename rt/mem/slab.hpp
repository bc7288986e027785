// SPDX-License-Identifier: MIT
// Small objects: size classes, each with a free list per CPU over slabs of one or two pages.
//
//   rt::make<T>(args...)          a T, or nullptr        (delete it, or hold it in Owned<T>)
//   rt::make_ref<T>(args...)      Result<Ref<T>>: kNoMem (T derives from RefCounted<T>)
//   rt::allocate / deallocate     raw bytes; deallocate gets the same size. Alignment: the largest power of two that
//                                 divides the size, at least 16, at most a page
//
// Invariants: a CPU's lists are used by that CPU only. A class's slabs are guarded by its lock (Rank::slab), taken once
// per batch. A slab without used objects returns to the buddy lists at once. An object may be freed on any CPU. Out of
// memory is nullptr, never a panic. Debug builds poison free objects, and panic on a double free or a write to a free
// object.
#pragma once
#include <cstddef>
#include <new>
#include <utility>

#include "lib/ref.hpp"
#include "lib/result.hpp"
#include "rt/mem/pages.hpp"

namespace rt {

class FrameReserve;

// n bytes, or null if there is no memory. Never blocks. The content is undefined.
void* allocate(size_t n) noexcept;
void deallocate(void* p, size_t n) noexcept;  // p is not null
// For an alignment larger than the size gives: the size is rounded up. The alignment is at most 2 KiB. Free with
// deallocate_aligned.
inline void* allocate_aligned(size_t n, size_t align) noexcept { return allocate((n + align - 1) & ~(align - 1)); }
inline void deallocate_aligned(void* p, size_t n, size_t align) noexcept {
    deallocate(p, (n + align - 1) & ~(align - 1));
}
// The size that allocate() reserved for p. Only for slab memory, not for the host's heap.
size_t allocated_size(const void* p) noexcept;
// Returns this CPU's free objects to their slabs, and empty slabs to the buddy lists.
void drain_object_caches();

// In the bare-metal worlds `new` is rt::allocate (operators.cpp); in a hosted process it is the host's, so that
// sanitizers see it.
template <class T, class... A>
T* make(A&&... args) {
    if constexpr (kDebug)
        if (detail::inject_failure()) return nullptr;
    return new (std::nothrow) T(std::forward<A>(args)...);
}

template <class T, class... A>
Result<Ref<T>> make_ref(A&&... args) {
    T* p = make<T>(std::forward<A>(args)...);
    if (!p) [[unlikely]]
        return Errno::kNoMem;
    return Ref<T>::adopt(p);
}

// Sole owner of an object, which it deletes.
template <class T>
class Owned {
public:
    constexpr Owned() = default;
    constexpr Owned(std::nullptr_t) {}  // NOLINT
    explicit Owned(T* p) : p_(p) {}
    Owned(Owned&& o) noexcept : p_(o.release()) {}
    template <class U>
        requires std::is_convertible_v<U*, T*>
    Owned(Owned<U>&& o) noexcept : p_(o.release()) {}  // NOLINT
    Owned& operator=(Owned&& o) noexcept {
        if (this != &o) reset(o.release());
        return *this;
    }
    Owned(const Owned&) = delete;
    ~Owned() { delete p_; }
    T* get() const { return p_; }
    T* operator->() const { return p_; }
    T& operator*() const { return *p_; }
    explicit operator bool() const { return p_ != nullptr; }
    T* release() { return std::exchange(p_, nullptr); }
    void reset(T* p = nullptr) { delete std::exchange(p_, p); }

private:
    T* p_ = nullptr;
};
template <class T, class... A>
Result<Owned<T>> make_owned(A&&... args) {
    T* p = make<T>(std::forward<A>(args)...);
    if (!p) [[unlikely]]
        return Errno::kNoMem;
    return Owned<T>(p);
}

// ---- Below: shared by slab.cpp and frames.cpp ----

namespace detail {

// General classes, followed by those of coroutine frames: 64, 128, ... 1024.
inline constexpr u32 kGeneralClasses = 14;
inline constexpr u32 kFrameClasses = 16;
inline constexpr u32 kClasses = kGeneralClasses + kFrameClasses;
inline constexpr u32 kFrameStep = 64;
inline constexpr u32 kGeneralSizes[kGeneralClasses] = {16,  32,  48,  64,  96,   128,  192,
                                                       256, 384, 512, 768, 1024, 1536, 2048};
inline constexpr size_t kLargestGeneral = 2048;
inline constexpr size_t kLargestFrame = kFrameStep * kFrameClasses;
constexpr u32 class_size(u32 c) {
    return c < kGeneralClasses ? kGeneralSizes[c] : (c - kGeneralClasses + 1) * kFrameStep;
}

// Small objects use slabs of one page; for the largest ones, two pages waste less.
constexpr unsigned slab_order(u32 c) { return class_size(c) > 1024 ? 1 : 0; }
constexpr u32 capacity_of(u32 c) { return static_cast<u32>((kPageSize << slab_order(c)) / class_size(c)); }

struct FreeObject {
    FreeObject* next;
};

struct CpuClass {
    FreeObject* free = nullptr;
    // Relaxed: written by the owning CPU, read by others for statistics.
    std::atomic<u32> count{0};
    u32 limit = 0;  // 0 until the first use
};
struct alignas(64) CpuObjects {
    CpuClass of[kClasses];
    // Coroutine frames of this CPU. Relaxed, as above.
    std::atomic<u64> frames_allocated{0};
    std::atomic<u64> frames_freed{0};
    FrameReserve* reserve = nullptr;
};
extern CpuObjects cpu_objects[lib::kMaxCpus];
inline CpuObjects& my_objects() { return cpu_objects[hal::Machine::this_cpu().value]; }

void* take_slow(u32 size_class);
void give_slow(u32 size_class, void* p);
void debug_give(u32 size_class, void* p);
void debug_take(u32 size_class, void* p);
void* take_large(size_t n, bool frame);
void give_large(void* p, size_t n, bool frame);

// A class on this CPU, by its offset in CpuObjects::of. The empty asm stops the compiler from repeating the addition in
// every access.
[[gnu::always_inline]] inline CpuClass& class_at(CpuObjects& mine, u64 offset) {
    auto* c = reinterpret_cast<CpuClass*>(reinterpret_cast<std::byte*>(mine.of) + offset);
    asm("" : "+r"(c));
    return *c;
}
constexpr u64 class_offset(u32 size_class) { return u64{size_class} * sizeof(CpuClass); }
constexpr u64 frame_offset(size_t n) { return (kGeneralClasses + (n - 1) / kFrameStep) * sizeof(CpuClass); }
constexpr u32 class_of_offset(u64 offset) { return static_cast<u32>(offset / sizeof(CpuClass)); }

[[gnu::always_inline]] inline void* take(CpuObjects& mine, u64 offset) {
    CpuClass& c = class_at(mine, offset);
    FreeObject* p = c.free;
    if (!p) [[unlikely]]
        return nullptr;  // the caller then uses take_slow
    c.free = p->next;
    c.count.store(c.count.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
    if constexpr (kDebug) debug_take(class_of_offset(offset), p);
    return p;
}
[[gnu::always_inline]] inline void give(CpuObjects& mine, u64 offset, void* p) {
    if constexpr (kDebug) debug_give(class_of_offset(offset), p);
    CpuClass& c = class_at(mine, offset);
    u32 n = c.count.load(std::memory_order_relaxed);
    if (n >= c.limit) [[unlikely]]
        return give_slow(class_of_offset(offset), p);
    auto* object = static_cast<FreeObject*>(p);
    object->next = c.free;
    c.free = object;
    c.count.store(n + 1, std::memory_order_relaxed);
}

// The slab allocator itself, whether or not `allocate` uses it in this world.
void* slab_allocate(size_t n) noexcept;
void slab_deallocate(void* p, size_t n) noexcept;

// A machine that provides its own heap (hosted under a sanitizer): all objects and coroutine frames come from it.
template <class M>
concept LendsHeap = requires(size_t n, void* p) {
    { M::heap_allocate(n) } -> std::same_as<void*>;
    M::heap_free(p, n);
};
inline constexpr bool kHostHeap = LendsHeap<hal::Machine>;
template <class M>
void* heap_allocate(size_t n) {
    if constexpr (LendsHeap<M>) return M::heap_allocate(n);
    return nullptr;
}
template <class M>
void heap_free(void* p, size_t n) {
    if constexpr (LendsHeap<M>) M::heap_free(p, n);
}

}  // namespace detail

void slab_stats(MemStats& s);  // fills in the slab and frame fields
void slab_reset_for_test();

// The machine's memory that allocate(n) uses, in bytes: a share of a slab, or a whole block of frames.
constexpr u64 memory_taken(size_t n) {
    if (n > detail::kLargestGeneral) {
        u64 pages = 1;
        while (pages * kPageSize < n) pages *= 2;
        return pages * kPageSize;
    }
    u32 c = 0;
    while (detail::kGeneralSizes[c] < n) ++c;
    const u32 capacity = detail::capacity_of(c);
    return ((kPageSize << detail::slab_order(c)) + capacity - 1) / capacity;
}
template <class T>
inline constexpr u64 kMemoryTaken = memory_taken(sizeof(T));

}  // namespace rt
