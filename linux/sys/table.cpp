// SPDX-License-Identifier: MIT
// Joins the families' rows into tables indexed by number. Filled once at boot, constant afterwards.
// The leaf tier reads only the dense arrays: one line of them holds eight calls.
#include "linux/sys/table.hpp"

#include "abi/linux/syscall_names_x86_64.hpp"
#include "linux/task/thread.hpp"

namespace linux {

extern u8 module_table[kSyscallLimit];

namespace {

// The coroutine looks the number up again, and reports that there is no such call.
Leaf<i64> no_call(Caller&, const CallFrame&) { return kNeedsTask; }

constinit SyscallRow rows[kSyscallLimit] = {};
// Which calls of which programs the log has named: a hash of both in each word. When it is full no more are named.
constinit std::atomic<u64> named[256] = {};
constinit std::atomic<u64> unknown_calls{0};

}  // namespace

const SyscallRow* const syscall_table = rows;
alignas(64) CallThunk call_table[kSyscallLimit];
alignas(64) u8 module_table[kSyscallLimit];

namespace {

void join(std::span<const SyscallRow> family) {
    for (const SyscallRow& r : family) {
        rows[r.number] = r;
        call_table[r.number] = r.run;
        module_table[r.number] = u8(r.module);
    }
}

}  // namespace

void build_syscall_table() {
    for (u32 i = 0; i < kSyscallLimit; ++i) {
        call_table[i] = &no_call;
        module_table[i] = u8(port::Module::kHome);
    }
    for (auto family :
         {task_rows, signal_rows, exec_rows, id_rows, time_rows, sync_rows, mm_rows, path_rows, file_rows, poll_rows,
          misc_rows, resource_rows, xattr_rows, socket_rows, privileged_rows, other_process_rows})
        join(family);
}

// Whether this program has not been seen to make this call. Programs are distinguished by their names.
static bool first_of(std::string_view program, u64 number) {
    u64 key = number ^ 0xcbf29ce484222325;  // FNV-1a
    for (char c : program) key = (key ^ u8(c)) * 0x100000001b3;
    key |= 1;  // 0 is a free word
    for (u64 i = 0; i < std::size(named); ++i) {
        std::atomic<u64>& word = named[(key / 2 + i) % std::size(named)];
        u64 seen = word.load(std::memory_order_relaxed);
        if (seen == 0 && word.compare_exchange_strong(seen, key, std::memory_order_relaxed)) return true;
        if (seen == key) return false;
    }
    return false;
}

void note_unknown_call(Thread& t, u64 number) {
    unknown_calls.fetch_add(1, std::memory_order_relaxed);
    const std::string_view program{t.comm};
    if (!first_of(program, number)) return;
    const char* name = abi::syscall_name(number);
    if (*name)
        port::logf("{}: system call {} ({}) is not implemented", program, name, number);
    else
        port::logf("{}: system call {} is not implemented", program, number);
}

}  // namespace linux
