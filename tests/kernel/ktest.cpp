// SPDX-License-Identifier: MIT
#include "tests/kernel/ktest.hpp"

#include "lib/format.hpp"

extern "C" const ktest::Case hal_ktest_start[], hal_ktest_end[];

namespace ktest {

constinit Nanoseconds long_run = lib::milliseconds(1500);

namespace {

constinit const char* failure = nullptr;
constinit const char* failure_file = nullptr;
constinit int failure_line = 0;

}  // namespace

void note_failure(const char* what, const char* file, int line) {
    failure = what;
    failure_file = file;
    failure_line = line;
}

Task<void> run_all(void (*print)(std::string_view)) {
    char line[256];
    u32 count = 0;
    for (const Case* c = hal_ktest_start; c < hal_ktest_end; ++c, ++count) {
        failure = nullptr;
        auto r = co_await c->run();
        if (r.ok())
            print({line, lib::format_to(line, "ktest {} ok", c->name)});
        else if (failure)
            print(
                {line, lib::format_to(line, "ktest {} FAIL {} ({}:{})", c->name, failure, failure_file, failure_line)});
        else
            print({line, lib::format_to(line, "ktest {} FAIL error {}", c->name, i32(r.error()))});
    }
    print({line, lib::format_to(line, "ktest done {}", count)});
}

}  // namespace ktest
