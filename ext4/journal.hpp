// SPDX-License-Identifier: MIT
// Transactions and the journal (jbd2). A change of metadata runs in a handle, which belongs to the running transaction; all of a
// transaction's blocks reach the disk or none. Blocks are changed in memory; a commit writes them to the log, a checkpoint later
// to their places, from where the log's space is free again.
//
//   running --commit()--> committing --log, flush, commit block, flush--> checkpointing --places, flush, tail--> gone
//
// Invariants: no block is written to its place before its transaction is in the log (copies are written, so that a later
// transaction may change it at the same time). A block that a transaction frees is not used again before that transaction is
// committed, and is revoked in it if it was metadata. File contents are on the disk before the transaction that maps them:
// writers wait for them first (write.hpp). States of buffers and transactions: BufferCache::lock. The log itself, commits and
// checkpoints: log_lock_, a sleeping lock that is taken without a handle.
#pragma once
#include "ext4/volume.hpp"
#include "lib/tree.hpp"

namespace ext4 {

class Journal;

// Blocks that must not be handed out: freed by a transaction that is not committed yet, or being written before they are mapped.
struct BusyExtent {
    BlockNo start = 0;
    u32 count = 0;
    lib::TreeHook tree;  // Allocator
    lib::ListHook list;  // Transaction::freed
};

struct RevokeRecord {
    BlockNo block;
    lib::ListHook hook;
};

struct Transaction {
    u32 number = 0;
    bool locked = false;  // it takes no more handles
    u32 handles = 0;
    u32 reserved = 0;  // blocks that its handles may still add
    u32 blocks = 0;    // in `buffers` or `logging`
    u32 revoke_count = 0;
    u32 log_begin = 0, log_blocks = 0;  // where it is in the log
    lib::ListHook hook;                 // Journal::checkpointing_
    lib::List<Buffer, &Buffer::running_hook> buffers;
    lib::List<Buffer, &Buffer::running_hook> forgotten;
    lib::List<Buffer, &Buffer::committing_hook> logging;
    lib::List<Buffer, &Buffer::committing_hook> logging_forgotten;
    lib::List<Buffer, &Buffer::checkpoint_hook> checkpoint;
    lib::List<RevokeRecord, &RevokeRecord::hook> revokes;
    lib::List<BusyExtent, &BusyExtent::list> freed;
};

// The right to change metadata, up to so many blocks. It ends with the object, in the coroutine that has it or in another one.
class Handle {
public:
    Handle(Volume& v, Journal* j, Transaction* t, u32 credits)
        : volume(v), journal_(j), transaction_(t), credits_(credits) {}
    // Without a journal.
    Handle(Volume& v, rt::AsyncMutex::Guard alone)
        : volume(v), journal_(nullptr), transaction_(nullptr), credits_(0), alone_(std::move(alone)) {}
    Handle(Handle&& o) noexcept
        : volume(o.volume),
          journal_(o.journal_),
          transaction_(std::exchange(o.transaction_, nullptr)),
          credits_(o.credits_),
          alone_(std::move(o.alone_)) {}
    Handle(const Handle&) = delete;
    ~Handle() { end(); }
    void end();
    Volume& volume;

    // The block will be changed: call it before the change. kNoMem; kRoFs after a failure; nothing has changed then.
    Result<void> change(Buffer& b);
    // A block of metadata that is free now. `b`: its buffer, if it is in memory. kNoMem.
    Result<void> forget(BlockNo block);
    // The transaction that the changes are part of; 0 without a journal.
    u32 transaction_number() const { return transaction_ ? transaction_->number : 0; }
    Transaction* transaction() const { return transaction_; }

private:
    Journal* journal_;
    Transaction* transaction_;
    u32 credits_;
    rt::AsyncMutex::Guard alone_;
};

class Journal {
public:
    explicit Journal(Volume& v) : volume_(v), writer_(v.disk) {}
    ~Journal();
    Journal(const Journal&) = delete;

    // Reads the journal's inode, its map and its superblock. kUClean, kOpNotSupp with `report`, kIo, kNoMem.
    Task<Result<void>> open(MountReport& report);
    // Whether there is something in the log.
    bool needs_replay() const { return super_->start != 0; }
    // Writes what the log holds to its places, flushes and empties the log. Buffers in memory are out of date afterwards.
    Task<Result<void>> replay(MountReport& report);
    // The log is empty: prepares it for writing. Before the first handle.
    Task<Result<void>> begin(MountReport& report);

    // Waits until there is room. `credits`: at most most_credits(). kRoFs after a failure; kNoMem.
    Task<Result<Handle>> start(u32 credits);
    u32 most_credits() const { return most_in_transaction_ / 2; }
    // Until this transaction is durable. 0: at once.
    Task<Result<void>> commit(u32 number);
    // The same of all changes so far.
    Task<Result<void>> commit_all();
    // Everything is in its place, and the log is empty.
    Task<Result<void>> checkpoint_all();
    // The log on the disk says that it is empty. After checkpoint_all(), before the volume is marked clean.
    Task<Result<void>> finish();
    void abort(const char* what);

private:
    friend class Handle;
    friend class Replay;
    struct MapRun {
        u32 logical, count;
        BlockNo block;
    };
    u32 tag_bytes() const;
    bool has_csum() const { return features_ & (kJournalCsumV2 | kJournalCsumV3); }
    u32 log_size() const { return end_ - first_; }
    u32 advance(u32 at, u32 n) const { return first_ + (at - first_ + n) % log_size(); }
    BlockNo log_block(u32 at) const;  // 0: beyond the map
    u32 super_checksum() const;
    u32 space_for(u32 blocks, u32 revokes) const;
    u32 free_space_locked() const;
    Task<Result<void>> read_map(Inode& i);
    Result<void> check_super(MountReport& report);
    Task<Result<void>> write_super(u32 start, u32 sequence);
    Task<Result<void>> make_space();
    Task<Result<void>> commit_locked();
    Task<Result<void>> lock_down(Transaction& t);
    Task<Result<void>> write_revokes(Transaction& t);
    Task<Result<void>> write_blocks(Transaction& t);
    Task<Result<void>> write_commit_block(Transaction& t);
    Task<Result<void>> finish_batch();
    Task<Result<void>> flush_disk();
    Task<Result<void>> finish_commit(Transaction& t, bool ok);
    Task<Result<void>> checkpoint_oldest();
    Task<Result<void>> checkpoint_buffers(Transaction& t);
    std::byte* next_log_block(Transaction& t, u32 type);
    void drop_transaction(Transaction* t);

    Volume& volume_;
    rt::AsyncMutex log_lock_;
    BlockWriter writer_;                        // log_lock_
    Buffer* written_[BlockWriter::kMost] = {};  // of a checkpoint: log_lock_
    RawJournalSuper* super_ = nullptr;          // a block of its own
    MapRun* map_ = nullptr;
    u32 map_count_ = 0, map_room_ = 0;
    u32 features_ = 0, seed_ = 0;
    u32 first_ = 0, end_ = 0;  // the log's blocks
    u32 head_ = 0;             // where the next one is written: log_lock_
    u32 used_ = 0;             // from the tail to the head: both locks
    u32 most_in_transaction_ = 0;
    std::atomic<bool> aborted_{false};
    // BufferCache::lock:
    Transaction* running_ = nullptr;
    Transaction* committing_ = nullptr;
    u32 next_number_ = 1;
    u32 committed_ = 0;
    lib::List<Transaction, &Transaction::hook> checkpointing_;  // oldest first
    rt::WaitQueue changed_;
};

// A handle on any volume: without a journal it only allows changes. kRoFs, kNoMem.
Task<Result<Handle>> start(Volume& v, u32 credits);

}  // namespace ext4
