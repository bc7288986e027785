// SPDX-License-Identifier: MIT
// Every check of a native call has a name (core/check_names.hpp). The test kernel can run without one of them, which shows
// whether its tests notice (`check=NAME` on its command line, `./farcall test checks`); in the shipped kernel no check can be
// switched off.
//
//     REQUIRE(size <= kMax, size_too_large, kInval);
//
// core/switched_off.hpp is bound by the include path: core/include/, or tests/kernel/include/ in the test kernel.
#pragma once
#include "core/switched_off.hpp"
#include "lib/result.hpp"

#define REQUIRE(COND, NAME, ERROR)                                                               \
    do {                                                                                         \
        if (!(COND)) [[unlikely]] {                                                              \
            if (!::core::checks::switched_off(::core::checks::Check::NAME)) return Errno::ERROR; \
        }                                                                                        \
    } while (0)
