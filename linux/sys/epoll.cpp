// SPDX-License-Identifier: MIT
// epoll_create, epoll_ctl, epoll_wait; timerfd_create, timerfd_settime, timerfd_gettime.
#include "fs/epoll.hpp"

#include "abi/linux/time.hpp"
#include "fs/anonymous.hpp"
#include "fs/epoll_look.hpp"
#include "fs/eventfd.hpp"
#include "linux/sys/epoll_calls.hpp"
#include "linux/sys/wait_set.hpp"

namespace linux {

using fs::EpollFile;

namespace {

constexpr u32 kFewEvents = 16;  // the most that a leaf reports

// EBADF, EINVAL. The file lives as long as `hold`.
Result<Ref<fs::File>> epoll_of(Caller& c, Fd fd) {
    Ref<fs::File> file = TRY(open_file(c, fd));
    if (file->kind() != fs::FileKind::kEpoll) return Errno::kInval;
    return file;
}

constexpr i32 kMostEvents = 0x7fff'ffff / i32(sizeof(EpollEvent));

Errno check_wait(UserAddr events, i32 max) {
    if (max <= 0 || max > kMostEvents) return Errno::kInval;
    if (!fs::UserMemory::inside(events, u64(max) * sizeof(EpollEvent))) return Errno::kFault;
    return Errno::kOk;
}

// An array of what was found, sized to the set.
struct ReadyArray {
    EpollFile::Ready* ready = nullptr;
    EpollEvent* events = nullptr;
    u32 size = 0;
    ReadyArray() = default;
    ReadyArray(const ReadyArray&) = delete;
    ~ReadyArray() {
        if (ready) rt::deallocate(ready, size * sizeof(EpollFile::Ready));
        if (events) rt::deallocate(events, size * sizeof(EpollEvent));
    }
    Result<void> make(u32 n, fs::WaitMemory& memory) {
        if (!memory.take(n * (sizeof(EpollFile::Ready) + sizeof(EpollEvent)))) return Errno::kNoMem;
        size = n;
        ready = static_cast<EpollFile::Ready*>(rt::allocate(n * sizeof(EpollFile::Ready)));
        events = static_cast<EpollEvent*>(rt::allocate(n * sizeof(EpollEvent)));
        return ready && events ? Result<void>{lib::kOk} : Result<void>{Errno::kNoMem};
    }
};

// Writes them to the program, and tells the set that they were reported.
TaskResult report(Caller& c, EpollFile& epoll, ReadyArray& found, u32 n, UserAddr events) {
    constexpr u32 kPiece = 512;
    for (u32 i = 0; i < n; ++i) {
        if (i % kPiece == kPiece - 1) {
            co_await rt::Yield{};
            if (is_ending(c)) co_return Errno::kIntr;
        }
        found.events[i] = {found.ready[i].events, found.ready[i].data};
    }
    CO_TRY(co_await copy_to_program(c, events, found.events, n * sizeof(EpollEvent)));
    for (u32 i = 0; i < n; i += kPiece) {
        if (i != 0) co_await rt::Yield{};
        epoll.commit_items(found.ready + i, std::min(kPiece, n - i));
    }
    epoll.pass_turn(found.ready, n);
    co_return i64{n};
}

TaskResult wait_for_events(Caller& c, Ref<fs::File> set, UserAddr events, i32 max, Nanoseconds deadline) {
    using Step = fs::EpollLook::Step;
    auto* epoll = static_cast<EpollFile*>(set.get());
    ReadyArray found;
    u32 most = epoll->size() + 16 < u32(max) ? epoll->size() + 16 : u32(max);
    WaitRoom room;
    fs::EpollLook look{c.creds().user};
    CO_TRY(found.make(most, look.memory()));
    bool interrupted = false;
    bool watches = !epoll->is_long();  // otherwise no check was made so far
    Result<i64> result = i64{0};
    for (;;) {
        while (!look.forget() && !is_ending(c)) co_await rt::Yield{};
        fs::QueueSet queues = room.start();
        const Nanoseconds now = port::Port::now();
        look.start(watches ? &queues : nullptr, now);
        Step step;
        u32 n = 0;
        while ((step = look.collect(*epoll, found.ready, most, n)) == Step::kMore && !is_ending(c))
            co_await rt::Yield{};
        if (step == Step::kNoMem || is_ending(c)) {
            result = step == Step::kNoMem ? Errno::kNoMem : Errno::kIntr;
            break;
        }
        if (n != 0) {
            while (!look.forget() && !is_ending(c)) co_await rt::Yield{};
            co_return co_await report(c, *epoll, found, n, events);
        }
        // With no time left nothing interrupts: what a temporary mask let in is still pending afterwards.
        if (interrupted || (deadline > now && c.interrupted())) result = Errno::kIntr;
        if (!result.ok() || deadline <= now) break;
        if (!queues.complete() && !room.grow(queues.count(), look.memory()).ok()) {
            result = Errno::kNoMem;
            break;
        }
        if (!queues.complete() || !std::exchange(watches, true)) {
            co_await rt::Yield{};
            continue;
        }
        Nanoseconds until = look.wake_time() < deadline ? look.wake_time() : deadline;
        rt::Wait wait{"epoll"};
        interrupted = co_await wait.on(room.waiters(), queues.count()).until(until) == rt::Wake::kInterrupted;
    }
    while (!look.forget() && !is_ending(c)) co_await rt::Yield{};
    co_return result;
}

u64 milliseconds_or_never(i32 ms) { return ms < 0 ? ~u64{0} : u64(ms) * 1'000'000; }

TaskResult wait_masked(Caller& c, Fd fd, UserAddr events, i32 max, Nanoseconds deadline, UserAddr mask, u64 mask_size) {
    TemporaryMask m = CO_TRY(co_await read_mask(c, mask, mask_size));
    if (Errno e = check_wait(events, max); e != Errno::kOk) co_return e;
    Ref<fs::File> set = CO_TRY(epoll_of(c, fd));
    m.enter(c);
    auto r = co_await wait_for_events(c, std::move(set), events, max, deadline);
    m.leave(c, r.error() == Errno::kIntr);
    co_return r;
}

}  // namespace

Leaf<Fd> sys_epoll_create1(Caller& c, u32 flags) {
    if (flags & ~fs::kOpenCloexec) return Errno::kInval;
    Ref<fs::Inode> inode = TRY(fs::anonymous_inode());
    return install_file(c, TRY(fs::make_file<EpollFile>(std::move(inode), fs::kOpenReadWrite, c.creds().user)), flags);
}
Leaf<Fd> sys_epoll_create(Caller& c, i32 size) {
    if (size <= 0) return Errno::kInval;
    return sys_epoll_create1(c, 0);
}

Leaf<void> sys_epoll_ctl(Caller& c, Fd epoll_fd, i32 operation, Fd fd, UserAddr event_at) {
    EpollEvent event{};
    if (operation != kEpollCtlDelete) TRY(c.user().read(&event, event_at, sizeof event));
    Ref<fs::File> epoll_file = TRY(open_file(c, epoll_fd));
    Ref<fs::File> target = TRY(open_file(c, fd));
    if (!target->pollable()) return Errno::kPerm;
    if (epoll_file == target || epoll_file->kind() != fs::FileKind::kEpoll) return Errno::kInval;
    auto& epoll = static_cast<EpollFile&>(*epoll_file);
    event.events &= ~fs::kEpollWakeup;  // needs CAP_BLOCK_SUSPEND, and has no meaning here
    if (operation != kEpollCtlDelete && (event.events & fs::kEpollExclusive)) {
        // EPOLLEXCLUSIVE_OK_BITS; never with EPOLL_CTL_MOD, never for a set
        constexpr u32 kAllowed =
            fs::kPollIn | fs::kPollOut | fs::kPollErr | fs::kPollHup | fs::kEpollEdge | fs::kEpollExclusive;
        if (operation == kEpollCtlModify) return Errno::kInval;
        if (target->kind() == fs::FileKind::kEpoll || (event.events & ~kAllowed)) return Errno::kInval;
    }
    switch (operation) {
        case kEpollCtlAdd: return epoll.add(fd.value, *target, event.events, event.data);
        case kEpollCtlModify: return epoll.modify(fd.value, *target, event.events, event.data);
        case kEpollCtlDelete: return epoll.remove(fd.value, *target);
        default: return Errno::kInval;
    }
}

namespace {

Leaf<void> put_event(Caller& c, UserAddr at, const EpollFile::Ready& r) {
    EpollEvent event{r.events, r.data};
    return c.user().write(at, &event, sizeof event);
}

[[gnu::noinline]] Leaf<i64> several_events(Caller& c, EpollFile& epoll, UserAddr events, u32 max) {
    EpollFile::Ready found[kFewEvents];
    u32 n = epoll.collect(found, max < kFewEvents ? max : kFewEvents);
    if (n == EpollFile::kLong || (n == kFewEvents && max > n)) return kNeedsTask;
    bool commit = !epoll.in_turn(n);
    for (u32 i = 0; i < n; ++i) {
        commit |= found[i].commit;
        TRY(put_event(c, events + i * sizeof(EpollEvent), found[i]));
    }
    if (commit && n != 0) epoll.commit(found, n);
    return i64{n};
}

[[gnu::noinline]] Leaf<i64> any_wait(Caller& c, Fd fd, UserAddr events, i32 max, i32 timeout) {
    if (Errno e = check_wait(events, max); e != Errno::kOk) return e;
    auto file = c.borrow(fd);
    if (!file) return Errno::kBadF;
    if (file->kind() != fs::FileKind::kEpoll) return Errno::kInval;
    auto n = several_events(c, static_cast<EpollFile&>(*file), events, u32(max));
    if (n.ok() && n.value() == 0 && timeout != 0) n = kNeedsTask;
    n = c.or_later(std::move(n), [&] {
        const Nanoseconds deadline = deadline_after(milliseconds_or_never(timeout));
        return wait_for_events(c, Ref<fs::File>{&*file}, events, max, deadline);
    });
    return c.keep_if_unfinished(file, std::move(n));
}

// A set of one, ready, that needs nothing written down; all else is apart, so that this needs little stack.
[[gnu::always_inline]] inline Leaf<i64> wait_leaf(Caller& c, Fd fd, UserAddr events, i32 max, i32 timeout) {
    if (u32(max) - 1 < u32(kMostEvents) && events.value <= fs::kUserEnd - u64(max) * sizeof(EpollEvent) &&
        !c.files().shared()) [[likely]] {
        fs::File* file = c.files().peek(fd);
        if (file && file->kind() == fs::FileKind::kEpoll) [[likely]] {
            auto& epoll = static_cast<EpollFile&>(*file);
            EpollFile::Plain one = epoll.only_one();
            if (one.events != 0 && c.user().store_now(events, one.events, one.data)) [[likely]]
                return 1;
        }
    }
    return any_wait(c, fd, events, max, timeout);
}

[[gnu::noinline]] LeafError masked_wait(Caller& c, Fd fd, UserAddr events, i32 max, i32 timeout, ArgumentsFrom<4> m) {
    const Nanoseconds deadline = deadline_after(milliseconds_or_never(timeout));
    return c.later(wait_masked(c, fd, events, max, deadline, m.get<UserAddr, 4>(), m.get<u64, 5>()));
}

}  // namespace

Leaf<i64> sys_epoll_wait(Caller& c, Fd fd, UserAddr events, i32 max, i32 timeout) {
    return wait_leaf(c, fd, events, max, timeout);
}
// Without a mask it is epoll_wait (which the C library makes of it).
Leaf<i64> sys_epoll_pwait(Caller& c, Fd fd, UserAddr events, i32 max, i32 timeout, ArgumentsFrom<4> mask) {
    if (mask.get<UserAddr, 4>().value != 0) [[unlikely]]
        return masked_wait(c, fd, events, max, timeout, mask);
    return wait_leaf(c, fd, events, max, timeout);
}
TaskResult sys_epoll_pwait2(Caller& c, Fd fd, UserAddr events, i32 max, UserAddr timeout, UserAddr mask,
                            u64 mask_size) {
    Nanoseconds deadline = Nanoseconds::never();
    if (timeout.value != 0) {
        abi::Timespec t;
        CO_TRY(co_await copy_from_program(c, timeout, &t, sizeof t));
        if (t.seconds < 0 || u64(t.nanoseconds) >= 1'000'000'000) co_return Errno::kInval;
        u64 seconds = u64(t.seconds) < 1'000'000'000 ? u64(t.seconds) : 1'000'000'000;
        deadline = deadline_after(seconds * 1'000'000'000 + u64(t.nanoseconds));
    }
    co_return co_await wait_masked(c, fd, events, max, deadline, mask, mask_size);
}

namespace {

struct TimerSpec {  // struct itimerspec
    abi::Timespec interval, value;
};
bool valid(const abi::Timespec& t) { return t.seconds >= 0 && u64(t.nanoseconds) < 1'000'000'000; }
u64 to_nanoseconds(const abi::Timespec& t) {
    constexpr u64 kMost = 9'000'000'000;  // seconds; beyond the age that the clock can reach
    return (u64(t.seconds) < kMost ? u64(t.seconds) : kMost) * 1'000'000'000 + u64(t.nanoseconds);
}
abi::Timespec to_timespec(u64 n) { return {i64(n / 1'000'000'000), i64(n % 1'000'000'000)}; }
TimerSpec encode_setting(const fs::TimerFile::Setting& s) { return {to_timespec(s.interval), to_timespec(s.value)}; }

Result<fs::TimerFile*> timer_of(Caller& c, Fd fd, Ref<fs::File>& hold) {
    hold = TRY(open_file(c, fd));
    if (hold->kind() != fs::FileKind::kTimer) return Errno::kInval;
    return static_cast<fs::TimerFile*>(hold.get());
}

}  // namespace

Leaf<Fd> sys_timerfd_create(Caller& c, i32 clock, u32 flags) {
    // the alarm clocks would have to wake the machine
    if (flags & ~(fs::kOpenCloexec | fs::kOpenNonblock)) return Errno::kInval;
    if (clock != kClockRealtime && clock != kClockMonotonic && clock != kClockBoottime) return Errno::kInval;
    Ref<fs::Inode> inode = TRY(fs::anonymous_inode());
    u32 file_flags = fs::kOpenReadWrite | (flags & fs::kOpenNonblock);
    return install_file(
        c, TRY(fs::make_file<fs::TimerFile>(std::move(inode), file_flags, clock == kClockRealtime, u32(clock))), flags);
}

namespace {

struct TimerCall {
    Ref<fs::File> hold;
    fs::TimerFile* timer;
    fs::TimerFile::Setting to;
    bool absolute;
    static Leaf<TimerCall> decode(Caller& c, Fd fd, u32 flags, UserAddr to) {
        TimerSpec spec;
        TRY(c.user().read(&spec, to, sizeof spec));
        if ((flags & ~(kTimerfdAbsolute | kTimerfdCancelOnSet)) || !valid(spec.value) || !valid(spec.interval))
            return Errno::kInval;
        Ref<fs::File> hold;
        fs::TimerFile* timer = TRY(timer_of(c, fd, hold));
        return TimerCall{std::move(hold),
                         timer,
                         {to_nanoseconds(spec.interval), to_nanoseconds(spec.value)},
                         (flags & kTimerfdAbsolute) != 0};
    }
};

}  // namespace

Leaf<void> sys_timerfd_settime(Caller& c, Fd fd, u32 flags, UserAddr to, UserAddr old) {
    TimerCall call = TRY(TimerCall::decode(c, fd, flags, to));
    Leaf<void> told;
    if (old.value != 0) {
        TimerSpec before = encode_setting(call.timer->get());
        told = c.user().write(old, &before, sizeof before);
        if (told.error() == kNeedsFault) return told;
    }
    // The timer is set even if the old value cannot be copied out.
    (void)call.timer->set(call.to, call.absolute);
    return told;
}

Leaf<void> sys_timerfd_gettime(Caller& c, Fd fd, UserAddr to) {
    Ref<fs::File> hold;
    fs::TimerFile* timer = TRY(timer_of(c, fd, hold));
    TimerSpec now = encode_setting(timer->get());
    return c.user().write(to, &now, sizeof now);
}

}  // namespace linux
