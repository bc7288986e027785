// SPDX-License-Identifier: MIT
// The waist's copies of words that follow each other (contract.hpp, SpaceContract), for a space whose copies are calls
// anyway: all of them as one.
#pragma once
#include <cstddef>
#include <utility>

#include "lib/user.hpp"

namespace port {

template <class Space>
class WordCopies {
public:
    template <class... W>
    bool store_now(UserAddr to, const W&... words) {
        std::byte bytes[(sizeof(W) + ...)];
        u64 offset = 0;
        (__builtin_memcpy(bytes + std::exchange(offset, offset + sizeof(W)), &words, sizeof(W)), ...);
        return static_cast<Space*>(this)->copy_out(to, bytes, sizeof bytes) == sizeof bytes;
    }
    template <class... T>
    bool load_now(UserAddr from, T&... words) {
        std::byte bytes[(sizeof(T) + ...)];
        if (static_cast<Space*>(this)->copy_in(bytes, from, sizeof bytes) != sizeof bytes) return false;
        u64 offset = 0;
        (__builtin_memcpy(&words, bytes + std::exchange(offset, offset + sizeof(T)), sizeof(T)), ...);
        return true;
    }
};

}  // namespace port
