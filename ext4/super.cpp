// SPDX-License-Identifier: MIT
// The superblock and the descriptors of groups: checks and checksums.
#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstring>

#include "ext4/volume.hpp"

namespace ext4 {

namespace {

struct Feature {
    u32 bits;
    const char* name;  // as mke2fs spells it
};
// What cannot even be read.
constexpr Feature kUnreadable[] = {
    {incompat::kCompression, "compression"}, {incompat::kJournalDevice, "journal_dev"}, {incompat::kDirData, "dirdata"},
    {incompat::kCasefold, "casefold"},       {incompat::kEncrypt, "encrypt"},
};
constexpr u32 kKnownIncompat = incompat::kFileType | incompat::kRecover | incompat::kMetaBg | incompat::kExtents |
                               incompat::k64Bit | incompat::kMmp | incompat::kFlexBg | incompat::kEaInode |
                               incompat::kCsumSeed | incompat::kLargeDir | incompat::kInlineData;
// What can be read, but must not be written without knowing it.
constexpr Feature kReadOnlyIncompat[] = {
    {incompat::kMmp, "mmp"},
    {incompat::kEaInode, "ea_inode"},
    {incompat::kInlineData, "inline_data"},
};
constexpr Feature kReadOnlyRoCompat[] = {
    {ro_compat::kQuota, "quota"},     {ro_compat::kBigalloc, "bigalloc"},          {ro_compat::kReadonly, "read-only"},
    {ro_compat::kProject, "project"}, {ro_compat::kSharedBlocks, "shared_blocks"}, {ro_compat::kVerity, "verity"},
};
constexpr u32 kKnownRoCompat = ro_compat::kSparseSuper | ro_compat::kLargeFile | ro_compat::kBtreeDir |
                               ro_compat::kHugeFile | ro_compat::kGdtCsum | ro_compat::kDirNlink |
                               ro_compat::kExtraIsize | ro_compat::kMetadataCsum | ro_compat::kOrphanPresent;

const char* first_of(std::span<const Feature> features, u32 bits) {
    for (const Feature& f : features)
        if (bits & f.bits) return f.name;
    return nullptr;
}

bool is_power_of(u32 n, u32 base) {
    while (n > 1 && n % base == 0) n /= base;
    return n == 1;
}

bool super_matches(const RawSuper& s) {
    constexpr u32 at = offsetof(RawSuper, feature_incompat), after = at + sizeof(Le32);
    for (const u32 flip : {u32{0}, u32{incompat::kRecover}}) {
        Le32 features;
        features = s.feature_incompat ^ flip;
        u32 c = crc32c(~0u, &s, at);
        c = crc32c(c, &features, sizeof features);
        const auto* rest = reinterpret_cast<const std::byte*>(&s) + after;
        if (crc32c(c, rest, offsetof(RawSuper, checksum) - after) == s.checksum) return true;
    }
    return false;
}

Errno bad(MountReport& report, const char* problem, Errno e = Errno::kUClean) {
    report.problem = problem;
    return e;
}

Result<void> read_inode_geometry(Geometry& g, const RawSuper& s, MountReport& report) {
    g.inode_bytes = kGoodOldInodeBytes;
    g.first_inode = kGoodOldFirstInode;
    if (s.revision != 0) {
        g.inode_bytes = s.inode_size;
        g.first_inode = s.first_inode;
    }
    if (!std::has_single_bit(g.inode_bytes) || g.inode_bytes < kGoodOldInodeBytes || g.inode_bytes > g.block_bytes)
        return bad(report, "bad inode size");
    if (g.first_inode < kGoodOldFirstInode) return bad(report, "bad number of the first inode");
    g.inodes_per_group = s.inodes_per_group;
    const u32 per_block = g.block_bytes / g.inode_bytes;
    if (g.inodes_per_group < per_block || g.inodes_per_group > g.block_bytes * 8 || g.inodes_per_group % 8 != 0)
        return bad(report, "bad number of inodes per group");
    g.inode_table_blocks = (g.inodes_per_group + per_block - 1) / per_block;
    g.inodes = s.inodes_count;
    if (u64{g.inodes_per_group} * g.groups != g.inodes) return bad(report, "bad number of inodes");
    if (g.first_inode > g.inodes) return bad(report, "bad number of the first inode");
    return lib::kOk;
}

Result<void> read_group_geometry(Geometry& g, const RawSuper& s, MountReport& report) {
    const bool big_clusters = g.ro_compat & ro_compat::kBigalloc;
    g.blocks_per_group = s.blocks_per_group;
    const u32 most = big_clusters ? 0x7fff'ffff : g.block_bytes * 8;
    if (g.blocks_per_group < 8 || g.blocks_per_group > most || g.blocks_per_group % 8 != 0)
        return bad(report, "bad number of blocks per group");
    if (!big_clusters && s.log_cluster_size != s.log_block_size) return bad(report, "clusters without bigalloc");
    if (big_clusters) {
        if (s.log_cluster_size < s.log_block_size || s.log_cluster_size - s.log_block_size > 20)
            return bad(report, "bad cluster size");
        g.cluster_blocks = 1u << (s.log_cluster_size - s.log_block_size);
    }
    g.first_data_block = s.first_data_block;
    const u32 expected = g.block_bytes == 1024 && !(big_clusters && s.first_data_block == 0) ? 1 : 0;
    if (g.first_data_block != expected) return bad(report, "bad first data block");
    if (g.blocks <= g.first_data_block + u64{1}) return bad(report, "bad number of blocks");
    const u64 groups = (g.blocks - g.first_data_block + g.blocks_per_group - 1) / g.blocks_per_group;
    if (groups > 0xffff'ffff / 8) return bad(report, "too many groups");
    g.groups = GroupNo(groups);
    g.group_bytes = kSmallGroupBytes;
    if (g.incompat & incompat::k64Bit) {
        g.group_bytes = s.desc_size;
        if (!std::has_single_bit(g.group_bytes) || g.group_bytes < sizeof(RawGroup) || g.group_bytes > 1024)
            return bad(report, "bad size of group descriptors");
    }
    g.groups_per_block = g.block_bytes / g.group_bytes;
    g.descriptor_blocks = (g.groups + g.groups_per_block - 1) / g.groups_per_block;
    g.reserved_gdt_blocks = s.reserved_gdt_blocks;
    if (g.reserved_gdt_blocks > g.block_bytes / 4) return bad(report, "too many reserved descriptor blocks");
    g.first_meta_bg = s.first_meta_bg;
    if ((g.incompat & incompat::kMetaBg) && g.first_meta_bg > g.descriptor_blocks)
        return bad(report, "bad first meta group");
    if ((g.incompat & incompat::kFlexBg) && s.log_groups_per_flex > 0 && s.log_groups_per_flex < 31)
        g.flex_groups = 1u << s.log_groups_per_flex;
    return lib::kOk;
}

}  // namespace

const char* unsupported_feature(const Geometry& g, bool writing) {
    if (const char* name = first_of(kUnreadable, g.incompat)) return name;
    if (g.incompat & ~kKnownIncompat) return "an unknown incompatible feature";
    if (!writing) return nullptr;
    if (const char* name = first_of(kReadOnlyIncompat, g.incompat)) return name;
    if (const char* name = first_of(kReadOnlyRoCompat, g.ro_compat)) return name;
    if (g.ro_compat & ~kKnownRoCompat) return "an unknown read-only compatible feature";
    return nullptr;
}

Result<Geometry> read_geometry(const RawSuper& s, u64 device_sectors, bool replayed, MountReport& report) {
    Geometry g;
    if (s.magic != kSuperMagic) return bad(report, "no ext2, ext3 or ext4 superblock", Errno::kInval);
    if (s.revision > 1) return bad(report, "unknown revision", Errno::kOpNotSupp);
    if (s.revision != 0) {
        g.compat = s.feature_compat;
        g.incompat = s.feature_incompat;
        g.ro_compat = s.feature_ro_compat;
    }
    if ((report.feature = unsupported_feature(g, false)))
        return bad(report, "feature not supported", Errno::kOpNotSupp);
    report.feature = "";
    if (g.has_checksums()) {
        if (s.checksum_type != 1) return bad(report, "unknown type of checksums", Errno::kOpNotSupp);
        // A write of it may have been cut: then the journal has it, or only the mark of a journal in use was to change.
        const bool torn = !replayed && (g.compat & compat::kHasJournal) && (g.incompat & incompat::kRecover);
        if (!torn && !super_matches(s)) return bad(report, "wrong checksum of the superblock", Errno::kBadMsg);
    }
    if (s.log_block_size > 6) return bad(report, "bad block size");
    g.block_shift = 10 + s.log_block_size;
    g.block_bytes = 1u << g.block_shift;
    if (g.block_bytes > kMaxBlockBytes) return bad(report, "blocks larger than a page", Errno::kOpNotSupp);
    g.blocks = join(s.blocks_count_lo, g.incompat & incompat::k64Bit ? u32(s.blocks_count_hi) : 0);
    if (g.blocks > device_sectors / (g.block_bytes / block::kSectorBytes)) return bad(report, "larger than its device");
    TRY(read_group_geometry(g, s, report));
    TRY(read_inode_geometry(g, s, report));
    std::memcpy(g.uuid, s.uuid, sizeof g.uuid);
    g.seed = g.incompat & incompat::kCsumSeed ? u32(s.checksum_seed) : crc32c(~0u, s.uuid, sizeof s.uuid);
    for (u32 i = 0; i < 4; ++i) g.hash_seed[i] = s.hash_seed[i];
    g.default_hash = s.default_hash;
    g.unsigned_hash = s.flags & kFlagUnsignedHash;
    for (u32 i = 0; i < 2; ++i) g.backup_groups[i] = s.backup_bgs[i];
    return g;
}

bool Geometry::has_super(GroupNo g) const {
    if (g == 0) return true;
    if (compat & compat::kSparseSuper2) return g == backup_groups[0] || g == backup_groups[1];
    if (g == 1 || !(ro_compat & ro_compat::kSparseSuper)) return true;
    return (g & 1) && (is_power_of(g, 3) || is_power_of(g, 5) || is_power_of(g, 7));
}

BlockNo Geometry::descriptor_block(u32 index) const {
    const BlockNo super_at = kSuperOffset / block_bytes;
    if (!(incompat & incompat::kMetaBg) || index < first_meta_bg) return super_at + 1 + index;
    const u64 first_group = u64{index} * groups_per_block;
    // A file system of 1 KiB blocks with bigalloc begins at block 0, its superblock lies in block 1.
    const u32 extra = block_bytes == 1024 && first_data_block == 0 && first_group == 0 ? 1 : 0;
    return group_start(GroupNo(first_group)) + (has_super(GroupNo(first_group)) ? 1 : 0) + extra;
}

u32 Geometry::base_blocks(GroupNo g) const {
    const bool super_here = has_super(g);
    if (!(incompat & incompat::kMetaBg) || g / groups_per_block < first_meta_bg) {
        if (!super_here) return 0;
        const u32 descriptors = incompat & incompat::kMetaBg ? first_meta_bg : descriptor_blocks;
        return 1 + descriptors + reserved_gdt_blocks;
    }
    // meta_bg: the block of descriptors is in the first, second and last group of those that it describes.
    const u32 within = g % groups_per_block;
    return (super_here ? 1 : 0) + (within == 0 || within == 1 || within == groups_per_block - 1 ? 1 : 0);
}

u16 Volume::group_checksum(GroupNo g) const {
    const GroupRef d = group(g);
    const auto* raw = reinterpret_cast<const std::byte*>(d.raw);
    constexpr u32 at = offsetof(RawGroup, checksum), after = at + sizeof(Le16);
    if (geo.has_checksums()) {
        const Le16 none{};
        u32 c = crc32c_le32(geo.seed, g);
        c = crc32c(c, raw, at);
        c = crc32c(c, &none, sizeof none);
        return u16(crc32c(c, raw + after, geo.group_bytes - after));
    }
    Le32 number;
    number = g;
    u16 c = crc16(0xffff, geo.uuid, sizeof geo.uuid);
    c = crc16(c, &number, sizeof number);
    c = crc16(c, raw, at);
    return geo.group_bytes > after ? crc16(c, raw + after, geo.group_bytes - after) : c;
}

void GroupRef::set_free_blocks(u32 n) {
    raw->free_blocks_lo = u16(n);
    if (wide) raw->free_blocks_hi = u16(n >> 16);
}
void GroupRef::set_free_inodes(u32 n) {
    raw->free_inodes_lo = u16(n);
    if (wide) raw->free_inodes_hi = u16(n >> 16);
}
void GroupRef::set_used_dirs(u32 n) {
    raw->used_dirs_lo = u16(n);
    if (wide) raw->used_dirs_hi = u16(n >> 16);
}
void GroupRef::set_unused_inodes(u32 n) {
    raw->unused_inodes_lo = u16(n);
    if (wide) raw->unused_inodes_hi = u16(n >> 16);
}

void set_super_checksum(Volume& v) {
    if (v.geo.has_checksums()) v.super->checksum = crc32c(~0u, v.super, offsetof(RawSuper, checksum));
}

namespace {

// Where a group's bitmaps and its table may be: in the group itself, or anywhere with flex_bg; never over the descriptors.
Result<void> check_group(const Volume& v, GroupNo g, bool replayed, MountReport& report) {
    const Geometry& geo = v.geo;
    const GroupRef d = v.group(g);
    const bool anywhere = geo.incompat & incompat::kFlexBg;
    const BlockNo from = anywhere ? geo.first_data_block + u64{1} : geo.group_start(g);
    const BlockNo to = anywhere ? geo.blocks : geo.group_start(g) + geo.blocks_in(g);
    const BlockNo head_end = kSuperOffset / geo.block_bytes + geo.base_blocks(0);
    const auto fits = [&](BlockNo b, u64 n) { return b >= from && b < to && n <= to - b && b >= head_end; };
    if (!fits(d.block_bitmap(), 1) || !fits(d.inode_bitmap(), 1)) return bad(report, "bad place of a bitmap");
    if (!fits(d.inode_table(), geo.inode_table_blocks)) return bad(report, "bad place of an inode table");
    if (!replayed) return lib::kOk;
    if (d.free_blocks() > geo.blocks_per_group || d.free_inodes() > geo.inodes_per_group ||
        d.unused_inodes() > geo.inodes_per_group || d.used_dirs() > geo.inodes_per_group)
        return bad(report, "bad count of a group");
    if (geo.has_group_checksums() && v.group_checksum(g) != d.raw->checksum)
        return bad(report, "wrong checksum of a group's descriptor", Errno::kBadMsg);
    return lib::kOk;
}

}  // namespace

Task<Result<void>> read_descriptors(Volume& v, bool replayed, MountReport& report) {
    const Geometry& geo = v.geo;
    if (!v.descriptors) {
        // Bounded by what the device has room for (read_geometry): 8 bytes for a block.
        void* memory = rt::allocate(sizeof(BufferRef) * geo.descriptor_blocks);
        if (!memory) co_return Errno::kNoMem;
        v.descriptors = static_cast<BufferRef*>(memory);
        for (u32 i = 0; i < geo.descriptor_blocks; ++i) new (&v.descriptors[i]) BufferRef;
    }
    for (u32 i = 0; i < geo.descriptor_blocks; ++i) {
        auto r = co_await v.cache.read(geo.descriptor_block(i));
        if (!r.ok()) {
            report.problem = "group descriptors cannot be read";
            co_return r.error();
        }
        v.descriptors[i] = r.take();
    }
    v.free_blocks = v.free_inodes = 0;
    v.overhead_blocks = geo.first_data_block;
    for (GroupNo g = 0; g < geo.groups; ++g) {
        if (g % 64 == 63) co_await rt::Yield{};
        CO_TRY(check_group(v, g, replayed, report));
        v.free_blocks += u64{v.group(g).free_blocks()} * geo.cluster_blocks;
        v.free_inodes += v.group(g).free_inodes();
        v.overhead_blocks += geo.base_blocks(g) + 2 + geo.inode_table_blocks;
    }
    co_return lib::kOk;
}

}  // namespace ext4
