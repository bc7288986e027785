// SPDX-License-Identifier: MIT
// The waist bound to a host process: address spaces are software page tables over hal/hosted's memory, a CPU is a host
// thread that runs its executor, and user code is a Program: an object that the port steps (port/hosted/script.hpp).
//
// Locks: Rank::space guards the table of one Space. Copies take it for each page, so that nobody uses a translation any
// more once unmap() has returned: a Space is never stale. A UserThread's registers and program belong to its home CPU
// while it is in user mode, and to the CPU that runs its job otherwise.
#pragma once
#include <optional>

#include "hal/x86_64/include/hal/user_context.hpp"
#include "port/api/contract.hpp"
#include "port/api/log.hpp"
#include "port/api/personality.hpp"
#include "port/api/soft_table.hpp"
#include "port/api/streams.hpp"
#include "port/api/word_copies.hpp"

namespace port {

class Space : public RefCounted<Space>, public WordCopies<Space> {
public:
    static Result<Ref<Space>> create();

    Result<void> map(std::span<const MapEntry> entries);
    void unmap(std::span<const UserRange> ranges);
    void protect(std::span<const UserRange> ranges, Prot prot);
    void free_tables(UserRange range, UserAddr floor, UserAddr ceiling);
    UserAddr end_of_tables(UserAddr from, UserAddr to, u32 most) const;
    static constexpr u64 kTableBytes = SoftTable::kTableBytes;
    u64 tables() const RT_UNCHECKED_LOCKING { return table_.tables(); }
    bool test_and_clear_dirty(UserAddr page);
    // May another CPU use translations of this space? Here: does more than one thread belong to it.
    bool shared_now() const { return users_.load(std::memory_order_relaxed) > 1; }
    bool stale() const { return false; }
    Task<void> settle() { co_return; }
    void clear();

    size_t copy_in(void* to, UserAddr from, size_t n);
    size_t copy_out(UserAddr to, const void* from, size_t n);
    size_t zero_out(UserAddr to, size_t n);
    size_t copy_in_string(char* to, UserAddr from, size_t max, bool* ended);
    Result<u32> load_u32(UserAddr a);
    Result<u32> compare_exchange_u32(UserAddr a, u32 expected, u32 desired);

    // Hosted only: the result of the MMU for an access.
    struct Look {
        bool mapped = false, allowed = false;
    };
    Look look(UserAddr at, Access access);
    u64 mapped_pages();

private:
    friend class UserThread;
    struct Dirty;
    template <class F>
    size_t walk(UserAddr at, size_t n, bool write, F&& piece);
    std::byte* byte_at(UserAddr at, bool write) RT_REQUIRES(lock_);  // null: not accessible

    mutable rt::SpinLock<rt::Rank::space> lock_;
    SoftTable table_ RT_GUARDED_BY(lock_);
    std::atomic<u32> users_{0};
};

class UserThread;

namespace hosted {

// What runs on a UserThread instead of machine code. Only the thread's home CPU calls it.
class Program {
public:
    virtual ~Program() = default;
    // Some instructions. Nothing: there are more. A system call must have been entered in the registers.
    virtual std::optional<Trap> step(UserThread& thread) = 0;
};
// Makes the program of a thread that enters user mode for the first time (maker is null), or of one that is a copy of
// its maker (fork_state_from). One for all threads; set before the first starts.
using ProgramMaker = Program* (*)(UserThread& thread, UserThread* maker);
void set_program_maker(ProgramMaker maker);

// How user threads are interleaved: 0, slices of 64 steps; else slices of 1 to 8 steps that the seed decides.
void set_schedule(u64 seed);
// Where calls of a module run; a CPU number, or -1 for the CPU that trapped.
void set_route(Module m, i32 cpu);
void reset_route();
// New threads are placed round-robin instead of on their creator's CPU.
void set_spread(bool on);
// Where log lines go; null: standard error.
void set_log(void (*sink)(std::string_view line));
// Makes Port::entropy deterministic; 0: the host's.
void set_entropy_seed(u64 seed);

}  // namespace hosted

class UserThread {
public:
    using Registers = hal::UserContext;

    UserThread();
    ~UserThread();
    UserThread(const UserThread&) = delete;

    Registers& regs() { return context_; }
    Registers& call_regs() { return context_; }
    rt::Job& job() { return job_; }

    Result<void> init(Ref<Space> in);
    bool start(Task<void> root);
    void set_space(Ref<Space> to);
    void fork_state_from(UserThread& from);

    void save_fpu() {}
    std::span<std::byte> fpu_state() { return fpu_; }
    Result<void> set_fpu_state(std::span<const std::byte> state);
    void reset_fpu();
    void come_near() {}
    bool store_fpu(UserAddr) { return false; }
    bool load_fpu(UserAddr, u64, bool) { return false; }
    void registers_changed() {}
    void drop_state() {}

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
    rt::MoveTo at_home() { return rt::MoveTo{home()}; }
    void kick();
    void forget_kick() { kicked_.store(false, std::memory_order_relaxed); }

    void block_on(rt::WaitQueue& queue, u32 seen, const char* what) { block_.on(queue, seen, what); }

    void request_yield() { yield_.store(true, std::memory_order_relaxed); }
    CpuSet allowed_cpus() const { return CpuSet{affinity_.load(std::memory_order_relaxed)}; }
    void set_affinity(CpuSet cpus);

    struct Times {
        u64 user, system;  // nanoseconds
    };
    Times times(Nanoseconds) const {
        return {user_time_.load(std::memory_order_relaxed), system_time_.load(std::memory_order_relaxed)};
    }

    // Hosted only.
    Space& space() { return *space_; }
    hosted::Program* program() { return program_; }
    rt::Executor& home() const { return *home_.load(std::memory_order_relaxed); }

private:
    friend struct TrapPath;
    struct OwnJob : rt::Job {
        OwnJob(UserThread& t) : Job("thread", &UserThread::job_done), owner(t) {}
        UserThread& owner;
    };
    // The thread in a run queue, on its way to user mode; and its system call in another CPU's inbox.
    struct Runner : rt::Schedulable {
        Runner(UserThread& t);
        UserThread& owner;
    };
    struct Remote : rt::Schedulable {
        Remote(UserThread& t);
        UserThread& owner;
    };
    static void job_done(rt::Job& job);
    void to_user();

    Registers context_;
    alignas(64) std::byte fpu_[576] = {};  // the legacy area and a header, as XSAVE has them
    Ref<Space> space_;
    hosted::Program* program_ = nullptr;
    Trap trap_;
    OwnJob job_;
    Runner runner_;
    Remote remote_;
    rt::Block block_;
    std::atomic<rt::Executor*> home_{nullptr};
    std::atomic<u32> affinity_{~0u};
    std::atomic<bool> kicked_{false};  // seq_cst: pairs with the check before each step
    std::atomic<bool> yield_{false};
    std::atomic<u64> user_time_{0}, system_time_{0};  // written by the home CPU
    Nanoseconds trapped_{};
};

// co_await at(Module::kFs): continues where set_route() has put the module.
rt::MoveTo at(Module m);

// What a test registers before the first thread starts.
void set_personality(const Personality<UserThread>& p);

struct Port {
    using Space = port::Space;
    using UserThread = port::UserThread;
    static Nanoseconds now() { return hal::Machine::now(); }
    static Nanoseconds realtime_offset();
    static void set_realtime_offset(Nanoseconds offset);
    static std::span<const std::byte> vdso() { return {}; }  // its programs are no machine code
    static void keep_vdso_data(std::byte*) {}
    static void entropy(std::span<std::byte> out);
    static u32 cpu_count() { return rt::executor_count(); }
    static u32 this_cpu() { return hal::Machine::this_cpu().value; }
    static u64 fpu_features() { return 3; }  // a header, but nothing beyond x87 and SSE
    static u64 hardware_capabilities() { return 0; }
    static u64 hardware_capabilities2() { return 0; }
    static constexpr const char* kMachineName = "x86_64";
};

static_assert(PortContract<Port>);

}  // namespace port
