// SPDX-License-Identifier: MIT
#include "boot/kernel/server_counts.hpp"

#include "core/ipc/counts.hpp"

namespace boot::server_counts {

namespace {

namespace ipc = core::ipc;
using abi::native::ServerCounts;

constexpr const char* kKinds[] = {"call", "page_fault", "other_trap", "reply", "receive"};
static_assert(std::size(kKinds) == u32(ipc::Slow::kCount));

// Written once, before the exit status is reported.
struct Taken {
    u32 cpus = 0;
    ServerCounts server[lib::kMaxCpus];
    ipc::SlowCounts slow[lib::kMaxCpus];
};
constinit Taken taken{};

void put_slow(lib::StringBuilder& out, const ipc::SlowCounts& slow) {
    for (u32 kind = 0; kind < u32(ipc::Slow::kCount); ++kind) {
        out.add("{}\"{}\": {{", kind == 0 ? "" : ", ", kKinds[kind]);
        bool first = true;
        for (u32 test = 0; test < u32(core::trace::Test::kCount); ++test) {
            if (slow.of[kind][test] == 0) continue;
            // Another CPU's change between a failed test and the slowpath leaves none.
            const char* why = test == 0 ? "unknown" : abi::trace::kTestNames[test];
            out.add("{}\"{}\": {}", first ? "" : ", ", why, slow.of[kind][test]);
            first = false;
        }
        out.put("}");
    }
}

}  // namespace

Result<i64> take(core::NativeThread& t, u64 address, u64 size) {
    const u32 cpus = rt::executor_count();
    if (size != cpus * sizeof(ServerCounts)) return Errno::kInval;
    if (t.space->copy_in(taken.server, UserAddr{address}, size) != size) return Errno::kFault;
    for (u32 cpu = 0; cpu < cpus; ++cpu) taken.slow[cpu] = ipc::slow_counts(CpuId{cpu});
    taken.cpus = cpus;
    return i64{0};
}

void report_json(lib::StringBuilder& out) {
    if (taken.cpus == 0) return;
    out.put(", \"server\": [");
    for (u32 cpu = 0; cpu < taken.cpus; ++cpu) {
        const ServerCounts& n = taken.server[cpu];
        out.add("{}{{\"calls\": {}, \"page_faults\": {}, \"other_traps\": {}, \"signals\": {}, ", cpu == 0 ? "" : ", ",
                n.calls, n.page_faults, n.other_traps, n.signals);
        out.add("\"replies\": {}, \"receives\": {}, \"busy_ns\": {}, \"slow\": {{", n.replies, n.receives, n.busy_ns);
        put_slow(out, taken.slow[cpu]);
        out.put("}}");
    }
    out.put("]");
}

}  // namespace boot::server_counts
