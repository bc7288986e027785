// SPDX-License-Identifier: MIT
// Mounts: which file system is seen at which place (mount(2), path_resolution(7)).
//
// The list of mounts is read without a lock; mounts are freed one epoch after their last reference. Changes are made
// under namespace_lock. A mount holds its parent and its mount point until it is unmounted.
//
// Every open file has a mount. One whose file system has no place in the tree of names (a pipe, a memfd) has the
// internal mount of that file system: it is in no list, nothing can be mounted on it, and it is never unmounted.
#pragma once
#include "abi/linux/mount.hpp"
#include "fs/dentry.hpp"
#include "rt/teardown.hpp"
#include "rt/wait.hpp"

namespace fs {

// How often the contents of a file have changed, for its pollers.
struct Changes {
    std::atomic<u64> count{0};  // release by the one that changes; acquire by poll
    rt::WaitQueue queue;
    void note() {
        count.fetch_add(1, std::memory_order_release);
        queue.wake_all();
    }
};
// The table of mounts.
extern Changes mount_changes;

struct Path;

class Mount : public RefCounted<Mount> {
public:
    explicit Mount(Ref<SuperBlock> s) : super(std::move(s)) {}
    ~Mount() = default;
    static void last_ref(Mount* m);

    Ref<SuperBlock> super;
    Ref<Dentry> root;
    std::atomic<u32> flags{kMountRelAtime};  // MS_*, mount(2)
    char source[64] = {};
    u64 id = 0;

    Mount* parent() const { return parent_.load(std::memory_order_acquire); }  // null: "/", or unmounted
    Dentry* mount_point() const { return mount_point_.load(std::memory_order_acquire); }
    Mount* next() const { return next_.load(std::memory_order_acquire); }
    // In the tree of names: not internal, not unmounted. Changes under namespace_lock.
    bool attached() const { return !internal() && !detached_.load(std::memory_order_relaxed); }
    bool internal() const { return super->internal_mount == this; }
    bool read_only() const {
        return (flags.load(std::memory_order_relaxed) & kMountReadOnly) ||
               super->read_only.load(std::memory_order_relaxed);
    }
    // A file open for writing, or a change of names or attributes, from begin_writing() to end_writing(): a remount cannot
    // make the mount read-only in between. False: it is read-only. Waits, spinning, for a remount that another CPU is
    // deciding on; no lock that ranks before namespace_lock needs to be free for that.
    [[nodiscard]] bool begin_writing() {
        // The count first, then the look; remount() does it the other way round. seq_cst: one of the two sees the other.
        writers_.fetch_add(1, std::memory_order_seq_cst);
        if (closed_.load(std::memory_order_seq_cst) == 0) [[likely]]
            return true;
        return begin_writing_slowly();
    }
    void end_writing() { writers_.fetch_sub(1, std::memory_order_release); }

private:
    friend class WritersHeld;
    [[gnu::cold, gnu::noinline]] bool begin_writing_slowly();
    friend struct MountTable;
    std::atomic<Mount*> parent_{nullptr};        // holds a reference
    std::atomic<Dentry*> mount_point_{nullptr};  // holds a reference
    std::atomic<Mount*> next_{nullptr};
    std::atomic<bool> detached_{false};
    std::atomic<u32> writers_{0};
    // Why nobody may begin to write; changes under namespace_lock.
    enum Closed : u32 { kReadOnly = 1, kHeld = 2 };  // as read_only() says; a remount looks at `writers_`
    std::atomic<u32> closed_{0};
    // Of one that was unmounted just now (MountTable::Detached).
    Mount* next_detached_ = nullptr;
    Ref<Mount> left_parent_;
    Ref<Dentry> left_point_;
    // The last one of its file system: the names that are still to go.
    Dentry *dropped_ = nullptr, *dropped_at_ = nullptr;
    rt::Teardown end_;
    rt::Retired retired_;
};

// begin_writing() and end_writing() of one operation.
class MountWrite {
public:
    explicit MountWrite(Mount& m) : mount_(m.begin_writing() ? &m : nullptr) {}
    MountWrite(const MountWrite&) = delete;
    ~MountWrite() {
        if (mount_) mount_->end_writing();
    }
    explicit operator bool() const { return mount_ != nullptr; }  // false: it is read-only

private:
    Mount* mount_;
};

// What is mounted at this very place, or null. No lock, no reference.
Mount* mounted_at(const Mount* mount, const Dentry* at);
// The most recent mount is last.
Mount* first_mount();

// File systems that mount(2) can name. Filled at boot, before the first program; never shrinks.
struct NewFileSystem {
    Ref<SuperBlock> super;
    Ref<Inode> root;
};
struct FileSystemType {
    const char* name;
    Result<NewFileSystem> (*make)(std::string_view options, bool& known_options);
    bool without_device = true;  // "nodev" in /proc/filesystems
    FileSystemType* next = nullptr;
};
void register_file_system(FileSystemType& type);
FileSystemType* file_system_types();  // a list

Result<void> mount_flags_at(const Path& where, Ref<SuperBlock> super, Ref<Inode> root, std::string_view source,
                            u32 flags);
// Gives `super` its internal mount, on a root directory of its own. The caller owns the mount.
Result<Ref<Mount>> mount_internally(SuperBlock& super, Ref<Inode> root);
Result<void> bind_mount(const Path& source, const Path& where, u32 flags);
// `bind`: the mount alone; otherwise also the file system's options. EINVAL; EBUSY: files are open for writing.
Result<void> remount(const Path& where, u32 flags, bool bind, std::string_view options);
// The whole file system becomes read-only, the mount stays: what umount(2) does to a process's root. EBUSY: it is being
// written to. EINVAL: as unmount().
Result<void> make_read_only(const Path& where);

}  // namespace fs
