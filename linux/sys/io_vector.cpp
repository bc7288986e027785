// SPDX-License-Identifier: MIT
// Import of iovec arrays. See io_vector.hpp.
#include "linux/sys/io_vector.hpp"

#include "rt/mem/slab.hpp"

namespace linux {

IoVector::IoVector(IoVector&& o) noexcept
    : first_(o.first_), count_(o.count_), total_(o.total_), allocated_(std::exchange(o.allocated_, 0)) {
    if (allocated_ != 0)
        spans_ = o.spans_;
    else
        for (u32 i = first_; i < count_; ++i) few_[i] = o.few_[i];
    o.count_ = 0;
}

IoVector::~IoVector() {
    if (allocated_ != 0) rt::deallocate(spans_, allocated_ * sizeof(fs::UserSpan));
}

Leaf<IoVector> IoVector::import(fs::UserMemory& user, UserAddr vectors, u64 count) {
    static_assert(sizeof(Iovec) == sizeof(fs::UserSpan));
    if (count > kMaxVectors) return Errno::kInval;
    IoVector v;
    if (count > kFew) {
        v.spans_ = static_cast<fs::UserSpan*>(rt::allocate(count * sizeof(fs::UserSpan)));
        if (!v.spans_) {
            v.spans_ = v.few_;
            return Errno::kNoMem;
        }
        v.allocated_ = u32(count);
    }
    if (count != 0) TRY(user.read(v.spans_, vectors, count * sizeof(Iovec)));
    for (u32 i = 0; i < count; ++i)
        if (i64(v.spans_[i].size) < 0) return Errno::kInval;
    for (u32 i = 0; i < count; ++i) {
        fs::UserSpan& s = v.spans_[i];
        if (!fs::UserMemory::inside(s.at, s.size)) return Errno::kFault;
        if (s.size > kMaxIo - v.total_) s.size = kMaxIo - v.total_;
        v.total_ += s.size;
    }
    v.count_ = u32(count);
    if (count == 0) {
        v.spans_[0] = {};
        v.count_ = 1;
    }
    return v;
}

void IoVector::drop_front() {
    total_ -= spans_[first_].size;
    spans_[first_].size = 0;
    while (first_ + 1 < count_ && spans_[first_].size == 0) ++first_;
}

void IoVector::advance(u64 n) {
    total_ -= n;
    while (n > 0) {
        fs::UserSpan& s = spans_[first_];
        u64 part = n < s.size ? n : s.size;
        s.at += part;
        s.size -= part;
        n -= part;
        if (s.size == 0 && first_ + 1 < count_) ++first_;
    }
}

}  // namespace linux
