// SPDX-License-Identifier: MIT
// Coroutine frames from their own slab classes, and the reserve for paths that must not fail.
#include "rt/mem/frames.hpp"

namespace rt {
namespace {

using detail::CpuObjects;
using detail::my_objects;

void count(std::atomic<u64>& n) { n.store(n.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed); }

constexpr size_t rounded(size_t n) { return (n + 15) & ~size_t{15}; }

// Everything except the common case: a new batch, a large frame, the reserve.
[[gnu::noinline]] void* allocate_slow(size_t n, bool fail) {
    void* p = nullptr;
    if (fail)
        p = nullptr;
    else if constexpr (detail::kHostHeap)
        p = detail::heap_allocate<hal::Machine>(n);
    else if (n > detail::kLargestFrame)
        p = detail::take_large(n, true);
    else
        p = detail::take_slow(detail::class_of_offset(detail::frame_offset(n)));
    CpuObjects& mine = my_objects();
    if (!p && mine.reserve) p = mine.reserve->take(n);
    if (p) count(mine.frames_allocated);
    return p;
}

[[gnu::noinline]] void free_slow(void* p, size_t n) {
    CpuObjects& mine = my_objects();
    if (mine.reserve && mine.reserve->holds(p)) return mine.reserve->give(p, n);
    if constexpr (detail::kHostHeap) return detail::heap_free<hal::Machine>(p, n);
    if (n > detail::kLargestFrame) return detail::give_large(p, n, true);
    detail::give(mine, detail::frame_offset(n), p);
}

}  // namespace

void* frame_allocate(size_t n) noexcept {
    if constexpr (kDebug)
        if (detail::inject_failure()) return allocate_slow(n, true);
    if (detail::kHostHeap || n > detail::kLargestFrame) [[unlikely]]
        return allocate_slow(n, false);
    CpuObjects& mine = my_objects();
    void* p = detail::take(mine, detail::frame_offset(n));
    if (!p) [[unlikely]]
        return allocate_slow(n, false);
    count(mine.frames_allocated);
    return p;
}

void frame_free(void* p, size_t n) noexcept {
    CpuObjects& mine = my_objects();
    count(mine.frames_freed);
    if (detail::kHostHeap || mine.reserve || n > detail::kLargestFrame) [[unlikely]]
        return free_slow(p, n);
    detail::give(mine, detail::frame_offset(n), p);
}

Result<void> FrameReserve::prepare(size_t bytes) {
    RT_ASSERT(block_ == nullptr, "a frame reserve is prepared twice");
    bytes = rounded(bytes);
    auto* block = static_cast<std::byte*>(allocate(bytes));
    if (!block) return Errno::kNoMem;
    block_ = block;
    size_ = bytes;
    return lib::kOk;
}

void FrameReserve::drop() {
    if (!block_) return;
    RT_ASSERT(live_ == 0, "a frame reserve is freed while frames live in it");
    deallocate(block_, size_);
    block_ = nullptr;
    size_ = top_ = 0;
}

void* FrameReserve::take(size_t n) {
    n = rounded(n);
    if (n > size_ - top_) return nullptr;
    void* p = block_ + top_;
    top_ += n;
    ++live_;
    return p;
}

void FrameReserve::give(void* p, size_t n) {
    auto* at = static_cast<std::byte*>(p);
    if (at + rounded(n) == block_ + top_) top_ -= rounded(n);
    if (--live_ == 0) top_ = 0;
}

void set_frame_reserve(FrameReserve* r) { my_objects().reserve = r; }
FrameReserve* frame_reserve() { return my_objects().reserve; }

u64 frames_allocated() { return my_objects().frames_allocated.load(std::memory_order_relaxed); }

u64 frames_live() {
    u64 n = 0;
    for (const CpuObjects& c : detail::cpu_objects)
        n += c.frames_allocated.load(std::memory_order_relaxed) - c.frames_freed.load(std::memory_order_relaxed);
    return n;
}

}  // namespace rt
