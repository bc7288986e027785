// SPDX-License-Identifier: MIT
// clone(2): a copy of the calling thread, sharing what the flags say.
//
// Everything that can fail is acquired first, in objects that release it themselves; the new thread appears in the
// tree, the table and its process in one step under process_tree, and runs.
#include <cstring>

#include "linux/arch/machine.hpp"
#include "linux/task/clone.hpp"
#include "linux/task/itimer.hpp"
#include "linux/task/pid.hpp"
#include "linux/task/thread.hpp"
#include "rt/mem/slab.hpp"

namespace linux {
namespace {

constexpr u64 kNamespaces = kCloneNewNs | kCloneNewCgroup | kCloneNewUts | kCloneNewIpc | kCloneNewUser | kCloneNewPid |
                            kCloneNewNet | kCloneNewTime;

Result<void> check_flags(u64 flags) {
    if ((flags & (kCloneNewNs | kCloneFs)) == (kCloneNewNs | kCloneFs)) return Errno::kInval;
    if ((flags & (kCloneNewUser | kCloneFs)) == (kCloneNewUser | kCloneFs)) return Errno::kInval;
    if ((flags & kCloneThread) && !(flags & kCloneSighand)) return Errno::kInval;
    if ((flags & kCloneSighand) && !(flags & kCloneVm)) return Errno::kInval;
    // Unsupported namespaces: the result of Linux without the configuration option.
    if (flags & (kNamespaces | kClonePidfd | kCloneIntoCgroup)) return Errno::kInval;
    if ((flags & kCloneSighand) && (flags & kCloneClearSighand)) return Errno::kInval;
    return lib::kOk;
}

// RLIMIT_NPROC counts the threads of the real user id, threads-max those of all. The place of a new one is reserved before it
// is compared, and returned if no thread is made in the end: several may be created concurrently.
class UserPlace {
public:
    explicit UserPlace(Thread& maker) : creds_(maker.creds()) {}
    UserPlace(const UserPlace&) = delete;
    ~UserPlace() {
        if (!taken_) return;
        creds_.user->threads.fetch_sub(1, std::memory_order_relaxed);
        thread_totals.now.fetch_sub(1, std::memory_order_relaxed);
    }
    // kAgain: there is none.
    Result<void> take(u64 limit) {
        taken_ = true;
        const u64 others = creds_.user->threads.fetch_add(1, std::memory_order_relaxed);
        const u64 all = thread_totals.now.fetch_add(1, std::memory_order_relaxed);
        if (others >= limit && creds_.uid != 0 && !creds_.capable(fs::kCapSysResource) &&
            !creds_.capable(fs::kCapSysAdmin))
            return Errno::kAgain;
        if (all >= thread_totals.most.load(std::memory_order_relaxed)) return Errno::kAgain;
        return lib::kOk;
    }
    void keep() { taken_ = false; }  // it is the thread's now: Thread::count_out()

private:
    const fs::Creds& creds_;  // the creator's, which makes no other call until then
    bool taken_ = false;
};

Result<Ref<ActionTable>> copy_actions(ActionTable& from, bool clear) {
    auto copy = TRY(rt::make_ref<ActionTable>());
    copy->lock.assume_held();  // no other CPU knows it
    rt::LockGuard guard{from.lock};
    std::memcpy(copy->at, from.at, sizeof from.at);
    for (u32 sig = 1; clear && sig <= kSignals; ++sig)
        if (copy->at[sig].handler != 1) copy->at[sig] = {};
    return copy;
}

Result<Ref<FsContext>> copy_fs_context(FsContext& from) {
    auto copy = TRY(rt::make_ref<FsContext>());
    auto s = from.state.lock();
    copy->state.unguarded() = {.root = s->root, .cwd = s->cwd, .umask = s->umask};
    return copy;
}

// A process like t's, without threads.
Result<Ref<Process>> copy_process(Thread& t, const CloneRequest& r) {
    Process& parent = t.process();
    auto p = TRY(rt::make_ref<Process>());
    p->lock.assume_held();  // no other CPU knows it
    if (r.flags & kCloneSighand)
        p->signals.actions = parent.signals.actions;
    else
        p->signals.actions = TRY(copy_actions(*parent.signals.actions, r.flags & kCloneClearSighand));
    std::memcpy(p->exe_path, parent.exe_path, sizeof p->exe_path);
    p->personality = parent.personality;
    p->no_huge_pages = parent.no_huge_pages;
    p->creds = t.own_creds();
    p->signals.account = p->creds->user.get();
    {
        rt::LockGuard guard{parent.lock};
        p->exe = parent.exe;
    }
    auto& limits = p->rlimits.unguarded();
    auto from = parent.rlimits.lock();
    for (u32 i = 0; i < kRlimCount; ++i) limits[i] = (*from)[i];
    return p;
}

// Process state and thread lists, in one step. kRestartNoIntr: a signal came first, so that the copy would miss it.
Result<void> link(Thread& parent_thread, Thread& child, Process& p, const CloneRequest& r) {
    Process& mine = parent_thread.process();
    rt::LockGuard tree{process_tree};
    bool new_process = &p != &mine;
    // What reaches the parent now is seen below: then there is no child yet.
    if (new_process && signal_walk.has(mine)) [[unlikely]]
        signal_walk.reach(mine);
    PidEntry* e;
    {
        rt::LockGuard guard{p.lock};
        rt::LockGuard signals{mine.signals.lock};
        if (parent_thread.work.load(std::memory_order_relaxed) != 0 || mine.group_exiting || mine.execing)
            return Errno::kRestartNoIntr;
        e = TRY(allocate_pid());
        if (!new_process) p.threads.push_back(child);
        if (!new_process) ++p.live_threads;
        child.blocked = parent_thread.blocked;
        if (!new_process && mine.signals.stop_signal != 0) {
            child.stop_pending = true;
            ++mine.signals.to_stop;
            child.work.store(kWorkStop, std::memory_order_relaxed);
        }
    }
    link_thread(child, *e);
    if (!new_process) return lib::kOk;
    p.threads.push_back(child);
    p.live_threads = 1;
    p.leader = Ref<Thread>{&child};
    link_process(p, *e);
    // A sibling has the caller's parent and exit signal: the requested signal applies to the caller's own children
    // only.
    const bool sibling = (r.flags & kCloneParent) != 0;
    Process* parent = sibling ? mine.parent : &mine;
    p.exit_signal = sibling ? mine.exit_signal : r.exit_signal;
    p.maker = sibling ? mine.maker : &parent_thread;
    p.parent_exec_id = sibling ? mine.parent_exec_id : mine.exec_id;
    p.exec_id = mine.exec_id;
    p.set_parent(parent);
    parent->children.push_back(p);
    join_group(p, mine.group.value);
    join_session(p, mine.session.value);
    p.terminal = mine.terminal;
    p.reached = mine.reached;
    return lib::kOk;
}

}  // namespace

TaskResult do_clone(Caller& caller, CloneRequest r) {
    Thread& t = caller.thread();
    CO_TRY(check_flags(r.flags));
    if ((r.flags & kCloneParent) && t.process().parent_pid.load(std::memory_order_relaxed) == init_process().pid.value)
        co_return Errno::kInval;
    if (t.work.load(std::memory_order_relaxed) != 0) co_return Errno::kRestartNoIntr;
    UserPlace place{t};
    CO_TRY(place.take(t.process().limit(kRlimNproc)));
    if ((r.flags & kCloneSetTls) && !arch::is_tls_base(r.tls)) co_return Errno::kPerm;

    Ref<AddressSpace> mm = t.mm_ref();
    if (!(r.flags & kCloneVm)) mm = CO_TRY(co_await mm->fork());
    fs::FileTable::Use files;
    if (r.flags & kCloneFiles) {
        files = t.files_use();
    } else {
        Ref<fs::FileTable> copy = CO_TRY(t.files().clone());
        if (!copy) copy = CO_TRY(co_await t.files().clone_long());
        files = fs::FileTable::Use{std::move(copy)};
    }
    Ref<FsContext> context = t.fs_context_ref();
    if (!(r.flags & kCloneFs)) context = CO_TRY(copy_fs_context(*context));
    Ref<Process> p{&t.process()};
    if (!(r.flags & kCloneThread)) {
        p = CO_TRY(copy_process(t, r));
        inherit_oom_adjustment(*p, t.process(), *mm, r.flags);
    }
    Ref<VforkDone> vfork;
    if (r.flags & kCloneVfork) vfork = CO_TRY(rt::make_ref<VforkDone>());

    // The thread's own reference belongs to its root coroutine; this one makes the child safe to access below.
    Ref<Thread> child = CO_TRY(rt::make_ref<Thread>());
    CO_TRY(child->init(Ref<port::Space>(&mm->space())));
    child->set_process(p);
    co_await t.at_home();
    child->fork_state_from(t);
    arch::start_child(*child, r.stack, r.flags & kCloneSetTls, r.tls);
    CO_TRY(child->inherit(t, std::move(mm), std::move(files), std::move(context)));
    child->no_new_privileges = t.no_new_privileges;
    std::memcpy(child->comm, t.comm, sizeof child->comm);
    if (!t.reset_on_fork) {
        child->nice = t.nice;
        child->sched_policy = t.sched_policy;
        child->sched_priority = t.sched_priority;
    }
    child->keep_capabilities = t.keep_capabilities;
    child->over_process_limit = std::exchange(t.over_process_limit, false);
    child->machine_check_policy = t.machine_check_policy;
    child->io_flusher = t.io_flusher;
    child->timer_slack = child->default_timer_slack = t.timer_slack;
    if (!(r.flags & kCloneVm) || (r.flags & kCloneVfork)) child->alternate_stack = t.alternate_stack;
    if (r.flags & kCloneChildSetTid) child->set_child_tid = r.child_tid;
    if (r.flags & kCloneChildClearTid) child->clear_child_tid = r.child_tid;
    child->vfork_done = vfork;
    if (vfork && (r.flags & kCloneVm) && !(r.flags & kCloneThread)) p->in_vfork.store(true, std::memory_order_relaxed);
    child->started = port::Port::now();
    if (!(r.flags & kCloneThread)) p->started = child->started;
    auto main = thread_main(*child);
    if (!main.valid()) co_return Errno::kNoMem;
    if (!(r.flags & kCloneThread)) CO_TRY(watch_cpu_limit(*p));
    if (auto linked = link(t, *child, *p, r); !linked.ok()) {
        if (!(r.flags & kCloneThread)) stop_timers(*p);  // they keep the process
        co_return linked.error();
    }

    place.keep();

    // ---- Nothing fails from here on. ----
    i32 number = child->tid.value;
    if (!(r.flags & kCloneThread)) p->ref();  // the table of numbers holds one until it was waited for
    if (r.flags & kCloneParentSetTid) {
        auto put = put_u32(t, r.parent_tid, u32(number));
        if (put.valid()) (void)co_await put;
    }
    if (vfork) {
        rt::LockGuard guard{t.process().signals.lock};
        t.vforking = vfork;
    }
    child->ref();  // until `ended`
    child->start(std::move(main));
    child = {};
    if (!vfork) co_return i64{number};

    // Only the end of the caller's own group may cut this short: the child uses its memory.
    while (!vfork->done.load(std::memory_order_acquire) && !(t.work.load(std::memory_order_relaxed) & kWorkExit)) {
        u32 seen = vfork->queue.sequence();
        if (vfork->done.load(std::memory_order_acquire) || (t.work.load(std::memory_order_relaxed) & kWorkExit)) break;
        auto wait = rt::wait_on(vfork->queue, seen, "vfork: execve or exit of the child");
        wait.uninterruptible();
        (void)co_await wait;
    }
    {
        rt::LockGuard guard{t.process().signals.lock};
        t.vforking = {};
    }
    co_return i64{number};
}

}  // namespace linux
