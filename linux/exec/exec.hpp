// SPDX-License-Identifier: MIT
// execve(2): from a name and strings to a running program.
#pragma once
#include "linux/task/process.hpp"
#include "rt/mem/slab.hpp"

namespace linux {

inline constexpr u64 kMaxArgumentString = 131072;  // MAX_ARG_STRLEN, with its NUL

// The strings of an execve, in chunks of kernel memory: room for #! lines, argv, envp. Not shared.
class ExecImage {
public:
    ExecImage() {}  // not what is only written later: the array of chunks
    ExecImage(const ExecImage&) = delete;
    ~ExecImage();

    // As bprm_stack_limits of Linux: a quarter of the stack's limit, at most 6 MiB, at least 128 KiB; `space_limit`:
    // RLIMIT_AS. E2BIG.
    Result<void> set_limits(u64 stack_limit, u64 space_limit, u64 pointers);
    // argv first, then envp. kNoMem, k2Big. Only as the first string.
    Result<void> append(std::string_view s);
    // The same from the program. kNeedsFault: call again after the page is there. kNeedsTask: a piece of the string was
    // copied; call again, with the same address, after a Yield.
    Leaf<void> append_user(fs::UserMemory& from, UserAddr at);
    // #!: the script's argv[0] goes, its interpreter's command line comes.
    void drop_first();
    Result<void> prepend(std::string_view s);

    // argv strings, then envp strings, each with its NUL: their bytes from `offset` on, as far as they lie together.
    std::span<const char> text_at(u64 offset) const;
    u64 size() const { return end_ - start_; }
    u32 argc = 0, envc = 0;
    char path[fs::kPathMax] = {};  // as given to execve; AT_EXECFN
    u32 path_length = 0;
    std::string_view path_view() const { return {path, path_length}; }
    // execveat by a descriptor that closes on exec: a script could not be opened by its interpreter.
    bool path_inaccessible = false;

private:
    static constexpr u64 kHeadroom = 8192;  // five #! lines and a path
    static constexpr u64 kMostText = 6u << 20, kChunk = 16u << 10;
    static constexpr u32 kChunks = u32((kHeadroom + kMostText) / kChunk) + 1;
    Result<void> reserve(u64 end);
    // Up to the end of its chunk.
    char* place(u64 at) const { return chunks_[at / kChunk] + at % kChunk; }
    void put(u64 at, std::string_view s);
    u64 start_ = kHeadroom, end_ = kHeadroom;
    u64 room_ = 0;     // bytes of strings that may still come
    u64 partial_ = 0;  // bytes behind end_: of the string that append_user has begun
    u32 chunk_count_ = 0;
    char* chunks_[kChunks];  // so many of them
};

// Opens a program as execve does: EACCES unless a regular file that the caller may execute.
Leaf<void> check_program(Thread& t, const fs::Path& file);
Leaf<fs::Path> find_program(Thread& t, const fs::Path& start, std::string_view path, u32 lookup_flags);

// The calling thread becomes the program. On success its registers are those of the new program's first instruction.
TaskResult exec_image(Thread& t, ExecImage& image, fs::Path file);

}  // namespace linux
