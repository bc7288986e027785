// SPDX-License-Identifier: MIT
// Result and Leaf: what becomes what. Most of it is checked when this file is compiled.
#include "lib/result.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "rt/task.hpp"

namespace {

// What has ended is an outcome of a leaf.
static_assert(std::is_convertible_v<Result<int>, Leaf<int>>);
static_assert(std::is_convertible_v<Result<void>, Leaf<void>>);
static_assert(std::is_convertible_v<Result<std::unique_ptr<int>>, Leaf<std::unique_ptr<int>>>);
static_assert(std::is_convertible_v<Errno, LeafError>);
static_assert(std::is_convertible_v<Errno, Leaf<int>>);
static_assert(std::is_convertible_v<LeafError, Leaf<int>>);  // TRY of a Leaf in a function that yields one

// Not the other way about: that names what becomes of an outcome that is no error number.
static_assert(!std::is_constructible_v<Result<int>, Leaf<int>>);
static_assert(!std::is_constructible_v<Result<void>, Leaf<void>>);
static_assert(!std::is_assignable_v<Result<int>&, Leaf<int>>);
static_assert(!std::is_constructible_v<Errno, LeafError>);
static_assert(!std::is_constructible_v<i64, LeafError>);
static_assert(!std::is_constructible_v<Result<int>, LeafError>);  // TRY of a Leaf in a function that yields a Result
static_assert(!std::is_constructible_v<Result<i64>, LeafError>);
static_assert(!std::is_constructible_v<Result<void>, LeafError>);

// CO_TRY.
template <class T, class From>
concept Returns = requires(typename Task<T>::promise_type& promise, From from) { promise.return_value(from); };
static_assert(Returns<Result<int>, Errno> && !Returns<Result<int>, LeafError>);
static_assert(Returns<Leaf<int>, Errno> && Returns<Leaf<int>, LeafError>);
static_assert(!Returns<Result<int>, Leaf<int>> && Returns<Leaf<int>, Result<int>>);

// Both come back in two registers.
static_assert(std::is_trivially_copyable_v<Leaf<u64>> && sizeof(Leaf<u64>) == 16);
static_assert(std::is_trivially_copyable_v<Leaf<void>> && sizeof(Leaf<void>) == sizeof(Errno));

static_assert(kNeedsTask != kNeedsFault && kNeedsTask.needs_more() && kNeedsFault.needs_more());
static_assert(kNeedsTask.goes_on() && LeafError{Errno::kRestartBlock}.goes_on() && !LeafError{Errno::kStale}.goes_on());
static_assert(!LeafError{Errno::kRestartBlock}.needs_more() && LeafError{Errno::kAgain} == Errno::kAgain);

Leaf<std::string> text_or(LeafError e) {
    if (e != Errno::kOk) return e;
    return std::string(100, 't');
}
Leaf<size_t> length_of(LeafError e) { return TRY(text_or(e)).size(); }
Result<size_t> length_or_again(LeafError e) { return TRY(text_or(e).settled(Errno::kAgain)).size(); }

TEST(Result, AnUnfinishedLeafBecomesTheErrorThatTheCallerNames) {
    EXPECT_EQ(length_of(Errno::kOk).value(), 100u);
    EXPECT_EQ(length_of(kNeedsTask).error(), kNeedsTask);
    EXPECT_EQ(length_or_again(Errno::kOk).value(), 100u);
    EXPECT_EQ(length_or_again(kNeedsTask).error(), Errno::kAgain);
    EXPECT_EQ(length_or_again(kNeedsFault).error(), Errno::kAgain);
    EXPECT_EQ(length_or_again(Errno::kPerm).error(), Errno::kPerm);
    EXPECT_EQ(Leaf<void>{kNeedsFault}.settled(Errno::kFault).error(), Errno::kFault);
}

TEST(Result, TheValueOfALeafIsMovedIntoTheResult) {
    Leaf<std::unique_ptr<int>> leaf{std::make_unique<int>(3)};
    Result<std::unique_ptr<int>> result = leaf.ended();
    ASSERT_TRUE(result.ok());
    EXPECT_EQ(leaf.value(), nullptr);
    EXPECT_EQ(*result.value(), 3);
    Leaf<std::unique_ptr<int>> back = std::move(result);
    ASSERT_TRUE(back.ok());
    EXPECT_EQ(**back, 3);
}

// Only debug builds check it, as those of the tests are.
TEST(ResultDeathTest, ALeafThatHasNotEndedIsNoResult) { EXPECT_DEATH((void)Leaf<int>{kNeedsTask}.ended(), ""); }

}  // namespace
