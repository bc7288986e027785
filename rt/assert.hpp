// SPDX-License-Identifier: MIT
// RT_CHECK panics in every build if the condition does not hold; RT_ASSERT does so only in debug builds (FARCALL_DEBUG)
// and in hosted builds. `what` is the message of the panic.
#pragma once
#include "hal/bind.hpp"

#define RT_CHECK(cond, what)             \
    do {                                 \
        if (!(cond)) [[unlikely]]        \
            ::hal::Machine::panic(what); \
    } while (0)

#ifdef FARCALL_DEBUG
inline constexpr bool kDebug = true;
#define RT_ASSERT(cond, what) RT_CHECK(cond, what)
#else
inline constexpr bool kDebug = false;
#define RT_ASSERT(cond, what) \
    do {                      \
    } while (0)
#endif
