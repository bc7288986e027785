// SPDX-License-Identifier: MIT
// Registers, ports and bits of the devices that every machine has. Each group names its manual.
#pragma once
#include "lib/types.hpp"

namespace hal {

// Local APIC (SDM vol. 3A, chapter 11): offsets of registers; as MSRs they begin at kMsrX2apic, 16 bytes being one.
enum LocalApic : u32 {
    kApicId = 0x20,
    kApicTaskPriority = 0x80,
    kApicEoi = 0xb0,
    kApicSpurious = 0xf0,
    kApicIcrLow = 0x300,
    kApicIcrHigh = 0x310,
    kApicLvtTimer = 0x320,
    kApicLvtLint0 = 0x350,
    kApicLvtLint1 = 0x360,
    kApicLvtError = 0x370,
    kApicTimerInitial = 0x380,
    kApicTimerCurrent = 0x390,
    kApicTimerDivide = 0x3e0,
};
inline constexpr u32 kMsrX2apic = 0x800, kMsrX2apicIcr = 0x830;
inline constexpr u32 kApicSoftwareEnable = 1u << 8;  // spurious-interrupt vector register
inline constexpr u32 kApicDivideBy1 = 0xb;
inline constexpr u32 kLvtMasked = 1u << 16, kLvtNmi = 4u << 8, kLvtTscDeadline = 2u << 17;
// Interrupt command register (11.6.1).
inline constexpr u32 kIcrNmi = 4u << 8, kIcrInit = 5u << 8, kIcrStartup = 6u << 8, kIcrPending = 1u << 12,
                     kIcrAssert = 1u << 14;
inline constexpr u32 kIcrDestinationShift = 24, kIcrX2DestinationShift = 32;
inline constexpr u64 kLocalApicAddress = 0xfee00000;  // where it is unless firmware says otherwise
// Message signalled interrupts (11.11.1): the address that means a local APIC, and where its number goes.
inline constexpr u64 kMsiAddress = 0xfee00000;
inline constexpr u32 kMsiDestinationShift = 12;

// I/O APIC (82093AA, 3.1 and 3.2).
inline constexpr u32 kIoApicAddress = 0xfec00000, kIoApicBytes = 0x20;
inline constexpr u32 kIoApicSelect = 0, kIoApicWindow = 4;  // in words of 32 bits
inline constexpr u32 kIoApicVersion = 1, kIoApicRedirection = 0x10;
inline constexpr u32 kRedirectActiveLow = 1u << 13, kRedirectLevel = 1u << 15, kRedirectMasked = 1u << 16;

// 8259A interrupt controllers: ports, and the words that initialise them.
enum Pic : u16 { kPicMasterCommand = 0x20, kPicMasterData = 0x21, kPicSlaveCommand = 0xa0, kPicSlaveData = 0xa1 };
inline constexpr u8 kPicIcw1 = 0x11;  // edge triggered, cascaded, ICW4 follows
inline constexpr u8 kPicMasterVectors = 0x20, kPicSlaveVectors = 0x28;
inline constexpr u8 kPicSlaveOnLine2 = 1 << 2, kPicCascadeIdentity = 2;
inline constexpr u8 kPicIcw4 = 0x01;  // 8086 mode
inline constexpr u8 kPicMaskAll = 0xff;

// 8254 timer: channel 2, whose gate is in the system control port (PC/AT).
enum Pit : u16 { kPitChannel2 = 0x42, kPitControl = 0x43, kSystemControl = 0x61 };
inline constexpr u8 kPitLatchChannel2 = 0x80, kPitChannel2Mode0 = 0xb0;
inline constexpr u8 kSystemTimerGate = 1, kSystemSpeaker = 2;
inline constexpr u64 kPitHz = 1'193'182;

// MC146818 real-time clock and its CMOS memory.
enum Cmos : u16 { kCmosIndex = 0x70, kCmosData = 0x71 };
inline constexpr u8 kCmosNmiDisable = 0x80;
enum Rtc : u8 {
    kRtcSeconds = 0,
    kRtcMinutes = 2,
    kRtcHours = 4,
    kRtcDay = 7,
    kRtcMonth = 8,
    kRtcYear = 9,
    kRtcStatusA = 10,
    kRtcStatusB = 11,
    kCmosShutdown = 15,
};
inline constexpr u8 kRtcUpdating = 0x80;                        // status A
inline constexpr u8 kRtc24Hours = 2, kRtcBinary = 4;            // status B
inline constexpr u8 kRtcAfternoon = 0x80, kRtcHourMask = 0x7f;  // the hours of a 12-hour clock
// Warm start (PC/AT): INIT jumps through the vector at 40:67.
inline constexpr u8 kShutdownWarmStart = 0x0a;
inline constexpr u64 kWarmStartVector = 0x467;

// 8042 keyboard controller.
inline constexpr u16 kKeyboardCommand = 0x64;
inline constexpr u8 kKeyboardReset = 0xfe;

// 16550 serial port: registers from its first port on, and bits.
enum Uart : u16 {
    kUartPort = 0x3f8,
    kUartData = kUartPort,
    kUartInterruptEnable = kUartPort + 1,
    kUartFifo = kUartPort + 2,
    kUartLine = kUartPort + 3,
    kUartModem = kUartPort + 4,
    kUartStatus = kUartPort + 5,
};
inline constexpr u8 kUartDivisorLatch = 0x80, kUartDivisor115200 = 1, kUart8n1 = 0x03;
inline constexpr u8 kUartFifoOn = 0xc7;  // enabled and cleared, 14 bytes
inline constexpr u8 kUartDtrRts = 0x03;
inline constexpr u8 kUartTransmitEmpty = 0x20;

// PCI configuration mechanism 1 (PCI Local Bus 3.0, 3.2.2.3.2).
inline constexpr u16 kPciAddress = 0xcf8, kPciData = 0xcfc;
inline constexpr u32 kPciEnable = 0x80000000;

// QEMU's isa-debug-exit.
inline constexpr u16 kDebugExit = 0xf4;

// HPET (IA-PC HPET 1.0a, 2.3): words of 32 bits.
enum Hpet : u32 { kHpetPeriod = 4 / 4, kHpetConfiguration = 0x10 / 4, kHpetCounter = 0xf0 / 4 };
inline constexpr u32 kHpetBytes = 0x400, kHpetEnable = 1, kHpetLongestPeriod = 100'000'000;  // femtoseconds
inline constexpr u64 kFemtosecondsPerSecond = 1'000'000'000'000'000;

// ACPI 6.3: the PM timer (4.8.3.3), the FADT's flags (5.2.9), sleep control (4.8.3.2.1 and 4.8.3.7).
inline constexpr u64 kPmTimerHz = 3'579'545;
inline constexpr u32 kFadtTimer32 = 1u << 8, kFadtResetSupported = 1u << 10, kFadtHardwareReduced = 1u << 20;
inline constexpr u32 kSleepTypeShift = 2, kSleepEnable = 1u << 5;
inline constexpr u32 kPm1SleepTypeShift = 10, kPm1SleepEnable = 1u << 13;
inline constexpr u64 kRsdpSignature = 0x2052545020445352;  // "RSD PTR "

}  // namespace hal
