// SPDX-License-Identifier: MIT
// Threads that are suspended while a handler processes their system call or fault: it happens again when they continue,
// with the same registers.
#include "tests/native/ktest.hpp"

namespace ktest {
namespace {

constexpr u64 kNumber = 1234;

// Stores 77 at the address in rdi.
[[gnu::naked]] void store() {
    asm volatile(
        "mov $77, %eax\n"
        "mov %rax, (%rdi)\n"
        "ud2\n");
}
// System call 1234 with argument 5; its result is in rbx when ud2 is reached.
[[gnu::naked]] void call_1234() {
    asm volatile(
        "mov $5, %edi\n"
        "mov $1234, %eax\n"
        "syscall\n"
        "mov %rax, %rbx\n"
        "ud2\n");
}

}  // namespace

KTEST_CPUS(suspended_fault_happens_again, none) {
    Slot e = make(kTypeEndpoint);
    Helper& h = start_at(u64(&store), kAreaStart, {.cpu = cpu, .handler = e});
    Message m;
    for (int again = 0; again < 2; ++again) {
        KCHECK(receive_soon(e, m).ok());
        KCHECK(m.label() == kLabelPageFault && m.words[0] == kAreaStart && m.words[1] == u64(&store) + 5);
        if (again) break;
        // Received but not answered.
        KDONE(code(suspend(h.thread)));
        KDONE(code(resume(h.thread)));
    }
    Slot page = make(kTypeMemory, kPage);
    KDONE(code(map(kSlotSpace, page, kAreaStart, 0, kPage, kReadRight | kWriteRight)));
    KDONE(code(reply(message(kResume))));
    KCHECK(receive_soon(e, m).ok());
    KCHECK(m.label() == kLabelException);
    KCHECK(*reinterpret_cast<volatile u64*>(kAreaStart) == 77);
    KDONE(code(reply(message(kStop))));
}

KTEST_CPUS(suspended_system_call_happens_again, none) {
    Slot e = make(kTypeEndpoint);
    Helper& h = start_at(u64(&call_1234), 0, {.cpu = cpu, .handler = e, .flags = kRedirect});
    Message m;
    // Suspended before it is received, then after it is received but not answered.
    KCHECK(until_state(h, kStateSending));
    KDONE(code(suspend(h.thread)));
    KDONE(code(resume(h.thread)));
    for (int again = 0; again < 2; ++again) {
        KCHECK(receive_soon(e, m).ok());
        KCHECK(m.label() == kLabelSyscall && m.words[0] == kNumber && m.words[3] == 5);
        if (again) break;
        KDONE(code(suspend(h.thread)));
        KDONE(code(resume(h.thread)));
    }
    KDONE(code(reply(message(kResume, 99))));
    KCHECK(receive_soon(e, m).ok());
    KCHECK(m.label() == kLabelException);
    Registers r;
    KDONE(code(get_registers(h.thread, r)));
    KCHECK(r.rbx == 99);
    KDONE(code(reply(message(kStop))));
}

}  // namespace ktest
