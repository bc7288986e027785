// SPDX-License-Identifier: MIT
// IPC, counted: each row is an operation between markers of the counting plugin (tools/count_plugin), the median of
// several intervals. Run by `./farcall bench ipc`, which passes the names of rows as arguments. Output:
//     begin NAME / row ID NAME COUNT / row ID NAME error CODE
#include "sysapi/program.hpp"
#include "tools/count_plugin/marker.h"

namespace {

using namespace native;

constexpr u64 kIntervals = 9, kCount = 64;

// --- Partners

struct Server {
    Slot endpoint = 0;
    Slot space = kSlotSpace;
    u64 words = 0;
    Slot receive_at = 0;  // slot for a capability in the server's space; emptied after each message
    bool wait_for_other_cpu = false;
} server;

// The server's slots in its own space.
constexpr Slot kServerEndpoint = 20, kServerCap = 21, kServerReply = 22, kServerThread = 23;

void serve(u64 endpoint) {
    Message m;
    if (server.receive_at) utcb().receive[0] = server.receive_at;
    if (!receive(endpoint, m).ok()) return;
    for (;;) {
        if (server.receive_at && m.caps() != 0) (void)remove(server.receive_at);
        m.tag = make_tag(0, server.words);
        if (!reply_receive(endpoint, m).ok()) return;
    }
}

// Handles exceptions: a system call returns its number, a page fault is answered with a page.
Slot fault_memory = 0;
void handle(u64 endpoint) {
    Message m;
    if (!receive(endpoint, m).ok()) return;
    for (;;) {
        u64 label = m.label();
        if (label == kLabelPageFault && fault_memory == 0) {
            m = message(kResumeAt, 0, m.words[1] + 3, m.words[2]);  // after the instruction, see `skip`
        } else if (label == kLabelPageFault) {
            utcb().map = {fault_memory, m.words[0] & ~u64{4095}, 0, 4096, kReadRight | kWriteRight};
            m = message(kReplyMaps);
        } else {
            m = message(kResume, m.words[0]);
        }
        if (!reply_receive(endpoint, m).ok()) return;
    }
}

Result<Thread> start_server(void (*body)(u64), bool other_space, u64 cpu = 0) {
    server = {};
    server.endpoint = TRY(make(kTypeEndpoint));
    ThreadOptions o{.priority = kDefaultPriority, .cpu = cpu};
    Slot name = server.endpoint;
    if (other_space) {
        o.space = server.space = TRY(make_space());
        TRY(copy(server.endpoint, kServerEndpoint, kAllRights, 0, o.space));
        name = kServerEndpoint;
    }
    return make_thread(body, name, o);
}

// --- Rows

template <unsigned Row, class F>
Result<void> count(const char* name, F&& operation, u64 warm = 200) {
    for (u64 i = 0; i < warm; ++i) TRY(operation());
    for (u64 n = 0; n < kIntervals; ++n) {
        FARCALL_MARK_START(Row);
        for (u64 i = 0; i < kCount; ++i) TRY(operation());
        FARCALL_MARK_STOP(Row);
    }
    print("row {} {} {}\n", Row, name, kCount);
    return lib::kOk;
}

Result<void> call_with(u64 tag) {
    Message m;
    m.tag = tag;
    return call(server.endpoint, m);
}

Result<void> same_space() {
    (void)TRY(start_server(serve, false));
    return count<0>("ipc_call", [] { return call_with(make_tag(1, 0)); });
}
Result<void> other_space() {
    (void)TRY(start_server(serve, true));
    return count<1>("ipc_call_spaces", [] { return call_with(make_tag(1, 0)); });
}
Result<void> four_words() {
    (void)TRY(start_server(serve, true));
    server.words = 4;
    return count<2>("ipc_call_4_words", [] { return call_with(make_tag(1, 4)); });
}
Result<void> twenty_words() {
    (void)TRY(start_server(serve, true));
    server.words = 20;
    return count<3>("ipc_call_20_words", [] { return call_with(make_tag(1, 20)); });
}
Result<void> with_cap() {
    (void)TRY(start_server(serve, true));
    server.receive_at = kServerCap;
    // The row includes the server's removal of the capability.
    utcb().caps[0] = server.endpoint;
    utcb().cap_rights[0] = kSendRight;
    return count<4>("ipc_call_cap", [] { return call_with(make_tag(1, 0, 1)); });
}
Result<void> slow_call() {
    TRY(do_call(kThreadFastpaths, kSlotThread, 0));
    Thread t = TRY(start_server(serve, false));
    TRY(do_call(kThreadFastpaths, t.slot, 0));
    auto r = count<5>("ipc_call_slow", [] { return call_with(make_tag(1, 0)); });
    (void)do_call(kThreadFastpaths, kSlotThread, kFastAll);
    return r;
}

// Makes system calls in a redirected thread, which sets the markers itself.
void client_calls(u64 rounds) {
    for (u64 i = 0; i < 200; ++i) (void)raw_call(39);
    for (u64 n = 0; n < kIntervals; ++n) {
        FARCALL_MARK_START(6);
        for (u64 i = 0; i < kCount; ++i) (void)raw_call(39);
        FARCALL_MARK_STOP(6);
    }
    (void)rounds;
}
void client_calls_slow(u64) {
    for (u64 i = 0; i < 200; ++i) (void)raw_call(39);
    for (u64 n = 0; n < kIntervals; ++n) {
        FARCALL_MARK_START(7);
        for (u64 i = 0; i < kCount; ++i) (void)raw_call(39);
        FARCALL_MARK_STOP(7);
    }
}

Slot done_notification = 0;
// The system call by which a redirected thread reports that it has finished; its handler signals done_notification.
constexpr u64 kDoneNumber = 1'000'000;

void handle_until_done(u64 endpoint) {
    Message m;
    if (!receive(endpoint, m).ok()) return;
    for (;;) {
        if (m.label() == kLabelSyscall && m.words[0] == kDoneNumber) {
            (void)signal(done_notification, 1);
            m = message(kStop);
        } else {
            m = message(kResume, m.words[0]);
        }
        if (!reply_receive(endpoint, m).ok()) return;
    }
}
// Saves each caller, and answers it from there.
void save_until_done(u64 endpoint) {
    Message m;
    if (!receive(endpoint, m).ok()) return;
    for (;;) {
        const bool done = m.label() == kLabelSyscall && m.words[0] == kDoneNumber;
        if (done) (void)signal(done_notification, 1);
        if (!reply_save(kServerReply).ok()) return;
        m = done ? message(kStop) : message(kResume, m.words[0]);
        if (!answer_receive(kServerReply, endpoint, m).ok()) return;
    }
}
// Answers with all registers, which it has in its page.
void set_registers_until_done(u64 endpoint) {
    Message m;
    if (!receive(endpoint, m).ok() || !get_registers(kServerThread, utcb().registers).ok()) return;
    for (;;) {
        const bool done = m.label() == kLabelSyscall && m.words[0] == kDoneNumber;
        if (done) (void)signal(done_notification, 1);
        utcb().registers.rip = m.words[1];
        utcb().registers.rsp = m.words[2];
        m = message(done ? kStop : kResumeWith);
        if (!reply_receive(endpoint, m).ok()) return;
    }
}
// Nothing is kept in registers over a call: an answer may set all of them to what they were at the first one.
template <unsigned Row>
void client_calls_of(u64) {
    static volatile u64 i, n;
    auto call = [] {
        (void)raw_call(39);
        asm volatile("" ::: "rbx", "r12", "r13", "r14", "r15", "memory");
    };
    for (i = 0; i < 200; i = i + 1) call();
    for (n = 0; n < kIntervals; n = n + 1) {
        FARCALL_MARK_START(Row);
        for (i = 0; i < kCount; i = i + 1) call();
        FARCALL_MARK_STOP(Row);
    }
}
template <void (*Body)(u64)>
void and_done(u64 argument) {
    Body(argument);
    (void)raw_call(kDoneNumber);
}

template <void (*Body)(u64)>
Result<void> redirected(const char* name, unsigned row, bool slow, void (*serve)(u64) = handle_until_done,
                        bool bound = false) {
    Thread h = TRY(start_server(serve, true));
    done_notification = kServerCap;
    Slot done = TRY(make(kTypeNotification));
    TRY(copy(done, kServerCap, kSendRight, 0, server.space));
    Thread client = TRY(make_thread(and_done<Body>, 0, {.start = false}));
    Slot reply_object = TRY(make(kTypeReply));
    TRY(copy(reply_object, kServerReply, kAllRights, 0, server.space));
    TRY(copy(client.slot, kServerThread, kReadRight, 0, server.space));
    if (bound) {
        // It may have begun to wait.
        Slot n = TRY(make(kTypeNotification));
        TRY(suspend(h.slot));
        TRY(bind(h.slot, n));
        TRY(begin_with(h, serve, kServerEndpoint));
        TRY(resume(h.slot));
    }
    TRY(configure(client.slot, kSlotSpace, client.utcb, server.endpoint, kRedirect));
    if (slow) {
        TRY(do_call(kThreadFastpaths, h.slot, 0));
        TRY(do_call(kThreadFastpaths, client.slot, 0));
    }
    TRY(resume(client.slot));
    Message m;
    TRY(receive(done, m));
    print("row {} {} {}\n", row, name, kCount);
    return lib::kOk;
}

// Each access is a fault that the handler answers with a page; the pages are unmapped again outside the interval.
u64 fault_at = 0;
void toucher(u64 sync) {
    for (u64 n = 0; n < kIntervals + 2; ++n) {
        FARCALL_MARK_START(8);
        for (u64 i = 0; i < kCount; ++i) *reinterpret_cast<volatile u64*>(fault_at + i * 4096) = i;
        FARCALL_MARK_STOP(8);
        Message m;
        if (!call(sync, m).ok()) return;
    }
}
Result<void> page_fault() {
    (void)TRY(start_server(handle, false));
    fault_memory = TRY(make(kTypeMemory, 4096));
    fault_at = new_address(kCount * 4096);
    Slot sync = TRY(make(kTypeEndpoint));
    (void)TRY(make_thread(toucher, sync, {.handler = server.endpoint}));
    Message m;
    TRY(receive(sync, m));
    for (u64 n = 0; n < kIntervals + 1; ++n) {
        TRY(unmap(kSlotSpace, fault_at, kCount * 4096));
        m.tag = 0;
        TRY(reply_receive(sync, m));
    }
    print("row 8 page_fault_map {}\n", kCount);
    return lib::kOk;
}

// A store of three bytes that the handler skips: the round trip alone.
void skip(u64 sync) {
    fault_at = 0x10;
    for (u64 n = 0; n < kIntervals + 2; ++n) {
        FARCALL_MARK_START(12);
        for (u64 i = 0; i < kCount; ++i)
            asm volatile(".byte 0x48, 0x89, 0x00" ::"a"(fault_at) : "memory");  // mov %rax, (%rax)
        FARCALL_MARK_STOP(12);
    }
    Message m;
    (void)call(sync, m);
}
Result<void> page_fault_skip() {
    (void)TRY(start_server(handle, false));
    fault_memory = 0;
    Slot sync = TRY(make(kTypeEndpoint));
    (void)TRY(make_thread(skip, sync, {.handler = server.endpoint}));
    Message m;
    TRY(receive(sync, m));
    print("row 12 page_fault {}\n", kCount);
    return lib::kOk;
}

Slot ping = 0, pong = 0;
void ponger(u64) {
    Message m;
    for (;;) {
        if (!receive(ping, m).ok()) return;
        if (!signal(pong, 1).ok()) return;
    }
}
Result<void> notifications() {
    ping = TRY(make(kTypeNotification));
    pong = TRY(make(kTypeNotification));
    (void)TRY(make_thread(ponger, 0));
    return count<9>("notification_ping_pong", []() -> Result<void> {
        TRY(signal(ping, 1));
        Message m;
        return receive(pong, m);
    });
}

Result<void> other_cpu_polling() {
    if (cpus() < 2) return Errno::kNoDev;
    (void)TRY(start_server(serve, true, 1));
    return count<10>("ipc_call_other_cpu", [] { return call_with(make_tag(1, 0)); });
}
// The other CPU sleeps whenever the call arrives: this one waits longer than the other looks for work.
Result<void> other_cpu_asleep() {
    if (cpus() < 2) return Errno::kNoDev;
    (void)TRY(start_server(serve, true, 1));
    for (u64 i = 0; i < 4; ++i) TRY(call_with(make_tag(1, 0)));
    for (u64 n = 0; n < 32; ++n) {
        u64 until = now() + 3'000'000;
        while (now() < until) {
        }
        FARCALL_MARK_START(11);
        TRY(call_with(make_tag(1, 0)));
        FARCALL_MARK_STOP(11);
    }
    print("row 11 ipc_call_other_cpu_asleep 1\n");
    return lib::kOk;
}

// Pages of a window: each interval maps where nothing is and the page tables are there, and unmaps it again.
constexpr u64 kWindowAt = 0x40'0000;
template <unsigned Row>
Result<void> window(const char* name, u64 frames, bool unmaps) {
    const Slot space = TRY(make(kTypeSpace, 16)), memory = TRY(make(kTypeMemory, 256 * 4096));
    for (u64 n = 0; n < kIntervals + 2; ++n) {
        Frame items[kMostFrames];
        const auto map_all = [&]() -> Result<void> {
            for (u64 i = 0; i < kCount; ++i) {
                for (u64 k = 0; k < frames; ++k)
                    items[k] = {kWindowAt + (i * frames + k) * 4096, (i + k) * 4096, kReadRight | kWriteRight};
                (void)TRY(map_frames(space, memory, {items, frames}));
            }
            return lib::kOk;
        };
        if (!unmaps) FARCALL_MARK_START(Row);
        TRY(map_all());
        if (!unmaps) FARCALL_MARK_STOP(Row);
        if (unmaps) FARCALL_MARK_START(Row);
        for (u64 i = 0; unmaps && i < kCount; ++i) {
            const Range one{kWindowAt + i * 4096, kWindowAt + (i + 1) * 4096};
            (void)TRY(change_frames(space, {&one, 1}, 0));
        }
        if (unmaps) FARCALL_MARK_STOP(Row);
        const Range all{kWindowAt, kWindowAt + kCount * kMostFrames * 4096};
        (void)TRY(change_frames(space, {&all, 1}, 0));
    }
    print("row {} {} {}\n", Row, name, kCount);
    return lib::kOk;
}

struct Entry {
    const char* name;
    Result<void> (*run)();
};
constexpr Entry kEntries[] = {
    {"ipc_call", same_space},
    {"ipc_call_spaces", other_space},
    {"ipc_call_4_words", four_words},
    {"ipc_call_20_words", twenty_words},
    {"ipc_call_cap", with_cap},
    {"ipc_call_slow", slow_call},
    {"exception", [] { return redirected<client_calls>("exception", 6, false); }},
    {"exception_slow", [] { return redirected<client_calls_slow>("exception_slow", 7, true); }},
    {"exception_bound",
     [] { return redirected<client_calls_of<13>>("exception_bound", 13, false, handle_until_done, true); }},
    {"exception_saved",
     [] { return redirected<client_calls_of<14>>("exception_saved", 14, false, save_until_done, true); }},
    {"exception_registers",
     [] { return redirected<client_calls_of<15>>("exception_registers", 15, false, set_registers_until_done, true); }},
    {"page_fault", page_fault_skip},
    {"page_fault_map", page_fault},
    {"notification_ping_pong", notifications},
    {"map_frames_1", [] { return window<16>("map_frames_1", 1, false); }},
    {"map_frames_60", [] { return window<17>("map_frames_60", kMostFrames, false); }},
    {"change_frames_1", [] { return window<18>("change_frames_1", 1, true); }},
    {"ipc_call_other_cpu", other_cpu_polling},
    {"ipc_call_other_cpu_asleep", other_cpu_asleep},
};

bool wanted(std::string_view name) {
    std::string_view line = boot_info().command_line;
    size_t space = line.find(' ');
    if (space == line.npos) return true;
    for (std::string_view rest = line.substr(space + 1); !rest.empty();) {
        size_t end = rest.find(' ');
        if (rest.substr(0, end) == name) return true;
        if (end == rest.npos) break;
        rest.remove_prefix(end + 1);
    }
    return false;
}

}  // namespace

int native_main() {
    for (const Entry& e : kEntries) {
        if (!wanted(e.name)) continue;
        print("begin {}\n", e.name);
        if (auto r = e.run(); !r.ok()) print("row 0 {} error {}\n", e.name, i32(r.error()));
    }
    return 0;
}
