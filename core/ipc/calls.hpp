// SPDX-License-Identifier: MIT
// What the files of native calls share (calls.cpp, calls_window.cpp, calls_thread.cpp): finding and holding what a
// capability names, and calls in steps; and the calls that calls.cpp dispatches to the other files.
//
// Each call decodes and checks, then commits. kAgainLater as its error: it is to be made again, after what is ready
// has had its turn; NativeThread::restart_step says how far it has come.
#pragma once
#include "core/ipc/ipc.hpp"

namespace core::calls {

constexpr Errno kAgainLater = Errno::kRestartNoIntr;

template <class T>
struct Typed {
    T* object;
    Cap* cap;
    T* operator->() const { return object; }
};
// Without a reference: valid until this CPU is quiescent. Errors: kBadF, kInval, kPerm.
template <class T>
Result<Typed<T>> find(CapTable& table, u64 slot, native::Type type, u64 rights) {
    Cap* c = table.find(slot);
    REQUIRE(c != nullptr, cap_exists, kBadF);
    REQUIRE(c->object->type == type, cap_type, kInval);
    REQUIRE((c->rights() & rights) == rights, cap_right, kPerm);
    return Typed<T>{static_cast<T*>(c->object), c};
}

// The same with a reference: for what is charged to the object, counts it, or changes it in several steps. Without one
// an object may be on its way out as soon as another CPU has deleted its last capability.
template <class T>
struct Held {
    ObjectRef<T> ref;
    Cap* cap;
    T* operator->() const { return ref.get(); }
};
template <class T>
Result<Held<T>> hold(CapTable& table, u64 slot, native::Type type, u64 rights) {
    auto found = TRY(find<T>(table, slot, type, rights));
    auto ref = ObjectRef<T>::of_found(found.object);
    if (!ref) return Errno::kBadF;  // only in a race: it was deleted
    return Held<T>{std::move(ref), found.cap};
}

inline Result<Typed<NativeThread>> thread_at(NativeThread& t, u64 slot, u64 rights) {
    return find<NativeThread>(*t.caps, slot, native::kTypeThread, rights);
}

// Once per call: when it is made again it only looks whether the answer is there.
inline bool asked(NativeThread& t, NativeThread& target, u32 bits) {
    if (t.restart_step == reinterpret_cast<u64>(&target))
        return (target.control.load(std::memory_order_acquire) & bits) == 0;
    if (target.ask(bits)) return true;
    t.restart_step = reinterpret_cast<u64>(&target);
    return false;
}

// kBusy: it runs or waits. Another CPU's claim is over within its call: this one is made again.
inline Result<ThreadClaim> claim_inactive(NativeThread& n) {
    ThreadClaim claim = ThreadClaim::of_inactive(n);
    if (claim.ok()) return claim;
    if (n.inactive()) return kAgainLater;
    REQUIRE(false, thread_not_running, kBusy);
    return ThreadClaim::of_taken(n);
}

// Of a call in steps.
inline Result<i64> stepped(Result<bool> step) {
    if (!TRY(step)) return kAgainLater;
    return i64{0};
}

// --- calls_thread.cpp

// kThreadHandler to kThreadSetFpu, and kAlarm. `a`: the arguments.
Result<i64> thread_call(NativeThread& t, u64 number, const u64 (&a)[6]);
// A request of the calling thread to itself (NativeThread::Control), as if another thread had made it: it goes through
// the queue. The result of its call is set.
[[noreturn]] void requeue(NativeThread& t, u32 request);

// --- calls_window.cpp

Result<i64> map_frames(NativeThread& t, const u64 (&a)[6]);
Result<i64> change_frames(NativeThread& t, const u64 (&a)[6]);
Result<i64> free_tables(NativeThread& t, const u64 (&a)[6]);
Result<i64> space_stale(NativeThread& t, u64 slot);
Result<i64> memory_extent(NativeThread& t, const u64 (&a)[6]);

}  // namespace core::calls

namespace core {
using calls::kAgainLater;
}  // namespace core
