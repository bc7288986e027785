// SPDX-License-Identifier: MIT
// A string out of memory that others may write to meanwhile.
#pragma once
#include <bit>

#include "lib/types.hpp"

namespace lib {

// Copies up to `n` bytes, to the zero byte or a little beyond it, within `n`. Returns the length without the zero byte; if it
// is less than n, that byte has come. Each byte is read once.
inline size_t copy_string(char* to, const std::byte* from, size_t n) {
    using Word [[gnu::may_alias, gnu::aligned(1)]] = u64;
    constexpr u64 kOnes = 0x0101010101010101;
    size_t i = 0;
    for (; i + sizeof(u64) <= n; i += sizeof(u64)) {
        const u64 w = *reinterpret_cast<const volatile Word*>(from + i);
        *reinterpret_cast<Word*>(to + i) = w;
        if (const u64 zero = (w - kOnes) & ~w & kOnes << 7; zero != 0) return i + size_t(std::countr_zero(zero)) / 8;
    }
    for (; i < n; ++i) {
        to[i] = *reinterpret_cast<const volatile char*>(from + i);
        if (to[i] == 0) break;
    }
    return i;
}

}  // namespace lib
