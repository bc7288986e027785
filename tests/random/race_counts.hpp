// SPDX-License-Identifier: MIT
// How the calls of the drivers ended (race.cpp).
#pragma once
#include <atomic>

#include "tests/random/seeded.hpp"

namespace race {

using namespace native;

struct Name {
    u64 number;
    const char* name;
};
// Above all numbers of calls: kReplyReceive that answers a saved caller; a receive that saves one.
inline constexpr u64 kReplySaved = 126, kSaveReceive = 127;
inline constexpr Name kNames[] = {{kCall, "kCall"},
                                  {kReplyReceive, "kReplyReceive"},
                                  {kSend, "kSend"},
                                  {kReceive, "kReceive"},
                                  {kReply, "kReply"},
                                  {kReplySaved, "kAnswerSaved"},
                                  {kSaveReceive, "kSaveOwed"},
                                  {kReplyTo, "kReplyTo"},
                                  {kReplySave, "kReplySave"},
                                  {kSignal, "kSignal"},
                                  {kCreate, "kCreate"},
                                  {kCopy, "kCopy"},
                                  {kMove, "kMove"},
                                  {kDelete, "kDelete"},
                                  {kRevoke, "kRevoke"},
                                  {kThreadConfigure, "kThreadConfigure"},
                                  {kThreadSetRegisters, "kThreadSetRegisters"},
                                  {kThreadGetRegisters, "kThreadGetRegisters"},
                                  {kThreadResume, "kThreadResume"},
                                  {kThreadSuspend, "kThreadSuspend"},
                                  {kThreadSchedule, "kThreadSchedule"},
                                  {kThreadBind, "kThreadBind"},
                                  {kThreadFastpaths, "kThreadFastpaths"},
                                  {kThreadHandler, "kThreadHandler"},
                                  {kThreadSpace, "kThreadSpace"},
                                  {kThreadKick, "kThreadKick"},
                                  {kThreadTimes, "kThreadTimes"},
                                  {kThreadGetFpu, "kThreadGetFpu"},
                                  {kThreadSetFpu, "kThreadSetFpu"},
                                  {kAlarm, "kAlarm"},
                                  {kMap, "kMap"},
                                  {kUnmap, "kUnmap"},
                                  {kProtect, "kProtect"},
                                  {kMapFrames, "kMapFrames"},
                                  {kChangeFrames, "kChangeFrames"},
                                  {kFreeTables, "kFreeTables"},
                                  {kSpaceStale, "kSpaceStale"},
                                  {kSchedConfigure, "kSchedConfigure"},
                                  {kIrqBind, "kIrqBind"}};
// waited: in vain, for a partner that did not come in time or gave up.
struct Count {
    std::atomic<u64> done, waited, refused;
};
inline Count counts[128];

inline Result<void> count(u64 call, Result<void> r) {
    Count& c = counts[call];
    const bool waited = !r.ok() && (r.error() == Errno::kAgain || r.error() == Errno::kTimedOut ||
                                    r.error() == Errno::kCanceled || r.error() == Errno::kIdRm);
    (r.ok() ? c.done : waited ? c.waited : c.refused).fetch_add(1, std::memory_order_relaxed);
    return r;
}

inline void print_counts() {
    u64 done = 0, waited = 0, refused = 0;
    for (const Name& n : kNames) {
        const Count& c = counts[n.number];
        print("call {} done {} waited {} refused {}\n", std::string_view(n.name), c.done.load(), c.waited.load(),
              c.refused.load());
        done += c.done.load();
        waited += c.waited.load();
        refused += c.refused.load();
    }
    print("calls: {} done, {} waited in vain, {} refused\n", done, waited, refused);
}

}  // namespace race
