// SPDX-License-Identifier: MIT
// Places of modules: parsing, moving, reporting.
#include "port/kernel/route.hpp"

#include <cstring>

#include "core/sched.hpp"
#include "port/bind.hpp"
#include "port/kernel/controller.hpp"
#include "rt/spinlock.hpp"

namespace port::route {

constinit rt::Module modules[kPlaced];
alignas(64) constinit std::atomic<u64> word_of_call[512] = {};
constinit const u8* module_of_call = nullptr;

void places_changed() {
    for (u32 n = 0; n < 512; ++n) {
        u32 m = module_of_call ? module_of_call[n] : u32(Module::kHome);
        u32 set = m < kPlaced ? modules[m].place.load(std::memory_order_relaxed) : 0;
        u8 to = set == 0 ? kHere : (set & (set - 1)) != 0 ? kSpread : u8(__builtin_ctz(set));
        word_of_call[n].store(rt::call_for(CpuId{to}, m), std::memory_order_relaxed);
    }
    use_entry(settled_entry());
}

namespace {

constexpr std::string_view kNames[kPlaced] = {"task", "mm", "fs", "net", "sync", "time"};
constinit rt::SpinLock<rt::Rank::process_tree> change_lock;  // one change at a time; taken with nothing else held

// A decimal number of at most 6 digits.
bool number(std::string_view s, u32& out) {
    if (s.empty() || s.size() > 6) return false;
    out = 0;
    for (char c : s) {
        if (c < '0' || c > '9') return false;
        out = out * 10 + u32(c - '0');
    }
    return true;
}

// `inline`, `2` or `2+3`.
bool place(std::string_view s, CpuSet& out) {
    out = {};
    if (s == "inline") return true;
    for (;;) {
        size_t plus = s.find('+');
        u32 cpu;
        if (!number(s.substr(0, plus), cpu) || cpu >= rt::executor_count()) return false;
        out.add(CpuId{cpu});
        if (plus == s.npos) return true;
        s = s.substr(plus + 1);
    }
}

rt::Module* find(std::string_view name) {
    for (u32 m = 0; m < kPlaced; ++m)
        if (kNames[m] == name) return &modules[m];
    return nullptr;
}

std::string_view next_word(std::string_view& rest) {
    while (!rest.empty() && rest[0] == ' ') rest.remove_prefix(1);
    size_t end = 0;
    while (end < rest.size() && rest[end] != ' ') ++end;
    std::string_view word = rest.substr(0, end);
    rest.remove_prefix(end);
    return word;
}

void add_place(lib::StringBuilder& out, u32 set) {
    if (set == 0) return out.put("inline");
    bool first = true;
    for (u32 cpu = 0; set >> cpu; ++cpu) {
        if (!(set >> cpu & 1)) continue;
        out.add("{}{}", first ? "" : "+", cpu);
        first = false;
    }
}

struct Sum {
    u64 calls = 0, batches = 0, queue_max = 0, hops = 0;
    const rt::Histogram *wait[lib::kMaxCpus], *service[lib::kMaxCpus];
};
Sum sum_of(const rt::Module& m, u32 cpus) {
    Sum s;
    for (u32 i = 0; i < cpus; ++i) {
        const rt::Shard& shard = m.shards[i];
        s.calls += shard.calls.get() + shard.direct.get();
        s.batches += shard.batches.get() + shard.direct.get();
        s.hops += shard.hops.get();
        if (shard.queue_max.get() > s.queue_max) s.queue_max = shard.queue_max.get();
        s.wait[i] = &shard.wait;
        s.service[i] = &shard.service;
    }
    return s;
}

u64 served_by(u32 cpu) {
    u64 calls = 0;
    for (const rt::Module& m : modules) calls += m.shards[cpu].calls.get() + m.shards[cpu].direct.get();
    return calls;
}

}  // namespace

bool any_remote() {
    u32 all = 0;
    for (const rt::Module& m : modules) all |= m.place.load(std::memory_order_relaxed);
    return all != 0;
}

u64 remote_calls() {
    u64 n = 0;
    for (const rt::Module& m : modules) n += sum_of(m, rt::executor_count()).calls;
    return n;
}

bool next_pair(std::string_view& list, std::string_view& name, std::string_view& value) {
    size_t comma = list.find(',');
    std::string_view item = list.substr(0, comma);
    list = comma == list.npos ? std::string_view{} : list.substr(comma + 1);
    size_t colon = item.find(':');
    if (colon == item.npos) return false;
    name = item.substr(0, colon);
    value = item.substr(colon + 1);
    return true;
}

Result<void> configure(std::string_view spec) {
    u32 cpus = rt::executor_count();
    for (u32 m = 0; m < kPlaced; ++m) {
        modules[m].init(kNames[m], CallTrace::enabled ? &serve_traced : &serve_request);
        reclaimers[m].belong_to(&modules[m]);
        for (u32 i = 0; i < cpus; ++i) rt::Executor::of(CpuId{i}).service.shards[m] = &modules[m].shards[i];
    }
    CpuSet wanted[kPlaced] = {};
    if (spec.empty() || spec == "inline") return lib::kOk;
    if (spec == "remote") {
        if (cpus < 2) return Errno::kInval;
        for (CpuSet& w : wanted) w.add(CpuId{cpus - 1});
        core::sched::set_user_cpus(CpuSet::first(cpus - 1));
    } else if (spec == "adaptive") {
        for (u32 i = 0; i < cpus; ++i) rt::Executor::of(CpuId{i}).service.begin();
        adaptive.store(true, std::memory_order_relaxed);
    } else {
        bool named[kPlaced] = {};
        while (!spec.empty()) {
            std::string_view name, value;
            CpuSet where;
            if (!next_pair(spec, name, value) || !place(value, where)) return Errno::kInval;
            bool known = false;
            for (u32 m = 0; m < kPlaced; ++m)
                if (name == kNames[m] || (name == "*" && !named[m])) {
                    wanted[m] = where;
                    known = true;
                    if (name != "*") named[m] = true;
                }
            if (!known && name != "*") return Errno::kInval;
        }
    }
    for (u32 m = 0; m < kPlaced; ++m)
        if (!wanted[m].empty()) modules[m].move_to(wanted[m]);
    places_changed();
    control_if_needed();
    return lib::kOk;
}

void move_if_at(rt::Module& m, u32 place, CpuSet to) {
    rt::LockGuard guard{change_lock};
    if (m.place.load(std::memory_order_relaxed) != place) return;
    m.move_to(to);
    places_changed();
}

Result<void> command(std::string_view line) {
    std::string_view rest = line;
    std::string_view first = next_word(rest), second = next_word(rest), third = next_word(rest);
    if (!next_word(rest).empty()) return Errno::kInval;
    rt::LockGuard guard{change_lock};
    u32 n;
    if (first == "spin") {
        if (!third.empty() || !number(second, n)) return Errno::kInval;
        rt::Executor::spin_budget = Nanoseconds{u64{n} * 1000};
        return lib::kOk;
    }
    rt::Module* m = find(first);
    if (!m) return Errno::kInval;
    if (second == "policy") {
        for (auto p : {rt::Policy::kFifo, rt::Policy::kCohort, rt::Policy::kPriority, rt::Policy::kController})
            if (third == rt::name_of(p)) {
                m->set_policy(p);
                guard.unlock();
                control_if_needed();
                return lib::kOk;
            }
        return Errno::kInval;
    }
    if (second == "batch") {
        if (!number(third, n) || n == 0) return Errno::kInval;
        m->batch.store(n, std::memory_order_relaxed);
        return lib::kOk;
    }
    CpuSet where;
    if (!third.empty() || !place(second, where)) return Errno::kInval;
    m->move_to(where);
    places_changed();
    return lib::kOk;
}

void report(lib::StringBuilder& out) {
    u32 cpus = rt::executor_count();
    out.put(
        "module place policy calls batches queue_max wait_ns_p50 wait_ns_p99 service_ns_p50 service_ns_p99 "
        "migrations hops reclaimed reclaimed_frames\n");
    for (const rt::Module& m : modules) {
        Sum s = sum_of(m, cpus);
        std::span<const rt::Histogram* const> wait{s.wait, cpus}, service{s.service, cpus};
        out.add("{} ", m.name);
        add_place(out, m.place.load(std::memory_order_relaxed));
        const rt::Reclaimer& r = reclaimers[&m - modules];
        out.add(" {} {} {} {} {} {} {} {} {} {} {} {}\n", rt::name_of(m.policy.load(std::memory_order_relaxed)),
                s.calls, s.batches, s.queue_max, rt::percentile(wait, 500), rt::percentile(wait, 990),
                rt::percentile(service, 500), rt::percentile(service, 990),
                m.migrations.load(std::memory_order_relaxed), s.hops, r.items.load(std::memory_order_relaxed),
                r.frames.load(std::memory_order_relaxed));
    }
    out.add("total_remote {}\n", remote_calls());
    if (adaptive.load(std::memory_order_relaxed)) {
        u32 n = 0;
        for (const CallClass& c : classes) n += c.remote.load(std::memory_order_relaxed);
        out.add("adaptive remote_classes {}\n", n);
        for (u32 i = 0; i < kClasses; ++i) {
            u32 here = classes[i].inline_ns.load(std::memory_order_relaxed);
            u32 there = classes[i].remote_ns.load(std::memory_order_relaxed);
            if (here == 0 || there == 0) continue;
            out.add("class {} inline_ns {} remote_ns {} {}\n", i, here, there,
                    classes[i].remote.load(std::memory_order_relaxed) ? "remote" : "inline");
        }
    }
    u64 now = hal::Machine::now().value;
    for (u32 i = 0; i < cpus; ++i) {
        const rt::Executor& ex = rt::Executor::of(CpuId{i});
        u64 user = ex.times.user(), idle = ex.times.idle_until(Nanoseconds{now});
        out.add("cpu {} user_ns {} kernel_ns {} idle_ns {} calls_made {} calls_kept {} calls_served {} ", i, user,
                now - user - idle, idle, ex.sampler.made(), ex.sampler.kept(), served_by(i));
        out.add("copies_shared {} copies_taken_back {}\n", ex.service.copies_shared(), ex.service.copies_taken_back());
    }
}

void report_json(lib::StringBuilder& out) {
    u32 cpus = rt::executor_count();
    out.put("\"modules\": [");
    for (const rt::Module& m : modules) {
        if (m.name.empty()) break;  // the server route has none
        Sum s = sum_of(m, cpus);
        std::span<const rt::Histogram* const> wait{s.wait, cpus}, service{s.service, cpus};
        out.add("{}{{\"name\": \"{}\", \"place\": \"", &m == modules ? "" : ", ", m.name);
        add_place(out, m.place.load(std::memory_order_relaxed));
        out.add("\", \"policy\": \"{}\", \"calls\": {}, \"batches\": {}, \"queue_max\": {}, \"hops\": {}, ",
                rt::name_of(m.policy.load(std::memory_order_relaxed)), s.calls, s.batches, s.queue_max, s.hops);
        out.add("\"wait_ns\": [{}, {}], \"service_ns\": [{}, {}], \"migrations\": {}, ", rt::percentile(wait, 500),
                rt::percentile(wait, 990), rt::percentile(service, 500), rt::percentile(service, 990),
                m.migrations.load(std::memory_order_relaxed));
        const rt::Reclaimer& r = reclaimers[&m - modules];
        out.add("\"reclaimed\": {}, \"reclaimed_frames\": {}, \"reclaim_refused\": {}}}",
                r.items.load(std::memory_order_relaxed), r.frames.load(std::memory_order_relaxed),
                r.refused.load(std::memory_order_relaxed));
    }
    out.put("], \"cpus\": [");
    for (u32 i = 0; i < cpus; ++i) {
        const rt::Executor& ex = rt::Executor::of(CpuId{i});
        u64 user = ex.times.user(), idle = ex.times.idle_until(hal::Machine::now());
        u64 now = hal::Machine::now().value, calls = served_by(i);
        out.add("{}{{\"user_ns\": {}, \"kernel_ns\": {}, \"idle_ns\": {}, \"calls\": {}, ", i == 0 ? "" : ", ", user,
                now > user + idle ? now - user - idle : 0, idle, calls);
        out.add("\"copies_shared\": {}, \"copies_taken_back\": {}}}", ex.service.copies_shared(),
                ex.service.copies_taken_back());
    }
    out.put("]");
}

}  // namespace port::route

namespace port {

rt::MoveTo at(Module m) {
    rt::Executor& here = rt::Executor::current();
    rt::Executor* there = route::executor_of(m, nullptr);
    if (!there || there == &here) return rt::MoveTo{here};
    route::modules[u32(m)].here().hops.add(1);
    return rt::MoveTo{*there};
}

namespace {
constexpr ModuleControl kControl{&route::report, &route::command};
}
constinit const ModuleControl* const module_control = &kControl;
constinit rt::Reclaimer reclaimers[kModules];
}  // namespace port
