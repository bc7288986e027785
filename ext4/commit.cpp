// SPDX-License-Identifier: MIT
// Commits and checkpoints. All functions run with log_lock_ held.
#include <algorithm>
#include <cstddef>
#include <cstring>

#include "ext4/allocate.hpp"
#include "ext4/journal.hpp"

namespace ext4 {

namespace {

constexpr u32 kPiece = 64;  // buffers in one stretch with the lock

u32 tail_bytes(bool csum) { return csum ? sizeof(Be32) : 0; }

}  // namespace

Task<Result<void>> Journal::flush_disk() {
    if (!volume_.disk.limits().has_flush) co_return lib::kOk;
    Batch batch{volume_.disk};
    Transfer t;
    t.prepare_flush();
    batch.start(t);
    while (!batch.ended()) co_await batch.change();
    co_return batch.error();
}

// Writes what is in the writer.
Task<Result<void>> Journal::finish_batch() {
    if (writer_.empty()) co_return lib::kOk;
    writer_.start();
    while (!writer_.batch().ended()) co_await writer_.batch().change();
    co_return writer_.reset();
}

std::byte* Journal::next_log_block(Transaction& t, u32 type) {
    std::byte* memory = writer_.add(log_block(head_));
    head_ = advance(head_, 1);
    ++t.log_blocks;
    if (type == 0) return memory;
    std::memset(memory, 0, volume_.geo.block_bytes);
    auto* h = reinterpret_cast<RawJournalHeader*>(memory);
    h->magic = kJournalMagic;
    h->type = type;
    h->sequence = t.number;
    return memory;
}

// No handle is left in it, and its buffers belong to the commit.
Task<Result<void>> Journal::lock_down(Transaction& t) {
    BufferCache& cache = volume_.cache;
    for (;;) {
        const u32 seen = changed_.sequence();
        {
            rt::LockGuard guard{cache.lock};
            t.locked = true;
            if (t.handles == 0) break;
        }
        rt::WaitOn wait = rt::wait_on(changed_, seen, "ext4: handles of a transaction");
        wait.uninterruptible();
        (void)co_await wait;
    }
    for (bool more = true; more;) {
        {
            rt::LockGuard guard{cache.lock};
            u32 n = 0;
            for (; n < kPiece; ++n) {
                Buffer* b = t.buffers.pop_front();
                if (!b) break;
                b->running = nullptr;
                b->committing = &t;
                b->flags &= u8(~Buffer::kLogged);
                t.logging.push_back(*b);
            }
            for (; n < kPiece; ++n) {
                Buffer* b = t.forgotten.pop_front();
                if (!b) break;
                b->running = nullptr;
                b->committing = &t;
                t.logging_forgotten.push_back(*b);
            }
            more = n == kPiece;
            if (!more) {
                committing_ = &t;
                running_ = nullptr;
            }
        }
        if (more) co_await rt::Yield{};
    }
    changed_.wake_all();
    co_return lib::kOk;
}

Task<Result<void>> Journal::write_revokes(Transaction& t) {
    const u32 bytes = volume_.geo.block_bytes - tail_bytes(has_csum());
    const u32 each = features_ & kJournal64Bit ? sizeof(Be64) : sizeof(Be32);
    while (!t.revokes.empty()) {
        auto* memory = next_log_block(t, kRevokeBlock);
        auto* h = reinterpret_cast<RawJournalRevoke*>(memory);
        u32 at = sizeof *h;
        for (; at + each <= bytes; at += each) {
            RevokeRecord* r = t.revokes.pop_front();
            if (!r) break;
            if (each == sizeof(Be64))
                *reinterpret_cast<Be64*>(memory + at) = r->block;
            else
                *reinterpret_cast<Be32*>(memory + at) = u32(r->block);
            delete r;
        }
        h->bytes = at;
        if (has_csum()) *reinterpret_cast<Be32*>(memory + bytes) = crc32c(seed_, memory, volume_.geo.block_bytes);
        co_await rt::Yield{};
        if (writer_.full()) CO_TRY(EXT4_MUST(finish_batch()));
    }
    co_return EXT4_MUST(finish_batch());
}

namespace {

// One tag of a descriptor block.
void write_tag(std::byte* at, u32 features, BlockNo block, u32 flags, u32 checksum) {
    if (features & kJournalCsumV3) {
        auto* tag = reinterpret_cast<RawJournalTag3*>(at);
        tag->block_lo = u32(block);
        tag->block_hi = u32(block >> 32);
        tag->flags = flags;
        tag->checksum = checksum;
        return;
    }
    auto* tag = reinterpret_cast<RawJournalTag*>(at);
    tag->block_lo = u32(block);
    tag->flags = u16(flags);
    if (features & kJournal64Bit) tag->block_hi = u32(block >> 32);
}

}  // namespace

Task<Result<void>> Journal::write_blocks(Transaction& t) {
    BufferCache& cache = volume_.cache;
    const u32 bytes = volume_.geo.block_bytes;
    u32 written = 0;
    Buffer* b = nullptr;
    {
        rt::LockGuard guard{cache.lock};
        b = t.logging.front();
    }
    while (b) {
        // A descriptor and its blocks are one batch.
        std::byte* descriptor = next_log_block(t, kDescriptorBlock);
        std::byte* tag = descriptor + sizeof(RawJournalHeader);
        const std::byte* tags_end = descriptor + bytes - tail_bytes(has_csum());
        for (bool first = true; b && !writer_.full(); first = false) {
            const u32 uuid = first ? 16 : 0;
            if (tags_end - tag < i64(tag_bytes() + uuid)) break;
            std::byte* copy = next_log_block(t, 0);
            Buffer* next = nullptr;
            std::byte* frozen = nullptr;
            {
                rt::LockGuard guard{cache.lock};
                frozen = std::exchange(b->frozen, nullptr);
                if (!frozen) std::memcpy(copy, b->data, bytes);
                b->flags |= Buffer::kLogged;
                next = t.logging.next(*b);
            }
            if (frozen) {
                std::memcpy(copy, frozen, bytes);
                rt::deallocate(frozen, bytes);
            }
            u32 flags = (first ? 0 : u32{kTagSameUuid}) | (next ? 0 : u32{kTagLast});
            auto* magic = reinterpret_cast<Be32*>(copy);
            if (*magic == kJournalMagic) {  // it must not look like one of the log's own
                *magic = 0;
                flags |= kTagEscape;
            }
            if (!next || writer_.full() || tags_end - (tag + tag_bytes() + uuid) < i64(tag_bytes())) flags |= kTagLast;
            u32 checksum = 0;
            if (has_csum()) {
                Be32 sequence;
                sequence = t.number;
                checksum = crc32c(crc32c(seed_, &sequence, sizeof sequence), copy, bytes);
            }
            write_tag(tag, features_, b->block, flags, checksum);
            tag += tag_bytes();
            if (first) {
                std::memcpy(tag, super_->uuid, sizeof super_->uuid);
                tag += sizeof super_->uuid;
            }
            b = next;
            if (++written % 4 == 0) co_await rt::Yield{};  // a copy and two checksums each
        }
        if (has_csum()) *reinterpret_cast<Be32*>(descriptor + bytes - sizeof(Be32)) = crc32c(seed_, descriptor, bytes);
        CO_TRY(EXT4_MUST(finish_batch()));
    }
    co_return lib::kOk;
}

Task<Result<void>> Journal::write_commit_block(Transaction& t) {
    auto* commit = reinterpret_cast<RawJournalCommit*>(next_log_block(t, kCommitBlock));
    const Time now = volume_.now();
    commit->seconds = u64(now.seconds);
    commit->nanoseconds = now.nanoseconds;
    if (has_csum()) commit->checksum[0] = crc32c(seed_, commit, volume_.geo.block_bytes);
    CO_TRY(EXT4_MUST(finish_batch()));
    co_return EXT4_MUST(flush_disk());
}

Task<Result<void>> Journal::finish_commit(Transaction& t, bool ok) {
    BufferCache& cache = volume_.cache;
    for (bool more = true; more;) {
        Buffer* gone[kPiece];
        u32 gone_count = 0, n = 0;
        {
            rt::LockGuard guard{cache.lock};
            for (; n < kPiece; ++n) {
                Buffer* b = t.logging.pop_front();
                if (!b) break;
                b->committing = nullptr;
                const bool had = b->checkpoint != nullptr;
                if (had) b->checkpoint_hook.unlink();
                b->checkpoint = &t;
                t.checkpoint.push_back(*b);
                if (had) (void)cache.unref_locked(*b);  // not the last: the one of this transaction stays
            }
            for (; n < kPiece; ++n) {
                Buffer* b = t.logging_forgotten.pop_front();
                if (!b) break;
                b->committing = nullptr;
                if (b->checkpoint) {
                    b->checkpoint_hook.unlink();
                    b->checkpoint = nullptr;
                    (void)cache.unref_locked(*b);
                }
                cache.orphan_locked(*b);
                gone[gone_count++] = b;
            }
        }
        for (u32 i = 0; i < gone_count; ++i) cache.unref(*gone[i]);
        more = n == kPiece;
        if (more) co_await rt::Yield{};
    }
    while (volume_.allocator && volume_.allocator->release_freed(t, kPiece)) co_await rt::Yield{};
    {
        rt::LockGuard guard{cache.lock};
        committing_ = nullptr;
        used_ += t.log_blocks;
        checkpointing_.push_back(t);
        if (ok) committed_ = t.number;
    }
    changed_.wake_all();
    co_return lib::kOk;
}

Task<Result<void>> Journal::commit_locked() {
    Transaction* t = nullptr;
    {
        rt::LockGuard guard{volume_.cache.lock};
        t = running_;
    }
    if (!t) co_return lib::kOk;
    (void)EXT4_MUST(lock_down(*t));
    t->log_begin = head_;
    Result<void> r = EXT4_MUST(write_revokes(*t));
    if (r.ok()) r = EXT4_MUST(write_blocks(*t));
    if (r.ok()) r = EXT4_MUST(flush_disk());
    if (r.ok()) r = EXT4_MUST(write_commit_block(*t));
    if (!r.ok()) abort("the journal cannot be written");
    (void)EXT4_MUST(finish_commit(*t, r.ok()));
    co_return r;
}

// ---- Checkpoints ----

// Writes the transaction's blocks to their places. Those that the running one changes are skipped.
Task<Result<void>> Journal::checkpoint_buffers(Transaction& t) {
    BufferCache& cache = volume_.cache;
    const u32 bytes = volume_.geo.block_bytes;
    for (;;) {
        u32 n = 0;
        {
            rt::LockGuard guard{cache.lock};
            for (u32 looked = 0; !writer_.full() && looked < kPiece; ++looked) {
                Buffer* b = t.checkpoint.front();
                if (!b) break;
                b->checkpoint_hook.unlink();
                t.checkpoint.push_back(*b);
                if (b == written_[0] && n != 0) break;  // once around
                if (b->running) continue;
                std::memcpy(writer_.add(b->block), b->data, bytes);
                cache.ref_locked(*b);
                written_[n++] = b;
            }
        }
        if (n == 0) co_return lib::kOk;
        const auto r = EXT4_MUST(finish_batch());
        for (u32 i = 0; i < n; ++i) {
            Buffer& b = *std::exchange(written_[i], nullptr);
            {
                rt::LockGuard guard{cache.lock};
                if (r.ok() && b.checkpoint == &t) {
                    b.checkpoint_hook.unlink();
                    b.checkpoint = nullptr;
                    (void)cache.unref_locked(b);
                }
            }
            cache.unref(b);
        }
        if (!r.ok()) co_return r;
    }
}

// The oldest transaction's blocks are in their places, and its part of the log is free.
Task<Result<void>> Journal::checkpoint_oldest() {
    BufferCache& cache = volume_.cache;
    Transaction* t = nullptr;
    for (bool running = true; running;) {
        {
            rt::LockGuard guard{cache.lock};
            t = checkpointing_.front();
        }
        if (!t) co_return lib::kOk;
        auto r = EXT4_MUST(checkpoint_buffers(*t));
        if (!r.ok()) {
            abort("a block cannot be written to its place");
            co_return r;
        }
        {
            rt::LockGuard guard{cache.lock};
            running = !t->checkpoint.empty();
        }
        // What the running transaction has changed can be written when that is in the log; it is one of that one's then.
        if (running) CO_TRY(EXT4_MUST(commit_locked()));
    }
    CO_TRY(EXT4_MUST(flush_disk()));
    u32 tail = head_, number = 0;
    {
        rt::LockGuard guard{cache.lock};
        number = committed_ + 1;
        if (Transaction* next = checkpointing_.next(*t)) {
            tail = next->log_begin;
            number = next->number;
        }
    }
    auto r = EXT4_MUST(write_super(tail, number));
    if (!r.ok()) {
        abort("the journal's superblock cannot be written");
        co_return r;
    }
    {
        rt::LockGuard guard{cache.lock};
        t->hook.unlink();
        used_ -= t->log_blocks;
    }
    delete t;
    changed_.wake_all();
    co_return lib::kOk;
}

Task<Result<void>> Journal::make_space() {
    auto guard = CO_TRY(co_await log_lock_.lock());
    if (aborted_.load(std::memory_order_relaxed)) co_return Errno::kRoFs;
    bool any = false;
    {
        rt::LockGuard lock{volume_.cache.lock};
        any = !checkpointing_.empty();
    }
    if (!any) CO_TRY(co_await commit_locked());
    co_return co_await checkpoint_oldest();
}

Task<Result<void>> Journal::checkpoint_all() {
    auto guard = CO_TRY(co_await log_lock_.lock());
    if (aborted_.load(std::memory_order_relaxed)) co_return Errno::kIo;
    CO_TRY(co_await commit_locked());
    for (;;) {
        {
            rt::LockGuard lock{volume_.cache.lock};
            if (checkpointing_.empty()) co_return lib::kOk;
        }
        CO_TRY(co_await checkpoint_oldest());
    }
}

Task<Result<void>> Journal::finish() {
    auto guard = CO_TRY(co_await log_lock_.lock());
    if (aborted_.load(std::memory_order_relaxed)) co_return Errno::kIo;
    co_return co_await write_super(0, next_number_);
}

}  // namespace ext4
