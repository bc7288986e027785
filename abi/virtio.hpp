// SPDX-License-Identifier: MIT
// Wire structures of virtio 1.1 (OASIS): split virtqueues (2.6), PCI capabilities (4.1.4), MMIO registers (4.2.2), and the
// console device (5.3). All little-endian, like every supported machine.
#pragma once
#include <cstdint>

namespace abi::virtio {

inline constexpr uint32_t kStatusAcknowledge = 1, kStatusDriver = 2, kStatusDriverOk = 4, kStatusFeaturesOk = 8,
                          kStatusFailed = 128;
inline constexpr uint64_t kFeatureVersion1 = uint64_t{1} << 32;

// 2.6.5
struct Descriptor {
    uint64_t address;
    uint32_t length;
    uint16_t flags;
    uint16_t next;
};
inline constexpr uint16_t kDescriptorNext = 1, kDescriptorWrite = 2;
// 2.6.6, 2.6.8: the rings' heads, followed by their entries.
struct Available {
    uint16_t flags, index;
    uint16_t ring[];
};
struct UsedElement {
    uint32_t id, length;
};
struct Used {
    uint16_t flags, index;
    UsedElement ring[];
};
inline constexpr uint16_t kAvailableNoInterrupt = 1, kUsedNoNotify = 1;

// 4.1.4: vendor capability in PCI configuration space.
inline constexpr uint32_t kPciVendor = 0x1af4, kPciDeviceBase = 0x1040;
inline constexpr uint8_t kCapCommon = 1, kCapNotify = 2, kCapIsr = 3, kCapDevice = 4;
// 4.1.4.3
struct PciCommon {
    uint32_t device_feature_select, device_feature, driver_feature_select, driver_feature;
    uint16_t config_vector, queue_count;
    uint8_t status, config_generation;
    uint16_t queue_select, queue_size, queue_vector, queue_enable, queue_notify_offset;
    uint32_t queue_descriptors_low, queue_descriptors_high, queue_driver_low, queue_driver_high, queue_device_low,
        queue_device_high;
};
inline constexpr uint16_t kNoVector = 0xffff;

// 4.2.2: byte offsets.
namespace mmio {
inline constexpr uint32_t kMagic = 0x0, kVersion = 0x4, kDeviceId = 0x8, kDeviceFeatures = 0x10,
                          kDeviceFeaturesSelect = 0x14, kDriverFeatures = 0x20, kDriverFeaturesSelect = 0x24,
                          kQueueSelect = 0x30, kQueueSizeMax = 0x34, kQueueSize = 0x38, kQueueReady = 0x44,
                          kQueueNotify = 0x50, kInterruptStatus = 0x60, kInterruptAcknowledge = 0x64, kStatus = 0x70,
                          kQueueDescriptorsLow = 0x80, kQueueDriverLow = 0x90, kQueueDeviceLow = 0xa0, kConfig = 0x100;
inline constexpr uint32_t kMagicValue = 0x74726976;
}  // namespace mmio

// 5.3
inline constexpr uint32_t kDeviceConsole = 3;
inline constexpr uint64_t kConsoleMultiport = 2;  // feature bit 1
struct ConsoleConfig {
    uint16_t columns, rows;
    uint32_t max_ports;
    uint32_t emergency_write;
};
struct ConsoleControl {
    uint32_t port;
    uint16_t event, value;
};
enum ConsoleEvent : uint16_t {
    kDeviceReady,
    kPortAdd,
    kPortRemove,
    kPortReady,
    kConsolePort,
    kResize,
    kPortOpen,
    kPortName
};

}  // namespace abi::virtio
