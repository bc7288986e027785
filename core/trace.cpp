// SPDX-License-Identifier: MIT
#include "core/trace.hpp"

#include <bit>

#include "hal/bind.hpp"
#include "rt/executor.hpp"
#include "rt/mem/pages.hpp"

namespace core::trace {

constinit std::atomic<bool> on{false};

namespace {

constexpr u64 kLeast = 16;
constexpr u64 kBlock = 65536;  // records: 2 MiB
constexpr u64 kBlocks = kMostRecords / kBlock;

struct alignas(64) Ring {
    Record* block[kBlocks] = {};
    u64 size = 0;  // a power of two; 0: there is none
    std::atomic<u64> written{0};
    u64 taken = 0, lost = 0;
    // The slowpath that is under way.
    bool open = false;
    Path path{};
    u64 start = 0, thread = 0, detail = 0;
    u64 entered = 0;  // whom the CPU went to last

    Record& at(u64 n) {
        n &= size - 1;
        return block[n / kBlock][n % kBlock];
    }
    // The writer may still be in the slot after the last, which holds the oldest record.
    void skip_lost() {
        u64 now = written.load(std::memory_order_acquire);
        if (now - taken < size) return;
        lost += now - size + 1 - taken;
        taken = now - size + 1;
    }
};
constinit Ring rings[lib::kMaxCpus];

Ring& mine() { return rings[hal::Machine::this_cpu().value]; }

Result<void> allocate(Ring& ring, u64 records) {
    u64 each = records < kBlock ? records : kBlock;
    unsigned order = 0;
    while ((kPageSize << order) < each * sizeof(Record)) ++order;
    for (u64 i = 0; i < records / each; ++i) {
        if (ring.block[i]) continue;
        PhysAddr frames = TRY(rt::alloc_frames(order));
        ring.block[i] = static_cast<Record*>(hal::Machine::phys_to_virt(frames));
    }
    ring.size = records;
    return lib::kOk;
}

void add_stretch(Path path, Reason reason, Test test, u64 thread, u64 partner, u64 detail, u64 start) {
    add({.start = start,
         .cycles = u32(hal::Machine::cycles() - start),
         .path = path,
         .test = test,
         .cpu = u8(hal::Machine::this_cpu().value),
         .reason = reason,
         .thread = u32(thread),
         .partner = u32(partner),
         .detail = detail});
}

}  // namespace

void add(const Record& record) {
    Ring& ring = mine();
    u64 n = ring.written.load(std::memory_order_relaxed);
    ring.at(n) = record;
    ring.written.store(n + 1, std::memory_order_release);  // pairs with skip_lost(), take()
}

Result<void> start(u64 records) {
    if (records > kMostRecords) return Errno::kInval;
    records = std::bit_ceil(records < kLeast ? kLeast : records);
    for (u32 cpu = 0; cpu < rt::executor_count(); ++cpu)
        if (rings[cpu].size == 0) TRY(allocate(rings[cpu], records));
    on.store(true, std::memory_order_release);
    return lib::kOk;
}

void stop() { on.store(false, std::memory_order_release); }

size_t take(CpuId cpu, std::span<Record> out) {
    Ring& ring = rings[cpu.value];
    if (ring.size == 0) return 0;
    ring.skip_lost();
    u64 written = ring.written.load(std::memory_order_acquire);
    size_t n = 0;
    for (; ring.taken < written && n < out.size(); ++ring.taken) out[n++] = ring.at(ring.taken);
    return n;
}

size_t take(std::span<Record> out) {
    size_t n = 0;
    for (u32 cpu = 0; cpu < rt::executor_count(); ++cpu) n += take(CpuId{cpu}, out.subspan(n));
    return n;
}

Left left(CpuId cpu) {
    Ring& ring = rings[cpu.value];
    if (ring.size != 0) ring.skip_lost();
    return {ring.written.load(std::memory_order_acquire) - ring.taken, ring.lost};
}

void last_records(CpuId cpu, u32 count, void (*show)(const Record&)) {
    Ring& ring = rings[cpu.value];
    if (ring.size == 0) return;
    u64 written = ring.written.load(std::memory_order_acquire), most = count < ring.size ? count : ring.size;
    for (u64 n = written < most ? 0 : written - most; n < written; ++n) {
        Record copy = ring.at(n);
        show(copy);
    }
}

void fast_done(Path path, u64 thread, u64 partner, u64 detail, u64 start) {
    add_stretch(path, Reason::kDone, Test::kNone, thread, partner, detail, start);
    mine().entered = partner;  // it has the CPU; of another CPU, the next one is another in any case
}
void fast_failed(Path path, Test test, u64 detail, u64 start) {
    add_stretch(path, Reason::kSlowpath, test, 0, 0, detail, start);
}

void begin_slow(Path path, u64 thread, u64 detail) {
    Ring& ring = mine();
    ring.open = true;
    ring.path = path;
    ring.thread = thread;
    ring.detail = detail;
    ring.start = hal::Machine::cycles();
}

namespace {

void end_slow_for(Reason reason, i64 result, u64 partner) {
    Ring& ring = mine();
    if (!ring.open || ring.size == 0) return;
    ring.open = false;
    u64 error = reason == Reason::kDone && result < 0 && result >= -4095 ? u64(-result) : 0;
    add_stretch(ring.path, error != 0 ? Reason::kError : reason, Test::kNone, ring.thread, partner,
                abi::trace::detail(ring.detail, 0, error), ring.start);
}

}  // namespace

void end_slow_now(Reason reason, i64 result) { end_slow_for(reason, result, 0); }

void enter_now(const u64& thread) {
    Ring& ring = mine();
    end_slow_for(Reason::kSwitched, 0, thread);
    if (ring.size == 0 || ring.entered == thread) return;
    rt::Executor& ex = rt::Executor::current();
    u64 ready = 0;
    for (u32 p = u32(rt::Priority::kHighest); p <= u32(rt::Priority::kLowest); ++p)
        ready += ex.queue.count(rt::Priority(p));
    u64 now = hal::Machine::cycles();
    add({.start = now,
         .cycles = 0,
         .path = Path::kSwitch,
         .test = Test::kNone,
         .cpu = u8(ex.cpu().value),
         .reason = Reason::kNone,
         .thread = u32(thread),
         .partner = u32(ring.entered),
         .detail = abi::trace::detail(abi::trace::kNoCall, ready)});
    ring.entered = thread;
}

void interrupt_now(u32 vector) {
    if (mine().size == 0) return;
    add_stretch(Path::kInterrupt, Reason::kNone, Test::kNone, 0, 0, vector, hal::Machine::cycles());
}

}  // namespace core::trace
