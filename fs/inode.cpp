// SPDX-License-Identifier: MIT
// What all inodes share: permission checks (path_resolution(7)), times, the end of an inode's life.
#include "fs/inode.hpp"

#include "fs/file.hpp"
#include "port/bind.hpp"

namespace fs {

Timestamp current_time() {
    u64 t = (port::Port::now() + port::Port::realtime_offset()).value;
    u64 seconds = t / 1'000'000'000;
    return {.seconds = i64(seconds), .nanoseconds = u32(t - seconds * 1'000'000'000)};
}

Inode::~Inode() = default;
SuperBlock::~SuperBlock() = default;

void Inode::last_ref(Inode* i) {
    i->evict();
    i->retired_.free = [](rt::Retired& r) {
        delete reinterpret_cast<Inode*>(reinterpret_cast<std::byte*>(&r) - offsetof(Inode, retired_));
    };
    rt::retire(i->retired_);
}

Attributes Inode::attributes() { return *attributes_.lock(); }

namespace {

bool is_owner(const Attributes& a, const Creds& c) { return c.fsuid == a.uid || c.capable(kCapFowner); }

// chown(2). The bits are cleared for every caller; and that is a change of mode, for owners only.
Leaf<u32> allow_owner(const AttributeChange& change, const Attributes& a, const Creds& c) {
    bool owner = c.fsuid == a.uid, any = c.capable(kCapChown);
    if (change.uid && !(owner && change.to.uid == a.uid) && !any) return Errno::kPerm;
    if (change.gid && !(owner && (change.to.gid == a.gid || c.in_group(change.to.gid))) && !any) return Errno::kPerm;
    if ((a.mode & kTypeMask) == kTypeDirectory) return a.mode;
    u32 mode = without_set_id(a, c);
    if (mode != a.mode && !is_owner(a, c)) return Errno::kPerm;
    return mode;
}

}  // namespace

Leaf<u32> AttributeChange::allow(const Attributes& a) const {
    u32 wanted = mode ? (a.mode & kTypeMask) | (to.mode & ~kTypeMask) : a.mode;
    switch (rule) {
        case Rule::kNone: break;
        case Rule::kMode:
            if (!is_owner(a, *asker)) return Errno::kPerm;
            if (!asker->in_group(a.gid) && !asker->capable(kCapFsetid)) wanted &= ~kSetGid;
            break;
        case Rule::kOwner: return allow_owner(*this, a, *asker);
        case Rule::kTimes:
            if (!is_owner(a, *asker)) return Errno::kPerm;
            break;
        case Rule::kContents:
            if (!asker->capable(kCapFsetid)) return without_set_id(a, *asker);
            break;
    }
    return wanted;
}

Leaf<void> Inode::set_attributes(const AttributeChange& c) {
    if (c.size) return Errno::kInval;
    auto a = attributes_.lock();
    a->mode = TRY(c.allow(*a));
    if (c.uid) a->uid = c.to.uid;
    if (c.gid) a->gid = c.to.gid;
    if (c.accessed) a->accessed = c.to.accessed;
    if (c.modified) a->modified = c.to.modified;
    a->changed = current_time();
    note_changed();
    return lib::kOk;
}

Leaf<u64> Inode::read_directory(File& f, u64 offset, DirSink& sink) { return Errno::kNotDir; }
Leaf<Path> Inode::follow_magic(const Creds& c, const void* caller) { return Path{}; }

void Inode::set_accessed() {
    Timestamp now = current_time();
    auto a = attributes_.lock();
    a->accessed = now;
    access_stale_.store(false, std::memory_order_relaxed);
}

void Inode::touch_modified() {
    Timestamp now = current_time();
    auto a = attributes_.lock();
    a->modified = a->changed = now;
    note_changed();
}

void Inode::touch_changed() {
    Timestamp now = current_time();
    auto a = attributes_.lock();
    a->changed = now;
    note_changed();
}

Leaf<void> check_access(Inode& inode, u32 want, const Creds& c, const void* caller) {
    const Attributes& a = inode.peek_attributes();
    u32 mode = a.mode;
    u32 granted = c.fsuid == a.uid ? mode >> 6 : mode >> 3;
    if (c.fsuid != a.uid && ((mode >> 3) & 7) == (mode & 7))
        granted = mode;  // group and others alike: no need to look at groups
    else if (c.fsuid != a.uid && !c.in_group(a.gid))
        granted = mode;
    if ((want & ~granted & 7) == 0) return lib::kOk;
    // capabilities(7)
    if ((mode & kTypeMask) == kTypeDirectory) {
        if (c.capable(kCapDacOverride)) return lib::kOk;
        if (!(want & kMayWrite) && c.capable(kCapDacReadSearch)) return lib::kOk;
        return inode.grants_to(caller) ? Leaf<void>(lib::kOk) : Leaf<void>(Errno::kAcces);
    }
    if (want == kMayRead && c.capable(kCapDacReadSearch)) return lib::kOk;
    if ((!(want & kMayExec) || (mode & kAnyExec)) && c.capable(kCapDacOverride)) return lib::kOk;
    return Errno::kAcces;
}

}  // namespace fs
