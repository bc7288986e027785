// SPDX-License-Identifier: MIT
// Copies between a file and the pieces of an iovec, or the kernel's own memory.
#include "fs/user_memory.hpp"

namespace fs {

// Calls piece(done, address, length) for each part of [at, at + n) that lies in one span.
template <class Piece>
Leaf<void> UserSpans::each_piece(u64 at, size_t n, Piece&& piece) const {
    const u64 start = at;
    size_t done = 0;
    for (u32 i = 0; i < count() && done < n; ++i) {
        const UserSpan& s = spans_[i];
        if (at >= s.size) {
            at -= s.size;
            continue;
        }
        size_t part = n - done < s.size - at ? n - done : s.size - at;
        if (auto copied = piece(done, s.at + at, part); !copied.ok()) [[unlikely]] {
            if (copied.error() == kNeedsFault) memory_->place_fault(start + done);
            return copied;
        }
        done += part;
        at = 0;
    }
    return lib::kOk;
}

Leaf<void> UserSpans::copy_out_pieces(u64 at, const void* from, size_t n) const {
    if (!memory_) {
        std::memcpy(kernel() + at, from, n);
        return lib::kOk;
    }
    auto* bytes = static_cast<const std::byte*>(from);
    return each_piece(at, n,
                      [&](size_t done, UserAddr a, size_t part) { return memory_->write(a, bytes + done, part); });
}

Leaf<void> UserSpans::copy_in_pieces(u64 at, void* to, size_t n) const {
    if (!memory_) {
        std::memcpy(to, kernel() + at, n);
        return lib::kOk;
    }
    auto* bytes = static_cast<std::byte*>(to);
    return each_piece(at, n,
                      [&](size_t done, UserAddr a, size_t part) { return memory_->read(bytes + done, a, part); });
}

Leaf<void> UserSpans::zero_pieces(u64 at, size_t n) const {
    if (!memory_) {
        std::memset(kernel() + at, 0, n);
        return lib::kOk;
    }
    return each_piece(at, n, [&](size_t, UserAddr a, size_t part) { return memory_->zero(a, part); });
}

}  // namespace fs
