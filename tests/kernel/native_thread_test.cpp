// SPDX-License-Identifier: MIT
// Threads of the native interface, by hand: what only a race between two CPUs brings about otherwise.
#include "core/ipc/ipc.hpp"
#include "rt/mem/slab.hpp"
#include "tests/kernel/ktest.hpp"

// A CPU that deletes a thread may find it running, and request its end when its home has just ended it.
KTEST(a_thread_that_has_ended_can_be_asked_for_its_end) {
    using core::NativeThread;
    auto* t = rt::make<NativeThread>();
    KCHECK(t);
    const bool ended = t->ask(NativeThread::kControlEnd) && t->state.load() == abi::native::kStateEnded;
    const bool again = t->ask(NativeThread::kControlEnd);
    // Nothing is left to do: neither a request nor a job that looks at one, again and again.
    for (u32 turn = 0; turn < 4; ++turn) co_await rt::Yield{};
    const u32 asked = t->control.load();
    KCHECK(ended && again && asked == 0 && t->state.load() == abi::native::kStateEnded);
    t->unref();  // asserts that no job of it is under way
    co_return lib::kOk;
}

// A CPU that found a thread without a reference may make a request of it when its last reference is gone already.
KTEST(a_thread_without_references_can_be_asked) {
    using core::NativeThread;
    auto* t = rt::make<NativeThread>();
    KCHECK(t);
    t->state.store(abi::native::kStateReady);  // on its way to a CPU: the request would have to wait
    t->unref();
    // In the same epoch section. No job can keep it.
    (void)t->ask(NativeThread::kControlStop);
    // It is freed in the meantime, which asserts that no job of it is in progress.
    for (u32 turn = 0; turn < 8; ++turn) co_await rt::Yield{};
    co_return lib::kOk;
}
