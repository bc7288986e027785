// SPDX-License-Identifier: MIT
// The end: what went wrong, registers, backtraces of all CPUs, the kernel's own dump, and a machine that stands still.
// Also the dump on request (an NMI). Everything here may run at any point, so it takes no lock but the console's with
// a bounded wait, reads stacks through the exception table, and a second panic in the meantime stops at once.
#include "hal/x86_64/devices.hpp"
#include "hal/x86_64/internal.hpp"

namespace hal {
namespace {

constexpr u8 kPanicExit = 0x23;  // isa-debug-exit: QEMU ends with 2 * v + 1 = 71

std::atomic<u32> panicking;  // CPU + 1
std::atomic<u64> dump_turn;  // one CPU dumps at a time
DumpHook dump_hook;
KernelFrame* stopped_frames[lib::kMaxCpus];

void print_frame(const KernelFrame& f, u64 cr2) {
    print("rip {:016x}  cs {:x}  rflags {:x}  error {:x}\n", f.rip, f.cs & 0xffff, f.rflags, f.error_code);
    print("rsp {:016x}  cr2 {:016x}  cr3 {:016x}\n", f.rsp, cr2, read_cr3());
    print("rax {:016x}  rbx {:016x}  rcx {:016x}  rdx {:016x}\n", f.rax, f.rbx, f.rcx, f.rdx);
    print("rsi {:016x}  rdi {:016x}  rbp {:016x}  r8  {:016x}\n", f.rsi, f.rdi, f.rbp, f.r8);
    print("r9  {:016x}  r10 {:016x}  r11 {:016x}  r12 {:016x}\n", f.r9, f.r10, f.r11, f.r12);
    print("r13 {:016x}  r14 {:016x}  r15 {:016x}\n", f.r13, f.r14, f.r15);
}

bool in_text(u64 pc) {
    return pc >= reinterpret_cast<u64>(hal_image_start) && pc < reinterpret_cast<u64>(hal_text_end);
}

void print_chain(u64 pc, u64 frame) {
    u32 n = 0;
    if (pc) print("#{} 0x{:016x}\n", n++, pc);
    while (n < 40 && frame && (frame & 7) == 0 && frame >= HAL_DIRECT_MAP) {
        u64 next, back;
        if (!safe_read(frame, next) || !safe_read(frame + 8, back) || !in_text(back)) break;
        print("#{} 0x{:016x}\n", n++, back - 1);  // inside the call, not after it
        if (next <= frame) break;
        frame = next;
    }
}

void call_hook(DumpReason reason, Cpu& cpu, const KernelFrame* frame) {
    if (dump_hook)
        dump_hook({reason, CpuId{cpu.id}, frame, reinterpret_cast<const UserContext*>(cpu.tss.rsp0 - CTX_TOP)});
}

void print_cpu(Cpu& cpu, const KernelFrame& frame) {
    print("--- CPU {}: {} mode\n", cpu.id, (frame.cs & 3) ? "user" : "kernel");
    if (frame.cs & 3) return print("#0 0x{:016x} (user)\n", frame.rip);
    print_chain(frame.rip, frame.rbp);
}

[[noreturn]] void stand_still() {
    for (;;) asm volatile("cli; hlt" ::: "memory");
}

// Claims the panic for this CPU; a second one stops here.
Cpu& begin_panic() {
    asm volatile("cli");
    Cpu& cpu = this_cpu_block();
    u32 nobody = 0;
    if (!panicking.compare_exchange_strong(nobody, cpu.id + 1, std::memory_order_acq_rel)) {
        if (nobody != cpu.id + 1) stand_still();  // another CPU reports; its NMI is on the way
        if (cpu.panics++ < 2) print("\npanic within a panic\n");
        out8(kDebugExit, kPanicExit);
        stand_still();
    }
    return cpu;
}

[[noreturn]] void end_panic(Cpu& cpu, const KernelFrame* frame) {
    if (cpu_count > 1) {
        send_nmi_to_others();
        for (u32 i = 0; i < cpu_count; i++) {
            if (!cpus[i] || cpus[i] == &cpu) continue;
            // Bounded: a CPU that does not answer is reported as it is.
            for (u32 spins = 0; spins < 20'000'000 && !__atomic_load_n(&cpus[i]->stopped, __ATOMIC_ACQUIRE); spins++)
                if ((spins & 4095) == 4095) pause();
            if (__atomic_load_n(&cpus[i]->stopped, __ATOMIC_ACQUIRE))
                print_cpu(*cpus[i], *stopped_frames[i]);
            else
                print("--- CPU {}: no answer\n", i);
        }
    }
    call_hook(DumpReason::kPanic, cpu, frame);
    print("--- end of panic\n");
    out8(kDebugExit, kPanicExit);
    stand_still();
}

}  // namespace

bool safe_read(u64 at, u64& out) {
    u64 v;
    asm goto volatile("1: mov %1, %0\n" HAL_ON_FAULT("1b", "%l[fault]")
                      : "=r"(v)
                      : "m"(*reinterpret_cast<const u64*>(at))
                      : "memory"
                      : fault);
    out = v;
    return true;
fault:
    return false;
}

void Machine::backtrace(u64 frame_pointer) { print_chain(0, frame_pointer); }

void Machine::panic(const char* what, std::source_location where) {
    Cpu& cpu = begin_panic();
    print("\nKERNEL PANIC on CPU {}: {}\n  at {}:{} in {}\n", cpu.id, what, where.file_name(), where.line(),
          where.function_name());
    print_chain(0, reinterpret_cast<u64>(__builtin_frame_address(0)));
    end_panic(cpu, nullptr);
}

void panic_with_frame(const char* what, const KernelFrame& frame, u64 cr2) {
    Cpu& cpu = begin_panic();
    print("\nKERNEL PANIC on CPU {}: {} in kernel mode\n", cpu.id, what);
    print_frame(frame, cr2);
    print_chain(frame.rip, frame.rbp);
    end_panic(cpu, &frame);
}

void handle_nmi(Cpu& cpu, KernelFrame& frame) {
    if (panicking.load(std::memory_order_acquire) != 0) {
        if (panicking.load(std::memory_order_acquire) == cpu.id + 1) return;
        stopped_frames[cpu.id] = &frame;
        __atomic_store_n(&cpu.stopped, 1u, __ATOMIC_RELEASE);
        stand_still();
    }
    // A dump on request. In turn: ticket by CPU number would wait for CPUs that got no NMI, so first come first served.
    for (u32 spins = 0; spins < 50'000'000; spins++) {
        u64 free = 0;
        if (dump_turn.load(std::memory_order_relaxed) == 0 &&
            dump_turn.compare_exchange_strong(free, cpu.id + 1, std::memory_order_acquire))
            break;
        if ((spins & 4095) == 4095) pause();
    }
    print_cpu(cpu, frame);
    call_hook(DumpReason::kRequested, cpu, &frame);
    dump_turn.store(0, std::memory_order_release);
}

void Machine::set_dump_hook(DumpHook hook) { dump_hook = hook; }

void Machine::request_dump() {
    Cpu& cpu = this_cpu_block();
    send_nmi_to_others();
    print("--- CPU {}: asks\n", cpu.id);
    print_chain(0, reinterpret_cast<u64>(__builtin_frame_address(0)));
    call_hook(DumpReason::kRequested, cpu, nullptr);
}

}  // namespace hal
