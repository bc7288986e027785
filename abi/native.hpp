// SPDX-License-Identifier: MIT
// The native interface, version 1: what a program says to the microkernel core with the machine's system-call
// instruction, and what comes back. docs/native.md explains it; sysapi/ wraps it; core/ implements it.
//
// A native call: rax = number | flags, arguments in rdi rsi rdx r10 r8 r9. Back: rax >= 0, or a negated error. rcx and r11
// are lost, as with any SYSCALL; every other register is kept unless the call receives a message.
//
// A message: a tag (rsi), kRegisterWords words in rdx r10 r8 r9 rbx r12 r13 r14 r15, further words, capabilities and
// the rest in the thread's UTCB page. What is received: rdi = badge of the capability that was used (or the bits of a
// notification), rsi = tag, then the words. Registers beyond the message's length are not defined, but never hold
// another program's data.
//
// A capability is named by its slot in the capability table of the thread's space; 0 names nothing.
// An error changes nothing, unless the call's description says otherwise.
#pragma once
#include <cstdint>

namespace abi::native {

inline constexpr uint64_t kVersion = 1;

enum Call : uint64_t {
    // --- IPC. rdi = capability, rsi = tag, words. May carry kNonBlocking or kTimed.
    kCall = 0,          // endpoint (send): send, and wait for the reply
    kReplyReceive = 1,  // endpoint (receive): answer the caller this thread owes a reply, if any; wait for a message
    kSend = 2,          // endpoint (send): send; done when a receiver has it
    kReceive = 3,       // endpoint or notification (receive): wait; the tag says what came
    kReply = 4,         // (no capability): answer the caller. Never blocks. kBadF if no reply is owed
    kReplyTo = 5,       // reply (send): answer the caller saved there. Never blocks
    kReplySave = 6,     // reply (receive): the owed reply moves into it; kBusy if it holds one, kBadF if none is owed
    kSignal = 7,        // notification (send): rsi = bits to set, or 0 for the capability's badge. Never blocks

    // --- Capabilities. A slot is in the caller's own table unless a space capability (write) says otherwise.
    kCreate = 16,  // pool (create), type, slot, a, b: see Type
    kCopy = 17,    // slot, to slot, rights, badge, space or 0: a derived capability with fewer rights; a badge only if
                   // the original has none
    kMove = 18,    // slot, to slot, space or 0
    kDelete = 19,  // slot. The last capability of an object ends it
    kRevoke = 20,  // slot: deletes everything derived from it, in any space; may take many steps, never half an entry
    kIdentify = 21,  // slot: type | rights << 8
    kPoolInfo = 22,  // pool (any): bytes used, rsi: the quota

    // --- Threads (thread: write, but for reading registers: read)
    kThreadConfigure = 32,     // thread, space (write), UTCB address, exception endpoint (send) or 0, ThreadFlag:
                               // only while it is not running. kBusy otherwise
    kThreadSetRegisters = 33,  // thread: from the caller's UTCB. kBusy while it runs
    kThreadGetRegisters = 34,  // thread: into the caller's UTCB. kBusy while it runs
    kThreadResume = 35,        // thread: runs. kBusy if it does already
    kThreadSuspend = 36,       // thread: does not run when this returns. What it waited for ends with kCanceled
    kThreadSchedule = 37,      // thread, sched, priority (0 lowest to kHighestPriority), CPU
    kThreadBind = 38,          // thread, notification (receive) or 0: a receive on an endpoint waits for both
    kThreadFastpaths = 39,     // thread, mask of Fastpath: which it may use. For tests
    kThreadState = 40,         // thread (read): ThreadState
    kYield = 41,               // the next ready thread of the caller's priority has its turn

    // --- Memory
    kMap = 48,      // space (write), memory, address, offset, length, rights | type << 8. Replaces nothing: kExist
    kUnmap = 49,    // space (write), address, length
    kProtect = 50,  // space (write), address, length, rights: not more than the capability gave when it was mapped

    // --- Scheduling, interrupts, the system
    kSchedConfigure = 56,  // sched (write), CPU set, highest priority, budget ns, period ns (0, 0: no limit)
    kSchedInfo = 57,       // sched (read): ns of CPU time used; rsi: CPU set
    kIrqBind = 58,         // irq (write), notification (send) or 0 for nobody, bits
    kIrqAck = 59,          // irq (write): may come again
    kClock = 64,           // (): ns since boot
    kWrite = 65,           // system, bytes, size up to 512: to the machine's standard output; how many it took
    kShutDown = 66,        // system, status
    kTraceControl = 67,    // system, TraceOp, address, size
    kCpuCount = 68,        // ()
    kLockInfo = 69,    // endpoint, notification, sched or system (read): how often its lock was taken; rsi: how often
                       // another CPU had it; rdx: the longest wait, cycles. System: of all locks, taken not counted
    kMemoryInfo = 70,  // system (read): bytes of memory that nothing holds; rsi: bytes in all
};
// Flags beside the number of an IPC call.
enum : uint64_t {
    kNonBlocking = 1u << 8,  // kAgain instead of a wait. (A call that was sent waits for its reply all the same.)
    kTimed = 1u << 9,        // Utcb::timeout nanoseconds, then kTimedOut; a call whose reply is late is cancelled
    kCallMask = 0xff,
};

enum Type : uint64_t {
    kTypeNone = 0,
    kTypePool = 1,    // a: quota in bytes, taken from the pool it is made of
    kTypeSpace = 2,   // a: capability slots, a power of two from 16 to 32,768
    kTypeThread = 3,  // not running
    kTypeEndpoint = 4,
    kTypeReply = 5,
    kTypeNotification = 6,
    kTypeMemory = 7,   // a: bytes, whole pages; filled with zeros
    kTypeIrq = 8,      // not created: derived from the first program's; the badge is the line + 1
    kTypeSched = 9,    // a: highest priority, at most that of the creator's
    kTypeSystem = 10,  // not created: the first program has it
};

// Rights of a capability. What they allow depends on its type, see Call.
enum Right : uint64_t {
    kSendRight = 1,
    kReceiveRight = 2,
    kGrantRight = 4,  // endpoint: capabilities may go with a message
    kReadRight = 8,
    kWriteRight = 16,
    kExecuteRight = 32,
    kCreateRight = 64,
    kAllRights = 127,
};

// --- Messages

inline constexpr uint64_t kRegisterWords = 9, kMaxWords = 120, kMaxCaps = 4;

// bits 0-6 words, 7-9 capabilities, 12-63 label
constexpr uint64_t make_tag(uint64_t label, uint64_t words, uint64_t caps = 0) {
    return label << 12 | caps << 7 | words;
}
constexpr uint64_t tag_words(uint64_t tag) { return tag & 127; }
constexpr uint64_t tag_caps(uint64_t tag) { return tag >> 7 & 7; }
constexpr uint64_t tag_label(uint64_t tag) { return tag >> 12; }
inline constexpr uint64_t kTagReserved = 3u << 10;

// Labels that the kernel sends. A program's own labels should be below kKernelLabels.
inline constexpr uint64_t kKernelLabels = uint64_t{1} << 48;
enum Label : uint64_t {
    kLabelSignal = kKernelLabels,  // a notification: rdi = its bits, no words
    kLabelSyscall,                 // words: number, pc, sp, six arguments
    kLabelPageFault,  // words: address, pc, sp, Access, 1 if a page is mapped there, the machine's error code
    kLabelException,  // words: vector, pc, sp, the machine's error code
};
enum Access : uint64_t { kAccessRead = 0, kAccessWrite = 1, kAccessExecute = 2 };

// What a handler answers to an exception: the label of its reply. kReplyMaps may be added to each.
enum ExceptionReply : uint64_t {
    kResume = 0,      // goes on. After a system call with word 0 as its result
    kResumeAt = 1,    // the same, at pc = word 1 with sp = word 2
    kResumeWith = 2,  // with the registers in the handler's UTCB
    kStop = 3,        // does not go on until it is resumed
    kReplyMaps = 4,   // first maps Utcb::map into the thread's space; if that fails the reply fails, nothing changes
};

struct MapItem {
    uint64_t memory, address, offset, length, rights;
};

struct Registers {
    uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp, r8, r9, r10, r11, r12, r13, r14, r15, rip, rflags, fs_base,
        gs_base;
};

// The page that a thread shares with the kernel. FS points to it unless the thread sets another base.
struct Utcb {
    uint64_t self;                  // its address in the thread's space
    uint64_t timeout;               // ns, for kTimed
    uint64_t caps[kMaxCaps];        // slots to send with a message
    uint64_t cap_rights[kMaxCaps];  // each with these rights at most; 0: those it has
    uint64_t receive[kMaxCaps];     // empty slots for what comes; 0 ends the list
    MapItem map;
    uint64_t words[kMaxWords];  // those from kRegisterWords on
    Registers registers;
    uint64_t free[512 - 3 * kMaxCaps - 2 - 5 - kMaxWords - 20];  // the program's own
};

static_assert(sizeof(Utcb) == 4096);

enum ThreadFlag : uint64_t {
    kRedirect = 1,  // its system calls go to the exception endpoint (an unmodified program of another system)
};
enum Fastpath : uint64_t { kFastException = 1, kFastCall = 2, kFastReply = 4, kFastNotify = 8, kFastAll = 15 };
enum ThreadState : uint64_t {
    kStateInactive = 0,
    kStateReady = 1,  // or running
    kStateSending = 2,
    kStateReceiving = 3,
    kStateAwaitingReply = 4,
    kStateWaiting = 5,  // for a notification
    kStateEnded = 6,
};
inline constexpr uint64_t kHighestPriority = 28, kDefaultPriority = 14;

// --- Tracing

enum TraceOp : uint64_t {
    kTraceStop = 0,
    kTraceStart = 1,
    kTraceRead = 2
};  // read: records into a buffer, oldest first

// --- The first program

// Its slots when it starts.
enum FirstSlot : uint64_t {
    kSlotSpace = 1,
    kSlotThread = 2,
    kSlotPool = 3,   // all memory
    kSlotSched = 4,  // all CPUs, highest priority
    kSlotIrq = 5,
    kSlotSystem = 6,
    kSlotImage = 7,  // memory: the program as it is loaded, see BootInfo::segment
    kSlotFree = 16,  // the first of those that are free
    kFirstSlots = 4096,
};
// Where it finds what; the stack ends below kStackTop.
inline constexpr uint64_t kBootInfoPage = 0x3fff'ffff'e000, kFirstUtcb = 0x3fff'ffff'f000, kStackTop = 0x3fff'ffff'0000,
                          kStackSize = 0x40000;
inline constexpr uint64_t kBootMagic = 0x316c6c6163726146;  // "Farcall1"
struct Segment {
    uint64_t start, end, rights;
};
struct BootInfo {
    uint64_t magic, version, cpus, free_bytes, fastpaths;
    uint64_t cycle_hz;
    // Where the program is, for those that want it in another space too: kSlotImage from image_start on.
    uint64_t image_start, segments;
    Segment segment[8];
    char command_line[1024];
};

}  // namespace abi::native
