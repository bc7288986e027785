// SPDX-License-Identifier: MIT
// Long work of the kernel under the explorer: it keeps its CPU from nobody, and loses no timer of it.
#include "rt/reclaim.hpp"
#include "rt/task.hpp"
#include "tests/explore/explore.hpp"

namespace {

using namespace explore;

// ---- A timer that is due while work goes on, whose interrupt the work lets in.

struct Late : World {
    struct Object : rt::Reclaimable {
        u32 left = 1 + Machine::random(24);
    } object;
    rt::Reclaimer reclaimer;
    bool fired = false, frees;
    struct Alarm : rt::Timer {
        explicit Alarm(Late& l) : Timer([](rt::Timer& t) { static_cast<Alarm&>(t).late.fired = true; }), late(l) {}
        Late& late;
    } alarm{*this};
    rt::Job job{"long work"};
    explicit Late(bool f) : frees(f) {
        object.step = [](rt::Reclaimable& r, u64) -> rt::Reclaimable* {
            Machine::pass(Nanoseconds{300});
            return --static_cast<Object&>(r).left != 0 ? &r : nullptr;
        };
    }
    static rt::Task<void> yields(u32 pieces) {
        while (pieces-- != 0) {
            Machine::pass(Nanoseconds{300});
            co_await rt::Yield{};
        }
    }
    void cpu(u32) override {
        Executor& ex = Executor::current();
        ex.timers().arm(alarm, Machine::now() + Nanoseconds{1 + Machine::random(300 * object.left)});
        if (frees)
            reclaimer.free(object, rt::Reclaimer::kAtOnce + 1);
        else
            Machine::require(job.start(yields(object.left), ex), "no memory");
    }
    const char* check() override {
        reclaimer.forget();
        return fired ? nullptr : "a timer was lost";
    }
};
World* timer_beside_reclaim() {
    rt::Reclaimer::later.store(true);
    return new Late(true);
}
World* timer_beside_yields() { return new Late(false); }
TEST(Explore, ATimerThatIsDueWhileMemoryIsFreedGoesOff) { must_hold(1, timer_beside_reclaim); }
TEST(Explore, ATimerThatIsDueWhileWorkGivesWayGoesOff) { must_hold(1, timer_beside_yields); }

// ---- Endless work: a job that yields, or whose waits are over before they begin, beside endless user threads, a
// timer, and a post of another CPU.

struct Endless : World {
    static constexpr u32 kTurns = 3;
    // A user thread, as far as the executor knows.
    struct Turn : rt::Schedulable {
        Turn() : Schedulable(&Turn::run_it, rt::Priority::kUser) {}
        u32 turns = 0;
        static void run_it(rt::Schedulable& s) {
            Endless& e = static_cast<Endless&>(*world);
            if (++e.thread.turns == kTurns) e.rounds_then = e.rounds;
            Machine::pass(Nanoseconds{200'000});
            if (!e.over()) Executor::current().enqueue(s);
        }
    } thread;
    Item posted;
    rt::WaitQueue queue;
    u32 rounds = 0, rounds_then = 0;
    bool fired = false, waits;
    struct Alarm : rt::Timer {
        explicit Alarm(Endless& e) : Timer([](rt::Timer& t) { static_cast<Alarm&>(t).world.fired = true; }), world(e) {}
        Endless& world;
    } alarm{*this};
    rt::Job job{"endless work"};
    explicit Endless(bool w) : waits(w) {}
    bool over() const { return thread.turns >= kTurns && posted.runs != 0 && fired && rounds >= kTurns; }
    static rt::Task<void> work(Endless& e) {
        while (!e.over()) {
            ++e.rounds;
            Machine::pass(Nanoseconds{300'000});
            if (e.waits) {
                const u32 seen = e.queue.sequence();
                e.queue.wake_all();
                (void)co_await rt::wait_on(e.queue, seen, "for nothing");
            } else {
                co_await rt::Yield{};
            }
        }
    }
    void cpu(u32 n) override {
        if (n == 1) return Executor::of(CpuId{0}).post(posted);
        Executor& ex = Executor::current();
        ex.timers().arm(alarm, Machine::now() + Nanoseconds{1'000'000});
        ex.enqueue(thread);
        Machine::require(job.start(work(*this), ex), "no memory");
    }
    const char* check() override {
        if (!over()) return "somebody never had a turn";
        // A turn of the work is a millisecond, three or four rounds.
        if (rounds_then > 5 * kTurns) return "user threads hardly had a turn";
        return rounds_then < 3 * kTurns ? "the work had only the turns of a user thread" : nullptr;
    }
};
World* endless_yields() { return new Endless(false); }
World* endless_waits() { return new Endless(true); }
TEST(Explore, WorkWithoutEndLeavesOthersTheirTurn) { must_hold(2, endless_yields); }
TEST(Explore, WaitsThatAreOverAtOnceLeaveOthersTheirTurn) { must_hold(2, endless_waits); }

}  // namespace
