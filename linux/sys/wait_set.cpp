// SPDX-License-Identifier: MIT
// Waiting for any of several files. See wait_set.hpp.
#include "linux/sys/wait_set.hpp"
#include "linux/task/thread.hpp"

namespace linux {

void WaitRoom::release() {
    if (waiters_ == few_) return;
    for (u32 i = 0; i < capacity_; ++i) waiters_[i].~Waiter();
    rt::deallocate(waiters_, capacity_ * sizeof(rt::Waiter));
    waiters_ = few_;
    capacity_ = kFew;
}

Result<void> WaitRoom::grow(u32 to, fs::WaitMemory& memory, u64 free) {
    to += to / 4;
    const u64 charge = to > free ? (to - free) * sizeof(rt::Waiter) : 0;
    if (!memory.take(charge)) return Errno::kNoMem;
    void* waiters = rt::allocate(to * sizeof(rt::Waiter));
    if (!waiters) {
        memory.give(charge);
        return Errno::kNoMem;
    }
    release();
    memory.give(std::exchange(charged_, charge));
    waiters_ = static_cast<rt::Waiter*>(waiters);
    capacity_ = to;
    for (u32 i = 0; i < to; ++i) new (&waiters_[i]) rt::Waiter;
    return lib::kOk;
}

Nanoseconds deadline_after(u64 nanoseconds) {
    u64 now = port::Port::now().value;
    return nanoseconds < ~u64{0} - now ? Nanoseconds{now + nanoseconds} : Nanoseconds::never();
}

namespace {

constexpr u32 kPiece = 128;  // files that are polled before other threads run

// Notes the queues of some files; returns the first time at which one of them changes by itself.
Nanoseconds watch(Caller& c, std::span<Polled> files, Nanoseconds now, fs::QueueSet& queues) {
    Nanoseconds first = Nanoseconds::never();
    for (Polled& p : files) {
        if (!p.file) continue;
        p.file->queues_for(&c, p.events, queues);
        if ((p.events & fs::kPollIn) == 0) continue;  // time makes files readable, nothing else
        Nanoseconds at = p.file->wake_time(now);
        first = at < first ? at : first;
    }
    return first;
}

// The file of the number now; before a wait the first one. After it a thread that has changed the number may have ended.
Ref<fs::File> current(Caller& c, Polled& p, bool waited) {
    if (!waited || p.fd.value < 0 || (!c.files().shared() && c.files().peek(p.fd) == p.file.get())) return p.file;
    auto now = open_file(c, p.fd);
    if (now.ok()) return now.take();
    p.ready = fs::kPollNval;
    return {};
}

// How many are ready; without a file p.ready stands already (POLLNVAL).
Task<Result<u32>> look_at(Caller& c, std::span<Polled> files, bool waited, fs::EpollLook& sets) {
    u32 count = 0;
    for (size_t i = 0; i < files.size(); ++i) {
        Polled& p = files[i];
        if (i % kPiece == kPiece - 1) co_await rt::Yield{};
        if (is_ending(c)) co_return Errno::kIntr;
        if (Ref<fs::File> file = current(c, p, waited)) {
            u32 mask;
            if (file->kind() == fs::FileKind::kEpoll) {
                fs::EpollLook::Step step;
                while ((step = sets.poll(static_cast<fs::EpollFile&>(*file), mask)) == fs::EpollLook::Step::kMore) {
                    co_await rt::Yield{};
                    if (is_ending(c)) co_return Errno::kIntr;
                }
                if (step == fs::EpollLook::Step::kNoMem) co_return Errno::kNoMem;
            } else {
                mask = file->poll_for(&c);
            }
            p.ready = mask & p.events;
        }
        count += p.ready != 0;
    }
    co_return count;
}

}  // namespace

TaskResult wait_for_any(Caller& c, std::span<Polled> files, Nanoseconds deadline) {
    WaitRoom room;
    fs::EpollLook sets{c.creds().user};
    bool waited = false, interrupted = false;
    Result<i64> result = Errno::kIntr;
    for (;;) {
        while (!sets.forget() && !is_ending(c)) co_await rt::Yield{};
        if (is_ending(c)) break;
        fs::QueueSet queues = room.start();
        const Nanoseconds now = port::Port::now();
        Nanoseconds until = deadline;
        for (size_t i = 0; i < files.size(); i += kPiece) {
            if (i != 0) co_await rt::Yield{};
            Nanoseconds at = watch(c, files.subspan(i, std::min<size_t>(kPiece, files.size() - i)), now, queues);
            until = at < until ? at : until;
        }
        if (queues.complete()) {
            sets.start(&queues, now);
            auto ready = co_await look_at(c, files, waited, sets);
            if (!ready.ok()) {
                result = ready.error();
                break;
            }
            result = i64{ready.value()};
            if (ready.value() != 0) break;
            if (interrupted || c.interrupted()) result = Errno::kIntr;
            if (!result.ok() || deadline <= now) break;
        }
        if (!queues.complete()) {
            if (!room.grow(queues.count(), sets.memory(), files.size() * fs::QueueSet::kUsual).ok()) {
                result = Errno::kNoMem;
                break;
            }
            continue;
        }
        until = sets.wake_time() < until ? sets.wake_time() : until;
        rt::Wait wait{"poll"};
        // Something may have become ready when it was interrupted: it wins, as in Linux.
        interrupted = co_await wait.on(room.waiters(), queues.count()).until(until) == rt::Wake::kInterrupted;
        waited = true;
    }
    while (!sets.forget() && !is_ending(c)) co_await rt::Yield{};
    co_return result;
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
Task<Result<void>> copy_faulting(Caller& c, Copy copy) {
    for (;;) {
        auto r = copy();
        if (r.error() != kNeedsFault) co_return r.ended();
        CO_TRY(co_await fault_in_range(c.thread(), c.user().fault()));
    }
}

}  // namespace

Task<Result<void>> copy_from_program(Caller& c, UserAddr from, void* to, size_t n) {
    return copy_faulting(c, [&c, from, to, n] { return c.user().read(to, from, n); });
}
Task<Result<void>> copy_to_program(Caller& c, UserAddr to, const void* from, size_t n) {
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
