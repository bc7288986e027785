// SPDX-License-Identifier: MIT
// Checks the tree against layers.txt: an #include outside a folder's row, an architecture named by the preprocessor
// outside hal/ and port/, a file without its SPDX line, a file that has grown too long. One line per finding; status 1
// if any.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

namespace fs = std::filesystem;

namespace {

constexpr int kMaxLines = 600;  // STYLE: "over 500 lines, look for the second concept"; may only fall

int findings = 0;
void finding(const std::string& file, int line, const std::string& text) {
    ++findings;
    std::printf("%s:%d: %s\n", file.c_str(), line, text.c_str());
}

bool below(const std::string& path, const std::string& folder) {
    return path.starts_with(folder) &&
           (path.size() == folder.size() || path[folder.size()] == '/' || path[folder.size()] == '.');
}

using Table = std::map<std::string, std::vector<std::string>>;

Table read_table(const fs::path& path) {
    Table table;
    std::ifstream in(path);
    for (std::string line; std::getline(in, line);) {
        size_t colon = line.find(':');
        if (line.empty() || line[0] == '#' || colon == std::string::npos) continue;
        std::istringstream words(line.substr(colon + 1));
        auto& row = table[line.substr(0, colon)];
        for (std::string word; words >> word;) row.push_back(word);
    }
    return table;
}

const Table::value_type* row_of(const Table& table, const std::string& path) {
    const Table::value_type* best = nullptr;
    for (const auto& row : table) {
        if (below(path, row.first) && (!best || row.first.size() > best->first.size())) best = &row;
    }
    return best;
}

void check_file(const Table& table, const fs::path& root, const std::string& path) {
    std::ifstream in(root / path);
    const auto* row = row_of(table, path);
    const std::string extension = fs::path(path).extension();
    const bool code =
        extension == ".cpp" || extension == ".hpp" || extension == ".h" || extension == ".c" || extension == ".S";
    if (code && !row) finding(path, 1, "no row of layers.txt covers this folder");
    int number = 0;
    bool spdx = false;
    for (std::string line; std::getline(in, line);) {
        ++number;
        if (number <= 2 && line.find("SPDX-License-Identifier: MIT") != std::string::npos) spdx = true;
        if (!code) continue;
        size_t hash = line.find_first_not_of(" \t");
        if (hash == std::string::npos || line[hash] != '#') continue;
        std::string directive = line.substr(hash + 1);
        directive.erase(0, directive.find_first_not_of(" \t"));
        if (directive.starts_with("include")) {
            size_t open = directive.find('"'), close = directive.find('"', open + 1);
            if (open == std::string::npos || close == std::string::npos || !row) continue;
            std::string target = directive.substr(open + 1, close - open - 1);
            // A name without a folder is a neighbour.
            if (target.find('/') == std::string::npos) continue;
            const auto* target_row = row_of(table, target);
            bool allowed = below(target, row->first) && (!target_row || target_row == row);
            // A binding (port/bind.hpp, hal/bind.hpp) lies below the include/ folder of the one that implements it.
            allowed |= fs::exists(root / row->first / "include" / target);
            for (const std::string& layer : row->second) allowed |= layer == "*" || below(target, layer);
            if (!allowed) finding(path, number, "'" + row->first + "' may not include \"" + target + "\" (layers.txt)");
        } else if (directive.starts_with("if") || directive.starts_with("elif")) {
            bool names = false;
            for (const char* word : {"__x86_64__", "__amd64__", "__aarch64__", "__riscv"})
                names |= directive.find(word) != std::string::npos;
            bool free = false;
            for (const char* folder : {"hal", "port", "linux/arch", "tests", "bench", "tools"})
                free |= below(path, folder);
            if (names && !free) finding(path, number, "an architecture is named outside hal/ and port/");
        }
    }
    if (!spdx) finding(path, 1, "the SPDX line is missing");
    if (code && number > kMaxLines) finding(path, number, "longer than " + std::to_string(kMaxLines) + " lines");
}

}  // namespace

int main(int argc, char** argv) {
    fs::path root = argc > 1 ? argv[1] : ".";
    Table table = read_table(root / "layers.txt");
    if (table.empty()) {
        std::fprintf(stderr, "check_layers: no layers.txt in %s\n", root.c_str());
        return 2;
    }
    std::vector<std::string> files;
    for (fs::recursive_directory_iterator walk(root), end; walk != end; ++walk) {
        std::string path = walk->path().lexically_relative(root);
        if (walk->is_directory() && (path.starts_with(".") || path.starts_with("build"))) {
            if (path != ".ci") walk.disable_recursion_pending();
            continue;
        }
        std::string extension = walk->path().extension();
        bool wanted = extension == ".cpp" || extension == ".hpp" || extension == ".h" || extension == ".c" ||
                      extension == ".S" || extension == ".cmake" || path == "farcall" ||
                      (path.starts_with("scripts/") && extension.empty());
        if (wanted && walk->is_regular_file()) files.push_back(path);
    }
    std::sort(files.begin(), files.end());
    for (const std::string& file : files) check_file(table, root, file);
    std::printf("%zu files, %d findings\n", files.size(), findings);
    return findings ? 1 : 0;
}
