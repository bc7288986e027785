// SPDX-License-Identifier: MIT
// What all open files share, and the bookkeeping of partial user buffers.
#include "fs/file.hpp"

#include "fs/epoll.hpp"
#include "fs/file_locks.hpp"

namespace fs {

File::~File() {
    if (!file_extras_exist()) [[likely]]
        return;
    release_file_locks(*this);
    if (owner) {
        delete owner;
        file_extras.fetch_sub(1, std::memory_order_relaxed);
    }
}

void File::last_ref(File* f) {
    if (f->kind_ == FileKind::kEpoll || f->watched()) [[unlikely]]
        return epoll_end(f);
    delete f;
}

// The place is known from the copy: an address may lie in several spans, and a chunk may end in a span after the one where
// it began.
u64 UserSpans::position_of(const UserMemory::Fault& f) const {
    if (is_plain()) return f.start.value - at_.value < total_ ? f.start - at_ : UserMemory::kNowhere;
    return f.position < total_ ? f.position : UserMemory::kNowhere;
}

void UserSpans::expect(u64 end) const {
    if (!memory_) return;
    const u64 at = position_of(memory_->fault());
    if (end > total_) end = total_;
    if (at >= end) return;
    if (!spans_) return memory_->widen_fault(end - at);
    u64 before = 0;
    for (u32 i = 0; i < count(); before += spans_[i++].size) {
        if (at - before >= spans_[i].size) continue;
        const u64 span_end = before + spans_[i].size;
        return memory_->widen_fault((end < span_end ? end : span_end) - at);
    }
}

u64 UserSpans::accessible(const UserMemory::Fault& f, u64 have) const {
    const u64 at = position_of(f);
    return at < total_ && have < total_ - at ? at + have : 0;
}

}  // namespace fs
