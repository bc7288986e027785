// SPDX-License-Identifier: MIT
// wait4(2), waitid(2): which child has something to report.
#include "linux/wait.hpp"

#include "linux/exit.hpp"

namespace linux {
namespace {

bool matches(const WaitRequest& r, Process& child) {
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

// What the child has to say to this request; false: nothing now.
bool has_report(Process& child, u32 options, WaitReport& out) {
    if (child.state == Process::State::kZombie) {
        if (!(options & kWaitExited)) return false;
        bool killed = (child.exit_status & 0x7f) != 0;
        out.code = killed ? kCldKilled : kCldExited;
        out.status = child.exit_status;
        return true;
    }
    rt::LockGuard guard{child.signals.lock};
    if (child.signals.stop_unreported && (options & kWaitUntraced)) {
        out.code = kCldStopped;
        out.status = (i32(child.signals.stop_signal) << 8) | 0x7f;
        return true;
    }
    if (child.signals.continue_unreported && (options & kWaitContinued)) {
        out.code = kCldContinued;
        out.status = 0xffff;
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

Leaf<i32> try_wait(Process& p, const WaitRequest& request, WaitSink sink) {
    bool any = false;
    Process* gone = nullptr;
    struct LetGo {
        Process*& process;
        ~LetGo() {
            if (process) let_go_of(*process);
        }
    } let_go{gone};
    {
        rt::LockGuard tree{process_tree};
        for (Process& child : p.children) {
            if (!matches(request, child)) continue;
            // A zombie has nothing more to say to who does not wait for the end (Linux: wait_task_zombie).
            any |= child.state != Process::State::kZombie || (request.options & kWaitExited);
            WaitReport report;
            if (!has_report(child, request.options, report)) continue;
            report.pid = child.pid.value;
            {
                rt::LockGuard guard{child.lock};
                report.uid = child.creds->uid;
            }
            report.usage = child.state == Process::State::kZombie ? child.usage_total : child.usage();
            add(report.usage, child.usage_children);
            auto delivered = sink.deliver(sink.context, report);
            if (!delivered.ok() && lib::needs_more(delivered.error())) return delivered.error();
            if (!(request.options & kWaitNoWait)) {
                if (report.code == kCldStopped || report.code == kCldContinued) {
                    rt::LockGuard guard{child.signals.lock};
                    (report.code == kCldStopped ? child.signals.stop_unreported : child.signals.continue_unreported) =
                        false;
                } else {
                    reap_locked(child);
                    gone = &child;
                }
            }
            if (!delivered.ok()) return delivered.error();
            return report.pid;
        }
    }
    if (!any) return Errno::kChild;
    if (request.options & kWaitNoHang) return 0;
    return Errno::kNeedsTask;
}

}  // namespace linux
