// SPDX-License-Identifier: MIT
// Wire structures of virtio 1.1 (OASIS): split virtqueues (2.6), PCI capabilities (4.1.4), MMIO registers (4.2.2), the block
// device (5.2) and the console device (5.3). All little-endian, like every supported machine.
#pragma once
#include <cstdint>

namespace abi::virtio {

inline constexpr uint32_t kStatusAcknowledge = 1, kStatusDriver = 2, kStatusDriverOk = 4, kStatusFeaturesOk = 8,
                          kStatusFailed = 128;
// 6
inline constexpr uint64_t kFeatureIndirect = uint64_t{1} << 28, kFeatureEventIndex = uint64_t{1} << 29,
                          kFeatureVersion1 = uint64_t{1} << 32;

// 2.6.5
struct Descriptor {
    uint64_t address;
    uint32_t length;
    uint16_t flags;
    uint16_t next;
};
inline constexpr uint16_t kDescriptorNext = 1, kDescriptorWrite = 2, kDescriptorIndirect = 4;
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
                          kQueueDescriptorsLow = 0x80, kQueueDriverLow = 0x90, kQueueDeviceLow = 0xa0,
                          kConfigGeneration = 0xfc, kConfig = 0x100;
inline constexpr uint32_t kMagicValue = 0x74726976;
}  // namespace mmio

// 5.2
inline constexpr uint32_t kDeviceBlock = 2;
inline constexpr uint64_t kBlockSizeMax = 1 << 1, kBlockSegMax = 1 << 2, kBlockReadOnly = 1 << 5,
                          kBlockBlockSize = 1 << 6, kBlockFlush = 1 << 9, kBlockMultiQueue = 1 << 12,
                          kBlockDiscard = 1 << 13;
// 5.2.4
struct BlockConfig {
    uint32_t capacity_low, capacity_high;  // in sectors of 512 bytes
    uint32_t size_max, seg_max;
    uint16_t cylinders;
    uint8_t heads, sectors;
    uint32_t block_size;
    uint8_t physical_block_exponent, alignment_offset;
    uint16_t least_io;
    uint32_t best_io;
    uint8_t write_back, unused;
    uint16_t queue_count;
    uint32_t most_discard_sectors, most_discard_segments, discard_alignment;
};
static_assert(sizeof(BlockConfig) == 48);
// 5.2.6
struct BlockHeader {
    uint32_t type, reserved;
    uint64_t sector;
};
enum BlockType : uint32_t { kBlockIn = 0, kBlockOut = 1, kBlockTypeFlush = 4, kBlockTypeDiscard = 11 };
struct BlockDiscardRange {
    uint64_t sector;
    uint32_t sectors, flags;
};
inline constexpr uint8_t kBlockStatusOk = 0, kBlockStatusIoError = 1, kBlockStatusUnsupported = 2;

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
