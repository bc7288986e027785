// SPDX-License-Identifier: MIT
// What `farcall bench task0 ...` computes, apart from running guests: names of works and settings, the guest's lines
// (bench/routes.c), and figures with their spread and validity. Pure: no files, no processes, no clock.
//
// A round is one pass over all settings; ratios are taken within a round and their median is the figure, so that what
// disturbs a round disturbs both sides of it.
#pragma once
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cli {

// Quartiles by linear interpolation between the two nearest values.
struct Spread {
    size_t count = 0;
    double median = 0, q1 = 0, q3 = 0;
    double mad = 0;  // median of the distances from the median
    double min = 0, max = 0;
};
double quantile(std::vector<double> values, double share);  // values is not empty, share is 0..1
Spread spread_of(const std::vector<double>& values);        // all 0 when there is none

// One column of the table: a kernel with a route and a number of CPUs.
struct Setting {
    std::string
        name;  // inline1, inline2, remote, adaptive, adaptive2, server1, server2, linux, or a placement by itself
    std::string route;  // of `run --route`; empty: Linux
    int cpus = 1;
    bool pin = false;  // user code on CPU 0 alone
    bool remote() const { return !route.empty() && route != "inline"; }
    bool adaptive() const { return route == "adaptive"; }
    bool server() const { return route == "server"; }
    bool operator==(const Setting&) const = default;
};

// The works that the names of the command line mean, each once, in the default order; throws Failure for an unknown
// name.
std::vector<std::string> works_of(const std::vector<std::string>& names);
bool is_work_name(const std::string& name);
// The columns of --routes; a placement is written with '+' for ',' (fs:1+*:inline). Throws Failure.
std::vector<Setting> settings_of(const std::vector<std::string>& routes, bool on_linux);

struct WorkRun {
    std::string work;
    int processes = 1;
    long count = 0;
    double ns = 0;
    std::vector<double> own;  // ns of each process
    // Calls and faults for modules while it ran, by the kernel: counted where they trapped; where the modules' CPUs
    // executed them; executed on other CPUs.
    std::optional<long long> made, counted, elsewhere;
    // Those of the repetitions: by the program's own count; executed by the modules' CPUs beyond what the programs need
    // without repetitions.
    std::optional<long long> known, beyond;
    std::optional<long long> repeated() const { return known ? known : made; }
};
struct GuestRecord {
    std::vector<WorkRun> runs;
    std::vector<double> pings;   // ns
    std::vector<double> clocks;  // ns
    std::map<std::string, std::string> failed;
    bool done = false;
};
// True when the line was one of the guest's and well formed.
bool read_guest_line(GuestRecord& record, std::string_view line);

// Whether the calls of a run were executed by the module's CPU: as many as trapped, exactly, and none anywhere else. If
// the program counts too, what was executed must also be that, but for the few that differ between two runs of the same
// programs (kCallSlack for each process).
enum class Verdict { kVerified, kUnverified, kWrong };
inline constexpr long long kCallSlack = 32;
Verdict verdict_of(const WorkRun& run);

inline constexpr double kPingLimit = 150;     // ns; a round with a slower line is left out
inline constexpr size_t kSamplesWanted = 20;  // fewer are reported as few

struct Round {
    std::map<std::string, std::map<std::string, WorkRun>> runs;  // by setting, then work; the median of its repeats
    std::map<std::string, double> pings;                         // setting: the slowest line around its guest, ns
    std::map<std::string, std::string> left_out;                 // setting: why its runs do not count
};

struct Figure {
    std::string name, unit;
    std::optional<double> value, goal, rival;
    Spread spread;
    std::optional<double> ping;  // median over the rounds used; of a ratio the slower of the two
    size_t left_out = 0;         // rounds without use: slow line around a guest, lost guest, wrong clock
    bool valid = true;
    bool at_least = false;           // the goal is the least value, not the highest
    std::string calls;               // remote routes: were they the module's? verified, unverified, wrong
    std::vector<std::string> notes;  // why not valid, or remarks
    std::string status() const;      // met, missed, not valid, unverified, or empty without a goal
};

// Median times ("task0_remote", ms) and ratios ("task0_remote_over_inline") of everything that was measured; with task0 and
// task3 also the calls per second of two clients on two CPUs over those of one on one CPU ("two_clients_server").
std::vector<Figure> figures_of(const std::vector<Round>& rounds, const std::vector<Setting>& settings,
                               const std::vector<std::string>& works);

// `text` with the section that begins with the line "## HEADING" replaced by `section`, or with it added at the end. A
// text without any section is dropped for `title`.
std::string with_section(const std::string& text, const std::string& title, const std::string& heading,
                         const std::string& section);

}  // namespace cli
