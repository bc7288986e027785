// SPDX-License-Identifier: MIT
#include "core/ipc/counts.hpp"

namespace core::ipc {

using trace::Test;

constinit const Sched* counted = nullptr;

namespace {

struct alignas(64) Counters {
    std::atomic<u64> of[u32(Slow::kCount)][u32(Test::kCount)];
};
constinit Counters counters[lib::kMaxCpus] = {};

}  // namespace

SlowCounts slow_counts(CpuId cpu) {
    SlowCounts all{};
    for (u32 kind = 0; kind < u32(Slow::kCount); ++kind)
        for (u32 test = 0; test < u32(Test::kCount); ++test)
            all.of[kind][test] = counters[cpu.value].of[kind][test].load(std::memory_order_relaxed);
    return all;
}

[[gnu::cold, gnu::noinline]] void count_not_tried(const NativeThread& t, Slow kind, Test why) {
    if (t.sched.get() != counted) return;
    auto& n = counters[hal::Machine::this_cpu().value].of[u32(kind)][u32(why)];
    n.store(n.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

namespace {

void count(const NativeThread& t, Slow kind, native::Fastpath with) {
    const auto left_at = Test(hal::Machine::take_note());
    count_not_tried(t, kind, t.fastpaths.load(std::memory_order_relaxed) & with ? left_at : Test::kOff);
}

}  // namespace

[[gnu::cold, gnu::noinline]] void count_tried(const NativeThread& t, Slow kind) {
    count(t, kind, native::kFastException);
}

[[gnu::cold, gnu::noinline]] void count_call(const NativeThread& t, Slow kind) {
    if (!t.no_fpu) return;  // of the server's threads those that serve clients
    const u64 word = hal::call_word(t.context);
    if (word != native::kReplyReceive && !may_receive_fast(word) && !answers_alone(word))
        return count_not_tried(t, kind, Test::kNoFastpath);
    count(t, kind, native::kFastReply);
}

}  // namespace core::ipc
