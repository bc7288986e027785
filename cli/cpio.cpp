// SPDX-License-Identifier: MIT
// "newc" cpio archives: see cpio.hpp. Every record is a 110-byte ASCII header, the name with its NUL padded to 4 bytes,
// the data padded to 4 bytes. Of a group of hard links only the last name carries the data, as in GNU cpio.
#include "cli/cpio.hpp"

#include <sys/sysmacros.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <vector>

namespace cli {

namespace {

constexpr size_t kHeaderSize = 110;
constexpr std::string_view kTrailer = "TRAILER!!!";

void pad_to(std::string& out, size_t alignment) { out.append((alignment - out.size() % alignment) % alignment, '\0'); }

CpioWriter::Meta meta_of(const struct stat& st) {
    return {.mode = st.st_mode,
            .uid = st.st_uid,
            .gid = st.st_gid,
            .mtime = static_cast<uint32_t>(st.st_mtime),
            .rdev_major = S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode) ? major(st.st_rdev) : 0,
            .rdev_minor = S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode) ? minor(st.st_rdev) : 0};
}

struct stat stat_of(const fs::path& path, bool follow) {
    struct stat st;
    if ((follow ? ::stat(path.c_str(), &st) : ::lstat(path.c_str(), &st)) != 0) {
        fail("cannot read " + path.string() + ": " + std::strerror(errno));
    }
    return st;
}

}  // namespace

void CpioWriter::entry(const std::string& name, const Meta& meta, std::string_view data, uint32_t inode,
                       uint32_t links) {
    if (data.size() > UINT32_MAX) fail(name + ": larger than a cpio archive can hold (4 GiB)");
    char header[kHeaderSize + 1];
    std::snprintf(header, sizeof header, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", inode, meta.mode,
                  meta.uid, meta.gid, links, meta.mtime, static_cast<uint32_t>(data.size()), 0u, 0u, meta.rdev_major,
                  meta.rdev_minor, static_cast<uint32_t>(name.size() + 1), 0u);
    out_.append(header, kHeaderSize);
    out_.append(name);
    out_ += '\0';
    pad_to(out_, 4);
    out_.append(data);
    pad_to(out_, 4);
}

void CpioWriter::parents(const std::string& name) {
    for (size_t slash = name.find('/'); slash != std::string::npos; slash = name.find('/', slash + 1)) {
        directory(name.substr(0, slash));
    }
}

void CpioWriter::directory(const std::string& name, uint32_t permissions) {
    if (name.empty() || !names_.insert(name).second) return;
    entry(name, {.mode = S_IFDIR | permissions}, {}, next_inode_++, 2);
}

void CpioWriter::file(const std::string& name, std::string_view data, uint32_t permissions) {
    parents(name);
    if (!names_.insert(name).second) return;
    entry(name, {.mode = S_IFREG | permissions}, data, next_inode_++, 1);
}

void CpioWriter::symlink(const std::string& name, std::string_view target) {
    parents(name);
    if (!names_.insert(name).second) return;
    entry(name, {.mode = S_IFLNK | 0777}, target, next_inode_++, 1);
}

void CpioWriter::host_file(const std::string& name, const fs::path& path, bool follow_links) {
    parents(name);
    if (!names_.insert(name).second) return;
    struct stat st = stat_of(path, follow_links);
    if (S_ISREG(st.st_mode)) {
        entry(name, meta_of(st), read_file(path), next_inode_++, 1);
    } else if (S_ISLNK(st.st_mode)) {
        entry(name, meta_of(st), fs::read_symlink(path).string(), next_inode_++, 1);
    } else if (!S_ISSOCK(st.st_mode)) {
        entry(name, meta_of(st), {}, next_inode_++, S_ISDIR(st.st_mode) ? 2 : 1);
    }
}

void CpioWriter::host_tree(const std::string& prefix, const fs::path& root) {
    std::vector<fs::path> entries;
    struct stat top = stat_of(root, true);
    if (!S_ISDIR(top.st_mode)) fail(root.string() + " is not a directory");
    if (prefix.empty()) {
        // The root directory's own mode, owner and time: the entry ".".
        entry(".", meta_of(top), {}, next_inode_++, 2);
    } else {
        parents(prefix);
        if (names_.insert(prefix).second) entry(prefix, meta_of(top), {}, next_inode_++, 2);
    }
    std::error_code error;
    fs::recursive_directory_iterator walk(root, fs::directory_options::none, error), end;
    if (error) fail("cannot read " + root.string() + ": " + error.message());
    for (; walk != end; walk.increment(error)) {
        if (error) fail("cannot read below " + root.string() + ": " + error.message());
        entries.push_back(walk->path());
    }
    std::sort(entries.begin(), entries.end());  // the same tree gives the same archive
    for (const fs::path& path : entries) {
        std::string name = (prefix.empty() ? fs::path() : fs::path(prefix)) / path.lexically_relative(root);
        if (names_.count(name)) continue;
        struct stat st = stat_of(path, false);
        if (!S_ISDIR(st.st_mode) && !S_ISSOCK(st.st_mode) && st.st_nlink > 1) {
            names_.insert(name);
            LinkGroup& group = links_[{st.st_dev, st.st_ino}];
            group.meta = meta_of(st);
            group.path = path;
            group.names.push_back(name);
            continue;
        }
        host_file(name, path);
    }
    flush_links();
}

void CpioWriter::flush_links() {
    for (auto& [key, group] : links_) {
        uint32_t inode = next_inode_++;
        std::string data;
        if (S_ISREG(group.meta.mode)) data = read_file(group.path);
        if (S_ISLNK(group.meta.mode)) data = fs::read_symlink(group.path).string();
        // A symbolic link has its target in every record; a regular file its bytes in the last one only.
        for (const std::string& name : group.names) {
            bool with_data = S_ISLNK(group.meta.mode) || &name == &group.names.back();
            entry(name, group.meta, with_data ? std::string_view(data) : std::string_view(), inode,
                  static_cast<uint32_t>(group.names.size()));
        }
    }
    links_.clear();
}

std::string CpioWriter::finish() {
    entry(std::string(kTrailer), {}, {}, 0, 1);
    pad_to(out_, 512);
    return std::move(out_);
}

std::map<std::string, CpioEntry> cpio_entries(std::string_view archive) {
    std::map<std::string, CpioEntry> entries;
    size_t at = 0;
    auto number = [&](size_t field) -> size_t {
        size_t value = 0;
        for (char c : archive.substr(at + 6 + 8 * field, 8)) {
            const char* digits = "0123456789abcdef";
            const char* found = std::strchr(digits, c >= 'A' && c <= 'F' ? c + 32 : c);
            if (!found || c == '\0') fail("not a newc cpio archive (a damaged header)");
            value = value * 16 + static_cast<size_t>(found - digits);
        }
        return value;
    };
    while (at < archive.size()) {
        if (archive[at] == '\0') {
            ++at;
            continue;
        }
        if (archive.size() - at < kHeaderSize ||
            (archive.substr(at, 6) != "070701" && archive.substr(at, 6) != "070702")) {
            fail("not a newc cpio archive");
        }
        size_t size = number(6), name_size = number(11);
        size_t data = (at + kHeaderSize + name_size + 3) & ~size_t{3};
        if (name_size == 0 || data > archive.size() || size > archive.size() - data)
            fail("the cpio archive is cut short");
        std::string name(archive.substr(at + kHeaderSize, name_size - 1));
        if (name != kTrailer) {
            while (name.starts_with("./")) name.erase(0, 2);
            while (name.starts_with("/")) name.erase(0, 1);
            CpioEntry entry{.mode = static_cast<uint32_t>(number(1)), .target = {}, .at = data, .size = size};
            if (S_ISLNK(entry.mode)) entry.target = archive.substr(data, size);
            entries[name] = std::move(entry);
        }
        at = (data + size + 3) & ~size_t{3};
    }
    return entries;
}

std::set<std::string> cpio_names(std::string_view archive) {
    std::set<std::string> names;
    for (const auto& [name, entry] : cpio_entries(archive)) names.insert(name);
    return names;
}

}  // namespace cli
