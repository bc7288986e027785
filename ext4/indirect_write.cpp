// SPDX-License-Identifier: MIT
// Changing the block maps of ext2 and ext3.
#include <algorithm>

#include "ext4/allocate.hpp"
#include "ext4/map_write.hpp"

namespace ext4 {

namespace {

// An array of block numbers: the inode's, or a block's.
struct Words {
    BufferRef buffer;  // empty: the inode's
    Le32* at = nullptr;
};

Result<void> change_words(Handle& h, Words& w) { return w.buffer ? h.change(*w.buffer) : Result<void>{}; }

Task<Result<Words>> open_words(Inode& i, BlockNo block) {
    if (!i.volume.geo.in_volume(block, 1)) co_return i.volume.damaged("a bad number of an indirect block");
    Words w;
    w.buffer = CO_TRY(EXT4_INSIST(co_await i.volume.cache.read(block)));
    w.at = w.buffer->as<Le32>();
    co_return std::move(w);
}

// The array that `words[offset]` names, new if there is none.
Task<Result<Words>> open_or_make(Handle& h, Inode& i, Words& words, u32 offset) {
    Volume& v = i.volume;
    if (const BlockNo block = words.at[offset]) co_return EXT4_MUST(open_words(i, block));
    const BlockNo block = CO_TRY(EXT4_INSIST(co_await v.allocator->allocate_block(h, allocation_goal(i))));
    Words made;
    made.buffer = CO_TRY(EXT4_INSIST(co_await v.cache.fresh(block)));
    made.at = made.buffer->as<Le32>();
    CO_TRY(EXT4_INSIST(h.change(*made.buffer)));
    CO_TRY(EXT4_INSIST(change_words(h, words)));
    words.at[offset] = u32(block);
    i.add_blocks(1);
    co_return std::move(made);
}

}  // namespace

Task<Result<void>> insert_indirect(Handle& h, Inode& i, Run run) {
    const Geometry& g = i.volume.geo;
    for (u32 done = 0; done < run.count;) {
        IndirectPath path;
        if (!indirect_path(g, run.logical + done, path)) co_return Errno::kFBig;
        Words words;
        words.at = i.raw.block;
        for (u32 l = 0; l < path.depth; ++l) words = CO_TRY(EXT4_MUST(open_or_make(h, i, words, path.offset[l])));
        CO_TRY(EXT4_INSIST(change_words(h, words)));
        const u32 n = std::min(run.count - done, path.last);
        for (u32 k = 0; k < n; ++k) {
            Le32& word = words.at[path.offset[path.depth] + k];
            if (word != 0) co_return i.volume.damaged("a block of a file is mapped twice");
            word = u32(run.block + done + k);
        }
        done += n;
    }
    co_return lib::kOk;
}

namespace {

// Frees blocks that the array names, last ones first, none before index `least`. True: some may be left.
Task<Result<bool>> free_words(Handle& h, Inode& i, Words& words, u32 least, u32 count) {
    constexpr u32 kMostRuns = 12;
    const u32 longest = i.is_directory() ? kMostRevoked : 4096;
    for (u32 runs = 0; count > least; ++runs) {
        if (words.at[count - 1] == 0) {
            --count;
            continue;
        }
        if (runs == kMostRuns) co_return true;
        if (runs == 0) CO_TRY(EXT4_INSIST(change_words(h, words)));
        u32 n = 1;
        while (count - n > least && n < longest && words.at[count - n - 1] + n == words.at[count - 1]) ++n;
        CO_TRY(EXT4_MUST(free_contents(h, i, words.at[count - n], n)));
        for (u32 k = 0; k < n; ++k) words.at[count - 1 - k] = 0;
        i.add_blocks(-i64(n));
        count -= n;
    }
    co_return false;
}

// The last block that one of the inode's words 12 to 14 leads to, at or after `from`: one array of them is freed, or, if it is
// empty, itself.
Task<Result<bool>> remove_below(Handle& h, Inode& i, u32 depth, u64 base, FileBlock from) {
    Volume& v = i.volume;
    const u32 shift = v.geo.block_shift - 2, count = 1u << shift;
    Words above;
    above.at = i.raw.block;
    u32 offset = kDirectBlocks + depth - 1;
    Words words = CO_TRY(EXT4_MUST(open_words(i, above.at[offset])));
    for (u32 d = depth; d != 1; --d) {
        u32 last = count;
        while (last != 0 && words.at[last - 1] == 0) --last;
        if (last == 0) break;
        base += u64{last - 1} << (shift * (d - 1));
        above = std::move(words);
        offset = last - 1;
        words = CO_TRY(EXT4_MUST(open_words(i, above.at[offset])));
        if (d == 2) {
            depth = 1;
            break;
        }
        depth = d - 1;
    }
    u32 last = count;
    while (last != 0 && words.at[last - 1] == 0) --last;
    if (last != 0) {
        if (depth != 1) co_return v.damaged("an indirect block cannot be freed");
        if (base + last <= from) co_return false;
        const u32 least = from > base ? u32(from - base) : 0;
        const bool more = CO_TRY(EXT4_MUST(free_words(h, i, words, least, last)));
        if (more || least != 0) co_return more;
    }
    // Nothing is left in it.
    const BlockNo block = words.buffer->block;
    words = {};
    CO_TRY(EXT4_INSIST(change_words(h, above)));
    above.at[offset] = 0;
    CO_TRY(EXT4_INSIST(h.forget(block)));
    CO_TRY(EXT4_MUST(v.allocator->free(h, block, 1)));
    i.add_blocks(-1);
    co_return true;
}

}  // namespace

Task<Result<bool>> remove_some_indirect(Handle& h, Inode& i, FileBlock from) {
    const u32 shift = i.volume.geo.block_shift - 2;
    u64 bases[4] = {0, kDirectBlocks};
    for (u32 d = 1; d < 3; ++d) bases[d + 1] = bases[d] + (u64{1} << (shift * d));
    for (u32 depth = 3; depth != 0; --depth) {
        if (i.raw.block[kDirectBlocks + depth - 1] == 0) continue;
        if (CO_TRY(EXT4_MUST(remove_below(h, i, depth, bases[depth], from)))) co_return true;
        co_return false;  // what is left lies before `from`
    }
    Words direct;
    direct.at = i.raw.block;
    co_return EXT4_MUST(free_words(h, i, direct, std::min(from, kDirectBlocks), kDirectBlocks));
}

}  // namespace ext4
