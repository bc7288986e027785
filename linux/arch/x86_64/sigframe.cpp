// SPDX-License-Identifier: MIT
// Signal frames of the x86_64 ABI: the rt_sigframe that handlers, unwinders and debuggers expect on the stack
// (arch/x86/include/uapi/asm/{ucontext,sigcontext}.h give the layout; psABI 3.2.2 the red zone).
#include <cstring>

#include "abi/linux/prctl.hpp"
#include "abi/linux/sigcontext_x86_64.hpp"
#include "abi/linux/syscall_x86_64.hpp"
#include "linux/arch/machine.hpp"

namespace linux::arch {
namespace {

// The error code of a page fault. Whether a kernel page is present is not revealed: all are reported as protected.
u64 fault_code(const port::Trap& fault) {
    constexpr u64 kProtected = 1;
    const bool kernel = fault.kind == port::Trap::Kind::kPageFault && fault.address.value >= fs::kUserEnd;
    return fault.error_code | (kernel ? kProtected : 0);
}

struct Frame {  // struct rt_sigframe
    u64 return_address;
    abi::UserContextFrame uc;
    SignalInfo info;
};
static_assert(sizeof(Frame) == 8 + 40 + 256 + 8 + 128);

constexpr u64 kRedZone = 128;

// The XSAVE area (SDM vol. 1, 10.5.1 and 13.4): sizes, and offsets in the legacy region.
constexpr size_t kFxsaveSize = 512, kXsaveHeaderSize = 64, kMxcsr = 24, kSoftwareBytes = 464;
constexpr u64 kLegacyComponents = 3, kSse = 2;  // x87 and SSE
constexpr u32 kInitialMxcsr = 0x1f80;

bool extended(size_t fpu_size) { return fpu_size > kFxsaveSize; }

// FPU state that is not in the CPU, or not where it could be stored at once: by way of the thread's area.
[[gnu::noinline]] Leaf<void> copy_fpu_out(Thread& t, u64 at) {
    t.save_fpu();
    std::span<std::byte> fpu = t.fpu_state();
    return t.user().write(UserAddr{at}, fpu.data(), fpu.size());
}

// What XRSTOR and FXRSTOR would refuse with #GP (SDM vol. 1, 13.8.1 and 10.5.1.2).
bool is_loadable(std::span<const std::byte> fpu, u64 at, bool full) {
    u32 mxcsr;
    std::memcpy(&mxcsr, fpu.data() + kMxcsr, sizeof mxcsr);
    if (mxcsr & 0xffff0000) return false;
    if (!full) return at % 16 == 0;
    u64 header[3];
    std::memcpy(header, fpu.data() + kFxsaveSize, sizeof header);
    return at % 64 == 0 && (header[0] & ~port::Port::fpu_features()) == 0 && header[1] == 0 && header[2] == 0;
}

// The reverse of the above, and the result if it cannot be done at once: kNeedsFault, or kFault for a bad area.
[[gnu::noinline]] Leaf<void> copy_fpu_in(Thread& t, u64 at, bool full, u64 components) {
    std::span<std::byte> fpu = t.fpu_state();
    // The CPU forgets the live state (the TLS bases are kept), then the area is filled from the frame. A copy that
    // stops half-way is either repeated or ends in SIGSEGV.
    t.save_fpu();
    t.registers_changed();
    auto r = t.user().read(fpu.data(), UserAddr{at}, full ? fpu.size() : kFxsaveSize);
    if (r.error().needs_more()) return r;
    if (!r.ok() || !is_loadable(fpu, at, full)) {
        t.reset_fpu();
        return Errno::kFault;
    }
    if (full) {
        u64 present;
        std::memcpy(&present, fpu.data() + kFxsaveSize, sizeof present);
        present &= components;
        std::memcpy(fpu.data() + kFxsaveSize, &present, sizeof present);
        if (!(components & kSse)) std::memcpy(fpu.data() + kMxcsr, &kInitialMxcsr, sizeof kInitialMxcsr);
    } else if (extended(fpu.size())) {
        // Only the legacy part: x87 and SSE are in use, the rest is as at the start (SDM vol. 1, 13.4.2).
        std::memset(fpu.data() + kFxsaveSize, 0, kXsaveHeaderSize);
        fpu[kFxsaveSize] = std::byte{kLegacyComponents};
    }
    TRY(t.set_fpu_state(fpu));
    return lib::kOk;
}

// The FPU state that a frame points to.
Leaf<void> load_fpu(Thread& t, u64 at) {
    if (at == 0) {
        t.reset_fpu();
        return lib::kOk;
    }
    size_t size = t.fpu_state().size();
    bool full = false;
    u64 components = kLegacyComponents;
    if (extended(size)) {
        abi::FpSoftwareBytes said;
        TRY(t.user().load_words(UserAddr{at + kSoftwareBytes}, said.magic1, said.extended_size, said.features,
                                said.state_size));
        full = said.magic1 == kFpXstateMagic1 && said.state_size >= kFxsaveSize + kXsaveHeaderSize &&
               said.state_size <= size && said.state_size <= said.extended_size;
        if (full) {
            u32 magic2;
            TRY(t.user().load_words(UserAddr{at + said.state_size}, magic2));
            full = magic2 == kFpXstateMagic2;
        }
        if (full) components = said.features;
    }
    if (t.load_fpu(UserAddr{at}, components, !full)) [[likely]]
        return lib::kOk;
    return copy_fpu_in(t, at, full, components);
}

}  // namespace

bool on_stack(const SignalStack& s, UserAddr sp) {
    if (s.flags & kSsAutoDisarm) return false;
    return s.size != 0 && sp.value > s.base && sp.value - s.base <= s.size;
}

u64 signal_frame_size(Thread& t) { return sizeof(Frame) + kRedZone + t.fpu_state().size() + 4 + 64 + 16; }

Leaf<void> push_signal_frame(Thread& t, const SignalAction& action, u32 sig, const SignalInfo* info,
                             SignalSet old_mask) {
    auto& r = t.regs();
    SignalStack& alternate = t.alternate_stack;
    bool was_on = on_stack(alternate, r.sp());
    bool entering = false;
    u64 sp = r.rsp - kRedZone;
    if ((action.flags & kSaOnStack) && alternate.size != 0 && !was_on) {
        sp = alternate.base + alternate.size;
        entering = true;
    }
    const size_t fpu_size = t.fpu_state().size();
    const bool xsave = extended(fpu_size);
    u64 fpu_at = (sp - fpu_size - (xsave ? sizeof kFpXstateMagic2 : 0)) & ~u64{63};
    u64 at = ((fpu_at - sizeof(Frame)) & ~u64{15}) - 8;
    // A frame that would leave the alternate stack is a fault of the program's.
    if ((was_on || entering) && (at < alternate.base || at > alternate.base + alternate.size)) return Errno::kFault;
    if (at >= fs::kUserEnd || sp >= fs::kUserEnd || at > sp) return Errno::kFault;

    // Straight into the program's memory, all that the kernel of the oracle writes and nothing else.
    t.come_near();
    fs::UserMemory& user = t.user();
    if (!t.store_fpu(UserAddr{fpu_at})) [[unlikely]]
        TRY(copy_fpu_out(t, fpu_at));
    TRY(user.store_words(UserAddr{fpu_at + kSoftwareBytes}, kFpXstateMagic1, u32(fpu_size + sizeof kFpXstateMagic2),
                         port::Port::fpu_features(), u64{fpu_size}, u64{0}, u64{0}, u64{0}));
    if (xsave) {
        TRY(user.store_words(UserAddr{fpu_at + fpu_size}, kFpXstateMagic2));
        // x87 and SSE are always said to be in use.
        u64 present;
        TRY(user.load_words(UserAddr{fpu_at + kFxsaveSize}, present));
        TRY(user.store_words(UserAddr{fpu_at + kFxsaveSize}, present | kLegacyComponents));
    }
    // In the order of Frame.
    static_assert(offsetof(Frame, uc.machine.fpstate) == 232 && offsetof(Frame, uc.mask) == 304);
    TRY(user.store_words(UserAddr{at}, action.restorer, kSigcontextSs | kStrictRestoreSs | (xsave ? kFpXstate : 0),
                         u64{0}, alternate.base, u64{alternate.flags}, alternate.size, r.r8, r.r9, r.r10, r.r11, r.r12,
                         r.r13, r.r14, r.r15, r.rdi, r.rsi, r.rbp, r.rbx, r.rdx, r.rax, r.rcx, r.rsp, r.rip, r.rflags,
                         u64{kUserCs} | u64{kUserSs} << 48, fault_code(t.last_fault), u64{t.last_fault.vector},
                         old_mask.bits, t.last_fault.address.value, fpu_at));
    TRY(user.store_words(UserAddr{at + offsetof(Frame, uc.mask)}, old_mask.bits));
    if (info) TRY(user.write(UserAddr{at + offsetof(Frame, info)}, info, sizeof *info));
    t.reset_fpu();  // handlers start with the default control words

    // The frame is there: enter the handler (psABI: arguments in rdi, rsi, rdx; rax is 0 as for a varargs call).
    r.rdi = sig;
    r.rsi = at + offsetof(Frame, info);
    r.rdx = at + offsetof(Frame, uc);
    r.rax = 0;
    r.rip = action.handler;
    r.rsp = at;
    r.set_flags(r.rflags & ~(hal::kFlagDirection | hal::kFlagResume | hal::kFlagTrap));
    r.forget_syscall();
    if (alternate.flags & kSsAutoDisarm) alternate = {};  // by any handler; its frame brings it back
    return lib::kOk;
}

Leaf<PoppedFrame> pop_signal_frame(Thread& t) {
    auto& r = t.regs();
    UserAddr at{r.rsp - 8};  // the handler's return took the first word
    if (!fs::UserMemory::inside(at, sizeof(Frame))) return Errno::kFault;
    t.come_near();
    fs::UserMemory& user = t.user();
    UserAddr uc = at + offsetof(Frame, uc);
    PoppedFrame popped;
    // Both ends first: what lies between is then present, unless another thread has just removed it.
    u64 flags;
    TRY(user.load_words(at + offsetof(Frame, uc.mask), popped.mask.bits));
    TRY(user.load_words(uc, flags));
    u16 cs, gs, fs, ss;
    u64 error, trap, old_mask, cr2, fpstate;
    TRY(user.load_words(uc + offsetof(abi::UserContextFrame, machine.cs), cs, gs, fs, ss, error, trap, old_mask, cr2,
                        fpstate));
    auto fpu = load_fpu(t, fpstate);
    if (fpu.error().needs_more()) [[unlikely]]
        return fpu.error();
    // No way back from here: the call's own registers go.
    if (!user.load_now(uc + offsetof(abi::UserContextFrame, machine), r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14,
                       r.r15, r.rdi, r.rsi, r.rbp, r.rbx, r.rdx, r.rax, r.rcx, r.rsp, r.rip, r.rflags)) [[unlikely]]
        return Errno::kFault;
    r.set_flags(r.rflags);
    r.forget_syscall();
    t.work.fetch_or(kWorkRegisters, std::memory_order_relaxed);
    // Selectors that IRET would refuse: Linux lets it, and turns the fault into this.
    abi::SigStack stack;
    popped.bad =
        !fpu.ok() || (cs | 3) != kUserCs || ((flags & kStrictRestoreSs) && (ss | 3) != kUserSs) ||
        !user.load_now(uc + offsetof(abi::UserContextFrame, stack), stack.base, stack.flags, stack.pad, stack.size);
    if (popped.bad) [[unlikely]]
        return popped;
    // restore_altstack: only what sigaltstack(2) would accept, and not while on it.
    if (!on_stack(t.alternate_stack, UserAddr{r.rsp})) {
        const u32 mode = u32(stack.flags) & ~kSsAutoDisarm;
        if (mode == kSsDisable)
            t.alternate_stack = {0, 0, u32(stack.flags)};
        else if ((mode & ~kSsOnStack) == 0 && stack.size >= 2048)
            t.alternate_stack = {stack.base, stack.size, u32(stack.flags)};
    }
    return popped;
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
    regs.rax = abi::kNrRestartSyscall;
    regs.rip -= 2;  // 0f 05
}

// Which exception was raised and not masked (SDM vol. 1, 8.1.3 and 10.2.3; the legacy region of 10.5.1).
i32 float_code(Thread& t, const port::Trap& trap) {
    constexpr u32 kVectorX87 = 16;
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
    if (raised & 1) return kFpeFltInv;
    if (raised & 4) return kFpeFltDiv;
    if (raised & 8) return kFpeFltOvf;
    if (raised & 0x12) return kFpeFltUnd;
    return kFpeFltRes;
}

Leaf<i64> process_control(Caller& c, i32 code, UserAddr argument) {
    Thread& t = c.thread();
    auto& r = t.regs();
    switch (code) {
        case kArchSetFs:
        case kArchSetGs:
            if (!is_tls_base(argument.value)) return Errno::kPerm;
            t.save_fpu();  // the other base may live in the CPU
            (code == kArchSetFs ? r.fs_base : r.gs_base) = argument.value;
            t.registers_changed();
            t.work.fetch_or(kWorkRegisters, std::memory_order_relaxed);
            return 0;
        case kArchGetFs:
        case kArchGetGs: {
            t.save_fpu();
            u64 base = code == kArchGetFs ? r.fs_base : r.gs_base;
            TRY(c.user().write(argument, &base, sizeof base));
            return 0;
        }
        case kArchGetCpuid: return 1;  // the instruction is there for all
        case kArchSetCpuid: return Errno::kNoDev;
        default: return Errno::kInval;
    }
}

}  // namespace linux::arch
