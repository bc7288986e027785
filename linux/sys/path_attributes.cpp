// SPDX-License-Identifier: MIT
// Changes of an inode's attributes: chmod, chown, utimensat and the older calls.
#include "linux/sys/path_calls.hpp"

namespace linux {

namespace {

using fs::kFollow;

using Rule = fs::AttributeChange::Rule;

Leaf<void> change_mode(Caller& c, fs::Inode& inode, fs::Mount& mount, u32 mode) {
    fs::MountWrite write{mount};
    if (!write) return Errno::kRoFs;
    fs::AttributeChange change;
    change.mode = true;
    change.to.mode = mode & kModeMask;
    change.rule = Rule::kMode;
    change.asker = &c.creds();
    return inode.set_attributes(change);
}

Leaf<void> change_owner(Caller& c, fs::Inode& inode, fs::Mount& mount, u32 uid, u32 gid) {
    fs::MountWrite write{mount};
    if (!write) return Errno::kRoFs;
    fs::AttributeChange change;
    change.uid = uid != ~u32{0};
    change.gid = gid != ~u32{0};
    change.to.uid = uid;
    change.to.gid = gid;
    change.rule = Rule::kOwner;
    change.asker = &c.creds();
    return inode.set_attributes(change);
}

Leaf<void> change_owner_at(Caller& c, i32 directory, UserString path, u32 uid, u32 gid, u32 flags) {
    if (flags & ~(kAtSymlinkNoFollow | kAtEmptyPath)) return Errno::kInval;
    Target t;
    TRY(t.find(c, directory, path, flags & kAtSymlinkNoFollow ? 0 : u32{kFollow}, (flags & kAtEmptyPath) != 0));
    return change_owner(c, t.inode(), t.mount(), uid, gid);
}

// utimensat(2). No `times`: both are now.
struct Times {
    bool given = false;
    abi::Timespec accessed, modified;

    static bool valid(const abi::Timespec& t) {
        return t.nanoseconds == kTimeNow || t.nanoseconds == kTimeOmit ||
               (t.nanoseconds >= 0 && t.nanoseconds < 1'000'000'000);
    }
    bool omitted() const { return given && accessed.nanoseconds == kTimeOmit && modified.nanoseconds == kTimeOmit; }
    bool now() const { return !given || (accessed.nanoseconds == kTimeNow && modified.nanoseconds == kTimeNow); }
};

Leaf<void> change_times(Caller& c, fs::Inode& inode, fs::Mount& mount, const Times& t) {
    if (t.given && (!Times::valid(t.accessed) || !Times::valid(t.modified))) return Errno::kInval;
    fs::MountWrite write{mount};
    if (!write) return Errno::kRoFs;
    const fs::Creds& who = c.creds();
    fs::AttributeChange change;
    if (t.now()) {
        // For the owner, and for callers that may write to the file.
        if (who.fsuid != inode.peek_attributes().uid && !who.capable(fs::kCapFowner))
            TRY(fs::check_access(inode, fs::kMayWrite, who));
    } else {
        change.rule = Rule::kTimes;
        change.asker = &who;
    }
    fs::Timestamp now = fs::current_time();
    auto pick = [&](const abi::Timespec& from, fs::Timestamp& to) {
        if (t.given && from.nanoseconds == kTimeOmit) return false;
        to = t.given && from.nanoseconds != kTimeNow ? fs::Timestamp{from.seconds, u32(from.nanoseconds)} : now;
        return true;
    };
    change.accessed = pick(t.accessed, change.to.accessed);
    change.modified = pick(t.modified, change.to.modified);
    return inode.set_attributes(change);
}

Leaf<void> change_times_at(Caller& c, i32 directory, UserString path, const Times& times, u32 flags) {
    if (path.at.value == 0 && directory != kAtCwd) {
        // futimens(3)
        if (flags) return Errno::kInval;
        auto file = c.files().borrow(Fd{directory});
        if (!file || (file->flags() & fs::kOpenPath)) return Errno::kBadF;
        return change_times(c, *file->inode(), file->mount(), times);
    }
    if (flags & ~(kAtSymlinkNoFollow | kAtEmptyPath)) return Errno::kInval;
    Target t;
    TRY(t.find(c, directory, path, flags & kAtSymlinkNoFollow ? 0 : u32{kFollow}, (flags & kAtEmptyPath) != 0));
    return change_times(c, t.inode(), t.mount(), times);
}

// utimes(2): microseconds.
Leaf<Times> read_timevals(Caller& c, UserAddr at) {
    Times t;
    if (at.value == 0) return t;
    abi::Timeval v[2];
    TRY(c.user().read(v, at, sizeof v));
    for (const abi::Timeval& each : v)
        if (each.microseconds < 0 || each.microseconds >= 1'000'000) return Errno::kInval;
    t.given = true;
    t.accessed = {v[0].seconds, v[0].microseconds * 1000};
    t.modified = {v[1].seconds, v[1].microseconds * 1000};
    return t;
}

}  // namespace

Leaf<void> sys_fchmodat(Caller& c, i32 directory, UserString path, u32 mode) {
    Target t;
    TRY(t.find(c, directory, path, kFollow));
    return change_mode(c, t.inode(), t.mount(), mode);
}
Leaf<void> sys_chmod(Caller& c, UserString path, u32 mode) { return sys_fchmodat(c, kAtCwd, path, mode); }
Leaf<void> sys_fchmod(Caller& c, Fd fd, u32 mode) {
    auto file = c.files().borrow(fd);
    if (!file || (file->flags() & fs::kOpenPath)) return Errno::kBadF;
    return change_mode(c, *file->inode(), file->mount(), mode);
}

Leaf<void> sys_fchownat(Caller& c, i32 directory, UserString path, u32 uid, u32 gid, u32 flags) {
    return change_owner_at(c, directory, path, uid, gid, flags);
}
Leaf<void> sys_chown(Caller& c, UserString path, u32 uid, u32 gid) {
    return change_owner_at(c, kAtCwd, path, uid, gid, 0);
}
Leaf<void> sys_lchown(Caller& c, UserString path, u32 uid, u32 gid) {
    return change_owner_at(c, kAtCwd, path, uid, gid, kAtSymlinkNoFollow);
}
Leaf<void> sys_fchown(Caller& c, Fd fd, u32 uid, u32 gid) {
    auto file = c.files().borrow(fd);
    if (!file || (file->flags() & fs::kOpenPath)) return Errno::kBadF;
    return change_owner(c, *file->inode(), file->mount(), uid, gid);
}

Leaf<void> sys_utimensat(Caller& c, i32 directory, UserString path, UserAddr times, u32 flags) {
    Times t;
    if (times.value) {
        abi::Timespec v[2];
        TRY(c.user().read(v, times, sizeof v));
        t = {true, v[0], v[1]};
        if (t.omitted()) return lib::kOk;  // not even the path is looked at
    }
    return change_times_at(c, directory, path, t, flags);
}
Leaf<void> sys_futimesat(Caller& c, i32 directory, UserString path, UserAddr times) {
    Times t = TRY(read_timevals(c, times));
    return change_times_at(c, directory, path, t, 0);
}
Leaf<void> sys_utimes(Caller& c, UserString path, UserAddr times) { return sys_futimesat(c, kAtCwd, path, times); }
Leaf<void> sys_utime(Caller& c, UserString path, UserAddr times) {
    Times t;
    if (times.value) {
        i64 v[2];
        TRY(c.user().read(v, times, sizeof v));
        t = {true, {v[0], 0}, {v[1], 0}};
    }
    return change_times_at(c, kAtCwd, path, t, 0);
}

}  // namespace linux
