// SPDX-License-Identifier: MIT
// File: an open file description (open(2)). Shared by dup and fork; its operations come in pairs, the plain try_ form
// that never waits, and the queues to wait on when it returns kNeedsTask.
//
// User memory is reached through UserIn/UserOut (fs/user_memory.hpp). A copy that stops yields kNeedsFault, and nothing
// has been consumed or committed: the caller faults the range in and calls again.
#pragma once
#include "abi/linux/fcntl.hpp"
#include "abi/linux/poll.hpp"
#include "fs/inode.hpp"
#include "fs/path.hpp"
#include "fs/user_memory.hpp"
#include "rt/mem/slab.hpp"

namespace lib {
struct StringBuilder;
}

namespace fs {

// Flags that act at open(2) and are not kept (F_GETFL does not show them).
// Internal: the last component is not followed, for it is to be made.
inline constexpr u32 kOpenOwnName = 1u << 31;
inline constexpr u32 kOpenOnce =
    kOpenCreate | kOpenExclusive | kOpenNoCtty | kOpenTruncate | kOpenCloexec | kOpenOwnName;
// Internal: reads and writes need to know the caller (job control of a terminal), so they are for tasks; or they
// are refused (access mode 3).
inline constexpr u32 kOpenTaskOnly = 1u << 30;
// Internal: open for writing without being counted as a writer, so that the file may be executed (memfd_create).
inline constexpr u32 kOpenUncounted = 1u << 29;
// Internal: vectors may be transferred element by element (File::by_element), which is for a task.
inline constexpr u32 kOpenByElement = 1u << 28;
inline constexpr u32 kOpenInternal = kOpenTaskOnly | kOpenUncounted | kOpenByElement;
// What a program is not shown: those, and what only the opener of a disk looks at.
inline constexpr u32 kOpenHidden = kOpenInternal | kOpenExclusive;

// Not a bit of poll(2): the answer takes a task (File::poll() of an epoll set).
inline constexpr u32 kPollLong = 1u << 31;

struct OpenContext {
    Path path;
    u32 flags = 0;
    const Creds* creds = nullptr;
    class Tty* terminal = nullptr;  // the caller's controlling terminal: /dev/tty
    const void* caller = nullptr;   // the opener, as LookupContext::caller; null: the kernel
    // Called for a terminal that was opened for reading: it may become the caller's. Null: it does not (O_NOCTTY).
    void (*terminal_opened)(class Tty& tty, const void* caller) = nullptr;
};

// Where a call reads or writes: at the shared offset, or at an explicit one (pread).
inline constexpr u64 kAtOffset = ~u64{0};
// Writes: the end of the file, whatever its flags say. The position stays, or (kAtEndMoves) is after the bytes written.
inline constexpr u64 kAtEnd = ~u64{1}, kAtEndMoves = ~u64{2};
// Where the rest of a transfer to `offset` goes after `done` bytes.
constexpr u64 offset_after(u64 offset, u64 done) { return offset >= kAtEndMoves ? offset : offset + done; }

// Queues that a poller or a blocked reader must watch; filled by File::queues(). Each queue's sequence is noted as it
// is added, so queues() is called before the condition is checked (rt/wait.hpp).
class QueueSet {
public:
    static constexpr u32 kUsual = 3;  // most files have no more
    QueueSet(rt::Waiter* room, u32 capacity) : room_(room), capacity_(capacity) {}
    void add(rt::WaitQueue& q) {
        if (count_ < capacity_) {
            room_[count_].queue = &q;
            room_[count_].seen = q.sequence();
        }
        ++count_;
    }
    u32 count() const { return count_; }  // may exceed the room: then provide more and call again
    bool complete() const { return count_ <= capacity_; }

private:
    rt::Waiter* room_;
    u32 capacity_;
    u32 count_ = 0;
};

class Tty;

// Who is told of a file by signals (fcntl(2), F_SETOWN). What the numbers mean is known to linux/sys/file_owner.cpp.
struct FileOwner {
    enum class Kind : u8 { kNobody, kThread, kProcess, kGroup } kind = Kind::kNobody;
    i32 number = 0;
    u64 serial = 0;         // of what the number named when it was given; 0: nothing
    u32 uid = 0, euid = 0;  // whose wish it was
    u32 signal = 0;         // F_SETSIG; 0: SIGIO
};

extern rt::SpinLock<rt::Rank::poll> epoll_lock;  // of all epoll sets (epoll.hpp)

// Lets a call on a particular type of file check before it casts.
enum class FileKind : u8 { kOther, kPipe, kStream, kTerminal, kEpoll, kTimer, kEvent, kSignal, kBlock };

class File : public RefCounted<File> {
public:
    File(Path path, u32 flags) : path_(std::move(path)), inode_(path_.inode()), flags_(flags) {}
    // A file without a name: pipe, eventfd... path() is empty, label() says what it is.
    File(Ref<Inode> nameless, u32 flags) : nameless_(std::move(nameless)), inode_(nameless_.get()), flags_(flags) {}
    virtual ~File();
    static void last_ref(File* f);
    // The last reference has gone: what others wait for happens now, if the object itself lasts a little longer.
    virtual void hang_up() {}

    Inode* inode() const { return inode_; }
    const Path& path() const { return path_; }
    // The one that it was opened through; of a file without a name the internal one of its file system.
    Mount& mount() const { return path_ ? *path_.mount : *inode_->super->internal_mount; }
    u32 flags() const { return flags_.load(std::memory_order_relaxed); }
    void set_flags(u32 f) { flags_.store(f, std::memory_order_relaxed); }
    // The fourth access mode, 3, is neither.
    bool readable() const { return (flags() & (1 | kOpenPath)) == 0; }
    bool writable() const { return ((flags() + 1) & 2) != 0 && !(flags() & kOpenPath); }
    bool nonblocking() const { return (flags() & kOpenNonblock) != 0; }

    // Bytes transferred; short counts are success; 0 from a read is end of file.
    // kNeedsTask: nothing there (room) now: wait on queues(kPollIn / kPollOut) or a device. kNeedsFault: see above.
    // kAgain is never returned here: the caller turns kNeedsTask into it for non-blocking files.
    // Mode checks (readable/writable, EBADF) are the caller's.
    virtual Leaf<size_t> try_read(const UserSpans& to, u64 offset) { return Errno::kInval; }
    virtual Leaf<size_t> try_write(const UserSpans& from, u64 offset) { return Errno::kInval; }
    // A blocking file that takes whole writes (pipe, stream, terminal: writes_all) writes all in try_write, or returns
    // kNeedsTask; this form takes what fits now (at least a byte, or kNeedsTask), and the caller continues with the
    // rest.
    virtual Leaf<size_t> try_write_some(const UserSpans& from, u64 offset) { return try_write(from, offset); }
    virtual bool writes_all() const { return false; }  // a blocking write continues until all is written
    // If only a prefix of the user's buffer is accessible, it is used rounded down to this (Linux: pipes copy by
    // pages).
    virtual u64 copy_granule() const { return 1; }
    // Not 0: reads (writes) are done in pieces of at most so many bytes, in a task if there are several, and a pending
    // signal ends one with the count so far; so does the first piece that is short, if its memory cannot be provided.
    virtual u64 piece_size(bool write) const { return 0; }
    // A read or write has ended with EFAULT: what Linux has changed by then (eventfd(2) has given its value away).
    // `size`: of what was left of the buffer.
    virtual void buffer_failed(void* caller, bool write, u64 size) {}
    // readv(2), writev(2): each element is a read or write of its own (Linux: no read_iter, write_iter), not the
    // vector.
    virtual bool by_element(bool write) const { return false; }
    // For files that depend on the caller (a signalfd gives each reader its own signals): used by tasks.
    // `caller`: as in LookupContext.
    virtual Leaf<size_t> read_for(void* caller, const UserSpans& to, u64 offset) { return try_read(to, offset); }
    virtual Leaf<size_t> write_for(void* caller, const UserSpans& from, u64 offset) {
        return try_write_some(from, offset);
    }
    virtual u32 poll_for(void* caller) { return poll(); }
    virtual void queues_for(void* caller, u32 events, QueueSet& out) { queues(events, out); }
    // kNeedsTask: a search for data or a hole is long. The caller searches in the inode's mapping.
    virtual Leaf<u64> seek(i64 offset, u32 whence) { return Errno::kSPipe; }
    virtual Leaf<u64> read_directory(DirSink& sink) { return Errno::kNotDir; }
    virtual Leaf<u64> ioctl(class UserMemory& user, u32 request, u64 argument) { return Errno::kNoTty; }
    virtual Leaf<void> sync() { return Errno::kInval; }
    virtual bool seekable() const { return false; }
    virtual bool writes_at_offset() const { return seekable(); }  // pwrite(2); else ESPIPE
    // May sendfile(2) read it? (Linux: splice_read.)
    virtual bool splices() const { return inode_->is_regular(); }

    // What poll(2) would report now, and which queues change it.
    virtual u32 poll() { return kPollIn | kPollOut | kPollRdNorm | kPollWrNorm; }
    virtual void queues(u32 events, QueueSet& out) {}
    // Has a poll operation of its own; others are always ready, and epoll refuses them (epoll_ctl(2), EPERM).
    virtual bool pollable() const { return false; }
    // The first time after `after` at which time alone will change that (timerfd).
    virtual Nanoseconds wake_time(Nanoseconds after) { return Nanoseconds::never(); }
    // A read that begins now ends then, with nothing (a terminal's VTIME).
    virtual Nanoseconds read_deadline() { return Nanoseconds::never(); }

    FileKind kind() const { return kind_; }
    virtual Tty* terminal() { return nullptr; }
    // What /proc/PID/fd shows for a file without a name: "pipe:[12]", "anon_inode:[eventfd]".
    virtual std::string_view label(std::span<char> buffer) { return "anon_inode:"; }

    // What /proc/PID/fdinfo says beyond that of all files: some lines, from `at` (0: the first) on. True: there are more.
    virtual bool show_info(lib::StringBuilder& out, u64& at) { return false; }

    // mmap: the page cache to map, or an error (kNoDev). `anonymous`: /dev/zero, map as anonymous memory.
    struct MapSource {
        Ref<Mapping> mapping;
        bool anonymous = false;
    };
    virtual Leaf<MapSource> map_source() { return Errno::kNoDev; }

    // Called when a descriptor for this file is closed (flock, POSIX locks).
    virtual void on_close(const void* owner) {}

    union {
        struct EpollItem* watchers RT_GUARDED_BY(epoll_lock) = nullptr;  // epoll sets it is in
        File* next_ended;  // after its end, when it has left them (EpollFile::delete_unless_held())
    };
    struct EpollHold* holds RT_GUARDED_BY(epoll_lock) = nullptr;  // of waiters on sets (epoll.hpp)
    // After the last reference, without the lock: is there anything that the lock is to be taken for?
    bool watched() const RT_UNCHECKED_LOCKING { return watchers != nullptr || holds != nullptr; }

    rt::SpinLock<rt::Rank::file> offset_lock;
    u64 offset RT_GUARDED_BY(offset_lock) = 0;
    FileOwner* owner RT_GUARDED_BY(offset_lock) = nullptr;  // made when one is first set, the file's own
    u64 position() RT_EXCLUDES(offset_lock) {
        rt::LockGuard guard{offset_lock};
        return offset;
    }
    void set_position(u64 to) RT_EXCLUDES(offset_lock) {
        rt::LockGuard guard{offset_lock};
        offset = to;
    }

protected:
    FileKind kind_ = FileKind::kOther;  // set by the constructor of a type that calls check for
    Path path_;
    Ref<Inode> nameless_;
    Inode* inode_;
    std::atomic<u32> flags_;
};

// A new open file: kNoMem.
template <class T, class... A>
Result<Ref<File>> make_file(A&&... args) {
    File* f = rt::make<T>(std::forward<A>(args)...);
    if (!f) [[unlikely]]
        return Errno::kNoMem;
    return Ref<File>::adopt(f);
}

}  // namespace fs
