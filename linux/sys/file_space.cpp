// SPDX-License-Identifier: MIT
// fallocate(2) and memfd_create(2).
#include "fs/dentry.hpp"
#include "fs/tmpfs.hpp"
#include "linux/sys/file_calls.hpp"

namespace linux {

namespace {

constexpr u32 kAll = kFallocKeepSize | kFallocPunchHole | kFallocNoHideStale | kFallocCollapseRange | kFallocZeroRange |
                     kFallocInsertRange | kFallocUnshareRange;
constexpr u64 kMadeAtOnce = 96 * kPageSize;  // bytes of new room at once: pages are zeroed
constexpr u64 kDroppedAtOnce = 256;          // pages

// The order of Linux: vfs_fallocate.
Leaf<Ref<fs::File>> check_fallocate(Caller& c, Fd fd, u32 mode, i64 offset, i64 length) {
    Ref<fs::File> file = TRY(open_file(c, fd));
    if (offset < 0 || length <= 0) return Errno::kInval;
    if (mode & ~(kAll & ~kFallocNoHideStale)) return Errno::kOpNotSupp;
    if ((mode & (kFallocPunchHole | kFallocZeroRange)) == (kFallocPunchHole | kFallocZeroRange))
        return Errno::kOpNotSupp;
    if ((mode & kFallocPunchHole) && !(mode & kFallocKeepSize)) return Errno::kOpNotSupp;
    if ((mode & kFallocCollapseRange) && (mode & ~kFallocCollapseRange)) return Errno::kInval;
    if ((mode & kFallocInsertRange) && (mode & ~kFallocInsertRange)) return Errno::kInval;
    if ((mode & kFallocUnshareRange) && (mode & ~(kFallocUnshareRange | kFallocKeepSize))) return Errno::kInval;
    if (!file->writable()) return Errno::kBadF;
    fs::Inode& inode = *file->inode();
    u32 type = inode.mode() & fs::kTypeMask;
    if (type == fs::kTypeFifo) return Errno::kSPipe;
    if (type == fs::kTypeDirectory) return Errno::kIsDir;
    if (type == fs::kTypeBlock) return Errno::kOpNotSupp;
    if (type != fs::kTypeRegular) return Errno::kNoDev;
    if (offset + length < 0) return Errno::kFBig;
    if (!(mode & kFallocPunchHole) && u64(offset + length) > c.process().limit(kRlimFsize) &&
        u64(offset + length) > inode.peek_attributes().size) {
        (void)send_signal(c.thread(), kernel_signal(kSigXfsz));
        return Errno::kFBig;
    }
    return file;
}

// A change of contents by a caller without CAP_FSETID, as a write.
Leaf<void> drop_set_id(Caller& c, fs::Inode& inode) {
    const fs::Attributes& now = inode.peek_attributes();
    if (!(now.mode & (fs::kSetUid | fs::kSetGid)) || c.creds().capable(fs::kCapFsetid)) return lib::kOk;
    fs::AttributeChange change;
    change.rule = fs::AttributeChange::Rule::kContents;
    change.asker = &c.creds();
    return inode.set_attributes(change);
}

u64 saturating_sum(u64 a, u64 b) { return a + b < a ? ~u64{0} : a + b; }

// The end of the piece of [at, end) that is done at once.
u64 fallocate_piece(fs::Mapping& m, u32 mode, u64 at, u64 end) {
    if (!(mode & kFallocPunchHole)) return end - at > kMadeAtOnce ? at - at % kPageSize + kMadeAtOnce : end;
    const u64 cut = m.end_of(at / kPageSize, lib::pages_for(end), kDroppedAtOnce);
    return cut < end / kPageSize && cut * kPageSize > at ? cut * kPageSize : end;
}

Task<Leaf<void>> fallocate_patiently(Caller& c, Ref<fs::File> file, u32 mode, u64 at, u64 end) {
    fs::Inode& inode = *file->inode();
    if (mode & ~(kFallocKeepSize | kFallocPunchHole)) co_return Errno::kOpNotSupp;
    // What can never fit is refused before anything is allocated. The size changes with the last piece.
    if (!(mode & kFallocPunchHole) && lib::pages_for(end) - at / kPageSize >
                                          saturating_sum(inode.super->statfs().room, inode.mapping()->page_count()))
        co_return Errno::kNoSpc;
    LeafError error = Errno::kOk;
    while (at < end) {
        const u64 to = fallocate_piece(*inode.mapping(), mode, at, end);
        auto done = inode.allocate_range(to < end ? mode | kFallocKeepSize : mode, at, to - at);
        (void)drop_set_id(c, inode);  // also if the rest fails
        if (!done.ok()) {
            error = done.error();
            break;
        }
        at = to;
        if (at == end) break;
        co_await rt::Yield{};
        if (c.interrupted()) {
            error = Errno::kIntr;
            break;
        }
    }
    if (fs::Mapping& m = *inode.mapping(); m.has_dropped())
        for (const u64 cut = m.begin_cut(); m.drop_some_copies(cut);) co_await rt::Yield{};
    if (error != Errno::kOk) co_return error;
    co_return lib::kOk;
}

}  // namespace

Leaf<void> sys_fallocate(Caller& c, Fd fd, u32 mode, i64 offset, i64 length) {
    Ref<fs::File> file = TRY(check_fallocate(c, fd, mode, offset, length));
    fs::Inode& inode = *file->inode();
    const u64 at = u64(offset), end = at + u64(length);
    // By a task also what may have to go on after the cut: a leaf might find no memory for it then.
    if (fs::Mapping* m = inode.mapping();
        m && (fallocate_piece(*m, mode, at, end) < end || ((mode & kFallocPunchHole) && m->has_users())))
        return c.later(fallocate_patiently(c, std::move(file), mode, at, end));
    TRY(inode.allocate_range(mode, at, u64(length)));
    if (inode.mapping() && inode.mapping()->has_dropped())  // again: users have come meanwhile
        return c.later(fallocate_patiently(c, std::move(file), mode, at, end));
    return drop_set_id(c, inode);
}

Task<Result<u64>> seek_patiently(Caller& c, Ref<fs::File> file, i64 offset, u32 whence) {
    const fs::Mapping& m = *file->inode()->mapping();
    u64 page = u64(offset) / kPageSize;
    for (bool more = true; more;) {
        page = whence == kSeekData ? m.next_data(page, more) : m.next_hole(page, more);
        co_await rt::Yield{};
        if (is_ending(c)) co_return Errno::kIntr;
    }
    const u64 size = m.size.load(std::memory_order_acquire);
    const bool inside = page < lib::pages_for(size);
    if (whence == kSeekData && !inside) co_return Errno::kNxIo;
    const u64 found = page * kPageSize > u64(offset) ? page * kPageSize : u64(offset);
    co_return file->seek(i64(inside ? found : size), kSeekSet).ended();
}

Leaf<Fd> sys_memfd_create(Caller& c, UserString name, u32 flags) {
    constexpr size_t kLongest = fs::kNameMax - 6;  // "memfd:" goes before it
    // Sealing and huge pages do not exist here: requests for them fail.
    if (flags & ~kMemfdCloexec) return Errno::kInval;
    char text[fs::kNameMax + 1] = "memfd:";
    auto given = c.user().read_string(std::span(text).subspan(6, kLongest + 1), name.at);
    if (given.error() == Errno::kNameTooLong) return Errno::kInval;
    std::string_view label{text, 6 + TRY(given).size()};
    Ref<fs::Inode> inode = TRY(fs::make_unnamed_file(fs::kTypeRegular | 0777, c.creds()));
    fs::Dentry* d = fs::Dentry::create(nullptr, fs::make_key(label), Ref<fs::Inode>{inode});
    if (!d) return Errno::kNoMem;
    d->set_flag(fs::Dentry::kUnlinked);
    fs::OpenContext how;
    how.path = fs::Path{Ref<fs::Mount>{inode->super->internal_mount}, Ref<fs::Dentry>::adopt(d)};
    how.flags = fs::kOpenReadWrite | fs::kOpenLargeFile | fs::kOpenUncounted;
    how.creds = &c.creds();
    return install_file(c, TRY(inode->open(how)), (flags & kMemfdCloexec) ? fs::kOpenCloexec : 0);
}

}  // namespace linux
