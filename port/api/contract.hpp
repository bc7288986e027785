// SPDX-License-Identifier: MIT
// The narrow waist as concepts. Each port ends in `static_assert(port::PortContract<port::Port>)`.
//
// Port::Space       a user address space: page-granular mappings the personality decides on
// Port::UserThread  a thread that runs user code until it traps; the personality's thread derives from it
// Port::Console     the program's standard streams; Port::Control the channel that carries its exit status
//
// Everything is batch-shaped (spans of entries), for a port may pay one IPC per call.
#pragma once
#include <concepts>

#include "lib/ref.hpp"
#include "port/api/types.hpp"
#include "rt/wait.hpp"

namespace port {

template <class S>
concept SpaceContract = requires(S s, const S cs, std::span<const MapEntry> entries, std::span<const UserRange> ranges,
                                 Prot p, UserAddr a, void* buf, const void* cbuf, size_t n, u32* word) {
    { S::create() } -> std::same_as<Result<Ref<S>>>;
    // Maps or replaces. kNoMem: page tables could not be had; a prefix of the entries may be mapped (harmless: the same
    // map() may be repeated). Replacing a present entry needs invalidation like unmap.
    { s.map(entries) } -> std::same_as<Result<void>>;
    // Cannot fail, allocates nothing.
    { s.unmap(ranges) } -> std::same_as<void>;
    { s.protect(ranges, p) } -> std::same_as<void>;  // of what is mapped; the rest stays unmapped
    // Frees the page tables over a range where nothing is mapped, as far as each covers nothing outside [a, a): where what may
    // be mapped below the range ends, and where what may be mapped above it begins. Cannot fail, allocates nothing.
    { s.free_tables(UserRange{}, a, a) } -> std::same_as<void>;
    { S::kTableBytes } -> std::convertible_to<u64>;  // what one table of the last level covers
    // Where the first tables of the last level, so many, that lie over [a, a) end; the end of the range if there are fewer.
    { cs.end_of_tables(a, a, u32{}) } -> std::same_as<UserAddr>;
    // After unmap/protect/replace: may some CPU still use the old translations? False: no.
    { s.stale() } -> std::same_as<bool>;
    // Waits, asynchronously, until none does. Never spins.
    { s.settle() } -> std::same_as<Task<void>>;
    // Takes everything out; the space may then only be dropped. Cannot fail.
    { s.clear() } -> std::same_as<void>;
    // Copies to and from user memory. They stop at the first byte that cannot be accessed and return how many were done.
    { s.copy_in(buf, a, n) } -> std::same_as<size_t>;
    { s.copy_out(a, cbuf, n) } -> std::same_as<size_t>;
    { s.zero_out(a, n) } -> std::same_as<size_t>;
    // Words of 4 or 8 bytes that follow each other, at once or (false) not: then the copies above do it, or say why not.
    // For calls of which such a copy is most of the work.
    { s.store_now(a, u32{}, u64{}) } -> std::same_as<bool>;
    { s.load_now(a, *word) } -> std::same_as<bool>;
    // Copies a string up to and including its NUL. Returns bytes copied without the NUL; sets *ended if the NUL was seen.
    { s.copy_in_string(static_cast<char*>(buf), a, n, static_cast<bool*>(nullptr)) } -> std::same_as<size_t>;
    // 32-bit atomics on user memory (4-byte aligned address); kFault if not accessible (write access for the exchange).
    { s.load_u32(a) } -> std::same_as<Result<u32>>;
    { s.compare_exchange_u32(a, u32{}, u32{}) } -> std::same_as<Result<u32>>;  // the value that was there
};

template <class T>
concept UserThreadContract = requires(T t, Trap trap, rt::WaitQueue& queue) {
    typename T::Registers;
    { t.regs() } -> std::same_as<typename T::Registers&>;
    // co_await t.user(): runs user code until the next trap that the leaf tier did not deal with.
    { t.user() };
    // From any CPU: user() ends soon with Trap::Kind::kKick (or another trap). Remembered if not in user mode.
    { t.kick() } -> std::same_as<void>;
    { t.job() } -> std::same_as<rt::Job&>;
    // At home: the space's store_now and load_now fail only where memory cannot be reached.
    { t.come_near() } -> std::same_as<void>;
    // At home: FPU state straight to the program's memory, or from there (which components, or the legacy region alone).
    // False: not this way; copy it through fpu_state().
    { t.store_fpu(UserAddr{}) } -> std::same_as<bool>;
    { t.load_fpu(UserAddr{}, u64{}, false) } -> std::same_as<bool>;
    // In a leaf that will say LeafOutcome::kBlocked: until the queue's sequence is another than `seen`.
    { t.block_on(queue, u32{}, "what") } -> std::same_as<void>;
};

template <class P>
concept PortContract = SpaceContract<typename P::Space> && UserThreadContract<typename P::UserThread> && requires {
    { P::now() } -> std::same_as<Nanoseconds>;              // monotonic since boot
    { P::realtime_offset() } -> std::same_as<Nanoseconds>;  // CLOCK_REALTIME - CLOCK_MONOTONIC
    { P::entropy(std::span<std::byte>{}) } -> std::same_as<void>;
    { P::cpu_count() } -> std::same_as<u32>;     // CPUs that run user threads
    { P::fpu_features() } -> std::same_as<u64>;  // the machine's word for the parts of FPU state; 0: it has none
    // A shared object for programs to call instead of the kernel (vdso(7)); empty: this port has none. The page is what it
    // reads, mapped before it: zeroed, not moved, kept up to date from that call on.
    { P::vdso() } -> std::same_as<std::span<const std::byte>>;
    { P::keep_vdso_data(static_cast<std::byte*>(nullptr)) } -> std::same_as<void>;
};

}  // namespace port
