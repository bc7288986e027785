// SPDX-License-Identifier: MIT
// RT_CHECK stops the machine in every build; RT_ASSERT only in debug builds (FARCALL_DEBUG) and on the host.
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
