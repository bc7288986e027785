// SPDX-License-Identifier: MIT
// The parts of load_program (linux/exec/exec_load.hpp): ELF objects and the first stack. They fill an address space
// that no program uses yet, under its lock: files that it maps refer to it, and may be truncated concurrently.
//
// Plain functions; where a page of a file must be read first they yield kNeedsTask, with `missing` saying which, and
// are called again. What they had done until then is kept or done again.
#pragma once
#include "elf/image.hpp"
#include "linux/exec/exec_load.hpp"
#include "linux/mm/state.hpp"

namespace linux {

// An ELF file being loaded: the program or its interpreter.
struct ElfObject {
    Ref<fs::File> file;
    Ref<fs::Mapping> mapping;
    elf::Header header{};
    std::byte* table_bytes = nullptr;
    std::span<const elf::ProgramHeader> table;
    elf::Layout layout;
    u64 bias = 0;
    u32 tails_done = 0;  // segments whose last page was completed

    ElfObject() = default;
    ElfObject(const ElfObject&) = delete;
    ~ElfObject();
    UserAddr at(u64 address) const { return UserAddr{address + bias}; }
};

class ProgramLoader {
public:
    // The page of a file that kNeedsTask was about.
    Ref<fs::Mapping> missing;
    u64 missing_index = 0;

    ElfObject program, interpreter;
    char interpreter_path[fs::kPathMax > 256 ? 256 : fs::kPathMax];
    Ref<AddressSpace> mm;
    bool may_map_low = false;  // as in AddressSpace::MapRequest
    MemoryLimits limits;       // what is mapped counts; kFault: too much (beyond Linux's point of no return)

    // Header and program headers of a file. kNoExec: not a program of this machine; `short_header` if it is shorter
    // than a header.
    Leaf<void> read_object(ElfObject& o, Ref<fs::File> file, Errno short_header);
    // The interpreter's name, empty if there is none. kNoExec: damaged.
    Leaf<std::string_view> read_interpreter_name();
    Result<void> examine(ElfObject& o);
    // Chooses where the object goes and maps its segments.
    Result<void> map_object(ElfObject& o, bool is_interpreter);
    // Zero-fills what follows the file's contents in the last page of each segment.
    Leaf<void> finish_tails(ElfObject& o);

    // The stack. lay_out_stack decides the positions, place_stack maps it, grow_stack makes pages from the top down (false: all are there),
    // copy_text copies the strings in pieces (false: all done), write_pointers the two arrays in pieces (the same),
    // write_vectors the rest.
    Result<void> lay_out_stack(const ExecArguments& a);
    Result<void> place_stack();
    Result<bool> grow_stack();
    // Beside the stack, if there is one.
    Result<void> place_vdso();
    bool copy_text(const ExecArguments& a);
    Result<bool> write_pointers(const ExecArguments& a);
    Result<void> write_vectors(Caller& c, const ExecArguments& a);
    UserAddr stack_pointer() const { return sp_; }
    void set_layout();

private:
    static constexpr u32 kAuxEntries = 22;
    AddressSpace::State& state() RT_REQUIRES(mm->lock_) { return mm->state(); }
    rt::SpinLock<rt::Rank::address_space>& lock() RT_RETURNS_LOCK(mm->lock_) { return mm->lock_; }
    Leaf<fs::Page*> page_of(fs::Mapping& m, u64 index);
    Leaf<void> read(fs::Mapping& m, u64 offset, void* to, u64 n);
    Result<void> put(AreaSpec&& spec);
    Result<void> check_limits(u64 pages, bool data) RT_REQUIRES(mm->lock_);
    Leaf<void> finish_tail(ElfObject& o, const elf::ProgramHeader& p);
    // Into pages that grow_stack() made: the tree of pages may be changed elsewhere meanwhile.
    void write(UserAddr at, const void* from, u64 n) RT_REQUIRES(mm->lock_);
    void write_word(UserAddr& at, u64 value) RT_REQUIRES(mm->lock_);

    UserAddr sp_{}, path_at_{}, text_at_{}, platform_at_{}, random_at_{}, next_page_{}, vdso_at_{};
    UserAddr stack_low_{}, stack_top_{};
    u64 stack_to_come_ = 0;  // pages that count already
    u64 text_done_ = 0;
    UserAddr pointer_at_{};          // where the next pointer goes; zero: not begun
    u64 pointed_ = 0, scanned_ = 0;  // of the text: up to the string whose pointer comes next; how far that was read
    u32 pointers_ = 0;               // written so far, argv's first
    struct {
        std::byte for_program[16];  // AT_RANDOM
        u32 vdso_place;
    } random_;
};

}  // namespace linux
