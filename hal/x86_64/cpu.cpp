// SPDX-License-Identifier: MIT
// What each CPU is set up with: features, control registers, GDT, TSS with IST stacks, IDT, SYSCALL, FPU state.
#include "hal/x86_64/internal.hpp"

extern "C" char hal_stac_start[], hal_stac_end[], hal_clac_start[], hal_clac_end[];

namespace hal {

Features features;
size_t fpu_bytes = 512;
u64 fpu_mask;
Cpu* cpus[lib::kMaxCpus];
u32 cpu_count = 0;

namespace {

struct [[gnu::packed]] Gate {
    u16 low;
    u16 selector;
    u8 ist;
    u8 type;
    u16 middle;
    u32 high;
    u32 reserved;
};
alignas(4096) Gate idt[256];
Cpu boot_cpu;

struct [[gnu::packed]] TablePointer {
    u16 limit;
    u64 base;
};

// IST numbers.
constexpr u8 kIstNmi = 1, kIstDoubleFault = 2, kIstMachineCheck = 3, kIstDebug = 4;

u64 stack_region(u32 id) { return HAL_STACK_BASE + id * kStackStride; }

}  // namespace

void detect_features() {
    Features& f = features;
    CpuidResult one = cpuid(1);
    u32 top = cpuid(0).a;
    CpuidResult seven = top >= 7 ? cpuid(7) : CpuidResult{};
    CpuidResult extended = cpuid(0x80000001);
    f.hwcap = one.d;
    f.x2apic = one.c & (1u << 21);
    f.tsc_deadline = one.c & (1u << 24);
    f.xsave = one.c & (1u << 26);
    f.rdrand = one.c & (1u << 30);
    f.hypervisor = one.c & (1u << 31);
    f.global_pages = one.d & (1u << 13);
    f.pat = one.d & (1u << 16);
    f.fsgsbase = seven.b & (1u << 0);
    f.tsc_adjust = seven.b & (1u << 1);
    f.smep = seven.b & (1u << 7);
    f.erms = seven.b & (1u << 9);
    f.smap = seven.b & (1u << 20);
    f.umip = seven.c & (1u << 2);
    f.nx = extended.d & (1u << 20);
    f.gib_pages = extended.d & (1u << 26);
    f.xsaveopt = f.xsave && top >= 0xd && (cpuid(0xd, 1).a & 1);
    u32 last = cpuid(0x80000000).a;
    f.invariant_tsc = last >= 0x80000007 && (cpuid(0x80000007).d & (1u << 8));
    f.physical_bits = last >= 0x80000008 ? cpuid(0x80000008).a & 0xff : 36;
}

void patch_smap() {
    if (!features.smap) return;
    auto patch = [](char* from, char* to, u8 last) {
        for (u64* site = reinterpret_cast<u64*>(from); site < reinterpret_cast<u64*>(to); site++) {
            u8* code = reinterpret_cast<u8*>(*site);
            code[0] = 0x0f;
            code[1] = 0x01;
            code[2] = last;
        }
    };
    patch(hal_stac_start, hal_stac_end, 0xcb);
    patch(hal_clac_start, hal_clac_end, 0xca);
    cpuid(0);  // serialise (SDM vol. 3A, 9.1.3)
}

void init_control_registers() {
    const Features& f = features;
    // CR0: PG AM WP NE ET MP PE. CR4: PAE MCE PGE OSFXSR OSXMMEXCPT and what is offered.
    write_cr0(0x80050033);
    u64 cr4 = 0x20 | 0x200 | 0x400;
    if (f.hwcap & (1u << 7)) cr4 |= 0x40;
    if (f.global_pages) cr4 |= 0x80;
    if (f.umip) cr4 |= 1u << 11;
    if (f.fsgsbase) cr4 |= 1u << 16;
    if (f.xsave) cr4 |= 1u << 18;
    if (f.smep) cr4 |= 1u << 20;
    if (f.smap) cr4 |= 1u << 21;
    write_cr4(cr4);
    if (f.pat) write_msr(kMsrPat, 0x0007010600070106);  // WB WC UC- UC
}

void build_idt() {
    for (u32 v = 0; v < 256; v++) {
        u64 stub = reinterpret_cast<u64>(hal_vector_stubs) + 16 * v;
        Gate& g = idt[v];
        g.low = static_cast<u16>(stub);
        g.middle = static_cast<u16>(stub >> 16);
        g.high = static_cast<u32>(stub >> 32);
        g.selector = HAL_KERNEL_CS;
        g.type = v == 3 || v == 4 ? 0xee : 0x8e;  // int3 and into from user mode; int 0x80 and the rest are #GP
        g.ist = v == 2 ? kIstNmi : v == 8 ? kIstDoubleFault : v == 18 ? kIstMachineCheck : v == 1 ? kIstDebug : 0;
    }
}

Cpu& early_cpu() {
    boot_cpu.self = &boot_cpu;
    cpus[0] = &boot_cpu;
    return boot_cpu;
}

// Guard page, NMI, guard, #DF, guard, #MC, guard, #DB, guard, kernel stack.
Cpu* make_cpu(u32 id, u32 apic_id) {
    Cpu* cpu = &boot_cpu;
    if (id != 0) {
        static_assert(sizeof(Cpu) == 4096);
        cpu = static_cast<Cpu*>(direct_map(early_pages(1)));
    }
    cpu->self = cpu;
    cpu->id = id;
    cpu->apic_id = apic_id;
    u64 at = stack_region(id);
    for (u32 ist = 0; ist < 4; ist++) {
        at += kPageSize;
        map_stack_pages(at, kIstBytes / kPageSize);
        at += kIstBytes;
        // The Cpu's address lies above the frame: entry.S.
        *reinterpret_cast<Cpu**>(at - 16) = cpu;
        cpu->tss.ist[ist] = at - 16;
    }
    at += kPageSize;
    map_stack_pages(at, kKernelStackBytes / kPageSize);
    cpu->stack_bottom = at;
    cpu->stack_top = at + kKernelStackBytes;
    // A trap before the first enter_user would be saved here, and reported by its pc.
    cpu->tss.rsp0 = cpu->stack_top - 1024;
    return cpu;
}

void init_cpu(Cpu& cpu) {
    u64 tss = reinterpret_cast<u64>(&cpu.tss);
    cpu.tss.io_map = sizeof(TaskState);
    cpu.gdt[2] = 0x00af9b000000ffff;  // kernel code
    cpu.gdt[3] = 0x00cf93000000ffff;  // kernel data
    cpu.gdt[4] = 0;                   // SYSRET to 32-bit mode: absent
    cpu.gdt[5] = 0x00cff3000000ffff;  // user data
    cpu.gdt[6] = 0x00affb000000ffff;  // user code, 64-bit
    cpu.gdt[8] = (sizeof(TaskState) - 1) | ((tss & 0xffffff) << 16) | (u64{0x89} << 40) | ((tss >> 24 & 0xff) << 56);
    cpu.gdt[9] = tss >> 32;
    // Read-only expand-down data for user mode. Only its limit is used: the CPU's number.
    cpu.gdt[HAL_USER_CPU / 8] = 0x0040f50000000000 | cpu.id;
    TablePointer gdtr{sizeof(cpu.gdt) - 1, reinterpret_cast<u64>(cpu.gdt)};
    asm volatile("lgdt %0" ::"m"(gdtr));
    asm volatile(
        "pushq %0\n leaq 1f(%%rip), %%rax\n pushq %%rax\n lretq\n 1:\n"
        "movl %1, %%eax\n movl %%eax, %%ss\n xorl %%eax, %%eax\n"
        "movl %%eax, %%ds\n movl %%eax, %%es\n movl %%eax, %%fs\n movl %%eax, %%gs\n"
        "lldt %%ax\n movl %2, %%eax\n ltr %%ax" ::"i"(HAL_KERNEL_CS),
        "i"(HAL_KERNEL_SS), "i"(HAL_TSS)
        : "rax", "memory");
    write_msr(kMsrGsBase, reinterpret_cast<u64>(&cpu));
    write_msr(kMsrKernelGsBase, 0);
    cpu.loaded_gs_base = 0;
    TablePointer idtr{sizeof(idt) - 1, reinterpret_cast<u64>(idt)};
    asm volatile("lidt %0" ::"m"(idtr));

    write_msr(kMsrEfer, read_msr(kMsrEfer) | 1);  // SCE
    // SYSCALL: CS 0x10, SS 0x18. SYSRET: SS 0x2b, CS 0x33.
    write_msr(kMsrStar, (u64{0x23} << 48) | (u64{HAL_KERNEL_CS} << 32));
    write_msr(kMsrLstar, reinterpret_cast<u64>(hal_syscall_entry));
    write_msr(kMsrCstar, 0);
    // Everything but the fixed bit: DF, AC, NT and TF above all.
    write_msr(kMsrSfmask, kUserFlags | kFlagInterrupt | kFlagNested | 0x3000);
    // No 32-bit entry: SYSENTER with a null CS faults (SDM vol. 2B, SYSENTER).
    if (features.hwcap & (1u << 11)) write_msr(kMsrSysenterCs, 0);
}

// --- FPU (SDM vol. 1, chapter 13)

void init_fpu() {
    if (features.xsave) {
        CpuidResult d = cpuid(0xd, 0);
        u64 mask = d.a & 0x7;
        if ((d.a & 0xe0) == 0xe0 && (mask & 4)) mask |= 0xe0;  // AVX-512: all three parts or none
        asm volatile("xsetbv" ::"c"(0), "a"(static_cast<u32>(mask)), "d"(0));
        fpu_mask = mask;
        fpu_bytes = (cpuid(0xd, 0).b + 63) & ~size_t{63};
    }
    asm volatile("fninit");
    u32 mxcsr = 0x1f80;
    asm volatile("ldmxcsr %0" ::"m"(mxcsr));
}

void Machine::fpu_init(void* area) {
    u64* words = static_cast<u64*>(area);
    u64 count = fpu_area_size() / 8;
    asm volatile("rep stosq" : "+D"(words), "+c"(count) : "a"(0ul) : "memory");
    *static_cast<u16*>(area) = 0x37f;
    *reinterpret_cast<u32*>(static_cast<char*>(area) + 24) = 0x1f80;
}

void Machine::fpu_save(void* area) {
    if (features.xsaveopt)
        asm volatile("xsaveopt64 (%0)" ::"r"(area), "a"(static_cast<u32>(fpu_mask)), "d"(0) : "memory");
    else if (features.xsave)
        asm volatile("xsave64 (%0)" ::"r"(area), "a"(static_cast<u32>(fpu_mask)), "d"(0) : "memory");
    else
        asm volatile("fxsave64 (%0)" ::"r"(area) : "memory");
}

namespace {
// Legacy region and header of an area in which all components are as at the start, MXCSR with them.
struct alignas(64) InitialFpu {
    u16 control = 0x37f;
    u8 before_mxcsr[22] = {};
    u32 mxcsr = 0x1f80;
    u8 rest[576 - 28] = {};
};
static_assert(sizeof(InitialFpu) == 576);
constinit const InitialFpu initial_fpu{};
}  // namespace

void Machine::fpu_reset() { fpu_restore(&initial_fpu); }

bool Machine::fpu_save_user(UserAddr at) {
    if (!user_range(at.value, fpu_area_size())) return false;
    auto& area = *reinterpret_cast<char(*)[512]>(at.value);
    user_begin();
    if (features.xsave) {
        // XSAVE leaves most of the header as it is (SDM vol. 1, 13.7).
        u64 header = at.value + 512;
        if (!(raw_store_user(header, u64{0}) && raw_store_user(header + 8, u64{0}) &&
              raw_store_user(header + 16, u64{0}) && raw_store_user(header + 24, u64{0}) &&
              raw_store_user(header + 32, u64{0}) && raw_store_user(header + 40, u64{0}) &&
              raw_store_user(header + 48, u64{0}) && raw_store_user(header + 56, u64{0})))
            goto fault;
        asm goto volatile("1: xsave64 %0\n" HAL_ON_FAULT("1b", "%l[fault]")
                          :
                          : "m"(area), "a"(static_cast<u32>(fpu_mask)), "d"(0)
                          : "memory"
                          : fault);
    } else {
        asm goto volatile("1: fxsave64 %0\n" HAL_ON_FAULT("1b", "%l[fault]") : : "m"(area) : "memory" : fault);
    }
    user_end();
    return true;
fault:
    user_end();
    return false;
}

bool Machine::fpu_load_user(UserAddr at, u64 components, bool legacy) {
    constexpr u64 kLegacy = 3;  // x87 and SSE
    if (!user_range(at.value, legacy ? 512 : fpu_area_size())) return false;
    auto& area = *reinterpret_cast<char(*)[512]>(at.value);
    user_begin();
    if (!legacy && features.xsave) {
        asm goto volatile("1: xrstor64 %0\n" HAL_ON_FAULT("1b", "%l[fault]")
                          :
                          : "m"(area), "a"(static_cast<u32>(components & fpu_mask)), "d"(0)
                          : "memory"
                          : fault);
    } else {
        asm goto volatile("1: fxrstor64 %0\n" HAL_ON_FAULT("1b", "%l[fault]") : : "m"(area) : "memory" : fault);
    }
    user_end();
    if (u64 others = fpu_mask & ~(legacy ? kLegacy : components); features.xsave && others != 0)
        asm volatile("xrstor64 %0" ::"m"(initial_fpu), "a"(static_cast<u32>(others)), "d"(0) : "memory");
    return true;
fault:
    user_end();
    return false;
}

// CR0.TS (SDM vol. 3A, 2.5): the next use of x87, SSE or AVX is #NM.
void Machine::fpu_bar(bool barred) {
    if (barred) {
        u64 cr0;
        asm volatile("mov %%cr0, %0" : "=r"(cr0));
        asm volatile("mov %0, %%cr0" ::"r"(cr0 | 8) : "memory");
    } else {
        asm volatile("clts" ::: "memory");
    }
}

void Machine::fpu_restore(const void* area) {
    if (features.xsave)
        asm volatile("xrstor64 (%0)" ::"r"(area), "a"(static_cast<u32>(fpu_mask)), "d"(0) : "memory");
    else
        asm volatile("fxrstor64 (%0)" ::"r"(area) : "memory");
}

// What XRSTOR would refuse with #GP (SDM vol. 1, 13.8): reserved MXCSR bits, unknown components, a compacted header.
void Machine::fpu_sanitize(void* area) {
    char* bytes = static_cast<char*>(area);
    u32* mxcsr = reinterpret_cast<u32*>(bytes + 24);
    *mxcsr &= 0xffff;
    if (!features.xsave) return;
    u64* header = reinterpret_cast<u64*>(bytes + 512);
    header[0] &= fpu_mask;
    for (unsigned i = 1; i < 8; i++) header[i] = 0;
}

// --- Thread state outside the frame

namespace {
// A base that is no canonical address would fault here, in the kernel: it becomes 0.
u64 canonical(u64 base) { return static_cast<u64>(static_cast<i64>(base << 16) >> 16) == base ? base : 0; }
}  // namespace

void Machine::load_thread_state(const UserContext& ctx) {
    Cpu& cpu = this_cpu_block();
    u64 fs = canonical(ctx.fs_base), gs = canonical(ctx.gs_base);
    if (features.fsgsbase)
        asm volatile("wrfsbase %0" ::"r"(fs));
    else
        write_msr(kMsrFsBase, fs);
    if (features.fsgsbase || cpu.loaded_gs_base != gs) {
        cpu.loaded_gs_base = gs;
        write_msr(kMsrKernelGsBase, gs);
    }
}

void Machine::save_thread_state(UserContext& ctx) {
    if (features.fsgsbase) {
        asm volatile("rdfsbase %0" : "=r"(ctx.fs_base));
        ctx.gs_base = read_msr(kMsrKernelGsBase);
    } else {
        // A program can still change them by loading a selector.
        ctx.fs_base = read_msr(kMsrFsBase);
        ctx.gs_base = this_cpu_block().loaded_gs_base = read_msr(kMsrKernelGsBase);
    }
}

bool Machine::hardware_random(u64& out) {
    if (!features.rdrand) return false;
    for (u32 i = 0; i < 10; i++) {
        bool ok;
        asm volatile("rdrand %0" : "=r"(out), "=@ccc"(ok));
        if (ok) return true;
    }
    return false;
}

}  // namespace hal
