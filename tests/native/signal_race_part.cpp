// SPDX-License-Identifier: MIT
// A thread receives pending bits while another CPU makes a more urgent thread of its CPU ready.
#include "tests/native/ktest.hpp"

namespace ktest {
namespace {

std::atomic<bool> enough;

void wait_for_ever(u64 n) {
    Message m;
    while (!enough && receive(n, m).ok()) {
    }
}
void ring_for_ever(u64 n) {
    while (!enough) (void)raw_call(kSignal, n, 1);
}

}  // namespace

KTEST(bits_are_not_lost_to_a_turn, none) {
    enough = false;
    Slot mine = make(kTypeNotification), urgent = make(kTypeNotification);
    Helper& waits = start(wait_for_ever, urgent, {.priority = kDefaultPriority + 1});
    Helper& rings = start(ring_for_ever, urgent, {.cpu = far_cpu()});
    u64 right = 0, rounds = 0;
    for (u64 end = now() + 60 * kMillisecond; now() < end;) {
        for (u64 i = 0; i < 100; ++i, ++rounds) {
            Message m;
            (void)raw_call(kSignal, mine, 4);
            right += receive(mine, m).ok() && m.badge == 4 && m.tag == make_tag(kLabelSignal, 0);
        }
    }
    enough = true;
    (void)raw_call(kSignal, urgent, 1);
    KCHECK(until_done(rings) && until_done(waits));
    KCHECK(right == rounds);
}

}  // namespace ktest
