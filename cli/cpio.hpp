// SPDX-License-Identifier: MIT
// Writer (and lister) of "newc" cpio archives, the format of an initial RAM file system
// (Linux, Documentation/driver-api/early-userspace/buffer-format.rst). Links, modes, owners, devices and times are
// kept.
#pragma once
#include <sys/stat.h>

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>

#include "cli/util.hpp"

namespace cli {

class CpioWriter {
public:
    struct Meta {
        uint32_t mode = 0;  // with the file type
        uint32_t uid = 0, gid = 0;
        uint32_t mtime = 0;
        uint32_t rdev_major = 0, rdev_minor = 0;
    };
    // Names have no leading slash. A name that was added before is ignored (the first one wins).
    void directory(const std::string& name, uint32_t permissions = 0755);
    void file(const std::string& name, std::string_view data, uint32_t permissions = 0644);
    void symlink(const std::string& name, std::string_view target);
    // One host file (of any type) under `name`; its parents are created with default modes when they are missing.
    void host_file(const std::string& name, const fs::path& path, bool follow_links = false);
    // A whole host tree under `prefix` ("" for the root itself); hard links inside it stay links.
    void host_tree(const std::string& prefix, const fs::path& root);
    void parents(const std::string& name);
    bool contains(const std::string& name) const { return names_.count(name) != 0; }
    // Names that an earlier archive of the same image holds: not written again, a link there is not replaced by a
    // directory.
    void assume(const std::set<std::string>& names) { names_.insert(names.begin(), names.end()); }
    // Ends the archive, padded so that another one may follow.
    std::string finish();

private:
    void entry(const std::string& name, const Meta& meta, std::string_view data, uint32_t inode, uint32_t links);
    struct LinkGroup {
        Meta meta;
        fs::path path;
        std::vector<std::string> names;
    };
    void flush_links();

    std::string out_;
    std::set<std::string> names_;
    std::map<std::pair<uint64_t, uint64_t>, LinkGroup> links_;
    uint32_t next_inode_ = 1;
};

struct CpioEntry {
    uint32_t mode = 0;
    std::string target;  // of a symbolic link
    size_t at = 0;       // where the data is in the archive
    size_t size = 0;
    bool copied = false;  // not of the archive: added to what follows it
};
// What is in a (possibly concatenated) archive, by name. Throws Failure when it is not a newc archive.
std::map<std::string, CpioEntry> cpio_entries(std::string_view archive);
std::set<std::string> cpio_names(std::string_view archive);

}  // namespace cli
