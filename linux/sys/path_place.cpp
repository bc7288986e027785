// SPDX-License-Identifier: MIT
// Working directory and root of a process, and mounts.
#include <bit>

#include "block/disk.hpp"
#include "linux/sys/file_calls.hpp"
#include "linux/sys/path_calls.hpp"

namespace linux {

namespace {

using namespace fs;  // NOLINT: mount flags

// chdir and chroot take a directory that the caller may search.
Leaf<Path> find_place(Caller& c, UserString path) {
    Target t;
    TRY(t.find(c, kAtCwd, path, kFollow | kDirectory));
    TRY(check_access(t.inode(), kMayExec, c.creds(), &c));
    return t.hold();
}

void set_cwd(Caller& c, Path to) {
    auto s = c.fs_context().state.lock();
    std::swap(s->cwd, to);
    s.unlock();  // the old place is dropped outside the lock
}

// A string argument of mount(2): at most a page, may be absent.
Leaf<std::string_view> read_option(Caller& c, UserString from, std::span<char> room) {
    if (from.at.value == 0) return std::string_view{};
    auto text = c.user().read_string(room, from.at);
    if (text.error() == Errno::kNameTooLong) return Errno::kInval;
    return text;
}

constexpr u32 kMountKnown =
    kMountReadOnly | kMountNoSuid | kMountNoDev | kMountNoExec | kMountNoAtime | kMountNoDirAtime;

u32 kept_flags(u64 flags) {
    u32 f = u32(flags) & kMountKnown;
    if (!(flags & (kMountNoAtime | kMountStrictAtime))) f |= kMountRelAtime;
    return f;
}

Leaf<void> mount_new(std::string_view type, std::string_view source, const Path& where, u64 flags,
                     std::string_view data) {
    for (FileSystemType* t = file_system_types(); t; t = t->next) {
        if (type != t->name) continue;
        bool known = true;
        NewFileSystem made = TRY(t->make(data, known));
        return mount_flags_at(where, std::move(made.super), std::move(made.root), source, kept_flags(flags));
    }
    return Errno::kNoDev;
}

}  // namespace

Leaf<void> sys_chdir(Caller& c, UserString path) {
    set_cwd(c, TRY(find_place(c, path)));
    return lib::kOk;
}

Leaf<void> sys_fchdir(Caller& c, Fd fd) {
    Ref<File> file = TRY(c.files().get(fd));
    if (!file->path() || !file->path().dentry->is_directory()) return Errno::kNotDir;
    TRY(check_access(*file->inode(), kMayExec, c.creds(), &c));
    set_cwd(c, file->path());
    return lib::kOk;
}

Leaf<void> sys_chroot(Caller& c, UserString path) {
    Path to = TRY(find_place(c, path));
    if (!c.creds().capable(kCapSysChroot)) return Errno::kPerm;
    auto s = c.fs_context().state.lock();
    std::swap(s->root, to);
    s.unlock();
    return lib::kOk;
}

Leaf<i64> sys_getcwd(Caller& c, UserOut<char> to, u64 size) {
    Path root, cwd;
    {
        auto s = c.fs_context().state.lock();
        root = s->root;
        cwd = s->cwd;
    }
    if (cwd.dentry->unlinked()) return Errno::kNoEnt;
    char text[kPathMax];
    auto path = path_text(cwd, root, std::span(text, sizeof text - 1), false);
    if (!path.ok()) return Errno::kNameTooLong;
    text[sizeof text - 1] = 0;
    u64 n = path.value().size() + 1;
    if (n > size) return Errno::kRange;
    TRY(c.user().write(to.at, path.value().data(), n));
    return i64(n);
}

Leaf<i64> sys_umask(Caller& c, u32 mask) {
    auto s = c.fs_context().state.lock();
    return i64{std::exchange(s->umask, mask & kPermissionMask)};
}

Leaf<void> sys_mount(Caller& c, UserString source, UserString target, UserString type, u64 flags, UserString data) {
    char type_text[64], source_text[256], data_text[1024];
    std::string_view type_name = TRY(read_option(c, type, type_text));
    std::string_view source_name = TRY(read_option(c, source, source_text));
    std::string_view options = TRY(read_option(c, data, data_text));
    if ((flags & kMountMagicMask) == kMountMagic) flags &= ~kMountMagicMask;
    Path where;
    {
        Target t;
        TRY(t.find(c, kAtCwd, target, kFollow));
        where = TRY(t.hold());
    }
    if (!c.creds().capable(kCapSysAdmin)) return Errno::kPerm;
    if (flags & kMountRemount) return remount(where, kept_flags(flags), (flags & kMountBind) != 0, options);
    if (flags & kMountBind) {
        if (source_name.empty()) return Errno::kInval;
        Target t;
        TRY(t.find(c, kAtCwd, source, kFollow));
        return bind_mount(TRY(t.hold()), where, kept_flags(flags));
    }
    // There is one namespace of mounts and no propagation: everything is private already.
    if (flags & kMountPropagation) {
        const u64 kind = flags & ~u64{kMountRecursive | kMountSilent};
        return where.dentry == where.mount->root && std::has_single_bit(kind) ? Leaf<void>{lib::kOk} : Errno::kInval;
    }
    if (flags & kMountMove) {
        if (source_name.empty()) return Errno::kInval;
        Target t;
        TRY(t.find(c, kAtCwd, source, kFollow));
        return Errno::kInval;  // nothing is moved
    }
    if (type.at.value == 0) return Errno::kInval;
    return mount_new(type_name, source_name.empty() ? "none" : source_name, where,
                     flags & ~u64{kMountSilent | kMountRecursive}, options);
}

Leaf<void> sys_umount2(Caller& c, UserString target, u32 flags) {
    if (flags & ~(kUmountForce | kUmountDetach | kUmountExpire | kUmountNoFollow)) return Errno::kInval;
    Path where;
    {
        Target t;
        TRY(t.find(c, kAtCwd, target, flags & kUmountNoFollow ? 0 : u32{kFollow}));
        where = TRY(t.hold());
    }
    if (!c.creds().capable(kCapSysAdmin)) return Errno::kPerm;
    if (flags & kUmountExpire) return Errno::kInval;  // expiry marks are not kept
    if (flags & kUmountDetach) return unmount(where, true);
    const bool is_root = c.fs_context().state.lock()->root.mount == where.mount;
    return is_root ? make_read_only(where) : unmount(where, false);
}

// The page cache has no backing storage: only the disks' own caches have something to write.
namespace {
Task<Result<void>> sync_disks() {
    (void)co_await block::flush_all();  // no error is reported (sync(2))
    co_return lib::kOk;
}
}  // namespace
Leaf<void> sys_sync(Caller& c) {
    if (block::disk_count() == 0) return lib::kOk;
    return c.later(sync_disks());
}
Leaf<void> sys_syncfs(Caller& c, Fd fd) {
    TRY(open_file(c, fd));
    return lib::kOk;
}

}  // namespace linux
