// SPDX-License-Identifier: MIT
// Which blocks and inodes are in use: the bitmaps of the groups.
//
// Blocks are handed out in two steps. reserve() picks free ones and only notes it in memory; the file's contents are written to
// them; take() marks them as used, in the transaction that maps them. After a crash in between they are free as before. Freed
// blocks stay reserved until their transaction is committed, so that nothing overwrites what a crash would bring back.
// The bitmaps and descriptors: lock_, taken after the handle was started. Reservations: BufferCache::lock.
#pragma once
#include "ext4/journal.hpp"

namespace ext4 {

class Allocator {
public:
    explicit Allocator(Volume& v) : volume_(v), free_blocks_(v.free_blocks), free_inodes_(v.free_inodes) {}
    ~Allocator();
    Allocator(const Allocator&) = delete;
    u64 free_blocks() const { return free_blocks_.load(std::memory_order_relaxed); }
    u64 free_inodes() const { return free_inodes_.load(std::memory_order_relaxed); }

    enum class For : u8 { kData, kMetadata };
    // Adjacent blocks that are free, near `goal` (0: anywhere), 1 to `most`. The caller owns the reservation: take() or
    // release(). kNoSpc, also if the rest is kept for metadata; kUClean, kIo, kNoMem.
    Task<Result<BusyExtent*>> reserve(BlockNo goal, u32 most, For use);
    void release(BusyExtent* e);
    // Changes 2 blocks. The reservation goes, whatever the result.
    Task<Result<void>> take(Handle& h, BusyExtent* e);
    // One block for metadata, in use at once. Changes 2 blocks.
    Task<Result<BlockNo>> allocate_block(Handle& h, BlockNo goal);
    // Changes 2 blocks for each group that the range is in.
    Task<Result<void>> free(Handle& h, BlockNo start, u32 count);
    // Their transaction is committed: they can be handed out. At most `most`; true: there are more.
    bool release_freed(Transaction& t, u32 most = ~0u);
    // Blocks that metadata will be able to get as long as this lives, so that an operation does not fail in its middle.
    class Claim {
    public:
        Claim(Allocator& a, u32 n) : a_(&a), n_(n) {}
        Claim(Claim&& o) noexcept : a_(std::exchange(o.a_, nullptr)), n_(o.n_) {}
        Claim(const Claim&) = delete;
        ~Claim() {
            if (a_) a_->claimed_.fetch_sub(n_, std::memory_order_relaxed);
        }

    private:
        Allocator* a_;
        u32 n_;
    };
    // Before a handle is started: commits what frees blocks if need be. kNoSpc.
    Task<Result<Claim>> claim(u32 n);
    // Blocks that a commit will set free.
    bool has_pending() const { return pending_.load(std::memory_order_relaxed) != 0; }

    // Changes 2 blocks. `parent`: near it, or spread out for directories in the root. kNoSpc.
    Task<Result<InodeNo>> allocate_inode(Handle& h, const Inode& parent, bool directory);
    Task<Result<void>> free_inode(Handle& h, InodeNo n, bool directory);
    static constexpr u32 kInodeCredits = 2, kBlockCredits = 2;

private:
    struct Candidate {
        BlockNo start = 0;
        u32 count = 0;
    };
    static constexpr u32 kKept = 64;  // blocks that only metadata gets
    u32 kept() const { return u32(volume_.geo.blocks / 64 < kKept ? volume_.geo.blocks / 64 : kKept); }
    Task<Result<BufferRef>> block_bitmap(GroupNo g);
    Task<Result<BufferRef>> inode_bitmap(GroupNo g);
    Result<void> check_block_bitmap(GroupNo g, const std::byte* bits) const;
    void fill_block_bitmap(GroupNo g, std::byte* bits) const;
    Task<Result<Candidate>> search(BlockNo goal, u32 most);
    Candidate search_group(GroupNo g, const std::byte* bits, u32 from, u32 wanted, u32 least);
    Candidate without_busy(BlockNo start, u32 count) RT_REQUIRES(volume_.cache.lock);
    Task<Result<void>> mark(Handle& h, BlockNo start, u32 count, bool used);
    bool is_own_metadata(GroupNo g, BlockNo start, u32 count) const;
    void set_block_bitmap_checksum(GroupNo g, const std::byte* bits);
    void set_inode_bitmap_checksum(GroupNo g, const std::byte* bits);
    GroupNo choose_group(const Inode& parent, bool directory) const;
    Task<Result<u32>> claim_inode(Handle& h, GroupNo g, bool directory);
    bool group_has_inode(GroupNo g) const { return volume_.group(g).free_inodes() != 0; }

    Volume& volume_;
    rt::AsyncMutex lock_;
    rt::Atomic<u64> free_blocks_, free_inodes_;
    rt::Atomic<u64> claimed_{0};
    rt::Atomic<u64> pending_{0};  // of the free ones, those of transactions that are not committed
    lib::Tree<BusyExtent, &BusyExtent::tree, lib::KeyMember<&BusyExtent::start>> busy_
        RT_GUARDED_BY(volume_.cache.lock);
};

// Bits of a bitmap. `end`: no bit at or beyond it.
u32 next_clear(const std::byte* bits, u32 from, u32 end);
u32 next_set(const std::byte* bits, u32 from, u32 end);
inline bool bit_of(const std::byte* bits, u32 n) { return (u8(bits[n / 8]) >> (n % 8)) & 1; }
// Whole ranges, by bytes where they can be.
void set_bits(std::byte* bits, u32 from, u32 end);
void clear_bits(std::byte* bits, u32 from, u32 end);
inline void set_bit(std::byte* bits, u32 n) { bits[n / 8] |= std::byte(1u << (n % 8)); }
inline void clear_bit(std::byte* bits, u32 n) { bits[n / 8] &= ~std::byte(1u << (n % 8)); }

}  // namespace ext4
