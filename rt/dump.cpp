// SPDX-License-Identifier: MIT
#include "rt/dump.hpp"

#include "lib/format.hpp"
#include "rt/executor.hpp"
#include "rt/lock_check.hpp"
#include "rt/task.hpp"

namespace rt::dump {
namespace {

template <class... A>
void print(Out out, const char* fmt, const A&... args) {
    char line[256];
    out({line, lib::format_to(line, fmt, args...)});
}

void print_job(const Job& job, Out out) {
    print(out, "job {} at {:x} on cpu {}: {}{}\n", job.name(), u64(&job), job.home().cpu().value,
          job.is_waiting() ? "waits for " : "not waiting",
          job.is_waiting() && job.waiting_for() ? job.waiting_for() : "");
    job.trace([out](const std::source_location& at) {
        if (at.line() != 0) print(out, "    awaits in {} ({}:{})\n", at.function_name(), at.file_name(), at.line());
    });
}

}  // namespace

void print_cpu(CpuId cpu, Out out) {
    Executor& ex = Executor::of(cpu);
    const char* states[] = {"kernel", "asleep", "user", "user, its own turn"};
    print(out, "cpu {}: {}, attention {:x}, epoch pending {}, ready", cpu.value, states[u32(ex.user_state.get()) % 4],
          ex.queue.attention.load(std::memory_order_relaxed), ex.epoch.pending);
    for (u32 level = 0; level < kPriorities; ++level)
        if (ex.queue.count(Priority(level)) != 0)
            print(out, " {}x{}", level, ex.queue.count(Priority(level)));  // priority, how many
    print(out, "{}\n", ex.queue.empty() ? " none" : "");
}

void print_jobs(Out out) {
    out("=== jobs ===\n");
    Job::for_each_unlocked([out](const Job& j) { print_job(j, out); });
    if constexpr (kDebug) lock_check::print_held();
    out("=== end of jobs ===\n");
}

}  // namespace rt::dump
