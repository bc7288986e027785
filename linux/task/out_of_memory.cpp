// SPDX-License-Identifier: MIT
#include "linux/task/out_of_memory.hpp"

#include "linux/mm/address_space.hpp"
#include "linux/task/exit.hpp"
#include "linux/task/pid.hpp"
#include "rt/epoch.hpp"
#include "rt/mem/pages.hpp"
#include "rt/teardown.hpp"

namespace linux {
namespace {

// Memory that has not gone by then is kept by something that may not end: another process is chosen. A busy host stops CPUs
// for seconds.
constexpr Nanoseconds kUntilItIsGone = lib::milliseconds(10'000);
// Frames are free two epochs after they were dropped, if no CPU is stopped.
constexpr Nanoseconds kUntilItIsFree = lib::milliseconds(500);
constexpr u32 kPausesMore = 2;

// When the last one was chosen, and how many were. One at a time: AddressSpace::awaited_end.
constinit rt::Atomic<u64> chosen_at{0}, chosen{0};

// Who looks at all processes. One at a time: where many lack memory, nothing else would run.
constinit rt::Atomic<EndForMemory*> searcher{nullptr};

bool is_waited_for(u64 memory, Nanoseconds now) {
    return memory != 0 && now < Nanoseconds{chosen_at.load(std::memory_order_relaxed)} + kUntilItIsGone;
}

bool is_ending(Process& p) {
    rt::LockGuard guard{p.signals.lock};
    return p.group_exiting;
}

// Its memory is that of its parent, which waits for it (in_vfork in linux/sched/mm.h). A parent that is killed, or executes
// another program in another thread, leaves the memory to it.
bool has_its_parents_memory(Process& p, const AddressSpace& mm) {
    if (!p.in_vfork.load(std::memory_order_relaxed)) return false;
    Ref<Process> parent = find_process(Pid{p.parent_pid.load(std::memory_order_relaxed)});
    Ref<AddressSpace> theirs = parent ? parent->mm() : Ref<AddressSpace>{};
    return theirs && theirs->serial == mm.serial;
}

std::optional<i64> badness_of(Process& p, const AddressSpace& mm, u64 pages) {
    if (has_its_parents_memory(p, mm)) return {};
    const i64 adjustment = oom_adjustment(p).value;
    if (adjustment == kLeastOomAdjustment) return {};
    return i64(pages) + adjustment * i64(rt::frame_total() / 1000);
}

}  // namespace

bool RanOut::lately() {
    const Nanoseconds last = rt::memory_ran_out();
    return rt::memory_is_low() || (last.value != 0 && hal::Machine::now() < last + kUntilItIsGone);
}

std::optional<i64> oom_badness(Process& p) {
    Ref<AddressSpace> mm = p.mm();
    return mm ? badness_of(p, *mm, mm->pages_in_use()) : std::nullopt;
}

void EndForMemory::look_at(Process& p) {
    Ref<AddressSpace> mm = p.mm();
    if (!mm) return;
    if (is_first_program(p)) {
        spared_ = mm->serial;  // it has the least number
        return;
    }
    if (mm->serial == spared_) return;
    // It was waited for in vain.
    if (mm->chosen_to_end.load(std::memory_order_relaxed) && is_ending(p)) return;
    const u64 pages = mm->pages_in_use();
    const std::optional<i64> points = badness_of(p, *mm, pages);
    if (!points || (largest_ && *points < points_)) return;  // of equal ones the youngest
    largest_ = Ref<Process>(&p);
    points_ = *points;
    pages_ = pages;
}

bool EndForMemory::may_search() {
    EndForMemory* none = nullptr;
    return searcher.compare_exchange_strong(none, this, std::memory_order_relaxed) || none == this;
}
void EndForMemory::stop_searching() {
    EndForMemory* self = this;
    searcher.compare_exchange_strong(self, nullptr, std::memory_order_relaxed);
}

// Some processes more. False: there are others.
bool EndForMemory::search() {
    rt::Stretch stretch;
    (void)stretch.over();  // one look may be as long
    while (Ref<Process> p = next_process(from_)) {
        from_ = p->pid.value + 1;
        look_at(*p);
        if (stretch.over()) return false;
    }
    from_ = 1;
    return true;
}

// kNobody: no memory is coming back.
ForMemory EndForMemory::wait_for_memory(Nanoseconds now) {
    if (!rt::memory_is_short()) return ForMemory::kTryAgain;
    // Others may fill the backlogs all the time: no more than all the memory there is.
    const bool all_pushed = rt::push_for_memory();
    if (!all_pushed && pushed_++ < rt::frame_total() / rt::kPushedForMemory) return ForMemory::kYield;
    pushed_ = 0;
    // Acquire: pairs with the end of an AddressSpace, which has dropped its frames.
    if (is_waited_for(AddressSpace::awaited_end.load(std::memory_order_acquire), now)) {
        epoch_ = 0;
        return ForMemory::kPause;
    }
    const u64 others = chosen.load(std::memory_order_relaxed);
    if (epoch_ == 0 || chosen_ != others) {
        chosen_ = others;
        epoch_ = rt::epoch_now() + 3;
        until_ = now + kUntilItIsFree;
        pauses_ = 0;
    }
    if (rt::epoch_now() < epoch_ && now < until_) return ForMemory::kPause;
    // Where there is much, it is freed in turns from then on.
    return pauses_++ < kPausesMore ? ForMemory::kPause : ForMemory::kNobody;
}

ForMemory EndForMemory::choose(Thread& t, Nanoseconds now) {
    Ref<Process> largest = std::move(largest_);
    if (!largest) return ForMemory::kNobody;
    u64 other = AddressSpace::awaited_end.load(std::memory_order_relaxed);
    if (is_waited_for(other, now) || chosen_ != chosen.load(std::memory_order_relaxed)) return ForMemory::kPause;
    Ref<AddressSpace> mm = largest->mm();
    if (!mm) {
        epoch_ = 0;
        return ForMemory::kPause;
    }
    chosen_at.store(now.value, std::memory_order_relaxed);
    // `mm` is kept until then: its end comes after.
    if (!AddressSpace::awaited_end.compare_exchange_strong(other, mm->serial, std::memory_order_relaxed))
        return ForMemory::kPause;
    mm->chosen_to_end.store(true, std::memory_order_relaxed);
    chosen.fetch_add(1, std::memory_order_relaxed);
    port::logf("out of memory: killed process {}, which had {} pages", largest->pid, pages_);
    begin_group_exit(*largest, kSigKill);
    ending_ = mm->serial;
    return end_sharers(t);
}

// Some of those whose memory it is. No lock is held from one to the next: what a process makes meanwhile that is to share its
// memory is either seen here or not made, unless its number is below; then it is chosen once more.
ForMemory EndForMemory::end_sharers(Thread& t) {
    rt::Stretch stretch;
    while (Ref<Process> p = next_process(from_)) {
        from_ = p->pid.value + 1;
        if (Ref<AddressSpace> mm = p->mm(); mm && mm->serial == ending_) begin_group_exit(*p, kSigKill);
        if (stretch.over()) return ForMemory::kYield;
    }
    from_ = 1;
    ending_ = 0;
    return (t.work.load(std::memory_order_relaxed) & kWorkExit) != 0 ? ForMemory::kEnding : ForMemory::kPause;
}

ForMemory EndForMemory::next(Thread& t) {
    if (ending_ != 0) return end_sharers(t);
    if ((t.work.load(std::memory_order_relaxed) & kWorkExit) != 0) return ForMemory::kEnding;
    const Nanoseconds now = hal::Machine::now();
    if (std::exchange(searched_, false)) {
        const ForMemory chosen_now = choose(t, now);
        stop_searching();
        return chosen_now;
    }
    if (from_ == 1) {
        if (const ForMemory coming = wait_for_memory(now); coming != ForMemory::kNobody) return coming;
        if (!may_search()) return ForMemory::kPause;
        largest_ = {};
    }
    searched_ = search();
    return ForMemory::kYield;
}

}  // namespace linux
