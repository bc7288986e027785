// SPDX-License-Identifier: MIT
// Names: the dentry cache, mounts, and path resolution (path_resolution(7)).
#pragma once
#include "abi/linux/fcntl.hpp"
#include "fs/mount.hpp"
#include "rt/assert.hpp"

namespace fs {

// A place in the tree of names: which mount, which name there. Both or, of an empty one, neither.
struct Path {
    Ref<Mount> mount;
    Ref<Dentry> dentry;
    Path() = default;
    Path(Ref<Mount> m, Ref<Dentry> d) : mount(std::move(m)), dentry(std::move(d)) {
        RT_ASSERT(mount && dentry, "a path has a mount and a name");
    }
    Inode* inode() const { return dentry ? dentry->inode() : nullptr; }
    explicit operator bool() const { return static_cast<bool>(dentry); }
};

// Root and working directory a resolution starts from.
struct LookupContext {
    Path root, cwd;
    const Creds* creds = nullptr;
    const void* caller = nullptr;  // the caller, for file systems that depend on it (procfs: "self")
};

enum LookupFlags : u32 {
    kFollow = 1,      // follow a symbolic link in the last component
    kWantParent = 2,  // resolve to the parent; the last component is handed back
    kDirectory = 4,   // the result must be a directory
    kEmptyPath = 8,   // an empty path names the start (AT_EMPTY_PATH)
};

struct ParentLookup {
    Path parent;
    std::string_view last;      // points into the caller's path text
    bool last_is_dots = false;  // "." or ".." (or "/")
    bool trailing_slash = false;
};

// `start`: an explicit directory (openat) or empty for the working directory. ENOENT, ENOTDIR, EACCES, ELOOP,
// ENAMETOOLONG as path_resolution(7). kNeedsTask if a file system must read from a device.
Leaf<Path> lookup(const LookupContext& c, const Path& start, std::string_view path, u32 flags);
Leaf<ParentLookup> lookup_parent(const LookupContext& c, const Path& start, std::string_view path);
// One name below a directory: the child, with mounts followed. For create/unlink after lookup_parent.
Leaf<Path> lookup_child(const Path& dir, std::string_view name, const Creds& c);

// Operations on names. All check permissions (write+exec on the directory, sticky bit, read-only mounts).
Leaf<Path> make_node(const ParentLookup& at, u32 mode, u64 device, std::string_view link_target, const Creds& c);
Leaf<void> make_link(const ParentLookup& at, const Path& target, const Creds& c);
Leaf<void> remove_name(const ParentLookup& at, bool directory, const Creds& c);
// kRenameWhiteout leaves a character device 0:0 under the old name. kNeedsTask: renames are kept out for a moment
// (RenamePause); nothing has changed, to be called again when others have run.
Leaf<void> rename_name(const ParentLookup& from, const ParentLookup& to, u32 flags, const Creds& c);

// Absolute path text of `p` as seen from `root` (getcwd, /proc/self/fd): written to the end of `buffer`;
// kRange if too long; prefix "(unreachable)" if outside, suffix " (deleted)" if unlinked and `mark_deleted`.
Result<std::string_view> path_text(const Path& p, const Path& root, std::span<char> buffer, bool mark_deleted);

// Mounts.
Result<void> mount_at(const Path& where, Ref<SuperBlock> super, Ref<Inode> root, const char* source);
Result<Path> mount_root(Ref<SuperBlock> super, Ref<Inode> root, const char* source);  // the first mount: "/"
Result<void> unmount(const Path& where, bool detach);

}  // namespace fs
