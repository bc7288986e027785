// SPDX-License-Identifier: MIT
// Calls that make, copy, close and control descriptors: dup, fcntl, ioctl, flock, close_range, pipe.
#include "abi/linux/block.hpp"
#include "abi/linux/fcntl.hpp"
#include "fs/file_locks.hpp"
#include "fs/pipe.hpp"
#include "linux/sys/file_calls.hpp"
#include "linux/sys/file_owner.hpp"
#include "linux/task/thread.hpp"
#include "linux/terminal.hpp"

namespace linux {

using fs::File;

Leaf<void> sys_close(Caller& c, Fd fd) { return c.files().close(fd); }

namespace {

// False: all is done.
bool close_some(Caller& c, u32& first, u32 last, u32 flags) {
    constexpr u32 kTop = 0x7fff'ffff;
    if (first > kTop) return false;
    if (last > kTop) last = kTop;
    return (flags & kCloseRangeCloexec) ? c.files().cloexec_some(first, last) : c.files().close_some(first, last);
}

TaskResult close_range_long(Caller& c, u32 first, u32 last, u32 flags) {
    if ((flags & kCloseRangeUnshare) && c.files().shared()) {
        Ref<fs::FileTable> own = CO_TRY(co_await c.files().clone_long());
        fs::FileTable::Use old = c.thread().exchange_files(fs::FileTable::Use{std::move(own)});
        while (old->empty_some()) co_await rt::Yield{};
    }
    while (close_some(c, first, last, flags)) co_await rt::Yield{};
    co_return i64{0};
}

}  // namespace

Leaf<void> sys_close_range(Caller& c, u32 first, u32 last, u32 flags) {
    if ((flags & ~(kCloseRangeUnshare | kCloseRangeCloexec)) || first > last) return Errno::kInval;
    if (c.files().is_long()) return c.later(close_range_long(c, first, last, flags));
    if ((flags & kCloseRangeUnshare) && c.files().shared()) {
        Ref<fs::FileTable> own = TRY(c.files().clone());
        if (!own) return c.later(close_range_long(c, first, last, flags));
        fs::FileTable::Use old = c.thread().exchange_files(fs::FileTable::Use{std::move(own)});
    }
    // Another thread may have made it long meanwhile.
    if (close_some(c, first, last, flags)) return c.later(close_range_long(c, first, last, flags));
    return lib::kOk;
}

namespace {

// Where the table has to grow far.
TaskResult install_far(Caller& c, Ref<File> file, Fd to, bool close_on_exec) {
    while (CO_TRY(c.files().grow_some(u32(to.value) + 1))) co_await rt::Yield{};
    CO_TRY(c.files().install_at(to, std::move(file), close_on_exec, descriptor_limit(c)));
    co_return i64{to.value};
}
TaskResult duplicate_far(Caller& c, Ref<File> file, i32 from, bool close_on_exec) {
    while (CO_TRY(c.files().grow_some(u32(from) + 1))) co_await rt::Yield{};
    co_return i64{CO_TRY(c.files().install(std::move(file), close_on_exec, descriptor_limit(c), from)).value};
}

}  // namespace

Leaf<Fd> sys_dup(Caller& c, Fd fd) {
    Ref<File> file = TRY(c.files().get(fd));
    return c.files().install(std::move(file), false, descriptor_limit(c));
}

Leaf<Fd> sys_dup3(Caller& c, Fd from, Fd to, u32 flags) {
    if ((flags & ~fs::kOpenCloexec) || from == to) return Errno::kInval;
    if (u32(to.value) >= descriptor_limit(c)) return Errno::kBadF;
    Ref<File> file = TRY(c.files().get(from));
    if (c.files().is_far(u32(to.value))) [[unlikely]]
        return c.later(install_far(c, std::move(file), to, (flags & fs::kOpenCloexec) != 0));
    TRY(c.files().install_at(to, std::move(file), (flags & fs::kOpenCloexec) != 0, descriptor_limit(c)));
    return to;
}

Leaf<Fd> sys_dup2(Caller& c, Fd from, Fd to) {
    if (from == to) {
        (void)TRY(c.files().get(from));
        return to;
    }
    return sys_dup3(c, from, to, 0);
}

namespace {

Leaf<i64> duplicate(Caller& c, Ref<File> file, u64 from, bool close_on_exec) {
    u64 limit = descriptor_limit(c);
    if (from >= limit || from >= fs::kMaxDescriptors) return Errno::kInval;
    if (c.files().is_far(u32(from))) return c.later(duplicate_far(c, std::move(file), i32(from), close_on_exec));
    return i64{TRY(c.files().install(std::move(file), close_on_exec, limit, i32(from))).value};
}

// F_SETFL changes these and ignores the rest (fcntl(2)).
Leaf<i64> set_status_flags(Caller& c, File& file, u32 to) {
    constexpr u32 kMay = fs::kOpenAppend | fs::kOpenNonblock | fs::kOpenDirect | fs::kOpenNoAtime;
    u32 now = file.flags();
    if ((to & fs::kOpenNoAtime) && !(now & fs::kOpenNoAtime)) {
        if (c.creds().fsuid != file.inode()->attributes().uid && !c.creds().capable(fs::kCapFowner))
            return Errno::kPerm;
    }
    // Packets for pipes; of the others only disks have direct I/O.
    const u32 type = file.inode()->mode() & fs::kTypeMask;
    if ((to & fs::kOpenDirect) && type != fs::kTypeFifo && type != fs::kTypeBlock) return Errno::kInval;
    file.set_flags((now & ~kMay) | (to & kMay));
    return i64{0};
}

Leaf<i64> pipe_size(Caller& c, File& file, bool set, u64 to) {
    if (file.kind() != fs::FileKind::kPipe) return Errno::kBadF;
    fs::Pipe& pipe = static_cast<fs::PipeFile&>(file).pipe();
    if (!set) return i64{pipe.capacity()};
    return i64{TRY(pipe.set_capacity(to, c.creds()))};
}

// How long what is written to the inode will live: kept and told.
Leaf<i64> write_hint(Caller& c, File& file, u32 command, UserAddr at) {
    u64 hint = file.inode()->write_life_hint.load(std::memory_order_relaxed);
    if (command == abi::kFcntlGetRwHint) {
        TRY(c.user().write(at, &hint, sizeof hint));
        return i64{0};
    }
    TRY(c.user().read(&hint, at, sizeof hint));
    if (hint > abi::kMaxRwHint) return Errno::kInval;
    file.inode()->write_life_hint.store(u8(hint), std::memory_order_relaxed);
    return i64{0};
}

}  // namespace

Leaf<i64> sys_fcntl(Caller& c, Fd fd, u32 command, u64 argument) {
    switch (command) {
        case kFcntlGetFd: return i64{TRY(c.files().close_on_exec(fd))};
        case kFcntlSetFd: TRY(c.files().set_close_on_exec(fd, (argument & kFdCloexec) != 0)); return i64{0};
        default: break;
    }
    Ref<File> file = TRY(c.file(fd));
    switch (command) {
        case kFcntlDupFd: return duplicate(c, std::move(file), u32(argument), false);
        case kFcntlDupFdCloexec: return duplicate(c, std::move(file), u32(argument), true);
        case kFcntlGetFl: return i64{file->flags() & ~fs::kOpenHidden};
        default: break;
    }
    if (file->flags() & fs::kOpenPath) return Errno::kBadF;
    switch (command) {
        case kFcntlSetFl: return set_status_flags(c, *file, u32(argument));
        case kFcntlGetLk:
        case kFcntlSetLk:
        case kFcntlSetLkW:
        case kFcntlOfdGetLk:
        case kFcntlOfdSetLk:
        case kFcntlOfdSetLkW: return c.keep_if_unfinished(*file, lock_command(c, fd, *file, command, argument));
        case kFcntlSetPipeSize: return pipe_size(c, *file, true, argument);
        case kFcntlGetPipeSize: return pipe_size(c, *file, false, 0);
        case kFcntlGetRwHint:
        case kFcntlSetRwHint: return write_hint(c, *file, command, UserAddr{argument});
        case kFcntlGetLease: return i64{kUnlock};  // there are no leases
        default: return owner_command(c, *file, command, argument);
    }
}

namespace {

Leaf<void> try_flock(File& file, u32 operation) {
    fs::FileLock lock{.kind = fs::LockKind::kFlock, .write = operation == kLockExclusive, .owner = &file};
    if (operation == kLockUnlock) {
        if (!fs::file_extras_exist()) return lib::kOk;
        return fs::clear_lock(*file.inode(), lock);
    }
    return fs::set_lock(*file.inode(), lock);
}

Task<Result<void>> wait_for_flock(Ref<File> file, u32 operation) {
    // A lock of the other type is released before the wait for the new one (flock(2)).
    (void)try_flock(*file, kLockUnlock);
    rt::WaitQueue& changed = fs::file_locks_changed(*file->inode());
    Errno interrupted = Errno::kOk;
    for (;;) {
        u32 seen = changed.sequence();
        auto r = try_flock(*file, operation);
        if (r.ok()) co_return lib::kOk;
        if (r.error() != Errno::kAgain) co_return r.error().ended();  // of one lock there is nothing in pieces
        if (interrupted != Errno::kOk) co_return interrupted;
        interrupted = (co_await rt::wait_on(changed, seen, "flock")).error();
    }
}

}  // namespace

Leaf<void> sys_flock(Caller& c, Fd fd, u32 operation) {
    if (operation & kLockMandatory) return lib::kOk;  // ignored since Linux 5.17
    u32 what = operation & ~kLockNoBlock;
    if (what != kLockShared && what != kLockExclusive && what != kLockUnlock) return Errno::kInval;
    Ref<File> file = TRY(open_file(c, fd));
    auto r = try_flock(*file, what);
    if (r.error() == Errno::kAgain && !(operation & kLockNoBlock))
        return c.later(wait_for_flock(std::move(file), what));
    return r;
}

namespace {

Leaf<i64> ioctl_leaf(Caller& c, Fd fd, const Ref<File>& file, u32 request, u64 argument) {
    switch (request) {
        case fs::kFioClex: TRY(c.files().set_close_on_exec(fd, true)); return i64{0};
        case fs::kFioNclex: TRY(c.files().set_close_on_exec(fd, false)); return i64{0};
        case fs::kFionBio: {
            i32 on;
            TRY(c.user().read(&on, UserAddr{argument}, sizeof on));
            file->set_flags(on ? file->flags() | fs::kOpenNonblock : file->flags() & ~fs::kOpenNonblock);
            return i64{0};
        }
        case fs::kFioQsize: {
            u32 type = file->inode()->mode() & fs::kTypeMask;
            if (type != fs::kTypeRegular && type != fs::kTypeDirectory && type != fs::kTypeLink) return Errno::kNoTty;
            u64 size = file->inode()->attributes().size;
            TRY(c.user().write(UserAddr{argument}, &size, sizeof size));
            return i64{0};
        }
        case fs::kFionRead:
            if (file->inode()->is_regular()) {
                u64 size = file->inode()->attributes().size;
                i32 left = i32(size - file->position());
                TRY(c.user().write(UserAddr{argument}, &left, sizeof left));
                return i64{0};
            }
            break;
        case abi::kBlkFlushBuffers:
            if (file->kind() != fs::FileKind::kBlock) break;
            if (!c.creds().capable(fs::kCapSysAdmin)) return Errno::kAcces;
            return i64{0};  // nothing of a disk is kept in memory
        default: break;
    }
    if (fs::Tty* tty = file->terminal()) {
        bool handled = false;
        i64 result = TRY(terminal_ioctl(c, *file, *tty, request, argument, handled));
        if (handled) return result;
    }
    return i64(TRY(file->ioctl(c.user(), request, argument)));
}

// Changes of a terminal that wait for its output to be written (tcsetattr(3), tcdrain(3)).
TaskResult change_terminal(Caller& c, Ref<File> file, u32 request, u64 argument) {
    bool interrupted = false;
    for (;;) {
        rt::Waiter room[fs::QueueSet::kUsual];
        fs::QueueSet queues{room, fs::QueueSet::kUsual};
        file->queues(fs::kPollOut, queues);
        auto r = file->ioctl(c.user(), request, argument);
        if (r.ok()) co_return i64(r.value());
        if (r.error() == kNeedsFault) {
            CO_TRY(co_await fault_in_range(c.thread(), c.user().fault()));
            continue;
        }
        if (r.error() != kNeedsTask) co_return r.error();
        if (interrupted) co_return Errno::kRestartSys;
        rt::Wait wait{"terminal: output"};
        interrupted = co_await wait.on(room, queues.count()) == rt::Wake::kInterrupted;
    }
}

}  // namespace

Leaf<i64> sys_ioctl(Caller& c, Fd fd, u32 request, u64 argument) {
    Ref<File> file = TRY(open_file(c, fd));
    auto done = c.or_later(ioctl_leaf(c, fd, file, request, argument), [&] {
        return file->kind() == fs::FileKind::kBlock ? change_disk(c, file, argument)
                                                    : change_terminal(c, file, request, argument);
    });
    return c.keep_if_unfinished(*file, std::move(done));
}

Leaf<void> sys_pipe2(Caller& c, UserOut<i32> to, u32 flags) {
    if (flags & ~(fs::kOpenCloexec | fs::kOpenNonblock | fs::kOpenDirect | fs::kOpenExclusive)) return Errno::kInval;
    if (flags & fs::kOpenExclusive) return Errno::kNoPkg;  // O_NOTIFICATION_PIPE: no watch queues
    fs::PipeEnds ends = TRY(fs::make_pipe(flags, c.creds()));
    bool cloexec = (flags & fs::kOpenCloexec) != 0;
    u64 limit = descriptor_limit(c);
    i32 fds[2];
    fds[0] = TRY(c.files().install(std::move(ends.read), cloexec, limit)).value;
    auto second = c.files().install(std::move(ends.write), cloexec, limit);
    if (!second.ok()) {
        (void)c.files().close(Fd{fds[0]});
        return second.error();
    }
    fds[1] = second.value().value;
    auto told = c.user().write(to.at, fds, sizeof fds);
    if (told.ok()) return lib::kOk;
    (void)c.files().close(Fd{fds[0]});
    (void)c.files().close(Fd{fds[1]});
    return told;
}
Leaf<void> sys_pipe(Caller& c, UserOut<i32> to) { return sys_pipe2(c, to, 0); }

}  // namespace linux
