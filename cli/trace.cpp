// SPDX-License-Identifier: MIT
// From the kernel's records to trace-event JSON ("Trace Event Format", Google): see trace.hpp.
#include "cli/trace.hpp"

#include <algorithm>
#include <cinttypes>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "abi/linux/syscall_names_x86_64.hpp"
#include "abi/native.hpp"
#include "abi/trace.hpp"
#include "cli/util.hpp"

namespace cli {

namespace {

using namespace abi::trace;

constexpr uint32_t kMostCpus = 64;
constexpr size_t kPiece = 1 << 16;

[[noreturn]] void damaged(const char* what) { fail(std::string("the kernel's trace cannot be read: ") + what); }

template <class T>
T next(std::string_view& bytes) {
    T value;
    if (bytes.size() < sizeof value) damaged("it is cut off");
    std::memcpy(&value, bytes.data(), sizeof value);
    bytes.remove_prefix(sizeof value);
    return value;
}

}  // namespace

std::vector<TraceBuffer> read_trace(std::string_view bytes, uint64_t& cycle_hz) {
    auto header = next<Header>(bytes);
    if (header.magic != kMagic || header.version != kVersion) damaged("its header is of another version");
    if (header.cpus == 0 || header.cpus > kMostCpus || header.cycle_hz == 0) damaged("its header is wrong");
    cycle_hz = header.cycle_hz;
    std::vector<TraceBuffer> all(header.cpus);
    for (uint32_t cpu = 0; cpu < header.cpus; ++cpu) {
        auto one = next<CpuHeader>(bytes);
        if (one.cpu != cpu) damaged("its CPUs are out of order");
        if (one.records > bytes.size() / sizeof(Record)) damaged("it is cut off");
        all[cpu].lost = one.lost;
        all[cpu].records.resize(one.records);
        size_t size = one.records * sizeof(Record);
        if (size != 0) std::memcpy(all[cpu].records.data(), bytes.data(), size);
        bytes.remove_prefix(size);
        for (const Record& r : all[cpu].records)
            if (r.path >= Path::kCount || r.test >= Test::kCount || r.reason >= Reason::kCount || r.cpu >= header.cpus)
                damaged("a record is wrong");
    }
    if (!bytes.empty()) damaged("there is more than it says");
    return all;
}

namespace {

bool is_exception(Path p) { return p == Path::kFastException || p == Path::kSlowException; }
bool is_reply(Path p) { return p == Path::kFastReply || p == Path::kSlowReply; }
// Its detail is a call of a program.
bool is_linux(Path p) { return p >= Path::kLeaf || is_exception(p); }
const char* path_name(Path p) { return kPathNames[static_cast<size_t>(p)]; }

// kMap and the like, by the description that the manual's table is made from (abi/native_calls.txt).
std::string native_call(unsigned number) {
    static const std::map<unsigned, std::string> names = [] {
        std::map<unsigned, std::string> all;
        std::ifstream file(source_dir() / "abi" / "native_calls.txt");
        unsigned n;
        char name[64];
        for (std::string line; std::getline(file, line);)
            if (std::sscanf(line.c_str(), "%u | %63[A-Za-z0-9]", &n, name) == 2) all[n] = name;
        return all;
    }();
    auto at = names.find(number);
    return (at == names.end() ? "native call" : at->second) + " (" + std::to_string(number) + ")";
}

// What a record is about, for people.
std::string name_of(const Record& r) {
    char text[80];
    if (r.path == Path::kInterrupt) {
        std::snprintf(text, sizeof text, "interrupt %" PRIu64, r.detail);
        return text;
    }
    uint16_t number = number_in(r.detail);
    if (is_exception(r.path) && number == kNoCall) return path_name(r.path);
    if (is_linux(r.path)) {
        if (number == kPageFault) return "page fault";
        if (number == kException) return "exception";
        if (number == kKick) return "kick";
        if (number == kNoCall) return "no call";
        const char* name = abi::syscall_name(number);
        std::snprintf(text, sizeof text, "%s (%u)", *name ? name : "unknown call", number);
        return text;
    }
    if (r.path != Path::kSlowOther) return path_name(r.path);
    return native_call(number & 0xff);
}

class Writer {
public:
    explicit Writer(const std::function<void(std::string_view)>& out) : out_(out) {}
    [[gnu::format(printf, 2, 3)]] void add(const char* format, ...) {
        char text[256];
        va_list arguments;
        va_start(arguments, format);
        int n = std::vsnprintf(text, sizeof text, format, arguments);
        va_end(arguments);
        put({text, std::min(static_cast<size_t>(n), sizeof text - 1)});
    }
    void put(std::string_view text) {
        pending_ += text;
        if (pending_.size() >= kPiece) flush();
    }
    void flush() {
        out_(pending_);
        pending_.clear();
    }

private:
    const std::function<void(std::string_view)>& out_;
    std::string pending_;
};

std::string quoted(const std::string& text) {
    return nlohmann::json(text).dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}

struct TimeScale {
    uint64_t start;
    double per_us;
    double us(uint64_t cycles) const { return static_cast<double>(cycles) / per_us; }
    // A stretch may have begun before the oldest record that is left.
    double at(uint64_t cycles) const { return cycles < start ? -us(start - cycles) : us(cycles - start); }
};

// Changes of a queue's length, as a curve.
void write_counter(Writer& out, const Record& r, const TimeScale& clock, std::map<std::string, uint16_t>& last) {
    const char* what = r.path == Path::kSwitch    ? "ready threads, CPU"
                       : r.path == Path::kService ? "queued calls, CPU"
                                                  : nullptr;
    if (!what) return;
    std::string name = std::string(what) + " " + std::to_string(r.cpu);
    uint16_t length = queue_in(r.detail);
    auto [at, first] = last.try_emplace(name, length);
    if (!first && at->second == length) return;
    at->second = length;
    out.add(",\n{\"name\":\"%s\",\"ph\":\"C\",\"pid\":1,\"ts\":%.3f,\"args\":{\"length\":%u}}", name.c_str(),
            clock.at(r.start), length);
}

void write_record(Writer& out, const Record& r, const TimeScale& clock) {
    const bool moment = r.path == Path::kSwitch || r.path == Path::kInterrupt;
    out.add(",\n{\"name\":\"%s\",\"cat\":\"%s\",\"pid\":1,\"tid\":%u,\"ts\":%.3f,", name_of(r).c_str(),
            path_name(r.path), r.cpu, clock.at(r.start));
    if (moment)
        out.put("\"ph\":\"i\",\"s\":\"t\",\"args\":{");
    else
        out.add("\"ph\":\"X\",\"dur\":%.3f,\"args\":{\"cycles\":%u,\"exit\":\"%s\",", clock.us(r.cycles), r.cycles,
                kReasonNames[static_cast<size_t>(r.reason)]);
    out.add("\"thread\":%u", r.thread);
    if (r.path == Path::kLeafAgain || r.path == Path::kTask)
        out.add(",\"call_cycles\":%u", r.partner);
    else if (r.path == Path::kSent || r.path == Path::kService)
        out.add(",\"partner_cpu\":%u", r.partner);
    else
        out.add(",\"partner\":%u", r.partner);
    if (r.test != Test::kNone) out.add(",\"test\":\"%s\"", kTestNames[static_cast<size_t>(r.test)]);
    if (r.path == Path::kFault) {
        if (number_in(r.detail) == kPageFault) out.add(",\"address\":\"0x%" PRIx64 "\"", address_in(r.detail));
    } else if (r.path != Path::kInterrupt) {
        if (r.path == Path::kSwitch || r.path == Path::kService) out.add(",\"queue\":%u", queue_in(r.detail));
        if (r.reason == Reason::kError) out.add(",\"error\":%u", error_in(r.detail));
    }
    out.put("}}");
}

// What a server does between an exception and the answer, or until it waits for something else: of each exception that is
// answered one stretch of path kServer ends with kDone. With the work of a server's own coroutines in between, which leave no
// record, a call that waits has its last part without length.
class Services {
public:
    // In order of time, of all CPUs. Adds to `out`.
    void take(const Record& r, std::vector<Record>& out) {
        const uint64_t end = r.start + r.cycles;
        if (is_exception(r.path) && r.reason != Reason::kSlowpath) {
            asked_[r.thread] = number_in(r.detail);
            if (r.partner != 0) serves_[r.partner] = {r.thread, end};
        } else if (is_reply(r.path) && r.reason != Reason::kSlowpath) {
            const auto now = serves_.find(r.thread);
            // An answer alone, to another client: the server goes on with this one's call.
            const uint16_t call = number_in(r.detail);
            const bool goes_on = call == abi::native::kReply || call == abi::native::kReplyTo;
            if (now != serves_.end() && (!goes_on || now->second.client == r.partner)) {
                const Served served = now->second;
                serves_.erase(now);
                const bool done = served.client == r.partner;
                add(out, r, served.client, served.since, done);
                if (done) asked_.erase(served.client);
            }
            // It had waited: its answer comes with another's service, or after work of the server's own.
            if (asked_.count(r.partner) != 0) {
                add(out, r, r.partner, r.start, true);
                asked_.erase(r.partner);
            }
        }
    }

private:
    struct Served {
        uint32_t client;
        uint64_t since;
    };
    void add(std::vector<Record>& out, const Record& reply, uint32_t client, uint64_t since, bool done) {
        const auto call = asked_.find(client);
        out.push_back({.start = since,
                       .cycles = uint32_t(reply.start > since ? reply.start - since : 0),
                       .path = Path::kServer,
                       .test = Test::kNone,
                       .cpu = reply.cpu,
                       .reason = done ? Reason::kDone : Reason::kWaits,
                       .thread = client,
                       .partner = reply.thread,
                       .detail = call == asked_.end() ? kNoCall : call->second});
    }
    std::map<uint32_t, uint16_t> asked_;  // of each client that waits for an answer, what for
    std::map<uint32_t, Served> serves_;   // by server thread
};

void add_services(std::vector<TraceBuffer>& all) {
    std::vector<Record> whole, made;
    for (const TraceBuffer& b : all) whole.insert(whole.end(), b.records.begin(), b.records.end());
    std::sort(whole.begin(), whole.end(), [](const Record& x, const Record& y) { return x.start < y.start; });
    Services services;
    for (const Record& r : whole) services.take(r, made);
    for (const Record& r : made) all[r.cpu].records.push_back(r);
}

}  // namespace

TraceCounts write_trace_json(std::string_view bytes, const TraceInfo& info,
                             const std::function<void(std::string_view)>& sink) {
    uint64_t cycle_hz = 0;
    std::vector<TraceBuffer> all = read_trace(bytes, cycle_hz);
    TimeScale clock{~uint64_t{0}, static_cast<double>(cycle_hz) / 1e6};
    TraceCounts counts;
    add_services(all);
    for (TraceBuffer& b : all) {
        // In the order of their start; of two that start together the longer one encloses the other.
        std::sort(b.records.begin(), b.records.end(), [](const Record& x, const Record& y) {
            return x.start != y.start ? x.start < y.start : x.cycles > y.cycles;
        });
        if (!b.records.empty()) clock.start = std::min(clock.start, b.records[0].start);
        counts.records += b.records.size();
        counts.lost.push_back(b.lost);
    }
    Writer out(sink);
    out.put("{\"traceEvents\":[\n{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":1,\"args\":{\"name\":" +
            quoted("farcall, " + info.route + ": " + info.command) + "}}");
    for (size_t cpu = 0; cpu < all.size(); ++cpu) {
        out.add(",\n{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":1,\"tid\":%zu,\"args\":{\"name\":\"CPU %zu\"}}", cpu,
                cpu);
        out.add(",\n{\"name\":\"thread_sort_index\",\"ph\":\"M\",\"pid\":1,\"tid\":%zu,\"args\":{\"sort_index\":%zu}}",
                cpu, cpu);
    }
    std::map<std::string, uint16_t> lengths;
    for (const TraceBuffer& b : all) {
        for (const Record& r : b.records) {
            write_record(out, r, clock);
            write_counter(out, r, clock, lengths);
        }
    }
    out.add("\n],\"displayTimeUnit\":\"ns\",\"otherData\":{\"farcall_trace\":%u,\"cycle_hz\":%" PRIu64 ",\"lost\":[",
            kVersion, cycle_hz);
    for (size_t cpu = 0; cpu < all.size(); ++cpu) out.add("%s%" PRIu64, cpu == 0 ? "" : ",", all[cpu].lost);
    out.put("],\"command\":" + quoted(info.command) + ",\"route\":" + quoted(info.route) + "}}\n");
    out.flush();
    return counts;
}

}  // namespace cli
