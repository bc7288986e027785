// SPDX-License-Identifier: MIT
// Callers that wait for their answers under the explorer: answers of several CPUs to one Reply object, in vain or not, the
// object's end, what a server drops, the caller's home that changes it meanwhile, and a caller that moves. The steps are the
// kernel's (core/ipc/reply_slot.hpp, rt/user_entry.hpp); the callers are made up.
#include "core/ipc/reply_slot.hpp"
#include "tests/explore/explore.hpp"

namespace {

using namespace explore;

struct Caller;
using Slot = core::ReplySlotOf<Caller>;

struct Caller {
    // What core::WaitsInSlot asks for.
    Atomic<Slot*> owed{nullptr};
    bool kick_noted() const { return kicked.load(std::memory_order_seq_cst); }
    void give_up(Errno) { end(true); }

    Atomic<bool> kicked{false}, waits{false};
    Atomic<u32> kind{0};
    u32 ended = 0, dropped = 0;  // by its owner
    void end(bool in_vain) {
        Machine::require(waits.load(std::memory_order_relaxed), "a wait ended twice");
        Machine::require(owed.load(std::memory_order_relaxed) == nullptr, "a caller continues that a slot has");
        ++ended;
        dropped += in_vain;
        waits.store(false, std::memory_order_release);
    }
};

// CPU 0 makes calls, and is their server: it saves each caller into one Reply object and answers. CPU 1 does what `what` says.
struct Answers : World {
    enum What {
        kInVain,     // answers the object too, sometimes in vain
        kOtherKind,  // answers only the calls of one kind, which it looks at before it takes the caller
        kCloses,     // ends the object, or answers in vain; the server may end it too
        kChanges,    // changes the caller while it waits, and kicks it; the server drops what it owes, sometimes
    } what;
    static constexpr u32 kCalls = 4, kTurns = 3;
    Caller caller;
    Slot of_thread, of_object;
    Atomic<bool> over{false};
    explicit Answers(What w) : what(w) {}

    void cpu(u32 n) override {
        if (n == 1) return interfere();
        for (u32 left = kCalls; left != 0; --left) {
            caller.kind.store(left % 2, std::memory_order_relaxed);
            caller.waits.store(true, std::memory_order_relaxed);
            // As owe() of core/ipc.
            of_thread.caller.store(&caller, std::memory_order_relaxed);
            caller.owed.store(&of_thread, std::memory_order_release);
            if (save())
                while (!answer()) Machine::relax();
            while (caller.waits.load(std::memory_order_acquire)) Machine::relax();
        }
        over.store(true, std::memory_order_relaxed);
    }
    // False: the server has dropped it.
    bool save() {
        if (what == kChanges && Machine::random(2) == 0) {
            core::abandon(of_thread, Errno::kCanceled);
            return false;
        }
        for (;;) {
            Caller* const c = of_thread.found();
            switch (c ? core::save_in(*c, of_thread, of_object) : core::Saved::kGone) {
                case core::Saved::kElsewhere: Machine::relax(); continue;
                case core::Saved::kTaken: Machine::panic("a Reply object with a caller that has gone on");
                case core::Saved::kClosed: core::abandon(of_thread, Errno::kIdRm); return false;
                default: return true;
            }
        }
    }
    // False: another CPU has the caller.
    bool answer() {
        Caller* const c = of_object.found();
        if (!c) return true;
        if (what == kCloses && Machine::random(3) == 0) {
            core::close(of_object);
            return true;
        }
        if (!core::take_from(*c, of_object)) return false;
        of_object.clear(*c);
        c->end(false);
        return true;
    }
    void interfere() {
        for (u32 turns = kTurns; turns != 0 && !over.load(std::memory_order_relaxed);) {
            Caller* const c = what == kChanges ? linked() : of_object.found();
            if (!c) {
                Machine::relax();
                continue;
            }
            --turns;
            if (what == kChanges)
                change();
            else if (what == kOtherKind)
                answer_one_kind(*c);
            else if (what == kCloses && Machine::random(3) == 0)
                core::close(of_object);
            else if (core::take_from(*c, of_object))
                core::give_back(*c, of_object);  // in vain
        }
    }
    Caller* linked() { return caller.owed.load(std::memory_order_acquire) ? &caller : nullptr; }
    void answer_one_kind(Caller& c) {
        const auto right = [&] { return c.kind.load(std::memory_order_relaxed) == 1; };
        if (!right() || !core::take_if(c, of_object, right)) return;
        Machine::require(right(), "an answer to a call of another kind");
        c.end(false);
    }
    // As NativeThread::do_here(), of the caller's home.
    void change() {
        if (Machine::random(4) == 0) caller.kicked.store(true, std::memory_order_seq_cst);
        Slot* const slot = Slot::unmarked(caller.owed.load(std::memory_order_acquire));
        if (!slot || !core::take_from(caller, *slot)) return Machine::relax();
        core::give_back(caller, *slot);
    }
    const char* check() override {
        if (!over.load() || caller.ended != kCalls) return "a caller waits for ever";
        if (caller.dropped != 0 && (what == kInVain || what == kOtherKind))
            return "a call ended though nobody dropped it";
        return nullptr;
    }
};

template <Answers::What kWhat>
World* answers() {
    return new Answers(kWhat);
}

TEST(Explore, ACallIsAnsweredOnceThoughAnotherAnswersInVain) { must_hold(2, answers<Answers::kInVain>); }
TEST(Explore, ACallIsAnsweredAsTheKindThatItIs) { must_hold(2, answers<Answers::kOtherKind>); }
TEST(Explore, ACallEndsThoughItsReplyEnds) { must_hold(2, answers<Answers::kCloses>); }
TEST(Explore, ACallEndsThoughItsServerDropsIt) { must_hold(2, answers<Answers::kChanges>); }
TEST(ExploreMutant, ACallerIsGivenUpThatIsSavedAnew) { must_fail(2, answers<Answers::kInVain>, Step::kSlotLookAgain); }
TEST(ExploreMutant, ACallerIsAnsweredAsWhatItWas) { must_fail(2, answers<Answers::kOtherKind>, Step::kTakenLook); }
TEST(ExploreMutant, NoLookAtTheSlotOfACallerThatIsGivenBack) {
    must_fail(2, answers<Answers::kCloses>, Step::kSlotLook);
    must_fail(2, answers<Answers::kChanges>, Step::kSlotLook);
}
TEST(ExploreMutant, TheSlotIsReadBeforeTheLinkIsVisible) {
    must_fail(2, answers<Answers::kCloses>, Step::kLinkVisible);
    must_fail(2, answers<Answers::kChanges>, Step::kLinkVisible);
}
TEST(ExploreMutant, NoLookAtTheSlotOfACallerThatIsSaved) { must_fail(2, answers<Answers::kCloses>, Step::kSavedLook); }

// ---- A thread answers, and goes on; the caller comes to its CPU meanwhile, more urgent than it.

struct Moves : World {
    Atomic<bool> waits{true};
    u32 ran = 0;
    struct Answering : User {
        using User::User;
        bool call(Executor& ex) override {
            Moves& w = static_cast<Moves&>(*world);
            if (!w.waits.exchange(false)) return true;
            ex.slice.armed = true;  // as if one were under way: its end, which is far, does not count as a look
            w.caller.make_ready();
            const bool gives_way = rt::gives_way(ex, *this);
            ex.slice.armed = false;
            return !gives_way;
        }
    } answering{CpuId{0}};
    struct Moving : User {
        using User::User;
        static void run_moving(rt::Schedulable& s) {
            User& u = static_cast<User&>(s);
            if (&u.home() != &Executor::current()) return u.make_ready();  // it has moved on its way
            ++static_cast<Moves&>(*world).ran;
            run_it(s);
        }
    } caller{CpuId{1}};
    Moves() {
        answering.calls = 1;
        caller.run = &Moving::run_moving;
    }
    void cpu(u32 n) override {
        if (n == 0) return Executor::current().enqueue(answering);
        // Its home: as NativeThread::settle(), while it waits for an answer.
        if (!waits.load(std::memory_order_acquire)) return;
        caller.priority = rt::kBackFromWait;
        caller.place.set(Executor::of(CpuId{0}));
    }
    const char* check() override { return ran != 0 ? nullptr : "a caller waits though it is the most urgent thread"; }
};
World* moves() { return new Moves; }
TEST(Explore, AnAnswerToACallerThatMovesHere) { must_hold(2, moves); }
TEST(ExploreMutant, NoLookWhoIsReadyBehindAnAnswer) { must_fail(2, moves, Step::kAboveLook); }

}  // namespace
