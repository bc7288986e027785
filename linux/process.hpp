// SPDX-License-Identifier: MIT
// Processes and threads of the Linux personality.
//
// Process: a thread group. Thread: a task; derives from the port's UserThread (registers, its root coroutine).
// Lifetime: a Thread is referenced by its process's list, the tid table and whoever runs it; it leaves all on exit and is
// destroyed when its root coroutine has ended. A Process lives until it was waited for (zombie) and no reference is left.
//
// Locks: Rank::process_tree (one, global: `process_tree`) guards parent/children/group/session links, the pid table, and
// state changes that wait(2) sees. Rank::process guards one process's thread list and exit state. Rank::signals
// (Process::signals) guards pending signals, actions, stop state.
#pragma once
#include "fs/creds.hpp"
#include "fs/file_table.hpp"
#include "fs/path.hpp"
#include "lib/list.hpp"
#include "linux/mm/address_space.hpp"
#include "linux/signal.hpp"
#include "port/bind.hpp"
#include "port/bind.hpp"
#include "rt/wait.hpp"

namespace linux {

class Process;
class Thread;

using Pid = lib::Strong<struct PidTag, i32>;

inline constexpr size_t kCommLength = 16;  // TASK_COMM_LEN

// Resource limits, getrlimit(2) order.
enum Rlimit : u32 { kRlimCpu, kRlimFsize, kRlimData, kRlimStack, kRlimCore, kRlimRss, kRlimNproc, kRlimNofile, kRlimMemlock,
                    kRlimAs, kRlimLocks, kRlimSigpending, kRlimMsgqueue, kRlimNice, kRlimRtprio, kRlimRttime, kRlimCount };
struct RlimitValue {
    u64 soft = ~u64{0}, hard = ~u64{0};
};

// Root, working directory, umask: shared by CLONE_FS.
struct FsContext : RefCounted<FsContext> {
    struct State {
        fs::Path root, cwd;
        u32 umask = 022;
    };
    rt::Guarded<State, rt::Rank::fs_context> state;
};

// User and system time, in nanoseconds.
struct CpuTimes {
    u64 user = 0, system = 0;
};
struct Usage {
    CpuTimes times;
    u64 minor_faults = 0, major_faults = 0, voluntary_switches = 0, involuntary_switches = 0, max_rss_kib = 0;
};

// What a system call handler gets: who asks. (DESIGN: `Caller`, never trap registers.) It is the thread, seen narrowly.
class Caller {
public:
    Process& process() const { return *process_; }
    Thread& thread();
    // The address space being used by this call; the one of the thread's process.
    fs::UserMemory& user() { return user_; }
    AddressSpace& mm() const { return *mm_; }
    fs::FileTable& files() const { return *files_; }
    FsContext& fs_context() const { return *fs_; }
    const fs::Creds& creds() const { return *creds_; }
    Ref<const fs::Creds> creds_ref() const;
    // Root, cwd and credentials for path resolution. References are taken.
    fs::LookupContext lookup_context() const;
    // Should a wait end: a signal is pending, or the thread is being killed.
    bool interrupted() const;

protected:
    explicit Caller() : user_(nullptr) {}
    Process* process_ = nullptr;
    fs::UserMemory user_;
    Ref<AddressSpace> mm_;
    Ref<fs::FileTable> files_;
    Ref<FsContext> fs_;
    Ref<fs::Creds> creds_;  // replaced as a whole by set*id
};

// Work to do before a thread goes back to user mode (Thread::work bits; any CPU may set them, then kick()).
enum ThreadWork : u32 {
    kWorkSignal = 1,  // something may be deliverable
    kWorkExit = 2,    // the group is exiting or execve of another thread wants us gone
    kWorkStop = 4,    // the group is stopping
};

class Thread : public port::UserThread, public Caller, public RefCounted<Thread> {
public:
    Pid tid{};
    char comm[kCommLength] = {};
    std::atomic<u32> work{0};
    // Sets bits and makes the thread look at them soon: ends interruptible waits, user mode, whatever it does.
    void notify(u32 bits);

    // Signals. Guarded by the process's Rank::signals lock, but for `blocked`, written by the thread itself under it.
    SignalSet blocked;
    SignalSet saved_blocked;         // sigsuspend, ppoll...: restored after delivery
    bool restore_blocked = false;
    PendingSignals pending;
    SignalStack alternate_stack;
    i32 exit_signal_to_parent = 0;   // of the clone that made it (leader only)

    UserAddr clear_child_tid{};      // set_tid_address(2)
    UserAddr robust_list{};
    u64 robust_list_size = 0;
    Usage usage;
    u64 syscall_number = 0;          // of the call in progress
    // A call that resumes by restart_syscall(2) (nanosleep, futex, poll).
    struct RestartBlock { Task<Result<i64>> (*run)(Caller&, RestartBlock&) = nullptr; u64 data[6] = {}; } restart;
    rt::WaitQueue* vfork_done = nullptr;  // parent's, while it waits for our exec or exit

    lib::ListHook process_hook;  // in Process::threads
    lib::ListHook tid_hook;

    static void last_ref(Thread* t);
    friend class Process;
    friend class Caller;
};
inline Thread& Caller::thread() { return static_cast<Thread&>(*this); }

class Process : public RefCounted<Process> {
public:
    Pid pid{};
    char exe_path[256] = {};     // as given to execve
    bool did_exec = false;

    // The tree; guarded by process_tree.
    Process* parent = nullptr;
    lib::ListHook sibling_hook;
    lib::List<Process, &Process::sibling_hook> children;
    lib::ListHook pid_hook;
    Pid group{}, session{};
    lib::ListHook group_hook;
    struct Terminal* terminal = nullptr;  // controlling terminal
    enum class State : u8 { kLive, kExiting, kZombie, kReaped };
    State state = State::kLive;
    i32 exit_status = 0;          // as wait(2) encodes it
    i32 stop_status = 0;          // pending report of a stop (signal number), WUNTRACED
    bool stopped = false, continued_report = false;
    Usage usage_total;            // of threads that have ended
    Usage usage_children;         // of waited-for children
    rt::WaitQueue child_changed;  // woken when a child changes state: wait(2)

    // Threads; guarded by lock.
    rt::SpinLock<rt::Rank::process> lock;
    lib::List<Thread, &Thread::process_hook> threads;
    u32 live_threads = 0;
    bool group_exiting = false;
    i32 group_exit_status = 0;
    rt::WaitQueue thread_gone;    // woken when a thread has left (execve by one of several)

    SignalState signals;          // actions, shared pending, timers: linux/signal.hpp
    rt::Guarded<RlimitValue[kRlimCount], rt::Rank::process> rlimits;
    Nanoseconds started{};
};

// The calling thread's process tree, pid table and counters.
extern rt::SpinLock<rt::Rank::process_tree> process_tree;
Ref<Process> find_process(Pid pid);
Ref<Thread> find_thread(Pid tid);
// Calls out for each process in order of pid; stops when it returns false. Holds no lock while calling.
void for_each_process(bool (*out)(void* context, Process& p), void* context);
u32 process_count();
u32 thread_count();

// Makes the first process and starts `path` with argv and envp; its standard descriptors are port::streams. The result is
// reported by `on_exit` (wait status) when it has gone. Errors are execve's.
struct InitialProgram {
    std::span<const std::string_view> arguments;
    std::span<const std::string_view> environment;
};
Result<void> start_init(const InitialProgram& program, void (*on_exit)(i32 wait_status));

// Ends the calling thread's whole group with this wait status (exit code << 8, or a signal number | 0x80 core).
void begin_group_exit(Process& p, i32 wait_status);

}  // namespace linux
