// SPDX-License-Identifier: MIT
// Pipes and FIFOs (pipe(7), fifo(7)): a ring of pages between writers and readers.
//
// As in Linux a pipe is a ring of slots, one page each, and a write smaller than a page is appended to the last slot if
// it fits there as a whole: so writes of up to PIPE_BUF bytes are atomic, and the capacity a program sees is Linux's.
// Lock: Rank::pipe guards all of a Pipe but its queues. Pages belong to the ring alone and are freed when drained.
#pragma once
#include "fs/file.hpp"
#include "rt/reclaim.hpp"

namespace fs {

inline constexpr u32 kPipeSlots = 16;         // of a new pipe: 64 KiB
inline constexpr u32 kPipeFewSlots = 2;       // of a new pipe of a user with too many
inline constexpr u32 kPipeMostSlots = 65536;  // of any: 256 MiB

// What users without privileges may have (pipe(7), "/proc files"); /proc/sys/fs/pipe-*. Relaxed.
struct PipeLimits {
    std::atomic<u64> max_bytes{1048576};                // of one pipe, without CAP_SYS_RESOURCE
    std::atomic<u64> soft_pages{16384}, hard_pages{0};  // of all pipes of one user; 0: no limit
};
extern PipeLimits pipe_limits;
// The room of a pipe that is to hold `bytes`: a power of two of pages. 0: too large.
u64 pipe_room(u64 bytes);

class Pipe : public RefCounted<Pipe> {
public:
    ~Pipe();
    Leaf<size_t> read(const UserSpans& to);
    // `whole`: kNeedsTask if not all of it fits now.
    Leaf<size_t> write(const UserSpans& from, bool whole, bool packet);
    // A write that would have begun a page has failed with EFAULT: as in Linux the page is taken all the same. It is empty; a
    // read passes over it, but an empty packet is read as 0.
    void write_failed(size_t size, bool packet);
    // Would a read have to wait? Checked without the lock: note the sequence of `readable` before.
    bool must_wait_to_read() const { return head_ == tail_ && writers_ != 0; }
    u32 buffered();  // FIONREAD
    u32 capacity();  // bytes
    Result<u32> set_capacity(u64 bytes, const Creds& asker);
    // A new pipe's room is charged to its maker, and less if that has much. kNFile: more than the hard limit.
    Result<void> charge_new(const Creds& maker);
    u32 poll(bool reader, bool writer, u64 writers_seen);

    void add_end(bool reader, bool writer);
    // Another end by way of /proc/PID/fd. If none is open, it is as if `opener` made a new pipe; kNoMem: he may not.
    Result<void> reopen(const Creds* opener, bool reader, bool writer);
    void remove_end(bool reader, bool writer);

    rt::WaitQueue readable, writable;        // woken when data came or the last writer went; room, or the last reader
    rt::WaitQueue reader_came, writer_came;  // an end was opened: open(2) of a FIFO waits for the other kind
    // How many ends were ever opened: a FIFO's open waits for the other's to change, poll's hang-up needs one since.
    std::atomic<u64> readers_ever{0}, writers_ever{0};

private:
    friend class PipeFile;
    friend struct FifoOpen;
    static constexpr u8 kMostEmpty = 16;  // slots without data in a row: a read goes over them at a stretch
    struct Slot {
        PhysAddr frame{};
        u16 offset = 0, length = 0;
        bool packet = false;  // O_DIRECT: read as one, never appended to
        u8 empty = 0;         // without data: how many of them follow one another, up to this
        std::byte* bytes() const { return static_cast<std::byte*>(rt::frame_info(frame).bytes()); }
    };
    Slot& slot(u32 n) RT_REQUIRES(lock_) { return slots_[n & (slot_count_ - 1)]; }
    // Written under the lock, relaxed; poll() looks without it. What it may miss, the queues tell.
    struct Counter {
        std::atomic<u32> value{0};
        operator u32() const { return value.load(std::memory_order_relaxed); }  // NOLINT
        void operator=(u32 v) { value.store(v, std::memory_order_relaxed); }
        void operator+=(u32 n) { *this = *this + n; }
        void operator-=(u32 n) { *this = *this - n; }
    };
    // One page is kept for the next write.
    Result<PhysAddr> take_page() RT_REQUIRES(lock_) {
        if (spare_.value != 0) return std::exchange(spare_, PhysAddr{});
        return rt::alloc_frame();
    }
    void give_page(PhysAddr frame) RT_REQUIRES(lock_) {
        if (spare_.value == 0)
            spare_ = frame;
        else
            rt::free_frame(frame);
    }
    void refund() RT_REQUIRES(lock_);
    Result<void> charge_new_locked(const Creds& maker) RT_REQUIRES(lock_);
    void add_end_locked(bool reader, bool writer) RT_REQUIRES(lock_);
    // Nothing is in the ring, and it is the first one.
    bool is_new() const RT_REQUIRES(lock_) { return head_ == tail_ && slots_ == first_slots_; }
    void resize_first(u32 slots) RT_REQUIRES(lock_) {
        __atomic_store_n(&slot_count_, slots, __ATOMIC_RELAXED);  // for seems_full()
        head_ = 0;
        tail_ = 0;
    }
    [[gnu::cold]] bool drop_empty() RT_REQUIRES(lock_);
    void expect_rest(const UserSpans& to, size_t done, u32 n) RT_REQUIRES(lock_);
    bool seems_full() const RT_UNCHECKED_LOCKING {  // for poll()
        return head_ - tail_ >= __atomic_load_n(&slot_count_, __ATOMIC_RELAXED);
    }
    bool full() const RT_REQUIRES(lock_) { return head_ - tail_ >= slot_count_; }

    rt::SpinLock<rt::Rank::pipe> lock_;
    Counter head_, tail_;  // slots [tail, head) hold data
    u32 slot_count_ RT_GUARDED_BY(lock_) = kPipeSlots;
    Counter readers_, writers_;
    u32 files_ RT_GUARDED_BY(fifo_lock) = 0;  // of a FIFO
    // All ends are closed: what is left in the ring is dropped, and a ring of another size with it. (The pipe's inode
    // lives an epoch longer, and another end may come by way of /proc/PID/fd: it finds the pipe empty, as in Linux.)
    void empty_ring();
    static rt::Reclaimable* reclaim_step(rt::Reclaimable& r, u64 most);
    // A large ring whose frames are reclaimed later; until then the pipe has its first one, and is referenced.
    struct Left {
        std::atomic<Slot*> slots{nullptr};  // null: there is none. Release by the reclaimer, acquire under the lock.
        u32 slot_count = 0, head = 0, tail = 0;
        rt::Reclaimable reclaim;
    } left_;
    PhysAddr spare_ RT_GUARDED_BY(lock_){};
    Ref<UserAccount> payer_;                // null: not charged
    u32 charged_ RT_GUARDED_BY(lock_) = 0;  // pages; 0 while no end is open
    Slot* slots_ RT_GUARDED_BY(lock_) = first_slots_;
    Slot first_slots_[kPipeSlots];
};

class PipeFile : public File {
public:
    PipeFile(Ref<Pipe> pipe, Ref<Inode> nameless, u32 flags);  // pipe(2)
    // Of a pipe (not a FIFO) by way of /proc/PID/fd: reopen() has counted the end.
    PipeFile(Ref<Pipe> pipe, Path path, u32 flags, bool fifo);
    ~PipeFile() override;
    void hang_up() override;
    Pipe& pipe() { return *pipe_; }

    Leaf<size_t> try_read(const UserSpans& to, u64 offset) override;
    Leaf<size_t> try_write(const UserSpans& from, u64 offset) override;
    Leaf<size_t> try_write_some(const UserSpans& from, u64 offset) override;
    bool writes_all() const override { return true; }
    u64 copy_granule() const override { return kPageSize; }
    void buffer_failed(void* caller, bool write, u64 size) override;
    Leaf<u64> ioctl(UserMemory& user, u32 request, u64 argument) override;
    u32 poll() override;
    void queues(u32 events, QueueSet& out) override;
    bool pollable() const override { return true; }
    std::string_view label(std::span<char> buffer) override;

private:
    friend struct FifoOpen;
    Ref<Pipe> pipe_;
    bool fifo_ = false, hung_up_ = false;
    u64 writers_seen_ = ~u64{0};  // a FIFO's reader: no hang-up before a writer has come
};

// With a name: reading and writing change its times.
class FifoFile final : public PipeFile {
public:
    FifoFile(Ref<Pipe> pipe, Path path, u32 flags) : PipeFile(std::move(pipe), std::move(path), flags, true) {}
    Leaf<size_t> try_read(const UserSpans& to, u64 offset) override;
    Leaf<size_t> try_write(const UserSpans& from, u64 offset) override;
    Leaf<size_t> try_write_some(const UserSpans& from, u64 offset) override;

private:
    Leaf<size_t> written(Leaf<size_t> n);
};

// pipe2(2): the two ends. kOpenNonblock and kOpenDirect of `flags` count.
struct PipeEnds {
    Ref<File> read, write;
};
Result<PipeEnds> make_pipe(u32 flags, const Creds& owner);

// Opening a FIFO by name. The leaf yields kNeedsTask, having changed nothing, if it must wait for the other end: then
// the task below, which is seen by the other end while it waits. ENXIO: non-blocking writer without a reader.
Leaf<Ref<File>> open_fifo(OpenContext& how, Inode& inode);
Task<Result<Ref<File>>> open_fifo_wait(OpenContext how, Ref<Inode> inode);

}  // namespace fs
