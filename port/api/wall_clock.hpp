// SPDX-License-Identifier: MIT
// The wall clock's offset, and the clock data for programs (abi/vdso.hpp).
//
// No lock: a thread that sets the clock makes the page's sequence odd first, by compare-exchange, and then owns it.
#pragma once
#include <atomic>
#include <cstddef>

#include "abi/vdso.hpp"
#include "lib/types.hpp"

namespace port {

class WallClock {
public:
    // Acquire: a thread that has seen a new offset finds the page at least being written. Pairs with set().
    Nanoseconds offset() const { return Nanoseconds{offset_.load(std::memory_order_acquire)}; }

    // Both get the new offset while the sequence is odd: no thread sees it here and the old one there afterwards.
    void set(Nanoseconds to) {
        abi::vdso::Clock* page = page_.load(std::memory_order_acquire);
        if (!page) {
            offset_.store(to.value, std::memory_order_relaxed);
            return;
        }
        std::atomic_ref sequence{page->sequence};
        u32 even = sequence.load(std::memory_order_relaxed);
        do {
            even &= ~1u;
        } while (!sequence.compare_exchange_weak(even, even + 1, std::memory_order_acquire, std::memory_order_relaxed));
        // Release: a thread that reads these two sees the odd sequence as well. Pairs with offset() and the acquiring
        // loads of vdso.cpp.
        offset_.store(to.value, std::memory_order_release);
        std::atomic_ref{page->realtime_offset}.store(to.value, std::memory_order_release);
        sequence.store(even + 2, std::memory_order_release);
    }

    // Once, before there are programs: from now on the page, which is zeroed, says what the clock is.
    void show_in(std::byte* bytes, u64 tsc_base, u64 tsc_to_ns) {
        auto* page = reinterpret_cast<abi::vdso::Clock*>(bytes);
        page->tsc_base = tsc_base;
        page->tsc_to_ns = tsc_to_ns;
        page->realtime_offset = offset().value;
        page->source = tsc_to_ns != 0 ? abi::vdso::kTsc : abi::vdso::kSystemCall;
        page_.store(page, std::memory_order_release);
    }

private:
    std::atomic<u64> offset_{0};  // ns
    std::atomic<abi::vdso::Clock*> page_{nullptr};
};

}  // namespace port
