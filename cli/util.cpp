// SPDX-License-Identifier: MIT
// Small host helpers: see util.hpp.
#include "cli/util.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>

namespace cli {

void fail(const std::string& message, int status) { throw Failure(status, message); }

void UniqueFd::reset(int fd) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
}

TempDir::TempDir() {
    const char* base = ::getenv("TMPDIR");
    std::string pattern = std::string(base && *base ? base : "/tmp") + "/farcall-XXXXXX";
    if (!::mkdtemp(pattern.data())) fail("cannot create a directory in " + pattern + ": " + std::strerror(errno));
    path_ = pattern;
}

TempDir::~TempDir() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
}

const fs::path& source_dir() {
    static const fs::path path = [] {
        const char* value = ::getenv("FARCALL_SOURCE");
        return fs::path(value && *value ? value : FARCALL_SOURCE_DIR);
    }();
    return path;
}

const fs::path& build_dir() {
    static const fs::path path = [] {
        const char* value = ::getenv("FARCALL_BUILD");
        if (value && *value) return fs::absolute(value);
        return fs::read_symlink("/proc/self/exe").parent_path().parent_path();
    }();
    return path;
}

std::string read_file(const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    if (!in) fail("cannot read " + path.string() + ": " + std::strerror(errno));
    std::ostringstream out;
    out << in.rdbuf();
    return std::move(out).str();
}

void write_file(const fs::path& path, std::string_view bytes) {
    fs::path temporary = path;
    temporary += "." + std::to_string(::getpid());
    {
        std::ofstream out(temporary, std::ios::binary | std::ios::trunc);
        out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
        out.close();
        if (!out) {
            std::error_code ignored;
            fs::remove(temporary, ignored);
            fail("cannot write " + path.string());
        }
    }
    fs::rename(temporary, path);
}

std::optional<std::string> find_program(const std::string& name) {
    const char* path = ::getenv("PATH");
    std::istringstream folders(path ? path : "/usr/bin:/bin");
    for (std::string folder; std::getline(folders, folder, ':');) {
        std::string file = (folder.empty() ? "." : folder) + "/" + name;
        if (::access(file.c_str(), X_OK) == 0) return file;
    }
    return std::nullopt;
}

std::string shell_output(const std::string& command) {
    std::string result;
    FILE* pipe = ::popen(command.c_str(), "re");
    if (!pipe) return result;
    std::array<char, 4096> buffer;
    while (size_t n = std::fread(buffer.data(), 1, buffer.size(), pipe)) result.append(buffer.data(), n);
    ::pclose(pipe);
    while (!result.empty() && result.back() == '\n') result.pop_back();
    return result;
}

std::vector<std::string> split_lines(std::string_view text) {
    std::vector<std::string> lines;
    while (!text.empty()) {
        size_t end = text.find('\n');
        size_t length = end == std::string_view::npos ? text.size() : end + 1;
        lines.emplace_back(text.substr(0, length));
        text.remove_prefix(length);
    }
    return lines;
}

namespace {
constexpr std::string_view kBase64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
}

std::string base64(std::string_view bytes) {
    std::string out;
    for (size_t i = 0; i < bytes.size(); i += 3) {
        uint32_t word = 0;
        size_t n = std::min<size_t>(3, bytes.size() - i);
        for (size_t k = 0; k < 3; ++k) word = word << 8 | (k < n ? static_cast<unsigned char>(bytes[i + k]) : 0u);
        for (size_t k = 0; k < 4; ++k) out += k <= n ? kBase64[word >> (18 - 6 * k) & 63] : '=';
    }
    return out;
}

std::string unbase64(std::string_view text) {
    std::string out;
    uint32_t word = 0;
    int bits = 0;
    for (char c : text) {
        size_t value = kBase64.find(c);
        if (value == std::string_view::npos) continue;
        word = word << 6 | static_cast<uint32_t>(value);
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            out += static_cast<char>(word >> bits & 255);
        }
    }
    return out;
}

bool is_utf8_text(std::string_view bytes) {
    for (size_t i = 0; i < bytes.size();) {
        auto c = static_cast<unsigned char>(bytes[i]);
        if (c == 0) return false;
        size_t length = c < 0x80                  ? 1
                        : (c >= 0xc2 && c < 0xe0) ? 2
                        : (c >= 0xe0 && c < 0xf0) ? 3
                        : (c >= 0xf0 && c < 0xf4) ? 4
                                                  : 0;
        if (length == 0 || i + length > bytes.size()) return false;
        for (size_t k = 1; k < length; ++k) {
            if ((static_cast<unsigned char>(bytes[i + k]) & 0xc0) != 0x80) return false;
        }
        // Overlong three-byte forms and surrogates are refused by JSON writers.
        auto second = length > 1 ? static_cast<unsigned char>(bytes[i + 1]) : 0;
        if ((c == 0xe0 && second < 0xa0) || (c == 0xed && second >= 0xa0) || (c == 0xf0 && second < 0x90)) return false;
        i += length;
    }
    return true;
}

uint64_t parse_size(const std::string& text) {
    size_t used = 0;
    uint64_t value = 0;
    try {
        value = text.empty() || text[0] == '-' ? 0 : std::stoull(text, &used);
    } catch (const std::exception&) {
        used = 0;
    }
    uint64_t unit = 0;
    std::string suffix = used ? text.substr(used) : "?";
    if (suffix.empty() || suffix == "M" || suffix == "m" || suffix == "MiB") unit = 1 << 20;
    if (suffix == "G" || suffix == "g" || suffix == "GiB") unit = 1 << 30;
    if (suffix == "K" || suffix == "k" || suffix == "KiB") unit = 1 << 10;
    if (unit == 0 || value == 0 || value > (uint64_t{1} << 45) / unit)
        fail("not a size: '" + text + "' (say 256M or 2G)");
    return value * unit;
}

}  // namespace cli
