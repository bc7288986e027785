// SPDX-License-Identifier: MIT
// What measures and decides: batch sizes and places of modules under the policy `controller`, and inline or remote per
// class of call under `route=adaptive`. One job looks every 10 ms, while either is in use.
//
// Places (in the manner of SEDA's controllers): each module has a load, the time its calls took in the last period; a CPU
// that is given to modules has a capacity (1 = a full CPU; `capacity=1:0.25` for a slow one). A module moves when its CPU
// is overloaded and another would have clearly less to do; then it stays for a while.
//
// Adaptive: a class is a call number. In each period a few calls are timed on the other road. Remote is chosen when it
// holds the caller up for clearly less time, given up when it does not any more. While every class is inline, calls are
// exactly those of route=inline.
#pragma once
#include "lib/result.hpp"
#include "port/api/types.hpp"
#include "rt/executor.hpp"

namespace port::route {

inline constexpr u32 kClasses = 512;

struct CallClass {
    // Moving means of the time a call holds its caller up, in nanoseconds; 0: not measured yet.
    std::atomic<u32> inline_ns{0}, remote_ns{0};
    std::atomic<bool> remote{false};
    bool compared = false;  // the controller's own
    // Moving mean of the time that executing one elsewhere takes. Written by the CPUs that serve.
    std::atomic<u32> service_ns{0};
    void served(u64 ns);
};
extern CallClass classes[kClasses];
extern std::atomic<bool> adaptive;

// How trap paths take calls; what user_thread.cpp's three forms are for.
enum class Entry : u8 { kInline, kRouted, kAdaptive, kSampling };
void use_entry(Entry e);
Entry settled_entry();  // while nothing is sampled

// Timed calls that are left in this period, for each CPU.
struct alignas(64) Samples {
    std::atomic<u32> here{0}, there{0};
};
extern Samples samples[lib::kMaxCpus];
void record(CallClass& c, bool remote, u64 nanoseconds);
// Rounds of sampling are numbered, from 1.
u32 round();
// What a call that ended later has taken of its CPU: recorded if this is still its round, for then no other came in between.
template <class Sampled>
void finish_sample(Sampled& s, u64 system_now) {
    if (s.round == 0) [[likely]]
        return;
    if (s.round == round()) record(classes[s.call], false, system_now - s.before);
    s.round = 0;
}
// A CPU other than `home` that has nothing to do; null: none.
rt::Executor* idle_cpu(rt::Executor& home);

// `1:0.25,3:0.5`: before configure(). kInval: malformed, no such CPU, not in (0, 1].
Result<void> set_capacities(std::string_view text);
// Starts the job if it is needed and does not run.
void control_if_needed();

}  // namespace port::route
