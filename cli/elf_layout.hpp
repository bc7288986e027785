// SPDX-License-Identifier: MIT
// What of an ELF file is loaded: addresses, and bytes by kind. Of files that this tree builds; a damaged one has no
// layout.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace cli {

struct ElfLayout {
    uint64_t start = 0, end = 0;  // addresses of the segments, end exclusive
    uint64_t physical_end = 0;
    uint64_t file_end = 0;                             // behind this nothing in the file is loaded
    uint64_t text = 0, rodata = 0, data = 0, bss = 0;  // bytes of the sections that are loaded
    uint64_t bytes() const { return text + rodata + data + bss; }
};

std::optional<ElfLayout> elf_layout(std::string_view file);

// The file without what is not loaded (debug information, symbols, section headers).
std::string loaded_part(std::string file);

}  // namespace cli
