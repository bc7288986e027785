// SPDX-License-Identifier: MIT
// Exception IPC, slowpath: a trapped thread's registers are copied into the server's message page; the server answers with
// registers. See server.hpp for the locks.
#include "core/server/server.hpp"

#include <cstring>

#include "core/sched.hpp"
#include "lib/format.hpp"
#include "rt/mem/slab.hpp"

namespace core::server {

using hal::Machine;
namespace native = abi::server;

extern constinit const Abi kServerAbi, kClientAbi;
void native_syscall(Thread& thread);  // calls.cpp

static_assert(sizeof(Machine::UserContext) <= sizeof(native::Message::registers));

ClientThread::ClientThread(ServerThread& s) : server(s) { abi = &kClientAbi; }
ServerThread::ServerThread() { abi = &kServerAbi; }

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
    served->add_system(now - served_since);
    served = nullptr;
}

bool ServerThread::owns(u64 frame) const {
    for (u32 i = 0; i < extent_count; ++i)
        if (frame - extents[i].start < extents[i].size) return (frame & (kPageSize - 1)) == 0;
    return false;
}

namespace {

// Fills the message page and ends the server's wait with `result`. Endpoint lock held.
void deliver(ServerThread& server, ClientThread* client) {
    native::Message& m = *server.message;
    m.events = std::exchange(server.endpoint.events, 0);
    m.thread = client ? client->handle : 0;
    if (client) {
        server.served = client;
        server.served_since = Machine::now();
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
        t.with_server = true;
        if (server.endpoint.receiving) {
            server.endpoint.receiving = false;
            deliver(server, &t);
            server.wake();
        } else {
            server.endpoint.waiting.push_back(t);
        }
    }
}

[[noreturn]] void redirect(ClientThread& t, const lib::Trap& trap) {
    rt::Executor& ex = rt::Executor::current();
    ex.leave_user_state();
    t.account_user(Machine::now());
    send_to_server(t, trap);
    ex.run_forever();
}

void client_syscall(Thread& t) {
    redirect(static_cast<ClientThread&>(t), lib::Trap{.kind = lib::Trap::Kind::kSyscall});
}
void client_trap(Thread& t, const lib::Trap& trap) { redirect(static_cast<ClientThread&>(t), trap); }
void client_kicked(Thread& t) { send_to_server(static_cast<ClientThread&>(t), lib::Trap{}); }

void server_trap(Thread& t, const lib::Trap& trap) {
    char line[160];
    size_t n = lib::format_to(line, "the server trapped: kind {} address {:x} at {:x}\n", u32(trap.kind),
                              trap.address.value, t.context.pc().value);
    Machine::early_print({line, n});
    Machine::panic("the personality server crashed");
}
void server_kicked(Thread& t) {
    t.kicked.store(false);  // nobody has a reason to
    t.make_ready();
}

}  // namespace

constinit const Abi kServerAbi{&native_syscall, &server_trap, &server_kicked};
constinit const Abi kClientAbi{&client_syscall, &client_trap, &client_kicked};

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

void describe(void (*print)(std::string_view line)) {
    ServerThread* s = the_server.load(std::memory_order_acquire);
    if (!s) return;
    char line[160];
    auto say = [&](const char* fmt, const auto&... args) { print({line, lib::format_to(line, fmt, args...)}); };
    say("server: {} at {:x}, home cpu {}, serves thread {}\n", s->endpoint.receiving ? "waits for a message" : "runs",
        s->context.pc().value, s->home().cpu().value, s->served ? s->served->handle : 0);
    u32 with_server = 0;
    for (ClientThread* t : s->threads) {
        if (!t) continue;
        with_server += t->with_server;
        if (t->with_server && !t->wait_hook.linked()) continue;  // its call is under way, or waits in the server
        say("client {}: {} at {:x}, home cpu {}{}\n", t->handle, t->with_server ? "queues at the endpoint" : "is out",
            t->context.pc().value, t->home().cpu().value, t->kicked.load() ? ", kicked" : "");
    }
    say("{} clients are with the server\n", with_server);
}

}  // namespace core::server
