// SPDX-License-Identifier: MIT
// Virtio: transports (PCI with MSI-X, MMIO with a line interrupt) and split virtqueues.
// A device's queues are guarded by the driver's lock (Rank::device); the interrupt handler takes it too.
#pragma once
#include "abi/virtio.hpp"
#include "port/api/devices.hpp"
#include "port/bind.hpp"

namespace drivers {

// One device, negotiated through its transport.
class VirtioDevice {
public:
    virtual ~VirtioDevice() = default;
    u32 type() const { return type_; }

    // Resets, offers `wanted` & what the device has (VERSION_1 is required). kNoDev: the device refuses.
    Result<u64> negotiate(u64 wanted);
    void driver_ok();
    void fail();
    // Everything is forgotten: when this has returned true, the device accesses no memory any more. False: it does not
    // say that it has within `most`, during which the CPU does nothing else. Any CPU, also while others use its queues.
    bool reset(Nanoseconds most = kResetWhileRunning);
    static constexpr Nanoseconds kResetWhileRunning = lib::milliseconds(10);
    // The same by any means, for a device that cannot be trusted to be reset.
    virtual bool cut_off() { return reset(); }
    // Interrupt 0, on CPU 0; the handler runs with interrupts off.
    Result<void> set_interrupt(port::InterruptHandler handler, void* argument) {
        return set_interrupt(0, handler, argument, CpuId{0});
    }
    // Interrupt `number`, below interrupts(). kNoDev: it has none; kNoSpc: the machine has no more.
    virtual Result<void> set_interrupt(u16 number, port::InterruptHandler handler, void* argument, CpuId cpu) = 0;
    virtual u32 interrupts() { return 1; }  // how many it has
    // To be called first in the handler (level-triggered lines).
    virtual void acknowledge() {}
    virtual u32 queue_size_max(u16 queue) = 0;  // 0: no such queue
    struct QueuePlace {
        u16 queue, size, interrupt;
        PhysAddr descriptors, driver, device;
    };
    // After set_interrupt() of its interrupt. kNoDev: the device's registers have no place for it.
    virtual Result<void> set_queue(const QueuePlace& place) = 0;
    virtual void notify(u16 queue) = 0;
    virtual u32 config_read32(u32 offset) = 0;  // beyond what the device has: 0
    virtual u32 config_generation() = 0;        // changes when several words of it do

protected:
    virtual u64 device_features() = 0;
    virtual void set_driver_features(u64 f) = 0;
    virtual u8 status() = 0;
    virtual void set_status(u8 s) = 0;
    u32 type_ = 0;
};

// A split virtqueue of single-descriptor buffers. Descriptor i belongs to buffer i: the driver keeps them by number.
// What the device writes is not trusted: a buffer that it does not have ends the use of the queue, with one line.
class VirtQueue {
public:
    static constexpr u16 kMaxSize = 64;         // descriptors and both rings fit one frame
    static constexpr u32 kMostOffered = 32768;  // 2.6
    // kNoDev: no such queue; kInval: an absurd size.
    Result<void> init(VirtioDevice& device, u16 index);
    bool ready() const { return size_ != 0; }
    u16 size() const { return size_; }
    // Gives buffer `id`, below size(), to the device. False: it has it still.
    bool submit(u16 id, PhysAddr buffer, u32 bytes, bool device_writes);
    void kick();  // notifies the device unless it asked not to be
    // A buffer the device has finished with, and how much it wrote, at most what it was given; false: none.
    bool take(u16& id, u32& bytes);
    void interrupts(bool on);

private:
    bool broken(const char* what, u32 value);
    VirtioDevice* device_ = nullptr;
    u16 index_ = 0, size_ = 0, seen_ = 0, filled_ = 0;
    bool pending_ = false, broken_ = false;
    u64 with_device_ = 0;  // a bit for each buffer
    static_assert(kMaxSize <= 64);
    u32 given_[kMaxSize] = {};  // bytes
    abi::virtio::Descriptor* descriptors_ = nullptr;
    abi::virtio::Available* available_ = nullptr;
    abi::virtio::Used* used_ = nullptr;
};

// Finds all devices (PCI functions; MMIO as given on the command line, `virtio_mmio.device=SIZE@BASE:IRQ`) and calls
// found for each. The device objects live for ever.
void probe_virtio(std::string_view command_line, void (*found)(VirtioDevice& device));

}  // namespace drivers
