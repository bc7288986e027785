// SPDX-License-Identifier: MIT
// Threads of the personality, by hand.
#include "port/bind.hpp"
#include "rt/mem/slab.hpp"
#include "tests/kernel/ktest.hpp"

// A signal finds a thread in its process before the thread has started.
KTEST(a_thread_that_has_not_started_can_be_kicked) {
    auto space = core::Space::create();
    KCHECK(space.ok());
    auto* t = rt::make<port::UserThread>();
    KCHECK(t);
    bool ready = t->init(std::move(space.value())).ok();
    if (ready) t->kick();
    bool kicked = t->kicked.load();
    delete t;
    KCHECK(ready && kicked);
    co_return lib::kOk;
}
