// SPDX-License-Identifier: MIT
// Records of the kernel's trace buffer, as they leave the kernel (docs/tracing.md).
#pragma once
#include <cstdint>

namespace abi::trace {

enum class Path : uint8_t {
    kFastCall,
    kFastReply,
    kFastException,
    kFastSignal,
    kSlowCall,  // from the entry until the partner has the CPU, or the caller waits
    kSlowReply,
    kSlowException,
    kSlowSignal,
    kSlowOther,  // any other native call
    kSwitch,     // another thread is entered by the executor
    kCount
};
// Why a fastpath was left for the slowpath; kNone: it was not.
enum class Test : uint8_t {
    kNone,
    kCapability,   // no such capability, the wrong type, or a right is missing
    kLong,         // more words than registers, or capabilities
    kNoPartner,    // nobody waits for the message, or no caller is owed an answer
    kPriority,     // something better is ready
    kOtherCpu,     // the partner's CPU does not look for work
    kSpecial,      // a timeout, a bound notification, an answer that does more than resume
    kAttention,    // this CPU has something else to look at
    kSendersWait,  // the next message is there already
    kRace,         // another CPU was first
    kCount
};

struct Record {
    uint64_t start;   // cycles
    uint32_t cycles;  // that it took
    Path path;
    Test test;
    uint8_t cpu;
    uint8_t reserved;
    uint32_t thread, partner;  // numbers
    uint64_t detail;
};
static_assert(sizeof(Record) == 32);

}  // namespace abi::trace
