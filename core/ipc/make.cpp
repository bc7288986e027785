// SPDX-License-Identifier: MIT
#include "core/ipc/make.hpp"

#include "core/ipc/ipc.hpp"
#include "core/sched.hpp"

namespace core {

CpuSet cpus_of(NativeThread& t) {
    CpuSet all = sched::user_cpus();
    return t.sched ? CpuSet{t.sched->cpus.load(std::memory_order_relaxed)} & all : CpuSet{};
}

Result<Object*> make_space(Pool& pool, u64 slots) {
    auto* s = rt::make<SpaceObject>();
    if (!s) return Errno::kNoMem;
    auto space = Space::create();
    Result<void> table = space.ok() ? s->caps.allocate(u32(slots), pool) : Result<void>{space.error()};
    if (!table.ok()) {
        s->unref();
        return table.error();
    }
    s->space = space.take();
    return static_cast<Object*>(s);
}

Result<Object*> make_thread(NativeThread& maker, bool with_utcb) {
    auto* t = rt::make<NativeThread>();
    if (!t) return Errno::kNoMem;
    t->inherit(maker);
    bool ok = t->allocate_fpu().ok();
    if (with_utcb) {
        auto* utcb = rt::make<Memory>(kPageSize);
        ok = ok && utcb && utcb->allocate().ok();
        if (utcb) {
            t->utcb_memory.set(ThreadClaim::of_taken(*t), ObjectRef<Memory>{utcb});
            utcb->unref();
        }
    }
    if (!ok) {
        t->unref();
        return Errno::kNoMem;
    }
    return static_cast<Object*>(t);
}

Result<Object*> make_sched(NativeThread& maker, u64 highest) {
    auto* s = rt::make<Sched>(highest);
    if (!s) return Errno::kNoMem;
    s->cpus.store(cpus_of(maker).bits, std::memory_order_relaxed);
    return static_cast<Object*>(s);
}

}  // namespace core
