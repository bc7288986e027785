// SPDX-License-Identifier: MIT
// The lock order. A spinlock may be taken only while every spinlock already held on this CPU has a smaller rank. This
// enum is the reference: a new lock gets its rank here, with one line that says what it guards.
#pragma once
#include "lib/types.hpp"

namespace rt {

enum class Rank : u8 {
    process_tree,    // parents, children, groups, sessions, the pid table
    process,         // one process: its threads, its state
    signals,         // pending signals and actions of one process
    signal_actions,  // what a process does on signals; shared by CLONE_SIGHAND
    files,           // a table of file descriptors
    fs_context,      // root, working directory, umask
    namespace_,      // mounts and the directory tree: rename
    directory,       // the names in one directory
    dentry,          // one bucket of the dentry cache
    inode,           // attributes and directory contents of one inode
    file,            // one open file: its offset
    address_space,   // the areas of one address space
    mapping,         // the page cache of one inode: its pages and its mappings
    anon,            // the anonymous pages of one area (no lock has this rank at present)
    file_locks,      // the table of advisory locks
    fifo,            // which pipe belongs to a FIFO's inode
    pipe,            // one pipe's ring
    futex,           // one bucket of futex waiters
    poll,            // event files
    tty,             // line discipline and its buffers
    capability,      // native objects (core/): derivation tree
    object,          // native objects: one endpoint, notification
    native_thread,   // native objects: requests to one thread
    native_mapping,  // where native memory is mapped
    native_window,   // the pages of one space that is the window of a memory
    space,           // page tables of one address space
    disk_inodes,     // the table of inodes in memory of one ext4 volume
    disk_blocks,     // the metadata blocks of one ext4 volume, and what its journal does with them
    device,          // one driver's queues
    async_lock,      // the waiters of a sleeping lock, or for a flush
    wait_queue,      // one wait queue
    timer,           // timers of one CPU
    reclaim,         // the deferred frees of one module
    slab,            // one size class of the slab allocator
    frames,          // the buddy allocator
    log,             // the kernel's message buffer
};
inline constexpr u32 kRankCount = u32(Rank::log) + 1;

}  // namespace rt
