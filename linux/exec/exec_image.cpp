// SPDX-License-Identifier: MIT
// The strings of an execve, collected in chunks.
#include <cstring>

#include "linux/exec/exec.hpp"

namespace linux {

ExecImage::~ExecImage() {
    for (u32 i = 0; i < chunk_count_; ++i) rt::deallocate(chunks_[i], kChunk);
}

Result<void> ExecImage::set_limits(u64 stack_limit, u64 space_limit, u64 pointers) {
    u64 limit = kMostText;
    if (stack_limit / 4 < limit) limit = stack_limit / 4;
    if (limit < 131072) limit = 131072;
    if (limit <= pointers * 8) return Errno::k2Big;
    room_ = limit - pointers * 8;
    // The strings must be within the limits of the stack and of all memory too, by pages; they lie below a word of zero
    // (Linux: bprm_mm_init, acct_stack_growth).
    u64 stack = (stack_limit < space_limit ? stack_limit : space_limit) & ~(kPageSize - 1);
    if (stack < kPageSize) stack = kPageSize;
    if (room_ > stack - sizeof(u64)) room_ = stack - sizeof(u64);
    return lib::kOk;
}

std::span<const char> ExecImage::text_at(u64 offset) const {
    const u64 at = start_ + offset, chunk_end = (at / kChunk + 1) * kChunk;
    if (at >= end_) return {};
    return {place(at), size_t((chunk_end < end_ ? chunk_end : end_) - at)};
}

// Chunks up to there.
Result<void> ExecImage::reserve(u64 end) {
    while (chunk_count_ * kChunk < end) {
        if (chunk_count_ == kChunks) return Errno::k2Big;
        void* fresh = rt::allocate(kChunk);
        if (!fresh) return Errno::kNoMem;
        chunks_[chunk_count_++] = static_cast<char*>(fresh);
    }
    return lib::kOk;
}

// The string and its NUL, for which there are chunks.
void ExecImage::put(u64 at, std::string_view s) {
    while (!s.empty()) {
        const u64 left = kChunk - at % kChunk, n = s.size() < left ? s.size() : left;
        std::memcpy(place(at), s.data(), n);
        s.remove_prefix(n);
        at += n;
    }
    *place(at) = 0;
}

Result<void> ExecImage::append(std::string_view s) {
    const u64 n = s.size() + 1;
    if (n > kMaxArgumentString || n > room_) return Errno::k2Big;
    TRY(reserve(end_ + n));
    put(end_, s);
    end_ += n;
    room_ -= n;
    return lib::kOk;
}

Leaf<void> ExecImage::append_user(fs::UserMemory& from, UserAddr at) {
    constexpr u64 kPiece = 2048;
    for (u64 done = 0; done < kPiece;) {
        const u64 to = end_ + partial_, left = kChunk - to % kChunk, piece = left < kPiece ? left : kPiece;
        TRY(reserve(to + piece));
        auto s = from.read_string({place(to), piece}, at + partial_);
        if (s.ok()) {
            const u64 n = partial_ + s.value().size() + 1;
            if (n > kMaxArgumentString || n > room_) return Errno::k2Big;
            partial_ = 0;
            end_ += n;
            room_ -= n;
            return lib::kOk;
        }
        if (s.error() != Errno::kNameTooLong) return s.error();
        partial_ += piece;
        done += piece;
        if (partial_ >= kMaxArgumentString || partial_ >= room_) return Errno::k2Big;
    }
    return kNeedsTask;
}

void ExecImage::drop_first() {
    if (argc == 0) return;
    for (;;) {
        const std::span<const char> text = text_at(0);
        const size_t n = strnlen(text.data(), text.size());
        start_ += n;
        if (n < text.size()) break;
    }
    ++start_;
    --argc;
}

Result<void> ExecImage::prepend(std::string_view s) {
    const u64 n = s.size() + 1;
    if (n > start_) return Errno::k2Big;
    start_ -= n;
    put(start_, s);
    ++argc;
    return lib::kOk;
}

}  // namespace linux
