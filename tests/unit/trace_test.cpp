// SPDX-License-Identifier: MIT
// From a trace's bytes to JSON, and from JSON to tables; and that neither falls over what is damaged.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <nlohmann/json.hpp>
#include <random>

#include "abi/trace.hpp"
#include "cli/trace.hpp"
#include "cli/util.hpp"

namespace cli {
namespace {

using abi::trace::Path;
using abi::trace::Reason;
using abi::trace::Record;
using abi::trace::Test;
using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

template <class T>
void put(std::string& to, const T& value) {
    to.append(reinterpret_cast<const char*>(&value), sizeof value);
}

struct Cpu {
    std::vector<Record> records;
    uint64_t lost = 0;
};

// Two thousand cycles a microsecond.
std::string bytes_of(const std::vector<Cpu>& cpus) {
    std::string bytes;
    put(bytes, abi::trace::Header{.magic = abi::trace::kMagic,
                                  .version = abi::trace::kVersion,
                                  .cpus = uint32_t(cpus.size()),
                                  .cycle_hz = 2'000'000'000});
    for (size_t i = 0; i < cpus.size(); ++i) {
        put(bytes, abi::trace::CpuHeader{
                       .cpu = uint32_t(i), .reserved = 0, .records = cpus[i].records.size(), .lost = cpus[i].lost});
        for (const Record& r : cpus[i].records) put(bytes, r);
    }
    return bytes;
}

Record record(Path path, uint64_t start, uint32_t cycles, Reason reason, uint64_t detail = 0, uint32_t partner = 0,
              Test test = Test::kNone) {
    return {.start = start,
            .cycles = cycles,
            .path = path,
            .test = test,
            .cpu = 0,
            .reason = reason,
            .thread = 7,
            .partner = partner,
            .detail = detail};
}

std::string json_of(const std::string& bytes, const TraceInfo& info = {"prog \"x\" \xff", "inline"}) {
    std::string text;
    write_trace_json(bytes, info, [&](std::string_view piece) { text += piece; });
    return text;
}

std::vector<json> events(const json& trace, const char* phase) {
    std::vector<json> found;
    for (const json& e : trace.at("traceEvents"))
        if (e.at("ph") == phase) found.push_back(e);
    return found;
}

constexpr uint64_t kGetpid = 39, kRead = 0, kNanosleep = 35;

// One of everything, out of order as a late record is.
std::vector<Cpu> a_bit_of_all() {
    using abi::trace::detail;
    std::vector<Cpu> cpus(2);
    cpus[0].records = {
        record(Path::kLeaf, 5000, 200, Reason::kDone, detail(kGetpid)),
        record(Path::kLeaf, 6000, 400, Reason::kError, detail(kRead, 0, 9)),
        record(Path::kLeaf, 1000, 100, Reason::kNeedsTask, detail(kNanosleep)),
        record(Path::kTask, 1100, 300, Reason::kWaits, detail(kNanosleep), 400),
        record(Path::kTask, 9000, 600, Reason::kDone, detail(kNanosleep), 1000),
        record(Path::kFault, 10000, 800, Reason::kDone,
               abi::trace::fault_detail(abi::trace::kPageFault, 0x7fff'1234'5678)),
        record(Path::kSwitch, 11000, 0, Reason::kNone, detail(abi::trace::kNoCall, 3), 8),
        record(Path::kInterrupt, 11500, 0, Reason::kNone, 239),
        record(Path::kSent, 12000, 900, Reason::kDone, detail(kGetpid), 1),
        record(Path::kFastCall, 13000, 100, Reason::kDone, abi::trace::kNoCall, 8),
        record(Path::kFastCall, 14000, 30, Reason::kSlowpath, abi::trace::kNoCall, 0, Test::kNoPartner),
        record(Path::kSlowCall, 14030, 500, Reason::kSwitched, detail(1)),
        record(Path::kSlowOther, 15000, 50, Reason::kError, detail(64, 0, 22)),
    };
    cpus[1].records = {record(Path::kService, 12100, 250, Reason::kDone, detail(kGetpid, 2))};
    cpus[1].records[0].cpu = 1;
    cpus[1].lost = 12;
    return cpus;
}

TEST(Trace, EachRecordBecomesAnEvent) {
    json trace = json::parse(json_of(bytes_of(a_bit_of_all())));
    auto all = events(trace, "X");
    ASSERT_EQ(all.size(), 12u);
    // Sorted, from the first one on, in microseconds.
    EXPECT_EQ(all[0]["name"], "nanosleep (35)");
    EXPECT_EQ(all[0]["ts"], 0.0);
    EXPECT_EQ(all[0]["dur"], 0.05);
    EXPECT_EQ(all[0]["args"]["exit"], "needs task");
    EXPECT_EQ(all[0]["args"]["thread"], 7);
    EXPECT_EQ(all[1]["cat"], "task");
    EXPECT_EQ(all[1]["args"]["call_cycles"], 400);
    EXPECT_EQ(all[2]["name"], "getpid (39)");
    EXPECT_EQ(all[2]["ts"], 2.0);
    EXPECT_EQ(all[2]["args"]["cycles"], 200);
    EXPECT_EQ(all[3]["args"]["exit"], "error");
    EXPECT_EQ(all[3]["args"]["error"], 9);
    EXPECT_EQ(all[5]["name"], "page fault");
    EXPECT_EQ(all[5]["args"]["address"], "0x7fff12345678");
    EXPECT_EQ(all[6]["args"]["partner_cpu"], 1);
    EXPECT_EQ(all[8]["args"]["test"], "no partner");
    EXPECT_THAT(all[10]["name"].get<std::string>(), HasSubstr("(64)"));
    EXPECT_EQ(all[11]["tid"], 1);
    EXPECT_EQ(all[11]["args"]["queue"], 2);
    EXPECT_EQ(events(trace, "i").size(), 2u);
    EXPECT_EQ(events(trace, "M").size(), 5u);
    auto counters = events(trace, "C");
    ASSERT_EQ(counters.size(), 2u);
    EXPECT_EQ(counters[0]["args"]["length"], 3);
    EXPECT_EQ(trace["otherData"]["lost"], json({0, 12}));
    EXPECT_EQ(trace["otherData"]["cycle_hz"], 2'000'000'000);
    EXPECT_THAT(trace["otherData"]["command"].get<std::string>(), HasSubstr("prog \"x\" "));
}

TEST(Trace, NumbersThatAreNoCallsHaveNames) {
    std::vector<Cpu> cpus(1);
    for (uint64_t number : {uint64_t{400}, uint64_t{450}, uint64_t{451}, uint64_t{1000}, uint64_t{abi::trace::kNoCall},
                            uint64_t{abi::trace::kKick}, uint64_t{abi::trace::kException}})
        cpus[0].records.push_back(record(Path::kTask, 100 * number, 1, Reason::kDone, abi::trace::detail(number)));
    std::vector<std::string> names;
    for (const json& e : events(json::parse(json_of(bytes_of(cpus))), "X")) names.push_back(e["name"]);
    EXPECT_THAT(names, testing::ElementsAre("unknown call (400)", "set_mempolicy_home_node (450)", "unknown call (451)",
                                            "unknown call (1000)", "kick", "exception", "no call"));
}

TEST(Trace, TheSummaryCountsPathsCallsAndTests) {
    std::string text = trace_summary(json_of(bytes_of(a_bit_of_all())), "t.json");
    auto line = [&](const std::string& start) {
        for (const std::string& l : split_lines(text))
            if (l.starts_with(start)) return l;
        return "no line " + start;
    };
    EXPECT_THAT(text, HasSubstr("14 records"));
    EXPECT_THAT(text, HasSubstr("records lost, the oldest (--trace-records): 12 (CPU 1: 12)"));
    EXPECT_THAT(line("leaf "), testing::ContainsRegex("3 +700 +200 +400 +400 +done: 1, error: 1, needs task: 1"));
    EXPECT_THAT(line("task "), testing::ContainsRegex("2 +900 +300 +600 +600 +done: 1, waits: 1"));
    // A call's cycles are those of all its stretches, and it is counted once, where it was executed.
    EXPECT_THAT(line("nanosleep (35)"), testing::ContainsRegex(" 1 +1000 +1000 +1000 +1000 +done: 1"));
    EXPECT_THAT(line("getpid (39)"), testing::ContainsRegex(" 2 +450 +200 +250 +250 +done: 2"));
    EXPECT_THAT(line("read (0)"), HasSubstr("error 9: 1"));
    EXPECT_THAT(line("fast call "), HasSubstr("done: 1, slowpath: 1"));
    EXPECT_THAT(text, testing::ContainsRegex("fast call +1 +1 +no partner: 1"));
    EXPECT_THAT(text, HasSubstr("interrupt: 1, switch: 1"));
}

TEST(Trace, PercentilesAndTheMostExpensiveCalls) {
    std::vector<Cpu> cpus(1);
    for (uint32_t i = 1; i <= 1000; ++i)
        cpus[0].records.push_back(record(Path::kLeaf, 10'000 * i, i, Reason::kDone, abi::trace::detail(kGetpid)));
    for (uint32_t i = 0; i < 5; ++i)
        cpus[0].records.push_back(record(Path::kLeaf, i, 1, Reason::kDone, abi::trace::detail(100 + i)));
    std::string text = trace_summary(json_of(bytes_of(cpus)), "t.json", 2);
    EXPECT_THAT(text, testing::ContainsRegex("getpid \\(39\\) +1000 +500500 +500 +990 +1000 "));
    EXPECT_THAT(text, HasSubstr("and 4 more"));
    EXPECT_THAT(text, HasSubstr("no record was lost"));
}

TEST(Trace, AnEmptyTraceIsOne) {
    std::string text = trace_summary(json_of(bytes_of({Cpu{}, Cpu{}})), "t.json");
    EXPECT_THAT(text, HasSubstr("0 records"));
}

TEST(Trace, DamagedBytesAreRefusedBeforeAnythingIsWritten) {
    std::string good = bytes_of(a_bit_of_all());
    auto refused = [](const std::string& bytes) {
        bool wrote = false;
        EXPECT_THROW(write_trace_json(bytes, {}, [&](std::string_view) { wrote = true; }), Failure);
        EXPECT_FALSE(wrote);
    };
    for (size_t n = 0; n < good.size(); ++n) refused(good.substr(0, n));
    refused(good + "x");
    auto with = [&](size_t at, uint8_t value) {
        std::string bad = good;
        bad[at] = char(value);
        return bad;
    };
    refused(with(0, 0));     // magic
    refused(with(8, 99));    // version
    refused(with(12, 0));    // no CPUs
    refused(with(15, 255));  // very many
    refused(with(24, 1));    // not the first CPU
    refused(with(39, 255));  // a number of records that overflows
    constexpr size_t kFirst = sizeof(abi::trace::Header) + sizeof(abi::trace::CpuHeader);
    for (size_t member : {12, 13, 14, 15}) refused(with(kFirst + member, 200));  // path, test, CPU, reason
}

TEST(Trace, OtherFilesAreRefusedWithOneLine) {
    const std::string other = R"(,"otherData":{"farcall_trace":1,"cycle_hz":1,"lost":[0],"command":"c","route":"r"}})";
    const std::string good = R"({"traceEvents":[{"ph":"X","cat":"leaf","name":"n","tid":0,"ts":1,"dur":1,)"
                             R"("args":{"cycles":1,"exit":"done"}}])" +
                             other;
    EXPECT_THAT(trace_summary(good, "f"), HasSubstr("leaf"));
    std::vector<std::string> bad = {"",
                                    " ",
                                    "{",
                                    "null",
                                    "[]",
                                    "{}",
                                    "7",
                                    "\"text\"",
                                    "{\"traceEvents\":7}",
                                    "{\"traceEvents\":[]}",
                                    "\x7f"
                                    "ELF",
                                    R"({"traceEvents":{}})",
                                    R"({"traceEvents":[7])" + other,
                                    R"({"traceEvents":[[]])" + other,
                                    R"({"traceEvents":[null])" + other,
                                    R"({"traceEvents":["x"])" + other,
                                    R"({"traceEvents":[{}])" + other,
                                    R"({"traceEvents":[{"ph":1}])" + other,
                                    R"({"traceEvents":[{"ph":"B"}])" + other,
                                    R"({"traceEvents":7)" + other,
                                    std::string(100'000, '['),
                                    good.substr(0, good.size() - 1),
                                    good + "}"};
    for (const char* member : {"\"cat\":\"leaf\",", "\"name\":\"n\",", "\"tid\":0,", "\"ts\":1,", "\"dur\":1,",
                               "\"cycles\":1,", ",\"exit\":\"done\"", ",\"cycle_hz\":1", ",\"lost\":[0]",
                               ",\"command\":\"c\"", ",\"route\":\"r\"", "\"farcall_trace\":1,"}) {
        std::string less = good;
        ASSERT_NE(less.find(member), std::string::npos) << member;
        bad.push_back(less.erase(less.find(member), std::strlen(member)));
        // The same with a value of another type.
        std::string changed = good, word = member;
        size_t colon = word.find(':');
        size_t end = word.find_last_not_of(',') + 1;
        word.replace(colon + 1, end - colon - 1, "{}");
        if (std::string(member) == "\"farcall_trace\":1,") continue;
        bad.push_back(changed.replace(changed.find(member), std::strlen(member), word));
    }
    for (const std::string& text : bad) {
        try {
            std::string got = trace_summary(text, "file.json");
            ADD_FAILURE() << text.substr(0, 200) << " gave " << got;
        } catch (const Failure& failure) {
            EXPECT_EQ(failure.status, kStatusUsage);
            EXPECT_THAT(failure.what(), testing::StartsWith("file.json is no trace"));
            EXPECT_THAT(failure.what(), Not(HasSubstr("\n")));
        }
    }
}

TEST(Trace, NoDamageMakesItCrash) {
    std::string good = json_of(bytes_of(a_bit_of_all()));
    std::mt19937 random(7);
    for (int round = 0; round < 3000; ++round) {
        std::string bad = good;
        for (uint32_t i = 0; i <= random() % 4; ++i) {
            size_t at = random() % bad.size();
            switch (random() % 3) {
                case 0: bad[at] = char(random()); break;
                case 1: bad.erase(at, random() % 20); break;
                default: bad.insert(at, 1, "{}[],:\"0-e"[random() % 10]);
            }
        }
        try {
            (void)trace_summary(bad, "f");
        } catch (const Failure&) {
        }
    }
}

}  // namespace
}  // namespace cli
