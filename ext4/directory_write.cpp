// SPDX-License-Identifier: MIT
#include "ext4/directory_write.hpp"

#include <algorithm>
#include <cstring>

#include "ext4/allocate.hpp"
#include "ext4/map_write.hpp"

namespace ext4 {

u8 entry_type(u32 mode) {
    switch (mode & abi::kTypeMask) {
        case abi::kTypeRegular: return kTypeRegularFile;
        case abi::kTypeDirectory: return kTypeDir;
        case abi::kTypeChar: return kTypeCharDevice;
        case abi::kTypeBlock: return kTypeBlockDevice;
        case abi::kTypeFifo: return kTypeFifo;
        case abi::kTypeSocket: return kTypeSocket;
        case abi::kTypeLink: return kTypeSymlink;
        default: return kTypeUnknown;
    }
}

namespace {

void fill_entry(const Volume& v, RawDirEntry& e, std::string_view name, InodeNo inode, u8 type) {
    e.inode = inode;
    e.name_length = u8(name.size());
    e.type = v.geo.incompat & incompat::kFileType ? type : u8{0};
    std::memcpy(e.name, name.data(), name.size());
}

// A new block at the directory's end, full of zeros. The inode's size grows.
struct NewBlock {
    BufferRef buffer;
    FileBlock number = 0;
};
Task<Result<NewBlock>> append_block(Handle& h, Inode& dir) {
    Volume& v = dir.volume;
    const FileBlock number = dir.blocks_of_size();
    const BlockNo block = CO_TRY(EXT4_INSIST(co_await v.allocator->allocate_block(h, allocation_goal(dir))));
    NewBlock made;
    made.number = number;
    made.buffer = CO_TRY(EXT4_INSIST(co_await v.cache.fresh(block)));
    CO_TRY(EXT4_INSIST(h.change(*made.buffer)));
    CO_TRY(EXT4_MUST(insert_run(h, dir, {number, 1, block, false})));
    dir.add_blocks(1);
    dir.set_size(u64{number + 1} << v.geo.block_shift);
    co_return std::move(made);
}

// Room for an entry of that name: an unused one that is large enough, or one that is larger than its name. Null: none.
Result<RawDirEntry*> find_room(const Inode& dir, std::byte* data, u32 need) {
    DirCursor cursor{dir, data, entries_end(dir.volume)};
    while (RawDirEntry* e = TRY(cursor.next())) {
        const u32 used = e->inode ? dir_entry_bytes(e->name_length) : 0;
        if (e->record_length >= used + need) return e;
    }
    return static_cast<RawDirEntry*>(nullptr);
}

// True: it was added.
Task<Result<bool>> add_in_block(Handle& h, Inode& dir, Buffer& b, std::string_view name, InodeNo inode, u8 type) {
    RawDirEntry* e = CO_TRY(find_room(dir, b.data, dir_entry_bytes(u32(name.size()))));
    if (!e) co_return false;
    CO_TRY(EXT4_INSIST(h.change(b)));
    if (e->inode != 0) {
        const u32 used = dir_entry_bytes(e->name_length), rest = e->record_length - used;
        e->record_length = u16(used);
        e = reinterpret_cast<RawDirEntry*>(reinterpret_cast<std::byte*>(e) + used);
        e->record_length = u16(rest);
    }
    fill_entry(dir.volume, *e, name, inode, type);
    set_dir_checksum(dir, b.data);
    co_return true;
}

// ---- The index ----

u32 index_room(const Volume& v, u32 offset) {
    return (v.geo.block_bytes - offset - (v.geo.has_checksums() ? u32(sizeof(RawHashTail)) : 0)) / sizeof(RawHashEntry);
}

void start_index(const Volume& v, std::byte* data, u32 offset) {
    auto& counts = *reinterpret_cast<RawHashLimit*>(data + offset);
    counts.limit = u16(index_room(v, offset));
    counts.count = 1;
}

// A block of the index below the root begins with an entry that is not in use.
void start_index_node(const Volume& v, std::byte* data) {
    reinterpret_cast<RawDirEntry*>(data)->record_length = u16(v.geo.block_bytes);
    start_index(v, data, sizeof(RawDirEntry));
}

void insert_index_entry(HashPath::Level& at, u32 hash, FileBlock block) {
    const u32 place = at.at + 1, count = at.count();
    std::memmove(at.entries + place + 1, at.entries + place, (count - place) * sizeof(RawHashEntry));
    at.entries[place].hash = hash;
    at.entries[place].block = block;
    at.counts().count = u16(count + 1);
}

// A directory of one block becomes an index and one leaf.
Task<Result<void>> make_index(Handle& h, Inode& dir) {
    Volume& v = dir.volume;
    BufferRef root = CO_TRY(EXT4_INSIST(co_await read_dir_block(dir, 0, DirBlockKind::kEntries)));
    const u32 end = entries_end(v);
    auto* dot = root->as<RawDirEntry>();
    auto* parent = root->as<RawDirEntry>(12);
    if (dot->record_length != 12 || entry_name(*dot) != "." || parent->name_length != 2 ||
        entry_name(*parent) != ".." || parent->record_length < 12 || parent->record_length > end - 12)
        co_return v.damaged("a directory begins without . and ..");
    const u32 begin = 12u + parent->record_length;
    if (begin >= end) co_return v.damaged("a full directory without entries");
    NewBlock leaf = CO_TRY(EXT4_MUST(append_block(h, dir)));
    CO_TRY(EXT4_INSIST(h.change(*root)));
    std::memcpy(leaf.buffer->data, root->data + begin, end - begin);
    // The last entry gets what the others left.
    DirCursor cursor{dir, leaf.buffer->data, end - begin};
    RawDirEntry* last = nullptr;
    while (RawDirEntry* e = CO_TRY(cursor.next())) last = e;
    last->record_length = u16(last->record_length + begin);
    set_dir_checksum(dir, leaf.buffer->data);
    std::memset(root->data + 24, 0, v.geo.block_bytes - 24);
    parent->record_length = u16(v.geo.block_bytes - 12);
    auto* info = root->as<RawHashInfo>(24);
    info->hash_version = v.geo.default_hash;
    info->info_length = sizeof *info;
    start_index(v, root->data, 32);
    root->as<RawHashEntry>(32)->block = leaf.number;
    set_index_checksum(dir, root->data);
    root->verified.store(0, std::memory_order_relaxed);
    dir.raw.flags = dir.raw.flags | kInodeIndex;
    co_return lib::kOk;
}

// The last block of the path's index gets room, in one step or some; the path is out of date afterwards.
Task<Result<void>> make_index_room(Handle& h, Inode& dir, HashPath& path) {
    Volume& v = dir.volume;
    const auto full = [&](u32 l) { return path.level[l].count() >= path.level[l].limit(); };
    u32 l = path.levels;
    while (l != 0 && full(l)) --l;
    const u32 most = v.geo.incompat & incompat::kLargeDir ? kMaxIndexLevels : kMaxIndexLevels - 1;
    const bool deeper = full(l);
    if (deeper && path.levels + 1 >= most) co_return Errno::kNoSpc;
    HashPath::Level& above = path.level[l];
    NewBlock made = CO_TRY(EXT4_MUST(append_block(h, dir)));
    start_index_node(v, made.buffer->data);
    auto* entries = made.buffer->as<RawHashEntry>(sizeof(RawDirEntry));
    auto& counts = *reinterpret_cast<RawHashLimit*>(entries);
    CO_TRY(EXT4_INSIST(h.change(*above.buffer)));
    if (deeper) {  // what the root had moves down
        const u32 count = above.count();
        entries[0].block = above.entries[0].block;
        std::memcpy(entries + 1, above.entries + 1, (count - 1) * sizeof(RawHashEntry));
        counts.count = u16(count);
        above.counts().count = 1;
        above.entries[0].block = made.number;
        above.buffer->as<RawHashInfo>(24)->levels = u8(path.levels + 1);
    } else {  // half of the block below moves
        HashPath::Level& at = path.level[l + 1];
        CO_TRY(EXT4_INSIST(h.change(*at.buffer)));
        const u32 count = at.count(), keep = count / 2;
        const u32 hash = at.entries[keep].hash;
        entries[0].block = at.entries[keep].block;
        std::memcpy(entries + 1, at.entries + keep + 1, (count - keep - 1) * sizeof(RawHashEntry));
        counts.count = u16(count - keep);
        at.counts().count = u16(keep);
        insert_index_entry(above, hash, made.number);
        set_index_checksum(dir, at.buffer->data);
    }
    set_index_checksum(dir, made.buffer->data);
    set_index_checksum(dir, above.buffer->data);
    co_return lib::kOk;
}

struct Placed {
    u32 hash;
    u16 offset, bytes;
};

// Memory for the split of a leaf: its entries by hash, and a copy of it.
struct SplitMemory {
    explicit SplitMemory(u32 bytes) : bytes(bytes), most(bytes / 12) {
        entries = static_cast<Placed*>(rt::allocate(sizeof(Placed) * most));
        copy = static_cast<std::byte*>(rt::allocate(bytes));
    }
    ~SplitMemory() {
        if (entries) rt::deallocate(entries, sizeof(Placed) * most);
        if (copy) rt::deallocate(copy, bytes);
    }
    SplitMemory(const SplitMemory&) = delete;
    bool ok() const { return entries && copy; }
    u32 bytes, most;
    Placed* entries = nullptr;
    std::byte* copy = nullptr;
};

// Writes some entries into a block, one after another.
void pack(const Inode& dir, std::byte* to, const std::byte* from, std::span<const Placed> entries) {
    const u32 end = entries_end(dir.volume);
    std::memset(to, 0, dir.volume.geo.block_bytes);
    u32 at = 0;
    for (size_t n = 0; n < entries.size(); ++n) {
        std::memcpy(to + at, from + entries[n].offset, entries[n].bytes);
        const bool last = n + 1 == entries.size();
        reinterpret_cast<RawDirEntry*>(to + at)->record_length = u16(last ? end - at : entries[n].bytes);
        at += entries[n].bytes;
    }
    if (entries.empty()) reinterpret_cast<RawDirEntry*>(to)->record_length = u16(end);
    set_dir_checksum(dir, to);
}

// The entries of a leaf, sorted by hash. Returns how many.
Task<Result<u32>> sort_leaf(const Inode& dir, u8 version, Buffer& b, SplitMemory& memory) {
    DirCursor cursor{dir, b.data, entries_end(dir.volume)};
    u32 count = 0;
    while (const RawDirEntry* e = CO_TRY(cursor.next())) {
        if (count % 128 == 127) co_await rt::Yield{};
        if (e->inode == 0) continue;
        if (count == memory.most) co_return Errno::kUClean;
        memory.entries[count++] = {hash_name(dir.volume.geo, version, entry_name(*e)).major, u16(cursor.offset()),
                                   u16(dir_entry_bytes(e->name_length))};
    }
    std::sort(memory.entries, memory.entries + count, [](const Placed& x, const Placed& y) { return x.hash < y.hash; });
    co_return count;
}

// The upper half of a leaf, by hash, moves into a new one; the index has room for it.
Task<Result<void>> split_leaf(Handle& h, Inode& dir, HashPath& path, BufferRef leaf) {
    Volume& v = dir.volume;
    SplitMemory memory{v.geo.block_bytes};
    if (!memory.ok()) co_return Errno::kNoMem;
    const u32 count = CO_TRY(EXT4_MUST(sort_leaf(dir, path.version, *leaf, memory)));
    if (count < 2) co_return v.damaged("a full directory block without entries");
    u32 total = 0, lower = 0, keep = 0;
    for (u32 n = 0; n < count; ++n) total += memory.entries[n].bytes;
    while (keep < count - 1 && (keep == 0 || lower + memory.entries[keep].bytes <= total / 2))
        lower += memory.entries[keep++].bytes;
    const u32 hash = memory.entries[keep].hash;
    const bool continued = memory.entries[keep - 1].hash == hash;
    HashPath::Level& last = path.last();
    NewBlock made = CO_TRY(EXT4_MUST(append_block(h, dir)));
    CO_TRY(EXT4_INSIST(h.change(*leaf)));
    CO_TRY(EXT4_INSIST(h.change(*last.buffer)));
    std::memcpy(memory.copy, leaf->data, v.geo.block_bytes);
    pack(dir, leaf->data, memory.copy, {memory.entries, keep});
    pack(dir, made.buffer->data, memory.copy, {memory.entries + keep, count - keep});
    insert_index_entry(last, hash | (continued ? 1 : 0), made.number);
    set_index_checksum(dir, last.buffer->data);
    co_return lib::kOk;
}

Task<Result<void>> add_indexed(Handle& h, Inode& dir, std::string_view name, InodeNo inode, u8 type) {
    for (u32 round = 0; round < 12; ++round) {
        HashPath path;
        CO_TRY(EXT4_INSIST(co_await open_index(dir, path)));
        const u32 hash = hash_name(dir.volume.geo, path.version, name).major;
        CO_TRY(EXT4_INSIST(co_await descend_index(dir, hash, path)));
        BufferRef leaf = CO_TRY(EXT4_INSIST(co_await read_dir_block(dir, path.leaf(), DirBlockKind::kEntries)));
        if (CO_TRY(EXT4_MUST(add_in_block(h, dir, *leaf, name, inode, type)))) co_return lib::kOk;
        if (path.last().count() >= path.last().limit())
            CO_TRY(EXT4_MUST(make_index_room(h, dir, path)));
        else
            CO_TRY(EXT4_INSIST(EXT4_MUST(split_leaf(h, dir, path, leaf))));
    }
    co_return Errno::kNoSpc;  // all names of the leaf have one hash
}

}  // namespace

Task<Result<void>> add_entry(Handle& h, Inode& dir, std::string_view name, InodeNo inode, u8 type) {
    Volume& v = dir.volume;
    if (is_indexed(dir)) co_return EXT4_MUST(add_indexed(h, dir, name, inode, type));
    const FileBlock blocks = dir.blocks_of_size();
    for (FileBlock n = 0; n < blocks; ++n) {
        BufferRef b = CO_TRY(EXT4_INSIST(co_await read_dir_block(dir, n, DirBlockKind::kEntries)));
        if (CO_TRY(EXT4_MUST(add_in_block(h, dir, *b, name, inode, type)))) co_return lib::kOk;
        if (n % 16 == 15) co_await rt::Yield{};
    }
    dir.raw.flags = dir.raw.flags & ~u32{kInodeIndex};  // left by a system that knows indexes
    if (blocks == 1 && (v.geo.compat & compat::kDirIndex) && v.geo.default_hash <= kTea) {
        CO_TRY(EXT4_MUST(make_index(h, dir)));
        co_return EXT4_MUST(add_indexed(h, dir, name, inode, type));
    }
    NewBlock made = CO_TRY(EXT4_MUST(append_block(h, dir)));
    pack(dir, made.buffer->data, nullptr, {});
    if (!CO_TRY(EXT4_MUST(add_in_block(h, dir, *made.buffer, name, inode, type))))
        co_return v.damaged("no room in an empty block of a directory");
    co_return lib::kOk;
}

Task<Result<void>> make_first_block(Handle& h, Inode& dir, InodeNo parent) {
    NewBlock made = CO_TRY(EXT4_MUST(append_block(h, dir)));
    auto* dot = made.buffer->as<RawDirEntry>();
    fill_entry(dir.volume, *dot, ".", dir.number, kTypeDir);
    dot->record_length = 12;
    auto* up = made.buffer->as<RawDirEntry>(12);
    fill_entry(dir.volume, *up, "..", parent, kTypeDir);
    up->record_length = u16(entries_end(dir.volume) - 12);
    set_dir_checksum(dir, made.buffer->data);
    co_return lib::kOk;
}

namespace {

// The block with the entry; the index's root if that is where it is.
struct EntryPlace {
    BufferRef buffer;
    RawDirEntry* entry = nullptr;
    bool in_index = false;
};
Task<Result<EntryPlace>> find_entry(Inode& dir, std::string_view name) {
    const FoundEntry found = CO_TRY(EXT4_INSIST(co_await lookup(dir, name)));
    EntryPlace place;
    place.in_index = is_indexed(dir) && found.block == 0;
    place.buffer = CO_TRY(EXT4_INSIST(
        co_await read_dir_block(dir, found.block, place.in_index ? DirBlockKind::kIndex : DirBlockKind::kEntries)));
    place.entry = place.buffer->as<RawDirEntry>(found.offset);
    co_return std::move(place);
}

}  // namespace

Task<Result<void>> remove_entry(Handle& h, Inode& dir, std::string_view name) {
    EntryPlace place = CO_TRY(EXT4_MUST(find_entry(dir, name)));
    if (place.in_index) co_return Errno::kInval;
    CO_TRY(EXT4_INSIST(h.change(*place.buffer)));
    DirCursor cursor{dir, place.buffer->data, entries_end(dir.volume)};
    RawDirEntry* before = nullptr;
    while (RawDirEntry* e = CO_TRY(cursor.next())) {
        if (e == place.entry) break;
        before = e;
    }
    if (before)
        before->record_length = u16(before->record_length + place.entry->record_length);
    else
        place.entry->inode = 0;
    set_dir_checksum(dir, place.buffer->data);
    co_return lib::kOk;
}

Task<Result<void>> set_entry(Handle& h, Inode& dir, std::string_view name, InodeNo inode, u8 type) {
    EntryPlace place = CO_TRY(EXT4_MUST(find_entry(dir, name)));
    CO_TRY(EXT4_INSIST(h.change(*place.buffer)));
    place.entry->inode = inode;
    if (dir.volume.geo.incompat & incompat::kFileType) place.entry->type = type;
    if (place.in_index)
        set_index_checksum(dir, place.buffer->data);
    else
        set_dir_checksum(dir, place.buffer->data);
    co_return lib::kOk;
}

}  // namespace ext4
