// SPDX-License-Identifier: MIT
// Negotiation and split queues, common to the transports.
#include "drivers/virtio.hpp"

#include <atomic>
#include <bit>
#include <cstring>

#include "port/api/log.hpp"
#include "rt/mem/pages.hpp"

namespace drivers {

using namespace abi::virtio;

namespace {
constexpr Nanoseconds kResetAtBoot = lib::milliseconds(1000);  // nothing else runs yet
}

// 2.4.2, 4.1.4.3.1: it is done when the status reads as 0.
bool VirtioDevice::reset(Nanoseconds most) {
    set_status(0);
    const Nanoseconds end = hal::Machine::now() + most;
    while (status() != 0)
        if (hal::Machine::now() > end) return status() == 0;
    return true;
}

Result<u64> VirtioDevice::negotiate(u64 wanted) {
    if (!reset(kResetAtBoot)) return Errno::kNoDev;
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
    const u32 max = device.queue_size_max(index);
    if (max == 0) return Errno::kNoDev;
    if (max > kMostOffered) {
        port::logf("virtio device of type {}: queue {} of size {} is refused", device.type(), index, max);
        return Errno::kInval;
    }
    PhysAddr frame = TRY(rt::alloc_zeroed_frame());
    auto* bytes = static_cast<std::byte*>(rt::frame_info(frame).bytes());
    // A power of two (2.6), of which the ring indices are taken when they wrap.
    const u16 size = u16(std::bit_floor(max < kMaxSize ? max : u32{kMaxSize}));
    auto r = device.set_queue({index, size, 0, frame, frame + 1024, frame + 2048});
    if (!r.ok()) {
        rt::free_frame(frame);
        return r;
    }
    device_ = &device;
    index_ = index;
    descriptors_ = reinterpret_cast<Descriptor*>(bytes);
    available_ = reinterpret_cast<Available*>(bytes + 1024);
    used_ = reinterpret_cast<Used*>(bytes + 2048);
    size_ = size;
    return lib::kOk;
}

bool VirtQueue::submit(u16 id, PhysAddr buffer, u32 bytes, bool device_writes) {
    if (id >= size_ || (with_device_ >> id & 1)) return false;
    with_device_ |= u64{1} << id;
    given_[id] = bytes;
    descriptors_[id] = {buffer.value, bytes, device_writes ? kDescriptorWrite : u16{0}, 0};
    available_->ring[filled_ % size_] = id;
    ++filled_;
    // Release: the device sees the descriptor before the index (2.6.13.3).
    std::atomic_ref{available_->index}.store(filled_, std::memory_order_release);
    pending_ = true;
    return true;
}

void VirtQueue::kick() {
    if (!pending_ || broken_) return;
    pending_ = false;
    // seq_cst exchange of our own index orders it before the read of the device's flag (2.6.13.4.1).
    std::atomic_ref{available_->index}.exchange(filled_, std::memory_order_seq_cst);
    if (!(std::atomic_ref{used_->flags}.load(std::memory_order_seq_cst) & kUsedNoNotify)) device_->notify(index_);
}

bool VirtQueue::broken(const char* what, u32 value) {
    broken_ = true;
    port::logf("virtio device of type {}: queue {} is used no more: {} {}", device_->type(), index_, what, value);
    return false;
}

bool VirtQueue::take(u16& id, u32& bytes) {
    if (size_ == 0 || broken_) return false;
    // Acquire: pairs with the device's publication of the element.
    const u16 index = std::atomic_ref{used_->index}.load(std::memory_order_acquire);
    if (index == seen_) return false;
    if (u16(index - seen_) > size_) return broken("the used ring's index jumps to", index);
    // Once each: the device can write to them at any time.
    UsedElement& e = used_->ring[seen_ % size_];
    const u32 which = std::atomic_ref{e.id}.load(std::memory_order_relaxed);
    const u32 length = std::atomic_ref{e.length}.load(std::memory_order_relaxed);
    if (which >= size_ || !(with_device_ >> which & 1))
        return broken("it returns a buffer that it does not have:", which);
    with_device_ &= ~(u64{1} << which);
    ++seen_;
    id = u16(which);
    bytes = length < given_[which] ? length : given_[which];
    return true;
}

void VirtQueue::interrupts(bool on) {
    std::atomic_ref{available_->flags}.store(on ? u16{0} : kAvailableNoInterrupt, std::memory_order_seq_cst);
}

}  // namespace drivers
