// SPDX-License-Identifier: MIT
// The user buffers of one transfer: one range, or an iovec array copied in and checked (readv(2)). It shrinks from the
// front as the transfer proceeds.
#pragma once
#include "fs/user_memory.hpp"
#include "linux/sys/table.hpp"

namespace linux {

struct Iovec {
    u64 base, length;
};

class IoVector {
public:
    IoVector(UserAddr at, u64 size) : count_(1), total_(size) { spans_[0] = {at, size}; }
    IoVector(IoVector&& o) noexcept;
    IoVector& operator=(IoVector&&) = delete;
    ~IoVector();
    // EINVAL: too many, or a negative length; EFAULT: outside of user space; ENOMEM; kNeedsFault.
    static Leaf<IoVector> import(fs::UserMemory& user, UserAddr vectors, u64 count);

    u64 size() const { return total_; }
    // Does each element begin and end at a multiple of `of`, a power of two?
    bool aligned(u64 of) const {
        u64 left = total_;
        for (u32 i = first_; i < count_ && left != 0; ++i) {
            const u64 n = spans_[i].size < left ? spans_[i].size : left;
            if ((spans_[i].at.value | n) & (of - 1)) return false;
            left -= n;
        }
        return true;
    }
    fs::UserSpan front() const { return spans_[first_]; }
    void drop_front();  // and empty ones after it
    void limit(u64 n) { total_ = n < total_ ? n : total_; }
    void advance(u64 n);
    // What is left, at most `most` bytes of it.
    fs::UserSpans spans(fs::UserMemory& user, u64 most) const {
        u64 n = most < total_ ? most : total_;
        if (count_ - first_ == 1) return {user, spans_[first_].at, n};
        return {user, spans_ + first_, count_ - first_, n};
    }

private:
    static constexpr u32 kFew = kFewVectors;
    IoVector() {}
    u32 first_ = 0, count_ = 0;
    u64 total_ = 0;
    fs::UserSpan* spans_ = few_;
    union {
        fs::UserSpan few_[kFew];
    };
    u32 allocated_ = 0;
};

}  // namespace linux
