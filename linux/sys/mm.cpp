// SPDX-License-Identifier: MIT
// System calls on the address space: mmap(2) and its relatives, brk(2), mlock(2), mincore(2), msync(2).
#include "linux/sys/table.hpp"

namespace linux {
namespace {

constexpr u32 kCapIpcLock = 14, kCapSysRawio = 17;
constexpr u32 kMapNonBlock = 0x10000;
constexpr i32 kPopulateRead = 22, kPopulateWrite = 23;
constexpr u64 kPopulatedAtOnce = 120 * kPageSize;
constexpr u64 kResidentAtOnce = 256;   // pages of mincore between two copies
constexpr u64 kResidentInLeaf = 4096;  // pages of mincore a leaf looks at

MemoryLimits limits(Caller& c) {
    const Process& p = c.process();
    return {.address = p.limit(kRlimAs),
            .data = p.limit(kRlimData),
            .stack = p.limit(kRlimStack),
            .locked = c.creds().capable(kCapIpcLock) ? ~u64{0} : p.limit(kRlimMemlock)};
}

bool populates(u32 flags) { return (flags & kMapLocked) || (flags & (kMapPopulate | kMapNonBlock)) == kMapPopulate; }

// A fatal signal ends long work whose result nobody will see.
bool is_ending(Caller& c) { return (c.thread().work.load(std::memory_order_relaxed) & kWorkExit) != 0; }

// Reads the pages in as mlock and MAP_POPULATE do: errors are not the caller's business.
Task<Result<void>> populate(Caller& c, UserAddr at, u64 length) {
    const UserAddr end = (at + length).up(kPageSize);
    for (UserAddr from = at.down(kPageSize); from < end && !is_ending(c); from += kPopulatedAtOnce) {
        u64 piece = end - from < kPopulatedAtOnce ? end - from : kPopulatedAtOnce;
        auto wait = c.mm().populate(from, piece, c.process().limit(kRlimStack));
        if (!wait.valid() || co_await wait < piece) break;
        co_await rt::Yield{};
    }
    co_return lib::kOk;
}

Result<AddressSpace::MapRequest> map_request(Caller& c, UserAddr at, u64 length, u32 prot, u32 flags, Fd fd,
                                             u64 offset) {
    if (offset % kPageSize) return Errno::kInval;
    AddressSpace::MapRequest r;
    if (!(flags & kMapAnonymous)) {
        r.file = TRY(c.files().get(fd));
        if (r.file->flags() & fs::kOpenPath) return Errno::kBadF;
        if (flags & kMapHugeTlb) return Errno::kInval;
        r.offset = offset;
    } else if (flags & kMapHugeTlb) {
        return Errno::kNoMem;  // no huge pages are reserved
    }
    r.hint = at;
    r.length = length;
    r.prot = prot;
    r.flags = flags;
    r.may_map_low = c.creds().capable(kCapSysRawio);
    return r;
}

Leaf<UserAddr> sys_mmap(Caller& c, UserAddr at, u64 length, u32 prot, u32 flags, Fd fd, u64 offset) {
    if (populates(flags) || c.mm().locks_future()) return Errno::kNeedsTask;
    auto request = map_request(c, at, length, prot, flags, fd, offset);
    if (!request.ok()) return request.error();
    return c.mm().map(request.value(), limits(c));
}
Task<Result<UserAddr>> sys_mmap_wait(Caller& c, UserAddr at, u64 length, u32 prot, u32 flags, Fd fd, u64 offset) {
    auto request = map_request(c, at, length, prot, flags, fd, offset);
    if (!request.ok()) co_return request.error();
    UserAddr got = CO_TRY(co_await c.mm().map_task(request.take(), limits(c)));
    if ((populates(flags) || c.mm().locks_future()) && (prot & (kProtRead | kProtWrite | kProtExec)))
        (void)co_await populate(c, got, length);
    co_return got;
}

Leaf<void> sys_munmap(Caller& c, UserAddr at, u64 length) { return c.mm().unmap(at, length); }
Task<Result<void>> sys_munmap_wait(Caller& c, UserAddr at, u64 length) { return c.mm().unmap_task(at, length); }

Leaf<void> sys_mprotect(Caller& c, UserAddr at, u64 length, u32 prot) {
    return c.mm().protect(at, length, prot, limits(c));
}
Task<Result<void>> sys_mprotect_wait(Caller& c, UserAddr at, u64 length, u32 prot) {
    return c.mm().protect_task(at, length, prot, limits(c));
}

Leaf<UserAddr> sys_mremap(Caller& c, UserAddr old, u64 old_length, u64 new_length, u32 flags, UserAddr to) {
    return c.mm().remap({old, old_length, new_length, flags, to}, limits(c));
}
Task<Result<UserAddr>> sys_mremap_wait(Caller& c, UserAddr old, u64 old_length, u64 new_length, u32 flags,
                                       UserAddr to) {
    return c.mm().remap_task({old, old_length, new_length, flags, to}, limits(c));
}

Leaf<void> sys_madvise(Caller& c, UserAddr at, u64 length, i32 advice) {
    if (advice == kPopulateRead || advice == kPopulateWrite) return Errno::kNeedsTask;
    return c.mm().advise(at, length, advice);
}
Task<Result<void>> sys_madvise_wait(Caller& c, UserAddr at, u64 length, i32 advice) {
    CO_TRY(co_await c.mm().advise_task(at, length, advice));
    if (advice != kPopulateRead && advice != kPopulateWrite) co_return lib::kOk;
    u64 bytes = (length + kPageSize - 1) & ~(kPageSize - 1);
    for (u64 done = 0; done < bytes;) {
        if (is_ending(c)) co_return Errno::kIntr;
        const u64 piece = bytes - done < kPopulatedAtOnce ? bytes - done : kPopulatedAtOnce;
        auto wait = c.mm().fault_in(at + done, piece, advice == kPopulateWrite, c.process().limit(kRlimStack));
        if (co_await wait < piece) co_return c.interrupted() ? Errno::kIntr : Errno::kFault;
        done += piece;
        co_await rt::Yield{};
    }
    co_return lib::kOk;
}

Leaf<UserAddr> sys_brk(Caller& c, UserAddr to) { return c.mm().set_break(to, limits(c)); }
Task<Result<UserAddr>> sys_brk_wait(Caller& c, UserAddr to) { return c.mm().set_break_task(to, limits(c)); }

// Checks of mincore; the number of pages.
Result<u64> resident_pages(UserAddr at, u64 length, UserOut<u8> to) {
    if (!at.aligned(kPageSize)) return Errno::kInval;
    if (!fs::UserMemory::inside(at, length)) return Errno::kNoMem;
    u64 pages = lib::pages_for(length);
    if (!fs::UserMemory::inside(to.at, pages)) return Errno::kFault;
    return pages;
}
Leaf<void> resident_piece(Caller& c, UserAddr at, u64 pages, UserOut<u8> to) {
    u8 bytes[kResidentAtOnce];
    for (u64 done = 0; done < pages;) {
        u64 n = pages - done < kResidentAtOnce ? pages - done : kResidentAtOnce;
        TRY(c.mm().resident(at + done * kPageSize, n * kPageSize, {bytes, n}));
        TRY(c.user().write(to.at + done, bytes, n));
        done += n;
    }
    return lib::kOk;
}
Leaf<void> sys_mincore(Caller& c, UserAddr at, u64 length, UserOut<u8> to) {
    u64 pages = TRY(resident_pages(at, length, to));
    if (pages > kResidentInLeaf) return Errno::kNeedsTask;
    return resident_piece(c, at, pages, to);
}
Task<Result<void>> sys_mincore_wait(Caller& c, UserAddr at, u64 length, UserOut<u8> to) {
    u64 pages = CO_TRY(resident_pages(at, length, to));
    for (u64 done = 0; done < pages;) {
        u64 n = pages - done < kResidentInLeaf ? pages - done : kResidentInLeaf;
        auto r = resident_piece(c, at + done * kPageSize, n, to + done);
        if (r.ok()) {
            done += n;
        } else if (r.error() == Errno::kNeedsFault) {
            auto f = c.user().fault();
            auto wait = c.mm().fault_in(f.start, f.size, f.write, c.process().limit(kRlimStack));
            if (co_await wait < f.size) co_return Errno::kFault;
        } else {
            co_return r.error();
        }
        co_await rt::Yield{};
    }
    co_return lib::kOk;
}

Leaf<void> sys_msync(Caller& c, UserAddr at, u64 length, u32 flags) { return c.mm().sync(at, length, flags); }

bool may_lock(Caller& c) { return limits(c).locked != 0; }

Task<Result<void>> lock_range(Caller& c, UserAddr at, u64 length, bool now) {
    if (!may_lock(c)) co_return Errno::kPerm;
    CO_TRY(co_await c.mm().set_locked_task(at, length, true, limits(c)));
    if (now && length) co_return co_await populate(c, at, length);
    co_return lib::kOk;
}
Task<Result<void>> sys_mlock_wait(Caller& c, UserAddr at, u64 length) { return lock_range(c, at, length, true); }
Task<Result<void>> sys_mlock2_wait(Caller& c, UserAddr at, u64 length, u32 flags) {
    constexpr u32 kOnFault = 1;
    if (flags & ~kOnFault) co_return Errno::kInval;
    co_return co_await lock_range(c, at, length, !(flags & kOnFault));
}
Leaf<void> sys_munlock(Caller& c, UserAddr at, u64 length) { return c.mm().set_locked(at, length, false, limits(c)); }
Task<Result<void>> sys_munlock_wait(Caller& c, UserAddr at, u64 length) {
    return c.mm().set_locked_task(at, length, false, limits(c));
}

constexpr u32 kLockCurrent = 1, kLockFuture = 2, kLockOnFault = 4;  // mlockall(2), MCL_*
Leaf<void> sys_mlockall(Caller& c, u32 flags) {
    if (flags == 0 || (flags & ~(kLockCurrent | kLockFuture | kLockOnFault)) || flags == kLockOnFault)
        return Errno::kInval;
    if (!may_lock(c)) return Errno::kPerm;
    return c.mm().set_all_locked(flags & kLockCurrent, flags & kLockFuture, limits(c));
}
Task<Result<void>> sys_mlockall_wait(Caller& c, u32 flags) {
    return c.mm().set_all_locked_task(flags & kLockCurrent, flags & kLockFuture, limits(c));
}
Leaf<void> sys_munlockall(Caller& c) { return c.mm().set_all_locked(false, false, limits(c)); }
Task<Result<void>> sys_munlockall_wait(Caller& c) { return c.mm().set_all_locked_task(false, false, limits(c)); }

constexpr port::Module kMm = port::Module::kMm;

constexpr SyscallRow kRows[] = {
    row<&sys_mmap, &sys_mmap_wait>(abi::kNrMmap, "mmap", kMm, "mem/anonymous_is_zero"),
    row<&sys_munmap, &sys_munmap_wait>(abi::kNrMunmap, "munmap", kMm, "mem/unmap_splits"),
    row<&sys_mprotect, &sys_mprotect_wait>(abi::kNrMprotect, "mprotect", kMm, "mem/protect_faults"),
    row<&sys_mremap, &sys_mremap_wait>(abi::kNrMremap, "mremap", kMm, "mem/remap"),
    row<&sys_madvise, &sys_madvise_wait>(abi::kNrMadvise, "madvise", kMm, "mem/advice"),
    row<&sys_brk, &sys_brk_wait>(abi::kNrBrk, "brk", kMm, "mem/program_break"),
    row<&sys_mincore, &sys_mincore_wait>(abi::kNrMincore, "mincore", kMm, "mem/in_core"),
    row<&sys_msync>(abi::kNrMsync, "msync", kMm, "mem/shared_file"),
    row<nullptr, &sys_mlock_wait>(abi::kNrMlock, "mlock", kMm, "mem/locking"),
    row<nullptr, &sys_mlock2_wait>(abi::kNrMlock2, "mlock2", kMm, "mem/locking"),
    row<&sys_munlock, &sys_munlock_wait>(abi::kNrMunlock, "munlock", kMm, "mem/locking"),
    row<&sys_mlockall, &sys_mlockall_wait>(abi::kNrMlockall, "mlockall", kMm, "mem/locking"),
    row<&sys_munlockall, &sys_munlockall_wait>(abi::kNrMunlockall, "munlockall", kMm, "mem/locking"),
};

}  // namespace

const std::span<const SyscallRow> mm_rows{kRows};

}  // namespace linux
