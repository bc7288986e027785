// SPDX-License-Identifier: MIT
// Pipes: data. Opening and closing ends is in fs/pipe_open.cpp.
//
// A read or write first copies everything it will take, and only then moves head, tail and lengths: a copy that stops
// at a page that is not there has changed nothing (but that a read has dropped slots without data), and is run again as a
// whole.
#include "fs/pipe.hpp"

#include <bit>
#include <cstddef>

#include "fs/tty.hpp"
#include "lib/format.hpp"
#include "port/api/modules.hpp"
#include "rt/mem/slab.hpp"

namespace fs {

constinit PipeLimits pipe_limits;

Pipe::~Pipe() {
    for (u32 n = tail_; n != head_; ++n) rt::free_frame(slot(n).frame);
    if (spare_.value != 0) rt::free_frame(spare_);
    if (slots_ != first_slots_) rt::deallocate(slots_, slot_count_ * sizeof(Slot));
    refund();
}

void Pipe::refund() {
    if (u32 pages = std::exchange(charged_, 0); pages && payer_)
        payer_->pipe_pages.fetch_sub(pages, std::memory_order_relaxed);
}

void Pipe::empty_ring() {
    rt::Reclaimer& fs = port::reclaimer(port::Module::kFs);
    u32 pages;
    {
        rt::LockGuard guard{lock_};
        if (readers_ != 0 || writers_ != 0) return;
        pages = head_ - tail_;
        // Acquire: pairs with reclaim_step().
        if (slots_ == first_slots_ || !fs.defers(pages) || left_.slots.load(std::memory_order_acquire)) {
            for (u32 n = tail_; n != head_; ++n) rt::free_frame(slot(n).frame);
            Slot* const ring = std::exchange(slots_, first_slots_);
            const u32 count = slot_count_;
            resize_first(ring == first_slots_ ? count : kPipeSlots);
            guard.unlock();
            if (ring != first_slots_) rt::deallocate(ring, count * sizeof(Slot));
            return;
        }
        left_.slot_count = slot_count_;
        left_.head = head_;
        left_.tail = tail_;
        left_.slots.store(std::exchange(slots_, first_slots_), std::memory_order_relaxed);
        resize_first(kPipeSlots);
    }
    ref();
    left_.reclaim.step = &Pipe::reclaim_step;
    fs.free(left_.reclaim, pages);
}

rt::Reclaimable* Pipe::reclaim_step(rt::Reclaimable& r, u64 most) {
    auto* p = reinterpret_cast<Pipe*>(reinterpret_cast<std::byte*>(&r) - offsetof(Pipe, left_.reclaim));
    Left& left = p->left_;
    Slot* slots = left.slots.load(std::memory_order_relaxed);
    u64 done = 0;
    for (; done < most && left.tail != left.head; ++done)
        rt::free_frame(slots[left.tail++ & (left.slot_count - 1)].frame);
    rt::reclaim_settled(done);
    if (left.tail != left.head) return &r;
    rt::deallocate(slots, left.slot_count * sizeof(Slot));
    left.slots.store(nullptr, std::memory_order_release);
    p->unref();
    return nullptr;
}

Leaf<size_t> Pipe::read(const UserSpans& to) {
    if (to.size() == 0) return size_t{0};
    // Empty, checked without the lock: a thread that must wait checks again under it, or the queue wakes it.
    if (head_ == tail_ && writers_ != 0) return kNeedsTask;
    rt::LockGuard guard{lock_};
    const u32 head = head_;
    u32 tail = tail_;
    if (head == tail) {
        if (writers_ == 0) return size_t{0};
        return kNeedsTask;
    }
    bool was_full = head - tail >= slot_count_;
    size_t done = 0;
    if (slot(tail).length == 0) [[unlikely]] {
        const bool packet = drop_empty();
        tail = tail_;
        // At once: a writer may wait for what has gone, and the copy below may stop.
        if (was_full) writable.wake_all();
        was_full = false;
        if (packet) return size_t{0};
        if (head == tail) {
            if (writers_ == 0) return size_t{0};
            return kNeedsTask;
        }
    }
    Slot& first = slot(tail);
    if (first.length > to.size() || head - tail == 1 || first.packet) [[likely]] {
        // All from one slot.
        done = first.length < to.size() ? first.length : to.size();
        if (auto copied = to.copy_out(0, first.bytes() + first.offset, done); !copied.ok()) [[unlikely]]
            return copied.error();
    } else {
        for (u32 n = tail; n != head && done < to.size(); ++n) {
            Slot& s = slot(n);
            if (s.packet) break;
            size_t part = s.length < to.size() - done ? s.length : to.size() - done;
            if (auto copied = to.copy_out(done, s.bytes() + s.offset, part); !copied.ok()) [[unlikely]] {
                if (copied.error() == kNeedsFault) expect_rest(to, done, n);
                return copied.error();
            }
            done += part;
        }
    }
    // Everything is with the program: take it out. What a read leaves of a packet is lost.
    for (size_t left = done; left > 0;) {
        Slot& s = slot(tail);
        if (left < s.length && !s.packet) {
            s.offset = u16(s.offset + left);
            s.length = u16(s.length - left);
            break;
        }
        left -= left < s.length ? left : s.length;
        give_page(s.frame);
        ++tail;
    }
    tail_ = tail;
    guard.unlock();
    if (was_full) writable.wake_all();
    return done;
}

// Slots without data that come first go. True: the last of them was a packet, which is what was read.
bool Pipe::drop_empty() {
    bool packet = false;
    u32 tail = tail_;
    while (tail != head_ && slot(tail).length == 0 && !packet) {
        packet = slot(tail).packet;
        give_page(slot(tail++).frame);
    }
    tail_ = tail;
    return packet;
}

void Pipe::write_failed(size_t size, bool packet) {
    rt::LockGuard guard{lock_};
    const u32 head = head_, used = head - tail_;
    if (size == 0 || readers_ == 0 || used >= slot_count_) return;
    const size_t merge = size & (kPageSize - 1);
    if (used != 0 && merge != 0) {  // it would have gone to the end of the last page
        const Slot& last = slot(head - 1);
        if (!last.packet && last.offset + last.length + merge <= kPageSize) return;
    }
    const u8 before = used != 0 && slot(head - 1).length == 0 ? slot(head - 1).empty : 0;
    if (before == kMostEmpty) return;
    auto frame = take_page();
    if (!frame.ok()) return;
    Slot& s = slot(head);
    s.frame = frame.value();
    s.offset = s.length = 0;
    s.packet = packet;
    s.empty = u8(before + 1);
    head_ = head + 1;
    guard.unlock();
    readable.wake_all();
}

// The copy stopped at slot n: have all that this read will take faulted in at once.
void Pipe::expect_rest(const UserSpans& to, size_t done, u32 n) {
    u64 more = 0;
    for (u32 m = n; m != head_ && done + more < to.size() && !slot(m).packet; ++m) more += slot(m).length;
    to.expect(done + more);
}

Leaf<size_t> Pipe::write(const UserSpans& from, bool whole, bool packet) {
    const size_t size = from.size();
    if (size == 0) return size_t{0};
    rt::LockGuard guard{lock_};
    if (readers_ == 0) return Errno::kPipe;
    const u32 head = head_, used = head - tail_;

    // What part goes where: `merge` bytes to the end of the last slot, the rest to fresh ones.
    size_t merge = size & (kPageSize - 1);
    Slot* last = used != 0 ? &slot(head - 1) : nullptr;
    if (!last || packet || last->packet || last->offset + last->length + merge > kPageSize) merge = 0;
    u64 room = merge + u64{slot_count_ - used} * kPageSize;
    size_t total = size < room ? size : size_t(room);
    if (total == 0 || (whole && total < size)) return kNeedsTask;

    LeafError trouble = Errno::kOk;
    size_t done = 0;
    if (merge != 0) {
        auto copied = from.copy_in(0, last->bytes() + last->offset + last->length, merge);
        if (!copied.ok()) [[unlikely]]
            trouble = copied.error();
        else
            done = merge;
    }
    u32 end = head;
    while (done < total && trouble == Errno::kOk) {
        Slot& s = slot(end);
        auto frame = take_page();
        if (!frame.ok()) [[unlikely]] {
            trouble = Errno::kNoMem;
            break;
        }
        s.frame = frame.value();
        ++end;
        size_t part = total - done < kPageSize ? total - done : kPageSize;
        if (auto copied = from.copy_in(done, s.bytes(), part); !copied.ok()) [[unlikely]] {
            trouble = copied.error();
            break;
        }
        s.offset = 0;
        s.length = u16(part);
        s.packet = packet;
        done += part;
    }
    if (trouble != Errno::kOk && (trouble.needs_more() || done == 0 || whole)) [[unlikely]] {
        while (end != head) give_page(slot(--end).frame);
        if (trouble == kNeedsFault) from.expect(total);
        return trouble;
    }
    // From here on nothing fails. (Memory may have run out after some pages: a short count.)
    if (merge != 0) last->length = u16(last->length + merge);
    head_ = end;
    guard.unlock();
    readable.wake_all();
    return done;
}

u32 Pipe::buffered() {
    rt::LockGuard guard{lock_};
    u32 sum = 0;
    for (u32 n = tail_; n != head_; ++n) sum += slot(n).length;
    return sum;
}

u32 Pipe::capacity() {
    rt::LockGuard guard{lock_};
    return slot_count_ * u32(kPageSize);
}

u64 pipe_room(u64 bytes) {
    if (bytes > (u64{1} << 31)) return 0;
    return bytes < kPageSize ? kPageSize : std::bit_ceil(bytes);
}

namespace {

// What is over a user's limit when it has so many pages; nothing for those with privileges.
enum class Over : u8 { kNone, kSoft, kHard };
Over over_limits(const Creds& c, u64 pages) {
    u64 soft = pipe_limits.soft_pages.load(std::memory_order_relaxed);
    u64 hard = pipe_limits.hard_pages.load(std::memory_order_relaxed);
    bool over_soft = soft != 0 && pages > soft, over_hard = hard != 0 && pages > hard;
    if (!over_soft && !over_hard) return Over::kNone;
    if (c.capable(kCapSysResource) || c.capable(kCapSysAdmin)) return Over::kNone;
    return over_hard ? Over::kHard : Over::kSoft;
}

}  // namespace

Result<void> Pipe::charge_new(const Creds& maker) {
    lock_.assume_held();  // it is new: no other CPU can reach it
    return charge_new_locked(maker);
}
Result<void> Pipe::charge_new_locked(const Creds& maker) {
    u64 most = pipe_limits.max_bytes.load(std::memory_order_relaxed) / kPageSize;
    if (slot_count_ > most && !maker.capable(kCapSysResource)) slot_count_ = u32(most);
    if (!maker.user) return lib::kOk;
    std::atomic<u64>& pages = maker.user->pipe_pages;
    u64 now = pages.fetch_add(slot_count_, std::memory_order_relaxed) + slot_count_;
    if (Over over = over_limits(maker, now); over != Over::kNone) [[unlikely]] {
        // The hard limit counts for what is left of the room.
        u32 less = slot_count_ < kPipeFewSlots ? slot_count_ : kPipeFewSlots;
        u64 soft = pipe_limits.soft_pages.load(std::memory_order_relaxed);
        if (soft != 0 && now > soft) {
            now = pages.fetch_sub(slot_count_ - less, std::memory_order_relaxed) - (slot_count_ - less);
            slot_count_ = less;
        }
        if (over_limits(maker, now) == Over::kHard) {
            pages.fetch_sub(slot_count_, std::memory_order_relaxed);
            return Errno::kNFile;
        }
    }
    payer_ = maker.user;
    charged_ = slot_count_;
    return lib::kOk;
}

// F_SETPIPE_SZ: rounded up to a power of two of pages. EINVAL, EPERM over a limit, EBUSY if the data would not fit.
Result<u32> Pipe::set_capacity(u64 bytes, const Creds& asker) {
    const u64 room = pipe_room(bytes);
    if (room == 0) return Errno::kInval;
    const u32 wanted = u32(room / kPageSize);
    Slot* fresh = nullptr;
    if (wanted <= kPipeMostSlots) fresh = static_cast<Slot*>(rt::allocate(wanted * sizeof(Slot)));
    Slot* old = fresh;  // what is not needed in the end
    u32 old_count = wanted;
    Result<u32> result = u32(room);
    bool grew = false;
    {
        rt::LockGuard guard{lock_};
        const u32 used = head_ - tail_;
        const bool grows = wanted > slot_count_;
        u64 others = payer_ ? payer_->pipe_pages.load(std::memory_order_relaxed) - charged_ : 0;
        if (grows && room > pipe_limits.max_bytes.load(std::memory_order_relaxed) && !asker.capable(kCapSysResource))
            result = Errno::kPerm;
        else if (grows && over_limits(asker, others + wanted) != Over::kNone)
            result = Errno::kPerm;
        else if (wanted < used)
            result = Errno::kBusy;
        else if (!fresh)
            result = Errno::kNoMem;
        if (result.ok()) {
            // Slots without data are written before they are read.
            for (u32 n = 0; n < used; ++n) new (&fresh[n]) Slot(slot(tail_ + n));
            old = slots_ == first_slots_ ? nullptr : slots_;
            old_count = slot_count_;
            slots_ = fresh;
            __atomic_store_n(&slot_count_, wanted, __ATOMIC_RELAXED);  // for seems_full()
            tail_ = 0;
            head_ = used;
            grew = grows;
            if (payer_) {
                payer_->pipe_pages.fetch_add(u64{wanted} - charged_, std::memory_order_relaxed);
                charged_ = wanted;
            }
        }
    }
    if (old) rt::deallocate(old, old_count * sizeof(Slot));
    if (grew) writable.wake_all();
    return result;
}

inline u32 Pipe::poll(bool reader, bool writer, u64 writers_seen) {
    u32 mask = 0;
    if (reader) {
        if (head_ != tail_) mask |= kPollIn | kPollRdNorm;
        if (writers_ == 0 && writers_seen != writers_ever.load(std::memory_order_relaxed)) mask |= kPollHup;
    }
    if (writer) {
        if (!seems_full()) mask |= kPollOut | kPollWrNorm;
        if (readers_ == 0) mask |= kPollErr;
    }
    return mask;
}

Leaf<size_t> PipeFile::try_read(const UserSpans& to, u64) { return pipe_->read(to); }
Leaf<size_t> PipeFile::try_write(const UserSpans& from, u64) {
    return pipe_->write(from, !nonblocking(), (flags() & kOpenDirect) != 0);
}
Leaf<size_t> PipeFile::try_write_some(const UserSpans& from, u64) {
    return pipe_->write(from, false, (flags() & kOpenDirect) != 0);
}

Leaf<size_t> FifoFile::try_read(const UserSpans& to, u64 offset) {
    auto n = PipeFile::try_read(to, offset);
    if (n.ok() && n.value() != 0 && !(flags() & kOpenNoAtime)) inode()->touch_accessed();
    return n;
}
Leaf<size_t> FifoFile::try_write(const UserSpans& from, u64 offset) {
    return written(PipeFile::try_write(from, offset));
}
Leaf<size_t> FifoFile::try_write_some(const UserSpans& from, u64 offset) {
    return written(PipeFile::try_write_some(from, offset));
}
Leaf<size_t> FifoFile::written(Leaf<size_t> n) {
    if (n.ok() && n.value() != 0) inode()->touch_modified();
    return n;
}

u32 PipeFile::poll() {
    u32 f = flags();
    if (f & kOpenPath) [[unlikely]]
        return 0;
    u32 access = f & kOpenAccess;
    return pipe_->poll(access != kOpenWriteOnly, access != kOpenReadOnly, writers_seen_);
}

void PipeFile::queues(u32 events, QueueSet& out) {
    // Hang-ups and errors are always reported, each on its end's queue.
    if (readable()) out.add(pipe_->readable);
    if (writable()) out.add(pipe_->writable);
}

Leaf<u64> PipeFile::ioctl(UserMemory& user, u32 request, u64 argument) {
    if (request != kFionRead) return Errno::kNoTty;
    u32 n = pipe_->buffered();
    TRY(user.write(UserAddr{argument}, &n, sizeof n));
    return u64{0};
}

void PipeFile::buffer_failed(void*, bool write, u64 size) {
    if (write) pipe_->write_failed(size, (flags() & kOpenDirect) != 0);
}

std::string_view PipeFile::label(std::span<char> buffer) {
    return {buffer.data(), lib::format_to(buffer, "pipe:[{}]", inode()->number)};
}

}  // namespace fs
