// SPDX-License-Identifier: MIT
// A handler that executes another program's system calls. The program makes Linux calls and does not know the native
// interface: its thread is redirected, so each of its SYSCALL instructions becomes a message. A call changes only the
// registers that Linux changes.
//     ./farcall run --native examples/personality
#include "sysapi/program.hpp"

namespace {

using namespace native;

constexpr u64 kNrWrite = 1, kNrGetpid = 39, kNrExit = 60;
constexpr u64 kPid = 42;

i64 linux_call(u64 number, u64 a = 0, u64 b = 0, u64 c = 0) { return raw_call(number, a, b, c); }

void linux_print(std::string_view text) { (void)linux_call(kNrWrite, 1, u64(text.data()), text.size()); }

// Makes a getpid call and returns how many of twelve registers hold the expected value afterwards.
u64 registers_kept() {
    register u64 r8 asm("r8") = 8;
    register u64 r9 asm("r9") = 9;
    register u64 r10 asm("r10") = 10;
    register u64 r12 asm("r12") = 12;
    register u64 r13 asm("r13") = 13;
    register u64 r14 asm("r14") = 14;
    register u64 r15 asm("r15") = 15;
    u64 number = kNrGetpid, bx = 3, dx = 4, si = 5, di = 6;
    asm volatile("syscall"
                 : "+a"(number), "+b"(bx), "+d"(dx), "+S"(si), "+D"(di), "+r"(r8), "+r"(r9), "+r"(r10), "+r"(r12),
                   "+r"(r13), "+r"(r14), "+r"(r15)
                 :
                 : "rcx", "r11", "memory");
    return (number == kPid) + (bx == 3) + (dx == 4) + (si == 5) + (di == 6) + (r8 == 8) + (r9 == 9) + (r10 == 10) +
           (r12 == 12) + (r13 == 13) + (r14 == 14) + (r15 == 15);
}

// The program.
void linux_main(u64) {
    linux_print("Linux program: hello\n");
    if (linux_call(kNrGetpid) == i64(kPid)) linux_print("Linux program: getpid works\n");
    if (registers_kept() == 12) linux_print("Linux program: no register has changed\n");
    if (linux_call(999) == -i64(Errno::kNoSys)) linux_print("Linux program: an unknown call is ENOSYS\n");
    (void)linux_call(kNrExit, 7);
}

// The handler's system call table. Ends the program by setting `status`.
i64 linux_syscall(const Message& m, Slot thread, u64& status) {
    // Words: number, pc, sp, six arguments.
    const u64 number = m.words[0], *a = m.words + 3;
    switch (number) {
        case kNrWrite:
            if (a[0] != 1) return -i64(Errno::kBadF);
            // The program shares this space. Memory of another space would have to be mapped here first.
            write({reinterpret_cast<const char*>(a[1]), a[2]});
            return i64(a[2]);
        case kNrGetpid: {
            // Registers that are not in the message can be read.
            Registers r;
            return get_registers(thread, r).ok() && r.rip == m.words[1] && r.rsp == m.words[2] ? i64(kPid) : 0;
        }
        case kNrExit: status = a[0]; return 0;
        default: return -i64(Errno::kNoSys);
    }
}

Result<void> play() {
    Slot endpoint = TRY(make(kTypeEndpoint));
    Thread t = TRY(make_thread(linux_main, 0, {.start = false}));
    TRY(configure(t.slot, kSlotSpace, t.utcb, endpoint, kRedirect));
    TRY(resume(t.slot));

    u64 calls = 0, status = ~u64{0};
    Message m;
    TRY(receive(endpoint, m));
    while (status == ~u64{0}) {
        if (m.label() != kLabelSyscall) return Errno::kInval;
        ++calls;
        i64 result = linux_syscall(m, t.slot, status);
        if (status != ~u64{0}) break;
        m = message(kResume, result);
        TRY(reply_receive(endpoint, m));
    }
    TRY(reply(message(kStop)));
    print("personality: {} system calls, status {}\n", calls, status);
    return status == 7 ? Result<void>{lib::kOk} : Errno::kInval;
}

}  // namespace

int native_main() {
    auto result = play();
    if (!result.ok()) print("personality: error {}\n", i32(result.error()));
    return result.ok() ? 0 : 1;
}
