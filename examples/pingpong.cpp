// SPDX-License-Identifier: MIT
// A client and a server thread: the server replies with the word it received plus one.
//     ./farcall run --native examples/pingpong
#include "sysapi/program.hpp"

namespace {

constexpr u64 kAdd = 1, kRounds = 100'000;

void serve(u64 endpoint) {
    native::Message m;
    if (!native::receive(endpoint, m).ok()) return;
    for (;;) {
        m = native::message(0, m.words[0] + 1);
        if (!native::reply_receive(endpoint, m).ok()) return;
    }
}

Result<u64> play() {
    native::Slot endpoint = TRY(native::make(native::kTypeEndpoint));
    (void)TRY(native::make_thread(serve, endpoint, {.priority = native::kDefaultPriority + 1}));
    u64 value = 0;
    for (u64 i = 0; i < kRounds; ++i) {
        native::Message m = native::message(kAdd, value);
        TRY(native::call(endpoint, m));
        value = m.words[0];
    }
    return value;
}

}  // namespace

int native_main() {
    u64 start = native::now();
    auto result = play();
    if (!result.ok()) {
        native::print("pingpong: error {}\n", i32(result.error()));
        return 1;
    }
    native::print("pingpong: {} round trips, {} ns each\n", result.value(), (native::now() - start) / kRounds);
    return result.value() == kRounds ? 0 : 1;
}
