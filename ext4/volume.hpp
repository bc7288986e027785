// SPDX-License-Identifier: MIT
// A mounted volume: its geometry, its descriptors of groups, and the parts that work on it. docs/ext4.md has the order of locks.
#pragma once
#include "ext4/buffers.hpp"
#include "ext4/checksum.hpp"
#include "ext4/inode.hpp"
#include "rt/async_mutex.hpp"
#include "rt/mem/slab.hpp"

namespace ext4 {

// What the superblock says, checked; constant after mount except for `compat` and its like.
struct Geometry {
    u32 block_bytes = 1024, block_shift = 10;
    BlockNo blocks = 0;
    u32 first_data_block = 0;  // where group 0 begins
    u32 blocks_per_group = 0, inodes_per_group = 0;
    GroupNo groups = 0;
    u32 inodes = 0, inode_bytes = 0, inode_table_blocks = 0;  // the last: of each group
    InodeNo first_inode = 0;
    u32 group_bytes = 0, groups_per_block = 0;  // descriptors
    u32 descriptor_blocks = 0;
    u32 cluster_blocks = 1;  // of bigalloc
    u32 flex_groups = 1;     // groups whose bitmaps and tables lie together
    u32 compat = 0, incompat = 0, ro_compat = 0;
    u32 seed = 0;  // of metadata checksums
    u32 hash_seed[4] = {};
    u8 default_hash = 0;
    bool unsigned_hash = false;
    u8 uuid[16] = {};

    bool has_checksums() const { return ro_compat & ro_compat::kMetadataCsum; }
    bool has_group_checksums() const { return ro_compat & (ro_compat::kMetadataCsum | ro_compat::kGdtCsum); }
    BlockNo group_start(GroupNo g) const { return first_data_block + BlockNo{g} * blocks_per_group; }
    GroupNo group_of(BlockNo b) const { return GroupNo((b - first_data_block) / blocks_per_group); }
    u32 blocks_in(GroupNo g) const {
        const BlockNo start = group_start(g);
        return u32(blocks - start < blocks_per_group ? blocks - start : blocks_per_group);
    }
    GroupNo group_of_inode(InodeNo n) const { return (n - 1) / inodes_per_group; }
    // Blocks [b, b + n) exist, and can hold data or metadata of files.
    bool in_volume(BlockNo b, u64 n) const { return b > first_data_block && b < blocks && n <= blocks - b; }
    bool has_super(GroupNo g) const;  // a copy of the superblock and the descriptors
    u32 backup_groups[2] = {};        // of sparse_super2
    u32 first_meta_bg = 0;            // of meta_bg, in blocks of descriptors
    u32 reserved_gdt_blocks = 0;
    BlockNo descriptor_block(u32 index) const;
    u32 base_blocks(GroupNo g) const;  // at the beginning of a group: superblock, descriptors, those reserved
};

class Journal;
class Allocator;

struct Time {
    i64 seconds = 0;
    u32 nanoseconds = 0;
};

struct MountOptions {
    bool read_only = false;
    bool no_replay = false;   // with read_only: the journal is left as it is
    u32 most_buffers = 4096;  // kept in memory without need
    Time (*now)() = nullptr;  // the time of day, for what the volume dates itself; null: 0
};

// Why a mount failed, or why it is read-only although it was not asked for: words for a message. "" if neither.
struct MountReport {
    const char* problem = "";
    const char* feature = "";  // the name of the feature that is not supported, as mke2fs spells it
};

struct VolumeStats {
    u64 blocks, free_blocks, available_blocks;
    u32 inodes, free_inodes;
    u32 block_bytes;
    u64 id;
};

// One descriptor of a group, wherever its block is. Valid as long as the volume.
struct GroupRef {
    RawGroup* raw;
    Buffer* buffer;
    bool wide;  // it has the high halves
    BlockNo block_bitmap() const { return join(raw->block_bitmap_lo, wide ? u32(raw->block_bitmap_hi) : 0); }
    BlockNo inode_bitmap() const { return join(raw->inode_bitmap_lo, wide ? u32(raw->inode_bitmap_hi) : 0); }
    BlockNo inode_table() const { return join(raw->inode_table_lo, wide ? u32(raw->inode_table_hi) : 0); }
    u32 free_blocks() const { return raw->free_blocks_lo | u32(wide ? u16(raw->free_blocks_hi) : 0) << 16; }
    u32 free_inodes() const { return raw->free_inodes_lo | u32(wide ? u16(raw->free_inodes_hi) : 0) << 16; }
    u32 used_dirs() const { return raw->used_dirs_lo | u32(wide ? u16(raw->used_dirs_hi) : 0) << 16; }
    u32 unused_inodes() const { return raw->unused_inodes_lo | u32(wide ? u16(raw->unused_inodes_hi) : 0) << 16; }
    void set_free_blocks(u32 n);
    void set_free_inodes(u32 n);
    void set_used_dirs(u32 n);
    void set_unused_inodes(u32 n);
    bool uninit(GroupFlags which) const { return raw->flags & which; }
};

class Volume {
public:
    explicit Volume(block::Device& device);
    ~Volume();
    Volume(const Volume&) = delete;

    Disk disk;
    BufferCache cache;
    Geometry geo;
    BufferRef super_buffer;
    RawSuper* super = nullptr;         // within it
    BufferRef* descriptors = nullptr;  // geo.descriptor_blocks of them
    InodeTable inodes;
    rt::Owned<Allocator> allocator;  // null: mounted read-only
    rt::Owned<Journal> journal;      // null: none, or mounted read-only
    rt::AsyncMutex orphan_lock;      // orphans.cpp; taken after the handle was started
    rt::AsyncMutex xattr_lock;       // of blocks of attributes that several inodes share; the same
    rt::AsyncMutex rename_lock;      // of a rename between directories, before the inodes' locks
    rt::AsyncMutex change_lock;      // without a journal: handles, one at a time, and writing what they have changed
    Inode* last_orphan = nullptr;    // the head of the list on the disk: orphan_lock
    std::atomic<u32> generation{0};
    u64 free_blocks = 0, free_inodes = 0;  // when it was mounted
    u64 overhead_blocks = 0;               // of the volume itself
    MountOptions options;
    bool read_only = true;
    // The superblock or the journal's failed: nothing is written any more.
    std::atomic<bool> failed{false};

    GroupRef group(GroupNo g) const {
        BufferRef& b = descriptors[g / geo.groups_per_block];
        return {b->as<RawGroup>(g % geo.groups_per_block * geo.group_bytes), b.get(),
                geo.group_bytes >= sizeof(RawGroup)};
    }
    u16 group_checksum(GroupNo g) const;  // of the descriptor as it is
    Time now() const { return options.now ? options.now() : Time{}; }
    u32 block_bytes() const { return geo.block_bytes; }
    // kRoFs, also after a failure.
    Result<void> check_writable() const {
        if (read_only || failed.load(std::memory_order_relaxed)) return Errno::kRoFs;
        return lib::kOk;
    }
    // What is on the disk contradicts itself, or cannot be written: no further change. Notes it in the superblock when it can.
    // Returns kUClean, for `return volume.damaged("...")`.
    Errno damaged(const char* what);
    const char* damage = nullptr;  // the first one
};

// Mounts the volume on `device`, which must outlive it. Replays the journal, removes orphans (unless read-only). Blocks.
// kInval: not an ext2, ext3 or ext4 volume; kUClean: damaged; kOpNotSupp: a feature, see `report`; kIo; kNoMem.
Task<Result<rt::Owned<Volume>>> mount(block::Device& device, MountOptions options, MountReport& report);
// Commits, writes everything to its place and marks the volume clean. No inode is in use. The first error.
Task<Result<void>> unmount(Volume& v);
// All changes so far are durable afterwards.
Task<Result<void>> sync(Volume& v);
VolumeStats stats(const Volume& v);

// ---- super.cpp, for mount.cpp ----

// `replayed`: the journal holds nothing, so what is on the disk must be right.
Result<Geometry> read_geometry(const RawSuper& s, u64 device_sectors, bool replayed, MountReport& report);
// Null, or the name of the first feature that forbids mounting (`writing`: writing).
const char* unsupported_feature(const Geometry& g, bool writing);
void set_super_checksum(Volume& v);
Task<Result<void>> read_descriptors(Volume& v, bool replayed, MountReport& report);

}  // namespace ext4
