// SPDX-License-Identifier: MIT
// wait4(2), waitid(2): which child has something to report.
#include "linux/task/wait.hpp"

#include <optional>

#include "linux/task/exit.hpp"
#include "linux/task/pid.hpp"

namespace linux {
namespace {

bool matches(const WaitRequest& r, Process& child) RT_REQUIRES(process_tree) {
    switch (r.which) {
        case WaitRequest::Which::kAny: break;
        case WaitRequest::Which::kPid:
            if (child.pid.value != r.number) return false;
            break;
        case WaitRequest::Which::kGroup:
            if (child.group.value != r.number) return false;
            break;
    }
    if (r.maker && child.maker != r.maker) return false;
    // "Clone" children are those that do not send SIGCHLD at their end.
    bool clone_child = child.exit_signal != kSigChld;
    return (r.options & kWaitAll) || clone_child == ((r.options & kWaitClone) != 0);
}

// What the child reports to this request; false: nothing now.
bool has_report(Process& child, u32 options, WaitReport& out) RT_REQUIRES(process_tree) {
    if (child.state == Process::State::kZombie) {
        if (!(options & kWaitExited)) return false;
        bool killed = (child.exit_status & kStatusSignalMask) != 0;
        out.code = killed ? kCldKilled : kCldExited;
        out.status = child.exit_status;
        return true;
    }
    rt::LockGuard guard{child.signals.lock};
    if (child.signals.stop_unreported && (options & kWaitUntraced)) {
        out.code = kCldStopped;
        out.status = (i32(child.signals.stop_signal) << 8) | kStatusStopped;
        return true;
    }
    if (child.signals.continue_unreported && (options & kWaitContinued)) {
        out.code = kCldContinued;
        out.status = kStatusContinued;
        return true;
    }
    return false;
}

void add(Usage& to, const Usage& u) {
    to.times.user += u.times.user;
    to.times.system += u.times.system;
    to.minor_faults += u.minor_faults;
    to.major_faults += u.major_faults;
    to.voluntary_switches += u.voluntary_switches;
    to.involuntary_switches += u.involuntary_switches;
    if (u.max_rss_kib > to.max_rss_kib) to.max_rss_kib = u.max_rss_kib;
}

}  // namespace

namespace {

// Of one search, under process_tree.
struct Search {
    const WaitRequest& request;
    WaitSink sink;
    bool any = false;         // a child of the wanted kind
    Process* gone = nullptr;  // reaped: to be let go of outside the lock
    Process* from = nullptr;  // where a piece begins; null: with the first child
    Process* next = nullptr;  // where it has ended; null: there are no more
};
constexpr u32 kChildrenAtOnce = 256;

// Delivers the report of this child; nothing: the search continues.
std::optional<Leaf<i32>> ask(Search& s, Process& child) RT_REQUIRES(process_tree) {
    const u32 options = s.request.options;
    if (!matches(s.request, child)) return {};
    // A zombie has no report for a caller that does not wait for the end (Linux: wait_task_zombie).
    s.any |= child.state != Process::State::kZombie || (options & kWaitExited);
    WaitReport report;
    if (!has_report(child, options, report)) return {};
    report.pid = child.pid.value;
    {
        rt::LockGuard guard{child.lock};
        report.uid = child.creds->uid;
    }
    report.usage = child.state == Process::State::kZombie ? child.usage_total : child.usage();
    add(report.usage, child.usage_children);
    auto delivered = s.sink(report);
    if (!delivered.ok() && delivered.error().needs_more()) return delivered.error();
    if (!(options & kWaitNoWait)) {
        if (report.code == kCldStopped || report.code == kCldContinued) {
            rt::LockGuard guard{child.signals.lock};
            (report.code == kCldStopped ? child.signals.stop_unreported : child.signals.continue_unreported) = false;
        } else {
            reap_locked(child);
            s.gone = &child;
        }
    }
    if (!delivered.ok()) return delivered.error();
    return report.pid;
}

std::optional<Leaf<i32>> search(Search& s, Process& p) RT_REQUIRES(process_tree) {
    if (s.request.which == WaitRequest::Which::kPid) {
        PidEntry* e = pid_entry(s.request.number);
        return e && e->process && e->process->parent == &p ? ask(s, *e->process) : std::optional<Leaf<i32>>{};
    }
    // A caller that waits only for the end need not visit every child when none has ended.
    const bool ends_only = !(s.request.options & (kWaitUntraced | kWaitContinued));
    u32 n = 0;
    for (Process* child = s.from ? s.from : p.children.front(); child; child = p.children.next(*child)) {
        if (n++ == kChildrenAtOnce) {
            s.next = child;
            return {};
        }
        if (auto answer = ask(s, *child)) return answer;
        if (s.any && ends_only && p.zombies == 0) break;
    }
    return {};
}

}  // namespace

Leaf<i32> try_wait(Process& p, const WaitRequest& request, WaitSink sink, WaitCursor* cursor) {
    Search s{request, sink};
    std::optional<Leaf<i32>> answer;
    Ref<Process> before;  // let go of outside the lock
    {
        rt::LockGuard tree{process_tree};
        if (cursor && cursor->next) {
            before = std::move(cursor->next);
            // A child that has gone in the meantime was reaped by another thread: start from the beginning.
            if (before->parent == &p) s.from = before.get(), s.any = cursor->any;
        }
        answer = search(s, p);
        if (cursor && !answer && s.next) {
            cursor->next = Ref<Process>{s.next};
            cursor->any = s.any;
        }
    }
    if (s.gone) let_go_of(*s.gone);
    if (answer) return *answer;
    if (s.next) return kNeedsTask;
    if (!s.any) return Errno::kChild;
    if (request.options & kWaitNoHang) return 0;
    return kNeedsTask;
}

}  // namespace linux
