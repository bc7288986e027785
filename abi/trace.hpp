// SPDX-License-Identifier: MIT
// Records of the kernel's trace buffer, in the exported format (docs/tracing.md).
#pragma once
#include <cstdint>

namespace abi::trace {

enum class Path : uint8_t {
    // Native threads.
    kFastCall,
    kFastReply,
    kFastException,
    kFastSignal,
    kSlowCall,  // from the entry until the caller continues, another thread has the CPU, or the CPU is idle
    kSlowReply,
    kSlowException,
    kSlowSignal,
    kSlowOther,  // any other native call
    // Any thread: an instant, not a stretch of time.
    kSwitch,     // the CPU goes to another thread
    kInterrupt,  // an interrupt arrived in user mode
    // Linux threads.
    kLeaf,       // a call as a plain function, in the trap
    kLeafAgain,  // the same, woken from a wait
    kFault,      // a page fault or an exception, in the trap
    kTask,       // a stretch of the thread's coroutine: until it waits, moves to another CPU, or is done
    kSent,       // another CPU executes the call: on the caller's CPU, until the result or the switch away
    kService,    // the same, on the module's CPU
    kServer,     // route=server: what the server does for a call. Made by the host tool, of exceptions and replies
    kCount
};
inline constexpr const char* kPathNames[] = {
    "fast call",      "fast reply",  "fast exception", "fast signal", "slow call", "slow reply",
    "slow exception", "slow signal", "slow other",     "switch",      "interrupt", "leaf",
    "leaf again",     "fault",       "task",           "sent",        "service",   "server"};
static_assert(sizeof kPathNames / sizeof kPathNames[0] == unsigned(Path::kCount));

// Why a fastpath was left for the slowpath; kNone: it was not.
enum class Test : uint8_t {
    kNone,
    kCapability,   // no such capability, the wrong type, or a right is missing
    kLong,         // more words than registers, or capabilities
    kNoPartner,    // no thread waits for the message, or no reply is owed
    kPriority,     // a thread of higher priority is ready
    kOtherCpu,     // the partner's CPU does not look for work
    kSpecial,      // a timeout, a bound notification, a reply that does more than resume
    kAttention,    // other work is pending on this CPU
    kSendersWait,  // the next message is already queued
    kRace,         // another CPU was first
    // Not by a test: no fastpath was tried.
    kOff,         // the thread may not use it
    kNoFastpath,  // there is none for this call, or this exception
    kCount
};
inline constexpr const char* kTestNames[] = {"",          "capability", "long",      "no partner",   "priority",
                                             "other CPU", "special",    "attention", "senders wait", "race",
                                             "off",       "no fastpath"};
static_assert(sizeof kTestNames / sizeof kTestNames[0] == unsigned(Test::kCount));

// How the stretch of time ended.
enum class Reason : uint8_t {
    kNone,       // an instant has no end
    kDone,       // the thread or its partner continues with a result
    kError,      // the same, with an error
    kElsewhere,  // it continues at another address: a signal's handler, the return from it, a new program, the call again
    kSlowpath,   // a fastpath gave up, see the test
    kNeedsTask,  // the coroutine takes over
    kWaits,      // for something; no CPU works for the thread
    kSent,       // to a module or the server; the CPU switches to other work
    kSwitched,   // another thread has the CPU
    kEnded,      // the thread has ended
    kCount
};
inline constexpr const char* kReasonNames[] = {"",           "done",  "error", "elsewhere", "slowpath",
                                               "needs task", "waits", "sent",  "switched",  "ended"};
static_assert(sizeof kReasonNames / sizeof kReasonNames[0] == unsigned(Reason::kCount));

struct Record {
    uint64_t start;   // cycles
    uint32_t cycles;  // duration
    Path path;
    Test test;
    uint8_t cpu;
    Reason reason;
    // Native: numbers of threads; partner: the thread that gets or gives the CPU. Linux: gettid(2); partner: the other CPU
    // (kSent, kService), or the cycles of the call so far without waits (kLeafAgain, kTask).
    uint32_t thread, partner;
    // The number of the call (of exceptions: of the program's, or what the exception was), the length of the queue, the
    // error: see detail(). kFault: the address. kInterrupt: the vector.
    uint64_t detail;
};
static_assert(sizeof(Record) == 32);

// Instead of the number of a call:
inline constexpr uint16_t kNoCall = 0xffff, kPageFault = 0xfffe, kException = 0xfffd,
                          kKick = 0xfffc;  // signals, or another request from outside
constexpr uint64_t detail(uint64_t number, uint64_t queue = 0, uint64_t error = 0) {
    return (number & 0xffff) | (queue < 0xffff ? queue : 0xffff) << 16 | (error & 0xffff) << 32;
}
constexpr uint16_t number_in(uint64_t detail) { return uint16_t(detail); }
constexpr uint16_t queue_in(uint64_t detail) { return uint16_t(detail >> 16); }
constexpr uint16_t error_in(uint64_t detail) { return uint16_t(detail >> 32); }
constexpr uint64_t fault_detail(uint16_t kind, uint64_t address) { return kind | address << 16; }
constexpr uint64_t address_in(uint64_t detail) { return detail >> 16; }

// Sent at the end of the run: a Header; for each CPU a CpuHeader and its records, oldest first.
struct Header {
    uint64_t magic;
    uint32_t version, cpus;
    uint64_t cycle_hz;
};
struct CpuHeader {
    uint32_t cpu, reserved;
    uint64_t records, lost;  // number of records that follow; of older ones that they overwrote
};
inline constexpr uint64_t kMagic = 0x3165636172744346;  // "FCtrace1"
inline constexpr uint32_t kVersion = 1;

}  // namespace abi::trace
