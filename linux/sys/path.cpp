// SPDX-License-Identifier: MIT
// Path arguments (path_resolution(7), openat(2)), and the table of calls that take them.
#include "fs/procfs.hpp"
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
    if (at == kAtCwd || (!text.empty() && text[0] == '/')) [[likely]]
        return lib::kOk;
    directory = TRY(c.files().get(Fd{at}));
    if (text.empty()) return lib::kOk;
    const fs::Path& p = directory->path();
    if (!p || !p.dentry->is_directory()) return Errno::kNotDir;
    context.start = {p.mount.get(), p.dentry.get()};
    return lib::kOk;
}

Leaf<void> Target::find(Caller& c, i32 at, UserString path, u32 lookup, bool empty_path, const fs::Creds* as) {
    TRY(argument_.read(c, at, path, empty_path));
    if (as) argument_.context.creds = as;
    if (argument_.text.empty()) {
        if (const fs::File* f = argument_.directory.get()) {
            inode_ = f->inode();
            mount_ = &f->mount();
            dentry_ = f->path().dentry.get();
        } else {
            stand_at(argument_.context.start);
        }
        return lib::kOk;
    }
    new (&walk_) fs::Walk(argument_.context);
    walked_ = true;
    TRY(FS_WALK_STABLE(walk_, run(argument_.text, lookup)));
    stand_at(walk_.at());
    return lib::kOk;
}

void Target::stand_at(fs::Place at) {
    inode_ = at.inode();
    mount_ = at.mount;
    dentry_ = at.dentry;
}

Leaf<fs::Path> Target::hold() const {
    if (!dentry_) return fs::path_of_file(*argument_.directory);
    fs::Path p;
    if (!fs::Place{mount_, dentry_}.hold(p)) return Errno::kNoEnt;
    return p;
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
    groups = from.groups;
    // access(2): as the real user would be judged after execve.
    cap_permitted = from.cap_permitted;
    cap_effective = from.uid == 0 ? from.cap_permitted : 0;
}

namespace {

using enum port::Module;

constexpr SyscallRow kRows[] = {
    row<&sys_open>(abi::kNrOpen, "open", kFs, "path/names"),
    row<&sys_openat>(abi::kNrOpenat, "openat", kFs, "path/at_calls"),
    row<&sys_creat>(abi::kNrCreat, "creat", kFs, "badptr/paths"),
    row<&sys_truncate>(abi::kNrTruncate, "truncate", kFs, "fd/truncation"),
    row<&sys_ftruncate>(abi::kNrFtruncate, "ftruncate", kFs, "fd/truncation"),
    row<&sys_stat>(abi::kNrStat, "stat", kFs, "path/dots"),
    row<&sys_lstat>(abi::kNrLstat, "lstat", kFs, "path/hard_links"),
    row<&sys_fstat>(abi::kNrFstat, "fstat", kFs, "path/unlinked_open_file"),
    row<&sys_newfstatat>(abi::kNrNewfstatat, "newfstatat", kFs, "path/at_calls"),
    row<&sys_statx>(abi::kNrStatx, "statx", kFs, "path/statx_fields"),
    row<&sys_statfs>(abi::kNrStatfs, "statfs", kFs, "misc/file_system_facts"),
    row<&sys_fstatfs>(abi::kNrFstatfs, "fstatfs", kFs, "misc/file_system_facts"),
    row<&sys_access>(abi::kNrAccess, "access", kFs, "dir/access_uses_real_ids"),
    row<&sys_faccessat>(abi::kNrFaccessat, "faccessat", kFs, "path/at_calls"),
    row<&sys_faccessat2>(abi::kNrFaccessat2, "faccessat2", kFs, "dir/access_uses_real_ids"),
    row<&sys_readlink>(abi::kNrReadlink, "readlink", kFs, "path/readlink_rules"),
    row<&sys_readlinkat>(abi::kNrReadlinkat, "readlinkat", kFs, "path/readlink_rules"),
    row<&sys_chmod>(abi::kNrChmod, "chmod", kFs, "dir/chmod_rules"),
    row<&sys_fchmod>(abi::kNrFchmod, "fchmod", kFs, "dir/chmod_rules"),
    row<&sys_fchmodat>(abi::kNrFchmodat, "fchmodat", kFs, "path/at_calls"),
    row<&sys_chown>(abi::kNrChown, "chown", kFs, "dir/chown_rules"),
    row<&sys_lchown>(abi::kNrLchown, "lchown", kFs, "dir/chown_rules"),
    row<&sys_fchown>(abi::kNrFchown, "fchown", kFs, "badptr/closed_descriptors"),
    row<&sys_fchownat>(abi::kNrFchownat, "fchownat", kFs, "path/at_calls"),
    row<&sys_utimensat>(abi::kNrUtimensat, "utimensat", kFs, "path/times"),
    row<&sys_futimesat>(abi::kNrFutimesat, "futimesat", kFs, "badptr/paths"),
    row<&sys_utimes>(abi::kNrUtimes, "utimes", kFs, "badptr/paths"),
    row<&sys_utime>(abi::kNrUtime, "utime", kFs, "badptr/paths"),
    row<&sys_getdents64>(abi::kNrGetdents64, "getdents64", kFs, "dir/small_buffers"),
    row<&sys_getdents>(abi::kNrGetdents, "getdents", kFs, "calls/getdents"),
    row<&sys_mkdir>(abi::kNrMkdir, "mkdir", kFs, "path/make_and_remove"),
    row<&sys_mkdirat>(abi::kNrMkdirat, "mkdirat", kFs, "path/at_calls"),
    row<&sys_mknod>(abi::kNrMknod, "mknod", kFs, "path/make_and_remove"),
    row<&sys_mknodat>(abi::kNrMknodat, "mknodat", kFs, "badptr/paths"),
    row<&sys_unlink>(abi::kNrUnlink, "unlink", kFs, "path/make_and_remove"),
    row<&sys_unlinkat>(abi::kNrUnlinkat, "unlinkat", kFs, "path/at_calls"),
    row<&sys_rmdir>(abi::kNrRmdir, "rmdir", kFs, "path/make_and_remove"),
    row<&sys_rename>(abi::kNrRename, "rename", kFs, "rename/dots_and_slashes"),
    row<&sys_renameat>(abi::kNrRenameat, "renameat", kFs, "calls/renameat"),
    row<&sys_renameat2>(abi::kNrRenameat2, "renameat2", kFs, "rename/bad_flags"),
    row<&sys_link>(abi::kNrLink, "link", kFs, "path/hard_links"),
    row<&sys_linkat>(abi::kNrLinkat, "linkat", kFs, "path/hard_links"),
    row<&sys_symlink>(abi::kNrSymlink, "symlink", kFs, "path/symlink_chains"),
    row<&sys_symlinkat>(abi::kNrSymlinkat, "symlinkat", kFs, "path/at_calls"),
    row<&sys_chdir>(abi::kNrChdir, "chdir", kFs, "path/getcwd_rules"),
    row<&sys_fchdir>(abi::kNrFchdir, "fchdir", kFs, "path/at_calls"),
    row<&sys_chroot>(abi::kNrChroot, "chroot", kFs, "path/chroot_confines"),
    row<&sys_getcwd>(abi::kNrGetcwd, "getcwd", kFs, "path/getcwd_rules"),
    row<&sys_umask>(abi::kNrUmask, "umask", kFs, "misc/umask_rules"),
    row<&sys_mount>(abi::kNrMount, "mount", kFs, "calls/mounting"),
    row<&sys_umount2>(abi::kNrUmount2, "umount2", kFs, "calls/mounting"),
    row<&sys_sync>(abi::kNrSync, "sync", kFs, "calls/sync"),
    row<&sys_syncfs>(abi::kNrSyncfs, "syncfs", kFs, "fd/sync_calls"),
};

}  // namespace

constinit const std::span<const SyscallRow> path_rows{kRows};

}  // namespace linux
