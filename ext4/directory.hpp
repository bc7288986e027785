// SPDX-License-Identifier: MIT
// Directories: blocks of entries, in any order or below an index by the hash of the name. The caller holds the directory's lock.
#pragma once
#include <string_view>

#include "ext4/inode.hpp"
#include "ext4/volume.hpp"

namespace ext4 {

struct FoundEntry {
    InodeNo inode;
    u8 type;          // DirType
    FileBlock block;  // where it is: not for inline directories
    u32 offset;
};
// kNoEnt; kNotDir; kNameTooLong; kUClean: the directory is damaged; kIo; kNoMem. Finds "." and "..", too.
Task<Result<FoundEntry>> lookup(Inode& dir, std::string_view name);

struct ListedEntry {
    InodeNo inode;
    u8 type;                // DT_* of readdir(3)
    std::string_view name;  // valid during the call
    u64 next;               // cookie to continue after it
};
class EntrySink {
public:
    // False: it was not taken, and is the first one next time. Must not block.
    virtual bool add(const ListedEntry& e) = 0;

protected:
    ~EntrySink() = default;
};
// Hands out the entries from `cookie` on (0: all) until the sink is full or the end. Returns the cookie to continue with.
// An entry that exists all the time is handed out once, whatever else is created and deleted between calls: with an index,
// and in a directory of one block, cookies are made of the names' hashes.
inline constexpr u64 kEndCookie = ~u64{0} >> 1;
Task<Result<u64>> iterate(Inode& dir, u64 cookie, EntrySink& sink);
// "." and ".." only.
Task<Result<bool>> is_empty_directory(Inode& dir);

// ---- Shared by directory.cpp, hash_index.cpp and directory_write.cpp ----

// Walks the entries of a block (or of a part of an inode), and checks each.
class DirCursor {
public:
    DirCursor(const Inode& dir, std::byte* data, u32 end) : dir_(dir), data_(data), end_(end) {}
    // The next entry, also an unused one (inode 0); null at the end. kUClean.
    Result<RawDirEntry*> next();
    u32 offset() const { return at_; }  // of the entry that next() returned last

private:
    const Inode& dir_;
    std::byte* data_;
    u32 end_, at_ = 0, next_ = 0;
};
inline std::string_view entry_name(const RawDirEntry& e) { return {e.name, e.name_length}; }
inline bool is_dot(std::string_view name) { return name == "." || name == ".."; }
// Where the entries of a block end: before the tail.
inline u32 entries_end(const Volume& v) {
    return v.geo.block_bytes - (v.geo.has_checksums() ? u32(sizeof(RawDirTail)) : 0);
}
enum class DirBlockKind : u8 { kEntries, kIndex };
// A block of a directory, its checksum verified. kUClean: a hole.
Task<Result<BufferRef>> read_dir_block(Inode& dir, FileBlock block, DirBlockKind kind);
u32 dir_tail_checksum(const Inode& dir, const std::byte* data);
void set_dir_checksum(const Inode& dir, std::byte* data);    // of a block of entries; makes the tail
void set_index_checksum(const Inode& dir, std::byte* data);  // of a block of the index
// An entry of that name in the block; null: none.
Result<RawDirEntry*> find_in_block(const Inode& dir, std::byte* data, u32 end, std::string_view name);

// The hash of a name: both words order the entries of a directory.
struct NameHash {
    u32 major = 0;  // even
    u32 minor = 0;
    friend auto operator<=>(const NameHash&, const NameHash&) = default;
};
enum HashVersion : u8 { kLegacyHash, kHalfMd4, kTea, kLegacyUnsigned, kHalfMd4Unsigned, kTeaUnsigned };
// `version`: as the disk says, signed or not by the superblock. Empty: not known.
bool known_hash(u8 version);
NameHash hash_name(const Geometry& g, u8 version, std::string_view name);

// The way from the root of the index to a leaf.
struct HashPath {
    struct Level {
        BufferRef buffer;
        RawHashEntry* entries = nullptr;  // the first one holds limit and count instead of a hash
        u32 at = 0;                       // the one taken
        RawHashLimit& counts() const { return *reinterpret_cast<RawHashLimit*>(entries); }
        u32 count() const { return counts().count; }
        u32 limit() const { return counts().limit; }
        FileBlock block() const { return entries[at].block & 0x0fff'ffff; }
    };
    u32 levels = 0;  // of the index below the root
    u8 version = 0;
    Level level[4];
    Level& last() { return level[levels]; }
    FileBlock leaf() { return last().block(); }
};
inline constexpr u32 kMaxIndexLevels = 3;
// Whether the directory is used by its index.
bool is_indexed(const Inode& dir);
// Reads and checks the root's info: path.version.
Task<Result<void>> open_index(Inode& dir, HashPath& path);
// From an open index to the leaf for a hash.
Task<Result<void>> descend_index(Inode& dir, u32 major, HashPath& path);
// To the next leaf. False: that was the last. `hash` is where it begins; its lowest bit: the leaf before has names of the
// same hash at its end.
Task<Result<bool>> next_leaf(Inode& dir, HashPath& path, u32& hash);

}  // namespace ext4
