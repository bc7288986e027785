// SPDX-License-Identifier: MIT
// Checks the tree against layers.txt: an #include outside a folder's row, a word that a folder may not contain, an
// architecture named by the preprocessor outside hal/ and port/, a file without its SPDX line, a file that has grown too long. And the call table against the
// guest cases: a row that names no case, or one that does not exist. One line per finding; status 1 if any.
#include <algorithm>
#include <cctype>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace fs = std::filesystem;

namespace {

constexpr int kMaxLines = 600;  // a file over 500 lines probably holds two concepts; may only fall

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

// Rows of folders; those of forbidden words begin with an exclamation mark.
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

// The words of a line that its folder may not contain; letters count as lower case.
void check_words(const Table& table, const std::string& path, int number, const std::string& line) {
    for (auto row = table.lower_bound("!"); row != table.end() && row->first[0] == '!'; ++row) {
        if (!below(path, row->first.substr(1))) continue;
        std::string word;
        for (size_t at = 0; at <= line.size(); ++at) {
            const auto c = static_cast<unsigned char>(at < line.size() ? line[at] : ' ');
            if (std::isalnum(c) || c == '_') {
                word += static_cast<char>(std::tolower(c));
                continue;
            }
            if (std::find(row->second.begin(), row->second.end(), word) != row->second.end())
                finding(path, number, "'" + row->first.substr(1) + "' may not say \"" + word + "\" (layers.txt)");
            word.clear();
        }
    }
}

// A comment of a declaration that says which lock is held for it, or guards it, is refused: an annotation says so
// (rt/thread_safety.hpp), and the compiler checks it. What a file says at its beginning is left alone.
class LockComments {
public:
    void check(const std::string& path, int number, const std::string& line) {
        const size_t slashes = line.find("//");
        std::string comment = slashes == std::string::npos ? "" : line.substr(slashes);
        for (char& c : comment) c = char(std::tolower(static_cast<unsigned char>(c)));
        const bool held =
            comment.find("lock held") != std::string::npos && comment.find("no lock held") == comment.npos;
        const std::string code = line.substr(0, slashes);
        const bool has_code = code.find_first_not_of(" \t") != std::string::npos;
        if (begun_ && (held || comment.find("guarded by") != std::string::npos)) said_ = number;
        begun_ |= has_code || line.empty();
        if (line.empty() || code.find("RT_") != std::string::npos) said_ = 0;
        if (said_ == 0 || !has_code || code.find_first_of(";{") == std::string::npos) return;
        finding(path, said_, "a lock that only a comment tells of (rt/thread_safety.hpp)");
        said_ = 0;
    }

private:
    int said_ = 0;  // in which line; 0: nothing
    bool begun_ = false;
};

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
    bool locks = false;
    for (const char* folder : {"rt", "core", "port", "fs", "linux"}) locks |= below(path, folder);
    LockComments lock_comments;
    int number = 0;
    bool spdx = false;
    for (std::string line; std::getline(in, line);) {
        ++number;
        if (code && locks) lock_comments.check(path, number, line);
        if (number <= 2 && line.find("SPDX-License-Identifier: MIT") != std::string::npos) spdx = true;
        if (!code) continue;
        check_words(table, path, number, line);
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

// The names of the cases of all areas, "area/case".
std::set<std::string> read_cases(const fs::path& folder) {
    std::set<std::string> names;
    if (!fs::exists(folder)) return names;
    for (const auto& entry : fs::directory_iterator(folder)) {
        std::ifstream in(entry.path());
        for (std::string line; std::getline(in, line);) {
            if (line.empty() || line[0] == '#' || line[0] == ' ' || line[0] == '\t') continue;
            names.insert(entry.path().stem().string() + "/" + line.substr(0, line.find_first_of(" :")));
        }
    }
    return names;
}

// The rows of the call table in one file: row<HANDLERS>(NUMBER, "NAME", MODULE, "AREA/CASE").
void check_rows(const fs::path& root, const std::string& path, const std::set<std::string>& cases) {
    std::ifstream in(root / path);
    std::stringstream whole;
    whole << in.rdbuf();
    const std::string text = whole.str();
    for (size_t at = 0; (at = text.find("(abi::kNr", at)) != std::string::npos; ++at) {
        size_t end = text.find(')', at);
        size_t name = text.find('"', at), name_end = text.find('"', name + 1);
        if (end == std::string::npos || name_end == std::string::npos || name_end > end) continue;
        size_t test = text.find('"', name_end + 1), test_end = text.find('"', test + 1);
        const std::string call = text.substr(name + 1, name_end - name - 1);
        int line = 1 + static_cast<int>(std::count(text.begin(), text.begin() + static_cast<long>(at), '\n'));
        if (test_end == std::string::npos || test_end > end) {
            finding(path, line, "the row of " + call + " names no guest case");
        } else if (std::string value = text.substr(test + 1, test_end - test - 1); !cases.count(value)) {
            finding(path, line, "the row of " + call + " names " + value + ", which is not in tests/linux/cases");
        }
    }
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
    const std::set<std::string> cases = read_cases(root / "tests" / "linux" / "cases");
    for (const std::string& file : files) {
        check_file(table, root, file);
        if (file.starts_with("linux/sys/") && file.ends_with(".cpp")) check_rows(root, file, cases);
    }
    std::printf("%zu files, %d findings\n", files.size(), findings);
    return findings ? 1 : 0;
}
