// SPDX-License-Identifier: MIT
// What the dynamic loader would read in an ELF file: interpreter, needed libraries, search paths. The file is
// untrusted: nothing of it is run, and every offset is checked.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cli {

struct ElfFile {
    std::string interpreter;          // empty: static, or a library
    std::vector<std::string> needed;  // DT_NEEDED, in order
    std::string soname;
    std::string rpath, runpath;  // as in the file, directories separated by ':'
};

// None if the bytes are not an ELF file for x86-64, or are damaged.
std::optional<ElfFile> read_elf(std::string_view bytes);

}  // namespace cli
