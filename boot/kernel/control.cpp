// SPDX-License-Identifier: MIT
#include "boot/kernel/control.hpp"

#include <cstring>

#include "abi/linux/wait.hpp"
#include "boot/kernel/dump.hpp"
#include "boot/kernel/give_up.hpp"
#include "boot/kernel/server_counts.hpp"
#include "boot/kernel/trace_port.hpp"
#include "port/kernel/route.hpp"
#include "rt/mem/frames.hpp"
#include "rt/mem/pages.hpp"

namespace boot::control {
namespace {

constexpr size_t kBuffer = 16384;

// Lines waiting to be sent.
struct Outgoing {
    char text[kBuffer];
    size_t used = 0;
};
constinit rt::Guarded<Outgoing, rt::Rank::log> outgoing;
constinit rt::WaitQueue queued;
constinit port::Stream* control_port = nullptr;

constinit bool stats_wanted = false;
constinit std::atomic<Errno> start_error{Errno::kOk};

// Collects a line. Of 16 CPUs the counters are some 3 KiB, with those of a server 10: too much for the kernel's stack. Sent
// once, at the end.
struct Line {
    char text[kBuffer / 4 * 3];
    size_t used = 0;
};
constinit Line stats_line{};

// Counters of the whole machine since boot; bytes where the name says so.
void send_stats() {
    rt::MemStats m = rt::mem_stats();
    u64 sleeps = 0;
    for (u32 i = 0; i < rt::executor_count(); ++i) sleeps += rt::Executor::of(CpuId{i}).idle_entries;
    lib::StringBuilder line{[](void* context, std::string_view piece) {
                                auto& l = *static_cast<Line*>(context);
                                if (piece.size() > sizeof l.text - l.used) return false;
                                std::memcpy(l.text + l.used, piece.data(), piece.size());
                                l.used += piece.size();
                                return true;
                            },
                            &stats_line};
    stats_line.used = 0;
    line.add("stats {{\"nanoseconds\": {}, \"remote_calls\": {}, \"sleeps\": {}, \"coroutine_frames\": {}, ",
             hal::Machine::now().value, port::route::remote_calls(), sleeps, rt::frames_live());
    line.add("\"memory_bytes\": {}, \"free_bytes\": {}, \"slab_bytes\": {}, \"frame_bytes\": {}, ", m.total_bytes,
             m.free_bytes, m.slab_bytes, m.frame_bytes);
    port::route::report_json(line);
    server_counts::report_json(line);
    line.put("}");
    if (!line.failed) send({stats_line.text, stats_line.used});
}

bool take_number(std::string_view& s, u64& out) {
    while (!s.empty() && s[0] == ' ') s.remove_prefix(1);
    if (s.empty() || s[0] < '0' || s[0] > '9') return false;
    out = 0;
    while (!s.empty() && s[0] >= '0' && s[0] <= '9') {
        out = out * 10 + u64(s[0] - '0');
        s.remove_prefix(1);
    }
    return true;
}

void obey(std::string_view line) {
    u64 a = 0, b = 0;
    if (line.starts_with("stdin-eof")) {
        line.remove_prefix(9);
        if (take_number(line, a) && port::streams.standard[0]) port::streams.standard[0]->end_after(a);
    } else if (line.starts_with("winsize")) {
        line.remove_prefix(7);
        if (take_number(line, a) && take_number(line, b)) {
            port::streams.rows = u16(a);
            port::streams.columns = u16(b);
            if (port::streams.window_changed) port::streams.window_changed->wake_all();
        }
    } else if (line == "dump") {
        dump_everything();
    }
}

Task<void> listen(port::Stream& from) {
    char line[256];
    size_t used = 0;
    for (;;) {
        u32 seen = from.changed.sequence();
        std::byte chunk[64];
        size_t n = from.try_read(chunk);
        for (size_t i = 0; i < n; ++i) {
            char c = char(chunk[i]);
            if (c == '\n') {
                obey({line, used});
                used = 0;
            } else if (used < sizeof line) {
                line[used++] = c;
            }
        }
        if (n == 0) (void)co_await rt::wait_on(from.changed, seen, "a line from the host");
    }
}

Task<void> talk(port::Stream& to) {
    for (;;) {
        u32 seen_queue = queued.sequence(), seen_port = to.changed.sequence();
        bool blocked = false;
        {
            auto out = outgoing.lock();
            if (out->used != 0) {
                char copy[512];
                size_t n = out->used < sizeof copy ? out->used : sizeof copy;
                std::memcpy(copy, out->text, n);
                out.unlock();
                size_t sent = to.try_write(std::as_bytes(std::span{copy, n}));
                auto again = outgoing.lock();
                again->used -= sent;
                std::memmove(again->text, again->text + sent, again->used);
                if (sent != 0) continue;
                blocked = true;
            }
        }
        if (blocked)
            (void)co_await rt::wait_on(to.changed, seen_port, "room on the control port");
        else
            (void)co_await rt::wait_on(queued, seen_queue, "a line for the host");
    }
}

}  // namespace

bool start(port::Stream& port) {
    control_port = &port;
    rt::Executor& here = rt::Executor::current();
    return rt::spawn("control in", listen(port), here) && rt::spawn("control out", talk(port), here);
}

void want_stats() { stats_wanted = true; }
bool wants_stats() { return stats_wanted; }

bool send(std::string_view line) {
    if (!control_port) {
        port::log(line);
        return true;
    }
    {
        auto out = outgoing.lock();
        if (out->used + line.size() + 1 > kBuffer) return false;
        std::memcpy(out->text + out->used, line.data(), line.size());
        out->used += line.size();
        out->text[out->used++] = '\n';
    }
    queued.wake_all();
    return true;
}

namespace {

void report_now(i32 status) {
    if (stats_wanted) send_stats();
    char line[64];
    const char* names[] = {"stdin", "stdout", "stderr"};
    for (int i = 1; i <= 2; ++i)
        if (port::streams.standard[i])
            send({line, lib::format_to(line, "{}-bytes {}", names[i], port::streams.standard[i]->bytes_written())});
    const Errno failed = start_error.load(std::memory_order_relaxed);
    if (failed == Errno::kNoMem) give_up("the first program", failed);
    if (failed == Errno::kNoEnt || failed == Errno::kNotDir)
        send("error notfound");
    else if (failed != Errno::kOk)
        send("error noexec");
    else if ((status & abi::kStatusSignalMask) == 0)
        send({line, lib::format_to(line, "exit {}", abi::exit_code_of(status))});
    else
        send({line, lib::format_to(line, "signal {}", status & abi::kStatusSignalMask)});
    if (!control_port)
        hal::Machine::power_off((status & abi::kStatusSignalMask) == 0 ? abi::exit_code_of(status)
                                                                       : 128 + (status & abi::kStatusSignalMask));
}

}  // namespace

void not_started(Errno why) { start_error.store(why, std::memory_order_relaxed); }

void report_exit(i32 status) {
    if (!trace_port::send_all(&report_now, status)) report_now(status);
}

}  // namespace boot::control
