// SPDX-License-Identifier: MIT
// File descriptors: the table that maps small numbers to open files (shared by CLONE_FILES).
// Lock: Rank::files. get() from one thread is on the hot path of every read and write.
#pragma once
#include "fs/file.hpp"

namespace fs {

using Fd = lib::Strong<struct FdTag, i32>;

class FileTable : public RefCounted<FileTable> {
public:
    static Result<Ref<FileTable>> create();
    ~FileTable();  // closes everything

    // EBADF if there is none. The reference keeps the file across a close by another thread.
    Result<Ref<File>> get(Fd fd);
    // Lowest free descriptor >= from and < limit (RLIMIT_NOFILE): EMFILE, ENOMEM.
    Result<Fd> install(Ref<File> file, bool close_on_exec, u64 limit, i32 from = 0);
    // dup2/dup3: closes what was there. EBADF if fd >= limit.
    Result<void> install_at(Fd fd, Ref<File> file, bool close_on_exec, u64 limit);
    Result<void> close(Fd fd);
    Result<bool> close_on_exec(Fd fd);
    Result<void> set_close_on_exec(Fd fd, bool on);
    void close_range(u32 first, u32 last);
    void cloexec_range(u32 first, u32 last);
    void close_all_on_exec();
    Result<Ref<FileTable>> clone();  // fork
    // For /proc/N/fd: the smallest open descriptor >= from, or -1.
    i32 next_open(i32 from);
    u32 open_count();

private:
    struct State;
    rt::SpinLock<rt::Rank::files> lock_;
    State* state_ = nullptr;
};

}  // namespace fs
