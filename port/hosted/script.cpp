// SPDX-License-Identifier: MIT
// The "CPU" that runs scripts: what happens next is decided by the program counter alone.
#include "port/hosted/script.hpp"

#include <cstring>
#include <deque>
#include <mutex>

namespace port::hosted {
namespace {

constexpr u64 kInstruction = 4, kAfterCall = 6;
constexpr u64 kTextAreas = kData + kDataSize / 2, kTextAreaSize = 0x8000, kTextAreaCount = 16;

struct Entry {
    Code code;
    CodeKind kind;
};
// Entries are added by tests while CPUs look others up; they stay for ever.
struct CodeTable {
    std::mutex mutex;
    std::deque<Entry> entries;
};
CodeTable& table() {
    static CodeTable t;
    return t;
}
std::atomic<u32> next_text_area{0};

Entry* code_at(u64 base) {
    if (base < kText || base >= kText + kTextSize || base % 16 != 0) return nullptr;
    CodeTable& t = table();
    std::lock_guard hold(t.mutex);
    size_t slot = (base - kText) / 16;
    return slot != 0 && slot - 1 < t.entries.size() ? &t.entries[slot - 1] : nullptr;
}

Trap page_fault(Space& space, UserAddr at, Access access) {
    bool present = space.look(at, access).mapped;
    // The error code of a page fault (SDM vol. 3, 4.7): present, write, user, fetch.
    u64 code = (present ? 1 : 0) | (access == Access::kWrite ? 2 : 0) | 4 | (access == Access::kExec ? 16 : 0);
    return {.kind = Trap::Kind::kPageFault,
            .access = access,
            .present = present,
            .address = at,
            .vector = 14,
            .error_code = code};
}

}  // namespace

UserAddr add_code(Code code, CodeKind kind) {
    CodeTable& t = table();
    std::lock_guard hold(t.mutex);
    t.entries.push_back({std::move(code), kind});
    if (t.entries.size() >= kSlots) hal::Machine::panic("hosted: too many scripts");
    return UserAddr{kText + 16 * t.entries.size()};
}

UserAddr restorer() { return UserAddr{kText}; }

std::vector<std::byte> image(UserAddr entry) {
    constexpr u64 kDataInFile = kPageSize;
    std::vector<std::byte> file(kTextSize + kDataInFile);
    auto put = [&](size_t at, u64 value, size_t bytes) { std::memcpy(file.data() + at, &value, bytes); };
    // The ELF header (gABI 4) and two program headers (gABI 5): text, data.
    constexpr unsigned char kIdent[] = {0x7f, 'E', 'L', 'F', 2, 1, 1};
    std::memcpy(file.data(), kIdent, sizeof kIdent);
    put(16, 2, 2), put(18, 62, 2), put(20, 1, 4), put(24, entry.value, 8), put(32, 64, 8);
    put(52, 64, 2), put(54, 56, 2), put(56, 2, 2);
    auto segment = [&](size_t at, u32 flags, u64 offset, u64 address, u64 in_file, u64 in_memory) {
        put(at, 1, 4), put(at + 4, flags, 4), put(at + 8, offset, 8), put(at + 16, address, 8),
            put(at + 24, address, 8);
        put(at + 32, in_file, 8), put(at + 40, in_memory, 8), put(at + 48, kPageSize, 8);
    };
    segment(64, 5, 0, kText, kTextSize, kTextSize);
    segment(120, 6, kTextSize, kData, kDataInFile, kDataSize);
    return file;
}

User::User(UserThread& thread, User* maker)
    : thread_(&thread), text_area_(kTextAreas + next_text_area.fetch_add(1) % kTextAreaCount * kTextAreaSize) {
    if (!maker) return;
    scratch_ = maker->scratch_;
    // The copy is after the call that made it; from there it runs the code it was made for.
    // It stays with the call: one that was undone because a signal came is issued again.
    const Operation* call = maker->stack_.empty() ? nullptr : maker->stack_.back()->operation;
    Entry* e = call ? code_at(call->child.value) : nullptr;
    if (!e) return;
    auto a = std::make_unique<Activation>();
    a->base = thread.regs().pc().value - kAfterCall;
    a->kind = e->kind;
    a->script = e->code(*this);
    a->resume = a->script.h_;
    stack_.push_back(std::move(a));
}

UserAddr User::scratch(size_t n) {
    u64 at = scratch_;
    scratch_ += (n + 15) & ~u64{15};
    if (scratch_ > kTextAreas) hal::Machine::panic("hosted: a script wants too much scratch memory");
    return UserAddr{at};
}

bool User::push(u64 base) {
    auto a = std::make_unique<Activation>();
    a->base = base;
    if (base == kText) {
        a->kind = CodeKind::kHandler;
        a->script = [](User& u) -> Script { co_return co_await u.sys(15); }(*this);
    } else {
        Entry* e = code_at(base);
        if (!e) return false;
        a->kind = e->kind;
        a->script = e->code(*this);
    }
    a->resume = a->script.h_;
    stack_.push_back(std::move(a));
    return true;
}

// The innermost activation that the program counter points into; those above it have ended.
User::Activation* User::find_activation(u64 pc) {
    while (!stack_.empty()) {
        Activation& a = *stack_.back();
        if (pc == a.base + kInstruction || pc == a.base + kAfterCall) return &a;
        stack_.pop_back();
    }
    return nullptr;
}

std::optional<Trap> User::access(UserAddr at, void* to, const void* from, size_t n, size_t& done) {
    Space& space = thread_->space();
    UserAddr here = at + done;
    size_t rest = n - done;
    done += to ? space.copy_in(static_cast<std::byte*>(to) + done, here, rest)
               : space.copy_out(here, static_cast<const std::byte*>(from) + done, rest);
    if (done == n) return {};
    return page_fault(space, at + done, to ? Access::kRead : Access::kWrite);
}

void User::run_script(Activation& a) {
    a.operation = nullptr;
    std::exchange(a.resume, nullptr).resume();
    if (a.operation) return;
    a.finished = true;
    if (a.kind == CodeKind::kMain) {
        a.last = {.kind = Operation::Kind::kSyscall, .number = 231};  // exit_group
        a.last.arguments[0] = Argument(a.script.h_.promise().value);
        a.operation = &a.last;
    }
}

std::optional<Trap> User::step(UserThread& t) {
    auto& regs = t.regs();
    u64 pc = regs.pc().value;
    if (!t.space().look(regs.pc(), Access::kExec).allowed) return page_fault(t.space(), regs.pc(), Access::kExec);
    if (pc % 16 == 0) {
        if (!push(pc)) return Trap{.kind = Trap::Kind::kIllegal, .vector = 6};
        regs.set_pc(UserAddr{pc + kInstruction});
        run_script(*stack_.back());
        return {};
    }
    Activation* a = find_activation(pc);
    if (!a) return Trap{.kind = Trap::Kind::kIllegal, .vector = 6};
    if (a->finished && a->kind == CodeKind::kHandler) {
        // `ret`: to the address on the stack.
        u64 to = 0;
        size_t done = 0;
        if (auto fault = access(regs.sp(), &to, nullptr, sizeof to, done)) return fault;
        regs.set_sp(regs.sp() + 8);
        regs.set_pc(UserAddr{to});
        stack_.pop_back();
        return {};
    }
    if (pc == a->base + kAfterCall) {
        Operation* op = a->operation;
        if (op && op->kind == Operation::Kind::kSyscall)
            op->result = regs.syscall_result();
        else if (op && op->kind != Operation::Kind::kRaise)
            op->result = 1;  // a handler has skipped the access
        regs.set_pc(UserAddr{a->base + kInstruction});
        run_script(*a);
        return {};
    }
    return proceed(*a);
}

// Executes the awaited instruction at +4, again if it was tried before.
std::optional<Trap> User::proceed(Activation& a) {
    auto& regs = thread_->regs();
    Operation* op = a.operation;
    if (!op) {
        run_script(a);
        return {};
    }
    switch (op->kind) {
        case Operation::Kind::kSyscall: {
            for (; op->placed < 6; ++op->placed, op->done = 0) {
                Argument& arg = op->arguments[op->placed];
                if (!arg.bytes) continue;
                if (op->done == 0) {
                    arg.value = text_area_ + op->placed * (kTextAreaSize / 6 & ~u64{15});
                    if (arg.size > (kTextAreaSize / 6 & ~u64{15}))
                        hal::Machine::panic("hosted: text argument too long");
                }
                if (auto fault = access(UserAddr{arg.value}, nullptr, arg.bytes, arg.size, op->done)) return fault;
            }
            if (!op->issued) {
                op->issued = true;
                regs.rax = op->number;
                regs.rdi = op->arguments[0].value, regs.rsi = op->arguments[1].value, regs.rdx = op->arguments[2].value;
                regs.r10 = op->arguments[3].value, regs.r8 = op->arguments[4].value, regs.r9 = op->arguments[5].value;
            }
            // What the instruction and the entry code do (SDM vol. 2, SYSCALL).
            regs.set_pc(UserAddr{a.base + kAfterCall});
            regs.rcx = regs.rip;
            regs.r11 = regs.rflags;
            regs.cs |= HAL_FROM_SYSCALL;
            return Trap{.kind = Trap::Kind::kSyscall};
        }
        case Operation::Kind::kLoad:
        case Operation::Kind::kStore:
            if (auto fault = access(op->at, op->to, op->from, op->size, op->done)) return fault;
            break;
        case Operation::Kind::kRaise:
            if (op->trap.kind == Trap::Kind::kBreakpoint) regs.set_pc(UserAddr{a.base + kAfterCall});
            return op->trap;
        default: break;
    }
    run_script(a);
    return {};
}

}  // namespace port::hosted
