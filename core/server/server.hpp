// SPDX-License-Identifier: MIT
// The native core as far as the server route needs it: one personality server, its threads' exceptions sent to it by
// IPC (slowpath only), its spaces and threads by handle. The capability system proper replaces the handle tables.
//
// Blocking is a state of the thread: no coroutine, no allocation.
#pragma once
#include "abi/server.hpp"
#include "core/thread.hpp"
#include "core/trace.hpp"

namespace core::server {

class ServerThread;

// A thread of the personality whose system calls, faults and exceptions go to the server.
class ClientThread : public Thread {
public:
    explicit ClientThread(ServerThread& server);
    lib::ListHook wait_hook;
    lib::Trap trap;
    u64 handle = 0;
    // Of its last trap, for the trace buffer.
    u64 traced_detail = 0, traced_pc = 0;
    ServerThread& server;

    // Makes the thread runnable on its home CPU, at the front of the queue: answered without a wait, it continues its
    // time slice.
    void go_on();

private:
    friend class ServerThread;
    bool with_server_ = true;  // ServerThread::has()
    // At home, a kernel job's turn: make_ready(front) works for the CPU that does it only.
    struct GoOn : rt::Schedulable {
        explicit GoOn(ClientThread& t) : Schedulable(&GoOn::run_now, rt::Priority::kKernel), owner(t) {}
        static void run_now(rt::Schedulable& s) { static_cast<GoOn&>(s).owner.make_ready(true); }
        ClientThread& owner;
    } go_on_{*this};
};

// Where trapped threads queue until the server receives.
struct Endpoint {
    rt::SpinLock<rt::Rank::object> lock;
    lib::List<ClientThread, &ClientThread::wait_hook> waiting RT_GUARDED_BY(lock);
    bool receiving RT_GUARDED_BY(lock) = false;  // the server waits
    u64 events RT_GUARDED_BY(lock) = 0;
};

class ServerThread : public Thread {
public:
    ServerThread();
    abi::server::Message* message = nullptr;  // the message page, through the direct map
    Endpoint endpoint;
    // Physical memory the server owns and may map.
    abi::server::Extent extents[129];
    u32 extent_count = 0;
    bool owns(u64 frame) const;

    // The server has the client, or a message of it is under way.
    bool has(const ClientThread& t) const RT_REQUIRES(endpoint.lock) { return t.with_server_; }
    void set_has(ClientThread& t, bool now) RT_REQUIRES(endpoint.lock) { t.with_server_ = now; }
    bool has_now(const ClientThread& t) RT_EXCLUDES(endpoint.lock) {
        rt::LockGuard guard{endpoint.lock};
        return has(t);
    }

    // The client whose message the server is at work on: the server's time is that client's system time. Changed by the
    // server's own calls, and with the endpoint's lock while it waits.
    ClientThread* served = nullptr;
    Nanoseconds served_since{};
    void charge(Nanoseconds now);  // ends that
    // For the trace buffer: since when, in cycles; 0: already recorded. The CPU on which that began.
    u64 traced_since = 0;
    void trace_served(trace::Reason why, const ClientThread& client, u64 error = 0);

    // Something happened on stream n (any context that may wake).
    void signal(u32 event) RT_EXCLUDES(endpoint.lock);

    static constexpr u32 kMaxSpaces = 4096, kMaxThreads = 4096;
    Ref<Space> spaces[kMaxSpaces];
    ClientThread* threads[kMaxThreads] = {};

    // It has a message: it runs at once, on the CPU that brought it. A call so costs no interrupt to another CPU, and
    // no turn in a run queue. The wait is over (`receiving` was true).
    void wake() RT_REQUIRES(endpoint.lock);

    struct Deadline : rt::Timer {
        explicit Deadline(ServerThread& s) : Timer(&Deadline::expired), server(s) {}
        static void expired(rt::Timer& t);
        ServerThread& server;
    } deadline{*this};
    struct TimedOut : rt::Schedulable {
        explicit TimedOut(ServerThread& s) : Schedulable(&TimedOut::run_now), server(s) {}
        static void run_now(rt::Schedulable& s);
        ServerThread& server;
        std::atomic<bool> posted{false};
    } timed_out{*this};
};

// What boot/ supplies: the streams and where the exit status goes.
struct Host {
    size_t (*stream_read)(u32 stream, std::span<std::byte> to);
    size_t (*stream_write)(u32 stream, std::span<const std::byte> from);
    bool (*stream_ended)(u32 stream);
    u32 (*window_size)();  // rows << 16 | columns
    void (*report)(i32 wait_status);
    void (*log)(std::string_view text);
    void (*entropy)(std::span<std::byte> out);
    void (*cannot_start)(Errno why);  // ends the machine
};

extern const Host* host;  // set before the server starts

// Set before the first thread: all threads leave records in the trace buffer.
void trace_threads();

// For dumps: what the server and each of its clients are at.
extern std::atomic<ServerThread*> the_server;
void describe(void (*print)(std::string_view line));

}  // namespace core::server
