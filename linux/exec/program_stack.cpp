// SPDX-License-Identifier: MIT
// The first stack of a program: strings, argument and environment vectors, auxiliary vector (System V ABI, AMD64
// supplement 3.4.1; order of entries as Linux's create_elf_tables).
#include <cstring>

#include "abi/linux/auxvec.hpp"
#include "abi/vdso.hpp"
#include "linux/arch/machine.hpp"
#include "linux/exec/program_loader.hpp"
#include "linux/exec/vdso.hpp"

namespace linux {
namespace {

constexpr u64 kVdsoRoom = 256;           // pages, 1 MiB: the vDSO is at one of 250 places there
constexpr u64 kStackExpand = 128 << 10;  // mapped below the strings from the start (setup_arg_pages)
constexpr u32 kPagesAtOnce = 32;
constexpr u64 kTextAtOnce = 64 << 10;

}  // namespace

Result<void> ProgramLoader::lay_out_stack(const ExecArguments& a) {
    // The vDSO lies above, as on Linux: there the page tables are the stack's, and nothing is in the way of anything.
    const UserAddr top{fs::kUserEnd - (vdso ? kVdsoRoom * kPageSize : 0)};
    port::Port::entropy(std::as_writable_bytes(std::span{&random_, 1}));
    path_at_ = top - sizeof(u64) - (a.path.size() + 1);
    text_at_ = path_at_ - a.strings->size();
    platform_at_ = text_at_.down(16) - (std::strlen(arch::kMachineName) + 1);
    random_at_ = platform_at_ - sizeof random_.for_program;
    u64 words = 1 + (u64{a.argc} + 1) + (u64{a.envc} + 1);
    sp_ = (random_at_.down(8) - kAuxEntries * 2 * sizeof(u64) - words * sizeof(u64)).down(16);
    next_page_ = top;

    // Linux: setup_arg_pages, and then create_elf_tables may need more. What the strings need was within the limits.
    const UserAddr strings = text_at_.down(kPageSize);
    u64 size = (top - strings) + kStackExpand;
    if (u64 limit = limits.stack & ~(kPageSize - 1); size > limit) size = limit;
    UserAddr low = top - size;
    if (low > strings) low = strings;
    if (low > sp_.down(kPageSize)) low = sp_.down(kPageSize);
    stack_low_ = low;
    stack_top_ = top;
    stack_to_come_ = (top - low) >> lib::kPageShift;
    if (low < strings && (top - low > limits.stack || stack_to_come_ > limits.address >> lib::kPageShift))
        return Errno::kFault;
    return lib::kOk;
}

Result<void> ProgramLoader::place_stack() {
    bool executable = false;
    for (const elf::ProgramHeader& p : program.table)
        if (p.type == elf::kGnuStack) executable = (p.flags & elf::kExecute) != 0;
    AreaSpec spec;
    spec.start = stack_low_;
    spec.end = stack_top_;
    spec.prot = kProtRead | kProtWrite | (executable ? kProtExec : 0);
    spec.flags = kAreaMayAll | kAreaGrowsDown;
    DeadAreas dead;
    rt::LockGuard guard(lock());
    AddressSpace::State& s = state();
    if (s.overlaps(stack_low_, stack_top_)) return Errno::kInval;
    TRY(s.place(std::move(spec), dead));
    stack_to_come_ = 0;
    mm->layout.stack_start = sp_;
    return lib::kOk;
}

Result<void> ProgramLoader::place_vdso() {
    using abi::vdso::kCodePages, abi::vdso::kDataPages;
    if (!vdso) return lib::kOk;
    constexpr u64 kPages = kDataPages + kCodePages;
    UserAddr wanted{fs::kUserEnd - (kPages + random_.vdso_place % (kVdsoRoom - kPages)) * kPageSize};
    DeadAreas dead;
    rt::LockGuard guard(lock());
    AddressSpace::State& s = state();
    UserAddr at = TRY(s.find_gap(wanted, kPages * kPageSize).settled(Errno::kNoMem));  // few areas are in the way
    vdso_at_ = at + kDataPages * kPageSize;
    AreaSpec data;
    data.start = at;
    data.end = vdso_at_;
    data.base = at.value;
    data.prot = kProtRead;
    data.flags = kAreaSpecial | kAreaMayRead | kAreaDontDump;
    data.mapping = Ref<fs::Mapping>(vdso.data);
    TRY(s.place(std::move(data), dead));
    AreaSpec code;
    code.start = vdso_at_;
    code.end = vdso_at_ + kCodePages * kPageSize;
    code.base = vdso_at_.value;
    code.prot = kProtRead | kProtExec;
    code.flags = kAreaSpecial | kAreaMayAll;
    code.mapping = Ref<fs::Mapping>(vdso.code);
    TRY(s.place(std::move(code), dead));
    // Most C libraries look at it when they start: cheaper now than by faults.
    port::MapEntry entries[1 + kCodePages];
    entries[0] = {at, vdso.data->peek(0)->frame(), {.read = true}};
    for (u64 n = 0; n < kCodePages; ++n)
        entries[1 + n] = {vdso_at_ + n * kPageSize, vdso.code->peek(n)->frame(), {.read = true, .exec = true}};
    return s.space.map(entries);
}

Result<bool> ProgramLoader::grow_stack() {
    rt::LockGuard guard(lock());
    AddressSpace::State& s = state();
    Area* a = s.find(sp_);
    port::MapEntry entries[kPagesAtOnce];
    u32 n = 0;
    while (n < kPagesAtOnce && next_page_ > sp_.down(kPageSize)) {
        UserAddr at = next_page_ - kPageSize;
        u64 page = at.value >> lib::kPageShift;
        Ref<fs::Page> fresh = TRY(fs::Page::allocate_zeroed());
        AnonMap::Chunk* c = s.anon.make_chunk(page / AnonMap::kChunkPages);
        if (!c) return Errno::kNoMem;
        entries[n++] = {at, fresh->frame(), a->rights(true)};
        s.anon.put(*c, page, std::move(fresh));
        next_page_ = at;
    }
    if (n) TRY(s.space.map({entries, n}));
    return next_page_ > sp_.down(kPageSize);
}

void ProgramLoader::write(UserAddr at, const void* from, u64 n) {
    auto* bytes = static_cast<const std::byte*>(from);
    while (n) {
        u64 inside = at.value % kPageSize, piece = kPageSize - inside < n ? kPageSize - inside : n;
        std::memcpy(state().anon.find(at.value >> lib::kPageShift)->bytes() + inside, bytes, piece);
        at += piece;
        bytes += piece;
        n -= piece;
    }
}

void ProgramLoader::write_word(UserAddr& at, u64 value) {
    // Words are aligned: never across a page.
    std::memcpy(state().anon.find(at.value >> lib::kPageShift)->bytes() + at.value % kPageSize, &value, sizeof value);
    at += sizeof value;
}

bool ProgramLoader::copy_text(const ExecArguments& a) {
    rt::LockGuard guard(lock());
    for (u64 end = text_done_ + kTextAtOnce; text_done_ < end;) {
        const std::span<const char> text = a.strings->text_at(text_done_);
        if (text.empty()) return false;
        write(text_at_ + text_done_, text.data(), text.size());
        text_done_ += text.size();
    }
    return true;
}

// argc, and the pointers to the strings: some of them, or some of the text between two.
Result<bool> ProgramLoader::write_pointers(const ExecArguments& a) {
    constexpr u32 kPointers = 256;
    constexpr u64 kBytes = 8192;
    rt::LockGuard guard(lock());
    if (pointer_at_.value == 0) {
        pointer_at_ = sp_;
        write_word(pointer_at_, a.argc);
        mm->layout.arg_start = text_at_;
    }
    const u32 all = a.argc + a.envc;
    for (u64 bytes = 0, n = 0;;) {
        if (pointers_ == a.argc && mm->layout.env_start.value == 0) {
            write_word(pointer_at_, 0);
            mm->layout.arg_end = mm->layout.env_start = text_at_ + pointed_;
        }
        if (pointers_ == all) {
            write_word(pointer_at_, 0);
            return false;
        }
        if (n++ == kPointers || bytes >= kBytes) return true;
        const u64 from = pointed_ + scanned_, size = a.strings->size();
        if (pointed_ >= size) return Errno::kInval;
        const std::span<const char> text = a.strings->text_at(from);
        const u64 most = text.size() < kBytes ? text.size() : kBytes, length = strnlen(text.data(), most);
        bytes += length;
        if (length == most && from + length < size) {  // the string continues
            scanned_ += length;
            continue;
        }
        write_word(pointer_at_, text_at_.value + pointed_);
        pointed_ = from + length + 1;
        scanned_ = 0;
        ++pointers_;
    }
}

Result<void> ProgramLoader::write_vectors(Caller& c, const ExecArguments& a) {
    auto auxiliary = TRY(rt::make_ref<AddressSpace::Layout::Auxiliary>());
    rt::LockGuard guard(lock());
    write(random_at_, random_.for_program, sizeof random_.for_program);
    write(platform_at_, arch::kMachineName, std::strlen(arch::kMachineName) + 1);
    write(path_at_, a.path.data(), a.path.size());  // the page is zeroed: the NUL is there

    const UserAddr at = pointer_at_;
    mm->layout.env_end = path_at_;

    const fs::Creds& creds = a.creds ? *a.creds : c.creds();
    static_assert(kAuxEntries * 2 <= AddressSpace::Layout::Auxiliary::kWords);
    u64* kept = auxiliary->words;
    auto aux = [&](Aux key, u64 value) {
        *kept++ = key;
        *kept++ = value;
    };
    if (vdso) aux(kAtSysinfoEhdr, vdso_at_.value);
    aux(kAtMinSigStkSz, arch::signal_frame_size(c.thread()));
    aux(kAtHwcap, port::Port::hardware_capabilities());
    aux(kAtPagesz, kPageSize);
    aux(kAtClktck, 100);
    aux(kAtPhdr, program.at(program.layout.table_address).value);
    aux(kAtPhent, sizeof(elf::ProgramHeader));
    aux(kAtPhnum, program.header.entry_count);
    aux(kAtBase, interpreter.mapping ? interpreter.at(0).value : 0);
    aux(kAtFlags, 0);
    aux(kAtEntry, program.at(program.header.entry).value);
    aux(kAtUid, creds.uid);
    aux(kAtEuid, creds.euid);
    aux(kAtGid, creds.gid);
    aux(kAtEgid, creds.egid);
    aux(kAtSecure, a.secure);
    aux(kAtRandom, random_at_.value);
    aux(kAtHwcap2, port::Port::hardware_capabilities2());
    aux(kAtExecfn, path_at_.value);
    aux(kAtPlatform, platform_at_.value);
    // The rest is zero: kAtNull.
    write(at, auxiliary->words, kAuxEntries * 2 * sizeof(u64));
    mm->layout.auxiliary = std::move(auxiliary);
    return lib::kOk;
}

}  // namespace linux
