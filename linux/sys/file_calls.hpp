// SPDX-License-Identifier: MIT
// Calls on descriptors, by source file; the rows that name them are in linux/sys/file.cpp.
#pragma once
#include "linux/sys/table.hpp"

namespace linux {

// The file of a descriptor that was not opened with O_PATH; else EBADF.
inline Result<Ref<fs::File>> open_file(Caller& c, Fd fd) {
    Ref<fs::File> f = TRY(c.file(fd));
    if (f->flags() & fs::kOpenPath) return Errno::kBadF;
    return f;
}
inline u64 descriptor_limit(Caller& c) { return c.process().limit(kRlimNofile); }
Result<Fd> install_file(Caller& c, Ref<fs::File> file, u32 open_flags);

// One transfer, to its end: waits, faults buffers in, gives short counts as Linux does. `offset`: kAtOffset or
// absolute.
class IoVector;
TaskResult transfer(Caller& c, Ref<fs::File> file, IoVector buffers, u64 offset, bool write);
// How many of n bytes RLIMIT_FSIZE lets be written at `offset`. None: the caller gets SIGXFSZ.
u64 room_below_limit(Caller& c, fs::File& file, u64 offset, u64 n);
// SIGPIPE for the caller.
void broken_pipe(Caller& c);

// descriptor.cpp
Leaf<void> sys_close(Caller&, Fd);
Leaf<void> sys_close_range(Caller&, u32 first, u32 last, u32 flags);
Leaf<Fd> sys_dup(Caller&, Fd);
Leaf<Fd> sys_dup2(Caller&, Fd, Fd);
Leaf<Fd> sys_dup3(Caller&, Fd, Fd, u32 flags);
Leaf<i64> sys_fcntl(Caller&, Fd, u32 command, u64 argument);
Leaf<void> sys_flock(Caller&, Fd, u32 operation);
Leaf<i64> sys_ioctl(Caller&, Fd, u32 request, u64 argument);
Leaf<void> sys_pipe(Caller&, UserOut<i32>);
Leaf<void> sys_pipe2(Caller&, UserOut<i32>, u32 flags);

// file_block.cpp: files that wait for a disk (fs/block_file.hpp)
TaskResult block_transfer(Caller& c, Ref<fs::File> file, IoVector buffers, u64 offset, bool write);
// A piece between the file and memory of the kernel's: how many bytes.
Task<Leaf<size_t>> block_piece(fs::File& file, std::span<std::byte> memory, u64 offset, bool write);
Task<Result<void>> sync_disk(Ref<fs::File> file);
// After a write to a disk: what O_SYNC and O_DSYNC promise.
Task<Result<void>> flush_if_synced(fs::File& file);
// The same after a transfer that succeeds.
TaskResult sync_after(TaskResult transfer, Ref<fs::File> file);
// BLKDISCARD of the range at `argument`.
TaskResult change_disk(Caller& c, Ref<fs::File> file, u64 argument);

// file_locks.cpp: the F_*LK commands
bool is_lock_command(u32 command);  // sets or clears a record lock
Leaf<i64> lock_command(Caller& c, Fd fd, fs::File& file, u32 command, u64 argument);

// file_space.cpp
Leaf<void> sys_fallocate(Caller&, Fd, u32 mode, i64 offset, i64 length);
Leaf<Fd> sys_memfd_create(Caller&, UserString name, u32 flags);
// A long search for data or for a hole, in pieces.
Task<Result<u64>> seek_patiently(Caller&, Ref<fs::File>, i64 offset, u32 whence);

// file_copy.cpp
TaskResult sys_sendfile(Caller&, Fd out, Fd in, UserAddr offset, u64 count);
TaskResult sys_copy_file_range(Caller&, Fd in, UserAddr in_offset, Fd out, UserAddr out_offset, u64 count, u32 flags);

}  // namespace linux
