// SPDX-License-Identifier: MIT
// The machine of the kernel world on x86_64: binds hal/api's concepts. What is on a hot path is inline here, the rest
// is in hal/x86_64/*.cpp. Everything runs with interrupts off unless said otherwise.
#pragma once
#include "hal/api/kernel_machine.hpp"
#include "hal/x86_64/include/hal/cpu.hpp"
#include "hal/x86_64/include/hal/io.hpp"
#include "hal/x86_64/include/hal/message.hpp"
#include "hal/x86_64/include/hal/page_table.hpp"
#include "hal/x86_64/include/hal/user_access.hpp"
#include "hal/x86_64/include/hal/user_context.hpp"

// Supplied by the kernel; see hal/api/kernel_machine.hpp.
extern "C" {
// An entry of threads that are always left by a resume with all registers, so that what the user has in the
// callee-saved ones need not be kept: it never returns. `preserve_none` passes its fifth argument in rdi, where the
// entry code has the context; the first four are nothing.
#define HAL_FAST_ENTRY(NAME, CONTEXT) [[clang::preserve_none]] void NAME(u64, u64, u64, u64, hal::UserContext& CONTEXT)
HAL_FAST_ENTRY(farcall_native_syscall, context);
HAL_FAST_ENTRY(farcall_redirected_syscall, context);
void farcall_syscall(hal::UserContext& context);
void farcall_trap(hal::UserContext& context, hal::TrapInfo info);
void farcall_interrupt();
[[noreturn]] void kernel_main(const hal::BootInfo& boot);
[[noreturn]] void kernel_ap_main();
}

extern "C" [[noreturn]] void hal_enter_user(hal::UserContext& context);              // entry.S
extern "C" [[noreturn]] void hal_resume_syscall(hal::UserContext& context);          // entry.S
extern "C" [[noreturn]] void hal_on_fresh_stack(void (*fn)(void*), void* argument);  // entry.S

namespace hal {

// Who takes a thread's system calls.
enum class CallEntry : u8 { kGeneral, kNative, kRedirected };
inline void set_entry(UserContext& c, CallEntry e) {
    auto fast = [](auto* entry) {  // called by entry.S alone, as what it is
        return reinterpret_cast<decltype(c.entry)>(reinterpret_cast<void*>(entry));
    };
    c.entry = e == CallEntry::kGeneral  ? &farcall_syscall
              : e == CallEntry::kNative ? fast(&farcall_native_syscall)
                                        : fast(&farcall_redirected_syscall);
}

// now() = ((tsc - tsc_base) * tsc_scale) >> 32. Constant once kernel_main runs.
struct TimeScale {
    u64 tsc_base;
    u64 tsc_to_ns;  // 32.32
    u64 tsc_hz;
    u64 timer_per_ns;  // LAPIC timer ticks per ns, 32.32
};
extern TimeScale time_scale;

// Of saved FPU state: bytes, a multiple of 64; XCR0. Constant once kernel_main runs.
extern size_t fpu_bytes;
extern u64 fpu_mask;

void serve_mailbox(Cpu& cpu);

// Called by NMI dumps and by panic, once a CPU. `frame` is where that CPU was (null: the panicking code itself);
// `user` is the context last entered there (its registers are current only if the frame is in user mode).
struct DumpSite {
    DumpReason reason;
    CpuId cpu;
    const KernelFrame* frame;
    const UserContext* user;
};
using DumpHook = void (*)(const DumpSite& site);

// What rt/ synchronises by. Another type only where a scheduler explores interleavings (hal/explore).
template <class T>
using Atomic = std::atomic<T>;

struct Machine {
    using UserContext = hal::UserContext;
    using PageTable = hal::PageTable;
    static constexpr const char* kName = "x86_64";

    // --- RuntimeMachine
    static CpuId this_cpu() { return CpuId{cpu_read<u32, CPU_ID>()}; }
    static u32 cpu_count() { return hal::cpu_count; }  // started so far
    static void* local() { return cpu_read<void*, CPU_LOCAL>(); }
    static void set_local(void* p) { this_cpu_block().local = p; }
    static Nanoseconds now() {
        u64 ticks = read_tsc() - time_scale.tsc_base;
        return Nanoseconds{static_cast<u64>((static_cast<unsigned __int128>(ticks) * time_scale.tsc_to_ns) >> 32)};
    }
    // Relaxed loads that are only compared, and a lock bit, each in the one instruction that the compiler does not make
    // of an atomic: what the shortest paths consist of.
    template <class T>
    [[gnu::always_inline]] static bool equals(const std::atomic<T>& a, T value) {
        bool same;
        asm volatile("cmp %2, %1" : "=@cce"(same) : "m"(a), "r"(value));
        return same;
    }
    template <class T>
    [[gnu::always_inline]] static bool is_zero(const std::atomic<T>& a) {
        bool zero;
        if constexpr (sizeof(T) == 1)
            asm volatile("cmpb $0, %1" : "=@cce"(zero) : "m"(a));
        else if constexpr (sizeof(T) == 4)
            asm volatile("cmpl $0, %1" : "=@cce"(zero) : "m"(a));
        else
            asm volatile("cmpq $0, %1" : "=@cce"(zero) : "m"(a));
        return zero;
    }
    // Sets bit 0; true if it was set before. Acquire.
    [[gnu::always_inline]] static bool test_and_set(std::atomic<u32>& word) {
        bool was;
        asm volatile("lock btsl $0, %1" : "=@ccc"(was), "+m"(word) : : "memory");
        return was;
    }
    static u64 cycles() { return read_tsc(); }  // for measurements; 2^64 is never reached
    static void relax() { pause(); }
    static void wake(CpuId cpu);
    static void wait_for_event() {
        poll_mailbox();
        // An interrupt that became pending since the caller's last check is taken after STI's shadow, in HLT (SDM 2B,
        // STI).
        asm volatile("sti\n hlt\n cli" ::: "memory");
    }
    static void arm_timer(Nanoseconds deadline);
    static void disarm_timer();
    [[gnu::always_inline]] static void poll_mailbox() {
        // A CPU that first announces user mode and then polls, and one that first asks and then looks whether the other
        // is in user mode, cannot both miss: both announcements are locked operations. The loads are the machine's own,
        // by GS.
        u64 wanted;
        bool differ;
        asm volatile("mov %%gs:%c2, %0\n cmp %%gs:%c3, %0"
                     : "=&r"(wanted), "=@ccne"(differ)
                     : "i"(CPU_FLUSH_WANTED), "i"(CPU_FLUSH_DONE)
                     : "memory");
        if (differ) [[unlikely]]
            serve_mailbox(this_cpu_block());
    }
    // A byte of this CPU's, which a path that gives up leaves to what follows it: with a constant one instruction, which
    // takes no register from the path.
    [[gnu::always_inline]] static void leave_note(u8 value) {
        asm volatile("movb %0, %%gs:%c1" : : "qi"(value), "i"(CPU_NOTE));
    }
    // What was left last, once: 0 afterwards.
    static u8 take_note() { return std::exchange(this_cpu_block().note, u8{0}); }
    [[noreturn]] static void panic(const char* what, std::source_location where = std::source_location::current());
    static void early_print(std::string_view text);

    // --- User mode
    // Runs ctx until its next trap. Honours a waiting mailbox first. A pc outside user space comes back as a trap.
    [[noreturn]] static void enter_user(UserContext& ctx) {
        poll_mailbox();
        hal_enter_user(ctx);
    }
    // TLS bases live in the CPU while a thread runs. load: before the first entry of a thread on this CPU and after the
    // kernel changed them; save: before another thread is entered, or before the context is read.
    static void load_thread_state(const UserContext& ctx);
    static void save_thread_state(UserContext& ctx);
    static bool can_switch_thread_state() { return features.fsgsbase; }
    // Both at once, for a switch inside a trap; the bases must be canonical. Between the two SWAPGS nothing uses GS:
    // what may come then, an NMI or a machine check, sets its own (entry.S).
    [[gnu::always_inline]] static void switch_thread_state(UserContext& from, const UserContext& to) {
        u64 fs, gs;
        asm volatile(
            "rdfsbase %0\n wrfsbase %2\n"
            "swapgs\n rdgsbase %1\n wrgsbase %3\n swapgs"
            : "=&r"(fs), "=&r"(gs)
            : "r"(to.fs_base), "r"(to.gs_base));
        from.fs_base = fs;
        from.gs_base = gs;
    }
    // Straight back to a context that a system call left, with all registers but those that SYSRET needs.
    [[noreturn, gnu::always_inline]] static void resume_syscall(UserContext& ctx) {
        poll_mailbox();
        hal_resume_syscall(ctx);
    }
    // The same with a message instead of the registers that hold one: result 0.
    [[noreturn, gnu::always_inline]] static void resume_message(UserContext& ctx, u64 badge, u64 tag) {
        poll_mailbox();
        asm volatile("jmp hal_resume_message" ::"a"(&ctx), "D"(badge), "S"(tag));
        __builtin_unreachable();
    }
    // And with the first four words of another context.
    [[noreturn, gnu::always_inline]] static void resume_message_words(UserContext& ctx, u64 badge, u64 tag,
                                                                      const UserContext& words) {
        poll_mailbox();
        asm volatile("jmp hal_resume_message_words" ::"a"(&ctx), "D"(badge), "S"(tag), "d"(&words));
        __builtin_unreachable();
    }
    [[noreturn]] static void on_fresh_stack(void (*fn)(void*), void* argument) { hal_on_fresh_stack(fn, argument); }
    // Lets pending interrupts run (device handlers, flushes), for a CPU that is busy in the kernel for long.
    static void take_interrupts() { asm volatile("sti\n nop\n cli" ::: "memory"); }
    static u64 interrupts_taken() { return this_cpu_block().interrupts; }

    // --- Memory
    static void* phys_to_virt(PhysAddr p) { return direct_map(p); }
    static PhysAddr virt_to_phys(const void* p) {  // of the direct map or the kernel image
        u64 v = reinterpret_cast<u64>(p);
        return PhysAddr{v >= HAL_IMAGE_BASE ? v - HAL_IMAGE_BASE : v - HAL_DIRECT_MAP};
    }
    static constexpr UserAddr user_top() { return UserAddr{HAL_USER_TOP}; }
    static void load_root(PhysAddr root) {
        Cpu& cpu = this_cpu_block();
        if (cpu.root == root.value) return;
        cpu.root = root.value;
        // A flush requested before this point is done by the load itself.
        write_cr3(root.value);
    }
    // The same for a root that is another for sure.
    [[gnu::always_inline]] static void load_other_root(PhysAddr root) {
        asm volatile("mov %0, %%gs:%c1" : : "r"(root.value), "i"(CPU_ROOT) : "memory");
        write_cr3(root.value);
    }
    static PhysAddr current_root() { return PhysAddr{cpu_read<u64, CPU_ROOT>()}; }
    static PhysAddr kernel_root();
    static void flush_local_all() { write_cr3(this_cpu_block().root); }
    static void flush_local(UserAddr from, UserAddr to) {
        if (to - from > kFlushPages * kPageSize) return flush_local_all();
        for (u64 va = from.value & ~(kPageSize - 1); va < to.value; va += kPageSize)
            asm volatile("invlpg (%0)" ::"r"(va) : "memory");
    }
    static constexpr u64 kFlushPages = 32;
    // Asks a CPU to flush all user translations; the ticket is answered by flush_done. No IPI: kick_flush sends one, to
    // be used when that CPU may be in user mode. A CPU in kernel mode flushes at its next poll_mailbox.
    static u64 request_flush(CpuId cpu) {
        // Release: table changes before this are seen by the walk after the flush. Pairs with serve_mailbox.
        return cpus[cpu.value]->flush_wanted.fetch_add(1, std::memory_order_seq_cst) + 1;
    }
    static void kick_flush(CpuId cpu);
    static bool flush_done(CpuId cpu, u64 ticket) {
        return cpus[cpu.value]->flush_done.load(std::memory_order_acquire) >= ticket;
    }
    // Maps registers or device memory, never unmapped; null if there is no room.
    static void* map_device(PhysAddr at, size_t bytes, MemoryType type);

    // --- User memory
    static size_t copy_from_user(void* to, UserAddr from, size_t n) { return hal_copy_from_user(to, from.value, n); }
    static size_t copy_to_user(UserAddr to, const void* from, size_t n) { return hal_copy_to_user(to.value, from, n); }
    // The same for long copies of a CPU that drops its translations seldom: QEMU gives its cache of them 64 entries
    // then, one for each page address modulo 64, so one copy in 32 would walk the tables for each word (4 KiB: 18 us
    // instead of 1).
    static size_t copy_long_from_user(void* to, UserAddr from, size_t n) {
        return evict_each_other(to, from) ? hal_copy_from_user_blocks(to, from.value, n) : copy_from_user(to, from, n);
    }
    static size_t copy_long_to_user(UserAddr to, const void* from, size_t n) {
        return evict_each_other(from, to) ? hal_copy_to_user_blocks(to.value, from, n) : copy_to_user(to, from, n);
    }
    // Less than a page apart, modulo 64 pages.
    static bool evict_each_other(const void* kernel, UserAddr user) {
        return ((reinterpret_cast<u64>(kernel) - user.value + kPageSize - 1) & (64 * kPageSize - 1)) <
               2 * kPageSize - 1;
    }
    static size_t clear_user(UserAddr to, size_t n) { return hal_clear_user(to.value, n); }
    // Up to max bytes, the terminator included.
    static UserString copy_string_from_user(char* to, UserAddr from, size_t max) {
        return hal::copy_string_from_user(to, from.value, max);
    }
    template <class T>
    static bool load_user(UserAddr at, T& out) {
        return hal::load_user(at.value, out);
    }
    template <class T>
    static bool store_user(UserAddr at, T v) {
        return hal::store_user(at.value, v);
    }
    template <class... W>
    [[gnu::always_inline]] static bool store_user_words(UserAddr at, const W&... words) {
        return hal::store_user_words(at.value, words...);
    }
    template <class... T>
    [[gnu::always_inline]] static bool load_user_words(UserAddr at, T&... words) {
        return hal::load_user_words(at.value, words...);
    }
    static bool load_user_u32(UserAddr at, u32* out) { return hal::load_user(at.value, *out); }
    static bool compare_exchange_user_u32(UserAddr at, u32* expected, u32 desired) {
        return hal::compare_exchange_user(at.value, *expected, desired);
    }

    // --- Interrupts. Handlers run with interrupts off, in user-mode traps, wait_for_event and take_interrupts.
    static Result<u32> allocate_vector(InterruptHandler handler, void* argument);
    static void free_vector(u32 vector);
    static MsiMessage msi_message(u32 vector, CpuId cpu);
    static bool route_line(u32 line, u32 vector, CpuId cpu, bool level, bool active_low);  // GSI; false: no such line
    static bool route_isa_line(u32 irq, u32 vector, CpuId cpu);  // ISA interrupt, with the firmware's overrides
    static void mask_line(u32 line, bool masked);
    // PCI configuration space: ECAM where the firmware describes it, ports otherwise. width 1, 2 or 4; ~0 if absent.
    static u32 pci_read(u32 bus, u32 device, u32 function, u32 offset, u32 width);
    static void pci_write(u32 bus, u32 device, u32 function, u32 offset, u32 width, u32 value);
    static bool has_pci();

    // --- Processors
    static u32 start_cpus(u32 limit);  // counts the boot CPU; returns how many run
    static void set_dump_hook(DumpHook hook);
    static void request_dump();  // NMI to every other CPU, then this one: each calls the hook
    // Ends the machine: the exit code goes to isa-debug-exit where there is one, then ACPI, then reset.
    [[noreturn]] static void power_off(int code);
    [[noreturn]] static void restart();
    static void backtrace(u64 frame_pointer);  // lines "#n 0xffffffff8..." on the early console
    static bool hardware_random(u64& out);
    // The parameters of now(), for user code that computes it without a call. tsc_to_ns 0: it cannot.
    static const TimeScale& user_time_scale() { return time_scale; }
    static u64 tsc_hz() { return time_scale.tsc_hz; }
    static u64 wall_clock_at_boot();  // seconds since 1970 when now() was 0, 0 if there is no clock
    static u32 user_hwcap() { return features.hwcap; }
    static u32 user_hwcap2() { return features.fsgsbase ? 2 : 0; }  // HWCAP2_FSGSBASE

    // --- FPU state. Areas are 64-byte aligned. The state stays in the CPU until the port restores another.
    static size_t fpu_area_size() { return fpu_bytes; }
    static void fpu_init(void* area);
    static void fpu_save(void* area);
    static void fpu_restore(const void* area);
    static void fpu_sanitize(void* area);  // makes an area that a user wrote safe to restore
    // The CPU's state to user memory and from there, in fpu_area_size() bytes at a multiple of 64 (to load: where the
    // program says). The components that are not to be loaded become as at the start; `legacy`: there are only those of
    // FXSAVE. False: a page is not there or the CPU refuses what it finds; the state is any of the program's then.
    static bool fpu_save_user(UserAddr at);
    static bool fpu_load_user(UserAddr at, u64 components, bool legacy);
    static void fpu_reset();                        // the CPU's state as at the start
    static void fpu_bar(bool barred);               // barred: the next use is an exception (kFpuBarred)
    static u64 fpu_features() { return fpu_mask; }  // XCR0, 0 with FXSAVE
};

static_assert(RuntimeMachine<Machine> && KernelMachine<Machine>);

}  // namespace hal
