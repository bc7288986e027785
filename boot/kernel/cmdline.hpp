// SPDX-License-Identifier: MIT
// The kernel's command line: words `key` or `key=value`, separated by blanks.
#pragma once
#include <string_view>

namespace boot {

struct CommandLine {
    std::string_view text;
    // The value of `key`, empty if it has none or is absent. The last one wins.
    constexpr std::string_view value(std::string_view key) const {
        std::string_view found;
        for_each([&](std::string_view k, std::string_view v) {
            if (k == key) found = v;
        });
        return found;
    }
    constexpr bool has(std::string_view key) const {
        bool found = false;
        for_each([&](std::string_view k, std::string_view) { found |= k == key; });
        return found;
    }
    template <class F>
    constexpr void for_each(F&& f) const {
        std::string_view rest = text;
        while (!rest.empty()) {
            size_t end = rest.find(' ');
            std::string_view word = rest.substr(0, end);
            rest = end == rest.npos ? std::string_view{} : rest.substr(end + 1);
            if (word.empty()) continue;
            size_t equals = word.find('=');
            f(word.substr(0, equals), equals == word.npos ? std::string_view{} : word.substr(equals + 1));
        }
    }
};

}  // namespace boot
