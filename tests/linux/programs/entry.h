// SPDX-License-Identifier: MIT
// What getdents64(2) gives, as it lies in the buffer (linux_dirent64): each entry begins `length` bytes after the last.
#pragma once
#include <stdint.h>

struct entry {
    uint64_t inode;
    int64_t offset;
    uint16_t length;
    uint8_t type;
    char name[];
};
