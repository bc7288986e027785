// SPDX-License-Identifier: MIT
// Names: reading directories, making, linking, moving and removing.
#include "fs/regular.hpp"
#include "linux/sys/file_calls.hpp"
#include "linux/sys/path_calls.hpp"
#include "linux/task/thread.hpp"

namespace linux {

namespace {

using namespace fs;  // NOLINT: type bits and flags

// Fills a program's buffer with directory records, through a small buffer of our own.
class RecordSink : public DirSink {
public:
    RecordSink(UserMemory& user, UserAddr to, u64 room, bool old_format)
        : user_(user), to_(to), room_(room), old_(old_format) {}
    bool full() const { return full_; }  // there was one more than the room holds
    bool add(const DirEntry& e) override {
        // struct linux_dirent64: ino, off, reclen, type, name. struct linux_dirent: the type is the record's last byte.
        size_t name_at = old_ ? 18 : 19;
        size_t length = (name_at + e.name.size() + (old_ ? 2 : 1) + 7) & ~size_t{7};
        if (length > room_ - done_ - held_) {
            full_ = true;
            return false;
        }
        if (length > sizeof buffer_ - held_ && !flush()) return false;
        char* p = buffer_ + held_;
        u16 length16 = u16(length);
        std::memset(p + length - 8, 0, 8);
        std::memcpy(p, &e.inode, 8);
        std::memcpy(p + 8, &e.next_offset, 8);
        std::memcpy(p + 16, &length16, 2);
        copy_text(p + name_at, e.name.data(), e.name.size());
        if (old_)
            p[name_at + e.name.size()] = 0, p[length - 1] = char(e.type);
        else
            p[18] = char(e.type);
        held_ += length;
        return true;
    }
    Leaf<void> finish() override {
        if (error_ != Errno::kOk || !flush()) return error_;
        if (done_ == 0 && full_) return Errno::kInval;  // not even one fits
        return lib::kOk;
    }
    u64 done() const { return done_; }

private:
    bool flush() {
        auto r = user_.write(to_ + done_, buffer_, held_);
        if (!r.ok()) {
            // The rest will be needed too: a fault for each page would copy all names before it again.
            if (r.error() == kNeedsFault) user_.widen_fault(room_ - done_);
            error_ = r.error();
            return false;
        }
        done_ += held_;
        held_ = 0;
        return true;
    }
    UserMemory& user_;
    UserAddr to_;
    u64 room_, done_ = 0, held_ = 0;
    bool old_, full_ = false;
    LeafError error_ = Errno::kOk;
    union {
        char buffer_[2048];
    };
};

// Bytes of records that are written at once: at most 1,024 names; of generated directories, where a name costs more,
// 85.
u64 records_at_once(const File& file) {
    constexpr u64 kPinned = 32 << 10, kGenerated = 2 << 10;
    return file.path().dentry && (file.path().dentry->flags() & Dentry::kPinned) ? kPinned : kGenerated;
}

// The kernel takes the size as an int: a negative one leaves no room.
u64 record_room(u32 size) { return i32(size) < 0 ? 0 : u64(size); }

// For large buffers, or of which only a part is accessible: piece by piece. What was copied stays copied, as the
// position in the directory moves on with each piece.
TaskResult read_pieces(Caller& c, Ref<File> file, UserAddr to, u32 size, bool old_format) {
    const u64 at_once = records_at_once(*file) / 2, room = record_room(size);
    u64 done = 0, accessible = room;  // from `to` on, as far as is known
    for (;;) {
        const u64 left = accessible - done, piece = left < at_once ? left : at_once;
        LeafError error = Errno::kOk;
        u64 got;
        bool full;
        {
            RecordSink sink{c.user(), to + done, piece, old_format};
            auto read = file->read_directory(sink);
            error = read.error();
            got = read.ok() ? sink.done() : 0;
            full = sink.full();
        }
        if (error == kNeedsFault) {
            UserMemory::Fault f = c.user().fault();
            const Accessible have = co_await fault_in_patiently(c.thread(), f);
            if (have < f.size) accessible = (f.start + have) - to;
            if (accessible > done) continue;
            if (done != 0) co_return i64(done);
            co_return have.no_memory ? Errno::kNoMem : Errno::kFault;
        }
        if (error == Errno::kInval && full && done == 0 && accessible < room) error = Errno::kFault;
        if (error != Errno::kOk) {
            if (done != 0) co_return i64(done);
            co_return error;
        }
        done += got;
        // The end; or no room for the next name, which a piece in the middle has only not been given.
        if (!full || got == 0 || piece == left) co_return i64(done);
        co_await rt::Yield{};
        if (c.interrupted()) co_return i64(done);
    }
}

Leaf<i64> read_records(Caller& c, Fd fd, UserAddr to, u32 size, bool old_format) {
    auto file = c.borrow(fd);
    if (!file || (file->flags() & kOpenPath)) return Errno::kBadF;
    auto piecewise = [&] { return c.later(read_pieces(c, Ref<File>{&*file}, to, size, old_format)); };
    if (record_room(size) > records_at_once(*file)) return piecewise();
    RecordSink sink{c.user(), to, record_room(size), old_format};
    auto read = file->read_directory(sink);
    if (c.user().gave_up(read.error())) return piecewise();
    if (!read.ok()) return c.keep_if_unfinished(file, Leaf<i64>{read.error()});
    return i64(sink.done());
}

Leaf<void> make_directory(Caller& c, i32 directory, UserString path, u32 mode) {
    PathArgument a;
    TRY(a.read(c, directory, path));
    ParentLookup at = TRY(find_parent(a));
    TRY(make_node(at, kTypeDirectory | (mode & (kPermissionMask | kSticky) & ~a.umask), 0, {}, c.creds()));
    return lib::kOk;
}

Leaf<void> make_special(Caller& c, i32 directory, UserString path, u32 mode, u32 device) {
    u32 type = mode & kTypeMask;
    if (type == 0) type = kTypeRegular;
    if (type == kTypeDirectory) return Errno::kPerm;
    if (type != kTypeRegular && type != kTypeChar && type != kTypeBlock && type != kTypeFifo && type != kTypeSocket)
        return Errno::kInval;
    PathArgument a;
    TRY(a.read(c, directory, path));
    ParentLookup at = TRY(find_parent(a));
    // A character device 0:0 is a whiteout, which anybody may make.
    bool is_device = type == kTypeBlock || (type == kTypeChar && device != 0);
    if (is_device && !c.creds().capable(kCapMknod)) {
        if (lookup_child(at.parent, at.last, c.creds()).ok()) return Errno::kExist;
        TRY(check_access(*at.parent.inode(), kMayWrite | kMayExec, c.creds()));
        return Errno::kPerm;
    }
    TRY(make_node(at, type | (mode & kModeMask & ~a.umask), is_device ? device : 0, {}, c.creds()));
    return lib::kOk;
}

Leaf<void> remove_at(Caller& c, i32 directory, UserString path, bool is_directory) {
    PathArgument a;
    TRY(a.read(c, directory, path));
    ParentLookup at = TRY(find_parent(a));
    return remove_name(at, is_directory, c.creds());
}

// The call is repeated after other threads have run.
TaskResult rename_later() {
    co_await rt::Yield{};
    co_return Errno::kRestartNoIntr;
}

Leaf<void> rename_at(Caller& c, i32 from_directory, UserString from, i32 to_directory, UserString to, u32 flags) {
    if (flags & ~(kRenameNoReplace | kRenameExchange | kRenameWhiteout)) return Errno::kInval;
    if ((flags & (kRenameNoReplace | kRenameWhiteout)) && (flags & kRenameExchange)) return Errno::kInval;
    PathArgument a, b;
    TRY(a.read(c, from_directory, from));
    TRY(b.read(c, to_directory, to));
    ParentLookup source = TRY(find_parent(a));
    ParentLookup target = TRY(find_parent(b));
    return c.or_later(rename_name(source, target, flags, c.creds()), [] { return rename_later(); });
}

Leaf<void> link_at(Caller& c, i32 from_directory, UserString from, i32 to_directory, UserString to, u32 flags) {
    if (flags & ~(kAtSymlinkFollow | kAtEmptyPath)) return Errno::kInval;
    if ((flags & kAtEmptyPath) && !c.creds().capable(kCapDacReadSearch)) return Errno::kNoEnt;
    PathArgument b;
    Path target;
    {
        Target t;
        TRY(t.find(c, from_directory, from, flags & kAtSymlinkFollow ? u32{kFollow} : 0, (flags & kAtEmptyPath) != 0));
        target = TRY(t.hold());
    }
    TRY(b.read(c, to_directory, to));
    ParentLookup at = TRY(find_parent(b));
    return make_link(at, target, c.creds());
}

Leaf<void> symlink_at(Caller& c, UserString target, i32 directory, UserString path) {
    char text[kPathMax];
    std::string_view link = TRY(c.user().read_string(text, target.at));
    if (link.empty()) return Errno::kNoEnt;
    PathArgument a;
    TRY(a.read(c, directory, path));
    ParentLookup at = TRY(find_parent(a));
    TRY(make_node(at, kTypeLink | 0777, 0, link, c.creds()));
    return lib::kOk;
}

}  // namespace

Leaf<i64> sys_getdents64(Caller& c, Fd fd, UserAddr to, u32 size) { return read_records(c, fd, to, size, false); }
Leaf<i64> sys_getdents(Caller& c, Fd fd, UserAddr to, u32 size) { return read_records(c, fd, to, size, true); }

Leaf<void> sys_mkdir(Caller& c, UserString path, u32 mode) { return make_directory(c, kAtCwd, path, mode); }
Leaf<void> sys_mkdirat(Caller& c, i32 directory, UserString path, u32 mode) {
    return make_directory(c, directory, path, mode);
}
Leaf<void> sys_mknod(Caller& c, UserString path, u32 mode, u32 device) {
    return make_special(c, kAtCwd, path, mode, device);
}
Leaf<void> sys_mknodat(Caller& c, i32 directory, UserString path, u32 mode, u32 device) {
    return make_special(c, directory, path, mode, device);
}
Leaf<void> sys_unlink(Caller& c, UserString path) { return remove_at(c, kAtCwd, path, false); }
Leaf<void> sys_rmdir(Caller& c, UserString path) { return remove_at(c, kAtCwd, path, true); }
Leaf<void> sys_unlinkat(Caller& c, i32 directory, UserString path, u32 flags) {
    if (flags & ~kAtRemoveDir) return Errno::kInval;
    return remove_at(c, directory, path, (flags & kAtRemoveDir) != 0);
}
Leaf<void> sys_rename(Caller& c, UserString from, UserString to) { return rename_at(c, kAtCwd, from, kAtCwd, to, 0); }
Leaf<void> sys_renameat(Caller& c, i32 from_directory, UserString from, i32 to_directory, UserString to) {
    return rename_at(c, from_directory, from, to_directory, to, 0);
}
Leaf<void> sys_renameat2(Caller& c, i32 from_directory, UserString from, i32 to_directory, UserString to, u32 flags) {
    return rename_at(c, from_directory, from, to_directory, to, flags);
}
Leaf<void> sys_link(Caller& c, UserString from, UserString to) { return link_at(c, kAtCwd, from, kAtCwd, to, 0); }
Leaf<void> sys_linkat(Caller& c, i32 from_directory, UserString from, i32 to_directory, UserString to, u32 flags) {
    return link_at(c, from_directory, from, to_directory, to, flags);
}
Leaf<void> sys_symlink(Caller& c, UserString target, UserString path) { return symlink_at(c, target, kAtCwd, path); }
Leaf<void> sys_symlinkat(Caller& c, UserString target, i32 directory, UserString path) {
    return symlink_at(c, target, directory, path);
}

}  // namespace linux
