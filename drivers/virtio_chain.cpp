// SPDX-License-Identifier: MIT
#include "drivers/virtio_chain.hpp"

#include <atomic>
#include <bit>
#include <cstring>

#include "port/api/log.hpp"
#include "rt/mem/pages.hpp"

namespace drivers {

using namespace abi::virtio;

namespace {

constexpr unsigned kOrder = 1;  // two frames
constexpr u64 kUsedAt = 1024;   // in the second one
static_assert(sizeof(Descriptor) * ChainQueue::kMaxSize <= kPageSize);
static_assert(sizeof(Available) + (ChainQueue::kMaxSize + 1) * sizeof(u16) <= kUsedAt);
static_assert(kUsedAt + sizeof(Used) + ChainQueue::kMaxSize * sizeof(UsedElement) + sizeof(u16) <= kPageSize);

}  // namespace

ChainQueue::~ChainQueue() {
    if (size_ != 0) rt::free_frames(memory_, kOrder);
}

Result<void> ChainQueue::init(VirtioDevice& device, u16 index, u16 interrupt, u64 features) {
    const u32 max = device.queue_size_max(index);
    if (max == 0) return Errno::kNoDev;
    if (max > VirtQueue::kMostOffered) {
        port::logf("virtio device of type {}: queue {} of size {} is refused", device.type(), index, max);
        return Errno::kInval;
    }
    const u16 size = u16(std::bit_floor(max < kMaxSize ? max : u32{kMaxSize}));  // 2.6: a power of two
    const PhysAddr memory = TRY(rt::alloc_frames(kOrder));
    auto* bytes = static_cast<std::byte*>(rt::frame_info(memory).bytes());
    std::memset(bytes, 0, kPageSize << kOrder);
    const PhysAddr rings = memory + kPageSize;
    if (auto r = device.set_queue({index, size, interrupt, memory, rings, rings + kUsedAt}); !r.ok()) {
        rt::free_frames(memory, kOrder);
        return r;
    }
    memory_ = memory;
    device_ = &device;
    index_ = index;
    indirect_ = (features & kFeatureIndirect) != 0;
    events_ = (features & kFeatureEventIndex) != 0;
    descriptors_ = reinterpret_cast<Descriptor*>(bytes);
    available_ = reinterpret_cast<Available*>(bytes + kPageSize);
    used_ = reinterpret_cast<Used*>(bytes + kPageSize + kUsedAt);
    for (u16 i = 0; i < size; ++i) next_[i] = u16(i + 1);
    free_count_ = size;
    size_ = size;  // last: take() looks at it first
    return lib::kOk;
}

bool ChainQueue::submit(u16 id, std::span<Descriptor> table, PhysAddr table_at, u32 writable) {
    const u16 count = u16(table.size());
    const u16 needed = indirect_ ? u16{1} : count;
    if (broken_ || id >= kMaxBuffers || needed > free_count_) return false;
    const u16 head = free_;
    if (indirect_) {
        for (u16 i = 0; i < count; ++i) {
            table[i].flags = u16((table[i].flags & kDescriptorWrite) | (i + 1 < count ? kDescriptorNext : u16{0}));
            table[i].next = u16(i + 1);
        }
        descriptors_[head] = {table_at.value, u32(count * sizeof(Descriptor)), kDescriptorIndirect, 0};
        free_ = next_[head];
    } else {
        u16 at = head;
        for (u16 i = 0; i < count; ++i, at = next_[at]) {
            const bool last = i + 1 == count;
            descriptors_[at] = {table[i].address, table[i].length,
                                u16((table[i].flags & kDescriptorWrite) | (last ? u16{0} : kDescriptorNext)),
                                last ? u16{0} : next_[at]};
        }
        free_ = at;
    }
    free_count_ = u16(free_count_ - needed);
    buffer_of_[head] = u8(id + 1);
    used_of_[id] = needed;
    writable_[id] = writable;
    available_->ring[filled_ % size_] = head;
    ++filled_;
    // Release: the device sees the descriptors before the index (2.6.13.3).
    std::atomic_ref{available_->index}.store(filled_, std::memory_order_release);
    return true;
}

void ChainQueue::kick() {
    if (broken_ || kicked_ == filled_) return;
    const u16 before = std::exchange(kicked_, filled_);
    // seq_cst exchange of our own index orders it before the read of what the device wants (2.6.13.4.1).
    std::atomic_ref{available_->index}.exchange(filled_, std::memory_order_seq_cst);
    bool wanted;
    if (events_) {
        // 2.6.7.2: has the index passed the one that the device waits for?
        const u16 event = std::atomic_ref{available_event()}.load(std::memory_order_seq_cst);
        wanted = u16(filled_ - event - 1) < u16(filled_ - before);
    } else {
        wanted = (std::atomic_ref{used_->flags}.load(std::memory_order_seq_cst) & kUsedNoNotify) == 0;
    }
    if (wanted) device_->notify(index_);
}

bool ChainQueue::fail(const char* what, u32 value) {
    broken_ = true;
    port::logf("virtio device of type {}: queue {} is used no more: {} {}", device_->type(), index_, what, value);
    return false;
}

bool ChainQueue::take(u16& id, u32& bytes) {
    if (size_ == 0 || broken_) return false;
    // Acquire: pairs with the device's publication of the element.
    const u16 index = std::atomic_ref{used_->index}.load(std::memory_order_acquire);
    if (index == seen_) return false;
    if (u16(index - seen_) > size_) return fail("the used ring's index jumps to", index);
    // Once each: the device can write to them at any time.
    UsedElement& e = used_->ring[seen_ % size_];
    const u32 head = std::atomic_ref{e.id}.load(std::memory_order_relaxed);
    const u32 length = std::atomic_ref{e.length}.load(std::memory_order_relaxed);
    if (head >= size_ || buffer_of_[head] == 0) return fail("it returns a buffer that it does not have:", head);
    ++seen_;
    id = u16(std::exchange(buffer_of_[head], u8{0}) - 1);
    bytes = length < writable_[id] ? length : writable_[id];
    // The chain's descriptors are linked by next_ as they were taken.
    u16 last = u16(head);
    for (u16 i = 1; i < used_of_[id]; ++i) last = next_[last];
    next_[last] = free_;
    free_ = u16(head);
    free_count_ = u16(free_count_ + used_of_[id]);
    return true;
}

bool ChainQueue::rest() {
    if (size_ == 0 || broken_ || !events_) return true;
    // seq_cst: either the device sees the event when it publishes its next element, or that element is seen here (2.6.7.2).
    std::atomic_ref{used_event()}.store(seen_, std::memory_order_seq_cst);
    return std::atomic_ref{used_->index}.load(std::memory_order_seq_cst) == seen_;
}

}  // namespace drivers
