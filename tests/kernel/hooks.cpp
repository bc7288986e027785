// SPDX-License-Identifier: MIT
// The test kernel's hooks: tests inside the kernel (`ktest`), a check that is switched off (`check=`), faults that are
// planted (`plant=`), calls that are held up (`hold=`), and mutants (`mutants=list`, `mutant=`). See docs/testing.md.
#include "boot/kernel/hooks.hpp"

#include "boot/kernel/control.hpp"
#include "boot/kernel/give_up.hpp"
#include "port/kernel/route.hpp"
#include "tests/kernel/checks.hpp"
#include "tests/kernel/ktest.hpp"
#include "tests/kernel/mutants.hpp"
#include "tests/kernel/plant.hpp"

namespace boot::hooks {
namespace {

using hal::Machine;

// Tells the host tool which calls can be mutated.
Task<void> list_mutants() {
    char line[160];
    u32 cursor = 0;
    for (;;) {
        std::string_view text = linux::next_mutant(cursor, line);
        bool last = text.empty();
        if (last) text = "mutants done";
        while (!control::send(text)) {
            rt::Wait wait{"room for a line to the host"};
            wait.until(Machine::now() + lib::milliseconds(1));
            (void)co_await wait;
        }
        if (last) co_return;
    }
}

// plant=lost-wake-up: for the test that a dump names a job whose wake-up never comes.
constinit rt::WaitQueue never_woken;
Task<void> wait_for_ever() {
    rt::Wait wait{"a wake-up that was lost"};
    rt::Waiter waiter;
    waiter.queue = &never_woken;
    waiter.seen = never_woken.sequence();
    (void)co_await wait.on(&waiter, 1);
}

// plant=busy: the module fs is always busy, as far as the controller can tell.
Task<void> keep_busy() {
    rt::Shard& shard = port::route::modules[u32(port::Module::kFs)].here();
    for (Nanoseconds last = Machine::now();;) {
        rt::Wait wait{"the next pretence"};
        wait.until(last + lib::milliseconds(2)).uninterruptible();
        (void)co_await wait;
        Nanoseconds now = Machine::now();
        shard.busy_ns.add((now - last).value);
        last = now;
    }
}

void plant(std::string_view fault) {
    bool planted = false;
    if (fault == "lost-wake-up")
        planted = rt::spawn("planted", wait_for_ever(), rt::Executor::current());
    else if (fault == "busy")
        planted = rt::spawn("planted", keep_busy(), rt::Executor::current());
    else
        give_up("bad plant=", Errno::kInval);
    if (!planted) give_up("plant=", Errno::kNoMem);
}

void print_ktest(std::string_view line) {
    Machine::early_print(line);
    Machine::early_print("\n");
}

}  // namespace

void check_words(const CommandLine&) {}

Task<void> before_streams(const CommandLine& words) {
    if (!words.has("ktest")) co_return;
    u64 seconds;
    if (lib::parse_u64(words.value("ktest"), seconds) && seconds < 3600)
        ktest::long_run = lib::milliseconds(seconds * 1000);
    co_await ktest::run_all(&print_ktest);
    Machine::power_off(0);
}

void before_native(const CommandLine& words) {
    if (words.has("check") && !core::checks::switch_off(words.value("check"))) give_up("bad check=", Errno::kInval);
}

Task<void> before_linux(const CommandLine& words) {
    if (words.has("plant")) plant(words.value("plant"));
    if (words.has("hold") && !port::plant::hold_calls_at(words.value("hold"))) give_up("bad hold=", Errno::kInval);
    if (words.value("mutants") == "list") co_await list_mutants();
}

void after_linux(const CommandLine& words) {
    if (words.has("mutant") && !linux::install_mutant(words.value("mutant"))) give_up("bad mutant=", Errno::kInval);
}

}  // namespace boot::hooks
