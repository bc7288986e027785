// SPDX-License-Identifier: MIT
#include "tests/kernel/plant.hpp"

#include "lib/format.hpp"
#include "port/bind.hpp"
#include "port/kernel/controller.hpp"
#include "port/kernel/route.hpp"

namespace port::plant {
namespace {

using hal::Machine;
using CallFrame = UserThread::Registers::CallFrame;

constinit bool moves = false;
constinit std::atomic<u32> held{0};
constinit void (*serve_word)(rt::Executor&, rt::CallWord&) = nullptr;
constinit LeafOutcome (*syscall_elsewhere)(UserThread&, CallFrame&) = nullptr;
constinit LeafOutcome (*again)(UserThread&, rt::Wake) = nullptr;

void let_pass(u64 ns) {
    for (Nanoseconds end = Machine::now() + Nanoseconds{ns}; Machine::now() < end; Machine::relax())
        Machine::poll_mailbox();
}

// One call of two. With a word: until its home does not wait any more, then a while longer.
void hold(const rt::CallWord* word) {
    u32 n = held.fetch_add(1, std::memory_order_relaxed);
    if (n % 2 == 0) return;
    Nanoseconds limit = Machine::now() + lib::milliseconds(5);
    while (word && !(word->load(std::memory_order_relaxed) & rt::kCallDetached) && Machine::now() < limit)
        Machine::poll_mailbox();
    if (moves) {
        char line[16];
        (void)route::command({line, lib::format_to(line, "fs {}", n / 2 % rt::executor_count())});
    }
    let_pass(100'000);
}

void slow_serve_word(rt::Executor& ex, rt::CallWord& word) {
    hold(&word);
    serve_word(ex, word);
}
LeafOutcome slow_syscall_elsewhere(UserThread& t, CallFrame& frame) {
    LeafOutcome outcome = syscall_elsewhere(t, frame);
    // The word follows the frame in the thread's call line. It is still this CPU's only if the call is done.
    if (outcome == LeafOutcome::kDone) hold(reinterpret_cast<rt::CallWord*>(&frame + 1));
    return outcome;
}
void slow_serve_request(rt::Request& r, rt::Shard& shard) {
    hold(nullptr);
    route::serve_request(r, shard);
}
LeafOutcome hold_then_again(UserThread& t, rt::Wake why) {
    hold(nullptr);
    return again(t, why);
}
LeafOutcome again_then_hold(UserThread& t, rt::Wake why) {
    LeafOutcome outcome = again(t, why);
    hold(nullptr);
    return outcome;
}

}  // namespace

bool hold_calls_at(std::string_view step) {
    route::use_entry(route::settled_entry());
    Personality<UserThread>& p = route::personality_in_use();
    syscall_elsewhere = p.syscall_elsewhere;
    again = p.again;
    serve_word = rt::CallService::how().word;
    moves = step.starts_with("move-");
    if (moves) step.remove_prefix(5);
    if (step == "before-serve")
        rt::CallService::serve_with<&slow_serve_word>();
    else if (step == "after-serve")
        p.syscall_elsewhere = &slow_syscall_elsewhere;
    else if (step == "before-queued")
        for (rt::Module& m : route::modules) m.serve = &slow_serve_request;
    else if (step == "before-again")
        p.again = &hold_then_again;
    else if (step == "after-again")
        p.again = &again_then_hold;
    else
        return false;
    return true;
}

}  // namespace port::plant
