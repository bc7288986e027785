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

void UserSpans::expect(u64 at, u64 n) const {
    if (!memory_) return;
    if (!spans_) return memory_->widen_fault(n < total_ - at ? n : total_ - at);
    for (u32 i = 0; i < count(); ++i) {
        if (at < spans_[i].size) return memory_->widen_fault(n < spans_[i].size - at ? n : spans_[i].size - at);
        at -= spans_[i].size;
    }
}

u64 UserSpans::position_of(UserAddr a, u64 n) const {
    if (!memory_ || !spans_) return a.value - at_.value <= total_ ? a - at_ : ~u64{0};
    u64 before = 0;
    for (u32 i = 0; i < count(); ++i) {
        const u64 at = a.value - spans_[i].at.value;
        if (at < spans_[i].size && n <= spans_[i].size - at) return before + (a - spans_[i].at);
        before += spans_[i].size;
    }
    return ~u64{0};
}

}  // namespace fs
