// SPDX-License-Identifier: MIT
// The explorer's scheduler: which CPU continues at a point, and when a store leaves its buffer. All of it follows from
// the seed, so a run is repeated by its seed. One host thread; nothing here is locked.
//
// Two strategies, chosen by the seed: at each point a random CPU with a fixed probability; or priorities that change at
// a few random points (PCT: Burckhardt et al., ASPLOS 2010), which finds bugs of few ordering constraints in long runs.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>
#include <vector>

#include "hal/bind.hpp"

extern "C" void hal_explore_switch(void** from, void* to);
asm(R"(
    .text
    .globl hal_explore_switch
hal_explore_switch:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret
)");

namespace hal {
namespace {

enum Pending : u32 { kWake = 1, kFlush = 2, kTimer = 4, kDevice = 8 };

struct Store {
    void* at;
    u64 bits;
    u32 size;
    u64 made;  // the step
};

constexpr size_t kStack = 256 << 10;
constexpr u64 kStepNs = 20, kOldest = 3'000, kSpinning = 400;

struct Cpu {
    void* sp = nullptr;
    std::vector<std::byte> stack;
    void* local = nullptr;
    bool ended = false, waits = false;
    u32 pending = 0;
    Nanoseconds deadline = Nanoseconds::never();
    std::vector<Store> stores;
    u32 rank = 0;  // PCT: the highest continues
    Atomic<u64> flush_wanted{0}, flush_done{0};
};

Cpu cpus[lib::kMaxCpus];
Cpu* current = nullptr;  // null: outside a run
u32 count = 1;
void* outside = nullptr;
void (*body_of_run)() = nullptr;
const char* failure = nullptr;
u64 steps = 0, time_ns = 1, alone = 0;
u32 switch_in = 4, drain_in = 8, lowest = 0;
bool by_rank = false;
std::vector<u64> change_at;
u64 random_state = 0;

u64 next_random() {  // splitmix64
    u64 z = (random_state += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}
bool one_in(u32 n) { return next_random() % n == 0; }

void write_oldest(Cpu& c) {
    Store s = c.stores.front();
    c.stores.erase(c.stores.begin());
    std::memcpy(s.at, &s.bits, s.size);
}
bool timer_due(const Cpu& c) { return c.deadline.value <= time_ns; }
bool may_run(const Cpu& c) { return !c.ended && (!c.waits || c.pending != 0 || timer_due(c)); }

void switch_to(Cpu& to) {
    Cpu& from = *current;
    if (&to == &from) return;
    current = &to;
    alone = 0;
    hal_explore_switch(&from.sp, to.sp);
}
[[noreturn]] void leave_run() {
    static void* nowhere;
    current = nullptr;
    hal_explore_switch(&nowhere, outside);
    std::abort();
}

Cpu* choose() {
    Cpu* best = nullptr;
    u32 candidates = 0;
    for (u32 i = 0; i < count; ++i) {
        if (!may_run(cpus[i])) continue;
        ++candidates;
        if (by_rank ? !best || cpus[i].rank > best->rank : one_in(candidates)) best = &cpus[i];
    }
    return best;
}

// This CPU cannot continue, or another one runs next.
void schedule() {
    for (;;) {
        if (Cpu* next = choose()) return switch_to(*next);
        for (u32 i = 0; i < count; ++i)
            while (!cpus[i].stores.empty()) write_oldest(cpus[i]);
        u64 next = Nanoseconds::never().value;
        for (u32 i = 0; i < count; ++i)
            if (!cpus[i].ended) next = std::min(next, cpus[i].deadline.value);
        if (next == Nanoseconds::never().value)
            leave_run();  // nothing is left: the scenario decides whether that is right
        time_ns = std::max(time_ns, next);
    }
}

void start_fiber() {
    body_of_run();
    current->ended = true;
    schedule();
    leave_run();
}

void serve_mailbox(Cpu& c) {
    u64 wanted = c.flush_wanted.load();
    if (Machine::flush) Machine::flush();
    c.flush_done.store(wanted, std::memory_order_release);
}

// True: the timer's was among them.
bool take_pending(Cpu& c) {
    const bool timer = timer_due(c);
    if (timer) c.deadline = Nanoseconds::never();
    u32 what = std::exchange(c.pending, 0);
    if (what & kFlush) serve_mailbox(c);
    if (what & kDevice) {
        if (Machine::before_handler) Machine::before_handler();
        if (Machine::handler) Machine::handler();
    }
    return timer;
}
bool wait() {
    Cpu& c = *current;
    explore::point();
    c.waits = true;
    while (c.pending == 0 && !timer_due(c)) schedule();
    c.waits = false;
    return take_pending(c);
}

}  // namespace

namespace explore {

void point() {
    if (!current) return;
    if (++steps > Machine::kStepLimit) Machine::panic("no end: a CPU goes round in circles");
    time_ns += kStepNs;
    for (u32 i = 0; i < count; ++i) {
        auto& stores = cpus[i].stores;
        if (!stores.empty() && (one_in(drain_in) || steps - stores.front().made > kOldest)) write_oldest(cpus[i]);
    }
    bool turn;
    ++alone;
    if (by_rank) {
        turn = std::find(change_at.begin(), change_at.end(), steps) != change_at.end() || alone > kSpinning;
        if (turn) current->rank = --lowest;
        schedule();  // one of a higher rank may have been woken
    } else {
        if (one_in(switch_in)) schedule();
    }
}

void drain() {
    if (!current) return;
    while (!current->stores.empty()) write_oldest(*current);
}

void put(void* at, u64 bits, u32 size) {
    if (current)
        current->stores.push_back({at, bits, size, steps});
    else
        std::memcpy(at, &bits, size);
}

bool own_store(const void* at, u64& bits) {
    if (!current) return false;
    for (size_t i = current->stores.size(); i-- > 0;)
        if (current->stores[i].at == at) {
            bits = current->stores[i].bits;
            return true;
        }
    return false;
}

}  // namespace explore

CpuId Machine::this_cpu() { return CpuId{current ? u32(current - cpus) : 0}; }
u32 Machine::cpu_count() { return count; }
void* Machine::local() { return (current ? current : cpus)->local; }
void Machine::set_local(void* p) { (current ? current : cpus)->local = p; }
Nanoseconds Machine::now() {
    explore::point();  // it takes time
    return Nanoseconds{time_ns};
}
void Machine::wake(CpuId cpu) {
    explore::point();
    cpus[cpu.value].pending |= kWake;
}
void Machine::wait_for_event() {
    poll_mailbox();
    wait();
}
Machine::Left Machine::user(bool calls) {
    if (calls) {
        explore::point();
        if (current->pending == 0 && !timer_due(*current)) return Left::kCall;
    }
    return wait() ? Left::kTimer : Left::kInterrupt;
}
void Machine::pass(Nanoseconds time) {
    time_ns += time.value;
    explore::point();
}
u32 Machine::random(u32 below) { return u32(next_random() % below); }
void Machine::interrupt(CpuId cpu) { cpus[cpu.value].pending |= kDevice; }
void Machine::arm_timer(Nanoseconds deadline) { current->deadline = deadline; }
void Machine::disarm_timer() { (current ? current : cpus)->deadline = Nanoseconds::never(); }
void Machine::take_interrupts() {
    explore::point();
    take_pending(*current);
}
void Machine::poll_mailbox() {
    if (!current) return;
    if (current->flush_wanted.load(std::memory_order_relaxed) != current->flush_done.load(std::memory_order_relaxed))
        serve_mailbox(*current);
}
u64 Machine::request_flush(CpuId cpu) { return cpus[cpu.value].flush_wanted.fetch_add(1) + 1; }
void Machine::kick_flush(CpuId cpu) {
    explore::point();
    cpus[cpu.value].pending |= kFlush;
}
bool Machine::flush_settled(CpuId cpu) {
    Cpu& c = cpus[cpu.value];
    u64 wanted = c.flush_wanted.load();
    return c.flush_done.load(std::memory_order_acquire) >= wanted;
}
void Machine::early_print(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stderr); }
void Machine::panic(const char* what, std::source_location at) {
    if (!current) {
        std::fprintf(stderr, "panic outside a run: %s (%s:%u)\n", what, at.file_name(), at.line());
        std::abort();
    }
    failure = what;
    leave_run();
}
// Aligned as the slabs would: to the largest power of two that divides the size.
void* Machine::heap_allocate(size_t n) {
    size_t align = std::clamp<size_t>(n & (~n + 1), 16, lib::kPageSize);
    return std::aligned_alloc(align, (n + align - 1) & ~(align - 1));
}
void Machine::heap_free(void* p, size_t) { std::free(p); }

void Machine::seed(u64 seed) { random_state = seed * 0x2545'f491'4f6c'dd1d + 1; }

Machine::Outcome Machine::explore(u32 n, void (*body)()) {
    count = n;
    body_of_run = body;
    failure = nullptr;
    steps = alone = 0;
    time_ns = 1;
    lowest = 1u << 30;
    static constexpr u32 kSwitch[] = {2, 4, 16, 64}, kDrain[] = {1, 4, 64, 1024};
    switch_in = kSwitch[next_random() % 4];
    drain_in = kDrain[next_random() % 4];
    by_rank = one_in(2);
    change_at.clear();
    // Where most accesses happen. (Later points only delay.)
    for (u32 i = 0, changes = 1 + u32(next_random() % 6); i < changes; ++i)
        change_at.push_back(next_random() % (one_in(2) ? 300 : 1500));
    for (u32 i = 0; i < n; ++i) {
        Cpu& c = cpus[i];
        c.stack.resize(kStack);
        c.local = nullptr;
        c.ended = c.waits = false;
        c.pending = 0;
        c.deadline = Nanoseconds::never();
        c.stores.clear();
        c.rank = (1u << 30) + u32(next_random() % 1000) * lib::kMaxCpus + i;
        c.flush_wanted.store(0);
        c.flush_done.store(0);
        // Seven words: six registers and where to go; the stack is as after a call.
        u64* top = reinterpret_cast<u64*>((reinterpret_cast<u64>(c.stack.data()) + kStack) & ~u64{15}) - 1;
        *--top = reinterpret_cast<u64>(&start_fiber);
        for (u32 k = 0; k < 6; ++k) *--top = 0;
        c.sp = top;
    }
    current = &cpus[next_random() % n];
    hal_explore_switch(&outside, current->sp);
    return {failure, steps};
}

}  // namespace hal
