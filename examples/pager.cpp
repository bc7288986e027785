// SPDX-License-Identifier: MIT
// A pager: page faults of a thread in another space arrive as messages, and the replies map pages. A fault outside the
// region stops the thread.
//     ./farcall run --native examples/pager
#include "sysapi/program.hpp"

namespace {

using namespace native;

constexpr u64 kPage = 4096, kPages = 16, kRegion = 0x20'0000'0000, kNowhere = 0x30'0000'0000;
constexpr u64 kSum = 1;
// The client's capability in its own table.
constexpr Slot kClientEndpoint = 1;

// Runs in another space. Its pages are mapped only when it reads them.
void client(u64 endpoint) {
    u64 sum = 0;
    for (u64 i = 0; i < kPages; ++i) sum += *reinterpret_cast<volatile u64*>(kRegion + i * kPage);
    Message m = message(kSum, sum);
    (void)call(endpoint, m);
    *reinterpret_cast<volatile u64*>(kNowhere) = 1;
}

Result<void> play() {
    Slot endpoint = TRY(make(kTypeEndpoint)), memory;
    // The pager's own mapping of the client's pages: page i begins with i.
    std::byte* pages = TRY(map_new(kPages * kPage, &memory));
    for (u64 i = 0; i < kPages; ++i) *reinterpret_cast<u64*>(pages + i * kPage) = i;

    Slot space = TRY(make_space());
    TRY(copy(endpoint, kClientEndpoint, kSendRight, 0, space));
    Thread t = TRY(make_thread(client, kClientEndpoint, {.handler = endpoint, .space = space}));

    u64 faults = 0;
    Message m;
    TRY(receive(endpoint, m));
    for (;;) {
        if (m.label() == kLabelPageFault) {
            // Words: address, pc, sp, access, 1 if a page is mapped there, error code.
            const u64 at = m.words[0] & ~(kPage - 1);
            if (at < kRegion || at >= kRegion + kPages * kPage) {
                print("pager: {:x} is outside the region (a {}): the thread stops\n", m.words[0],
                      m.words[3] == kAccessWrite ? "write" : "read");
                TRY(reply(message(kStop)));
                break;
            }
            ++faults;
            utcb().map = {memory, at, at - kRegion, kPage, kReadRight};
            m = message(kReplyMaps | kResume);
        } else if (m.label() == kSum) {
            print("pager: {} faults answered, the sum is {}\n", faults, m.words[0]);
            m = message(0);
        } else {
            return Errno::kInval;
        }
        TRY(reply_receive(endpoint, m));
    }
    if (TRY(state(t.slot)) != kStateInactive || faults != kPages) return Errno::kInval;
    return lib::kOk;
}

}  // namespace

int native_main() {
    auto result = play();
    if (!result.ok()) print("pager: error {}\n", i32(result.error()));
    return result.ok() ? 0 : 1;
}
