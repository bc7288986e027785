// SPDX-License-Identifier: MIT
// Opening the journal, handles, and room in the log.
#include "ext4/journal.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "ext4/allocate.hpp"
#include "ext4/map.hpp"

namespace ext4 {

namespace {

constexpr u8 kChecksumCrc32c = 4;
constexpr u32 kKnownIncompat =
    kJournalRevoke | kJournal64Bit | kJournalAsyncCommit | kJournalCsumV2 | kJournalCsumV3 | kJournalFastCommit;
constexpr u32 kDefaultFastCommitBlocks = 256;

Errno bad(MountReport& report, const char* problem, Errno e = Errno::kUClean) {
    report.problem = problem;
    return e;
}

bool reached(u32 number, u32 wanted) { return i32(number - wanted) >= 0; }

}  // namespace

Journal::~Journal() RT_UNCHECKED_LOCKING {  // no other user is left
    drop_transaction(running_);
    drop_transaction(committing_);
    while (Transaction* t = checkpointing_.pop_front()) drop_transaction(t);
    if (super_) rt::deallocate(super_, volume_.geo.block_bytes);
    if (map_) rt::deallocate(map_, sizeof(MapRun) * map_room_);
}

// After a failure: lets go of everything that it has.
void Journal::drop_transaction(Transaction* t) {
    if (!t) return;
    BufferCache& cache = volume_.cache;
    const auto release = [&](Buffer* b, Transaction*& member) {
        {
            rt::LockGuard guard{cache.lock};
            member = nullptr;
            cache.orphan_locked(*b);
        }
        cache.unref(*b);
    };
    while (Buffer* b = t->buffers.pop_front()) release(b, b->running);
    while (Buffer* b = t->forgotten.pop_front()) release(b, b->running);
    while (Buffer* b = t->logging.pop_front()) {
        if (b->frozen) rt::deallocate(std::exchange(b->frozen, nullptr), volume_.geo.block_bytes);
        release(b, b->committing);
    }
    while (Buffer* b = t->logging_forgotten.pop_front()) release(b, b->committing);
    while (Buffer* b = t->checkpoint.pop_front()) release(b, b->checkpoint);
    while (RevokeRecord* r = t->revokes.pop_front()) delete r;
    if (volume_.allocator) (void)volume_.allocator->release_freed(*t);
    delete t;
}

u32 Journal::tag_bytes() const {
    if (features_ & kJournalCsumV3) return sizeof(RawJournalTag3);
    u32 n = sizeof(RawJournalTag);
    if (features_ & kJournalCsumV2) n += 2;
    return features_ & kJournal64Bit ? n : n - sizeof(Be32);
}

BlockNo Journal::log_block(u32 at) const {
    u32 low = 0, high = map_count_;
    while (low < high) {
        const u32 middle = (low + high) / 2;
        if (map_[middle].logical <= at)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0) return 0;
    const MapRun& r = map_[low - 1];
    return at - r.logical < r.count ? r.block + (at - r.logical) : 0;
}

Task<Result<void>> Journal::read_map(Inode& i) {
    const FileBlock blocks = i.blocks_of_size();
    for (FileBlock at = 0; at < blocks;) {
        const Run r = CO_TRY(co_await map(i, at, blocks - at));
        if (r.reads_as_zeros()) co_return Errno::kUClean;
        if (map_count_ == map_room_) {
            const u32 room = map_room_ == 0 ? 64 : map_room_ * 2;
            auto* larger = static_cast<MapRun*>(rt::allocate(sizeof(MapRun) * room));
            if (!larger) co_return Errno::kNoMem;
            if (map_) {
                std::memcpy(larger, map_, sizeof(MapRun) * map_count_);
                rt::deallocate(map_, sizeof(MapRun) * map_room_);
            }
            map_ = larger;
            map_room_ = room;
        }
        map_[map_count_++] = {at, r.count, r.block};
        at += r.count;
        if (map_count_ % 16 == 15) co_await rt::Yield{};
    }
    co_return lib::kOk;
}

u32 Journal::super_checksum() const {
    RawJournalSuper copy;
    std::memcpy(&copy, super_, sizeof copy);
    copy.checksum = 0;
    return crc32c(~0u, &copy, sizeof copy);
}

Result<void> Journal::check_super(MountReport& report) {
    const RawJournalSuper& s = *super_;
    if (s.header.magic != kJournalMagic || (s.header.type != kSuperV1Block && s.header.type != kSuperV2Block))
        return bad(report, "bad superblock of the journal");
    if (s.header.type == kSuperV2Block) {
        features_ = s.feature_incompat;
        if ((features_ & ~kKnownIncompat) || s.feature_ro_compat != 0) {
            report.feature = "an unknown feature of the journal";
            return bad(report, "feature not supported", Errno::kOpNotSupp);
        }
    }
    if ((features_ & kJournalCsumV2) && (features_ & kJournalCsumV3)) return bad(report, "bad features of the journal");
    if (has_csum()) {
        if (s.checksum_type != kChecksumCrc32c) return bad(report, "unknown type of checksums", Errno::kOpNotSupp);
        if (s.checksum != super_checksum()) return bad(report, "wrong checksum of the journal", Errno::kBadMsg);
    }
    if (s.block_size != volume_.geo.block_bytes) return bad(report, "bad block size of the journal");
    u32 length = s.length;
    if (length > map_[map_count_ - 1].logical + map_[map_count_ - 1].count)
        return bad(report, "the journal is too short");
    if (features_ & kJournalFastCommit) {
        const u32 fast = s.fast_commit_blocks == 0 ? kDefaultFastCommitBlocks : u32(s.fast_commit_blocks);
        if (fast >= length) return bad(report, "bad size of fast commits");
        length -= fast;
    }
    constexpr u32 kLeast = 1000;  // as mke2fs; smaller ones have no room for the largest handles
    first_ = s.first;
    end_ = length;
    if (first_ == 0 || first_ >= end_ || end_ - first_ < kLeast) return bad(report, "bad size of the journal");
    if (s.start != 0 && (s.start < first_ || s.start >= end_)) return bad(report, "bad start of the journal");
    seed_ = crc32c(~0u, s.uuid, sizeof s.uuid);
    return lib::kOk;
}

Task<Result<void>> Journal::open(MountReport& report) {
    const InodeNo number = volume_.super->journal_inode;
    if (number == 0) co_return bad(report, "the journal is on another device", Errno::kOpNotSupp);
    auto inode = co_await get_inode(volume_, number);
    if (!inode.ok() || !inode.value()->is_regular()) co_return bad(report, "bad inode of the journal");
    auto r = co_await read_map(*inode.value());
    if (!r.ok()) co_return bad(report, "bad map of the journal", r.error());
    if (map_count_ == 0) co_return bad(report, "the journal is empty");
    super_ = static_cast<RawJournalSuper*>(rt::allocate(volume_.geo.block_bytes));
    if (!super_) co_return Errno::kNoMem;
    const block::Piece memory{reinterpret_cast<std::byte*>(super_), volume_.geo.block_bytes};
    CO_TRY(co_await transfer(volume_.disk, block::Op::kRead, volume_.disk.sector_of(map_[0].block), memory));
    co_return check_super(report);
}

Task<Result<void>> Journal::write_super(u32 start, u32 sequence) {
    RawJournalSuper& s = *super_;
    s.start = start;
    s.sequence = sequence;
    if (has_csum()) s.checksum = super_checksum();
    Batch batch{volume_.disk};
    Transfer t;
    t.prepare(block::Op::kWrite, volume_.disk.sector_of(map_[0].block),
              block::Piece(reinterpret_cast<std::byte*>(super_), volume_.geo.block_bytes));
    batch.start(t);
    while (!batch.ended()) co_await batch.change();
    if (batch.error() != Errno::kOk) co_return batch.error();
    co_return co_await flush_disk();
}

Task<Result<void>> Journal::begin(MountReport& report) {
    CO_TRY(writer_.allocate());
    features_ |= kJournalRevoke;
    if (volume_.geo.incompat & incompat::k64Bit) features_ |= kJournal64Bit;
    features_ &= ~u32{kJournalAsyncCommit};
    if (volume_.geo.has_checksums() || has_csum()) {
        features_ = (features_ & ~u32{kJournalCsumV2}) | kJournalCsumV3;
        super_->checksum_type = kChecksumCrc32c;
    }
    super_->header.type = kSuperV2Block;
    super_->feature_incompat = features_;
    head_ = first_;
    used_ = 0;
    most_in_transaction_ = std::min(log_size() / 4, 16384u);
    next_number_ = super_->sequence;
    committed_ = next_number_ - 1;
    co_return co_await write_super(head_, next_number_);
}

void Journal::abort(const char* what) {
    aborted_.store(true, std::memory_order_relaxed);
    (void)volume_.damaged(what);
    changed_.wake_all();
}

// ---- Handles ----

u32 Journal::space_for(u32 blocks, u32 revokes) const {
    // Descriptors go with at most kMost - 1 blocks each; revoke blocks hold at least 100 numbers.
    return blocks + blocks / (BlockWriter::kMost - 1) + 1 + revokes / 100 + 1 + 1;
}

u32 Journal::free_space_locked() const {
    const u32 committing = committing_ ? space_for(committing_->blocks, committing_->revoke_count) : 0;
    const u32 taken = used_ + committing + 1;
    return log_size() > taken ? log_size() - taken : 0;
}

Task<Result<Handle>> Journal::start(u32 credits) {
    RT_ASSERT(credits <= most_credits(), "ext4: a handle for more than a transaction can hold");
    for (;;) {
        rt::Owned<Transaction> spare{rt::make<Transaction>()};
        if (!spare) co_return Errno::kNoMem;
        enum class Next : u8 { kWait, kCommit, kSpace } next = Next::kWait;
        const u32 seen = changed_.sequence();
        u32 number = 0;
        {
            rt::LockGuard guard{volume_.cache.lock};
            if (aborted_.load(std::memory_order_relaxed)) co_return Errno::kRoFs;
            if (!running_) {
                running_ = spare.release();
                running_->number = next_number_++;
            }
            Transaction& t = *running_;
            number = t.number;
            const u32 blocks = t.blocks + t.reserved;
            if (t.locked) {
                next = Next::kWait;
            } else if (blocks != 0 && blocks + credits > most_in_transaction_) {
                next = Next::kCommit;
            } else if (free_space_locked() < space_for(blocks + credits, t.revoke_count + t.reserved + credits)) {
                next = Next::kSpace;
            } else {
                ++t.handles;
                t.reserved += credits;
                co_return Handle{volume_, this, &t, credits};
            }
        }
        if (next == Next::kCommit) {
            CO_TRY(co_await commit(number));
        } else if (next == Next::kSpace) {
            CO_TRY(co_await make_space());
        } else {
            rt::WaitOn wait = rt::wait_on(changed_, seen, "ext4: the next transaction");
            wait.uninterruptible();
            (void)co_await wait;
        }
    }
}

void Handle::end() {
    Transaction* t = std::exchange(transaction_, nullptr);
    if (!t) return;
    bool last = false;
    {
        rt::LockGuard guard{volume.cache.lock};
        t->reserved -= credits_;
        last = --t->handles == 0 && t->locked;
    }
    if (last) journal_->changed_.wake_all();
}

Result<void> Handle::change(Buffer& b) {
    if (volume.failed.load(std::memory_order_relaxed)) return Errno::kRoFs;
    if (!transaction_) {
        volume.cache.mark_dirty(b);
        return lib::kOk;
    }
    std::byte* spare = nullptr;
    for (;;) {
        rt::LockGuard guard{volume.cache.lock};
        if (b.flags & Buffer::kForgotten) {
            guard.unlock();
            if (spare) rt::deallocate(spare, volume.geo.block_bytes);
            return volume.damaged("a freed block is in use");
        }
        if (b.running == transaction_) break;
        if (b.committing && !(b.flags & Buffer::kLogged) && !b.frozen) {
            if (!spare) {
                guard.unlock();
                spare = static_cast<std::byte*>(rt::allocate(volume.geo.block_bytes));
                if (!spare) return Errno::kNoMem;
                continue;
            }
            std::memcpy(spare, b.data, volume.geo.block_bytes);
            b.frozen = std::exchange(spare, nullptr);
        }
        volume.cache.ref_locked(b);
        b.running = transaction_;
        transaction_->buffers.push_back(b);
        ++transaction_->blocks;
        RT_ASSERT(credits_ != 0, "ext4: a handle changes more blocks than it said");
        if (credits_ != 0) {
            --credits_;
            --transaction_->reserved;
        }
        break;
    }
    if (spare) rt::deallocate(spare, volume.geo.block_bytes);
    return lib::kOk;
}

Result<void> Handle::forget(BlockNo block) {
    BufferRef b = volume.cache.find(block);
    if (!transaction_) {
        if (b) volume.cache.discard(*b);
        return lib::kOk;
    }
    auto* record = rt::make<RevokeRecord>();
    if (!record) return Errno::kNoMem;
    record->block = block;
    rt::LockGuard guard{volume.cache.lock};
    transaction_->revokes.push_back(*record);
    ++transaction_->revoke_count;
    if (!b || (b->flags & Buffer::kForgotten)) return lib::kOk;
    if (b->running) {
        b->running_hook.unlink();
        --transaction_->blocks;
    } else {
        volume.cache.ref_locked(*b);
        b->running = transaction_;
    }
    b->flags |= Buffer::kForgotten;
    transaction_->forgotten.push_back(*b);
    return lib::kOk;
}

Task<Result<Handle>> start(Volume& v, u32 credits) {
    CO_TRY(v.check_writable());
    if (v.journal) co_return co_await v.journal->start(std::min(credits, v.journal->most_credits()));
    co_return Handle{v, CO_TRY(co_await v.change_lock.lock())};
}

Task<Result<void>> Journal::commit(u32 number) {
    if (number == 0) co_return lib::kOk;
    auto guard = CO_TRY(co_await log_lock_.lock());
    bool done = false;
    {
        rt::LockGuard lock{volume_.cache.lock};
        done = reached(committed_, number);
    }
    if (done) co_return lib::kOk;
    if (aborted_.load(std::memory_order_relaxed)) co_return Errno::kIo;
    co_return co_await commit_locked();
}

Task<Result<void>> Journal::commit_all() {
    u32 number = 0;
    {
        rt::LockGuard lock{volume_.cache.lock};
        number = running_ ? running_->number : next_number_ - 1;
    }
    co_return co_await commit(number);
}

}  // namespace ext4
