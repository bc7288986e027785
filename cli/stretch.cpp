// SPDX-License-Identifier: MIT
// Stretches with interrupts off: see stretch.hpp.
#include "cli/stretch.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <sstream>

#include "abi/linux/syscall_names_x86_64.hpp"
#include "cli/symbolize.hpp"

namespace cli {

namespace {

// Address and size of a symbol of the kernel; zero if there is none.
struct Symbol {
    uint64_t address = 0, size = 0;
};

std::map<std::string, Symbol> symbols_of(const fs::path& kernel, const std::vector<std::string>& names) {
    std::map<std::string, Symbol> found;
    auto tool = find_program("llvm-nm-19");
    if (!tool) fail("llvm-nm-19 is not installed (Debian package llvm-19)");
    std::istringstream symbols(shell_output(*tool + " --print-size '" + kernel.string() + "' 2>/dev/null"));
    for (std::string line; std::getline(symbols, line);) {
        unsigned long long address, size;
        char kind, name[512];
        if (std::sscanf(line.c_str(), "%llx %llx %c %511s", &address, &size, &kind, name) != 4) continue;
        if (std::find(names.begin(), names.end(), name) != names.end()) found[name] = {address, size};
    }
    for (const std::string& name : names)
        if (!found.count(name)) fail("the kernel has no symbol " + name + ", by which stretches are attributed");
    return found;
}

std::string call_name(long number) {
    if (number < 0) return "trap";
    if (const char* name = abi::syscall_name(static_cast<uint64_t>(number))) return name;
    return "call" + std::to_string(number);
}

}  // namespace

void measure_stretches(MachineSpec& spec, const fs::path& out) {
    static const std::string kTable = "_ZN5linux10call_tableE",
                             kReader = "_ZN5linux12_GLOBAL__N_17syscallERN4port10UserThreadE", kTrap = "farcall_trap";
    auto symbols = symbols_of(spec.kernel, {kTable, kReader, kTrap});
    const Symbol &reader = symbols[kReader], &table = symbols[kTable], &trap = symbols[kTrap];
    char arguments[256];
    std::snprintf(arguments, sizeof arguments, ",limit=%llu,table=%#llx,call_begin=%#llx,call_end=%#llx,trap=%#llx",
                  static_cast<unsigned long long>(kLongestStretch), static_cast<unsigned long long>(table.address),
                  static_cast<unsigned long long>(reader.address),
                  static_cast<unsigned long long>(reader.address + reader.size),
                  static_cast<unsigned long long>(trap.address));
    spec.plugin = (build_dir() / "host" / "stretch_plugin.so").string() + ",out=" + out.string() + arguments;
    // The model of the counted rows: `-cpu max` copies with `rep movsb`, of which each byte counts as an instruction.
    spec.cpu = "qemu64";
    spec.accel = "tcg,thread=single";
    spec.extra_args.insert(spec.extra_args.end(), {"-icount", "shift=0,sleep=off"});
    spec.quit_gently = true;
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
