// SPDX-License-Identifier: MIT
// Processes and threads of the Linux personality.
//
// Process: a thread group. Thread: a task; derives from the port's UserThread (registers, its root coroutine).
// Lifetime: a Thread is referenced by its process's list, the tid table and the CPU that runs it; it leaves all on exit
// and is destroyed when its root coroutine has ended. A Process lives until it was waited for (zombie) and no reference
// is left.
//
// Locks: Rank::process_tree (one, global: `process_tree`) guards parent/children/group/session links, the pid table,
// and state changes that wait(2) sees. Rank::process guards one process's thread list and exit state. Rank::signals
// (Process::signals) guards pending signals, actions, stop state.
#pragma once
#include "abi/linux/resource.hpp"
#include "abi/linux/sched.hpp"
#include "fs/creds.hpp"
#include "fs/file_table.hpp"
#include "fs/path.hpp"
#include "lib/function_ref.hpp"
#include "lib/list.hpp"
#include "linux/abi.hpp"
#include "linux/mm/address_space.hpp"
#include "linux/signal/signal.hpp"
#include "linux/task/futex_waiter.hpp"
#include "linux/task/oom_adjustment.hpp"
#include "port/bind.hpp"
#include "rt/wait.hpp"

namespace fs {
struct KeptWalk;
KeptWalk*& kept_walks_of(const void* caller);
}  // namespace fs

namespace linux {

class Process;
class Thread;

using Pid = lib::Strong<struct PidTag, i32>;
using fs::Fd;

// Root, working directory, umask: shared by CLONE_FS.
struct FsContext : RefCounted<FsContext> {
    struct State {
        fs::Path root, cwd;
        u32 umask = 022;
        u32 users = 0;  // threads
        u32 execs = 0;  // executions in progress that have found it used by their own threads only
    };
    rt::Guarded<State, rt::Rank::fs_context> state;
    // A thread joins or leaves. EAGAIN: its only user is about to execute, and no thread may join.
    Result<void> join();
    void leave();
    // Is it used by other threads than these? If not, none joins until end_exec().
    bool begin_exec(u32 own_threads);
    void end_exec();
};

// User and system time, in nanoseconds.
struct CpuTimes {
    u64 user = 0, system = 0;
};
struct Usage {
    CpuTimes times;
    u64 minor_faults = 0, major_faults = 0, voluntary_switches = 0, involuntary_switches = 0, max_rss_kib = 0;
};

using TaskResult = Task<Leaf<i64>>;  // of a call that waits; kNeedsFault: the call is run again from its beginning

// What a handler's value looks like in a register.
template <class T>
constexpr i64 in_register(const T& v) {
    if constexpr (requires { v.value; })
        return i64(v.value);
    else
        return i64(v);
}

// Of the tree of processes, the table of numbers and its counters.
extern rt::SpinLock<rt::Rank::process_tree> process_tree;

// All threads, from before their start until they are reaped, and how many there may be (/proc/sys/kernel/threads-max).
struct ThreadTotals {
    rt::Atomic<u64> now{0}, most{0};
};
extern ThreadTotals thread_totals;
inline constexpr u64 kLeastThreads = 20, kMostThreads = 0x3fffffff;  // MIN_THREADS, MAX_THREADS of kernel/fork.c

// What a system call handler gets: who asks. (DESIGN: `Caller`, never trap registers.) It is the thread, seen narrowly.
class Caller {
public:
    Process& process() const { return *process_; }
    Thread& thread();
    // The address space being used by this call; the one of the thread's process.
    fs::UserMemory& user() { return user_; }
    AddressSpace& mm() const { return *mm_; }
    fs::FileTable& files() const { return *files_; }
    // The file of a descriptor: EBADF. A call looks a number up once. An end of a handler without a result (a fault, a
    // wait for one queue) keeps the file, and it gets the same one when it runs again, whatever the number means by
    // then.
    Result<Ref<fs::File>> file(Fd fd) {
        if (kept_file_) [[unlikely]]
            return Ref<fs::File>{kept_file_};
        return files_->get(fd);
    }
    // The same for the length of one leaf call; null: there is none.
    fs::FileTable::Borrowed borrow(Fd fd) {
        if (!files_->shared()) [[likely]]
            return {files_->peek(fd), false};
        return borrow_shared(fd);
    }
    // Of a handler that has looked `file` up and ends with `e`: keeps the file if it will run again. Only another thread of
    // the same table can change what a number means, and it may have ended by then.
    LeafError keep_if_unfinished(fs::File& file, LeafError e) {
        if (e == kNeedsFault && files_->shared()) keep_file(file);
        return e;
    }
    template <class T>
    Leaf<T> keep_if_unfinished(fs::File& file, Leaf<T> result) {
        if (!result.ok()) [[unlikely]]
            (void)keep_if_unfinished(file, result.error());
        return result;
    }
    // The same of one that was borrowed.
    template <class T>
    Leaf<T> keep_if_unfinished(const fs::FileTable::Borrowed& file, Leaf<T> result) {
        if (!result.ok() && file.counted()) [[unlikely]]
            keep_shared(*file, result.error());
        return result;
    }
    void keep_file(fs::File& file) {
        kept_file_ = Ref<fs::File>{&file};
        if (files_->shared()) [[unlikely]]
            keep_table();
    }
    // It was looked up in a table that was shared then, and may not be any more.
    void keep_shared(fs::File& file, LeafError e);
    // The call is over.
    void forget_file() {
        if (kept_file_) [[unlikely]] {
            kept_file_ = {};
            if (kept_table_) [[unlikely]]
                forget_table();
        }
    }
    // What a handler that must wait returns: the call goes on as this task, which the thread's coroutine awaits. kNeedsTask;
    // kNoMem: there is no memory for a task, and nothing has been done.
    LeafError later(TaskResult task);
    template <class R, class E>
    LeafError later(Task<lib::Outcome<R, E>> task) {
        return task.valid() ? later(widened(std::move(task))) : Errno::kNoMem;
    }
    // The outcome of something that must not wait, or if it would have to, of the task that `task()` makes.
    template <class T, class F>
    Leaf<T> or_later(Leaf<T> now, F&& task) {
        if (now.error() == kNeedsTask) [[unlikely]]
            return later_by(task);
        return now;
    }
    FsContext& fs_context() const { return *fs_; }
    const fs::Creds& creds() const { return *creds_; }
    Ref<const fs::Creds> creds_ref() const;
    // Root, cwd and credentials for path resolution. References are taken.
    fs::LookupContext lookup_context() const;
    // Should a wait end: a signal is pending, or the thread is being killed.
    bool interrupted() const;

protected:
    explicit Caller() : user_(nullptr, this) {}
    Process* process_ = nullptr;  // referenced by the thread
    fs::UserMemory user_;
    Ref<AddressSpace> mm_;
    fs::FileTable::Use files_;
    Ref<FsContext> fs_;
    Ref<fs::Creds> creds_;                // replaced as a whole by set*id
    bool counted_ = false;                // among all threads, and those of creds_->user
    Ref<fs::File> kept_file_;             // of the call in progress
    fs::KeptWalk* kept_walks_ = nullptr;  // the same (fs/walk.hpp)
    // With a kept file, if the table was shared: it stays so until the call is over, for calls look for a kept file only
    // where a table is shared.
    fs::FileTable::Use kept_table_;

private:
    friend fs::KeptWalk*& fs::kept_walks_of(const void* caller);
    // Apart, so that what only the task needs takes no registers of the handler.
    template <class F>
    [[gnu::noinline, gnu::cold]] LeafError later_by(F& task) {
        return later(task());
    }
    template <class R, class E>
    static TaskResult widened(Task<lib::Outcome<R, E>> inner) {
        auto r = co_await inner;
        if (!r.ok()) co_return r.error();
        if constexpr (std::is_void_v<R>)
            co_return i64{0};
        else
            co_return in_register(r.value());
    }
    fs::FileTable::Borrowed borrow_shared(Fd fd);
    [[gnu::noinline, gnu::cold]] void keep_table();
    [[gnu::noinline, gnu::cold]] void forget_table();
};

// Work to do before a thread returns to user mode (Thread::work bits; any CPU may set them, then kick()).
enum ThreadWork : u32 {
    kWorkSignal = 1,     // something may be deliverable
    kWorkExit = 2,       // the group is exiting, or execve of another thread ends this one
    kWorkStop = 4,       // the group is stopping
    kWorkRegisters = 8,  // a leaf has changed more than its result
};

// A vfork parent sleeps on this until its child has called execve or ended.
struct VforkDone : RefCounted<VforkDone> {
    std::atomic<bool> done{false};
    rt::WaitQueue queue;
};

class Thread : public port::UserThread, public Caller, public RefCounted<Thread> {
public:
    using Caller::user;  // the memory; user mode is port::UserThread::user()
    Thread();
    ~Thread();
    Pid tid{};
    char comm[kCommLength] = {};
    std::atomic<u32> work{0};
    // Sets bits and makes the thread handle them soon: ends interruptible waits and user mode.
    void notify(u32 bits);

    // What the leaf tier left for the coroutine: kOk, the call is finished, its result in the registers; kNeedsTask, await
    // `unfinished`; kNeedsFault, fault t.user().fault() in first; a restart kind, as the call's outcome.
    LeafError leaf_outcome = Errno::kOk;
    // Of the call that has just ended; kOk unless it is one. Resolved when signals are delivered.
    Errno restart_kind = Errno::kOk;
    // Set by a leaf that yields kNeedsTask because it waits for one queue: then it needs no task. When the wait is
    // over, `again` is the call. The queue is one of the call's kept file, or lives as long as the thread.
    struct Blocked {
        Leaf<i64> (*again)(Thread&, rt::Wake) = nullptr;
        rt::WaitQueue* queue = nullptr;
        u32 seen = 0;  // its sequence before the condition was looked at
        const char* what = nullptr;
    } blocked_leaf;
    TaskResult unfinished;  // the task that continues the call in progress: Caller::later()
    void forget_plans() {
        blocked_leaf.again = nullptr;
        unfinished = {};
    }
    FutexWaiter futex_waiter;
    FaultKind leaf_fault{};  // what the leaf tier found out about a page fault

    // Signals. They belong to the process's signals.lock; `blocked` is written by the thread itself under it.
    SignalSet blocked;
    SignalSet saved_blocked;  // sigsuspend, ppoll...: restored after delivery
    bool restore_blocked = false;
    bool stop_pending = false;  // has to join a group stop
    bool in_stop = false;       // has joined it
    bool exiting = false;       // takes no more signals
    bool left_memory = false;   // ends, and has released its address space; accessed by itself only
    PendingSignals pending;
    SignalStack alternate_stack;  // accessed by the thread only
    Ref<VforkDone> vforking;      // what it sleeps on as a vfork parent; the signals lock's

    UserAddr set_child_tid{};    // CLONE_CHILD_SETTID: to be written when it first runs
    UserAddr clear_child_tid{};  // set_tid_address(2)
    UserAddr robust_list{};
    // How far the thread has got with that list at its end: linux/task/exit_memory.cpp.
    struct RobustWalk {
        u64 at = 0, pending = 0;
        i64 offset = 0;
        u32 locks = 0, faults = 0;
        bool begun = false;
    } robust_walk;
    Usage usage;
    u64 syscall_number = 0;   // of the call in progress, when it is a task
    port::Trap last_fault{};  // the last exception, for signal frames
    i32 nice = 0;
    u32 sched_policy = 0, sched_priority = 0;
    bool reset_on_fork = false;
    u32 parent_death_signal = 0;     // prctl(PR_SET_PDEATHSIG)
    bool keep_capabilities = false;  // prctl(PR_SET_KEEPCAPS)
    bool no_new_privileges = false;  // prctl(PR_SET_NO_NEW_PRIVS)
    // A set*uid(2) went to a user who has more threads than RLIMIT_NPROC: checked by execve(2), if that is still so.
    bool over_process_limit = false;
    // prctl(PR_MCE_KILL) and prctl(PR_SET_IO_FLUSHER): kept and reported, without effect.
    u8 machine_check_policy = 2;
    bool io_flusher = false;
    const u64 serial;  // no two threads since boot have the same
    // prctl(PR_SET_TIMERSLACK), nanoseconds; the default, which 0 sets: the creator's when this one was made.
    u64 timer_slack = 50'000, default_timer_slack = 50'000;
    Nanoseconds started{};
    i32 exit_status = 0;  // of exit(2), as wait(2) encodes it
    // A call that resumes by restart_syscall(2) (nanosleep, futex, poll).
    struct RestartBlock {
        TaskResult (*run)(Caller&, RestartBlock&) = nullptr;
        u64 data[6] = {};
    } restart;
    Ref<VforkDone> vfork_done;  // to be notified of this thread's exec or exit

    lib::ListHook process_hook;  // in Process::threads

    CpuTimes cpu_times(Nanoseconds now = port::Port::now()) const {
        auto t = times(now);
        return {t.user, t.system};
    }
    // Replaces the identity (set*id). The leader's is also the one that others see as the process's.
    void set_creds(Ref<fs::Creds> to);
    // From its start to its end the thread counts, also among those of its user, where whoever makes it has taken its place.
    // False: it did not count any more.
    void count_in() RT_REQUIRES(process_tree) { counted_ = true; }
    bool count_out() RT_REQUIRES(process_tree) {
        if (!std::exchange(counted_, false)) return false;
        creds_->user->threads.fetch_sub(1, std::memory_order_relaxed);
        thread_totals.now.fetch_sub(1, std::memory_order_relaxed);
        return true;
    }
    Ref<const fs::Creds> credentials();  // by another thread
    // execve and exit. Returns the old one, to be dropped where no lock is held.
    Ref<AddressSpace> exchange_mm(Ref<AddressSpace> to);
    fs::FileTable::Use exchange_files(fs::FileTable::Use to);
    Ref<FsContext> exchange_fs_context(Ref<FsContext> to);
    const Ref<AddressSpace>& mm_ref() const { return mm_; }
    const fs::FileTable::Use& files_use() const { return files_; }
    const Ref<FsContext>& fs_context_ref() const { return fs_; }
    const Ref<fs::Creds>& own_creds() const { return creds_; }
    void set_process(Ref<Process> p);
    // What a new thread gets from its creator. EAGAIN: FsContext::join.
    Result<void> begin_first(Ref<AddressSpace> mm, fs::FileTable::Use files, Ref<FsContext> context,
                             Ref<fs::Creds> creds);
    Result<void> inherit(const Thread& from, Ref<AddressSpace> mm, fs::FileTable::Use files, Ref<FsContext> context) {
        return begin_first(std::move(mm), std::move(files), std::move(context), from.creds_);
    }

    friend class Process;
    friend class Caller;
};
inline Thread& Caller::thread() { return static_cast<Thread&>(*this); }
inline LeafError Caller::later(TaskResult task) {
    if (!task.valid()) return Errno::kNoMem;
    thread().unfinished = std::move(task);
    return kNeedsTask;
}

struct IntervalTimers;

// The file that a program runs from: it cannot be written in the meantime (ETXTBSY).
struct ProgramFile : RefCounted<ProgramFile> {
    explicit ProgramFile(fs::Path p) : path(std::move(p)) {}
    ~ProgramFile() { path.inode()->allow_writing(); }
    fs::Path path;
};

class Process : public RefCounted<Process> {
public:
    Process();
    ~Process();
    Pid pid{};
    char exe_path[256] = {};  // as given to execve
    rt::SpinLock<rt::Rank::process> lock;
    Ref<ProgramFile> exe RT_GUARDED_BY(lock);  // the file that runs
    bool did_exec = false;

    // The tree.
    Process* parent RT_GUARDED_BY(process_tree) = nullptr;
    std::atomic<i32> parent_pid{0};  // the parent's number, for reads without the lock
    void set_parent(Process* p) RT_REQUIRES(process_tree) {
        parent = p;
        parent_pid.store(p ? p->pid.value : 0, std::memory_order_relaxed);
    }
    // The parent's thread that created this process, or its successor. Only compared.
    const Thread* maker RT_GUARDED_BY(process_tree) = nullptr;
    lib::ListHook sibling_hook RT_GUARDED_BY(process_tree);
    lib::List<Process, &Process::sibling_hook> children RT_GUARDED_BY(process_tree);
    u32 zombies RT_GUARDED_BY(process_tree) = 0;                   // among the children
    bool gives_children_away RT_GUARDED_BY(process_tree) = false;  // it ends: it is not a parent any more
    Pid group RT_GUARDED_BY(process_tree){};
    Pid session RT_GUARDED_BY(process_tree){};
    lib::ListHook group_hook RT_GUARDED_BY(process_tree);
    // Which attachment of the terminal to a session this process has (linux/terminal.hpp); 0: none. One that has been given
    // up since then is none either.
    u64 terminal RT_GUARDED_BY(process_tree) = 0;
    u64 reached RT_GUARDED_BY(process_tree) = 0;  // by this signal to many, it or the process that made it (SignalWalk)
    enum class State : u8 { kLive, kExiting, kZombie, kReaped };
    State state RT_GUARDED_BY(process_tree) = State::kLive;
    // Without the lock, as they are at some moment: single words.
    Pid group_seen() const RT_UNCHECKED_LOCKING { return Pid{__atomic_load_n(&group.value, __ATOMIC_RELAXED)}; }
    Pid session_seen() const RT_UNCHECKED_LOCKING { return Pid{__atomic_load_n(&session.value, __ATOMIC_RELAXED)}; }
    State state_seen() const RT_UNCHECKED_LOCKING {
        State now;
        __atomic_load(&state, &now, __ATOMIC_RELAXED);
        return now;
    }
    // Sent to the parent at the end; of the clone that made it. 0 and what is no signal: none.
    i32 exit_signal = 0;
    // How many programs it has executed, ancestors included; and the parent's number when it was made. If the parent
    // has executed another program since, it gets SIGCHLD whatever signal the clone requested (kernel/signal.c,
    // parent_exec_id).
    u64 exec_id = 0, parent_exec_id = 0;
    i32 exit_status = 0;          // as wait(2) encodes it
    bool subreaper = false;       // prctl(PR_SET_CHILD_SUBREAPER)
    Usage usage_total;            // of threads that have ended
    Usage usage_children;         // of waited-for children
    rt::WaitQueue child_changed;  // woken when a child changes state: wait(2)

    SignalState signals;  // actions, shared pending: linux/signal/signal.hpp
    // Both are changed under lock and signals.lock, and read under either.
    lib::List<Thread, &Thread::process_hook> threads;
    u32 live_threads = 0;
    u32 threads_without_memory = 0;  // of the live ones: they are ending
    // The thread of the process's number. It is found and shown by that number until the process has been waited for,
    // also when it has ended (then it is in no list). Of a reaped process, its reaper's alone.
    Ref<Thread> leader RT_GUARDED_BY(process_tree);
    bool group_exiting RT_GUARDED_BY(signals.lock) = false;
    Thread* execing RT_GUARDED_BY(signals.lock) = nullptr;  // the others are being ended for its execve
    i32 group_exit_status RT_GUARDED_BY(signals.lock) = 0;
    rt::WaitQueue thread_gone;                 // woken when a thread has left (execve by one of several)
    Ref<fs::Creds> creds RT_GUARDED_BY(lock);  // the leader's, also when that has ended
    u32 personality = 0;
    // Prctl(PR_SET_THP_DISABLE): kept and reported; there are no huge pages.
    bool no_huge_pages = false;
    OomState oom;
    std::atomic<bool> in_vfork{false};             // made by vfork: it has its parent's memory if that still waits
    const u64 serial;                              // no two processes since boot have the same
    std::atomic<IntervalTimers*> timers{nullptr};  // linux/task/itimer.cpp; made on first use, then kept

    rt::Guarded<RlimitValue[kRlimCount], rt::Rank::process> rlimits;
    // One soft limit, without the lock: limits are single words.
    u64 limit(Rlimit which) const { return __atomic_load_n(&rlimits.unguarded()[which].soft, __ATOMIC_RELAXED); }
    const RlimitValue* stack_limits() const { return rlimits.unguarded(); }  // for page faults
    // RLIMIT_DATA as mappings are held against it. 0 means brk(2) alone: others get what the hard limit allows (Linux:
    // may_expand_vm).
    u64 data_limit() const {
        const u64 soft = limit(kRlimData);
        if (soft != 0) [[likely]]
            return soft;
        return __atomic_load_n(&rlimits.unguarded()[kRlimData].hard, __ATOMIC_RELAXED);
    }
    Nanoseconds started{};

    // The threads' shared objects, as another process may look at them; null once the process has none.
    Ref<Thread> any_thread();      // one that has not ended; the leader, if it has not
    Ref<Thread> leading_thread();  // the leader, alive or dead; null: reaped
    Ref<AddressSpace> mm();
    Ref<fs::FileTable> files();
    Ref<FsContext> fs_context();
    Ref<const fs::Creds> credentials();
    // The thread has the process's number, and its identity is the one that others see; the signals lock is held too.
    // Returns what was, to be dropped where no lock is held.
    Ref<fs::Creds> take_identity(const Thread& leader) RT_REQUIRES(lock);
    fs::Path executable();                // /proc/PID/exe; empty if there is none
    Usage usage();                        // of all threads, dead and alive
    static char state_letter(Thread& t);  // R S T Z as /proc/PID/stat shows it
    u32 running_threads();
    u32 thread_count();  // with a leader that has ended

    static void last_ref(Process* p);
};

Ref<Process> find_process(Pid pid);
Ref<Thread> find_thread(Pid tid);
// Calls the function for each process in order of pid; stops when it returns false. Holds no lock while calling.
void for_each_process(lib::FunctionRef<bool(Process&)> out);
u32 process_count();
u32 thread_count();
u64 forks_since_boot();

// Makes the first process and starts `path` with argv and envp; its standard descriptors are port::streams. The result
// is reported by `on_exit` (wait status) when it has gone. Errors are execve's.
struct InitialProgram {
    std::span<const std::string_view> arguments;
    std::span<const std::string_view> environment;
};
Result<void> start_init(const InitialProgram& program, void (*on_exit)(i32 wait_status));
// Why the first program could not be started, kOk if it was; known when `on_exit` is called.
Errno first_program_error();

// Ends the calling thread's whole group with this wait status (exit code << 8, or a signal number | 0x80 core).
void begin_group_exit(Process& p, i32 wait_status);

// What boot registers with the port: set_personality(linux::personality).
extern const port::Personality<port::UserThread> personality;

}  // namespace linux
