// SPDX-License-Identifier: MIT
// The machine of a server process: one thread, memory as a pool mapped by the kernel, waiting as an IPC receive.
// Physical addresses are the real ones; the pool is mapped at kPoolBase + physical.
#pragma once
#include "abi/server.hpp"
#include "hal/api/runtime_machine.hpp"
#include "hal/x86_64/include/hal/user_context.hpp"

namespace hal {

// What rt/ synchronises by. Another type only where a scheduler explores interleavings (hal/explore).
template <class T>
using Atomic = std::atomic<T>;

struct Machine {
    using UserContext = hal::UserContext;
    static constexpr const char* kName = "x86_64";
    static CpuId this_cpu() { return CpuId{0}; }
    static u32 cpu_count() { return 1; }
    static void* local() { return local_; }
    static void set_local(void* p) { local_ = p; }
    static Nanoseconds now();
    static void relax() {}
    static void wake(CpuId) {}
    // Receives the next message; what comes is handed to `on_message` (port/server).
    static void wait_for_event();
    static void arm_timer(Nanoseconds deadline) { deadline_ = deadline; }
    static void disarm_timer() { deadline_ = Nanoseconds::never(); }
    static Nanoseconds deadline() { return deadline_; }
    template <class T>
    static bool is_zero(const std::atomic<T>& a) {
        return a.load(std::memory_order_relaxed) == T{};
    }
    static void poll_mailbox() {}
    // The kernel takes interrupts; here messages take their place, which long work must not delay.
    static void take_interrupts() {
        if (on_pause) on_pause();
    }
    [[noreturn]] static void panic(const char* what, std::source_location where = std::source_location::current());
    static void early_print(std::string_view text);
    static void* phys_to_virt(PhysAddr p) { return reinterpret_cast<void*>(abi::server::kPoolBase + p.value); }
    static PhysAddr virt_to_phys(const void* p) { return PhysAddr{reinterpret_cast<u64>(p) - abi::server::kPoolBase}; }

    static void (*on_event)();
    static void (*on_pause)();

private:
    static inline constinit void* local_ = nullptr;
    static inline constinit Nanoseconds deadline_ = Nanoseconds::never();
};

static_assert(RuntimeMachine<Machine>);

}  // namespace hal
