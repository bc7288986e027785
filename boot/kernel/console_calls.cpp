// SPDX-License-Identifier: MIT
#include "boot/kernel/console_calls.hpp"

#include "boot/kernel/control.hpp"
#include "boot/kernel/give_up.hpp"
#include "boot/kernel/programs.hpp"
#include "boot/kernel/server_counts.hpp"
#include "core/ipc/ipc.hpp"
#include "port/bind.hpp"
#include "rt/mem/slab.hpp"
#include "rt/wait.hpp"

namespace boot {
namespace {

namespace native = abi::native;
using core::NativeThread;
using core::Notification;

port::Stream* stream_of(u64 n) { return n < 3 ? port::streams.standard[n] : nullptr; }

// Moves bytes between the caller and something of the kernel's, through a small buffer.
template <class F>
Result<i64> bytes_in(NativeThread& t, u64 from, u64 size, F&& take) {
    std::byte buffer[512];
    u64 done = 0;
    size = size < kConsoleBytes ? size : kConsoleBytes;
    while (done < size) {
        const u64 n = size - done < sizeof buffer ? size - done : sizeof buffer;
        if (t.space->copy_in(buffer, UserAddr{from + done}, n) != n) return Errno::kFault;
        const size_t taken = take(std::span{buffer, n});
        done += taken;
        if (taken < n) break;
    }
    return i64(done);
}
template <class F>
Result<i64> bytes_out(NativeThread& t, u64 to, u64 size, F&& give) {
    std::byte buffer[512];
    u64 done = 0;
    size = size < kConsoleBytes ? size : kConsoleBytes;
    while (done < size) {
        const u64 n = size - done < sizeof buffer ? size - done : sizeof buffer;
        const size_t got = give(std::span{buffer, n});
        if (t.space->copy_out(UserAddr{to + done}, buffer, got) != got) return Errno::kFault;
        done += got;
        if (got < n) break;
    }
    return i64(done);
}

// Whom changes of the streams are told to. The jobs that tell are made once, and stay.
struct Listener {
    rt::SpinLock<rt::Rank::device> lock;
    Notification* to RT_GUARDED_BY(lock) = nullptr;  // with a reference
    u64 bits RT_GUARDED_BY(lock) = 0;
    bool watched RT_GUARDED_BY(lock) = false;
};
constinit Listener listener, dump_listener;
constinit rt::WaitQueue window_changed;

void tell(Listener& listener) {
    core::ObjectRef<Notification> to;
    u64 bits;
    {
        rt::LockGuard guard{listener.lock};
        to = core::ObjectRef<Notification>{listener.to};
        bits = listener.bits;
    }
    if (to) core::ipc::notify(*to, bits);
}

Task<void> watch(rt::WaitQueue& queue, const char* what) {
    for (;;) {
        const u32 seen = queue.sequence();
        tell(listener);
        (void)co_await rt::wait_on(queue, seen, what);
    }
}

Result<void> watch_all() {
    for (u32 n = 0; n < 3; ++n)
        if (port::Stream* s = stream_of(n))
            if (!rt::spawn("server stream", watch(s->changed, "a stream for the server"), rt::Executor::current()))
                return Errno::kNoMem;
    if (!port::streams.tty) return lib::kOk;
    port::streams.window_changed = &window_changed;
    if (!rt::spawn("server window", watch(window_changed, "the terminal's size for the server"),
                   rt::Executor::current()))
        return Errno::kNoMem;
    return lib::kOk;
}

// Slot 0: nobody any more.
Result<i64> bind(Listener& listener, NativeThread& t, u64 slot, u64 bits) {
    core::ObjectRef<Notification> to;
    if (slot != 0) {
        core::Cap* c = t.caps->find(slot);
        if (!c) return Errno::kBadF;
        if (c->object->type != native::kTypeNotification) return Errno::kInval;
        if (!(c->rights() & native::kSendRight)) return Errno::kPerm;
        to = core::ObjectRef<Notification>::of_found(static_cast<Notification*>(c->object));
        if (!to) return Errno::kBadF;
    }
    bool first = false;
    {
        rt::LockGuard guard{listener.lock};
        if (to && listener.to) return Errno::kBusy;
        // Whom it had goes with `to`, outside the lock.
        Notification* const before = std::exchange(listener.to, to.take());
        to = core::ObjectRef<Notification>::of_counted(before);
        listener.bits = bits;
        first = listener.to && &listener != &dump_listener && !std::exchange(listener.watched, true);
    }
    // A part of them after a failure: the others' changes are told to nobody.
    if (first) TRY(watch_all());
    if (&listener != &dump_listener) tell(listener);
    return i64{0};
}

}  // namespace

void ask_server_for_dump() { tell(dump_listener); }

Result<i64> console_call(NativeThread& t, u64 badge, u64 operation, u64 a, u64 b, u64 c) {
    switch (operation) {
        case native::kConsoleRead:
            if (!stream_of(a)) return Errno::kInval;
            return bytes_out(t, b, c, [&](std::span<std::byte> to) { return stream_of(a)->try_read(to); });
        case native::kConsoleWrite:
            if (!stream_of(a)) return Errno::kInval;
            return bytes_in(t, b, c, [&](std::span<const std::byte> from) { return stream_of(a)->try_write(from); });
        case native::kConsoleEnded: return i64{stream_of(a) == nullptr || stream_of(a)->at_end()};
        case native::kConsoleSize: return i64(u32(port::streams.rows) << 16 | port::streams.columns);
        case native::kConsoleBind: return bind(listener, t, a, b);
        case native::kConsoleDumps: return bind(dump_listener, t, a, b);
        case native::kConsoleLog:
            return bytes_in(t, a, b < 512 ? b : 512, [](std::span<std::byte> bytes) {
                port::log({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
                return bytes.size();
            });
        case native::kEntropy:
            return bytes_out(t, a, b, [](std::span<std::byte> to) {
                port::Port::entropy(to);
                return to.size();
            });
        case native::kServerCounts: return server_counts::take(t, a, b);
        case native::kReport:
            if (programs::kind_of(badge) == programs::Kind::kLinuxServer) control::not_started(Errno(i32(b)));
            programs::ended(programs::kind_of(badge), i32(a));
            return i64{0};
        case native::kCannotStart: give_up("the Linux server", Errno(i32(a)));
        default: return Errno::kInval;
    }
}

}  // namespace boot
