// SPDX-License-Identifier: MIT
// What the personality needs to know about the machine: signal frames, the registers of new threads, arch_prctl(2).
// Every architecture's folder has this file.
#pragma once
#include "linux/task/process.hpp"

namespace linux::arch {

using Registers = port::UserThread::Registers;

inline constexpr const char* kMachineName = "x86_64";  // uname -m

// Builds an rt_sigframe on the program's stack and makes the registers enter the handler. kNeedsFault: the stack is not
// there; kFault: it cannot be. Nothing has changed then. The thread is at home. Without `info`, the frame has none: the
// handler did not ask for it (SA_SIGINFO).
Leaf<void> push_signal_frame(Thread& t, const SignalAction& action, u32 sig, const SignalInfo* info,
                             SignalSet old_mask);
// rt_sigreturn(2): everything back from the frame at the stack pointer, the mask is handed out. kFault: there is no
// frame.
struct PoppedFrame {
    SignalSet mask;
    bool bad = false;  // a frame with invalid contents: its mask takes effect, then the thread gets SIGSEGV
};
Leaf<PoppedFrame> pop_signal_frame(Thread& t);
// Bytes below the stack pointer that a frame needs at most (AT_MINSIGSTKSZ).
u64 signal_frame_size(Thread& t);

// The thread's next instruction is the first of a program.
void start_program(Thread& t, UserAddr entry, UserAddr stack);
// A copy of its creator, which sees 0 as the result of clone.
bool is_tls_base(u64 base);
void start_child(Thread& child, UserAddr stack, bool set_tls, u64 tls);
// The interrupted call continues as restart_syscall(2).
void restart_through_block(Registers& regs);
// Does the stack pointer lie on the alternate signal stack?
bool on_stack(const SignalStack& s, UserAddr sp);
i32 float_code(Thread& t, const port::Trap& trap);  // si_code of a SIGFPE; the thread is at home
// arch_prctl(2); EINVAL where a machine has no such call's code. The thread is at home.
Leaf<i64> process_control(Caller& c, i32 code, UserAddr argument);

}  // namespace linux::arch
