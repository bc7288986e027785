// SPDX-License-Identifier: MIT
// Slabs: pages cut into objects of one size. The head page's FrameInfo holds the slab's free list and counts, so that
// objects fill the pages and are as aligned as their size.
#include "rt/mem/slab.hpp"

#include <array>
#include <bit>
#include <cstring>

#include "rt/spinlock.hpp"

namespace rt {
namespace detail {

constinit CpuObjects cpu_objects[lib::kMaxCpus];

namespace {

// Lives in the owner area of the FrameInfo of a slab's first page.
struct Slab {
    FreeObject* free;
    u32 used;      // objects taken from the slab: in use or in a CPU's list
    u32 capacity;  // objects it has room for
    bool listed;   // in its class's list of slabs with free objects
};

// One size class. `partial` lists the slabs that have free objects, by FrameInfo::next and prev.
struct alignas(64) ClassSlabs {
    SpinLock<Rank::slab> lock;
    FrameInfo* partial RT_GUARDED_BY(lock) = nullptr;
    // Relaxed, written under the lock: statistics.
    std::atomic<u64> slabs{0};
    std::atomic<u64> objects_out{0};
};
constinit ClassSlabs class_slabs[kClasses];
constinit std::atomic<u64> large_bytes{0}, large_frame_bytes{0};

// Objects moved between a CPU and the slabs at once: about one page of them.
constexpr u32 batch_of(u32 c) {
    u32 n = u32(kPageSize) / class_size(c);
    return n < 4 ? 4 : n > 64 ? 64 : n;
}
constexpr u32 limit_of(u32 c) { return 2 * batch_of(c); }

// The offset of a size's class in CpuObjects::of, by (size + 15) / 16.
constexpr auto kOffsetOfSize = [] {
    std::array<u16, kLargestGeneral / 16 + 1> table{};
    for (u32 i = 0, c = 0; i < table.size(); ++i) {
        while (kGeneralSizes[c] < i * 16) ++c;
        table[i] = static_cast<u16>(class_offset(c));
    }
    return table;
}();

constexpr unsigned order_of(size_t n) { return static_cast<unsigned>(std::bit_width(lib::pages_for(n) - 1)); }

FrameInfo& slab_of(const void* p, u32 size_class) {
    return frame_info(hal::Machine::virt_to_phys(p).down(kPageSize << slab_order(size_class)));
}

void add(std::atomic<u64>& n, u64 by) { n.store(n.load(std::memory_order_relaxed) + by, std::memory_order_relaxed); }

void list_slab(ClassSlabs& c, FrameInfo& f) RT_REQUIRES(c.lock) {
    f.prev = nullptr;
    f.next = c.partial;
    if (f.next) f.next->prev = &f;
    c.partial = &f;
    f.owner_as<Slab>()->listed = true;
}
void unlist_slab(ClassSlabs& c, FrameInfo& f) RT_REQUIRES(c.lock) {
    (f.prev ? f.prev->next : c.partial) = f.next;
    if (f.next) f.next->prev = f.prev;
    f.owner_as<Slab>()->listed = false;
}

constexpr u64 kPoison = 0x5a5a5a5a5a5a5a5a;

// A new slab, already in the class's list; null if there is no memory.
FrameInfo* new_slab(ClassSlabs& c, u32 size_class) RT_REQUIRES(c.lock) {
    auto pages = alloc_frames(slab_order(size_class));
    if (!pages.ok()) return nullptr;
    FrameInfo& f = frame_info(pages.value());
    f.set_tag(FrameState::kSlab, slab_order(size_class), size_class);
    u32 size = class_size(size_class), capacity = capacity_of(size_class);
    auto* base = static_cast<std::byte*>(f.bytes());
    if constexpr (kDebug) memset(base, static_cast<int>(kPoison & 0xff), kPageSize << slab_order(size_class));
    FreeObject* list = nullptr;
    for (u32 i = capacity; i-- > 0;) {
        auto* object = reinterpret_cast<FreeObject*>(base + size_t{i} * size);
        object->next = list;
        list = object;
    }
    *f.owner_as<Slab>() = {.free = list, .used = 0, .capacity = capacity, .listed = false};
    list_slab(c, f);
    add(c.slabs, 1);
    return &f;
}

void give_to_slab(ClassSlabs& c, u32 size_class, FreeObject* object) RT_REQUIRES(c.lock) {
    FrameInfo& f = slab_of(object, size_class);
    Slab& slab = *f.owner_as<Slab>();
    object->next = slab.free;
    slab.free = object;
    if (!slab.listed) list_slab(c, f);
    add(c.objects_out, ~u64{0});
    if (--slab.used == 0) {
        unlist_slab(c, f);
        add(c.slabs, ~u64{0});
        f.set_tag(FrameState::kUsed, slab_order(size_class));
        free_frames(f.address(), slab_order(size_class));
    }
}

// Returns `n` objects of this CPU's list to their slabs.
void drain(u32 size_class, u32 n) {
    CpuClass& mine = my_objects().of[size_class];
    ClassSlabs& c = class_slabs[size_class];
    LockGuard guard(c.lock);
    u32 left = mine.count.load(std::memory_order_relaxed);
    for (; n > 0 && mine.free; --n, --left) {
        FreeObject* object = mine.free;
        mine.free = object->next;
        give_to_slab(c, size_class, object);
    }
    mine.count.store(left, std::memory_order_relaxed);
}

}  // namespace

// Fills this CPU's list with a batch and returns one object.
void* take_slow(u32 size_class) {
    CpuClass& mine = my_objects().of[size_class];
    ClassSlabs& c = class_slabs[size_class];
    mine.limit = limit_of(size_class);
    u32 want = batch_of(size_class), got = 0;
    FreeObject* list = nullptr;
    {
        LockGuard guard(c.lock);
        while (got < want) {
            FrameInfo* f = c.partial;
            if (!f) f = got == 0 ? new_slab(c, size_class) : nullptr;
            if (!f) break;
            Slab& slab = *f->owner_as<Slab>();
            while (got < want && slab.free) {
                FreeObject* object = slab.free;
                slab.free = object->next;
                object->next = list;
                list = object;
                ++slab.used;
                ++got;
            }
            if (!slab.free) unlist_slab(c, *f);
        }
        add(c.objects_out, got);
    }
    if (got == 0) return nullptr;
    mine.free = list->next;
    mine.count.store(got - 1, std::memory_order_relaxed);
    if constexpr (kDebug) debug_take(size_class, list);
    return list;
}

void give_slow(u32 size_class, void* p) {
    CpuClass& mine = my_objects().of[size_class];
    mine.limit = limit_of(size_class);
    if (mine.count.load(std::memory_order_relaxed) >= mine.limit) drain(size_class, batch_of(size_class));
    auto* object = static_cast<FreeObject*>(p);
    object->next = mine.free;
    mine.free = object;
    mine.count.store(mine.count.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

// A free object consists of poison except for its first word, the link.
void debug_give(u32 size_class, void* p) {
    FrameInfo& f = slab_of(p, size_class);
    RT_CHECK(f.state() == FrameState::kSlab && f.size_class() == size_class, "free of an object with a wrong size");
    auto* word = static_cast<u64*>(p);
    u32 words = class_size(size_class) / 8;
    bool all_poison = true;
    for (u32 i = 1; i < words; ++i) all_poison &= word[i] == kPoison;
    RT_CHECK(!all_poison, "an object was freed twice");
    for (u32 i = 0; i < words; ++i) word[i] = kPoison;
}
void debug_take(u32 size_class, void* p) {
    auto* word = static_cast<u64*>(p);
    u32 words = class_size(size_class) / 8;
    for (u32 i = 1; i < words; ++i) RT_CHECK(word[i] == kPoison, "a free object was written to");
    // Not poison: otherwise freeing an object that was never written would look like a double free.
    for (u32 i = 0; i < words; ++i) word[i] = 0xa5a5a5a5a5a5a5a5;
}

void* take_large(size_t n, bool frame) {
    if (n > kPageSize << kMaxOrder) return nullptr;
    unsigned order = order_of(n);
    auto pages = alloc_frames(order);
    if (!pages.ok()) return nullptr;
    (frame ? large_frame_bytes : large_bytes).fetch_add(kPageSize << order, std::memory_order_relaxed);
    return hal::Machine::phys_to_virt(pages.value());
}
void give_large(void* p, size_t n, bool frame) {
    unsigned order = order_of(n);
    (frame ? large_frame_bytes : large_bytes).fetch_sub(kPageSize << order, std::memory_order_relaxed);
    free_frames(hal::Machine::virt_to_phys(p), order);
}

void* slab_allocate(size_t n) noexcept {
    if constexpr (kDebug)
        if (inject_failure()) return nullptr;
    if (n > kLargestGeneral) [[unlikely]]
        return take_large(n, false);
    u64 offset = kOffsetOfSize[(n + 15) / 16];
    if (void* p = take(my_objects(), offset)) [[likely]]
        return p;
    return take_slow(class_of_offset(offset));
}
void slab_deallocate(void* p, size_t n) noexcept {
    if (n > kLargestGeneral) [[unlikely]]
        return give_large(p, n, false);
    give(my_objects(), kOffsetOfSize[(n + 15) / 16], p);
}

}  // namespace detail

void* allocate(size_t n) noexcept {
    if constexpr (detail::kHostHeap) {
        if constexpr (kDebug)
            if (detail::inject_failure()) return nullptr;
        return detail::heap_allocate<hal::Machine>(n);
    }
    return detail::slab_allocate(n);
}
void deallocate(void* p, size_t n) noexcept {
    if constexpr (detail::kHostHeap) return detail::heap_free<hal::Machine>(p, n);
    detail::slab_deallocate(p, n);
}

size_t allocated_size(const void* p) noexcept {
    PhysAddr page = hal::Machine::virt_to_phys(p).down(kPageSize);
    FrameInfo* f = find_frame_info(page);
    // The second page of a two-page slab: the slab's head is the page before.
    if (f && f->state() == FrameState::kTail) f = &frame_info(page.down(2 * kPageSize));
    RT_CHECK(f, "free of memory that was never allocated");
    if (f->state() == FrameState::kSlab) return detail::class_size(f->size_class());
    RT_CHECK(f->state() == FrameState::kUsed, "free of memory that is not allocated");
    return kPageSize << f->order();
}

void drain_object_caches() {
    for (u32 c = 0; c < detail::kClasses; ++c)
        if (u32 n = detail::my_objects().of[c].count.load(std::memory_order_relaxed)) detail::drain(c, n);
}

void slab_stats(MemStats& s) {
    s.slab_bytes = detail::large_bytes.load(std::memory_order_relaxed);
    s.frame_bytes = detail::large_frame_bytes.load(std::memory_order_relaxed);
    s.slab_free_bytes = s.frame_free_bytes = 0;
    for (u32 i = 0; i < detail::kClasses; ++i) {
        const detail::ClassSlabs& c = detail::class_slabs[i];
        u64 slabs = c.slabs.load(std::memory_order_relaxed);
        u64 in_use = c.objects_out.load(std::memory_order_relaxed);
        for (const detail::CpuObjects& cpu : detail::cpu_objects)
            in_use -= cpu.of[i].count.load(std::memory_order_relaxed);
        bool frame = i >= detail::kGeneralClasses;
        u64 held = slabs * (kPageSize << detail::slab_order(i));
        (frame ? s.frame_bytes : s.slab_bytes) += held;
        (frame ? s.frame_free_bytes : s.slab_free_bytes) += held - in_use * detail::class_size(i);
    }
}

void slab_reset_for_test() {
    for (detail::CpuObjects& cpu : detail::cpu_objects)
        for (detail::CpuClass& c : cpu.of) {
            c.free = nullptr;
            c.count = 0;
            c.limit = 0;
        }
    for (detail::ClassSlabs& c : detail::class_slabs) {
        LockGuard guard(c.lock);
        c.partial = nullptr;
        c.slabs = 0;
        c.objects_out = 0;
    }
    detail::large_bytes = detail::large_frame_bytes = 0;
}

}  // namespace rt
