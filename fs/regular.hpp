// SPDX-License-Identifier: MIT
// Open files of ordinary inodes: regular files over a Mapping, directories, and O_PATH handles.
#pragma once
#include "fs/file.hpp"

namespace fs {

// The largest file: what a signed 64-bit offset can hold.
inline constexpr u64 kMaxFileSize = ~u64{0} >> 1;

// Opens by type: regular files (with a mapping), directories, devices, FIFOs. Permissions were checked.
// ENXIO: a socket or an unknown device. ETXTBSY: a program is running from it. kNeedsTask: a FIFO without a partner.
Leaf<Ref<File>> open_inode(OpenContext& how, Inode& inode);

// The identity of a caller (LookupContext::caller, not null); the personality defines it.
const Creds& creds_of_caller(const void* caller);

// A regular file. Reads take no lock but the offset's; writes hold the inode's attribute lock, so that they are atomic with
// one another and with truncation, and O_APPEND finds the end.
// One call copies all it is asked to: long transfers are cut into steps by the caller.
class RegularFile final : public File {
public:
    RegularFile(OpenContext& how, Inode& inode, Mapping& mapping);
    ~RegularFile() override;
    Leaf<size_t> try_read(const UserSpans& to, u64 offset) override;
    // kNoMem: part of it may have been written, which is not seen beyond the end of the file. A task goes on with
    // try_write_some().
    Leaf<size_t> try_write(const UserSpans& from, u64 offset) override { return write(from, offset, false); }
    Leaf<size_t> try_write_some(const UserSpans& from, u64 offset) override { return write(from, offset, true); }
    Leaf<u64> seek(i64 offset, u32 whence) override;
    Leaf<void> sync() override { return lib::kOk; }
    bool seekable() const override { return true; }
    Leaf<MapSource> map_source() override;

private:
    Leaf<size_t> copy_to_user(const UserSpans& to, u64 at);
    u32 mode_after_write(const Attributes& a, const void* caller) const;
    // The offset is locked only if it moves: the analysis cannot follow that.
    Leaf<size_t> write(const UserSpans& from, u64 offset, bool some) RT_UNCHECKED_LOCKING;
    Leaf<size_t> copy_from_user(const UserSpans& from, u64 at, u64 old_size, bool some);
    Mapping* mapping_;
    // Of the opener, for writes by the kernel itself: has CAP_FSETID, is in the file's group.
    bool keeps_set_id_;
    bool in_group_;
};

class DirectoryFile final : public File {
public:
    DirectoryFile(OpenContext& how) : File(how.path, how.flags) {}
    Leaf<size_t> try_read(const UserSpans&, u64) override { return Errno::kIsDir; }
    Leaf<u64> seek(i64 offset, u32 whence) override;
    Leaf<u64> read_directory(DirSink& sink) override;
    Leaf<void> sync() override { return lib::kOk; }
    bool seekable() const override { return true; }

    // Where the last read_directory stopped, for file systems of pinned names: the entry it handed out last.
    Ref<Dentry> last_entry RT_GUARDED_BY(offset_lock);
};

// open(2) with O_PATH: names a file, and nothing else can be done with it.
class PathFile final : public File {
public:
    PathFile(OpenContext& how) : File(how.path, how.flags) {}
};

// Emits the pinned names below `dir`, newest first, from cookie `offset` on; "." and ".." included.
Leaf<u64> read_pinned_names(DirectoryFile& f, Dentry& dir, u64 offset, DirSink& sink)
    RT_REQUIRES(dir.names_lock, f.offset_lock);

constexpr u8 dirent_type(u32 mode) { return u8((mode & kTypeMask) >> 12); }  // DT_* are the type bits

}  // namespace fs
