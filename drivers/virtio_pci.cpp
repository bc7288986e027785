// SPDX-License-Identifier: MIT
#include "drivers/virtio_pci.hpp"

#include "abi/virtio.hpp"

namespace drivers {
namespace {

constexpr u32 kPciStatus = 0x06, kPciCapabilities = 0x34;
constexpr u32 kStatusHasCapabilities = 0x10;
constexpr u32 kFirstCapability = 0x40, kConfigSpace = 256;
constexpr u8 kCapabilityVendor = 0x09, kCapabilityMsix = 0x11;
constexpr u32 kVendorBytes = 16, kNotifyBytes = 20, kMsixBytes = 12;
// More than any driver here asks for: windows for registers are scarce.
constexpr u32 kMostRegisters = 1 << 20;
constexpr u32 kMsixEntry = 16;

// The region, if a memory BAR holds all of it; length 0 if not.
PciRegion region_in(PciFunction& f, u32 bar_index, u32 offset, u32 length, u32 least, u32 alignment) {
    if (bar_index > 5 || length < least || offset % alignment != 0) return {};
    const PciBar bar = f.bar(bar_index);
    if (bar.size == 0 || bar.base + bar.size < bar.base) return {};
    if (offset > bar.size || length > bar.size - offset) return {};
    return {bar.base + offset, length < kMostRegisters ? length : kMostRegisters};
}

}  // namespace

Result<VirtioPciRegions> find_virtio_regions(PciFunction& f, const char*& why) {
    VirtioPciRegions found;
    why = "it has no capabilities";
    if (!(f.read(kPciStatus, 2) & kStatusHasCapabilities)) return Errno::kNoDev;
    why = "a register block is missing";
    u32 next = f.read(kPciCapabilities, 1) & ~3u;
    // A list that does not end is cut: there is no room for more.
    for (u32 left = (kConfigSpace - kFirstCapability) / 4; next != 0 && left != 0; --left) {
        if (next < kFirstCapability) {
            why = "its list of capabilities leads into the header";
            return Errno::kNoDev;
        }
        const u32 id = f.read(next, 1);
        if (id == kCapabilityMsix && next + kMsixBytes <= kConfigSpace && found.msix_capability == 0) {
            const u32 table = f.read(next + 4, 4);
            const u32 entries = (f.read(next + 2, 2) & 0x7ff) + 1;
            found.msix_table = region_in(f, table & 7, table & ~7u, entries * kMsixEntry, kMsixEntry, 8);
            if (found.msix_table.length != 0)
                found.msix_capability = next;
            else
                why = "its MSI-X table does not fit its BAR";
        } else if (id == kCapabilityVendor && next + kVendorBytes <= kConfigSpace &&
                   f.read(next + 2, 1) >= kVendorBytes) {
            const u32 kind = f.read(next + 3, 1), bar = f.read(next + 4, 1);
            const u32 offset = f.read(next + 8, 4), length = f.read(next + 12, 4);
            auto use = [&](PciRegion& as, u32 least, u32 alignment) {
                if (as.length != 0) return false;
                as = region_in(f, bar, offset, length, least, alignment);
                if (as.length == 0) why = "a register block does not fit its BAR";
                return as.length != 0;
            };
            if (kind == abi::virtio::kCapCommon) use(found.common, sizeof(abi::virtio::PciCommon), 4);
            if (kind == abi::virtio::kCapDevice) use(found.device, 4, 4);
            if (kind == abi::virtio::kCapNotify && next + kNotifyBytes <= kConfigSpace &&
                f.read(next + 2, 1) >= kNotifyBytes && use(found.notify, 2, 2))
                found.notify_multiplier = f.read(next + 16, 4);
        }
        next = f.read(next + 1, 1) & ~3u;
    }
    if (found.common.length == 0 || found.notify.length == 0 || found.device.length == 0) return Errno::kNoDev;
    return found;
}

}  // namespace drivers
