// SPDX-License-Identifier: MIT
// What a volume does first after it was not unmounted: the blocks of the committed transactions go from the log to their places.
//
// Three passes over the log: the first finds its end and verifies all checksums, so that nothing is written if the log is
// damaged; the second collects the revoked blocks; the third writes. Each walks at most as many blocks as the log has.
#include <cstddef>
#include <cstring>

#include "ext4/journal.hpp"

namespace ext4 {

namespace {

// A block that is not written by transactions up to this one.
struct Revoked {
    BlockNo block;
    u32 sequence;
    lib::TreeHook hook;
};
using RevokedTree = lib::Tree<Revoked, &Revoked::hook, lib::KeyMember<&Revoked::block>>;

struct Tag {
    BlockNo block;
    u32 flags;
    u32 checksum;
};

enum class Pass : u8 { kScan, kRevoke, kWrite };

bool later(u32 a, u32 b) { return i32(a - b) > 0; }

}  // namespace

class Replay {
public:
    Replay(Journal& j, MountReport& report) : journal_(j), v_(j.volume_), report_(report), bytes_(v_.geo.block_bytes) {}
    ~Replay() {
        while (Revoked* r = revoked_.first()) {
            revoked_.remove(*r);
            delete r;
        }
        for (std::byte* m : {block_, data_})
            if (m) rt::deallocate(m, bytes_);
    }
    Replay(const Replay&) = delete;
    Task<Result<void>> run();
    u32 end_sequence() const { return end_; }

private:
    Task<Result<void>> walk(Pass pass);
    Task<Result<void>> read(u32 at, std::byte* to);
    Task<Result<void>> walk_descriptor(Pass pass, u32 at, u32 sequence, u32& blocks);
    Task<Result<void>> write_block(const Tag& tag, u32 sequence);
    Result<void> add_revokes(u32 sequence);
    bool next_tag(u32& at, Tag& tag, bool& last) const;
    bool tail_matches() const;
    bool commit_matches() const;
    Task<Result<void>> check_fast_commits();
    Errno bad(const char* problem, Errno e = Errno::kUClean) {
        report_.problem = problem;
        return e;
    }

    Journal& journal_;
    Volume& v_;
    MountReport& report_;
    const u32 bytes_;
    std::byte* block_ = nullptr;  // of the log
    std::byte* data_ = nullptr;
    RevokedTree revoked_;
    u32 end_ = 0;  // the first transaction that is not committed
    bool bad_data_ = false;
};

Task<Result<void>> Replay::read(u32 at, std::byte* to) {
    const BlockNo block = journal_.log_block(at);
    if (block == 0) co_return bad("the journal's map is damaged");
    co_return co_await transfer(v_.disk, block::Op::kRead, v_.disk.sector_of(block), block::Piece(to, bytes_));
}

bool Replay::tail_matches() const {
    if (!journal_.has_csum()) return true;
    auto* place = reinterpret_cast<Be32*>(block_ + bytes_ - sizeof(Be32));
    const u32 stored = *place;
    *place = 0;
    const bool same = crc32c(journal_.seed_, block_, bytes_) == stored;
    *place = stored;
    return same;
}

bool Replay::commit_matches() const {
    if (!journal_.has_csum()) return true;
    auto* commit = reinterpret_cast<RawJournalCommit*>(block_);
    const u32 stored = commit->checksum[0];
    commit->checksum[0] = 0;
    const bool same = crc32c(journal_.seed_, block_, bytes_) == stored;
    commit->checksum[0] = stored;
    return same;
}

bool Replay::next_tag(u32& at, Tag& tag, bool& last) const {
    const u32 end = bytes_ - (journal_.has_csum() ? u32(sizeof(Be32)) : 0), each = journal_.tag_bytes();
    if (last || at + each > end) return false;
    if (journal_.features_ & kJournalCsumV3) {
        const auto* raw = reinterpret_cast<const RawJournalTag3*>(block_ + at);
        tag = {join(raw->block_lo, journal_.features_ & kJournal64Bit ? u32(raw->block_hi) : 0), raw->flags,
               raw->checksum};
    } else {
        const auto* raw = reinterpret_cast<const RawJournalTag*>(block_ + at);
        tag = {join(raw->block_lo, journal_.features_ & kJournal64Bit ? u32(raw->block_hi) : 0), raw->flags,
               raw->checksum};
    }
    at += each;
    if (!(tag.flags & kTagSameUuid)) at += 16;
    last = tag.flags & kTagLast;
    return true;
}

Task<Result<void>> Replay::write_block(const Tag& tag, u32 sequence) {
    const Revoked* r = revoked_.find(tag.block);
    if (r && !later(sequence, r->sequence)) co_return lib::kOk;
    if (tag.flags & kTagEscape) {
        Be32 magic;
        magic = kJournalMagic;
        std::memcpy(data_, &magic, sizeof magic);
    }
    co_return co_await transfer(v_.disk, block::Op::kWrite, v_.disk.sector_of(tag.block), block::Piece(data_, bytes_));
}

// The blocks behind a descriptor, which is in block_.
Task<Result<void>> Replay::walk_descriptor(Pass pass, u32 at, u32 sequence, u32& blocks) {
    Tag tag{};
    u32 offset = sizeof(RawJournalHeader);
    bool last = false;
    for (blocks = 0; next_tag(offset, tag, last);) {
        ++blocks;
        if (blocks >= journal_.log_size()) co_return bad("a descriptor of the journal is damaged");
        if (pass == Pass::kRevoke) continue;
        CO_TRY(co_await read(journal_.advance(at, blocks), data_));
        if (pass == Pass::kScan) {
            // A damaged block counts only if its transaction turns out to be committed.
            Be32 number;
            number = sequence;
            u32 sum = crc32c(crc32c(journal_.seed_, &number, sizeof number), data_, bytes_);
            if (!(journal_.features_ & kJournalCsumV3)) sum &= 0xffff;
            if ((journal_.has_csum() && sum != tag.checksum) || tag.block >= v_.geo.blocks) bad_data_ = true;
        } else {
            CO_TRY(co_await write_block(tag, sequence));
        }
        if (blocks % 16 == 15) co_await rt::Yield{};
    }
    co_return lib::kOk;
}

Result<void> Replay::add_revokes(u32 sequence) {
    const auto* h = reinterpret_cast<const RawJournalRevoke*>(block_);
    const u32 end = bytes_ - (journal_.has_csum() ? u32(sizeof(Be32)) : 0);
    const u32 each = journal_.features_ & kJournal64Bit ? sizeof(Be64) : sizeof(Be32);
    if (h->bytes > end || h->bytes < sizeof *h) return bad("a revoke block of the journal is damaged");
    for (u32 at = sizeof *h; at + each <= h->bytes; at += each) {
        const BlockNo block = each == sizeof(Be64) ? BlockNo(*reinterpret_cast<const Be64*>(block_ + at))
                                                   : BlockNo(*reinterpret_cast<const Be32*>(block_ + at));
        if (Revoked* r = revoked_.find(block)) {
            if (later(sequence, r->sequence)) r->sequence = sequence;
            continue;
        }
        auto* r = rt::make<Revoked>(block, sequence);
        if (!r) return Errno::kNoMem;
        revoked_.insert(*r);
    }
    return lib::kOk;
}

Task<Result<void>> Replay::walk(Pass pass) {
    u32 at = journal_.super_->start, sequence = journal_.super_->sequence;
    for (u32 walked = 0; walked < journal_.log_size();) {
        if (pass != Pass::kScan && sequence == end_) break;
        CO_TRY(co_await read(at, block_));
        const auto* h = reinterpret_cast<const RawJournalHeader*>(block_);
        if (h->magic != kJournalMagic || h->sequence != sequence) break;
        u32 taken = 1;
        if (h->type == kDescriptorBlock) {
            // One that was not written whole is the end: its transaction cannot be committed.
            if (!tail_matches()) break;
            u32 blocks = 0;
            CO_TRY(co_await walk_descriptor(pass, at, sequence, blocks));
            taken += blocks;
        } else if (h->type == kRevokeBlock) {
            if (!tail_matches()) break;
            if (pass == Pass::kRevoke) CO_TRY(add_revokes(sequence));
        } else if (h->type == kCommitBlock) {
            if (!commit_matches()) break;
            if (bad_data_) co_return bad("a block in the journal is damaged", Errno::kBadMsg);
            ++sequence;
            if (pass == Pass::kScan) end_ = sequence;
        } else {
            break;
        }
        at = journal_.advance(at, taken);
        walked += taken;
    }
    if (pass != Pass::kScan && sequence != end_) co_return bad("the journal changes while it is read", Errno::kIo);
    co_return lib::kOk;
}

// Fast commits that follow the last transaction: the kernel of another system wrote them, and they are not understood.
Task<Result<void>> Replay::check_fast_commits() {
    if (!(journal_.features_ & kJournalFastCommit)) co_return lib::kOk;
    CO_TRY(co_await read(journal_.end_, block_));
    struct Head {
        Le16 tag, length;
        Le32 features, transaction;
    };
    constexpr u16 kFastCommitHead = 9;
    const auto* head = reinterpret_cast<const Head*>(block_);
    if (head->tag == kFastCommitHead && head->transaction == end_) {
        report_.feature = "fast_commit";
        co_return bad("the journal holds fast commits: run e2fsck first", Errno::kOpNotSupp);
    }
    co_return lib::kOk;
}

Task<Result<void>> Replay::run() {
    for (std::byte** m : {&block_, &data_}) {
        *m = static_cast<std::byte*>(rt::allocate(bytes_));
        if (!*m) co_return Errno::kNoMem;
    }
    end_ = journal_.super_->sequence;
    CO_TRY(co_await walk(Pass::kScan));
    bad_data_ = false;
    CO_TRY(co_await check_fast_commits());
    CO_TRY(co_await walk(Pass::kRevoke));
    CO_TRY(co_await walk(Pass::kWrite));
    co_return co_await flush(v_.disk);
}

Task<Result<void>> Journal::replay(MountReport& report) {
    Replay replay{*this, report};
    CO_TRY(co_await replay.run());
    // As if one more transaction had been: what a crash left of the last one is not taken for the next.
    co_return co_await write_super(0, replay.end_sequence() + 1);
}

}  // namespace ext4
