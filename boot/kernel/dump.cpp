// SPDX-License-Identifier: MIT
#include "boot/kernel/dump.hpp"

#include "boot/kernel/trace_port.hpp"
#include "lib/format.hpp"
#include "port/bind.hpp"
#include "rt/lock_check.hpp"

namespace boot {
namespace {

using hal::Machine;

template <class... A>
void print(const char* fmt, const A&... args) {
    char line[256];
    Machine::early_print({line, lib::format_to(line, fmt, args...)});
}

void print_cpu(CpuId cpu) {
    rt::Executor& ex = rt::Executor::of(cpu);
    const char* states[] = {"kernel", "user", "user, its own turn", "asleep"};
    print("cpu {}: {}, attention {:x}, epoch pending {}, ready", cpu.value, states[u32(ex.user_state.get()) % 4],
          ex.queue.attention.load(std::memory_order_relaxed), ex.epoch.pending);
    for (u32 level = 0; level < rt::kPriorities; ++level)
        if (ex.queue.count(rt::Priority(level)) != 0)
            print(" {}x{}", level, ex.queue.count(rt::Priority(level)));  // priority, how many
    print("{}\n", ex.queue.empty() ? " none" : "");
}

void print_job(const rt::Job& job) {
    print("job {} at {:x} on cpu {}: {}{}\n", job.name(), u64(&job), job.home().cpu().value,
          job.is_waiting() ? "waits for " : "not waiting",
          job.is_waiting() && job.waiting_for() ? job.waiting_for() : "");
    job.trace([](const std::source_location& at) {
        if (at.line() != 0) print("    awaits in {} ({}:{})\n", at.function_name(), at.file_name(), at.line());
    });
}

void print_jobs() {
    print("=== jobs ===\n");
    rt::Job::for_each_unlocked([](const rt::Job& j) { print_job(j); });
    if constexpr (kDebug) rt::lock_check::print_held();
    print("=== end of jobs ===\n");
    trace_port::print_last([](std::string_view line) { Machine::early_print(line); });
}

// Once a second at most: a timeout asks by NMI and by the control channel at once.
void print_jobs_on_request() {
    static constinit std::atomic<u64> last{0};
    u64 now = Machine::now().value, before = last.load(std::memory_order_relaxed);
    if (before != 0 && now - before < 1'000'000'000) return;
    if (last.compare_exchange_strong(before, now, std::memory_order_relaxed)) print_jobs();
}

// Called after the machine layer has printed where the CPU was: for each CPU on request, for the one that panics only.
void hook(const hal::DumpSite& site) {
    if (rt::executor_count() == 0) return;
    if (site.reason == hal::DumpReason::kPanic) {
        for (u32 i = 0; i < rt::executor_count(); ++i) print_cpu(CpuId{i});
        return print_jobs();
    }
    print_cpu(site.cpu);
    if (site.cpu.value == 0) print_jobs_on_request();
}

}  // namespace

void install_dump_hook() { Machine::set_dump_hook(&hook); }

void dump_everything() {
    print("=== dump ===\n");
    Machine::request_dump();
    print_jobs_on_request();
    print("=== end of dump ===\n");
}

}  // namespace boot
