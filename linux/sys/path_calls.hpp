// SPDX-License-Identifier: MIT
// Calls on names and what they name, by source file; the rows that list them are in linux/sys/path.cpp.
// All are leaf functions: they resolve names without references (fs/walk.hpp), which hold until they return.
#pragma once
#include "fs/walk.hpp"
#include "linux/sys/table.hpp"

namespace linux {

// The text of a path argument and where its resolution starts. Large: lives on the stack of a leaf.
class PathArgument {
public:
    PathArgument() {}
    // EFAULT, ENAMETOOLONG, ENOENT (empty, unless allowed), EBADF, ENOTDIR (relative to what is no directory).
    Leaf<void> read(Caller& c, i32 directory, UserString path, bool may_be_empty = false);

    std::string_view text;
    fs::WalkContext context;  // with an empty path, context.start is not that of `directory`
    Ref<fs::File> directory;  // keeps the start, if it is an open file
    u32 umask = 0;

private:
    union {
        char buffer_[fs::kPathMax];
    };
};

// What a path argument names, for calls that look at one file. The inode is valid until the call returns.
class Target {
public:
    Target() {}
    // kFollow or nothing in `lookup`; an empty path is the start itself if `empty_path`.
    Leaf<void> find(Caller& c, i32 directory, UserString path, u32 lookup, bool empty_path = false,
                    const fs::Creds* as = nullptr);
    fs::Inode& inode() const { return *inode_; }
    fs::Mount& mount() const { return *mount_; }
    bool is_mount_root() const { return dentry_ == mount_->root.get(); }
    bool by_empty_path() const { return argument_.text.empty(); }
    bool read_only() const { return mount_->read_only(); }
    // With references. A file without a name is given one that shows its label. ENOENT: it has just gone; ENOMEM.
    Leaf<fs::Path> hold() const;

private:
    void stand_at(fs::Place at);
    PathArgument argument_;
    union {
        fs::Walk walk_;
    };
    bool walked_ = false;
    fs::Inode* inode_ = nullptr;
    fs::Mount* mount_ = nullptr;
    fs::Dentry* dentry_ = nullptr;  // null: an open file without a name, by an empty path

public:
    ~Target() {
        if (walked_) walk_.~Walk();
    }
};

// Resolves the parent of a name that is to be made, removed or moved. The references are taken.
Leaf<fs::ParentLookup> find_parent(PathArgument& a);

// The identity for access(2): real ids instead of effective ones.
struct RealCreds : fs::Creds {
    explicit RealCreds(const fs::Creds& from);
};

// path_open.cpp
Leaf<i64> sys_open(Caller&, UserString path, u32 flags, u32 mode);
Leaf<i64> sys_openat(Caller&, i32 directory, UserString path, u32 flags, u32 mode);
Leaf<i64> sys_creat(Caller&, UserString path, u32 mode);
Leaf<void> sys_truncate(Caller&, UserString path, i64 length);
Leaf<void> sys_ftruncate(Caller&, Fd fd, i64 length);

// path_stat.cpp
Leaf<void> sys_stat(Caller&, UserString path, UserOut<abi::Stat> out);
Leaf<void> sys_lstat(Caller&, UserString path, UserOut<abi::Stat> out);
Leaf<void> sys_fstat(Caller&, Fd fd, UserOut<abi::Stat> out);
Leaf<void> sys_newfstatat(Caller&, i32 directory, UserString path, UserOut<abi::Stat> out, u32 flags);
Leaf<void> sys_statx(Caller&, i32 directory, UserString path, u32 flags, u32 mask, UserAddr out);
Leaf<void> sys_statfs(Caller&, UserString path, UserAddr out);
Leaf<void> sys_fstatfs(Caller&, Fd fd, UserAddr out);
Leaf<void> sys_access(Caller&, UserString path, u32 mode);
Leaf<void> sys_faccessat(Caller&, i32 directory, UserString path, u32 mode);
Leaf<void> sys_faccessat2(Caller&, i32 directory, UserString path, u32 mode, u32 flags);
Leaf<i64> sys_readlink(Caller&, UserString path, UserOut<char> to, i32 size);
Leaf<i64> sys_readlinkat(Caller&, i32 directory, UserString path, UserOut<char> to, i32 size);

// path_attributes.cpp
Leaf<void> sys_chmod(Caller&, UserString path, u32 mode);
Leaf<void> sys_fchmod(Caller&, Fd fd, u32 mode);
Leaf<void> sys_fchmodat(Caller&, i32 directory, UserString path, u32 mode);
Leaf<void> sys_chown(Caller&, UserString path, u32 uid, u32 gid);
Leaf<void> sys_lchown(Caller&, UserString path, u32 uid, u32 gid);
Leaf<void> sys_fchown(Caller&, Fd fd, u32 uid, u32 gid);
Leaf<void> sys_fchownat(Caller&, i32 directory, UserString path, u32 uid, u32 gid, u32 flags);
Leaf<void> sys_utimensat(Caller&, i32 directory, UserString path, UserAddr times, u32 flags);
Leaf<void> sys_futimesat(Caller&, i32 directory, UserString path, UserAddr times);
Leaf<void> sys_utimes(Caller&, UserString path, UserAddr times);
Leaf<void> sys_utime(Caller&, UserString path, UserAddr times);

// path_names.cpp
Leaf<i64> sys_getdents64(Caller&, Fd fd, UserAddr to, u32 size);
Leaf<i64> sys_getdents(Caller&, Fd fd, UserAddr to, u32 size);
Leaf<void> sys_mkdir(Caller&, UserString path, u32 mode);
Leaf<void> sys_mkdirat(Caller&, i32 directory, UserString path, u32 mode);
Leaf<void> sys_mknod(Caller&, UserString path, u32 mode, u32 device);
Leaf<void> sys_mknodat(Caller&, i32 directory, UserString path, u32 mode, u32 device);
Leaf<void> sys_unlink(Caller&, UserString path);
Leaf<void> sys_unlinkat(Caller&, i32 directory, UserString path, u32 flags);
Leaf<void> sys_rmdir(Caller&, UserString path);
Leaf<void> sys_rename(Caller&, UserString from, UserString to);
Leaf<void> sys_renameat(Caller&, i32 from_directory, UserString from, i32 to_directory, UserString to);
Leaf<void> sys_renameat2(Caller&, i32 from_directory, UserString from, i32 to_directory, UserString to, u32 flags);
Leaf<void> sys_link(Caller&, UserString from, UserString to);
Leaf<void> sys_linkat(Caller&, i32 from_directory, UserString from, i32 to_directory, UserString to, u32 flags);
Leaf<void> sys_symlink(Caller&, UserString target, UserString path);
Leaf<void> sys_symlinkat(Caller&, UserString target, i32 directory, UserString path);

// path_place.cpp
Leaf<void> sys_chdir(Caller&, UserString path);
Leaf<void> sys_fchdir(Caller&, Fd fd);
Leaf<void> sys_chroot(Caller&, UserString path);
Leaf<i64> sys_getcwd(Caller&, UserOut<char> to, u64 size);
Leaf<i64> sys_umask(Caller&, u32 mask);
Leaf<void> sys_mount(Caller&, UserString source, UserString target, UserString type, u64 flags, UserString data);
Leaf<void> sys_umount2(Caller&, UserString target, u32 flags);
Leaf<void> sys_sync(Caller&);
Leaf<void> sys_syncfs(Caller&, Fd fd);

}  // namespace linux
