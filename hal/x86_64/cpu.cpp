// SPDX-License-Identifier: MIT
// What each CPU is set up with: features, control registers, GDT, TSS with IST stacks, IDT, SYSCALL, FPU state.
#include "hal/x86_64/cpu_registers.hpp"
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
    CpuidResult one = cpuid(kCpuidFeatures);
    u32 top = cpuid(kCpuidBasic).a;
    CpuidResult seven = top >= kCpuidStructured ? cpuid(kCpuidStructured) : CpuidResult{};
    CpuidResult extended = cpuid(kCpuidExtendedFeatures);
    f.hwcap = one.d;
    f.x2apic = one.c & k1cX2apic;
    f.tsc_deadline = one.c & k1cTscDeadline;
    f.xsave = one.c & k1cXsave;
    f.rdrand = one.c & k1cRdrand;
    f.hypervisor = one.c & k1cHypervisor;
    f.global_pages = one.d & k1dPge;
    f.pat = one.d & k1dPat;
    f.fsgsbase = seven.b & k7bFsGsBase;
    f.tsc_adjust = seven.b & k7bTscAdjust;
    f.smep = seven.b & k7bSmep;
    f.erms = seven.b & k7bErms;
    f.smap = seven.b & k7bSmap;
    f.umip = seven.c & k7cUmip;
    f.nx = extended.d & kExtNx;
    f.gib_pages = extended.d & kExtGibPages;
    f.xsaveopt = f.xsave && top >= kCpuidXsave && (cpuid(kCpuidXsave, 1).a & kDaXsaveopt);
    u32 last = cpuid(kCpuidExtended).a;
    f.invariant_tsc = last >= kCpuidPower && (cpuid(kCpuidPower).d & kPowerInvariantTsc);
    f.physical_bits = last >= kCpuidAddressSizes ? cpuid(kCpuidAddressSizes).a & 0xff : 36;
}

void patch_smap() {
    if (!features.smap) return;
    // STAC is 0f 01 cb, CLAC 0f 01 ca.
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
    cpuid(kCpuidBasic);  // serialise (SDM vol. 3A, 9.1.3)
}

void init_control_registers() {
    const Features& f = features;
    write_cr0(kCr0Pg | kCr0Am | kCr0Wp | kCr0Ne | kCr0Et | kCr0Mp | kCr0Pe);
    u64 cr4 = kCr4Pae | kCr4OsFxsr | kCr4OsXmmExcpt;
    if (f.hwcap & k1dMce) cr4 |= kCr4Mce;
    if (f.global_pages) cr4 |= kCr4Pge;
    if (f.umip) cr4 |= kCr4Umip;
    if (f.fsgsbase) cr4 |= kCr4FsGsBase;
    if (f.xsave) cr4 |= kCr4OsXsave;
    if (f.smep) cr4 |= kCr4Smep;
    if (f.smap) cr4 |= kCr4Smap;
    write_cr4(cr4);
    if (f.pat) write_msr(kMsrPat, kPatValue);
}

void build_idt() {
    for (u32 v = 0; v < 256; v++) {
        u64 stub = reinterpret_cast<u64>(hal_vector_stubs) + 16 * v;
        Gate& g = idt[v];
        g.low = static_cast<u16>(stub);
        g.middle = static_cast<u16>(stub >> 16);
        g.high = static_cast<u32>(stub >> 32);
        g.selector = HAL_KERNEL_CS;
        // INT3 and INTO are user mode's; INT 80H and the rest are #GP.
        g.type = v == kVectorBreakpoint || v == kVectorOverflow ? kGateUser : kGateKernel;
        g.ist = v == kVectorNmi            ? kIstNmi
                : v == kVectorDoubleFault  ? kIstDoubleFault
                : v == kVectorMachineCheck ? kIstMachineCheck
                : v == kVectorDebug        ? kIstDebug
                                           : 0;
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
    cpu.gdt[2] = kKernelCode;
    cpu.gdt[3] = kKernelData;
    cpu.gdt[4] = 0;  // SYSRET to 32-bit mode: absent
    cpu.gdt[5] = kUserData;
    cpu.gdt[6] = kUserCode;
    cpu.gdt[8] =
        (sizeof(TaskState) - 1) | ((tss & 0xffffff) << 16) | (kDescriptorTss << 40) | ((tss >> 24 & 0xff) << 56);
    cpu.gdt[9] = tss >> 32;
    // Only the limit of this segment is used: the CPU's number.
    cpu.gdt[HAL_USER_CPU / 8] = kUserLimitOnly | cpu.id;
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

    write_msr(kMsrEfer, read_msr(kMsrEfer) | kEferSce);
    // SYSCALL: CS 0x10, SS 0x18. SYSRET: SS 0x2b, CS 0x33.
    write_msr(kMsrStar, (u64{0x23} << 48) | (u64{HAL_KERNEL_CS} << 32));
    write_msr(kMsrLstar, reinterpret_cast<u64>(hal_syscall_entry));
    write_msr(kMsrCstar, 0);
    // Everything but the fixed bit: DF, AC, NT and TF above all.
    write_msr(kMsrSfmask, kUserFlags | kFlagInterrupt | kFlagNested | kFlagIopl);
    // No 32-bit entry: SYSENTER with a null CS faults (SDM vol. 2B, SYSENTER).
    if (features.hwcap & k1dSep) write_msr(kMsrSysenterCs, 0);
}

// --- FPU (SDM vol. 1, chapter 13)

void init_fpu() {
    if (features.xsave) {
        CpuidResult d = cpuid(kCpuidXsave, 0);
        u64 mask = d.a & (kXsaveX87 | kXsaveSse | kXsaveAvx);
        // AVX-512: all three parts or none.
        if ((d.a & kXsaveAvx512) == kXsaveAvx512 && (mask & kXsaveAvx)) mask |= kXsaveAvx512;
        asm volatile("xsetbv" ::"c"(0), "a"(static_cast<u32>(mask)), "d"(0));
        fpu_mask = mask;
        fpu_bytes = (cpuid(kCpuidXsave, 0).b + 63) & ~size_t{63};
    }
    asm volatile("fninit");
    u32 mxcsr = kMxcsrInitial;
    asm volatile("ldmxcsr %0" ::"m"(mxcsr));
}

void Machine::fpu_init(void* area) {
    u64* words = static_cast<u64*>(area);
    u64 count = fpu_area_size() / 8;
    asm volatile("rep stosq" : "+D"(words), "+c"(count) : "a"(0ul) : "memory");
    *static_cast<u16*>(area) = kFpuControlInitial;
    *reinterpret_cast<u32*>(static_cast<char*>(area) + kMxcsrOffset) = kMxcsrInitial;
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
    u16 control = kFpuControlInitial;
    u8 before_mxcsr[22] = {};
    u32 mxcsr = kMxcsrInitial;
    u8 rest[kFxsaveBytes + kXsaveHeaderBytes - kMxcsrOffset - 4] = {};
};
static_assert(sizeof(InitialFpu) == kFxsaveBytes + kXsaveHeaderBytes);
constinit const InitialFpu initial_fpu{};
}  // namespace

void Machine::fpu_reset() { fpu_restore(&initial_fpu); }

bool Machine::fpu_save_user(UserAddr at) {
    if (!user_range(at.value, fpu_area_size())) return false;
    auto& area = *reinterpret_cast<char(*)[kFxsaveBytes]>(at.value);
    user_begin();
    if (features.xsave) {
        // XSAVE leaves most of the header as it is (SDM vol. 1, 13.7).
        u64 header = at.value + kFxsaveBytes;
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
    constexpr u64 kLegacy = kXsaveX87 | kXsaveSse;
    if (!user_range(at.value, legacy ? kFxsaveBytes : fpu_area_size())) return false;
    auto& area = *reinterpret_cast<char(*)[kFxsaveBytes]>(at.value);
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
        asm volatile("mov %0, %%cr0" ::"r"(cr0 | kCr0Ts) : "memory");
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
    u32* mxcsr = reinterpret_cast<u32*>(bytes + kMxcsrOffset);
    *mxcsr &= kMxcsrMask;
    if (!features.xsave) return;
    u64* header = reinterpret_cast<u64*>(bytes + kFxsaveBytes);
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
