// SPDX-License-Identifier: MIT
#include "linux/task/out_of_memory.hpp"

#include "linux/mm/address_space.hpp"
#include "linux/task/pid.hpp"
#include "rt/mem/pages.hpp"
#include "rt/teardown.hpp"

namespace linux {
namespace {

// A process is worth ending for this part of memory.
constexpr u64 kWorthIt = 16;
constexpr Nanoseconds kUntilItIsGone = lib::milliseconds(2000);
// When a process was ended whose memory has not come back yet; 0: there is none. No other is ended for the same want.
constinit rt::Atomic<u64> ended_at{0};

}  // namespace

void EndForMemory::look_at(Process& p) {
    Ref<AddressSpace> mm = p.mm();
    const u64 pages = mm ? mm->own_pages() : 0;
    if (pages < rt::frame_total() / kWorthIt) return;
    bool ending;
    {
        rt::LockGuard guard{p.signals.lock};
        ending = p.group_exiting;
    }
    if (ending) {
        one_is_ending_ = true;
    } else if (pages >= pages_) {  // of equal ones the youngest
        largest_ = Ref<Process>(&p);
        pages_ = pages;
    }
}

// Some processes more. False: there are others.
bool EndForMemory::search() {
    rt::Stretch stretch;
    while (Ref<Process> p = next_process(from_)) {
        from_ = p->pid.value + 1;
        look_at(*p);
        if (stretch.over()) return false;
    }
    from_ = 1;
    return true;
}

ForMemory EndForMemory::next(Thread& t) {
    if ((t.work.load(std::memory_order_relaxed) & kWorkExit) != 0) return ForMemory::kEnding;
    const Nanoseconds now = hal::Machine::now();
    if (from_ == 1) {
        if (!rt::memory_is_short()) {
            ended_at.store(0, std::memory_order_relaxed);
            return ForMemory::kTryAgain;
        }
        if (!rt::push_for_memory()) return ForMemory::kYield;
        if (pauses_++ < kPauses) return ForMemory::kPause;
        if (until_.value == 0) until_ = now + kUntilItIsGone;
        one_is_ending_ = false;
        pages_ = 0;
    }
    if (!search()) return ForMemory::kYield;
    Ref<Process> largest = std::move(largest_);
    u64 other = ended_at.load(std::memory_order_relaxed);
    if (other != 0 && now < Nanoseconds{other} + kUntilItIsGone) return ForMemory::kPause;
    if (one_is_ending_ && now < until_) return ForMemory::kPause;
    if (!largest) return ForMemory::kNobody;
    if (!ended_at.compare_exchange_strong(other, now.value, std::memory_order_relaxed)) return ForMemory::kPause;
    port::logf("out of memory: killed process {}, which had {} pages", largest->pid, pages_);
    begin_group_exit(*largest, kSigKill);
    until_ = now + kUntilItIsGone;
    return largest.get() == &t.process() ? ForMemory::kEnding : ForMemory::kPause;
}

}  // namespace linux
