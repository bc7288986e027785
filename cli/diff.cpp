// SPDX-License-Identifier: MIT
// Unified differences by longest common subsequence: see diff.hpp.
#include "cli/diff.hpp"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "cli/util.hpp"

namespace cli {

std::string unified_diff(const std::string& want, const std::string& got, const std::string& want_name,
                         const std::string& got_name) {
    if (want == got) return {};
    if (!is_utf8_text(want) || !is_utf8_text(got)) {
        size_t at = 0;
        while (at < want.size() && at < got.size() && want[at] == got[at]) ++at;
        return "binary " + want_name + " (" + std::to_string(want.size()) + " bytes) and " + got_name + " (" +
               std::to_string(got.size()) + " bytes) differ at byte " + std::to_string(at) + "\n";
    }
    std::vector<std::string> a = split_lines(want), b = split_lines(got);
    // Common ends are cut off first, which keeps the table small; a huge middle is shown as replaced.
    size_t head = 0, tail = 0;
    while (head < a.size() && head < b.size() && a[head] == b[head]) ++head;
    while (tail < a.size() - head && tail < b.size() - head && a[a.size() - 1 - tail] == b[b.size() - 1 - tail]) ++tail;
    size_t n = a.size() - head - tail, m = b.size() - head - tail;
    struct Edit {
        char kind;
        const std::string* line;
    };
    std::vector<Edit> edits;
    constexpr size_t kContext = 3;
    for (size_t i = head > kContext ? head - kContext : 0; i < head; ++i) edits.push_back({' ', &a[i]});
    if (n * m <= 4'000'000) {
        std::vector<std::vector<uint32_t>> common(n + 1, std::vector<uint32_t>(m + 1, 0));
        for (size_t i = n; i-- > 0;) {
            for (size_t j = m; j-- > 0;) {
                common[i][j] = a[head + i] == b[head + j] ? common[i + 1][j + 1] + 1
                                                          : std::max(common[i + 1][j], common[i][j + 1]);
            }
        }
        for (size_t i = 0, j = 0; i < n || j < m;) {
            if (i < n && j < m && a[head + i] == b[head + j]) {
                edits.push_back({' ', &a[head + i]}), ++i, ++j;
            } else if (i < n && (j == m || common[i + 1][j] >= common[i][j + 1])) {
                edits.push_back({'-', &a[head + i]}), ++i;
            } else {
                edits.push_back({'+', &b[head + j]}), ++j;
            }
        }
    } else {
        for (size_t i = 0; i < n; ++i) edits.push_back({'-', &a[head + i]});
        for (size_t j = 0; j < m; ++j) edits.push_back({'+', &b[head + j]});
    }
    for (size_t i = 0; i < std::min(tail, kContext); ++i) edits.push_back({' ', &a[a.size() - tail + i]});

    std::string out = "--- " + want_name + "\n+++ " + got_name + "\n@@ line " + std::to_string(head + 1) + " @@\n";
    size_t shown = 0;
    for (size_t i = 0; i < edits.size(); ++i) {
        // Long runs of equal lines inside the hunk are left out.
        if (edits[i].kind == ' ') {
            bool near = false;
            for (size_t k = i > kContext ? i - kContext : 0; k < std::min(edits.size(), i + kContext + 1); ++k)
                near |= edits[k].kind != ' ';
            if (!near) continue;
        }
        out += edits[i].kind + *edits[i].line;
        if (!out.ends_with('\n')) out += "\n\\ no newline at the end\n";
        if (++shown == 60) {
            out += "[more]\n";
            break;
        }
    }
    return out;
}

}  // namespace cli
