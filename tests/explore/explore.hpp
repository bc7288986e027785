// SPDX-License-Identifier: MIT
// Scenarios for the explorer (hal/explore): their world, their user threads, and how they are tried.
#pragma once
#include <gtest/gtest.h>

#include "rt/user_entry.hpp"
#include "rt/wait.hpp"

namespace explore {

using hal::Machine;
using rt::Atomic;
using rt::Executor;
using rt::Step;

// A user thread that makes `calls` system calls, then none: only an interrupt returns its CPU to the kernel. What its
// CPU looks at is the kernel's code (rt/user_entry.hpp); around it is what core/ does with registers and clocks.
struct User : rt::Schedulable {
    explicit User(CpuId cpu = CpuId{0}) : Schedulable(&User::run_it, rt::Priority::kUser) {
        place.set(Executor::of(cpu));
    }
    virtual ~User() = default;
    // What rt::EntersUser asks for.
    Atomic<bool> kicked{false};
    Executor& home() const { return place.get(); }
    Executor& home_seen_now() const { return place.seen_now(); }
    void account_user(Nanoseconds) {}
    void turn_ended(Nanoseconds) {}
    void handle_kick() {
        kicked.store(false, std::memory_order_relaxed);
        ++kicks_seen;
        make_ready();
    }
    void start_slice(Executor& ex) {
        if (slices == 0 || slice.armed || ex.queue.count(priority) == 0) return;
        --slices;
        ex.timers().arm(slice, Machine::now() + Nanoseconds{500});
    }
    bool gives_turn(Executor& ex, bool) { return ex.queue.count(priority) != 0; }

    void make_ready() { home().post(*this); }
    // A call of the program. False: the thread is in other hands.
    virtual bool call(Executor&) { return true; }

    // Enters user mode; returns when the CPU is the executor's.
    void stay(Executor& ex) {
        Machine::poll_mailbox();
        for (;;) {
            const Machine::Left left = Machine::user(calls != 0);
            if (left == Machine::Left::kCall) {
                --calls;
                if (!call(ex)) return;
                if (!rt::must_look_up(*this)) continue;
            }
            if (left == Machine::Left::kTimer) ex.attract(rt::kAttnTimer);
            if (!rt::return_to_user(ex, *this)) return;
        }
    }
    static void run_it(rt::Schedulable& s) {
        Executor& ex = Executor::current();
        User& u = static_cast<User&>(s);
        u.start_slice(ex);
        ex.set_running(&u);
        if (rt::enter_user(ex, u)) u.stay(ex);
    }

    rt::Home place;
    u32 calls = 0, kicks_seen = 0;
    u32 slices = 0;  // how often it gives its CPU to others that wait there
    rt::Timer slice{[](rt::Timer&) { Executor::current().attract(rt::kAttnReschedule); }};
};

// An item that counts how often it ran.
struct Item : rt::Schedulable {
    Item() : Schedulable([](rt::Schedulable& s) { ++static_cast<Item&>(s).runs; }) {}
    u32 runs = 0;
};

struct World {
    virtual ~World() = default;
    virtual void cpu(u32 n) = 0;  // what this CPU does before it runs its executor
    // Called when all CPUs wait and nothing is under way. Null if the state is correct.
    virtual const char* check() = 0;
};
extern World* world;

// The scenario holds for every seed (FARCALL_SEEDS of them, or FARCALL_SEED alone).
void must_hold(u32 cpus, World* (*make)());
// It fails for one of 30,000 seeds when the step is left out.
void must_fail(u32 cpus, World* (*make)(), Step without);

}  // namespace explore
