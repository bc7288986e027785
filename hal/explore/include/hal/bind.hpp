// SPDX-License-Identifier: MIT
// The machine of the explorer (tests/explore): CPUs that are fibers of one thread, under a scheduler that a seed
// decides. The runtime that it executes is the kernel's, but for the type of its atomic variables.
//
// Each access to an Atomic is a point where another CPU may continue. Memory is that of x86 (TSO, SDM vol. 3, 9.2): a
// store that is not seq_cst waits in its CPU's buffer, in order, until the scheduler writes it back; the CPU's own
// loads see it, later loads of other variables overtake it; read-modify-writes and seq_cst stores empty the buffer
// first. Plain variables have no buffer: a race on one is not found here (ThreadSanitizer's part). Weaker memory than
// TSO is not explored.
//
// Interrupts (wake, flush, timer, device) stay pending until the CPU sleeps, is in user mode, or takes them. User mode
// is user(). Time advances by a step at each point, and to the next deadline
// when every CPU waits.
#pragma once
#include <atomic>
#include <cstring>
#include <source_location>
#include <string_view>
#include <type_traits>

#include "hal/api/runtime_machine.hpp"

namespace hal {

namespace explore {
void point();  // before each access
void drain();  // this CPU's stores are in memory
void put(void* at, u64 bits, u32 size);
bool own_store(const void* at, u64& bits);  // the newest that is not in memory yet
}  // namespace explore

// The interface of std::atomic, as far as rt/ uses it.
template <class T>
class Atomic {
    static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);

public:
    using value_type = T;
    constexpr Atomic() = default;
    constexpr Atomic(T v) : value_(v) {}
    Atomic(const Atomic&) = delete;
    Atomic& operator=(const Atomic&) = delete;

    T load(std::memory_order = std::memory_order_seq_cst) const {
        explore::point();
        return now();
    }
    void store(T v, std::memory_order order = std::memory_order_seq_cst) {
        explore::point();
        if (order == std::memory_order_seq_cst) {
            explore::drain();
            value_ = v;
        } else {
            u64 bits = 0;
            std::memcpy(&bits, &v, sizeof v);
            explore::put(&value_, bits, sizeof v);
        }
    }
    T exchange(T v, std::memory_order = std::memory_order_seq_cst) {
        return change([&](T) { return v; });
    }
    bool compare_exchange_strong(T& expected, T wanted, std::memory_order = std::memory_order_seq_cst,
                                 std::memory_order = std::memory_order_seq_cst) {
        explore::point();
        explore::drain();
        if (std::memcmp(&value_, &expected, sizeof(T)) != 0) {
            expected = value_;
            return false;
        }
        value_ = wanted;
        return true;
    }
    bool compare_exchange_weak(T& expected, T wanted, std::memory_order = std::memory_order_seq_cst,
                               std::memory_order = std::memory_order_seq_cst) {
        return compare_exchange_strong(expected, wanted);
    }
    T fetch_add(T v, std::memory_order = std::memory_order_seq_cst) {
        return change([&](T old) { return T(old + v); });
    }
    T fetch_sub(T v, std::memory_order = std::memory_order_seq_cst) {
        return change([&](T old) { return T(old - v); });
    }
    T fetch_or(T v, std::memory_order = std::memory_order_seq_cst) {
        return change([&](T old) { return T(old | v); });
    }
    T fetch_and(T v, std::memory_order = std::memory_order_seq_cst) {
        return change([&](T old) { return T(old & v); });
    }
    operator T() const { return load(); }
    T operator=(T v) {
        store(v);
        return v;
    }

private:
    T now() const {
        u64 bits;
        if (!explore::own_store(&value_, bits)) return value_;
        T v;
        std::memcpy(&v, &bits, sizeof v);
        return v;
    }
    template <class F>
    T change(F&& to) {
        explore::point();
        explore::drain();
        T old = value_;
        value_ = to(old);
        return old;
    }
    T value_{};
};

struct Machine {
    // --- RuntimeMachine
    static CpuId this_cpu();
    static u32 cpu_count();
    static void* local();
    static void set_local(void* p);
    static Nanoseconds now();
    static void relax() { explore::point(); }
    static void wake(CpuId cpu);
    static void wait_for_event();
    static void arm_timer(Nanoseconds deadline);
    static void disarm_timer();
    template <class T>
    static bool is_zero(const Atomic<T>& a) {
        return a.load(std::memory_order_relaxed) == T{};
    }
    template <class T>
    static bool is_zero(const std::atomic<T>& a) {
        return a.load(std::memory_order_relaxed) == T{};
    }
    static void poll_mailbox();
    static void take_interrupts();
    [[noreturn]] static void panic(const char* what, std::source_location at = std::source_location::current());
    static void early_print(std::string_view text);
    static void* heap_allocate(size_t n);
    static void heap_free(void* p, size_t n);
    static constexpr PhysAddr kMemoryStart{0x1000'0000};
    static void* phys_to_virt(PhysAddr) { panic("the explorer has no physical memory"); }
    static PhysAddr virt_to_phys(const void*) { panic("the explorer has no physical memory"); }

    // --- As the kernel's machine, for the scenarios
    static u64 request_flush(CpuId cpu);
    static void kick_flush(CpuId cpu);
    static bool flush_settled(CpuId cpu);
    // User mode: computes until an interrupt comes, and takes it; with `calls`, makes a call if none is pending.
    enum class Left { kCall, kInterrupt, kTimer };
    static Left user(bool calls = false);
    static void interrupt(CpuId cpu);  // a device's; its handler runs there
    // Once for all runs. What a device's interrupt calls, and what a flush does.
    static inline void (*before_handler)() = nullptr;
    static inline void (*handler)() = nullptr;
    static inline void (*flush)() = nullptr;

    // --- Exploring
    static void require(bool holds, const char* what) {
        if (!holds) panic(what);
    }
    static u32 random(u32 below);
    static void pass(Nanoseconds time);  // this CPU computes so long
    static bool left_out(u32 step) { return step == mutant; }
    static inline u32 mutant = 0;
    struct Outcome {
        const char* why;  // null: nothing is left to do on any CPU
        u64 steps;
    };
    // Each CPU calls body(), which may not return. Ends when every CPU waits and nothing is under way.
    // What is random follows from seed().
    static Outcome explore(u32 cpus, void (*body)());
    static void seed(u64 seed);
    static constexpr u64 kStepLimit = 100'000;
};

static_assert(RuntimeMachine<Machine>);

}  // namespace hal
