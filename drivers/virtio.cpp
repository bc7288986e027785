// SPDX-License-Identifier: MIT
// Negotiation and split queues, common to the transports.
#include "drivers/virtio.hpp"

#include <atomic>
#include <cstring>

#include "rt/mem/pages.hpp"

namespace drivers {

using namespace abi::virtio;

Result<u64> VirtioDevice::negotiate(u64 wanted) {
    set_status(0);
    for (u32 i = 0; status() != 0; ++i)
        if (i == 1'000'000) return Errno::kNoDev;
    set_status(kStatusAcknowledge);
    set_status(kStatusAcknowledge | kStatusDriver);
    u64 features = device_features() & (wanted | kFeatureVersion1);
    if (!(features & kFeatureVersion1)) {
        fail();
        return Errno::kNoDev;
    }
    set_driver_features(features);
    set_status(kStatusAcknowledge | kStatusDriver | kStatusFeaturesOk);
    if (!(status() & kStatusFeaturesOk)) {
        fail();
        return Errno::kNoDev;
    }
    return features;
}

void VirtioDevice::driver_ok() { set_status(kStatusAcknowledge | kStatusDriver | kStatusFeaturesOk | kStatusDriverOk); }
void VirtioDevice::fail() { set_status(kStatusFailed); }

Result<void> VirtQueue::init(VirtioDevice& device, u16 index) {
    u16 max = device.queue_size_max(index);
    if (max == 0) return Errno::kNoDev;
    PhysAddr frame = TRY(rt::alloc_zeroed_frame());
    auto* bytes = static_cast<std::byte*>(rt::frame_info(frame).bytes());
    device_ = &device;
    index_ = index;
    size_ = max < kMaxSize ? max : kMaxSize;
    descriptors_ = reinterpret_cast<Descriptor*>(bytes);
    available_ = reinterpret_cast<Available*>(bytes + 1024);
    used_ = reinterpret_cast<Used*>(bytes + 2048);
    device.set_queue(index, size_, frame, frame + 1024, frame + 2048);
    return lib::kOk;
}

void VirtQueue::submit(u16 id, PhysAddr buffer, u32 bytes, bool device_writes) {
    descriptors_[id] = {buffer.value, bytes, device_writes ? kDescriptorWrite : u16{0}, 0};
    available_->ring[filled_ % size_] = id;
    ++filled_;
    // Release: the device sees the descriptor before the index (2.6.13.3).
    std::atomic_ref{available_->index}.store(filled_, std::memory_order_release);
    pending_ = true;
}

void VirtQueue::kick() {
    if (!pending_) return;
    pending_ = false;
    // seq_cst exchange of our own index orders it before the read of the device's flag (2.6.13.4.1).
    std::atomic_ref{available_->index}.exchange(filled_, std::memory_order_seq_cst);
    if (!(std::atomic_ref{used_->flags}.load(std::memory_order_seq_cst) & kUsedNoNotify)) device_->notify(index_);
}

bool VirtQueue::take(u16& id, u32& bytes) {
    // Acquire: pairs with the device's publication of the element.
    if (std::atomic_ref{used_->index}.load(std::memory_order_acquire) == seen_) return false;
    const UsedElement& e = used_->ring[seen_ % size_];
    ++seen_;
    id = u16(e.id % size_);
    bytes = e.length;
    return true;
}

void VirtQueue::interrupts(bool on) {
    std::atomic_ref{available_->flags}.store(on ? u16{0} : kAvailableNoInterrupt, std::memory_order_seq_cst);
}

}  // namespace drivers
