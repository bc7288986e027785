// SPDX-License-Identifier: MIT
// The static ACPI tables (ACPI 6.4, chapter 5): MADT for CPUs and interrupt controllers, FADT for the PM timer and
// power, HPET, MCFG. No AML. A table with a bad checksum is left out. Read once, at boot, through device windows.
#include "hal/x86_64/devices.hpp"
#include "hal/x86_64/internal.hpp"

namespace hal {

PlatformInfo platform;

namespace {

struct [[gnu::packed]] Header {
    char signature[4];
    u32 length;
    u8 revision, checksum;
    char oem[6], oem_table[8];
    u32 oem_revision, creator, creator_revision;
};
static_assert(sizeof(Header) == 36);

template <class T>
T at(const u8* table, u32 offset) {
    T v;
    __builtin_memcpy(&v, table + offset, sizeof v);
    return v;
}

bool sums_to_zero(const u8* p, u32 n) {
    u8 sum = 0;
    for (u32 i = 0; i < n; i++) sum = static_cast<u8>(sum + p[i]);
    return sum == 0;
}

const u8* view(PhysAddr pa, size_t n) {
    if (pa.value + n <= 0x100000) return static_cast<const u8*>(direct_map(pa));
    return static_cast<const u8*>(map_window(pa, n, MemoryType::kNormal));
}

// Tables sit side by side: one window of a few pages serves most of them.
struct Window {
    u64 from = 0, to = 0;
    const u8* bytes = nullptr;
    const u8* get(u64 pa, u64 n) {
        if (pa < from || pa + n > to) {
            u64 start = pa & ~(kPageSize - 1);
            u64 length = ((pa + n + kPageSize - 1) & ~(kPageSize - 1)) - start + 4 * kPageSize;
            bytes = view(PhysAddr{start}, length);
            if (!bytes) return nullptr;
            from = start;
            to = start + length;
        }
        return bytes + (pa - from);
    }
} window;

const u8* table_at(u64 pa) {
    const u8* t = window.get(pa, sizeof(Header));
    if (!t) return nullptr;
    u32 length = at<u32>(t, 4);
    if (length < sizeof(Header) || length > (1u << 20)) return nullptr;
    t = window.get(pa, length);
    if (t && !sums_to_zero(t, length)) {
        print("hal: ACPI table {} has a bad checksum\n", std::string_view(reinterpret_cast<const char*>(t), 4));
        return nullptr;
    }
    return t;
}

void add_cpu(u32 apic_id, u32 flags) {
    if (!(flags & 1) || platform.cpus >= lib::kMaxCpus) return;
    for (u32 i = 0; i < platform.cpus; i++)
        if (platform.cpu_apic_ids[i] == apic_id) return;
    platform.cpu_apic_ids[platform.cpus++] = apic_id;
}

void read_madt(const u8* t, u32 length) {  // 5.2.12
    platform.lapic_address = at<u32>(t, 36);
    for (u32 o = 44; o + 2 <= length;) {
        u8 type = t[o], size = t[o + 1];
        if (size < 2 || o + size > length) break;
        if (type == 0 && size >= 8 && t[o + 3] != 0xff) {
            add_cpu(t[o + 3], at<u32>(t, o + 4));
        } else if (type == 9 && size >= 16 && (features.x2apic || at<u32>(t, o + 4) < 255)) {
            add_cpu(at<u32>(t, o + 4), at<u32>(t, o + 8));
        } else if (type == 1 && size >= 12 && platform.io_apic_count < kMaxIoApics) {
            platform.io_apics[platform.io_apic_count++] = {at<u32>(t, o + 4), at<u32>(t, o + 8)};
        } else if (type == 2 && size >= 10 && platform.override_count < 16) {
            u16 flags = at<u16>(t, o + 8);
            platform.overrides[platform.override_count++] = {.irq = t[o + 3],
                                                             .active_low = (flags & 3) == 3,
                                                             .level = (flags >> 2 & 3) == 3,
                                                             .gsi = at<u32>(t, o + 4)};
        } else if (type == 5 && size >= 12) {
            platform.lapic_address = at<u64>(t, o + 4);
        }
        o += size;
    }
}

// A generic address (5.2.3.2) in system memory or ports.
u64 generic_address(const u8* t, u32 o, bool& port) {
    port = t[o] == 1;
    return t[o] <= 1 ? at<u64>(t, o + 4) : 0;
}

void read_fadt(const u8* t, u32 length) {  // 5.2.9
    u32 flags = length >= 116 ? at<u32>(t, 112) : 0;
    bool reduced = flags & kFadtHardwareReduced;
    if (!reduced) {
        platform.pm_timer = static_cast<u16>(at<u32>(t, 76));
        if (t[91] != 4) platform.pm_timer = 0;
        platform.pm_timer_32 = flags & kFadtTimer32;
        platform.pm1a_control = static_cast<u16>(at<u32>(t, 64));
        platform.pm1b_control = static_cast<u16>(at<u32>(t, 68));
    }
    if (length >= 129 && (flags & kFadtResetSupported)) {
        platform.reset_address = generic_address(t, 116, platform.reset_is_port);
        platform.reset_value = t[128];
    }
    if (reduced && length >= 256) platform.sleep_control = generic_address(t, 244, platform.sleep_control_is_port);
}

void read_table(u64 pa) {
    const u8* t = table_at(pa);
    if (!t) return;
    std::string_view name(reinterpret_cast<const char*>(t), 4);
    u32 length = at<u32>(t, 4);
    if (name == "APIC") read_madt(t, length);
    if (name == "FACP" && length >= 116) read_fadt(t, length);
    if (name == "HPET" && length >= 52 && t[40] == 0) platform.hpet = at<u64>(t, 44);
    if (name == "MCFG" && length >= 60 && at<u16>(t, 52) == 0) {
        platform.ecam = at<u64>(t, 44);
        platform.ecam_first_bus = t[54];
        platform.ecam_last_bus = t[55];
    }
}

const u8* find_rsdp() {  // 5.2.5.1
    const u8* bios = view(PhysAddr{0xe0000}, 0x20000);
    for (u32 o = 0; bios && o < 0x20000; o += 16)
        if (at<u64>(bios, o) == kRsdpSignature && sums_to_zero(bios + o, 20)) return bios + o;
    return nullptr;
}

}  // namespace

void read_acpi(PhysAddr rsdp_at) {
    const u8* rsdp = rsdp_at.value ? view(rsdp_at, 36) : find_rsdp();
    if (!rsdp || at<u64>(rsdp, 0) != kRsdpSignature || !sums_to_zero(rsdp, 20)) return;
    bool extended = rsdp[15] >= 2 && at<u64>(rsdp, 24) != 0;
    u64 root = extended ? at<u64>(rsdp, 24) : at<u32>(rsdp, 16);
    const u8* t = table_at(root);
    if (!t) return;
    platform.has_acpi = true;
    u32 length = at<u32>(t, 4), step = extended ? 8 : 4;
    u64 entries[64];
    u32 count = 0;
    for (u32 o = sizeof(Header); o + step <= length && count < 64; o += step)
        entries[count++] = extended ? at<u64>(t, o) : at<u32>(t, o);
    for (u32 i = 0; i < count; i++) read_table(entries[i]);
}

}  // namespace hal
