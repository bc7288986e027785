// SPDX-License-Identifier: MIT
// Limits (linux/limits.h, linux/binfmts.h, linux/xattr.h, linux/fs.h, linux/uio.h).
#pragma once
#include <cstddef>
#include <cstdint>

namespace abi {

inline constexpr size_t kNameMax = 255, kPathMax = 4096;  // NAME_MAX; PATH_MAX, with the NUL
inline constexpr uint32_t kMaxSymlinks = 40;              // MAXSYMLINKS: followed in one resolution
inline constexpr uint32_t kMaxGroups = 65'536;            // NGROUPS_MAX
inline constexpr uint64_t kPipeBuf = 4096;                // PIPE_BUF: written as a whole or not at all
inline constexpr uint32_t kMaxDescriptors = 1048576;      // NR_OPEN, sysctl fs.nr_open: the most RLIMIT_NOFILE can be
inline constexpr uint64_t kMaxArgumentString = 131072;    // MAX_ARG_STRLEN, with its NUL
inline constexpr uint32_t kMaxArgumentStrings = 0x7fffffff;  // MAX_ARG_STRINGS

inline constexpr size_t kProgramHeaderSize = 256;  // BINPRM_BUF_SIZE: of a program, what chooses its format
inline constexpr uint64_t kMaxIo = 0x7fff'f000;    // MAX_RW_COUNT: no call transfers more (read(2), NOTES)
inline constexpr uint32_t kMaxVectors = 1024, kFewVectors = 8;  // UIO_MAXIOV, UIO_FASTIOV

// setxattr(2): XATTR_NAME_MAX, XATTR_SIZE_MAX, XATTR_CREATE, XATTR_REPLACE.
inline constexpr uint32_t kXattrNameMax = 255;
inline constexpr uint64_t kXattrSizeMax = 65536;
inline constexpr uint32_t kXattrCreate = 1, kXattrReplace = 2;

}  // namespace abi
