// SPDX-License-Identifier: MIT
// What the tool makes of the miss plugin's file and of benchmark results, without a guest and without a browser.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/misses.hpp"
#include "cli/report.hpp"

namespace cli {
namespace {

using namespace cache_model;
using testing::HasSubstr;

// The plugin's line: one CPU's kind of code with this many instructions, the other fields counting up from it.
std::string line(const std::string& begin, const char* kind, int instructions) {
    std::string text = begin + " " + kind;
    for (unsigned field = 0; field < kFields; ++field)
        text += " " + std::to_string(instructions + static_cast<int>(field));
    return text + "\n";
}
std::string interval(int row, int instructions) {
    const std::string begin = "count " + std::to_string(row) + " ";
    return line(begin + "0", "user", instructions) + line(begin + "0", "kernel", 10) + line(begin + "1", "user", 0) +
           line(begin + "1", "spin", 500);
}

TEST(Misses, ThePluginsFileIsRead) {
    const MissFile file = read_misses(line("boot 0", "user", 5) + interval(1, 100) + interval(2, 1000) +
                                      interval(2, 3000) + line("total 0", "user", 9000));
    EXPECT_TRUE(file.booted);
    EXPECT_TRUE(file.whole);
    ASSERT_EQ(file.intervals.size(), 3u);
    EXPECT_EQ(file.intervals[0].first, 1);
    EXPECT_EQ(file.intervals[2].first, 2);
    ASSERT_EQ(file.intervals[2].second.size(), 2u);
    EXPECT_EQ(file.intervals[2].second[0][kUser][kInstructions], 3000);
    EXPECT_EQ(file.intervals[2].second[0][kUser][kLlc], 3000 + kLlc);
    EXPECT_EQ(file.intervals[2].second[1][kSpin][kInstructions], 500);
    EXPECT_EQ(file.total[0][kUser][kInstructions], 9000);
}

TEST(Misses, LinesThatAreNotThePluginsAreLeftOut) {
    for (const char* text : {"", "count", "count 1 0 user 5\n", "total 0 nobody 1 2 3 4 5 6 7 8 9 10 11 12 13 14\n",
                             "total 99 user 1 2 3 4 5 6 7 8 9 10 11 12 13 14\n", "total x user\n", "what is this\n"}) {
        const MissFile file = read_misses(text);
        EXPECT_FALSE(file.whole) << text;
        EXPECT_TRUE(file.intervals.empty()) << text;
    }
}

TEST(Misses, MediansDifferencesAndSums) {
    const auto all = read_misses(interval(2, 300) + interval(2, 100) + interval(2, 200)).intervals;
    const CpuMisses middle = median_of({all[0].second, all[1].second, all[2].second});
    EXPECT_EQ(middle[0][kUser][kInstructions], 200);
    const CpuMisses rest = middle - all[1].second;
    EXPECT_EQ(rest[0][kUser][kInstructions], 100);
    EXPECT_EQ(rest[0][kKernel][kInstructions], 0);
    EXPECT_EQ(sum_of(middle, false)[kInstructions], 210);
    EXPECT_EQ(sum_of(middle, true)[kInstructions], 710);
    std::array<double, kFields> counts{};
    EXPECT_EQ(per_thousand(counts, kL1d), 0);
    counts[kInstructions] = 4000;
    counts[kL1d] = 10;
    EXPECT_EQ(per_thousand(counts, kL1d), 2.5);
    EXPECT_THROW(median_of({}), Failure);
}

TEST(Misses, KindsOfCodeThatDidNotRunAreLeftOut) {
    const CpuMisses misses = read_misses(interval(2, 1000)).intervals[0].second;
    const auto json = misses_json(misses);
    ASSERT_EQ(json.size(), 2u);
    EXPECT_EQ(json[0]["user"]["instructions"], 1000);
    EXPECT_FALSE(json[0].contains("spin"));
    EXPECT_FALSE(json[1].contains("user"));
    const std::string table = misses_table(misses);
    EXPECT_THAT(table, HasSubstr("but spinning"));
    EXPECT_THAT(table, HasSubstr("1510"));  // everything
}

TEST(Report, ResultsHaveAKind) {
    auto kind = [](const char* text) { return read_results("r", text).at(0).kind; };
    EXPECT_EQ(kind(R"({"kind": "ipc", "rows": []})"), "ipc");
    EXPECT_EQ(kind(R"({"rows": [{"name": "getpid", "unit": "s", "value": 1}]})"), "syscall");
    EXPECT_EQ(kind(R"({"rows": [], "names": "task0"})"), "routes");
    EXPECT_EQ(kind(R"({"rows": [], "measured": {}})"), "fastpath");
    EXPECT_EQ(kind(R"({"rows": [], "machine": "linux-image-6.1"})"), "linux");
    EXPECT_EQ(kind(R"({"rows": [{"name": "x", "unit": "s", "value": null}]})"), "other");
    EXPECT_EQ(read_results("r", R"({"results": [{"rows": []}, {"rows": []}]})").size(), 2u);
}

TEST(Report, WhatIsNoResultIsRefusedInOneLine) {
    for (const char* text :
         {"", "x", "[]", "{}", "7", R"({"rows": 1})", R"({"rows": [1]})", R"({"rows": [{"name": 1}]})",
          R"({"rows": [{"name": "a", "unit": "b", "value": "c"}]})", R"({"results": {}})",
          R"({"rows": [], "misses": {}})", R"({"rows": [], "misses": [{"work": "a", "setting": "b"}]})"}) {
        try {
            read_results("file", text);
            ADD_FAILURE() << text;
        } catch (const Failure& failure) {
            EXPECT_EQ(failure.status, kStatusUsage);
            EXPECT_EQ(std::string(failure.what()).find('\n'), std::string::npos);
        }
    }
}

TEST(Report, NumbersAndTextAreShownAsTheyAre) {
    EXPECT_EQ(shown(0.0), "0");
    EXPECT_EQ(shown(20.0), "20");
    EXPECT_EQ(shown(1234567.0), "1234567");
    EXPECT_EQ(shown(1234.5678), "1235");
    EXPECT_EQ(shown(12.345), "12.35");
    EXPECT_EQ(shown(0.00123), "0.0012");
    EXPECT_EQ(escaped("<a href=\"x\">&"), "&lt;a href=&quot;x&quot;&gt;&amp;");
    Page page;
    page.plot({.type = "line",
               .title = "</script>",
               .unit = "u",
               .across = "",
               .labels = {"</script>"},
               .series = {{"s", {1}}}});
    const std::string html = page.html("", "library", "script");
    EXPECT_EQ(html.find("</script>"), html.find("</script>\n<script>library"));
}

}  // namespace
}  // namespace cli
