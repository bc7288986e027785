// SPDX-License-Identifier: MIT
// The runtime's protocols under the explorer (hal/explore): the executor, jobs, waits, lanes, epochs, the mailbox and
// the hand-off of threads, as the kernel compiles them, in interleavings that a seed determines. Each scenario must
// hold for every seed, and must fail for some seed when one step that it depends on is left out (rt::Step).
//
// FARCALL_SEEDS=N tries N seeds of each scenario; a failure prints its seed, and FARCALL_SEED=S runs that one alone.
//
// The objects of a scenario are created anew for each run, and leaked if it fails. The code around user mode is written
// here in the way of core/ (core/thread.cpp, core/trap.cpp): that part is not the kernel's own code.
#include <gtest/gtest.h>

#include <cstdlib>
#include <memory>
#include <new>

#include "rt/executor.hpp"
#include "rt/task.hpp"
#include "rt/teardown.hpp"
#include "rt/wait.hpp"

namespace {

using hal::Machine;
using rt::Atomic;
using rt::Executor;
using rt::Step;

// A user thread that never makes a system call: only an interrupt returns its CPU to the kernel.
struct User : rt::Schedulable {
    User() : Schedulable(&User::run_it, rt::Priority::kUser) {}
    Atomic<bool> kicked{false};
    u32 kicks_seen = 0;
    Executor* home = &Executor::of(CpuId{0});
    void kick() {
        kicked.store(true);
        home->attract(rt::kAttnInbox);
    }
    static void run_it(rt::Schedulable& s) {
        User& u = static_cast<User&>(s);
        Executor& ex = Executor::current();
        if (!ex.enter_user_state() || u.kicked.load()) {
            ex.leave_user_state();
            return u.back(ex);
        }
        Machine::poll_mailbox();
        do Machine::user();
        while (!ex.needs_attention() && !u.kicked.load(std::memory_order_relaxed) && !ex.must_serve());
        ex.leave_user_state();
        u.back(ex);
    }
    void back(Executor& ex) {
        if (kicked.load()) {
            kicked.store(false, std::memory_order_relaxed);
            ++kicks_seen;
        }
        ex.enqueue_front(*this);
    }
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
World* world = nullptr;

void run_cpu() {
    u32 n = Machine::this_cpu().value;
    Executor& ex = Executor::start(CpuId{n});
    world->cpu(n);
    ex.run_forever();
}

// Runs one seed. Null, or why it failed.
const char* explore(u64 seed, u32 cpus, World* (*make)()) {
    for (Executor& ex : rt::executor_table) new (&ex) Executor;
    for (auto& row : rt::lanes)
        for (auto& lane : row)
            for (auto& slot : lane.slots) slot.store(nullptr);
    rt::executors_started.store(cpus);
    rt::epoch_cpu_unsettled = [](CpuId cpu) { return !Machine::flush_settled(cpu); };
    Machine::before_handler = &rt::epoch_interrupted;
    Machine::handler = nullptr;
    Machine::flush = nullptr;
    Executor::spin_budget = Nanoseconds{2'000};
    world = make();
    Machine::Outcome outcome = Machine::explore(seed, cpus, &run_cpu);
    const char* why = outcome.why ? outcome.why : world->check();
    if (!why) delete world;  // after a failure, CPUs may still point into it
    return why;
}

u64 from_environment(const char* name, u64 usual) {
    const char* text = std::getenv(name);
    return text ? std::strtoull(text, nullptr, 0) : usual;
}

void must_hold(u32 cpus, World* (*make)()) {
    Machine::mutant = 0;
    u64 one = from_environment("FARCALL_SEED", 0);
    u64 first = one != 0 ? one : 1, last = one != 0 ? one : from_environment("FARCALL_SEEDS", 1'500);
    for (u64 seed = first; seed <= last; ++seed) {
        const char* why = explore(seed, cpus, make);
        ASSERT_EQ(why, nullptr) << why << ", FARCALL_SEED=" << seed;
    }
}
// Checks that a scenario fails without the step, for one of 30,000 seeds.
void must_fail(u32 cpus, World* (*make)(), Step without) {
    Machine::mutant = u32(without);
    u64 seed = 1;
    const char* why = nullptr;
    while (seed <= 30'000 && !(why = explore(seed, cpus, make))) ++seed;
    Machine::mutant = 0;
    EXPECT_NE(why, nullptr) << "no seed fails without the step";
    if (why) std::printf("    without the step: %s (seed %llu)\n", why, static_cast<unsigned long long>(seed));
}

// ---- A CPU in kernel mode, in user mode or asleep is reached by a post, a kick, and each bit.

struct Attract : World {
    User user;
    Item item[2];
    Atomic<u32> step{0};
    void cpu(u32 n) override {
        Executor& target = Executor::of(CpuId{0});
        if (n == 0) {
            target.enqueue(user);
            return;
        }
        target.attract(n == 1 ? rt::kAttnReschedule : rt::kAttnEpoch);
        if (n == 1) user.kick();
        target.post(item[n - 1]);
        target.attract(rt::kAttnInbox);
    }
    const char* check() override {
        for (Item& i : item)
            if (i.runs != 1) return "a posted node did not run once";
        if (user.kicked.load()) return "a kick was lost";
        if (Executor::of(CpuId{0}).needs_attention()) return "a CPU in user mode does not notice its attention bit";
        return nullptr;
    }
};
World* attract() { return new Attract; }
TEST(Explore, ABusyCpuHearsWhatIsPostedAndAskedOfIt) { must_hold(3, attract); }
TEST(ExploreMutant, NoLookAtTheAttentionBits) { must_fail(3, attract, Step::kAttentionLook); }

struct Post : World {
    User user;
    Item item;
    bool asleep = false;
    void cpu(u32 n) override {
        if (n == 0 && !asleep) Executor::current().enqueue(user);
        if (n == 1) Executor::of(CpuId{0}).post(item);
    }
    const char* check() override { return item.runs == 1 ? nullptr : "a posted node did not run once"; }
};
World* post_to_user() { return new Post; }
World* post_to_sleeper() {
    auto* w = new Post;
    w->asleep = true;
    return w;
}
TEST(Explore, APostReachesUserMode) { must_hold(2, post_to_user); }
TEST(Explore, APostReachesASleeper) { must_hold(2, post_to_sleeper); }
TEST(ExploreMutant, NoSecondLookAtTheInboxBeforeUserMode) { must_fail(2, post_to_user, Step::kInboxLook); }
TEST(ExploreMutant, NoSecondLookAtTheInboxBeforeSleep) { must_fail(2, post_to_sleeper, Step::kInboxLook); }

// ---- A call through a lane, from which its home detaches at once.

struct Call : World {
    User user;
    alignas(64) rt::CallWord word{0};
    Item answer;
    u32 served = 0;
    bool computes = true;
    static Call& get() { return static_cast<Call&>(*world); }
    static void serve(Executor&, rt::CallWord& w) {
        Call& c = get();
        ++c.served;
        if (w.exchange(rt::kCallActive | rt::kCallDone, std::memory_order_acq_rel) & rt::kCallDetached)
            Executor::of(CpuId{1}).post(c.answer);
    }
    void cpu(u32 n) override {
        Executor& server = Executor::of(CpuId{0});
        if (n == 0) {
            server.service.begin();
            if (computes) server.enqueue(user);
            return;
        }
        Machine::require(rt::lane_claim(rt::lane(CpuId{0}, CpuId{1}), word).ok, "no slot");
        word.store(rt::call_for(CpuId{0}), std::memory_order_release);
        u64 now = word.fetch_or(rt::kCallDetached);
        if (now & rt::kCallDone)
            Executor::current().enqueue(answer);
        else if (server.user_state.must_be_told())
            server.attract(rt::kAttnInbox);
    }
    const char* check() override {
        return served == 1 && answer.runs == 1 ? nullptr : "a call was lost, or executed twice";
    }
};
World* call() {
    rt::CallService::serve_with<&Call::serve>();
    return new Call;
}
World* call_to_sleeper() {
    auto* w = static_cast<Call*>(call());
    w->computes = false;
    return w;
}
TEST(Explore, ACallReachesAServerThatComputes) { must_hold(2, call); }
TEST(Explore, ACallReachesAServerThatSleeps) { must_hold(2, call_to_sleeper); }
TEST(ExploreMutant, NoSecondLookAtTheLanesBeforeUserMode) { must_fail(2, call, Step::kLaneLook); }

// ---- A frame that is unmapped, flushed and retired, against a CPU that copies through its translations.

struct Frame : rt::Retired {
    bool freed = false;
};
struct Unmap : World {
    Frame frame;
    Atomic<Frame*> entry{&frame};
    Frame* translation[3] = {};  // cached by each CPU until it flushes
    Item more[3];
    struct Copy : rt::Schedulable {
        Copy() : Schedulable(&Copy::run_it) {}
        u32 left = 6;
        static void run_it(rt::Schedulable& s) {
            Unmap& w = static_cast<Unmap&>(*world);
            Copy& c = static_cast<Copy&>(s);
            Frame*& t = w.translation[Machine::this_cpu().value];
            if (!t) t = w.entry.load(std::memory_order_relaxed);
            for (u32 i = 0; t && i < 3; ++i) {
                Machine::require(!t->freed, "a freed frame was used by an old translation");
                (void)w.entry.load(std::memory_order_relaxed);
            }
            if (--c.left != 0) Executor::current().enqueue(c);
        }
    } copy[3];
    struct Take : rt::Schedulable {
        Take() : Schedulable(&Take::run_it) {}
        u32 quiet = 6;
        static void run_it(rt::Schedulable& s) {
            Unmap& w = static_cast<Unmap&>(*world);
            Take& t = static_cast<Take&>(s);
            if (w.entry.load(std::memory_order_relaxed)) {
                w.entry.exchange(nullptr);
                for (u32 i = 1; i < 3; ++i) {
                    Machine::request_flush(CpuId{i});
                    if (Executor::of(CpuId{i}).user_state.get() != rt::UserState::kBusy) Machine::kick_flush(CpuId{i});
                }
                w.frame.free = [](rt::Retired& r) { static_cast<Frame&>(r).freed = true; };
                rt::retire(w.frame);
            }
            if (--t.quiet != 0) Executor::current().enqueue(t);
        }
    } take;
    void cpu(u32 n) override {
        if (n == 0) {
            Machine::flush = [] { static_cast<Unmap&>(*world).translation[Machine::this_cpu().value] = nullptr; };
            Executor::current().enqueue(take);
        } else {
            Executor::current().enqueue(copy[n]);
        }
    }
    const char* check() override { return nullptr; }
};
World* unmap() { return new Unmap; }
TEST(Explore, AFrameIsFreedAfterEveryCpuHasFlushedIt) { must_hold(3, unmap); }
TEST(ExploreMutant, TheMailboxIsPolledBeforeTheEpochIsRead) { must_fail(3, unmap, Step::kEpochFirst); }

// ---- An object that is unlinked by a plain store and retired, against readers and against an interrupt during sleep.

struct Unlink : World {
    Frame object;
    Atomic<Frame*> link{&object};
    void look() {
        Frame* f = link.load(std::memory_order_acquire);
        for (u32 i = 0; f && i < 6; ++i) {
            Machine::require(!f->freed, "a freed object was read");
            (void)link.load(std::memory_order_relaxed);
        }
    }
    struct Turn : rt::Schedulable {
        Turn() : Schedulable(&Turn::run_it) {}
        u32 left = 6;
        static void run_it(rt::Schedulable& s) {
            Unlink& w = static_cast<Unlink&>(*world);
            Turn& t = static_cast<Turn&>(s);
            Executor& ex = Executor::current();
            if (ex.cpu().value != 0) {
                w.look();
            } else if (t.left == 6) {
                Machine::interrupt(CpuId{1});
                w.link.store(nullptr, std::memory_order_release);
                w.object.free = [](rt::Retired& r) { static_cast<Frame&>(r).freed = true; };
                rt::retire(w.object);
            }
            if (--t.left != 0) ex.enqueue(t);
        }
    } turn[3];
    bool readers = false;
    void cpu(u32 n) override {
        Machine::handler = [] { static_cast<Unlink&>(*world).look(); };
        if (n == 0 || readers) Executor::current().enqueue(turn[n]);
    }
    const char* check() override { return nullptr; }  // objects pending on a sleeping CPU are freed later
};
World* interrupted_sleep() { return new Unlink; }
World* readers() {
    auto* w = new Unlink;
    w->readers = true;
    return w;
}
TEST(Explore, AnInterruptHandlerMayReadWhatIsRetired) { must_hold(2, interrupted_sleep); }
TEST(ExploreMutant, AHandlerRunsWhileItsCpuCountsAsIdle) { must_fail(2, interrupted_sleep, Step::kHandlerLeavesIdle); }
TEST(Explore, AReaderKeepsWhatItFound) { must_hold(2, readers); }

// ---- A job that waits and is woken or interrupted, or whose deadline passes.

struct Waiting : World {
    rt::WaitQueue queue;
    Atomic<bool> condition{false};
    u32 ended = 0;
    enum How { kWake, kInterrupt, kDeadline } how;
    explicit Waiting(How h) : how(h), job("waits", [](rt::Job&) { ++static_cast<Waiting&>(*world).ended; }) {}
    rt::Job job;
    Task<void> wait() {
        for (;;) {
            u32 seen = queue.sequence();
            if (condition.load(std::memory_order_acquire)) co_return;
            Nanoseconds until = how == kDeadline ? Machine::now() + Nanoseconds{1'500} : Nanoseconds::never();
            auto r = co_await rt::wait_on(queue, seen, "a test", until);
            if (!r.ok()) co_return;
        }
    }
    void cpu(u32 n) override {
        if (n == 0) {
            Machine::require(job.start(wait(), Executor::current()), "no memory");
        } else if (how == kInterrupt) {
            job.interrupt();
        } else if (how == kWake || n == 1) {
            condition.store(true, std::memory_order_release);
            queue.wake_all();
        }
    }
    const char* check() override { return ended == 1 ? nullptr : "a job waits for ever"; }
};
World* woken() { return new Waiting(Waiting::kWake); }
World* interrupted() { return new Waiting(Waiting::kInterrupt); }
World* timed() { return new Waiting(Waiting::kDeadline); }
TEST(Explore, AWakeUpBetweenCheckAndWaitIsNotLost) { must_hold(2, woken); }
TEST(Explore, AnInterruptionEndsAWait) { must_hold(2, interrupted); }
TEST(Explore, AWakeUpAndADeadlineEndAWaitOnce) { must_hold(2, timed); }
TEST(ExploreMutant, NoSecondLookAtTheSequence) { must_fail(2, woken, Step::kWaitSequence); }
TEST(ExploreMutant, NoLookForAnInterruptionBehindThePhase) { must_fail(2, interrupted, Step::kWakeUnderPhase); }

// ---- A thread that is handed off, and a copy that two CPUs share.

struct HandOff : World {
    Item item[2];
    void cpu(u32 n) override {
        Executor& to = Executor::of(CpuId{0});
        if (n == 0) {
            for (u32 i = 0; i < 3; ++i)
                if (rt::Schedulable* got = to.await_handoff()) to.enqueue(*got);
        } else if (!to.handoff.give(item[n - 1])) {
            to.post(item[n - 1]);
        }
    }
    const char* check() override {
        return item[0].runs == 1 && item[1].runs == 1 ? nullptr : "a thread was lost between two CPUs";
    }
};
World* hand_off() { return new HandOff; }
TEST(Explore, AThreadGoesFromHandToHandOnce) { must_hold(3, hand_off); }
TEST(ExploreMutant, TheHandIsClosedByALoadAndAStore) { must_fail(3, hand_off, Step::kHandoffExchange); }

struct Share : World {
    rt::CopyShare share;
    Atomic<u32> copies{0};
    Atomic<bool> over{false};
    void cpu(u32 n) override {
        if (n == 0) {
            share.offer(UserAddr{}, nullptr, 64, true);
            size_t by_home = 0;
            if (!share.settle(by_home, [] { Machine::relax(); }))
                copies.fetch_add(1);
            else
                Machine::require(by_home == 64, "the home's part is not known");
            over.store(true);
        } else {
            while (!over.load())
                if (share.offered())
                    share.help([&](std::byte*, UserAddr, size_t size, bool) {
                        copies.fetch_add(1);
                        return size;
                    });
        }
    }
    const char* check() override { return copies.load() == 1 ? nullptr : "a part was copied twice, or not at all"; }
};
World* share() { return new Share; }
TEST(Explore, APartOfACopyIsMadeOnce) { must_hold(2, share); }
TEST(ExploreMutant, AnOfferIsTakenBackByALoadAndAStore) { must_fail(2, share, Step::kShareTakeBack); }

// ---- Objects that several CPUs add to one teardown list.

struct Endings : World {
    struct Object {
        Object* next = nullptr;
        u32 left = 2;
    } object[4];
    u32 gone = 0;
    Atomic<u32> inside{0};
    rt::TeardownList<Object, &Object::next> list{[](Object& o) {
        Endings& w = static_cast<Endings&>(*world);
        Machine::require(w.inside.fetch_add(1) == 0, "two CPUs destroy objects at the same time");
        Machine::require(o.left != 0, "an object was destroyed twice");
        const bool more = --o.left != 0;
        w.gone += !more;
        w.inside.fetch_sub(1);
        return more;
    }};
    void cpu(u32 n) override {
        for (u32 i = 0; i < 2; ++i) list.add(object[n * 2 + i]);
    }
    const char* check() override { return gone == 4 ? nullptr : "an object was not destroyed"; }
};
World* endings() { return new Endings; }
TEST(Explore, WhatEndsIsTakenApartOnceByOneCpuAtATime) { must_hold(2, endings); }
TEST(ExploreMutant, NoSecondLookAtTheListOfWhatEnds) { must_fail(2, endings, Step::kTeardownLook); }

}  // namespace
