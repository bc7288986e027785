// SPDX-License-Identifier: MIT
// Files of /proc/PID that look into its address space: maps, statm, cmdline, environ; what it counts for when memory runs out.
#include <algorithm>
#include <cstring>
#include <utility>

#include "linux/procfs/procfs.hpp"
#include "linux/task/creds.hpp"
#include "linux/task/out_of_memory.hpp"
#include "rt/mem/pages.hpp"
#include "rt/mem/slab.hpp"

namespace linux {

using fs::ProcContext;
using lib::StringBuilder;

namespace {

// Null with kOk: a process without memory (zombie, kernel). kSrch: no such process.
Result<Ref<AddressSpace>> memory_of(const ProcContext& c) {
    Ref<Process> p = proc_process(c);
    if (!p) return Errno::kSrch;
    if (Ref<Thread> t = p->leading_thread(); t && Process::state_letter(*t) == 'Z') return Ref<AddressSpace>{};
    return p->mm();
}
// The memory that the process had when the file was opened; null: it has it no longer.
Result<Ref<AddressSpace>> opened_memory(const ProcContext& c) {
    Ref<AddressSpace> mm = TRY(memory_of(c));
    if (mm && mm->serial != c.opened) mm = {};
    return mm;
}

// Copies what the program has at [from, to), as far as it is there: a piece of it, from `position` on.
Leaf<void> add_memory(StringBuilder& out, AddressSpace& mm, UserAddr from, UserAddr to, u64& position) {
    constexpr u64 kPiece = 64 << 10;
    char chunk[512];
    const UserAddr start = from;
    from += std::exchange(position, ~u64{0});
    if (from < to && to - from > kPiece) {
        to = from + kPiece;
        position = to - start;
    }
    while (from < to) {
        size_t want = to - from < sizeof chunk ? to - from : sizeof chunk;
        size_t got = mm.space().copy_in(chunk, from, want);
        out.put({chunk, got});
        from += got;
        if (got == want) continue;
        // Without limits: a look must not make a stack grow.
        if (mm.fault(from, port::Access::kRead, nullptr) == FaultKind::kResolved) continue;
        position = ~u64{0};
        break;
    }
    return lib::kOk;
}

}  // namespace

Leaf<void> show_command_line(StringBuilder& out, const ProcContext& c, u64& position) {
    const u64 from = std::exchange(position, ~u64{0});
    Ref<AddressSpace> mm = TRY(memory_of(c));
    if (!mm) return lib::kOk;
    return add_memory(out, *mm, mm->layout.arg_start, mm->layout.arg_end, position = from);
}
Leaf<u64> open_memory(const ProcContext& c) {
    Ref<Process> p = proc_process(c);
    if (!p) return Errno::kSrch;
    const ProcessView v = view_of(*p, nullptr);
    // A zombie has nothing to protect.
    if (!may_inspect(proc_caller(c.caller), v) && (v.mm || p->state_seen() != Process::State::kZombie))
        return Errno::kAcces;
    return v.mm ? v.mm->serial : 0;
}
Leaf<void> show_environment(StringBuilder& out, const ProcContext& c, u64& position) {
    const u64 from = std::exchange(position, ~u64{0});
    auto opened = opened_memory(c);
    if (!opened.ok()) return lib::kOk;
    Ref<AddressSpace> mm = opened.take();
    if (!mm) return lib::kOk;
    return add_memory(out, *mm, mm->layout.env_start, mm->layout.env_end, position = from);
}

Leaf<void> show_auxiliary(StringBuilder& out, const ProcContext& c) {
    auto opened = opened_memory(c);
    if (!opened.ok() || !opened.value()) return lib::kOk;
    const auto& auxiliary = opened.value()->layout.auxiliary;
    if (!auxiliary) return lib::kOk;
    const auto& words = auxiliary->words;
    size_t n = 0;
    while (n + 2 < std::size(words) && words[n] != 0) n += 2;
    out.put({reinterpret_cast<const char*>(words), (n + 2) * sizeof words[0]});
    return lib::kOk;
}

Leaf<void> show_statm(StringBuilder& out, const ProcContext& c) {
    Ref<AddressSpace> mm = TRY(memory_of(c));
    if (!mm) {
        out.put("0 0 0 0 0 0 0\n");
        return lib::kOk;
    }
    AddressSpace::Totals t = mm->totals();
    u64 text = mm->layout.code_end.value > mm->layout.code_start.value
                   ? lib::pages_for(mm->layout.code_end.value) - (mm->layout.code_start.value >> lib::kPageShift)
                   : 0;
    out.add("{} {} {} {} 0 {} 0\n", t.virtual_pages, t.resident_pages, t.shared_pages, text,
            t.data_pages + t.stack_pages);
    return lib::kOk;
}

// ---- oom_score, oom_score_adj (fs/proc/base.c) ----

Leaf<void> show_oom_score(StringBuilder& out, const ProcContext& c) {
    Ref<Process> p = proc_process(c);
    if (!p) return Errno::kSrch;
    const std::optional<i64> pages = oom_badness(*p);
    const i64 points = pages ? (1000 + *pages * 1000 / i64(rt::frame_total())) * 2 / 3 : 0;
    out.add("{}\n", points > 0 ? points : 0);
    return lib::kOk;
}

Leaf<void> show_oom_adjustment(StringBuilder& out, const ProcContext& c) {
    Ref<Process> p = proc_process(c);
    if (!p) return Errno::kSrch;
    out.add("{}\n", oom_adjustment(*p).value);
    return lib::kOk;
}

namespace {

// Linux's text is Latin-1: 0xa0 is a space, too (lib/ctype.c).
constexpr bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r') || u8(c) == 0xa0; }

// kstrtoint with base 0, of text without the spaces around it: EINVAL, ERANGE.
Result<i64> parse_int(std::string_view text) {
    while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
    while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
    const bool negative = text.starts_with('-');
    if (negative || text.starts_with('+')) text.remove_prefix(1);
    u32 base = 10;
    if (text.starts_with('0')) {
        const bool hex = text.size() > 2 && (text[1] | 0x20) == 'x';
        base = hex ? 16 : 8;
        text.remove_prefix(hex ? 2 : 0);
    }
    if (text.empty()) return Errno::kInval;
    u64 value = 0;
    for (const char c : text) {
        const u32 lower = u8(c) | 0x20;
        const u32 digit = c >= '0' && c <= '9' ? u32(c - '0') : lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : base;
        if (digit >= base) return Errno::kInval;
        value = value * base + digit;  // of 12 characters at most
    }
    const i64 number = negative ? -i64(value) : i64(value);
    if (number != i32(number)) return Errno::kRange;
    return number;
}

}  // namespace

Leaf<void> write_oom_adjustment(std::string_view text, const ProcContext& c) {
    const i64 to = TRY(parse_int(text.substr(0, text.find('\0'))));
    if (to < kLeastOomAdjustment || to > kMostOomAdjustment) return Errno::kInval;
    Ref<Process> p = proc_process(c);
    if (!p) return Errno::kSrch;
    const bool privileged = proc_caller(c.caller)->creds().capable(fs::kCapSysResource);
    if (!set_oom_adjustment(*p, i32(to), privileged)) return Errno::kAcces;
    return lib::kOk;
}

// oom_adj, by which older programs set the same: from -16 to 15, and -17 for never (include/uapi/linux/oom.h).
namespace {
constexpr i32 kOldNever = -17, kOldLeast = -16, kOldMost = 15;
}

Leaf<void> show_old_oom_adjustment(StringBuilder& out, const ProcContext& c) {
    Ref<Process> p = proc_process(c);
    if (!p) return Errno::kSrch;
    const i32 now = oom_adjustment(*p).value;
    const i32 old = now * -kOldNever / kMostOomAdjustment;
    out.add("{}\n", old > kOldMost || now == kMostOomAdjustment ? kOldMost : old);
    return lib::kOk;
}

Leaf<void> write_old_oom_adjustment(std::string_view text, const ProcContext& c) {
    const i64 old = TRY(parse_int(text.substr(0, text.find('\0'))));
    if ((old < kOldLeast || old > kOldMost) && old != kOldNever) return Errno::kInval;
    Ref<Process> p = proc_process(c);
    if (!p) return Errno::kSrch;
    const i32 to = old == kOldMost ? kMostOomAdjustment : i32(old) * kMostOomAdjustment / -kOldNever;
    const bool privileged = proc_caller(c.caller)->creds().capable(fs::kCapSysResource);
    if (!set_old_oom_adjustment(*p, to, privileged)) return Errno::kAcces;
    return lib::kOk;
}

namespace {

// There are many lines: no general format.
char* put_hex(char* to, u64 value, u32 least) {
    u32 digits = least;
    while (digits < 16 && value >> (4 * digits)) ++digits;
    while (digits-- > 0) *to++ = "0123456789abcdef"[(value >> (4 * digits)) & 15];
    return to;
}

}  // namespace

Leaf<void> show_maps(StringBuilder& out, const ProcContext& c, u64& position) {
    constexpr u32 kAreas = 32;  // of a piece
    const UserAddr from{std::exchange(position, ~u64{0})};
    constexpr size_t kNameColumn = 72;  // fs/proc/task_mmu.c: 25 + 8 * 6 - 1
    Ref<AddressSpace> mm = TRY(opened_memory(c));
    if (!mm) return lib::kOk;
    fs::Path root;
    if (Ref<Process> p = proc_process(c))
        if (Ref<FsContext> context = p->fs_context()) root = context->state.lock()->root;
    auto* path_buffer = static_cast<char*>(rt::allocate(fs::kPathMax));
    if (!path_buffer) return Errno::kNoMem;
    AddressSpace::AreaView v;
    u32 n_areas = 0;
    for (UserAddr at = from; mm->next_area(at, v); at = v.end) {
        if (n_areas++ == kAreas) {
            position = at.value;
            break;
        }
        u64 device = 0, inode = 0;
        if (v.file && v.file.inode()) {
            device = v.file.inode()->super ? v.file.inode()->super->device : 0;
            inode = v.file.inode()->number;
        }
        char line[128];
        char* p = put_hex(line, v.start.value, 8);
        *p++ = '-';
        p = put_hex(p, v.end.value, 8);
        const char rights[] = {' ',
                               (v.prot & kProtRead) ? 'r' : '-',
                               (v.prot & kProtWrite) ? 'w' : '-',
                               (v.prot & kProtExec) ? 'x' : '-',
                               v.shared ? 's' : 'p',
                               ' '};
        p = std::copy_n(rights, sizeof rights, p);
        p = put_hex(p, v.offset, 8);
        *p++ = ' ';
        p = put_hex(p, abi::dev_major(device), 2);
        *p++ = ':';
        p = put_hex(p, abi::dev_minor(device), 2);
        size_t n = size_t(p - line);
        n += lib::format_to({p, sizeof line - n}, " {} ", inode);
        out.put({line, n});
        std::string_view name = v.name ? std::string_view{v.name} : std::string_view{};
        if (v.file) {
            auto text = fs::path_text(v.file, root, {path_buffer, fs::kPathMax}, true);
            name = text.ok() ? text.value() : std::string_view{};
        }
        if (!name.empty()) {
            char gap[kNameColumn];
            std::memset(gap, ' ', sizeof gap);
            if (n < kNameColumn) out.put({gap, kNameColumn - n});
            out.put(" ");
            add_escaped(out, name, "\n");
        }
        out.put("\n");
    }
    rt::deallocate(path_buffer, fs::kPathMax);
    return lib::kOk;
}

}  // namespace linux
