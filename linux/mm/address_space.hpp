// SPDX-License-Identifier: MIT
// A program's address space: its areas (mmap(2)), the anonymous pages they hold, and the page tables behind them, which are
// only a cache: every present page is known to an AnonMap or a Mapping.
//
// Locks: Rank::address_space guards the tree of areas and page-table changes of this space. Leaf functions take it, change
// everything they need and release it; what must wait (reading a file page, waiting for other CPUs' translations) is
// done by the Task forms without it. Order of freeing: unmap from the page tables, then drop page references; frames go
// one epoch later.
#pragma once
#include "fs/file.hpp"
#include "fs/page.hpp"
#include "lib/tree.hpp"
#include "port/bind.hpp"

namespace linux {

struct Area;

// mmap(2) values of x86_64/asm-generic.
inline constexpr u32 kProtRead = 1, kProtWrite = 2, kProtExec = 4, kProtGrowsDown = 0x01000000, kProtGrowsUp = 0x02000000;
inline constexpr u32 kMapShared = 1, kMapPrivate = 2, kMapSharedValidate = 3, kMapFixed = 0x10, kMapAnonymous = 0x20,
                     kMapGrowsDown = 0x100, kMapLocked = 0x2000, kMapNoReserve = 0x4000, kMapPopulate = 0x8000,
                     kMapStack = 0x20000, kMapFixedNoReplace = 0x100000;

enum class FaultKind : u8 { kResolved, kSegvMapError, kSegvAccess, kBusAddress, kNoMemory, kMustWait };

class AddressSpace : public RefCounted<AddressSpace> {
public:
    static Result<Ref<AddressSpace>> create();
    ~AddressSpace();
    port::Space& space() { return *space_; }

    struct MapRequest {
        UserAddr hint{};
        u64 length = 0;
        u32 prot = 0, flags = 0;
        Ref<fs::File> file;  // null: anonymous
        u64 offset = 0;      // bytes, page-aligned
        const char* name = nullptr;  // "[heap]", "[stack]" for /proc/PID/maps
    };
    // The mmap family; errors as the manual pages say. Leaf: kNeedsTask only if other CPUs must be waited for or the work
    // is long (more than kLongWork pages): then the _task form.
    Leaf<UserAddr> map(const MapRequest& r, u64 address_limit /* RLIMIT_AS */);
    Leaf<void> unmap(UserAddr at, u64 length);
    Leaf<void> protect(UserAddr at, u64 length, u32 prot);
    Leaf<UserAddr> remap(UserAddr old, u64 old_length, u64 new_length, u32 flags, UserAddr new_at);
    Leaf<void> advise(UserAddr at, u64 length, i32 advice);
    Leaf<UserAddr> set_break(UserAddr to, u64 data_limit);
    Leaf<void> resident(UserAddr at, u64 length, std::span<u8> out);  // mincore
    Leaf<void> sync(UserAddr at, u64 length, u32 flags);             // msync

    // One page fault, without waiting (kMustWait: use fault_task). `stack_limit`: RLIMIT_STACK for growth.
    FaultKind fault(UserAddr at, port::Access access, u64 stack_limit);
    Task<FaultKind> fault_task(UserAddr at, port::Access access, u64 stack_limit);
    // Makes a range accessible for a copy by the kernel. Returns how many bytes from `at` are (all, or up to the first
    // page that cannot be): 0 means EFAULT.
    Task<u64> fault_in(UserAddr at, u64 length, bool write, u64 stack_limit);

    // fork: the areas, copy-on-write. kNeedsTask never; long spaces yield inside the task.
    Task<Result<Ref<AddressSpace>>> fork();
    // Takes everything out: exec and exit. Cannot fail, allocates nothing.
    void clear();

    // What execve sets and procfs shows.
    struct Layout { UserAddr code_start, code_end, data_start, data_end, break_start, stack_start, arg_start, arg_end,
                    env_start, env_end; } layout;
    struct Totals { u64 virtual_pages, resident_pages, shared_pages, stack_pages, data_pages; u64 peak_resident; };
    Totals totals();
    // For /proc/PID/maps: the first area ending above `from`; false if none.
    struct AreaView { UserAddr start, end; u32 prot; bool shared; u64 offset; fs::Path file; const char* name; };
    bool next_area(UserAddr from, AreaView& out);
    std::atomic<u64> minor_faults{0};

private:
    struct State;
    Ref<port::Space> space_;
    rt::SpinLock<rt::Rank::address_space> lock_;
    State* state_ = nullptr;
};

}  // namespace linux
