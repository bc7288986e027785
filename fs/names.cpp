// SPDX-License-Identifier: MIT
// Operations on names: create, link, unlink, rmdir, rename. All check first and then commit.
//
// Locks: one directory's names_lock for what concerns one name; namespace_lock and then both names_locks for rmdir and
// rename. References that may be the last are dropped after the locks: they are declared before them.
#include "fs/path.hpp"
#include "rt/mem/slab.hpp"

namespace fs {

namespace {

using DirGuard = rt::LockGuard<rt::Rank::directory>;
using DirPair = rt::LockPair<rt::Rank::directory>;

// Of a generated directory, whose names cannot be changed, but that one exists counts first: kPerm if it does. Before
// any lock of the tree of names is taken: generating them takes locks that rank before these.
Leaf<void> ask_generated(Dentry& dir, const NameKey& name) {
    if (name.length() > kNameMax) return Errno::kNameTooLong;
    if ((dir.flags() & Dentry::kPinned) || find_name(&dir, name)) return lib::kOk;
    auto inode = dir.inode()->lookup(name.view());
    if (inode.ok()) return Errno::kPerm;
    if (inode.error() == Errno::kNoEnt) return lib::kOk;
    return inode.error();
}

Leaf<void> may_change(Dentry& dir, const Creds& c) { return check_access(*dir.inode(), kMayWrite | kMayExec, c); }

Leaf<void> may_create(Dentry& dir, const Creds& c) {
    if (dir.unlinked()) return Errno::kNoEnt;
    return may_change(dir, c);
}

// path_resolution(7), unlink(2): the directory's permissions, the sticky bit, and the kind of the victim.
Leaf<void> may_remove(Dentry& dir, Dentry& victim, bool directory, const Creds& c) {
    TRY(may_change(dir, c));
    const Attributes& d = dir.inode()->peek_attributes();
    if ((d.mode & kSticky) && d.uid != c.fsuid && victim.inode()->peek_attributes().uid != c.fsuid &&
        !c.capable(kCapFowner))
        return Errno::kPerm;
    if (directory) {
        if (!victim.is_directory()) return Errno::kNotDir;
        if (victim.flags() & Dentry::kRoot) return Errno::kBusy;
    } else if (victim.is_directory()) {
        return Errno::kIsDir;
    }
    if (dir.unlinked()) return Errno::kNoEnt;
    return lib::kOk;
}

Dentry& dentry_of(const ParentLookup& p) { return *p.parent.dentry; }

// A lock of a third directory while two are held. Who holds it holds nothing else: all others are kept out by
// namespace_lock.
struct ThirdLock {
    explicit ThirdLock(Dentry* d) : lock(d ? &d->names_lock : nullptr) {
        while (lock && !lock->try_lock()) hal::Machine::poll_mailbox();
    }
    ~ThirdLock() {
        if (lock) lock->unlock();
    }
    rt::SpinLock<rt::Rank::directory>* lock;
};

// One of the locks that rename holds is the directory's: of the pair, or the third.
bool is_empty(const Dentry& dir) {
    dir.names_lock.assume_held();
    return dir.children.empty();
}

bool is_above(const Dentry* maybe_above, const Dentry* d) {
    for (;; d = d->parent()) {
        if (d == maybe_above) return true;
        if (d->parent() == d) return false;
    }
}

}  // namespace

Leaf<Path> make_node(const ParentLookup& at, u32 mode, u64 device, std::string_view link_target, const Creds& c) {
    if (at.last_is_dots) return Errno::kExist;
    Dentry& dir = dentry_of(at);
    NameKey name = make_key(at.last);
    Path made;
    if (auto r = ask_generated(dir, name); !r.ok()) return r.error() == Errno::kPerm ? Errno::kExist : r.error();
    DirGuard g(dir.names_lock);
    if (find_name(&dir, name)) return Errno::kExist;
    if (at.trailing_slash && (mode & kTypeMask) != kTypeDirectory) return Errno::kNoEnt;
    MountWrite write{*at.parent.mount};
    if (!write) return Errno::kRoFs;
    TRY(may_create(dir, c));
    Dentry* d = Dentry::allocate(name);
    if (!d) return Errno::kNoMem;
    auto inode = dir.inode()->create(at.last, mode, device, link_target, c);
    if (!inode.ok()) {
        d->discard();
        return inode.error();
    }
    d->attach(&dir, inode.take());
    d->enter(dir);
    made = Path{at.parent.mount, Ref<Dentry>::adopt(d)};
    return made;
}

Leaf<void> make_link(const ParentLookup& at, const Path& target, const Creds& c) {
    if (at.last_is_dots) return Errno::kExist;
    Dentry& dir = dentry_of(at);
    NameKey name = make_key(at.last);
    Inode& inode = *target.inode();
    Ref<Dentry> made;
    if (auto r = ask_generated(dir, name); !r.ok()) return r.error() == Errno::kPerm ? Errno::kExist : r.error();
    DirGuard g(dir.names_lock);
    if (dir.unlinked()) return Errno::kNoEnt;
    if (find_name(&dir, name)) return Errno::kExist;
    if (at.trailing_slash) return Errno::kNoEnt;
    MountWrite write{*at.parent.mount};
    if (!write) return Errno::kRoFs;
    if (at.parent.mount != target.mount) return Errno::kXDev;
    const Attributes& a = inode.peek_attributes();
    // proc(5) fs.protected_hardlinks: only the owner, or a caller that may read and write the regular file.
    if (c.fsuid != a.uid && !c.capable(kCapFowner)) {
        bool safe = inode.is_regular() && !(a.mode & kSetUid) &&
                    (a.mode & (kSetGid | kGroupExec)) != (kSetGid | kGroupExec) &&
                    check_access(inode, kMayRead | kMayWrite, c).ok();
        if (!safe) return Errno::kPerm;
    }
    TRY(may_create(dir, c));
    if (inode.super.get() != dir.inode()->super.get()) return Errno::kXDev;
    if (inode.is_directory()) return Errno::kPerm;
    if (a.links == 0 && !inode.linkable.load(std::memory_order_relaxed)) return Errno::kNoEnt;
    Dentry* d = Dentry::allocate(name);
    if (!d) return Errno::kNoMem;
    auto linked = dir.inode()->link(at.last, inode);
    if (!linked.ok()) {
        d->discard();
        return linked.error();
    }
    d->attach(&dir, Ref<Inode>{&inode});
    d->enter(dir);
    made = Ref<Dentry>::adopt(d);
    return lib::kOk;
}

namespace {

Leaf<void> remove_file(const ParentLookup& at, const Creds& c) {
    if (at.last_is_dots) return Errno::kIsDir;
    MountWrite write{*at.parent.mount};
    if (!write) return Errno::kRoFs;
    Dentry& dir = dentry_of(at);
    Ref<Dentry> gone;
    const NameKey name = make_key(at.last);
    TRY(ask_generated(dir, name));
    DirGuard g(dir.names_lock);
    Dentry* victim = find_name(&dir, name);
    if (!victim) return Errno::kNoEnt;
    if (at.trailing_slash) return victim->is_directory() ? Errno::kIsDir : Errno::kNotDir;
    TRY(may_remove(dir, *victim, false, c));
    if (victim->flags() & Dentry::kMountPoint) return Errno::kBusy;
    TRY(dir.inode()->unlink(at.last, *victim->inode()));
    gone = victim->leave(dir);
    return lib::kOk;
}

Leaf<void> remove_directory(const ParentLookup& at, const Creds& c) {
    if (at.last_is_dots) return at.last == "." ? Errno::kInval : at.last == ".." ? Errno::kNotEmpty : Errno::kBusy;
    MountWrite write{*at.parent.mount};
    if (!write) return Errno::kRoFs;
    Dentry& dir = dentry_of(at);
    Ref<Dentry> gone;
    const NameKey name = make_key(at.last);
    if (auto asked = ask_generated(dir, name); !asked.ok()) {
        if (asked.error() != Errno::kPerm) return asked.error();
        auto there = dir.inode()->lookup(at.last);
        return there.ok() && !there.value()->is_directory() ? Errno::kNotDir : Errno::kPerm;
    }
    rt::LockGuard names(namespace_lock);
    Dentry* victim = find_name(&dir, name);
    if (!victim) return Errno::kNoEnt;
    if (!victim->is_directory()) {
        TRY(may_change(dir, c));
        return Errno::kNotDir;
    }
    DirPair locks(dir.names_lock, victim->names_lock);
    // A directory stays where it is while namespace_lock is held.
    TRY(may_remove(dir, *victim, true, c));
    if (victim->flags() & Dentry::kMountPoint) return Errno::kBusy;
    if (!victim->children.empty()) return Errno::kNotEmpty;
    TRY(dir.inode()->rmdir(at.last, *victim->inode()));
    gone = victim->leave(dir);
    return lib::kOk;
}

}  // namespace

Leaf<void> remove_name(const ParentLookup& at, bool directory, const Creds& c) {
    return directory ? remove_directory(at, c) : remove_file(at, c);
}

Leaf<void> rename_name(const ParentLookup& from, const ParentLookup& to, u32 flags, const Creds& c) {
    bool exchange = (flags & kRenameExchange) != 0;
    if (from.parent.mount != to.parent.mount) return Errno::kXDev;
    if (from.last_is_dots) return Errno::kBusy;
    if (to.last_is_dots) return flags & kRenameNoReplace ? Errno::kExist : Errno::kBusy;
    MountWrite write{*from.parent.mount};
    if (!write) return Errno::kRoFs;
    Dentry &old_dir = dentry_of(from), &new_dir = dentry_of(to);
    NameKey old_name = make_key(from.last), new_name = make_key(to.last);
    Ref<Dentry> gone, left_parent, left_parent2, made;

    auto asked_old = ask_generated(old_dir, old_name);
    auto asked = ask_generated(new_dir, new_name);
    if (asked_old.error() == Errno::kPerm && asked.ok())
        return Errno::kNoEnt;  // the new name cannot even be looked for
    TRY(asked_old);
    rt::LockGuard names(namespace_lock);
    if (RenamePause::wanted()) [[unlikely]]
        return kNeedsTask;
    DirPair locks(old_dir.names_lock, new_dir.names_lock);
    Dentry* victim = find_name(&old_dir, old_name);
    if (!victim) return Errno::kNoEnt;
    TRY(asked);
    Dentry* replaced = find_name(&new_dir, new_name);
    if ((flags & kRenameNoReplace) && replaced) return Errno::kExist;
    bool is_dir = victim->is_directory();
    if (exchange) {
        if (!replaced) return Errno::kNoEnt;
        if (!replaced->is_directory() && to.trailing_slash) return Errno::kNotDir;
    }
    if (!is_dir && (from.trailing_slash || (!exchange && to.trailing_slash))) return Errno::kNotDir;
    if (is_dir && is_above(victim, &new_dir)) return Errno::kInval;
    if (replaced && replaced->is_directory() && is_above(replaced, &old_dir))
        return exchange ? Errno::kInval : Errno::kNotEmpty;
    if (replaced && replaced->inode() == victim->inode()) return lib::kOk;  // the same file: rename(2) does nothing

    TRY(may_remove(old_dir, *victim, is_dir, c));
    if (!replaced)
        TRY(may_create(new_dir, c));
    else
        TRY(may_remove(new_dir, *replaced, exchange ? replaced->is_directory() : is_dir, c));
    if (&old_dir != &new_dir) {
        // Its ".." changes.
        if (is_dir) TRY(check_access(*victim->inode(), kMayWrite, c));
        if (exchange && replaced->is_directory()) TRY(check_access(*replaced->inode(), kMayWrite, c));
    }
    if ((victim->flags() | (replaced ? replaced->flags() : 0)) & Dentry::kMountPoint) return Errno::kBusy;

    bool same_name = old_name.key == new_name.key && from.last == to.last;
    Dentry::Name *fresh = nullptr, *fresh2 = nullptr;
    if (!same_name && !(fresh = Dentry::new_name(new_name))) return Errno::kNoMem;
    if (!same_name && exchange && !(fresh2 = Dentry::new_name(old_name))) {
        Dentry::free_name(fresh);
        return Errno::kNoMem;
    }
    // What RENAME_WHITEOUT leaves is complete before anything is renamed.
    struct Whiteout {
        Dentry* dentry = nullptr;
        Ref<Inode> inode;
        ~Whiteout() {
            if (dentry) dentry->discard();
        }
    } whiteout;
    if ((flags & kRenameWhiteout) && !same_name) {
        whiteout.dentry = Dentry::allocate(old_name);
        auto inode =
            whiteout.dentry ? old_dir.inode()->create(from.last, kTypeChar, 0, {}, c) : Leaf<Ref<Inode>>{Errno::kNoMem};
        if (!inode.ok()) {
            if (fresh) Dentry::free_name(fresh);
            return inode.error();
        }
        whiteout.inode = inode.take();
    }
    Dentry* emptied = replaced && replaced->is_directory() && !exchange ? replaced : nullptr;
    ThirdLock third(emptied == &old_dir || emptied == &new_dir ? nullptr : emptied);
    Leaf<void> done{Errno::kOk};
    if (emptied && !is_empty(*emptied))
        done = Errno::kNotEmpty;
    else if (exchange)
        done = old_dir.inode()->exchange(*victim->inode(), *new_dir.inode(), *replaced->inode());
    else
        done = old_dir.inode()->rename(from.last, *victim->inode(), *new_dir.inode(), to.last,
                                       replaced ? replaced->inode() : nullptr);
    if (!done.ok()) {
        if (whiteout.inode) (void)old_dir.inode()->unlink(from.last, *whiteout.inode);
        if (fresh) Dentry::free_name(fresh);
        if (fresh2) Dentry::free_name(fresh2);
        return done.error();
    }
    rename_begin();
    if (replaced && !exchange) gone = replaced->leave(new_dir);
    left_parent = victim->move(old_dir, new_dir, fresh);
    if (exchange) left_parent2 = replaced->move(new_dir, old_dir, fresh2);
    if (whiteout.inode) {
        Dentry* d = std::exchange(whiteout.dentry, nullptr);
        d->attach(&old_dir, std::move(whiteout.inode));
        d->enter(old_dir);
        made = Ref<Dentry>::adopt(d);
    }
    rename_end();
    return lib::kOk;
}

}  // namespace fs
