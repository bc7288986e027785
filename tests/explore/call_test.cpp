// SPDX-License-Identifier: MIT
// Calls through lanes under the explorer: callers whose CPUs spin for a while or detach at once, servers that compute,
// look for work or sleep, two and three CPUs. The steps are the kernel's (rt/remote/home.hpp, rt/user_entry.hpp).
#include "rt/remote/home.hpp"
#include "tests/explore/explore.hpp"

namespace {

using namespace explore;

constexpr u32 kCpus = 3, kEach = 2;

// A thread whose calls other CPUs execute.
struct Caller : User {
    using User::User;
    struct alignas(64) Line {
        std::byte registers[56];  // share_of() wants the word to end its line
        rt::CallWord word{0};
        rt::CopyShare share;
    } line;
    CpuId next_server{};
    u32 answers = 0, served = 0, patience = 0;
    bool detached = false;
    static Caller& of_word(rt::CallWord& word) {
        return *reinterpret_cast<Caller*>(reinterpret_cast<std::byte*>(&word) - offsetof(Caller, line.word));
    }
    bool call(Executor& ex) override;
    static void run_caller(rt::Schedulable& s) {
        Caller& c = static_cast<Caller&>(s);
        if (c.detached) {  // the server has made it ready
            c.detached = false;
            c.answered();
        }
        run_it(s);
    }
    void answered() {
        ++answers;
        Machine::require(answers == served, "an answer before its call was served");
    }
};

struct Calls : World {
    struct Kind {
        u32 callers;  // CPUs whose threads call, from the last one down
        u32 cpus;
        bool computes;  // CPUs that serve have a thread that computes
        bool waits;     // homes spin before they leave
        bool goes_on;   // some calls go on without their home
    };
    Kind kind;
    User users[kCpus];
    std::vector<std::unique_ptr<Caller>> callers;
    explicit Calls(Kind k) : kind(k) {
        for (u32 i = 0; i < k.cpus; ++i) users[i].place.set(Executor::of(CpuId{i}));
        for (u32 i = 0; i < k.callers; ++i) {
            auto c = std::make_unique<Caller>(CpuId{k.cpus - 1 - i});
            c->run = &Caller::run_caller;
            c->calls = kEach;
            c->patience = k.waits ? 1 + Machine::random(130) : 0;
            callers.push_back(std::move(c));
        }
        rt::CallService::serve_with<&Calls::serve>();
    }
    static Calls& get() { return static_cast<Calls&>(*world); }
    bool serves(u32 cpu) const { return kind.callers == kind.cpus || cpu < kind.cpus - kind.callers; }
    // The CPUs that serve in turn; of a ring, the next one.
    CpuId server_for(Caller& c) {
        const u32 home = c.home().cpu().value, made = kEach - 1 - c.calls;
        if (kind.callers == kind.cpus) return CpuId{(home + 1 + made % (kind.cpus - 1)) % kind.cpus};
        return CpuId{made % (kind.cpus - kind.callers)};
    }
    static void serve(Executor& ex, rt::CallWord& word) {
        Caller& c = Caller::of_word(word);
        Machine::require((word.load(std::memory_order_relaxed) & rt::kCallServer) >> 8 == ex.cpu().value,
                         "a call was served by a CPU that was not asked");
        ++c.served;
        if (get().kind.goes_on && c.served % 2 == 0) {
            (void)rt::call_over(word, rt::kCallAsync);
            return c.make_ready();
        }
        if (rt::call_over(word, rt::kCallDone)) c.make_ready();
    }
    void cpu(u32 n) override {
        Executor& ex = Executor::current();
        if (serves(n)) {
            ex.service.begin();
            if (kind.computes) ex.enqueue(users[n]);
            users[n].slices = 2 * kEach;  // for a caller here
        }
        for (auto& c : callers)
            if (&c->home() == &ex) ex.enqueue(*c);
    }
    const char* check() override {
        for (auto& c : callers)
            if (c->answers != kEach || c->served != kEach) return "a call was lost, or executed twice";
        return nullptr;
    }
};

void nothing_to_copy(rt::CopyShare&) { Machine::panic("nothing was offered"); }

bool Caller::call(Executor& ex) {
    using Home = rt::CallHome<&nothing_to_copy>;
    const CpuId server = Calls::get().server_for(*this);
    Executor& target = Executor::of(server);
    // Often while the server is about to sleep: when it has ceased to look for work.
    bool looked = false;
    for (u32 n = Machine::random(2) * 1'500; n > 0 && !ex.service.pending(); --n) {
        const bool looks = target.service.looks();
        if (looked && !looks) break;
        looked = looks;
    }
    Machine::require(rt::lane_claim(rt::lane(server, ex.cpu()), line.word).ok, "no slot");
    line.word.store(rt::call_for(server), std::memory_order_release);
    if (patience != 0 && (Home::spin_briefly(line.word) & rt::kCallDone)) {
        answered();
        return true;
    }
    const bool done = rt::finish_call(
        line.word, ex,
        [&](u64 now, Executor& where) {
            return patience == 0 ? now : Home::spin(line.word, where, ex, patience, false);
        },
        [&] {
            detached = true;  // the server has the thread, or will
            ex.leave_user_state();
        });
    if (done) answered();
    return done;
}

// The kinds of calls, each a function without arguments.
template <u32 kCallers, u32 kOf, bool kComputes, bool kWaits, bool kGoesOn = false>
World* calls() {
    return new Calls({kCallers, kOf, kComputes, kWaits, kGoesOn});
}

TEST(Explore, ACallReachesAServerThatComputes) { must_hold(2, calls<1, 2, true, false>); }
TEST(Explore, ACallReachesAServerThatSleeps) { must_hold(2, calls<1, 2, false, false>); }
TEST(Explore, ACallEndsForAHomeThatWaits) {
    must_hold(2, calls<1, 2, true, true>);
    must_hold(2, calls<1, 2, false, true>);
}
TEST(Explore, ACallGoesOnWithoutItsHome) {
    must_hold(2, calls<1, 2, true, true, true>);
    must_hold(3, calls<2, 3, true, true, true>);
}
TEST(Explore, CallsOfTwoHomesReachOneServer) {
    must_hold(3, calls<2, 3, true, false>);
    must_hold(3, calls<2, 3, false, false>);
    must_hold(3, calls<2, 3, true, true>);
}
TEST(Explore, CallsOfOneHomeReachTwoServers) {
    must_hold(3, calls<1, 3, true, false>);
    must_hold(3, calls<1, 3, false, false>);
    must_hold(3, calls<1, 3, false, true>);
}
TEST(Explore, CpusThatCallOneAnotherAnswerOneAnother) {
    must_hold(2, calls<2, 2, false, true>);
    must_hold(3, calls<3, 3, false, false>);
    must_hold(3, calls<3, 3, false, true>);
    must_hold(3, calls<3, 3, true, true>);
}
TEST(ExploreMutant, NoSecondLookAtTheLanesBeforeUserMode) {
    must_fail(2, calls<1, 2, true, false>, Step::kLaneLook);
    must_fail(3, calls<2, 3, true, false>, Step::kLaneLook);
    must_fail(3, calls<1, 3, true, false>, Step::kLaneLook);
}
TEST(ExploreMutant, NoSecondLookAtTheLanesBeforeSleep) {
    must_fail(2, calls<1, 2, false, false>, Step::kLaneLookAsleep);
    must_fail(3, calls<2, 3, false, false>, Step::kLaneLookAsleep);
    must_fail(3, calls<1, 3, false, false>, Step::kLaneLookAsleep);
}
TEST(ExploreMutant, AHomeThatLeavesDoesNotTellTheServer) {
    must_fail(2, calls<1, 2, true, false>, Step::kTellServer);
    must_fail(3, calls<2, 3, false, false>, Step::kTellServer);
}

}  // namespace
