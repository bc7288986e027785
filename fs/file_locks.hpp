// SPDX-License-Identifier: MIT
// Advisory locks: POSIX record locks (fcntl F_SETLK), open file description locks (F_OFD_SETLK) and flock(2).
//
// All are kept in one table; lock: Rank::file_locks. Waiters watch file_locks_changed() of their file.
#pragma once
#include "fs/file.hpp"
#include "lib/tree.hpp"

namespace fs {

enum class LockKind : u8 { kPosix, kOpenFile, kFlock };

struct FileLock {
    LockKind kind = LockKind::kPosix;
    bool write = false;
    const void* owner = nullptr;        // the descriptor table, or the open file
    i32 pid = -1;                       // as F_GETLK reports it
    u64 start = 0, end = ~u64{0} >> 1;  // inclusive
};

// How many locks and owners (FileOwner) there are: while there are none, the ends of files look for neither.
extern std::atomic<u32> file_extras;
inline bool file_extras_exist() { return file_extras.load(std::memory_order_relaxed) != 0; }
// Woken when locks of the inode have gone or let others in; some inodes share one.
rt::WaitQueue& file_locks_changed(const Inode& inode);

// The first lock that conflicts with `want`; false if there is none.
bool find_conflict(Inode& inode, const FileLock& want, FileLock& found);
// A lock that takes the place of many of the same owner's, in pieces. It is held from the first one on.
class LongLock {
public:
    LongLock() = default;
    LongLock(const LongLock&) = delete;
    ~LongLock();

private:
    friend Leaf<void> set_lock(Inode& inode, const FileLock& want, LongLock* in_pieces);
    void begin(Inode& inode, const FileLock& want, void* group);
    bool forget();
    struct HeldLock* pending_ = nullptr;
    Inode* inode_ = nullptr;
    LockKind kind_ = LockKind::kPosix;
    const void* owner_ = nullptr;
};
// kAgain: it conflicts. kNoMem. kNeedsTask: many locks of the owner must be removed first, give way and call it again;
// without `in_pieces` nothing has changed.
Leaf<void> set_lock(Inode& inode, const FileLock& want, LongLock* in_pieces = nullptr);
Leaf<void> clear_lock(Inode& inode, const FileLock& range);
// A POSIX waiter, from begin_wait to end_wait; the inode is kept by its owner.
struct LockWaiter {
    lib::TreeHook hook;
    Inode* inode = nullptr;
    FileLock wanted;
    const void* owner = nullptr;    // wanted.owner
    const void* blocker = nullptr;  // the owner whose lock was in the way when it last looked
};
// Looks whether `want` must wait, and whether that would close a circle of POSIX waiters; if it does not, others find the
// waiter from then on. One step: of two that would wait for each other, the second one sees the first.
enum class LockWait : u8 {
    kFree,    // nothing is in the way now
    kCircle,  // it must not wait
    kWaits,
    kMore,  // many waiters were just woken: not known yet, give way and look again
};
LockWait begin_wait(LockWaiter& w, Inode& inode, const FileLock& want);
void end_wait(LockWaiter& w);

// On close(2) by `table`, and when the last reference to `file` goes.
void release_posix_locks(File& file, const void* table);
void release_file_locks(File& file);

}  // namespace fs
