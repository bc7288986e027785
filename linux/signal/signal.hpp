// SPDX-License-Identifier: MIT
// Signals: sets, actions, what is pending (signal(7)). Delivery is in linux/signal/signal_delivery.cpp; the frame on
// the user stack, which is the machine's business, in linux/arch/.
#pragma once
#include "abi/linux/signal.hpp"
#include "fs/user_account.hpp"
#include "lib/list.hpp"
#include "lib/ref.hpp"
#include "lib/result.hpp"
#include "lib/types.hpp"
#include "linux/abi.hpp"
#include "rt/spinlock.hpp"
#include "rt/timer.hpp"
#include "rt/wait.hpp"

namespace linux {

class Process;
class Thread;

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
        struct {
            i32 pid;
            u32 uid;
            u64 value;
        } from;  // kill, sigqueue
        struct {
            i32 pid;
            u32 uid;
            i32 status;
            i32 pad;
            u64 utime, stime;
        } child;
        struct {
            u64 address;
            u64 pad;
        } fault;
        struct {
            i32 timer, overrun;
            u64 value;
        } timer;
        u8 bytes[112];
    };
    SignalInfo() : bytes{} {}
};
static_assert(sizeof(SignalInfo) == 128);

struct SignalAction {
    u64 handler = kSigDefault;  // or kSigIgnore, or an address
    u64 flags = 0;              // SA_*
    u64 restorer = 0;
    SignalSet mask;
};

struct SignalStack {
    u64 base = 0, size = 0;
    u32 flags = kSsDisable;  // as they were given
};

// Pending: a bit each, and the information that came with it. A standard signal has at most one entry, real-time
// signals queue. A bit without an entry: its information could not be kept (signal(7)).
//
// The list has one entry of each number, the oldest, with a chain of the others of its number. So no operation on a
// signal depends on how many are queued.
struct QueuedSignal {
    explicit QueuedSignal(const SignalInfo& i, Ref<fs::UserAccount> user) : info(i), account(std::move(user)) {
        if (account) account->signals.fetch_add(1, std::memory_order_relaxed);
    }
    ~QueuedSignal() {
        if (counted && account) account->signals.fetch_sub(1, std::memory_order_relaxed);
    }
    lib::ListHook hook;            // of the oldest of its number
    QueuedSignal* next = nullptr;  // of the same number
    QueuedSignal* last = this;     // of the oldest: the end of the chain; of a dropped one, another dropped chain
    bool counted = true;           // for the account
    SignalInfo info;
    Ref<fs::UserAccount> account;
};
struct PendingSignals {
    SignalSet set;
    lib::List<QueuedSignal, &QueuedSignal::hook> oldest;
    void clear() {
        if (set.bits != 0) [[unlikely]]
            drop(SignalSet{~u64{0}});
    }
    // Removes these. They no longer count for their users; the memory of many is freed soon afterwards.
    void drop(SignalSet which);
};

// sigaction(2). Shared by CLONE_SIGHAND; its lock is taken inside SignalState::lock.
struct ActionTable : RefCounted<ActionTable> {
    rt::SpinLock<rt::Rank::signal_actions> lock;
    SignalAction at[kSignals + 1] RT_GUARDED_BY(lock);
};

// Process::threads is changed under its lock and Process::lock, and may be read under either.
struct SignalState {
    rt::SpinLock<rt::Rank::signals> lock;
    Ref<ActionTable> actions;  // replaced by execve only
    // Sent to the process as a whole.
    PendingSignals pending RT_GUARDED_BY(lock);
    fs::UserAccount* account = nullptr;  // of the leader's creds, which keep it: whose queued signals these are
    rt::WaitQueue arrived;               // sigtimedwait, signalfd
    rt::WaitQueue resumed;               // stopped threads wait for SIGCONT or their end

    // Job control. A group stop begins when a thread takes a stop signal and is complete when every thread has stopped.
    u32 stop_signal RT_GUARDED_BY(lock) = 0;   // of the stop in progress or in force; 0: none
    u32 to_stop RT_GUARDED_BY(lock) = 0;       // threads that have still to stop
    bool stopped RT_GUARDED_BY(lock) = false;  // complete
    // What wait(2) has not seen yet.
    bool stop_unreported RT_GUARDED_BY(lock) = false;
    bool continue_unreported RT_GUARDED_BY(lock) = false;
    u8 report RT_GUARDED_BY(lock) = 0;  // what the next thread that checks reports to the parent
    static constexpr u8 kReportStopped = 1, kReportContinued = 2;
    // Of a group stop: from this one on they have not been told yet. Those that stop tell more.
    Thread* stop_next RT_GUARDED_BY(lock) = nullptr;
    // When all threads are to end: from this one on they have not been told yet. Those that end tell more.
    Thread* exit_next RT_GUARDED_BY(lock) = nullptr;
};

// Sends; permission was checked. Never blocks, cannot fail except for a real-time queue entry that cannot be allocated
// (kAgain).
Result<void> send_signal(Process& to, const SignalInfo& info);
Result<void> send_signal(Thread& to, const SignalInfo& info);
// A signal that the calling thread sends to itself, or to its process, in the call's leaf: if nothing stands between it
// and its handler, the frame is pushed at once, and the call's result is 0. False: nothing was done.
bool signal_self(Thread& t, u32 sig, i32 code, bool to_process);
// A fault of the thread's own: delivered even if blocked or ignored (then it kills).
void force_signal(Thread& to, const SignalInfo& info);
SignalInfo kernel_signal(u32 sig);

SignalInfo user_signal(u32 sig, i32 code, i32 pid, u32 uid);  // kill, tgkill

constexpr SignalSet signals_of(auto... sig) { return SignalSet{((u64{1} << (u32(sig) - 1)) | ... | u64{0})}; }
inline constexpr SignalSet kUnblockable = signals_of(kSigKill, kSigStop);
inline constexpr SignalSet kStopSignals = signals_of(kSigStop, kSigTstp, kSigTtin, kSigTtou);
inline constexpr SignalSet kIgnoredByDefault = signals_of(kSigCont, kSigChld, kSigWinch, kSigUrg);
inline constexpr SignalSet kCoreSignals =
    signals_of(kSigQuit, kSigIll, kSigTrap, kSigAbrt, kSigFpe, kSigSegv, kSigBus, kSigSys, kSigXcpu, kSigXfsz);

// Would `sig` be dropped, or held back, if it were sent to the calling thread? (Background reads and writes of a
// terminal.)
bool ignores_or_blocks(Thread& t, u32 sig);
// Is the process group orphaned: no process of its session outside the group is the parent of a member (setpgid(2))?
bool group_is_orphaned(i32 group);

// For /proc: sets of one process, and of one of its threads; null: any.
struct SignalSummary {
    SignalSet pending, shared_pending, blocked, ignored, caught;
    u64 queued = 0;  // by the user, in all processes
};
SignalSummary signal_summary(Process& p, const Thread* t = nullptr);

// ---- Inside the personality ----

// What must happen before a thread returns to user mode.
enum class SignalOutcome : u8 {
    kDone,     // nothing is left to do
    kMore,     // there is more: give way, then look again
    kExit,     // the thread has to end
    kStopped,  // wait on `resumed` while is_stopped(), then look again
    kFault,    // fault in the range that t.user().fault() names, then look again
};
// Delivers signals, joins group stops, resolves restarts. Called by the thread itself, while it has work to do.
SignalOutcome deliver_signals(Thread& t);
bool is_stopped(Thread& t);
// The range of kFault cannot be faulted in: the thread gets SIGSEGV instead.
void signal_frame_failed(Thread& t);
// Recomputes, after `blocked` has changed or a signal was put back, whether the thread has work.
void set_blocked(Thread& t, SignalSet to);
// Is one of `wanted` pending, for the thread or its process?
bool has_pending(Thread& t, SignalSet wanted);
// Takes one pending signal out of `wanted` (sigtimedwait). False: none.
bool take_signal(Thread& t, SignalSet wanted, SignalInfo& out);
// The lock of p's signals is held, or p is the caller's own: execve replaces the table. look_up_action() takes the lock
// itself.
SignalAction get_action(Process& p, u32 sig);
SignalAction look_up_action(Process& p, u32 sig);

}  // namespace linux
