// SPDX-License-Identifier: MIT
// Joins the families' rows into tables indexed by number. Filled once at boot, constant afterwards.
// The leaf tier reads only the dense arrays: one line of them holds eight calls.
#include "linux/sys/table.hpp"

#include "linux/thread.hpp"

namespace linux {

extern u8 module_table[kSyscallLimit];

namespace {

Leaf<i64> no_leaf(Caller&, const CallFrame&) { return Errno::kNeedsTask; }

constinit SyscallRow rows[kSyscallLimit] = {};
constinit std::atomic<bool> logged[kSyscallLimit] = {};
constinit std::atomic<u64> unknown_calls{0};

}  // namespace

const SyscallRow* const syscall_table = rows;
alignas(64) LeafThunk leaf_table[kSyscallLimit];
alignas(64) u8 module_table[kSyscallLimit];

namespace {

void join(std::span<const SyscallRow> family) {
    for (const SyscallRow& r : family) {
        rows[r.number] = r;
        leaf_table[r.number] = r.leaf ? r.leaf : &no_leaf;
        module_table[r.number] = u8(r.module);
    }
}

}  // namespace

void build_syscall_table() {
    for (u32 i = 0; i < kSyscallLimit; ++i) {
        leaf_table[i] = &no_leaf;
        module_table[i] = u8(port::Module::kHome);
    }
    for (auto family : {task_rows, signal_rows, exec_rows, id_rows, time_rows, sync_rows, mm_rows, path_rows, file_rows,
                        poll_rows, misc_rows, resource_rows, xattr_rows, socket_rows})
        join(family);
}

void note_unknown_call(Thread& t, u64 number) {
    unknown_calls.fetch_add(1, std::memory_order_relaxed);
    // Numbers beyond the table share its last, unused one.
    if (logged[number < kSyscallLimit ? number : kSyscallLimit - 1].exchange(true, std::memory_order_relaxed)) return;
    port::logf("{}: system call {} is not implemented", std::string_view(t.comm), number);
}

}  // namespace linux
