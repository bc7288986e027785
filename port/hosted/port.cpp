// SPDX-License-Identifier: MIT
// The small parts of the hosted waist: log, clock offset, randomness.
#include <sys/random.h>
#include <time.h>

#include <cstring>

#include "port/api/modules.hpp"
#include "port/bind.hpp"

namespace port {

constinit const ModuleControl* const module_control = nullptr;
constinit rt::Reclaimer reclaimers[kModules];

constinit Streams streams{};

namespace {

constinit std::atomic<void (*)(std::string_view)> log_sink{nullptr};
constinit std::atomic<u64> entropy_state{0};
constinit std::atomic<u64> clock_offset{0};

}  // namespace

namespace hosted {
void set_log(void (*sink)(std::string_view line)) { log_sink.store(sink, std::memory_order_release); }
void set_entropy_seed(u64 seed) { entropy_state.store(seed, std::memory_order_relaxed); }
}  // namespace hosted

void log(std::string_view line) {
    if (auto sink = log_sink.load(std::memory_order_acquire)) return sink(line);
    char text[300];
    size_t n = lib::format_to(text, "farcall: {}\n", line);
    hal::Machine::early_print({text, n});
}

Nanoseconds Port::realtime_offset() {
    u64 offset = clock_offset.load(std::memory_order_relaxed);
    if (offset == 0) {
        timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        offset = u64(t.tv_sec) * 1'000'000'000 + u64(t.tv_nsec) - now().value;
        u64 none = 0;
        if (!clock_offset.compare_exchange_strong(none, offset, std::memory_order_relaxed)) offset = none;
    }
    return Nanoseconds{offset};
}
void Port::set_realtime_offset(Nanoseconds offset) { clock_offset.store(offset.value, std::memory_order_relaxed); }

namespace {
// The kernel's generator has one of this rank: a caller that holds a lock which forbids it is found here too.
constinit rt::SpinLock<rt::Rank::log> generator;
}  // namespace

void Port::entropy(std::span<std::byte> out) {
    rt::LockGuard guard{generator};
    if (entropy_state.load(std::memory_order_relaxed) == 0) {
        while (!out.empty()) {
            ssize_t n = getrandom(out.data(), out.size(), 0);
            if (n > 0) out = out.subspan(size_t(n));
        }
        return;
    }
    for (std::byte& b : out) {
        u64 z = entropy_state.fetch_add(0x9e3779b97f4a7c15, std::memory_order_relaxed);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
        z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
        b = std::byte(z >> 56);
    }
}

}  // namespace port
