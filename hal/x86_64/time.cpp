// SPDX-License-Identifier: MIT
// Time: the TSC's rate from CPUID or the hypervisor, else measured against the PM timer, the HPET or the PIT; the local
// APIC's one-shot timer measured in the same millisecond. Every wait is bounded. The boot CPU does this once; the
// results are constants of the machine. A measurement under load takes the tightest of several readings at each end.
#include "hal/x86_64/cpu_registers.hpp"
#include "hal/x86_64/devices.hpp"
#include "hal/x86_64/internal.hpp"

namespace hal {

TimeScale time_scale;

namespace {

constexpr u64 kGiga = 1'000'000'000;
u64 tsc_per_ns;  // 32.32

// (a << 32) / b; the quotient fits.
u64 shifted_ratio(u64 a, u64 b) {
    u64 low = a << 32, high = a >> 32, quotient;
    asm("divq %3" : "=a"(quotient), "+d"(high) : "0"(low), "r"(b) : "cc");
    return quotient;
}
u64 scaled(u64 value, u64 ratio) { return static_cast<u64>((static_cast<unsigned __int128>(value) * ratio) >> 32); }

// A clock of known rate that counts up, `mask` wide.
struct Reference {
    const char* name = nullptr;
    u64 (*read)() = nullptr;
    u64 hz = 0;
    u64 mask = 0;
};

volatile u32* hpet;

u64 read_pm_timer() { return in32(platform.pm_timer); }
u64 read_hpet() { return hpet[kHpetCounter]; }
u64 read_pit() {
    out8(kPitControl, kPitLatchChannel2);
    u32 low = in8(kPitChannel2);
    return 0xffff - (low | static_cast<u32>(in8(kPitChannel2)) << 8);
}

bool advances(const Reference& r) {
    u64 first = r.read();
    for (u32 i = 0; i < 1000; i++)
        if (r.read() != first) return true;
    return false;
}

Reference find_reference() {
    if (platform.pm_timer) {
        Reference r{"PM timer", read_pm_timer, kPmTimerHz, platform.pm_timer_32 ? 0xffffffff : 0xffffff};
        if (advances(r)) return r;
    }
    if (platform.hpet) {
        hpet = static_cast<volatile u32*>(map_window(PhysAddr{platform.hpet}, kHpetBytes, MemoryType::kDevice));
        u32 period = hpet ? hpet[kHpetPeriod] : 0;  // femtoseconds; at most 100 ns
        if (period != 0 && period <= kHpetLongestPeriod) {
            hpet[kHpetConfiguration] = hpet[kHpetConfiguration] | kHpetEnable;
            Reference r{"HPET", read_hpet, static_cast<u64>(kFemtosecondsPerSecond / period), 0xffffffff};
            if (advances(r)) return r;
        }
    }
    // PIT channel 2, mode 0, gate on, speaker off (8254).
    out8(kSystemControl, static_cast<u8>((in8(kSystemControl) & ~kSystemSpeaker) | kSystemTimerGate));
    out8(kPitControl, kPitChannel2Mode0);
    out8(kPitChannel2, 0xff);
    out8(kPitChannel2, 0xff);
    Reference r{"PIT", read_pit, kPitHz, 0xffff};
    if (advances(r)) return r;
    return {};
}

// The TSC's rate as announced by CPUID or the hypervisor, or 0.
u64 announced_tsc_hz() {
    u32 top = cpuid(kCpuidBasic).a;
    if (top >= kCpuidTsc) {
        CpuidResult r = cpuid(kCpuidTsc);
        if (r.a && r.b && r.c) return static_cast<u64>(r.c) * r.b / r.a;
    }
    if (!features.hypervisor) return 0;
    CpuidResult base = cpuid(kCpuidHypervisor);
    if (base.a >= kCpuidHypervisorTiming && base.a < kCpuidHypervisorEnd) {
        u32 khz = cpuid(kCpuidHypervisorTiming).a;
        if (khz) return static_cast<u64>(khz) * 1000;
    }
    if (base.b == kKvmSignature[0] && base.c == kKvmSignature[1] && base.d == kKvmSignature[2] &&
        (cpuid(kCpuidKvmFeatures).a & kKvmClockSource2)) {
        // kvmclock (Linux Documentation/virt/kvm/x86/msr.rst): ns = (tsc << shift) * mul >> 32.
        struct alignas(64) ClockInfo {
            u32 version, pad;
            u64 tsc, ns;
            u32 mul;
            signed char shift;
            u8 flags, pad2[2];
        };
        static ClockInfo clock;
        write_msr(kMsrKvmSystemTime, Machine::virt_to_phys(&clock).value | kKvmSystemTimeEnable);
        u32 mul = *const_cast<volatile u32*>(&clock.mul);
        int shift = *const_cast<volatile signed char*>(&clock.shift);
        write_msr(kMsrKvmSystemTime, 0);
        if (mul) {
            u64 hz = (kGiga << 32) / mul;
            return shift < 0 ? hz << -shift : hz >> shift;
        }
    }
    return 0;
}

// One instant on three clocks: the reference between two readings of the TSC that lie close together.
struct Instant {
    u64 reference, tsc, timer;
};
constexpr u32 kTries = 24;  // the first few are slowed by the arming of the timer itself

Instant observe(const Reference& r) {
    Instant best{};
    u64 width = ~u64{0};
    for (u32 i = 0; i < kTries; i++) {
        u64 before = read_tsc();
        u64 value = r.read ? r.read() : before;
        u64 after = read_tsc();
        u64 timer = timer_count();
        u64 late = read_tsc();
        if (late - before < width) {
            width = late - before;
            best = {value, before + (after - before) / 2, timer};
        }
    }
    return best;
}

}  // namespace

void calibrate() {
    u64 tsc_hz = announced_tsc_hz();
    if (tsc_hz && features.tsc_deadline) {
        time_scale.timer_per_ns = 0;
    } else {
        Reference r;
        if (tsc_hz)
            r = {"TSC", nullptr, tsc_hz, ~u64{0}};
        else
            r = find_reference();
        if (!r.name) Machine::panic("no clock to measure the TSC with: neither CPUID, PM timer, HPET nor PIT");
        set_timer_count(~0u);
        Instant start = observe(r);
        u64 span = r.hz / 1000;  // 1 ms
        u64 now = 0;
        for (u32 i = 0; i < 50'000'000; i++) {
            now = r.read ? r.read() : read_tsc();
            if (((now - start.reference) & r.mask) >= span) break;
        }
        if (((now - start.reference) & r.mask) < span) Machine::panic("the reference clock stands still");
        Instant end = observe(r);
        set_timer_count(0);
        u64 passed = (end.reference - start.reference) & r.mask;
        if (!tsc_hz) tsc_hz = (end.tsc - start.tsc) * r.hz / passed;
        u64 timer_hz = (start.timer - end.timer) * r.hz / passed;
        time_scale.timer_per_ns = shifted_ratio(timer_hz, kGiga);
        if (!features.tsc_deadline && timer_hz == 0) Machine::panic("the local APIC timer stands still");
    }
    if (tsc_hz < 1'000'000) Machine::panic("the TSC stands still");
    time_scale.tsc_hz = tsc_hz;
    time_scale.tsc_to_ns = (kGiga << 32) / tsc_hz;
    tsc_per_ns = shifted_ratio(tsc_hz, kGiga);
}

void Machine::arm_timer(Nanoseconds deadline) {
    if (features.tsc_deadline) {
        u64 at =
            deadline.value > (u64{1} << 62) ? ~u64{0} : time_scale.tsc_base + scaled(deadline.value, tsc_per_ns) + 1;
        write_msr(kMsrTscDeadline, at);
        return;
    }
    u64 current = now().value;
    u64 wait = deadline.value > current ? deadline.value - current : 0;
    // Beyond the counter's range it fires early, and is armed again.
    u64 ticks = wait > kGiga ? scaled(kGiga, time_scale.timer_per_ns) : scaled(wait, time_scale.timer_per_ns) + 1;
    set_timer_count(ticks > 0xffffffff ? 0xffffffff : static_cast<u32>(ticks));
}

void Machine::disarm_timer() {
    if (features.tsc_deadline)
        write_msr(kMsrTscDeadline, 0);
    else
        set_timer_count(0);
}

void delay(Nanoseconds t) {
    u64 end = Machine::now().value + t.value;
    while (Machine::now().value < end) pause();
}

// MC146818 real-time clock, as UTC.
u64 Machine::wall_clock_at_boot() {
    auto reg = [](u8 index) {
        out8(kCmosIndex, static_cast<u8>(kCmosNmiDisable | index));
        return in8(kCmosData);
    };
    for (u32 i = 0; i < 10'000 && (reg(kRtcStatusA) & kRtcUpdating); i++) {
    }
    u32 v[6] = {reg(kRtcSeconds), reg(kRtcMinutes), reg(kRtcHours), reg(kRtcDay), reg(kRtcMonth), reg(kRtcYear)};
    u8 mode = reg(kRtcStatusB);
    bool evening = !(mode & kRtc24Hours) && (v[2] & kRtcAfternoon);
    v[2] &= kRtcHourMask;
    if (!(mode & kRtcBinary))
        for (u32& x : v) x = (x >> 4) * 10 + (x & 15);
    if (!(mode & kRtc24Hours)) v[2] = v[2] % 12 + (evening ? 12 : 0);
    if (v[0] > 59 || v[1] > 59 || v[2] > 23 || v[3] < 1 || v[3] > 31 || v[4] < 1 || v[4] > 12 || v[5] > 99) return 0;
    // Days from the civil date, March first, 400-year eras.
    u32 year = 2000 + v[5] - (v[4] <= 2), month = (v[4] + 9) % 12;
    u64 days = 365ull * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + v[3] - 1 - 719'468;
    return days * 86'400 + v[2] * 3'600 + v[1] * 60 + v[0] - now().value / kGiga;
}

}  // namespace hal
