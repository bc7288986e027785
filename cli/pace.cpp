// SPDX-License-Identifier: MIT
// The speed of the host: see pace.hpp.
#include "cli/pace.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <thread>

#include "cli/util.hpp"

namespace cli {

namespace {

// The loop below on an idle core of the reference host, two of them at once (measured: processor time on a Xeon of 2.5 GHz
// that runs nothing else). Limits were chosen on that host.
constexpr double kReferenceSeconds = 0.060;
constexpr uint64_t kRounds = 30'000'000;
constexpr double kEvery = 5;      // seconds between two measurements
constexpr double kWeight = 0.25;  // of a new measurement in the average: a single hiccup is not a slow host
constexpr double kMost = 60;      // a host that is slower is not tested on

std::atomic<double>* shared = nullptr;  // the greatest average so far
double average = 1;
Clock::time_point last;

double spin_seconds() {
    auto start = Clock::now();
    volatile uint64_t sink = 0;
    auto work = [&sink] {
        uint64_t x = 88172645463325252;
        for (uint64_t i = 0; i < kRounds; ++i) {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
        }
        sink = x;
    };
    // Two at once, as parts of the tests are.
    std::thread other(work);
    work();
    other.join();
    return seconds_since(start);
}

void keep(double value) {
    value = std::clamp(value, 1.0, kMost);
    if (value <= shared->load()) return;
    shared->store(value);
    ::setenv("FARCALL_PACE", std::to_string(static_cast<int>(std::ceil(value))).c_str(), 1);
}

}  // namespace

double pace() {
    if (shared) return shared->load();
    static const double inherited = [] {
        const char* value = ::getenv("FARCALL_PACE");
        return value ? std::clamp(std::atof(value), 1.0, kMost) : 1.0;
    }();
    return inherited;
}

int paced_seconds(double seconds) { return std::max(1, static_cast<int>(std::ceil(seconds * pace()))); }

void start_pace() {
    const double inherited = pace();
    void* page = ::mmap(nullptr, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) fail("no memory");
    shared = new (page) std::atomic<double>(1.0);
    average = spin_seconds() / kReferenceSeconds;
    last = Clock::now();
    keep(std::max(average, inherited));
}

void update_pace() {
    if (!shared || seconds_since(last) < kEvery) return;
    average += kWeight * (spin_seconds() / kReferenceSeconds - average);
    last = Clock::now();
    keep(average);
}

}  // namespace cli
