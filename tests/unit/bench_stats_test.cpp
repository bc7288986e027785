// SPDX-License-Identifier: MIT
// The arithmetic and the words of the route benchmarks, without a guest and without a clock.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/bench_stats.hpp"
#include "cli/util.hpp"

namespace cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(BenchStats, SpreadOfOddEvenAndSingleSamples) {
    Spread odd = spread_of({5, 1, 3});
    EXPECT_EQ(odd.median, 3);
    EXPECT_EQ(odd.q1, 2);
    EXPECT_EQ(odd.q3, 4);
    EXPECT_EQ(odd.mad, 2);
    EXPECT_EQ(odd.min, 1);
    EXPECT_EQ(odd.max, 5);
    Spread even = spread_of({4, 1, 2, 100});
    EXPECT_EQ(even.median, 3);
    EXPECT_EQ(even.mad, 1.5);
    Spread one = spread_of({7});
    EXPECT_EQ(one.median, 7);
    EXPECT_EQ(one.q3, 7);
    EXPECT_EQ(one.mad, 0);
    EXPECT_EQ(spread_of({}).count, 0u);
}

TEST(BenchStats, NamesStandForWorksOnceAndInOrder) {
    EXPECT_THAT(works_of({"task3", "task0", "task3"}), ElementsAre("task0", "task3"));
    EXPECT_THAT(works_of({"calls", "stat"}), ElementsAre("pipe", "read", "stat", "pipe_two", "read_two", "stat_two"));
    EXPECT_THAT(works_of({"two_clients"}), ElementsAre("task0", "task3"));
    EXPECT_EQ(works_of({"routes"}).size(), 15u);
    EXPECT_TRUE(works_of({}).empty());
    for (const char* bad : {"task6", "", "TASK0", "syscall"}) EXPECT_THROW(works_of({bad}), Failure) << bad;
}

TEST(BenchStats, RoutesBecomeSettings) {
    auto settings = settings_of({"inline", "remote", "inline"}, true);
    ASSERT_EQ(settings.size(), 4u);
    EXPECT_EQ(settings[0].name, "inline1");
    EXPECT_EQ(settings[0].cpus, 1);
    EXPECT_EQ(settings[1].cpus, 2);
    EXPECT_FALSE(settings[1].pin);
    EXPECT_TRUE(settings[2].remote());
    EXPECT_EQ(settings[3].name, "linux");
    EXPECT_FALSE(settings[3].remote());
    EXPECT_EQ(settings_of({"fs:1+*:inline"}, false)[0].route, "fs:1,*:inline");
    auto server = settings_of({"server"}, false);
    ASSERT_EQ(server.size(), 2u);
    EXPECT_EQ(server[0].name, "server1");
    EXPECT_EQ(server[0].cpus, 1);
    EXPECT_EQ(server[1].name, "server2");
    EXPECT_EQ(server[1].cpus, 2);
    EXPECT_TRUE(server[1].server());
    EXPECT_FALSE(server[1].pin);
    EXPECT_THROW(settings_of({"sideways"}, false), Failure);
    EXPECT_THROW(settings_of({""}, false), Failure);
    EXPECT_THROW(settings_of({}, false), Failure);
}

TEST(BenchStats, GuestLinesAreRead) {
    GuestRecord record;
    EXPECT_TRUE(read_guest_line(record, "clock 1000"));
    EXPECT_TRUE(read_guest_line(record, "ping 93.5"));
    EXPECT_TRUE(read_guest_line(record, "ping -"));
    EXPECT_TRUE(read_guest_line(record, "run task3 2 500 2000 1900,2000 2003 2003 0 2000 1999"));
    EXPECT_TRUE(read_guest_line(record, "run task2 1 1200 77 77 - - - - -"));
    EXPECT_TRUE(read_guest_line(record, "failed task1 it said no"));
    EXPECT_TRUE(read_guest_line(record, "done"));
    EXPECT_THAT(record.pings, ElementsAre(93.5));
    ASSERT_EQ(record.runs.size(), 2u);
    EXPECT_THAT(record.runs[0].own, ElementsAre(1900, 2000));
    EXPECT_EQ(record.runs[0].counted, 2003);
    EXPECT_EQ(record.runs[0].known, 2000);
    EXPECT_EQ(record.runs[0].beyond, 1999);
    EXPECT_FALSE(record.runs[1].made.has_value());
    EXPECT_EQ(record.failed["task1"], "it said no");
    EXPECT_TRUE(record.done);
}

TEST(BenchStats, MalformedGuestLinesAreRefused) {
    GuestRecord record;
    for (const char* bad : {"", "run", "run task0 1 5", "run task3 2 5 10 10 - - - - -", "run task0 1 5 0 0 - - - - -",
                            "run task0 1 5 9 9 7 7 0", "ping fast", "clock", "noise"}) {
        EXPECT_FALSE(read_guest_line(record, bad)) << bad;
    }
    EXPECT_TRUE(record.runs.empty());
}

WorkRun run_of(double ns, std::optional<long long> made = 1000, std::optional<long long> counted = 1000,
               std::optional<long long> elsewhere = 0) {
    return {.work = "task0",
            .processes = 1,
            .count = 500,
            .ns = ns,
            .own = {ns},
            .made = made,
            .counted = counted,
            .elsewhere = elsewhere,
            .known = {},
            .beyond = {}};
}

TEST(BenchStats, ACallThatTheModuleDidNotExecuteIsNoticed) {
    EXPECT_EQ(verdict_of(run_of(1)), Verdict::kVerified);
    EXPECT_EQ(verdict_of(run_of(1, 1000, 1001, 0)), Verdict::kWrong);
    EXPECT_EQ(verdict_of(run_of(1, 1000, 999, 0)), Verdict::kWrong);
    EXPECT_EQ(verdict_of(run_of(1, 1000, 500, 500)), Verdict::kWrong);
    EXPECT_EQ(verdict_of(run_of(1, 1000, 1000, 1)), Verdict::kWrong);
    EXPECT_EQ(verdict_of(run_of(1, 0, 0, 0)), Verdict::kWrong);
    EXPECT_EQ(verdict_of(run_of(1, 1000, std::nullopt, std::nullopt)), Verdict::kUnverified);
}

TEST(BenchStats, TheProgramsOwnCountIsComparedToo) {
    WorkRun run = run_of(1, 1100, 1100, 0);
    run.known = 1000;
    run.beyond = 1003;
    EXPECT_EQ(verdict_of(run), Verdict::kVerified);
    run.beyond = 900;
    EXPECT_EQ(verdict_of(run), Verdict::kWrong);
}

void set_lines(Round& round, double ping) {
    for (const char* setting : {"inline1", "inline2", "remote", "adaptive", "adaptive2", "fs:1+*:inline"})
        round.pings[setting] = ping;
}
// Rounds of inline1 and remote; a negative ping: not measured.
std::vector<Round> rounds_of(size_t count, double ping, WorkRun remote = run_of(2e6)) {
    std::vector<Round> rounds(count);
    for (size_t i = 0; i < count; ++i) {
        rounds[i].runs["inline1"]["task0"] = run_of(1e6, 1000, std::nullopt, std::nullopt);
        rounds[i].runs["remote"]["task0"] = remote;
        if (ping > 0) set_lines(rounds[i], ping);
    }
    return rounds;
}
Figure ratio(const std::vector<Round>& rounds, const std::string& name = "task0_remote_over_inline",
             std::vector<std::string> routes = {"inline", "remote"}) {
    for (const Figure& figure : figures_of(rounds, settings_of(routes, false), {"task0"})) {
        if (figure.name == name) return figure;
    }
    ADD_FAILURE() << "no figure " << name;
    return {};
}

TEST(BenchStats, RatiosAreTakenWithinARound) {
    auto rounds = rounds_of(20, 100);
    // A slow host triples both sides of five rounds: the ratio does not move.
    for (size_t i = 0; i < 5; ++i) {
        rounds[i].runs["inline1"]["task0"].ns *= 3;
        rounds[i].runs["remote"]["task0"].ns *= 3;
    }
    Figure figure = ratio(rounds);
    EXPECT_EQ(figure.value, 2.0);
    EXPECT_EQ(figure.spread.max, 2.0);
    EXPECT_EQ(figure.goal, 2.5);
    EXPECT_EQ(figure.rival, 4.33);
    EXPECT_EQ(figure.ping, 100);
    EXPECT_EQ(figure.status(), "met");
    EXPECT_TRUE(figure.notes.empty());
    EXPECT_EQ(ratio(rounds_of(20, 100, run_of(3e6))).status(), "missed");
}

TEST(BenchStats, RunsWithASlowLineAroundThemAreLeftOutVisibly) {
    auto rounds = rounds_of(25, 100);
    for (size_t i = 0; i < 3; ++i) {
        rounds[i].pings[i == 0 ? "inline1" : "remote"] = 151;  // one of the two is enough
        rounds[i].runs["remote"]["task0"].ns = 9e6;
    }
    Figure figure = ratio(rounds);
    EXPECT_EQ(figure.left_out, 3u);
    EXPECT_EQ(figure.spread.count, 22u);
    EXPECT_EQ(figure.spread.max, 2.0);
    EXPECT_EQ(figure.status(), "met");
    // Another setting's slow line does not affect this one.
    for (Round& round : rounds) round.pings["adaptive"] = 400;
    EXPECT_EQ(ratio(rounds).spread.count, 22u);
}

TEST(BenchStats, WhenEveryLineIsSlowTheFigureIsGivenAsNotValid) {
    Figure figure = ratio(rounds_of(20, 400));
    EXPECT_EQ(figure.value, 2.0);
    EXPECT_EQ(figure.ping, 400);
    EXPECT_EQ(figure.left_out, 20u);
    EXPECT_EQ(figure.status(), "not valid");
    EXPECT_THAT(figure.notes.at(0), HasSubstr("150 ns"));
    EXPECT_EQ(ratio(rounds_of(20, -1)).status(), "not valid");
}

TEST(BenchStats, ARemoteFigureNeedsTheModulesCount) {
    EXPECT_EQ(ratio(rounds_of(20, 100, run_of(2e6, 1000, std::nullopt, std::nullopt))).status(), "unverified");
    Figure wrong = ratio(rounds_of(20, 100, run_of(2e6, 1000, 10, 990)));
    EXPECT_EQ(wrong.status(), "not valid");
    EXPECT_THAT(wrong.notes.at(0), HasSubstr("10 counted"));
}

TEST(BenchStats, APlacementThatSendsSomeCallsIsNotChecked) {
    auto rounds = rounds_of(20, 100);
    for (Round& round : rounds) round.runs["fs:1+*:inline"]["task0"] = run_of(2e6, 1000, 10, 990);
    Figure figure = ratio(rounds, "task0_fs:1+*:inline_over_inline", {"inline", "fs:1+*:inline"});
    EXPECT_TRUE(figure.valid);
    EXPECT_EQ(figure.calls, "");
}

TEST(BenchStats, LostGuestsAndFewRunsAreSaid) {
    auto rounds = rounds_of(4, 100);
    rounds[1].left_out["remote"] = "panic";
    Figure figure = ratio(rounds);
    EXPECT_EQ(figure.left_out, 1u);
    EXPECT_EQ(figure.spread.count, 3u);
    EXPECT_THAT(figure.notes, ElementsAre("only 3 runs"));
    Figure none = ratio({});
    EXPECT_EQ(none.status(), "not valid");
    EXPECT_FALSE(none.value.has_value());
}

TEST(BenchStats, AdaptiveIsComparedWithTheBestFixedRouteOfTheSameCpus) {
    auto rounds = rounds_of(20, 100);
    for (Round& round : rounds) {
        round.runs["inline2"]["task0"] = run_of(0.5e6);
        round.runs["adaptive"]["task0"] = run_of(1.1e6, 1000, 300, 700);
        round.runs["adaptive2"]["task0"] = run_of(0.5e6, 1000, 300, 700);
    }
    std::vector<std::string> routes = {"inline", "remote", "adaptive"};
    Figure pinned = ratio(rounds, "task0_adaptive_over_best", routes);
    EXPECT_NEAR(*pinned.value, 1.1, 1e-9);
    EXPECT_THAT(pinned.notes, ElementsAre("best fixed route: inline1"));
    EXPECT_EQ(pinned.status(), "missed");
    Figure free = ratio(rounds, "task0_adaptive2_over_best", routes);
    EXPECT_EQ(free.value, 1.0);
    EXPECT_EQ(free.status(), "met");
}

TEST(BenchStats, ACallTooShortForItsGoalIsSaid) {
    std::vector<Round> rounds(20);
    for (Round& round : rounds) {
        set_lines(round, 100);
        round.runs["inline1"]["pipe"] = run_of(200e3);
        round.runs["remote"]["pipe"] = run_of(250e3);
    }
    for (const Figure& figure : figures_of(rounds, settings_of({"inline", "remote"}, false), {"pipe"})) {
        if (figure.name == "pipe_remote_over_inline") {
            EXPECT_THAT(figure.notes, ElementsAre(HasSubstr("200 ns")));
        }
    }
}

TEST(BenchStats, ASectionOfTheResultsIsReplacedAndTheOthersStay) {
    std::string text = with_section("old text without sections\n", "# Results", "System calls", "a\n");
    EXPECT_EQ(text, "# Results\n\n## System calls\n\na\n");
    text = with_section(text, "# Results", "Routes", "r\n");
    EXPECT_EQ(text, "# Results\n\n## System calls\n\na\n\n## Routes\n\nr\n");
    text = with_section(text, "# Results", "System calls", "b\n");
    EXPECT_EQ(text, "# Results\n\n## System calls\n\nb\n\n## Routes\n\nr\n");
    EXPECT_EQ(with_section(text, "# Results", "Routes", "s\n"),
              "# Results\n\n## System calls\n\nb\n\n## Routes\n\ns\n");
}

TEST(BenchStats, TwoClientsAreComparedByTheirRates) {
    std::vector<Round> rounds(kSamplesWanted);
    for (Round& round : rounds) {
        round.runs["server1"]["task0"] = run_of(1e6);
        WorkRun two = run_of(1.25e6);
        two.work = "task3";
        two.processes = 2;
        round.runs["server2"]["task3"] = two;
        round.pings["server1"] = round.pings["server2"] = 90;
    }
    auto find = [&](const std::vector<std::string>& works) -> std::optional<Figure> {
        for (const Figure& figure : figures_of(rounds, settings_of({"server"}, false), works))
            if (figure.name == "two_clients_server") return figure;
        return std::nullopt;
    };
    auto figure = find({"task0", "task3"});
    ASSERT_TRUE(figure.has_value());
    EXPECT_DOUBLE_EQ(*figure->value, 1.6);  // twice the calls in 1.25 times the time
    EXPECT_EQ(figure->status(), "missed");
    figure->value = 1.8;
    EXPECT_EQ(figure->status(), "met");
    EXPECT_FALSE(find({"task0"}).has_value());
    EXPECT_FALSE(find({"task3"}).has_value());
}

}  // namespace
}  // namespace cli
