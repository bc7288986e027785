// SPDX-License-Identifier: MIT
// Coroutine frames: size classes of 64-byte steps up to 1 KiB, then powers of two (pages), from per-CPU lists.
//
// Paths that must not fail (exit, kill, unmap, close, the out-of-memory kill) run in frames reserved beforehand: their
// job owns a FrameReserve, and while the job runs in such a path, its reserve is this CPU's (set_frame_reserve). A
// frame comes from there only if there is no other memory. The reserve must be this CPU's whenever a frame that came
// from it is freed: set it each time the job is resumed, until the job ends; another job must never run with it.
#pragma once
#include <cstddef>

#include "rt/mem/slab.hpp"

namespace rt {

// A block for frames, used as a stack: the frames of one chain of awaits end in the opposite order of their creation.
// Space of a frame freed out of order comes back when all are free.
class FrameReserve {
public:
    constexpr FrameReserve() = default;
    FrameReserve(const FrameReserve&) = delete;
    ~FrameReserve() { drop(); }
    // Takes `bytes` of memory; kNoMem. Once.
    Result<void> prepare(size_t bytes);
    void drop();
    bool in_use() const { return live_ != 0; }
    bool holds(const void* p) const {
        auto* b = static_cast<const std::byte*>(p);
        return b >= block_ && b < block_ + size_;
    }
    void* take(size_t n);
    void give(void* p, size_t n);

private:
    std::byte* block_ = nullptr;
    size_t size_ = 0;
    size_t top_ = 0;
    u32 live_ = 0;
};

void* frame_allocate(size_t n) noexcept;
void frame_free(void* p, size_t n) noexcept;

// This CPU's reserve from now on; null for none.
void set_frame_reserve(FrameReserve* r);
FrameReserve* frame_reserve();

// How many coroutine frames this CPU has ever allocated: the difference over a call shows that it allocated none.
u64 frames_allocated();
// Frames that exist now, all CPUs (exact when no CPU is between two steps of an allocation).
u64 frames_live();

}  // namespace rt
