// SPDX-License-Identifier: MIT
// ELF files as the dynamic loader sees them: see elf_file.hpp (gABI 5, chapters 4 and 5).
#include "cli/elf_file.hpp"

#include <elf.h>

#include <cstring>

namespace cli {

namespace {

template <class T>
bool read_at(std::string_view bytes, uint64_t at, T& value) {
    if (at > bytes.size() || bytes.size() - at < sizeof value) return false;
    std::memcpy(&value, bytes.data() + at, sizeof value);
    return true;
}

// The string that begins at `at` and ends with a NUL within the file; none otherwise.
std::optional<std::string> string_at(std::string_view bytes, uint64_t at) {
    if (at >= bytes.size()) return std::nullopt;
    std::string_view rest = bytes.substr(at);
    size_t end = rest.find('\0');
    if (end == rest.npos) return std::nullopt;
    return std::string(rest.substr(0, end));
}

}  // namespace

std::optional<ElfFile> read_elf(std::string_view bytes) {
    Elf64_Ehdr header;
    if (!read_at(bytes, 0, header) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
        header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_machine != EM_X86_64 ||
        header.e_phentsize != sizeof(Elf64_Phdr))
        return std::nullopt;
    std::vector<Elf64_Phdr> loads;
    std::optional<Elf64_Phdr> dynamic;
    ElfFile file;
    for (uint64_t i = 0; i < header.e_phnum; ++i) {
        Elf64_Phdr segment;
        if (header.e_phoff > bytes.size() || !read_at(bytes, header.e_phoff + i * sizeof segment, segment))
            return std::nullopt;
        if (segment.p_type == PT_LOAD) loads.push_back(segment);
        if (segment.p_type == PT_DYNAMIC) dynamic = segment;
        if (segment.p_type == PT_INTERP) {
            auto name = string_at(bytes, segment.p_offset);
            if (!name) return std::nullopt;
            file.interpreter = *name;
        }
    }
    if (!dynamic) return file;
    std::vector<Elf64_Dyn> entries;
    for (uint64_t at = 0; at + sizeof(Elf64_Dyn) <= dynamic->p_filesz; at += sizeof(Elf64_Dyn)) {
        Elf64_Dyn entry;
        if (dynamic->p_offset > bytes.size() || !read_at(bytes, dynamic->p_offset + at, entry)) return std::nullopt;
        if (entry.d_tag == DT_NULL) break;
        entries.push_back(entry);
    }
    // The string table's address is one of memory: the segment that holds it tells where it is in the file.
    std::optional<uint64_t> strings;
    for (const Elf64_Dyn& entry : entries) {
        if (entry.d_tag != DT_STRTAB) continue;
        for (const Elf64_Phdr& load : loads)
            if (entry.d_un.d_ptr >= load.p_vaddr && entry.d_un.d_ptr - load.p_vaddr < load.p_filesz)
                strings = load.p_offset + (entry.d_un.d_ptr - load.p_vaddr);
    }
    for (const Elf64_Dyn& entry : entries) {
        std::string* to = nullptr;
        switch (entry.d_tag) {
            case DT_NEEDED: to = &file.needed.emplace_back(); break;
            case DT_SONAME: to = &file.soname; break;
            case DT_RPATH: to = &file.rpath; break;
            case DT_RUNPATH: to = &file.runpath; break;
            default: continue;
        }
        if (!strings || entry.d_un.d_val > bytes.size()) return std::nullopt;
        auto text = string_at(bytes, *strings + entry.d_un.d_val);
        if (!text) return std::nullopt;
        *to = *text;
    }
    return file;
}

}  // namespace cli
