// SPDX-License-Identifier: MIT
// The runtime's protocols under the explorer (hal/explore): the executor, jobs, waits, lanes, epochs, the mailbox and
// the hand-off of threads, as the kernel compiles them, in interleavings that a seed determines. Each scenario must
// hold for every seed, and must fail for some seed when one step that it depends on is left out (rt::Step).
//
// FARCALL_SEEDS=N tries N seeds of each scenario; a failure prints its seed, and FARCALL_SEED=S runs that one alone.
//
// The objects of a scenario are created anew for each run, and leaked if it fails. Calls through lanes: call_test.cpp;
// long kernel work: fairness_test.cpp.
#include "tests/explore/explore.hpp"
#include "rt/task.hpp"
#include "rt/teardown.hpp"

namespace {

using namespace explore;

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
        if (n == 1) rt::kick(user);
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
World* attract() {
    auto* w = new Attract;
    w->user.calls = Machine::random(4);
    return w;
}
TEST(Explore, ABusyCpuHearsWhatIsPostedAndAskedOfIt) { must_hold(3, attract); }
TEST(ExploreMutant, NoLookAtTheAttentionBits) { must_fail(3, attract, Step::kAttentionLook); }

// ---- A kick finds its thread where it is: queued behind another, in user mode, in a trap, on its way to another CPU.

struct Kick : World {
    User first, second;
    bool moves = false;
    struct Mover : rt::Schedulable {
        Mover() : Schedulable(&Mover::run_it) {}
        static void run_it(rt::Schedulable&) {
            Kick& w = static_cast<Kick&>(*world);
            Executor& ex = Executor::current();
            if (!ex.queue.holds(w.second)) return;
            ex.queue.remove(w.second);
            w.second.place.set(Executor::of(CpuId{1}));
            w.second.make_ready();
        }
    } mover;
    void cpu(u32 n) override {
        Executor& ex = Executor::current();
        if (n == 0) {
            first.calls = second.calls = Machine::random(3);
            first.slices = 1;
            if (!moves) ex.enqueue(first);
            ex.enqueue(second);
            if (moves) ex.enqueue(mover);  // before them
        } else if (n == 2) {
            rt::kick(second);
        }
    }
    const char* check() override {
        return second.kicked.load() || second.kicks_seen != 1 ? "a kick was lost" : nullptr;
    }
};
World* kick_queued() { return new Kick; }
World* kick_moving() {
    auto* w = new Kick;
    w->moves = true;
    return w;
}
TEST(Explore, AKickReachesAThreadThatWaitsForItsTurn) { must_hold(3, kick_queued); }
TEST(Explore, AKickReachesAThreadThatMoves) { must_hold(3, kick_moving); }
TEST(ExploreMutant, NoLookAtTheKickOfAThreadThatWaited) {
    must_fail(3, kick_queued, Step::kKickLook);
    must_fail(3, kick_moving, Step::kKickLook);
}

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

// ---- An object that is unlinked by a plain store and retired, against readers, which may retire too, and against an
// interrupt during sleep.

struct Unlink : World {
    Frame object, spare[3][6];
    Atomic<Frame*> link{&object};
    u32 length = 6;
    void look() {
        Frame* f = link.load(std::memory_order_acquire);
        for (u32 i = 0; f && i < length; ++i) {
            Machine::require(!f->freed, "a freed object was read");
            (void)link.load(std::memory_order_relaxed);
        }
    }
    static void give_back(Frame& f) {
        f.free = [](rt::Retired& r) { static_cast<Frame&>(r).freed = true; };
        rt::retire(f);
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
                if (w.kind == kReadersRetire) give_back(w.spare[ex.cpu().value][t.left - 1]);
            } else if (t.left == 6) {
                if (w.kind == kSleeper) Machine::interrupt(CpuId{1});
                w.link.store(nullptr, std::memory_order_release);
                give_back(w.object);
            }
            if (--t.left != 0) ex.enqueue(t);
        }
    } turn[3];
    enum Kind { kSleeper, kReaders, kReadersRetire } kind;
    explicit Unlink(Kind k) : length(k == kReadersRetire ? 40 : 6), kind(k) {}
    void cpu(u32 n) override {
        Machine::handler = [] { static_cast<Unlink&>(*world).look(); };
        if (n == 0 || kind != kSleeper) Executor::current().enqueue(turn[n]);
    }
    const char* check() override { return nullptr; }  // objects pending on a sleeping CPU are freed later
};
World* interrupted_sleep() { return new Unlink(Unlink::kSleeper); }
World* readers() { return new Unlink(Unlink::kReaders); }
// A reader that retires lets the epoch advance while the store of the unlinking is still in its CPU's buffer.
World* readers_that_retire() { return new Unlink(Unlink::kReadersRetire); }
TEST(Explore, AnInterruptHandlerMayReadWhatIsRetired) { must_hold(2, interrupted_sleep); }
TEST(ExploreMutant, AHandlerRunsWhileItsCpuCountsAsIdle) { must_fail(2, interrupted_sleep, Step::kHandlerLeavesIdle); }
TEST(Explore, AReaderKeepsWhatItFound) {
    must_hold(2, readers);
    must_hold(2, readers_that_retire);
    must_hold(3, readers_that_retire);
}
TEST(ExploreMutant, TheEpochIsReadBeforeTheUnlinkingIsVisible) {
    must_fail(2, readers_that_retire, Step::kUnlinkVisible);
}

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

// The user thread that a CPU was given goes straight into user mode (core/ipc/switch.cpp), unless something has come.
struct Given : World {
    User user;
    Item item;
    void cpu(u32 n) override {
        Executor& to = Executor::of(CpuId{0});
        if (n == 0) {
            if (!to.await_handoff()) return;
            const auto ready = [&] { return !user.kicked.load(std::memory_order_relaxed) && &user.home() == &to; };
            to.set_running(&user);
            if (rt::enter_given(to, user, ready)) user.stay(to);
        } else if (n == 1) {
            if (!to.handoff.give(user)) to.post(user);
        } else {
            rt::kick(user);
            to.post(item);
        }
    }
    const char* check() override {
        if (item.runs != 1) return "a posted node did not run once";
        return user.kicked.load() || user.kicks_seen != 1 ? "a kick was lost" : nullptr;
    }
};
World* given() { return new Given; }
TEST(Explore, AThreadThatWasGivenHearsWhatComes) { must_hold(3, given); }
TEST(ExploreMutant, NoLookBeforeAGivenThread) {
    must_fail(3, given, Step::kAttentionLook);
    must_fail(3, given, Step::kInboxLook);
}

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
