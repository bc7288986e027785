// SPDX-License-Identifier: MIT
#include "port/kernel/route.hpp"

#include "core/sched.hpp"

namespace port::route {
namespace {

constinit rt::Executor* places[kModules] = {};
constinit bool remote_somewhere = false;

struct alignas(64) Counter {
    std::atomic<u64> calls{0};
};
constinit Counter counters[lib::kMaxCpus];

constexpr std::string_view kNames[kModules] = {"task", "mm", "fs", "net", "sync", "time", "home"};

}  // namespace

Result<void> configure(std::string_view spec) {
    u32 cpus = rt::executor_count();
    rt::Executor* wanted[kModules] = {};
    if (spec.empty() || spec == "inline") return lib::kOk;
    if (spec == "remote") {
        if (cpus < 2) return Errno::kInval;
        for (u32 m = 0; m < kModules; ++m) wanted[m] = &rt::Executor::of(CpuId{cpus - 1});
        core::sched::set_user_cpus(CpuSet::first(cpus - 1));
    } else {
        bool named[kModules] = {};
        while (!spec.empty()) {
            size_t comma = spec.find(',');
            std::string_view item = spec.substr(0, comma);
            spec = comma == std::string_view::npos ? std::string_view{} : spec.substr(comma + 1);
            size_t colon = item.find(':');
            if (colon == std::string_view::npos) return Errno::kInval;
            std::string_view name = item.substr(0, colon), place = item.substr(colon + 1);
            rt::Executor* ex = nullptr;
            if (place != "inline") {
                u32 cpu = 0;
                if (place.empty() || place.size() > 2) return Errno::kInval;
                for (char c : place) {
                    if (c < '0' || c > '9') return Errno::kInval;
                    cpu = cpu * 10 + u32(c - '0');
                }
                if (cpu >= cpus) return Errno::kInval;
                ex = &rt::Executor::of(CpuId{cpu});
            }
            bool known = false;
            for (u32 m = 0; m + 1 < kModules; ++m)
                if (name == kNames[m] || (name == "*" && !named[m])) {
                    wanted[m] = ex;
                    known = true;
                    if (name != "*") named[m] = true;
                }
            if (!known) return Errno::kInval;
        }
    }
    wanted[u32(Module::kHome)] = nullptr;
    for (u32 m = 0; m < kModules; ++m) {
        places[m] = wanted[m];
        remote_somewhere |= wanted[m] != nullptr;
    }
    return lib::kOk;
}

rt::Executor* executor_of(Module m) { return places[u32(m)]; }
bool any_remote() { return remote_somewhere; }
void count_remote() { counters[hal::Machine::this_cpu().value].calls.fetch_add(1, std::memory_order_relaxed); }

u64 remote_calls() {
    u64 n = 0;
    for (Counter& c : counters) n += c.calls.load(std::memory_order_relaxed);
    return n;
}

}  // namespace port::route
