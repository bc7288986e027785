// SPDX-License-Identifier: MIT
// fallocate(2) and memfd_create(2).
#include "fs/dentry.hpp"
#include "fs/tmpfs.hpp"
#include "linux/sys/file_calls.hpp"

namespace linux {

Leaf<void> sys_fallocate(Caller& c, Fd fd, u32 mode, i64 offset, i64 length) {
    constexpr u32 kKeepSize = 1, kPunchHole = 2, kNoHideStale = 4, kCollapse = 8, kZero = 16, kInsert = 32,
                  kUnshare = 64;
    constexpr u32 kAll = kKeepSize | kPunchHole | kNoHideStale | kCollapse | kZero | kInsert | kUnshare;
    Ref<fs::File> file = TRY(open_file(c, fd));
    // The order of Linux: vfs_fallocate.
    if (offset < 0 || length <= 0) return Errno::kInval;
    if (mode & ~(kAll & ~kNoHideStale)) return Errno::kOpNotSupp;
    if ((mode & (kPunchHole | kZero)) == (kPunchHole | kZero)) return Errno::kOpNotSupp;
    if ((mode & kPunchHole) && !(mode & kKeepSize)) return Errno::kOpNotSupp;
    if ((mode & kCollapse) && (mode & ~kCollapse)) return Errno::kInval;
    if ((mode & kInsert) && (mode & ~kInsert)) return Errno::kInval;
    if ((mode & kUnshare) && (mode & ~(kUnshare | kKeepSize))) return Errno::kInval;
    if (!file->writable()) return Errno::kBadF;
    fs::Inode& inode = *file->inode();
    if ((mode & ~kKeepSize) && (file->flags() & fs::kOpenAppend)) return Errno::kPerm;
    u32 type = inode.mode() & fs::kTypeMask;
    if (type == fs::kTypeFifo) return Errno::kSPipe;
    if (type == fs::kTypeDirectory) return Errno::kIsDir;
    if (type != fs::kTypeRegular && type != fs::kTypeBlock) return Errno::kNoDev;
    if (offset + length < 0) return Errno::kFBig;
    if (!(mode & kPunchHole) && u64(offset + length) > c.process().limit(kRlimFsize) &&
        u64(offset + length) > inode.peek_attributes().size) {
        (void)send_signal(c.thread(), kernel_signal(kSigXfsz));
        return Errno::kFBig;
    }
    TRY(inode.allocate_range(mode, u64(offset), u64(length)));
    // A change of contents by who lacks CAP_FSETID, as a write.
    const fs::Attributes& now = inode.peek_attributes();
    if (!(now.mode & (fs::kSetUid | fs::kSetGid)) || c.creds().capable(fs::kCapFsetid)) return lib::kOk;
    fs::AttributeChange change;
    change.rule = fs::AttributeChange::Rule::kContents;
    change.asker = &c.creds();
    return inode.set_attributes(change);
}

Leaf<Fd> sys_memfd_create(Caller& c, UserString name, u32 flags) {
    constexpr u32 kCloexec = 1;
    constexpr size_t kLongest = fs::kNameMax - 6;  // "memfd:" goes before it
    // Sealing and huge pages do not exist here: a program that asks for them is told so.
    if (flags & ~kCloexec) return Errno::kInval;
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
    return install_file(c, TRY(inode->open(how)), (flags & kCloexec) ? fs::kOpenCloexec : 0);
}

}  // namespace linux
