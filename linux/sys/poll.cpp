// SPDX-License-Identifier: MIT
// poll(2) and select(2), and the rows of all calls that wait for several files or for timers (epoll.cpp).
#include <algorithm>

#include "abi/linux/prctl.hpp"
#include "linux/sys/epoll_calls.hpp"
#include "linux/sys/signalfd.hpp"
#include "linux/sys/wait_set.hpp"

namespace linux {

namespace {

struct PollFd {
    i32 fd;
    u16 events, revents;
};
static_assert(sizeof(PollFd) == 8);
constexpr u32 kFewFds = 16;  // looked at by the leaf

u64 poll_timeout(i32 milliseconds) { return milliseconds < 0 ? ~u64{0} : u64(milliseconds) * 1'000'000; }

// The files of one poll(2), and the program's array.
struct PollSet {
    PollFd* fds = nullptr;
    Polled* files = nullptr;
    u32 count = 0;

    PollSet() = default;
    PollSet(const PollSet&) = delete;
    ~PollSet() {
        for (u32 i = 0; files && i < count; ++i) files[i].~Polled();
        if (files) rt::deallocate(files, count * sizeof(Polled));
        if (fds) rt::deallocate(fds, count * sizeof(PollFd));
    }
    Result<void> make(u32 n) {
        if (n == 0) return lib::kOk;
        fds = static_cast<PollFd*>(rt::allocate(n * sizeof(PollFd)));
        files = static_cast<Polled*>(rt::allocate(n * sizeof(Polled)));
        count = n;
        if (files)
            for (u32 i = 0; i < n; ++i) new (&files[i]) Polled;
        return fds && files ? Result<void>{lib::kOk} : Result<void>{Errno::kNoMem};
    }
    void find_files(Caller& c) {
        for (u32 i = 0; i < count; ++i) {
            if (fds[i].fd < 0) continue;
            files[i].fd = Fd{fds[i].fd};
            auto file = open_file(c, Fd{fds[i].fd});
            if (file.ok())
                files[i].file = file.take();
            else
                files[i].ready = fs::kPollNval;
            files[i].events = fds[i].events | fs::kPollErr | fs::kPollHup;
        }
    }
};

// kIntr if interrupted: each caller makes its own restart of it.
TaskResult poll_files(Caller& c, UserAddr at, u32 count, Nanoseconds deadline) {
    PollSet set;
    CO_TRY(set.make(count));
    CO_TRY(co_await copy_from_program(c, at, set.fds, count * sizeof(PollFd)));
    set.find_files(c);
    i64 n = CO_TRY(co_await wait_for_any(c, {set.files, count}, deadline));
    for (u32 i = 0; i < count; ++i) set.fds[i].revents = u16(set.files[i].ready);
    CO_TRY(co_await copy_to_program(c, at, set.fds, count * sizeof(PollFd)));
    co_return n;
}

TaskResult poll_again(Caller& c, Thread::RestartBlock& r);

TaskResult poll_restartable(Caller& c, UserAddr fds, u32 count, Nanoseconds deadline) {
    auto r = co_await poll_files(c, fds, count, deadline);
    if (r.error() != Errno::kIntr) co_return r;
    Thread::RestartBlock& block = c.thread().restart;
    block.run = &poll_again;
    block.data[0] = fds.value;
    block.data[1] = count;
    block.data[2] = deadline.value;
    co_return Errno::kRestartBlock;
}
TaskResult poll_again(Caller& c, Thread::RestartBlock& r) {
    return poll_restartable(c, UserAddr{r.data[0]}, u32(r.data[1]), Nanoseconds{r.data[2]});
}

bool valid(const abi::Timespec& t) { return t.seconds >= 0 && u64(t.nanoseconds) < 1'000'000'000; }
u64 nanoseconds_of(const abi::Timespec& t) {
    return u64(t.seconds) >= ~u64{0} / 1'000'000'000 - 1 ? ~u64{0}
                                                         : u64(t.seconds) * 1'000'000'000 + u64(t.nanoseconds);
}
abi::Timespec time_left(Nanoseconds deadline) {
    u64 now = port::Port::now().value;
    u64 left = deadline.value > now ? deadline.value - now : 0;
    return {i64(left / 1'000'000'000), i64(left % 1'000'000'000)};
}

// A timeout the program gave, and where what is left of it goes (ppoll and select: not restarted if it cannot be
// written).
struct Timeout {
    enum class Form : u8 { kNone, kTimespec, kTimeval } form = Form::kNone;
    UserAddr at{};
    bool zero = false;
    Nanoseconds deadline = Nanoseconds::never();
};

TaskResult read_timeout(Caller& c, Timeout& t) {
    if (t.form == Timeout::Form::kNone) co_return i64{0};
    abi::Timespec value;
    CO_TRY(co_await copy_from_program(c, t.at, &value, sizeof value));
    if (t.form == Timeout::Form::kTimeval) {
        i64 micro = value.nanoseconds;
        value.seconds += micro / 1'000'000;
        value.nanoseconds = micro % 1'000'000 * 1000;
    }
    if (!valid(value)) co_return Errno::kInval;
    t.zero = value.seconds == 0 && value.nanoseconds == 0;
    t.deadline = deadline_after(nanoseconds_of(value));
    co_return i64{0};
}

// The last step of ppoll and select: `r` is kIntr if a signal ended the wait.
TaskResult finish(Caller& c, const Timeout& t, Leaf<i64> r) {
    if (r.error() == Errno::kIntr) r = Errno::kRestartNoHand;
    if (t.form == Timeout::Form::kNone || t.zero) co_return r;
    bool written = false;
    if ((c.process().personality & kPersonalityStickyTimeouts) == 0) {
        abi::Timespec left = t.deadline == Nanoseconds::never() ? abi::Timespec{} : time_left(t.deadline);
        if (t.form == Timeout::Form::kTimeval) left.nanoseconds /= 1000;
        written = (co_await copy_to_program(c, t.at, &left, sizeof left)).ok();
    }
    if (!written && r.error() == Errno::kRestartNoHand) co_return Errno::kIntr;
    co_return r;
}

// ---- select ----

constexpr u32 kSelectIn = fs::kPollRdNorm | fs::kPollRdBand | fs::kPollIn | fs::kPollHup | fs::kPollErr;
constexpr u32 kSelectOut = fs::kPollWrBand | fs::kPollWrNorm | fs::kPollOut | fs::kPollErr;
constexpr u32 kSelectExcept = fs::kPollPri;

struct SelectSets {
    u64* words = nullptr;  // three sets in, three out
    u32 per_set = 0;
    Polled* files = nullptr;
    u32* numbers = nullptr;
    u32 count = 0, room = 0;
    // Of what a piece of the work looks at.
    static constexpr u32 kWordsAtOnce = 1024, kFilesAtOnce = 128;

    SelectSets() = default;
    SelectSets(const SelectSets&) = delete;
    ~SelectSets() {
        for (u32 i = 0; i < count; ++i) files[i].~Polled();
        if (files) rt::deallocate(files, room * sizeof(Polled));
        if (numbers) rt::deallocate(numbers, room * sizeof(u32));
        if (words) rt::deallocate(words, bytes());
    }
    size_t bytes() const { return size_t{per_set} * 6 * sizeof(u64); }
    u64* in(u32 set) { return words + set * per_set; }
    u64* out(u32 set) { return words + (3 + set) * per_set; }
    bool asked(u32 set, u32 fd) { return (in(set)[fd / 64] >> (fd % 64)) & 1; }
    void answer(u32 set, u32 fd) { out(set)[fd / 64] |= u64{1} << (fd % 64); }

    Result<void> make_words(u32 n) {
        per_set = (n + 63) / 64;
        if (per_set == 0) return lib::kOk;
        words = static_cast<u64*>(rt::allocate(bytes()));
        return words ? Result<void>(lib::kOk) : Result<void>(Errno::kNoMem);
    }
    // Each of these does a piece from word `w` on, and moves it; the work is done when it is at the end.
    void clear_some(u32& w) {
        const u32 n = std::min(6 * per_set - w, 4 * kWordsAtOnce);
        std::memset(words + w, 0, n * sizeof(u64));
        w += n;
    }
    void count_some(u32& w) {
        for (u32 left = kWordsAtOnce; left != 0 && w < per_set; --left, ++w)
            room += u32(__builtin_popcountll(in(0)[w] | in(1)[w] | in(2)[w]));
    }
    Result<void> make_room() {
        if (room == 0) return lib::kOk;
        files = static_cast<Polled*>(rt::allocate(room * sizeof(Polled)));
        numbers = static_cast<u32*>(rt::allocate(room * sizeof(u32)));
        return files && numbers ? Result<void>(lib::kOk) : Result<void>(Errno::kNoMem);
    }
    // Numbers below `n`. EBADF: a bit without a file.
    Result<void> find_some(Caller& c, u32 n, u32& w) {
        const u32 most = count + kFilesAtOnce;
        for (u32 left = kWordsAtOnce; left != 0 && w < per_set && count < most; --left, ++w) {
            for (u64 bits = in (0)[w] | in (1)[w] | in(2)[w]; bits != 0; bits &= bits - 1) {
                const u32 fd = w * 64 + u32(__builtin_ctzll(bits));
                if (fd >= n) {
                    w = per_set;
                    return lib::kOk;
                }
                numbers[count] = fd;
                Polled& p = *new (&files[count++]) Polled;
                p.fd = Fd{i32(fd)};
                p.file = TRY(open_file(c, p.fd));
                p.events = (asked(0, fd) ? kSelectIn : 0) | (asked(1, fd) ? kSelectOut : 0) |
                           (asked(2, fd) ? kSelectExcept : 0);
            }
        }
        return lib::kOk;
    }
    i64 collect() {
        i64 n = 0;
        for (u32 i = 0; i < count; ++i) {
            // A number that was closed in the meantime is ready for all requested events.
            constexpr u32 kOf[3] = {kSelectIn | fs::kPollNval, kSelectOut | fs::kPollNval,
                                    kSelectExcept | fs::kPollNval};
            for (u32 set = 0; set < 3; ++set) {
                if (!(files[i].ready & kOf[set]) || !asked(set, numbers[i])) continue;
                answer(set, numbers[i]);
                ++n;
            }
        }
        return n;
    }
};

TaskResult select_files(Caller& c, i32 n, const UserAddr (&sets)[3], Nanoseconds deadline) {
    if (n < 0) co_return Errno::kInval;
    if (u32(n) > c.files().capacity()) n = i32(c.files().capacity());
    SelectSets s;
    CO_TRY(s.make_words(u32(n)));
    for (u32 w = 0; w < 6 * s.per_set;) {
        if (w != 0) co_await rt::Yield{};
        s.clear_some(w);
    }
    // Like Linux, whole longs are read and written.
    size_t size = (size_t(n) + 63) / 64 * 8;
    for (u32 i = 0; i < 3; ++i)
        if (sets[i].value != 0 && size != 0) CO_TRY(co_await copy_from_program(c, sets[i], s.in(i), size));
    for (u32 w = 0; w < s.per_set;) {
        if (w != 0) co_await rt::Yield{};
        s.count_some(w);
    }
    CO_TRY(s.make_room());
    for (u32 w = 0; w < s.per_set;) {
        if (w != 0) co_await rt::Yield{};
        CO_TRY(s.find_some(c, u32(n), w));
    }
    i64 ready = CO_TRY(co_await wait_for_any(c, {s.files, s.count}, deadline));
    if (ready != 0) ready = s.collect();
    for (u32 i = 0; i < 3; ++i)
        if (sets[i].value != 0 && size != 0) CO_TRY(co_await copy_to_program(c, sets[i], s.out(i), size));
    co_return ready;
}

}  // namespace

namespace {

// Not open, a file that depends on the caller, or a set: kPollLong if it takes a task.
[[gnu::noinline]] u32 poll_special(Caller& c, fs::File* file, u32 events) {
    if (!file || (file->flags() & fs::kOpenPath)) return fs::kPollNval;
    return file->poll_for(&c) & (events | fs::kPollErr | fs::kPollHup | fs::kPollLong);
}

[[gnu::always_inline]] inline u32 poll_one(Caller& c, const PollFd& p) {
    if (p.fd < 0) return 0;
    auto file = c.files().borrow(Fd{p.fd});
    if (!file || (file->flags() & (fs::kOpenPath | fs::kOpenTaskOnly))) [[unlikely]]
        return poll_special(c, file ? &*file : nullptr, p.events);
    return file->poll() & (p.events | fs::kPollErr | fs::kPollHup);
}

[[gnu::noinline]] LeafError wait_to_poll(Caller& c, UserAddr fds, u32 count, i32 timeout) {
    return c.later(poll_restartable(c, fds, count, deadline_after(poll_timeout(timeout))));
}

}  // namespace

Leaf<i64> sys_poll(Caller& c, UserAddr at, u32 count, i32 timeout) {
    if (count > descriptor_limit(c)) return Errno::kInval;
    if (count == 1) [[likely]] {
        PollFd one;
        TRY(c.user().read(&one, at, sizeof one));
        u32 mask = poll_one(c, one);
        // None, or the sign bit: kPollLong.
        if (i32(mask) <= 0) [[unlikely]]
            if (mask != 0 || timeout != 0) return wait_to_poll(c, at, count, timeout);
        one.revents = u16(mask);
        TRY(c.user().write(at, &one, sizeof one));
        return i64{mask != 0};
    }
    if (count > kFewFds) return wait_to_poll(c, at, count, timeout);
    PollFd fds[kFewFds];
    TRY(c.user().read(fds, at, count * sizeof(PollFd)));
    i64 ready = 0;
    u32 all = 0;
    for (u32 i = 0; i < count; ++i) {
        u32 mask = poll_one(c, fds[i]);
        all |= mask;
        fds[i].revents = u16(mask);
        ready += mask != 0;
    }
    if ((ready == 0 && timeout != 0) || (all & fs::kPollLong)) return wait_to_poll(c, at, count, timeout);
    TRY(c.user().write(at, fds, count * sizeof(PollFd)));
    return ready;
}

TaskResult sys_ppoll(Caller& c, UserAddr fds, u32 count, UserAddr timeout, UserAddr mask, u64 mask_size) {
    Timeout t{.form = timeout.value ? Timeout::Form::kTimespec : Timeout::Form::kNone, .at = timeout};
    CO_TRY(co_await read_timeout(c, t));
    TemporaryMask m = CO_TRY(co_await read_mask(c, mask, mask_size));
    m.enter(c);
    Leaf<i64> r = Errno::kInval;
    if (count <= descriptor_limit(c)) r = co_await poll_files(c, fds, count, t.deadline);
    m.leave(c, r.error() == Errno::kIntr);
    co_return co_await finish(c, t, std::move(r));
}

TaskResult sys_select(Caller& c, i32 n, UserAddr in, UserAddr out, UserAddr except, UserAddr timeout) {
    Timeout t{.form = timeout.value ? Timeout::Form::kTimeval : Timeout::Form::kNone, .at = timeout};
    CO_TRY(co_await read_timeout(c, t));
    const UserAddr sets[3] = {in, out, except};
    auto r = co_await select_files(c, n, sets, t.deadline);
    co_return co_await finish(c, t, std::move(r));
}

TaskResult sys_pselect6(Caller& c, i32 n, UserAddr in, UserAddr out, UserAddr except, UserAddr timeout,
                        UserAddr packed) {
    struct {
        u64 mask, size;
    } masked{};
    if (packed.value != 0) CO_TRY(co_await copy_from_program(c, packed, &masked, sizeof masked));
    Timeout t{.form = timeout.value ? Timeout::Form::kTimespec : Timeout::Form::kNone, .at = timeout};
    CO_TRY(co_await read_timeout(c, t));
    TemporaryMask m = CO_TRY(co_await read_mask(c, UserAddr{masked.mask}, masked.size));
    m.enter(c);
    const UserAddr sets[3] = {in, out, except};
    auto r = co_await select_files(c, n, sets, t.deadline);
    m.leave(c, r.error() == Errno::kIntr);
    co_return co_await finish(c, t, std::move(r));
}

namespace {

constexpr auto kFs = port::Module::kFs;
constexpr SyscallRow kRows[] = {
    row<&sys_poll>(abi::kNrPoll, "poll", kFs, "ready/poll_basic"),
    row<&sys_ppoll>(abi::kNrPpoll, "ppoll", kFs, "ready/poll_timeout"),
    row<&sys_select>(abi::kNrSelect, "select", kFs, "ready/select_basic"),
    row<&sys_pselect6>(abi::kNrPselect6, "pselect6", kFs, "ready/pselect_mask"),
    row<&sys_epoll_create>(abi::kNrEpollCreate, "epoll_create", kFs, "ready/epoll_basic"),
    row<&sys_epoll_create1>(abi::kNrEpollCreate1, "epoll_create1", kFs, "ready/epoll_basic"),
    row<&sys_epoll_ctl>(abi::kNrEpollCtl, "epoll_ctl", kFs, "ready/epoll_basic"),
    row<&sys_epoll_wait>(abi::kNrEpollWait, "epoll_wait", kFs, "calls/epoll_pwait2"),
    row<&sys_epoll_pwait>(abi::kNrEpollPwait, "epoll_pwait", kFs, "ready/epoll_basic"),
    row<&sys_epoll_pwait2>(abi::kNrEpollPwait2, "epoll_pwait2", kFs, "calls/epoll_pwait2"),
    row<&sys_signalfd>(abi::kNrSignalfd, "signalfd", kFs, "ready/signal_descriptor"),
    row<&sys_signalfd4>(abi::kNrSignalfd4, "signalfd4", kFs, "ready/signal_descriptor"),
    row<&sys_timerfd_create>(abi::kNrTimerfdCreate, "timerfd_create", kFs, "clock/timer_descriptor"),
    row<&sys_timerfd_settime>(abi::kNrTimerfdSettime, "timerfd_settime", kFs, "clock/timer_descriptor"),
    row<&sys_timerfd_gettime>(abi::kNrTimerfdGettime, "timerfd_gettime", kFs, "clock/timer_descriptor"),
};

}  // namespace

const std::span<const SyscallRow> poll_rows{kRows};

}  // namespace linux
