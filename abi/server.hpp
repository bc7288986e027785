// SPDX-License-Identifier: MIT
// The native calls of a personality server (docs/server-route.md). Version 0: they change without notice until the server
// uses capabilities.
//
// A native call is the machine's system-call instruction in a native thread: number and up to five arguments in the
// registers that Linux uses, result in the result register: >= 0, or a negated abi::Errno.
#pragma once
#include <cstdint>

namespace abi::server {

enum Call : uint64_t {
    kReplyReceive =
        0,  // (reply_to or 0, deadline ns): resumes a thread with the message's registers, then waits for the next
    kResume = 1,           // (thread): resumes it the same way, without waiting
    kKick = 2,             // (thread): ends its user mode with a kKick trap
    kThreadCreate = 3,     // (space): a thread handle, not yet running
    kThreadDestroy = 4,    // (thread)
    kSpaceCreate = 5,      // (): a space handle
    kSpaceMap = 6,         // (space, MapEntry*, count)
    kSpaceUnmap = 7,       // (space, Range*, count)
    kSpaceProtect = 8,     // (space, Range*, count, rights)
    kSpaceStale = 9,       // (space): 1 if another CPU may still hold old translations
    kSpaceClear = 10,      // (space)
    kSpaceDestroy = 11,    // (space)
    kThreadSetSpace = 12,  // (thread, space)
    kFpuRead = 13,         // (thread, buffer, size)
    kFpuWrite = 14,        // (thread, buffer, size); sanitised; size 0: the initial state
    kClock = 15,           // (): ns since boot
    kLog = 16,             // (text, size)
    kStreamRead = 17,      // (stream, buffer, size): bytes read; 0: none available
    kStreamWrite = 18,     // (stream, buffer, size)
    kStreamEnded = 19,     // (stream): 1 at the end of the input
    kReport = 20,          // (wait status): the program has ended
    kEntropy = 21,         // (buffer, size)
    kExit = 22,            // (error, or 0): the server exits; an error: before it could serve
    kThreadTimes = 23,     // (thread, Times*): CPU time until now, also of a running thread
    kThreadAffinity = 24,  // (thread, CPU mask): takes effect when the thread next enters user mode
    kWindowSize = 25,      // (): rows << 16 | columns of the terminal
    // (space, Range[2]): frees the page tables over the first range that cover nothing outside the second, in which nothing
    // is mapped
    kSpaceFreeTables = 26,
};

// Bits of Message::events above those of the streams.
enum Event : uint32_t {
    kEventWindow = 8,  // the terminal's size has changed: kWindowSize
    kEventDump = 9,    // the server should log its jobs
};

enum Right : uint64_t { kRead = 1, kWrite = 2, kExec = 4 };
struct MapEntry {
    uint64_t at, frame, rights;
};
struct Range {
    uint64_t start, end;
};

struct Times {
    uint64_t user, system;  // ns
};

// The message page of a server thread after kReplyReceive returned 0; the server writes the registers before it replies.
// kTimedOut: the deadline has passed, and the page holds no message.
struct Message {
    uint64_t thread;  // handle; 0: no thread, only events
    uint64_t events;  // bit n: stream n changed; and Event
    // The trap (port::Trap, field by field).
    uint32_t kind, access, present, vector;
    uint64_t error_code, address;
    Times times;             // of the thread
    uint64_t cpu;            // where it trapped
    uint64_t registers[32];  // the machine's UserContext
};

// The page at kBootInfo when a server starts.
struct Extent {
    uint64_t start, size;  // physical; mapped at kPoolBase + start
};
struct BootInfo {
    uint64_t magic;                // kBootMagic
    uint64_t tsc_base, tsc_to_ns;  // the clock, for the programs' vDSO (abi/vdso.hpp); 0: the TSC is unusable
    uint64_t realtime_offset, fpu_size, fpu_features, cpus, hardware_capabilities, hardware_capabilities2;
    Extent initrd;
    uint64_t extents;
    Extent extent[128];
    uint32_t streams, tty;
    char command_line[1024];
};
inline constexpr uint64_t kBootMagic = 0x46617263616c6c30;

// Fixed addresses of a server's space.
inline constexpr uint64_t kPoolBase = 0x4000'0000'0000, kMessagePage = 0x3fff'ffff'f000, kBootInfo = 0x3fff'ffff'e000,
                          kStackTop = 0x3fff'ffff'0000, kStackSize = 0x40000;
inline constexpr uint64_t kStreams = 4;  // stdin, stdout, stderr, control

}  // namespace abi::server
