// SPDX-License-Identifier: MIT
// A split virtqueue of buffers that are several descriptors each (virtio 1.1, 2.6): in a table of their own if the device
// takes indirect descriptors, otherwise chained in the ring. Notifications both ways by event index where the device
// offers it. The driver knows its buffers by small numbers.
//
// What the device writes is not trusted: a buffer that it does not have, or an index that jumps, ends the use of the
// queue with one line. The state that decides is kept in memory that the device is not told of.
//
// No lock: the driver's own guards it.
#pragma once
#include <span>

#include "drivers/virtio.hpp"

namespace drivers {

class ChainQueue {
public:
    static constexpr u16 kMaxSize = 256;  // descriptors; they fit one frame, both rings another
    static constexpr u16 kMaxBuffers = 64;

    ChainQueue() = default;
    ChainQueue(const ChainQueue&) = delete;
    ~ChainQueue();

    // `features`: what was negotiated. kNoDev: no such queue, or no place for its registers; kInval: an absurd size; kNoMem.
    Result<void> init(VirtioDevice& device, u16 index, u16 interrupt, u64 features);
    u16 size() const { return size_; }
    bool indirect() const { return indirect_; }

    // Gives buffer `id`, below kMaxBuffers and not with the device, to the device. `table`: its descriptors, of which `next`
    // and kDescriptorNext are set here; it lies at `table_at` and stays until the buffer comes back. `writable`: how many
    // bytes of it the device may write. False: there is no room until another buffer comes back.
    bool submit(u16 id, std::span<abi::virtio::Descriptor> table, PhysAddr table_at, u32 writable);
    void kick();  // notifies the device of what was submitted, unless it asked not to be
    // A buffer that the device has done, and how much it wrote, at most what it may; false: none.
    bool take(u16& id, u32& bytes);
    // There was none: asks for an interrupt at the next one. False: one has come meanwhile, and take() gets it.
    bool rest();
    bool broken() const { return broken_; }

private:
    bool fail(const char* what, u32 value);
    u16& used_event() { return available_->ring[size_]; }
    u16& available_event() { return *reinterpret_cast<u16*>(&used_->ring[size_]); }

    VirtioDevice* device_ = nullptr;
    u16 index_ = 0, size_ = 0, seen_ = 0, filled_ = 0, kicked_ = 0;
    u16 free_ = 0, free_count_ = 0;  // of descriptors in the ring: a list by next_
    bool indirect_ = false, events_ = false, broken_ = false;
    PhysAddr memory_{};
    abi::virtio::Descriptor* descriptors_ = nullptr;
    abi::virtio::Available* available_ = nullptr;
    abi::virtio::Used* used_ = nullptr;
    u16 next_[kMaxSize] = {};
    u8 buffer_of_[kMaxSize] = {};    // by first descriptor: the buffer's number plus one; 0: it is none
    u16 used_of_[kMaxBuffers] = {};  // how many descriptors of the ring
    u32 writable_[kMaxBuffers] = {};
};

}  // namespace drivers
