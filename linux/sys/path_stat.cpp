// SPDX-License-Identifier: MIT
// Information about a file: the stat family, statfs, access, readlink.
#include "linux/sys/path_calls.hpp"

namespace linux {

namespace {

using fs::kFollow;

// The attribute bits that could be set: those of tmpfs, automount, mount root, DAX.
constexpr u64 kStatxKnown =
    kStatxAppend | kStatxImmutable | kStatxNoDump | kStatxAutomount | kStatxMountRoot | kStatxDax;

abi::Timespec timespec(const fs::Timestamp& t) { return {t.seconds, t.nanoseconds}; }
StatxTime statx_time(const fs::Timestamp& t) { return {t.seconds, t.nanoseconds, 0}; }

Leaf<void> put_stat(Caller& c, fs::Inode& inode, UserOut<abi::Stat> out) {
    fs::Attributes a = inode.attributes();
    abi::Stat s;
    s.dev = inode.super ? inode.super->device : 0;
    s.ino = inode.number;
    s.nlink = a.links;
    s.mode = a.mode;
    s.uid = a.uid;
    s.gid = a.gid;
    s.pad0 = 0;
    s.rdev = a.device;
    s.size = i64(a.size);
    s.blksize = kPageSize;
    s.blocks = i64(a.blocks);
    s.atime = timespec(a.accessed);
    s.mtime = timespec(a.modified);
    s.ctime = timespec(a.changed);
    s.unused[0] = s.unused[1] = s.unused[2] = 0;
    return out.put(c.user(), s);
}

Leaf<void> put_statfs(Caller& c, fs::Inode& inode, fs::Mount& mount, UserAddr out) {
    if (!inode.super) return Errno::kNoSys;
    fs::SuperBlock& super = *inode.super;
    auto s = super.statfs();
    Statfs f{};
    f.type = i64(super.magic);
    f.block_size = f.fragment_size = s.block_size;
    f.blocks = s.blocks;
    f.free = s.free;
    f.available = s.available;
    f.files = s.files;
    f.free_files = s.free_files;
    f.fsid[0] = i32(super.device);
    f.name_length = s.name_max;
    f.flags = kStatfsValid;
    u32 m = mount.flags.load(std::memory_order_relaxed);
    f.flags |= m & (fs::kMountReadOnly | fs::kMountNoSuid | fs::kMountNoDev | fs::kMountNoExec | fs::kMountNoAtime |
                    fs::kMountNoDirAtime);
    if (mount.read_only()) f.flags |= kStatfsReadOnly;
    if ((m & fs::kMountRelAtime) && &mount != super.internal_mount) f.flags |= kStatfsRelAtime;
    return c.user().write(out, &f, sizeof f);
}

Leaf<void> stat_at(Caller& c, i32 directory, UserString path, UserOut<abi::Stat> out, u32 flags) {
    if (flags & ~(kAtSymlinkNoFollow | kAtNoAutomount | kAtEmptyPath | kAtStatxSyncMask)) return Errno::kInval;
    Target t;
    TRY(t.find(c, directory, path, flags & kAtSymlinkNoFollow ? 0 : u32{kFollow}, (flags & kAtEmptyPath) != 0));
    return put_stat(c, t.inode(), out);
}

Leaf<void> access_at(Caller& c, i32 directory, UserString path, u32 mode, u32 flags) {
    if (mode & ~u32{7}) return Errno::kInval;
    if (flags & ~(kAtEffective | kAtSymlinkNoFollow | kAtEmptyPath)) return Errno::kInval;
    const fs::Creds& mine = c.creds();
    bool effective = (flags & kAtEffective) || (mine.uid == mine.fsuid && mine.gid == mine.fsgid &&
                                                mine.cap_effective == (mine.uid == 0 ? mine.cap_permitted : 0));
    Target t;
    auto judge = [&](const fs::Creds& as) -> Leaf<void> {
        TRY(t.find(c, directory, path, flags & kAtSymlinkNoFollow ? 0 : u32{kFollow}, (flags & kAtEmptyPath) != 0,
                   &as));
        fs::Inode& inode = t.inode();
        if ((mode & fs::kMayExec) && inode.is_regular() &&
            (t.mount().flags.load(std::memory_order_relaxed) & fs::kMountNoExec))
            return Errno::kAcces;
        TRY(fs::check_access(inode, mode, as, &c));
        u32 type = inode.mode() & fs::kTypeMask;
        if ((mode & fs::kMayWrite) && t.read_only() &&
            (type == fs::kTypeRegular || type == fs::kTypeDirectory || type == fs::kTypeLink))
            return Errno::kRoFs;
        return lib::kOk;
    };
    if (effective) return judge(mine);
    RealCreds real{mine};
    return judge(real);
}

}  // namespace

Leaf<void> sys_stat(Caller& c, UserString path, UserOut<abi::Stat> out) { return stat_at(c, kAtCwd, path, out, 0); }
Leaf<void> sys_lstat(Caller& c, UserString path, UserOut<abi::Stat> out) {
    return stat_at(c, kAtCwd, path, out, kAtSymlinkNoFollow);
}
Leaf<void> sys_newfstatat(Caller& c, i32 directory, UserString path, UserOut<abi::Stat> out, u32 flags) {
    return stat_at(c, directory, path, out, flags);
}

Leaf<void> sys_fstat(Caller& c, Fd fd, UserOut<abi::Stat> out) {
    auto file = c.files().borrow(fd);
    if (!file) return Errno::kBadF;
    return put_stat(c, *file->inode(), out);
}

Leaf<void> sys_statx(Caller& c, i32 directory, UserString path, u32 flags, u32 mask, UserAddr out) {
    if (mask & kStatxReserved) return Errno::kInval;
    if ((flags & kAtStatxSyncMask) == kAtStatxSyncMask) return Errno::kInval;
    if (flags & ~(kAtSymlinkNoFollow | kAtNoAutomount | kAtEmptyPath | kAtStatxSyncMask)) return Errno::kInval;
    Target t;
    TRY(t.find(c, directory, path, flags & kAtSymlinkNoFollow ? 0 : u32{kFollow}, (flags & kAtEmptyPath) != 0));
    fs::Inode& inode = t.inode();
    fs::Attributes a = inode.attributes();
    u64 device = inode.super ? inode.super->device : 0;
    Statx s{};
    s.mask = kStatxBasic | kStatxMountId;
    if ((mask & kStatxBorn) && inode.super && inode.super->names_pinned) {
        s.mask |= kStatxBorn;
        s.born = statx_time(a.born);
    }
    s.block_size = kPageSize;
    s.attributes_mask = kStatxKnown;
    if (t.is_mount_root()) s.attributes |= kStatxMountRoot;
    s.links = a.links;
    s.uid = a.uid;
    s.gid = a.gid;
    s.mode = u16(a.mode);
    s.inode = inode.number;
    s.size = a.size;
    s.blocks = a.blocks;
    s.accessed = statx_time(a.accessed);
    s.changed = statx_time(a.changed);
    s.modified = statx_time(a.modified);
    s.rdev_major = abi::dev_major(a.device);
    s.rdev_minor = abi::dev_minor(a.device);
    s.dev_major = abi::dev_major(device);
    s.dev_minor = abi::dev_minor(device);
    s.mount_id = t.mount().id;
    return c.user().write(out, &s, sizeof s);
}

Leaf<void> sys_statfs(Caller& c, UserString path, UserAddr out) {
    Target t;
    TRY(t.find(c, kAtCwd, path, kFollow));
    return put_statfs(c, t.inode(), t.mount(), out);
}
Leaf<void> sys_fstatfs(Caller& c, Fd fd, UserAddr out) {
    auto file = c.files().borrow(fd);
    if (!file) return Errno::kBadF;
    return put_statfs(c, *file->inode(), file->mount(), out);
}

Leaf<void> sys_access(Caller& c, UserString path, u32 mode) { return access_at(c, kAtCwd, path, mode, 0); }
Leaf<void> sys_faccessat(Caller& c, i32 directory, UserString path, u32 mode) {
    return access_at(c, directory, path, mode, 0);
}
Leaf<void> sys_faccessat2(Caller& c, i32 directory, UserString path, u32 mode, u32 flags) {
    return access_at(c, directory, path, mode, flags);
}

Leaf<i64> sys_readlinkat(Caller& c, i32 directory, UserString path, UserOut<char> to, i32 size) {
    if (size <= 0) return Errno::kInval;
    Target t;
    // An empty path with a descriptor: the link that was opened with O_PATH | O_NOFOLLOW.
    TRY(t.find(c, directory, path, 0, true));
    if (!t.inode().is_symlink()) return t.by_empty_path() ? Errno::kNoEnt : Errno::kInval;
    char text[fs::kPathMax];
    std::string_view link = TRY(t.inode().read_link_for(text, c.creds(), &c));
    t.inode().touch_accessed();
    u64 n = link.size() < u64(size) ? link.size() : u64(size);
    TRY(c.user().write(to.at, link.data(), n));
    return i64(n);
}
Leaf<i64> sys_readlink(Caller& c, UserString path, UserOut<char> to, i32 size) {
    return sys_readlinkat(c, kAtCwd, path, to, size);
}

}  // namespace linux
