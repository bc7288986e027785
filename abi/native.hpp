// SPDX-License-Identifier: MIT
// The native interface, version 1: the calls that a program makes to the microkernel core with the machine's system-call
// instruction, and their results. docs/native.md explains it; sysapi/ wraps it; core/ implements it.
//
// A native call: rax = number | flags, arguments in rdi rsi rdx r10 r8 r9. Result: rax >= 0, or a negated error. rcx and
// r11 are lost, as with any SYSCALL; every other register is preserved unless the call receives a message.
//
// A message: a tag (rsi), kRegisterWords words in rdx r10 r8 r9 rbx r12 r13 r14 r15, further words, capabilities and
// the rest in the thread's UTCB page. A received message: rdi = badge of the sender's capability (or the bits of a
// notification), rsi = tag, then the words. Registers beyond the message's length are undefined, but never hold
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
    kReplyReceive = 1,  // endpoint (receive): reply to the caller this thread owes a reply, if any; wait for a message
    kSend = 2,          // endpoint (send): send; returns when a receiver has it
    kReceive = 3,       // endpoint or notification (receive): wait; the tag tells which arrived
    kReply = 4,         // (no capability): reply to the caller. Never blocks. kBadF if no reply is owed
    kReplyTo = 5,       // reply (send): reply to the caller saved there. Never blocks
    kReplySave = 6,     // reply (receive): the owed reply moves into it; kBusy if it holds one, kBadF if none is owed
    kSignal = 7,        // notification (send): rsi = bits to set, or 0 for the capability's badge. Never blocks

    // --- Capabilities. A slot is in the caller's own table unless a space capability (write) says otherwise.
    kCreate = 16,  // pool (create), type, slot, a, b: see Type
    kCopy = 17,    // slot, to slot, rights, badge, space or 0: a derived capability with fewer rights; a badge only if
                   // the original has none
    kMove = 18,    // slot, to slot, space or 0
    kDelete = 19,  // slot. Deleting an object's last capability ends the object
    kRevoke = 20,  // slot: deletes everything derived from it, in any space; in many steps, each entry as a whole
    kIdentify = 21,  // slot: type | rights << 8
    kPoolInfo = 22,  // pool (any): bytes used, rsi: the quota

    // --- Threads (thread: write; read for reading registers)
    kThreadConfigure = 32,     // thread, space (write), UTCB address, exception endpoint (send) or 0, ThreadFlag:
                               // only while it is not running. kBusy otherwise
    kThreadSetRegisters = 33,  // thread: from the caller's UTCB. kBusy while it runs
    kThreadGetRegisters = 34,  // thread: into the caller's UTCB. kBusy while it runs
    kThreadResume = 35,        // thread: starts it. kBusy if it runs already
    kThreadSuspend = 36,       // thread: does not run when this returns. Its wait, if any, ends with kCanceled
    kThreadSchedule = 37,      // thread, sched, priority (0 lowest to kHighestPriority), CPU
    kThreadBind = 38,          // thread, notification (receive) or 0: a receive on an endpoint waits for both
    kThreadFastpaths = 39,     // thread, mask of the Fastpaths that it may use. For tests
    kThreadState = 40,         // thread (read): ThreadState
    kYield = 41,               // runs the next ready thread of the caller's priority
    kThreadHandler = 42,       // thread, endpoint (send) or 0, badge (0: the capability's): another exception endpoint
    kThreadSpace = 43,         // thread, space (write): another address space, of a thread without a UTCB in one
    kThreadKick = 44,          // thread: its next way to user mode becomes an exception (kLabelKick)
    kThreadTimes = 45,         // thread (read): ns of CPU time that were counted to it
    kThreadGetFpu = 46,        // thread (read), address, size: its FPU state, in the machine's format
    kThreadSetFpu = 47,        // thread, address, size; size 0: the initial state
                               // 42, 43, 46, 47: it is inactive or waits for an answer. kBusy otherwise

    // --- Memory
    kMap = 48,      // space (write), memory, address, offset, length, rights | type << 8. Replaces nothing: kExist
    kUnmap = 49,    // space (write), address, length
    kProtect = 50,  // space (write), address, length, rights: at most those of the capability when it was mapped
    // A space as the window of one memory: its frames are mapped one by one, without a record each. The first
    // kMapFrames makes it that; from then on kMap there is kExist.
    kMapFrames = 51,  // space (write), memory, count up to kMostFrames: for each, words 2i and 2i + 1 of the caller's
                      // UTCB: address, offset in the memory | rights. Maps or replaces. 1: as kSpaceStale
    kChangeFrames = 52,  // space (write), count, rights or 0: words 2i and 2i + 1: start, end. Protects what is mapped
                         // there; rights 0 unmaps it. 1: as kSpaceStale
    kFreeTables = 53,    // space (write), start, end, floor, ceiling: frees page tables over [start, end), where
                         // nothing should be mapped, that cover nothing outside [floor, ceiling)
    kSpaceStale = 54,    // space (any): 1 if some CPU may still use a translation that was taken away
    kMemoryExtent = 55,  // system (read), memory (read), index: physical start of the index-th run of frames that
                         // follow each other; rsi: its bytes

    // --- Scheduling, interrupts, the system
    kSchedConfigure = 56,  // sched (write), CPU set, highest priority, budget ns, period ns (0, 0: no limit)
    kSchedInfo = 57,       // sched (read): ns of CPU time used; rsi: CPU set
    kIrqBind = 58,         // irq (write), notification (send) or 0 to unbind, bits
    kIrqAck = 59,          // irq (write): unmasks the line
    kClock = 64,           // (): ns since boot
    kWrite = 65,           // system, bytes, size up to 512: to the machine's standard output; the number of bytes taken
    kShutDown = 66,        // system, status
    kTraceControl = 67,    // system, TraceOp, address, size
    kCpuCount = 68,        // ()
    kLockInfo = 69,        // endpoint, notification, sched or system (read): acquisitions of its lock; rsi: those
                           // that waited; rdx: longest wait, cycles. System: of all locks, acquisitions not counted
    kMemoryInfo = 70,      // system (read): bytes of free memory; rsi: bytes in all
    kAlarm = 71,    // ns since boot or 0 (none), bits: then they are signalled to the caller's bound notification
    kConsole = 72,  // system (write), ConsoleOp, its arguments
};
// Flags that are added to the number of an IPC call.
enum : uint64_t {
    kNonBlocking = 1u << 8,  // kAgain instead of a wait. (After sending, kCall still waits for its reply.)
    kTimed = 1u << 9,        // kTimedOut after Utcb::timeout nanoseconds; a call whose reply is late is cancelled
    kSaveOwed = 1u << 10,    // kReceive, kReplyReceive: first the reply that is owed moves into the Reply of Utcb::save
    kAnswerSaved = 1u << 11,  // kReplyReceive: the reply goes to the caller saved in the Reply of Utcb::answer
    kBehind =
        1u << 12,  // kReply, kReplyTo: the caller goes behind those of its priority that are ready, not before them
    kCallMask = 0xff,
};

enum Type : uint64_t {
    kTypeNone = 0,
    kTypePool = 1,    // a: quota in bytes, charged to the pool it is created from
    kTypeSpace = 2,   // a: capability slots, a power of two from 16 to 32,768
    kTypeThread = 3,  // not running. a: 1 if it shall have no UTCB page, else 0
    kTypeEndpoint = 4,
    kTypeReply = 5,
    kTypeNotification = 6,
    kTypeMemory = 7,   // a: bytes, whole pages; filled with zeros
    kTypeIrq = 8,      // derived from the first program's, not created; the badge is the line + 1
    kTypeSched = 9,    // a: highest priority, at most that of the creator's Sched
    kTypeSystem = 10,  // not created: the first program has it
};

// Rights of a capability. What they allow depends on its type, see Call.
enum Right : uint64_t {
    kSendRight = 1,
    kReceiveRight = 2,
    kGrantRight = 4,  // endpoint: capabilities may go with a message; system: traces and the console
    kReadRight = 8,
    kWriteRight = 16,
    kExecuteRight = 32,
    kCreateRight = 64,
    kAllRights = 127,
};

// --- Messages

inline constexpr uint64_t kRegisterWords = 9, kMaxWords = 120, kMaxCaps = 4;

// bits 0-6 words, 7-9 capabilities, 10-11 reserved, 12-63 label
inline constexpr unsigned kTagCapsShift = 7, kTagLabelShift = 12;
inline constexpr uint64_t kTagWords = 127, kTagCaps = 7u << kTagCapsShift, kTagReserved = 3u << 10;
// All but the label.
inline constexpr uint64_t kTagSize = kTagWords | kTagCaps | kTagReserved;
constexpr uint64_t make_tag(uint64_t label, uint64_t words, uint64_t caps = 0) {
    return label << kTagLabelShift | caps << kTagCapsShift | words;
}
constexpr uint64_t tag_words(uint64_t tag) { return tag & kTagWords; }
constexpr uint64_t tag_caps(uint64_t tag) { return (tag & kTagCaps) >> kTagCapsShift; }
constexpr uint64_t tag_label(uint64_t tag) { return tag >> kTagLabelShift; }

// Labels that the kernel sends. A program's own labels should be below kKernelLabels.
inline constexpr uint64_t kKernelLabels = uint64_t{1} << 48;
enum Label : uint64_t {
    kLabelSignal = kKernelLabels,  // a notification: rdi = its bits, no words
    kLabelSyscall,                 // words: number, pc, sp, six arguments
    kLabelPageFault,  // words: address, pc, sp, Access, 1 if a page is mapped there, the machine's error code
    kLabelException,  // words: vector, pc, sp, the machine's error code
    kLabelKick,       // words: 0, pc, sp
};
enum Access : uint64_t { kAccessRead = 0, kAccessWrite = 1, kAccessExecute = 2 };

// The label of a handler's reply to an exception. kReplyMaps may be added to each.
enum ExceptionReply : uint64_t {
    kResume = 0,      // continues; after a system call, word 0 is its result
    kResumeAt = 1,    // the same, at pc = word 1 with sp = word 2
    kResumeWith = 2,  // with the registers in the handler's UTCB
    kStop = 3,        // stops until it is resumed
    kReplyMaps = 4,   // first maps Utcb::map into the thread's space; if this fails, the reply fails without effect
};

// Items of one kMapFrames or kChangeFrames.
inline constexpr uint64_t kMostFrames = kMaxWords / 2;

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
    uint64_t cap_rights[kMaxCaps];  // at most these rights for each; 0: unchanged
    uint64_t receive[kMaxCaps];     // empty slots for received capabilities; 0 ends the list
    MapItem map;
    uint64_t answer, save;      // slots of Reply objects, for kAnswerSaved and kSaveOwed
    uint64_t words[kMaxWords];  // from word kRegisterWords on
    Registers registers;
    uint64_t free[512 - 3 * kMaxCaps - 2 - 5 - 2 - kMaxWords - 20];  // for the program's use
};

static_assert(sizeof(Utcb) == 4096);

enum ThreadFlag : uint64_t {
    kRedirect = 1,  // its system calls go to the exception endpoint (an unmodified program of another system)
    kNoFpu = 2,     // it uses no FPU: while it serves a trap, the program's FPU state may stay in the registers
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
    kSlotImage = 7,   // memory: the loaded program, see BootInfo::segment
    kSlotMemory = 8,  // of a server: memory, see BootInfo::memory_bytes
    kSlotFree = 16,   // the first free slot
    kFirstSlots = 4096,
    kServerSlots = 32768,  // of a server for another system
};
// Fixed addresses; the stack ends below kStackTop.
inline constexpr uint64_t kBootInfoPage = 0x3fff'ffff'e000, kFirstUtcb = 0x3fff'ffff'f000, kStackTop = 0x3fff'ffff'0000,
                          kStackSize = 0x40000;
inline constexpr uint64_t kBootMagic = 0x316c6c6163726146;  // "Farcall1"
struct Segment {
    uint64_t start, end, rights;
};
struct BootInfo {
    uint64_t magic, version, cpus, free_bytes, fastpaths;
    uint64_t cycle_hz;
    // The program's segments, to map it into other spaces: offsets in kSlotImage are relative to image_start.
    uint64_t image_start, segments;
    Segment segment[8];
    char command_line[1024];
    // The clock: now = ((tsc - tsc_base) * tsc_to_ns) >> 32, ns since boot; tsc_to_ns 0: the TSC is unusable. What to add for
    // the time since 1970.
    uint64_t tsc_base, tsc_to_ns, realtime_offset;
    uint64_t fpu_size, fpu_features, hardware_capabilities, hardware_capabilities2;
    // Of a server for another system: memory of its own, all of kSlotMemory, mapped at kServerMemory. The root archive lies
    // at an offset in it.
    uint64_t memory_bytes, archive_offset, archive_size;
    uint64_t streams, tty;  // bit n: there is a stream n; they are one terminal
    uint64_t counts;        // 1: the host wants to know what the server counts (kServerCounts)
};

// What a server has counted on one of its CPUs: messages by kind, answers, and its time.
struct ServerCounts {
    uint64_t calls, page_faults, other_traps;  // of clients, received
    uint64_t signals;                          // receives that ended with bits of a notification
    uint64_t replies;                          // answers to clients
    uint64_t receives;                         // receives that answered no client
    uint64_t busy_ns;                          // between the end of a receive and the next
};
inline constexpr uint64_t kServerMemory = 0x4000'0000'0000;

// --- The console, for a server: streams 0 to 2 are the standard ones.

enum ConsoleOp : uint64_t {
    kConsoleRead = 0,   // stream, address, size: bytes read; 0: none are there
    kConsoleWrite = 1,  // stream, address, size: bytes taken
    kConsoleEnded = 2,  // stream: 1 at the end of the input
    kConsoleSize = 3,   // rows << 16 | columns of the terminal
    kConsoleBind = 4,   // notification (send) or 0, bits: signalled when a stream or the size has changed
    kConsoleLog = 5,    // address, size: a line of the kernel's log
    kEntropy = 6,       // address, size: random bytes
    kReport = 7,  // wait status, error: the first of its programs has ended, and with it the server; an error other
                  // than 0: it could not begin
    kCannotStart = 8,    // error: the server could not begin
    kConsoleDumps = 9,   // notification (send) or 0, bits: signalled when the host asks what everybody does
    kServerCounts = 10,  // address, size: a ServerCounts for each CPU, for the host, as of now; before kReport
};

}  // namespace abi::native
