// SPDX-License-Identifier: MIT
// Record locks of fcntl(2): F_GETLK, F_SETLK, F_SETLKW and their F_OFD_ forms.
#include "fs/file_locks.hpp"

#include "linux/sys/file_calls.hpp"

namespace linux {

namespace {

constexpr i64 kOffsetMax = 0x7fff'ffff'ffff'ffff;

bool is_ofd(u32 command) { return command >= kFcntlOfdGetLk; }

// EINVAL, EOVERFLOW as fcntl(2); the range becomes inclusive.
Leaf<fs::FileLock> decode(Caller& c, fs::File& file, const Flock& l, bool ofd) {
    i64 base = 0;
    switch (l.whence) {
        case kSeekSet: break;
        case kSeekCur: {
            rt::LockGuard guard{file.offset_lock};
            base = i64(file.offset);
            break;
        }
        case kSeekEnd: base = i64(file.inode()->attributes().size); break;
        default: return Errno::kInval;
    }
    if (l.start > kOffsetMax - base) return Errno::kOverflow;
    i64 start = base + l.start, end;
    if (start < 0) return Errno::kInval;
    if (l.length > 0) {
        if (l.length - 1 > kOffsetMax - start) return Errno::kOverflow;
        end = start + (l.length - 1);
    } else if (l.length < 0) {
        if (start + l.length < 0) return Errno::kInval;
        end = start - 1;
        start += l.length;
    } else {
        end = kOffsetMax;
    }
    if (l.type != kReadLock && l.type != kWriteLock && l.type != kUnlock) return Errno::kInval;
    return fs::FileLock{.kind = ofd ? fs::LockKind::kOpenFile : fs::LockKind::kPosix,
                        .write = l.type == kWriteLock,
                        .owner = ofd ? static_cast<const void*>(&file) : static_cast<const void*>(&c.files()),
                        .pid = ofd ? -1 : c.process().pid.value,
                        .start = u64(start),
                        .end = u64(end)};
}

Leaf<void> get_lock(Caller& c, fs::File& file, Flock l, UserAddr at, bool ofd) {
    if (l.type != kReadLock && l.type != kWriteLock) return Errno::kInval;
    if (ofd && l.pid != 0) return Errno::kInval;
    fs::FileLock want = TRY(decode(c, file, l, ofd)), found;
    if (fs::find_conflict(*file.inode(), want, found)) {
        l.type = found.write ? kWriteLock : kReadLock;
        l.whence = kSeekSet;
        l.start = i64(found.start);
        l.length = found.end == u64(kOffsetMax) ? 0 : i64(found.end - found.start + 1);
        l.pid = found.pid;
    } else {
        l.type = kUnlock;
    }
    return c.user().write(at, &l, sizeof l);
}

struct Request {
    fs::FileLock lock;
    bool unlock;
};
Leaf<Request> read_request(Caller& c, fs::File& file, u32 command, UserAddr at) {
    Flock l;
    TRY(c.user().read(&l, at, sizeof l));
    Request r{TRY(decode(c, file, l, is_ofd(command))), l.type == kUnlock};
    if (l.type == kReadLock && !file.readable()) return Errno::kBadF;
    if (l.type == kWriteLock && !file.writable()) return Errno::kBadF;
    if (is_ofd(command) && l.pid != 0) return Errno::kInval;
    return r;
}
Leaf<void> apply(fs::File& file, const Request& r, fs::LongLock* in_pieces = nullptr) {
    if (r.unlock) return fs::file_extras_exist() ? fs::clear_lock(*file.inode(), r.lock) : Leaf<void>{lib::kOk};
    return fs::set_lock(*file.inode(), r.lock, in_pieces);
}

}  // namespace

namespace {

// The lock is set. If the descriptor now refers to another file, its close may have missed the lock: then it
// is removed, and the call fails (EBADF), as in Linux.
Result<void> keep_if_still_open(Caller& c, Fd fd, fs::File& file, const Request& r) {
    if (r.unlock || r.lock.kind != fs::LockKind::kPosix) return lib::kOk;
    auto now = c.files().get(fd);
    if (now.ok() && now.value().get() == &file) return lib::kOk;
    (void)fs::clear_lock(*file.inode(), r.lock);
    return Errno::kBadF;
}

// One that waits, or one that is set in pieces.
TaskResult wait_for_lock(Caller& c, Fd fd, Ref<fs::File> file, Request r, bool waits) {
    struct Announced {
        fs::LockWaiter waiter;
        ~Announced() { fs::end_wait(waiter); }
    } announced;
    rt::WaitQueue& changed = fs::file_locks_changed(*file->inode());
    fs::LongLock in_pieces;
    Errno interrupted = Errno::kOk;
    for (;;) {
        u32 seen = changed.sequence();
        auto done = apply(*file, r, &in_pieces);
        if (done.error() == kNeedsTask) {
            co_await rt::Yield{};
            continue;
        }
        if (done.ok()) {
            CO_TRY(keep_if_still_open(c, fd, *file, r));
            co_return i64{0};
        }
        if (done.error() != Errno::kAgain || !waits) co_return done.error();
        const fs::LockWait wait = fs::begin_wait(announced.waiter, *file->inode(), r.lock);
        if (wait == fs::LockWait::kFree) continue;
        if (wait == fs::LockWait::kCircle) co_return Errno::kDeadLk;
        if (wait == fs::LockWait::kMore) {
            co_await rt::Yield{};
            continue;
        }
        if (interrupted != Errno::kOk) co_return interrupted;
        interrupted = (co_await rt::wait_on(changed, seen, "record lock")).error();
    }
}

}  // namespace

Leaf<i64> lock_command(Caller& c, Fd fd, fs::File& file, u32 command, u64 argument) {
    UserAddr at{argument};
    if (command == kFcntlGetLk || command == kFcntlOfdGetLk) {
        Flock l;
        TRY(c.user().read(&l, at, sizeof l));
        TRY(get_lock(c, file, l, at, command == kFcntlOfdGetLk));
        return i64{0};
    }
    Request r = TRY(read_request(c, file, command, at));
    auto done = apply(file, r);
    if (done.ok()) {
        // In a leaf only threads that share the table may have closed it. After a wait this is not known: they may have
        // ended.
        if (c.files().shared()) TRY(keep_if_still_open(c, fd, file, r));
        return i64{0};
    }
    bool waits = command == kFcntlSetLkW || command == kFcntlOfdSetLkW;
    if (done.error() != kNeedsTask && (done.error() != Errno::kAgain || !waits)) return done.error();
    return c.later(wait_for_lock(c, fd, Ref<fs::File>{&file}, r, waits));
}

}  // namespace linux
