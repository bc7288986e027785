// SPDX-License-Identifier: MIT
// Every CPU maps, write-protects and unmaps pages of two address spaces that the others have loaded, with invalidations
// in flight, while the last CPU serves the others' calls and never enters user mode. No access may go through a
// translation that was taken away.
//
// On each of the other CPUs two user threads, one per space, take turns: a loop of a few instructions that reads the
// stamp of each page, writes its own word there, and makes a call, which the last CPU executes (lanes, as
// rt/remote/lane.hpp has them). The served call reads and writes pages too: by a walk of the tables, or through its own
// translations where it has loaded the space. On every CPU a job (Mapper) takes pages away. What only user threads
// touch is out of reach when settle() returns; what the serving CPU touches, one epoch after that. From then on the
// frame holds a poison that no CPU may change or read.
#include <cstring>

#include "core/sched.hpp"
#include "core/trap.hpp"
#include "rt/mem/pages.hpp"
#include "rt/mem/slab.hpp"
#include "rt/wait.hpp"
#include "tests/kernel/ktest.hpp"

// The loop. rdi: first page, rsi: how many, rbx: the poison, r12: counts up, r14: where in a page this thread writes.
asm(R"(
    .section .rodata.cross_unmap_stub, "a"
cross_unmap_stub:
    xorl %r13d, %r13d
1:  movq %r13, %r15
    shlq $12, %r15
    addq %rdi, %r15
    movq (%r15), %rax
    cmpq %rbx, %rax
    je 3f
    movq %r12, (%r15,%r14)
    incq %r12
cross_unmap_skip:
    incq %r13
    cmpq %rsi, %r13
    jb 1b
    movl $1, %eax
    syscall
    jmp cross_unmap_stub
3:  movl $2, %eax
    syscall
    ud2
cross_unmap_stub_end:
    .previous
)");
extern "C" const unsigned char cross_unmap_stub[], cross_unmap_skip[], cross_unmap_stub_end[];

namespace {

using namespace rt;
using core::Space;
using hal::Machine;

constexpr u64 kPoison = 0x9017'50e5'dead'f00d;
constexpr u64 kCode = 0x40'0000, kPages = 0x50'0000;
constexpr u32 kSpaces = 2, kUserPages = 4, kServedPages = 2;
constexpr u32 kEach = kUserPages + kServedPages;  // pages of a mapper in a space
constexpr u32 kCallsServed = 8;                   // one in so many goes to the serving CPU
constexpr u32 kWordsOfPage = u32(kPageSize / 8);

struct World;

struct alignas(64) Stub : core::Thread {
    World* world = nullptr;
    u32 which = 0;  // of its CPU: the space it lives in
    struct alignas(64) {
        u64 counter = 0;
        CallWord word{0};
    } call;
    // Written by its home CPU, `served` by the serving CPU.
    std::atomic<u64> calls{0}, faults{0}, served{0};
    std::atomic<bool> over{false};
};

struct Page {
    PhysAddr frame{};
    bool mapped = false;
    u64* words() const { return static_cast<u64*>(Machine::phys_to_virt(frame)); }
    bool all(u64 value) const {
        for (u32 i = 0; i < kWordsOfPage; ++i)
            if (__atomic_load_n(words() + i, __ATOMIC_RELAXED) != value) return false;
        return true;
    }
    void fill(u64 value) const {
        for (u32 i = 0; i < kWordsOfPage; ++i) __atomic_store_n(words() + i, value, __ATOMIC_RELAXED);
    }
};

struct World {
    Ref<Space> spaces[kSpaces];
    PhysAddr code{};
    Page pages[lib::kMaxCpus][kSpaces][kEach];
    Owned<Stub> stubs[lib::kMaxCpus][kSpaces];
    u32 cpus = 0;
    Executor* server = nullptr;  // null: one CPU
    std::atomic<bool> stop{false};
    std::atomic<u32> ended{0};
    // A failure, as a word that describes it.
    std::atomic<const char*> wrong{nullptr};
    // Progress, all mappers.
    std::atomic<u64> unmapped{0}, was_elsewhere{0}, waited_for{0}, through_tables{0}, through_translations{0};

    static UserAddr at(u32 mapper, u32 page) { return UserAddr{kPages + (mapper * kEach + page) * kPageSize}; }
    u32 page_count() const { return cpus * kEach; }
};
constinit World* world_of_words = nullptr;  // for the hook of the executors

// ---- User threads ----

void stub_is_over(Stub& t) {
    Executor& ex = Executor::current();
    ex.leave_user_state();
    t.account_user(Machine::now());
    t.leave_cpu();  // this CPU holds nothing of it any more
    t.over.store(true, std::memory_order_release);
    ex.run_forever();
}

void stub_syscall(core::Thread& thread) {
    Stub& t = static_cast<Stub&>(thread);
    World& w = *t.world;
    Executor& ex = Executor::current();
    if (t.context.syscall_number() != 1) w.wrong.store("a user thread read the poison");
    if (w.stop.load(std::memory_order_relaxed) || w.wrong.load(std::memory_order_relaxed)) stub_is_over(t);
    t.calls.store(t.calls.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    u64 n = t.calls.load(std::memory_order_relaxed);
    if (w.server && n % kCallsServed == 0 && lane_claim(lane(w.server->cpu(), ex.cpu()), t.call.word).ok) {
        ++t.call.counter;
        t.call.word.store(call_for(w.server->cpu()), std::memory_order_release);
        for (u32 spins = 0; !(t.call.word.load(std::memory_order_acquire) & kCallDone); ++spins) {
            if (w.server->user_state.get() != UserState::kBusy) w.server->attract(kAttnInbox);
            Machine::poll_mailbox();
            if ((spins & 1023) == 1023) Machine::relax();
        }
    }
    // Now the other space's thread: roots are loaded and given up often.
    if (n % 64 == 0) ex.attract(kAttnReschedule);
    core::leave_trap(t);
}

void stub_trap(core::Thread& thread, const lib::Trap& trap) {
    Stub& t = static_cast<Stub&>(thread);
    if (trap.kind != lib::Trap::Kind::kPageFault || trap.address.value < kPages) {
        t.world->wrong.store("a user thread's trap is none of its pages' faults");
        stub_is_over(t);
    }
    t.faults.store(t.faults.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    t.context.set_pc(UserAddr{kCode + u64(cross_unmap_skip - cross_unmap_stub)});
    core::leave_trap_changed(t);
}

void stub_kicked(core::Thread& t) {
    t.kicked.store(false, std::memory_order_relaxed);
    t.make_ready();
}
constinit core::Abi stub_abi{&stub_syscall, &stub_trap, &stub_kicked};

// ---- The serving CPU ----

constinit unsigned char served_bytes[kPageSize / 2] = {};

void serve(Executor& ex, CallWord& word) {
    World& w = *world_of_words;
    for (u32 cpu = 0; cpu < w.cpus; ++cpu)
        for (auto& owned : w.stubs[cpu]) {
            if (!owned || &owned->call.word != &word) continue;
            Stub& t = *owned;
            u64 n = t.call.counter;
            // For some hundred calls it has the space loaded, then it walks the tables again.
            if (n % 512 == 0) t.space->load();
            if (n % 512 == 300) Space::unload();
            auto& how = t.space->loaded_here() ? w.through_translations : w.through_tables;
            u32 mapper = u32(n % w.cpus), page = kUserPages + u32(n / w.cpus % kServedPages);
            u64 stamp = 0;
            UserAddr at = World::at(mapper, page);
            bool read = t.space->copy_in(&stamp, at, sizeof stamp) == sizeof stamp;
            // Long copies: the page is often taken away in the middle of one.
            bool written = true;
            for (u32 half = 0; half < 4; ++half)
                written &= t.space->copy_out(at + kPageSize / 2, served_bytes, sizeof served_bytes) == kPageSize / 2;
            if (read && stamp == kPoison) w.wrong.store("a served call read the poison");
            if (read && written) how.fetch_add(1, std::memory_order_relaxed);
            t.served.store(t.served.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
            word.exchange(kCallActive | kCallDone, std::memory_order_acq_rel);
            // Between two calls nothing shared is held. As the executor does, but each time: mappers wait for it.
            ex.service.served_ns += 1;
            return;
        }
    w.wrong.store("a word that is nobody's");
}

// ---- Mappers ----

struct EpochOver : Retired {
    std::atomic<bool> passed{false};
    WaitQueue queue;
};

Task<void> sleep_for(u64 ns) {
    Wait wait{"a mapper's pause"};
    wait.until(Machine::now() + Nanoseconds{ns});
    (void)co_await wait;
}

// Returns when what any CPU was looking at is out of its hands.
Task<void> an_epoch() {
    Owned<EpochOver> over{make<EpochOver>()};
    if (!over) co_return;
    over->free = [](Retired& r) {
        static_cast<EpochOver&>(r).passed.store(true, std::memory_order_release);
        static_cast<EpochOver&>(r).queue.wake_all();
    };
    retire(*over);
    epoch_hurry();
    for (;;) {
        u32 seen = over->queue.sequence();
        if (over->passed.load(std::memory_order_acquire)) break;
        (void)co_await wait_on(over->queue, seen, "an epoch", Machine::now() + lib::milliseconds(1));
    }
}

Task<void> mapper(World& w, u32 me) {
    u64 random = me * 0x9e3779b97f4a7c15 + 12345, stamp = 1;
    while (!w.stop.load(std::memory_order_relaxed) && !w.wrong.load(std::memory_order_relaxed)) {
        random = random * 6364136223846793005 + 1442695040888963407;
        u32 s = u32(random >> 60) % kSpaces, page = u32(random >> 40) % kEach;
        Space& space = *w.spaces[s];
        Page& p = w.pages[me][s][page];
        UserAddr at = World::at(me, page);
        if (!p.mapped) {
            // Poisoned since no CPU could reach it, long enough for a CPU that missed the flush to use it.
            if (!p.all(kPoison))
                w.wrong.store(page < kUserPages ? "a user's access to a page that was taken away"
                                                : "a served call's access to a page that was taken away");
            p.fill(stamp++);
            lib::MapEntry entry{at, p.frame, {.read = true, .write = true}};
            if (!space.map({&entry, 1}).ok()) {
                w.wrong.store("no memory for tables");
                break;
            }
            p.mapped = true;
            co_await sleep_for(10'000);
            continue;
        }
        lib::UserRange range{at, at + kPageSize};
        bool by_users_only = page < kUserPages;
        if (by_users_only && (random >> 50) % 4 == 0) {
            // Read-only first: the words that users write stand still, the stamp can still be read.
            space.protect({&range, 1}, {.read = true});
            if (space.stale()) w.waited_for.fetch_add(1, std::memory_order_relaxed);
            co_await space.settle();
            u64 before[kWordsOfPage / 16];
            for (u32 i = 0; i < std::size(before); ++i) before[i] = __atomic_load_n(p.words() + i, __ATOMIC_RELAXED);
            co_await sleep_for(30'000);
            for (u32 i = 0; i < std::size(before); ++i)
                if (before[i] != __atomic_load_n(p.words() + i, __ATOMIC_RELAXED))
                    w.wrong.store("a write through a translation that had lost its right");
        }
        if (space.shared_now()) w.was_elsewhere.fetch_add(1, std::memory_order_relaxed);
        space.unmap({&range, 1});
        p.mapped = false;
        if (space.stale()) w.waited_for.fetch_add(1, std::memory_order_relaxed);
        // An epoch is enough by itself: no CPU is quiescent before it has dropped its translations.
        if (by_users_only || (random >> 50) % 2 == 0) co_await space.settle();
        if (!by_users_only) co_await an_epoch();
        w.unmapped.fetch_add(1, std::memory_order_relaxed);
        p.fill(kPoison);
        co_await sleep_for(10'000);
    }
    w.ended.fetch_add(1, std::memory_order_release);
}

// ---- The test ----

Result<void> build(World& w) {
    w.code = TRY(alloc_zeroed_frame());
    std::memcpy(Machine::phys_to_virt(w.code), cross_unmap_stub, size_t(cross_unmap_stub_end - cross_unmap_stub));
    for (auto& space : w.spaces) {
        space = TRY(Space::create());
        lib::MapEntry entry{UserAddr{kCode}, w.code, {.read = true, .exec = true}};
        TRY(space->map({&entry, 1}));
    }
    u32 homes = w.server ? w.cpus - 1 : w.cpus;
    for (u32 cpu = 0; cpu < w.cpus; ++cpu)
        for (u32 s = 0; s < kSpaces; ++s) {
            for (Page& p : w.pages[cpu][s]) {
                p.frame = TRY(alloc_frame());
                p.fill(kPoison);
            }
            if (cpu >= homes) continue;
            w.stubs[cpu][s] = Owned<Stub>{make<Stub>()};
            if (!w.stubs[cpu][s]) return Errno::kNoMem;
            Stub& t = *w.stubs[cpu][s];
            TRY(t.allocate_fpu());
            t.world = &w;
            t.which = cpu * kSpaces + s;
            t.abi = &stub_abi;
            t.space = w.spaces[s];
            t.affinity = CpuSet{1u << cpu};
            t.set_home(Executor::of(CpuId{cpu}));
            t.context.set_pc(UserAddr{kCode});
            t.context.rdi = kPages;
            t.context.rsi = w.page_count();
            t.context.rbx = kPoison;
            t.context.r12 = u64{t.which + 1} << 40;
            t.context.r14 = (16 + t.which) * 8;
        }
    return lib::kOk;
}

Task<void> unload_here(World& w) {
    Space::unload();
    w.ended.fetch_add(1);
    co_return;
}

Task<bool> until(const std::atomic<u32>& count, u32 wanted) {
    for (u32 tries = 0; tries < 10'000; ++tries) {
        if (count.load(std::memory_order_acquire) >= wanted) co_return true;
        co_await sleep_for(1'000'000);
    }
    co_return false;
}

// Everything that was started has ended: no job uses the world, its spaces or its words any more.
Task<Result<void>> take_down(World& w) {
    for (auto& of_cpu : w.stubs)
        for (auto& t : of_cpu) {
            if (!t) continue;
            for (u32 tries = 0; !t->over.load(std::memory_order_acquire); ++tries) {
                KCHECK(tries < 10'000);
                co_await sleep_for(1'000'000);
            }
            lane_forget(t->call.word, ~0u >> (32 - w.cpus), ~0u >> (32 - w.cpus));
        }
    KCHECK(co_await until(w.ended, w.cpus));
    w.ended.store(0);
    for (u32 i = 0; i < w.cpus; ++i) KCHECK(spawn("unload", unload_here(w), Executor::of(CpuId{i})));
    KCHECK(co_await until(w.ended, w.cpus));
    co_await an_epoch();
    free_frame(w.code);
    for (u32 cpu = 0; cpu < w.cpus; ++cpu)
        for (auto& of_space : w.pages[cpu])
            for (Page& p : of_space) free_frame(p.frame);
    co_return lib::kOk;
}

// Since the last check: every counter by 10, and each kind of event occurred at least once.
bool came_on(World& w, const u64 (&calls)[lib::kMaxCpus][kSpaces], u64 unmapped) {
    u64 faults = 0, served = 0;
    for (u32 cpu = 0; cpu < w.cpus; ++cpu)
        for (u32 s = 0; s < kSpaces; ++s) {
            if (!w.stubs[cpu][s]) continue;
            Stub& t = *w.stubs[cpu][s];
            if (t.calls.load() < calls[cpu][s] + 10) return false;
            faults += t.faults.load();
            served += t.served.load();
        }
    if (w.unmapped.load() < unmapped + 10 || faults == 0) return false;
    if (w.cpus == 1) return true;
    // Invalidations were in flight: another CPU had the space loaded, and had not answered at once.
    return served != 0 && w.was_elsewhere.load() != 0 && w.waited_for.load() != 0 && w.through_tables.load() != 0 &&
           w.through_translations.load() != 0;
}

KTEST(cross_unmapping_leaves_no_stale_translation) {
    Owned<World> world{make<World>()};
    KCHECK(world);
    World& w = *world;
    w.cpus = executor_count();
    if (w.cpus > 1) w.server = &Executor::of(CpuId{w.cpus - 1});
    CO_TRY(build(w));
    world_of_words = &w;
    const CallService::How usual = CallService::serve_with<&serve>();
    if (w.server) w.server->service.begin();
    for (u32 i = 0; i < w.cpus; ++i) KCHECK(spawn("mapper", mapper(w, i), Executor::of(CpuId{i})));
    for (auto& of_cpu : w.stubs)
        for (auto& t : of_cpu)
            if (t) t->make_ready();

    // In each tenth of the time every thread and the mappers must come on; how fast is not asked.
    u64 calls[lib::kMaxCpus][kSpaces] = {}, unmapped = 0;
    bool stuck = false;
    for (u32 part = 0; part < 10 && !w.wrong.load() && !stuck; ++part) {
        co_await sleep_for(ktest::long_run.value / 10);
        Nanoseconds give_up = Machine::now() + lib::milliseconds(20'000);
        while (!came_on(w, calls, unmapped) && !w.wrong.load() && !stuck) {
            co_await sleep_for(5'000'000);
            stuck = Machine::now() > give_up;
        }
        for (u32 cpu = 0; cpu < w.cpus; ++cpu)
            for (u32 s = 0; s < kSpaces; ++s)
                if (w.stubs[cpu][s]) calls[cpu][s] = w.stubs[cpu][s]->calls.load();
        unmapped = w.unmapped.load();
    }
    w.stop.store(true);
    CO_TRY(co_await take_down(w));
    CallService::serve_with(usual);
    world_of_words = nullptr;

    if (const char* wrong = w.wrong.load()) {
        ktest::note_failure(wrong, __FILE_NAME__, __LINE__);
        co_return Errno::kInval;
    }
    KCHECK(!stuck);
    co_return lib::kOk;
}

}  // namespace
