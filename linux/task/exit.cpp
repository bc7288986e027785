// SPDX-License-Identifier: MIT
// The end of threads and processes (exit(2), wait(2)). Nothing here allocates or waits.
//
// The last thread of a process makes it a zombie under process_tree: children find a new parent, stopped orphans get
// SIGHUP and SIGCONT, the parent is notified. A parent that ignores SIGCHLD, and pid 1, never see the zombie.
#include "linux/task/exit.hpp"

#include "abi/linux/wait.hpp"
#include "linux/signal/signal_queue.hpp"
#include "linux/task/creds.hpp"
#include "linux/task/itimer.hpp"
#include "linux/task/pid.hpp"
#include "linux/task/thread.hpp"
#include "linux/terminal.hpp"

namespace linux {
namespace {

using Dead = lib::List<Process, &Process::sibling_hook>;

constinit void (*first_program_ended)(i32 wait_status) = nullptr;
constinit Process* first_program = nullptr;

// Zombie, parent known: notifies the parent. True: no thread will wait for the zombie.
bool notify_exit(Process& p) RT_REQUIRES(process_tree) {
    Process& parent = *p.parent;
    if (&parent == &init_process()) return true;
    bool unwanted = false;
    u32 sig = u32(p.exit_signal);
    if (sig != kSigChld && p.parent_exec_id != parent.exec_id) sig = kSigChld;
    if (sig == kSigChld) {
        SignalAction action = look_up_action(parent, kSigChld);
        unwanted = action.handler == kSigIgnore || (action.flags & kSaNoCldWait);
        if (action.handler == kSigIgnore) sig = 0;
    }
    if (sig != 0 && sig <= kSignals) {
        SignalInfo info;
        info.signo = i32(sig);
        bool killed = (p.exit_status & kStatusSignalMask) != 0;
        info.code = killed ? kCldKilled : kCldExited;
        info.child.pid = p.pid.value;
        {
            rt::LockGuard guard{p.lock};
            info.child.uid = p.creds->uid;
        }
        info.child.status = killed ? p.exit_status & kStatusSignalMask : exit_code_of(p.exit_status);
        info.child.utime = p.usage_total.times.user / 10'000'000;
        info.child.stime = p.usage_total.times.system / 10'000'000;
        (void)send_signal(parent, info);
    }
    parent.child_changed.wake_all();
    return unwanted;
}

void hang_up_if_orphaned(Process& p, Process* ignored, Process& parent) RT_REQUIRES(process_tree) {
    if (parent.group == p.group || parent.session != p.session) return;
    if (!orphaned_without(p.group.value, ignored) || !has_stopped_member(p.group.value)) return;
    PidEntry* e = pid_entry(p.group.value);
    for (Process& member : e->members) {
        (void)send_signal(member, kernel_signal(kSigHup));
        (void)send_signal(member, kernel_signal(kSigCont));
    }
}

// The new parent of orphans of p: the nearest living subreaper among its ancestors, or pid 1.
Process& reaper_of(Process& p) RT_REQUIRES(process_tree) {
    for (Process* a = p.parent; a; a = a->parent)
        if (a->subreaper && a->state == Process::State::kLive) return *a;
    return init_process();
}

// PR_SET_PDEATHSIG: the thread that made the child has ended. As if it had called kill(2), whose rules apply.
void send_parent_death_signals(Process& child, Thread& ended) {
    SignalSet wanted;
    {
        rt::LockGuard guard{child.lock};
        for (Thread& t : child.threads)
            if (t.parent_death_signal) wanted.add(t.parent_death_signal);
    }
    for (u64 left = wanted.bits; left != 0; left &= left - 1) {
        u32 sig = u32(__builtin_ctzll(left)) + 1;
        if (!may_signal(ended, child, sig).ok()) continue;
        (void)send_signal(child, user_signal(sig, kSiUser, ended.process().pid.value, ended.creds().uid));
    }
}

const Thread* first_thread(Process& p) {
    rt::LockGuard guard{p.lock};
    return p.threads.front();
}

// A thread that is not the last has ended: another counts as the creator of its children from now on.
void hand_children_on(Thread& ended) RT_REQUIRES(process_tree) {
    Process& p = ended.process();
    if (p.children.empty()) return;
    const Thread* next = first_thread(p);
    for (Process& child : p.children) {
        if (child.maker != &ended) continue;
        child.maker = next;
        if (child.state == Process::State::kLive) send_parent_death_signals(child, ended);
    }
}

// Some of the children find a new parent. Once in all for each group, which may have many members: `look`.
void give_some_children_away(Thread& last, Dead& dead, u64& look) RT_REQUIRES(process_tree) {
    constexpr u32 kAtOnce = 64;
    static constinit u64 last_look = 0;
    if (look == 0) look = ++last_look;
    Process& p = last.process();
    if (p.children.empty()) return;
    p.gives_children_away = true;  // also of those that a later piece gives away
    Process& to = reaper_of(p);
    Process* first = nullptr;  // of those that live, at the end of the new parent's list
    for (u32 n = 0; n < kAtOnce; ++n) {
        Process* c = p.children.pop_front();
        if (!c) break;
        c->set_parent(&to);
        c->maker = first_thread(to);
        to.children.push_back(*c);
        c->exit_signal = kSigChld;
        if (c->state == Process::State::kZombie) {
            --p.zombies;
            ++to.zombies;
            if (notify_exit(*c)) {
                reap_locked(*c);
                dead.push_back(*c);
                continue;
            }
        } else {
            send_parent_death_signals(*c, last);
        }
        if (!first) first = c;
    }
    if (!first) return;
    to.child_changed.wake_all();
    for (Process* c = first; c; c = to.children.next(*c))
        if (std::exchange(pid_entry(c->group.value)->checked, look) != look) hang_up_if_orphaned(*c, nullptr, p);
}

// The resources of the process other than its threads.
void stop_using(Process& p) {
    stop_timers(p);
    // After the process was waited for its file may be written, even while other references keep the rest of it.
    Ref<ProgramFile> program;
    {
        rt::LockGuard guard{p.lock};
        program = std::move(p.exe);
    }
    program = {};
    if (p.session_seen() == p.pid) hang_up_session(p, LeaderDoes::kEnds);
}

}  // namespace

void reap_locked(Process& p) {
    --p.parent->zombies;
    p.state = Process::State::kReaped;
    p.sibling_hook.unlink();
    Usage& to = p.parent->usage_children;
    for (const Usage* u : {&p.usage_total, &p.usage_children}) {
        to.times.user += u->times.user;
        to.times.system += u->times.system;
        to.minor_faults += u->minor_faults;
        to.major_faults += u->major_faults;
        to.voluntary_switches += u->voluntary_switches;
        to.involuntary_switches += u->involuntary_switches;
        if (u->max_rss_kib > to.max_rss_kib) to.max_rss_kib = u->max_rss_kib;
    }
    p.set_parent(nullptr);
    unlink_process(p);
}

// A process without threads gets no more signals, and its leader is the reaper's alone.
void let_go_of(Process& reaped) RT_UNCHECKED_LOCKING {
    // What was queued for it counts for its user no longer, also while others still refer to it.
    if ((reaped.signals.pending.set.bits | (reaped.leader ? reaped.leader->pending.set.bits : 0)) != 0) [[unlikely]] {
        rt::LockGuard guard{reaped.signals.lock};
        reaped.signals.pending.clear();
        if (reaped.leader) reaped.leader->pending.clear();
    }
    reaped.leader = {};
    reaped.unref();
}

void release_vfork_parent(Thread& t) {
    Ref<VforkDone> done = std::move(t.vfork_done);
    if (!done) return;
    t.process().in_vfork.store(false, std::memory_order_relaxed);
    done->done.store(true, std::memory_order_release);
    done->queue.wake_all();
}

void begin_thread_exit(Thread& t, i32 wait_status) {
    t.exit_status = wait_status;
    t.work.fetch_or(kWorkExit, std::memory_order_relaxed);
}

void leave_files(Thread& t) {
    fs::FileTable::Use files = t.exchange_files({});
    Ref<FsContext> context = t.exchange_fs_context({});
}

Ref<AddressSpace> leave_address_space(Thread& t) {
    Process& p = t.process();
    bool last;
    {
        rt::LockGuard guard{p.lock};
        last = ++p.threads_without_memory == p.live_threads;
    }
    // The peak is the process's: its last thread records it.
    if (last) {
        leave_oom_adjustment(p);
        u64 peak = t.mm_ref()->totals().peak_resident * (kPageSize / 1024);
        if (peak > t.usage.max_rss_kib) t.usage.max_rss_kib = peak;
    }
    t.left_memory = true;
    return t.exchange_mm({});
}

bool exit_thread(Thread& t) {
    Process& p = t.process();
    leave_signals(t);
    release_vfork_parent(t);
    if (t.files_use()) leave_files(t);
    if (t.mm_ref()) {
        Ref<AddressSpace> mm = leave_address_space(t);
    }
    bool last, report;
    {
        rt::LockGuard guard{p.lock};
        rt::LockGuard signals{p.signals.lock};
        if (p.signals.exit_next == &t) p.signals.exit_next = p.threads.next(t);
        if (p.signals.stop_next == &t) p.signals.stop_next = p.threads.next(t);
        t.process_hook.unlink();
        tell_some_to_exit(p);
        t.pending.clear();
        last = --p.live_threads == 0;
        if (t.left_memory) --p.threads_without_memory;
        Usage& to = p.usage_total;
        CpuTimes c = t.cpu_times();
        to.times.user += c.user;
        to.times.system += c.system;
        to.minor_faults += t.usage.minor_faults;
        to.major_faults += t.usage.major_faults;
        to.voluntary_switches += t.usage.voluntary_switches;
        to.involuntary_switches += t.usage.involuntary_switches;
        if (t.usage.max_rss_kib > to.max_rss_kib) to.max_rss_kib = t.usage.max_rss_kib;
        // Without exit_group the last thread's status is the process's (Linux since 6.0).
        if (last && !p.group_exiting) {
            p.group_exiting = true;
            p.group_exit_status = t.exit_status;
        }
        report = !last && p.signals.report != 0;
    }
    {
        rt::LockGuard tree{process_tree};
        if (last)
            p.state = Process::State::kExiting;
        else
            hand_children_on(t);
        unlink_thread(t);
    }
    p.thread_gone.wake_all();
    t.drop_state();
    if (report) report_stop(p);
    return last;
}

bool exit_process(Thread& last, u64& look) {
    Process& p = last.process();
    if (look == 0) stop_using(p);
    Ref<Process> keep{&p};
    Dead dead;
    bool ends_all = false, more;
    i32 status = 0;
    {
        rt::LockGuard tree{process_tree};
        give_some_children_away(last, dead, look);
        more = !p.children.empty();
        if (!more) {
            {
                rt::LockGuard guard{p.signals.lock};
                status = p.group_exit_status;
            }
            p.exit_status = status;
            p.state = Process::State::kZombie;
            ++p.parent->zombies;
            hang_up_if_orphaned(p, &p, *p.parent);
            ends_all = &p == first_program;
            if (notify_exit(p)) {
                reap_locked(p);
                dead.push_back(p);
            }
        }
    }
    while (Process* d = dead.pop_front()) let_go_of(*d);
    if (ends_all) end_machine(status);
    return more;
}

void end_machine(i32 wait_status) {
    for_each_process([](Process& other) {
        (void)send_signal(other, kernel_signal(kSigKill));
        return true;
    });
    if (auto* call = std::exchange(first_program_ended, nullptr)) call(wait_status);
}

void set_first_program(Process& p, void (*on_exit)(i32 wait_status)) {
    first_program = &p;
    first_program_ended = on_exit;
}

bool is_first_program(const Process& p) { return &p == first_program; }

Task<Result<bool>> end_other_threads(Thread& t) {
    Process& p = t.process();
    {
        rt::LockGuard guard{p.signals.lock};
        if (p.group_exiting || p.execing) co_return Errno::kAgain;
        if (p.live_threads == 1 && t.tid == p.pid) co_return true;
        p.execing = &t;
        p.signals.exit_next = p.threads.front();
        tell_some_to_exit(p);
        p.signals.resumed.wake_all();
    }
    for (;;) {
        u32 seen = p.thread_gone.sequence();
        {
            rt::LockGuard guard{p.lock};
            if (p.live_threads == 1) break;
        }
        auto wait = rt::wait_on(p.thread_gone, seen, "execve: other threads to end");
        wait.uninterruptible();
        (void)co_await wait;
    }
    // The caller takes the leader's number.
    Ref<Thread> old_leader;
    Ref<fs::Creds> old_creds;
    {
        rt::LockGuard tree{process_tree};
        rt::LockGuard guard{p.lock};
        rt::LockGuard signals{p.signals.lock};
        p.execing = nullptr;
        if (t.tid != p.pid) {
            PidEntry* e = pid_entry(t.tid.value);
            e->thread = nullptr;
            release_pid_if_unused(*e);
            t.tid = p.pid;
            old_creds = p.take_identity(t);
            pid_entry(p.pid.value)->thread = &t;
            old_leader = std::exchange(p.leader, Ref<Thread>{&t});
            (void)thread_released(*old_leader);
        }
    }
    co_return false;
}

}  // namespace linux
