// SPDX-License-Identifier: MIT
#include "tests/kernel/mutants.hpp"

#include "lib/format.hpp"
#include "linux/sys/table.hpp"
#include "linux/task/thread.hpp"

namespace linux {

namespace {

constexpr i32 kFirstProgram = 2;  // linux/init.cpp

constinit CallThunk original = nullptr;
constinit Errno answer = Errno::kOk;

Leaf<i64> mutated(Caller& c, const CallFrame& frame) {
    if (c.process().pid.value == kFirstProgram) return original(c, frame);
    if (answer != Errno::kOk) return answer;
    return i64{0};
}

// sync(2) and sched_yield(2) always return 0, and what they do cannot be seen by the program.
bool always_zero(std::string_view name) { return name == "sync" || name == "sched_yield"; }

}  // namespace

std::string_view next_mutant(u32& cursor, std::span<char> line) {
    if (cursor == 0) build_syscall_table();
    while (cursor < kSyscallLimit) {
        const SyscallRow& row = syscall_table[cursor++];
        if (!row.name) continue;
        const char* only = always_zero(row.name) ? " einval" : "";
        return {line.data(), lib::format_to(line, "mutant {} {}{}", row.name, row.test ? row.test : "-", only)};
    }
    return {};
}

bool install_mutant(std::string_view spec) {
    size_t colon = spec.find(':');
    if (colon == spec.npos) return false;
    std::string_view name = spec.substr(0, colon), kind = spec.substr(colon + 1);
    if (kind != "zero" && kind != "einval") return false;
    for (u32 i = 0; i < kSyscallLimit; ++i) {
        if (!syscall_table[i].name || name != syscall_table[i].name) continue;
        answer = kind == "zero" ? Errno::kOk : Errno::kInval;
        original = call_table[i];
        call_table[i] = &mutated;
        return true;
    }
    return false;
}

}  // namespace linux
