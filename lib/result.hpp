// SPDX-License-Identifier: MIT
// Result<T>: a value or an Errno. Small values are returned in two registers. Nothing throws. Leaf<T>: the result of a
// function that must not wait: a value, an Errno, or the fact that it has not finished (LeafError). A Result converts
// to a Leaf implicitly. A Leaf becomes a Result only through settled(), which names the Errno for an unfinished call,
// or through ended(), where the caller knows that the call has finished. So an unfinished call cannot reach a program,
// or a caller that cannot handle it, unnoticed.
//   TRY(expr)     in a plain function: yields the value, or returns the error
//   CO_TRY(expr)  in a coroutine: yields the value, or co_returns the error
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

// Why a leaf has no value: an Errno, or kNeedsTask or kNeedsFault, which mean that nothing was changed and the call
// must run in another way.
class LeafError {
public:
    constexpr LeafError(Errno e) : code_(i32(e)) {}  // NOLINT: implicit on purpose
    friend constexpr bool operator==(LeafError, LeafError) = default;
    // The call has not finished: kNeedsTask or kNeedsFault.
    constexpr bool needs_more() const { return code_ >= kFirstOutcome; }
    // The call will continue: it has not finished, or it is to be restarted (the restart codes of abi/linux/errno.hpp).
    constexpr bool goes_on() const { return code_ >= i32(Errno::kRestartSys); }
    // The error number; `unfinished` is returned for kNeedsTask and kNeedsFault.
    constexpr Errno settled(Errno unfinished) const { return needs_more() ? unfinished : Errno(code_); }
    // The error number of a call that has finished, as the caller knows. Debug builds trap if it has not.
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
inline constexpr LeafError kNeedsTask = LeafError::outcome(0);  // it must wait: Caller::later() says how
// User memory is not present: fault the recorded range in, then run again.
inline constexpr LeafError kNeedsFault = LeafError::outcome(1);

template <class T, class E>
class Outcome;
template <class T>
using Result = Outcome<T, Errno>;
template <class T>
using Leaf = Outcome<T, LeafError>;

namespace detail {
template <class U>
inline constexpr bool is_error = std::is_same_v<U, Errno> || std::is_same_v<U, LeafError>;
// Room for a value; its owner knows whether there is one.
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
    // A finished result is a valid result of a leaf, too.
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
    // Moves the value out. `unfinished`: the error if the call has not finished (LeafError::needs_more).
    constexpr Result<T> settled(Errno unfinished)
        requires kIsLeaf
    {
        return Result<T>(std::move(*this), error_.settled(unfinished));
    }
    // The same for a call that has finished, as the caller knows (LeafError::ended).
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
