// SPDX-License-Identifier: MIT
// Coroutine frames: size classes in 64-byte steps up to 1 KiB, then powers of two (pages), from per-CPU lists.
//
// Paths that must not fail (exit, kill, unmap, close, the out-of-memory kill) run in frames reserved beforehand: their
// job owns a FrameReserve, and while the job runs in such a path, its reserve is installed on this CPU
// (set_frame_reserve). A frame comes from the reserve only if there is no other memory. The reserve must be installed
// on the CPU whenever a frame that came from it is freed: install it each time the job is resumed, until the job ends.
// No other job may run with it.
#pragma once
#include <cstddef>

#include "rt/mem/slab.hpp"

namespace rt {

// A block of memory for frames, used as a stack: the frames of a chain of awaits end in the reverse order of their
// creation. The space of a frame that is freed out of order is reused when all frames are free.
class FrameReserve {
public:
    constexpr FrameReserve() = default;
    FrameReserve(const FrameReserve&) = delete;
    ~FrameReserve() { drop(); }
    // Allocates `bytes` of memory for the reserve; kNoMem. Called once.
    Result<void> prepare(size_t bytes);
    // Frees the memory. No frame may live in it.
    void drop();
    bool in_use() const { return live_ != 0; }
    bool holds(const void* p) const {
        auto* b = static_cast<const std::byte*>(p);
        return b >= block_ && b < block_ + size_;
    }
    // Space for a frame of n bytes; null if there is not enough. give() gets the same size.
    void* take(size_t n);
    void give(void* p, size_t n);

private:
    std::byte* block_ = nullptr;
    size_t size_ = 0;
    size_t top_ = 0;
    u32 live_ = 0;
};

// Memory for a frame of n bytes, from this CPU's reserve if there is no other; null if there is none at all. Never
// blocks. frame_free() gets the same size.
void* frame_allocate(size_t n) noexcept;
void frame_free(void* p, size_t n) noexcept;

// Installs this CPU's reserve; null for none.
void set_frame_reserve(FrameReserve* r);
FrameReserve* frame_reserve();

// The number of coroutine frames this CPU has ever allocated. If it is unchanged after a call, the call allocated none.
u64 frames_allocated();
// The number of frames that exist now, on all CPUs. Exact only while no CPU allocates or frees one.
u64 frames_live();

}  // namespace rt
