// SPDX-License-Identifier: MIT
// Writing inodes, and the list of orphans: inodes without a name that are in use, or whose truncation has begun.
#include <algorithm>
#include <cstddef>
#include <cstring>

#include "ext4/allocate.hpp"
#include "ext4/map_write.hpp"
#include "ext4/orphans.hpp"

namespace ext4 {

namespace {

void set_inode_checksum(const Volume& v, InodeNo n, std::byte* raw) {
    if (!v.geo.has_checksums()) return;
    auto& r = *reinterpret_cast<RawInode*>(raw);
    const u32 sum = inode_checksum(v, n, raw);
    r.checksum_lo = u16(sum);
    if (v.geo.inode_bytes > kGoodOldInodeBytes &&
        kGoodOldInodeBytes + r.extra_size >= offsetof(RawInode, checksum_hi) + 2)
        r.checksum_hi = u16(sum >> 16);
}

// How many bytes of the fields the inode has room for.
u32 field_bytes(const Inode& i) {
    if (i.volume.geo.inode_bytes == kGoodOldInodeBytes) return kGoodOldInodeBytes;
    return std::min<u32>(sizeof(RawInode), kGoodOldInodeBytes + std::max<u32>(i.raw.extra_size, 4));
}

struct TablePlace {
    BufferRef buffer;
    std::byte* raw;
};
Task<Result<TablePlace>> change_place(Handle& h, InodeNo n) {
    const InodePlace at = CO_TRY(inode_place(h.volume, n));
    BufferRef b = CO_TRY(EXT4_INSIST(co_await h.volume.cache.read(at.block)));
    CO_TRY(EXT4_INSIST(h.change(*b)));
    std::byte* raw = b->data + at.offset;
    co_return TablePlace{std::move(b), raw};
}

}  // namespace

Task<Result<void>> save_inode(Handle& h, Inode& i) { co_return EXT4_MUST(save_inode_and(h, i, {})); }

Task<Result<void>> save_inode_and(Handle& h, Inode& i, std::span<const std::byte> behind) {
    TablePlace place = CO_TRY(EXT4_INSIST(co_await change_place(h, i.number)));
    i.changed_in = h.transaction_number();
    rt::LockGuard guard{h.volume.inodes.save_lock};
    std::memcpy(place.raw, &i.raw, field_bytes(i));
    if (!behind.empty()) std::memcpy(place.raw + kGoodOldInodeBytes + i.raw.extra_size, behind.data(), behind.size());
    set_inode_checksum(h.volume, i.number, place.raw);
    co_return lib::kOk;
}

Task<Result<Ref<Inode>>> make_inode(Handle& h, Volume& v, InodeNo n, const NewInode& what) {
    Ref<Inode> i = CO_TRY(EXT4_INSIST(rt::make_ref<Inode>(v, n)));
    TablePlace place = CO_TRY(EXT4_INSIST(co_await change_place(h, n)));
    RawInode& r = i->raw;
    r.mode = u16(what.mode);
    r.uid_lo = u16(what.uid);
    r.uid_hi = u16(what.uid >> 16);
    r.gid_lo = u16(what.gid);
    r.gid_hi = u16(what.gid >> 16);
    const Time now = v.now();
    r.generation =
        crc32c_le32(v.generation.fetch_add(1, std::memory_order_relaxed), u32(now.nanoseconds ^ now.seconds));
    if (v.geo.inode_bytes > kGoodOldInodeBytes) {
        constexpr u32 all = sizeof(RawInode) - kGoodOldInodeBytes;
        r.extra_size = u16(std::clamp<u32>(v.super->want_extra_isize, 28, all) & ~3u);
    }
    for (const TimeOf t : {TimeOf::kAccessed, TimeOf::kChanged, TimeOf::kModified, TimeOf::kBorn}) set_time(*i, t, now);
    const u32 type = what.mode & abi::kTypeMask;
    if (type == abi::kTypeRegular || type == abi::kTypeDirectory) make_empty_map(*i);
    if (type == abi::kTypeChar || type == abi::kTypeBlock) {
        // As old systems read it, if it fits.
        const u32 major = what.device >> 8 & 0xfff, minor = (what.device & 0xff) | (what.device >> 12 & 0xfff00);
        r.block[major < 256 && minor < 256 ? 0 : 1] = what.device;
    }
    i->changed_in = h.transaction_number();
    {
        rt::LockGuard guard{v.inodes.save_lock};
        std::memset(place.raw, 0, v.geo.inode_bytes);
        std::memcpy(place.raw, &r, field_bytes(*i));
        set_inode_checksum(v, n, place.raw);
    }
    Ref<Inode> added = v.inodes.add(i);
    if (added != i) co_return v.damaged("a new inode is in use");
    co_return std::move(i);
}

// ---- Orphans ----

namespace {

// The link to the next orphan, in the place of the time of deletion; the rest of the inode may be changed at the same time.
Task<Result<void>> save_orphan_link(Handle& h, Inode& i, InodeNo next) {
    TablePlace place = CO_TRY(EXT4_INSIST(co_await change_place(h, i.number)));
    rt::LockGuard guard{h.volume.inodes.save_lock};
    i.raw.deleted = next;
    reinterpret_cast<RawInode*>(place.raw)->deleted = next;
    set_inode_checksum(h.volume, i.number, place.raw);
    co_return lib::kOk;
}

Task<Result<void>> save_first_orphan(Handle& h, InodeNo first) {
    Volume& v = h.volume;
    CO_TRY(EXT4_INSIST(h.change(*v.super_buffer)));
    v.super->last_orphan = first;
    set_super_checksum(v);
    co_return lib::kOk;
}

}  // namespace

Task<Result<void>> add_orphan(Handle& h, Inode& i) {
    Volume& v = h.volume;
    auto guard = CO_TRY(EXT4_INSIST(co_await v.orphan_lock.lock()));
    if (i.is_orphan) co_return lib::kOk;
    CO_TRY(EXT4_MUST(save_orphan_link(h, i, v.super->last_orphan)));
    CO_TRY(EXT4_MUST(save_first_orphan(h, i.number)));
    i.is_orphan = true;
    i.previous_orphan = nullptr;
    i.next_orphan = v.last_orphan;
    if (i.next_orphan) i.next_orphan->previous_orphan = &i;
    v.last_orphan = &i;
    i.ref();  // the list keeps it
    co_return lib::kOk;
}

Task<Result<void>> remove_orphan(Handle& h, Inode& i) {
    Volume& v = h.volume;
    auto guard = CO_TRY(EXT4_INSIST(co_await v.orphan_lock.lock()));
    if (!i.is_orphan) co_return lib::kOk;
    const InodeNo next = i.raw.deleted;
    if (i.previous_orphan)
        CO_TRY(EXT4_MUST(save_orphan_link(h, *i.previous_orphan, next)));
    else
        CO_TRY(EXT4_MUST(save_first_orphan(h, next)));
    CO_TRY(EXT4_MUST(save_orphan_link(h, i, 0)));
    if (i.next_orphan) i.next_orphan->previous_orphan = i.previous_orphan;
    (i.previous_orphan ? i.previous_orphan->next_orphan : v.last_orphan) = i.next_orphan;
    i.is_orphan = false;
    i.previous_orphan = i.next_orphan = nullptr;
    i.unref();  // the caller has one
    co_return lib::kOk;
}

void drop_orphans(Volume& v) {
    while (Inode* i = v.last_orphan) {
        v.last_orphan = i->next_orphan;
        i->is_orphan = false;
        i->previous_orphan = i->next_orphan = nullptr;
        i->unref();
    }
}

namespace {

// One inode that was found on a list. It is removed if it has no name; otherwise its truncation is finished.
Task<Result<void>> clean_up(Volume& v, InodeNo n, InodeNo& next) {
    Ref<Inode> i = CO_TRY(co_await get_inode(v, n, true));
    next = i->raw.deleted;
    if (i->raw.links == 0) {
        co_return co_await remove_inode(std::move(i));
    }
    if (!i->is_regular()) {
        Handle h = CO_TRY(co_await start(v, kOrphanCredits));
        co_return co_await remove_orphan(h, *i);
    }
    co_return co_await finish_truncate(*i);
}

Task<Result<void>> clean_up_list(Volume& v) {
    // As many as there are inodes: a list that bites its tail ends.
    for (u32 n = 0; v.super->last_orphan != 0; ++n) {
        const InodeNo first = v.super->last_orphan;
        if (n > v.geo.inodes || first < v.geo.first_inode || first > v.geo.inodes)
            co_return v.damaged("a bad list of orphans");
        Ref<Inode> i = CO_TRY(co_await get_inode(v, first, true));
        {  // as add_orphan() would have left it
            i->is_orphan = true;
            i->ref();
            v.last_orphan = i.get();
        }
        InodeNo next = 0;
        i = {};
        CO_TRY(co_await clean_up(v, first, next));
        if (v.super->last_orphan == first) co_return v.damaged("a bad list of orphans");
        co_await rt::Yield{};
    }
    co_return lib::kOk;
}

u32 orphan_checksum(const Inode& file, Buffer& b) {
    Le64 number;
    number = b.block;
    return crc32c(crc32c(file.checksum_seed(), &number, sizeof number), b.data,
                  b.cache.disk().block_bytes() - sizeof(RawOrphanTail));
}

// The file of orphans, which another system has filled: cleaned up and emptied. Ours go to the list.
Task<Result<void>> clean_up_file(Volume& v) {
    Ref<Inode> file = CO_TRY(co_await get_inode(v, v.super->orphan_file_inode));
    const u32 tail_at = v.geo.block_bytes - sizeof(RawOrphanTail);
    for (FileBlock f = 0; f < file->blocks_of_size(); ++f) {
        const BlockNo at = CO_TRY(co_await map_one(*file, f));
        if (at == 0) co_return v.damaged("a bad file of orphans");
        BufferRef b = CO_TRY(co_await v.cache.read(at));
        auto* tail = b->as<RawOrphanTail>(tail_at);
        if (tail->magic != kOrphanBlockMagic || (v.geo.has_checksums() && tail->checksum != orphan_checksum(*file, *b)))
            co_return v.damaged("a bad file of orphans");
        bool any = false;
        for (u32 offset = 0; offset < tail_at; offset += sizeof(Le32)) {
            const InodeNo n = *b->as<Le32>(offset);
            if (n == 0) continue;
            any = true;
            if (n < v.geo.first_inode || n > v.geo.inodes) co_return v.damaged("a bad file of orphans");
            InodeNo ignored = 0;
            const auto r = co_await clean_up(v, n, ignored);
            if (!r.ok()) co_return r;
        }
        if (!any) continue;
        Handle h = CO_TRY(co_await start(v, 1));
        CO_TRY(h.change(*b));
        std::memset(b->data, 0, tail_at);
        tail->checksum = orphan_checksum(*file, *b);
        co_await rt::Yield{};
    }
    Handle h = CO_TRY(co_await start(v, 1));
    CO_TRY(h.change(*v.super_buffer));
    v.super->feature_ro_compat = v.super->feature_ro_compat & ~u32{ro_compat::kOrphanPresent};
    v.geo.ro_compat &= ~u32{ro_compat::kOrphanPresent};
    set_super_checksum(v);
    co_return lib::kOk;
}

}  // namespace

Task<Result<void>> clean_up_orphans(Volume& v) {
    CO_TRY(co_await clean_up_list(v));
    if ((v.geo.compat & compat::kOrphanFile) && (v.geo.ro_compat & ro_compat::kOrphanPresent))
        CO_TRY(co_await clean_up_file(v));
    co_return lib::kOk;
}

}  // namespace ext4
