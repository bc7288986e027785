// SPDX-License-Identifier: MIT
// Tests inside the booted kernel (`ktest` on its command line). One line each on the console:
//   ktest NAME ok         ktest NAME FAIL what (file:line)         ktest done N
// A test is a coroutine, so that it can wait; it runs alone, on CPU 0, and may start jobs elsewhere.
//
//     KTEST(wait_queue_wakes_in_order) {
//         KCHECK(1 + 1 == 2);
//         co_return lib::kOk;
//     }
#pragma once
#include "rt/task.hpp"

namespace ktest {

struct Case {
    const char* name;
    Task<Result<void>> (*run)();
};

// The linker collects all cases between these (section .ktest).
#define KTEST(NAME)                                                                                            \
    static Task<Result<void>> ktest_##NAME();                                                                  \
    [[gnu::used, gnu::retain, gnu::section(".ktest")]] static constinit const ::ktest::Case ktest_case_##NAME{ \
        #NAME, &ktest_##NAME};                                                                                 \
    static Task<Result<void>> ktest_##NAME()

// How long tests that run for a time do so: `ktest=SECONDS`, 1.5 s by default.
extern Nanoseconds long_run;

void note_failure(const char* what, const char* file, int line);

#define KCHECK(COND)                                               \
    do {                                                           \
        if (!(COND)) {                                             \
            ::ktest::note_failure(#COND, __FILE_NAME__, __LINE__); \
            co_return Errno::kInval;                               \
        }                                                          \
    } while (0)

// Runs all; prints the lines; ends with `ktest done N`.
Task<void> run_all(void (*print)(std::string_view line));

}  // namespace ktest
