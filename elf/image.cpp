// SPDX-License-Identifier: MIT
// Validation of ELF64 headers. The limits are those of Linux's loader (fs/binfmt_elf.c), so the same files run.
#include "elf/image.hpp"

#include <cstring>

namespace elf {
namespace {

constexpr u64 kLargestAlignment = u64{1} << 30;
constexpr u64 down(u64 v) { return v & ~(kPageSize - 1); }
constexpr u64 up(u64 v) { return down(v + kPageSize - 1); }

}  // namespace

Result<void> check_header(const Header& h, u16 machine) {
    if (std::memcmp(h.ident, "\177ELF", 4) != 0) return Errno::kNoExec;
    if (h.type != kTypeExecutable && h.type != kTypeShared) return Errno::kNoExec;
    if (h.machine != machine) return Errno::kNoExec;
    if (h.entry_size != sizeof(ProgramHeader)) return Errno::kNoExec;
    if (h.entry_count == 0 || table_bytes(h) > kPageSize) return Errno::kNoExec;
    if (h.table_offset + table_bytes(h) < h.table_offset) return Errno::kNoExec;
    return lib::kOk;
}

Result<Segment> segment(const ProgramHeader& p, u64 limit) {
    if (p.address >= limit || p.file_size > p.memory_size || p.memory_size > limit || limit - p.memory_size < p.address)
        return Errno::kInval;
    if (p.offset % kPageSize != p.address % kPageSize && p.file_size != 0) return Errno::kInval;
    if (p.offset + p.file_size < p.offset) return Errno::kInval;
    Segment s{};
    s.start = down(p.address);
    s.data_end = p.address + p.file_size;
    s.zero_end = p.address + p.memory_size;
    s.file_end = p.file_size ? up(s.data_end) : s.start;
    s.end = up(s.zero_end);
    s.file_offset = p.file_size ? down(p.offset) : 0;
    s.flags = p.flags;
    // File offsets are signed (off_t).
    if (s.file_offset + (s.file_end - s.start) > ~u64{0} >> 1 || p.offset > ~u64{0} >> 1) return Errno::kInval;
    return s;
}

Result<Layout> examine(const Header& h, std::span<const ProgramHeader> table, u64 limit) {
    Layout l;
    for (const ProgramHeader& p : table) {
        if (p.type != kLoad) continue;
        Segment s = TRY(segment(p, limit));
        ++l.segments;
        if (s.start < l.low) l.low = s.start;
        if (s.end > l.high) l.high = s.end;
        if (p.align > l.alignment && p.align <= kLargestAlignment && (p.align & (p.align - 1)) == 0)
            l.alignment = p.align;
        if (p.offset <= h.table_offset && h.table_offset - p.offset < p.file_size)
            l.table_address = h.table_offset - p.offset + p.address;
        if ((p.flags & kExecute) && p.address < l.code_start) l.code_start = p.address;
        if ((p.flags & kExecute) && s.data_end > l.code_end) l.code_end = s.data_end;
        if (p.address > l.data_start) l.data_start = p.address;
        if (s.data_end > l.data_end) l.data_end = s.data_end;
        if (s.zero_end > l.zero_end) l.zero_end = s.zero_end;
    }
    if (l.segments == 0 || l.high <= l.low) return Errno::kInval;
    if (l.code_start > l.code_end) l.code_start = l.code_end;
    return l;
}

}  // namespace elf
