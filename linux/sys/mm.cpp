// SPDX-License-Identifier: MIT
// System calls on the address space: mmap(2) and related calls, brk(2), mlock(2), mincore(2), msync(2).
#include "linux/sys/table.hpp"
#include "linux/task/out_of_memory.hpp"
#include "linux/task/thread.hpp"
#include "rt/reclaim.hpp"

namespace linux {
namespace {

constexpr u64 kPopulatedAtOnce = 120 * kPageSize;
constexpr u64 kResidentAtOnce = 256;   // pages of mincore between two copies
constexpr u64 kResidentInLeaf = 4096;  // pages of mincore a leaf looks at

MemoryLimits limits(Caller& c) {
    const Process& p = c.process();
    return {.address = p.limit(kRlimAs),
            .data = p.data_limit(),
            .locked = c.creds().capable(kCapIpcLock) ? ~u64{0} : p.limit(kRlimMemlock)};
}

bool populates(u32 flags) { return (flags & kMapLocked) || (flags & (kMapPopulate | kMapNonBlock)) == kMapPopulate; }

// Reads the pages in as mlock and MAP_POPULATE do. kNoMem: some are not there.
Task<Result<void>> populate(Caller& c, UserAddr at, u64 length) {
    const UserAddr end = (at + length).up(kPageSize);
    u32 in_vain = 0;
    for (UserAddr from = at.down(kPageSize); from < end && !is_ending(c);) {
        const u64 piece = end - from < kPopulatedAtOnce ? end - from : kPopulatedAtOnce;
        auto wait = c.mm().populate(from, piece, c.process().stack_limits());
        FaultKind got = FaultKind::kNoMemory;
        const RanOut ran_out;
        if (wait.valid()) got = co_await wait;
        if (got == FaultKind::kResolved) {
            from += piece;
            in_vain = 0;
            co_await rt::Yield{};
            continue;
        }
        if (got != FaultKind::kNoMemory || in_vain++ == kMostEnds || (wait.valid() && !ran_out.since()))
            co_return Errno::kNoMem;
        // As if the program had touched it: some process ends for it, this one if no other has much.
        ForMemory outcome;
        FIND_MEMORY(c.thread(), outcome);
        if (outcome == ForMemory::kNobody) begin_group_exit(c.process(), kSigKill);
        if (outcome != ForMemory::kTryAgain) co_return Errno::kNoMem;
    }
    co_return lib::kOk;
}

Result<void> make_request(AddressSpace::MapRequest& r, Caller& c, UserAddr at, u64 length, u32 prot, u64 flags, Fd fd,
                          u64 offset) {
    if (offset % kPageSize) return Errno::kInval;
    if (!(flags & kMapAnonymous)) {
        r.file = TRY(c.files().get(fd));
        if (r.file->flags() & fs::kOpenPath) return Errno::kBadF;
        if (flags & kMapHugeTlb) return Errno::kInval;
        r.offset = offset;
        // Unknown flags are ignored but with this type: one that is refused stands for those that `r` has no room for.
        if ((flags & kMapType) == kMapSharedValidate && flags >> 32) flags |= kMapSync;
    } else if (flags & kMapHugeTlb) {
        return Errno::kNoMem;  // no huge pages are reserved
    }
    r.hint = at;
    r.length = length;
    r.prot = prot;
    r.flags = u32(flags);
    r.may_map_low = c.creds().capable(kCapSysRawio);
    return lib::kOk;
}

Task<Result<UserAddr>> map_patiently(Caller& c, AddressSpace::MapRequest r) {
    const u64 length = r.length;
    const bool accessible = (r.prot & (kProtRead | kProtWrite | kProtExec)) != 0, now = populates(r.flags);
    UserAddr got = CO_TRY(co_await c.mm().map_task(std::move(r), limits(c)));
    if (accessible && (now || c.mm().locks_future())) (void)co_await populate(c, got, length);
    co_return got;
}
Leaf<UserAddr> sys_mmap(Caller& c, UserAddr at, u64 length, u32 prot, u64 flags, Fd fd, u64 offset) {
    AddressSpace::MapRequest request;
    TRY(make_request(request, c, at, length, prot, flags, fd, offset));
    if (!populates(u32(flags)) && !c.mm().locks_future()) [[likely]] {
        auto got = c.mm().map(request, limits(c));
        if (got.error() != kNeedsTask) [[likely]]
            return got;
    }
    return c.later(map_patiently(c, std::move(request)));
}

Leaf<void> sys_munmap(Caller& c, UserAddr at, u64 length) {
    return c.or_later(c.mm().unmap(at, length), [&] { return c.mm().unmap_task(at, length); });
}

Leaf<void> sys_mprotect(Caller& c, UserAddr at, u64 length, u32 prot) {
    return c.or_later(c.mm().protect(at, length, prot, limits(c)),
                      [&] { return c.mm().protect_task(at, length, prot, limits(c)); });
}

Leaf<UserAddr> sys_mremap(Caller& c, UserAddr old, u64 old_length, u64 new_length, u32 flags, UserAddr to) {
    const AddressSpace::RemapRequest r{old, old_length, new_length, flags, to, c.creds().capable(kCapSysRawio)};
    return c.or_later(c.mm().remap(r, limits(c)), [&] { return c.mm().remap_task(r, limits(c)); });
}

Task<Result<void>> advise_patiently(Caller& c, UserAddr at, u64 length, i32 advice) {
    CO_TRY(co_await c.mm().advise_task(at, length, advice));
    if (advice != kMadvPopulateRead && advice != kMadvPopulateWrite) co_return lib::kOk;
    u64 bytes = (length + kPageSize - 1) & ~(kPageSize - 1);
    for (u64 done = 0; done < bytes;) {
        if (is_ending(c)) co_return Errno::kIntr;
        const u64 piece = bytes - done < kPopulatedAtOnce ? bytes - done : kPopulatedAtOnce;
        auto wait = fault_in_patiently(c.thread(), {at + done, piece, advice == kMadvPopulateWrite});
        const Accessible got = co_await wait;
        if (got < piece) co_return c.interrupted() ? Errno::kIntr : got.no_memory ? Errno::kNoMem : Errno::kFault;
        done += piece;
        co_await rt::Yield{};
    }
    co_return lib::kOk;
}

Leaf<void> sys_madvise(Caller& c, UserAddr at, u64 length, i32 advice) {
    const bool populates = advice == kMadvPopulateRead || advice == kMadvPopulateWrite;
    return c.or_later(populates ? Leaf<void>(kNeedsTask) : c.mm().advise(at, length, advice),
                      [&] { return advise_patiently(c, at, length, advice); });
}

// remap_file_pages(2): the pages that lie at `page` of the file there come into a part of its mapping, as by mmap(2). (So
// does Linux since 4.0: an area for each call.)
Task<Result<void>> sys_remap_file_pages(Caller& c, UserAddr at, u64 length, u32 prot, u64 page, u32 flags) {
    constexpr u64 kMostPages = u64{1} << 51;  // of a file of 2^63 bytes
    at = at.down(kPageSize);
    length &= ~(kPageSize - 1);
    if (prot != 0 || at.value + length <= at.value) co_return Errno::kInval;
    if (page + (length >> lib::kPageShift) < page) co_return Errno::kInval;
    AddressSpace::MapRequest r;
    r.hint = at;
    r.length = length;
    r.flags = (flags & kMapNonBlock) | kMapShared | kMapFixed | kMapPopulate;
    r.may_map_low = true;
    r.offset = page << lib::kPageShift;
    Ref<fs::Mapping> object;
    for (UserAddr from = at;;) {
        auto found = c.mm().find_shared(r, object, from);
        if (found.ok()) break;
        if (found.error() != kNeedsTask) co_return found.ended();
        co_await rt::Yield{};
    }
    if (page + (length >> lib::kPageShift) > kMostPages) co_return Errno::kOverflow;
    const bool now = populates(r.flags);
    CO_TRY(co_await c.mm().map_task(std::move(r), limits(c)));
    if (now) (void)co_await populate(c, at, length);
    co_return lib::kOk;
}

Leaf<UserAddr> sys_brk(Caller& c, UserAddr to) {
    MemoryLimits l = limits(c);
    l.data = c.process().limit(kRlimData);
    return c.or_later(c.mm().set_break(to, l), [&] { return c.mm().set_break_task(to, l); });
}

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
        TRY(c.mm().resident(at + done * kPageSize, n * kPageSize, {bytes, n}, c.creds()));
        TRY(c.user().write(to.at + done, bytes, n));
        done += n;
    }
    return lib::kOk;
}
Task<Result<void>> resident_patiently(Caller& c, UserAddr at, u64 pages, UserOut<u8> to) {
    for (u64 done = 0; done < pages;) {
        u64 n = pages - done < kResidentInLeaf ? pages - done : kResidentInLeaf;
        auto r = resident_piece(c, at + done * kPageSize, n, to + done);
        if (r.ok()) {
            done += n;
        } else if (r.error() == kNeedsFault) {
            CO_TRY(co_await fault_in_range(c.thread(), c.user().fault()));
        } else {
            co_return r.error().ended();
        }
        co_await rt::Yield{};
        if (is_ending(c)) co_return Errno::kIntr;
    }
    co_return lib::kOk;
}

Leaf<void> sys_mincore(Caller& c, UserAddr at, u64 length, UserOut<u8> to) {
    u64 pages = TRY(resident_pages(at, length, to));
    if (pages > kResidentInLeaf) return c.later(resident_patiently(c, at, pages, to));
    return resident_piece(c, at, pages, to);
}

Task<Result<void>> sync_patiently(Caller& c, UserAddr at, UserAddr end, u32 flags, bool hole) {
    for (;;) {
        auto done = c.mm().sync(at, end, flags, hole);
        if (done.error() != kNeedsTask) co_return done.ended();
        co_await rt::Yield{};
        if (is_ending(c)) co_return Errno::kIntr;
    }
}
Leaf<void> sys_msync(Caller& c, UserAddr at, u64 length, u32 flags) {
    if (flags & ~(kSyncAsync | kSyncInvalidate | kSyncNow)) return Errno::kInval;
    if (!at.aligned(kPageSize)) return Errno::kInval;
    if ((flags & kSyncAsync) && (flags & kSyncNow)) return Errno::kInval;
    length = (length + kPageSize - 1) & ~(kPageSize - 1);
    if (at.value + length < at.value) return Errno::kNoMem;
    const UserAddr end = at + length;
    bool hole = false;
    return c.or_later(c.mm().sync(at, end, flags, hole), [&] { return sync_patiently(c, at, end, flags, hole); });
}

bool may_lock(Caller& c) { return limits(c).locked != 0; }

Task<Result<void>> lock_range(Caller& c, UserAddr at, u64 length, bool now) {
    if (!may_lock(c)) co_return Errno::kPerm;
    CO_TRY(co_await c.mm().set_locked_task(at, length, true, limits(c)));
    if (now && length) co_return co_await populate(c, at, length);
    co_return lib::kOk;
}
Task<Result<void>> sys_mlock(Caller& c, UserAddr at, u64 length) { return lock_range(c, at, length, true); }
Task<Result<void>> sys_mlock2(Caller& c, UserAddr at, u64 length, u32 flags) {
    if (flags & ~kMlockOnFault) co_return Errno::kInval;
    co_return co_await lock_range(c, at, length, !(flags & kMlockOnFault));
}
Leaf<void> sys_munlock(Caller& c, UserAddr at, u64 length) {
    return c.or_later(c.mm().set_locked(at, length, false, limits(c)),
                      [&] { return c.mm().set_locked_task(at, length, false, limits(c)); });
}

Leaf<void> lock_all(Caller& c, bool current, bool future) {
    return c.or_later(c.mm().set_all_locked(current, future, limits(c)),
                      [&] { return c.mm().set_all_locked_task(current, future, limits(c)); });
}
Leaf<void> sys_mlockall(Caller& c, u32 flags) {
    if (flags == 0 || (flags & ~(kLockCurrent | kLockFuture | kLockOnFault)) || flags == kLockOnFault)
        return Errno::kInval;
    if (!may_lock(c)) return Errno::kPerm;
    return lock_all(c, flags & kLockCurrent, flags & kLockFuture);
}
Leaf<void> sys_munlockall(Caller& c) { return lock_all(c, false, false); }

constexpr port::Module kMm = port::Module::kMm;

constexpr SyscallRow kRows[] = {
    row<&sys_mmap>(abi::kNrMmap, "mmap", kMm, "mem/anonymous_is_zero"),
    row<&sys_munmap>(abi::kNrMunmap, "munmap", kMm, "mem/unmap_splits"),
    row<&sys_mprotect>(abi::kNrMprotect, "mprotect", kMm, "mem/protect_faults"),
    row<&sys_mremap>(abi::kNrMremap, "mremap", kMm, "mem/remap"),
    row<&sys_madvise>(abi::kNrMadvise, "madvise", kMm, "mem/advice"),
    row<&sys_remap_file_pages>(abi::kNrRemapFilePages, "remap_file_pages", kMm, "remap/remap_file_pages"),
    row<&sys_brk>(abi::kNrBrk, "brk", kMm, "mem/program_break"),
    row<&sys_mincore>(abi::kNrMincore, "mincore", kMm, "mem/in_core"),
    row<&sys_msync>(abi::kNrMsync, "msync", kMm, "mem/shared_file"),
    row<&sys_mlock>(abi::kNrMlock, "mlock", kMm, "mem/locking"),
    row<&sys_mlock2>(abi::kNrMlock2, "mlock2", kMm, "mem/locking"),
    row<&sys_munlock>(abi::kNrMunlock, "munlock", kMm, "mem/locking"),
    row<&sys_mlockall>(abi::kNrMlockall, "mlockall", kMm, "mem/locking"),
    row<&sys_munlockall>(abi::kNrMunlockall, "munlockall", kMm, "mem/locking"),
};

}  // namespace

const std::span<const SyscallRow> mm_rows{kRows};

}  // namespace linux
