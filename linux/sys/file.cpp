// SPDX-License-Identifier: MIT
// read(2), write(2) and related calls, and other operations on an open file.
//
// Up to kLeafIo bytes are moved at once. What must wait, has not all of its buffer, or is long goes through transfer(),
// which gives the counts Linux gives.
#include "fs/anonymous.hpp"
#include "fs/eventfd.hpp"
#include "fs/pipe.hpp"
#include "linux/sys/file_calls.hpp"
#include "linux/sys/io_vector.hpp"
#include "linux/sys/signalfd.hpp"
#include "linux/task/out_of_memory.hpp"
#include "linux/task/thread.hpp"
#include "linux/terminal.hpp"

namespace linux {

using fs::File;
using fs::kAtOffset;
using fs::UserSpans;

namespace {

constexpr u64 kLeafIo =
    128 << 10;  // copied at once: up to 80,000 instructions; the limit for a stretch with interrupts off is 100,000
constexpr u64 kSignalIo = 64 * 128;  // of a signalfd: so many signals are taken one by one

// The call waits for data itself, and runs again as it is. False: there is data now.
bool block_reader(Thread& t, fs::PipeFile& file) {
    rt::WaitQueue& queue = file.pipe().readable;
    u32 seen = queue.sequence();
    if (!file.pipe().must_wait_to_read()) return false;
    auto again = [](Thread& t, rt::Wake why) -> Leaf<i64> {
        auto r = call_table[u32(t.call_regs().syscall_number())](t, t.call_regs().frame());
        if (why != rt::Wake::kInterrupted || r.error() != kNeedsTask) return r;
        t.forget_plans();
        return Errno::kRestartSys;
    };
    t.keep_file(file);  // and with it the queue
    t.blocked_leaf = {again, &queue, seen, "pipe: data"};
    return true;
}

// The outcome of an operation that did not succeed at once; kOk: it continues as transfer().
template <bool kWrite>
[[gnu::always_inline]] inline LeafError outcome_of(Caller& c, File& file, LeafError e) {
    if (e == kNeedsTask) {
        if (file.nonblocking()) return file.piece_size(kWrite) != 0 ? Errno::kOk : Errno::kAgain;
        if (!kWrite && file.kind() == fs::FileKind::kPipe && block_reader(c.thread(), static_cast<fs::PipeFile&>(file)))
            return e;
        return Errno::kOk;
    }
    // The end of the buffer cannot be accessed: perhaps a short count.
    if (c.user().gave_up(e)) return Errno::kOk;
    if (e == Errno::kPipe) broken_pipe(c);
    // As far as memory reaches, and on when there is more.
    if (kWrite && e == Errno::kNoMem && file.inode() && file.inode()->is_regular()) return Errno::kOk;
    return c.keep_if_unfinished(file, e);
}

}  // namespace

[[gnu::noinline]] u64 room_below_limit(Caller& c, File& file, u64 offset, u64 n) {
    u64 limit = c.process().limit(kRlimFsize);
    if (!file.inode()->is_regular() || n == 0) return n;
    u64 at = offset;
    if ((file.flags() & fs::kOpenAppend) || offset == fs::kAtEnd || offset == fs::kAtEndMoves) {
        at = file.inode()->peek_attributes().size;
    } else if (offset == kAtOffset) {
        rt::LockGuard guard{file.offset_lock};
        at = file.offset;
    }
    if (at < limit) return n < limit - at ? n : limit - at;
    (void)send_signal(c.thread(), user_signal(kSigXfsz, kSiUser, c.process().pid.value, c.creds().uid));
    return 0;
}

namespace {

// The hot path of every read and write. The range's own checks (access_ok) are done by the copy, or here if it is long.
template <bool kWrite>
[[gnu::always_inline]] inline Leaf<size_t> transfer_spans(Caller& c, File& file, UserSpans& spans, u64 offset) {
    if (kWrite && c.process().limit(kRlimFsize) != ~u64{0}) [[unlikely]] {
        u64 allowed = room_below_limit(c, file, offset, spans.size());
        if (allowed == 0 && spans.size() != 0) return Errno::kFBig;
        spans.limit(allowed);
    }
    return kWrite ? file.try_write(spans, offset) : file.try_read(spans, offset);
}

template <bool kWrite>
constexpr u32 kWrongAccess = kWrite ? fs::kOpenReadOnly : fs::kOpenWriteOnly;

// Of what transfer_range() turned away: EBADF, EFAULT, or a task.
template <bool kWrite>
[[gnu::noinline]] LeafError why_not(Caller& c, File& file, UserAddr at, u64 n, u64 offset) {
    if (kWrite ? !file.writable() : !file.readable()) return Errno::kBadF;
    if (!fs::UserMemory::inside(at, n)) return Errno::kFault;
    return c.later(transfer(c, Ref<File>{&file}, IoVector{at, n < kMaxIo ? n : kMaxIo}, offset, kWrite));
}
// What a transfer of one range is about, in memory: what is only needed if it does not succeed takes no registers.
struct OneRange {
    UserSpans spans;
    u64 offset;
};
template <bool kWrite>
[[gnu::noinline]] LeafError go_on(Caller& c, File& file, const OneRange& r, LeafError e) {
    e = outcome_of<kWrite>(c, file, e);
    if (e != Errno::kOk) return e;
    return c.later(transfer(c, Ref<File>{&file}, IoVector{r.spans.start(), r.spans.size()}, r.offset, kWrite));
}

template <bool kWrite>
[[gnu::always_inline]] inline Leaf<size_t> transfer_range(Caller& c, File* file, UserAddr at, u64 n, u64 offset) {
    if (!file) [[unlikely]]
        return Errno::kBadF;
    u32 flags = file->flags();
    if ((flags & fs::kOpenAccess) == kWrongAccess<kWrite> || (flags & (fs::kOpenPath | fs::kOpenTaskOnly)) ||
        n > kLeafIo || at.value > fs::kUserEnd - n) [[unlikely]]
        return why_not<kWrite>(c, *file, at, n, offset);
    OneRange range{{c.user(), at, n}, offset};
    auto r = transfer_spans<kWrite>(c, *file, range.spans, offset);
    if (r.ok()) [[likely]]
        return r;
    return go_on<kWrite>(c, *file, range, r.error());
}

// The same when another thread may close the file concurrently.
template <bool kWrite>
[[gnu::noinline]] Leaf<size_t> transfer_shared(Caller& c, Fd fd, UserAddr at, u64 n, u64 offset) {
    auto file = c.file(fd);
    if (!file.ok()) return file.error();
    auto r = transfer_range<kWrite>(c, file.value().get(), at, n, offset);
    if (!r.ok()) c.keep_shared(*file.value(), r.error());
    return r;
}

template <bool kWrite>
[[gnu::always_inline]] inline Leaf<size_t> transfer_positioned(Caller& c, File* file, UserAddr at, u64 n, i64 offset) {
    if (file && !(kWrite ? file->writes_at_offset() : file->seekable())) [[unlikely]]
        return (file->flags() & fs::kOpenPath) ? Errno::kBadF : Errno::kSPipe;
    return transfer_range<kWrite>(c, file, at, n, u64(offset));
}
template <bool kWrite>
[[gnu::noinline]] Leaf<size_t> transfer_at_shared(Caller& c, Fd fd, UserAddr at, u64 n, i64 offset) {
    auto file = c.file(fd);
    if (!file.ok()) return file.error();
    auto r = transfer_positioned<kWrite>(c, file.value().get(), at, n, offset);
    if (!r.ok()) c.keep_shared(*file.value(), r.error());
    return r;
}

// At an explicit position. EINVAL, ESPIPE: there is no such position.
template <bool kWrite>
[[gnu::always_inline]] inline Leaf<size_t> transfer_at(Caller& c, Fd fd, UserAddr at, u64 n, i64 offset) {
    if (offset < 0) return Errno::kInval;
    if (c.files().shared()) [[unlikely]]
        return transfer_at_shared<kWrite>(c, fd, at, n, offset);
    return transfer_positioned<kWrite>(c, c.files().peek(fd), at, n, offset);
}

// Each element is a call of its own; the first that is short or fails is the last.
TaskResult transfer_elements(Caller& c, Ref<File> file, IoVector v, u64 offset, bool write) {
    u64 done = 0;
    while (v.size() != 0) {
        fs::UserSpan each = v.front();
        u64 at = fs::offset_after(offset, done);
        auto r = co_await transfer(c, file, IoVector{each.at, each.size}, at, write);
        if (!r.ok()) {
            if (done > 0) break;
            co_return r;
        }
        done += u64(r.value());
        if (u64(r.value()) != each.size) break;
        v.drop_front();
    }
    co_return i64(done);
}

// RWF_DSYNC and RWF_SYNC are for disks; RWF_HIPRI changes nothing, RWF_APPEND nothing for reads; RWF_NOWAIT is not
// supported.
constexpr u32 kRwfKnown = kRwfHighPriority | kRwfDsync | kRwfSync | kRwfAppend;

template <bool kWrite>
Leaf<size_t> transfer_vector_of(Caller& c, File& file, UserAddr vectors, u32 count, u64 offset, u32 flags) {
    auto imported = IoVector::import(c.user(), vectors, count);
    if (!imported.ok()) return c.keep_if_unfinished(file, imported.error());
    IoVector& v = imported.value();
    if (kWrite ? !file.writable() : !file.readable()) return Errno::kBadF;
    if (v.size() == 0) return 0;  // whatever the flags are
    if (flags & ~kRwfKnown) return Errno::kOpNotSupp;
    if (file.by_element(kWrite)) {
        return c.later(transfer_elements(c, Ref<File>{&file}, std::move(v), offset, kWrite));
    }
    if (kWrite && file.kind() == fs::FileKind::kBlock && (flags & (kRwfDsync | kRwfSync)))
        return c.later(sync_after(transfer(c, Ref<File>{&file}, std::move(v), offset, true), Ref<File>{&file}));
    if (v.size() > kLeafIo || (file.flags() & (fs::kOpenTaskOnly | fs::kOpenByElement)))
        return c.later(transfer(c, Ref<File>{&file}, std::move(v), offset, kWrite));
    UserSpans spans = v.spans(c.user(), kLeafIo);
    auto r = transfer_spans<kWrite>(c, file, spans, offset);
    if (r.ok()) return r;
    const LeafError e = outcome_of<kWrite>(c, file, r.error());
    if (e != Errno::kOk) return e;
    return c.later(transfer(c, Ref<File>{&file}, std::move(v), offset, kWrite));
}
template <bool kWrite>
Leaf<size_t> transfer_vector(Caller& c, const fs::FileTable::Borrowed& file, UserAddr vectors, u32 count, u64 offset,
                             u32 flags = 0) {
    return c.keep_if_unfinished(file, transfer_vector_of<kWrite>(c, *file, vectors, count, offset, flags));
}

}  // namespace

void broken_pipe(Caller& c) {
    (void)send_signal(c.thread(), user_signal(kSigPipe, kSiUser, c.process().pid.value, c.creds().uid));
}

TaskResult transfer(Caller& c, Ref<File> file, IoVector buffers, u64 offset, bool write) {
    if (file->kind() == fs::FileKind::kBlock)
        co_return co_await block_transfer(c, std::move(file), std::move(buffers), offset, write);
    u64 done = 0;
    if (write && c.process().limit(kRlimFsize) != ~u64{0} && buffers.size() != 0) {
        buffers.limit(room_below_limit(c, *file, offset, buffers.size()));
        if (buffers.size() == 0) co_return Errno::kFBig;
    }
    const Nanoseconds read_deadline = write ? Nanoseconds::never() : file->read_deadline();
    bool interrupted = false;
    u32 in_vain = 0;
    u64 accessible = ~u64{0};  // no more than that of the next piece
    const u64 own_piece = file->piece_size(write);
    const u64 piece = own_piece ? own_piece : file->kind() == fs::FileKind::kSignal ? kSignalIo : kLeafIo;
    for (;;) {
        rt::Waiter room[fs::QueueSet::kUsual];
        fs::QueueSet queues{room, fs::QueueSet::kUsual};
        file->queues_for(&c, write ? fs::kPollOut : fs::kPollIn, queues);
        if (fs::Tty* tty = file->terminal()) [[unlikely]] {
            auto allowed = check_terminal_access(c, *tty, write ? TerminalAccess::kWrite : TerminalAccess::kRead);
            if (!allowed.ok()) {
                if (done > 0) co_return i64(done);
                co_return allowed.error();
            }
        }
        Nanoseconds now = port::Port::now();
        // After a short piece the next one ends where its neighbours do: signals are looked for at the ends of pages.
        const u64 most = own_piece ? own_piece - done % own_piece : piece;
        UserSpans spans = buffers.spans(c.user(), most < accessible ? most : accessible);
        u64 at = fs::offset_after(offset, done);
        const RanOut ran_out;
        auto r = write ? file->write_for(&c, spans, at) : file->read_for(&c, spans, at);
        if (r.ok()) {
            u64 n = r.value(), asked = spans.size();
            done += n;
            if (n == buffers.size()) co_return i64(done);
            buffers.advance(n);
            if (accessible != ~u64{0}) [[unlikely]] {
                accessible = ~u64{0};
                if (n != 0 && !is_ending(c)) continue;
            }
            if (n == asked || (own_piece && n != 0)) {
                co_await rt::Yield{};  // a long transfer: lets other threads run
                if (is_ending(c) || (own_piece && done % kPageSize == 0 && c.interrupted())) co_return i64(done);
                continue;
            }
            // What comes one by one ends where the buffer must be faulted in, too.
            if (file->kind() == fs::FileKind::kSignal) continue;
            // A file in memory takes all, or the next piece finds out why not: for want of memory, mostly.
            const fs::Inode* inode = write ? file->inode() : nullptr;
            if (inode && n != 0 && inode->is_regular()) continue;
            if (!write || n == 0 || !file->writes_all() || file->nonblocking()) co_return i64(done);
            continue;
        }
        const LeafError e = r.error();
        if (e == kNeedsFault) {
            fs::UserMemory::Fault f = c.user().fault();
            const Accessible have = co_await fault_in_patiently(c.thread(), f);
            if (have >= f.size) {
                // Another thread may take it away again each time.
                co_await rt::Yield{};
                if (is_ending(c)) co_return i64(done);
                continue;
            }
            u64 usable = buffers.spans(c.user(), most).accessible(f, have);
            usable -= usable % file->copy_granule();
            if (usable == 0) {
                if (done > 0) co_return i64(done);
                if (have.no_memory) co_return Errno::kNoMem;
                file->buffer_failed(&c, write, buffers.size());
                co_return Errno::kFault;
            }
            // A write to a file may make more of its source accessible, which lies in a mapping of the file.
            if (write && file->inode() && file->inode()->is_regular())
                accessible = usable;
            else
                buffers.limit(usable);
            continue;
        }
        if (e == Errno::kNoMem && done > 0 && ran_out.since() && in_vain++ < kMostEnds) {
            ForMemory outcome;
            FIND_MEMORY(c.thread(), outcome);
            if (outcome == ForMemory::kTryAgain) continue;
        }
        if (e == Errno::kPipe) broken_pipe(c);
        if (e != kNeedsTask || (done > 0 && !write) || file->nonblocking()) {
            if (done > 0) co_return i64(done);
            co_return e == kNeedsTask ? Errno::kAgain : e;
        }
        if (interrupted) {
            if (done > 0) co_return i64(done);
            co_return Errno::kRestartSys;
        }
        rt::Wait wait{write ? "write" : "read"};
        Nanoseconds deadline = file->wake_time(now);
        if (read_deadline < deadline) deadline = read_deadline;
        if (deadline <= now) co_await rt::Yield{};  // it only continues (procfs)
        rt::Wake why = co_await wait.on(room, queues.count()).until(deadline);
        interrupted = why == rt::Wake::kInterrupted;  // what has become ready at the same time comes first
        if (why == rt::Wake::kTimeout && read_deadline <= port::Port::now()) co_return i64(done);
    }
}

Leaf<size_t> sys_read(Caller& c, Fd fd, UserOut<std::byte> to, u64 n) {
    if (c.files().shared()) [[unlikely]]
        return transfer_shared<false>(c, fd, to.at, n, kAtOffset);
    return transfer_range<false>(c, c.files().peek(fd), to.at, n, kAtOffset);
}

Leaf<size_t> sys_write(Caller& c, Fd fd, UserIn<std::byte> from, u64 n) {
    if (c.files().shared()) [[unlikely]]
        return transfer_shared<true>(c, fd, from.at, n, kAtOffset);
    return transfer_range<true>(c, c.files().peek(fd), from.at, n, kAtOffset);
}

Leaf<size_t> sys_pread64(Caller& c, Fd fd, UserOut<std::byte> to, u64 n, i64 offset) {
    return transfer_at<false>(c, fd, to.at, n, offset);
}

Leaf<size_t> sys_pwrite64(Caller& c, Fd fd, UserIn<std::byte> from, u64 n, i64 offset) {
    return transfer_at<true>(c, fd, from.at, n, offset);
}

Leaf<size_t> sys_readv(Caller& c, Fd fd, UserAddr vectors, u32 count) {
    auto file = c.borrow(fd);
    if (!file || (file->flags() & fs::kOpenPath)) return Errno::kBadF;
    return transfer_vector<false>(c, file, vectors, count, kAtOffset);
}
Leaf<size_t> sys_writev(Caller& c, Fd fd, UserAddr vectors, u32 count) {
    auto file = c.borrow(fd);
    if (!file || (file->flags() & fs::kOpenPath)) return Errno::kBadF;
    return transfer_vector<true>(c, file, vectors, count, kAtOffset);
}

// The upper half of the offset is for 32-bit machines.
Leaf<size_t> sys_preadv(Caller& c, Fd fd, UserAddr vectors, u32 count, i64 offset, u64) {
    if (offset < 0) return Errno::kInval;
    auto file = c.borrow(fd);
    if (!file || (file->flags() & fs::kOpenPath)) return Errno::kBadF;
    if (!file->seekable()) return Errno::kSPipe;
    return transfer_vector<false>(c, file, vectors, count, u64(offset));
}
Leaf<size_t> sys_pwritev(Caller& c, Fd fd, UserAddr vectors, u32 count, i64 offset, u64) {
    if (offset < 0) return Errno::kInval;
    auto file = c.borrow(fd);
    if (!file || (file->flags() & fs::kOpenPath)) return Errno::kBadF;
    if (!file->writes_at_offset()) return Errno::kSPipe;
    return transfer_vector<true>(c, file, vectors, count, u64(offset));
}

// Where pwritev2 writes. -1 is the file's position. Disks do not grow: RWF_APPEND changes nothing (Linux:
// blkdev_write_iter).
u64 write_place(const File& file, i64 offset, u32 flags) {
    if (!(flags & kRwfAppend) || file.kind() == fs::FileKind::kBlock) return u64(offset);
    return offset == -1 ? fs::kAtEndMoves : fs::kAtEnd;
}

Leaf<size_t> sys_preadv2(Caller& c, Fd fd, UserAddr vectors, u32 count, i64 offset, u64, u32 flags) {
    if (offset < -1) return Errno::kInval;
    auto file = c.borrow(fd);
    if (!file || (file->flags() & fs::kOpenPath)) return Errno::kBadF;
    if (offset != -1 && !file->seekable()) return Errno::kSPipe;
    return transfer_vector<false>(c, file, vectors, count, u64(offset), flags);
}
Leaf<size_t> sys_pwritev2(Caller& c, Fd fd, UserAddr vectors, u32 count, i64 offset, u64, u32 flags) {
    if (offset < -1) return Errno::kInval;
    auto file = c.borrow(fd);
    if (!file || (file->flags() & fs::kOpenPath)) return Errno::kBadF;
    if (offset != -1 && !file->writes_at_offset()) return Errno::kSPipe;
    return transfer_vector<true>(c, file, vectors, count, write_place(*file, offset, flags), flags);
}

Leaf<u64> sys_lseek(Caller& c, Fd fd, i64 offset, u32 whence) {
    auto file = c.borrow(fd);
    if (!file || (file->flags() & fs::kOpenPath)) return Errno::kBadF;
    if (whence > kSeekHole) return Errno::kInval;
    return c.or_later(file->seek(offset, whence), [&] { return seek_patiently(c, Ref<File>{&*file}, offset, whence); });
}

Leaf<void> sys_fsync(Caller& c, Fd fd) {
    auto file = c.borrow(fd);
    if (!file || (file->flags() & fs::kOpenPath)) return Errno::kBadF;
    return c.or_later(file->sync(), [&] { return sync_disk(Ref<File>{&*file}); });
}

Leaf<void> sys_sync_file_range(Caller& c, Fd fd, i64 offset, i64 size, u32 flags) {
    Ref<File> file = TRY(open_file(c, fd));
    if (flags & ~(kSyncRangeWaitBefore | kSyncRangeWrite | kSyncRangeWaitAfter)) return Errno::kInval;
    if (offset < 0 || size < 0 || offset + size < 0) return Errno::kInval;
    u32 type = file->inode()->mode() & fs::kTypeMask;
    if (type != fs::kTypeRegular && type != fs::kTypeBlock && type != fs::kTypeDirectory && type != fs::kTypeLink)
        return Errno::kSPipe;
    return lib::kOk;  // files in memory have nowhere to go
}

// Advice about a cache that holds everything: checked, and of no effect (posix_fadvise(2)).
Leaf<void> sys_fadvise64(Caller& c, Fd fd, i64 offset, i64 size, u32 advice) {
    Ref<File> file = TRY(open_file(c, fd));
    if ((file->inode()->mode() & fs::kTypeMask) == fs::kTypeFifo) return Errno::kSPipe;
    if (size < 0 || advice > kFadviseNoReuse) return Errno::kInval;
    return lib::kOk;
}
Leaf<void> sys_readahead(Caller& c, Fd fd, i64 offset, u64 count) {
    Ref<File> file = TRY(open_file(c, fd));
    if (!file->readable()) return Errno::kBadF;
    const u32 type = file->inode()->mode() & fs::kTypeMask;
    return type == fs::kTypeRegular || type == fs::kTypeBlock ? Leaf<void>(lib::kOk) : Leaf<void>(Errno::kInval);
}

Result<Fd> install_file(Caller& c, Ref<File> file, u32 open_flags) {
    return c.files().install(std::move(file), (open_flags & fs::kOpenCloexec) != 0, descriptor_limit(c));
}

Leaf<Fd> sys_eventfd2(Caller& c, u32 initial, u32 flags) {
    if (flags & ~(kEventfdSemaphore | fs::kOpenCloexec | fs::kOpenNonblock)) return Errno::kInval;
    Ref<fs::Inode> inode = TRY(fs::anonymous_inode());
    u32 file_flags = fs::kOpenReadWrite | (flags & fs::kOpenNonblock);
    return install_file(
        c, TRY(fs::make_file<fs::EventFile>(std::move(inode), file_flags, initial, (flags & kEventfdSemaphore) != 0)),
        flags);
}
Leaf<Fd> sys_eventfd(Caller& c, u32 initial) { return sys_eventfd2(c, initial, 0); }

namespace {

constexpr auto kFs = port::Module::kFs;
constexpr SyscallRow kRows[] = {
    row<&sys_read>(abi::kNrRead, "read", kFs, "pipe/basic"),
    row<&sys_write>(abi::kNrWrite, "write", kFs, "pipe/basic"),
    row<&sys_pread64>(abi::kNrPread64, "pread64", kFs, "fd/read_write_positions"),
    row<&sys_pwrite64>(abi::kNrPwrite64, "pwrite64", kFs, "fd/read_write_positions"),
    row<&sys_readv>(abi::kNrReadv, "readv", kFs, "fd/vectors"),
    row<&sys_writev>(abi::kNrWritev, "writev", kFs, "fd/vectors"),
    row<&sys_preadv>(abi::kNrPreadv, "preadv", kFs, "fd/vectors"),
    row<&sys_pwritev>(abi::kNrPwritev, "pwritev", kFs, "fd/vectors"),
    row<&sys_preadv2>(abi::kNrPreadv2, "preadv2", kFs, "fd/vectors"),
    row<&sys_pwritev2>(abi::kNrPwritev2, "pwritev2", kFs, "calls/pwritev2"),
    row<&sys_lseek>(abi::kNrLseek, "lseek", kFs, "fd/lseek_rules"),
    row<&sys_close>(abi::kNrClose, "close", kFs, "fd/lowest_number"),
    row<&sys_close_range>(abi::kNrCloseRange, "close_range", kFs, "fd/close_range"),
    row<&sys_dup>(abi::kNrDup, "dup", kFs, "fd/dup_family"),
    row<&sys_dup2>(abi::kNrDup2, "dup2", kFs, "fd/dup_family"),
    row<&sys_dup3>(abi::kNrDup3, "dup3", kFs, "fd/dup_family"),
    row<&sys_fcntl>(abi::kNrFcntl, "fcntl", kFs, "fd/fcntl_flags"),
    row<&sys_flock>(abi::kNrFlock, "flock", kFs, "fd/flock_rules"),
    row<&sys_ioctl>(abi::kNrIoctl, "ioctl", kFs, "badptr/system"),
    row<&sys_pipe>(abi::kNrPipe, "pipe", kFs, "pipe/basic"),
    row<&sys_pipe2>(abi::kNrPipe2, "pipe2", kFs, "pipe/pipe2_flags"),
    row<&sys_fsync>(abi::kNrFsync, "fsync", kFs, "fd/sync_calls"),
    row<&sys_fsync>(abi::kNrFdatasync, "fdatasync", kFs, "fd/sync_calls"),
    row<&sys_sync_file_range>(abi::kNrSyncFileRange, "sync_file_range", kFs, "fd/sync_calls"),
    row<&sys_fallocate>(abi::kNrFallocate, "fallocate", kFs, "fd/fallocate"),
    row<&sys_memfd_create>(abi::kNrMemfdCreate, "memfd_create", kFs, "calls/memfd"),
    row<&sys_fadvise64>(abi::kNrFadvise64, "fadvise64", kFs, "fd/sync_calls"),
    row<&sys_readahead>(abi::kNrReadahead, "readahead", kFs, "fd/sync_calls"),
    row<&sys_sendfile>(abi::kNrSendfile, "sendfile", kFs, "fd/sendfile_and_copy"),
    row<&sys_copy_file_range>(abi::kNrCopyFileRange, "copy_file_range", kFs, "fd/sendfile_and_copy"),
    row<&sys_eventfd>(abi::kNrEventfd, "eventfd", kFs, "calls/eventfd"),
    row<&sys_eventfd2>(abi::kNrEventfd2, "eventfd2", kFs, "ready/event_descriptor"),
};

}  // namespace

const std::span<const SyscallRow> file_rows{kRows};

}  // namespace linux
