// SPDX-License-Identifier: MIT
// The names of the checks of native calls (core/checks.hpp), for the kernel and for the programs that test it.
#pragma once
#include <iterator>

#include "lib/types.hpp"

namespace core::checks {

// clang-format off: it never comes to rest over this list
#define FARCALL_CHECKS(X) \
    X(cap_exists) X(cap_type) X(cap_right) X(slot_in_range) X(slot_empty) X(slot_not_null) X(copy_no_more_rights) \
    X(copy_keeps_badge) X(revoke_reaches_all) X(pool_quota) X(pool_size) X(create_type) X(space_slots) \
    X(memory_size) X(memory_aligned) X(sched_priority) X(sched_cpus) X(sched_budget) X(sched_by_limited) X(sched_cpus_held) X(thread_not_running) \
    X(thread_flags) X(thread_argument) X(thread_has_utcb) X(thread_without_utcb) X(handler_keeps_badge) X(fpu_size) X(alarm_bits) X(alarm_bound) X(saved_needs_utcb) X(thread_has_space) X(thread_fastpaths) X(thread_pc) X(thread_tls) X(thread_priority) \
    X(thread_cpu) X(resume_inactive) X(bind_free) X(bind_one) X(tag_reserved) X(tag_words) X(tag_caps) \
    X(tag_needs_utcb) X(caps_need_grant) X(cap_to_send) X(timed_needs_utcb) X(reply_owed) X(reply_object_free) \
    X(reply_label) X(reply_map_length) X(map_range) X(map_aligned) X(map_rights) X(map_offset) \
    X(map_free) X(map_type) X(map_window) X(window_count) X(window_aligned) X(window_range) X(window_bits) X(window_offset) \
    X(window_rights) X(window_unmapped) X(window_memory) X(window_ranges) X(window_protect) X(tables_range) X(tables_bounds) X(extent_index) \
    X(unmap_range) X(protect_range) X(protect_rights) X(irq_line) X(irq_bound) X(write_size) X(trace_op) X(trace_buffer) \
    X(call_number) X(call_flags) X(endpoint_alive) X(nonblocking_send) X(nonblocking_receive) X(identify_exists)
// clang-format on

enum class Check : u16 {
    none,
#define X(NAME) NAME,
    FARCALL_CHECKS(X)
#undef X
        count
};

inline constexpr const char* kCheckNames[] = {"none",
#define X(NAME) #NAME,
                                              FARCALL_CHECKS(X)
#undef X
};

// Null beyond the last.
constexpr const char* name_of(u32 n) { return n < std::size(kCheckNames) ? kCheckNames[n] : nullptr; }

}  // namespace core::checks
