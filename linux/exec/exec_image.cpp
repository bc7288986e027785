// SPDX-License-Identifier: MIT
// The strings of an execve, collected in one growing block.
#include <cstring>
#include <utility>

#include "linux/exec/exec.hpp"

namespace linux {

ExecImage::~ExecImage() {
    if (block_) rt::free_frames(frames_, order_);
    if (next_) rt::free_frames(next_frames_, next_order_);
}

Result<void> ExecImage::set_limits(u64 stack_limit, u64 pointers) {
    u64 limit = 6u << 20;
    if (stack_limit / 4 < limit) limit = stack_limit / 4;
    if (limit < 131072) limit = 131072;
    if (limit <= pointers * 8) return Errno::k2Big;
    room_ = limit - pointers * 8;
    return lib::kOk;
}

// Room for `more` bytes after the text and the string that has been begun. kNeedsTask: see append_user.
Leaf<void> ExecImage::reserve(u64 more) {
    if (next_) return move_on();
    u64 have = block_ ? kPageSize << order_ : 0;
    u64 need = (block_ ? end_ + partial_ : kHeadroom) + more;
    if (need <= have) return lib::kOk;
    unsigned order = block_ ? order_ + 1 : 2;
    while ((kPageSize << order) < need) ++order;
    if (order > rt::kMaxOrder) return Errno::k2Big;
    PhysAddr frames = TRY(rt::alloc_frames(order));
    char* block = static_cast<char*>(static_cast<void*>(hal::Machine::phys_to_virt(frames)));
    if (!block_) {
        start_ = end_ = kHeadroom;
        block_ = block;
        frames_ = frames;
        order_ = order;
        return lib::kOk;
    }
    next_ = block;
    next_frames_ = frames;
    next_order_ = order;
    moved_ = start_;
    return move_on();
}

// A piece of the move to the larger block.
Leaf<void> ExecImage::move_on() {
    constexpr u64 kAtOnce = 64 << 10;
    u64 end = end_ + partial_, n = end - moved_ < kAtOnce ? end - moved_ : kAtOnce;
    std::memcpy(next_ + moved_, block_ + moved_, n);
    moved_ += n;
    if (moved_ < end) return kNeedsTask;
    rt::free_frames(frames_, order_);
    block_ = std::exchange(next_, nullptr);
    frames_ = next_frames_;
    order_ = next_order_;
    return lib::kOk;
}

Result<void> ExecImage::append(std::string_view s) {
    u64 n = s.size() + 1;
    if (n > kMaxArgumentString || n > room_) return Errno::k2Big;
    Leaf<void> room = reserve(n);
    while (room.error() == kNeedsTask) room = reserve(n);
    TRY(room.ended());
    std::memcpy(block_ + end_, s.data(), s.size());
    block_[end_ + s.size()] = 0;
    end_ += n;
    room_ -= n;
    return lib::kOk;
}

Leaf<void> ExecImage::append_user(fs::UserMemory& from, UserAddr at) {
    constexpr u64 kPiece = 2048;
    TRY(reserve(kPiece));
    auto s = from.read_string({block_ + end_ + partial_, kPiece}, at + partial_);
    if (s.ok()) {
        u64 n = partial_ + s.value().size() + 1;
        if (n > kMaxArgumentString || n > room_) return Errno::k2Big;
        partial_ = 0;
        end_ += n;
        room_ -= n;
        return lib::kOk;
    }
    if (s.error() != Errno::kNameTooLong) return s.error();
    partial_ += kPiece;
    if (partial_ >= kMaxArgumentString || partial_ >= room_) return Errno::k2Big;
    return kNeedsTask;
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
