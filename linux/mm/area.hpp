// SPDX-License-Identifier: MIT
// One area of an address space: a range of pages with the same rights and the same backing.
//
// Private areas keep the pages they have changed in the address space's AnonMap, by page number. The rest comes from
// the Mapping (files, shared anonymous memory) or is zero-filled. Rank::address_space guards every field; `start`,
// `end` and `base` are also read by unmap_pages under Rank::mapping alone. That is sound because `base` never changes
// while the area is registered and unmapping too much is harmless: page tables are only a cache.
#pragma once
#include "linux/mm/address_space.hpp"

namespace linux {

enum AreaFlags : u32 {
    kAreaShared = 1,
    kAreaGrowsDown = 2,
    kAreaLocked = 4,
    kAreaDontFork = 8,
    kAreaWipeOnFork = 0x10,
    kAreaDontDump = 0x20,
    kAreaNoReserve = 0x40,
    // The kernel's own (vDSO): its pages are never replaced, so it is not registered with the mapping. It stays whole,
    // cannot grow and is not locked; if it may not be executed, Linux has device memory there (VM_PFNMAP).
    kAreaSpecial = 0x80,
    // Its pages are moved elsewhere in pieces, and `prot` is 0: faults wait until the change is over.
    kAreaMoving = 0x800,
    // What mprotect may grant (VM_MAYREAD and so on): the rights in bits 8 to 10, in the order of PROT_*.
    kAreaMayShift = 8,
    kAreaMayAll = 7u << kAreaMayShift,
    kAreaMayRead = kProtRead << kAreaMayShift,
    kAreaMayWrite = kProtWrite << kAreaMayShift,
    kAreaMayExec = kProtExec << kAreaMayShift,
};

struct Area final : fs::MappingUser {
    lib::TreeHook hook;
    UserAddr start{}, end{};
    u64 base = 0;  // where page 0 of the mapping would be (may wrap around); anonymous areas: 0
    u32 prot = 0;
    u32 flags = 0;
    Ref<fs::Mapping> mapping;  // null: private anonymous
    Ref<fs::File> file;        // null: anonymous, also if shared
    port::Space* space = nullptr;
    AddressSpace* owner = nullptr;

    bool shared() const { return (flags & kAreaShared) != 0; }
    bool special() const { return (flags & kAreaSpecial) != 0; }
    bool device() const { return special() && !(flags & kAreaMayExec); }
    bool writable() const { return (prot & kProtWrite) != 0; }
    u64 size() const { return end - start; }
    u64 first_page() const { return start.value >> lib::kPageShift; }
    u64 end_page() const { return end.value >> lib::kPageShift; }
    // Page of the mapping at an address.
    u64 index(UserAddr at) const { return (at.value - base) >> lib::kPageShift; }
    u64 offset() const { return mapping ? start.value - base : 0; }
    // Rights for the page tables. x86_64 and its like cannot write or execute without reading (mmap(2), NOTES).
    port::Prot rights(bool write) const {
        return {.read = (prot & (kProtRead | kProtWrite | kProtExec)) != 0,
                .write = write && (prot & kProtWrite) != 0,
                .exec = (prot & kProtExec) != 0};
    }
    bool allows(port::Access access) const {
        // Indexed by Access: any right lets a page be read (see rights()).
        constexpr u32 kNeeds = (kProtRead | kProtWrite | kProtExec) | kProtWrite << 8 | kProtExec << 16;
        static_assert(u8(port::Access::kRead) == 0 && u8(port::Access::kWrite) == 1 && u8(port::Access::kExec) == 2);
        return (prot & (kNeeds >> (8 * u8(access))) & 7) != 0;
    }
    // RLIMIT_DATA counts private writable areas but the stack (may_expand_vm in Linux).
    bool is_data() const { return (flags & (kAreaShared | kAreaGrowsDown)) == 0 && writable(); }

    void unmap_pages(u64 first, u64 count) override;
    bool unmap_some(u64& first, u64 last) override;
    u64 pages_among(u64 first, u64 last) const override;
    // Where it lies and which pages of the mapping it may map: [first, end).
    struct Pages {
        u64 low, first, end;
    };
    Pages pages_now() const;
    bool drop_copies(u64 first) override;
};

// Describes a new area; place() makes it, or extends an adjacent one that is compatible.
struct AreaSpec {
    UserAddr start{}, end{};
    u64 base = 0;
    u32 prot = 0, flags = 0;
    Ref<fs::Mapping> mapping;
    Ref<fs::File> file;
};

}  // namespace linux
