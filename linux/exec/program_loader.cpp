// SPDX-License-Identifier: MIT
// Mapping the segments of ELF objects. Addresses are Linux's with randomisation off (fs/binfmt_elf.c, arch/x86/mm/mmap.c).
#include "linux/exec/program_loader.hpp"

#include <cstring>

#include "linux/arch/program.hpp"

namespace linux {
namespace {

// ELF_ET_DYN_BASE: two thirds of the address space.
constexpr u64 kPieBase = (fs::kUserEnd / 3 * 2) & ~(kPageSize - 1);

u32 protection(u32 segment_flags) {
    return (segment_flags & elf::kRead ? kProtRead : 0) | (segment_flags & elf::kWrite ? kProtWrite : 0) |
           (segment_flags & elf::kExecute ? kProtExec : 0);
}

}  // namespace

ElfObject::~ElfObject() {
    if (table_bytes) rt::deallocate(table_bytes, elf::table_bytes(header));
}

Leaf<fs::Page*> ProgramLoader::page_of(fs::Mapping& m, u64 index) {
    if (fs::Page* p = m.peek(index)) return p;
    auto got = m.get(index);
    if (got.ok()) return m.peek(index);  // the cache keeps it
    if (got.error() == kNeedsTask) {
        missing = Ref<fs::Mapping>(&m);
        missing_index = index;
    }
    return got.error();
}

// kIo: the file is too short.
Leaf<void> ProgramLoader::read(fs::Mapping& m, u64 offset, void* to, u64 n) {
    u64 size = m.size.load(std::memory_order_acquire);
    if (offset > size || n > size - offset) return Errno::kIo;
    auto* out = static_cast<std::byte*>(to);
    while (n) {
        u64 inside = offset % kPageSize, piece = kPageSize - inside < n ? kPageSize - inside : n;
        fs::Page* p = TRY(page_of(m, offset >> lib::kPageShift));
        if (!p) return Errno::kIo;  // truncated this moment
        std::memcpy(out, p->bytes() + inside, piece);
        out += piece;
        offset += piece;
        n -= piece;
    }
    return lib::kOk;
}

Leaf<void> ProgramLoader::read_object(ElfObject& o, Ref<fs::File> file, Errno short_header) {
    if (!o.mapping) {
        auto source = file->map_source();
        if (!source.ok() || !source.value().mapping) return Errno::kNoExec;
        o.mapping = std::move(source.value().mapping);
        o.file = std::move(file);
    }
    if (!o.table_bytes) {
        if (auto r = read(*o.mapping, 0, &o.header, sizeof o.header); !r.ok())
            return r.error() == Errno::kIo ? short_header : r.error();
        TRY(elf::check_header(o.header, arch::kElfMachine));
        o.table_bytes = static_cast<std::byte*>(rt::allocate(elf::table_bytes(o.header)));
        if (!o.table_bytes) return Errno::kNoMem;
    }
    if (auto r = read(*o.mapping, o.header.table_offset, o.table_bytes, elf::table_bytes(o.header)); !r.ok())
        return r.error() == Errno::kIo ? Errno::kNoExec : r.error();
    o.table = {reinterpret_cast<const elf::ProgramHeader*>(o.table_bytes), o.header.entry_count};
    return lib::kOk;
}

Leaf<std::string_view> ProgramLoader::read_interpreter_name() {
    for (const elf::ProgramHeader& p : program.table) {
        if (p.type != elf::kInterpreter) continue;
        if (p.file_size > fs::kPathMax || p.file_size < 2) return Errno::kNoExec;
        if (p.file_size > sizeof interpreter_path) return Errno::kNameTooLong;
        TRY(read(*program.mapping, p.offset, interpreter_path, p.file_size));
        if (interpreter_path[p.file_size - 1] != 0) return Errno::kNoExec;
        return std::string_view{interpreter_path};
    }
    return std::string_view{};
}

Result<void> ProgramLoader::examine(ElfObject& o) {
    o.layout = TRY(elf::examine(o.header, o.table, fs::kUserEnd));
    return lib::kOk;
}

Result<void> ProgramLoader::put(AreaSpec&& spec) {
    if (spec.start.value < kMinAddress && !may_map_low) return Errno::kPerm;
    DeadAreas dead;
    rt::LockGuard guard(lock());
    AddressSpace::State& s = state();
    if (s.overlaps(spec.start, spec.end)) {  // a later segment wins
        TRY(s.split_at(spec.start));
        TRY(s.split_at(spec.end));
        s.remove_range(spec.start, spec.end, dead);
    }
    const bool data = (spec.prot & kProtWrite) != 0;
    TRY(check_limits((spec.end - spec.start) >> lib::kPageShift, data));
    return s.place(std::move(spec), dead);
}

// Linux: may_expand_vm.
Result<void> ProgramLoader::check_limits(u64 pages, bool data) {
    const AddressSpace::State& s = state();
    if (over_limits(s.total_pages + stack_to_come_, s.data_pages, pages, data, limits)) return Errno::kFault;
    return lib::kOk;
}

Result<void> ProgramLoader::map_object(ElfObject& o, bool is_interpreter) {
    u64 size = o.layout.high - o.layout.low;
    if (o.header.type == elf::kTypeShared) {
        u64 base = (kPieBase & ~(o.layout.alignment - 1));
        if (is_interpreter) {
            rt::LockGuard guard(lock());
            base = TRY(state().find_gap(UserAddr{0}, size).settled(Errno::kNoMem)).value;  // few areas are in the way
        }
        if (base > fs::kUserEnd - size) return Errno::kInval;
        o.bias = base - o.layout.low;
        // Linux maps its whole range first, with the rights of its first segment (elf_map).
        bool data = false;
        for (const elf::ProgramHeader& p : o.table) {
            if (p.type != elf::kLoad) continue;
            data = (p.flags & elf::kWrite) != 0;
            break;
        }
        rt::LockGuard guard(lock());
        TRY(check_limits(lib::pages_for(size), data));
    }
    for (const elf::ProgramHeader& p : o.table) {
        if (p.type != elf::kLoad) continue;
        elf::Segment seg = TRY(elf::segment(p, fs::kUserEnd));
        if (seg.file_end > seg.start) {
            AreaSpec spec;
            spec.start = o.at(seg.start);
            spec.end = o.at(seg.file_end);
            spec.base = spec.start.value - seg.file_offset;
            spec.prot = protection(seg.flags);
            spec.flags = kAreaMayAll;
            spec.mapping = o.mapping;
            spec.file = o.file;
            TRY(put(std::move(spec)));
        }
        if (seg.end > seg.file_end) {
            if (exceeds_memory((seg.end - seg.file_end) >> lib::kPageShift)) return Errno::kInval;
            AreaSpec spec;
            spec.start = o.at(seg.file_end);
            spec.end = o.at(seg.end);
            spec.prot = kProtRead | kProtWrite | (protection(seg.flags) & kProtExec);
            spec.flags = kAreaMayAll;
            TRY(put(std::move(spec)));
        }
    }
    if (!is_interpreter && o.at(o.header.entry).value >= fs::kUserEnd) return Errno::kInval;
    return lib::kOk;
}

Leaf<void> ProgramLoader::finish_tail(ElfObject& o, const elf::ProgramHeader& p) {
    elf::Segment seg = TRY(elf::segment(p, fs::kUserEnd));
    u64 used = seg.data_end % kPageSize;
    if (used == 0 || p.file_size == 0) return lib::kOk;
    // Of an interpreter Linux clears the end of the last page in any case, and gives up if it cannot (load_elf_interp).
    bool always = &o == &interpreter && seg.data_end == o.layout.data_end;
    if (seg.zero_end == seg.data_end && !always) return lib::kOk;
    UserAddr at = o.at(seg.data_end - used);
    rt::LockGuard guard(lock());  // the file is not truncated between the look at its size and put()
    AddressSpace::State& s = state();
    Area* a = s.find(at);
    if (!a || a->mapping != o.mapping) return lib::kOk;  // a later segment took its place
    if (!a->writable()) return Errno::kFault;
    u64 index = a->index(at), page = at.value >> lib::kPageShift;
    if (index >= lib::pages_for(o.mapping->size.load(std::memory_order_acquire))) return Errno::kFault;
    if (s.anon.find(page)) return lib::kOk;
    fs::Page* source = TRY(page_of(*o.mapping, index));
    if (!source) return Errno::kFault;
    Ref<fs::Page> fresh = TRY(fs::Page::allocate());
    std::memcpy(fresh->bytes(), source->bytes(), used);
    std::memset(fresh->bytes() + used, 0, kPageSize - used);
    AnonMap::Chunk* c = s.anon.make_chunk(page / AnonMap::kChunkPages);
    if (!c) return Errno::kNoMem;
    // The program will write to its data soon.
    port::MapEntry entry{at, fresh->frame(), a->rights(true)};
    TRY(s.space.map({&entry, 1}));
    s.anon.put(*c, page, std::move(fresh));
    return lib::kOk;
}

Leaf<void> ProgramLoader::finish_tails(ElfObject& o) {
    for (; o.tails_done < o.table.size(); ++o.tails_done)
        if (o.table[o.tails_done].type == elf::kLoad) TRY(finish_tail(o, o.table[o.tails_done]));
    return lib::kOk;
}

void ProgramLoader::set_layout() {
    AddressSpace::Layout& l = mm->layout;
    const elf::Layout& e = program.layout;
    l.code_start = program.at(e.code_start);
    l.code_end = program.at(e.code_end);
    l.data_start = program.at(e.data_start);
    l.data_end = program.at(e.data_end);
    l.break_start = program.at(e.zero_end).up(kPageSize);
    rt::LockGuard guard(lock());
    state().break_end = l.break_start;
}

}  // namespace linux
