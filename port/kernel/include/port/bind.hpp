// SPDX-License-Identifier: MIT
// The waist bound to the kernel: direct calls into core/.
#pragma once
#include "core/space.hpp"
#include "core/thread.hpp"
#include "port/api/contract.hpp"
#include "port/api/devices.hpp"
#include "port/api/log.hpp"
#include "port/api/personality.hpp"
#include "port/api/streams.hpp"
#include "port/api/vdso.hpp"
#include "port/api/wall_clock.hpp"
#include "port/kernel/call_trace.hpp"
#include "rt/remote/module.hpp"

namespace port {

using Space = core::Space;

// A thread of the personality: a core::Thread with a root coroutine. The personality's Thread derives from it.
class UserThread : public core::Thread {
public:
    using Registers = hal::Machine::UserContext;

    UserThread();
    Registers& regs() { return context; }
    Registers& call_regs() { return context; }
    rt::Job& job() { return job_; }

    // Once, before start(). kNoMem.
    Result<void> init(Ref<Space> in);
    // Gives the thread its root coroutine and posts it. False: the coroutine has no frame.
    bool start(Task<void> root);
    void set_space(Ref<Space> to) { space = std::move(to); }
    // Registers and FPU state of `from`, which is the running thread (fork).
    void fork_state_from(UserThread& from);

    // FPU state in the machine's format. On the home CPU (see at_home()).
    void save_fpu() { save_state(); }
    std::span<std::byte> fpu_state() { return {static_cast<std::byte*>(fpu_area()), hal::Machine::fpu_area_size()}; }
    // Bytes that a program wrote: made safe to load. kInval: not this machine's size.
    Result<void> set_fpu_state(std::span<const std::byte> state);
    void reset_fpu();
    // The same directly between the CPU and the program's memory. False: not now; the above return the reason.
    bool store_fpu(UserAddr to) { return at_hand() && hal::Machine::fpu_save_user(to); }
    bool load_fpu(UserAddr from, u64 components, bool legacy) {
        return at_hand() && hal::Machine::fpu_load_user(from, components, legacy);
    }
    void come_near() { space->load(); }
    // The TLS base or other state in regs() that lives in the CPU was changed.
    // In a leaf: the outcome is LeafOutcome::kDoneChanged.
    void registers_changed() { state_changed(); }
    void drop_state() { state_changed(); }
    // Everything that a kick up to now was for is about to be looked at (by a leaf).
    void forget_kick() { kicked.store(false, std::memory_order_relaxed); }

    // co_await user(): runs user code on the home CPU until a trap that the leaf tier did not deal with.
    struct UserMode {
        UserThread& thread;
        bool await_ready() const noexcept { return false; }
        template <class P>
        void await_suspend(std::coroutine_handle<P> h) noexcept {
            thread.job_.suspended_at(h);
            thread.to_user();
        }
        Trap await_resume() noexcept { return thread.trap_; }
    };
    UserMode user() { return UserMode{*this}; }
    // co_await at_home(): continues on the CPU whose registers may hold this thread's state. Ready at once if there.
    rt::MoveTo at_home() { return rt::MoveTo{home()}; }

    // In a leaf that will return LeafOutcome::kBlocked.
    void block_on(rt::WaitQueue& queue, u32 seen, const char* what) { block_.on(queue, seen, what); }

    // To the back of its queue at its next return to user mode, if another thread is ready there.
    void request_yield();
    CpuSet allowed_cpus() const { return affinity; }
    void set_affinity(CpuSet cpus);

    struct Times {
        u64 user, system;  // nanoseconds
    };
    Times times(Nanoseconds now) const { return {user_time(now), system_time()}; }

private:
    // The parts of the trap path, each of which owns the thread in turn.
    friend struct BufferTrace;
    friend struct HandOver;
    friend struct RemoteQueue;
    template <class Trace>
    friend struct TrapTiers;
    template <class Trace>
    friend struct RemoteHome;
    template <class Trace>
    friend struct RemoteServe;
    friend void accept_remote(rt::Schedulable& s);
    struct OwnJob : rt::Job {
        OwnJob(UserThread& t) : Job("thread", &UserThread::job_done), owner(t) {}
        UserThread& owner;
    };
    // Its call, where a module's CPU queues it.
    struct Remote : rt::Request {
        Remote(UserThread& t);
        UserThread& owner;
    };
    struct Gone : rt::Retired {
        UserThread* owner = nullptr;
    };
    static void job_done(rt::Job& job);
    static UserThread& owner_of(rt::Job& job) { return static_cast<OwnJob&>(job).owner; }
    static UserThread& of_word(rt::CallWord& word) {
        return *reinterpret_cast<UserThread*>(reinterpret_cast<std::byte*>(&word) - offsetof(UserThread, call_.word));
    }
    [[gnu::cold, gnu::noinline]] void be_traced();
    void to_user();
    bool at_hand() const { return space->loaded_here() && holds_fpu(); }

    // Its call, when another CPU executes it: the call's registers and its owner, in one cache line.
    // The next line is for copies that the two share.
    struct alignas(64) CallLine {
        Registers::CallFrame frame{};
        rt::CallWord word{0};
        rt::CopyShare share;
    };
    static_assert(offsetof(CallLine, share) == 64);

    CallLine call_;
    Trap trap_;
    OwnJob job_;
    Remote remote_;
    rt::Block block_;
    Gone gone_;
    u32 lane_servers_ = 0, lane_homes_ = 0;  // whose lanes may hold its call word
    Nanoseconds trapped_{};                  // when the kernel's present work for the thread began
    // A call that was sampled where it trapped and did not end there: looked at when the thread traps again in that
    // round.
    struct Sampled {
        u32 round = 0, call = 0;
        u64 before = 0;  // nanoseconds: its time in the kernel without that call's
    } sampled_;
    CallTrace trace_;  // not constructed without tracing
    // On the CPU that works for the thread.
    void stop_system_clock(Nanoseconds now) {
        add_system(now - trapped_);
        trapped_ = now;
    }
};

// co_await at(Module::kFs): the border of a stage of a call. What follows runs where the module is, if it has a place.
rt::MoveTo at(Module m);

// What boot/ registers before the first thread starts.
void set_personality(const Personality<UserThread>& p);
// Before routes are set: threads leave records in the trace buffer.
void trace_calls();

struct Port {
    using Space = port::Space;
    using UserThread = port::UserThread;
    static Nanoseconds now() { return hal::Machine::now(); }
    static Nanoseconds realtime_offset() { return wall_clock_.offset(); }
    static void set_realtime_offset(Nanoseconds offset) { wall_clock_.set(offset); }
    static std::span<const std::byte> vdso() { return linked_vdso(); }
    static void keep_vdso_data(std::byte* page) {
        const hal::TimeScale& scale = hal::Machine::user_time_scale();
        wall_clock_.show_in(page, scale.tsc_base, scale.tsc_to_ns);
    }
    static void entropy(std::span<std::byte> out);
    static u32 cpu_count();  // CPUs that run user threads
    static u32 this_cpu() { return hal::Machine::this_cpu().value; }
    static u64 fpu_features() { return hal::Machine::fpu_features(); }
    static u64 hardware_capabilities() { return hal::Machine::user_hwcap(); }
    static u64 hardware_capabilities2() { return hal::Machine::user_hwcap2(); }
    static constexpr const char* kMachineName = hal::Machine::kName;

private:
    static inline constinit WallClock wall_clock_{};
};

static_assert(PortContract<Port>);

}  // namespace port
