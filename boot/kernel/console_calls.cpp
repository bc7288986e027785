// SPDX-License-Identifier: MIT
#include "boot/kernel/console_calls.hpp"

#include "boot/kernel/control.hpp"
#include "boot/kernel/give_up.hpp"
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

// Whom changes of the streams are told to. Once: it is not asked again.
struct Listener {
    core::ObjectRef<Notification> to;
    u64 bits = 0;
};
constinit Listener* listener = nullptr;
constinit rt::WaitQueue window_changed;

Task<void> watch(rt::WaitQueue& queue, const char* what) {
    for (;;) {
        const u32 seen = queue.sequence();
        core::ipc::notify(*listener->to, listener->bits);
        (void)co_await rt::wait_on(queue, seen, what);
    }
}

Result<i64> bind(NativeThread& t, u64 slot, u64 bits) {
    core::Cap* c = t.caps->find(slot);
    if (!c) return Errno::kBadF;
    if (c->object->type != native::kTypeNotification) return Errno::kInval;
    if (!(c->rights() & native::kSendRight)) return Errno::kPerm;
    if (listener) return Errno::kBusy;
    auto to = core::ObjectRef<Notification>::of_found(static_cast<Notification*>(c->object));
    if (!to) return Errno::kBadF;
    listener = rt::make<Listener>(std::move(to), bits);
    if (!listener) return Errno::kNoMem;
    for (u32 n = 0; n < 3; ++n)
        if (port::Stream* s = stream_of(n))
            if (!rt::spawn("server stream", watch(s->changed, "a stream for the server"), rt::Executor::current()))
                return Errno::kNoMem;
    if (port::streams.tty) {
        port::streams.window_changed = &window_changed;
        if (!rt::spawn("server window", watch(window_changed, "the terminal's size for the server"),
                       rt::Executor::current()))
            return Errno::kNoMem;
    }
    return i64{0};
}

}  // namespace

Result<i64> console_call(NativeThread& t, u64 operation, u64 a, u64 b, u64 c) {
    switch (operation) {
        case native::kConsoleRead:
            if (!stream_of(a)) return Errno::kInval;
            return bytes_out(t, b, c, [&](std::span<std::byte> to) { return stream_of(a)->try_read(to); });
        case native::kConsoleWrite:
            if (!stream_of(a)) return Errno::kInval;
            return bytes_in(t, b, c, [&](std::span<const std::byte> from) { return stream_of(a)->try_write(from); });
        case native::kConsoleEnded: return i64{stream_of(a) == nullptr || stream_of(a)->at_end()};
        case native::kConsoleSize: return i64(u32(port::streams.rows) << 16 | port::streams.columns);
        case native::kConsoleBind: return bind(t, a, b);
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
        case native::kReport: control::report_exit(i32(a)); return i64{0};
        case native::kCannotStart: give_up("the Linux server", Errno(i32(a)));
        default: return Errno::kInval;
    }
}

}  // namespace boot
