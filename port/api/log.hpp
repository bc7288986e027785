// SPDX-License-Identifier: MIT
// The kernel's message log. Never blocks, never fails; lines beyond the buffer push out the oldest.
#pragma once
#include <string_view>

#include "lib/format.hpp"

namespace port {

void log(std::string_view line);

template <class... A>
void logf(const char* fmt, const A&... args) {
    char line[256];
    size_t n = lib::format_to(line, fmt, args...);
    log({line, n});
}

}  // namespace port
