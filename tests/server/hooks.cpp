// SPDX-License-Identifier: MIT
// Deaths of the server, planted at a step of a program's call (plant=server-STEP): a program causes them by getppid(2), or for
// `fault` by touching memory at kBadAddress. `./farcall test tool` runs them.
//   leaf    a bad pointer in a leaf          panic   the same by Machine::panic
//   task    in a coroutine that others await lock    with a lock held that other CPUs want
//   fault   while a page fault is resolved   exit    the server ends itself
//   twice   the thread that tells of deaths finds what it must not read
#include "servers/linux/hooks.hpp"

#include "abi/linux/syscall_x86_64.hpp"
#include "port/server/cpu.hpp"
#include "rt/wait.hpp"

namespace servers::hooks {
namespace {

using hal::Machine;
using port::UserThread;
using LeafOutcome = port::LeafOutcome;

constexpr u64 kBadAddress = 0x6fff'ffff'f000;

constinit LeafOutcome (*syscall)(UserThread&) = nullptr;
constinit LeafOutcome (*fault)(UserThread&, const port::Trap&) = nullptr;
constinit std::string_view step;
constinit rt::SpinLock<rt::Rank::device> wanted;

[[gnu::noinline]] void crash() { *reinterpret_cast<volatile u64*>(8) = 1; }

Task<void> planted_inner() {
    rt::Wait wait{"the planted time"};
    wait.until(Machine::now() + lib::milliseconds(20)).uninterruptible();
    (void)co_await wait;
    crash();
}
Task<void> planted_outer() { co_await planted_inner(); }

// Others want the lock for ever.
Task<void> want() {
    rt::LockGuard guard{wanted};
    co_return;
}
void crash_with_lock() {
    rt::LockGuard guard{wanted};
    for (u32 n = 0; n < rt::executor_count(); ++n)
        if (n != Machine::this_cpu().value) (void)rt::spawn("wants a lock", want(), rt::Executor::of(CpuId{n}));
    for (const Nanoseconds end = Machine::now() + lib::milliseconds(20); Machine::now() < end;) Machine::relax();
    crash();
}

LeafOutcome planted_syscall(UserThread& t) {
    if (t.call_regs().syscall_number() == abi::kNrGetppid) {
        if (step == "leaf") crash();
        if (step == "panic") Machine::panic("planted");
        if (step == "task") (void)rt::spawn("planted", planted_outer(), rt::Executor::current());
        if (step == "lock") crash_with_lock();
        if (step == "exit") native::shut_down(0);
        if (step == "twice") {
            (void)rt::spawn(reinterpret_cast<const char*>(8), planted_outer(), rt::Executor::current());
            crash();
        }
    }
    return syscall(t);
}
LeafOutcome planted_fault(UserThread& t, const port::Trap& trap) {
    if (trap.address.value == kBadAddress) crash();
    return fault(t, trap);
}

}  // namespace

void before_linux(std::string_view words) {
    constexpr std::string_view kWord = "plant=server-";
    const size_t at = words.find(kWord);
    if (at == words.npos) return;
    step = words.substr(at + kWord.size());
    step = step.substr(0, step.find(' '));
    port::Personality<UserThread>& p = port::personality;
    syscall = p.syscall;
    fault = p.fault;
    if (step == "fault")
        p.fault = &planted_fault;
    else
        p.syscall = &planted_syscall;
}

}  // namespace servers::hooks
