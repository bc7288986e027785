// SPDX-License-Identifier: MIT
// Result<T>: a value or an Errno. Small values are returned in two registers. Nothing throws.
// Leaf<T>: what a function that must not wait yields: a value, an Errno, or that it has not ended (LeafError). A Result becomes
// a Leaf by itself. A Leaf becomes a Result only by settled(), with the error number that stands for an outcome which is none, or by
// ended(), where there cannot be one: no such outcome reaches a program, or a caller that cannot handle it, unnoticed.
//   TRY(expr)     in a plain function: gives the value, or returns the error
//   CO_TRY(expr)  in a coroutine: gives the value, or co_returns the error
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

// Why a leaf has no value: an Errno, or kNeedsTask or kNeedsFault, for which nothing was changed and the call must run another
// way.
class LeafError {
public:
    constexpr LeafError(Errno e) : code_(i32(e)) {}  // NOLINT: an error number is a reason
    friend constexpr bool operator==(LeafError, LeafError) = default;
    // It has not ended: kNeedsTask or kNeedsFault.
    constexpr bool needs_more() const { return code_ >= kFirstOutcome; }
    // The call goes on: it needs more, or a restart kind says how (abi/linux/errno.hpp).
    constexpr bool goes_on() const { return code_ >= i32(Errno::kRestartSys); }
    // The error number; `unfinished` stands for kNeedsTask and kNeedsFault.
    constexpr Errno settled(Errno unfinished) const { return needs_more() ? unfinished : Errno(code_); }
    // The error number of one that has ended, as the caller knows. Debug builds stop if it has not.
    constexpr Errno ended() const {
#ifdef FARCALL_DEBUG
        if (needs_more()) __builtin_trap();
#endif
        return settled(Errno::kNoSys);
    }

    static constexpr LeafError outcome(i32 n) { return LeafError{n, 0}; }

private:
    static constexpr i32 kFirstOutcome = 600;  // larger than every Errno
    constexpr LeafError(i32 n, int) : code_(kFirstOutcome + n) {}
    i32 code_;
};
inline constexpr LeafError kNeedsTask = LeafError::outcome(0);   // must wait: Caller::later() says how
inline constexpr LeafError kNeedsFault = LeafError::outcome(1);  // user memory is not present: fault the recorded range
                                                                 // in, then run again

template <class T, class E>
class Outcome;
template <class T>
using Result = Outcome<T, Errno>;
template <class T>
using Leaf = Outcome<T, LeafError>;

namespace detail {
template <class U>
inline constexpr bool is_error = std::is_same_v<U, Errno> || std::is_same_v<U, LeafError>;
// Room for a value, of which only the owner knows whether it is there.
template <class T>
union Slot {
    constexpr Slot() {}
    template <class... A>
    constexpr explicit Slot(std::in_place_t, A&&... a) : value(std::forward<A>(a)...) {}
    constexpr ~Slot()
        requires std::is_trivially_destructible_v<T>
    = default;
    constexpr ~Slot()
        requires(!std::is_trivially_destructible_v<T>)
    {}
    T value;
    char none;
};
}  // namespace detail

template <class T, class E>
class [[nodiscard]] Outcome {
    static constexpr bool kIsLeaf = std::is_same_v<E, LeafError>;

public:
    using Value = T;
    constexpr Outcome(Errno e) : error_(e) {}  // NOLINT: an error is a Result
    constexpr Outcome(LeafError e)             // NOLINT
        requires kIsLeaf
        : error_(e) {}
    template <class U>
        requires std::is_convertible_v<U&&, T> && (!detail::is_error<std::remove_cvref_t<U>>)
    constexpr Outcome(U&& v)
        : slot_(std::in_place, std::forward<U>(v)), error_(Errno::kOk) {}  // NOLINT: a value is, too
    constexpr Outcome(Outcome&&)
        requires std::is_trivially_move_constructible_v<T>
    = default;
    constexpr Outcome(const Outcome&)
        requires std::is_trivially_copy_constructible_v<T>
    = default;
    constexpr Outcome& operator=(const Outcome&)
        requires std::is_trivially_copy_assignable_v<T>
    = default;
    constexpr Outcome(Outcome&& o)
        requires(!std::is_trivially_move_constructible_v<T>)
        : error_(o.error_) {
        if (ok()) new (&slot_.value) T(std::move(o.slot_.value));
    }
    Outcome& operator=(Outcome&& o)
        requires(!std::is_trivially_move_constructible_v<T>)
    {
        if (this != &o) {
            this->~Outcome();
            new (this) Outcome(std::move(o));
        }
        return *this;
    }
    // What has ended is the outcome of a leaf, too.
    template <class F>
        requires(kIsLeaf && std::is_same_v<F, Errno>)
    constexpr Outcome(Outcome<T, F> o) : Outcome(std::move(o), o.error_) {}  // NOLINT
    constexpr ~Outcome()
        requires std::is_trivially_destructible_v<T>
    = default;
    constexpr ~Outcome()
        requires(!std::is_trivially_destructible_v<T>)
    {
        if (ok()) slot_.value.~T();
    }
    constexpr bool ok() const { return error_ == Errno::kOk; }
    constexpr explicit operator bool() const { return ok(); }
    constexpr E error() const { return error_; }
    constexpr T& value() { return slot_.value; }
    constexpr const T& value() const { return slot_.value; }
    constexpr T take() { return std::move(slot_.value); }
    constexpr T& operator*() { return slot_.value; }
    constexpr T* operator->() { return &slot_.value; }
    // The value is moved out. `unfinished`: the error if it has not ended (LeafError::needs_more).
    constexpr Result<T> settled(Errno unfinished)
        requires kIsLeaf
    {
        return Result<T>(std::move(*this), error_.settled(unfinished));
    }
    // The same of one that has ended, as the caller knows (LeafError::ended).
    constexpr Result<T> ended()
        requires kIsLeaf
    {
        return Result<T>(std::move(*this), error_.ended());
    }

private:
    template <class, class>
    friend class Outcome;
    template <class F>
    constexpr Outcome(Outcome<T, F>&& o, E error) : error_(error) {
        if constexpr (std::is_trivially_copy_assignable_v<T>)
            slot_ = o.slot_;
        else if (ok())
            new (&slot_.value) T(std::move(o.slot_.value));
    }
    detail::Slot<T> slot_;
    E error_;
};

// Success without a value.
template <class E>
class [[nodiscard]] Outcome<void, E> {
    static constexpr bool kIsLeaf = std::is_same_v<E, LeafError>;

public:
    using Value = void;
    constexpr Outcome() = default;
    constexpr Outcome(Errno e) : error_(e) {}  // NOLINT
    constexpr Outcome(LeafError e)             // NOLINT
        requires kIsLeaf
        : error_(e) {}
    constexpr Outcome(Unit) {}  // NOLINT
    template <class F>
        requires(kIsLeaf && std::is_same_v<F, Errno>)
    constexpr Outcome(Outcome<void, F> o) : error_(o.error()) {}  // NOLINT
    constexpr bool ok() const { return error_ == Errno::kOk; }
    constexpr explicit operator bool() const { return ok(); }
    constexpr E error() const { return error_; }
    constexpr void take() {}
    constexpr Result<void> settled(Errno unfinished) const
        requires kIsLeaf
    {
        return error_.settled(unfinished);
    }
    constexpr Result<void> ended() const
        requires kIsLeaf
    {
        return error_.ended();
    }

private:
    E error_ = Errno::kOk;
};
inline constexpr Unit kOk{};

}  // namespace lib

using lib::kNeedsFault;
using lib::kNeedsTask;
using lib::Leaf;
using lib::LeafError;
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
