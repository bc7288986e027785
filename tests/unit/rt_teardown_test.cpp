// SPDX-License-Identifier: MIT
// rt/teardown: what ends is taken apart once, a piece a turn, one object after the other, whoever adds to the list meanwhile.
#include "rt/teardown.hpp"

#include "tests/unit/hosted_cpus.hpp"

namespace {

using hosted_test::Cpus;
using hosted_test::Random;

struct Object {
    explicit Object(u32 parts) : left(parts) {}
    Object* next = nullptr;
    u32 left;
    bool begun = false;

    static std::atomic<u32> gone, pieces, inside, twice;
    static std::atomic<u32> in_work;  // objects that have been begun and not finished
    static std::atomic<bool> interleaved;
    static bool piece(Object& o) {
        if (inside.fetch_add(1) != 0) twice.fetch_add(1);
        if (!std::exchange(o.begun, true) && in_work.fetch_add(1) != 0) interleaved = true;
        pieces.fetch_add(1);
        const bool more = --o.left != 0;
        if (!more) {
            in_work.fetch_sub(1);
            delete &o;
            gone.fetch_add(1);
        }
        inside.fetch_sub(1);
        return more;
    }
    static void start() { gone = pieces = inside = twice = in_work = 0, interleaved = false; }
};
std::atomic<u32> Object::gone, Object::pieces, Object::inside, Object::twice, Object::in_work;
std::atomic<bool> Object::interleaved;
using List = rt::TeardownList<Object, &Object::next>;

TEST(RtTeardown, APieceATurnAndOtherReadyWorkInBetween) {
    Cpus cpus(1);
    Object::start();
    List list{&Object::piece};
    static u32 others;
    others = 0;
    struct Other : rt::Schedulable {
        Other() : Schedulable([](rt::Schedulable&) { ++others; }) {}
    } other;
    list.add(*new Object(3));
    for (u32 i = 0; i < 3; ++i) {
        cpus[0].enqueue(other);
        EXPECT_EQ(Object::pieces.load(), i);
        ASSERT_TRUE(cpus[0].run_one());
        EXPECT_EQ(Object::pieces.load(), i + 1);
        ASSERT_TRUE(cpus[0].run_one());
        EXPECT_EQ(others, i + 1);
    }
    cpus[0].run_until_idle();
    EXPECT_EQ(Object::gone.load(), 1u);
    // It works again after it has ended.
    list.add(*new Object(1));
    cpus[0].run_until_idle();
    EXPECT_EQ(Object::gone.load(), 2u);
}

TEST(RtTeardown, TheOneThatWasBegunIsFinishedFirst) {
    Cpus cpus(1);
    Object::start();
    List list{&Object::piece};
    list.add(*new Object(4));
    ASSERT_TRUE(cpus[0].run_one());
    for (u32 i = 0; i < 5; ++i) list.add(*new Object(2));
    cpus[0].run_until_idle();
    EXPECT_EQ(Object::gone.load(), 6u);
    EXPECT_EQ(Object::pieces.load(), 4u + 5 * 2);
    EXPECT_FALSE(Object::interleaved.load());
}

TEST(RtTeardown, WhatSeveralCpusAddIsTakenApartOnceByOneAtATime) {
    constexpr u32 kCpus = 3, kEach = 3000;
    Object::start();
    List list{&Object::piece};
    std::atomic<u32> parts{0}, added{0};
    struct Adder : rt::Schedulable {
        Adder(List& l, std::atomic<u32>& p, std::atomic<u32>& a, u64 seed)
            : Schedulable(&Adder::turn), list(l), parts(p), added(a), random(seed) {}
        List& list;
        std::atomic<u32>&parts, &added;
        Random random;
        u32 left = kEach;
        static void turn(rt::Schedulable& s) {
            auto& self = static_cast<Adder&>(s);
            // Sometimes a few at once, so that the list runs empty again and again.
            for (u64 n = self.random() % 3; n != 0 && self.left != 0; --n, --self.left) {
                const u32 size = 1 + u32(self.random() % 3);
                self.parts.fetch_add(size);
                self.list.add(*new Object(size));
                self.added.fetch_add(1);
            }
            if (self.left != 0) rt::Executor::current().enqueue(self);
        }
    };
    std::vector<std::unique_ptr<Adder>> adders;
    Cpus cpus(kCpus);  // ends before what it runs
    for (u32 i = 0; i < kCpus; ++i) adders.push_back(std::make_unique<Adder>(list, parts, added, i));
    for (u32 i = 0; i < kCpus; ++i) cpus[i].post(*adders[i]);
    ASSERT_TRUE(cpus.run_until([&] { return added.load() == kCpus * kEach && Object::gone.load() == kCpus * kEach; }));
    EXPECT_EQ(Object::pieces.load(), parts.load());
    EXPECT_EQ(Object::twice.load(), 0u);
    EXPECT_FALSE(Object::interleaved.load());
}

}  // namespace
