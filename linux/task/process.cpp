// SPDX-License-Identifier: MIT
// What processes and threads are made of, and what others may look at: see linux/task/process.hpp for the locks.
#include "linux/task/process.hpp"

#include "fs/walk.hpp"
#include "linux/task/itimer.hpp"
#include "linux/task/pid.hpp"
#include "rt/mem/slab.hpp"

namespace linux {

// ---- Caller ----

Ref<const fs::Creds> Caller::creds_ref() const { return creds_; }

fs::LookupContext Caller::lookup_context() const {
    fs::LookupContext c;
    {
        auto s = fs_->state.lock();
        c.root = s->root;
        c.cwd = s->cwd;
    }
    c.creds = creds_.get();
    c.caller = this;
    return c;
}

void Caller::keep_table() { kept_table_ = files_; }
void Caller::forget_table() { kept_table_ = {}; }
void Caller::keep_shared(fs::File& file, LeafError e) {
    if (e != kNeedsFault && !kept_file_) return;  // kept: it waits, and runs again
    kept_file_ = Ref<fs::File>{&file};
    kept_table_ = files_;
}

fs::FileTable::Borrowed Caller::borrow_shared(Fd fd) {
    if (!kept_file_) [[likely]]
        return files_->borrow(fd);
    kept_file_->ref();
    return {kept_file_.get(), true};
}

bool Caller::interrupted() const { return static_cast<const Thread*>(this)->work.load(std::memory_order_relaxed) != 0; }

}  // namespace linux

fs::KeptWalk*& fs::kept_walks_of(const void* caller) {
    return const_cast<linux::Caller*>(static_cast<const linux::Caller*>(caller))->kept_walks_;
}

namespace linux {

// ---- FsContext ----

Result<void> FsContext::join() {
    auto s = state.lock();
    if (s->execs != 0) return Errno::kAgain;
    ++s->users;
    return lib::kOk;
}
void FsContext::leave() { --state.lock()->users; }
bool FsContext::begin_exec(u32 own_threads) {
    auto s = state.lock();
    ++s->execs;
    return s->users > own_threads;
}
void FsContext::end_exec() { --state.lock()->execs; }

// ---- Thread ----

namespace {
constinit std::atomic<u64> last_serial{0};
u64 next_serial() { return last_serial.fetch_add(1, std::memory_order_relaxed) + 1; }
}  // namespace

Thread::Thread() : serial(next_serial()) {}

Thread::~Thread() {
    fs::forget_walks(static_cast<Caller*>(this));
    pending.clear();
    if (fs_) fs_->leave();
    if (process_) process_->unref();
}

void Thread::set_process(Ref<Process> p) { process_ = p.release(); }

Result<void> Thread::begin_first(Ref<AddressSpace> mm, fs::FileTable::Use files, Ref<FsContext> context,
                                 Ref<fs::Creds> creds) {
    TRY(context->join());
    user_.set_space(&mm->space());
    mm_ = std::move(mm);
    files_ = std::move(files);
    fs_ = std::move(context);
    creds_ = std::move(creds);
    return lib::kOk;
}

void Thread::notify(u32 bits) {
    // seq_cst: pairs with the waiter, which publishes its wait before it looks at the interrupt flag (rt/task.cpp).
    u32 before = work.fetch_or(bits, std::memory_order_seq_cst);
    if ((before & bits) == bits) return;
    job().interrupt();
    kick();
}

void Thread::set_creds(Ref<fs::Creds> to) {
    Ref<fs::Creds> old, old_of_process;
    if (counted_ && creds_->user != to->user) {
        to->user->threads.fetch_add(1, std::memory_order_relaxed);
        creds_->user->threads.fetch_sub(1, std::memory_order_relaxed);
    }
    rt::LockGuard guard{process_->lock};
    old = std::exchange(creds_, std::move(to));
    if (tid == process_->pid) {
        rt::LockGuard signals{process_->signals.lock};
        old_of_process = process_->take_identity(*this);
    }
    guard.unlock();
}

Ref<fs::Creds> Process::take_identity(const Thread& leader) {
    signals.account = leader.own_creds()->user.get();
    return std::exchange(creds, leader.own_creds());
}

Ref<AddressSpace> Thread::exchange_mm(Ref<AddressSpace> to) {
    if (to) {
        user_.set_space(&to->space());
        set_space(Ref<port::Space>(&to->space()));
    }
    rt::LockGuard guard{process_->lock};
    return std::exchange(mm_, std::move(to));
}

fs::FileTable::Use Thread::exchange_files(fs::FileTable::Use to) {
    rt::LockGuard guard{process_->lock};
    return std::exchange(files_, std::move(to));
}

Ref<const fs::Creds> Thread::credentials() {
    rt::LockGuard guard{process_->lock};
    return creds_;
}

Ref<FsContext> Thread::exchange_fs_context(Ref<FsContext> to) {
    rt::LockGuard guard{process_->lock};
    if (fs_) fs_->leave();
    return std::exchange(fs_, std::move(to));
}

// ---- Process ----

Process::Process() : serial(next_serial()) {}

Process::~Process() {
    signals.pending.clear();
    destroy_timers(timers.load(std::memory_order_relaxed));
}

void Process::last_ref(Process* p) { delete p; }

Ref<Thread> Process::any_thread() {
    rt::LockGuard guard{lock};
    Thread* t = threads.front();
    return t && t->try_ref() ? Ref<Thread>::adopt(t) : Ref<Thread>{};
}

Ref<Thread> Process::leading_thread() {
    rt::LockGuard tree{process_tree};
    return state == State::kReaped ? Ref<Thread>{} : leader;
}

u32 Process::running_threads() {
    rt::LockGuard guard{lock};
    u32 n = 0;
    for (Thread& t : threads) n += !t.job().is_waiting();
    return n;
}

u32 Process::thread_count() {
    rt::LockGuard tree{process_tree};
    rt::LockGuard guard{lock};
    return live_threads + (state != State::kReaped && leader && !leader->process_hook.linked());
}

namespace {

// The first non-null object of its kind among the threads.
template <class Get>
auto first_of(Process& p, Get get) {
    rt::LockGuard guard{p.lock};
    for (Thread& t : p.threads)
        if (auto r = get(t)) return r;
    return decltype(get(*p.threads.front())){};
}

}  // namespace

Ref<AddressSpace> Process::mm() {
    return first_of(*this, [](Thread& t) { return Ref<AddressSpace>(t.mm_ref()); });
}
Ref<fs::FileTable> Process::files() {
    return first_of(*this, [](Thread& t) { return t.files_use().ref(); });
}
Ref<FsContext> Process::fs_context() {
    return first_of(*this, [](Thread& t) { return Ref<FsContext>(t.fs_context_ref()); });
}

Ref<const fs::Creds> Process::credentials() {
    rt::LockGuard guard{lock};
    return creds;
}

fs::Path Process::executable() {
    Ref<ProgramFile> file;
    {
        rt::LockGuard guard{lock};
        file = exe;
    }
    return file ? file->path : fs::Path{};
}

Usage Process::usage() {
    const Nanoseconds now = port::Port::now();
    rt::LockGuard guard{lock};
    Usage u = usage_total;
    const AddressSpace* seen = nullptr;  // threads of a process have the same, but for children of vfork
    for (Thread& t : threads) {
        CpuTimes c = t.cpu_times(now);
        u.times.user += c.user;
        u.times.system += c.system;
        u.minor_faults += t.usage.minor_faults;
        u.major_faults += t.usage.major_faults;
        u.voluntary_switches += t.usage.voluntary_switches;
        u.involuntary_switches += t.usage.involuntary_switches;
        if (t.mm_ref() && std::exchange(seen, t.mm_ref().get()) != t.mm_ref().get()) {
            u64 peak = t.mm_ref()->totals().peak_resident * (kPageSize / 1024);
            if (peak > u.max_rss_kib) u.max_rss_kib = peak;
        }
    }
    return u;
}

char Process::state_letter(Thread& t) {
    Process& p = t.process();
    rt::LockGuard guard{p.signals.lock};
    const State now = p.state_seen();
    bool over = now == State::kZombie || now == State::kReaped;
    if (!t.process_hook.linked() && (over || p.live_threads != 0)) return 'Z';
    if (p.signals.stopped) return 'T';
    if (p.live_threads == 0) return 'S';  // the kernel's init; or just between the last thread's end and the process's
    if (!t.job().is_waiting()) return 'R';
    // A vfork waits with TASK_KILLABLE (kernel/fork.c, wait_for_vfork_done).
    return t.vforking || t.job().waits_uninterruptibly() ? 'D' : 'S';
}

}  // namespace linux
