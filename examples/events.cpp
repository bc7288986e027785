// SPDX-License-Identifier: MIT
// Notifications: bits accumulate; a notification bound to a thread lets one receive wait for messages and signals; a
// receive with a timeout; a device's interrupt as a notification.
//     ./farcall run --native examples/events
#include "sysapi/program.hpp"

namespace {

using namespace native;

constexpr u64 kWorkDone = 1, kTick = 2, kSecond = 1'000'000'000;
// The machine's interval timer, ISA line 0, as set up by the firmware.
constexpr u64 kTimerLine = 0;

struct Worker {
    Slot notification, endpoint;
};
Worker workers;

void work(u64) {
    (void)signal(workers.notification, 4);
    Message m = message(kWorkDone, 123);
    (void)call(workers.endpoint, m);
    (void)signal(workers.notification, 8);
}

Result<void> collected() {
    Slot n = TRY(make(kTypeNotification));
    TRY(signal(n, 1));
    TRY(signal(n, 16));
    Message m;
    TRY(receive(n, m));
    print("events: signals of 1 and 16 are received as {}\n", m.badge);
    if (receive(n, m, kNonBlocking).error() != Errno::kAgain) return Errno::kInval;
    utcb().timeout = kSecond / 100;
    const u64 before = now();
    if (receive(n, m, kTimed).error() != Errno::kTimedOut || now() - before < kSecond / 100) return Errno::kInval;
    print("events: nothing came within 10 ms\n");
    return lib::kOk;
}

// One loop for messages and signals.
Result<void> bound() {
    workers = {TRY(make(kTypeNotification)), TRY(make(kTypeEndpoint))};
    TRY(bind(kSlotThread, workers.notification));
    (void)TRY(make_thread(work, 0));
    u64 bits = 0, words = 0;
    while (bits != 12 || words == 0) {
        Message m;
        TRY(receive(workers.endpoint, m));
        if (m.label() == kLabelSignal) {
            bits |= m.badge;
        } else {
            words = m.words[0];
            TRY(reply(message(0)));
        }
    }
    print("events: one endpoint gave signals {} and the message {}\n", bits, words);
    return bind(kSlotThread, 0);
}

Result<void> interrupts() {
    Slot line = new_slot(), ticks = TRY(make(kTypeNotification));
    TRY(copy(kSlotIrq, line, kAllRights, kTimerLine + 1));
    TRY(irq_bind(line, ticks, kTick));
    utcb().timeout = kSecond;
    for (u64 i = 0; i < 3; ++i) {
        Message m;
        TRY(receive(ticks, m, kTimed));
        if (m.badge != kTick) return Errno::kInval;
        TRY(irq_ack(line));  // the line is masked until then
    }
    print("events: three interrupts of the timer\n");
    return lib::kOk;
}

Result<void> play() {
    TRY(collected());
    TRY(bound());
    return interrupts();
}

}  // namespace

int native_main() {
    auto result = play();
    if (!result.ok()) print("events: error {}\n", i32(result.error()));
    return result.ok() ? 0 : 1;
}
