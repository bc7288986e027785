// SPDX-License-Identifier: MIT
// Reads and writes of user memory in the address space that is loaded. A fault ends the access (exception table), it is
// never handled in place. Where the CPU has SMAP, the three-byte no-ops at each site become STAC and CLAC at boot.
#pragma once
#include <utility>

#include "hal/api/types.hpp"
#include "hal/x86_64/include/hal/layout.h"

// "?": in the group of the section that is current, so that a discarded inline function takes its entries along.
#define HAL_USER_BEGIN "661: .byte 0x0f,0x1f,0x00\n.pushsection .smap_stac,\"a?\",@progbits\n.quad 661b\n.popsection\n"
#define HAL_USER_END "662: .byte 0x0f,0x1f,0x00\n.pushsection .smap_clac,\"a?\",@progbits\n.quad 662b\n.popsection\n"
#define HAL_ON_FAULT(at, to) ".pushsection .extable,\"a?\",@progbits\n.quad " at ", " to "\n.popsection\n"

extern "C" {
// usercopy.S. Bytes done.
size_t hal_copy_from_user(void* to, u64 from, size_t n);
size_t hal_copy_to_user(u64 to, const void* from, size_t n);
size_t hal_copy_from_user_blocks(void* to, u64 from, size_t n);
size_t hal_copy_to_user_blocks(u64 to, const void* from, size_t n);
size_t hal_clear_user(u64 to, size_t n);
}

namespace hal {

[[gnu::always_inline]] inline bool user_range(u64 at, size_t n) { return at < HAL_USER_TOP && n <= HAL_USER_TOP - at; }
[[gnu::always_inline]] inline void user_begin() { asm volatile(HAL_USER_BEGIN ::: "memory"); }
[[gnu::always_inline]] inline void user_end() { asm volatile(HAL_USER_END ::: "memory"); }

// One naturally sized value; the address was checked by the caller. Between user_begin and user_end.
template <class T>
[[gnu::always_inline]] inline bool raw_load_user(u64 at, T& out) {
    T v;
    asm goto volatile("1: mov %1, %0\n" HAL_ON_FAULT("1b", "%l[fault]")
                      : "=r"(v)
                      : "m"(*reinterpret_cast<const T*>(at))
                      : "memory"
                      : fault);
    out = v;
    return true;
fault:
    return false;
}
template <class T>
[[gnu::always_inline]] inline bool raw_store_user(u64 at, const T& v) {
    // A constant that the instruction can hold.
    if constexpr (sizeof(T) == 8) {
        if (__builtin_constant_p(v) && i64(v) == i32(i64(v))) {
            asm goto volatile("1: movq %0, %1\n" HAL_ON_FAULT("1b", "%l[fault]")
                              :
                              : "er"(v), "m"(*reinterpret_cast<T*>(at))
                              : "memory"
                              : fault);
            return true;
        }
    }
    asm goto volatile("1: mov %0, %1\n" HAL_ON_FAULT("1b", "%l[fault]")
                      :
                      : "r"(v), "m"(*reinterpret_cast<T*>(at))
                      : "memory"
                      : fault);
    return true;
fault:
    return false;
}
template <class T>
[[gnu::always_inline]] inline bool load_user(u64 at, T& out) {
    if (!user_range(at, sizeof(T))) return false;
    user_begin();
    bool ok = raw_load_user(at, out);
    user_end();
    return ok;
}
template <class T>
[[gnu::always_inline]] inline bool store_user(u64 at, T v) {
    if (!user_range(at, sizeof(T))) return false;
    user_begin();
    bool ok = raw_store_user(at, v);
    user_end();
    return ok;
}
// Several that follow each other in user memory; by reference, so that each is read when it is stored, and not all before.
template <class... W>
[[gnu::always_inline]] inline bool store_user_words(u64 at, const W&... words) {
    if (!user_range(at, (sizeof(W) + ...))) return false;
    user_begin();
    u64 offset = 0;
    bool ok = (raw_store_user(at + std::exchange(offset, offset + sizeof(W)), words) && ...);
    user_end();
    return ok;
}
template <class... T>
[[gnu::always_inline]] inline bool load_user_words(u64 at, T&... words) {
    if (!user_range(at, (sizeof(T) + ...))) return false;
    user_begin();
    u64 offset = 0;
    bool ok = (raw_load_user(at + std::exchange(offset, offset + sizeof(T)), words) && ...);
    user_end();
    return ok;
}
// expected is replaced by what was found. False: fault.
[[gnu::always_inline]] inline bool compare_exchange_user(u64 at, u32& expected, u32 desired) {
    if (!user_range(at, sizeof(u32))) return false;
    user_begin();
    u32 found = expected;
    asm goto volatile("1: lock cmpxchgl %2, %1\n" HAL_ON_FAULT("1b", "%l[fault]")
                      : "+a"(found)
                      : "m"(*reinterpret_cast<u32*>(at)), "r"(desired)
                      : "memory", "cc"
                      : fault);
    user_end();
    expected = found;
    return true;
fault:
    user_end();
    return false;
}

UserString copy_string_from_user(char* to, u64 from, size_t max);  // usercopy.cpp

}  // namespace hal
