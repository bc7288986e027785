// SPDX-License-Identifier: MIT
// Exception IPC, slowpath: a trapped thread's registers are copied into the server's message page; the server answers
// with registers. See server.hpp for the locks.
#include "core/server/server.hpp"

#include <cstring>

#include "core/sched.hpp"
#include "lib/format.hpp"
#include "rt/mem/slab.hpp"

namespace core::server {

using hal::Machine;
namespace native = abi::server;

extern constinit const Abi kServerAbi;
extern constinit Abi client_abi;
void native_syscall(Thread& thread);  // calls.cpp

static_assert(sizeof(Machine::UserContext) <= sizeof(native::Message::registers));

namespace {

constinit bool traced = false;

// Their numbers in a trace; the server is number 0.
void run_client_traced(rt::Schedulable& s) {
    auto& t = static_cast<ClientThread&>(static_cast<Thread&>(s));
    trace::enter(t.handle);
    t.enter();
}
void run_server_traced(rt::Schedulable& s) {
    trace::enter(0);
    static_cast<Thread&>(s).enter();
}

}  // namespace

ClientThread::ClientThread(ServerThread& s) : server(s) {
    abi = &client_abi;
    if (traced) run = &run_client_traced;
}
ServerThread::ServerThread() {
    abi = &kServerAbi;
    if (traced) run = &run_server_traced;
}

void ClientThread::go_on() {
    if (&home() == &rt::Executor::current())
        make_ready(true);
    else
        home().post(go_on_);
}

void ServerThread::wake() {
    set_home(rt::Executor::current());
    make_ready(true);
}

void ServerThread::charge(Nanoseconds now) {
    if (!served) return;
    if (traced_since != 0) trace_served(trace::Reason::kWaits, *served);
    served->add_system(now - served_since);
    served = nullptr;
}

void ServerThread::trace_served(trace::Reason why, const ClientThread& client, u64 error) {
    u64 now = Machine::cycles();
    u64 since = &client == served && traced_since != 0 ? std::exchange(traced_since, 0) : now;
    trace::add({.start = since,
                .cycles = u32(now - since),
                .path = trace::Path::kServer,
                .test = trace::Test::kNone,
                .cpu = u8(Machine::this_cpu().value),
                .reason = why,
                .thread = u32(client.handle),
                .partner = client.home().cpu().value,
                .detail = client.traced_detail | error << 32});
}

bool ServerThread::owns(u64 frame) const {
    for (u32 i = 0; i < extent_count; ++i)
        if (frame - extents[i].start < extents[i].size) return (frame & (kPageSize - 1)) == 0;
    return false;
}

namespace {

// Fills the message page and ends the server's wait.
void deliver(ServerThread& server, ClientThread* client) RT_REQUIRES(server.endpoint.lock) {
    native::Message& m = *server.message;
    m.events = std::exchange(server.endpoint.events, 0);
    m.thread = client ? client->handle : 0;
    if (client) {
        server.served = client;
        server.served_since = Machine::now();
        server.traced_since = trace::on.load(std::memory_order_relaxed) ? Machine::cycles() : 0;
        m.kind = u32(client->trap.kind);
        m.access = u32(client->trap.access);
        m.present = client->trap.present;
        m.vector = client->trap.vector;
        m.error_code = client->trap.error_code;
        m.address = client->trap.address.value;
        m.times = {client->user_time(Machine::now()), client->system_time()};
        m.cpu = client->home().cpu().value;
        std::memcpy(m.registers, &client->context, sizeof client->context);
    }
    server.context.set_syscall_result(0);
}

void send_to_server(ClientThread& t, const lib::Trap& trap) {
    t.leave_cpu();  // the server may change any of its state, from another CPU
    t.trap = trap;
    t.kicked.store(false, std::memory_order_relaxed);
    ServerThread& server = t.server;
    {
        rt::LockGuard guard{server.endpoint.lock};
        server.set_has(t, true);
        if (server.endpoint.receiving) {
            server.endpoint.receiving = false;
            deliver(server, &t);
            server.wake();
        } else {
            server.endpoint.waiting.push_back(t);
        }
    }
}

// What the records of this trap have in common. The detail with those that wait for the server.
u64 note_trap(ClientThread& t, const lib::Trap& trap) {
    u64 number = abi::trace::kException, queue = 0;
    switch (trap.kind) {
        case lib::Trap::Kind::kSyscall: number = u32(t.context.syscall_number()); break;
        case lib::Trap::Kind::kPageFault: number = abi::trace::kPageFault; break;
        case lib::Trap::Kind::kKick: number = abi::trace::kKick; break;
        default: break;
    }
    if (number >= abi::trace::kKick && trap.kind == lib::Trap::Kind::kSyscall) number = abi::trace::kNoCall;
    t.traced_detail = abi::trace::detail(number);
    t.traced_pc = t.context.pc().value;
    rt::LockGuard guard{t.server.endpoint.lock};
    for ([[maybe_unused]] ClientThread& other : t.server.endpoint.waiting) ++queue;
    return abi::trace::detail(number, queue);
}
// It may be the server's by now.
void note_sent(u64 start, u64 handle, u64 detail) {
    if (!trace::on.load(std::memory_order_relaxed)) return;
    trace::add({.start = start,
                .cycles = u32(Machine::cycles() - start),
                .path = trace::Path::kToServer,
                .test = trace::Test::kNone,
                .cpu = u8(Machine::this_cpu().value),
                .reason = trace::Reason::kSent,
                .thread = u32(handle),
                .partner = 0,
                .detail = detail});
}

// Two policies for what the way of a trap to the server tells the trace buffer, as core/trace_policy.hpp. One object
// for each trap.
struct NoTrace {
    NoTrace(ClientThread&, const lib::Trap&) {}
    void sent() const {}
};
class BufferTrace {
public:
    BufferTrace(ClientThread& t, const lib::Trap& trap) : handle_(t.handle), detail_(note_trap(t, trap)) {}
    void sent() const { note_sent(start_, handle_, detail_); }

private:
    u64 start_ = Machine::cycles(), handle_, detail_;
};

template <class Trace>
[[noreturn]] void redirect(ClientThread& t, const lib::Trap& trap) {
    rt::Executor& ex = rt::Executor::current();
    const Trace note{t, trap};
    ex.leave_user_state();
    t.account_user(Machine::now());
    send_to_server(t, trap);
    note.sent();
    ex.run_forever();
}

template <class Trace>
void client_syscall(Thread& t) {
    redirect<Trace>(static_cast<ClientThread&>(t), lib::Trap{.kind = lib::Trap::Kind::kSyscall});
}
template <class Trace>
void client_trap(Thread& t, const lib::Trap& trap) {
    redirect<Trace>(static_cast<ClientThread&>(t), trap);
}
template <class Trace>
void client_kicked(Thread& thread) {
    auto& t = static_cast<ClientThread&>(thread);
    [[maybe_unused]] const Trace note{t, lib::Trap{}};
    send_to_server(t, lib::Trap{});
}

void server_trap(Thread& t, const lib::Trap& trap) {
    char line[160];
    size_t n = lib::format_to(line, "the server trapped: kind {} address {:x} at {:x}\n", u32(trap.kind),
                              trap.address.value, t.context.pc().value);
    Machine::early_print({line, n});
    Machine::panic("the personality server crashed");
}
void server_kicked(Thread& t) {
    t.kicked.store(false);  // no CPU has a reason to
    t.make_ready();
}

}  // namespace

constinit const Abi kServerAbi{&native_syscall, &server_trap, &server_kicked};
constinit Abi client_abi{&client_syscall<NoTrace>, &client_trap<NoTrace>, &client_kicked<NoTrace>};

void trace_threads() {
    traced = true;
    client_abi.syscall = &client_syscall<BufferTrace>;
    client_abi.trap = &client_trap<BufferTrace>;
    client_abi.kicked = &client_kicked<BufferTrace>;
}

// Waits for the next message; called at the top of the stack. Returns if there is one already.
void receive(ServerThread& server, Nanoseconds until) {
    rt::Executor& ex = rt::Executor::current();
    {
        rt::LockGuard guard{server.endpoint.lock};
        if (server.served) server.charge(Machine::now());
        ClientThread* client = server.endpoint.waiting.pop_front();
        if (client || server.endpoint.events != 0) {
            deliver(server, client);
            return;
        }
        // A message may have ended the last wait before its deadline.
        rt::cancel_timer(server.deadline);
        if (until != Nanoseconds::never() && until <= Machine::now()) {  // only a look
            server.context.set_syscall_result(-i64(Errno::kTimedOut));
            return;
        }
        if (until != Nanoseconds::never()) ex.timers().arm(server.deadline, until);
        ex.leave_user_state();
        server.account_user(Machine::now());
        server.leave_cpu();
        server.endpoint.receiving = true;  // from here on it may run, elsewhere
    }
    ex.run_forever();
}

void ServerThread::Deadline::expired(rt::Timer& t) {
    ServerThread& server = static_cast<Deadline&>(t).server;
    if (!server.timed_out.posted.exchange(true)) rt::Executor::current().enqueue(server.timed_out);
}

void ServerThread::TimedOut::run_now(rt::Schedulable& s) {
    ServerThread& server = static_cast<TimedOut&>(s).server;
    server.timed_out.posted.store(false);
    rt::LockGuard guard{server.endpoint.lock};
    if (!server.endpoint.receiving) return;
    server.endpoint.receiving = false;
    server.context.set_syscall_result(-i64(Errno::kTimedOut));
    server.wake();
}

void ServerThread::signal(u32 event) {
    rt::LockGuard guard{endpoint.lock};
    endpoint.events |= u64{1} << event;
    if (!endpoint.receiving) return;
    endpoint.receiving = false;
    deliver(*this, nullptr);
    wake();
}

constinit std::atomic<ServerThread*> the_server{nullptr};

// For dumps of a machine that may have stopped anywhere: it takes no lock.
void describe(void (*print)(std::string_view line)) RT_UNCHECKED_LOCKING {
    ServerThread* s = the_server.load(std::memory_order_acquire);
    if (!s) return;
    char line[160];
    auto say = [&](const char* fmt, const auto&... args) { print({line, lib::format_to(line, fmt, args...)}); };
    say("server: {} at {:x}, home cpu {}, serves thread {}\n", s->endpoint.receiving ? "waits for a message" : "runs",
        s->context.pc().value, s->home().cpu().value, s->served ? s->served->handle : 0);
    u32 with_server = 0;
    for (ClientThread* t : s->threads) {
        if (!t) continue;
        with_server += s->has(*t);
        if (s->has(*t) && !t->wait_hook.linked()) continue;  // its call is under way, or waits in the server
        say("client {}: {} at {:x}, home cpu {}{}\n", t->handle, s->has(*t) ? "queues at the endpoint" : "is out",
            t->context.pc().value, t->home().cpu().value, t->kicked.load() ? ", kicked" : "");
    }
    say("{} clients are with the server\n", with_server);
}

}  // namespace core::server
