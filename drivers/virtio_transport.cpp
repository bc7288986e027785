// SPDX-License-Identifier: MIT
// The two ways a virtio device is reached: modern PCI (4.1) and MMIO version 2 (4.2).
#include "drivers/virtio.hpp"
#include "drivers/virtio_pci.hpp"
#include "rt/mem/slab.hpp"

namespace drivers {
namespace {

using namespace abi::virtio;

// PCI local bus specification: offsets in configuration space.
constexpr u32 kPciCommand = 0x04, kPciHeaderType = 0x0e, kPciBar0 = 0x10;
constexpr u32 kMsixEntry = 16;
constexpr u32 kCommandMemory = 2, kCommandBusMaster = 4, kCommandNoIntx = 1u << 10;

class PciDevice final : public VirtioDevice, private PciFunction {
public:
    // `why`: what is wrong with the device.
    static Result<PciDevice*> open(port::PciAddress at, u32 type, const char*& why) {
        auto* d = rt::make<PciDevice>();
        if (!d) return Errno::kNoMem;
        d->at_ = at;
        d->type_ = type;
        auto r = d->map(why);
        if (!r.ok()) {
            delete d;
            return r.error();
        }
        return d;
    }
    Result<void> set_interrupt(u16 number, port::InterruptHandler handler, void* argument, CpuId cpu) override {
        if (!msix_table_ || number >= interrupts_) return Errno::kNoDev;
        port::Interrupt interrupt = TRY(port::allocate_interrupt(handler, argument, cpu));
        volatile u32* entry = msix_table_ + number * 4;  // PCI 3.0, 6.8.2.6
        entry[0] = u32(interrupt.msi_address);
        entry[1] = u32(interrupt.msi_address >> 32);
        entry[2] = interrupt.msi_data;
        entry[3] = 0;  // not masked
        u32 control = port::pci_read(at_, msix_capability_ + 2, 2);
        port::pci_write(at_, msix_capability_ + 2, 2, (control | 0x8000) & ~0x4000u);  // enabled, no function mask
        use_vector_ = true;
        return lib::kOk;
    }
    u32 interrupts() override { return interrupts_; }
    bool cut_off() override {
        if (reset()) return true;
        const u32 command = port::pci_read(at_, kPciCommand, 2);
        port::pci_write(at_, kPciCommand, 2, command & ~kCommandBusMaster);
        return true;
    }
    u32 queue_size_max(u16 queue) override {
        if (queue >= common_->queue_count || queue >= kMaxQueues) return 0;
        common_->queue_select = queue;
        return common_->queue_size;
    }
    Result<void> set_queue(const QueuePlace& place) override {
        const u16 queue = place.queue;
        if (queue >= kMaxQueues) return Errno::kNoDev;
        common_->queue_select = queue;
        // 4.1.4.4: where its notifications go.
        const u64 offset = u64{common_->queue_notify_offset} * notify_multiplier_;
        if (offset + sizeof(u16) > notify_length_ || offset % sizeof(u16) != 0) return Errno::kNoDev;
        notify_offset_[queue] = u32(offset);
        common_->queue_size = place.size;
        common_->queue_vector = use_vector_ ? place.interrupt : kNoVector;
        // 4.1.5.1.2.1: it reads otherwise where the device has no room for it.
        if (use_vector_ && common_->queue_vector != place.interrupt) return Errno::kNoDev;
        common_->queue_descriptors_low = u32(place.descriptors.value);
        common_->queue_descriptors_high = u32(place.descriptors.value >> 32);
        common_->queue_driver_low = u32(place.driver.value);
        common_->queue_driver_high = u32(place.driver.value >> 32);
        common_->queue_device_low = u32(place.device.value);
        common_->queue_device_high = u32(place.device.value >> 32);
        common_->queue_enable = 1;
        return lib::kOk;
    }
    void notify(u16 queue) override { *reinterpret_cast<volatile u16*>(notify_ + notify_offset_[queue]) = queue; }
    u32 config_read32(u32 offset) override {
        if (offset > config_length_ || config_length_ - offset < sizeof(u32)) return 0;
        return *reinterpret_cast<volatile u32*>(config_ + offset);
    }
    u32 config_generation() override { return common_->config_generation; }

protected:
    u64 device_features() override {
        common_->device_feature_select = 0;
        u64 low = common_->device_feature;
        common_->device_feature_select = 1;
        return low | u64{common_->device_feature} << 32;
    }
    void set_driver_features(u64 f) override {
        common_->driver_feature_select = 0;
        common_->driver_feature = u32(f);
        common_->driver_feature_select = 1;
        common_->driver_feature = u32(f >> 32);
    }
    u8 status() override { return common_->status; }
    void set_status(u8 s) override { common_->status = s; }

private:
    static constexpr u32 kMaxQueues = 32;
    u32 read(u32 offset, u32 width) override { return port::pci_read(at_, offset, width); }
    // Where a BAR lies and how large it is (PCI 3.0, 6.2.5.1). Decoding of memory is off.
    PciBar bar(u32 index) override {
        const u32 at = kPciBar0 + index * 4;
        const u32 low = port::pci_read(at_, at, 4);
        const bool wide = (low & 6) == 4;
        if ((low & 1) || (wide && index == 5)) return {};
        auto mask_of = [this](u32 offset, u32 was) {
            port::pci_write(at_, offset, 4, ~0u);
            const u32 mask = port::pci_read(at_, offset, 4);
            port::pci_write(at_, offset, 4, was);
            return mask;
        };
        u64 base = low & ~0xfu, mask = mask_of(at, low) & ~0xfu;
        if (wide) {
            const u32 high = port::pci_read(at_, at + 4, 4);
            base |= u64{high} << 32;
            mask |= u64{mask_of(at + 4, high)} << 32;
        } else {
            mask |= u64{~0u} << 32;
        }
        const u64 size = ~mask + 1;
        if (base == 0 || size == 0 || (!wide && u32(mask) == 0)) return {};
        if ((size & (size - 1)) != 0 || (base & (size - 1)) != 0) return {};
        return {base, size};
    }
    volatile u8* registers_at(const PciRegion& region) {
        return static_cast<volatile u8*>(port::map_registers(PhysAddr{region.at}, region.length));
    }
    Result<void> map(const char*& why) {
        const u32 command = port::pci_read(at_, kPciCommand, 2);
        port::pci_write(at_, kPciCommand, 2, (command | kCommandNoIntx) & ~(kCommandMemory | kCommandBusMaster));
        const auto regions = TRY(find_virtio_regions(*this, why));
        port::pci_write(at_, kPciCommand, 2, command | kCommandMemory | kCommandBusMaster | kCommandNoIntx);
        why = "there is no room for its registers";
        common_ = reinterpret_cast<volatile PciCommon*>(registers_at(regions.common));
        notify_ = registers_at(regions.notify);
        config_ = registers_at(regions.device);
        if (!common_ || !notify_ || !config_) return Errno::kNoMem;
        notify_length_ = regions.notify.length;
        notify_multiplier_ = regions.notify_multiplier;
        config_length_ = regions.device.length;
        if (regions.msix_capability != 0) {
            msix_capability_ = regions.msix_capability;
            msix_table_ = reinterpret_cast<volatile u32*>(registers_at(regions.msix_table));
            interrupts_ = msix_table_ ? regions.msix_table.length / kMsixEntry : 0;
        }
        return lib::kOk;
    }
    port::PciAddress at_;
    volatile PciCommon* common_ = nullptr;
    volatile u8* notify_ = nullptr;
    volatile u8* config_ = nullptr;
    volatile u32* msix_table_ = nullptr;
    u32 interrupts_ = 0, msix_capability_ = 0, notify_multiplier_ = 0, notify_length_ = 0, config_length_ = 0;
    u32 notify_offset_[kMaxQueues] = {};  // bytes
    bool use_vector_ = false;
};

class MmioDevice final : public VirtioDevice {
public:
    static Result<MmioDevice*> open(PhysAddr base, u64 size, u32 line) {
        if (size < mmio::kConfig + 8 || size > kMostRegisters || base.value % 4 != 0) return Errno::kInval;
        auto* registers = static_cast<volatile u8*>(port::map_registers(base, size));
        if (!registers) return Errno::kNoMem;
        auto* d = rt::make<MmioDevice>();
        if (!d) return Errno::kNoMem;
        d->registers_ = registers;
        d->size_ = u32(size);
        d->line_ = line;
        d->type_ = d->get(mmio::kDeviceId);
        if (d->get(mmio::kMagic) != mmio::kMagicValue || d->get(mmio::kVersion) != 2 || d->type_ == 0) {
            delete d;
            return Errno::kNoDev;
        }
        return d;
    }
    Result<void> set_interrupt(u16 number, port::InterruptHandler handler, void* argument, CpuId cpu) override {
        if (number != 0) return Errno::kNoDev;
        port::Interrupt interrupt = TRY(port::allocate_interrupt(handler, argument, cpu));
        if (!port::route_line(line_, interrupt, cpu, false, false)) return Errno::kNoDev;
        return lib::kOk;
    }
    void acknowledge() override { set(mmio::kInterruptAcknowledge, get(mmio::kInterruptStatus)); }
    u32 queue_size_max(u16 queue) override {
        set(mmio::kQueueSelect, queue);
        return get(mmio::kQueueSizeMax);
    }
    Result<void> set_queue(const QueuePlace& place) override {
        set(mmio::kQueueSelect, place.queue);
        set(mmio::kQueueSize, place.size);
        set64(mmio::kQueueDescriptorsLow, place.descriptors.value);
        set64(mmio::kQueueDriverLow, place.driver.value);
        set64(mmio::kQueueDeviceLow, place.device.value);
        set(mmio::kQueueReady, 1);
        return lib::kOk;
    }
    void notify(u16 queue) override { set(mmio::kQueueNotify, queue); }
    u32 config_read32(u32 offset) override {
        if (offset > size_ - mmio::kConfig - sizeof(u32)) return 0;
        return get(mmio::kConfig + offset);
    }
    u32 config_generation() override { return get(mmio::kConfigGeneration); }

protected:
    u64 device_features() override {
        set(mmio::kDeviceFeaturesSelect, 0);
        u64 low = get(mmio::kDeviceFeatures);
        set(mmio::kDeviceFeaturesSelect, 1);
        return low | u64{get(mmio::kDeviceFeatures)} << 32;
    }
    void set_driver_features(u64 f) override {
        set(mmio::kDriverFeaturesSelect, 0);
        set(mmio::kDriverFeatures, u32(f));
        set(mmio::kDriverFeaturesSelect, 1);
        set(mmio::kDriverFeatures, u32(f >> 32));
    }
    u8 status() override { return u8(get(mmio::kStatus)); }
    void set_status(u8 s) override { set(mmio::kStatus, s); }

private:
    static constexpr u64 kMostRegisters = 1 << 20;
    u32 get(u32 offset) { return *reinterpret_cast<volatile u32*>(registers_ + offset); }
    void set(u32 offset, u32 v) { *reinterpret_cast<volatile u32*>(registers_ + offset) = v; }
    void set64(u32 offset, u64 v) {
        set(offset, u32(v));
        set(offset + 4, u32(v >> 32));
    }
    volatile u8* registers_ = nullptr;
    u32 line_ = 0, size_ = 0;
};

void probe_pci(void (*found)(VirtioDevice&)) {
    if (!port::has_pci()) return;
    for (u32 device = 0; device < 32; ++device)
        for (u32 function = 0; function < 8; ++function) {
            port::PciAddress at{0, u8(device), u8(function)};
            u32 id = port::pci_read(at, 0, 4);
            if (id == ~0u || id == 0) {
                if (function == 0) break;
                continue;
            }
            u32 vendor = id & 0xffff, product = id >> 16;
            if (vendor == kPciVendor && product >= kPciDeviceBase && product < kPciDeviceBase + 64) {
                const char* why = "no memory";
                auto opened = PciDevice::open(at, product - kPciDeviceBase, why);
                if (opened.ok())
                    found(*opened.value());
                else
                    port::logf("virtio device {:x} at 00:{:x}.{} cannot be used: {}", product, device, function,
                               std::string_view(why));
            }
            if (function == 0 && !(port::pci_read(at, kPciHeaderType, 1) & 0x80)) break;
        }
}

// A number in C notation with an optional K or M; false if there is none.
bool take_number(std::string_view& text, u64& out) {
    int base = 10;
    if (text.starts_with("0x")) {
        base = 16;
        text.remove_prefix(2);
    }
    size_t used = 0;
    out = 0;
    while (used < text.size()) {
        char c = text[used];
        u64 digit = c >= '0' && c <= '9' ? u64(c - '0') : c >= 'a' && c <= 'f' ? u64(c - 'a' + 10) : 16;
        if (digit >= u64(base)) break;
        out = out * u64(base) + digit;
        ++used;
    }
    text.remove_prefix(used);
    if (!text.empty() && text[0] == 'K') {
        out <<= 10;
        text.remove_prefix(1);
    } else if (!text.empty() && text[0] == 'M') {
        out <<= 20;
        text.remove_prefix(1);
    }
    return used != 0;
}

void probe_mmio(std::string_view command_line, void (*found)(VirtioDevice&)) {
    constexpr std::string_view kKey = "virtio_mmio.device=";
    for (size_t at = command_line.find(kKey); at != std::string_view::npos; at = command_line.find(kKey, at + 1)) {
        std::string_view spec = command_line.substr(at + kKey.size());
        u64 size = 0, base = 0, line = 0;
        if (!take_number(spec, size) || spec.empty() || spec[0] != '@') continue;
        spec.remove_prefix(1);
        if (!take_number(spec, base) || spec.empty() || spec[0] != ':') continue;
        spec.remove_prefix(1);
        if (!take_number(spec, line)) continue;
        auto opened = MmioDevice::open(PhysAddr{base}, size, u32(line));
        if (opened.ok())
            found(*opened.value());
        else if (opened.error() == Errno::kInval)
            port::logf("virtio device at {:x} cannot be used: {} bytes of registers", base, size);
    }
}

}  // namespace

void probe_virtio(std::string_view command_line, void (*found)(VirtioDevice&)) {
    probe_pci(found);
    probe_mmio(command_line, found);
}

}  // namespace drivers
