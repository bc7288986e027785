// SPDX-License-Identifier: MIT
// Signals: sets, actions, what is pending (signal(7)). Delivery is in linux/signal_delivery.cpp; the frame on the user
// stack, which is the machine's business, in linux/arch/.
#pragma once
#include "lib/list.hpp"
#include "lib/types.hpp"
#include "rt/spinlock.hpp"
#include "rt/timer.hpp"
#include "rt/wait.hpp"

namespace linux {

class Process;
class Thread;

inline constexpr u32 kSignals = 64;
enum Signal : u32 { kSigHup = 1, kSigInt, kSigQuit, kSigIll, kSigTrap, kSigAbrt, kSigBus, kSigFpe, kSigKill, kSigUsr1, kSigSegv,
                    kSigUsr2, kSigPipe, kSigAlrm, kSigTerm, kSigStkflt, kSigChld, kSigCont, kSigStop, kSigTstp, kSigTtin,
                    kSigTtou, kSigUrg, kSigXcpu, kSigXfsz, kSigVtalrm, kSigProf, kSigWinch, kSigIo, kSigPwr, kSigSys };

struct SignalSet {
    u64 bits = 0;
    bool has(u32 sig) const { return (bits >> (sig - 1)) & 1; }
    void add(u32 sig) { bits |= u64{1} << (sig - 1); }
    void remove(u32 sig) { bits &= ~(u64{1} << (sig - 1)); }
    friend bool operator==(SignalSet, SignalSet) = default;
};

// siginfo_t, the 128 bytes of the ABI; filled by the sender.
struct SignalInfo {
    i32 signo = 0, error = 0, code = 0, pad = 0;
    union {
        struct { i32 pid; u32 uid; u64 value; } from;                        // kill, sigqueue
        struct { i32 pid; u32 uid; i32 status; i32 pad; u64 utime, stime; } child;
        struct { u64 address; u64 pad; } fault;
        struct { i32 timer, overrun; u64 value; } timer;
        u8 bytes[112];
    };
    SignalInfo() : bytes{} {}
};
static_assert(sizeof(SignalInfo) == 128);

struct SignalAction {
    u64 handler = 0;   // 0 SIG_DFL, 1 SIG_IGN, or an address
    u64 flags = 0;     // SA_*
    u64 restorer = 0;
    SignalSet mask;
};
inline constexpr u64 kSaNoCldStop = 1, kSaNoCldWait = 2, kSaSigInfo = 4, kSaRestorer = 0x04000000, kSaOnStack = 0x08000000,
                     kSaRestart = 0x10000000, kSaNoDefer = 0x40000000, kSaResetHand = 0x80000000;

struct SignalStack {
    u64 base = 0, size = 0;
    u32 flags = 2;  // SS_DISABLE
};

// Pending: standard signals are a bit and one info each; real-time signals queue.
struct QueuedSignal {
    lib::ListHook hook;
    SignalInfo info;
};
struct PendingSignals {
    SignalSet set;
    SignalInfo* standard_info[32] = {};  // by signal number, allocated on demand; null: no info could be kept
    lib::List<QueuedSignal, &QueuedSignal::hook> realtime;
};

struct SignalState {
    rt::SpinLock<rt::Rank::signals> lock;
    SignalAction actions[kSignals + 1];
    PendingSignals pending;      // sent to the process as a whole
    rt::WaitQueue arrived;       // sigtimedwait, signalfd
    rt::WaitQueue resumed;       // stopped threads wait for SIGCONT
};

// Sends; permission was checked. Never blocks, cannot fail (a real-time queue entry that cannot be had: kAgain).
Result<void> send_signal(Process& to, const SignalInfo& info);
Result<void> send_signal(Thread& to, const SignalInfo& info);
// A fault of the thread's own: delivered even if blocked or ignored (then it kills).
void force_signal(Thread& to, const SignalInfo& info);
SignalInfo kernel_signal(u32 sig);

}  // namespace linux
