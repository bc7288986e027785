// SPDX-License-Identifier: MIT
// What the files of native calls share (calls.cpp, calls_*.cpp): arguments that name capabilities, and calls that are made
// again until they are through.
#pragma once
#include "core/ipc/ipc.hpp"

namespace core {

// The call is to be made again, after what is ready has had its turn.
inline constexpr Errno kAgainLater = Errno::kRestartNoIntr;

template <class T>
struct Typed {
    T* object;
    Cap* cap;
    T* operator->() const { return object; }
};
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

// Of a call in steps.
inline Result<i64> stepped(Result<bool> step) {
    if (!TRY(step)) return kAgainLater;
    return i64{0};
}

inline Result<Typed<NativeThread>> thread_at(NativeThread& t, u64 slot, u64 rights) {
    return find<NativeThread>(*t.caps, slot, native::kTypeThread, rights);
}

// --- Calls that dispatch() (calls.cpp) passes on

// kThreadHandler to kThreadSetFpu, and kAlarm (calls_thread.cpp). `a`: the arguments.
Result<i64> thread_call(NativeThread& t, u64 number, const u64 (&a)[6]);
// A request of the calling thread to itself (NativeThread::Control), as if another thread had made it: it goes through
// the queue. The result of its call is set.
[[noreturn]] void requeue(NativeThread& t, u32 request);

}  // namespace core
