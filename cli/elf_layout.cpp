// SPDX-License-Identifier: MIT
// Segments and sections of an ELF file (gABI 5, chapters 4 and 5): see elf_layout.hpp.
#include "cli/elf_layout.hpp"

#include <elf.h>

#include <algorithm>
#include <cstring>

namespace cli {

namespace {

// Entry `i` of a table at `at`.
template <class T>
bool read_entry(std::string_view file, uint64_t at, size_t i, T& value) {
    if (at > file.size() || (file.size() - at) / sizeof value <= i) return false;
    std::memcpy(&value, file.data() + at + i * sizeof value, sizeof value);
    return true;
}

}  // namespace

std::optional<ElfLayout> elf_layout(std::string_view file) {
    Elf64_Ehdr header;
    if (!read_entry(file, 0, 0, header) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
        header.e_ident[EI_CLASS] != ELFCLASS64)
        return std::nullopt;
    ElfLayout layout;
    layout.start = ~uint64_t{0};
    for (size_t i = 0; i < header.e_phnum; ++i) {
        Elf64_Phdr segment;
        if (!read_entry(file, header.e_phoff, i, segment)) return std::nullopt;
        if (segment.p_type != PT_LOAD) continue;
        layout.start = std::min<uint64_t>(layout.start, segment.p_vaddr);
        layout.end = std::max<uint64_t>(layout.end, segment.p_vaddr + segment.p_memsz);
        layout.physical_end = std::max<uint64_t>(layout.physical_end, segment.p_paddr + segment.p_memsz);
        layout.file_end = std::max<uint64_t>(layout.file_end, segment.p_offset + segment.p_filesz);
    }
    if (layout.start >= layout.end || layout.file_end > file.size()) return std::nullopt;
    for (size_t i = 0; i < header.e_shnum; ++i) {
        Elf64_Shdr section;
        if (!read_entry(file, header.e_shoff, i, section)) return std::nullopt;
        if (!(section.sh_flags & SHF_ALLOC)) continue;
        uint64_t& kind = section.sh_type == SHT_NOBITS      ? layout.bss
                         : section.sh_flags & SHF_EXECINSTR ? layout.text
                         : section.sh_flags & SHF_WRITE     ? layout.data
                                                            : layout.rodata;
        kind += section.sh_size;
    }
    return layout;
}

std::string loaded_part(std::string file) {
    auto layout = elf_layout(file);
    Elf64_Ehdr header;
    if (!layout || !read_entry(file, 0, 0, header)) return file;
    const uint64_t table_end = header.e_phoff + uint64_t{header.e_phnum} * sizeof(Elf64_Phdr);
    file.resize(std::max({layout->file_end, table_end, uint64_t{sizeof header}}));
    header.e_shoff = 0;
    header.e_shnum = header.e_shstrndx = 0;
    std::memcpy(file.data(), &header, sizeof header);
    return file;
}

}  // namespace cli
