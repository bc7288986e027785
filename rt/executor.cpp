// SPDX-License-Identifier: MIT
// The per-CPU loop: inbox, timers, run queue, idle.
#include "rt/executor.hpp"

#include <bit>

namespace rt {
namespace {

constinit std::atomic<u32> started{0};
alignas(64) constinit Executor table[lib::kMaxCpus];

}  // namespace

u32 executor_count() { return started.load(std::memory_order_acquire); }

Executor& Executor::of(CpuId cpu) { return table[cpu.value]; }

Executor& Executor::start(CpuId cpu) {
    Executor& ex = table[cpu.value];
    ex.cpu_ = cpu;
    hal::Machine::set_local(&ex);
    epoch_leave_idle();
    u32 n = started.load();
    while (n < cpu.value + 1 && !started.compare_exchange_weak(n, cpu.value + 1)) {
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

bool Executor::has_ready(Priority limit) const { return (ready_mask_ & ((2u << u32(limit)) - 1)) != 0; }

Schedulable* Executor::steal(Priority p) {
    Schedulable* node = queues_[u32(p)].back();
    if (!node) return nullptr;
    node->run_hook.unlink();
    if (--counts_[u32(p)] == 0) ready_mask_ &= ~(1u << u32(p));
    return node;
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

void Executor::run_due_timers() { timers_.run_due(hal::Machine::now()); }

bool Executor::run_one() {
    drain_inbox();
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
    epoch_enter_idle();
    state_.store(kSleeping, std::memory_order_seq_cst);
    if (inbox_.load(std::memory_order_seq_cst) == nullptr && !needs_attention()) hal::Machine::wait_for_event();
    state_.store(kBusy, std::memory_order_relaxed);
    epoch_leave_idle();
    run_due_timers();
}

void Executor::run_forever() {
    for (;;) {
        while (run_one()) {
        }
        if (idle_work && idle_work()) continue;
        wait_for_work();
    }
}

}  // namespace rt
