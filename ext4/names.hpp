// SPDX-License-Identifier: MIT
// Names: create, link, unlink, rename. The caller holds the locks of all inodes that are named, and has checked permissions; what
// Linux's calls forbid by the kinds of the files (rename(2): a directory over a file, into itself) is the caller's, too.
#pragma once
#include "ext4/directory.hpp"
#include "ext4/journal.hpp"

namespace ext4 {

// A new file. `target`: of a symbolic link. kExist, kNoEnt (the directory is gone), kMLink, kNoSpc, kNameTooLong, kRoFs, ...
Task<Result<Ref<Inode>>> create(Inode& dir, std::string_view name, const NewInode& what, std::string_view target = {});
// A file without a name, on the list of orphans.
Task<Result<Ref<Inode>>> create_unnamed(Inode& dir, const NewInode& what);
// Another name. kMLink, kExist. A file without a name gets one.
Task<Result<void>> link(Inode& dir, std::string_view name, Inode& target);
// `victim`: what the name leads to. Without a name left it becomes an orphan: who drops its last use calls release().
Task<Result<void>> unlink(Inode& dir, std::string_view name, Inode& victim);
Task<Result<void>> rmdir(Inode& dir, std::string_view name, Inode& victim);  // kNotEmpty
// `replaced`: what the new name leads to, or null; one that is a directory is empty (kNotEmpty). Directories that differ: under
// Volume::rename_lock.
Task<Result<void>> rename(Inode& dir, std::string_view name, Inode& victim, Inode& new_dir, std::string_view new_name,
                          Inode* replaced);
// Both names, which exist, change places.
Task<Result<void>> exchange(Inode& dir, std::string_view name, Inode& victim, Inode& new_dir, std::string_view new_name,
                            Inode& other);
// Gives up a reference; frees the inode if it has no name and this was the last one. No lock of it is held.
Task<Result<void>> release(Ref<Inode> i);

}  // namespace ext4
