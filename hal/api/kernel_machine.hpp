// SPDX-License-Identifier: MIT
// What core/, port/kernel and boot/ need of a machine besides RuntimeMachine: user mode, page tables, user memory,
// interrupts, other CPUs, FPU state. docs/hal.md describes how each architecture supplies each item.
//
// Rules that hold on every machine:
//   - Interrupts are off in kernel mode, except inside wait_for_event and take_interrupts.
//   - One kernel stack per CPU. A trap from user mode starts at its top; enter_user abandons what is on it.
//   - A trap saves the registers straight into the UserContext that was last entered on that CPU.
//   - Kernel mode never waits for another CPU's acknowledgement while spinning.
//
// The kernel supplies these (all on the stack top of the trapping CPU, interrupts off):
//   farcall_syscall(ctx)      a system call. Returning goes back to ctx; only the result register may have been
// changed.
//                             Any other change (pc, flags, other registers) is followed by enter_user instead.
//   farcall_trap(ctx, info)   any other end of user mode. Returning goes back to ctx, with any change made to it.
//   farcall_interrupt()       before each device handler that runs in kernel mode: in wait_for_event or take_interrupts
//   farcall_native_syscall, farcall_redirected_syscall
//                             the same for threads with the entry (hal::CallEntry) kNative or kRedirected. They never
// return;
//                             defined with HAL_FAST_ENTRY(name, ctx) { ... }
//   kernel_main(boot)         once, on the boot CPU
//   kernel_ap_main()          on each CPU that start_cpus started
#pragma once
#include <concepts>
#include <cstddef>
#include <span>

#include "abi/native.hpp"
#include "hal/api/runtime_machine.hpp"
#include "hal/api/types.hpp"
#include "lib/result.hpp"

namespace hal {

// Source and sink of page-table pages. allocate_table returns a zeroed page, or PhysAddr{0} if there is none.
// free_table is called for pages that no entry refers to any more; other CPUs may still walk them (free one epoch
// later).
template <class S>
concept TableSource = requires(S& s, PhysAddr page) {
    { s.allocate_table() } -> std::same_as<PhysAddr>;
    { s.free_table(page) } -> std::same_as<void>;
};

// The registers of one user thread.
template <class C>
concept UserRegisters = requires(C& c, const C& k, u64 v, i64 result, unsigned i) {
    { k.pc() } -> std::same_as<UserAddr>;
    { k.sp() } -> std::same_as<UserAddr>;
    { k.tls_base() } -> std::same_as<UserAddr>;
    { k.flags() } -> std::same_as<u64>;
    c.set_pc(UserAddr{v});
    c.set_sp(UserAddr{v});
    c.set_tls_base(UserAddr{v});
    c.set_flags(v);      // keeps only what user mode may choose
    c.restore_flags(v);  // keeps only what user mode can have had
    { k.entered_by_syscall() } -> std::same_as<bool>;
    { k.syscall_number() } -> std::same_as<u64>;
    { k.syscall_argument(i) } -> std::same_as<u64>;
    // The registers of a system call: small enough for one cache line together with a word.
    { c.frame() } -> std::same_as<typename C::CallFrame&>;
    requires sizeof(typename C::CallFrame) <= 56;
    { k.syscall_result() } -> std::same_as<i64>;
    c.set_syscall_result(result);
    c.forget_syscall();   // no restart any more, and every register is restored
    c.restart_syscall();  // the next entry executes the same system-call instruction again
    c.reset();            // all registers zero, flags and selectors as a new program gets them
};

// The registers of a native call and of a message (abi/native.hpp), and what else core/ needs to keep, check
// and change a thread's registers without their names. Functions of namespace hal, next to the context's type.
struct ThreadBases;                                    // of thread-local storage; comparable
bool user_pc(const abi::native::Registers& given);     // what a program may set: in user memory
bool user_bases(const abi::native::Registers& given);  // the same
ThreadBases bases_of(const abi::native::Registers& given);
ThreadBases bases_at(UserAddr storage);
void set_bases(abi::native::Registers& r, ThreadBases to);

template <class C>
concept MessageRegisters =
    requires(C& c, C& other, const C& k, u64 v, abi::native::Registers& r, const abi::native::Registers& given) {
        { call_word(k) } -> std::same_as<u64>;
        { set_call_word(c, v) } -> std::same_as<void>;
        { call_capability(k) } -> std::same_as<u64>;
        { message_tag(k) } -> std::same_as<u64>;
        { message_word(k, v) } -> std::same_as<u64>;  // the first three
        { set_message(c, v, v) } -> std::same_as<void>;
        { set_call_results(c, v, v) } -> std::same_as<void>;
        { set_call_results(c, v, v, v) } -> std::same_as<void>;
        { copy_words(k, c, v) } -> std::same_as<void>;
        { set_words(c, v, v, v, v, v, v) } -> std::same_as<void>;
        { syscall_to_message(k, c) } -> std::same_as<void>;
        { get_registers(k, r) } -> std::same_as<void>;
        { set_registers(c, given) } -> std::same_as<void>;  // all but the bases
        { user_bases(k) } -> std::same_as<bool>;
        { bases_of(k) } -> std::same_as<ThreadBases>;
        { set_bases(c, bases_of(k)) } -> std::same_as<void>;
        // All that is user mode's, from a context that a program wrote; what is the kernel's stays
        { replace_user_registers(c, other) } -> std::same_as<void>;
    };

struct NoTables {
    PhysAddr allocate_table() { return PhysAddr{0}; }
    void free_table(PhysAddr) {}
};

// One address space's tables. Changes are serialised by the owner; walks and accessed/dirty updates of other CPUs
// run concurrently. A range visits every table it needs once.
template <class T, class Source>
concept AddressTables = requires(T& t, const T& k, UserAddr a, UserAddr b, PhysAddr p, MapFlags f, Source& s) {
    { T::create(s) } -> std::same_as<T>;
    { k.valid() } -> std::same_as<bool>;
    { k.root() } -> std::same_as<PhysAddr>;
    { t.map(a, p, f, s) } -> std::same_as<bool>;
    {
        t.unmap(a, b, [](UserAddr, typename T::Entry) {})
    };
    { t.protect(a, b, f) } -> std::same_as<bool>;
    { k.query(a) } -> std::same_as<typename T::Entry>;
    { t.access(a, true) } -> std::same_as<PhysAddr>;
    { t.free_tables(a, b, s) };
    { t.destroy(s) };
};

template <class M>
concept KernelMachine =
    RuntimeMachine<M> && UserRegisters<typename M::UserContext> && MessageRegisters<typename M::UserContext> &&
    AddressTables<typename M::PageTable, NoTables> &&
    requires(typename M::UserContext& ctx, PhysAddr pa, UserAddr ua, CpuId cpu, void* p, const void* cp, size_t n,
             u32 vector, u64 ticket, u32* word, InterruptHandler handler, char* text) {
        // User mode
        { M::enter_user(ctx) };
        { M::load_thread_state(ctx) } -> std::same_as<void>;
        { M::save_thread_state(ctx) } -> std::same_as<void>;
        { M::on_fresh_stack(handler, p) };
        // The same in a few instructions where the machine can, for switches inside a trap; and back to a context that
        // a system call left, with all its registers, or with a message instead of those that hold one
        { M::can_switch_thread_state() } -> std::same_as<bool>;
        { M::switch_thread_state(ctx, ctx) } -> std::same_as<void>;
        { M::resume_syscall(ctx) };
        { M::resume_message(ctx, u64{}, u64{}) };
        { M::resume_message_words(ctx, u64{}, u64{}, ctx) };
        { M::cycles() } -> std::same_as<u64>;
        // A byte of the CPU's, left without a register; and the byte, once
        { M::leave_note(u8{}) } -> std::same_as<void>;
        { M::take_note() } -> std::same_as<u8>;
        { M::take_interrupts() } -> std::same_as<void>;
        // Memory
        { M::phys_to_virt(pa) } -> std::same_as<void*>;
        { M::virt_to_phys(cp) } -> std::same_as<PhysAddr>;
        { M::user_top() } -> std::same_as<UserAddr>;
        { M::load_root(pa) } -> std::same_as<void>;
        { M::current_root() } -> std::same_as<PhysAddr>;
        { M::kernel_root() } -> std::same_as<PhysAddr>;
        { M::flush_local_all() } -> std::same_as<void>;
        // Also whatever the machine keeps of page tables of the current root (SDM vol. 3A, 4.10.4.1), from one page on
        { M::flush_local(ua, ua) } -> std::same_as<void>;
        { M::request_flush(cpu) } -> std::same_as<u64>;
        { M::kick_flush(cpu) } -> std::same_as<void>;
        { M::flush_done(cpu, ticket) } -> std::same_as<bool>;
        { M::map_device(pa, n, MemoryType::kDevice) } -> std::same_as<void*>;
        // User memory: bytes done, short at the first byte that cannot be reached
        { M::copy_from_user(p, ua, n) } -> std::same_as<size_t>;
        { M::copy_to_user(ua, cp, n) } -> std::same_as<size_t>;
        { M::copy_long_from_user(p, ua, n) } -> std::same_as<size_t>;  // on a CPU that serves others
        { M::copy_long_to_user(ua, cp, n) } -> std::same_as<size_t>;
        { M::clear_user(ua, n) } -> std::same_as<size_t>;
        { M::copy_string_from_user(text, ua, n) } -> std::same_as<UserString>;
        { M::load_user_u32(ua, word) } -> std::same_as<bool>;
        { M::compare_exchange_user_u32(ua, word, u32{}) } -> std::same_as<bool>;
        // Interrupts
        { M::allocate_vector(handler, p) } -> std::same_as<Result<u32>>;
        { M::free_vector(vector) } -> std::same_as<void>;
        { M::msi_message(vector, cpu) } -> std::same_as<MsiMessage>;
        { M::route_line(vector, vector, cpu, true, true) } -> std::same_as<bool>;
        { M::mask_line(vector, true) } -> std::same_as<void>;
        // Processors
        { M::start_cpus(vector) } -> std::same_as<u32>;
        { M::set_dump_hook(nullptr) } -> std::same_as<void>;
        { M::request_dump() } -> std::same_as<void>;
        { M::power_off(0) };
        // FPU state
        { M::fpu_area_size() } -> std::same_as<size_t>;
        { M::fpu_init(p) } -> std::same_as<void>;
        { M::fpu_save(p) } -> std::same_as<void>;
        { M::fpu_restore(cp) } -> std::same_as<void>;
        { M::fpu_sanitize(p) } -> std::same_as<void>;
        { M::fpu_save_user(ua) } -> std::same_as<bool>;
        { M::fpu_load_user(ua, u64{}, true) } -> std::same_as<bool>;
        { M::fpu_reset() } -> std::same_as<void>;
        { M::fpu_bar(true) } -> std::same_as<void>;  // the next use is TrapInfo::Exception::kFpuBarred
    };

}  // namespace hal
