// SPDX-License-Identifier: MIT
// The trace buffer's rings.
#include "core/trace.hpp"
#include "tests/kernel/ktest.hpp"

namespace {

using namespace core;

constinit u32 shown = 0, shown_from = 0;

KTEST(trace_ring_keeps_the_last_records) {
    KCHECK(trace::start(trace::kMostRecords + 1).error() == Errno::kInval);
    KCHECK(trace::start(50).ok());  // 64; this boot's rings stay so
    trace::stop();
    CpuId here = hal::Machine::this_cpu();
    trace::Record records[80];
    auto add = [&](u32 from, u32 to) {
        for (u32 n = from; n < to; ++n) trace::add({.start = n, .thread = n});
    };
    while (trace::take(here, records) != 0) {
    }
    u64 lost = trace::left(here).lost;
    add(0, 60);
    KCHECK(trace::left(here).records == 60 && trace::left(here).lost == lost);
    KCHECK(trace::take(here, {records, 10}) == 10 && records[0].thread == 0 && records[9].thread == 9);
    KCHECK(trace::left(here).records == 50);
    // What was taken is not lost; of the others the last 63 are left: the 64th may be written just now.
    add(60, 200);
    KCHECK(trace::left(here).records == 63 && trace::left(here).lost == lost + 200 - 10 - 63);
    shown = 0;
    trace::last_records(here, 16, [](const trace::Record& r) {
        if (shown++ == 0) shown_from = r.thread;
    });
    KCHECK(shown == 16 && shown_from == 184);
    KCHECK(trace::take(here, records) == 63 && records[0].thread == 137 && records[62].thread == 199);
    KCHECK(trace::take(here, records) == 0 && trace::left(here).records == 0);
    co_return lib::kOk;
}

}  // namespace
