// SPDX-License-Identifier: MIT
// Memory shared by two spaces: one thread writes to it; the other may only read, and its attempt to write faults.
// Numbers pass through a ring without messages.
//     ./farcall run --native examples/sharing
//     ./farcall run --native examples/sharing --cpus 2
#include <atomic>

#include "sysapi/program.hpp"

namespace {

using namespace native;

constexpr u64 kNumbers = 1000, kSum = 1, kReaderView = 0x20'0000'0000;
constexpr Slot kReaderEndpoint = 1;

struct Ring {
    static constexpr u64 kSize = 64;
    std::atomic<u64> written;  // by the writer; release: publishes the numbers before it
    u64 numbers[kSize];
};
struct Progress {
    std::atomic<u64> read;
};

// Runs in another space, where the ring is read-only. It reports its progress in a page of its own.
void reader(u64 endpoint) {
    auto& ring = *reinterpret_cast<Ring*>(kReaderView);
    auto& progress = *reinterpret_cast<Progress*>(kReaderView + 4096);
    u64 sum = 0;
    for (u64 n = 0; n < kNumbers; ++n) {
        while (ring.written.load(std::memory_order_acquire) <= n) yield();
        sum += ring.numbers[n % Ring::kSize];
        progress.read.store(n + 1, std::memory_order_release);
    }
    Message m = message(kSum, sum);
    (void)call(endpoint, m);
    ring.numbers[0] = 0;
}

Result<void> play() {
    Slot ring_memory, progress_memory, endpoint = TRY(make(kTypeEndpoint));
    auto& ring = *reinterpret_cast<Ring*>(TRY(map_new(4096, &ring_memory)));
    auto& progress = *reinterpret_cast<Progress*>(TRY(map_new(4096, &progress_memory)));

    Slot space = TRY(make_space());
    TRY(copy(endpoint, kReaderEndpoint, kSendRight, 0, space));
    TRY(map(space, ring_memory, kReaderView, 0, 4096, kReadRight));
    TRY(map(space, progress_memory, kReaderView + 4096, 0, 4096, kReadRight | kWriteRight));
    (void)TRY(make_thread(reader, kReaderEndpoint, {.cpu = cpus() - 1, .handler = endpoint, .space = space}));

    for (u64 n = 0; n < kNumbers; ++n) {
        while (n - progress.read.load(std::memory_order_acquire) >= Ring::kSize) yield();
        ring.numbers[n % Ring::kSize] = n;
        ring.written.store(n + 1, std::memory_order_release);
    }
    Message m;
    TRY(receive(endpoint, m));
    if (m.label() != kSum || m.words[0] != kNumbers * (kNumbers - 1) / 2) return Errno::kInval;
    print("sharing: {} numbers received, their sum is {}\n", kNumbers, m.words[0]);
    m = message(0);
    TRY(reply_receive(endpoint, m));
    // Words: address, pc, sp, access, 1 if a page is mapped there.
    if (m.label() != kLabelPageFault || m.words[3] != kAccessWrite || m.words[4] != 1) return Errno::kInval;
    print("sharing: the reader may not write at {:x}\n", m.words[0]);
    TRY(reply(message(kStop)));
    return lib::kOk;
}

}  // namespace

int native_main() {
    auto result = play();
    if (!result.ok()) print("sharing: error {}\n", i32(result.error()));
    return result.ok() ? 0 : 1;
}
