// SPDX-License-Identifier: MIT
// tmpfs: files in the page cache, names in the name cache, without backing storage (tmpfs(5)). Also the root and /dev.
//
// Directory contents are the pinned dentries; an inode holds what its type needs: a Mapping, a link's text, or nothing.
// Limits: pages and inodes of the instance; beyond them ENOSPC.
#pragma once
#include <optional>

#include "fs/path.hpp"

namespace fs {

struct TmpfsOptions {
    const char* type = "tmpfs";     // as /proc/mounts shows it
    std::optional<u64> max_pages;   // 0: no limit; none: half of memory
    std::optional<u64> max_inodes;  // 0: no limit; none: one per two pages of memory
    u32 root_mode = 01777;
    u32 uid = 0, gid = 0;
    // "size=64m,mode=755,...": mount(8). kInval: an unknown option or a bad value.
    Result<void> parse(std::string_view text);
};
Result<NewFileSystem> make_tmpfs(const TmpfsOptions& o);
// A nameless file of a kernel-internal tmpfs (memfd_create, shared anonymous memory that needs a file).
// Its file system has an internal mount.
Leaf<Ref<Inode>> make_unnamed_file(u32 mode, const Creds& c);
// At boot: the type for mount(2).
void start_tmpfs();

// For the unpacker: puts a whole page in. The bytes beyond the end of the file must be zero.
Result<void> place_page(Inode& file, u64 index, Ref<Page> page);
void set_file_size(Inode& file, u64 size);

}  // namespace fs
