// SPDX-License-Identifier: MIT
// Where the registers of a virtio PCI function are, by its capabilities (virtio 1.1, 4.1.4; PCI 3.0, 6.7 and 6.8.2).
// Parses untrusted input: what a device offers is used only if it lies within configuration space, within a memory BAR,
// and is large enough. No state, no locks.
#pragma once
#include "lib/result.hpp"
#include "lib/types.hpp"

namespace drivers {

// Size 0: not a memory BAR, or not assigned.
struct PciBar {
    u64 base = 0, size = 0;
};

class PciFunction {
public:
    virtual u32 read(u32 offset, u32 width) = 0;  // width 1, 2, 4; below 256
    virtual PciBar bar(u32 index) = 0;            // 0 to 5

protected:
    ~PciFunction() = default;
};

struct PciRegion {
    u64 at = 0;      // physical
    u32 length = 0;  // bytes; 0: none
};

struct VirtioPciRegions {
    PciRegion common, notify, device, msix_table;
    u32 notify_multiplier = 0;
    u32 msix_capability = 0;  // offset in configuration space; 0: none that can be used
};

// kNoDev: something that is needed is missing or out of bounds; `why` says what. A capability that cannot be used is
// passed over, because a device may offer another of its kind (4.1.4.1).
Result<VirtioPciRegions> find_virtio_regions(PciFunction& function, const char*& why);

}  // namespace drivers
