// SPDX-License-Identifier: MIT
// Open files of ordinary inodes. See regular.hpp for the locks.
#include "fs/regular.hpp"

#include "fs/block_file.hpp"

#include "fs/dentry.hpp"
#include "fs/devices.hpp"
#include "fs/pipe.hpp"
#include "rt/mem/slab.hpp"

namespace fs {

namespace {

u64 smaller(u64 a, u64 b) { return a < b ? a : b; }

// What a failed write left beyond the end of the file must not be seen when the file grows later.
void scrub(Mapping& mapping, u64 from, u64 to) {
    for (u64 at = from; at < to;) {
        u64 in_page = at % kPageSize, part = smaller(kPageSize - in_page, to - at);
        if (Page* p = mapping.peek(at / kPageSize)) std::memset(p->bytes() + in_page, 0, part);
        at += part;
    }
}

// Would a transfer go past the last offset there is? EINVAL then (rw_verify_area of Linux).
bool beyond_offsets(u64 at, u64 n) { return i64(at + n) < 0; }

// Of a write that goes past the largest size of a file. Where it begins is the caller's choice (EINVAL) or the end of
// the file (what fits; EFBIG if nothing does).
[[gnu::noinline]] Errno cut_at_end(UserSpans& part, u64 at, bool appends) {
    if (!appends) return Errno::kInval;
    if (at >= kMaxFileSize) return Errno::kFBig;
    part.limit(kMaxFileSize - at);
    return Errno::kOk;
}

// New pages of one write. If many are needed, adjacent ones are taken, so that reads can copy them in one piece
// (Mapping::peek_run).
class PageStock {
public:
    ~PageStock() {
        for (; left_; --left_, next_ += kPageSize) rt::free_frame(next_);
    }
    // A page to be overwritten completely; `wanted` such pages will be asked for, this one included.
    Result<Ref<Page>> take(u64 wanted) {
        if (left_ == 0) {
            unsigned order = wanted >= 16 ? 4 : wanted >= 4 ? 2 : 0;
            auto frames = order ? rt::alloc_adjacent(order) : Result<PhysAddr>{Errno::kNoMem};
            if (!frames.ok()) return Page::allocate();
            next_ = frames.value();
            left_ = 1u << order;
        }
        --left_;
        PhysAddr at = next_;
        next_ += kPageSize;
        return Page::adopt_frame(at);
    }

private:
    PhysAddr next_{};
    u32 left_ = 0;
};

// Writable as File::writable() says (access mode 3 is neither).
bool counts_as_writer(u32 flags) { return ((flags + 1) & 2) != 0 && !(flags & (kOpenUncounted | kOpenPath)); }

}  // namespace

Leaf<Ref<File>> open_inode(OpenContext& how, Inode& inode) {
    switch (inode.mode() & kTypeMask) {
        case kTypeRegular: {
            bool writes = counts_as_writer(how.flags);
            Mount& mount = *how.path.mount;  // stays as long as the file
            if (writes) {
                if (!inode.start_writing()) return Errno::kTxtBsy;
                if (!mount.begin_writing()) [[unlikely]] {
                    inode.stop_writing();
                    return Errno::kRoFs;
                }
            }
            auto* f = rt::make<RegularFile>(how, inode, *inode.mapping());  // takes how.path
            if (!f) {
                if (writes) {
                    mount.end_writing();
                    inode.stop_writing();
                }
                return Errno::kNoMem;
            }
            return Ref<File>::adopt(f);
        }
        case kTypeDirectory: return Ref<File>{TRY(rt::make_ref<DirectoryFile>(how))};
        case kTypeBlock: return open_block_device(how, inode.peek_attributes().device);
        case kTypeChar: return open_device(how, inode.peek_attributes().device);
        case kTypeFifo: return open_fifo(how, inode);
        case kTypeLink: return Errno::kLoop;
        default: return Errno::kNxIo;
    }
}

RegularFile::RegularFile(OpenContext& how, Inode& inode, Mapping& mapping)
    : File(std::move(how.path), how.flags),
      mapping_(&mapping),
      keeps_set_id_(how.creds->capable(kCapFsetid)),
      in_group_(how.creds->in_group(inode.peek_attributes().gid)) {}

RegularFile::~RegularFile() {
    if (!counts_as_writer(flags())) return;
    inode()->stop_writing();
    mount().end_writing();
}

Leaf<size_t> RegularFile::copy_to_user(const UserSpans& to, u64 at) {
    u64 size = mapping_->size.load(std::memory_order_acquire);
    if (at >= size) return beyond_offsets(at, to.size()) ? Leaf<size_t>(Errno::kInval) : Leaf<size_t>(size_t{0});
    u64 n = smaller(to.size(), size - at), in_page = at % kPageSize;
    if (in_page + n <= kPageSize) [[likely]] {
        Page* p = mapping_->peek(at / kPageSize);
        auto copied = p ? to.copy_out(0, p->bytes() + in_page, n) : to.zero(0, n);
        if (!copied.ok()) [[unlikely]]
            return copied.error();
        return n;
    }
    for (u64 done = 0; done < n;) {
        Mapping::Run run = mapping_->peek_run(at / kPageSize, lib::pages_for(in_page + n - done));
        u64 part = smaller((run.pages ? run.pages : 1) * kPageSize - in_page, n - done);
        auto copied = run.pages ? to.copy_out(done, run.bytes + in_page, part) : to.zero(done, part);
        if (!copied.ok()) [[unlikely]] {
            if (copied.error() == kNeedsFault) to.expect(n);
            return copied.error();
        }
        done += part;
        at += part;
        in_page = 0;
    }
    return n;
}

Leaf<size_t> RegularFile::try_read(const UserSpans& to, u64 at) {
    if (at != kAtOffset) {
        auto n = copy_to_user(to, at);
        if (n.ok() && !(flags() & kOpenNoAtime)) inode()->touch_accessed();
        return n;
    }
    Leaf<size_t> n{Errno::kOk};
    {
        rt::LockGuard g(offset_lock);
        n = copy_to_user(to, offset);
        if (n.ok()) offset += n.value();
    }
    if (n.ok() && !(flags() & kOpenNoAtime)) inode()->touch_accessed();
    return n;
}

// Copies into the pages, made where missing. After a fault what lay below the end may have changed in part; no space gives a short count, as does no
// memory where some of it will do.
Leaf<size_t> RegularFile::copy_from_user(const UserSpans& from, u64 start, u64 old_size, bool some) {
    u64 n = from.size();
    PageStock stock;
    for (u64 done = 0; done < n;) {
        u64 at = start + done, in_page = at % kPageSize, part = smaller(kPageSize - in_page, n - done);
        Page* p = mapping_->peek(at / kPageSize);
        Leaf<void> result{Errno::kOk};
        if (p) [[likely]] {
            result = from.copy_in(done, p->bytes() + in_page, part);
            p->use();
        } else {
            auto fresh = part == kPageSize ? stock.take((n - done) / kPageSize) : Page::allocate_zeroed();
            if (fresh.ok()) {
                result = from.copy_in(done, fresh.value()->bytes() + in_page, part);
                if (result.ok()) {
                    Page* mine = fresh.value().get();
                    auto there = mapping_->insert(at / kPageSize, fresh.take());
                    if (!there.ok())
                        result = there.error();
                    else if (there.value() != mine)
                        continue;  // a concurrent fault of a mapping made one: retry, into that one
                }
            } else {
                result = fresh.error();
            }
        }
        if (!result.ok()) [[unlikely]] {
            if (result.error() == kNeedsFault || result.error() == Errno::kFault ||
                (result.error() == Errno::kNoMem && !some)) {
                if (result.error() == kNeedsFault) from.expect(n);
                if (at + part > old_size) scrub(*mapping_, start > old_size ? start : old_size, at + part);
                return result.error();
            }
            if (done == 0) return result.error();
            return done;
        }
        done += part;
    }
    return n;
}

// A write by a caller without CAP_FSETID clears the set-ID bits (file_remove_privs of Linux): the writer counts, which
// may have been given the open file.
[[gnu::noinline]] u32 RegularFile::mode_after_write(const Attributes& a, const void* caller) const {
    if (caller) {
        const Creds& writer = creds_of_caller(caller);
        return writer.capable(kCapFsetid) ? a.mode : without_set_id(a, writer);
    }
    if (keeps_set_id_) return a.mode;
    return a.mode & ~(kSetUid | ((a.mode & kGroupExec) || !in_group_ ? kSetGid : 0));
}

Leaf<size_t> RegularFile::write(const UserSpans& from, u64 at, bool some) {
    if (from.size() == 0) return size_t{0};
    bool moves = at == kAtOffset, appends = (flags() & kOpenAppend) != 0;
    if (!moves && at >= kAtEndMoves) [[unlikely]] {
        moves = at == kAtEndMoves;
        appends = true;
    }
    Timestamp now = current_time();
    auto a = inode()->lock_attributes();
    if (moves) {
        offset_lock.lock();
        at = offset;
    }
    u64 old_size = a->size;
    if (appends) at = old_size;
    UserSpans part = from;
    Errno refused = Errno::kOk;
    if (beyond_offsets(at, part.size())) [[unlikely]]
        refused = cut_at_end(part, at, appends);
    // Before the first byte: the copy may end half-way, and the call with it (file_remove_privs and file_update_time of Linux).
    if (refused == Errno::kOk) {
        a->modified = a->changed = now;
        if (a->mode & (kSetUid | kSetGid)) [[unlikely]]
            a->mode = mode_after_write(*a, from.caller());
    }
    Leaf<size_t> n = refused == Errno::kOk ? copy_from_user(part, at, old_size, some) : refused;
    if (n.ok()) {
        if (at + n.value() > old_size) {
            a->size = at + n.value();
            mapping_->size.store(a->size, std::memory_order_release);
        }
        inode()->note_changed();
        if (moves) offset = at + n.value();
    }
    if (moves) offset_lock.unlock();
    return n;
}

Leaf<u64> RegularFile::seek(i64 to, u32 whence) {
    u64 size = mapping_->size.load(std::memory_order_acquire);
    rt::LockGuard g(offset_lock);
    i64 base = 0;
    switch (whence) {
        case kSeekSet: break;
        case kSeekCur: base = i64(offset); break;
        case kSeekEnd: base = i64(size); break;
        case kSeekData:
        case kSeekHole: {
            if (to < 0 || u64(to) >= size) return Errno::kNxIo;
            u64 page = u64(to) / kPageSize;
            bool more;
            u64 found = whence == kSeekData ? mapping_->next_data(page, more) : mapping_->next_hole(page, more);
            if (more) return kNeedsTask;
            if (whence == kSeekData && (found == ~u64{0} || found * kPageSize >= size)) return Errno::kNxIo;
            u64 at = found == page ? u64(to) : found * kPageSize;
            offset = smaller(at, size);
            return offset;
        }
        default: return Errno::kInval;
    }
    i64 target;
    if (__builtin_add_overflow(base, to, &target)) return Errno::kInval;
    if (target < 0) return Errno::kInval;
    offset = u64(target);
    return offset;
}

Leaf<File::MapSource> RegularFile::map_source() { return MapSource{Ref<Mapping>{mapping_}, false}; }

Leaf<u64> DirectoryFile::seek(i64 to, u32 whence) {
    rt::LockGuard g(offset_lock);
    if (whence == kSeekCur)
        to += i64(offset);
    else if (whence != kSeekSet)
        return Errno::kInval;
    if (to < 0) return Errno::kInval;
    offset = u64(to);
    return offset;
}

Leaf<u64> DirectoryFile::read_directory(DirSink& sink) {
    Dentry& dir = *path().dentry;
    Leaf<u64> next{Errno::kOk};
    Ref<Dentry> before;  // dropped outside the locks
    if (dir.flags() & Dentry::kPinned) {
        rt::LockGuard g(dir.names_lock);
        rt::LockGuard at(offset_lock);
        before = last_entry;
        if (dir.unlinked()) return Errno::kNoEnt;
        next = inode()->read_directory(*this, offset, sink);
        if (next.ok())
            if (auto done = sink.finish(); !done.ok()) next = done.error();
        if (next.ok())
            offset = next.value();
        else
            std::swap(last_entry, before);
    } else {
        next = inode()->read_directory(*this, position(), sink);
        if (next.ok())
            if (auto done = sink.finish(); !done.ok()) next = done.error();
        if (next.ok()) set_position(next.value());
    }
    if (next.ok()) inode()->touch_accessed();
    return next;
}

Leaf<u64> read_pinned_names(DirectoryFile& f, Dentry& dir, u64 offset, DirSink& sink) {
    if (offset == 0) {
        if (!sink.add({dir.inode()->number, 1, dirent_type(kTypeDirectory), "."})) return offset;
        offset = 1;
    }
    if (offset == 1) {
        if (!sink.add({dir.parent()->inode()->number, 2, dirent_type(kTypeDirectory), ".."})) return offset;
        offset = 2;
    }
    Dentry* d;
    if (offset == 2) {
        d = dir.children.back();
    } else if (Dentry* last = f.last_entry.get();
               last && last->cookie == offset && last->parent() == &dir && !last->unlinked()) {
        d = dir.children.prev(*last);
    } else {
        d = dir.children.back();
        while (d && d->cookie >= offset) d = dir.children.prev(*d);
    }
    Dentry* last = nullptr;
    for (; d; d = dir.children.prev(*d)) {
        if (!sink.add({d->inode()->number, d->cookie, dirent_type(d->inode()->mode()), d->name().view()})) break;
        offset = d->cookie;
        last = d;
    }
    if (last) f.last_entry = Ref<Dentry>{last};
    return offset;
}

}  // namespace fs
