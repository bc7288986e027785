// SPDX-License-Identifier: MIT
// The virtio block device (5.2): each becomes a disk (block/disk.hpp). It gets a queue for each CPU where it offers that
// many, and a transfer's end is an interrupt on the CPU that submitted it.
#pragma once
#include "drivers/virtio.hpp"

namespace drivers {

// Takes over a block device. kNoMem; kNoDev: the device refuses, or says something of itself that cannot be, which is
// logged; kNoSpc: there are as many disks as can be.
Result<void> start_virtio_blk(VirtioDevice& device);

}  // namespace drivers
