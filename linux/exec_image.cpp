// SPDX-License-Identifier: MIT
// The strings of an execve, collected in one growing block.
#include <cstring>

#include "linux/exec.hpp"

namespace linux {

ExecImage::~ExecImage() {
    if (block_) rt::free_frames(frames_, order_);
}

Result<void> ExecImage::set_limits(u64 stack_limit, u64 pointers) {
    u64 limit = 6u << 20;
    if (stack_limit / 4 < limit) limit = stack_limit / 4;
    if (limit < 131072) limit = 131072;
    if (limit <= pointers * 8) return Errno::k2Big;
    room_ = limit - pointers * 8;
    return lib::kOk;
}

// Room for `more` bytes at the end.
Result<void> ExecImage::reserve(u64 more) {
    u64 have = block_ ? kPageSize << order_ : 0;
    u64 need = (block_ ? end_ : kHeadroom) + more;
    if (need <= have) return lib::kOk;
    unsigned order = block_ ? order_ + 1 : 2;
    while ((kPageSize << order) < need) ++order;
    if (order > rt::kMaxOrder) return Errno::k2Big;
    PhysAddr frames = TRY(rt::alloc_frames(order));
    char* block = static_cast<char*>(static_cast<void*>(hal::Machine::phys_to_virt(frames)));
    if (block_) {
        std::memcpy(block + start_, block_ + start_, end_ - start_);
        rt::free_frames(frames_, order_);
    } else {
        start_ = end_ = kHeadroom;
    }
    block_ = block;
    frames_ = frames;
    order_ = order;
    return lib::kOk;
}

Result<void> ExecImage::append(std::string_view s) {
    u64 n = s.size() + 1;
    if (n > kMaxArgumentString || n > room_) return Errno::k2Big;
    TRY(reserve(n));
    std::memcpy(block_ + end_, s.data(), s.size());
    block_[end_ + s.size()] = 0;
    end_ += n;
    room_ -= n;
    return lib::kOk;
}

Leaf<void> ExecImage::append_user(fs::UserMemory& from, UserAddr at) {
    u64 want = 256;
    for (;;) {
        TRY(reserve(want));
        u64 have = (kPageSize << order_) - end_;
        if (have > kMaxArgumentString) have = kMaxArgumentString;
        auto s = from.read_string({block_ + end_, have}, at);
        if (s.ok()) {
            u64 n = s.value().size() + 1;
            if (n > room_) return Errno::k2Big;
            end_ += n;
            room_ -= n;
            return lib::kOk;
        }
        if (s.error() != Errno::kNameTooLong) return s.error();
        if (have >= kMaxArgumentString || have > room_) return Errno::k2Big;
        want = have + 1;
    }
}

void ExecImage::drop_first() {
    if (argc == 0) return;
    start_ += std::strlen(block_ + start_) + 1;
    --argc;
}

Result<void> ExecImage::prepend(std::string_view s) {
    u64 n = s.size() + 1;
    if (n > start_) return Errno::k2Big;
    start_ -= n;
    std::memcpy(block_ + start_, s.data(), s.size());
    block_[start_ + s.size()] = 0;
    ++argc;
    return lib::kOk;
}

}  // namespace linux
