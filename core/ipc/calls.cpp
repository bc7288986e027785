// SPDX-License-Identifier: MIT
// The native calls other than IPC, and their dispatch from a trap. Each decodes and checks, then commits.
#include "core/ipc/calls.hpp"
#include "core/ipc/make.hpp"
#include "core/sched.hpp"
#include "core/system.hpp"
#include "core/trace.hpp"
#include "core/trap.hpp"
#include "rt/mem/pages.hpp"

namespace core {

using hal::Machine;

constinit const System* native_system = nullptr;

namespace {

using namespace calls;

// The table that a space argument means; 0 is the caller's own.
Result<CapTable*> table_of(NativeThread& t, u64 space) {
    if (space == 0) return t.caps;
    auto s = TRY(find<SpaceObject>(*t.caps, space, native::kTypeSpace, native::kWriteRight));
    return &s->caps;
}

// --- Objects

// Charges `bytes`, makes the object with `make`, and gives it its first capability.
template <class F>
Result<void> create_object(NativeThread& t, Held<Pool>& pool, u64 slot, u64 bytes, F&& make) {
    REQUIRE(pool->charge(bytes), pool_quota, kNoMem);
    Result<Object*> made = make();
    if (!made.ok()) {
        pool->give_back(bytes);
        return made.error();
    }
    Object* object = made.value();
    object->set_charge(*pool.ref, bytes);
    auto r = caps::insert_first(*t.caps, slot, *object, native::kAllRights, pool.cap);
    if (!r.ok()) object->unref();
    return r;
}

template <class T, class... A>
Result<Object*> plain(A&&... args) {
    T* object = rt::make<T>(std::forward<A>(args)...);
    if (!object) return Errno::kNoMem;
    return static_cast<Object*>(object);
}

// Charged at once, filled piece by piece: the call is made again until all of it is there.
Result<void> create_memory(NativeThread& t, Held<Pool>& pool, u64 slot, u64 bytes) {
    Memory* m = t.restart_memory.get();
    if (!m || m->size != bytes || !m->charged_to(*pool.ref)) {
        t.restart_memory = {};
        const u64 charge = rt::kMemoryTaken<Memory> + bytes;
        REQUIRE(pool->charge(charge), pool_quota, kNoMem);
        m = rt::make<Memory>(bytes);
        if (!m) {
            pool->give_back(charge);
            return Errno::kNoMem;
        }
        m->set_charge(*pool.ref, charge);
        t.restart_memory = ObjectRef<Memory>{m};
        m->unref();
    }
    auto whole = m->allocate_some();
    if (whole.ok() && !whole.value()) return kAgainLater;
    ObjectRef<Memory> made = std::move(t.restart_memory);
    if (!whole.ok()) return whole.error();
    m->ref();  // the capabilities'; `made` drops its own
    auto r = caps::insert_first(*t.caps, slot, *m, native::kAllRights, pool.cap);
    if (!r.ok()) m->unref();
    return r;
}

Result<i64> create(NativeThread& t, const u64 (&a)[6]) {
    auto pool = TRY(hold<Pool>(*t.caps, a[0], native::kTypePool, native::kCreateRight));
    const u64 slot = a[2], arg = a[3];
    // insert_first() tests it too; here, so that nothing is made in vain.
    REQUIRE(slot != 0 && slot < t.caps->limit(), slot_in_range, kInval);
    switch (a[1]) {
        case native::kTypePool:
            REQUIRE(arg != 0 && arg < (u64{1} << 48), pool_size, kInval);
            TRY(create_object(t, pool, slot, rt::kMemoryTaken<Pool> + arg, [&] { return plain<Pool>(arg); }));
            break;
        case native::kTypeSpace:
            REQUIRE(arg >= 16 && arg <= 32768 && (arg & (arg - 1)) == 0, space_slots, kInval);
            TRY(create_object(t, pool, slot,
                              rt::kMemoryTaken<SpaceObject> + rt::kMemoryTaken<Space> + kPageSize +
                                  rt::memory_taken(CapTable::bytes_for(u32(arg))),
                              [&] { return make_space(*pool.ref, arg); }));
            break;
        case native::kTypeThread: {
            REQUIRE(arg <= 1, thread_argument, kInval);
            const bool with_utcb = arg == 0;
            TRY(create_object(t, pool, slot,
                              rt::kMemoryTaken<NativeThread> + rt::memory_taken(Machine::fpu_area_size()) +
                                  (with_utcb ? rt::kMemoryTaken<Memory> + kPageSize + Memory::kFirstExtents : 0),
                              [&] { return make_thread(t, with_utcb); }));
            break;
        }
        case native::kTypeEndpoint:
            TRY(create_object(t, pool, slot, rt::kMemoryTaken<Endpoint>, [&] { return plain<Endpoint>(); }));
            break;
        case native::kTypeReply:
            TRY(create_object(t, pool, slot, rt::kMemoryTaken<Reply>, [&] { return plain<Reply>(); }));
            break;
        case native::kTypeNotification:
            TRY(create_object(t, pool, slot, rt::kMemoryTaken<Notification>, [&] { return plain<Notification>(); }));
            break;
        case native::kTypeMemory:
            REQUIRE(arg != 0 && arg <= (u64{1} << 40), memory_size, kInval);
            REQUIRE((arg & (kPageSize - 1)) == 0, memory_aligned, kInval);
            TRY(create_memory(t, pool, slot, arg));
            break;
        case native::kTypeSched: {
            REQUIRE(!t.has_budget(), sched_by_limited, kPerm);
            u64 most = t.sched ? t.sched->highest_priority.load(std::memory_order_relaxed) : 0;
            REQUIRE(arg <= most, sched_priority, kPerm);
            TRY(create_object(t, pool, slot, rt::kMemoryTaken<Sched>, [&] { return make_sched(t, arg); }));
            break;
        }
        default: REQUIRE(false, create_type, kInval);
    }
    return i64{0};
}

Result<i64> copy(NativeThread& t, const u64 (&a)[6]) {
    CapTable* to = TRY(table_of(t, a[4]));
    Cap* c = t.caps->find(a[0]);
    if (c && c->object->type == native::kTypeIrq && a[3] != 0)
        REQUIRE(native_system->irq_line_exists(a[3] - 1), irq_line, kInval);
    TRY(caps::copy(*t.caps, a[0], *to, a[1], a[2] & native::kAllRights, a[3]));
    return i64{0};
}

Result<i64> move(NativeThread& t, const u64 (&a)[6]) {
    CapTable* to = TRY(table_of(t, a[2]));
    TRY(caps::move(*t.caps, a[0], *to, a[1]));
    return i64{0};
}

constexpr u32 kEndBudget = 128;

// Deleting and revoking: piece by piece, and then the ends of the objects that nothing names any more.
Result<i64> take_away(NativeThread& t, u64 slot, bool revoke) {
    if (t.restart_step == 0 &&
        !TRY(revoke ? caps::revoke(*t.caps, slot, t.endings) : caps::remove(*t.caps, slot, t.endings)))
        return kAgainLater;
    // Only this thread's calls add to its list.
    if (t.endings.any_of_mine() && !caps::end_objects(t.endings, kEndBudget)) {
        t.restart_step = 1;
        return kAgainLater;
    }
    return i64{0};
}

// --- Threads

Result<i64> thread_configure(NativeThread& t, const u64 (&a)[6]) {
    auto target = TRY(thread_at(t, a[0], native::kWriteRight));
    auto space = TRY(hold<SpaceObject>(*t.caps, a[1], native::kTypeSpace, native::kWriteRight));
    REQUIRE((a[4] & ~u64{native::kRedirect | native::kNoFpu}) == 0, thread_flags, kInval);
    NativeThread::Configuration to{{}, {}, 0, (a[4] & native::kRedirect) != 0, (a[4] & native::kNoFpu) != 0};
    if (a[3] != 0) {
        auto e = TRY(hold<Endpoint>(*t.caps, a[3], native::kTypeEndpoint, native::kSendRight));
        to.handler = std::move(e.ref);
        to.handler_badge = e.cap->badge;
    }
    NativeThread& n = *target.object;
    const ThreadClaim claim = TRY(claim_inactive(n));
    if (a[2] != 0) {
        REQUIRE(n.utcb_memory, thread_has_utcb, kInval);
        // It stays where it was until it is at its new place.
        if (!n.utcb_memory->mapped_at(*space.ref, a[2])) {
            TRY(space->map(*n.utcb_memory, a[2], 0, kPageSize, native::kReadRight | native::kWriteRight,
                           native::kReadRight | native::kWriteRight));
            n.utcb_memory->leave_all_but(*space.ref, a[2]);
        }
        n.place_utcb(claim, a[2]);
        n.set_bases(claim, hal::bases_at(UserAddr{a[2]}));
    }
    to.space = std::move(space.ref);
    n.configure(claim, std::move(to));
    return i64{0};
}

Result<i64> thread_set_registers(NativeThread& t, u64 slot) {
    auto target = TRY(thread_at(t, slot, native::kWriteRight));
    REQUIRE(t.utcb != nullptr, tag_needs_utcb, kInval);
    const ThreadClaim claim = TRY(claim_inactive(*target.object));
    native::Registers r = t.utcb->registers;
    REQUIRE(hal::user_pc(r), thread_pc, kInval);
    REQUIRE(hal::user_bases(r), thread_tls, kInval);
    target->set_registers(claim, r);
    return i64{0};
}

Result<i64> thread_get_registers(NativeThread& t, u64 slot) {
    auto target = TRY(thread_at(t, slot, native::kReadRight));
    REQUIRE(t.utcb != nullptr, tag_needs_utcb, kInval);
    REQUIRE(target.object != &t, thread_not_running, kBusy);
    if (!asked(t, *target.object, NativeThread::kControlSave)) return kAgainLater;
    native::Registers r{};
    const bool stood_still = target->saved_registers(r);
    REQUIRE(stood_still, thread_not_running, kBusy);
    t.utcb->registers = r;
    return i64{0};
}

Result<i64> thread_resume(NativeThread& t, u64 slot) {
    auto target = TRY(thread_at(t, slot, native::kWriteRight));
    ThreadClaim claim = ThreadClaim::of_inactive(*target.object);
    if (!claim.ok() && target->inactive()) return kAgainLater;
    REQUIRE(target->caps != nullptr, thread_has_space, kInval);
    REQUIRE(claim.ok(), resume_inactive, kBusy);
    if (claim.ok()) claim.start();
    return i64{0};
}

Result<i64> thread_suspend(NativeThread& t, u64 slot) {
    auto target = TRY(thread_at(t, slot, native::kWriteRight));
    if (target.object == &t) {
        t.context.set_syscall_result(0);
        t.stop();
        ipc::leave(t);
    }
    if (target->inactive()) return i64{0};
    if (!asked(t, *target.object, NativeThread::kControlStop)) return kAgainLater;
    return i64{0};
}

}  // namespace

[[noreturn]] void calls::requeue(NativeThread& t, u32 request) {
    rt::Executor& ex = rt::Executor::current();
    ex.leave_user_state();
    t.account_user(Machine::now());
    ex.enqueue_front(t);
    (void)t.ask(request);
    ex.run_forever();
}

namespace {

Result<i64> thread_schedule(NativeThread& t, const u64 (&a)[6]) {
    auto target = TRY(thread_at(t, a[0], native::kWriteRight));
    auto sched = TRY(hold<Sched>(*t.caps, a[1], native::kTypeSched, native::kWriteRight));
    REQUIRE(a[2] <= sched->highest_priority.load(std::memory_order_relaxed) && a[2] <= native::kHighestPriority,
            thread_priority, kPerm);
    CpuSet cpus{sched->cpus.load(std::memory_order_relaxed)};
    REQUIRE(a[3] < rt::executor_count() && (cpus & sched::user_cpus()).has(CpuId{u32(a[3])}), thread_cpu, kInval);
    NativeThread& n = *target.object;
    // Once: it may have been done, and another be asked for since.
    if (t.restart_step != reinterpret_cast<u64>(&n)) n.want(std::move(sched.ref), u8(a[2]), CpuId{u32(a[3])});
    if (&n == &t) {
        // As if another had asked: it goes through the queue.
        t.context.set_syscall_result(0);
        requeue(t, NativeThread::kControlMove);
    }
    if (!asked(t, n, NativeThread::kControlMove)) return kAgainLater;
    return i64{0};
}

Result<i64> thread_fastpaths(NativeThread& t, const u64 (&a)[6]) {
    auto target = TRY(thread_at(t, a[0], native::kWriteRight));
    REQUIRE((a[1] & ~u64{native::kFastAll}) == 0, thread_fastpaths, kInval);
    target->fastpaths.store(u8(a[1] & ipc::fastpaths_enabled), std::memory_order_relaxed);
    if (!asked(t, *target.object, NativeThread::kControlEntry)) return kAgainLater;
    return i64{0};
}

Result<i64> thread_bind(NativeThread& t, u64 slot, u64 notification) {
    auto target = TRY(thread_at(t, slot, native::kWriteRight));
    NativeThread& n = *target.object;
    const ThreadClaim claim = &n == &t ? ThreadClaim::of_running(t) : TRY(claim_inactive(n));
    if (notification == 0) {
        if (Notification* old = n.bound.get()) {
            ObjectGuard guard{old->lock};
            old->bound.store(nullptr, std::memory_order_relaxed);
        }
        n.bound.set(claim, {});
        n.slow_switch_reasons &= u8(~NativeThread::kSlowBound);
        return i64{0};
    }
    auto to = TRY(hold<Notification>(*t.caps, notification, native::kTypeNotification, native::kReceiveRight));
    REQUIRE(!n.bound, bind_one, kBusy);
    {
        ObjectGuard guard{to->lock};
        if (to->dead) return Errno::kIdRm;  // only in a race: a dead object has no capability
        REQUIRE(to->bound.load(std::memory_order_relaxed) == nullptr && to->first() == nullptr, bind_free, kBusy);
        to->bound.store(&n, std::memory_order_release);
    }
    n.bound.set(claim, std::move(to.ref));
    n.slow_switch_reasons |= NativeThread::kSlowBound;
    return i64{0};
}

// --- Memory

Result<i64> map(NativeThread& t, const u64 (&a)[6]) {
    auto space = TRY(hold<SpaceObject>(*t.caps, a[0], native::kTypeSpace, native::kWriteRight));
    Cap* c = t.caps->find(a[1]);
    REQUIRE(c != nullptr, cap_exists, kBadF);
    REQUIRE(c->object->type == native::kTypeMemory, cap_type, kInval);
    REQUIRE((a[5] >> 8) == 0, map_type, kInval);  // only ordinary memory so far
    constexpr u64 kAccess = native::kReadRight | native::kWriteRight | native::kExecuteRight;
    return stepped(space->map_some(static_cast<Memory&>(*c->object), a[2], a[3], a[4], a[5], c->rights() & kAccess,
                                   t.restart_step));
}

// --- The rest

Result<i64> sched_configure(NativeThread& t, const u64 (&a)[6]) {
    auto s = TRY(find<Sched>(*t.caps, a[0], native::kTypeSched, native::kWriteRight));
    CpuSet cpus{u32(a[1])};
    REQUIRE((a[1] >> 32) == 0 && !(cpus & sched::user_cpus()).empty(), sched_cpus, kInval);
    // What a thread has of CPUs and time is the most that it can give; of a budget it can give nothing.
    REQUIRE(!t.has_budget(), sched_by_limited, kPerm);
    REQUIRE((cpus & sched::user_cpus() & cpus_of(t)) == (cpus & sched::user_cpus()), sched_cpus_held, kPerm);
    REQUIRE(a[2] <= s->highest_priority.load(std::memory_order_relaxed), sched_priority, kPerm);
    REQUIRE((a[3] == 0) == (a[4] == 0) && a[3] <= a[4] && a[4] < (u64{1} << 62), sched_budget, kInval);
    ObjectGuard guard{s->lock};
    s->cpus.store(cpus.bits, std::memory_order_relaxed);
    s->highest_priority.store(u8(a[2]), std::memory_order_relaxed);
    s->budget.store(a[3], std::memory_order_relaxed);
    s->period = a[4];
    s->period_start = Machine::now().value;
    s->spent = 0;
    return i64{0};
}

Result<i64> irq_bind(NativeThread& t, const u64 (&a)[6]) {
    auto irq = TRY(find<Object>(*t.caps, a[0], native::kTypeIrq, native::kWriteRight));
    ObjectRef<Notification> to;
    if (a[1] != 0) to = TRY(hold<Notification>(*t.caps, a[1], native::kTypeNotification, native::kSendRight)).ref;
    TRY(native_system->irq_bind(irq.cap->badge - 1, std::move(to), a[2]));
    return i64{0};
}

// How often the lock of an object was taken, how often another CPU had it, the longest wait; of the system: of all
// objects, but for the first.
Result<i64> lock_info(NativeThread& t, u64 slot) {
    Cap* c = t.caps->find(slot);
    REQUIRE(c != nullptr, cap_exists, kBadF);
    ObjectLock* lock = lock_of(*c->object);
    REQUIRE(lock || c->object->type == native::kTypeSystem, cap_type, kInval);
    REQUIRE((c->rights() & native::kReadRight) != 0, cap_right, kPerm);
    const ObjectLock::Statistics s = lock ? lock->statistics() : ObjectLock::all();
    hal::set_call_results(t.context, s.taken, s.contended, s.longest);
    return i64(s.taken);
}

Result<Typed<Object>> system_right(NativeThread& t, u64 slot, u64 right = native::kWriteRight) {
    return find<Object>(*t.caps, slot, native::kTypeSystem, right);
}

Result<i64> write(NativeThread& t, const u64 (&a)[6]) {
    TRY(system_right(t, a[0]));
    std::byte bytes[512];
    REQUIRE(a[2] <= sizeof bytes, write_size, kInval);
    u64 size = a[2] <= sizeof bytes ? a[2] : sizeof bytes;
    if (t.space->copy_in(bytes, UserAddr{a[1]}, size) != size) return Errno::kFault;
    return i64(native_system->write({bytes, size}));
}

Result<i64> dispatch_ipc(NativeThread& t, u64 word) {
    // The last four never wait: an answer may have one flag, the others none.
    if ((word & native::kCallMask) >= native::kReply && !ipc::answers_alone(word))
        REQUIRE((word & ~u64{native::kCallMask}) == 0, call_flags, kInval);
    switch (word & native::kCallMask) {
        case native::kCall: return ipc::call(t, word);
        case native::kReplyReceive: return ipc::reply_receive(t, word);
        case native::kSend: return ipc::send(t, word);
        case native::kReceive: return ipc::receive(t, word);
        case native::kReply: return ipc::reply(t, word);
        case native::kReplyTo: return ipc::reply_to(t, word);
        case native::kReplySave: return ipc::reply_save(t);
        default: return ipc::signal(t);
    }
}

[[gnu::noinline]] Result<i64> dispatch(NativeThread& t, u64 word) {
    u64 a[6];
    for (unsigned i = 0; i < 6; ++i) a[i] = t.context.syscall_argument(i);
    u64 number = word & native::kCallMask;
    REQUIRE(word == number, call_flags, kInval);
    switch (number) {
        case native::kCreate: return create(t, a);
        case native::kCopy: return copy(t, a);
        case native::kMove: return move(t, a);
        case native::kDelete: return take_away(t, a[0], false);
        case native::kRevoke: return take_away(t, a[0], true);
        case native::kIdentify: {
            Cap* c = t.caps->find(a[0]);
            REQUIRE(c != nullptr, identify_exists, kBadF);
            return i64(c->kind);
        }
        case native::kPoolInfo: {
            auto p = TRY(find<Pool>(*t.caps, a[0], native::kTypePool, 0));
            hal::set_call_results(t.context, p->used(), p->quota());
            return i64(p->used());
        }
        case native::kThreadConfigure: return thread_configure(t, a);
        case native::kThreadSetRegisters: return thread_set_registers(t, a[0]);
        case native::kThreadGetRegisters: return thread_get_registers(t, a[0]);
        case native::kThreadResume: return thread_resume(t, a[0]);
        case native::kThreadSuspend: return thread_suspend(t, a[0]);
        case native::kThreadSchedule: return thread_schedule(t, a);
        case native::kThreadBind: return thread_bind(t, a[0], a[1]);
        case native::kThreadFastpaths: return thread_fastpaths(t, a);
        case native::kThreadHandler:
        case native::kThreadSpace:
        case native::kThreadKick:
        case native::kThreadTimes:
        case native::kThreadGetFpu:
        case native::kThreadSetFpu:
        case native::kAlarm: return thread_call(t, number, a);
        case native::kThreadState: return i64(TRY(thread_at(t, a[0], native::kReadRight))->visible_state());
        case native::kYield: {
            rt::Executor& ex = rt::Executor::current();
            if (ex.queue.count(t.priority) == 0) return i64{0};
            t.context.set_syscall_result(0);
            ex.leave_user_state();
            t.account_user(Machine::now());
            ex.enqueue(t);
            ex.run_forever();
        }
        case native::kMap: return map(t, a);
        case native::kUnmap: {
            auto s = TRY(hold<SpaceObject>(*t.caps, a[0], native::kTypeSpace, native::kWriteRight));
            return stepped(s->unmap_some(a[1], a[2], t.restart_step));
        }
        case native::kProtect: {
            auto s = TRY(hold<SpaceObject>(*t.caps, a[0], native::kTypeSpace, native::kWriteRight));
            return stepped(s->protect_some(a[1], a[2], a[3], t.restart_step));
        }
        case native::kMapFrames: return map_frames(t, a);
        case native::kChangeFrames: return change_frames(t, a);
        case native::kFreeTables: return free_tables(t, a);
        case native::kSpaceStale: return space_stale(t, a[0]);
        case native::kMemoryExtent: return memory_extent(t, a);
        case native::kSchedConfigure: return sched_configure(t, a);
        case native::kSchedInfo: {
            auto s = TRY(find<Sched>(*t.caps, a[0], native::kTypeSched, native::kReadRight));
            u64 used = s->used.load(std::memory_order_relaxed);
            hal::set_call_results(t.context, used, s->cpus.load(std::memory_order_relaxed));
            return i64(used);
        }
        case native::kIrqBind: return irq_bind(t, a);
        case native::kIrqAck: {
            auto irq = TRY(find<Object>(*t.caps, a[0], native::kTypeIrq, native::kWriteRight));
            TRY(native_system->irq_ack(irq.cap->badge - 1));
            return i64{0};
        }
        case native::kClock: return i64(Machine::now().value);
        case native::kWrite: return write(t, a);
        case native::kShutDown:
            native_system->shut_down(TRY(system_right(t, a[0])).cap->badge, i32(a[1]));
            t.stop();
            ipc::leave(t);
        case native::kTraceControl: {
            TRY(system_right(t, a[0], native::kGrantRight));
            return native_system->trace(t, a[1], a[2], a[3]);
        }
        case native::kConsole: {
            auto system = TRY(system_right(t, a[0], native::kGrantRight));
            return native_system->console(t, system.cap->badge, a[1], a[2], a[3], a[4]);
        }
        case native::kLockInfo: return lock_info(t, a[0]);
        case native::kMemoryInfo: {
            TRY(find<Object>(*t.caps, a[0], native::kTypeSystem, native::kReadRight));
            rt::drain_object_caches();
            const rt::MemStats s = rt::mem_stats();
            hal::set_call_results(t.context, s.free_bytes, s.total_bytes);
            return i64(s.free_bytes);
        }
        case native::kCpuCount: return i64(rt::executor_count());
        default: REQUIRE(false, call_number, kNoSys); return i64{0};
    }
}

// The call is not through: it is made again after the others' turn. If it has been stopped: when it is resumed.
[[noreturn, gnu::noinline]] void make_again(NativeThread& t) {
    rt::Executor& ex = rt::Executor::current();
    t.context.restart_syscall();
    if (t.state.load(std::memory_order_relaxed) != native::kStateReady) t.leave_stopped();
    ex.leave_user_state();
    t.account_user(Machine::now());
    ex.enqueue(t);
    ex.run_forever();
}

// The CPU has something better to do than to go back to t, or t has ended itself.
[[gnu::noinline]] void leave_slow(NativeThread& t) {
    rt::Executor& ex = rt::Executor::current();
    if (t.state.load(std::memory_order_relaxed) != native::kStateReady) t.leave_stopped();
    if (rt::gives_way(ex, t)) ex.run_forever();
}

// As which path a call counts: what answers, or waits at an endpoint, is a reply.
trace::Path slow_path_of(NativeThread& t, u64 word) {
    switch (word & native::kCallMask) {
        case native::kCall: return trace::Path::kSlowCall;
        case native::kReplyReceive: return trace::Path::kSlowReply;
        case native::kSignal: return trace::Path::kSlowSignal;
        case native::kReceive: {
            Cap* c = t.caps->find(hal::call_capability(t.context));
            return c && c->object->type == native::kTypeEndpoint ? trace::Path::kSlowReply : trace::Path::kSlowOther;
        }
        default: return trace::Path::kSlowOther;
    }
}

[[gnu::noinline]] void trace_and_dispatch(NativeThread& t, u64 word) {
    const u8 fast = t.fastpaths.load(std::memory_order_relaxed);
    if (word == native::kCall) {
        if (fast & native::kFastCall) ipc::fast_call_traced(t);
    } else if (word == native::kReplyReceive) {
        if (fast & native::kFastReply) ipc::fast_reply_receive_traced(t);
    } else if (word == native::kSignal) {
        if (fast & native::kFastNotify) ipc::fast_signal_traced(t);
    } else if (ipc::may_receive_fast(word) && (fast & native::kFastReply)) {
        ipc::fast_receive_traced(t);
    } else if (ipc::answers_alone(word) && (fast & native::kFastReply)) {
        ipc::fast_answer_traced(t);
    }
    trace::begin_slow(slow_path_of(t, word), t.number, word);
    ipc::slow_syscall(t);
}

}  // namespace

[[gnu::noinline]] void ipc::slow_syscall(NativeThread& t) {
    const u64 word = hal::call_word(t.context);
    const bool is_ipc = (word & native::kCallMask) <= native::kSignal;
    auto r = is_ipc ? dispatch_ipc(t, word) : dispatch(t, word);
    rt::Executor& ex = rt::Executor::current();
    if (r.ok()) {
        t.context.set_syscall_result(r.value());
    } else {
        if (r.error() == kAgainLater) make_again(t);
        t.context.set_syscall_result(-i64(r.error()));
    }
    if (!is_ipc) t.restart_step = 0;
    if (trace::on.load(std::memory_order_relaxed)) [[unlikely]]
        trace::end_slow_now(trace::Reason::kDone, t.context.syscall_result());
    if (t.state.load(std::memory_order_relaxed) != native::kStateReady || ex.queue.has_above(t.priority)) [[unlikely]]
        leave_slow(t);
    // Whom the call made ready has a turn within a slice.
    if (ex.queue.best_user_level() != rt::Priority::kBackground) [[unlikely]]
        sched::start_any_slice(ex);
    leave_trap_changed(t);
}

void traced_syscall(NativeThread& t) { trace_and_dispatch(t, hal::call_word(t.context)); }

// Threads that may not use all fastpaths come this way.
void native_syscall(Thread& th) {
    NativeThread& t = static_cast<NativeThread&>(th);
    const u64 word = hal::call_word(t.context);
    if (trace::on.load(std::memory_order_relaxed)) return traced_syscall(t);
    if (const u8 fast = t.fastpaths.load(std::memory_order_relaxed); fast != 0) {
        if (word == native::kCall && (fast & native::kFastCall)) ipc::fast_call(t);
        if (word == native::kReplyReceive && (fast & native::kFastReply)) ipc::fast_reply_receive(t);
        if (word == native::kSignal && (fast & native::kFastNotify)) ipc::fast_signal(t);
        if (ipc::may_receive_fast(word) && (fast & native::kFastReply)) ipc::fast_receive(t);
        if (ipc::answers_alone(word) && (fast & native::kFastReply)) ipc::fast_answer(t);
    }
    ipc::slow_syscall(t);
}

}  // namespace core
