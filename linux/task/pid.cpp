// SPDX-License-Identifier: MIT
// The table of numbers: two levels, chunks made on demand and kept.
#include "linux/task/pid.hpp"

#include <bit>

#include "rt/mem/slab.hpp"

namespace linux {

constinit rt::SpinLock<rt::Rank::process_tree> process_tree;
constinit ThreadTotals thread_totals;

namespace {

constexpr u32 kChunkSize = 512;
struct Chunk {
    PidEntry* entry[kChunkSize] = {};
};
constinit Chunk* chunks[kPidMax / kChunkSize] RT_GUARDED_BY(process_tree) = {};
constinit u32 used_in_chunk[kPidMax / kChunkSize] RT_GUARDED_BY(process_tree) = {};
constinit u64 names_process[kPidMax / 64] RT_GUARDED_BY(process_tree) = {};  // a bit for each number
constinit i32 last_number RT_GUARDED_BY(process_tree) = 0;
constinit u64 last_entry RT_GUARDED_BY(process_tree) = 0;
constinit Process* init = nullptr;  // constant once it is set
constinit u64 forks RT_GUARDED_BY(process_tree) = 0;
// Written under process_tree, read by anybody.
constinit std::atomic<u32> processes{0};
constinit std::atomic<u32> threads{0};

PidEntry*& slot(i32 number) RT_REQUIRES(process_tree) {
    return chunks[u32(number) / kChunkSize]->entry[u32(number) % kChunkSize];
}

// The next free number in [from, to), or -1.
i32 scan(i32 from, i32 to) RT_REQUIRES(process_tree) {
    for (i32 n = from; n < to;) {
        u32 c = u32(n) / kChunkSize;
        if (!chunks[c] || used_in_chunk[c] == 0) return n;
        i32 end = i32((c + 1) * kChunkSize) < to ? i32((c + 1) * kChunkSize) : to;
        if (used_in_chunk[c] == kChunkSize) {
            n = end;
            continue;
        }
        for (; n < end; ++n)
            if (!slot(n)) return n;
    }
    return -1;
}

}  // namespace

namespace {
Process* process_from(i32 from) RT_REQUIRES(process_tree) {
    if (from >= kPidMax) return nullptr;
    u32 word = u32(from) / 64;
    u64 bits = names_process[word] & (~u64{0} << (from % 64));
    while (bits == 0) {
        if (++word == kPidMax / 64) return nullptr;
        bits = names_process[word];
    }
    return slot(i32(word * 64 + u32(std::countr_zero(bits))))->process;
}
}  // namespace

Ref<Process> next_process(i32 from) {
    rt::LockGuard guard{process_tree};
    for (Process* p; (p = process_from(from)); from = p->pid.value + 1)
        if (p->try_ref()) return Ref<Process>::adopt(p);
    return {};
}
void for_each_process_locked(lib::FunctionRef<void(Process&)> out) {
    for (Process* p = process_from(1); p; p = process_from(p->pid.value + 1)) out(*p);
}

Result<PidEntry*> allocate_pid() {
    i32 n = scan(last_number + 1, kPidMax);
    if (n < 0) n = scan(kFirstPidAgain, last_number + 1);
    if (n < 0) return Errno::kAgain;
    u32 c = u32(n) / kChunkSize;
    if (!chunks[c]) chunks[c] = rt::make<Chunk>();
    if (!chunks[c]) return Errno::kNoMem;
    auto* e = rt::make<PidEntry>();
    if (!e) return Errno::kNoMem;
    e->number = n;
    e->serial = ++last_entry;
    slot(n) = e;
    ++used_in_chunk[c];
    last_number = n;
    return e;
}

PidEntry* pid_entry(i32 number) {
    if (number <= 0 || number >= kPidMax || !chunks[u32(number) / kChunkSize]) return nullptr;
    return slot(number);
}

void release_pid_if_unused(PidEntry& e) {
    if (e.thread || e.process || !e.members.empty() || e.session_members) return;
    slot(e.number) = nullptr;
    --used_in_chunk[u32(e.number) / kChunkSize];
    delete &e;
}

void join_group(Process& p, i32 group) {
    p.group = Pid{group};
    pid_entry(group)->members.push_back(p);
}

void leave_group(Process& p) {
    PidEntry* e = pid_entry(p.group.value);
    p.group_hook.unlink();
    release_pid_if_unused(*e);
}

void join_session(Process& p, i32 session) {
    p.session = Pid{session};
    ++pid_entry(session)->session_members;
}

void leave_session(Process& p) {
    PidEntry* e = pid_entry(p.session.value);
    --e->session_members;
    release_pid_if_unused(*e);
}

constinit SignalWalk signal_walk;
bool SignalWalk::in_scope(const Process& p) const { return group_ == 0 ? &p != init : p.group.value == group_; }
void SignalWalk::begin(i32 group, Process& sender, const Send& send) {
    ++number_;
    group_ = group;
    send_ = &send;
    if (group == 0) sender.reached = number_;
}

void SignalWalk::reach(Process& p) {
    p.reached = number_;
    if (group_ != 0) {
        p.group_hook.unlink();
        pid_entry(group_)->members.push_back(p);
    }
    (*send_)(p);
}
Process* SignalWalk::next_member() const {
    PidEntry* e = pid_entry(group_);
    if (!e || e->members.empty() || e->members.front()->reached == number_) return nullptr;
    return e->members.front();
}

Process& init_process() { return *init; }
void set_init_process(Process& p) { init = &p; }

void link_thread(Thread& t, PidEntry& e) {
    t.tid = Pid{e.number};
    e.thread = &t;
    t.count_in();
    threads.fetch_add(1, std::memory_order_relaxed);
    ++forks;
}

void unlink_thread(Thread& t) {
    if (t.process().leader.get() == &t) return;
    // Its number may name something else by now: it was the leader, and another has taken it over while this one ended.
    if (!thread_released(t)) return;
    PidEntry* e = pid_entry(t.tid.value);
    if (e->thread == &t) e->thread = nullptr;
    release_pid_if_unused(*e);
}

bool thread_released(Thread& t) {
    if (!t.count_out()) return false;
    threads.fetch_sub(1, std::memory_order_relaxed);
    return true;
}

void link_process(Process& p, PidEntry& e) {
    p.pid = Pid{e.number};
    e.process = &p;
    names_process[u32(e.number) / 64] |= u64{1} << (e.number % 64);
    processes.fetch_add(1, std::memory_order_relaxed);
}

void unlink_process(Process& p) {
    leave_group(p);
    leave_session(p);
    PidEntry* e = pid_entry(p.pid.value);
    e->process = nullptr;
    names_process[u32(e->number) / 64] &= ~(u64{1} << (e->number % 64));
    if (p.leader) {
        e->thread = nullptr;
        (void)thread_released(*p.leader);
    }
    processes.fetch_sub(1, std::memory_order_relaxed);
    release_pid_if_unused(*e);
}

Ref<Process> find_process(Pid pid) {
    rt::LockGuard guard{process_tree};
    PidEntry* e = pid_entry(pid.value);
    if (!e || !e->process || !e->process->try_ref()) return {};
    return Ref<Process>::adopt(e->process);
}

Ref<Thread> find_thread(Pid tid) {
    rt::LockGuard guard{process_tree};
    PidEntry* e = pid_entry(tid.value);
    if (!e || !e->thread || !e->thread->try_ref()) return {};
    return Ref<Thread>::adopt(e->thread);
}

void for_each_process(lib::FunctionRef<bool(Process&)> out) {
    i32 from = 1;
    while (Ref<Process> p = next_process(from)) {
        from = p->pid.value + 1;
        if (!out(*p)) return;
    }
}

u32 process_count() { return processes.load(std::memory_order_relaxed); }
u32 thread_count() { return threads.load(std::memory_order_relaxed); }
u64 forks_since_boot() {
    rt::LockGuard guard{process_tree};
    return forks;
}

bool orphaned_without(i32 group, Process* ignored) {
    PidEntry* e = pid_entry(group);
    if (!e) return true;
    for (Process& p : e->members) {
        if (&p == ignored || p.state != Process::State::kLive || !p.parent || p.parent == init) continue;
        if (p.parent->gives_children_away) continue;
        if (p.parent->group != p.group && p.parent->session == p.session) return false;
    }
    return true;
}

bool has_stopped_member(i32 group) {
    PidEntry* e = pid_entry(group);
    if (!e) return false;
    for (Process& p : e->members) {
        rt::LockGuard guard{p.signals.lock};
        if (p.signals.stopped) return true;
    }
    return false;
}

bool has_more_members(i32 group, u32 than) {
    rt::LockGuard guard{process_tree};
    PidEntry* e = pid_entry(group);
    if (!e) return false;
    u32 n = 0;
    for (auto it = e->members.begin(); it != e->members.end(); ++it)
        if (++n > than) return true;
    return false;
}

bool group_is_orphaned(i32 group) {
    rt::LockGuard guard{process_tree};
    return orphaned_without(group, nullptr);
}

}  // namespace linux
