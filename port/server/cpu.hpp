// SPDX-License-Identifier: MIT
// A CPU of the server: a thread of the native interface on each of the machine's CPUs, which receives the traps of the
// clients there and runs an executor of rt/. When the executor has nothing to do, it waits for the next message, and with
// the same call answers one client and keeps another, whose call is not done.
#pragma once
#include "port/bind.hpp"

namespace port {

class ServerCpu {
public:
    constexpr ServerCpu() = default;
    static ServerCpu& current() { return of(hal::Machine::this_cpu()); }
    static ServerCpu& of(CpuId cpu);

    // Makes the objects of this CPU. `thread`: the server thread that is to be it; it need not run yet.
    Result<void> start(CpuId cpu, native::Slot thread);

    CpuId cpu() const { return cpu_; }
    native::Slot thread() const { return thread_; }
    native::Slot endpoint() const { return endpoint_; }
    native::Slot notification() const { return notification_; }

    // On this CPU: t continues when the executor has nothing to do any more, in the order of these calls.
    void answer_soon(UserThread& t);
    // Clients in user mode, or ready for it, on this CPU.
    u32 clients() const { return clients_.load(std::memory_order_relaxed); }
    // Of a new thread.
    void resume_new(UserThread& t);
    // Owed an answer by this CPU's thread: it will not get one.
    void forget(UserThread& t) {
        if (owed_ == &t) owed_ = nullptr;
    }

    // Machine::wait_for_event: the executor has nothing to do. Counting: for --stats.
    template <bool kCounting>
    void wait();
    // What taking interrupts is to a kernel: long work gives way to clients.
    void pause();
    // From any CPU.
    native::ServerCounts counts() const;

    // Bits of the notification.
    static constexpr u64 kWake = 1, kAlarm = 2, kDevice = 4;
    // What bit kDevice means: called on CPU 0.
    static void (*on_device)();

private:
    // A turn of the clients beside work of the server that goes on: in the run queue as a user thread would be.
    struct Turn : rt::Schedulable {
        constexpr Turn() : Schedulable(&Turn::run_now, rt::Priority::kUser) {}
        static void run_now(rt::Schedulable& s);
    };
    template <bool kCounting>
    bool exchange(UserThread* answered, native::Message& m);
    void count_sent(bool answers);
    void count_received(u64 label);
    static void where_trapped(UserThread& t, const native::Message& m);
    static LeafOutcome serve_call(UserThread& t, const native::Message& m);
    static LeafOutcome serve_fault(UserThread& t, const native::Message& m);
    template <bool kCounting>
    bool serve_leaves(rt::Executor& ex, native::Message& last);
    bool answer_at_once(rt::Executor& ex, UserThread& t);
    [[noreturn]] static void receive_failed(u64 number, Errno e);
    void take(const native::Message& m);
    void take_bits(u64 bits);
    // t is about to continue, with m as its answer. False: it has been answered in another way, or its coroutine has run
    // instead.
    bool begin_answer(UserThread& t, native::Message& m);
    void send_answer(UserThread& t, const native::Message& m, u64 flags = 0);  // kBehind
    void answer_now(UserThread& t);
    UserThread* pop_answer();
    UserThread* answer_all_but_one();
    void set_alarm(Nanoseconds at);
    template <bool kCounting>
    void run_clients(Nanoseconds until);

    CpuId cpu_{};
    native::Slot thread_ = 0, endpoint_ = 0, notification_ = 0;
    UserThread* owed_ = nullptr;  // whose trap was received last, and neither answered nor saved
    UserThread *first_answer_ = nullptr, *last_answer_ = nullptr;
    std::atomic<u32> clients_{0};
    Nanoseconds alarm_ = Nanoseconds::never();
    Turn turn_;
    // Only this CPU changes them.
    native::ServerCounts counts_{};
    Nanoseconds busy_since_{};
};

// Allocates and frees slots of the server's capability table.
native::Slot new_slot();  // 0: the table is full
void free_slot(native::Slot slot);

// UTCBs of the server's other threads: of CPU n, n pages on.
inline constexpr u64 kOtherUtcbs = 0x3ffe'0000'0000;

// On CPU 0's thread: the thread that hears of exceptions of the server's own (watcher.cpp). Its handler is set for the caller;
// watch() does so for the threads of other CPUs, which must not run yet.
Result<void> start_watcher();
Result<void> watch(native::Slot thread, CpuId cpu);

extern Personality<UserThread> personality;

// The words of the first program's memory and clock, and the CPUs.
[[noreturn]] void serve(Task<void> start);

// Fills port::streams from the boot page.
void connect_streams();

// Gives the kernel what all CPUs have counted, if the host wants to know.
void report_counts();

}  // namespace port
