// SPDX-License-Identifier: MIT
// lib/tree.hpp against std::multimap: the same random insertions, removals and searches must give the same answers.
#include "lib/tree.hpp"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <vector>

namespace {

struct Item {
    u32 key = 0;
    u32 serial = 0;
    lib::TreeHook hook;
};
using Items = lib::Tree<Item, &Item::hook, lib::KeyMember<&Item::key>>;

TEST(Tree, EmptyTreeFindsNothing) {
    Items tree;
    EXPECT_TRUE(tree.empty());
    EXPECT_EQ(tree.first(), nullptr);
    EXPECT_EQ(tree.last(), nullptr);
    EXPECT_EQ(tree.find(1u), nullptr);
    EXPECT_EQ(tree.lower_bound(0u), nullptr);
    EXPECT_EQ(tree.floor(9u), nullptr);
}

TEST(Tree, AscendingInsertionsStayBalanced) {
    std::vector<Item> items(1023);
    Items tree;
    for (u32 i = 0; i < items.size(); ++i) {
        items[i].key = i;
        tree.insert(items[i]);
        ASSERT_TRUE(tree.valid());
    }
    EXPECT_EQ(items[511].hook.height, 10u);  // a perfect tree of 1,023 nodes
}

TEST(Tree, RandomOperationsAgreeWithStdMultimap) {
    for (u32 seed = 1; seed <= 20; ++seed) {
        std::mt19937 random(seed);
        std::vector<Item> items(300);
        Items tree;
        std::multimap<u32, Item*> model;
        u32 serial = 0;
        for (int step = 0; step < 4000; ++step) {
            Item& it = items[random() % items.size()];
            if (it.hook.linked()) {
                auto [a, b] = model.equal_range(it.key);
                for (; a != b; ++a)
                    if (a->second == &it) break;
                ASSERT_NE(a, b);
                model.erase(a);
                tree.remove(it);
                ASSERT_FALSE(it.hook.linked());
            } else {
                it.key = random() % 200;
                it.serial = ++serial;
                model.emplace(it.key, &it);
                tree.insert(it);
            }
            if (step % 16 == 0) ASSERT_TRUE(tree.valid());
            u32 k = random() % 210;
            auto lower = model.lower_bound(k), upper = model.upper_bound(k);
            ASSERT_EQ(tree.lower_bound(k), lower == model.end() ? nullptr : lower->second);
            ASSERT_EQ(tree.upper_bound(k), upper == model.end() ? nullptr : upper->second);
            ASSERT_EQ(tree.floor(k), upper == model.begin() ? nullptr : std::prev(upper)->second);
            ASSERT_EQ(tree.find(k), lower == upper ? nullptr : lower->second);
            ASSERT_EQ(tree.first(), model.empty() ? nullptr : model.begin()->second);
            ASSERT_EQ(tree.last(), model.empty() ? nullptr : std::prev(model.end())->second);
        }
        auto expect = model.begin();
        for (Item& it : tree) {
            ASSERT_NE(expect, model.end());
            ASSERT_EQ(&it, expect->second);
            Item* before = Items::prev(it);
            ASSERT_EQ(before, expect == model.begin() ? nullptr : std::prev(expect)->second);
            ++expect;
        }
        EXPECT_EQ(expect, model.end());
        while (Item* it = tree.first()) tree.remove(*it);
        EXPECT_TRUE(tree.valid());
    }
}

}  // namespace
