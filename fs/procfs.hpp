// SPDX-License-Identifier: MIT
// Generated files: a file system described by tables (proc(5)). linux/procfs*.cpp supplies the tables.
//
// A ProcNode is the static description of a file; a ProcContext names the process, thread or descriptor that an
// instance of it is about. Inodes are made on lookup and are not cached. Text is generated when it is read from its
// start, and kept in the open file until it is read from there again (as seq_file does).
#pragma once
#include "fs/file.hpp"
#include "fs/mount.hpp"
#include "lib/format.hpp"

namespace fs {

struct ProcContext {
    u64 id = 0;   // of the outer numbered directory: a process
    u64 sub = 0;  // of the inner one: a thread or a descriptor
    // Distinguishes the successive owners of a number (ProcNumbered::identity): a file does not come to be about a
    // successor.
    u64 identity = 0, sub_identity = 0;
    u64 opened = 0;                // what ProcNode::open gave
    const void* caller = nullptr;  // the present caller, as LookupContext::caller; null: the kernel
    // For ProcNode::show_some: what it counts in pieces that give no text. All 0 at position 0.
    static constexpr u32 kSums = 6;
    u64* sums = nullptr;
};

struct ProcNode;

// A directory's entries that are numbers.
struct ProcNumbered {
    const ProcNode* node;                             // what each is
    bool inner;                                       // the number is ProcContext::sub
    u64 (*next)(const ProcContext& dir, u64 from);    // the smallest existing number >= from; ~0: none
    u64 (*identity)(const ProcContext& c) = nullptr;  // of what has the number now; null: numbers are enough
};

struct ProcNode {
    std::string_view name{};
    u32 mode = 0;  // type and permissions
    // A regular file: its text, and what a write does. The context of a write is the file's; `text` has been copied in.
    Leaf<void> (*show)(lib::StringBuilder& out, const ProcContext& c) = nullptr;
    // Instead of `show`, for a text whose length a program chooses: a piece of it, of about a page, from `position` on
    // (0: the start), which moves on; ~0: that was all. A read gives no more than one piece, as Linux's seq_file.
    Leaf<void> (*show_some)(lib::StringBuilder& out, const ProcContext& c, u64& position) = nullptr;
    Leaf<void> (*write)(std::string_view text, const ProcContext& c) = nullptr;
    // Of a longer write so many bytes are taken; the call says so, or (`takes_all`) that all were. 0: EINVAL beyond 255.
    u32 most_text = 0;
    bool takes_all = false;
    // Not one of Linux's seq_files, of which pwrite(2) says ESPIPE, however they are opened.
    bool plain = false;
    // Not null: poll(2) and epoll work, and tell what has changed since they last did.
    struct Changes* changes = nullptr;
    // Called by open(2); its value is ProcContext::opened later.
    Leaf<u64> (*open)(const ProcContext& c) = nullptr;
    // Inode::grants_to.
    bool (*grants)(const ProcContext& c) = nullptr;
    Errno gone = Errno::kNoEnt;  // of a lookup in a directory when what that is about has gone
    // A directory.
    std::span<const ProcNode> children{};
    const ProcNumbered* numbered = nullptr;
    // A symbolic link: its text, or the object itself. `caller` as in LookupContext.
    Leaf<std::string_view> (*link)(std::span<char> buffer, const ProcContext& c, const void* caller) = nullptr;
    Leaf<Path> (*target)(const ProcContext& c) = nullptr;
    // The owner, if it is not root; kSrch or kNoEnt: what it is about has gone.
    Result<void> (*owner)(const ProcContext& c, Attributes& a) = nullptr;
};

// A fresh instance of the tree below `root`. It can be mounted.
Result<NewFileSystem> make_generated(const ProcNode& root, const char* type, u64 magic);

// A Path for a file that may have no name, so that a link can lead to it (/proc/PID/fd/N).
Result<Path> path_of_file(File& f);

}  // namespace fs
