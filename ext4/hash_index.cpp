// SPDX-License-Identifier: MIT
// Reading the index of a directory (htree): a tree of at most four levels, ordered by the hash of the name.
#include <algorithm>

#include "ext4/directory.hpp"
#include "ext4/file.hpp"

namespace ext4 {

bool is_indexed(const Inode& dir) {
    return (dir.volume.geo.compat & compat::kDirIndex) && dir.has(kInodeIndex) && !dir.has(kInodeInlineData);
}

namespace {

// The array of a block of the index: its place is fixed, its limit what fits.
Result<void> check_level(const Volume& v, HashPath::Level& at, u32 offset) {
    at.entries = at.buffer->as<RawHashEntry>(offset);
    const u32 tail = v.geo.has_checksums() ? u32(sizeof(RawHashTail)) : 0;
    const u32 room = (v.geo.block_bytes - offset - tail) / sizeof(RawHashEntry);
    if (at.limit() != room || at.count() == 0 || at.count() > room) return Errno::kUClean;
    return lib::kOk;
}

// The last entry whose hash is at most `major`; the first one counts as 0.
u32 search(const HashPath::Level& at, u32 major) {
    u32 low = 1, high = at.count();
    while (low < high) {
        const u32 middle = low + (high - low) / 2;
        if (at.entries[middle].hash > major)
            high = middle;
        else
            low = middle + 1;
    }
    return low - 1;
}

Task<Result<void>> read_level(Inode& dir, HashPath& path, u32 level) {
    HashPath::Level& at = path.level[level];
    at.buffer = CO_TRY(co_await read_dir_block(dir, path.level[level - 1].block(), DirBlockKind::kIndex));
    if (at.buffer->as<RawDirEntry>()->record_length != dir.volume.geo.block_bytes) co_return Errno::kUClean;
    co_return check_level(dir.volume, at, sizeof(RawDirEntry));
}

}  // namespace

Task<Result<void>> open_index(Inode& dir, HashPath& path) {
    const Volume& v = dir.volume;
    HashPath::Level& root = path.level[0];
    root.buffer = CO_TRY(co_await read_dir_block(dir, 0, DirBlockKind::kIndex));
    const auto* dot = root.buffer->as<RawDirEntry>();
    const auto* parent = root.buffer->as<RawDirEntry>(12);
    const auto* info = root.buffer->as<RawHashInfo>(24);
    if (dot->record_length != 12 || dot->name_length != 1 || parent->name_length != 2 ||
        parent->record_length != v.geo.block_bytes - 12)
        co_return Errno::kUClean;
    const u32 most = v.geo.incompat & incompat::kLargeDir ? kMaxIndexLevels : kMaxIndexLevels - 1;
    if (!known_hash(info->hash_version) || info->info_length != sizeof *info || (info->flags & 1) ||
        info->levels >= most)
        co_return Errno::kUClean;
    path.version = info->hash_version;
    path.levels = info->levels;
    co_return check_level(v, root, 32);
}

Task<Result<void>> descend_index(Inode& dir, u32 major, HashPath& path) {
    for (u32 l = 0;; ++l) {
        path.level[l].at = search(path.level[l], major);
        if (l == path.levels) co_return lib::kOk;
        CO_TRY(co_await read_level(dir, path, l + 1));
    }
}

Task<Result<bool>> next_leaf(Inode& dir, HashPath& path, u32& hash) {
    u32 l = path.levels;
    while (path.level[l].at + 1 >= path.level[l].count()) {
        if (l == 0) co_return false;
        --l;
    }
    ++path.level[l].at;
    hash = path.level[l].entries[path.level[l].at].hash;
    for (; l < path.levels; ++l) {
        CO_TRY(co_await read_level(dir, path, l + 1));
        path.level[l + 1].at = 0;
    }
    co_return true;
}

namespace {

struct Candidate {
    NameHash hash;
    u16 offset;
    u16 leaf;  // of those held
};

// The smallest entries from a position on, of some leaves that hold names of one hash. Bounded: what does not fit comes next
// time.
class Selection {
public:
    static constexpr u32 kMost = 512;
    ~Selection() {
        if (of_) rt::deallocate(of_, sizeof(Candidate) * kMost);
    }
    Result<void> allocate() {
        of_ = static_cast<Candidate*>(rt::allocate(sizeof(Candidate) * kMost));
        if (!of_) return Errno::kNoMem;
        return lib::kOk;
    }
    void clear() {
        count_ = 0;
        truncated_ = false;
    }
    void add(const Candidate& c) {
        if (count_ < kMost) {
            of_[count_++] = c;
            std::push_heap(of_, of_ + count_, less);
            return;
        }
        truncated_ = true;
        if (!(c.hash < of_[0].hash)) return;
        std::pop_heap(of_, of_ + count_, less);
        of_[count_ - 1] = c;
        std::push_heap(of_, of_ + count_, less);
    }
    std::span<Candidate> sorted() {
        std::sort_heap(of_, of_ + count_, less);
        return {of_, count_};
    }
    bool truncated() const { return truncated_; }

private:
    static bool less(const Candidate& a, const Candidate& b) { return a.hash < b.hash; }
    Candidate* of_ = nullptr;
    u32 count_ = 0;
    bool truncated_ = false;
};

// Cookies: 0 is ".", 1 is "..", 2 and more the hash of the name.
constexpr u64 kFirstHashCookie = 2;
u64 cookie_of(NameHash h) { return (u64{h.major >> 1} << 32 | h.minor) + kFirstHashCookie; }
NameHash hash_of(u64 cookie) {
    const u64 n = cookie - kFirstHashCookie;
    return {u32(n >> 32) << 1, u32(n)};
}

u8 listed_type(const Volume& v, u8 type) {
    // DT_FIFO 1, DT_CHR 2, DT_DIR 4, DT_BLK 6, DT_REG 8, DT_LNK 10, DT_SOCK 12.
    constexpr u8 types[] = {0, 8, 4, 2, 6, 1, 12, 10};
    return (v.geo.incompat & incompat::kFileType) && type < sizeof types ? types[type] : u8{0};
}

// The leaves that were searched stay in memory until their entries have been handed out.
struct Leaves {
    static constexpr u32 kMost = 16;  // names of one hash in more leaves than that are an attack
    BufferRef of[kMost];
    u32 count = 0;
};

// A block may have 340 names, of which each is hashed: in pieces.
Task<Result<void>> collect(Inode& dir, const HashPath& path, Leaves& leaves, NameHash from, Selection& selection) {
    Buffer& b = *leaves.of[leaves.count - 1];
    u32 looked = 0;
    DirCursor cursor{dir, b.data, entries_end(dir.volume)};
    while (const RawDirEntry* e = CO_TRY(cursor.next())) {
        if (++looked % 128 == 0) co_await rt::Yield{};
        if (e->inode == 0 || is_dot(entry_name(*e))) continue;
        const NameHash h = hash_name(dir.volume.geo, path.version, entry_name(*e));
        if (!(h < from)) selection.add({h, u16(cursor.offset()), u16(leaves.count - 1)});
    }
    co_return lib::kOk;
}

// Hands the selection out; `position` becomes where to continue. False: the sink is full.
bool hand_out(Inode& dir, Leaves& leaves, Selection& selection, EntrySink& sink, u64& position) {
    const auto sorted = selection.sorted();
    for (u32 n = 0; n < sorted.size(); ++n) {
        const auto* e = leaves.of[sorted[n].leaf]->as<RawDirEntry>(sorted[n].offset);
        const u64 here = cookie_of(sorted[n].hash);
        const bool twin = n + 1 < sorted.size() && sorted[n + 1].hash == sorted[n].hash;
        position = here;
        const u64 next = twin ? here : here + 1;
        if (!sink.add({e->inode, listed_type(dir.volume, e->type), entry_name(*e), next})) return false;
        position = next;
    }
    return true;
}

// One step: the leaves that can hold `position`. Afterwards `position` is past them, or where the sink was full (false).
Task<Result<bool>> hand_out_leaves(Inode& dir, HashPath& path, bool indexed, Selection& selection, EntrySink& sink,
                                   u64& position) {
    const NameHash from = hash_of(position);
    Leaves leaves;
    selection.clear();
    bool more = false;
    u32 next = 0;
    if (indexed) {
        CO_TRY(co_await open_index(dir, path));
        CO_TRY(co_await descend_index(dir, from.major, path));
    }
    for (;;) {
        if (leaves.count == Leaves::kMost) co_return Errno::kUClean;
        const FileBlock block = indexed ? path.leaf() : 0;
        leaves.of[leaves.count++] = CO_TRY(co_await read_dir_block(dir, block, DirBlockKind::kEntries));
        CO_TRY(co_await collect(dir, path, leaves, from, selection));
        if (!indexed) break;
        more = CO_TRY(co_await next_leaf(dir, path, next));
        if (!more || !(next & 1)) break;
    }
    if (!hand_out(dir, leaves, selection, sink, position)) co_return false;
    if (selection.truncated()) co_return true;
    const u64 after = more ? cookie_of({next & ~1u, 0}) : kEndCookie;
    if (after <= position && more && after < cookie_of(from)) co_return Errno::kUClean;  // the hashes do not ascend
    position = std::max(position, after);
    co_return true;
}

Task<Result<u64>> iterate_by_hash(Inode& dir, u64 cookie, EntrySink& sink, bool indexed) {
    HashPath path;
    path.version = dir.volume.geo.default_hash;
    Selection selection;
    CO_TRY(selection.allocate());
    for (; cookie < kFirstHashCookie; ++cookie) {
        const std::string_view name = cookie == 0 ? "." : "..";
        const FoundEntry e = CO_TRY(co_await lookup(dir, name));
        if (!sink.add({e.inode, listed_type(dir.volume, kTypeDir), name, cookie + 1})) co_return cookie;
    }
    while (cookie < kEndCookie) {
        const u64 before = cookie;
        if (!CO_TRY(co_await hand_out_leaves(dir, path, indexed, selection, sink, cookie))) break;
        if (cookie <= before) co_return Errno::kUClean;
        co_await rt::Yield{};
    }
    co_return cookie;
}

// By place: the cookie is the offset in the directory.
Task<Result<u64>> iterate_by_place(Inode& dir, u64 cookie, EntrySink& sink) {
    const u32 shift = dir.volume.geo.block_shift;
    const FileBlock blocks = dir.blocks_of_size();
    for (u64 block = cookie >> shift; block < blocks; ++block) {
        BufferRef b = CO_TRY(co_await read_dir_block(dir, FileBlock(block), DirBlockKind::kEntries));
        DirCursor cursor{dir, b->data, entries_end(dir.volume)};
        while (const RawDirEntry* e = CO_TRY(cursor.next())) {
            const u64 here = (block << shift) + cursor.offset();
            if (here < cookie || e->inode == 0) continue;
            if (!sink.add({e->inode, listed_type(dir.volume, e->type), entry_name(*e), here + e->record_length}))
                co_return here;
        }
        if (block % 16 == 15) co_await rt::Yield{};
    }
    co_return kEndCookie;
}

Task<Result<u64>> iterate_inline(Inode& dir, u64 cookie, EntrySink& sink) {
    for (; cookie < 2; ++cookie) {
        const std::string_view name = cookie == 0 ? "." : "..";
        const FoundEntry e = CO_TRY(co_await lookup(dir, name));
        if (!sink.add({e.inode, listed_type(dir.volume, kTypeDir), name, cookie + 1})) co_return cookie;
    }
    InlineData data;
    CO_TRY(co_await read_inline(dir, data));
    u64 base = 2;
    for (u32 p = 0; p < 2; ++p) {
        const auto part = p == 0 ? data.part[0].subspan(sizeof(Le32)) : data.part[1];
        DirCursor cursor{dir, part.data(), u32(part.size())};
        while (const RawDirEntry* e = CO_TRY(cursor.next())) {
            const u64 here = base + cursor.offset();
            if (here < cookie || e->inode == 0) continue;
            if (!sink.add({e->inode, listed_type(dir.volume, e->type), entry_name(*e), here + e->record_length}))
                co_return here;
        }
        base += part.size();
    }
    co_return kEndCookie;
}

}  // namespace

Task<Result<u64>> iterate(Inode& dir, u64 cookie, EntrySink& sink) {
    if (!dir.is_directory()) co_return Errno::kNotDir;
    if (cookie >= kEndCookie) co_return kEndCookie;
    if (dir.has(kInodeInlineData)) co_return co_await iterate_inline(dir, cookie, sink);
    const bool indexed = is_indexed(dir);
    const bool one_block = dir.blocks_of_size() == 1 && (dir.volume.geo.compat & compat::kDirIndex) &&
                           known_hash(dir.volume.geo.default_hash);
    if (indexed || one_block) co_return co_await iterate_by_hash(dir, cookie, sink, indexed);
    co_return co_await iterate_by_place(dir, cookie, sink);
}

}  // namespace ext4
