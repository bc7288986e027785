// SPDX-License-Identifier: MIT
#include "ext4/xattr.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "ext4/file.hpp"

namespace ext4 {

namespace {

struct Prefix {
    u8 index;
    std::string_view text;
    bool whole;  // the name ends with it
};
constexpr Prefix kPrefixes[] = {
    {kXattrUser, "user.", false},
    {kXattrAclAccess, "system.posix_acl_access", true},
    {kXattrAclDefault, "system.posix_acl_default", true},
    {kXattrTrusted, "trusted.", false},
    {kXattrSecurity, "security.", false},
    {kXattrSystem, "system.", false},
};
enum : u64 { kVerifiedXattrs = u64{4} << 32 };

}  // namespace

Result<XattrName> split_xattr_name(std::string_view name) {
    for (const Prefix& p : kPrefixes) {
        if (p.whole ? name != p.text : !name.starts_with(p.text)) continue;
        const std::string_view rest = name.substr(p.text.size());
        if (rest.empty() && !p.whole) return Errno::kInval;
        return XattrName{p.index, rest};
    }
    return Errno::kOpNotSupp;
}

std::string_view xattr_prefix(u8 index) {
    for (const Prefix& p : kPrefixes)
        if (p.index == index) return p.text;
    return {};
}

Result<RawXattrEntry*> xattr_at(const XattrSet& s, u32 offset) {
    if (offset % 4 != 0 || s.bytes < 4 || offset > s.bytes - 4) return Errno::kUClean;
    if (*reinterpret_cast<const Le32*>(s.base + offset) == 0) return static_cast<RawXattrEntry*>(nullptr);
    auto* e = reinterpret_cast<RawXattrEntry*>(s.base + offset);
    if (s.bytes - offset < sizeof *e || s.bytes - offset < xattr_entry_bytes(*e)) return Errno::kUClean;
    return e;
}

Result<RawXattrEntry*> find_xattr(const XattrSet& s, u8 index, std::string_view rest) {
    if (s.bytes == 0) return static_cast<RawXattrEntry*>(nullptr);
    for (u32 at = s.first;;) {
        RawXattrEntry* e = TRY(xattr_at(s, at));
        if (!e || (e->name_index == index && std::string_view(e->name, e->name_length) == rest)) return e;
        at += xattr_entry_bytes(*e);
    }
}

Result<std::span<std::byte>> xattr_value(const XattrSet& s, const RawXattrEntry& e) {
    if (e.value_inode != 0) return Errno::kOpNotSupp;
    const u32 offset = e.value_offset, size = e.value_size;
    if (offset > s.bytes || size > s.bytes - offset) return Errno::kUClean;
    return std::span<std::byte>(s.base + offset, size);
}

Task<Result<void>> open_inode_xattrs(Inode& i, XattrInInode& area) {
    const Geometry& g = i.volume.geo;
    area.set = {};
    if (g.inode_bytes == kGoodOldInodeBytes) co_return lib::kOk;
    const u32 begin = kGoodOldInodeBytes + i.raw.extra_size;  // checked by get_inode()
    if (i.raw.extra_size == 0 || begin + sizeof(Le32) + 4 > g.inode_bytes) co_return lib::kOk;
    const InodePlace at = CO_TRY(inode_place(i.volume, i.number));
    area.table = CO_TRY(co_await i.volume.cache.read(at.block));
    std::byte* magic = area.table->data + at.offset + begin;
    if (*reinterpret_cast<const Le32*>(magic) != kXattrMagic) co_return lib::kOk;
    area.set = {magic + sizeof(Le32), g.inode_bytes - begin - u32(sizeof(Le32)), 0};
    co_return lib::kOk;
}

u32 xattr_block_checksum(const Volume& v, BlockNo block, const std::byte* data) {
    constexpr u32 at = offsetof(RawXattrHeader, checksum);
    Le64 number;
    number = block;
    const Le32 none{};
    u32 c = crc32c(v.geo.seed, &number, sizeof number);
    c = crc32c(c, data, at);
    c = crc32c(c, &none, sizeof none);
    return crc32c(c, data + at + sizeof none, v.geo.block_bytes - at - sizeof none);
}

Task<Result<void>> open_xattr_block(Inode& i, XattrBlock& block) {
    block.set = {};
    const BlockNo at = i.file_acl();
    if (at == 0) co_return lib::kOk;
    Volume& v = i.volume;
    if (!v.geo.in_volume(at, 1)) co_return Errno::kUClean;
    block.buffer = CO_TRY(co_await v.cache.read(at));
    const auto* h = block.buffer->as<RawXattrHeader>();
    if (h->magic != kXattrMagic || h->blocks != 1) co_return Errno::kUClean;
    if (v.geo.has_checksums() && block.buffer->verified.load(std::memory_order_relaxed) != kVerifiedXattrs) {
        if (h->checksum != xattr_block_checksum(v, at, block.buffer->data)) co_return Errno::kBadMsg;
        block.buffer->verified.store(kVerifiedXattrs, std::memory_order_relaxed);
    }
    block.set = {block.buffer->data, v.geo.block_bytes, sizeof(RawXattrHeader)};
    co_return lib::kOk;
}

namespace {

Result<u32> copy_value(const XattrSet& s, const RawXattrEntry& e, std::span<std::byte> to) {
    const auto value = TRY(xattr_value(s, e));
    if (to.empty()) return u32(value.size());
    if (to.size() < value.size()) return Errno::kRange;
    if (!value.empty()) std::memcpy(to.data(), value.data(), value.size());
    return u32(value.size());
}

struct NameList {
    std::span<char> to;
    u32 used = 0;
    Result<void> add(const XattrSet& s) {
        if (s.bytes == 0) return lib::kOk;
        for (u32 at = s.first;;) {
            const RawXattrEntry* e = TRY(xattr_at(s, at));
            if (!e) return lib::kOk;
            at += xattr_entry_bytes(*e);
            const std::string_view prefix = xattr_prefix(e->name_index);
            // system.data is how a file's contents are kept.
            if (prefix.empty() || e->name_index == kXattrSystem) continue;
            append(prefix);
            append({e->name, e->name_length});
            append(std::string_view("", 1));
        }
    }
    void append(std::string_view text) {
        if (used + text.size() <= to.size() && !text.empty()) std::memcpy(to.data() + used, text.data(), text.size());
        used += u32(text.size());
    }
};

}  // namespace

Task<Result<u32>> get_xattr(Inode& i, std::string_view name, std::span<std::byte> to) {
    const XattrName n = CO_TRY(split_xattr_name(name));
    if (n.index == kXattrSystem) co_return Errno::kOpNotSupp;
    XattrInInode area;
    CO_TRY(co_await open_inode_xattrs(i, area));
    if (const RawXattrEntry* e = CO_TRY(find_xattr(area.set, n.index, n.rest))) co_return copy_value(area.set, *e, to);
    XattrBlock block;
    CO_TRY(co_await open_xattr_block(i, block));
    if (const RawXattrEntry* e = CO_TRY(find_xattr(block.set, n.index, n.rest)))
        co_return copy_value(block.set, *e, to);
    co_return Errno::kNoData;
}

Task<Result<u32>> list_xattrs(Inode& i, std::span<char> to) {
    NameList list{to};
    XattrInInode area;
    CO_TRY(co_await open_inode_xattrs(i, area));
    CO_TRY(list.add(area.set));
    XattrBlock block;
    CO_TRY(co_await open_xattr_block(i, block));
    CO_TRY(list.add(block.set));
    if (!to.empty() && list.used > to.size()) co_return Errno::kRange;
    co_return list.used;
}

}  // namespace ext4
