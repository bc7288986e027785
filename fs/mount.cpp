// SPDX-License-Identifier: MIT
// The table of mounts.
#include "fs/mount.hpp"

#include "fs/path.hpp"
#include "rt/mem/slab.hpp"

namespace fs {

constinit Changes mount_changes;

namespace {

constinit std::atomic<Mount*> mounts{nullptr};  // holds a reference to each
constinit u64 next_mount_id RT_GUARDED_BY(namespace_lock) = 1;
constinit std::atomic<FileSystemType*> types{nullptr};
constinit std::atomic<u32> next_device{1};

void copy_source(char (&to)[64], std::string_view from) {
    size_t n = from.size() < sizeof to - 1 ? from.size() : sizeof to - 1;
    std::memcpy(to, from.data(), n);
    to[n] = 0;
}

}  // namespace

struct MountTable {
    static void count(Mount& m) RT_REQUIRES(namespace_lock) {
        m.id = next_mount_id++;
        ++m.super->mounts;
    }
    // Counts a new mount and gives it its super block's root dentry, which the first mount makes. A mount that is
    // counted takes that dentry along when it ends, also when nothing came of it: drop `m` after the lock.
    static Result<void> give_root(Mount& m, Ref<Inode> root) RT_REQUIRES(namespace_lock) {
        count(m);
        SuperBlock& super = *m.super;
        if (!super.root_dentry) {
            super.root_dentry = Dentry::create(nullptr, make_key("/"), std::move(root));
            if (!super.root_dentry) return Errno::kNoMem;
        }
        m.root = Ref<Dentry>{super.root_dentry};
        return lib::kOk;
    }
    static void attach(Ref<Mount> m, const Path* where) RT_REQUIRES(namespace_lock) {
        if (where) {
            m->parent_.store(Ref<Mount>{where->mount}.release(), std::memory_order_relaxed);
            m->mount_point_.store(Ref<Dentry>{where->dentry}.release(), std::memory_order_relaxed);
        }
        m->closed_.store(m->read_only() ? Mount::kReadOnly : 0, std::memory_order_relaxed);
        std::atomic<Mount*>* link = &mounts;
        while (Mount* at = link->load(std::memory_order_relaxed)) link = &at->next_;
        link->store(m.release(), std::memory_order_release);
        mount_changes.note();
        if (where) where->dentry->set_flag(Dentry::kMountPoint);
    }
    // Mounts taken out of the tree of names. The references that the table had to them, and that they had to their
    // places, are dropped at its end, outside the lock.
    struct Detached {
        Mount* first = nullptr;
        ~Detached() {
            while (Mount* m = first) {
                first = m->next_detached_;
                m->left_point_ = nullptr;
                m->left_parent_ = nullptr;
                m->unref();
            }
        }
    };
    // `top`, which has a parent, and all that is mounted below it. A mount comes after its parent in the list, so one pass finds
    // them.
    static void detach(Mount& top, Detached& out) RT_REQUIRES(namespace_lock) {
        top.detached_.store(true, std::memory_order_relaxed);
        Mount** end = &out.first;
        std::atomic<Mount*>* link = &mounts;
        while (Mount* m = link->load(std::memory_order_relaxed)) {
            Mount* parent = m->parent();
            if (m != &top && !(parent && parent->detached_.load(std::memory_order_relaxed))) {
                link = &m->next_;
                continue;
            }
            m->detached_.store(true, std::memory_order_relaxed);
            // Its own link stays: a reader that is here continues along the list.
            link->store(m->next_.load(std::memory_order_relaxed), std::memory_order_release);
            *end = m;
            end = &m->next_detached_;
        }
        for (Mount* m = out.first; m; m = m->next_detached_) {
            m->left_parent_ = Ref<Mount>::adopt(m->parent_.exchange(nullptr, std::memory_order_acq_rel));
            m->left_point_ = Ref<Dentry>::adopt(m->mount_point_.exchange(nullptr, std::memory_order_acq_rel));
        }
        clear_points(out);
        mount_changes.note();
    }
    // Places where nothing is mounted any more are no mount points.
    static void clear_points(const Detached& gone) {
        for (Mount* m = first_mount(); m; m = m->next())
            if (Dentry* point = m->mount_point()) point->set_flag(Dentry::kStaysMountPoint);
        for (Mount* m = gone.first; m; m = m->next_detached_)
            if (!(m->left_point_->flags() & Dentry::kStaysMountPoint)) m->left_point_->clear_flag(Dentry::kMountPoint);
        for (Mount* m = first_mount(); m; m = m->next())
            if (Dentry* point = m->mount_point()) point->clear_flag(Dentry::kStaysMountPoint);
    }
    static bool end_some(rt::Teardown& end) {
        auto& m = *reinterpret_cast<Mount*>(reinterpret_cast<std::byte*>(&end) - offsetof(Mount, end_));
        if (drop_some_of_tree(m.dropped_, m.dropped_at_)) return true;
        retire(m);
        return false;
    }
    static void retire(Mount& m) {
        m.retired_.free = [](rt::Retired& r) {
            delete reinterpret_cast<Mount*>(reinterpret_cast<std::byte*>(&r) - offsetof(Mount, retired_));
        };
        rt::retire(m.retired_);
    }
};

void Mount::last_ref(Mount* m) {
    Dentry* tree = nullptr;
    {
        rt::LockGuard g(namespace_lock);
        if (--m->super->mounts == 0) tree = std::exchange(m->super->root_dentry, nullptr);
    }
    // `root` stays for readers that found the mount without a reference. What still holds it may be the last to hold
    // the file. A tree of more than some names is freed in pieces, and the mount after it.
    if (!tree) return MountTable::retire(*m);
    m->dropped_ = m->dropped_at_ = tree;
    while (MountTable::end_some(m->end_))
        if (rt::Teardown::later()) return m->end_.take_apart(&MountTable::end_some);
}

Mount* first_mount() { return mounts.load(std::memory_order_acquire); }

Mount* mounted_at(const Mount* mount, const Dentry* at) {
    for (Mount* m = first_mount(); m; m = m->next())
        if (m->mount_point() == at && m->parent() == mount) return m;
    return nullptr;
}

u64 next_anonymous_device() { return abi::make_dev(0, 16 + next_device.fetch_add(1, std::memory_order_relaxed)); }

Result<Path> mount_root(Ref<SuperBlock> super, Ref<Inode> root, const char* source) {
    Ref<Mount> m;
    rt::LockGuard g(namespace_lock);
    if (first_mount()) return Errno::kBusy;
    m = TRY(rt::make_ref<Mount>(std::move(super)));
    TRY(MountTable::give_root(*m, std::move(root)));
    copy_source(m->source, source);
    MountTable::attach(m, nullptr);
    return Path{m, m->root};
}

Result<Ref<Mount>> mount_internally(SuperBlock& super, Ref<Inode> root) {
    Ref<Mount> m;
    rt::LockGuard g(namespace_lock);
    m = TRY(rt::make_ref<Mount>(Ref<SuperBlock>{&super}));
    TRY(MountTable::give_root(*m, std::move(root)));
    super.internal_mount = m.get();
    return m;
}

namespace {

// Can something be mounted here?
Result<void> check_mount_point(const Path& where) RT_REQUIRES(namespace_lock) {
    if (where.dentry->unlinked() && !where.mount->internal()) return Errno::kNoEnt;
    if (!where.mount->attached()) return Errno::kInval;
    return lib::kOk;
}

}  // namespace

Result<void> mount_flags_at(const Path& where, Ref<SuperBlock> super, Ref<Inode> root, std::string_view source,
                            u32 flags) {
    Ref<Mount> m;
    rt::LockGuard g(namespace_lock);
    TRY(check_mount_point(where));
    if (!where.dentry->is_directory()) return Errno::kNotDir;
    // The same file system twice at the same place: mount(2), EBUSY.
    if (where.mount->super == super && where.dentry == where.mount->root) return Errno::kBusy;
    m = TRY(rt::make_ref<Mount>(std::move(super)));
    TRY(MountTable::give_root(*m, std::move(root)));
    copy_source(m->source, source);
    m->flags.store(flags, std::memory_order_relaxed);
    if (m->super->mounts == 1) m->super->read_only.store((flags & kMountReadOnly) != 0, std::memory_order_relaxed);
    MountTable::attach(m, &where);
    return lib::kOk;
}

Result<void> mount_at(const Path& where, Ref<SuperBlock> super, Ref<Inode> root, const char* source) {
    return mount_flags_at(where, std::move(super), std::move(root), source, kMountRelAtime);
}

Result<void> bind_mount(const Path& source, const Path& where, u32 flags) {
    Ref<Mount> m;
    rt::LockGuard g(namespace_lock);
    TRY(check_mount_point(where));
    if (!source.mount->attached()) return Errno::kInval;
    if (source.dentry->is_directory() != where.dentry->is_directory()) return Errno::kNotDir;
    if (source.dentry->unlinked()) return Errno::kNoEnt;
    m = TRY(rt::make_ref<Mount>(source.mount->super));
    MountTable::count(*m);
    m->root = source.dentry;
    std::memcpy(m->source, source.mount->source, sizeof m->source);
    m->flags.store(source.mount->flags.load(std::memory_order_relaxed), std::memory_order_relaxed);
    MountTable::attach(m, &where);
    return lib::kOk;
}

bool Mount::begin_writing_slowly() {
    for (;;) {
        writers_.fetch_sub(1, std::memory_order_release);
        // The remount does not wait for anything that this CPU may hold.
        u32 closed;
        while ((closed = closed_.load(std::memory_order_acquire)) & kHeld) hal::Machine::poll_mailbox();
        if (closed & kReadOnly) return false;
        writers_.fetch_add(1, std::memory_order_seq_cst);
        if (closed_.load(std::memory_order_seq_cst) == 0) return true;
    }
}

// Nobody begins to write through a mount, or all of its file system, while it is decided whether it becomes read-only.
class WritersHeld {
public:
    WritersHeld(Mount& m, bool all) RT_REQUIRES(namespace_lock) : mount_(m), all_(all) { set(true); }
    WritersHeld(const WritersHeld&) = delete;
    ~WritersHeld() RT_REQUIRES(namespace_lock) { set(false); }
    bool any() const RT_REQUIRES(namespace_lock) {
        bool found = all_ && mount_.super->nameless.load(std::memory_order_relaxed) != 0;
        for_each([&](Mount& m) { found |= m.writers_.load(std::memory_order_seq_cst) != 0; });
        return found;
    }

private:
    template <class F>
    void for_each(F&& f) const RT_REQUIRES(namespace_lock) {
        if (!all_) return f(mount_);
        for (Mount* m = first_mount(); m; m = m->next())
            if (m->super == mount_.super) f(*m);
    }
    void set(bool held) RT_REQUIRES(namespace_lock) {
        for_each([held](Mount& m) {
            m.closed_.store((held ? Mount::kHeld : 0) | (m.read_only() ? Mount::kReadOnly : 0),
                            std::memory_order_seq_cst);
        });
    }
    Mount& mount_;
    bool all_;
};

Result<void> remount(const Path& where, u32 flags, bool bind, std::string_view options) {
    Mount& m = *where.mount;
    rt::LockGuard g(namespace_lock);
    if (where.dentry != m.root || !m.attached()) return Errno::kInval;
    const bool read_only = (flags & kMountReadOnly) != 0;
    std::atomic<bool>& all_read_only = m.super->read_only;
    {
        WritersHeld held(m, !bind);
        if (read_only && !(bind ? m.read_only() : all_read_only.load(std::memory_order_relaxed)) && held.any())
            return Errno::kBusy;
        if (!bind) {
            TRY(m.super->reconfigure(options));
            all_read_only.store(read_only, std::memory_order_relaxed);
        }
        m.flags.store(flags, std::memory_order_relaxed);
    }
    return lib::kOk;
}

Result<void> make_read_only(const Path& where) {
    Mount& m = *where.mount;
    rt::LockGuard g(namespace_lock);
    if (where.dentry != m.root || !m.attached()) return Errno::kInval;
    WritersHeld held(m, true);
    if (m.super->read_only.load(std::memory_order_relaxed)) return lib::kOk;
    if (held.any()) return Errno::kBusy;
    m.super->read_only.store(true, std::memory_order_relaxed);
    return lib::kOk;
}

Result<void> unmount(const Path& where, bool detach) {
    MountTable::Detached out;
    Ref<Mount> m;
    rt::LockGuard g(namespace_lock);
    if (where.dentry != where.mount->root) return Errno::kInval;
    m = where.mount;
    if (!m->parent()) return Errno::kInval;  // "/", or no longer mounted
    bool children = false;
    for (Mount* o = first_mount(); o; o = o->next()) children |= o->parent() == m.get();
    // In use: more references than the table's, the caller's path's, and this function's.
    if (!detach && (children || m->ref_count() > 3)) return Errno::kBusy;
    MountTable::detach(*m, out);  // MNT_DETACH takes what is mounted below along
    return lib::kOk;
}

void register_file_system(FileSystemType& type) {
    std::atomic<FileSystemType*>& head = types;
    type.next = nullptr;
    FileSystemType* at = head.load(std::memory_order_acquire);
    if (!at) {
        head.store(&type, std::memory_order_release);
        return;
    }
    while (at->next) at = at->next;
    at->next = &type;
}

FileSystemType* file_system_types() { return types.load(std::memory_order_acquire); }

}  // namespace fs
