// SPDX-License-Identifier: MIT
// The narrow waist as concepts: all that linux/, fs/ and drivers/ use of a port. Each port ends in
// `static_assert(port::PortContract<port::Port>)`.
//
// Port::Space       a user address space: page-granular mappings the personality decides on (SpaceMappings,
// SpaceCopies) Port::UserThread  a thread that runs user code until it traps; the personality's thread derives from it
// (ThreadLife,
//                   ThreadUserMode, ThreadState, ThreadPlace)
// Port              clocks, entropy, what the machine is (PortClocks, PortMachine, PortVdso)
// namespace port    at, set_personality, and what other headers of port/api declare: log (log.hpp), streams
// (streams.hpp),
//                   module_control and reclaimer (modules.hpp), devices (devices.hpp, where the port has any)
//
// All operations take batches (spans of entries), because a port may pay one IPC per call.
#pragma once
#include <concepts>
#include <span>
#include <string_view>
#include <utility>

#include "lib/ref.hpp"
#include "port/api/personality.hpp"
#include "port/api/types.hpp"
#include "rt/wait.hpp"

namespace port {

template <class S>
concept SpaceMappings = requires(S s, const S cs, std::span<const MapEntry> entries, std::span<const UserRange> ranges,
                                 Prot p, UserAddr a) {
    { S::create() } -> std::same_as<Result<Ref<S>>>;
    // Maps or replaces. kNoMem: page tables could not be allocated; a prefix of the entries may be mapped (harmless:
    // the same map() may be repeated). Replacing a present entry needs invalidation like unmap.
    { s.map(entries) } -> std::same_as<Result<void>>;
    // Cannot fail, allocates nothing.
    { s.unmap(ranges) } -> std::same_as<void>;
    { s.protect(ranges, p) } -> std::same_as<void>;  // of what is mapped; the rest stays unmapped
    // Frees the page tables over a range where nothing is mapped, as far as each covers nothing outside [a, a): where
    // what may be mapped below the range ends, and where what may be mapped above it begins. Cannot fail, allocates
    // nothing.
    { s.free_tables(UserRange{}, a, a) } -> std::same_as<void>;
    { S::kTableBytes } -> std::convertible_to<u64>;  // what one table of the last level covers
    // Where the first tables of the last level, so many, that lie over [a, a) end; the end of the range if fewer do.
    { cs.end_of_tables(a, a, u32{}) } -> std::same_as<UserAddr>;
    { cs.tables() } -> std::same_as<u64>;  // how many page tables it has
    // May another CPU use translations of this space now? False: what is unmapped need not be waited for.
    { cs.shared_now() } -> std::same_as<bool>;
    // After unmap/protect/replace: may some CPU still use the old translations? False: no.
    { cs.stale() } -> std::same_as<bool>;
    // Waits, asynchronously, until none does. Never spins.
    { s.settle() } -> std::same_as<Task<void>>;
    // Takes everything out; the space may then only be dropped. Cannot fail.
    { s.clear() } -> std::same_as<void>;
};

// User memory, with the rights checked as the machine would. From any CPU; never waits.
template <class S>
concept SpaceCopies = requires(S s, UserAddr a, void* buf, const void* cbuf, size_t n, u32* word) {
    // Copies to and from user memory. They stop at the first byte that cannot be accessed and return how many were
    // done.
    { s.copy_in(buf, a, n) } -> std::same_as<size_t>;
    { s.copy_out(a, cbuf, n) } -> std::same_as<size_t>;
    { s.zero_out(a, n) } -> std::same_as<size_t>;
    // Words of 4 or 8 bytes that follow each other, at once or (false) not: then the copies above do it, or return the
    // reason. For calls of which such a copy is most of the work.
    { s.store_now(a, u32{}, u64{}) } -> std::same_as<bool>;
    { s.load_now(a, *word) } -> std::same_as<bool>;
    // Copies a string up to and including its NUL. Returns bytes copied without the NUL; sets *ended if the NUL was
    // seen.
    { s.copy_in_string(static_cast<char*>(buf), a, n, static_cast<bool*>(nullptr)) } -> std::same_as<size_t>;
    // 32-bit atomics on user memory (4-byte aligned address); kFault if not accessible (write access for the exchange).
    { s.load_u32(a) } -> std::same_as<Result<u32>>;
    { s.compare_exchange_u32(a, u32{}, u32{}) } -> std::same_as<Result<u32>>;  // the value that was there
};

template <class S>
concept SpaceContract = SpaceMappings<S> && SpaceCopies<S>;

// How a thread begins. Its end is Personality::ended.
template <class T, class S>
concept ThreadLife = requires(T t, Ref<S> space, Task<void> root) {
    // Once, before start(). kNoMem.
    { t.init(std::move(space)) } -> std::same_as<Result<void>>;
    // Gives it its root coroutine and posts it. False: the coroutine has no frame (no memory).
    { t.start(std::move(root)) } -> std::same_as<bool>;
    // At home, not in user mode (execve, or before start()).
    { t.set_space(std::move(space)) } -> std::same_as<void>;
    // Registers and FPU state of `from`, which is the running thread (fork).
    { t.fork_state_from(t) } -> std::same_as<void>;
};

template <class T>
concept ThreadUserMode = requires(T t, rt::WaitQueue& queue) {
    // co_await t.user(): runs user code until the next trap that the leaf tier did not deal with.
    { t.user() };
    // From any CPU: user() ends soon with Trap::Kind::kKick (or another trap). Remembered if not in user mode.
    { t.kick() } -> std::same_as<void>;
    // Everything that a kick up to now was for is about to be looked at.
    { t.forget_kick() } -> std::same_as<void>;
    { t.job() } -> std::same_as<rt::Job&>;
    // In a leaf that will return LeafOutcome::kBlocked: until the queue's sequence is another than `seen`.
    { t.block_on(queue, u32{}, "what") } -> std::same_as<void>;
};

// Registers, and FPU state in the machine's format. At home (at_home()), while the thread is not in user mode.
template <class T>
concept ThreadState = requires(T t, std::span<const std::byte> given) {
    typename T::Registers;
    typename T::Registers::CallFrame;
    { t.regs() } -> std::same_as<typename T::Registers&>;
    // Of the last trap: number, arguments, result, pc and stack pointer, of which only the result may be changed. A port
    // may have to fetch the others from elsewhere; regs() has them all.
    { t.call_regs() } -> std::same_as<typename T::Registers&>;
    // State in regs() that lives in the CPU, as the TLS base, was changed. In a leaf: the outcome is kDoneChanged.
    { t.registers_changed() } -> std::same_as<void>;
    // It will not run again: what a CPU holds of it is not saved. At home.
    { t.drop_state() } -> std::same_as<void>;
    { t.save_fpu() } -> std::same_as<void>;  // fpu_state() is current from then on
    { t.fpu_state() } -> std::same_as<std::span<std::byte>>;
    // Bytes that a program wrote: made safe to load. kInval: not this machine's size.
    { t.set_fpu_state(given) } -> std::same_as<Result<void>>;
    { t.reset_fpu() } -> std::same_as<void>;  // as a new program gets it
    // At home: the space's store_now and load_now fail only where memory cannot be reached.
    { t.come_near() } -> std::same_as<void>;
    // At home: FPU state straight to the program's memory, or from there (which components, or the legacy region
    // alone). False: not this way; copy it through fpu_state().
    { t.store_fpu(UserAddr{}) } -> std::same_as<bool>;
    { t.load_fpu(UserAddr{}, u64{}, false) } -> std::same_as<bool>;
};

// Where it runs, and for how long it did.
template <class T>
concept ThreadPlace = requires(T t, const T ct, CpuSet cpus, Nanoseconds now) {
    // co_await: goes on on the CPU whose registers may hold the thread's state. Ready at once if there.
    { t.at_home() } -> std::same_as<rt::MoveTo>;
    // To the back of its queue at its next way to user mode, if another thread is ready there.
    { t.request_yield() } -> std::same_as<void>;
    { ct.allowed_cpus() } -> std::same_as<CpuSet>;
    { t.set_affinity(cpus) } -> std::same_as<void>;
    { ct.times(now).user } -> std::convertible_to<u64>;  // nanoseconds in user mode so far; `now` is Port::now()
    { ct.times(now).system } -> std::convertible_to<u64>;
};

template <class T, class S>
concept UserThreadContract = ThreadLife<T, S> && ThreadUserMode<T> && ThreadState<T> && ThreadPlace<T>;

template <class P>
concept PortClocks = requires(Nanoseconds offset) {
    { P::now() } -> std::same_as<Nanoseconds>;              // monotonic since boot
    { P::realtime_offset() } -> std::same_as<Nanoseconds>;  // CLOCK_REALTIME - CLOCK_MONOTONIC
    { P::set_realtime_offset(offset) } -> std::same_as<void>;
};

template <class P>
concept PortMachine = requires {
    { P::entropy(std::span<std::byte>{}) } -> std::same_as<void>;
    { P::cpu_count() } -> std::same_as<u32>;     // CPUs that run user threads
    { P::this_cpu() } -> std::same_as<u32>;      // of the thread whose call is executed
    { P::fpu_features() } -> std::same_as<u64>;  // the machine's word for the parts of FPU state; 0: it has none
    // AT_HWCAP, AT_HWCAP2 and AT_PLATFORM (getauxval(3)).
    { P::hardware_capabilities() } -> std::same_as<u64>;
    { P::hardware_capabilities2() } -> std::same_as<u64>;
    { P::kMachineName } -> std::convertible_to<std::string_view>;
};

template <class P>
concept PortVdso = requires {
    // A shared object for programs to call instead of the kernel (vdso(7)); empty: this port has none. The page is what
    // it reads, mapped before it: zeroed, not moved, kept up to date from that call on.
    { P::vdso() } -> std::same_as<std::span<const std::byte>>;
    { P::keep_vdso_data(static_cast<std::byte*>(nullptr)) } -> std::same_as<void>;
};

template <class P>
concept PortContract =
    SpaceContract<typename P::Space> && UserThreadContract<typename P::UserThread, typename P::Space> &&
    PortClocks<P> && PortMachine<P> && PortVdso<P>;

// co_await at(Module::kFs): the border of a stage of a call. What follows runs where the module is, if it has a place.
rt::MoveTo at(Module m);

}  // namespace port
