// SPDX-License-Identifier: MIT
// Blocks: bitmaps, reservations, the search.
#include "ext4/allocate.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

namespace ext4 {

namespace {

enum : u64 { kVerifiedBlocks = u64{5} << 32 };

u64 word_at(const std::byte* bits, u32 word) {
    Le64 w;
    std::memcpy(&w, bits + word * 8, sizeof w);
    return w;
}

template <bool kSet>
u32 next_bit(const std::byte* bits, u32 from, u32 end) {
    while (from < end) {
        u64 w = word_at(bits, from / 64);
        if (!kSet) w = ~w;
        w &= ~u64{0} << (from % 64);
        if (w) return std::min(end, from / 64 * 64 + u32(std::countr_zero(w)));
        from = (from / 64 + 1) * 64;
    }
    return end;
}

}  // namespace

u32 next_clear(const std::byte* bits, u32 from, u32 end) { return next_bit<false>(bits, from, end); }
u32 next_set(const std::byte* bits, u32 from, u32 end) { return next_bit<true>(bits, from, end); }

namespace {
template <bool kSet>
void fill_bits(std::byte* bits, u32 from, u32 end) {
    for (; from < end && from % 8 != 0; ++from) kSet ? set_bit(bits, from) : clear_bit(bits, from);
    const u32 whole = from < end ? (end - from) / 8 : 0;
    std::memset(bits + from / 8, kSet ? 0xff : 0, whole);
    for (from += whole * 8; from < end; ++from) kSet ? set_bit(bits, from) : clear_bit(bits, from);
}
}  // namespace

void set_bits(std::byte* bits, u32 from, u32 end) { fill_bits<true>(bits, from, end); }
void clear_bits(std::byte* bits, u32 from, u32 end) { fill_bits<false>(bits, from, end); }

Allocator::~Allocator() RT_UNCHECKED_LOCKING { RT_ASSERT(busy_.empty(), "ext4: blocks are reserved at the end"); }

// ---- Bitmaps ----

bool Allocator::is_own_metadata(GroupNo g, BlockNo start, u32 count) const {
    const Geometry& geo = volume_.geo;
    const GroupRef d = volume_.group(g);
    const auto meets = [&](BlockNo from, u64 n) { return n != 0 && start < from + n && from < start + count; };
    return meets(d.block_bitmap(), 1) || meets(d.inode_bitmap(), 1) || meets(d.inode_table(), geo.inode_table_blocks) ||
           meets(geo.group_start(g), geo.base_blocks(g));
}

// As it would be if no file had a block in the group.
void Allocator::fill_block_bitmap(GroupNo g, std::byte* bits) const {
    const Geometry& geo = volume_.geo;
    const GroupRef d = volume_.group(g);
    const BlockNo start = geo.group_start(g);
    const u32 blocks = geo.blocks_in(g);
    std::memset(bits, 0, geo.block_bytes);
    const auto mark_used = [&](BlockNo from, u64 n) {
        const BlockNo first = std::max(from, start), end = std::min(from + n, start + blocks);
        if (first < end) set_bits(bits, u32(first - start), u32(end - start));
    };
    mark_used(start, geo.base_blocks(g));
    mark_used(d.block_bitmap(), 1);
    mark_used(d.inode_bitmap(), 1);
    mark_used(d.inode_table(), geo.inode_table_blocks);
    set_bits(bits, blocks, geo.block_bytes * 8);
}

Result<void> Allocator::check_block_bitmap(GroupNo g, const std::byte* bits) const {
    const Geometry& geo = volume_.geo;
    const GroupRef d = volume_.group(g);
    if (geo.has_checksums()) {
        const u32 sum = crc32c(geo.seed, bits, geo.blocks_per_group / 8);
        const u32 stored = d.raw->block_bitmap_csum_lo | (d.wide ? u32(d.raw->block_bitmap_csum_hi) << 16 : 0);
        if ((d.wide ? sum : sum & 0xffff) != stored) return Errno::kBadMsg;
    }
    const BlockNo start = geo.group_start(g), end = start + geo.blocks_in(g);
    const auto used = [&](BlockNo b) { return b < start || b >= end || bit_of(bits, u32(b - start)); };
    if (!used(d.block_bitmap()) || !used(d.inode_bitmap()) || !used(d.inode_table()) ||
        !used(d.inode_table() + geo.inode_table_blocks - 1))
        return Errno::kUClean;
    return lib::kOk;
}

void Allocator::set_block_bitmap_checksum(GroupNo g, const std::byte* bits) {
    const GroupRef d = volume_.group(g);
    if (volume_.geo.has_checksums()) {
        const u32 sum = crc32c(volume_.geo.seed, bits, volume_.geo.blocks_per_group / 8);
        d.raw->block_bitmap_csum_lo = u16(sum);
        if (d.wide) d.raw->block_bitmap_csum_hi = u16(sum >> 16);
    }
    if (volume_.geo.has_group_checksums()) d.raw->checksum = volume_.group_checksum(g);
}

Task<Result<BufferRef>> Allocator::block_bitmap(GroupNo g) {
    const GroupRef d = volume_.group(g);
    const u64 as = kVerifiedBlocks | g;
    if (volume_.geo.has_group_checksums() && d.uninit(kBlockUninit)) {
        BufferRef b = volume_.cache.find(d.block_bitmap());
        if (!b || b->verified.load(std::memory_order_relaxed) != as) {
            b = CO_TRY(co_await volume_.cache.fresh(d.block_bitmap()));
            fill_block_bitmap(g, b->data);
            b->verified.store(as, std::memory_order_relaxed);
        }
        co_return std::move(b);
    }
    BufferRef b = CO_TRY(co_await volume_.cache.read(d.block_bitmap()));
    if (b->verified.load(std::memory_order_relaxed) != as) {
        const auto r = check_block_bitmap(g, b->data);
        if (!r.ok()) co_return volume_.damaged("bad bitmap of blocks");
        b->verified.store(as, std::memory_order_relaxed);
    }
    co_return std::move(b);
}

// ---- Reservations ----

// The first part of a free range that is not reserved; `count` 0: none. `start` is then where to go on.
Allocator::Candidate Allocator::without_busy(BlockNo start, u32 count) {
    BlockNo end = start + count;
    if (const BusyExtent* e = busy_.floor(start); e && e->start + e->count > start) start = e->start + e->count;
    while (start < end) {
        const BusyExtent* e = busy_.lower_bound(start);
        if (!e || e->start >= end) break;
        if (e->start > start) {
            end = e->start;
            break;
        }
        start = e->start + e->count;
    }
    return {start, start < end ? u32(end - start) : 0};
}

// From bit `from` on: the first free range of `wanted` blocks, or the longest one of at least `least`.
Allocator::Candidate Allocator::search_group(GroupNo g, const std::byte* bits, u32 from, u32 wanted, u32 least) {
    const BlockNo start = volume_.geo.group_start(g);
    const u32 end = volume_.geo.blocks_in(g);
    constexpr u32 kMostRanges = 512;  // in one stretch with the lock
    Candidate best;
    u32 looked = 0;
    rt::LockGuard guard{volume_.cache.lock};
    for (u32 at = next_clear(bits, from, end); at < end && looked < kMostRanges; ++looked) {
        const u32 run_end = next_set(bits, at, std::min(end, at + wanted));
        const Candidate c = without_busy(start + at, run_end - at);
        if (c.count > best.count) best = c;
        if (best.count >= wanted) break;
        at = next_clear(bits, std::max(u32(c.start + c.count - start), at + 1), end);
    }
    return best.count >= least ? best : Candidate{};
}

Task<Result<Allocator::Candidate>> Allocator::search(BlockNo goal, u32 most) {
    const Geometry& geo = volume_.geo;
    if (goal < geo.first_data_block || goal >= geo.blocks) goal = geo.first_data_block;
    const GroupNo first = geo.group_of(goal);
    {  // where the caller wants it: the file goes on
        BufferRef bits = CO_TRY(co_await block_bitmap(first));
        const u32 bit = u32(goal - geo.group_start(first));
        if (!bit_of(bits->data, bit)) {
            const Candidate c = search_group(first, bits->data, bit, most, 1);
            if (c.count != 0 && (c.start == goal || c.count >= most)) co_return c;
        }
    }
    // Ranges as long as wanted, then shorter ones.
    const u32 leasts[] = {most, std::max(most / 8, 1u), 1};
    for (const u32 least : leasts) {
        for (u32 n = 0; n < geo.groups; ++n) {
            const GroupNo g = GroupNo((u64{first} + n) % geo.groups);
            if (volume_.group(g).free_blocks() < least) continue;
            BufferRef bits = CO_TRY(co_await block_bitmap(g));
            const u32 from = n == 0 ? u32(goal - geo.group_start(g)) : 0;
            Candidate c = search_group(g, bits->data, from, most, least);
            if (c.count == 0 && from != 0) c = search_group(g, bits->data, 0, most, least);
            if (c.count != 0) co_return c;
            if (n % 16 == 15) co_await rt::Yield{};
        }
        if (least == 1) break;
    }
    co_return Errno::kNoSpc;
}

Task<Result<BusyExtent*>> Allocator::reserve(BlockNo goal, u32 most, For use) {
    RT_ASSERT(most != 0, "ext4: no blocks are asked for");
    rt::Owned<BusyExtent> made = CO_TRY(rt::make_owned<BusyExtent>());
    auto guard = CO_TRY(co_await lock_.lock());
    const u64 free = free_blocks();
    const u64 others = use == For::kData ? kept() + claimed_.load(std::memory_order_relaxed) : 0;
    if (free <= others) co_return Errno::kNoSpc;
    most = u32(std::min<u64>(most, free - others));
    const Candidate c = CO_TRY(co_await search(goal, most));
    made->start = c.start;
    made->count = c.count;
    rt::LockGuard lock{volume_.cache.lock};
    busy_.insert(*made);
    free_blocks_.fetch_sub(c.count, std::memory_order_relaxed);
    co_return made.release();
}

void Allocator::release(BusyExtent* e) {
    {
        rt::LockGuard lock{volume_.cache.lock};
        busy_.remove(*e);
    }
    free_blocks_.fetch_add(e->count, std::memory_order_relaxed);
    delete e;
}

Task<Result<void>> Allocator::take(Handle& h, BusyExtent* e) {
    const auto r = EXT4_MUST(mark(h, e->start, e->count, true));
    {
        rt::LockGuard lock{volume_.cache.lock};
        busy_.remove(*e);
    }
    if (!r.ok()) free_blocks_.fetch_add(e->count, std::memory_order_relaxed);
    delete e;
    co_return r;
}

Task<Result<BlockNo>> Allocator::allocate_block(Handle& h, BlockNo goal) {
    BusyExtent* e = CO_TRY(co_await reserve(goal, 1, For::kMetadata));
    const BlockNo block = e->start;
    CO_TRY(EXT4_MUST(take(h, e)));
    co_return block;
}

Task<Result<Allocator::Claim>> Allocator::claim(u32 n) {
    for (u32 attempt = 0;; ++attempt) {
        const u64 taken =
            claimed_.fetch_add(n, std::memory_order_relaxed) + n + pending_.load(std::memory_order_relaxed);
        Claim claim{*this, n};
        if (free_blocks() >= taken) co_return std::move(claim);
        if (attempt != 0 || !has_pending() || !volume_.journal) co_return Errno::kNoSpc;
        CO_TRY(co_await volume_.journal->commit_all());
    }
}

// ---- Changes ----

// Sets or clears bits of one group.
Task<Result<void>> Allocator::mark(Handle& h, BlockNo start, u32 count, bool used) {
    auto guard = CO_TRY(EXT4_INSIST(co_await lock_.lock()));
    const GroupNo g = volume_.geo.group_of(start);
    const u32 first = u32(start - volume_.geo.group_start(g));
    if (is_own_metadata(g, start, count)) co_return volume_.damaged("a file has blocks of the file system");
    BufferRef bits = CO_TRY(EXT4_INSIST(co_await block_bitmap(g)));
    const u32 end = first + count;
    if ((used ? next_set(bits->data, first, end) : next_clear(bits->data, first, end)) != end)
        co_return volume_.damaged("a block is used twice, or freed twice");
    GroupRef d = volume_.group(g);
    CO_TRY(EXT4_INSIST(h.change(*bits)));
    CO_TRY(EXT4_INSIST(h.change(*d.buffer)));
    used ? set_bits(bits->data, first, end) : clear_bits(bits->data, first, end);
    d.set_free_blocks(used ? d.free_blocks() - std::min(count, d.free_blocks()) : d.free_blocks() + count);
    d.raw->flags = u16(d.raw->flags & ~u32{kBlockUninit});
    set_block_bitmap_checksum(g, bits->data);
    co_return lib::kOk;
}

Task<Result<void>> Allocator::free(Handle& h, BlockNo start, u32 count) {
    const Geometry& geo = volume_.geo;
    if (!geo.in_volume(start, count)) co_return volume_.damaged("blocks that do not exist are freed");
    while (count != 0) {
        const GroupNo g = geo.group_of(start);
        const u32 n = u32(std::min<u64>(count, geo.group_start(g) + geo.blocks_in(g) - start));
        rt::Owned<BusyExtent> made = CO_TRY(EXT4_INSIST(rt::make_owned<BusyExtent>()));
        made->start = start;
        made->count = n;
        // Busy first: nothing may find them between.
        const bool pending = h.transaction() != nullptr;
        if (pending) {
            rt::LockGuard lock{volume_.cache.lock};
            busy_.insert(*made);
        }
        const auto r = EXT4_MUST(mark(h, start, n, false));
        if (!r.ok()) {
            rt::LockGuard lock{volume_.cache.lock};
            if (pending) busy_.remove(*made);
            co_return r;
        }
        free_blocks_.fetch_add(n, std::memory_order_relaxed);
        if (pending) {
            pending_.fetch_add(n, std::memory_order_relaxed);
            rt::LockGuard lock{volume_.cache.lock};
            h.transaction()->freed.push_back(*made.release());
        }
        start += n;
        count -= n;
    }
    co_return lib::kOk;
}

bool Allocator::release_freed(Transaction& t, u32 most) {
    for (; most != 0; --most) {
        BusyExtent* e = nullptr;
        {
            rt::LockGuard lock{volume_.cache.lock};
            e = t.freed.pop_front();
            if (!e) return false;
            busy_.remove(*e);
        }
        pending_.fetch_sub(e->count, std::memory_order_relaxed);
        delete e;
    }
    return true;
}

}  // namespace ext4
