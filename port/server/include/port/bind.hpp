// SPDX-License-Identifier: MIT
// The waist bound to a user-level server: spaces and threads are the kernel's, reached by native calls; traps of the
// threads arrive as messages. One server thread, so there is one executor and nothing here needs a lock.
#pragma once
#include "port/api/contract.hpp"
#include "port/api/log.hpp"
#include "port/api/personality.hpp"
#include "port/api/soft_table.hpp"
#include "port/api/streams.hpp"
#include "port/api/vdso.hpp"
#include "port/api/wall_clock.hpp"
#include "port/api/word_copies.hpp"
#include "sysapi/server.hpp"

namespace port {

// An address space of the kernel, mirrored in software so that user memory can be reached through the server's pool.
class Space : public RefCounted<Space>, public WordCopies<Space> {
public:
    static Result<Ref<Space>> create();
    ~Space();
    u64 handle() const { return handle_; }

    Result<void> map(std::span<const MapEntry> entries);
    void unmap(std::span<const UserRange> ranges);
    void protect(std::span<const UserRange> ranges, Prot prot);
    void free_tables(UserRange range, UserAddr floor, UserAddr ceiling);
    UserAddr end_of_tables(UserAddr from, UserAddr to, u32 most) const { return table_.end_of_tables(from, to, most); }
    static constexpr u64 kTableBytes = SoftTable::kTableBytes;
    // The program may run on some CPU during the call to the server: always settle.
    bool shared_now() const { return true; }
    bool stale() const;
    Task<void> settle();
    void clear();

    size_t copy_in(void* to, UserAddr from, size_t n);
    size_t copy_out(UserAddr to, const void* from, size_t n);
    size_t zero_out(UserAddr to, size_t n);
    size_t copy_in_string(char* to, UserAddr from, size_t max, bool* ended);
    Result<u32> load_u32(UserAddr a);
    Result<u32> compare_exchange_u32(UserAddr a, u32 expected, u32 desired);

private:
    template <class F>
    size_t walk(UserAddr at, size_t n, bool write, F&& piece);
    u64 handle_ = 0;
    SoftTable table_;
};

class UserThread {
public:
    using Registers = hal::UserContext;

    UserThread();
    ~UserThread();
    UserThread(const UserThread&) = delete;
    Registers& regs() { return context_; }
    rt::Job& job() { return job_; }
    void kick();
    void forget_kick() { kicked_ = false; }

    Result<void> init(Ref<Space> in);
    bool start(Task<void> root);
    void set_space(Ref<Space> to);
    void fork_state_from(UserThread& from);

    void save_fpu();
    std::span<std::byte> fpu_state() { return {fpu_, fpu_size_}; }
    Result<void> set_fpu_state(std::span<const std::byte> state);
    void reset_fpu();
    void come_near() {}
    bool store_fpu(UserAddr) { return false; }
    bool load_fpu(UserAddr, u64, bool) { return false; }
    void registers_changed() {}

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
    rt::MoveTo at_home() { return rt::MoveTo{rt::Executor::current()}; }

    void block_on(rt::WaitQueue&, u32, const char*) {}  // waits are coroutines here

    void request_yield() {}
    CpuSet allowed_cpus() const { return affinity_; }
    void set_affinity(CpuSet cpus);
    struct Times {
        u64 user, system;
    };
    Times times(Nanoseconds now) const;

private:
    friend struct ServerLoop;
    struct OwnJob : rt::Job {
        explicit OwnJob(UserThread& t) : Job("thread", &UserThread::job_done), owner(t) {}
        UserThread& owner;
    };
    static void job_done(rt::Job& job);
    void to_user();

    Registers context_;
    u64 handle_ = 0;
    Ref<Space> space_;
    Trap trap_;
    bool in_user_ = false;  // the kernel has it; else it is here
    bool kicked_ = false;   // since it was last looked at, there or here
    CpuSet affinity_{~0u};
    u32 cpu_ = 0;  // where it trapped
    Times times_{};
    std::byte* fpu_ = nullptr;
    size_t fpu_size_ = 0;
    OwnJob job_;
};

// One place for all modules.
inline rt::MoveTo at(Module) { return rt::MoveTo{rt::Executor::current()}; }

void set_personality(const Personality<UserThread>& p);

struct Port {
    using Space = port::Space;
    using UserThread = port::UserThread;
    static Nanoseconds now() { return hal::Machine::now(); }
    // The server's own; the kernel said at the start what the real-time clock shows.
    static Nanoseconds realtime_offset() { return wall_clock_.offset(); }
    static void set_realtime_offset(Nanoseconds offset) { wall_clock_.set(offset); }
    static std::span<const std::byte> vdso() { return linked_vdso(); }
    static void keep_vdso_data(std::byte* page) {
        wall_clock_.show_in(page, sysapi::boot_info().tsc_base, sysapi::boot_info().tsc_to_ns);
    }
    static void entropy(std::span<std::byte> out);
    static u32 cpu_count() { return u32(sysapi::boot_info().cpus); }
    static u32 this_cpu() { return current_cpu; }  // of the thread whose call is executed
    static u32 current_cpu;
    static u64 fpu_features() { return sysapi::boot_info().fpu_features; }
    static u64 hardware_capabilities() { return sysapi::boot_info().hardware_capabilities; }
    static u64 hardware_capabilities2() { return sysapi::boot_info().hardware_capabilities2; }
    static constexpr const char* kMachineName = hal::Machine::kName;

private:
    static inline constinit WallClock wall_clock_{};
};

static_assert(PortContract<Port>);

// Receives messages for ever: the server's main loop, once everything is set up.
[[noreturn]] void serve();

}  // namespace port
