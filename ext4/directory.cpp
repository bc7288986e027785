// SPDX-License-Identifier: MIT
// Looking up names, and the order without an index.
#include "ext4/directory.hpp"

#include <cstddef>
#include <cstring>

#include "ext4/file.hpp"
#include "ext4/map.hpp"

namespace ext4 {

Result<RawDirEntry*> DirCursor::next() {
    if (next_ >= end_) return static_cast<RawDirEntry*>(nullptr);
    at_ = next_;
    if (end_ - at_ < sizeof(RawDirEntry)) return Errno::kUClean;
    auto* e = reinterpret_cast<RawDirEntry*>(data_ + at_);
    const u32 length = e->record_length;
    if (length % 4 != 0 || length > end_ - at_ || length < dir_entry_bytes(e->name_length) ||
        e->inode > dir_.volume.geo.inodes)
        return Errno::kUClean;
    next_ = at_ + length;
    return e;
}

u32 dir_tail_checksum(const Inode& dir, const std::byte* data) {
    return crc32c(dir.checksum_seed(), data, dir.volume.geo.block_bytes - sizeof(RawDirTail));
}

void set_dir_checksum(const Inode& dir, std::byte* data) {
    if (!dir.volume.geo.has_checksums()) return;
    auto* tail = reinterpret_cast<RawDirTail*>(data + dir.volume.geo.block_bytes - sizeof(RawDirTail));
    *tail = {};
    tail->record_length = u16(sizeof *tail);
    tail->type = kDirTailType;
    tail->checksum = dir_tail_checksum(dir, data);
}

namespace {

enum : u64 { kVerifiedEntries = u64{2} << 32, kVerifiedIndex = u64{3} << 32 };

// Where the array of a block of the index begins: behind "." and ".." and the root's info, or one empty entry.
u32 index_offset(const std::byte* data, u32 block_bytes) {
    const auto* e = reinterpret_cast<const RawDirEntry*>(data);
    return e->record_length == block_bytes ? sizeof(RawDirEntry) : 32;
}

Result<u32> index_checksum(const Inode& dir, const std::byte* data) {
    const u32 bytes = dir.volume.geo.block_bytes, at = index_offset(data, bytes);
    const auto& counts = *reinterpret_cast<const RawHashLimit*>(data + at);
    const u32 count = counts.count, limit = counts.limit;
    if (count > limit || at + limit * sizeof(RawHashEntry) + sizeof(RawHashTail) > bytes) return Errno::kUClean;
    const auto* tail = reinterpret_cast<const RawHashTail*>(data + at + limit * sizeof(RawHashEntry));
    const Le32 none{};
    u32 c = crc32c(dir.checksum_seed(), data, at + count * sizeof(RawHashEntry));
    c = crc32c(c, &tail->reserved, sizeof tail->reserved);
    return crc32c(c, &none, sizeof none);
}

RawHashTail* index_tail(std::byte* data, u32 block_bytes) {
    const u32 at = index_offset(data, block_bytes);
    const u32 limit = reinterpret_cast<const RawHashLimit*>(data + at)->limit;
    return reinterpret_cast<RawHashTail*>(data + at + limit * sizeof(RawHashEntry));
}

Result<void> verify(const Inode& dir, Buffer& b, DirBlockKind kind) {
    if (!dir.volume.geo.has_checksums()) return lib::kOk;
    const u64 as = (kind == DirBlockKind::kEntries ? kVerifiedEntries : kVerifiedIndex) | dir.number;
    if (b.verified.load(std::memory_order_relaxed) == as) return lib::kOk;
    const u32 bytes = dir.volume.geo.block_bytes;
    if (kind == DirBlockKind::kEntries) {
        const auto* tail = b.as<RawDirTail>(bytes - sizeof(RawDirTail));
        if (tail->zero != 0 || tail->record_length != sizeof *tail || tail->zero_name != 0 ||
            tail->type != kDirTailType)
            return Errno::kUClean;
        if (tail->checksum != dir_tail_checksum(dir, b.data)) return Errno::kBadMsg;
    } else if (TRY(index_checksum(dir, b.data)) != index_tail(b.data, bytes)->checksum) {
        return Errno::kBadMsg;
    }
    b.verified.store(as, std::memory_order_relaxed);
    return lib::kOk;
}

}  // namespace

void set_index_checksum(const Inode& dir, std::byte* data) {
    if (!dir.volume.geo.has_checksums()) return;
    const auto sum = index_checksum(dir, data);
    RT_ASSERT(sum.ok(), "ext4: an index block without room for its checksum");
    if (sum.ok()) index_tail(data, dir.volume.geo.block_bytes)->checksum = sum.value();
}

Task<Result<BufferRef>> read_dir_block(Inode& dir, FileBlock block, DirBlockKind kind) {
    if (block >= dir.blocks_of_size()) co_return Errno::kUClean;
    const BlockNo at = CO_TRY(co_await map_one(dir, block));
    if (at == 0) co_return Errno::kUClean;
    BufferRef b = CO_TRY(co_await dir.volume.cache.read(at));
    CO_TRY(verify(dir, *b, kind));
    co_return std::move(b);
}

Result<RawDirEntry*> find_in_block(const Inode& dir, std::byte* data, u32 end, std::string_view name) {
    DirCursor cursor{dir, data, end};
    while (RawDirEntry* e = TRY(cursor.next()))
        if (e->inode != 0 && entry_name(*e) == name) return e;
    return static_cast<RawDirEntry*>(nullptr);
}

namespace {

Task<Result<FoundEntry>> lookup_in(Inode& dir, FileBlock block, std::string_view name) {
    BufferRef b = CO_TRY(co_await read_dir_block(dir, block, DirBlockKind::kEntries));
    const RawDirEntry* e = CO_TRY(find_in_block(dir, b->data, entries_end(dir.volume), name));
    if (!e) co_return Errno::kNoEnt;
    co_return FoundEntry{e->inode, e->type, block, u32(reinterpret_cast<const std::byte*>(e) - b->data)};
}

Task<Result<FoundEntry>> lookup_indexed(Inode& dir, std::string_view name) {
    HashPath path;
    CO_TRY(co_await open_index(dir, path));
    if (is_dot(name)) {  // they are in the root of the index
        const RawDirEntry* e = CO_TRY(find_in_block(dir, path.level[0].buffer->data, dir.volume.geo.block_bytes, name));
        if (!e) co_return Errno::kUClean;
        co_return FoundEntry{e->inode, e->type, 0,
                             u32(reinterpret_cast<const std::byte*>(e) - path.level[0].buffer->data)};
    }
    const NameHash hash = hash_name(dir.volume.geo, path.version, name);
    CO_TRY(co_await descend_index(dir, hash.major, path));
    for (u32 n = 0;; ++n) {
        auto found = co_await lookup_in(dir, path.leaf(), name);
        if (found.ok() || found.error() != Errno::kNoEnt) co_return std::move(found);
        u32 next = 0;
        // Names of one hash may go on in the next leaf.
        if (!CO_TRY(co_await next_leaf(dir, path, next)) || next != (hash.major | 1)) co_return Errno::kNoEnt;
        if (n % 16 == 15) co_await rt::Yield{};
    }
}

Task<Result<FoundEntry>> lookup_inline(Inode& dir, std::string_view name) {
    InlineData data;
    CO_TRY(co_await read_inline(dir, data));
    if (is_dot(name)) {
        const InodeNo n = name == "." ? dir.number : InodeNo(*reinterpret_cast<const Le32*>(data.part[0].data()));
        co_return FoundEntry{n, kTypeDir, 0, 0};
    }
    for (u32 p = 0; p < 2; ++p) {
        const auto part = p == 0 ? data.part[0].subspan(sizeof(Le32)) : data.part[1];
        const RawDirEntry* e = CO_TRY(find_in_block(dir, part.data(), u32(part.size()), name));
        if (e) co_return FoundEntry{e->inode, e->type, 0, 0};
    }
    co_return Errno::kNoEnt;
}

}  // namespace

Task<Result<FoundEntry>> lookup(Inode& dir, std::string_view name) {
    if (!dir.is_directory()) co_return Errno::kNotDir;
    if (name.size() > kMaxName) co_return Errno::kNameTooLong;
    if (dir.has(kInodeInlineData)) co_return co_await lookup_inline(dir, name);
    if (is_indexed(dir)) co_return co_await lookup_indexed(dir, name);
    const FileBlock blocks = dir.blocks_of_size();
    for (FileBlock b = 0; b < blocks; ++b) {
        auto found = co_await lookup_in(dir, b, name);
        if (found.ok() || found.error() != Errno::kNoEnt) co_return std::move(found);
        if (b % 16 == 15) co_await rt::Yield{};
    }
    co_return Errno::kNoEnt;
}

namespace {

// What iterate() and is_empty_directory() give: true for an entry that is not "." or "..".
class AnyEntry : public EntrySink {
public:
    bool add(const ListedEntry& e) override {
        if (is_dot(e.name)) return true;
        found = true;
        return false;
    }
    bool found = false;
};

}  // namespace

Task<Result<bool>> is_empty_directory(Inode& dir) {
    AnyEntry any;
    (void)CO_TRY(co_await iterate(dir, 0, any));
    co_return !any.found;
}

}  // namespace ext4
