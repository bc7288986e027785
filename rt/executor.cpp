// SPDX-License-Identifier: MIT
// The per-CPU loop: inbox, timers, run queue, idle.
#include "rt/executor.hpp"
#include "rt/atomic.hpp"

#include <bit>

namespace rt {

alignas(64) constinit Executor executor_table[lib::kMaxCpus];

constinit Atomic<u32> executors_started{0};
namespace {
void serve_nobody(Executor&, CallWord&) { RT_ASSERT(false, "a word, and nobody to execute it"); }
}  // namespace
// A CPU that polls and serves nobody finds no word.
constinit Executor::Serving Executor::serving_{nullptr, &Executor::serve_words<&serve_nobody>, nullptr};
constinit Nanoseconds Executor::spin_budget{200'000};

Executor& Executor::start(CpuId cpu) {
    Executor& ex = executor_table[cpu.value];
    ex.cpu_ = cpu;
    ex.cpu_bit = 1u << cpu.value;
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
        return;
    }
    Schedulable* head = inbox_.load(std::memory_order_relaxed);
    do {
        node.inbox_next = head;
        // seq_cst: pairs with enter_user_state() and wait_for_work(), see the file's head.
    } while (!inbox_.compare_exchange_weak(head, &node, std::memory_order_seq_cst, std::memory_order_relaxed));
    if (state_.load(std::memory_order_seq_cst) != kBusy) attract(kAttnInbox);
}

void Executor::attract(Attention bit) {
    // seq_cst: pairs with the last look of enter_user_state() and wait_for_work(). No interrupt is sent for a bit that was set
    // before: the CPU looks at it before it leaves kernel mode, or has an interrupt under way because of it.
    u32 before = attention_.fetch_or(bit, std::memory_order_seq_cst);
    if ((before & bit) == 0 && this != &current() && state_.load(std::memory_order_seq_cst) != kBusy)
        hal::Machine::wake(cpu_);
}

void Executor::enqueue(Schedulable& node) {
    RT_ASSERT(!node.run_hook.linked(), "queued twice");
    u32 p = u32(node.priority);
    queues_[p].push_back(node);
    ++counts_[p];
    ready_mask_ |= 1u << p;
}

void Executor::enqueue_front(Schedulable& node) {
    RT_ASSERT(!node.run_hook.linked(), "queued twice");
    u32 p = u32(node.priority);
    queues_[p].push_front(node);
    ++counts_[p];
    ready_mask_ |= 1u << p;
}

void Executor::give_way(Schedulable& node) {
    hal::Machine::take_interrupts();
    Nanoseconds now = hal::Machine::now();
    timers_.run_due(now);
    const u32 user_levels = (2u << u32(Priority::kLowest)) - (1u << u32(Priority::kHighest));
    const u32 waiting = ready_mask_ & user_levels;
    if (waiting != 0 && node.priority < Priority::kHighest) {
        // An old beginning is that of other work, which has ended.
        if ((now - work_since_).value >= kWorkTurn.value * 8) work_since_ = now;
        if (now - work_since_ >= kWorkTurn) {
            work_since_ = now;
            node.priority = Priority(std::countr_zero(waiting));
        }
    } else {
        work_since_ = now;
    }
    enqueue(node);
}

Schedulable* Executor::steal(Priority p) {
    Schedulable* node = queues_[u32(p)].back();
    if (!node) return nullptr;
    node->run_hook.unlink();
    if (--counts_[u32(p)] == 0) ready_mask_ &= ~(1u << u32(p));
    return node;
}

void Executor::remove(Schedulable& node) {
    RT_ASSERT(node.run_hook.linked(), "not in a queue");
    u32 p = u32(node.priority);
    node.run_hook.unlink();
    if (--counts_[p] == 0) ready_mask_ &= ~(1u << p);
}

bool Executor::holds(const Schedulable& node) {
    if (!node.run_hook.linked()) return false;
    for (const Schedulable& s : queues_[u32(node.priority)])
        if (&s == &node) return true;
    return false;
}

void Executor::keep_out() {
    Nanoseconds now = hal::Machine::now();
    u64 user = user_ns.load(std::memory_order_relaxed);
    // The CPU may go from call to call without an interrupt ever being taken.
    if (++kept_out_times_ % 16 == 0) {
        hal::Machine::take_interrupts();
        run_due_timers();
    }
    if (kept_out_since_ != Nanoseconds{} && now - kept_out_since_ < kKeptOut) return;
    // An interrupt that follows at once is no progress, whatever the clock says: so it is not the sum that counts.
    bool starved = kept_out_since_ != Nanoseconds{} && user - user_ns_then_ < kept_out_times_ * kProgress;
    kept_out_since_ = now;
    kept_out_times_ = 0;
    user_ns_then_ = user;
    if (!starved || own_turn_) return;
    own_turn_ = true;
    own_turn_until_ = {};
}

// The turn begins when user mode is entered first.
bool Executor::own_turn_goes_on() {
    Nanoseconds now = hal::Machine::now();
    if (own_turn_until_ == Nanoseconds{}) {
        own_turn_until_ = now + kTurn;
        timers_.arm(own_turn_timer_, own_turn_until_);
        return true;
    }
    if (now < own_turn_until_) return true;
    own_turn_ = false;
    cancel_timer(own_turn_timer_);
    kept_out_since_ = {};
    return false;
}

void Executor::drain_inbox() {
    if (inbox_.load(std::memory_order_relaxed) == nullptr) return;
    // Acquire: pairs with the push; what the sender wrote into the node is seen.
    Schedulable* newest = inbox_.exchange(nullptr, std::memory_order_acquire);
    Schedulable* oldest = nullptr;
    while (newest) {
        Schedulable* next = newest->inbox_next;
        newest->inbox_next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest) {
        Schedulable* next = oldest->inbox_next;
        enqueue(*oldest);
        oldest = next;
    }
}

constinit Schedulable Executor::closed_{nullptr};

// Spinning, as look_for_work(): left out of instruction counts.
[[gnu::noinline, gnu::section(".text.farcall_spin")]] Schedulable* Executor::await_handoff() {
    handoff_.store(nullptr, std::memory_order_release);  // pairs with hand_off()
    Nanoseconds until = hal::Machine::now() + spin_budget;
    for (u32 n = 1;; ++n) {
        if (handoff_.load(std::memory_order_relaxed) != nullptr) break;
        if (inbox_.load(std::memory_order_relaxed) || needs_attention() || requests_pending()) break;
        if ((n & 511) != 0) continue;
        hal::Machine::poll_mailbox();
        hal::Machine::take_interrupts();
        run_due_timers();
        if (ready_mask_ != 0 || hal::Machine::now() >= until) break;
    }
    // Whoever was in time gets through: from here on it is closed.
    if (left_out<Step::kHandoffExchange>()) {
        Schedulable* seen = handoff_.load(std::memory_order_acquire);
        handoff_.store(&closed_, std::memory_order_release);
        return seen;
    }
    Schedulable* got = handoff_.exchange(&closed_, std::memory_order_acq_rel);
    return got;
}

void Executor::run_due_timers() { timers_.run_due(hal::Machine::now()); }

bool Executor::run_one() {
    drain_inbox();
    if (serves()) {
        if (CallWord* word = lane_first(cpu_, executor_count(), lane_place_)) serving_.word(*this, *word);
    }
    if (needs_attention()) [[unlikely]] {
        u32 why = take_attention();
        if (why & kAttnTimer) run_due_timers();
        if (why & kAttnInbox) drain_inbox();
    }
    quiescent();
    if (ready_mask_ == 0) return false;
    u32 p = u32(std::countr_zero(ready_mask_));
    Schedulable* node = queues_[p].pop_front();
    if (--counts_[p] == 0) ready_mask_ &= ~(1u << p);
    running_ = node;
    node->run(*node);
    running_ = nullptr;
    return true;
}

void Executor::wait_for_work() {
    ++idle_entries;
    // What is freed may make something ready here; so this comes before the last look.
    epoch_free_due();
    state_.store(kSleeping, std::memory_order_seq_cst);
    if (ready_mask_ == 0 && (left_out<Step::kInboxLook>() || inbox_.load(std::memory_order_seq_cst) == nullptr) &&
        !needs_attention() && (left_out<Step::kLaneLook>() || !requests_pending())) {
        // Only now: the look at the lanes reads words that others may free.
        epoch_set_idle();
        Nanoseconds before = hal::Machine::now();
        asleep_since.store(before.value, std::memory_order_relaxed);
        hal::Machine::wait_for_event();
        asleep_since.store(0, std::memory_order_relaxed);
        idle_ns.store(idle_ns.load(std::memory_order_relaxed) + (hal::Machine::now() - before).value,
                      std::memory_order_relaxed);
        state_.store(kBusy, std::memory_order_relaxed);
        epoch_leave_idle();
    } else {
        state_.store(kBusy, std::memory_order_relaxed);
    }
    run_due_timers();
}

// Looks for something to do, some hundred times. In a section of its own, which instruction counts leave out
// (tools/count_plugin): nothing is here that a CPU would not do over and over while it waits.
[[gnu::noinline, gnu::section(".text.farcall_spin")]] Executor::Found Executor::look_for_work() {
    // Whoever made the last call probably makes the next. The others have their turn first.
    CallWord* likely = lane_at(cpu_, lane_place_);
    const u64 wanted = lane_wanted(cpu_);
    for (u32 n = 64; n > 0; --n) {
        if (CallWord* word = lane_first(cpu_, executor_count(), lane_place_)) return {word, false};
        if (inbox_.load(std::memory_order_relaxed) || needs_attention() || ready_mask_ != 0) return {nullptr, true};
        for (u32 k = 0; k < 16; ++k)
            if ((likely->load(std::memory_order_acquire) & kLaneMask) == wanted) return {likely, false};
    }
    return {nullptr, false};
}

// Between two calls nothing shared is held: quiescent often enough for those who wait, seldom enough to cost nothing. Under
// constant load this is the only place where anything else is seen. True: there is.
bool Executor::between_rounds(u32 round) {
    quiescent();
    if (round % 8 == 0) {
        hal::Machine::take_interrupts();
        run_due_timers();
    }
    return ready_mask_ != 0 || inbox_.load(std::memory_order_relaxed) || needs_attention();
}

// What a CPU that only looks for work owes the others, and itself.
bool Executor::look_around() {
    hal::Machine::poll_mailbox();
    hal::Machine::take_interrupts();
    run_due_timers();  // an interrupt taken here says nothing by itself
    quiescent();
    return ready_mask_ != 0;
}

// A CPU that serves others' calls and has nothing else to do. False: nothing came for the length of the spin budget.
bool Executor::serve_while_idle() {
    Nanoseconds start = hal::Machine::now(), last = start;
    const u64 served_before = served_ns;
    bool found = false;
    looks_.store(true, std::memory_order_relaxed);
    for (;;) {
        Served served = serving_.words(*this);
        if (look_around() || served.other) {
            found = true;
            break;
        }
        Nanoseconds now = hal::Machine::now();
        if (served.any) last = now;
        if (now - last >= spin_budget) break;
    }
    looks_.store(false, std::memory_order_relaxed);
    if (!found && serving_.rest) serving_.rest(*this);
    u64 elapsed = (hal::Machine::now() - start).value, busy = served_ns - served_before;
    if (busy < elapsed)
        idle_ns.store(idle_ns.load(std::memory_order_relaxed) + elapsed - busy, std::memory_order_relaxed);
    return found;
}

void Executor::run_forever() {
    // From here to the next user thread interrupts are off: a chain of kernel work takes them every so often.
    constexpr u32 kItems = 32;
    for (u32 n = 1;; ++n) {
        while (run_one()) {
            if (n++ % kItems != 0) continue;
            hal::Machine::take_interrupts();
            run_due_timers();
        }
        if ((serves() || polls) && spin_budget.value != 0 && serve_while_idle()) continue;
        if (idle_work && idle_work()) {
            hal::Machine::take_interrupts();
            run_due_timers();
            continue;
        }
        wait_for_work();
    }
}

}  // namespace rt
