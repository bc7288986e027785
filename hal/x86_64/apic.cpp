// SPDX-License-Identifier: MIT
// Local APIC, as MSRs (x2APIC) where CPUID offers that and as registers otherwise (SDM vol. 3A, chapter 11), the I/O
// APICs (82093AA), and the retired 8259s, which are only masked. Registers of the local APIC belong to their CPU;
// io_lock guards the index/data pairs of the I/O APICs.
#include "hal/x86_64/cpu_registers.hpp"
#include "hal/x86_64/devices.hpp"
#include "hal/x86_64/internal.hpp"

namespace hal {
namespace {

volatile u32* registers;  // null with x2APIC
struct IoApic {
    volatile u32* at;
    u32 gsi_base, lines;
};
IoApic io_apics[kMaxIoApics];
u32 io_apic_count;
TinyLock io_lock;

u32 read(u32 reg) {
    if (!registers) return static_cast<u32>(read_msr(kMsrX2apic + (reg >> 4)));
    return registers[reg / 4];
}
void write(u32 reg, u32 v) {
    if (!registers)
        write_msr(kMsrX2apic + (reg >> 4), v);
    else
        registers[reg / 4] = v;
}

void command(u32 apic_id, u32 low) {
    if (!registers) {
        // WRMSR to the x2APIC is not serialising: earlier stores must be visible to the receiver (SDM 11.12.3).
        asm volatile("mfence; lfence" ::: "memory");
        write_msr(kMsrX2apicIcr, (static_cast<u64>(apic_id) << kIcrX2DestinationShift) | low);
        return;
    }
    for (u32 i = 0; i < 100'000 && (registers[kApicIcrLow / 4] & kIcrPending); i++) {
    }
    registers[kApicIcrHigh / 4] = apic_id << kIcrDestinationShift;
    registers[kApicIcrLow / 4] = low;
}

u32 io_read(const IoApic& io, u32 reg) {
    io.at[kIoApicSelect] = reg;
    return io.at[kIoApicWindow];
}
void io_write(const IoApic& io, u32 reg, u32 v) {
    io.at[kIoApicSelect] = reg;
    io.at[kIoApicWindow] = v;
}
IoApic* find_line(u32 gsi) {
    for (u32 i = 0; i < io_apic_count; i++)
        if (gsi >= io_apics[i].gsi_base && gsi < io_apics[i].gsi_base + io_apics[i].lines) return &io_apics[i];
    return nullptr;
}

}  // namespace

void init_local_apic() {
    u64 base = read_msr(kMsrApicBase) | kApicBaseEnable;
    if (features.x2apic) {
        write_msr(kMsrApicBase, base);
        write_msr(kMsrApicBase, base | kApicBaseX2);
    } else {
        write_msr(kMsrApicBase, base);
        if (!registers)
            registers = static_cast<volatile u32*>(
                map_window(PhysAddr{platform.lapic_address}, kPageSize, MemoryType::kDevice));
    }
    write(kApicTaskPriority, 0);
    write(kApicLvtLint0, kLvtMasked);
    write(kApicLvtLint1, kLvtNmi);  // NMI: a debugger's or the host's request for a dump
    write(kApicLvtError, kLvtMasked);
    write(kApicLvtTimer, kLvtMasked | HAL_VECTOR_TIMER);
    write(kApicTimerDivide, kApicDivideBy1);
    write(kApicSpurious, kApicSoftwareEnable | HAL_VECTOR_SPURIOUS);
}

u32 local_apic_id() { return registers ? read(kApicId) >> 24 : read(kApicId); }
void end_of_interrupt() { write(kApicEoi, 0); }
void send_ipi(u32 apic_id, u32 vector) { command(apic_id, vector | kIcrAssert); }
void send_init(u32 apic_id) { command(apic_id, kIcrInit | kIcrAssert); }
void send_startup(u32 apic_id, u64 page) { command(apic_id, kIcrStartup | kIcrAssert | static_cast<u32>(page >> 12)); }
void send_nmi_to_others() {
    for (u32 i = 0; i < cpu_count; i++)
        if (cpus[i] && cpus[i] != &this_cpu_block()) command(cpus[i]->apic_id, kIcrNmi | kIcrAssert);
}
void Machine::wake(CpuId cpu) { send_ipi(cpus[cpu.value]->apic_id, HAL_VECTOR_WAKE); }

void set_timer_count(u32 ticks) { write(kApicTimerInitial, ticks); }
u32 timer_count() { return read(kApicTimerCurrent); }
void init_timer() {
    write(kApicLvtTimer, HAL_VECTOR_TIMER | (features.tsc_deadline ? kLvtTscDeadline : 0));
    // The mode change is seen before the first deadline (SDM 11.5.4.1).
    if (features.tsc_deadline) asm volatile("mfence" ::: "memory");
}

void init_io_apics() {
    // 8259s: initialised out of the way of exceptions, then masked.
    out8(kPicMasterCommand, kPicIcw1);
    out8(kPicSlaveCommand, kPicIcw1);
    out8(kPicMasterData, kPicMasterVectors);
    out8(kPicSlaveData, kPicSlaveVectors);
    out8(kPicMasterData, kPicSlaveOnLine2);
    out8(kPicSlaveData, kPicCascadeIdentity);
    out8(kPicMasterData, kPicIcw4);
    out8(kPicSlaveData, kPicIcw4);
    out8(kPicMasterData, kPicMaskAll);
    out8(kPicSlaveData, kPicMaskAll);
    if (platform.io_apic_count == 0 && !platform.has_acpi)
        platform.io_apics[platform.io_apic_count++] = {kIoApicAddress, 0};
    for (u32 i = 0; i < platform.io_apic_count; i++) {
        IoApic io{static_cast<volatile u32*>(
                      map_window(PhysAddr{platform.io_apics[i].address}, kIoApicBytes, MemoryType::kDevice)),
                  platform.io_apics[i].gsi_base, 0};
        if (!io.at) continue;
        u32 version = io_read(io, kIoApicVersion);
        if (version == ~0u) continue;
        io.lines = (version >> 16 & 0xff) + 1;
        for (u32 line = 0; line < io.lines; line++) io_write(io, kIoApicRedirection + 2 * line, kRedirectMasked);
        io_apics[io_apic_count++] = io;
    }
}

namespace {

struct Line {
    u32 gsi;
    bool level, active_low;
};
// The one place where the firmware's overrides apply (ACPI 6.3, 5.2.12.5): a number below 16 is an ISA interrupt, wherever it
// is connected; from 16 on it is a global line.
Line line_of(u32 number, bool level, bool active_low) {
    if (number < 16)
        for (u32 i = 0; i < platform.override_count; i++)
            if (const IsaOverride& o = platform.overrides[i]; o.irq == number) return {o.gsi, o.level, o.active_low};
    return {number, level, active_low};
}

}  // namespace

bool Machine::route_line(u32 line, u32 vector, CpuId cpu, bool level, bool active_low) {
    const Line to = line_of(line, level, active_low);
    TinyGuard hold(io_lock);
    IoApic* io = find_line(to.gsi);
    if (!io || cpu.value >= hal::cpu_count) return false;
    u32 entry = kIoApicRedirection + 2 * (to.gsi - io->gsi_base);
    // An input belongs to the first that had it: two numbers may mean the same one.
    const u32 before = io_read(*io, entry) & 0xff;
    if (before != 0 && before != vector) return false;
    io_write(*io, entry, kRedirectMasked);
    io_write(*io, entry + 1, cpus[cpu.value]->apic_id << kIcrDestinationShift);
    io_write(*io, entry, vector | (to.active_low ? kRedirectActiveLow : 0) | (to.level ? kRedirectLevel : 0));
    return true;
}

bool Machine::route_isa_line(u32 irq, u32 vector, CpuId cpu) { return route_line(irq, vector, cpu, false, false); }

void Machine::mask_line(u32 line, bool masked) {
    const u32 gsi = line_of(line, false, false).gsi;
    TinyGuard hold(io_lock);
    if (IoApic* io = find_line(gsi)) {
        u32 entry = kIoApicRedirection + 2 * (gsi - io->gsi_base);
        u32 v = io_read(*io, entry);
        io_write(*io, entry, masked ? v | kRedirectMasked : v & ~kRedirectMasked);
    }
}

}  // namespace hal
