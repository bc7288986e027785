// SPDX-License-Identifier: MIT
// A caller is dropped by its server, or outlives it, while another thread changes it: it hears of that in any case.
#include "tests/native/ktest.hpp"

namespace ktest {
namespace {

constexpr u64 kRounds = 3000;
Slot endpoint;
std::atomic<u64> calls;
std::atomic<bool> enough;

void call_again_and_again(u64) {
    while (!enough) {
        Message m = message(1);
        (void)call(endpoint, m);
        ++calls;
    }
}
// Each receive drops the caller before, some time after it has come.
void receive_again_and_again(u64) {
    for (u64 n = 0; !enough; ++n) {
        Message m;
        if (!receive(endpoint, m, kNonBlocking).ok()) continue;
        for (u64 left = 200 + n % 256; left != 0; --left) asm volatile("pause");
    }
}
// Answers nothing.
[[noreturn]] void receive_for_ever() {
    for (Message m;; (void)receive(endpoint, m)) {
    }
}
alignas(16) std::byte stack[8192];
alignas(kPage) Utcb page;

// Has the caller in its hands again and again, while that waits on the same CPU.
void change_again_and_again(u64 caller) {
    while (!enough) (void)set_handler(caller, 0);
}
// The two of them.
Slot start_caller() {
    endpoint = make(kTypeEndpoint);
    enough = false;
    calls = 0;
    Helper& caller = start(call_again_and_again, 0, {.priority = 6});
    start(change_again_and_again, caller.thread, {.priority = 5});
    return caller.thread;
}

}  // namespace

KTEST(caller_that_is_changed_and_dropped, none) {
    if (far_cpu() == 0) return;
    const Slot caller = start_caller();
    Helper& server = start(receive_again_and_again, 0, {.cpu = far_cpu()});
    for (u64 made = 0; made < kRounds; made = calls) KCHECK(until([&] { return calls > made; }));
    enough = true;
    KCHECK(until_done(server));
    KDONE(code(remove(caller)));
}

KTEST(caller_that_is_changed_and_outlives_its_server, none) {
    if (far_cpu() == 0) return;
    const Slot caller = start_caller(), server = slot();
    page.self = u64(&page);
    Registers r{};
    r.rip = u64(&receive_for_ever);
    r.rsp = u64(stack + sizeof stack - 8);
    r.fs_base = u64(&page);
    r.rflags = 0x202;
    for (u64 n = 0; n < 300; ++n) {
        KDONE(code(create(pool(), kTypeThread, server)));
        KDONE(code(configure(server, kSlotSpace, 0)));
        KDONE(code(set_registers(server, r)));
        KDONE(code(schedule(server, kSlotSched, kDefaultPriority, far_cpu())));
        KDONE(code(resume(server)));
        KCHECK(until_state(caller, kStateAwaitingReply));
        for (u64 left = n % 64; left != 0; --left) asm volatile("pause");
        const u64 before = calls;
        KDONE(code(remove(server)));
        KCHECK(until([&] { return calls > before; }));
    }
    enough = true;
    KDONE(code(remove(caller)));
}

}  // namespace ktest
