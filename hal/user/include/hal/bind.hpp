// SPDX-License-Identifier: MIT
// The machine of a server process: a CPU is a thread of the native interface that stays on one CPU of the kernel's and runs
// before every other thread there; memory is one Memory object, mapped as a whole; waiting is an IPC receive.
//
// A physical address is an offset in that memory, plus kMemoryStart: nothing in the server knows the machine's. What a CPU
// needs at hand is in the unused part of its UTCB, which FS points to.
#pragma once
#include "hal/api/runtime_machine.hpp"
#include "hal/x86_64/include/hal/page_table.hpp"
#include "hal/x86_64/include/hal/user_context.hpp"
#include "sysapi/native.hpp"

namespace hal {

// What rt/ synchronises by. Another type only where a scheduler explores interleavings (hal/explore).
template <class T>
using Atomic = std::atomic<T>;

// Not 0, which means no frame, and a multiple of the largest block of frames.
inline constexpr u64 kMemoryStart = 1 << 30;

// now() = ((tsc - tsc_base) * tsc_to_ns) >> 32, as the kernel's. tsc_to_ns 0: the kernel is asked.
struct UserTimeScale {
    u64 tsc_base = 0, tsc_to_ns = 0;
};

// Page tables that no MMU walks.
struct PoolTables {
    static void* map(PhysAddr table) {
        return reinterpret_cast<void*>(abi::native::kServerMemory - kMemoryStart + table.value);
    }
    static void fill_root(PhysAddr) {}
};

struct Machine {
    using UserContext = hal::UserContext;
    using PageTable = PageTableBy<PoolTables>;
    static constexpr const char* kName = "x86_64";

    static CpuId this_cpu() { return CpuId{u32(word<kCpuWord>())}; }
    static u32 cpu_count() { return cpus_; }
    static void* local() { return reinterpret_cast<void*>(word<kLocalWord>()); }
    static void set_local(void* p) { native::utcb().free[kLocalWord] = reinterpret_cast<u64>(p); }
    // Before anything else on a thread that is to be this CPU.
    static void set_cpu(CpuId cpu) { native::utcb().free[kCpuWord] = cpu.value; }
    static void set_cpu_count(u32 n) { cpus_ = n; }
    static void set_time_scale(UserTimeScale to) { scale_ = to; }

    static Nanoseconds now() {
        if (scale_.tsc_to_ns == 0) return Nanoseconds{native::now()};
        u32 low, high;
        asm volatile("rdtsc" : "=a"(low), "=d"(high));
        const u64 ticks = (u64{high} << 32 | low) - scale_.tsc_base;
        return Nanoseconds{u64((static_cast<unsigned __int128>(ticks) * scale_.tsc_to_ns) >> 32)};
    }
    static void relax() { asm volatile("pause"); }
    static void wake(CpuId cpu) { on_wake(cpu); }
    // Receives the next message (port/server).
    static void wait_for_event() { on_event(); }
    // Told to the kernel when this CPU next waits.
    static void arm_timer(Nanoseconds deadline) { native::utcb().free[kDeadlineWord] = deadline.value; }
    static void disarm_timer() { native::utcb().free[kDeadlineWord] = Nanoseconds::never().value; }
    static Nanoseconds deadline() { return Nanoseconds{word<kDeadlineWord>()}; }
    template <class T>
    static bool is_zero(const std::atomic<T>& a) {
        return a.load(std::memory_order_relaxed) == T{};
    }
    static void poll_mailbox() {}
    // The kernel takes interrupts; here other threads of the CPU get their turn, which long work must not delay.
    static void take_interrupts() {
        if (on_pause) on_pause();
    }
    [[noreturn]] static void panic(const char* what, std::source_location where = std::source_location::current());
    static void early_print(std::string_view text);
    static void* phys_to_virt(PhysAddr p) { return PoolTables::map(p); }
    static PhysAddr virt_to_phys(const void* p) {
        return PhysAddr{reinterpret_cast<u64>(p) - abi::native::kServerMemory + kMemoryStart};
    }
    static UserAddr user_top() { return UserAddr{HAL_USER_TOP}; }

    // Supplied by the port.
    static void (*on_event)();
    static void (*on_pause)();
    static void (*on_wake)(CpuId);

private:
    static constexpr unsigned kCpuWord = 0, kLocalWord = 1, kDeadlineWord = 2;
    // Read anew each time: a coroutine that has moved finds another CPU's.
    template <unsigned kWord>
    [[gnu::always_inline]] static u64 word() {
        u64 value;
        asm volatile("mov %%fs:%c1, %0" : "=r"(value) : "i"(offsetof(abi::native::Utcb, free) + kWord * sizeof(u64)));
        return value;
    }
    static inline constinit u32 cpus_ = 1;
    static inline constinit UserTimeScale scale_{};
};

static_assert(RuntimeMachine<Machine>);

}  // namespace hal
