// SPDX-License-Identifier: MIT
// The trap path of the hosted port: a thread in the run queue steps its program; a trap goes to the leaf tier, then to
// the thread's coroutine. The same three tiers and the same hand-over as in the kernel (port/kernel/user_thread.cpp).
#include <cstring>

#include "port/api/modules.hpp"
#include "port/bind.hpp"
#include "rt/remote/module.hpp"

namespace port {
namespace {

constinit Personality<UserThread> personality{};
constinit hosted::ProgramMaker make_program = nullptr;
constinit std::atomic<u64> schedule_seed{0};
constinit std::atomic<bool> spread{false};
constinit std::atomic<u32> next_cpu{0};
constinit std::atomic<i32> routes[kModules] = {-1, -1, -1, -1, -1, -1, -1};
constinit rt::Module places[kModules];  // the same, for what is reclaimed there
constinit std::atomic<bool> bound{false};

// One generator for each CPU (splitmix64), started from the seed.
struct alignas(64) Random {
    u64 seed = 0, state = 0;
};
constinit Random randoms[lib::kMaxCpus];

u32 slice_length() {
    u64 seed = schedule_seed.load(std::memory_order_relaxed);
    if (seed == 0) return 64;
    u32 cpu = hal::Machine::this_cpu().value;
    Random& r = randoms[cpu];
    if (r.seed != seed) r = {seed, seed + cpu * 0x1234567};
    u64 z = (r.state += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return 1 + u32((z ^ (z >> 31)) % 8);
}

rt::Executor& choose_home(CpuSet affinity) {
    rt::Executor& here = rt::Executor::current();
    u32 n = rt::executor_count();
    CpuSet allowed = affinity & CpuSet::first(n);
    if (allowed.empty()) return here;
    if (!spread.load(std::memory_order_relaxed) && allowed.has(here.cpu())) return here;
    for (;;) {
        CpuId cpu{next_cpu.fetch_add(1, std::memory_order_relaxed) % n};
        if (allowed.has(cpu)) return rt::Executor::of(cpu);
    }
}

}  // namespace

namespace hosted {
void set_program_maker(ProgramMaker maker) { make_program = maker; }
void set_schedule(u64 seed) { schedule_seed.store(seed, std::memory_order_relaxed); }
void set_spread(bool on) { spread.store(on, std::memory_order_relaxed); }
void set_route(Module m, i32 cpu) {
    if (!bound.exchange(true))
        for (u32 i = 0; i < kModules; ++i) reclaimers[i].belong_to(&places[i]);
    routes[u32(m)].store(cpu, std::memory_order_relaxed);
    places[u32(m)].place.store(cpu < 0 ? 0 : 1u << cpu, std::memory_order_relaxed);
}
void reset_route() {
    for (u32 i = 0; i < kModules; ++i) set_route(Module(i), -1);
}
}  // namespace hosted

void set_personality(const Personality<UserThread>& p) { personality = p; }

rt::MoveTo at(Module m) {
    i32 cpu = routes[u32(m)].load(std::memory_order_relaxed);
    return rt::MoveTo{cpu < 0 ? rt::Executor::current() : rt::Executor::of(CpuId{u32(cpu)})};
}

struct TrapPath {
    static void start_task(UserThread& t, const Trap& trap) {
        Nanoseconds now = hal::Machine::now();
        leave_user(t, now);
        t.trap_ = trap;
        t.kicked_.store(false, std::memory_order_relaxed);  // the coroutine checks everything before it returns
        t.job_.set_home(rt::Executor::current());
        t.job_.resume();  // t may be gone afterwards
    }

    static void leave_user(UserThread& t, Nanoseconds now) {
        t.user_time_.fetch_add((now - t.trapped_).value, std::memory_order_relaxed);
        t.trapped_ = now;
    }

    static void run(rt::Schedulable& s) {
        UserThread& t = static_cast<UserThread::Runner&>(s).owner;
        rt::Executor& ex = rt::Executor::current();
        if (!(t.allowed_cpus() & CpuSet::first(rt::executor_count())).has(ex.cpu())) {
            rt::Executor& to = choose_home(t.allowed_cpus());
            if (&to != &ex) {
                t.home_.store(&to, std::memory_order_relaxed);
                to.post(t.runner_);
                return;
            }
        }
        if (!t.program_) t.program_ = make_program(t, nullptr);
        Nanoseconds entered = hal::Machine::now();
        t.system_time_.fetch_add((entered - t.trapped_).value, std::memory_order_relaxed);
        t.trapped_ = entered;
        for (u32 steps = slice_length();; --steps) {
            if (t.kicked_.load(std::memory_order_seq_cst)) return start_task(t, Trap{});
            if (steps == 0 || ex.needs_attention() || t.yield_.exchange(false, std::memory_order_relaxed)) {
                leave_user(t, hal::Machine::now());
                ex.enqueue(t.runner_);
                ex.run_due_timers();  // there is no timer interrupt while user code runs
                return;
            }
            std::optional<Trap> trap = t.program_->step(t);
            if (!trap) continue;
            if (trap->kind == Trap::Kind::kSyscall) {
                i32 cpu = routes[u32(personality.module_of(t.regs().syscall_number()))].load(std::memory_order_relaxed);
                if (cpu >= 0 && u32(cpu) != ex.cpu().value) {
                    leave_user(t, hal::Machine::now());
                    t.trap_ = *trap;
                    rt::Executor::of(CpuId{u32(cpu)}).post(t.remote_);
                    return;
                }
                LeafOutcome outcome = personality.syscall(t);
                if (outcome == LeafOutcome::kBlocked) {
                    leave_user(t, hal::Machine::now());
                    return block(t, ex);
                }
                if (outcome != LeafOutcome::kNeedsTask) continue;
            } else {
                t.regs().forget_syscall();
                if (trap->kind == Trap::Kind::kPageFault && personality.fault(t, *trap) == LeafOutcome::kDone) continue;
            }
            return start_task(t, *trap);
        }
    }

    static void run_remote(rt::Schedulable& s) {
        UserThread& t = static_cast<UserThread::Remote&>(s).owner;
        UserThread::Registers::CallFrame frame = t.regs().frame();
        LeafOutcome outcome = personality.syscall_elsewhere(t, frame);
        if (outcome == LeafOutcome::kDone) t.regs().set_syscall_result(frame.syscall_result());
        finish(t, rt::Executor::current(), outcome);
    }

    // A leaf that waits for one queue and then runs again, without the coroutine.
    static void block(UserThread& t, rt::Executor& ex) {
        t.job_.set_home(ex);
        while (!t.block_.begin(t.job_, &TrapPath::woken)) {
            LeafOutcome outcome = personality.again(t, rt::Wake::kWoken);
            if (outcome != LeafOutcome::kBlocked) return finish(t, ex, outcome);
        }
    }
    static void woken(rt::Schedulable& s) {
        UserThread& t = static_cast<UserThread::OwnJob&>(static_cast<rt::Job&>(s)).owner;
        rt::Wake why = t.block_.end(t.job_);
        finish(t, rt::Executor::current(), personality.again(t, why));
    }
    static void finish(UserThread& t, rt::Executor& ex, LeafOutcome outcome) {
        if (outcome == LeafOutcome::kBlocked) return block(t, ex);
        if (outcome != LeafOutcome::kNeedsTask) return t.home().post(t.runner_);
        t.trap_ = Trap{.kind = Trap::Kind::kSyscall};
        t.kicked_.store(false, std::memory_order_relaxed);
        t.job_.set_home(ex);
        t.job_.resume();
    }

    static void ended(UserThread& t) { personality.ended(t); }
};

UserThread::Runner::Runner(UserThread& t) : Schedulable(&TrapPath::run, rt::Priority::kUser), owner(t) {}
UserThread::Remote::Remote(UserThread& t) : Schedulable(&TrapPath::run_remote, rt::Priority::kKernel), owner(t) {}

UserThread::UserThread() : job_(*this), runner_(*this), remote_(*this) { reset_fpu(); }

UserThread::~UserThread() {
    delete program_;
    set_space({});
}

Result<void> UserThread::init(Ref<Space> in) {
    set_space(std::move(in));
    return lib::kOk;
}

void UserThread::set_space(Ref<Space> to) {
    if (to) to->users_.fetch_add(1, std::memory_order_relaxed);
    if (space_) space_->users_.fetch_sub(1, std::memory_order_relaxed);
    space_ = std::move(to);
}

bool UserThread::start(Task<void> root) {
    rt::Executor& where = choose_home(allowed_cpus());
    home_.store(&where, std::memory_order_relaxed);
    trapped_ = hal::Machine::now();
    return job_.start(std::move(root), where);
}

void UserThread::fork_state_from(UserThread& from) {
    context_ = from.context_;
    std::memcpy(fpu_, from.fpu_, sizeof fpu_);
    affinity_.store(from.affinity_.load(std::memory_order_relaxed), std::memory_order_relaxed);
    delete program_;
    program_ = make_program(*this, &from);
}

Result<void> UserThread::set_fpu_state(std::span<const std::byte> state) {
    if (state.size() != sizeof fpu_) return Errno::kInval;
    std::memcpy(fpu_, state.data(), sizeof fpu_);
    return lib::kOk;
}

void UserThread::reset_fpu() {
    std::memset(fpu_, 0, sizeof fpu_);
    fpu_[0] = std::byte{0x7f}, fpu_[1] = std::byte{0x03};    // FCW
    fpu_[24] = std::byte{0x80}, fpu_[25] = std::byte{0x1f};  // MXCSR
}

void UserThread::job_done(rt::Job& job) { TrapPath::ended(static_cast<OwnJob&>(job).owner); }

void UserThread::to_user() {
    rt::Executor& to = home();
    // Still in its trap, without having waited: it continues its time slice.
    if (&to == &rt::Executor::current() && to.running() == &runner_)
        to.enqueue_front(runner_);
    else
        to.post(runner_);
}

void UserThread::kick() {
    kicked_.store(true, std::memory_order_seq_cst);
    if (rt::Executor* ex = home_.load(std::memory_order_relaxed)) ex->attract(rt::kAttnInbox);
}

void UserThread::set_affinity(CpuSet cpus) {
    affinity_.store(cpus.bits, std::memory_order_relaxed);
    kick();
}

}  // namespace port
