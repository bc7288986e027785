// SPDX-License-Identifier: MIT
// Small host helpers shared by the tool's parts: errors with an exit status, files, private directories, paths.
#pragma once
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace cli {

namespace fs = std::filesystem;

// Exit statuses of the tool itself. 0..255 otherwise belong to the program that ran.
inline constexpr int kStatusUsage = 2;
inline constexpr int kStatusPanic = 70;
inline constexpr int kStatusTimeout = 124;
inline constexpr int kStatusCannotExecute = 126;
inline constexpr int kStatusNotFound = 127;

// Ends the tool with one line on standard error and a status; main() is the only catcher.
struct Failure : std::runtime_error {
    Failure(int status, const std::string& message) : std::runtime_error(message), status(status) {}
    int status;
};
[[noreturn]] void fail(const std::string& message, int status = kStatusUsage);

// SIGINT, SIGTERM or SIGHUP reached the tool: unwinds so that every destructor runs.
struct Interrupted {
    int signal;
};

class UniqueFd {
public:
    UniqueFd() = default;
    explicit UniqueFd(int fd) : fd_(fd) {}
    UniqueFd(UniqueFd&& other) noexcept : fd_(other.release()) {}
    UniqueFd& operator=(UniqueFd&& other) noexcept {
        reset(other.release());
        return *this;
    }
    ~UniqueFd() { reset(); }
    int get() const { return fd_; }
    int release() {
        int fd = fd_;
        fd_ = -1;
        return fd;
    }
    void reset(int fd = -1);

private:
    int fd_ = -1;
};

// A private directory, removed with all it holds.
class TempDir {
public:
    TempDir();
    ~TempDir();
    TempDir(const TempDir&) = delete;
    TempDir& operator=(const TempDir&) = delete;
    const fs::path& path() const { return path_; }

private:
    fs::path path_;
};

// Where things are. Both may be moved by the environment (FARCALL_SOURCE, FARCALL_BUILD).
const fs::path& source_dir();
const fs::path& build_dir();

std::string read_file(const fs::path& path);
void write_file(const fs::path& path, std::string_view bytes);  // atomically, by rename
std::optional<std::string> find_program(const std::string& name);
std::string shell_output(const std::string& command);         // standard output, trailing newline taken off
std::vector<std::string> split_lines(std::string_view text);  // every line with its newline
std::string base64(std::string_view bytes);
std::string unbase64(std::string_view text);
bool is_utf8_text(std::string_view bytes);     // printable as JSON without loss
uint64_t parse_size(const std::string& text);  // "256M" in bytes; throws Failure

using Clock = std::chrono::steady_clock;
inline double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace cli
