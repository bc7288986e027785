// SPDX-License-Identifier: MIT
// The per-CPU loop: inbox, timers, run queue, idle.
#include "rt/executor.hpp"

#include "rt/task.hpp"

namespace rt {

alignas(64) constinit Executor executor_table[lib::kMaxCpus];

constinit Atomic<u32> executors_started{0};
constinit Nanoseconds Executor::spin_budget{200'000};

Executor& Executor::start(CpuId cpu) {
    Executor& ex = executor_table[cpu.value];
    ex.cpu_ = cpu;
    ex.service.start(cpu);
    ex.cpu_bit_ = 1u << cpu.value;
    hal::Machine::set_local(&ex);
    epoch_leave_idle();
    u32 n = executors_started.load();
    while (n < cpu.value + 1 && !executors_started.compare_exchange_weak(n, cpu.value + 1)) {
    }
    return ex;
}

void Executor::post(Schedulable& node) {
    if (this == &current()) {
        enqueue(node);
        if (user_state.in_user_mode() && !slice.armed) [[unlikely]]
            start_slice();
        return;
    }
    inbox_.push(node);
    if (user_state.get() != UserState::kBusy) attract(kAttnInbox);
}

void Executor::attract(Attention bit) {
    // seq_cst: pairs with the last check in enter_user_state() and wait_for_work(). No interrupt is sent if the bit was
    // already set: the CPU checks it before it leaves kernel mode, or an interrupt for it is under way.
    u32 before = queue.attention.fetch_or(bit, std::memory_order_seq_cst);
    if ((before & bit) == 0 && this != &current() && user_state.get() != UserState::kBusy) hal::Machine::wake(cpu_);
}

void Executor::enqueue(Schedulable& node) { queue.push_back(node); }
void Executor::enqueue_front(Schedulable& node) { queue.push_front(node); }
void Executor::start_slice() { timers_.arm(slice, hal::Machine::now() + Slice::kLength); }
bool Executor::look_at_turn() { return own_turn_.look(timers_); }

void Executor::give_way(Schedulable& node) {
    Nanoseconds now = let_interrupts_in();
    const Priority waiting = queue.best_user_level();
    // Only jobs are queued behind user threads: anything else on those levels is taken for a thread.
    if (waiting != Priority::kBackground && node.priority < Priority::kHighest && Job::is_one(node)) {
        // An old start time belongs to other work, which has ended.
        if ((now - work_since_).value >= kWorkTurn.value * 8) work_since_ = now;
        if (now - work_since_ >= kWorkTurn) {
            work_since_ = now;
            node.priority = waiting;
        }
    } else {
        work_since_ = now;
    }
    enqueue(node);
}

Nanoseconds Executor::let_interrupts_in() {
    hal::Machine::take_interrupts();
    Nanoseconds now = hal::Machine::now();
    timers_.run_due(now);
    return now;
}

void Executor::drain_inbox() {
    inbox_.drain([this](Schedulable& node) {
        if (node.may_wait_on(cpu_)) [[likely]]
            queue.push_back(node);
        else
            node.run(node);
    });
}

void Executor::keep_out() {
    // The CPU may serve one call after another without ever taking an interrupt.
    if (own_turn_.kept_out() % 16 == 0) let_interrupts_in();
    own_turn_.judge(hal::Machine::now(), times.user());
}

// Spins, like look_for_work(); not part of instruction counts.
[[gnu::noinline, gnu::section(".text.farcall_spin")]] Schedulable* Executor::await_handoff() {
    handoff.open();
    Nanoseconds until = hal::Machine::now() + spin_budget;
    for (u32 n = 1;; ++n) {
        if (handoff.filled()) break;
        if (!inbox_.probably_empty() || needs_attention() || service.pending()) break;
        if ((n & 511) != 0) continue;
        hal::Machine::poll_mailbox();
        Nanoseconds now = let_interrupts_in();
        if (!queue.empty() || now >= until) break;
    }
    return handoff.close();
}

void Executor::run_due_timers() { timers_.run_due(hal::Machine::now()); }

bool Executor::run_one() {
    drain_inbox();
    if (service.serves()) {
        if (CallWord* word = service.first()) CallService::how().word(*this, *word);
    }
    if (needs_attention()) [[unlikely]] {
        u32 why = take_attention();
        if (why & kAttnTimer) run_due_timers();
        if (why & kAttnInbox) drain_inbox();
    }
    quiescent();
    if (queue.empty()) return false;
    Schedulable& node = queue.pop();
    running_ = &node;
    node.run(node);
    running_ = nullptr;
    return true;
}

void Executor::wait_for_work() {
    ++idle_entries;
    // Freeing may make something ready on this CPU, so it comes before the last check.
    epoch_free_due();
    user_state.enter(UserState::kSleeping);
    if (queue.empty() && !inbox_.look() && !needs_attention() &&
        (left_out<Step::kLaneLookAsleep>() || !service.pending())) {
        // Only now: checking the lanes reads words that other CPUs may free.
        epoch_set_idle();
        Nanoseconds before = hal::Machine::now();
        times.asleep_since.store(before.value, std::memory_order_relaxed);
        hal::Machine::wait_for_event();
        times.asleep_since.store(0, std::memory_order_relaxed);
        times.add_idle((hal::Machine::now() - before).value);
        user_state.leave();
        epoch_leave_idle();
    } else {
        user_state.leave();
    }
    run_due_timers();
}

// Looks for work some hundred times. In a section of its own that instruction counts leave out (tools/count_plugin): it
// contains only what a CPU repeats while it waits.
[[gnu::noinline, gnu::section(".text.farcall_spin")]] Executor::Found Executor::look_for_work() {
    // Other callers are checked first; in between, only the likely next word is polled.
    CallWord& likely = service.likely();
    const u64 wanted = lane_wanted(cpu_);
    for (u32 n = 64; n > 0; --n) {
        if (CallWord* word = service.first()) return {word, false};
        if (!inbox_.probably_empty() || needs_attention() || !queue.empty()) return {nullptr, true};
        for (u32 k = 0; k < 16; ++k)
            if ((likely.load(std::memory_order_acquire) & kLaneMask) == wanted) return {&likely, false};
    }
    return {nullptr, false};
}

// Between two calls this CPU holds nothing shared. It is quiescent often enough for the CPUs that wait for it, and
// rarely enough to cost nothing. Under constant load this is the only place where other work is noticed. Returns true
// if there is any.
bool Executor::between_rounds(u32 round) {
    quiescent();
    if (round % 8 == 0) let_interrupts_in();
    return !queue.empty() || !inbox_.probably_empty() || needs_attention();
}

// What a CPU that only looks for work must do regularly for other CPUs and for itself.
bool Executor::look_around() {
    hal::Machine::poll_mailbox();
    let_interrupts_in();
    quiescent();
    return !queue.empty();
}

// Runs on a CPU that serves calls of other CPUs and has nothing else to do. Returns false if nothing came within the
// spin budget.
bool Executor::serve_while_idle() {
    Nanoseconds start = hal::Machine::now(), last = start;
    const u64 served_before = service.served_ns;
    bool found = false;
    service.set_looks(true);
    for (;;) {
        CallService::Served served = CallService::how().words(*this);
        if (look_around() || served.other) {
            found = true;
            break;
        }
        Nanoseconds now = hal::Machine::now();
        if (served.any) last = now;
        if (now - last >= spin_budget) break;
    }
    service.set_looks(false);
    if (!found && CallService::how().rest) CallService::how().rest(*this);
    u64 elapsed = (hal::Machine::now() - start).value, busy = service.served_ns - served_before;
    if (busy < elapsed) times.add_idle(elapsed - busy);
    return found;
}

void Executor::run_forever() {
    // Interrupts are off from here to the next user thread: a chain of kernel work takes pending ones at intervals.
    constexpr u32 kItems = 8;  // items between two such points; an item is up to some 10,000 instructions long
    for (u32 n = 1;; ++n) {
        while (run_one()) {
            if (n++ % kItems == 0) let_interrupts_in();
        }
        if ((service.serves() || polls) && spin_budget.value != 0 && serve_while_idle()) continue;
        if (idle_work && idle_work()) {
            let_interrupts_in();
            continue;
        }
        wait_for_work();
    }
}

}  // namespace rt
