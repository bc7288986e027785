// SPDX-License-Identifier: MIT
// Races over the native interface, one for each seed: a thread per CPU (a driver) makes random calls on a few slots that all of
// them share, and so do the threads that they make there (victims). Everything is made of one pool; at the end it is revoked.
//     race FIRST COUNT
// Made for the debug kernel, whose assertions say at once what went wrong; checked here: drivers get to the end of their
// steps, no slot is left, and each pool has back what it gave.
//
// Victims run without a stack, from registers alone: two may have the same UTCB, or the same registers, and do no harm to the
// memory of the program.
//     seed N ok / seed N FAIL what / race done
#include <atomic>

#include "sysapi/program.hpp"

namespace {

using namespace native;

constexpr u64 kMaxDrivers = 8, kSteps = 200, kShared = 16;
constexpr u64 kLeft = 20'000'000'000;  // ns without a step of any driver: they hang
// Slots: the shared ones are a power of two, for the victims.
constexpr Slot kSharedAt = 1024, kArenaAt = 900, kDoneAt = 901, kPrivateAt = 902, kLineAt = 904, kLines = 4;
constexpr u64 kFirstLine = 18;
constexpr u64 kVictimUtcb = 0x20'0000'0000, kMapAt = 0x30'0000'0000;
constexpr u64 kArena = 6 << 20, kPageSize = 4096;

struct Random {
    u64 state;
    u64 next() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return state * 0x2545'f491'4f6c'dd1d >> 16;
    }
    u64 below(u64 n) { return next() % n; }
    bool one_in(u64 n) { return below(n) == 0; }
};

struct Driver {
    Thread thread;
    u64 number;
    Random random;
    std::atomic<u64> step, what;
    std::atomic<bool> done;
} drivers[kMaxDrivers];

std::atomic<u64> succeeded{0}, refused{0};

// The calls of victims: number and flags, 32 of them.
constexpr u16 with(u64 number, u64 flag) { return u16(number | flag); }
extern "C" {
extern const u16 race_victim_calls[32] = {kCall,
                                          with(kCall, kTimed),
                                          with(kCall, kTimed),
                                          kReplyReceive,
                                          with(kReplyReceive, kTimed),
                                          with(kReplyReceive, kNonBlocking),
                                          with(kSend, kTimed),
                                          with(kSend, kNonBlocking),
                                          kReceive,
                                          with(kReceive, kTimed),
                                          with(kReceive, kNonBlocking),
                                          kReply,
                                          kReplyTo,
                                          kReplySave,
                                          kSignal,
                                          kSignal,
                                          kYield,
                                          kYield,
                                          kCopy,
                                          kMove,
                                          kDelete,
                                          kIdentify,
                                          kThreadResume,
                                          kThreadSuspend,
                                          kThreadSuspend,
                                          kThreadState,
                                          kThreadBind,
                                          kThreadBind,
                                          kThreadGetRegisters,
                                          kThreadSchedule,
                                          kThreadFastpaths,
                                          kThreadConfigure};
void race_victim();
}
asm(R"(
    .text
    .globl race_victim
race_victim:
    mov %rbp, %rax
    shl $13, %rax
    xor %rax, %rbp
    mov %rbp, %rax
    shr $7, %rax
    xor %rax, %rbp
    mov %rbp, %rax
    shl $17, %rax
    xor %rax, %rbp
    mov %rbp, %rcx
    shr $40, %rcx
    and $31, %ecx
    lea race_victim_calls(%rip), %rax
    movzwl (%rax,%rcx,2), %eax
    mov %rbp, %rdi
    shr $8, %rdi
    and $15, %edi
    add $1024, %edi
    mov %rbp, %rsi
    shr $16, %rsi
    cmp $16, %al
    jb 1f
    and $15, %esi
    add $1024, %esi
    mov %rbp, %rdx
    shr $24, %rdx
    and $15, %edx
    mov %rbp, %r10
    shr $32, %r10
    and $3, %r10d
    xor %r8d, %r8d
    xor %r9d, %r9d
    jmp 2f
1:  and $0x700f, %esi
2:  syscall
    jmp race_victim
)");

void count(bool ok) { (ok ? succeeded : refused).fetch_add(1, std::memory_order_relaxed); }
void count(const Result<void>& r) { count(r.ok()); }

Slot shared(Driver& d) { return kSharedAt + d.random.below(kShared); }
// What a shared slot usually holds, so that calls find their type now and then.
Slot shared(Driver& d, Type type) {
    if (d.random.one_in(8)) return shared(d);
    switch (type) {
        case kTypeThread: return kSharedAt + d.random.below(4);
        case kTypeEndpoint: return kSharedAt + 4 + d.random.below(2);
        case kTypeReply: return kSharedAt + 6 + d.random.below(2);
        case kTypeNotification: return kSharedAt + 8 + d.random.below(2);
        case kTypeSched: return kSharedAt + 10;
        case kTypeSpace: return kSharedAt + 11;
        case kTypeMemory: return kSharedAt + 12;
        case kTypePool: return kSharedAt + 13;
        default: return kSharedAt + 14 + d.random.below(2);
    }
}
Type type_at(Slot slot) {
    constexpr Type kTypes[kShared] = {kTypeThread,       kTypeThread,       kTypeThread,   kTypeThread,
                                      kTypeEndpoint,     kTypeEndpoint,     kTypeReply,    kTypeReply,
                                      kTypeNotification, kTypeNotification, kTypeSched,    kTypeSpace,
                                      kTypeMemory,       kTypePool,         kTypeEndpoint, kTypeThread};
    return kTypes[slot - kSharedAt];
}

// Some are ready for their partner, some wait a little; never for ever.
u64 flags(Driver& d, bool call) {
    utcb().timeout = d.random.below(4) * d.random.below(60'000);
    return !call && d.random.one_in(3) ? u64{kNonBlocking} : u64{kTimed} | (d.random.one_in(4) ? u64{kNonBlocking} : 0);
}
Message random_message(Driver& d) {
    Message m{};
    const u64 words = d.random.one_in(8) ? d.random.below(kMaxWords + 1) : d.random.below(6);
    m.tag = make_tag(d.random.below(9), words, d.random.one_in(4) ? d.random.below(3) : 0);
    m.words[0] = d.random.next();
    m.words[1] = d.random.one_in(2) ? u64(&race_victim) : d.random.next() << 20;
    for (u64 n = 0; n < kMaxCaps; ++n) {
        utcb().caps[n] = shared(d);
        utcb().cap_rights[n] = d.random.one_in(3) ? u64{kSendRight} : 0;
        utcb().receive[n] = shared(d);
    }
    return m;
}
Registers random_registers(Driver& d) {
    Registers r{};
    r.rip = d.random.one_in(8) ? d.random.next() & 0x7fff'ffff'ffff : u64(&race_victim);
    r.rsp = d.random.next();
    r.rbp = d.random.next() | 1;
    r.rflags = 0x202;
    r.fs_base = kVictimUtcb + d.random.below(5) * kPageSize;
    return r;
}

void make_something(Driver& d) {
    const Slot slot = shared(d);
    const Type type = type_at(slot);
    const Slot pool = d.random.one_in(4) ? shared(d, kTypePool) : kArenaAt;
    const u64 argument = type == kTypePool     ? 64 << (10 + d.random.below(3))
                         : type == kTypeSpace  ? 16
                         : type == kTypeMemory ? kPageSize << d.random.below(8)
                         : type == kTypeSched  ? 1 + d.random.below(12)
                                               : 0;
    count(create(pool, type, slot, argument));
}

void start_a_victim(Driver& d) {
    const Slot thread = shared(d, kTypeThread);
    const Slot space = d.random.one_in(6) ? shared(d, kTypeSpace) : Slot{kSlotSpace};
    const u64 utcb_at = d.random.one_in(4) ? 0 : kVictimUtcb + d.random.below(5) * kPageSize;
    const Slot handler = d.random.one_in(2) ? 0 : shared(d, kTypeEndpoint);
    count(configure(thread, space, utcb_at, handler, d.random.one_in(4) ? u64{kRedirect} : 0));
    count(set_registers(thread, random_registers(d)));
    count(schedule(thread, d.random.one_in(2) ? Slot{kSlotSched} : shared(d, kTypeSched), 1 + d.random.below(13),
                   d.random.below(cpus())));
    count(resume(thread));
}

void serve(Driver& d) {
    Message m = random_message(d);
    Result<void> r = receive(shared(d, d.random.one_in(4) ? kTypeNotification : kTypeEndpoint), m, flags(d, false));
    count(r);
    for (u64 left = d.random.below(4); r.ok() && left != 0; --left) {
        m = random_message(d);
        utcb().map = {shared(d, kTypeMemory), kMapAt + d.random.below(8) * kPageSize, 0, kPageSize, kReadRight};
        utcb().registers = random_registers(d);
        switch (d.random.below(4)) {
            case 0: r = reply(m); break;
            case 1: r = reply_save(shared(d, kTypeReply)); break;
            case 2: r = receive(shared(d, kTypeEndpoint), m, flags(d, false)); break;
            default: r = reply_receive(shared(d, kTypeEndpoint), m, flags(d, false));
        }
        count(r);
    }
}

void play(Driver& d) {
    const u64 what = d.random.below(28);
    d.what.store(what);
    switch (what) {
        case 0:
        case 1:
        case 2: return make_something(d);
        case 3:
        case 4: return start_a_victim(d);
        case 5:
            return count(configure(shared(d, kTypeThread), kSlotSpace, kVictimUtcb + d.random.below(5) * kPageSize,
                                   shared(d, kTypeEndpoint)));
        case 6: return count(set_registers(shared(d, kTypeThread), random_registers(d)));
        case 7: {
            Registers r;
            return count(get_registers(shared(d, kTypeThread), r));
        }
        case 8:
            return count(bind(d.random.one_in(4) ? d.thread.slot : shared(d, kTypeThread),
                              d.random.one_in(3) ? 0 : shared(d, kTypeNotification)));
        case 9:
            return count(schedule(shared(d, kTypeThread), d.random.one_in(2) ? Slot{kSlotSched} : shared(d, kTypeSched),
                                  1 + d.random.below(13), d.random.below(cpus())));
        case 10: return count(suspend(shared(d, kTypeThread)));
        case 11: return count(resume(shared(d, kTypeThread)));
        case 12: return count(remove(shared(d)));
        case 13: return count(d.random.one_in(4) ? revoke(shared(d)) : remove(shared(d)));
        case 14:
            return count(copy(shared(d), shared(d), d.random.one_in(2) ? u64{kAllRights} : d.random.below(128),
                              d.random.one_in(4) ? d.random.below(9) : 0,
                              d.random.one_in(4) ? shared(d, kTypeSpace) : 0));
        case 15: return count(move(shared(d), shared(d), d.random.one_in(4) ? shared(d, kTypeSpace) : 0));
        case 16:
        case 17: {
            Message m = random_message(d);
            return count(call(shared(d, kTypeEndpoint), m, flags(d, true)));
        }
        case 18: return count(send(shared(d, kTypeEndpoint), random_message(d), flags(d, false)));
        case 19:
        case 20:
        case 21: return serve(d);
        case 22: return count(reply_to(shared(d, kTypeReply), random_message(d)));
        case 23: return count(signal(shared(d, kTypeNotification), d.random.next()));
        case 24: {
            const Slot space = shared(d, kTypeSpace);
            const u64 at = kMapAt + d.random.below(8) * kPageSize, n = (1 + d.random.below(4)) * kPageSize;
            if (d.random.one_in(3)) return count(unmap(space, at, n));
            if (d.random.one_in(3)) return count(protect(space, at, n, kReadRight));
            return count(map(space, shared(d, kTypeMemory), at, 0, n, kReadRight | kWriteRight));
        }
        case 25: return count(do_call(kThreadFastpaths, shared(d, kTypeThread), d.random.below(16)));
        case 26:
            return count(configure_sched(shared(d, kTypeSched), 15, 1 + d.random.below(12),
                                         d.random.one_in(2) ? 0 : 200'000, d.random.one_in(2) ? 0 : 400'000));
        default: {
            const Slot line = kLineAt + d.random.below(kLines);
            return count(irq_bind(line, d.random.one_in(2) ? 0 : shared(d, kTypeNotification), 1));
        }
    }
}

void drive(u64 number) {
    Driver& d = drivers[number];
    for (u64 n = 1; n <= kSteps; ++n) {
        play(d);
        d.step.store(n);
    }
    d.what.store(100);
    // What it holds of the seed's objects: its bound notification, and what it owes.
    (void)bind(d.thread.slot, 0);
    Message m;
    (void)receive(kPrivateAt, m, kNonBlocking);
    d.done.store(true);
    (void)signal(kDoneAt, 1);
}

u64 steps() {
    u64 n = 0;
    for (u64 i = 0; i < cpus(); ++i) n += drivers[i].step.load() + drivers[i].done.load();
    return n;
}
bool all_done() {
    for (u64 i = 0; i < cpus(); ++i)
        if (!drivers[i].done.load()) return false;
    return true;
}

const char* run(u64 seed) {
    const u64 before = pool_used(kSlotPool).take();
    if (!create(kSlotPool, kTypePool, kArenaAt, kArena).ok()) return "no pool";
    for (u64 i = 0; i < cpus(); ++i) {
        Driver& d = drivers[i];
        d.random.state = (seed * 31 + i + 1) * 0x9e37'79b9'7f4a'7c15;
        for (int n = 0; n < 4; ++n) (void)d.random.next();
        d.step.store(0);
        d.done.store(false);
        if (!suspend(d.thread.slot).ok() || !begin_with(d.thread, drive, i).ok()) return "a driver";
    }
    for (u64 i = 0; i < cpus(); ++i)
        if (!resume(drivers[i].thread.slot).ok()) return "a driver that does not start";
    u64 seen = 0, since = now();
    while (!all_done()) {
        Message m;
        utcb().timeout = 50'000'000;
        (void)receive(kDoneAt, m, kTimed);
        if (const u64 n = steps(); n != seen) {
            seen = n;
            since = now();
        } else if (now() - since > kLeft) {
            for (u64 i = 0; i < cpus(); ++i)
                print("driver {}: step {} call {} state {}\n", i, drivers[i].step.load(), drivers[i].what.load(),
                      state(drivers[i].thread.slot).take());
            return "a call that does not end";
        }
    }
    for (u64 i = 0; i < kLines; ++i) (void)irq_bind(kLineAt + i, 0, 0);
    if (!revoke(kArenaAt).ok()) return "the pool's revocation";
    for (u64 i = 0; i < kShared; ++i)
        if (identify(kSharedAt + i).ok()) return "a slot that is left";
    // What was freed is given back an epoch later.
    since = now();
    while (pool_used(kArenaAt).take() != 0) {
        if (now() - since > kLeft) {
            print("{} bytes\n", pool_used(kArenaAt).take());
            return "memory that does not come back";
        }
        utcb().timeout = 1'000'000;
        Message m;
        (void)receive(kDoneAt, m, kTimed);
    }
    if (!remove(kArenaAt).ok()) return "the pool's end";
    since = now();
    while (pool_used(kSlotPool).take() != before)
        if (now() - since > kLeft) return "memory of the first pool that does not come back";
    return nullptr;
}

u64 number_at(std::string_view line, u64 word) {
    u64 value = 0;
    for (u64 at = 0, n = 0; at < line.size(); ++at) {
        if (line[at] == ' ')
            ++n;
        else if (n == word && line[at] >= '0' && line[at] <= '9')
            value = value * 10 + u64(line[at] - '0');
    }
    return value;
}

}  // namespace

int native_main() {
    const std::string_view line = boot_info().command_line;
    const u64 first = number_at(line, 1), seeds = number_at(line, 2);
    // Above all others, and asleep.
    (void)schedule(kSlotThread, kSlotSched, 20, 0);
    if (!create(kSlotPool, kTypeNotification, kDoneAt).ok() || !create(kSlotPool, kTypeEndpoint, kPrivateAt).ok())
        return 1;
    for (u64 i = 0; i < kLines; ++i)
        if (!copy(kSlotIrq, kLineAt + i, kAllRights, kFirstLine + i + 1).ok()) return 1;
    for (u64 i = 0; i < cpus(); ++i) {
        auto made = make_thread(drive, i, {.priority = 14, .cpu = i, .start = false});
        if (!made.ok()) return 1;
        drivers[i].thread = made.take();
        drivers[i].number = i;
    }
    int failed = 0;
    for (u64 seed = first; seed < first + seeds && failed == 0; ++seed) {
        const char* why = run(seed);
        if (why)
            print("seed {} FAIL {}\n", seed, std::string_view(why));
        else
            print("seed {} ok\n", seed);
        failed += why != nullptr;
    }
    print("{} calls succeeded, {} were refused\n", succeeded.load(), refused.load());
    print("race done\n");
    return failed;
}
