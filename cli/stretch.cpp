// SPDX-License-Identifier: MIT
// Stretches with interrupts off: see stretch.hpp.
#include "cli/stretch.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <sstream>

#include "cli/symbolize.hpp"

namespace cli {

namespace {

constexpr const char* kTrap = "farcall_trap";

// Of the machine that was started last: the call of each line of the list that the plugin got.
std::vector<std::string> call_names;

// "read" of `linux::detail::Thunk<&linux::sys_read(...)>::run(...)`, the table of Linux's calls (linux/sys/table.hpp); of a
// task form, sys_read_wait, too. Empty: another function.
std::string linux_call(std::string_view name) {
    static constexpr std::string_view kThunk = "linux::detail::Thunk<&linux::", kHidden = "(anonymous namespace)::",
                                      kCall = "sys_", kWaits = "_wait";
    if (!name.starts_with(kThunk)) return {};
    name.remove_prefix(kThunk.size());
    if (name.starts_with(kHidden)) name.remove_prefix(kHidden.size());
    if (!name.starts_with(kCall)) return {};
    name = name.substr(kCall.size(), name.find('(') - kCall.size());
    if (name.ends_with(kWaits) && name != "epoll_wait") name.remove_suffix(kWaits.size());
    return std::string(name);
}

// "map_frames" of `core::calls::map_frames(core::NativeThread&, ...)`, and of messages "native call" and "redirected call": a
// kernel without Linux has these.
std::string native_call(std::string_view name) {
    static constexpr std::string_view kCalls = "core::calls::", kThread = "(core::NativeThread&";
    if (name == "farcall_native_syscall") return "native call";
    if (name == "farcall_redirected_syscall") return "redirected call";
    if (!name.starts_with(kCalls)) return {};
    name.remove_prefix(kCalls.size());
    const size_t end = name.find(kThread);
    if (end == name.npos || name.find(':') < end) return {};
    return std::string(name.substr(0, end));
}

// Where the functions begin that a kernel calls for the calls of programs, with the names of these; and the one that gets
// traps.
std::map<uint64_t, std::string> entries_of(const fs::path& kernel, uint64_t& trap) {
    std::map<uint64_t, std::string> of_linux, native;
    auto tool = find_program("llvm-nm-19");
    if (!tool) fail("llvm-nm-19 is not installed (Debian package llvm-19)");
    for (const std::string& line : split_lines(shell_output(*tool + " -C '" + kernel.string() + "' 2>/dev/null"))) {
        unsigned long long address;
        char kind;
        int used = 0;
        if (std::sscanf(line.c_str(), "%llx %c %n", &address, &kind, &used) < 2 || used == 0) continue;
        std::string_view name = std::string_view(line).substr(static_cast<size_t>(used));
        while (name.ends_with('\n')) name.remove_suffix(1);
        if (name == kTrap) trap = address;
        if (std::string call = linux_call(name); !call.empty()) of_linux[address] = call;
        if (std::string call = native_call(name); !call.empty()) native[address] = call;
    }
    if ((of_linux.empty() && native.empty()) || trap == 0)
        fail("the kernel has no symbols by which stretches are attributed");
    return of_linux.empty() ? native : of_linux;
}

std::string call_name(long line) {
    if (line < 0 || static_cast<size_t>(line) >= call_names.size()) return "trap";
    return call_names[static_cast<size_t>(line)];
}

}  // namespace

void count_longest_stretch(MachineSpec& spec, const fs::path& out, uint64_t limit) {
    uint64_t trap = 0;
    std::string list;
    call_names.clear();
    for (const auto& [address, name] : entries_of(spec.kernel, trap)) {
        char line[32];
        std::snprintf(line, sizeof line, "%llx\n", static_cast<unsigned long long>(address));
        list += line;
        call_names.push_back(name);
    }
    fs::path calls = out;
    calls += ".calls";
    write_file(calls, list);
    char arguments[64];
    std::snprintf(arguments, sizeof arguments, ",limit=%llu,trap=%#llx", static_cast<unsigned long long>(limit),
                  static_cast<unsigned long long>(trap));
    spec.plugin = (build_dir() / "host" / "stretch_plugin.so").string() + ",out=" + out.string() +
                  ",calls=" + calls.string() + arguments;
    spec.quit_gently = true;
}

void measure_stretches(MachineSpec& spec, const fs::path& out) {
    count_longest_stretch(spec, out, kLongestStretch);
    // The model of the counted rows: `-cpu max` copies with `rep movsb`, of which each byte counts as an instruction.
    spec.cpu = "qemu64";
    spec.accel = "tcg,thread=single";
    spec.extra_args.insert(spec.extra_args.end(), {"-icount", "shift=0,sleep=off"});
}

std::vector<Stretch> read_stretches(const fs::path& out, size_t& from) {
    std::vector<Stretch> found;
    std::string text = fs::exists(out) ? read_file(out) : "";
    for (size_t end; from < text.size() && (end = text.find('\n', from)) != std::string::npos; from = end + 1) {
        std::istringstream words(text.substr(from, end - from));
        std::string kind, sample;
        Stretch stretch;
        long call;
        if (!(words >> kind >> stretch.marks >> stretch.instructions >> call) || kind != "stretch") continue;
        stretch.call = call_name(call);
        while (words >> sample) stretch.samples.push_back(sample);
        found.push_back(std::move(stretch));
    }
    return found;
}

Stretch longest_stretch(const fs::path& out) {
    Stretch longest;
    for (const std::string& line : split_lines(fs::exists(out) ? read_file(out) : "")) {
        unsigned long long instructions;
        long call;
        if (std::sscanf(line.c_str(), "longest %llu %ld", &instructions, &call) != 2) continue;
        longest.instructions = instructions;
        longest.call = call_name(call);
    }
    return longest;
}

std::string where_spent(const std::vector<Stretch>& stretches, const fs::path& kernel) {
    std::vector<std::string> addresses;
    for (const Stretch& stretch : stretches) {
        if (addresses.size() > 400) break;
        addresses.insert(addresses.end(), stretch.samples.begin(), stretch.samples.end());
    }
    std::map<std::string, size_t> counts;
    for (const SourcePlace& place : places_of(addresses, kernel)) ++counts[place.function];
    std::vector<std::pair<size_t, std::string>> sorted;
    for (const auto& [name, count] : counts) sorted.emplace_back(count, name);
    std::sort(sorted.rbegin(), sorted.rend());
    std::string text;
    for (size_t i = 0; i < sorted.size() && i < 4; ++i) {
        char share[16];
        std::snprintf(share, sizeof share, " %.0f %%",
                      100.0 * static_cast<double>(sorted[i].first) / static_cast<double>(addresses.size()));
        text += (i ? ", " : "") + sorted[i].second.substr(0, sorted[i].second.find('(', 1)) + share;
    }
    return text;
}

std::map<std::string, StretchException> load_stretch_exceptions() {
    std::map<std::string, StretchException> list;
    fs::path path = source_dir() / "tests" / "linux" / "stretches.txt";
    for (std::string line : split_lines(read_file(path))) {
        while (line.ends_with('\n')) line.pop_back();
        if (line.empty() || line[0] == '#') continue;
        std::istringstream words(line);
        std::string call;
        StretchException entry;
        if (!(words >> call >> entry.instructions)) fail(path.string() + ": 'CALL INSTRUCTIONS REASON' is wanted");
        std::getline(words >> std::ws, entry.reason);
        if (entry.reason.empty()) fail(path.string() + ": no reason is given for " + call);
        list[call] = entry;
    }
    return list;
}

}  // namespace cli
