// SPDX-License-Identifier: MIT
// The one table of system calls. Each row names number, name, leaf form, task form, module, test and whether the call needs
// the trap frame. Handlers are plain functions with typed arguments; a thunk decodes the registers from the parameter
// types, and one exit encodes the result.
//
//     Leaf<i64> sys_getpid(Caller&);
//     Leaf<size_t> sys_read(Caller&, Fd, UserOut<std::byte>, size_t);                 // leaf
//     Task<Result<size_t>> sys_read_wait(Caller&, Fd, UserOut<std::byte>, size_t);    // task: when the leaf must wait
//
// A leaf that yields kNeedsFault is run again by the dispatcher after the range was faulted in; a row without a task form
// must therefore never yield kNeedsTask. A call may have only a task form (leaf = nullptr): it always costs a frame.
#pragma once
#include "linux/process.hpp"
#include "linux/sys/numbers.hpp"

namespace linux {

using fs::UserIn;
using fs::UserOut;
using fs::UserString;
using CallFrame = port::UserThread::Registers::CallFrame;

// How a parameter type is read from an argument register. Like Linux, 32-bit arguments ignore the upper half.
template <class T>
struct Decode {
    static T from(u64 raw) {
        if constexpr (std::is_pointer_v<T>)
            static_assert(!std::is_pointer_v<T>, "user pointers are UserIn/UserOut/UserString/UserAddr");
        else
            return T(raw);
    }
};
template <class Tag, class Rep>
struct Decode<lib::Strong<Tag, Rep>> {
    static lib::Strong<Tag, Rep> from(u64 raw) { return lib::Strong<Tag, Rep>{Rep(raw)}; }
};
template <>
struct Decode<UserAddr> {
    static UserAddr from(u64 raw) { return UserAddr{raw}; }
};
template <class T>
struct Decode<UserIn<T>> {
    static UserIn<T> from(u64 raw) { return {UserAddr{raw}}; }
};
template <class T>
struct Decode<UserOut<T>> {
    static UserOut<T> from(u64 raw) { return {UserAddr{raw}}; }
};
template <>
struct Decode<UserString> {
    static UserString from(u64 raw) { return {UserAddr{raw}}; }
};

// What a handler's value looks like in a register.
template <class T>
constexpr i64 encode(const T& v) {
    if constexpr (requires { v.value; })
        return i64(v.value);
    else
        return i64(v);
}

using LeafThunk = Leaf<i64> (*)(Caller&, const CallFrame&);
using TaskThunk = Task<Result<i64>> (*)(Caller&, const CallFrame&);

namespace detail {
template <auto Fn>
struct Thunk;
template <class R, class... A, Leaf<R> (*Fn)(Caller&, A...)>
struct Thunk<Fn> {
    static Leaf<i64> leaf(Caller& c, const CallFrame& frame) { return call(c, frame, std::index_sequence_for<A...>{}); }
    template <size_t... I>
    static Leaf<i64> call(Caller& c, const CallFrame& frame, std::index_sequence<I...>) {
        auto r = Fn(c, Decode<A>::from(frame.syscall_argument(I))...);
        if (!r.ok()) return r.error();
        if constexpr (std::is_void_v<R>)
            return i64{0};
        else
            return encode(r.value());
    }
};
template <class R, class... A, Task<Result<R>> (*Fn)(Caller&, A...)>
struct Thunk<Fn> {
    static Task<Result<i64>> task(Caller& c, const CallFrame& frame) {
        return call(c, frame, std::index_sequence_for<A...>{});
    }
    template <size_t... I>
    static Task<Result<i64>> call(Caller& c, const CallFrame& frame, std::index_sequence<I...>) {
        if constexpr (std::is_same_v<R, i64>)
            return Fn(c, Decode<A>::from(frame.syscall_argument(I))...);
        else
            return widen(Fn(c, Decode<A>::from(frame.syscall_argument(I))...));
    }
    static Task<Result<i64>> widen(Task<Result<R>> inner) {
        auto r = co_await inner;
        if (!r.ok()) co_return r.error();
        if constexpr (std::is_void_v<R>)
            co_return i64{0};
        else
            co_return encode(r.value());
    }
};
}  // namespace detail

struct SyscallRow {
    u32 number = 0;
    const char* name = nullptr;
    LeafThunk leaf = nullptr;
    TaskThunk task = nullptr;
    port::Module module = port::Module::kTask;
    const char* test = nullptr;  // "area/case" under tests/linux that fails if the handler is broken
};

template <auto LeafFn, auto TaskFn = nullptr>
constexpr SyscallRow row(u32 number, const char* name, port::Module module, const char* test) {
    SyscallRow r{number, name, nullptr, nullptr, module, test};
    if constexpr (!std::is_same_v<decltype(LeafFn), std::nullptr_t>) r.leaf = &detail::Thunk<LeafFn>::leaf;
    if constexpr (!std::is_same_v<decltype(TaskFn), std::nullptr_t>) r.task = &detail::Thunk<TaskFn>::task;
    return r;
}

inline constexpr u32 kSyscallLimit = 512;
extern const SyscallRow* const syscall_table;  // kSyscallLimit rows, indexed by number; linux/sys/table.cpp

extern LeafThunk leaf_table[kSyscallLimit];  // the leaf forms alone; rows without one yield kNeedsTask

// Each family of calls lists its rows in its own file; table.cpp joins them.
extern const std::span<const SyscallRow> task_rows, signal_rows, exec_rows, id_rows, time_rows, sync_rows, mm_rows,
    path_rows, file_rows, poll_rows, misc_rows, resource_rows, xattr_rows, socket_rows;

}  // namespace linux
