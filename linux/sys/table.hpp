// SPDX-License-Identifier: MIT
// The one table of system calls. Each row names number, name, handler, module and test. A handler is one function with
// typed arguments; a thunk decodes the registers from the parameter types, and one exit encodes the result.
//
//     Leaf<i64> sys_getpid(Caller&);
//     Leaf<size_t> sys_read(Caller&, Fd, UserOut<std::byte>, size_t);  // where it must wait: return c.later(a task);
//     TaskResult sys_pause(Caller&);                                   // always waits, and always costs a frame
//
// A Leaf runs in the trap, on the caller's CPU or a module's. One that yields kNeedsFault is run again after the range
// was faulted in; if that fails, it is run with the range given up (UserMemory::give_up_fault). One that must wait
// returns a task, made of what it has decoded and looked up (Caller::later); until then it has changed nothing.
#pragma once
#include "linux/sys/numbers.hpp"
#include "linux/task/process.hpp"

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

// The arguments of a call from number First on, decoded when they are asked for: they take one register of a handler
// that seldom needs them.
template <unsigned First>
class ArgumentsFrom {
public:
    explicit ArgumentsFrom(const CallFrame& frame) : frame_(&frame) {}
    template <class T, unsigned N>
    T get() const {
        static_assert(N >= First);
        return Decode<T>::from(frame_->syscall_argument(N));
    }

private:
    const CallFrame* frame_;
};

template <class T>
struct DecodeArgument {
    static T at(const CallFrame& frame, unsigned i) { return Decode<T>::from(frame.syscall_argument(i)); }
};
template <unsigned First>
struct DecodeArgument<ArgumentsFrom<First>> {
    static ArgumentsFrom<First> at(const CallFrame& frame, unsigned) { return ArgumentsFrom<First>{frame}; }
};

using CallThunk = Leaf<i64> (*)(Caller&, const CallFrame&);

namespace detail {
template <auto Fn>
struct Thunk;
template <class R, class... A, Leaf<R> (*Fn)(Caller&, A...)>
struct Thunk<Fn> {
    static Leaf<i64> run(Caller& c, const CallFrame& frame) { return call(c, frame, std::index_sequence_for<A...>{}); }
    template <size_t... I>
    static Leaf<i64> call(Caller& c, const CallFrame& frame, std::index_sequence<I...>) {
        auto r = Fn(c, DecodeArgument<A>::at(frame, I)...);
        if (!r.ok()) return r.error();
        if constexpr (std::is_void_v<R>)
            return i64{0};
        else
            return in_register(r.value());
    }
};
template <class R, class E, class... A, Task<lib::Outcome<R, E>> (*Fn)(Caller&, A...)>
struct Thunk<Fn> {
    static Leaf<i64> run(Caller& c, const CallFrame& frame) { return call(c, frame, std::index_sequence_for<A...>{}); }
    template <size_t... I>
    static Leaf<i64> call(Caller& c, const CallFrame& frame, std::index_sequence<I...>) {
        return c.later(Fn(c, DecodeArgument<A>::at(frame, I)...));
    }
};
}  // namespace detail

struct SyscallRow {
    u32 number = 0;
    const char* name = nullptr;
    CallThunk run = nullptr;
    port::Module module = port::Module::kTask;
    const char* test = nullptr;  // "area/case" under tests/linux that fails if the handler is broken
};

template <auto Handler>
constexpr SyscallRow row(u32 number, const char* name, port::Module module, const char* test) {
    return {number, name, &detail::Thunk<Handler>::run, module, test};
}

// A fatal signal ends long work whose result no program will see.
inline bool is_ending(Caller& c) { return (c.thread().work.load(std::memory_order_relaxed) & kWorkExit) != 0; }

inline constexpr u32 kSyscallLimit = 512;
extern const SyscallRow* const syscall_table;  // kSyscallLimit rows, indexed by number; linux/sys/table.cpp

extern CallThunk call_table[kSyscallLimit];  // the handlers alone; where there is none it yields kNeedsTask

// Each family of calls lists its rows in its own file; table.cpp joins them.
extern const std::span<const SyscallRow> task_rows, signal_rows, exec_rows, id_rows, time_rows, sync_rows, mm_rows,
    path_rows, file_rows, poll_rows, misc_rows, resource_rows, xattr_rows, socket_rows, privileged_rows,
    other_process_rows;

}  // namespace linux
