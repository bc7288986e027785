// SPDX-License-Identifier: MIT
// ELF64 files (System V gABI, chapters 4 and 5): the structures and their validation. Nothing here reads a file or maps
// memory. Headers are untrusted input: every number is checked before it is used.
#pragma once
#include <span>

#include "lib/result.hpp"
#include "lib/types.hpp"

namespace elf {

struct Header {  // Elf64_Ehdr
    u8 ident[16];
    u16 type, machine;
    u32 version;
    u64 entry, table_offset, section_offset;
    u32 flags;
    u16 header_size, entry_size, entry_count, section_size, section_count, section_names;
};
static_assert(sizeof(Header) == 64);

struct ProgramHeader {  // Elf64_Phdr
    u32 type, flags;
    u64 offset, address, physical, file_size, memory_size, align;
};
static_assert(sizeof(ProgramHeader) == 56);

inline constexpr u16 kTypeExecutable = 2, kTypeShared = 3;
inline constexpr u32 kLoad = 1, kInterpreter = 3, kGnuStack = 0x6474e551;
inline constexpr u32 kExecute = 1, kWrite = 2, kRead = 4;  // ProgramHeader::flags

// Checks that this is a program for `machine` (e_machine) with a valid description of its program headers; kNoExec.
Result<void> check_header(const Header& h, u16 machine);
inline u64 table_bytes(const Header& h) { return u64{h.entry_count} * sizeof(ProgramHeader); }

// One loadable segment, rounded to pages. Addresses are those in the file, without the load bias (which is added modulo
// 2^64).
struct Segment {
    u64 start;        // page of the first byte
    u64 file_end;     // end of the last page that comes from the file; start if there is none
    u64 end;          // end of the last page
    u64 data_end;     // first byte after the file's contents
    u64 zero_end;     // first byte after the zero-filled rest
    u64 file_offset;  // file offset of `start`
    u32 flags;
};
// kInval: sizes or offset cannot be mapped at any address below `limit`, or are not congruent modulo the page size.
Result<Segment> segment(const ProgramHeader& p, u64 limit);

struct Layout {
    u64 low = ~u64{0}, high = 0;  // pages covered by all segments
    u64 alignment = kPageSize;    // largest valid p_align
    u64 table_address = 0;        // address of the program headers in memory; 0 if no segment contains them
    // startcode, endcode, start_data and end_data of proc(5), and the end of the zero-filled rest (start of the heap).
    u64 code_start = ~u64{0}, code_end = 0, data_start = 0, data_end = 0, zero_end = 0;
    u32 segments = 0;
};
// The extent of all loadable segments below `limit`. kInval: there is none, or one is invalid.
Result<Layout> examine(const Header& h, std::span<const ProgramHeader> table, u64 limit);

}  // namespace elf
