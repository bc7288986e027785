// SPDX-License-Identifier: MIT
// Addresses in a log (the kernel's are 0xffffffff8....) are given to llvm-symbolizer at once; its answer is put after the
// line's text.
#include "cli/symbolize.hpp"

#include <map>
#include <regex>
#include <sstream>
#include <vector>

namespace cli {

std::string symbolize(const std::string& log, const fs::path& image, Symbols of) {
    const std::regex pattern(of == Symbols::kKernel ? "0x(ffffffff[89a-f][0-9a-f]{7})"
                                                    : "#[0-9]+ 0x([0-9a-f]{1,16})\\b");
    std::vector<std::string> addresses;
    std::map<std::string, std::string> names;
    std::string text;
    for (char c : log) {
        if (c != '\r') text += c;
    }
    const std::string prefix = source_dir().string() + "/";
    for (size_t at; (at = text.find(prefix)) != std::string::npos;) text.erase(at, prefix.size());
    // A backtrace line ("#3 0x...") holds a return address: the call is the byte before it.
    std::istringstream lines(text);
    auto key = [](const std::string& line, const std::string& hex) {
        uint64_t value = std::stoull(hex, nullptr, 16);
        size_t mark = line.find('#');
        bool frame = mark != std::string::npos && line.compare(mark, 2, "#0") != 0;
        char out[32];
        std::snprintf(out, sizeof out, "0x%llx", static_cast<unsigned long long>(frame ? value - 1 : value));
        return std::string(out);
    };
    for (std::string line; std::getline(lines, line);) {
        for (std::sregex_iterator match(line.begin(), line.end(), pattern), end; match != end; ++match) {
            std::string address = key(line, (*match)[1]);
            if (names.emplace(address, "").second) addresses.push_back(address);
        }
    }
    auto tool = find_program("llvm-symbolizer-19");
    if (addresses.empty() || !tool || !fs::exists(image)) return text;
    if (addresses.size() > 2000) addresses.resize(2000);

    std::string command = *tool + " --obj='" + image.string() + "' --pretty-print --demangle --relativenames";
    for (const std::string& address : addresses) command += " " + address;
    std::istringstream answer(shell_output(command + " 2>/dev/null"));
    size_t index = 0;
    for (std::string line; std::getline(answer, line);) {
        if (line.empty()) {
            ++index;
            continue;
        }
        // One address gives one line, and one more for each function inlined around it.
        if (index >= addresses.size()) break;
        size_t at;
        while ((at = line.find(prefix)) != std::string::npos) line.erase(at, prefix.size());
        std::string& name = names[addresses[index]];
        name += (name.empty() ? "" : ",") + line;
        if (answer.peek() != ' ' && answer.peek() != '\n') ++index;
    }
    std::istringstream again(text);
    std::string out;
    for (std::string line; std::getline(again, line);) {
        out += line;
        for (std::sregex_iterator match(line.begin(), line.end(), pattern), end; match != end; ++match) {
            const std::string& name = names[key(line, (*match)[1])];
            if (!name.empty() && !name.starts_with("??")) out += "  " + name;
        }
        out += '\n';
    }
    return out;
}

std::vector<SourcePlace> places_of(const std::vector<std::string>& addresses, const fs::path& kernel) {
    std::vector<SourcePlace> places(addresses.size(), {"?", "?"});
    auto tool = find_program("llvm-symbolizer-19");
    if (!tool || addresses.empty()) return places;
    TempDir scratch;
    std::string list;
    for (const std::string& address : addresses) list += address + "\n";
    write_file(scratch.path() / "list", list);
    const std::string prefix = source_dir().string() + "/";
    for (bool inlines : {false, true}) {
        std::istringstream answer(shell_output(*tool + " --obj='" + kernel.string() + "' --demangle " +
                                               (inlines ? "" : "--no-inlines ") + "<'" +
                                               (scratch.path() / "list").string() + "' 2>/dev/null"));
        // Two lines for each frame, innermost first, and an empty line after each address.
        size_t index = 0;
        bool first = true;
        for (std::string function, line; index < places.size() && std::getline(answer, function);) {
            if (function.empty()) {
                ++index;
                first = true;
                continue;
            }
            if (!std::getline(answer, line)) break;
            if (!first) continue;
            first = false;
            if (!inlines) places[index].function = function;
            size_t column = line.rfind(':');
            if (line.starts_with(prefix)) line.erase(0, prefix.size()), column -= prefix.size();
            if (inlines) places[index].line = line.substr(0, column);
        }
    }
    return places;
}

}  // namespace cli
