// SPDX-License-Identifier: MIT
// Result<T>: a value or an Errno. Small values are returned in two registers. Nothing throws.
//   TRY(expr)     in a plain function: gives the value, or returns the error
//   CO_TRY(expr)  in a coroutine: gives the value, or co_returns the error
// Leaf<T> is the outcome of a function that must not wait: a value, an error, or "a task continues" / "fault this in".
#pragma once
#include <new>
#include <type_traits>
#include <utility>

#include "abi/linux/errno.hpp"
#include "lib/types.hpp"

namespace lib {

struct Unit {
    friend constexpr bool operator==(Unit, Unit) = default;
};

template <class T>
class [[nodiscard]] Result {
    static constexpr bool kPlain = std::is_trivially_copyable_v<T> && std::is_trivially_default_constructible_v<T>;

public:
    using Value = T;
    constexpr Result(Errno e) : error_(e) {}  // NOLINT: an error is a Result
    template <class U>
        requires std::is_convertible_v<U&&, T> && (!std::is_same_v<std::remove_cvref_t<U>, Errno>)
    constexpr Result(U&& v) : value_(std::forward<U>(v)), error_(Errno::kOk) {}  // NOLINT: a value is a Result
    constexpr Result(Result&&)
        requires std::is_trivially_move_constructible_v<T>
    = default;
    constexpr Result(const Result&)
        requires std::is_trivially_copy_constructible_v<T>
    = default;
    constexpr Result& operator=(const Result&)
        requires std::is_trivially_copy_assignable_v<T>
    = default;
    constexpr Result(Result&& o)
        requires(!std::is_trivially_move_constructible_v<T>)
        : error_(o.error_) {
        if (ok()) new (&value_) T(std::move(o.value_));
    }
    Result& operator=(Result&& o)
        requires(!std::is_trivially_move_constructible_v<T>)
    {
        if (this != &o) {
            this->~Result();
            new (this) Result(std::move(o));
        }
        return *this;
    }
    constexpr ~Result()
        requires std::is_trivially_destructible_v<T>
    = default;
    constexpr ~Result()
        requires(!std::is_trivially_destructible_v<T>)
    {
        if (ok()) value_.~T();
    }
    constexpr bool ok() const { return error_ == Errno::kOk; }
    constexpr explicit operator bool() const { return ok(); }
    constexpr Errno error() const { return error_; }
    constexpr T& value() { return value_; }
    constexpr const T& value() const { return value_; }
    constexpr T take() { return std::move(value_); }
    constexpr T& operator*() { return value_; }
    constexpr T* operator->() { return &value_; }

private:
    union {
        T value_;
        char none_;
    };
    Errno error_;
};

// Success without a value.
template <>
class [[nodiscard]] Result<void> {
public:
    using Value = void;
    constexpr Result() = default;
    constexpr Result(Errno e) : error_(e) {}  // NOLINT
    constexpr Result(Unit) {}                 // NOLINT
    constexpr bool ok() const { return error_ == Errno::kOk; }
    constexpr explicit operator bool() const { return ok(); }
    constexpr Errno error() const { return error_; }
    constexpr void take() {}

private:
    Errno error_ = Errno::kOk;
};
inline constexpr Unit kOk{};

// A Leaf is a Result whose error may also be kNeedsTask or kNeedsFault: nothing was changed, and the call must run
// another way.
template <class T>
using Leaf = Result<T>;
constexpr bool needs_more(Errno e) { return e == Errno::kNeedsTask || e == Errno::kNeedsFault; }

}  // namespace lib

using lib::Leaf;
using lib::Result;

#define TRY(...)                                                 \
    ({                                                           \
        auto&& try_result_ = (__VA_ARGS__);                      \
        if (!try_result_.ok()) [[unlikely]]                      \
            return try_result_.error();                          \
        std::forward<decltype(try_result_)>(try_result_).take(); \
    })
#define CO_TRY(...)                                              \
    ({                                                           \
        auto&& try_result_ = (__VA_ARGS__);                      \
        if (!try_result_.ok()) [[unlikely]]                      \
            co_return try_result_.error();                       \
        std::forward<decltype(try_result_)>(try_result_).take(); \
    })
