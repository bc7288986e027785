// SPDX-License-Identifier: MIT
// The guest's root file system: see root.hpp.
#include "cli/root.hpp"

#include "cli/announce.hpp"

#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace cli {

namespace {

constexpr const char* kBusybox = "/bin/busybox";
constexpr const char* kLicenses = "/usr/share/common-licenses";
// Changes of the default root's contents below must change this word: it is part of the cache's key.
constexpr const char* kRootVersion = "1";

std::string key_of(const fs::path& path) {
    struct stat st;
    if (::stat(path.c_str(), &st) != 0) return path.string() + " missing\n";
    return path.string() + " " + std::to_string(st.st_size) + " " + std::to_string(st.st_mtim.tv_sec) + "." +
           std::to_string(st.st_mtim.tv_nsec) + "\n";
}

std::string make_default_root() {
    CpioWriter root;
    for (const char* name : {"bin", "sbin", "usr", "usr/bin", "usr/sbin", "usr/share", "etc", "proc", "sys", "dev",
                             "var", "var/log", "var/run", "home", "mnt", "tests"}) {
        root.directory(name);
    }
    root.directory("root", 0700);
    root.directory("tmp", 01777);
    root.directory("var/tmp", 01777);
    root.host_file("bin/busybox", kBusybox, true);
    // Debian's busybox names its applets with their folders; each becomes a link, as `busybox --install -s` makes them.
    for (std::string line : split_lines(shell_output(std::string(kBusybox) + " --list-full"))) {
        while (!line.empty() && line.back() == '\n') line.pop_back();
        if (!line.empty() && line != "linuxrc") root.symlink(line, kBusybox);
    }
    if (!root.contains("bin/sh")) root.symlink("bin/sh", kBusybox);
    root.file("etc/passwd",
              "root:x:0:0:root:/root:/bin/sh\n"
              "daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n"
              "user:x:1000:1000:User:/home:/bin/sh\n"
              "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n");
    root.file("etc/group", "root:x:0:\ndaemon:x:1:\ntty:x:5:\nusers:x:100:user\nuser:x:1000:\nnogroup:x:65534:\n");
    root.file("etc/shadow", "root:*:19000:0:99999:7:::\nuser:*:19000:0:99999:7:::\n", 0640);
    root.file("etc/hosts", "127.0.0.1\tlocalhost\n::1\tlocalhost\n");
    root.file("etc/hostname", "farcall\n");
    root.file("etc/profile", "export PATH=/bin:/sbin:/usr/bin:/usr/sbin\n");
    root.file("etc/shells", "/bin/sh\n");
    root.file("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n");
    root.symlink("etc/mtab", "/proc/self/mounts");
    if (fs::is_directory(kLicenses)) root.host_tree(std::string(kLicenses).substr(1), kLicenses);
    return root.finish();
}

fs::path default_root() {
    if (!fs::exists(kBusybox)) fail("/bin/busybox is missing: install the Debian package busybox-static");
    fs::path folder = build_dir() / "root";
    fs::create_directories(folder);
    fs::path archive = folder / "root.cpio", key_file = folder / "root.key";
    std::string key = std::string(kRootVersion) + "\n" + key_of(kBusybox) + key_of(kLicenses);
    if (!fs::exists(archive) || !fs::exists(key_file) || read_file(key_file) != key) {
        write_file(archive, make_default_root());
        write_file(key_file, key);
    }
    return archive;
}

}  // namespace

RootImage open_root(const std::string& option, const TempDir& scratch) {
    RootImage root;
    Announcement announcement(option.empty() ? "making the default root" : "packing " + option);
    if (option.empty()) {
        root.archive = default_root();
    } else if (fs::is_directory(option)) {
        CpioWriter writer;
        writer.host_tree("", option);
        root.archive = scratch.path() / "root.cpio";
        write_file(root.archive, writer.finish());
    } else if (fs::is_regular_file(option)) {
        root.archive = fs::absolute(option);
    } else {
        fail("the root '" + option + "' does not exist (a directory or a cpio archive is wanted)");
    }
    try {
        root.entries = cpio_entries(read_file(root.archive));
        for (const auto& [name, entry] : root.entries) root.names.insert(name);
    } catch (const Failure& failure) {
        fail(root.archive.string() + ": " + failure.what());
    }
    return root;
}

std::vector<std::string> default_environment(bool terminal) {
    std::vector<std::string> environment = {"PATH=/bin:/sbin:/usr/bin:/usr/sbin", "HOME=/root"};
    const char* term = ::getenv("TERM");
    environment.push_back(std::string("TERM=") + (terminal && term && *term ? term : "dumb"));
    return environment;
}

std::string start_file(const std::vector<std::string>& argv, const std::vector<std::string>& environment) {
    std::string text = std::to_string(argv.size()) + '\0';
    for (const std::string& word : argv) text += word + '\0';
    for (const std::string& word : environment) text += word + '\0';
    return text;
}

void add_test_programs(CpioWriter& extra) {
    fs::path folder = build_dir() / "guest" / "tests";
    std::vector<fs::path> programs;
    if (fs::is_directory(folder)) {
        for (const auto& entry : fs::directory_iterator(folder)) {
            if (entry.is_regular_file() && ::access(entry.path().c_str(), X_OK) == 0) programs.push_back(entry.path());
        }
    }
    std::sort(programs.begin(), programs.end());
    for (const fs::path& program : programs) {
        extra.file("tests/" + program.filename().string(), read_file(program), 0755);
    }
}

fs::path compose_initrd(const RootImage& root, const std::string& extra, const TempDir& scratch) {
    fs::path path = scratch.path() / "initrd.cpio";
    std::error_code error;
    fs::copy_file(root.archive, path, fs::copy_options::overwrite_existing, error);
    if (error) fail("cannot copy " + root.archive.string() + ": " + error.message());
    UniqueFd file(::open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
    std::string tail(static_cast<size_t>((4 - fs::file_size(path) % 4) % 4), '\0');
    tail += extra;
    for (size_t done = 0; done < tail.size();) {
        ssize_t n = ::write(file.get(), tail.data() + done, tail.size() - done);
        if (n <= 0) fail("cannot write " + path.string() + ": " + std::strerror(errno));
        done += static_cast<size_t>(n);
    }
    return path;
}

}  // namespace cli
