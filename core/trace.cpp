// SPDX-License-Identifier: MIT
#include "core/trace.hpp"

#include "hal/bind.hpp"
#include "rt/executor.hpp"
#include "rt/mem/pages.hpp"

namespace core::trace {

constinit std::atomic<bool> on{false};

namespace {

constexpr unsigned kOrder = 7;  // 512 KiB a CPU
constexpr u64 kRecords = (kPageSize << kOrder) / sizeof(Record);

struct alignas(64) Ring {
    Record* records = nullptr;
    std::atomic<u64> written{0};
    u64 taken = 0;
    // The slowpath that is under way.
    bool open = false;
    Path path{};
    u64 start = 0, thread = 0, detail = 0;
};
constinit Ring rings[lib::kMaxCpus];

void write(Path path, Test test, u64 thread, u64 partner, u64 detail, u64 start) {
    u64 end = hal::Machine::cycles();
    u32 cpu = hal::Machine::this_cpu().value;
    Ring& ring = rings[cpu];
    u64 n = ring.written.load(std::memory_order_relaxed);
    ring.records[n % kRecords] = {.start = start,
                                  .cycles = u32(end - start),
                                  .path = path,
                                  .test = test,
                                  .cpu = u8(cpu),
                                  .reserved = 0,
                                  .thread = u32(thread),
                                  .partner = u32(partner),
                                  .detail = detail};
    ring.written.store(n + 1, std::memory_order_release);  // pairs with take()
}

}  // namespace

Result<void> start() {
    for (u32 cpu = 0; cpu < rt::executor_count(); ++cpu) {
        Ring& ring = rings[cpu];
        if (ring.records) continue;
        PhysAddr frames = TRY(rt::alloc_frames(kOrder));
        ring.records = static_cast<Record*>(hal::Machine::phys_to_virt(frames));
    }
    on.store(true, std::memory_order_release);
    return lib::kOk;
}

void stop() { on.store(false, std::memory_order_release); }

size_t take(std::span<Record> out) {
    size_t n = 0;
    for (Ring& ring : rings) {
        if (!ring.records) continue;
        u64 written = ring.written.load(std::memory_order_acquire);
        if (written - ring.taken > kRecords) ring.taken = written - kRecords;
        for (; ring.taken < written && n < out.size(); ++ring.taken) out[n++] = ring.records[ring.taken % kRecords];
    }
    return n;
}

void fast_done(Path path, u64 thread, u64 partner, u64 start) { write(path, Test::kNone, thread, partner, 0, start); }
void fast_failed(Path path, Test test, u64 start) { write(path, test, 0, 0, 0, start); }

void begin_slow(Path path, u64 thread, u64 detail) {
    Ring& ring = rings[hal::Machine::this_cpu().value];
    ring.open = true;
    ring.path = path;
    ring.thread = thread;
    ring.detail = detail;
    ring.start = hal::Machine::cycles();
}

void end_slow_now() {
    Ring& ring = rings[hal::Machine::this_cpu().value];
    if (!ring.open || !ring.records) return;
    ring.open = false;
    write(ring.path, Test::kNone, ring.thread, 0, ring.detail, ring.start);
}

}  // namespace core::trace
