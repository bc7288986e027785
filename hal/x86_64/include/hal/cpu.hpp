// SPDX-License-Identifier: MIT
// Per-CPU data, found through GS in kernel mode. The first fields are read by assembly (layout.h).
// Written by its own CPU only, except the mailbox line.
#pragma once
#include <atomic>

#include "hal/api/types.hpp"
#include "hal/x86_64/include/hal/layout.h"

namespace hal {

// 64-bit TSS (SDM vol. 3A, 8.7).
struct [[gnu::packed]] TaskState {
    u32 reserved0;
    u64 rsp0;
    u64 rsp1, rsp2;
    u64 reserved1;
    u64 ist[7];
    u64 reserved2;
    u16 reserved3;
    u16 io_map;
};
static_assert(sizeof(TaskState) == 104);

struct alignas(4096) Cpu {
    Cpu* self;
    void* local;    // rt's
    u64 stack_top;  // a trap from user mode starts here
    u64 scratch;    // user rsp, for the first instructions of SYSCALL
    u32 id;
    u32 apic_id;
    u64 root;            // what CR3 holds
    u64 loaded_gs_base;  // the user's GS base as last written
    u8 note;             // leave_note()

    // Mailbox: others add to flush_wanted, this CPU publishes flush_done. Pairs: request_flush / serve_mailbox.
    alignas(64) std::atomic<u64> flush_wanted;
    std::atomic<u64> flush_done;
    std::atomic<u32> flush_signalled;  // an IPI for it is under way
    u32 pad[9];
    u8 pad2[68];

    TaskState tss;  // rsp0 aligned: the top of the current UserContext
    alignas(64) u64 gdt[16];
    u64 timer_armed;   // TSC deadline written last, 0 if none
    u32 panics;        // depth, to stop recursion
    u32 stopped;       // parked by a panic elsewhere
    i64 tsc_offset;    // as measured when it started, in ticks
    u64 interrupts;    // device interrupts taken
    u64 stack_bottom;  // of the kernel stack, for backtraces
    u64 dump_done;     // last dump request answered
};
static_assert(offsetof(Cpu, self) == CPU_SELF && offsetof(Cpu, local) == CPU_LOCAL);
static_assert(offsetof(Cpu, stack_top) == CPU_STACK_TOP && offsetof(Cpu, scratch) == CPU_SCRATCH);
static_assert(offsetof(Cpu, id) == CPU_ID && offsetof(Cpu, root) == CPU_ROOT);
static_assert(offsetof(Cpu, note) == CPU_NOTE);
static_assert(offsetof(Cpu, flush_wanted) == CPU_FLUSH_WANTED && offsetof(Cpu, flush_done) == CPU_FLUSH_DONE);
static_assert(offsetof(Cpu, tss) + offsetof(TaskState, rsp0) == CPU_RSP0);

// Volatile: a value read before a suspension must not serve after it, on another CPU.
template <class T, unsigned Offset>
[[gnu::always_inline]] inline T cpu_read() {
    T v;
    asm volatile("mov %%gs:%c1, %0" : "=r"(v) : "i"(Offset));
    return v;
}
[[gnu::always_inline]] inline Cpu& this_cpu_block() { return *cpu_read<Cpu*, CPU_SELF>(); }

// By CpuId; null beyond cpu_count. Written before the CPU starts, constant afterwards.
extern Cpu* cpus[lib::kMaxCpus];
extern u32 cpu_count;

}  // namespace hal
