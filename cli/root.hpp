// SPDX-License-Identifier: MIT
// The guest's root file system: a cached default tree, a packed directory or a ready archive, and the small archive
// that is appended for each run with the program's arguments and what else this run needs.
//
// /.farcall/init tells the kernel what to start: the number of arguments in decimal, the arguments, then the
// environment, each ended by a NUL.
#pragma once
#include <set>
#include <string>
#include <vector>

#include "cli/cpio.hpp"

namespace cli {

struct RootImage {
    fs::path archive;
    std::set<std::string> names;
    std::map<std::string, CpioEntry> entries;
};

// `option` is empty (the default root, cached in the build tree), a directory (packed into `scratch`), or a cpio file.
RootImage open_root(const std::string& option, const TempDir& scratch);

std::vector<std::string> default_environment(bool terminal);
std::string start_file(const std::vector<std::string>& argv, const std::vector<std::string>& environment);

// Adds /tests: the guest programs that were built.
void add_test_programs(CpioWriter& extra);

// The root followed by `extra`, as one file in `scratch`.
fs::path compose_initrd(const RootImage& root, const std::string& extra, const TempDir& scratch);

}  // namespace cli
