// SPDX-License-Identifier: MIT
#include "boot/kernel/trace_port.hpp"

#include <cstring>

#include "boot/kernel/control.hpp"
#include "core/trace.hpp"
#include "lib/format.hpp"
#include "rt/wait.hpp"

namespace boot::trace_port {
namespace {

namespace wire = abi::trace;
namespace trace = core::trace;
using hal::Machine;

constinit port::Stream* port_in_use = nullptr;
constinit bool started_here = false;
constinit std::atomic<bool> leaving{false};
constinit trace::Left counted[lib::kMaxCpus]{};

// What is being sent. There is one end of a run.
constinit trace::Record chunk[128]{};
static_assert(sizeof(wire::Header) <= sizeof chunk && sizeof(wire::CpuHeader) <= sizeof chunk);

// `size` bytes of it. False: nothing was taken for two seconds.
Task<bool> send(port::Stream& to, size_t size) {
    const std::byte* at = reinterpret_cast<const std::byte*>(&chunk);
    Nanoseconds patience = Machine::now() + lib::milliseconds(2000);
    while (size != 0) {
        u32 seen = to.changed.sequence();
        size_t n = to.try_write({at, size});
        at += n;
        size -= n;
        if (n != 0) {
            patience = Machine::now() + lib::milliseconds(2000);
            continue;
        }
        if (Machine::now() >= patience) co_return false;
        (void)co_await rt::wait_on(to.changed, seen, "room on the trace port", patience);
    }
    co_return true;
}

Task<void> send_and_tell(port::Stream& to, void (*then)(i32), i32 status) {
    // Not before: the call that ends the machine has its record too.
    trace::stop();
    u32 cpus = rt::executor_count();
    u64 total = sizeof(wire::Header);
    for (u32 i = 0; i < cpus; ++i) {
        counted[i] = trace::left(CpuId{i});
        total += sizeof(wire::CpuHeader) + counted[i].records * sizeof(trace::Record);
    }
    char line[48];
    control::send({line, lib::format_to(line, "trace-bytes {}", total)});
    wire::Header header{.magic = wire::kMagic, .version = wire::kVersion, .cpus = cpus, .cycle_hz = Machine::tsc_hz()};
    std::memcpy(&chunk, &header, sizeof header);
    bool taken = co_await send(to, sizeof header);
    for (u32 i = 0; i < cpus && taken; ++i) {
        wire::CpuHeader cpu{.cpu = i, .reserved = 0, .records = counted[i].records, .lost = counted[i].lost};
        std::memcpy(&chunk, &cpu, sizeof cpu);
        taken = co_await send(to, sizeof cpu);
        for (u64 left = counted[i].records; left != 0 && taken;) {
            u64 n = left < std::size(chunk) ? left : std::size(chunk);
            n = trace::take(CpuId{i}, {chunk, n});
            if (n == 0) break;
            left -= n;
            taken = co_await send(to, n * sizeof chunk[0]);
        }
    }
    then(status);
}

}  // namespace

Result<void> start(std::string_view records) {
    u64 n;
    if (!lib::parse_u64(records, n) || n == 0) return Errno::kInval;
    TRY(trace::start(n));
    port::trace_calls();
    started_here = true;
    return lib::kOk;
}

bool started() { return started_here; }
void use(port::Stream* port) { port_in_use = port; }
bool sending() { return leaving.load(std::memory_order_relaxed); }

bool send_all(void (*then)(i32 status), i32 status) {
    if (!started_here || !port_in_use || leaving.exchange(true)) return false;
    return rt::spawn("trace", send_and_tell(*port_in_use, then, status), rt::Executor::current());
}

void print_last(void (*print)(std::string_view line)) {
    if (!started_here) return;
    static constinit void (*out)(std::string_view) = nullptr;
    out = print;
    for (u32 i = 0; i < rt::executor_count(); ++i) {
        char line[64];
        print({line, lib::format_to(line, "=== trace of cpu {} ===\n", i)});
        trace::last_records(CpuId{i}, 16, [](const trace::Record& r) {
            if (r.path >= trace::Path::kCount || r.test >= trace::Test::kCount || r.reason >= trace::Reason::kCount)
                return;
            char text[200];
            size_t n = lib::format_to(text, "{}: {}", r.start, wire::kPathNames[u32(r.path)]);
            auto add = [&](const char* fmt, auto... args) {
                n += lib::format_to(std::span{text}.subspan(n), fmt, args...);
            };
            u16 number = wire::number_in(r.detail);
            if (r.path == trace::Path::kInterrupt)
                add(" {}", r.detail);
            else if (number < wire::kKick)
                add(" {}", number);
            else if (number != wire::kNoCall)
                add(" ({})", number == wire::kPageFault   ? "page fault"
                             : number == wire::kException ? "exception"
                                                          : "kick");
            if (r.path == trace::Path::kFault) add(" at {:x}", wire::address_in(r.detail));
            add(" of {}, partner {}", r.thread, r.partner);
            if (r.reason != trace::Reason::kNone) add(", {} cycles: {}", r.cycles, wire::kReasonNames[u32(r.reason)]);
            if (r.reason == trace::Reason::kError) add(" {}", wire::error_in(r.detail));
            if (r.test != trace::Test::kNone) add(" ({})", wire::kTestNames[u32(r.test)]);
            add("\n");
            out({text, n});
        });
    }
    print("=== end of traces ===\n");
}

}  // namespace boot::trace_port
