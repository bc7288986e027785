// SPDX-License-Identifier: MIT
// Strings from user memory, a word at a time: a word that does not cross a page either can be read whole or not at all.
#include "hal/x86_64/internal.hpp"

namespace hal {

UserString copy_string_from_user(char* to, u64 from, size_t max) {
    constexpr u64 kOnes = 0x0101010101010101, kHighs = 0x8080808080808080;
    size_t done = 0;
    if (from >= HAL_USER_TOP) return {0, false, max > 0};
    size_t room = HAL_USER_TOP - from;
    bool cut = max > room;
    if (cut) max = room;
    user_begin();
    while (done < max) {
        u64 at = from + done;
        u64 word;
        if (max - done >= 8 && (at & (kPageSize - 1)) <= kPageSize - 8) {
            if (!raw_load_user(at, word)) goto fault;
            __builtin_memcpy(to + done, &word, 8);
            u64 zero = (word - kOnes) & ~word & kHighs;  // the lowest set bit marks the first zero byte
            if (zero) {
                user_end();
                return {done + (static_cast<unsigned>(__builtin_ctzll(zero)) >> 3), true, false};
            }
            done += 8;
        } else {
            u8 byte;
            if (!raw_load_user(at, byte)) goto fault;
            to[done] = static_cast<char>(byte);
            if (byte == 0) {
                user_end();
                return {done, true, false};
            }
            done++;
        }
    }
    user_end();
    return {done, false, cut};
fault:
    user_end();
    return {done, false, true};
}

}  // namespace hal
