// SPDX-License-Identifier: MIT
// Inodes, names and mounts: the objects of the virtual file system (inode(7), path_resolution(7)).
//
// An Inode is a file's attributes and operations. A Dentry is one name in a directory: (parent, name) -> inode, or a
// known absence. In-memory file systems pin their dentries: the tree of dentries *is* their directory contents. Locks:
// Rank::directory for the names in one directory, Rank::dentry for buckets of the name cache, Rank::inode for
// attributes; rename, rmdir and mount take Rank::namespace_ first. Lookups of cached names take no lock
// (fs/dentry.hpp).
//
// An inode that has lost its last reference is emptied at once (evict) and freed one epoch later, so that code which
// found it without a reference may look at it until its next suspension.
#pragma once
#include <string_view>

#include "abi/linux/limits.hpp"
#include "abi/linux/stat.hpp"
#include "fs/abi.hpp"
#include "fs/creds.hpp"
#include "fs/page.hpp"
#include "lib/ref.hpp"
#include "rt/epoch.hpp"
#include "rt/task.hpp"
#include "rt/wait.hpp"

namespace fs {

class Inode;
class Dentry;
class File;
class SuperBlock;
struct OpenContext;

struct Timestamp {
    i64 seconds = 0;
    u32 nanoseconds = 0;
};
Timestamp current_time();  // CLOCK_REALTIME, coarse enough for inode times

struct Attributes {
    u32 mode = 0;  // type and permissions
    u32 uid = 0, gid = 0;
    u32 links = 1;
    u64 size = 0;
    u64 blocks = 0;  // 512-byte units
    u64 device = 0;  // st_rdev for device nodes (abi::make_dev)
    Timestamp accessed, modified, changed, born;
};

// Which attributes set_attributes() changes.
struct AttributeChange {
    bool mode = false, uid = false, gid = false, size = false, accessed = false, modified = false;
    Attributes to;
    // By which rules, which look at the attributes as they are when it happens.
    enum class Rule : u8 {
        kNone,      // the caller has checked, and gives all values
        kMode,      // chmod(2): for the owner; the set-group-ID bit goes if the file's group is not one of his
        kOwner,     // chown(2): what is allowed to whom; the set-ID bits go
        kTimes,     // utimensat(2) of times other than now: for the owner
        kContents,  // the contents change: the set-ID bits are cleared unless the caller has CAP_FSETID
    };
    Rule rule = Rule::kNone;
    const Creds* asker = nullptr;  // whom the rule is about

    // The mode that comes of the change to a file that has attributes `a`: under the inode's lock. EPERM.
    Leaf<u32> allow(const Attributes& a) const;
};

// One directory entry as getdents64 returns it.
struct DirEntry {
    u64 inode;
    u64 next_offset;  // cookie to continue after this entry
    u8 type;          // DT_*
    std::string_view name;
};
// Returns false when the consumer is full: the entry was not taken.
struct DirSink {
    virtual bool add(const DirEntry& e) = 0;
    // All entries were handed over. An error: none counts, the directory's offset stays (kNeedsFault).
    virtual Leaf<void> finish() { return lib::kOk; }

protected:
    ~DirSink() = default;
};

extern rt::SpinLock<rt::Rank::fifo> fifo_lock;             // of all FIFOs that are open (pipe_open.cpp)
extern rt::SpinLock<rt::Rank::namespace_> namespace_lock;  // of the tree of names and mounts (dentry.hpp)

class Inode : public RefCounted<Inode> {
public:
    virtual ~Inode();
    static void last_ref(Inode* i);
    // No reference is left: releases what it holds (pages). Attributes stay readable.
    virtual void evict() {}
    u64 number = 0;
    std::atomic<u8> write_life_hint{0};  // fcntl(2), F_SET_RW_HINT: kept and told
    Ref<SuperBlock> super;
    class Pipe* fifo RT_GUARDED_BY(fifo_lock) = nullptr;  // a FIFO's pipe while it is open

    u32 mode() const { return attributes_.unguarded().mode; }  // type bits never change
    bool is_directory() const { return (mode() & kTypeMask) == kTypeDirectory; }
    bool is_regular() const { return (mode() & kTypeMask) == kTypeRegular; }
    bool is_symlink() const { return (mode() & kTypeMask) == kTypeLink; }
    virtual Attributes attributes();
    auto lock_attributes() { return attributes_.lock(); }
    const Attributes& peek_attributes() const { return attributes_.unguarded(); }  // for a look that may be out of date
    // EPERM by the change's rule; all else was checked by the caller. A size change truncates or extends.
    virtual Leaf<void> set_attributes(const AttributeChange& c);

    // Directories. `dir` operations run with the directory's names locked by the VFS (see fs/namei.cpp).
    virtual Leaf<Ref<Inode>> lookup(std::string_view name) { return Errno::kNoEnt; }
    virtual Leaf<Ref<Inode>> create(std::string_view name, u32 mode, u64 device, std::string_view link_target,
                                    const Creds& c) {
        return Errno::kPerm;
    }
    virtual Leaf<void> link(std::string_view name, Inode& target) { return Errno::kPerm; }
    virtual Leaf<void> unlink(std::string_view name, Inode& victim) { return Errno::kPerm; }
    virtual Leaf<void> rmdir(std::string_view name, Inode& victim) { return Errno::kPerm; }
    virtual Leaf<void> rename(std::string_view old_name, Inode& victim, Inode& new_dir, std::string_view new_name,
                              Inode* replaced) {
        return Errno::kPerm;
    }
    virtual Leaf<void> exchange(Inode& victim, Inode& new_dir, Inode& other) { return Errno::kInval; }
    // A file without a name (O_TMPFILE).
    virtual Leaf<Ref<Inode>> create_unnamed(u32 mode, const Creds& c) { return Errno::kOpNotSupp; }
    // Emits entries from cookie `offset` on (0 starts; "." and ".." included).
    virtual Leaf<u64> read_directory(File& f, u64 offset, DirSink& sink);
    // For file systems whose directory is not made of pinned dentries (procfs): never cache a name?
    virtual bool cache_names() const { return true; }

    // Symbolic links. The text stays valid while the inode is referenced, or is built into `buffer` (procfs).
    virtual Leaf<std::string_view> read_link(std::span<char> buffer, const Creds& c) { return Errno::kInval; }
    // The same for links that depend on the caller (/proc/self). `caller`: as in LookupContext.
    virtual Leaf<std::string_view> read_link_for(std::span<char> buffer, const Creds& c, const void* caller) {
        return read_link(buffer, c);
    }
    // Magic links of procfs (/proc/self/fd/N, exe): the object itself instead of a text. Null: none. `caller`: as in
    // LookupContext.
    virtual Leaf<struct Path> follow_magic(const Creds& c, const void* caller);
    // May the caller do what the mode denies? (A process's own /proc/PID/fd.)
    virtual bool grants_to(const void* caller) const { return false; }

    // Opening: makes the open file description. Regular files: fs/regular.cpp; devices: by number; FIFOs: fs/pipe.cpp.
    virtual Leaf<Ref<File>> open(OpenContext& how) = 0;
    // fallocate(2), mode bits as there; the range was checked. Changes the size unless kFallocKeepSize is set.
    virtual Leaf<void> allocate_range(u32 mode, u64 offset, u64 length) { return Errno::kOpNotSupp; }
    // The page cache of a regular file; null if it has none.
    virtual Mapping* mapping() { return nullptr; }

    // Access time, by the relatime rule of mount(8). Cheap if there is nothing to do.
    void touch_accessed() {
        if (access_stale_.load(std::memory_order_relaxed)) [[unlikely]]
            set_accessed();
    }
    void touch_modified();  // and changed
    void touch_changed();
    // To be called after setting modified or changed under the lock.
    void note_changed() { access_stale_.store(true, std::memory_order_relaxed); }

    // O_TMPFILE: may be given a name although it has none.
    std::atomic<bool> linkable{false};

    // ETXTBSY: a file is open for writing by n (> 0), or n programs run from it (< 0).
    bool start_writing() { return count_use(1); }
    void stop_writing() { writers_.fetch_sub(1, std::memory_order_release); }
    bool deny_writing() { return count_use(-1); }
    void allow_writing() { writers_.fetch_add(1, std::memory_order_release); }

protected:
    void set_accessed();
    rt::Guarded<Attributes, rt::Rank::inode> attributes_;

private:
    bool count_use(i32 step) {
        i32 n = writers_.load(std::memory_order_relaxed);
        do {
            if (step > 0 ? n < 0 : n > 0) return false;
        } while (!writers_.compare_exchange_weak(n, n + step, std::memory_order_acquire, std::memory_order_relaxed));
        return true;
    }
    std::atomic<bool> access_stale_{true};  // the access time is not after the other two
    std::atomic<i32> writers_{0};
    rt::Retired retired_;
};

// May `c` do this (kMayRead | kMayWrite | kMayExec) to the inode? EACCES if not. `caller`: as in LookupContext.
Leaf<void> check_access(Inode& inode, u32 want, const Creds& c, const void* caller = nullptr);

// The mode without the set-user-ID and set-group-ID bits that a change by `c` takes away (Linux:
// setattr_should_drop_*). A set-group-ID bit without group execution stays for members of the group.
inline u32 without_set_id(const Attributes& a, const Creds& c) {
    u32 mode = a.mode & ~kSetUid;
    if ((mode & kGroupExec) || (!c.in_group(a.gid) && !c.capable(kCapFsetid))) mode &= ~kSetGid;
    return mode;
}

// A mounted file system instance.
class SuperBlock : public RefCounted<SuperBlock> {
public:
    virtual ~SuperBlock();
    u64 device = 0;                      // st_dev
    u64 magic = 0;                       // statfs f_type
    const char* type = "";               // as /proc/mounts shows it
    std::atomic<bool> read_only{false};  // all its mounts are; changes under namespace_lock
    // Inodes that have lost their last name and are still in use: freeing them will change the file system.
    std::atomic<u64> nameless{0};
    bool names_pinned = false;  // its dentries are its directories: what is not cached does not exist
    // Made by the first mount, kept until the last has gone.
    Dentry* root_dentry RT_GUARDED_BY(namespace_lock) = nullptr;
    u32 mounts RT_GUARDED_BY(namespace_lock) = 0;
    // Other options for a mounted one (mount(2), MS_REMOUNT). EINVAL: unknown, or not possible now.
    virtual Result<void> reconfigure(std::string_view options) { return lib::kOk; }
    // Of a file system that only the kernel mounts (pipes, memfd, anonymous files), and every file of which is reached
    // through this mount; else null. Set before the first inode is seen by a program, then constant.
    class Mount* internal_mount = nullptr;
    struct Statfs {
        u64 blocks = 0, free = 0, available = 0, files = 0, free_files = 0;
        u32 block_size = 4096, name_max = 255;
        // Blocks, of a file system without a limit too, whose other numbers are 0.
        u64 used = 0, room = 0;
    };
    virtual Statfs statfs() { return {}; }
    virtual size_t show_options(std::span<char> out) { return 0; }  // for /proc/mounts: ",size=1024k"
    u64 next_inode() { return next_inode_.fetch_add(1, std::memory_order_relaxed); }

private:
    std::atomic<u64> next_inode_{1};
};
// st_dev of a file system without a device: major 0.
u64 next_anonymous_device();

}  // namespace fs
