// SPDX-License-Identifier: MIT
// Builds the address space of a new program (execve(2)): its segments, the interpreter's, the stack with arguments,
// environment and auxiliary vector, the start of the heap. Nothing of the caller is changed: the point of no return is
// the caller's, after this has succeeded. #! lines, permissions and set-user-id are the caller's business too.
#pragma once
#include <string_view>

#include "linux/exec/exec.hpp"
#include "linux/task/process.hpp"

namespace linux {

// The most that the stack of a set-user-ID program is laid out for, and may grow to, whatever its user's soft limit.
inline constexpr u64 kSecureStack = 8u << 20;

struct ExecArguments {
    const ExecImage* strings = nullptr;  // the caller has checked E2BIG
    u32 argc = 0, envc = 0;
    std::string_view path;             // AT_EXECFN: as given to execve, without NUL
    const fs::Creds* creds = nullptr;  // the new ones: AT_UID...
    bool secure = false;               // AT_SECURE: set-user-id or set-group-id took effect
};

struct LoadedProgram {
    Ref<AddressSpace> mm;  // its layout is filled in
    UserAddr entry{};      // of the interpreter if there is one
    UserAddr stack{};      // 16-byte aligned, at argc
    // The headers looked right but the segments cannot be mapped: Linux finds that out when the old program is gone
    // already, and ends the process by SIGSEGV. `mm` is null then.
    bool dead = false;
    bool unreadable = false;  // the user may execute the interpreter, but not read it
};

// ENOEXEC: not a program for this machine, or damaged; ENOMEM, EIO as execve(2); ENOENT, EACCES, ELIBBAD... for the
// interpreter. `file` is a regular file open for reading (and executing).
Task<Leaf<LoadedProgram>> load_program(Caller& caller, Ref<fs::File> file, const ExecArguments& arguments);

}  // namespace linux
