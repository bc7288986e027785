// SPDX-License-Identifier: MIT
// The user side of the native interface (abi/native.hpp): a program's messages, capabilities, threads and memory.
// docs/native.md explains it; examples/ show its use. Errors are abi::Errno; the table of docs/native.md lists those of
// each call. Only the calls that the table marks as waiting block, and write(); those that run in steps let other
// threads run in between.
//
//     native::Message m = native::message(kGreet, 7);
//     if (auto r = native::call(endpoint, m); r.ok()) use(m.words[0]);
#pragma once
#include <span>
#include <string_view>

#include "abi/native.hpp"
#include "lib/result.hpp"

namespace native {

using namespace abi::native;

// A slot of the capability table.
using Slot = u64;

// --- Calls

// A call with its plain result: at least 0, or a negated Errno.
inline i64 raw_call(u64 number, u64 a = 0, u64 b = 0, u64 c = 0, u64 d = 0, u64 e = 0, u64 f = 0) {
    register u64 r10 asm("r10") = d;
    register u64 r8 asm("r8") = e;
    register u64 r9 asm("r9") = f;
    i64 result;
    asm volatile("syscall"
                 : "=a"(result), "+D"(a), "+S"(b), "+d"(c), "+r"(r10), "+r"(r8), "+r"(r9)
                 : "a"(number)
                 : "rcx", "r11", "memory");
    return result;
}
// The same as a Result.
inline Result<u64> make_call(u64 number, u64 a = 0, u64 b = 0, u64 c = 0, u64 d = 0, u64 e = 0, u64 f = 0) {
    i64 r = raw_call(number, a, b, c, d, e, f);
    if (r < 0) return Errno(-r);
    return u64(r);
}
// The same for a call without a value.
inline Result<void> do_call(u64 number, u64 a = 0, u64 b = 0, u64 c = 0, u64 d = 0, u64 e = 0, u64 f = 0) {
    i64 r = raw_call(number, a, b, c, d, e, f);
    if (r < 0) return Errno(-r);
    return lib::kOk;
}

// --- Messages

struct Message {
    u64 badge = 0;  // received: the badge of the capability that was used, or the bits of a notification
    u64 tag = 0;
    u64 words[kRegisterWords] = {};

    u64 label() const { return tag_label(tag); }
    u64 size() const { return tag_words(tag); }
    u64 caps() const { return tag_caps(tag); }
};
// A message of these words, without capabilities.
template <class... W>
constexpr Message message(u64 label, W... words) {
    static_assert(sizeof...(words) <= kRegisterWords);
    return Message{0, make_tag(label, sizeof...(words)), {u64(words)...}};
}

// Any IPC call: sends m, and stores what is received in m. Returns the error, or kOk.
inline Errno exchange(u64 number, Slot slot, Message& m) {
    u64 result = number, di = slot, si = m.tag, dx = m.words[0], bx = m.words[4];
    register u64 r10 asm("r10") = m.words[1];
    register u64 r8 asm("r8") = m.words[2];
    register u64 r9 asm("r9") = m.words[3];
    register u64 r12 asm("r12") = m.words[5];
    register u64 r13 asm("r13") = m.words[6];
    register u64 r14 asm("r14") = m.words[7];
    register u64 r15 asm("r15") = m.words[8];
    asm volatile("syscall"
                 : "+a"(result), "+D"(di), "+S"(si), "+d"(dx), "+b"(bx), "+r"(r10), "+r"(r8), "+r"(r9), "+r"(r12),
                   "+r"(r13), "+r"(r14), "+r"(r15)
                 :
                 : "rcx", "r11", "memory");
    if (i64(result) < 0) return Errno(-i64(result));
    m = {di, si, {dx, r10, r8, r9, bx, r12, r13, r14, r15}};
    return Errno::kOk;
}
// A server's answer to a trap (kResume) with the result of a call, and its next receive, stored in m. As kReplyReceive
// without flags; without a word of m that is not needed.
inline Errno answer_trap(Slot endpoint, u64 result, Message& m) {
    u64 number = kReplyReceive, di = endpoint, si = make_tag(kResume, 1), dx = result, bx;
    register u64 r10 asm("r10");
    register u64 r8 asm("r8");
    register u64 r9 asm("r9");
    register u64 r12 asm("r12");
    register u64 r13 asm("r13");
    register u64 r14 asm("r14");
    register u64 r15 asm("r15");
    asm volatile("syscall"
                 : "+a"(number), "+D"(di), "+S"(si), "+d"(dx), "=b"(bx), "=r"(r10), "=r"(r8), "=r"(r9), "=r"(r12),
                   "=r"(r13), "=r"(r14), "=r"(r15)
                 :
                 : "rcx", "r11", "memory");
    if (i64(number) < 0) return Errno(-i64(number));
    m = {di, si, {dx, r10, r8, r9, bx, r12, r13, r14, r15}};
    return Errno::kOk;
}
inline Result<void> as_result(Errno e) {
    if (e != Errno::kOk) return e;
    return lib::kOk;
}

// Sends m and blocks until the reply, which is stored in m. `flags`: kNonBlocking or kTimed, as for all IPC calls.
inline Result<void> call(Slot endpoint, Message& m, u64 flags = 0) {
    return as_result(exchange(kCall | flags, endpoint, m));
}
// Blocks until a receiver has m.
inline Result<void> send(Slot endpoint, const Message& m, u64 flags = 0) {
    Message copy = m;
    return as_result(exchange(kSend | flags, endpoint, copy));
}
// Blocks until a message arrives, or the bits of a notification (then m.label() == kLabelSignal, and m.badge holds the
// bits).
inline Result<void> receive(Slot from, Message& m, u64 flags = 0) {
    return as_result(exchange(kReceive | flags, from, m));
}
// Replies with m, then blocks until the next message: the loop of a server.
inline Result<void> reply_receive(Slot endpoint, Message& m, u64 flags = 0) {
    return as_result(exchange(kReplyReceive | flags, endpoint, m));
}
// Replies to the caller of the last call that this thread received. Never blocks; kBadF if no reply is owed.
inline Result<void> reply(const Message& m, u64 flags = 0) {
    Message copy = m;
    return as_result(exchange(kReply | flags, 0, copy));
}
// Replies to the caller saved in a Reply object. Never blocks.
inline Result<void> reply_to(Slot saved, const Message& m, u64 flags = 0) {
    Message copy = m;
    return as_result(exchange(kReplyTo | flags, saved, copy));
}
// Moves the reply that this thread owes into a Reply object. Never blocks; kBusy if it holds one.
inline Result<void> reply_save(Slot into) { return do_call(kReplySave, into); }
// Sets bits of a notification; 0: the badge of the capability. Never blocks.
inline Result<void> signal(Slot notification, u64 bits = 0) { return do_call(kSignal, notification, bits); }

// --- The UTCB: the page that the calling thread shares with the kernel

inline Utcb& utcb() {
    u64 at;
    asm("mov %%fs:0, %0" : "=r"(at));
    return *reinterpret_cast<Utcb*>(at);
}

// --- Saved callers, which a Reply object holds

// receive(), but first the reply that is owed moves into the Reply `into`.
inline Result<void> save_receive(Slot into, Slot from, Message& m, u64 flags = 0) {
    utcb().save = into;
    m.tag = 0;
    return as_result(exchange(u64{kReceive} | kSaveOwed | flags, from, m));
}
// Replies with m to the caller that is saved in `answer`, then waits for the next message. `into` not 0: before that the
// reply that is owed moves there.
inline Result<void> answer_receive(Slot answer, Slot endpoint, Message& m, Slot into = 0, u64 flags = 0) {
    utcb().answer = answer;
    utcb().save = into;
    return as_result(exchange(u64{kReplyReceive} | kAnswerSaved | (into ? u64{kSaveOwed} : 0) | flags, endpoint, m));
}

// --- Capabilities

// Creates an object in an empty slot, charged to the pool. `argument`: see abi::native::Type.
inline Result<void> create(Slot pool, Type type, Slot slot, u64 argument = 0) {
    return do_call(abi::native::kCreate, pool, type, slot, argument);
}
// Derives a capability with the same or fewer rights. `space`: the table of `to`; 0: the caller's own.
inline Result<void> copy(Slot from, Slot to, u64 rights = kAllRights, u64 badge = 0, Slot space = 0) {
    return do_call(kCopy, from, to, rights, badge, space);
}
inline Result<void> move(Slot from, Slot to, Slot space = 0) { return do_call(kMove, from, to, space); }
// Deletes one capability; with its last capability, an object ends.
inline Result<void> remove(Slot slot) { return do_call(kDelete, slot); }
// Deletes everything that was derived from a capability.
inline Result<void> revoke(Slot slot) { return do_call(kRevoke, slot); }
inline Result<u64> identify(Slot slot) { return make_call(kIdentify, slot); }  // type | rights << 8
// Bytes.
inline Result<u64> pool_used(Slot pool) { return make_call(kPoolInfo, pool); }

// --- Threads

// Only for a thread that is not running. `handler`: the exception endpoint, 0 for none; `flags`: ThreadFlag.
inline Result<void> configure(Slot thread, Slot space, u64 utcb_at, Slot handler = 0, u64 flags = 0) {
    return do_call(kThreadConfigure, thread, space, utcb_at, handler, flags);
}
// The registers of a thread that is not running.
inline Result<void> set_registers(Slot thread, const Registers& r) {
    utcb().registers = r;
    return do_call(kThreadSetRegisters, thread);
}
inline Result<void> get_registers(Slot thread, Registers& r) {
    TRY(do_call(kThreadGetRegisters, thread));
    r = utcb().registers;
    return lib::kOk;
}
inline Result<void> resume(Slot thread) { return do_call(kThreadResume, thread); }
inline Result<void> suspend(Slot thread) { return do_call(kThreadSuspend, thread); }
// From now on the thread uses the CPU time of `sched`, and runs on `cpu`.
inline Result<void> schedule(Slot thread, Slot sched, u64 priority, u64 cpu) {
    return do_call(kThreadSchedule, thread, sched, priority, cpu);
}
// A receive of the thread at an endpoint also waits for the notification; 0 unbinds.
inline Result<void> bind(Slot thread, Slot notification) { return do_call(kThreadBind, thread, notification); }
// A value of ThreadState.
inline Result<u64> state(Slot thread) { return make_call(kThreadState, thread); }
inline void yield() { (void)raw_call(kYield); }
// Another exception endpoint, 0: none. `badge` 0: that of the capability.
inline Result<void> set_handler(Slot thread, Slot endpoint, u64 badge = 0) {
    return do_call(kThreadHandler, thread, endpoint, badge);
}
inline Result<void> set_space(Slot thread, Slot space) { return do_call(kThreadSpace, thread, space); }
inline Result<void> kick(Slot thread) { return do_call(kThreadKick, thread); }
inline Result<u64> thread_time(Slot thread) { return make_call(kThreadTimes, thread); }  // ns
// The machine's format; its size is that of the machine's area. Size 0 sets the initial state.
inline Result<void> get_fpu(Slot thread, void* to, u64 size) { return do_call(kThreadGetFpu, thread, u64(to), size); }
inline Result<void> set_fpu(Slot thread, const void* from, u64 size) {
    return do_call(kThreadSetFpu, thread, u64(from), size);
}

// --- Memory

// Maps part of a Memory object. Address, offset and length are multiples of the page size. kExist if anything is mapped
// there.
inline Result<void> map(Slot space, Slot memory, u64 address, u64 offset, u64 length, u64 rights) {
    return do_call(kMap, space, memory, address, offset, length, rights);
}
inline Result<void> unmap(Slot space, u64 address, u64 length) { return do_call(kUnmap, space, address, length); }
inline Result<void> protect(Slot space, u64 address, u64 length, u64 rights) {
    return do_call(kProtect, space, address, length, rights);
}

// --- Windows: frames of one memory, mapped one by one into a space that has nothing else (docs/native.md, section 2)

struct Frame {
    u64 address, offset, rights;  // where, and which page of the memory
};
struct Range {
    u64 start, end;
};
// At most kMostFrames, which go through Utcb::words. True: some CPU may still use what was there before (see stale()).
inline Result<bool> map_frames(Slot space, Slot memory, std::span<const Frame> frames) {
    u64* word = utcb().words;
    for (const Frame& f : frames) {
        *word++ = f.address;
        *word++ = f.offset | f.rights;
    }
    return TRY(make_call(kMapFrames, space, memory, frames.size())) != 0;
}
// Unmaps (rights 0) or protects what is mapped in at most kMostFrames ranges. True: as with map_frames().
inline Result<bool> change_frames(Slot space, std::span<const Range> ranges, u64 rights) {
    u64* word = utcb().words;
    for (const Range& r : ranges) {
        *word++ = r.start;
        *word++ = r.end;
    }
    return TRY(make_call(kChangeFrames, space, ranges.size(), rights)) != 0;
}
// The page tables over [start, end), which is unmapped, that cover nothing outside [floor, ceiling).
inline Result<void> free_tables(Slot space, u64 start, u64 end, u64 floor, u64 ceiling) {
    return do_call(kFreeTables, space, start, end, floor, ceiling);
}
// May some CPU still use a translation that was taken away?
inline Result<bool> stale(Slot space) { return TRY(make_call(kSpaceStale, space)) != 0; }
// The index-th run of frames of a memory that follow each other; kInval beyond the last.
struct Run {
    u64 start, bytes;  // physical
};
inline Result<Run> memory_extent(Slot system, Slot memory, u64 index) {
    i64 start;
    u64 bytes = memory;
    asm volatile("syscall"
                 : "=a"(start), "+S"(bytes)
                 : "a"(kMemoryExtent), "D"(system), "d"(index)
                 : "rcx", "r11", "memory");
    if (start < 0) return Errno(-start);
    return Run{u64(start), bytes};
}

// --- Scheduling and interrupts

// `budget` ns of CPU time in every `period` ns; both 0: no limit.
inline Result<void> configure_sched(Slot sched, u64 cpu_set, u64 highest, u64 budget = 0, u64 period = 0) {
    return do_call(kSchedConfigure, sched, cpu_set, highest, budget, period);
}
inline Result<u64> sched_used(Slot sched) { return make_call(kSchedInfo, sched); }  // ns of CPU time
// `irq` is a copy of kSlotIrq with the badge line + 1. Notification 0 unbinds it.
inline Result<void> irq_bind(Slot irq, Slot notification, u64 bits) {
    return do_call(kIrqBind, irq, notification, bits);
}
// Unmasks the line, which each interrupt masks.
inline Result<void> irq_ack(Slot irq) { return do_call(kIrqAck, irq); }

// --- The first program

inline const BootInfo& boot_info() { return *reinterpret_cast<const BootInfo*>(kBootInfoPage); }
inline u64 now() { return u64(raw_call(kClock)); }  // ns since boot
// At `deadline` (ns since boot; 0: never) `bits` are signalled to the notification that is bound to this thread. One for
// each thread: it replaces the one before.
inline Result<void> alarm(u64 deadline, u64 bits) { return do_call(kAlarm, deadline, bits); }
inline u64 cpus() { return u64(raw_call(kCpuCount)); }
// Statistics of the lock of an endpoint, notification or sched. For the system capability: of all locks, with `taken`
// 0.
struct LockInfo {
    u64 taken, contended, longest;  // acquisitions; those that waited; longest wait in cycles
};
inline Result<LockInfo> lock_info(Slot object) {
    i64 taken;
    u64 contended, longest;
    asm volatile("syscall"
                 : "=a"(taken), "=S"(contended), "=d"(longest)
                 : "a"(kLockInfo), "D"(object)
                 : "rcx", "r11", "memory");
    if (taken < 0) return Errno(-taken);
    return LockInfo{u64(taken), contended, longest};
}
// Bytes of free memory, after this CPU has returned its caches.
inline Result<u64> memory_free(Slot system) {
    i64 free = raw_call(kMemoryInfo, system);
    if (free < 0) return Errno(-free);
    return u64(free);
}
// Writes to the machine's standard output with the first program's system capability. Yields while the output is full,
// and drops the rest after an error.
inline void write(std::string_view text) {
    while (!text.empty()) {
        i64 n = raw_call(kWrite, kSlotSystem, u64(text.data()), text.size() < 512 ? text.size() : 512);
        if (n < 0) return;
        if (n == 0) yield();
        text.remove_prefix(u64(n));
    }
}
// Ends the machine; `status` is the exit status of `./farcall run --native`.
[[noreturn]] inline void shut_down(int status) {
    for (;;) (void)raw_call(kShutDown, kSlotSystem, u64(status));
}

}  // namespace native

// Defined by the program. Its return value is the exit status of the machine.
int native_main();
