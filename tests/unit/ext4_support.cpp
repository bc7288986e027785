// SPDX-License-Identifier: MIT
#include "tests/unit/ext4_support.hpp"

#include <sys/wait.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace ext4_test {

namespace {

struct Folder {
    Folder() {
        // In memory where the host has such a folder: e2fsprogs waits for what it writes.
        const std::filesystem::path memory = "/dev/shm";
        const auto above = std::filesystem::exists(memory) ? memory : std::filesystem::temp_directory_path();
        std::string pattern = (above / "farcall-ext4-XXXXXX").string();
        path = mkdtemp(pattern.data());
    }
    ~Folder() {
        std::error_code ignored;
        std::filesystem::remove_all(path, ignored);
    }
    std::string path;
};

}  // namespace

std::string temporary(const std::string& name) {
    static const Folder folder;
    return folder.path + "/" + name;
}

std::string shell(const std::string& command, int* status) {
    // Debian keeps them in /usr/sbin, which is not in every user's path.
    const std::string line =
        "export PATH=\"$PATH:/usr/sbin:/sbin\" LC_ALL=C MKE2FS_CONFIG=/dev/null; { " + command + " ; } 2>&1";
    FILE* pipe = popen(line.c_str(), "r");
    std::string out;
    char buffer[4096];
    while (size_t n = std::fread(buffer, 1, sizeof buffer, pipe)) out.append(buffer, n);
    const int raw = pclose(pipe);
    const int code = WIFEXITED(raw) ? WEXITSTATUS(raw) : 255;
    if (status)
        *status = code;
    else
        EXPECT_EQ(code, 0) << command << "\n" << out;
    return out;
}

std::vector<std::byte> read_file(const std::string& path) {
    std::vector<std::byte> bytes(std::filesystem::file_size(path));
    std::ifstream(path, std::ios::binary).read(reinterpret_cast<char*>(bytes.data()), std::streamsize(bytes.size()));
    return bytes;
}

void write_file(const std::string& path, std::span<const std::byte> bytes) {
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), std::streamsize(bytes.size()));
}

void write_text(const std::string& path, const std::string& text) { write_file(path, std::as_bytes(std::span(text))); }

std::vector<std::byte> make_image(const std::string& options, const std::string& size, const std::string& from) {
    const std::string path = temporary("made.img");
    // What no file has written must never be seen in one.
    u64 bytes = std::stoull(size) << 20;
    write_file(path, std::vector<std::byte>(bytes, std::byte{kStale}));
    shell("mke2fs -q -F -E nodiscard,lazy_itable_init=0 " + options + (from.empty() ? "" : " -d " + from) + " " + path +
          " " + size);
    return read_file(path);
}

std::string check_image(std::span<const std::byte> image, bool journal) {
    const std::string path = temporary("check.img");
    write_file(path, image);
    if (journal) {
        int status = 0;
        const std::string out = shell("e2fsck -y -E journal_only " + path, &status);
        if (status > 1) return "replay: " + out;
    }
    int status = 0;
    const std::string out = shell("e2fsck -f -n " + path, &status);
    return status == 0 ? "" : out;
}

}  // namespace ext4_test
