// SPDX-License-Identifier: MIT
#include "boot/kernel/dump.hpp"

#include "boot/kernel/console_calls.hpp"
#include "boot/kernel/trace_port.hpp"
#include "port/bind.hpp"
#include "rt/dump.hpp"

namespace boot {
namespace {

using hal::Machine;

void print_jobs() {
    rt::dump::print_jobs(&Machine::early_print);
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
        for (u32 i = 0; i < rt::executor_count(); ++i) rt::dump::print_cpu(CpuId{i}, &Machine::early_print);
        return print_jobs();
    }
    rt::dump::print_cpu(site.cpu, &Machine::early_print);
    if (site.cpu.value == 0) print_jobs_on_request();
}

}  // namespace

void install_dump_hook() { Machine::set_dump_hook(&hook); }

void dump_everything() {
    Machine::early_print("=== dump ===\n");
    Machine::request_dump();
    print_jobs_on_request();
    Machine::early_print("=== end of dump ===\n");
    ask_server_for_dump();
}

}  // namespace boot
