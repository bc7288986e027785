// SPDX-License-Identifier: MIT
// rt/remote/lane: calls passed to another CPU through words. Each is executed once, its result is seen, its end is
// reported once, whoever detaches, sleeps, moves or goes away in between. rt/remote/share: each byte of a call's copy
// is copied once. The protocol of port/kernel/user_thread.cpp over host threads.
#include "rt/remote/lane.hpp"

#include <cstring>
#include <memory>
#include <thread>

#include "rt/epoch.hpp"
#include "rt/remote/module.hpp"
#include "tests/unit/hosted_cpus.hpp"

namespace {

using hosted_test::Cpus;
using hosted_test::Random;
using rt::CallWord;
using rt::Executor;

constexpr u64 kOver = rt::kCallDone | rt::kCallAsync;
constexpr u32 kAll = (1u << lib::kMaxCpus) - 1;

void pend(CallWord& word, u32 server) { word.store(rt::call_for(CpuId{server}), std::memory_order_release); }
u32 count_pending(u32 server, u32 cpus) {
    u32 n = 0;
    rt::lane_poll(CpuId{server}, cpus, [&](CallWord&) { return ++n, true; });
    return n;
}

TEST(RtLane, ASlotIsTakenFromACallThatIsOverAndNotFromOneThatIsPending) {
    rt::Lane& lane = rt::lane(CpuId{1}, CpuId{0});
    CallWord words[rt::kLaneSlots + 1] = {};
    for (u32 i = 0; i < rt::kLaneSlots; ++i) {
        ASSERT_TRUE(rt::lane_claim(lane, words[i]).ok);
        pend(words[i], 1);
    }
    CallWord& late = words[rt::kLaneSlots];
    EXPECT_FALSE(rt::lane_claim(lane, late).ok);
    EXPECT_EQ(count_pending(1, 1), rt::kLaneSlots);
    words[2].exchange(rt::kCallActive | rt::kCallDone);
    ASSERT_TRUE(rt::lane_claim(lane, late).ok);
    pend(late, 1);
    EXPECT_EQ(lane.slots[2].load(), &late);
    EXPECT_EQ(count_pending(1, 1), rt::kLaneSlots);
    // Claimed again: the slot that it has.
    ASSERT_TRUE(rt::lane_claim(lane, words[3]).ok);
    EXPECT_EQ(lane.slots[3].load(), &words[3]);
    for (CallWord& w : words) rt::lane_forget(w, kAll, kAll);
    EXPECT_EQ(count_pending(1, 1), 0u);
}

TEST(RtLane, AClaimSaysWhoseSlotItTook) {
    rt::Lane& lane = rt::lane(CpuId{1}, CpuId{0});
    CallWord words[rt::kLaneSlots + 1] = {};
    for (u32 i = 0; i < rt::kLaneSlots; ++i) {
        EXPECT_EQ(rt::lane_claim(lane, words[i]).lost, nullptr);
        pend(words[i], 1);
    }
    words[0].exchange(rt::kCallActive | rt::kCallDone);
    rt::Claim claim = rt::lane_claim(lane, words[rt::kLaneSlots]);
    EXPECT_TRUE(claim.ok);
    EXPECT_EQ(claim.lost, &words[0]);
    // The filler of a slot that is free again has no owner.
    rt::lane_forget(words[rt::kLaneSlots], kAll, kAll);
    claim = rt::lane_claim(lane, words[0]);
    EXPECT_TRUE(claim.ok);
    EXPECT_EQ(claim.lost, nullptr);
    for (CallWord& w : words) rt::lane_forget(w, kAll, kAll);
}

TEST(RtLane, AForgottenWordLeavesTheLaterSlotsInSight) {
    rt::Lane& lane = rt::lane(CpuId{1}, CpuId{0});
    CallWord first{0}, second{0};
    ASSERT_TRUE(rt::lane_claim(lane, first).ok);
    pend(first, 1);
    ASSERT_TRUE(rt::lane_claim(lane, second).ok);
    pend(second, 1);
    rt::lane_forget(first, 1u << 1, 1u << 0);
    EXPECT_EQ(count_pending(1, 1), 1u);
    rt::lane_forget(second, 1u << 1, 1u << 0);
    EXPECT_EQ(count_pending(1, 1), 0u);
}

TEST(RtLane, AnEarlierServerDoesNotSeeACallForALaterOne) {
    CallWord word{0};
    ASSERT_TRUE(rt::lane_claim(rt::lane(CpuId{1}, CpuId{0}), word).ok);
    ASSERT_TRUE(rt::lane_claim(rt::lane(CpuId{2}, CpuId{0}), word).ok);
    pend(word, 2);
    EXPECT_EQ(count_pending(1, 1), 0u);
    EXPECT_EQ(count_pending(2, 1), 1u);
    rt::lane_forget(word, kAll, kAll);
}

// Words that are pending again as soon as they are served.
TEST(RtLane, BusyCallersDoNotStarveTheOthers) {
    Cpus cpus(1);
    Executor::start(CpuId{3});  // four CPUs are looked at
    Executor& server = Executor::start(CpuId{0});
    server.service.begin();
    static CallWord words[4][2];
    static u32 served[4][2];
    for (u32 home = 0; home < 4; ++home)
        for (u32 i = 0; i < 2; ++i) {
            served[home][i] = 0;
            ASSERT_TRUE(rt::lane_claim(rt::lane(CpuId{0}, CpuId{home}), words[home][i]).ok);
            pend(words[home][i], 0);
        }
    struct Handler {
        static void serve(Executor&, CallWord& word) {
            u32 at = u32(&word - &words[0][0]);
            ++served[at / 2][at % 2];
            pend(word, 0);
        }
    };
    rt::CallService::serve_with<&Handler::serve>();
    for (u32 i = 0; i < 800; ++i) server.run_one();
    for (auto& home : words)
        for (CallWord& w : home) rt::lane_forget(w, kAll, kAll);
    for (auto& home : served)
        for (u32 n : home) EXPECT_EQ(n, 100u);
}

// ---- Many calls ----

struct Caller;

struct World {
    rt::Module module;
    u32 cpus = 0;
    std::atomic<u32> to_start{0}, running{0}, created{0}, freed{0};
    std::atomic<u64> calls{0}, here{0}, sent{0}, detached{0}, async{0};
    std::atomic<u32> wrong{0};
    std::atomic<bool> quit{false};
};
World* world;

// Represents a user thread.
struct Caller : rt::Schedulable {
    // As a user thread's: the share follows the word.
    struct alignas(64) Line {
        std::byte frame[64 - sizeof(CallWord)];
        CallWord word{0};
        rt::CopyShare share;
    } line;
    CallWord& word = line.word;
    static constexpr u8 kNoCpu = 0xfd;
    std::atomic<u8> lane_server{kNoCpu};
    // Plain: that they are seen is what is tested.
    u64 argument = 0, result = 0, executed = 0;
    // A call's copy adds one to the other: twice is seen. An element represents kUnit bytes.
    static constexpr size_t kBuffer = 4096, kUnit = 64;
    u8 from[kBuffer / kUnit] = {}, to[kBuffer / kUnit] = {};
    size_t came = 0;  // how far
    u64 made = 0;
    const u64 limit;
    bool waits = false;
    u32 servers = 0, homes = 0;
    Executor* home;
    Random random;
    struct Remote : rt::Request {
        explicit Remote(Caller& c)
            : Request([](rt::Schedulable& s) { static_cast<Remote&>(s).owner.accept(); }), owner(c) {}
        Caller& owner;
    } remote{*this};
    struct Later : rt::Schedulable {
        explicit Later(Caller& c)
            : Schedulable([](rt::Schedulable& s) { static_cast<Later&>(s).owner.finish(); }), owner(c) {}
        Caller& owner;
    } later{*this};
    struct Gone : rt::Retired {
        Caller* owner = nullptr;
    } gone;

    Caller(u64 seed, u64 calls, Executor& at)
        : Schedulable(&Caller::go, rt::Priority::kUser), limit(calls), home(&at), random(seed) {
        world->created.fetch_add(1);
        world->running.fetch_add(1);
    }
    static void start(u64 seed) {
        Random r(seed);
        Executor& at = Executor::of(CpuId{u32(1 + r() % (world->cpus - 1))});
        at.post(*new Caller(r(), 1 + r() % 150, at));
    }
    static Caller& of(CallWord& w) {
        return *reinterpret_cast<Caller*>(reinterpret_cast<std::byte*>(&w) - offsetof(Caller, line.word));
    }
    void expect(bool what) {
        if (!what) world->wrong.fetch_add(1);
    }

    // ---- At home ----
    static void go(rt::Schedulable& s) { static_cast<Caller&>(s).in_user_mode(); }
    void in_user_mode() {
        Executor& ex = Executor::current();
        expect(&ex == home);
        if (waits) {
            waits = false;
            check();
        }
        for (;;) {
            if (made == limit) return end();
            if (random() % 16 == 0) {
                lane_server.store(kNoCpu, std::memory_order_relaxed);
                home = &Executor::of(CpuId{u32(1 + random() % (world->cpus - 1))});
                return home->post(*this);
            }
            if (random() % 8 == 0) return ex.enqueue(*this);
            ++made;
            argument = random();
            for (size_t i = 0; i < kBuffer / kUnit; ++i) from[i] = u8(i + made);
            world->calls.fetch_add(1, std::memory_order_relaxed);
            Executor* where = world->module.executor_for(this);
            if (!where || where == &ex) {
                world->here.fetch_add(1, std::memory_order_relaxed);
                execute();
            } else if (!call(*where, ex)) {
                return;
            }
            check();
        }
    }
    void check() {
        expect(executed == made && result == ~argument);
        size_t n = copy_size(), ok = n < missing() ? n : missing();
        expect(came == ok);
        for (size_t i = 0; i < kBuffer / kUnit; ++i) {
            // What follows a page that is not present may have been copied, but only once.
            size_t at = i * kUnit;
            expect(to[i] == (at < ok ? u8(i + made) : 0) || (at > ok && at < n && to[i] == u8(i + made)));
            to[i] = 0;
        }
    }
    // Of this call's copy: how much, and from where on memory is not there.
    size_t copy_size() const {
        return (argument % 4 == 0 ? 1024 + argument / 4 % (kBuffer - 1023) : argument % 512) & ~(kUnit - 1);
    }
    size_t missing() const { return argument % 16 == 0 ? argument / 16 % kBuffer & ~(kUnit - 1) : kBuffer; }
    size_t add(size_t at, size_t n) {
        size_t end = at + n < missing() ? at + n : missing() > at ? missing() : at;
        for (size_t i = at / kUnit; i < end / kUnit; ++i) to[i] = u8(to[i] + from[i]);
        return end - at;
    }
    // Space::copy_long
    void copy() {
        Executor& ex = Executor::current();
        size_t n = copy_size();
        rt::CopyShare* share = n >= 1024 ? ex.service.copy_partner(1u << home->cpu().value) : nullptr;
        const size_t part = share ? ex.service.lead.part_of(n) : 0;
        if (part == 0 || share != &line.share) {
            came = add(0, n);
            return;
        }
        const size_t own = n - part;
        size_t by_home = 0;
        share->offer(UserAddr{own}, reinterpret_cast<std::byte*>(from) + own / kUnit, part, true);
        size_t done = add(0, own);
        const bool first = share->over();
        if (!share->settle(by_home, [] { hal::Machine::relax(); })) {
            came = done == own ? own + add(own, part) : done;
            return;
        }
        first ? ex.service.lead.home_was_first() : ex.service.lead.home_was_last();
        came = done == own ? own + by_home : done;
    }
    void help() {
        line.share.help([this](std::byte* kernel, UserAddr user, size_t n, bool) {
            expect(kernel == reinterpret_cast<std::byte*>(from) + user.value / kUnit && user.value + n == copy_size());
            return add(user.value, n);
        });
    }
    // Remembers where it has a slot, as a user thread does.
    bool claim(Executor& where, Executor& ex) {
        if (lane_server.load(std::memory_order_relaxed) == where.cpu().value) return true;
        rt::Claim claim = rt::lane_claim(rt::lane(where.cpu(), ex.cpu()), word);
        if (claim.lost) of(*claim.lost).lane_server.store(kNoCpu, std::memory_order_relaxed);
        if (claim.ok) lane_server.store(u8(where.cpu().value), std::memory_order_relaxed);
        return claim.ok;
    }
    bool call(Executor& where, Executor& ex) {
        servers |= 1u << where.cpu().value;
        homes |= 1u << ex.cpu().value;
        const u64 wanted = rt::call_for(where.cpu());
        if (random() % 32 == 0 || !claim(where, ex)) {
            world->sent.fetch_add(1, std::memory_order_relaxed);
            word.store((wanted & ~u64{rt::kCallPending}) | rt::kCallDetached, std::memory_order_relaxed);
            waits = true;
            where.post(remote);
            return false;
        }
        u64 kind = random() % 4;
        u32 spins = kind == 0 ? 0 : kind == 1 ? u32(random() % 100) : 2000;
        word.store(wanted, std::memory_order_release);
        u64 now = 0;
        for (u32 n = 0; n < spins; ++n) {
            now = word.load(std::memory_order_acquire);
            if (now & kOver) break;
            if (line.share.offered()) help();
            if (n % 64 != 0) continue;
            if (where.user_state.get() != rt::UserState::kBusy) where.attract(rt::kAttnInbox);
            if (ex.service.pending()) break;
            hal::Machine::relax();
        }
        if (!(now & kOver)) now = word.fetch_or(rt::kCallDetached, std::memory_order_seq_cst);
        if (now & rt::kCallDone) return true;
        waits = true;
        if (now & rt::kCallAsync) return false;
        world->detached.fetch_add(1, std::memory_order_relaxed);
        if (where.user_state.get() != rt::UserState::kBusy) where.attract(rt::kAttnInbox);
        return false;
    }
    void end() {
        rt::lane_forget(word, servers, homes);
        gone.owner = this;
        gone.free = [](rt::Retired& r) {
            delete static_cast<Gone&>(r).owner;
            world->freed.fetch_add(1);
        };
        rt::retire(gone);
        u32 left = world->to_start.load();
        while (left != 0 && !world->to_start.compare_exchange_weak(left, left - 1)) {
        }
        if (left != 0) start(random());
        world->running.fetch_sub(1);
    }

    // ---- At the server ----
    static void serve_word(Executor& ex, CallWord& w) {
        Caller& c = of(w);
        rt::Shard& shard = world->module.shards[ex.cpu().value];
        if (!shard.ordered.load(std::memory_order_relaxed)) {
            shard.direct.add(1);
            return c.serve();
        }
        bool several = false;
        rt::lane_poll(ex.cpu(), rt::executor_count(), [&](CallWord& other) {
            if (&other == &w) return true;
            several = true;
            of(other).accept();
            return true;
        });
        if (several || shard.queue.size() != 0) return c.accept();
        shard.settle();
        c.serve();
    }
    void accept() {
        u64 before = word.fetch_and(~u64{rt::kCallPending}, std::memory_order_relaxed);
        expect((before >> 8 & 0xff) == Executor::current().cpu().value);
        remote.call = u32(argument % 3);
        remote.space = reinterpret_cast<const void*>(argument / 3 % 2);
        remote.nice = i32(argument % 5);
        world->module.here().accept(remote);
    }
    void serve() {
        expect((word.load(std::memory_order_relaxed) >> 8 & 0xff) == Executor::current().cpu().value);
        if (argument % 8 == 0) {
            world->async.fetch_add(1, std::memory_order_relaxed);
            Executor& where = Executor::of(CpuId{u32(argument / 8 % world->cpus)});
            word.exchange(rt::kCallActive | rt::kCallAsync, std::memory_order_acq_rel);
            return where.post(later);
        }
        execute();
        if (word.exchange(rt::kCallActive | rt::kCallDone, std::memory_order_acq_rel) & rt::kCallDetached)
            home->post(*this);
    }
    void finish() {
        execute();
        home->post(*this);
    }
    void execute() {
        expect(executed + 1 == made);
        ++executed;
        copy();
        result = ~argument;
    }
};

// A user thread that only computes: its CPU is in user mode until an interrupt comes.
struct Computes : rt::Schedulable {
    Computes() : Schedulable(&Computes::go, rt::Priority::kBackground) {}
    static void go(rt::Schedulable& s) {
        Executor& ex = Executor::current();
        if (world->quit.load()) return;
        if (ex.enter_user_state() && !ex.needs_attention()) hal::Machine::wait_for_event();
        ex.leave_user_state();
        ex.enqueue(s);
    }
};

void many_calls(u64 seed, u32 callers, u32 at_once) {
    auto owned = std::make_unique<World>();
    world = owned.get();
    Random random(seed);
    Computes computes[4];  // used until the CPUs have stopped
    Cpus cpus(4);
    world->cpus = 4;
    world->to_start = callers - at_once;
    world->module.init("test", [](rt::Request& r, rt::Shard&) { static_cast<Caller::Remote&>(r).owner.serve(); });
    world->module.batch = u32(1 + random() % 4);
    rt::CallService::serve_with<&Caller::serve_word>();
    for (u32 i = 1; i < 4; ++i)
        if (random() % 3 == 0) cpus[i].post(computes[i]);
    world->module.move_to(CpuSet{1u << 3});
    for (u32 i = 0; i < at_once; ++i) Caller::start(random());
    bool ended = cpus.run_until([&] {
        if (random() % 4 == 0) world->module.move_to(CpuSet{u32(random() % 8) << 1});
        if (random() % 8 == 0) world->module.set_policy(rt::Policy(random() % 4));
        return world->running.load() == 0;
    });
    EXPECT_TRUE(ended) << "a call was lost, seed " << seed;
    world->quit = true;
    // Whoever holds what is retired looks up, and lets it go.
    EXPECT_TRUE(cpus.run_until([&] {
        for (u32 i = 1; i < 4; ++i) cpus[i].attract(rt::kAttnReschedule);
        return world->freed.load() == world->created.load() || !ended;
    })) << "seed "
        << seed;
    EXPECT_EQ(world->wrong.load(), 0u) << "seed " << seed;
    if (ended) {
        EXPECT_EQ(world->created.load(), callers);
    }
}

TEST(RtLane, EveryCallIsExecutedOnceAndItsResultSeen) {
    for (u64 seed = 1; seed <= 24; ++seed) {
        many_calls(seed, 60, 6);
        if (HasFailure()) return;
    }
}

TEST(RtShare, AnOfferIsTheHomesOrTheServersAgain) {
    rt::CopyShare share;
    std::byte kernel[8] = {};
    u32 copies = 0;
    auto copy = [&](std::byte* at, UserAddr user, size_t n, bool to_user) {
        EXPECT_EQ(at, kernel);
        EXPECT_EQ(user.value, 100u);
        EXPECT_EQ(n, 8u);
        EXPECT_FALSE(to_user);
        ++copies;
        return size_t{5};
    };
    EXPECT_FALSE(share.offered());
    share.offer(UserAddr{100}, kernel, 8, false);
    EXPECT_TRUE(share.offered());
    EXPECT_FALSE(share.over());
    share.help(copy);
    EXPECT_TRUE(share.over());
    EXPECT_FALSE(share.offered());
    size_t by_home = 0;
    EXPECT_TRUE(share.settle(by_home, [] { FAIL() << "waits for a home that is done"; }));
    EXPECT_EQ(by_home, 5u);
    // Taken back: a home that comes too late copies nothing.
    share.offer(UserAddr{100}, kernel, 8, false);
    EXPECT_FALSE(share.settle(by_home, [] { FAIL() << "waits for a home that has not come"; }));
    EXPECT_FALSE(share.offered());
    share.help(copy);
    EXPECT_EQ(copies, 1u);
}

TEST(RtShare, TheServersLeadFollowsWhoIsDoneFirst) {
    rt::ShareLead lead;
    EXPECT_EQ(lead.part_of(1'000), 0u);
    size_t before = lead.part_of(4'096);
    EXPECT_GT(before, 1'000u);
    EXPECT_LT(before, 2'048u);
    EXPECT_EQ(before % 64, 0u);
    for (int i = 0; i < 4; ++i) lead.home_was_first();
    EXPECT_GT(lead.part_of(4'096), before);
    for (int i = 0; i < 1'000; ++i) lead.home_was_first();
    EXPECT_GT(lead.part_of(4'096), before);
    EXPECT_LT(lead.part_of(4'096), 2'048u);
    // A home that is always late gets no more of small copies, and something of large ones.
    for (int i = 0; i < 1'000; ++i) lead.home_was_last();
    EXPECT_EQ(lead.part_of(4'096), 0u);
    EXPECT_GT(lead.part_of(65'536), 0u);
}

// Nobody is asked whose call is over, not this CPU's, or no longer waited for; nor a CPU that has another space loaded.
TEST(RtShare, OnlyAHomeThatWaitsIsAPartner) {
    Cpus cpus(1);
    Executor::start(CpuId{1});
    Executor& server = Executor::start(CpuId{0});
    server.service.begin();
    static struct alignas(64) {
        std::byte frame[56];
        rt::CallWord word{0};
        rt::CopyShare share;
    } call;
    static bool pending, elsewhere, detached;
    struct Handler {
        static void serve(Executor& ex, CallWord& word) {
            pending = ex.service.copy_partner(1u << 1) == &call.share;
            elsewhere = ex.service.copy_partner(~(1u << 1)) != nullptr;
            word.fetch_or(rt::kCallDetached);
            detached = ex.service.copy_partner(~0u) != nullptr;
            word.store(rt::kCallActive | rt::kCallDone);
        }
    };
    rt::CallService::serve_with<&Handler::serve>();
    EXPECT_EQ(server.service.copy_partner(~0u), nullptr);
    ASSERT_TRUE(rt::lane_claim(rt::lane(CpuId{0}, CpuId{1}), call.word).ok);
    pend(call.word, 0);
    server.run_one();
    EXPECT_TRUE(pending);
    EXPECT_FALSE(elsewhere);
    EXPECT_FALSE(detached);
    EXPECT_EQ(server.service.copy_partner(~0u), nullptr);  // over
    rt::lane_forget(call.word, kAll, kAll);
}

// A home that looks all the time, and a server that gives it time, or none. Each element is added once, and seen.
TEST(RtShare, EachPartOfManyCopiesIsCopiedOnce) {
    constexpr size_t kMost = 64;
    static rt::CopyShare share;
    static u8 from[kMost], to[kMost];
    std::atomic<bool> stop{false};
    auto add = [](std::byte* kernel, UserAddr user, size_t n, bool) {
        for (size_t i = 0; i < n; ++i) to[user.value + i] = u8(to[user.value + i] + u8(kernel[i]));
        return n;
    };
    std::thread home([&] {
        while (!stop.load())
            if (share.offered()) share.help(add);
    });
    Random random(7);
    u32 by_homes = 0, own = 0;
    auto* bytes = reinterpret_cast<std::byte*>(from);
    for (u32 round = 0; round < 2000; ++round) {
        size_t n = 1 + random() % kMost, part = 1 + random() % n, first = n - part, by_home = 0;
        for (size_t i = 0; i < n; ++i) from[i] = u8(random());
        std::memset(to, 0, sizeof to);
        share.offer(UserAddr{first}, bytes + first, part, true);
        add(bytes, UserAddr{0}, first, true);
        if (round % 4 == 0)
            while (!share.over()) std::this_thread::yield();
        if (share.settle(by_home, [] { std::this_thread::yield(); })) {
            ++by_homes;
            EXPECT_EQ(by_home, part);
        } else {
            ++own;
            add(bytes + first, UserAddr{first}, part, true);
        }
        ASSERT_EQ(std::memcmp(from, to, n), 0) << "round " << round;
        for (size_t i = n; i < kMost; ++i) ASSERT_EQ(to[i], 0);
    }
    stop = true;
    home.join();
    EXPECT_GE(by_homes, 500u);
    EXPECT_EQ(by_homes + own, 2000u);
}

}  // namespace
