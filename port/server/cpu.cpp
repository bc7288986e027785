// SPDX-License-Identifier: MIT
#include "port/server/cpu.hpp"

#include "hal/trap.hpp"

namespace port {

constinit Personality<UserThread> personality{};
constinit void (*ServerCpu::on_device)() = nullptr;

void set_personality(const Personality<UserThread>& p) { personality = p; }

namespace {

constinit ServerCpu cpus[lib::kMaxCpus];

// A counter of this CPU's, which others may read.
void add(u64& counter, u64 n = 1) { std::atomic_ref{counter}.store(counter + n, std::memory_order_relaxed); }

// How long work of the server keeps clients waiting that are ready to run, and how long their turn is then.
constexpr Nanoseconds kTurn = rt::Executor::kWorkTurn;

}  // namespace

ServerCpu& ServerCpu::of(CpuId cpu) { return cpus[cpu.value]; }

Result<void> ServerCpu::start(CpuId cpu, native::Slot thread) {
    cpu_ = cpu;
    thread_ = thread;
    busy_since_ = hal::Machine::now();
    endpoint_ = new_slot();
    notification_ = new_slot();
    if (endpoint_ == 0 || notification_ == 0) return Errno::kNoMem;
    TRY(native::create(native::kSlotPool, native::kTypeEndpoint, endpoint_));
    TRY(native::create(native::kSlotPool, native::kTypeNotification, notification_));
    return native::bind(thread, notification_);
}

// --- Who continues

void ServerCpu::answer_soon(UserThread& t) {
    t.next_answer_ = nullptr;
    (first_answer_ ? last_answer_->next_answer_ : first_answer_) = &t;
    last_answer_ = &t;
}

UserThread* ServerCpu::pop_answer() {
    UserThread* t = first_answer_;
    if (!t) return nullptr;
    first_answer_ = t->next_answer_;
    return t;
}

bool ServerCpu::begin_answer(UserThread& t, native::Message& m) {
    if (t.working_since_ != Nanoseconds{}) [[unlikely]]
        t.stop_clock(hal::Machine::now());
    // From here on a kick reaches it in the kernel; an earlier one is seen here. seq_cst: pairs with UserThread::kick().
    t.in_user_.store(true, std::memory_order_seq_cst);
    if (t.kicked_.load(std::memory_order_seq_cst)) [[unlikely]] {
        t.in_user_.store(false, std::memory_order_relaxed);
        t.take_trap(Trap{});
        return false;
    }
    ServerCpu* there = this;
    if (const CpuId to = t.next_cpu(clients()); to != cpu_) [[unlikely]] {
        if (t.place(to).ok())
            there = &of(to);
        else if (!t.place(cpu_).ok())
            hal::Machine::panic("a thread that waits for the server has no CPU");
    }
    there->clients_.fetch_add(1, std::memory_order_relaxed);
    m = native::message(native::kResume, u64(t.context_.syscall_result()));
    if (t.whole_) [[unlikely]] {
        // Registers that no program can have: as if it had jumped to nowhere.
        if (t.context_.pc() >= hal::Machine::user_top() || !hal::user_bases(t.context_)) {
            there->clients_.fetch_sub(1, std::memory_order_relaxed);
            t.in_user_.store(false, std::memory_order_relaxed);
            const UserAddr pc = t.context_.pc();
            t.trap_ = pc >= hal::Machine::user_top() ? hal::trap_of_pc(pc) : Trap{.kind = Trap::Kind::kProtection};
            if (t.trap_.kind == Trap::Kind::kPageFault) (void)personality.fault(t, t.trap_);  // not in user memory
            t.take_trap(t.trap_);
            return false;
        }
        hal::get_registers(t.context_, native::utcb().registers);
        m = native::message(native::kResumeWith);
    }
    const bool yields = std::exchange(t.yields_, false);
    if (there == this && !yields) [[likely]]
        return true;
    send_answer(t, m, yields ? native::kBehind : 0);
    return false;
}

void ServerCpu::send_answer(UserThread& t, const native::Message& m, u64 flags) {
    const bool owed = owed_ == &t;
    if (owed) owed_ = nullptr;
    add(counts_.replies);
    if (auto r = owed ? native::reply(m, flags) : native::reply_to(t.reply_, m, flags); !r.ok())
        hal::Machine::panic("an answer of the server failed");
}

// Without waiting for the next message.
void ServerCpu::answer_now(UserThread& t) {
    native::Message m;
    if (begin_answer(t, m)) send_answer(t, m);
}

void ServerCpu::resume_new(UserThread& t) {
    hal::get_registers(t.context_, native::utcb().registers);
    t.stop_clock(hal::Machine::now());
    t.in_user_.store(true, std::memory_order_seq_cst);
    clients_.fetch_add(1, std::memory_order_relaxed);
    if (native::do_call(native::kThreadSetRegisters, t.thread_).ok() && native::resume(t.thread_).ok()) {
        t.started_ = true;
        // A kick may have come before the kernel's thread ran.
        if (t.kicked_.load(std::memory_order_seq_cst)) (void)native::do_call(native::kThreadKick, t.thread_);
        return;
    }
    clients_.fetch_sub(1, std::memory_order_relaxed);
    t.in_user_.store(false, std::memory_order_relaxed);
    t.take_trap(Trap{.kind = Trap::Kind::kProtection});
}

// --- Messages

void ServerCpu::set_alarm(Nanoseconds at) {
    if (at == alarm_) [[likely]]
        return;
    alarm_ = at;
    (void)native::do_call(native::kAlarm, at == Nanoseconds::never() ? 0 : at.value, kAlarm);
}

void ServerCpu::count_sent(bool answers) {
    add(answers ? counts_.replies : counts_.receives);
    add(counts_.busy_ns, (hal::Machine::now() - busy_since_).value);
}

void ServerCpu::count_received(u64 label) {
    busy_since_ = hal::Machine::now();
    add(label == native::kLabelSyscall     ? counts_.calls
        : label == native::kLabelPageFault ? counts_.page_faults
        : label == native::kLabelSignal    ? counts_.signals
                                           : counts_.other_traps);
}

native::ServerCounts ServerCpu::counts() const {
    native::ServerCounts n;
    auto read = [](const u64& from) { return std::atomic_ref{const_cast<u64&>(from)}.load(std::memory_order_relaxed); };
    n.calls = read(counts_.calls);
    n.page_faults = read(counts_.page_faults);
    n.other_traps = read(counts_.other_traps);
    n.signals = read(counts_.signals);
    n.replies = read(counts_.replies);
    n.receives = read(counts_.receives);
    n.busy_ns = read(counts_.busy_ns);
    return n;
}

[[gnu::cold, gnu::noinline]] void ServerCpu::receive_failed(u64 number, Errno e) {
    logf("receive {:x}: error {}", number, i32(e));
    hal::Machine::panic("a receive of the server failed");
}

// One call: `answered` continues, whoever is owed an answer is kept, and the next message is received into m. False: there
// is something to do first.
template <bool kCounting>
bool ServerCpu::exchange(UserThread* answered, native::Message& m) {
    u64 number = native::kReceive;
    if (answered && !begin_answer(*answered, m)) {
        // Its coroutine has run, or it has been answered.
        if (first_answer_ || !rt::Executor::current().queue.empty()) return false;
        answered = nullptr;
    }
    if (answered) {
        number = native::kReplyReceive;
        if (answered == owed_) {
            owed_ = nullptr;
        } else {
            number |= native::kAnswerSaved;
            native::utcb().answer = answered->reply_;
        }
    }
    if (owed_) {
        number |= native::kSaveOwed;
        native::utcb().save = owed_->reply_;
        owed_ = nullptr;
    }
    if constexpr (kCounting) count_sent(answered != nullptr);
    if (const Errno e = native::exchange(number, endpoint_, m); e != Errno::kOk) [[unlikely]] {
        receive_failed(number, e);
    }
    if constexpr (kCounting) count_received(m.label());
    return true;
}

void ServerCpu::take_bits(u64 bits) {
    rt::Executor& ex = rt::Executor::current();
    if (bits & kAlarm) {
        alarm_ = Nanoseconds::never();
        ex.attract(rt::kAttnTimer);
    }
    if ((bits & kDevice) && on_device) on_device();
}

// Of a trap that is no call.
[[gnu::always_inline]] inline void ServerCpu::where_trapped(UserThread& t, const native::Message& m) {
    t.whole_ = false;
    t.context_.set_pc(UserAddr{m.words[1]});
    t.context_.set_sp(UserAddr{m.words[2]});
    t.context_.forget_syscall();
}
[[gnu::always_inline]] inline LeafOutcome ServerCpu::serve_call(UserThread& t, const native::Message& m) {
    t.whole_ = false;
    hal::set_call(t.context_, m.words);
    return personality.syscall(t);
}
// What the program's registers are: a fault that is resolved changes none.
[[gnu::always_inline]] inline LeafOutcome ServerCpu::serve_fault(UserThread& t, const native::Message& m) {
    where_trapped(t, m);
    t.trap_ = {.kind = Trap::Kind::kPageFault,
               .access = Access(m.words[3]),
               .present = m.words[4] != 0,
               .address = UserAddr{m.words[0]},
               .vector = hal::kPageFaultVector,
               .error_code = m.words[5]};
    return personality.fault(t, t.trap_);
}

// The trap of a client, or bits of the notification.
void ServerCpu::take(const native::Message& m) {
    if (m.label() == native::kLabelSignal) return take_bits(m.badge);
    UserThread& t = *reinterpret_cast<UserThread*>(m.badge);
    clients_.fetch_sub(1, std::memory_order_relaxed);
    owed_ = &t;
    t.in_user_.store(false, std::memory_order_relaxed);
    switch (m.label()) {
        case native::kLabelSyscall: return t.finish(serve_call(t, m));
        case native::kLabelPageFault: {
            if (serve_fault(t, m) == LeafOutcome::kDone) return answer_soon(t);
            return t.take_trap(t.trap_);
        }
        default: break;
    }
    where_trapped(t, m);
    if (m.label() != native::kLabelException) return t.take_trap(Trap{});  // kLabelKick
    t.take_trap({.kind = hal::kind_of_vector(m.words[0]), .vector = u32(m.words[0]), .error_code = m.words[3]});
}

// --- The loop

// Calls and page faults that are over at once, one after the other: the shortest way from a client's trap to the next, with
// nothing to do in between. True: the last message has been taken, too.
template <bool kCounting>
bool ServerCpu::serve_leaves(rt::Executor& ex, native::Message& last) {
    native::Message m = last;
    for (;;) {
        const bool call = m.label() == native::kLabelSyscall;
        if (!call && m.label() != native::kLabelPageFault) break;
        UserThread& t = *reinterpret_cast<UserThread*>(m.badge);
        t.in_user_.store(false, std::memory_order_relaxed);
        const LeafOutcome outcome = call ? serve_call(t, m) : serve_fault(t, m);
        if (outcome != LeafOutcome::kDone || !answer_at_once(ex, t)) [[unlikely]] {
            clients_.fetch_sub(1, std::memory_order_relaxed);
            owed_ = &t;
            if (call || outcome == LeafOutcome::kDone)
                t.finish(outcome);
            else
                t.take_trap(t.trap_);
            return true;
        }
        if constexpr (kCounting) count_sent(true);
        if (const Errno e = native::answer_trap(endpoint_, u64(t.context_.syscall_result()), m); e != Errno::kOk)
            [[unlikely]]
            receive_failed(native::kReplyReceive, e);
        ex.leave_user_state();
        if constexpr (kCounting) count_received(m.label());
    }
    last = m;
    return false;
}

// Nothing but t's answer is to be done here: then this CPU waits for clients from here on, and a kick of t goes to the
// kernel, as in begin_answer().
[[gnu::always_inline]] inline bool ServerCpu::answer_at_once(rt::Executor& ex, UserThread& t) {
    // t is one of the clients still. With two others it may find another CPU (next_cpu()).
    if (first_answer_ || !ex.queue.empty() || clients() > 2 || t.yields_ || hal::Machine::deadline() != alarm_)
        return false;
    if (!ex.enter_user_state_again()) return false;
    t.in_user_.store(true, std::memory_order_seq_cst);
    if (!t.kicked_.load(std::memory_order_seq_cst)) [[likely]]
        return true;
    t.in_user_.store(false, std::memory_order_relaxed);
    ex.leave_user_state();
    return false;
}

// All that continue but the last, which continues with the next receive.
UserThread* ServerCpu::answer_all_but_one() {
    UserThread* last = pop_answer();
    while (UserThread* next = pop_answer()) {
        answer_now(*last);
        last = next;
    }
    return last;
}

// The executor has nothing to do, and counts as asleep. With clients here that is not so: then waiting for one of them is to
// the server what user mode is to a kernel.
template <bool kCounting>
void ServerCpu::wait() {
    rt::Executor& ex = rt::Executor::current();
    native::Message m;
    if (clients() == 0 && !first_answer_) {
        set_alarm(hal::Machine::deadline());
        (void)exchange<kCounting>(nullptr, m);
        ex.user_state.leave();
        rt::epoch_leave_idle();
        return take(m);
    }
    ex.user_state.leave();
    rt::epoch_leave_idle();
    do {
        UserThread* last = answer_all_but_one();
        set_alarm(hal::Machine::deadline());
        if (!ex.queue.empty() || !ex.enter_user_state()) {
            if (last) answer_now(*last);
            return;
        }
        const bool came = exchange<kCounting>(last, m);
        ex.leave_user_state();
        if (!came) return;
        if (!serve_leaves<kCounting>(ex, m)) take(m);
    } while (ex.queue.empty() && (clients() != 0 || first_answer_));
}

template void ServerCpu::wait<false>();
template void ServerCpu::wait<true>();

void ServerCpu::pause() {
    if (clients() != 0 && !turn_.run_hook.linked()) rt::Executor::current().enqueue(turn_);
}

void ServerCpu::Turn::run_now(rt::Schedulable&) {
    const Nanoseconds until = hal::Machine::now() + kTurn;
    native::boot_info().counts ? current().run_clients<true>(until) : current().run_clients<false>(until);
}

// Clients have the CPU until then, or until they have nothing to do.
template <bool kCounting>
void ServerCpu::run_clients(Nanoseconds until) {
    rt::Executor& ex = rt::Executor::current();
    native::Message m;
    while (clients() != 0 || first_answer_) {
        UserThread* last = answer_all_but_one();
        set_alarm(until < hal::Machine::deadline() ? until : hal::Machine::deadline());
        if (!exchange<kCounting>(last, m)) break;
        take(m);
        if (hal::Machine::now() >= until || ex.queue.has_above(rt::Priority::kUser)) break;
    }
}

}  // namespace port
