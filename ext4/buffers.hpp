// SPDX-License-Identifier: MIT
// The metadata blocks of a volume in memory. A Buffer is one block: found by number, held by references, read once, and kept
// while it is not written to its place. Blocks without references that are on the disk as they are form the LRU list.
//
// One spinlock (Rank::disk_blocks) guards the states of all buffers and what the journal does with them (journal.hpp); the
// bytes are guarded by the lock of what they describe: the inode's, the allocator's. File contents are never in here.
#pragma once
#include "ext4/io.hpp"
#include "lib/list.hpp"
#include "rt/spinlock.hpp"

namespace ext4 {

class BufferCache;
struct Transaction;

using BlocksLock = rt::SpinLock<rt::Rank::disk_blocks>;

struct Buffer {
    Buffer(BufferCache& c, BlockNo b) : cache(c), block(b) {}
    BufferCache& cache;
    const BlockNo block;
    std::byte* data = nullptr;
    // As what the checksum was verified since the block was read (kind and owner); 0: not yet. Only the checksum: the
    // structure is checked at each use, because a damaged volume may use a block twice. Relaxed: a lost value costs time only.
    std::atomic<u64> verified{0};

    template <class T>
    T* as(u32 offset = 0) {
        return reinterpret_cast<T*>(data + offset);
    }

    // All below: BufferCache::lock.
    enum Flags : u8 {
        kUpToDate = 1,
        kReading = 2,
        kDirty = 4,      // without a journal: to be written to its place
        kForgotten = 8,  // freed by the running or committing transaction
        kLogged = 16,    // its content for the committing transaction is in the log
        kOrphaned = 32,  // no longer in the table; goes with its last reference
    };
    u8 flags = 0;
    u32 refs = 0;
    u32 writes = 0;  // of it to its place, in flight
    lib::ListHook hash_hook;
    lib::ListHook list_hook;        // LRU or dirty
    lib::ListHook running_hook;     // Transaction::buffers or ::forgotten of the running transaction
    lib::ListHook committing_hook;  // the same of the committing one
    lib::ListHook checkpoint_hook;
    Transaction* running = nullptr;     // will be committed with it
    Transaction* committing = nullptr;  // is being committed with it
    Transaction* checkpoint = nullptr;  // is in the log with it, and not yet in its place
    std::byte* frozen = nullptr;  // what the committing transaction writes, if the running one has changed the block
    bool busy() const { return (flags & kDirty) || running || committing || checkpoint; }
};

// A reference to a buffer.
class BufferRef {
public:
    constexpr BufferRef() = default;
    static BufferRef adopt(Buffer* b) {
        BufferRef r;
        r.b_ = b;
        return r;
    }
    BufferRef(const BufferRef& o);
    BufferRef(BufferRef&& o) noexcept : b_(std::exchange(o.b_, nullptr)) {}
    BufferRef& operator=(BufferRef o) noexcept {
        std::swap(b_, o.b_);
        return *this;
    }
    ~BufferRef() {
        if (b_) release();
    }
    Buffer* get() const { return b_; }
    Buffer* operator->() const { return b_; }
    Buffer& operator*() const { return *b_; }
    explicit operator bool() const { return b_ != nullptr; }

private:
    void release();
    Buffer* b_ = nullptr;
};

class BufferCache {
public:
    explicit BufferCache(Disk& disk) : disk_(disk) {}
    ~BufferCache();
    BufferCache(const BufferCache&) = delete;
    // kNoMem. `blocks`: the size of the volume; `most`: buffers kept when they are not needed.
    Result<void> start(BlockNo blocks, u32 most);
    void set_blocks(BlockNo n) { blocks_ = n; }

    // A block that is in memory; empty otherwise. Never blocks.
    BufferRef find(BlockNo block);
    // kUClean: no such block; kIo; kNoMem.
    Task<Result<BufferRef>> read(BlockNo block);
    // A new block, full of zeros: nothing is read. kUClean, kNoMem.
    Task<Result<BufferRef>> fresh(BlockNo block);
    // A content that need not reach the disk any more (volumes without a journal).
    void discard(Buffer& b);
    // Volumes without a journal: it differs from the disk.
    void mark_dirty(Buffer& b);
    // Writes all dirty buffers. The first error; those blocks stay dirty.
    Task<Result<void>> write_dirty();
    // Frees up to `n` buffers without references. Returns how many. From any CPU.
    u32 shrink(u32 n);
    // Forgets all that is not in use (after a replay, which writes around the cache).
    void drop_clean() { shrink(~0u); }
    u32 count() const { return count_.load(std::memory_order_relaxed); }

    BlocksLock lock;
    void ref_locked(Buffer& b) RT_REQUIRES(lock);
    // True: the caller destroys the buffer after it has released the lock.
    bool unref_locked(Buffer& b) RT_REQUIRES(lock);
    void unref(Buffer& b);
    // Its state has changed: it may belong into the LRU list now.
    void settle_locked(Buffer& b) RT_REQUIRES(lock);
    // Takes it out of the table: a later user of the block gets another buffer.
    void orphan_locked(Buffer& b) RT_REQUIRES(lock);
    void destroy(Buffer* b);
    Disk& disk() { return disk_; }

private:
    Buffer* lookup_locked(BlockNo block) RT_REQUIRES(lock);
    // The block's buffer with a reference, new if need be.
    Result<Buffer*> obtain(BlockNo block);
    Task<Result<void>> wait_while_reading(Buffer& b);
    struct Bucket {
        lib::List<Buffer, &Buffer::hash_hook> list;
    };
    static constexpr u32 kBuckets = 1024;
    Bucket& bucket(BlockNo block) RT_REQUIRES(lock) { return buckets_[(block * 0x9e3779b97f4a7c15) >> 54]; }
    Disk& disk_;
    BlockNo blocks_ = 0;
    u32 most_ = 0;
    rt::Atomic<u32> count_{0};
    Bucket* buckets_ RT_PT_GUARDED_BY(lock) = nullptr;
    lib::List<Buffer, &Buffer::list_hook> lru_ RT_GUARDED_BY(lock);  // oldest first
    lib::List<Buffer, &Buffer::list_hook> dirty_ RT_GUARDED_BY(lock);
    rt::WaitQueue read_;
};

}  // namespace ext4
