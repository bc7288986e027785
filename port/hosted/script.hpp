// SPDX-License-Identifier: MIT
// User code for the hosted port, written as coroutines:
//
//     Script writer(User& u) {
//         i64 fd = co_await u.sys(abi::kNrOpen, "/tmp/a", 0101, 0644);
//         co_await u.sys(abi::kNrWrite, fd, "hello", 5);
//         co_return 0;                                    // exit_group(0)
//     }
//
// A script is "machine code": it has an address (add_code), and what runs is decided by the thread's program counter,
// as on a CPU. So exec starts the script at the program's entry point, a signal handler is a script at its address with
// its arguments in registers, rt_sigreturn goes back to the interrupted script, a restarted call is issued again.
//
// The code of slot n is at kText + 16 n: the entry, then at +4 the one instruction that is being executed, +6 what
// follows a system call. The page there must be executable for the program: image() makes an ELF file whose text covers
// all slots. Memory is reached through load/store/copy, each a user access that faults like one.
#pragma once
#include <coroutine>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "port/bind.hpp"

namespace port::hosted {

class User;

// A piece of user code. Its value is the exit status if it is a program's main, and of no interest in a handler.
class [[nodiscard]] Script {
public:
    struct promise_type {
        std::coroutine_handle<> caller;
        i64 value = 0;
        Script get_return_object() { return Script{std::coroutine_handle<promise_type>::from_promise(*this)}; }
        std::suspend_always initial_suspend() noexcept { return {}; }
        struct Final {
            bool await_ready() noexcept { return false; }
            std::coroutine_handle<> await_suspend(std::coroutine_handle<promise_type> h) noexcept {
                return h.promise().caller ? h.promise().caller : std::noop_coroutine();
            }
            void await_resume() noexcept {}
        };
        Final final_suspend() noexcept { return {}; }
        void unhandled_exception() noexcept { std::terminate(); }
        void return_value(i64 v) { value = v; }
    };
    Script() = default;
    Script(Script&& o) noexcept : h_(std::exchange(o.h_, nullptr)) {}
    Script& operator=(Script&& o) noexcept {
        std::swap(h_, o.h_);
        return *this;
    }
    ~Script() {
        if (h_) h_.destroy();
    }
    // A script may call another: `i64 v = co_await part(u)`.
    bool await_ready() const noexcept { return false; }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> caller) noexcept {
        h_.promise().caller = caller;
        return h_;
    }
    i64 await_resume() const noexcept { return h_.promise().value; }

private:
    friend class User;
    explicit Script(std::coroutine_handle<promise_type> h) : h_(h) {}
    std::coroutine_handle<promise_type> h_;
};

using Code = std::function<Script(User&)>;

inline constexpr u64 kText = 0x400000, kTextSize = 0x10000, kData = 0x600000, kDataSize = 0x100000;
inline constexpr u32 kSlots = kTextSize / 16;

// The address at which `code` runs. kHandler: it returns to the address on its stack instead of exiting.
enum class CodeKind : u8 { kMain, kHandler };
UserAddr add_code(Code code, CodeKind kind = CodeKind::kMain);
// Slot 0: rt_sigreturn, as the C library's restorer does it.
UserAddr restorer();
// An ELF program whose entry is `entry`, with kDataSize bytes of data and bss at kData.
std::vector<std::byte> image(UserAddr entry);

// An argument of a system call: a number, an address, or text that is first written to the program's memory.
struct Argument {
    u64 value = 0;
    const void* bytes = nullptr;
    size_t size = 0;
    Argument() = default;
    template <std::integral I>
    Argument(I v) : value(u64(i64(v))) {}     // NOLINT: sign-extended as a C caller does
    Argument(u64 v) : value(v) {}             // NOLINT
    Argument(UserAddr a) : value(a.value) {}  // NOLINT
    Argument(const char* text) : bytes(text), size(text ? std::char_traits<char>::length(text) + 1 : 0) {}  // NOLINT
    Argument(const std::string& text) : bytes(text.c_str()), size(text.size() + 1) {}                       // NOLINT
};

class User final : public Program {
public:
    User(UserThread& thread, User* maker);
    static Program* make(UserThread& thread, UserThread* maker) {
        return new User(thread, maker ? static_cast<User*>(maker->program()) : nullptr);
    }
    std::optional<Trap> step(UserThread& thread) override;

    // What the running script awaits.
    struct Operation {
        enum class Kind : u8 { kNone, kPause, kSyscall, kLoad, kStore, kRaise } kind = Kind::kNone;
        bool issued = false;
        u64 number = 0;
        UserAddr child{};  // what a copy of the thread made by this call runs
        Argument arguments[6];
        UserAddr at{};
        void* to = nullptr;
        const void* from = nullptr;
        size_t size = 0, done = 0;
        u32 placed = 0;  // arguments whose bytes are in memory
        Trap trap;
        i64 result = 0;
    };
    struct Awaiter {
        User& user;
        Operation operation;
        bool await_ready() const noexcept { return false; }
        void await_suspend(std::coroutine_handle<> h) noexcept { user.suspend(h, operation); }
        i64 await_resume() const noexcept { return operation.result; }
    };
    template <class T>
    struct LoadAwaiter {
        User& user;
        Operation operation;
        T value{};
        bool await_ready() const noexcept { return false; }
        void await_suspend(std::coroutine_handle<> h) noexcept {
            operation.to = &value;
            user.suspend(h, operation);
        }
        T await_resume() const noexcept { return value; }
    };

    // A system call; its result as in rax (an error is negative).
    template <class... A>
    Awaiter sys(u32 number, A... a) {
        static_assert(sizeof...(A) <= 6);
        Awaiter w{*this, {.kind = Operation::Kind::kSyscall, .number = number}};
        u32 i = 0;
        ((w.operation.arguments[i++] = Argument(a)), ...);
        (void)i;
        return w;
    }
    template <class T>
    LoadAwaiter<T> load(UserAddr at) {
        return {*this, {.kind = Operation::Kind::kLoad, .at = at, .size = sizeof(T)}};
    }
    // 0, or 1 if a handler skipped the access.
    Awaiter load_bytes(UserAddr at, void* to, size_t n) {
        return {*this, {.kind = Operation::Kind::kLoad, .at = at, .to = to, .size = n}};
    }
    Awaiter store_bytes(UserAddr at, const void* from, size_t n) {
        return {*this, {.kind = Operation::Kind::kStore, .at = at, .from = from, .size = n}};
    }
    template <class T>
    Script store(UserAddr at, T value) {
        co_return co_await store_bytes(at, &value, sizeof value);
    }
    // Gives the CPU's other threads a turn when the slice is over.
    Awaiter pause() { return {*this, {.kind = Operation::Kind::kPause}}; }
    // An exception other than a page fault. kBreakpoint continues after it.
    Awaiter raise(Trap::Kind kind) { return {*this, {.kind = Operation::Kind::kRaise, .trap = {.kind = kind}}}; }

    // fork, vfork or clone: the child runs `code`, a main.
    template <class... A>
    Awaiter fork_into(UserAddr code, u32 number, A... a) {
        Awaiter w = sys(number, a...);
        w.operation.child = code;
        return w;
    }
    // A handler's arguments, and other registers.
    u64 argument(u32 i) const { return thread_->regs().syscall_argument(i); }
    UserThread& thread() { return *thread_; }
    // A place in the program's data that no other script of this process uses for text arguments.
    UserAddr scratch(size_t n);

private:
    struct Activation {
        u64 base = 0;
        CodeKind kind = CodeKind::kMain;
        Script script;
        std::coroutine_handle<> resume;
        Operation* operation = nullptr;  // in the awaiting frame
        Operation last;                  // the call that ends a main
        bool finished = false;
    };
    void suspend(std::coroutine_handle<> h, Operation& op) {
        Activation& a = *stack_.back();
        a.resume = h;
        a.operation = &op;
    }
    Activation* find_activation(u64 pc);
    bool push(u64 base);
    void run_script(Activation& a);
    std::optional<Trap> proceed(Activation& a);
    std::optional<Trap> access(UserAddr at, void* to, const void* from, size_t n, size_t& done);

    UserThread* thread_;
    std::vector<std::unique_ptr<Activation>> stack_;
    u64 text_area_;  // for text arguments: a part of the data that is this thread's
    u64 scratch_ = kData + 0x1000;
};

}  // namespace port::hosted
