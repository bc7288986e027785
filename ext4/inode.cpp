// SPDX-License-Identifier: MIT
#include "ext4/inode.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "ext4/volume.hpp"

namespace ext4 {

// ---- The table ----

Ref<Inode> InodeTable::find(InodeNo n) {
    rt::LockGuard guard{lock_};
    for (Inode* i = buckets_[n % kBuckets]; i; i = i->next_in_table)
        if (i->number == n && i->try_ref()) return Ref<Inode>::adopt(i);
    return {};
}

Ref<Inode> InodeTable::add(Ref<Inode> made) {
    rt::LockGuard guard{lock_};
    Inode*& head = buckets_[made->number % kBuckets];
    for (Inode* i = head; i; i = i->next_in_table)
        if (i->number == made->number && i->try_ref()) return Ref<Inode>::adopt(i);
    made->next_in_table = head;
    head = made.get();
    count_.fetch_add(1, std::memory_order_relaxed);
    return made;
}

void InodeTable::remove(Inode& gone) {
    rt::LockGuard guard{lock_};
    for (Inode** at = &buckets_[gone.number % kBuckets]; *at; at = &(*at)->next_in_table)
        if (*at == &gone) {
            *at = gone.next_in_table;
            count_.fetch_sub(1, std::memory_order_relaxed);
            return;
        }
}

void Inode::last_ref(Inode* i) {
    i->volume.inodes.remove(*i);
    delete i;
}

// ---- Attributes ----

u64 Inode::sectors() const {
    u64 n = raw.blocks_lo;
    if (volume.geo.ro_compat & ro_compat::kHugeFile) {
        n |= u64{raw.blocks_hi} << 32;
        if (has(kInodeHugeFile)) n <<= volume.geo.block_shift - 9;
    }
    return n;
}

void Inode::add_blocks(i64 blocks) {
    const u32 shift = volume.geo.block_shift - 9;
    u64 n = sectors() + (u64(blocks) << shift);
    const bool huge = volume.geo.ro_compat & ro_compat::kHugeFile;
    u32 flags = raw.flags & ~u32{kInodeHugeFile};
    if (huge && n >> 48) {
        flags |= kInodeHugeFile;
        n >>= shift;
    }
    raw.flags = flags;
    raw.blocks_lo = u32(n);
    raw.blocks_hi = huge ? u16(n >> 32) : u16{0};
}

u32 Inode::checksum_seed() const { return crc32c_le32(crc32c_le32(volume.geo.seed, number), raw.generation); }

FileBlock Inode::blocks_of_size() const {
    const u64 n = (size() + volume.geo.block_bytes - 1) >> volume.geo.block_shift;
    return n > 0xffff'ffff ? 0xffff'ffff : FileBlock(n);
}

bool Inode::is_fast_symlink() const {
    if (!is_symlink() || has(kInodeInlineData) || size() >= kRawBlockBytes) return false;
    const u64 attribute_block = file_acl() ? volume.geo.block_bytes / 512 : 0;
    return sectors() == attribute_block;
}

u32 Inode::device() const {
    // Old numbers (8 bits each) are in the first word, others in the second.
    if (const u32 old = raw.block[0]) return (old & 0xff00) | (old & 0xff);
    return raw.block[1];
}

namespace {

// Whether the inode has room for a field that ends at `end`.
bool has_field(const Inode& i, u32 end) {
    return i.volume.geo.inode_bytes > kGoodOldInodeBytes && kGoodOldInodeBytes + i.raw.extra_size >= end;
}

struct TimeField {
    Le32 RawInode::* seconds;
    Le32 RawInode::* extra;
    u32 end;
};
constexpr TimeField kTimes[] = {
    {&RawInode::accessed, &RawInode::accessed_extra, offsetof(RawInode, accessed_extra) + 4},
    {&RawInode::changed, &RawInode::changed_extra, offsetof(RawInode, changed_extra) + 4},
    {&RawInode::modified, &RawInode::modified_extra, offsetof(RawInode, modified_extra) + 4},
    {&RawInode::born, &RawInode::born_extra, offsetof(RawInode, born_extra) + 4},
};

}  // namespace

Time get_time(const Inode& i, TimeOf which) {
    const TimeField& f = kTimes[u32(which)];
    if (which == TimeOf::kBorn && !has_field(i, f.end)) return {};
    Time t{.seconds = i32(u32(i.raw.*f.seconds)), .nanoseconds = 0};
    if (has_field(i, f.end)) {
        // Two bits more of the seconds, then the nanoseconds.
        const u32 extra = i.raw.*f.extra;
        t.seconds += i64(extra & 3) << 32;
        t.nanoseconds = std::min(extra >> 2, 999'999'999u);
    }
    return t;
}

void set_time(Inode& i, TimeOf which, Time t) {
    const TimeField& f = kTimes[u32(which)];
    const bool wide = has_field(i, f.end);
    if (which == TimeOf::kBorn && !wide) return;
    constexpr i64 least = -(i64{1} << 31);
    const i64 most = wide ? (i64{1} << 34) + least - 1 : (i64{1} << 31) - 1;
    t.seconds = std::clamp(t.seconds, least, most);
    i.raw.*f.seconds = u32(t.seconds);
    if (wide) {
        const u32 epoch = u32((t.seconds - i32(u32(t.seconds))) >> 32) & 3;
        i.raw.*f.extra = t.nanoseconds << 2 | epoch;
    }
}

// ---- Reading ----

Result<InodePlace> inode_place(const Volume& v, InodeNo n) {
    if (n == 0 || n > v.geo.inodes) return Errno::kUClean;
    const GroupRef g = v.group(v.geo.group_of_inode(n));
    const u32 offset = (n - 1) % v.geo.inodes_per_group * v.geo.inode_bytes;
    return InodePlace{g.inode_table() + (offset >> v.geo.block_shift), offset & (v.geo.block_bytes - 1)};
}

u32 inode_checksum(const Volume& v, InodeNo n, const std::byte* raw) {
    const Geometry& geo = v.geo;
    const auto& r = *reinterpret_cast<const RawInode*>(raw);
    constexpr u32 low = offsetof(RawInode, checksum_lo), high = offsetof(RawInode, checksum_hi);
    const Le16 none{};
    u32 c = crc32c_le32(crc32c_le32(geo.seed, n), r.generation);
    c = crc32c(c, raw, low);
    c = crc32c(c, &none, sizeof none);
    if (geo.inode_bytes == kGoodOldInodeBytes) return crc32c(c, raw + low + 2, kGoodOldInodeBytes - low - 2) & 0xffff;
    c = crc32c(c, raw + low + 2, kGoodOldInodeBytes - low - 2);
    const bool has_high = kGoodOldInodeBytes + r.extra_size >= high + 2;
    c = crc32c(c, raw + kGoodOldInodeBytes, high - kGoodOldInodeBytes);
    if (has_high) {
        c = crc32c(c, &none, sizeof none);
        return crc32c(c, raw + high + 2, geo.inode_bytes - high - 2);
    }
    return crc32c(c, raw + high, geo.inode_bytes - high) & 0xffff;
}

namespace {

u32 stored_checksum(const Volume& v, const RawInode& r) {
    const bool has_high = v.geo.inode_bytes > kGoodOldInodeBytes &&
                          kGoodOldInodeBytes + r.extra_size >= offsetof(RawInode, checksum_hi) + 2;
    return r.checksum_lo | (has_high ? u32(r.checksum_hi) << 16 : 0);
}

Result<void> check_inode(const Inode& i, bool deleted) {
    const Geometry& geo = i.volume.geo;
    switch (i.type()) {
        case abi::kTypeRegular:
        case abi::kTypeDirectory:
        case abi::kTypeLink:
        case abi::kTypeChar:
        case abi::kTypeBlock:
        case abi::kTypeFifo:
        case abi::kTypeSocket: break;
        default: return Errno::kUClean;
    }
    if (i.size() >> 63) return Errno::kUClean;
    if (i.is_directory() && !i.has(kInodeInlineData) &&
        ((i.size() == 0 && !deleted) || i.size() % geo.block_bytes != 0 || i.size() >> geo.block_shift > 0x7fff'ffff))
        return Errno::kUClean;
    if (i.is_symlink() && i.size() > geo.block_bytes) return Errno::kUClean;
    if (i.file_acl() && !geo.in_volume(i.file_acl(), 1)) return Errno::kUClean;
    if (i.has(kInodeInlineData) && !(geo.incompat & incompat::kInlineData)) return Errno::kUClean;
    if (i.has(kInodeExtents) && !(geo.incompat & incompat::kExtents)) return Errno::kUClean;
    return lib::kOk;
}

}  // namespace

Task<Result<Ref<Inode>>> get_inode(Volume& v, InodeNo n, bool deleted) {
    if (Ref<Inode> i = v.inodes.find(n)) co_return std::move(i);
    const InodePlace at = CO_TRY(inode_place(v, n));
    Ref<Inode> made = CO_TRY(rt::make_ref<Inode>(v, n));
    {
        BufferRef table = CO_TRY(co_await v.cache.read(at.block));
        const std::byte* raw = table->data + at.offset;
        std::memcpy(&made->raw, raw, std::min<size_t>(sizeof made->raw, v.geo.inode_bytes));
        if (v.geo.inode_bytes > kGoodOldInodeBytes) {
            const u32 extra = made->raw.extra_size;
            if (extra > v.geo.inode_bytes - kGoodOldInodeBytes || extra % 4 != 0) co_return Errno::kUClean;
        }
        if (!deleted && (made->raw.links == 0 || made->raw.mode == 0)) co_return Errno::kStale;
        if (v.geo.has_checksums() && inode_checksum(v, n, raw) != stored_checksum(v, made->raw))
            co_return Errno::kBadMsg;
    }
    CO_TRY(check_inode(*made, deleted));
    co_return v.inodes.add(std::move(made));
}

}  // namespace ext4
