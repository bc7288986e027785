// SPDX-License-Identifier: MIT
// Files of /proc that are about the machine as a whole.
#include "linux/procfs/procfs.hpp"
#include "linux/task/pid.hpp"
#include "linux/uts.hpp"
#include "rt/mem/pages.hpp"
#include "rt/reclaim.hpp"
#include "rt/teardown.hpp"

namespace linux {

using fs::ProcContext;
using lib::StringBuilder;

namespace {

// Pages held by the in-memory file systems: the page cache, all of it "shared memory" in Linux's terms.
u64 cached_bytes() {
    u64 sum = 0;
    const fs::SuperBlock* seen[16];
    u32 count = 0;
    for (fs::Mount* m = fs::first_mount(); m; m = m->next()) {
        bool again = false;
        for (u32 i = 0; i < count; ++i) again |= seen[i] == m->super.get();
        if (again) continue;
        if (count < 16) seen[count++] = m->super.get();
        auto s = m->super->statfs();
        sum += s.used * s.block_size;
    }
    return sum;
}

// Totals over all processes for files of the root, those that have ended as reported to their parents; nanoseconds.
// Counted in pieces.
struct AllProcesses {
    u64 user, system, switches, running, last;
};
static_assert(sizeof(AllProcesses) <= sizeof(u64) * ProcContext::kSums);

// False: there are more, from `position` on.
bool count_some(const ProcContext& c, u64& position, AllProcesses& all) {
    auto* sums = reinterpret_cast<AllProcesses*>(c.sums);
    rt::Stretch stretch;
    while (Ref<Process> p = next_process(i32(position))) {
        Usage own = p->usage();
        sums->user += own.times.user + p->usage_children.times.user;
        sums->system += own.times.system + p->usage_children.times.system;
        sums->switches += own.voluntary_switches + own.involuntary_switches;
        sums->running += p->running_threads();
        sums->last = u64(p->pid.value);
        position = u64(p->pid.value) + 1;
        if (stretch.over()) return false;
    }
    position = ~u64{0};
    all = *sums;
    if (all.running == 0) all.running = 1;
    return true;
}

}  // namespace

rt::MemStats memory_as_seen() {
    rt::MemStats s = rt::mem_stats();
    s.free_bytes += rt::reclaim_pending() * lib::kPageSize;
    return s;
}

Leaf<void> show_meminfo(StringBuilder& out, const ProcContext& c, u64& position) {
    static_assert(sizeof(rt::Settling) <= sizeof(u64) * ProcContext::kSums);
    if (!reinterpret_cast<rt::Settling*>(c.sums)->step()) return lib::kOk;
    position = ~u64{0};
    rt::MemStats s = memory_as_seen();
    u64 cached = cached_bytes();
    u64 slab = s.slab_bytes + s.frame_bytes;
    u64 used = s.total_bytes - s.info_bytes - s.free_bytes;
    u64 other = used > cached + slab ? used - cached - slab : 0;  // anonymous pages, page tables
    auto line = [&](const char* name, u64 bytes) { out.add("{:<16}{:>8} kB\n", name, bytes / 1024); };
    line("MemTotal:", s.total_bytes);
    line("MemFree:", s.free_bytes);
    line("MemAvailable:", s.free_bytes > s.reserve_bytes ? s.free_bytes - s.reserve_bytes : 0);
    line("Buffers:", 0);
    line("Cached:", cached);
    line("SwapCached:", 0);
    line("Active:", other);
    line("Inactive:", cached);
    line("SwapTotal:", 0);
    line("SwapFree:", 0);
    line("Dirty:", 0);
    line("Writeback:", 0);
    line("AnonPages:", other);
    line("Shmem:", cached);
    line("KReclaimable:", 0);
    line("Slab:", slab);
    line("SReclaimable:", 0);
    line("SUnreclaim:", slab);
    return lib::kOk;
}

// Time is accounted to processes; what they did not use is idle. How it spread over the CPUs is not known: evenly.
Leaf<void> show_stat(StringBuilder& out, const ProcContext& c, u64& position) {
    AllProcesses of;
    if (!count_some(c, position, of)) return lib::kOk;
    u64 now = port::Port::now().value;
    u32 cpus = port::Port::cpu_count();
    u64 user = to_ticks(of.user), system = to_ticks(of.system), all = to_ticks(now) * cpus;
    u64 idle = all > user + system ? all - user - system : 0;
    out.add("cpu  {} 0 {} {} 0 0 0 0 0 0\n", user, system, idle);
    for (u32 i = 0; i < cpus; ++i)
        out.add("cpu{} {} 0 {} {} 0 0 0 0 0 0\n", i, user / cpus, system / cpus, idle / cpus);
    u64 boot = port::Port::realtime_offset().value / 1'000'000'000;
    out.add("intr 0\nctxt {}\nbtime {}\nprocesses {}\nprocs_running {}\nprocs_blocked 0\n", of.switches, boot,
            forks_since_boot(), of.running);
    return lib::kOk;
}

Leaf<void> show_uptime(StringBuilder& out, const ProcContext& c, u64& position) {
    AllProcesses of;
    if (!count_some(c, position, of)) return lib::kOk;
    u64 now = port::Port::now().value, all = now * port::Port::cpu_count();
    u64 idle = all > of.user + of.system ? all - of.user - of.system : 0;
    constexpr u64 kSecond = 1'000'000'000, kHundredth = 10'000'000;
    out.add("{}.{:02} {}.{:02}\n", now / kSecond, now % kSecond / kHundredth, idle / kSecond,
            idle % kSecond / kHundredth);
    return lib::kOk;
}

// Nothing samples the length of the run queues: the averages stand at zero.
Leaf<void> show_load(StringBuilder& out, const ProcContext& c, u64& position) {
    AllProcesses of;
    if (!count_some(c, position, of)) return lib::kOk;
    out.add("0.00 0.00 0.00 {}/{} {}\n", of.running, thread_count(), of.last);
    return lib::kOk;
}

Leaf<void> show_cpus(StringBuilder& out, const ProcContext&) {
    u32 cpus = port::Port::cpu_count();
    for (u32 i = 0; i < cpus; ++i) {
        out.add("processor\t: {}\nmodel name\t: {}\nphysical id\t: 0\nsiblings\t: {}\n", i, port::Port::kMachineName,
                cpus);
        out.add("core id\t\t: {}\ncpu cores\t: {}\n", i, cpus);
        add_cpu_features(out);
        out.put("\n");
    }
    return lib::kOk;
}

Leaf<void> show_version(StringBuilder& out, const ProcContext&) {
    out.add("{} version {} (farcall) {}\n", kSystemName, kRelease, kVersion);
    return lib::kOk;
}

Leaf<void> show_file_systems(StringBuilder& out, const ProcContext&) {
    for (const fs::FileSystemType* t = fs::file_system_types(); t; t = t->next)
        out.add("{}\t{}\n", t->without_device ? "nodev" : "", t->name);
    return lib::kOk;
}

}  // namespace linux
