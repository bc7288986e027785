// SPDX-License-Identifier: MIT
// Inodes in memory. All operations on one run with its `lock` held by the caller, who takes the locks of several in the order
// of docs/ext4.md; attributes may be read without it where an old value does no harm.
#pragma once
#include <string_view>

#include "abi/linux/stat.hpp"
#include "ext4/buffers.hpp"
#include "lib/ref.hpp"
#include "rt/async_mutex.hpp"

namespace ext4 {

class Volume;
class Inode;
class Handle;

class InodeTable {
public:
    Ref<Inode> find(InodeNo n);
    // Adds it, unless there is one already: that one is returned.
    Ref<Inode> add(Ref<Inode> made);
    void remove(Inode& i);
    bool empty() const { return count_.load(std::memory_order_relaxed) == 0; }

    rt::SpinLock<rt::Rank::disk_inodes> save_lock;  // the bytes of inodes in their table

private:
    static constexpr u32 kBuckets = 1024;
    rt::SpinLock<rt::Rank::disk_inodes> lock_;
    Inode* buckets_[kBuckets] RT_GUARDED_BY(lock_) = {};
    rt::Atomic<u32> count_{0};
};

class Inode : public RefCounted<Inode> {
public:
    Inode(Volume& v, InodeNo n) : volume(v), number(n) {}
    static void last_ref(Inode* i);

    Volume& volume;
    const InodeNo number;
    rt::AsyncMutex lock;
    RawInode raw{};  // as on the disk, or as it will be written
    // The transaction that changed it last, for fsync; 0: none since it was read. (Of a journal; without one it is not used.)
    u32 changed_in = 0;
    // Its place in the list of orphans: Volume::orphan_lock.
    bool is_orphan = false;
    Inode* previous_orphan = nullptr;
    Inode* next_orphan = nullptr;
    BlockNo last_allocated = 0;      // the goal for its next block
    Inode* next_in_table = nullptr;  // InodeTable

    u32 mode() const { return raw.mode; }
    u32 type() const { return raw.mode & abi::kTypeMask; }
    bool is_directory() const { return type() == abi::kTypeDirectory; }
    bool is_regular() const { return type() == abi::kTypeRegular; }
    bool is_symlink() const { return type() == abi::kTypeLink; }
    u32 flags() const { return raw.flags; }
    bool has(InodeFlags f) const { return raw.flags & f; }
    u64 size() const { return join(raw.size_lo, raw.size_hi); }
    void set_size(u64 n) {
        raw.size_lo = u32(n);
        raw.size_hi = u32(n >> 32);
    }
    u32 uid() const { return raw.uid_lo | u32(raw.uid_hi) << 16; }
    u32 gid() const { return raw.gid_lo | u32(raw.gid_hi) << 16; }
    BlockNo file_acl() const { return join(raw.file_acl_lo, raw.file_acl_hi); }
    void set_file_acl(BlockNo b) {
        raw.file_acl_lo = u32(b);
        raw.file_acl_hi = u16(b >> 32);
    }
    u64 sectors() const;               // of 512 bytes, allocated
    void add_blocks(i64 blocks);       // allocated or freed
    u32 checksum_seed() const;         // of its directory blocks and extents
    FileBlock blocks_of_size() const;  // blocks up to the size
    bool is_fast_symlink() const;      // its target is in the inode
    u32 device() const;                // of a device node, as makedev() of 32 bits encodes it
};

// ---- inode.cpp ----

// The inode, checked. kUClean: damaged, or no such number; kStale: not in use (links and mode 0); kIo, kNoMem.
// `deleted`: it may be without links (orphans).
Task<Result<Ref<Inode>>> get_inode(Volume& v, InodeNo n, bool deleted = false);
// Where an inode is on the disk.
struct InodePlace {
    BlockNo block;
    u32 offset;
};
Result<InodePlace> inode_place(const Volume& v, InodeNo n);
u32 inode_checksum(const Volume& v, InodeNo n, const std::byte* raw);  // of its bytes in the table
// Writes `raw` into the table, within a transaction: changes one block.
Task<Result<void>> save_inode(Handle& h, Inode& i);
// The same, and what lies behind its fields.
Task<Result<void>> save_inode_and(Handle& h, Inode& i, std::span<const std::byte> behind);
// A new inode in a place that is in use: its fields and times; saved.
struct NewInode {
    u32 mode = 0, uid = 0, gid = 0;
    u32 device = 0;  // of a device node
};
Task<Result<Ref<Inode>>> make_inode(Handle& h, Volume& v, InodeNo n, const NewInode& what);

struct Time;
enum class TimeOf : u8 { kAccessed, kChanged, kModified, kBorn };
Time get_time(const Inode& i, TimeOf which);
void set_time(Inode& i, TimeOf which, Time t);  // as exactly as the inode has room for

}  // namespace ext4
