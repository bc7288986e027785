// SPDX-License-Identifier: MIT
// Waiting for any of several files. See wait_set.hpp.
#include "linux/sys/wait_set.hpp"

namespace linux {

void WaitRoom::release() {
    if (waiters_ == few_) return;
    for (u32 i = 0; i < capacity_; ++i) {
        waiters_[i].~Waiter();
        pins_[i].~Ref();
    }
    rt::deallocate(waiters_, capacity_ * sizeof(rt::Waiter));
    rt::deallocate(pins_, capacity_ * sizeof(Ref<fs::File>));
    waiters_ = few_;
    pins_ = few_pins_;
    capacity_ = kFew;
}

Result<void> WaitRoom::grow(u32 to) {
    to += to / 4;
    void* waiters = rt::allocate(to * sizeof(rt::Waiter));
    void* pins = rt::allocate(to * sizeof(Ref<fs::File>));
    if (!waiters || !pins) {
        if (waiters) rt::deallocate(waiters, to * sizeof(rt::Waiter));
        if (pins) rt::deallocate(pins, to * sizeof(Ref<fs::File>));
        return Errno::kNoMem;
    }
    release();
    waiters_ = static_cast<rt::Waiter*>(waiters);
    pins_ = static_cast<Ref<fs::File>*>(pins);
    capacity_ = to;
    for (u32 i = 0; i < to; ++i) {
        new (&waiters_[i]) rt::Waiter;
        new (&pins_[i]) Ref<fs::File>;
    }
    return lib::kOk;
}

Nanoseconds deadline_after(u64 nanoseconds) {
    u64 now = port::Port::now().value;
    return nanoseconds < ~u64{0} - now ? Nanoseconds{now + nanoseconds} : Nanoseconds::never();
}

namespace {

u32 look_at(Caller& c, std::span<Polled> files) {
    u32 count = 0;
    for (Polled& p : files) {
        if (p.file) p.ready = p.file->poll_for(&c) & p.events;
        count += p.ready != 0;  // without a file: POLLNVAL, set by the caller
    }
    return count;
}

u32 look_again(Caller& c, std::span<Polled> files) {
    if (!c.files().shared()) return look_at(c, files);
    u32 count = 0;
    for (Polled& p : files) {
        if (p.fd.value >= 0) {
            auto now = open_file(c, p.fd);
            p.ready = now.ok() ? now.value()->poll_for(&c) & p.events : fs::kPollNval;
        }
        count += p.ready != 0;
    }
    return count;
}

}  // namespace

TaskResult wait_for_any(Caller& c, std::span<Polled> files, Nanoseconds deadline) {
    WaitRoom room;
    bool waited = false;
    for (;;) {
        fs::QueueSet queues = room.start();
        for (Polled& p : files)
            if (p.file) p.file->queues_for(&c, p.events, queues);
        if (!queues.complete()) {
            CO_TRY(room.grow(queues.count()));
            continue;
        }
        Nanoseconds now = port::Port::now();
        if (u32 n = waited ? look_again(c, files) : look_at(c, files)) co_return i64{n};
        if (c.interrupted()) co_return Errno::kIntr;
        if (deadline <= now) co_return i64{0};
        Nanoseconds until = deadline;
        for (Polled& p : files)
            if (p.file) {
                Nanoseconds at = p.file->wake_time(now);
                until = at < until ? at : until;
            }
        rt::Wait wait{"poll"};
        if (co_await wait.on(room.waiters(), queues.count()).until(until) == rt::Wake::kInterrupted) {
            // Something may have become ready at the same time: it wins, as in Linux.
            if (u32 n = look_again(c, files)) co_return i64{n};
            co_return Errno::kIntr;
        }
        waited = true;
    }
}

void TemporaryMask::enter(Caller& c) {
    if (!present_) return;
    old_ = c.thread().blocked;
    set_blocked(c.thread(), wanted_);
}

void TemporaryMask::leave(Caller& c, bool interrupted) {
    if (!present_) return;
    if (!interrupted) return set_blocked(c.thread(), old_);
    c.thread().saved_blocked = old_;
    c.thread().restore_blocked = true;
}

namespace {

template <class Copy>
Task<Result<i64>> copy_faulting(Caller& c, Copy copy) {
    for (;;) {
        auto r = copy();
        if (r.ok()) co_return i64{0};
        if (r.error() != Errno::kNeedsFault) co_return r.error();
        auto f = c.user().fault();
        if (co_await c.mm().fault_in(f.start, f.size, f.write, c.process().limit(kRlimStack)) < f.size)
            co_return Errno::kFault;
    }
}

}  // namespace

Task<Result<i64>> copy_from_program(Caller& c, UserAddr from, void* to, size_t n) {
    return copy_faulting(c, [&c, from, to, n] { return c.user().read(to, from, n); });
}
Task<Result<i64>> copy_to_program(Caller& c, UserAddr to, const void* from, size_t n) {
    return copy_faulting(c, [&c, to, from, n] { return c.user().write(to, from, n); });
}

// `mask` null: none. EINVAL: wrong size; EFAULT.
Task<Result<TemporaryMask>> read_mask(Caller& c, UserAddr mask, u64 size) {
    TemporaryMask m;
    if (mask.value == 0) co_return m;
    if (size != sizeof(SignalSet)) co_return Errno::kInval;
    CO_TRY(co_await copy_from_program(c, mask, &m.wanted_, sizeof m.wanted_));
    m.wanted_.bits &= ~kUnblockable.bits;
    m.present_ = true;
    co_return m;
}

}  // namespace linux
