// SPDX-License-Identifier: MIT
// Signal frames of the x86_64 ABI: the rt_sigframe that handlers, unwinders and debuggers expect on the stack
// (arch/x86/include/uapi/asm/{ucontext,sigcontext}.h give the layout; psABI 3.2.2 the red zone).
#include <cstring>

#include "linux/arch/machine.hpp"

namespace linux::arch {
namespace {

struct StackT {
    u64 base;
    i32 flags;
    u32 pad;
    u64 size;
};
struct MachineContext {  // struct sigcontext_64
    u64 r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, rflags;
    u16 cs, gs, fs, ss;
    u64 error, trap, old_mask, cr2, fpstate;
    u64 reserved[8];
};
static_assert(sizeof(MachineContext) == 256);
struct UserContextFrame {  // struct ucontext
    u64 flags;
    u64 link;
    StackT stack;
    MachineContext machine;
    u64 mask;
};
struct Frame {  // struct rt_sigframe
    u64 return_address;
    UserContextFrame uc;
    SignalInfo info;
};
static_assert(sizeof(Frame) == 8 + 40 + 256 + 8 + 128);

constexpr u64 kFpXstate = 1, kSigcontextSs = 2, kStrictRestoreSs = 4;
constexpr u16 kUserCs = 0x33, kUserSs = 0x2b;
constexpr u64 kRedZone = 128;
constexpr u64 kFlagTrap = 1 << 8, kFlagDirection = 1 << 10, kFlagResume = 1 << 16;
constexpr u32 kSsOnStack = 1, kSsDisable = 2, kSsAutoDisarm = 0x80000000;

// The legacy region's software bytes (struct _fpx_sw_bytes) and the words that say there is more than FXSAVE.
constexpr size_t kFxsaveSize = 512, kSoftwareBytes = 464;
constexpr u32 kMagic1 = 0x46505853, kMagic2 = 0x46505845;
struct SoftwareBytes {
    u32 magic1, extended_size;
    u64 features;
    u32 state_size;
    u32 padding[7];
};
static_assert(sizeof(SoftwareBytes) == 48);

// A machine that keeps no vector state of its own (hosted) has no features to name.
template <class M>
u64 fpu_features() {
    if constexpr (requires { M::fpu_features(); })
        return M::fpu_features();
    else
        return 0;
}
bool extended(std::span<std::byte> fpu) { return fpu.size() > kFxsaveSize; }

}  // namespace

bool on_stack(const SignalStack& s, UserAddr sp) {
    if (s.flags & kSsAutoDisarm) return false;
    return s.size != 0 && sp.value > s.base && sp.value - s.base <= s.size;
}

u64 signal_frame_size(Thread& t) { return sizeof(Frame) + kRedZone + t.fpu_state().size() + 4 + 64 + 16; }

Leaf<void> push_signal_frame(Thread& t, const SignalAction& action, const SignalInfo& info, SignalSet old_mask) {
    t.save_fpu();
    auto& r = t.regs();
    SignalStack& alternate = t.alternate_stack;
    bool was_on = on_stack(alternate, r.sp());
    bool entering = false;
    u64 sp = r.rsp - kRedZone;
    if ((action.flags & kSaOnStack) && alternate.size != 0 && !was_on) {
        sp = alternate.base + alternate.size;
        entering = true;
    }
    std::span<std::byte> fpu = t.fpu_state();
    u64 fpu_bytes = fpu.size() + (extended(fpu) ? 4 : 0);
    u64 fpu_at = (sp - fpu_bytes) & ~u64{63};
    u64 at = ((fpu_at - sizeof(Frame)) & ~u64{15}) - 8;
    // A frame that would leave the alternate stack is a fault of the program's.
    if ((was_on || entering) && (at < alternate.base || at > alternate.base + alternate.size)) return Errno::kFault;
    if (at >= fs::kUserEnd || sp >= fs::kUserEnd || at > sp) return Errno::kFault;

    Frame f;
    f.return_address = action.restorer;
    f.uc.flags = kSigcontextSs | kStrictRestoreSs | (extended(fpu) ? kFpXstate : 0);
    f.uc.link = 0;
    f.uc.stack = {alternate.base,
                  i32(alternate.size == 0 ? kSsDisable : (alternate.flags & kSsAutoDisarm) | (was_on ? kSsOnStack : 0)),
                  0, alternate.size};
    f.uc.machine = {.r8 = r.r8,
                    .r9 = r.r9,
                    .r10 = r.r10,
                    .r11 = r.r11,
                    .r12 = r.r12,
                    .r13 = r.r13,
                    .r14 = r.r14,
                    .r15 = r.r15,
                    .rdi = r.rdi,
                    .rsi = r.rsi,
                    .rbp = r.rbp,
                    .rbx = r.rbx,
                    .rdx = r.rdx,
                    .rax = r.rax,
                    .rcx = r.rcx,
                    .rsp = r.rsp,
                    .rip = r.rip,
                    .rflags = r.rflags,
                    .cs = kUserCs,
                    .gs = 0,
                    .fs = 0,
                    .ss = kUserSs,
                    .error = t.last_fault.error_code,
                    .trap = t.last_fault.vector,
                    .old_mask = old_mask.bits,
                    .cr2 = t.last_fault.address.value,
                    .fpstate = fpu_at,
                    .reserved = {}};
    f.uc.mask = old_mask.bits;
    std::memcpy(&f.info, &info, sizeof info);
    TRY(t.user().write(UserAddr{at}, &f, sizeof f));
    SoftwareBytes software{};
    if (extended(fpu)) {
        software = {kMagic1, u32(fpu.size() + 4), fpu_features<hal::Machine>(), u32(fpu.size()), {}};
        std::memcpy(fpu.data() + kSoftwareBytes, &software, sizeof software);
        TRY(t.user().write(UserAddr{fpu_at + fpu.size()}, &kMagic2, sizeof kMagic2));
    } else {
        std::memcpy(fpu.data() + kSoftwareBytes, &software, sizeof software);
    }
    TRY(t.user().write(UserAddr{fpu_at}, fpu.data(), fpu.size()));
    t.reset_fpu();  // handlers start with the default control words

    // The frame is there: enter the handler (psABI: arguments in rdi, rsi, rdx; rax is 0 as for a varargs call).
    r.rdi = u64(u32(info.signo));
    r.rsi = at + offsetof(Frame, info);
    r.rdx = at + offsetof(Frame, uc);
    r.rax = 0;
    r.rip = action.handler;
    r.rsp = at;
    r.set_flags(r.rflags & ~(kFlagDirection | kFlagResume | kFlagTrap));
    r.forget_syscall();
    if (entering && (alternate.flags & kSsAutoDisarm)) alternate = {};
    return lib::kOk;
}

Leaf<SignalSet> pop_signal_frame(Thread& t) {
    auto& r = t.regs();
    UserAddr at{r.rsp - 8};  // the handler's return took the first word
    UserContextFrame uc;
    TRY(t.user().read(&uc, at + offsetof(Frame, uc), sizeof uc));
    const MachineContext& m = uc.machine;
    // Selectors that IRET would refuse: Linux lets it, and turns the fault into this.
    if ((m.cs | 3) != kUserCs || ((uc.flags & kStrictRestoreSs) && (m.ss | 3) != kUserSs)) return Errno::kFault;
    std::span<std::byte> fpu = t.fpu_state();
    // The CPU forgets the live state (the TLS bases are kept), then the area is filled from the frame. A copy that stops
    // half-way is either repeated or ends in SIGSEGV.
    t.save_fpu();
    if (m.fpstate != 0) {
        t.registers_changed();
        SoftwareBytes software;
        TRY(t.user().read(&software, UserAddr{m.fpstate + kSoftwareBytes}, sizeof software));
        bool full = extended(fpu) && software.magic1 == kMagic1 && software.state_size == fpu.size() &&
                    software.extended_size == fpu.size() + 4;
        if (full) {
            u32 magic2 = 0;
            TRY(t.user().read(&magic2, UserAddr{m.fpstate + fpu.size()}, sizeof magic2));
            full = magic2 == kMagic2;
        }
        TRY(t.user().read(fpu.data(), UserAddr{m.fpstate}, full ? fpu.size() : kFxsaveSize));
        if (!full && extended(fpu)) {
            // Only the legacy part: x87 and SSE are in use, the rest is as at the start (SDM vol. 1, 13.4.2).
            std::memset(fpu.data() + kFxsaveSize, 0, 64);
            fpu[kFxsaveSize] = std::byte{3};
        }
        TRY(t.set_fpu_state(fpu));
    } else {
        t.reset_fpu();
    }
    r.r8 = m.r8, r.r9 = m.r9, r.r10 = m.r10, r.r11 = m.r11, r.r12 = m.r12, r.r13 = m.r13, r.r14 = m.r14, r.r15 = m.r15;
    r.rdi = m.rdi, r.rsi = m.rsi, r.rbp = m.rbp, r.rbx = m.rbx, r.rdx = m.rdx, r.rax = m.rax, r.rcx = m.rcx;
    r.rsp = m.rsp;
    r.rip = m.rip;
    r.set_flags(m.rflags);
    r.forget_syscall();
    t.work.fetch_or(kWorkRegisters, std::memory_order_relaxed);
    // restore_altstack: only what sigaltstack(2) would accept, and not while on it.
    if (!on_stack(t.alternate_stack, UserAddr{r.rsp})) {
        if (u32(uc.stack.flags) & kSsDisable)
            t.alternate_stack = {};
        else if ((u32(uc.stack.flags) & ~(kSsOnStack | kSsAutoDisarm)) == 0 && uc.stack.size >= 2048)
            t.alternate_stack = {uc.stack.base, uc.stack.size, u32(uc.stack.flags) & kSsAutoDisarm};
    }
    return SignalSet{uc.mask};
}

void start_program(Thread& t, UserAddr entry, UserAddr stack) {
    auto& r = t.regs();
    r.reset();
    r.set_pc(entry);
    r.set_sp(stack);
    t.registers_changed();
}

bool is_tls_base(u64 base) { return base < fs::kUserEnd; }

void start_child(Thread& child, UserAddr stack, bool with_tls, u64 tls) {
    auto& r = child.regs();
    r.set_syscall_result(0);
    if (stack.value != 0) r.set_sp(stack);
    if (with_tls) r.set_tls_base(UserAddr{tls});
}

void restart_through_block(Registers& regs) {
    regs.rax = 219;  // restart_syscall
    regs.rip -= 2;   // 0f 05
}

// Which exception was raised and not masked (SDM vol. 1, 8.1.3 and 10.2.3; the legacy region of 10.5.1).
i32 float_code(Thread& t, const port::Trap& trap) {
    constexpr u32 kVectorX87 = 16;
    constexpr i32 kDivide = 3, kOverflow = 4, kUnderflow = 5, kInexact = 6, kInvalid = 7;
    t.save_fpu();
    const std::byte* area = t.fpu_state().data();
    u32 raised;
    if (trap.vector == kVectorX87) {
        u16 control, status;
        std::memcpy(&control, area, sizeof control);
        std::memcpy(&status, area + 2, sizeof status);
        raised = status & ~control;
    } else {
        u32 mxcsr;
        std::memcpy(&mxcsr, area + 24, sizeof mxcsr);
        raised = mxcsr & ~(mxcsr >> 7);
    }
    if (raised & 1) return kInvalid;
    if (raised & 4) return kDivide;
    if (raised & 8) return kOverflow;
    if (raised & 0x12) return kUnderflow;
    return kInexact;
}

Leaf<i64> process_control(Caller& c, i32 code, UserAddr argument) {
    constexpr i32 kSetGs = 0x1001, kSetFs = 0x1002, kGetFs = 0x1003, kGetGs = 0x1004;
    Thread& t = c.thread();
    auto& r = t.regs();
    switch (code) {
        case kSetFs:
        case kSetGs:
            if (!is_tls_base(argument.value)) return Errno::kPerm;
            t.save_fpu();  // the other base may live in the CPU
            (code == kSetFs ? r.fs_base : r.gs_base) = argument.value;
            t.registers_changed();
            t.work.fetch_or(kWorkRegisters, std::memory_order_relaxed);
            return 0;
        case kGetFs:
        case kGetGs: {
            t.save_fpu();
            u64 base = code == kGetFs ? r.fs_base : r.gs_base;
            TRY(c.user().write(argument, &base, sizeof base));
            return 0;
        }
        default: return Errno::kInval;
    }
}

}  // namespace linux::arch
