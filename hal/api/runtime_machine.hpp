// SPDX-License-Identifier: MIT
// What rt/ needs of a machine: CPUs, time, sleeping and waking. Implemented by the kernel's machines and by the two
// that are not bare metal (a server process, a hosted process).
//
//   this_cpu()        the CPU this code runs on; stable while interrupts are off (the kernel) or on a pinned thread
//   local()           the runtime's per-CPU block; never kept across a suspension point
//   now()             monotonic since boot, the same on every CPU to within the machine's clock skew
//   relax()           a hint inside a long spin; expensive under emulation: at most once per 256 plain loads
//   wake(cpu)         ends wait_for_event on that CPU, now or the next time it starts; in user mode it arrives as a trap
//   wait_for_event()  sleeps until a wake, timer or device interrupt; a wake sent after the caller's last check ends it
//   arm_timer(t)      one shot per CPU, replaces the previous deadline; it may fire early (compare with now() and arm
//                     again) but is never lost; ends wait_for_event, arrives as a trap in user mode
//   take_interrupts() lets pending interrupts run, for a CPU that stays long in the kernel
//   poll_mailbox()    serves requests of other CPUs; called in every spin loop; never blocks
//   early_print       works at every stage, in any context; slow
#pragma once
#include <atomic>
#include <concepts>
#include <source_location>
#include <string_view>

#include "lib/types.hpp"

namespace hal {

template <class M>
concept RuntimeMachine =
    requires(CpuId cpu, void* p, Nanoseconds t, std::string_view s, const char* what, const std::atomic<u32>& word) {
        { M::this_cpu() } -> std::same_as<CpuId>;
        { M::cpu_count() } -> std::same_as<u32>;
        { M::local() } -> std::same_as<void*>;
        { M::set_local(p) } -> std::same_as<void>;
        { M::now() } -> std::same_as<Nanoseconds>;
        { M::relax() } -> std::same_as<void>;
        { M::wake(cpu) } -> std::same_as<void>;
        { M::wait_for_event() } -> std::same_as<void>;
        { M::arm_timer(t) } -> std::same_as<void>;
        { M::disarm_timer() } -> std::same_as<void>;
        { M::is_zero(word) } -> std::same_as<bool>;  // a relaxed load, in as few instructions as the machine can
        { M::poll_mailbox() } -> std::same_as<void>;
        { M::take_interrupts() } -> std::same_as<void>;
        { M::panic(what, std::source_location::current()) } -> std::same_as<void>;
        { M::early_print(s) } -> std::same_as<void>;
    };

}  // namespace hal
