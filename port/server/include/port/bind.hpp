// SPDX-License-Identifier: MIT
// The waist bound to a user-level server over capabilities (docs/server-route.md): a program's threads and spaces are the
// kernel's, and their traps arrive as exception messages at the endpoint of the CPU that they run on.
#pragma once
#include "port/api/contract.hpp"
#include "port/api/log.hpp"
#include "port/api/personality.hpp"
#include "port/api/streams.hpp"
#include "port/api/vdso.hpp"
#include "port/api/wall_clock.hpp"
#include "port/api/word_copies.hpp"
#include "rt/wait.hpp"
#include "sysapi/native.hpp"

namespace port {

// An address space: a window of the server's memory in the kernel, and the same table here, by which the server reaches
// what the program has mapped. Any CPU may copy at any time, without a lock: entries are atomic, tables and frames are
// freed one epoch after they were unlinked.
class Space : public RefCounted<Space>, public WordCopies<Space> {
public:
    static Result<Ref<Space>> create();
    ~Space();
    native::Slot slot() const { return slot_; }

    Result<void> map(std::span<const MapEntry> entries) RT_EXCLUDES(lock_);
    void unmap(std::span<const UserRange> ranges) RT_EXCLUDES(lock_);
    void protect(std::span<const UserRange> ranges, Prot prot) RT_EXCLUDES(lock_);
    void free_tables(UserRange range, UserAddr floor, UserAddr ceiling) RT_EXCLUDES(lock_);
    UserAddr end_of_tables(UserAddr from, UserAddr to, u32 most) const { return table_.end_of_tables(from, to, most); }
    static constexpr u64 kTableBytes = hal::Machine::PageTable::span(2);
    u64 tables() const { return tables_.count.load(std::memory_order_relaxed); }
    // Of one thread, whose trap is being served, no CPU uses the translations.
    bool shared_now() const { return threads_.load(std::memory_order_relaxed) > 1; }
    bool stale() const;
    Task<void> settle();
    void clear() {}  // no thread of it runs again; the tables go with it

    size_t copy_in(void* to, UserAddr from, size_t n);
    size_t copy_out(UserAddr to, const void* from, size_t n);
    size_t zero_out(UserAddr to, size_t n);
    size_t copy_in_string(char* to, UserAddr from, size_t max, bool* ended);
    Result<u32> load_u32(UserAddr a);
    Result<u32> compare_exchange_u32(UserAddr a, u32 expected, u32 desired);

private:
    friend class UserThread;
    template <class F>
    size_t walk(struct Copying& mine, UserAddr at, size_t n, bool write, F&& piece);
    std::byte* known_page(const Copying& mine, UserAddr at, bool write) const;
    std::byte* known_bytes(const Copying& mine, UserAddr at, size_t n, bool write) const;
    std::byte* reach(Copying& mine, UserAddr at, bool write);
    static u64 next_number();
    void await_writers();
    void take_back(UserAddr at, hal::EntrySlot slot, hal::Entry before);
    void note(Result<u64> answer) {
        if (answer.ok() && answer.value() != 0) noted_.fetch_add(1, std::memory_order_acq_rel);
    }

    struct Tables {
        PhysAddr allocate_table();
        void free_table(PhysAddr page);
        std::atomic<u64> count{0};
    };
    rt::SpinLock<rt::Rank::space> lock_;
    hal::Machine::PageTable table_;
    Tables tables_;
    // That no other space has or had; another one after tables were freed. A CPU that has found a table under this number may
    // use it (TableFound).
    std::atomic<u64> tables_number_{next_number()};
    native::Slot slot_ = 0;
    std::atomic<u32> threads_{0};
    // How often the kernel said that some CPU may still use what was taken away; how many of these no CPU uses any more.
    std::atomic<u64> noted_{0};
    mutable std::atomic<u64> fresh_{0};
    // Copies that were under way when rights were taken away: of these CPUs, with these numbers (Copying).
    std::atomic<u32> awaited_{0};
    std::atomic<u64> awaited_copy_[lib::kMaxCpus]{};
};

// A thread of a program. Everything but kick() and what is atomic belongs to the CPU that its trap came to, until it is
// answered.
class UserThread {
public:
    using Registers = hal::UserContext;

    UserThread();
    ~UserThread();
    UserThread(const UserThread&) = delete;
    // All registers; fetched if the trap's message had only those of a call. Whoever asks for them may change any.
    Registers& regs() {
        if (!whole_) [[unlikely]]
            fetch_registers();
        return context_;
    }
    // Number, arguments, result, pc and stack pointer of a call; only the result may be changed.
    Registers& call_regs() { return context_; }
    rt::Job& job() { return job_; }
    void kick();
    void forget_kick() { kicked_.store(false, std::memory_order_relaxed); }

    Result<void> init(Ref<Space> in);
    bool start(Task<void> root);
    void set_space(Ref<Space> to);
    void fork_state_from(UserThread& from);

    void save_fpu();
    std::span<std::byte> fpu_state();
    Result<void> set_fpu_state(std::span<const std::byte> state);
    void reset_fpu();
    void come_near() {}
    bool store_fpu(UserAddr) { return false; }
    bool load_fpu(UserAddr, u64, bool) { return false; }
    void registers_changed() { (void)regs(); }
    void drop_state() {}  // its kernel thread goes

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
    rt::MoveTo at_home() { return rt::MoveTo{rt::Executor::of(cpu_)}; }

    void block_on(rt::WaitQueue& queue, u32 seen, const char* what) { block_.on(queue, seen, what); }

    void request_yield() { yields_ = true; }
    CpuSet allowed_cpus() const { return affinity_; }
    void set_affinity(CpuSet cpus);
    struct Times {
        u64 user, system;  // nanoseconds
    };
    Times times(Nanoseconds now) const;

private:
    friend class ServerCpu;
    struct OwnJob : rt::Job {
        explicit OwnJob(UserThread& t) : Job("thread", &UserThread::job_done), owner(t) {}
        UserThread& owner;
    };
    static UserThread& owner_of(rt::Job& job) { return static_cast<OwnJob&>(job).owner; }
    static void job_done(rt::Job& job);
    void release();
    static void woken(rt::Schedulable& s);
    void to_user();
    void fetch_registers();
    void take_trap(Trap trap);
    void block(rt::Executor& ex);
    void finish(LeafOutcome outcome);
    void stop_clock(Nanoseconds now);
    // Its next trap goes to that CPU, and it runs there from its next answer on. Before it starts, or while it waits for one.
    Result<void> place(CpuId cpu);
    // Where it should run, if so many others are ready on its CPU.
    CpuId next_cpu(u32 clients_here) const;

    Registers context_;
    Trap trap_;
    CpuId cpu_{0};          // whose server thread takes its traps
    bool whole_ = true;     // context_ has all registers; else those of a call
    bool started_ = false;  // the kernel's thread has run
    bool yields_ = false;   // wants to go behind the other threads of its CPU
    std::atomic<bool> in_user_{false}, kicked_{false};
    UserThread* next_answer_ = nullptr;  // ServerCpu's list of those that continue
    native::Slot thread_ = 0, reply_ = 0;
    Ref<Space> space_;
    CpuSet affinity_{~0u};
    rt::Block block_;
    Nanoseconds working_since_{};          // the server works for it
    std::atomic<u64> system_ns_{0};        // so far
    mutable std::atomic<u64> user_ns_{0};  // the last figure that was told
    std::byte* fpu_ = nullptr;             // made when it is first asked for
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
        wall_clock_.show_in(page, native::boot_info().tsc_base, native::boot_info().tsc_to_ns);
    }
    static void entropy(std::span<std::byte> out);
    static u32 cpu_count() { return hal::Machine::cpu_count(); }
    static u32 this_cpu() { return hal::Machine::this_cpu().value; }
    static u64 fpu_features() { return native::boot_info().fpu_features; }
    static u64 hardware_capabilities() { return native::boot_info().hardware_capabilities; }
    static u64 hardware_capabilities2() { return native::boot_info().hardware_capabilities2; }
    static constexpr const char* kMachineName = hal::Machine::kName;

private:
    static inline constinit WallClock wall_clock_{};
};

static_assert(PortContract<Port>);

}  // namespace port
