// SPDX-License-Identifier: MIT
// A program whose threads stop or are deleted, one after another, in the way that its word says. With a thread left that can go
// on it ends as that says; without one the kernel ends it (docs/native.md, section 8).
//     stops alone | suspend | delete | stop | other
#include <string_view>

#include "sysapi/program.hpp"

namespace {

using namespace native;

constexpr Slot kNothing = 1000, kTraps = 1001;  // endpoints

std::string_view how() {
    std::string_view line = boot_info().command_line;
    const size_t space = line.find(' ');
    return space == line.npos ? std::string_view{} : line.substr(space + 1);
}
void wait(u64 ns) {
    Message m;
    utcb().timeout = ns;
    (void)receive(kNothing, m, kTimed);
}
// Or deleted.
bool until_stopped(Slot thread) {
    for (u64 n = 0; n < 10'000; ++n) {
        const auto now = state(thread);
        if (!now.ok() || now.value() == kStateInactive) return true;
        wait(1'000'000);
    }
    return false;
}
// The threads beside the first.
Slot second = 0;  // the first of them
void suspends_itself(u64) { (void)suspend(second); }
void deletes_itself(u64) { (void)remove(second); }
void traps(u64) { asm volatile("ud2"); }
void ends_the_program(u64) {
    wait(20'000'000);
    print("stops: another thread has ended the program\n");
    shut_down(6);
}
// Stops the thread that traps, and then itself.
void answers_stop(u64) {
    Message m;
    if (!receive(kTraps, m).ok()) shut_down(3);
    m.tag = make_tag(kStop, 0);
    (void)reply(m);
    (void)suspend(second);
}

int fail(int status) {
    print("stops: not reached\n");
    return status;
}

}  // namespace

int native_main() {
    if (!create(kSlotPool, kTypeEndpoint, kNothing).ok() || !create(kSlotPool, kTypeEndpoint, kTraps).ok()) return 2;
    const std::string_view word = how();
    const bool stops = word == "stop", other = word == "other";
    const u64 cpu = cpus() - 1;
    if (word == "alone") {
        (void)suspend(kSlotThread);
        return fail(3);
    }
    auto made = make_thread(stops              ? answers_stop
                            : other            ? ends_the_program
                            : word == "delete" ? deletes_itself
                                               : suspends_itself,
                            0, {.cpu = cpu, .start = false});
    if (!made.ok()) return 2;
    second = made.value().slot;
    if (!resume(second).ok()) return 2;
    // Its trap goes to the second thread, whose answer stops it.
    if (stops && !make_thread(traps, 0, {.handler = kTraps}).ok()) return 2;
    if (!other && !stops) {
        auto third = make_thread(traps, 0);
        if (!third.ok() || !until_stopped(second) || !until_stopped(third.value().slot)) return fail(4);
    }
    (void)suspend(kSlotThread);
    return fail(5);
}
