// SPDX-License-Identifier: MIT
// Traps after entry.S: turns vectors into TrapInfo, runs device handlers, serves flush requests, repairs kernel faults
// on user memory, and panics on the rest.
#include "hal/x86_64/cpu_registers.hpp"
#include "hal/x86_64/internal.hpp"

namespace {
struct FixupEntry {
    u64 at, to;
};
}  // namespace
extern "C" FixupEntry hal_extable_start[], hal_extable_end[];

namespace hal {
namespace {

TrapInfo::Exception exception_of(u32 vector) {
    using E = TrapInfo::Exception;
    switch (vector) {
        case 0: return E::kDivide;
        case 1: return E::kSingleStep;
        case 3: return E::kBreakpoint;
        case 4: return E::kOverflow;
        case 5: return E::kBounds;
        case 6: return E::kIllegalInstruction;
        case 7: return E::kFpuBarred;
        case 10:
        case 11:
        case 13: return E::kProtection;
        case 12: return E::kStack;
        case 16: return E::kFloatingPoint;
        case 17: return E::kAlignment;
        case 19: return E::kVectorFloatingPoint;
        default: return E::kOther;
    }
}

const char* exception_name(u32 vector) {
    static constexpr const char* kNames[] = {
        "divide error",
        "debug exception",
        "NMI",
        "breakpoint",
        "overflow",
        "bound range exceeded",
        "invalid opcode",
        "device not available",
        "double fault",
        "coprocessor overrun",
        "invalid TSS",
        "segment not present",
        "stack-segment fault",
        "general protection",
        "page fault",
        "reserved",
        "x87 floating point",
        "alignment check",
        "machine check",
        "SIMD floating point",
    };
    return vector < sizeof(kNames) / sizeof(kNames[0]) ? kNames[vector] : "unexpected exception in kernel mode";
}

}  // namespace

bool apply_fixup(KernelFrame& frame) {
    for (const FixupEntry* e = hal_extable_start; e < hal_extable_end; e++)
        if (e->at == frame.rip) {
            frame.rip = e->to;
            return true;
        }
    return false;
}

}  // namespace hal

using namespace hal;

// In entry.S's words: on the stack top, the user's registers saved in `context`.
extern "C" void hal_user_trap(UserContext* context, u32 vector) {
    TrapInfo info;
    info.vector = static_cast<u8>(vector);
    switch (vector) {
        case 14:  // error code: SDM vol. 3A, 4.7
            info.kind = TrapInfo::Kind::kPageFault;
            info.address = read_cr2();
            info.error_code = static_cast<u16>(context->error_code);
            info.present = info.error_code & 1;
            info.write = info.error_code & 2;
            info.exec = info.error_code & 16;
            // A supervisor access made for a program (a descriptor table, or a stack that QEMU's IRET reads so, against SMAP):
            // no mapping of the program's can satisfy it.
            if (!(info.error_code & 4)) {
                info.kind = TrapInfo::Kind::kException;
                info.exception = TrapInfo::Exception::kProtection;
            }
            break;
        case HAL_VECTOR_TIMER:
            end_of_interrupt();
            info.kind = TrapInfo::Kind::kTimer;
            break;
        case HAL_VECTOR_WAKE:
            end_of_interrupt();
            info.kind = TrapInfo::Kind::kWake;
            break;
        case HAL_VECTOR_FLUSH:
            end_of_interrupt();
            serve_mailbox(this_cpu_block());
            return;
        case HAL_VECTOR_SPURIOUS: return;
        default:
            if (vector >= HAL_VECTOR_DEVICE_FIRST && vector <= HAL_VECTOR_DEVICE_LAST) {
                dispatch_device(vector);
                info.kind = TrapInfo::Kind::kInterrupt;
            } else {
                if (vector == kVectorDebug) asm volatile("mov %0, %%dr6" ::"r"(u64{kDr6Clear}));
                info.kind = TrapInfo::Kind::kException;
                info.exception = exception_of(vector);
                info.error_code = static_cast<u16>(context->error_code);
            }
    }
    farcall_trap(*context, info);
}

extern "C" void hal_kernel_trap(KernelFrame* frame, u32 vector) {
    switch (vector) {
        case HAL_VECTOR_TIMER:
        case HAL_VECTOR_WAKE: end_of_interrupt(); return;  // it has ended wait_for_event: all that was asked
        case HAL_VECTOR_FLUSH:
            end_of_interrupt();
            serve_mailbox(this_cpu_block());
            return;
        case HAL_VECTOR_SPURIOUS: return;
        default: break;
    }
    if (vector >= HAL_VECTOR_DEVICE_FIRST && vector <= HAL_VECTOR_DEVICE_LAST) {
        farcall_interrupt();
        return dispatch_device(vector);
    }
    u64 address = read_cr2();
    if ((vector == 14 || vector == 13) && apply_fixup(*frame)) return;
    panic_with_frame(exception_name(vector), *frame, address);
}

// On an IST stack, GS set.
extern "C" void hal_ist_trap(KernelFrame* frame, u32 vector) {
    if (vector == kVectorNmi) return handle_nmi(this_cpu_block(), *frame);
    if (vector == kVectorDebug) {
        // A single step that the user had under way across an entry.
        asm volatile("mov %0, %%dr6" ::"r"(u64{kDr6Clear}));
        frame->rflags &= ~kFlagTrap;
        return;
    }
    panic_with_frame(exception_name(vector), *frame, read_cr2());
}
