// SPDX-License-Identifier: MIT
// Faults and exceptions as messages: their contents, each reply, and replies that are refused. Also what a program
// cannot do: access the kernel, another space, or the machine.
#include "tests/native/ktest.hpp"

// Pieces of code that trap. Each starts with its argument in rdi, and ends in ktest_went_on with a result in rax.
#define TRAPS(NAME, CODE)                                                                                             \
    asm(".text\n.globl ktest_" #NAME "\nktest_" #NAME ":\n" CODE "\n.globl ktest_after_" #NAME "\nktest_after_" #NAME \
        ":\n jmp ktest_went_on\n");                                                                                   \
    extern "C" const char ktest_##NAME[], ktest_after_##NAME[];

asm(".text\n.globl ktest_went_on\nktest_went_on: mov %rax, ktest_result\n ud2\n");
extern "C" const char ktest_went_on[];
extern "C" {
u64 ktest_result;
[[gnu::aligned(4096)]] u64 ktest_read_only_page[512] = {17};
}

TRAPS(read, "mov (%rdi), %rax")
TRAPS(write, "movq $23, (%rdi)\n mov $23, %eax")
TRAPS(execute, "call *%rdi")
TRAPS(divide, "xor %ecx, %ecx\n mov $1, %eax\n xor %edx, %edx\n div %ecx")
TRAPS(illegal, "ud2")
TRAPS(breakpoint, "int3")
TRAPS(halt, "hlt")
TRAPS(barred, "cli")
TRAPS(port, "mov $0x3f8, %edx\n in %dx, %al")
TRAPS(read_msr, "mov $0xc0000080, %ecx\n rdmsr")
TRAPS(write_msr, "mov $0xc0000080, %ecx\n xor %eax, %eax\n xor %edx, %edx\n wrmsr")
TRAPS(read_cr3, "mov %cr3, %rax")
TRAPS(load_table, "lgdt (%rsp)")
TRAPS(interrupt, "int $0x80")
TRAPS(odd_address, "movabs $0x8000000000000000, %rax\n mov (%rax), %rax")
TRAPS(odd_stack, "movabs $0x8000000000000000, %rbp\n mov (%rbp), %rax")
TRAPS(x87, "fninit\n sub $8, %rsp\n movw $0, (%rsp)\n fldcw (%rsp)\n fldz\n fld1\n fdiv %st(1), %st\n fwait")
TRAPS(three_steps, "mov $1, %eax\n add $2, %eax\n add $4, %eax\n ud2")

namespace ktest {
namespace {

struct Trapper {
    Slot endpoint = 0;
    Helper* helper = nullptr;
    Message m;
};
Slot handler_for_new;  // the trapper's endpoint, with a badge
constexpr u64 kBadge = 0x77;

Trapper trapper(const char* code, u64 argument, u64 cpu = 0, Slot space = kSlotSpace) {
    Trapper t;
    t.endpoint = make(kTypeEndpoint);
    handler_for_new = derive(t.endpoint, kSendRight, kBadge);
    ktest_result = ~u64{0};
    t.helper = &start_at(u64(code), argument, {.cpu = cpu, .handler = handler_for_new, .space = space});
    return t;
}
bool next(Trapper& t) { return receive_soon(t.endpoint, t.m).ok(); }
// The code continued after the trap, with this value in rax.
bool went_on(Trapper& t, u64 result) {
    return next(t) && t.m.label() == kLabelException && t.m.words[0] == 6 && t.m.words[1] >= u64(ktest_went_on) &&
           ktest_result == result;
}
bool is_fault(const Message& m, u64 address, const char* code, u64 access, u64 present) {
    return m.badge == kBadge && m.tag == make_tag(kLabelPageFault, 6) && m.words[0] == address &&
           (!code || m.words[1] == u64(code)) && m.words[3] == access && m.words[4] == present;
}
bool is_exception(const Message& m, u64 vector, u64 pc) {
    return m.badge == kBadge && m.tag == make_tag(kLabelException, 4) && m.words[0] == vector &&
           (pc == 0 || m.words[1] == pc);
}

void exception(const char* code, u64 vector, u64 pc, u64 cpu) {
    Trapper t = trapper(code, 0, cpu);
    KCHECK(next(t));
    KCHECK(is_exception(t.m, vector, pc));
    KCHECK(t.m.words[2] > stack_top(*t.helper) - 64 && t.m.words[2] <= stack_top(*t.helper));
}

}  // namespace

// --- Contents of a fault, and a reply that maps a page

KTEST_CPUS(read_fault_is_told_and_mapped, none) {
    Trapper t = trapper(ktest_read, kAreaStart + 0x18, cpu);
    KCHECK(next(t) && is_fault(t.m, kAreaStart + 0x18, ktest_read, kAccessRead, 0));
    utcb().map = {make(kTypeMemory, kPage), kAreaStart, 0, kPage, kReadRight};
    KDONE(code(reply(message(kResume | kReplyMaps))));
    KCHECK(went_on(t, 0));
}
KTEST_CPUS(write_fault_is_told_and_mapped, none) {
    Trapper t = trapper(ktest_write, kAreaStart + 0x20, cpu);
    KCHECK(next(t) && is_fault(t.m, kAreaStart + 0x20, ktest_write, kAccessWrite, 0));
    utcb().map = {make(kTypeMemory, kPage), kAreaStart, 0, kPage, kReadRight | kWriteRight};
    KDONE(code(reply(message(kResume | kReplyMaps))));
    KCHECK(went_on(t, 23) && *reinterpret_cast<volatile u64*>(kAreaStart + 0x20) == 23);
}
KTEST_CPUS(write_to_a_read_only_page, none) {
    Slot m = make(kTypeMemory, kPage);
    KDONE(raw_call(kMap, kSlotSpace, m, kAreaStart, 0, kPage, kReadRight));
    Trapper t = trapper(ktest_write, kAreaStart + 8, cpu);
    KCHECK(next(t) && is_fault(t.m, kAreaStart + 8, ktest_write, kAccessWrite, 1));
    KDONE(raw_call(kProtect, kSlotSpace, kAreaStart, kPage, kReadRight | kWriteRight));
    KDONE(code(reply(message(kResume))));
    KCHECK(went_on(t, 23));
}
KTEST_CPUS(execute_what_may_not_be, none) {
    Slot m = make(kTypeMemory, kPage);
    KDONE(raw_call(kMap, kSlotSpace, m, kAreaStart, 0, kPage, kReadRight | kWriteRight));
    *reinterpret_cast<volatile u8*>(kAreaStart) = 0xc3;
    Trapper t = trapper(ktest_execute, kAreaStart, cpu);
    KCHECK(next(t) && t.m.label() == kLabelPageFault && t.m.words[0] == kAreaStart && t.m.words[1] == kAreaStart &&
           t.m.words[3] == kAccessExecute);
    KDONE(raw_call(kProtect, kSlotSpace, kAreaStart, kPage, kReadRight | kExecuteRight));
    KDONE(code(reply(message(kResume))));
    KCHECK(next(t) && is_exception(t.m, 6, 0));
}
KTEST_CPUS(page_that_was_taken_away, none) {
    Slot m = make(kTypeMemory, kPage);
    KDONE(raw_call(kMap, kSlotSpace, m, kAreaStart, 0, kPage, kReadRight));
    static auto look = [](u64 at) {
        for (;;) (void)*reinterpret_cast<volatile u64*>(at);
    };
    Slot e = make(kTypeEndpoint);
    (void)start(+look, kAreaStart, {.priority = 3, .cpu = cpu, .handler = e});
    sleep(kMillisecond);
    KDONE(raw_call(kUnmap, kSlotSpace, kAreaStart, kPage));
    Message f;
    KDONE(code(receive_soon(e, f)));
    KCHECK(f.label() == kLabelPageFault && f.words[0] == kAreaStart);
}
KTEST_CPUS(fault_in_another_space, none) {
    Slot space = other_space();
    Trapper t = trapper(ktest_write, kAreaStart, cpu, space);
    KCHECK(next(t) && is_fault(t.m, kAreaStart, ktest_write, kAccessWrite, 0));
    Slot m = make(kTypeMemory, kPage);
    utcb().map = {m, kAreaStart, 0, kPage, kReadRight | kWriteRight};
    KDONE(code(reply(message(kReplyMaps))));
    KCHECK(went_on(t, 23));
    // The page is mapped in the other space, not in this one.
    KREFUSED(kFault, raw_call(kWrite, kSlotSystem, kAreaStart, 1));
    KDONE(raw_call(kMap, kSlotSpace, m, kAreaStart, 0, kPage, kReadRight));
    KCHECK(*reinterpret_cast<volatile u64*>(kAreaStart) == 23);
}
KTEST_CPUS(fault_handled_by_a_server, none) {
    // Like a real pager: it replies with its next receive, which the fastpaths handle.
    static Slot memory;
    static std::atomic<u64> faults;
    static auto page = [](u64 endpoint) {
        Message m;
        for (auto r = receive(endpoint, m); r.ok(); r = reply_receive(endpoint, m)) {
            if (m.label() != kLabelPageFault) break;
            u64 at = m.words[0] & ~(kPage - 1);
            utcb().map = {memory, at, at - kAreaStart, kPage, kReadRight | kWriteRight};
            faults = faults + 1;
            m = message(kReplyMaps);
        }
    };
    static auto touch = [](u64 pages) {
        for (u64 i = 0; i < pages; ++i) *reinterpret_cast<volatile u64*>(kAreaStart + i * kPage) += i + 1;
    };
    faults = 0;
    memory = make(kTypeMemory, 32 * kPage);
    Slot e = make(kTypeEndpoint);
    Helper& pager = start(+page, e, {.cpu = cpu});
    KCHECK(until_state(pager, kStateReceiving));
    Helper& h = start(+touch, 32, {.handler = e});
    KCHECK(until_done(h) && faults == 32);
    for (u64 i = 0; i < 32; ++i) KCHECK(*reinterpret_cast<volatile u64*>(kAreaStart + i * kPage) == i + 1);
}

// --- Exceptions

KTEST_CPUS(exception_divide, none) { exception(ktest_divide, 0, u64(ktest_after_divide) - 2, cpu); }
KTEST_CPUS(exception_breakpoint, none) { exception(ktest_breakpoint, 3, u64(ktest_after_breakpoint), cpu); }
KTEST_CPUS(exception_illegal, none) { exception(ktest_illegal, 6, u64(ktest_illegal), cpu); }
KTEST(exception_odd_address, none) { exception(ktest_odd_address, 13, 0, 0); }
// A stack fault (12) on real hardware, a protection fault (13) under emulation.
KTEST(exception_odd_stack, none) {
    Trapper t = trapper(ktest_odd_stack, 0);
    KCHECK(next(t) && (is_exception(t.m, 12, 0) || is_exception(t.m, 13, 0)));
}
KTEST(exception_x87, none) {
    Trapper t = trapper(ktest_x87, 0);
    KCHECK(next(t) && is_exception(t.m, 16, 0));
}
KTEST(exception_single_step, none) {
    Slot e = make(kTypeEndpoint);
    Helper& h = start_at(u64(ktest_three_steps), 0, {.handler = derive(e, kSendRight, kBadge), .start = false});
    Registers r;
    KDONE(code(get_registers(h.thread, r)));
    r.rflags |= 0x100;
    KDONE(code(set_registers(h.thread, r)));
    KDONE(raw_call(kThreadResume, h.thread));
    u64 pc = u64(ktest_three_steps);
    for (u64 length : {5, 3, 3}) {
        Message m;
        KDONE(code(receive_soon(e, m)));
        pc += length;
        KCHECK(is_exception(m, 1, pc));
        KDONE(code(reply(message(kResume))));
    }
}

// --- What a program cannot do

KTEST(cannot_read_the_kernel, none) {
    for (u64 at : {u64{0xffff'8000'0000'0000}, u64{0xffff'ffff'8010'0000}, u64{0xffff'e000'0000'0000}, ~u64{7}}) {
        Trapper t = trapper(ktest_read, at);
        KCHECK(next(t) && t.m.label() == kLabelPageFault && t.m.words[0] == at && t.m.words[3] == kAccessRead);
    }
}
KTEST(cannot_write_the_kernel, none) {
    for (u64 at : {u64{0xffff'8000'0000'0000}, u64{0xffff'ffff'8010'0000}}) {
        Trapper t = trapper(ktest_write, at);
        KCHECK(next(t) && t.m.label() == kLabelPageFault && t.m.words[0] == at && t.m.words[3] == kAccessWrite);
    }
}
KTEST(cannot_execute_the_kernel, none) {
    Trapper t = trapper(ktest_execute, 0xffff'ffff'8010'0000);
    KCHECK(next(t) && t.m.label() == kLabelPageFault && t.m.words[3] == kAccessExecute);
}
KTEST(cannot_halt, none) { exception(ktest_halt, 13, u64(ktest_halt), 0); }
KTEST(cannot_bar_interrupts, none) { exception(ktest_barred, 13, u64(ktest_barred), 0); }
KTEST(cannot_use_ports, none) { exception(ktest_port, 13, 0, 0); }
KTEST(cannot_read_msrs, none) { exception(ktest_read_msr, 13, 0, 0); }
KTEST(cannot_write_msrs, none) { exception(ktest_write_msr, 13, 0, 0); }
KTEST(cannot_read_cr3, none) { exception(ktest_read_cr3, 13, u64(ktest_read_cr3), 0); }
KTEST(cannot_load_tables, none) { exception(ktest_load_table, 13, u64(ktest_load_table), 0); }
KTEST(cannot_call_other_gates, none) { exception(ktest_interrupt, 13, u64(ktest_interrupt), 0); }
KTEST(cannot_raise_its_privileges_by_flags, none) {
    // IOPL, interrupts off, virtual-8086 mode: set_registers accepts only the arithmetic flags.
    Slot e = make(kTypeEndpoint);
    Helper& h = start_at(u64(ktest_port), 0, {.handler = derive(e, kSendRight, kBadge), .start = false});
    Registers r;
    KDONE(code(get_registers(h.thread, r)));
    r.rflags = 0x3000 | 0x20000 | 0x2;
    KDONE(code(set_registers(h.thread, r)));
    KDONE(raw_call(kThreadResume, h.thread));
    Message m;
    KDONE(code(receive_soon(e, m)));
    KCHECK(is_exception(m, 13, 0));
    KDONE(code(get_registers(h.thread, r)));
    KCHECK((r.rflags & 0x3000) == 0 && (r.rflags & 0x20000) == 0 && (r.rflags & 0x200) != 0);
}
KTEST(cannot_see_anothers_memory, none) {
    static u64 volatile secret = 5;
    Slot space = make(kTypeSpace, 16), m = make(kTypeMemory, kPage);
    KDONE(raw_call(kMap, space, m, kAreaStart, 0, kPage, kReadRight));
    Trapper t = trapper(ktest_read, kAreaStart);
    KCHECK(next(t) && is_fault(t.m, kAreaStart, ktest_read, kAccessRead, 0) && secret == 5);
}

// --- Replies

KTEST_CPUS(resume_at_another_place, none) {
    Trapper t = trapper(ktest_illegal, 0, cpu);
    KCHECK(next(t));
    KDONE(code(reply(message(kResumeAt, 0, ktest_after_illegal, stack_top(*t.helper) - 128))));
    KCHECK(next(t) && is_exception(t.m, 6, 0) && t.m.words[2] == stack_top(*t.helper) - 128);
}
KTEST_CPUS(resume_with_other_registers, none) {
    Trapper t = trapper(ktest_illegal, 0, cpu);
    KCHECK(next(t));
    Registers r;
    KDONE(code(get_registers(t.helper->thread, r)));
    KCHECK(r.rip == u64(ktest_illegal) && r.rdi == 0 && r.fs_base == t.helper->utcb_at);
    r.rip = u64(ktest_after_illegal);
    r.rax = 4711;
    utcb().registers = r;
    KDONE(code(reply(message(kResumeWith))));
    KCHECK(went_on(t, 4711));
}
KTEST_CPUS(stop_and_resume_faults_again, none) {
    Trapper t = trapper(ktest_illegal, 0, cpu);
    KCHECK(next(t));
    KDONE(code(reply(message(kStop))));
    KCHECK(state_of(t.helper->thread) == kStateInactive);
    KDONE(raw_call(kThreadResume, t.helper->thread));
    KCHECK(next(t) && is_exception(t.m, 6, u64(ktest_illegal)));
}
KTEST(stop_and_map, none) {
    Trapper t = trapper(ktest_read, kAreaStart);
    KCHECK(next(t));
    utcb().map = {make(kTypeMemory, kPage), kAreaStart, 0, kPage, kReadRight};
    KDONE(code(reply(message(kStop | kReplyMaps))));
    KDONE(raw_call(kThreadResume, t.helper->thread));
    KCHECK(went_on(t, 0));
}
KTEST_CPUS(fault_of_one_without_a_handler, none) {
    Helper& h = start_at(u64(ktest_illegal), 0, {.cpu = cpu});
    KCHECK(until_stopped(h));
    Registers r;
    KDONE(code(get_registers(h.thread, r)));
    KCHECK(r.rip == u64(ktest_illegal));
}
KTEST_CPUS(fault_after_the_handlers_end, endpoint_alive) {
    Slot e = make(kTypeEndpoint);
    Helper& h = start_at(u64(ktest_illegal), 0, {.cpu = cpu, .handler = e, .start = false});
    KDONE(raw_call(kDelete, e));
    KDONE(raw_call(kThreadResume, h.thread));
    KCHECK(until_stopped(h));
}
KTEST_CPUS(handler_ends_while_the_fault_waits, none) {
    Slot e = make(kTypeEndpoint);
    Helper& h = start_at(u64(ktest_illegal), 0, {.cpu = cpu, .handler = e});
    KCHECK(until_state(h, kStateSending));
    KDONE(raw_call(kDelete, e));
    KCHECK(until_stopped(h));
}
KTEST_CPUS(handler_gives_up_a_fault, none) {
    Trapper t = trapper(ktest_illegal, 0, cpu);
    KCHECK(next(t));
    KREFUSED(kAgain, raw_call(kReceive | kNonBlocking, t.endpoint));
    KCHECK(until_stopped(*t.helper));
}
KTEST_CPUS(suspended_in_a_fault_faults_again, none) {
    Trapper t = trapper(ktest_illegal, 0, cpu);
    KCHECK(next(t));
    KDONE(raw_call(kThreadSuspend, t.helper->thread));
    KREFUSED(kBadF, raw_call(kReply, 0, 0));
    KDONE(raw_call(kThreadResume, t.helper->thread));
    KCHECK(next(t) && is_exception(t.m, 6, u64(ktest_illegal)));
}

// --- Replies that are refused: the fault still waits for one

namespace {
void refuse_answer(Errno error, const Message& answer, const Registers& registers = {}) {
    Trapper t = trapper(ktest_read, kAreaStart);
    KCHECK(next(t));
    utcb().registers = registers;
    Charges before = charges();
    i64 r = code(reply(answer));
    if (r != -i64(error)) return note_result("answer", r, "the error", __FILE_NAME__, __LINE__);
    Message m = answer;
    r = code(reply_receive(t.endpoint, m, kNonBlocking));
    if (r != -i64(error)) return note_result("answer and receive", r, "the error", __FILE_NAME__, __LINE__);
    KCHECK(before == charges() && state_of(t.helper->thread) == kStateAwaitingReply);
    KDONE(code(reply(message(kStop))));
}
}  // namespace

KTEST(answer_with_unknown_bits, reply_label) {
    for (u64 label : {u64{8}, u64{16}, u64{1} << 40}) refuse_answer(Errno::kInval, message(label));
}
KTEST(answer_with_a_pc_of_the_kernel, thread_pc) {
    for (u64 pc : {u64{0x8000'0000'0000}, ~u64{0}}) refuse_answer(Errno::kInval, message(kResumeAt, 0, pc, 0));
}
KTEST(answer_with_registers_of_the_kernel, thread_pc) {
    refuse_answer(Errno::kInval, message(kResumeWith), {.rip = 0xffff'8000'0000'0000});
}
KTEST(answer_with_bases_of_the_kernel, thread_tls) {
    refuse_answer(Errno::kInval, message(kResumeWith), {.gs_base = 0xffff'8000'0000'0000});
    refuse_answer(Errno::kInval, message(kResumeWith), {.fs_base = ~u64{0}});
}
KTEST(answer_maps_nothing, cap_exists) {
    utcb().map = {slot(), kAreaStart, 0, kPage, kReadRight};
    refuse_answer(Errno::kBadF, message(kReplyMaps));
}
KTEST(answer_maps_no_memory, none) {
    utcb().map = {make(kTypeEndpoint), kAreaStart, 0, kPage, kReadRight};
    refuse_answer(Errno::kInval, message(kReplyMaps));
}
KTEST(answer_maps_with_more_rights, map_rights) {
    utcb().map = {derive(make(kTypeMemory, kPage), kReadRight), kAreaStart, 0, kPage, kReadRight | kWriteRight};
    refuse_answer(Errno::kPerm, message(kReplyMaps));
}
KTEST(answer_maps_over_something, map_free) {
    utcb().map = {make(kTypeMemory, kPage), kFirstUtcb, 0, kPage, kReadRight};
    refuse_answer(Errno::kExist, message(kReplyMaps));
}
KTEST(answer_maps_half_a_page, map_aligned) {
    utcb().map = {make(kTypeMemory, kPage), kAreaStart + 8, 0, kPage, kReadRight};
    refuse_answer(Errno::kInval, message(kReplyMaps));
}
KTEST(answer_maps_more_than_there_is, map_offset) {
    utcb().map = {make(kTypeMemory, kPage), kAreaStart, 0, 2 * kPage, kReadRight};
    refuse_answer(Errno::kInval, message(kReplyMaps));
}
KTEST(answer_maps_more_than_a_step, reply_map_length) {
    Slot m = slot();
    constexpr u64 kMost = 2 << 20;
    KDONE(raw_call(kCreate, kSlotPool, kTypeMemory, m, kMost + kPage));
    utcb().map = {m, kAreaStart, 0, kMost + kPage, kReadRight};
    refuse_answer(Errno::kInval, message(kReplyMaps));
}
KTEST(answer_needs_a_page, tag_needs_utcb) {
    static std::atomic<i64> with, maps;
    static auto handle = [](u64 endpoint) {
        Message m;
        if (!receive(endpoint, m).ok()) return;
        with = code(reply(message(kResumeWith)));
        maps = code(reply(message(kReplyMaps)));
        (void)reply(message(kStop));
    };
    Slot e = make(kTypeEndpoint);
    Helper& h = start(+handle, e, {.with_utcb = false});
    (void)start_at(u64(ktest_illegal), 0, {.handler = e});
    KCHECK(until_done(h));
    KCHECK(with == -i64(Errno::kInval) && maps == -i64(Errno::kInval));
}

}  // namespace ktest
