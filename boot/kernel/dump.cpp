// SPDX-License-Identifier: MIT
#include "boot/kernel/dump.hpp"

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
    const char* states[] = {"kernel", "user", "idle"};
    print("cpu {}: {}, ready {}+{}+{}, epoch pending {}\n", cpu.value, states[u32(ex.state()) % 3],
          ex.ready_count(rt::Priority::kUrgent), ex.ready_count(rt::Priority::kKernel), ex.ready_count(rt::Priority::kUser),
          ex.epoch.pending);
}

void print_job(const rt::Job& job) {
    print("job {} at {:x} on cpu {}: {}{}\n", job.name(), u64(&job), job.home().cpu().value,
          job.is_waiting() ? "waits for " : "not waiting", job.is_waiting() && job.waiting_for() ? job.waiting_for() : "");
    job.trace([](const std::source_location& at) {
        if (at.line() != 0) print("    awaits in {} ({}:{})\n", at.function_name(), at.file_name(), at.line());
    });
}

void hook(const hal::DumpSite& site) {
    print("--- cpu {} ---\n", site.cpu.value);
    if (site.frame) {
        print("rip {:x} rsp {:x} rbp {:x} rax {:x} cs {:x}\n", site.frame->rip, site.frame->rsp, site.frame->rbp, site.frame->rax,
              site.frame->cs);
        if ((site.frame->cs & 3) == 0) {
            print("#0 0x{:x}\n", site.frame->rip);
            Machine::backtrace(site.frame->rbp);
        }
    }
    if (site.cpu.value == Machine::this_cpu().value && rt::executor_count() != 0) print_cpu(site.cpu);
}

}  // namespace

void install_dump_hook() { Machine::set_dump_hook(&hook); }

void dump_everything() {
    print("=== dump ===\n");
    Machine::request_dump();
    for (u32 i = 0; i < rt::executor_count(); ++i) print_cpu(CpuId{i});
    rt::Job::for_each_unlocked([](const rt::Job& j) { print_job(j); });
    if constexpr (kDebug) rt::lock_check::print_held();
    print("=== end of dump ===\n");
}

}  // namespace boot
