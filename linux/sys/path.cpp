// SPDX-License-Identifier: MIT
// Path arguments (path_resolution(7), openat(2)), and the table of calls that take them.
#include "linux/sys/path_calls.hpp"

namespace linux {

Leaf<void> PathArgument::read(Caller& c, i32 at, UserString path, bool may_be_empty) {
    text = TRY(c.user().read_string({buffer_, sizeof buffer_}, path.at));
    if (text.empty() && !may_be_empty) return Errno::kNoEnt;
    context.creds = &c.creds();
    context.caller = &c;
    {
        auto s = c.fs_context().state.lock();
        context.root = {s->root.mount.get(), s->root.dentry.get()};
        context.start = {s->cwd.mount.get(), s->cwd.dentry.get()};
        umask = s->umask;
    }
    if (at == kAtCwd || (!text.empty() && text[0] == '/')) [[likely]] return lib::kOk;
    directory = TRY(c.files().get(Fd{at}));
    const fs::Path& p = directory->path();
    context.start = {p.mount.get(), p.dentry.get()};
    if (!text.empty() && (!p || !p.dentry->is_directory())) return Errno::kNotDir;
    return lib::kOk;
}

Leaf<void> Target::find(Caller& c, i32 at, UserString path, u32 lookup, bool empty_path, const fs::Creds* as) {
    TRY(argument_.read(c, at, path, empty_path));
    if (as) argument_.context.creds = as;
    if (argument_.text.empty()) {
        place_ = argument_.context.start;
        inode_ = argument_.directory ? argument_.directory->inode() : place_.inode();
        return lib::kOk;
    }
    new (&walk_) fs::Walk(argument_.context);
    walked_ = true;
    TRY(FS_WALK_STABLE(walk_, run(argument_.text, lookup)));
    place_ = walk_.at();
    inode_ = place_.inode();
    return lib::kOk;
}

Leaf<fs::ParentLookup> find_parent(PathArgument& a) {
    fs::Walk walk(a.context);
    for (;;) {
        TRY(FS_WALK_STABLE(walk, run_to_parent(a.text)));
        fs::ParentLookup p;
        p.last = walk.last().view();
        p.last_is_dots = walk.last_is_dots();
        p.trailing_slash = walk.trailing_slash();
        if (walk.at().hold(p.parent)) return p;
    }
}

RealCreds::RealCreds(const fs::Creds& from) {
    uid = euid = suid = fsuid = from.uid;
    gid = egid = sgid = fsgid = from.gid;
    group_count = from.group_count;
    for (u32 i = 0; i < group_count; ++i) groups[i] = from.groups[i];
    // access(2): as the real user would be judged after execve.
    cap_permitted = from.cap_permitted;
    cap_effective = from.uid == 0 ? from.cap_permitted : 0;
}

namespace {

using enum port::Module;

constexpr SyscallRow kRows[] = {
    row<&sys_open, &sys_open_wait>(abi::kNrOpen, "open", kFs, "path/open"),
    row<&sys_openat, &sys_openat_wait>(abi::kNrOpenat, "openat", kFs, "path/openat"),
    row<&sys_creat, &sys_creat_wait>(abi::kNrCreat, "creat", kFs, "path/creat"),
    row<&sys_truncate>(abi::kNrTruncate, "truncate", kFs, "path/truncate"),
    row<&sys_ftruncate>(abi::kNrFtruncate, "ftruncate", kFs, "path/ftruncate"),
    row<&sys_stat>(abi::kNrStat, "stat", kFs, "path/stat"),
    row<&sys_lstat>(abi::kNrLstat, "lstat", kFs, "path/lstat"),
    row<&sys_fstat>(abi::kNrFstat, "fstat", kFs, "path/fstat"),
    row<&sys_newfstatat>(abi::kNrNewfstatat, "newfstatat", kFs, "path/fstatat"),
    row<&sys_statx>(abi::kNrStatx, "statx", kFs, "path/statx"),
    row<&sys_statfs>(abi::kNrStatfs, "statfs", kFs, "path/statfs"),
    row<&sys_fstatfs>(abi::kNrFstatfs, "fstatfs", kFs, "path/fstatfs"),
    row<&sys_access>(abi::kNrAccess, "access", kFs, "path/access"),
    row<&sys_faccessat>(abi::kNrFaccessat, "faccessat", kFs, "path/faccessat"),
    row<&sys_faccessat2>(abi::kNrFaccessat2, "faccessat2", kFs, "path/faccessat2"),
    row<&sys_readlink>(abi::kNrReadlink, "readlink", kFs, "path/readlink"),
    row<&sys_readlinkat>(abi::kNrReadlinkat, "readlinkat", kFs, "path/readlinkat"),
    row<&sys_chmod>(abi::kNrChmod, "chmod", kFs, "path/chmod"),
    row<&sys_fchmod>(abi::kNrFchmod, "fchmod", kFs, "path/fchmod"),
    row<&sys_fchmodat>(abi::kNrFchmodat, "fchmodat", kFs, "path/fchmodat"),
    row<&sys_chown>(abi::kNrChown, "chown", kFs, "path/chown"),
    row<&sys_lchown>(abi::kNrLchown, "lchown", kFs, "path/lchown"),
    row<&sys_fchown>(abi::kNrFchown, "fchown", kFs, "path/fchown"),
    row<&sys_fchownat>(abi::kNrFchownat, "fchownat", kFs, "path/fchownat"),
    row<&sys_utimensat>(abi::kNrUtimensat, "utimensat", kFs, "path/utimensat"),
    row<&sys_futimesat>(abi::kNrFutimesat, "futimesat", kFs, "path/futimesat"),
    row<&sys_utimes>(abi::kNrUtimes, "utimes", kFs, "path/utimes"),
    row<&sys_utime>(abi::kNrUtime, "utime", kFs, "path/utime"),
    row<&sys_getdents64>(abi::kNrGetdents64, "getdents64", kFs, "path/getdents64"),
    row<&sys_getdents>(abi::kNrGetdents, "getdents", kFs, "path/getdents"),
    row<&sys_mkdir>(abi::kNrMkdir, "mkdir", kFs, "path/mkdir"),
    row<&sys_mkdirat>(abi::kNrMkdirat, "mkdirat", kFs, "path/mkdirat"),
    row<&sys_mknod>(abi::kNrMknod, "mknod", kFs, "path/mknod"),
    row<&sys_mknodat>(abi::kNrMknodat, "mknodat", kFs, "path/mknodat"),
    row<&sys_unlink>(abi::kNrUnlink, "unlink", kFs, "path/unlink"),
    row<&sys_unlinkat>(abi::kNrUnlinkat, "unlinkat", kFs, "path/unlinkat"),
    row<&sys_rmdir>(abi::kNrRmdir, "rmdir", kFs, "path/rmdir"),
    row<&sys_rename>(abi::kNrRename, "rename", kFs, "path/rename"),
    row<&sys_renameat>(abi::kNrRenameat, "renameat", kFs, "path/renameat"),
    row<&sys_renameat2>(abi::kNrRenameat2, "renameat2", kFs, "path/renameat2"),
    row<&sys_link>(abi::kNrLink, "link", kFs, "path/link"),
    row<&sys_linkat>(abi::kNrLinkat, "linkat", kFs, "path/linkat"),
    row<&sys_symlink>(abi::kNrSymlink, "symlink", kFs, "path/symlink"),
    row<&sys_symlinkat>(abi::kNrSymlinkat, "symlinkat", kFs, "path/symlinkat"),
    row<&sys_chdir>(abi::kNrChdir, "chdir", kFs, "path/chdir"),
    row<&sys_fchdir>(abi::kNrFchdir, "fchdir", kFs, "path/fchdir"),
    row<&sys_chroot>(abi::kNrChroot, "chroot", kFs, "path/chroot"),
    row<&sys_getcwd>(abi::kNrGetcwd, "getcwd", kFs, "path/getcwd"),
    row<&sys_umask>(abi::kNrUmask, "umask", kFs, "path/umask"),
    row<&sys_mount>(abi::kNrMount, "mount", kFs, "path/mount"),
    row<&sys_umount2>(abi::kNrUmount2, "umount2", kFs, "path/umount"),
    row<&sys_sync>(abi::kNrSync, "sync", kFs, "path/sync"),
    row<&sys_syncfs>(abi::kNrSyncfs, "syncfs", kFs, "path/syncfs"),
};

}  // namespace

constinit const std::span<const SyscallRow> path_rows{kRows};

}  // namespace linux
