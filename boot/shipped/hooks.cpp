// SPDX-License-Identifier: MIT
// The shipped kernel's hooks: it has no tests in it.
#include "boot/kernel/hooks.hpp"

#include "boot/kernel/give_up.hpp"
#include "lib/format.hpp"

namespace boot::hooks {

void check_words(const CommandLine& words) {
    for (std::string_view word : kTestWords) {
        if (!words.has(word)) continue;
        char line[64];
        size_t length = lib::format_to({line, sizeof line - 1}, "{}: only the test kernel has it", word);
        line[length] = '\0';
        give_up(line, Errno::kInval);
    }
}
Task<void> before_streams(const CommandLine&) { co_return; }
void before_native(const CommandLine&) {}
Task<void> before_linux(const CommandLine&) { co_return; }
void after_linux(const CommandLine&) {}

}  // namespace boot::hooks
