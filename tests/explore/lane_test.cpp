// SPDX-License-Identifier: MIT
// More threads than a lane has slots under the explorer: a word takes the slot of another thread's, and is forgotten when its
// thread ends, on a CPU that is neither the server nor the home. CPU 0 serves, the threads call from CPU 1 and end on CPU 2.
#include "rt/remote/home.hpp"
#include "tests/explore/explore.hpp"

namespace {

using namespace explore;

constexpr u32 kLong = 6, kMost = rt::kLaneSlots + 2;
constexpr CpuId kServer{0}, kHome{1}, kEnds{2};

struct Short : rt::Schedulable {
    Short() : Schedulable(&Short::run_it) {}
    struct alignas(64) Line {
        std::byte registers[56];
        rt::CallWord word{0};
        rt::CopyShare share;
    } line;
    u32 calls = 1, left = 1, served = 0;
    bool detached = false, freed = false;
    Atomic<bool> in_lane{false};  // as Thread::lane_server; set back by whoever takes the slot
    struct Gone : rt::Retired {
        Short* of = nullptr;
    } gone;
    static Short& of_word(rt::CallWord& word) {
        return *reinterpret_cast<Short*>(reinterpret_cast<std::byte*>(&word) - offsetof(Short, line.word));
    }
    static void run_it(rt::Schedulable& s) { static_cast<Short&>(s).next(); }
    void next();
    void end();
};

struct Slots : World {
    std::vector<std::unique_ptr<Short>> threads;
    u32 ended = 0;
    u32 freed = 0, turns = 100;
    // Makes its CPU quiescent, so that what has ended is freed while others make calls.
    struct Turn : rt::Schedulable {
        Turn() : Schedulable(&Turn::run_it) {}
        static void run_it(rt::Schedulable& s) {
            Slots& w = static_cast<Slots&>(*world);
            if (w.freed != w.threads.size() && --w.turns != 0) Executor::current().enqueue(s);
        }
    } turn;
    explicit Slots(u32 n) {
        for (u32 i = 0; i < n; ++i) {
            threads.push_back(std::make_unique<Short>());
            if (i % 2 != 0) threads[i]->calls = threads[i]->left = kLong;
        }
        rt::CallService::serve_with<&Slots::serve>();
    }
    static void serve(Executor&, rt::CallWord& word) {
        Short& t = Short::of_word(word);
        Machine::require(!t.freed, "a word was found that is freed");
        ++t.served;
        if (rt::call_over(word, rt::kCallDone)) Executor::of(kHome).post(t);
    }
    void cpu(u32 n) override {
        if (n == kServer.value) Executor::current().service.begin();
        if (n == kHome.value)
            for (auto& t : threads) Executor::current().enqueue(*t);
        if (n == kEnds.value) Executor::current().enqueue(turn);
    }
    const char* check() override {
        for (auto& t : threads)
            if (t->left != 0 || t->served != t->calls) return "a call was lost, or executed twice";
        return ended == threads.size() ? nullptr : "a thread did not end";
    }
};

void Short::next() {
    Executor& ex = Executor::current();
    if (ex.cpu() == kEnds) return end();
    if (std::exchange(detached, false)) --left;  // the answer has come
    if (left == 0) return Executor::of(kEnds).post(*this);
    if (!in_lane.load(std::memory_order_relaxed)) {
        const rt::Claim claim = rt::lane_claim(rt::lane(kServer, kHome), line.word);
        if (claim.lost) of_word(*claim.lost).in_lane.store(false, std::memory_order_relaxed);
        if (!claim.ok) return ex.enqueue(*this);  // the kernel's goes through the inbox
        in_lane.store(true, std::memory_order_relaxed);
    }
    line.word.store(rt::call_for(kServer), std::memory_order_release);
    const bool done = rt::finish_call(line.word, ex, [](u64 now, Executor&) { return now; }, [&] { detached = true; });
    if (!done) return;
    --left;
    ex.enqueue(*this);
}

void Short::end() {
    rt::lane_forget(line.word, 1u << kServer.value, 1u << kHome.value);
    gone.of = this;
    gone.free = [](rt::Retired& r) {
        Short& t = *static_cast<Gone&>(r).of;
        t.freed = true;
        ++static_cast<Slots&>(*world).freed;
        t.line.word.store(rt::call_for(kServer));  // somebody else's memory by now
    };
    ++static_cast<Slots&>(*world).ended;
    rt::retire(gone);
}

World* few() { return new Slots(2); }
World* many() { return new Slots(kMost); }
TEST(Explore, AThreadThatEndsLeavesTheLanesOfOthersAlone) {
    must_hold(3, few);
    must_hold(3, many);
}
TEST(ExploreMutant, AWordOfAThreadThatEndsStaysInItsLane) { must_fail(3, few, Step::kForgetSlot); }
TEST(ExploreMutant, AWordThatTookTheSlotIsForgotten) { must_fail(3, many, Step::kForgetOwn); }
TEST(ExploreMutant, ASlotIsLeftEmptyBeforeOthers) { must_fail(3, many, Step::kForgetFiller); }

}  // namespace
