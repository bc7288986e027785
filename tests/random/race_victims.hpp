// SPDX-License-Identifier: MIT
// The threads that drivers start (race.cpp), and the slots that all of them share.
//
// Victims run without a stack, from registers alone: two may have the same UTCB, or the same registers, and do no harm to the
// memory of the program.
#pragma once
#include "tests/random/seeded.hpp"

namespace race {

using namespace native;

// The shared slots: a group for each type, and copies. Groups have a power of two, for the victims.
struct Group {
    Slot at;
    u64 size;
};
constexpr Slot kSharedAt = 1024, kShared = 32;
constexpr Group kThreads{kSharedAt, 8}, kEndpoints{kSharedAt + 8, 4}, kReplies{kSharedAt + 12, 4},
    kNotifications{kSharedAt + 16, 4}, kScheds{kSharedAt + 20, 2}, kSpaces{kSharedAt + 22, 2},
    kMemories{kSharedAt + 24, 2}, kPools{kSharedAt + 26, 2}, kCopies{kSharedAt + 28, 4}, kAny{kSharedAt, kShared};

// A victim's call: rdi and rsi are a base and random bits; rdx is random bits. For IPC, rsi is the tag.
struct alignas(16) VictimCall {
    u16 number, first, first_bits, second, second_bits, third_bits;
};
constexpr u16 with(u64 number, u64 flag) { return u16(number | flag); }
constexpr VictimCall ipc(u64 number, Group to, u16 label = 0) {
    return {u16(number), u16(to.at), u16(to.size - 1), label, 0x700f, 0};
}
constexpr VictimCall on(u64 number, Group to, u16 third_bits = 0) {
    return {u16(number), u16(to.at), u16(to.size - 1), 0, 0, third_bits};
}
constexpr VictimCall on(u64 number, Group to, Group second, u16 third_bits = 0) {
    return {u16(number), u16(to.at), u16(to.size - 1), u16(second.at), u16(second.size - 1), third_bits};
}
constexpr u16 kOneWay = 0x8000;  // in a tag: nobody waits for an answer

extern "C" {
extern const VictimCall race_victim_calls[64] = {ipc(kCall, kEndpoints),
                                                 ipc(with(kCall, kTimed), kEndpoints),
                                                 ipc(with(kCall, kTimed), kEndpoints),
                                                 ipc(kReplyReceive, kEndpoints),
                                                 ipc(with(kReplyReceive, kTimed), kEndpoints),
                                                 ipc(with(kReplyReceive, kNonBlocking), kEndpoints),
                                                 ipc(with(kSend, kTimed), kEndpoints, kOneWay),
                                                 ipc(with(kSend, kNonBlocking), kEndpoints, kOneWay),
                                                 ipc(kReceive, kEndpoints),
                                                 ipc(with(kReceive, kTimed), kEndpoints),
                                                 ipc(with(kReceive, kTimed), kNotifications),
                                                 ipc(kReply, kAny),
                                                 ipc(kReplyTo, kReplies),
                                                 ipc(kReplySave, kReplies),
                                                 ipc(kSignal, kNotifications),
                                                 ipc(kSignal, kNotifications),
                                                 on(kYield, kAny),
                                                 on(kYield, kAny),
                                                 on(kCopy, kAny, kCopies, 0xff),
                                                 on(kMove, kAny, kAny),
                                                 on(kDelete, kAny),
                                                 on(kIdentify, kAny),
                                                 on(kThreadResume, kThreads),
                                                 on(kThreadSuspend, kThreads),
                                                 on(kThreadSuspend, kThreads),
                                                 on(kThreadState, kThreads),
                                                 on(kThreadBind, kThreads, kNotifications),
                                                 on(kThreadBind, kThreads),
                                                 on(kThreadGetRegisters, kThreads),
                                                 on(kThreadSchedule, kThreads, kScheds, 7),
                                                 {kThreadFastpaths, kThreads.at, kThreads.size - 1, 0, 15, 0},
                                                 {kThreadConfigure, kThreads.at, kThreads.size - 1, kSlotSpace, 0, 0},
                                                 ipc(kCall, kEndpoints),
                                                 ipc(kCall, kEndpoints),
                                                 ipc(with(kCall, kTimed), kEndpoints),
                                                 ipc(kReplyReceive, kEndpoints),
                                                 ipc(kReplyReceive, kEndpoints),
                                                 ipc(with(kReplyReceive, kTimed), kEndpoints),
                                                 ipc(with(kReplyReceive, kAnswerSaved), kEndpoints),
                                                 ipc(with(kReplyReceive, kAnswerSaved), kEndpoints),
                                                 ipc(with(kReplyReceive, kAnswerSaved | kSaveOwed), kEndpoints),
                                                 ipc(with(kReplyReceive, kAnswerSaved | kSaveOwed), kEndpoints),
                                                 ipc(with(kReplyReceive, kAnswerSaved | kTimed), kEndpoints),
                                                 ipc(with(kReceive, kSaveOwed), kEndpoints),
                                                 ipc(with(kReceive, kSaveOwed), kEndpoints),
                                                 ipc(with(kReceive, kSaveOwed | kTimed), kEndpoints),
                                                 ipc(kReceive, kEndpoints),
                                                 ipc(with(kReceive, kTimed), kNotifications),
                                                 ipc(kReply, kAny),
                                                 ipc(kReplyTo, kReplies),
                                                 ipc(kReplySave, kReplies),
                                                 ipc(kSignal, kNotifications),
                                                 ipc(kSignal, kNotifications),
                                                 on(kThreadKick, kThreads),
                                                 on(kThreadKick, kThreads),
                                                 on(kThreadKick, kThreads),
                                                 on(kThreadHandler, kThreads, kEndpoints),
                                                 on(kThreadHandler, kThreads),
                                                 on(kThreadSpace, kThreads, kSpaces),
                                                 on(kThreadTimes, kThreads),
                                                 on(kThreadSetFpu, kThreads),
                                                 on(kThreadResume, kThreads),
                                                 on(kYield, kAny),
                                                 {kAlarm, 1, 0, 1, 0, 0}};
u64 race_last_cpu;
void race_victim();  // rbp: a seed
void race_server();  // rbp: a slot of an endpoint, for ever
void race_caller();  // the same; calls
}
asm(R"(
    .text
    .globl race_victim
race_victim:
    mov %rbp, %rax
    shl $13, %rax
    xor %rax, %rbp
    mov %rbp, %rax
    shr $7, %rax
    xor %rax, %rbp
    mov %rbp, %rax
    shl $17, %rax
    xor %rax, %rbp
    mov %rbp, %rcx
    shr $40, %rcx
    and $63, %ecx
    shl $4, %ecx
    lea race_victim_calls(%rip), %rax
    add %rax, %rcx
    mov %rbp, %rdi
    shr $8, %rdi
    movzwl 4(%rcx), %eax
    and %eax, %edi
    movzwl 2(%rcx), %eax
    add %eax, %edi
    mov %rbp, %rsi
    shr $16, %rsi
    movzwl 8(%rcx), %eax
    and %eax, %esi
    movzwl 6(%rcx), %eax
    add %eax, %esi
    movzwl (%rcx), %eax
    cmp $16, %al
    jb 1f
    mov %rbp, %rdx
    shr $24, %rdx
    movzwl 10(%rcx), %r10d
    and %r10d, %edx
    mov %rbp, %r10
    shr $32, %r10
    and race_last_cpu(%rip), %r10
    cmp $17, %al
    jne 2f
    xor %r10d, %r10d
2:  xor %r8d, %r8d
    xor %r9d, %r9d
1:  syscall
    jmp race_victim

    .globl race_server
race_server:
    mov $3, %eax
    mov %rbp, %rdi
    xor %esi, %esi
    syscall
3:  test %rax, %rax
    js race_server
    mov $1, %eax
    mov %rbp, %rdi
    and $7, %esi
    syscall
    jmp 3b

    .globl race_caller
race_caller:
    xor %eax, %eax
    mov %rbp, %rdi
    mov $2, %esi
    syscall
    jmp race_caller
)");

}  // namespace race
