// SPDX-License-Identifier: MIT
// The machine of a hosted process (unit tests, port/hosted): a CPU is a thread that called bind_cpu(), physical memory
// is a memfd mapped once, so that port/hosted can map its frames into a child process.
//
// Only the bound thread touches a CPU's local pointer and deadline; the pending flag is guarded by the CPU's mutex
// (machine.cpp). A thread that bound nothing is CPU 0: do not run it concurrently with another CPU 0.
#pragma once
#include <atomic>
#include <source_location>
#include <string_view>

#include "hal/api/runtime_machine.hpp"

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define FARCALL_HOST_MALLOC 1
#endif
#endif

namespace hal {

// What rt/ synchronises by. Another type only where a scheduler explores interleavings (hal/explore).
template <class T>
using Atomic = std::atomic<T>;

struct Machine {
    static CpuId this_cpu() { return CpuId{cpu_}; }
    static u32 cpu_count() { return cpu_count_.load(std::memory_order_relaxed); }
    static void* local();
    static void set_local(void* p);
    static Nanoseconds now();  // CLOCK_MONOTONIC since the process started
    static void relax();
    static void wake(CpuId cpu);
    static void wait_for_event();
    static void arm_timer(Nanoseconds deadline);
    static void disarm_timer();
    template <class T>
    static bool is_zero(const std::atomic<T>& a) {
        return a.load(std::memory_order_relaxed) == T{};
    }
    static void poll_mailbox() {}
    // Before a spinlock is taken (rt/spinlock.hpp): one time in disturb_one_in() the thread sleeps for some 100 us, so that
    // what another CPU does meanwhile falls between two locks. 0: never.
    static void before_lock() {
        if (disturb_one_in_.load(std::memory_order_relaxed) != 0) [[unlikely]]
            disturb();
    }
    static void disturb_one_in(u32 n) { disturb_one_in_.store(n, std::memory_order_relaxed); }
    static void take_interrupts() {}  // threads have none
    [[noreturn]] static void panic(const char* what, std::source_location at = std::source_location::current());
    static void early_print(std::string_view text);

    // Hosted only. The calling thread becomes this CPU; set the count before the threads start.
    static void set_cpu_count(u32 n) { cpu_count_.store(n, std::memory_order_relaxed); }
    static void bind_cpu(CpuId cpu) { cpu_ = cpu.value; }
    // Called by wake() besides ending wait_for_event: interrupts what represents user mode. One for all CPUs.
    static void set_wake_hook(void (*hook)(CpuId)) { wake_hook_.store(hook, std::memory_order_release); }

    // "Physical" memory: kMemorySize bytes from kMemoryStart, backed by memory_fd() from offset 0. Costs nothing until
    // it is touched.
    static constexpr PhysAddr kMemoryStart{0x1000'0000};
    static constexpr u64 kMemorySize = u64{512} << 20;
    static int memory_fd();
    static void* phys_to_virt(PhysAddr p) { return memory() + (p - kMemoryStart); }
    static PhysAddr virt_to_phys(const void* v) {
        return kMemoryStart + static_cast<u64>(static_cast<const std::byte*>(v) - memory());
    }

#ifdef FARCALL_HOST_MALLOC
    // Sanitizers know malloc, not slabs: with these two, rt::allocate and coroutine frames come from the host's heap.
    static void* heap_allocate(size_t n);
    static void heap_free(void* p, size_t n);
#endif

private:
    static std::byte* memory() {
        std::byte* m = memory_.load(std::memory_order_acquire);  // pairs with map_memory()
        return m ? m : map_memory();
    }
    static std::byte* map_memory();
    static void disturb();
    static inline constinit std::atomic<u32> disturb_one_in_{0};
    static inline thread_local u32 cpu_ = 0;
    static inline constinit std::atomic<u32> cpu_count_{1};
    static inline constinit std::atomic<std::byte*> memory_{nullptr};
    static inline constinit std::atomic<void (*)(CpuId)> wake_hook_{nullptr};
};

static_assert(RuntimeMachine<Machine>);

}  // namespace hal
