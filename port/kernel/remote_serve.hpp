// SPDX-License-Identifier: MIT
// Calls that another CPU executes (rt/remote/lane.hpp), on the module's CPU: take, queue, execute, answer.
#pragma once
#include "port/kernel/trap.hpp"
#include "rt/remote/module.hpp"

namespace port {

template <class Trace>
struct RemoteServe {
    // What rt::CallService and rt::Module call.
    static void word(rt::Executor& ex, rt::CallWord& word);
    static void queued(rt::Request& r, rt::Shard& shard);
    // Makes this the way in which words are served, unless one was set before.
    static void take_over();

private:
    static void carefully(rt::Executor& ex, UserThread& t, rt::Shard& shard);
    static void finish(UserThread& t, rt::CallWord& word, u64 asked, LeafOutcome outcome);
    static void accept_all(rt::Executor& ex, UserThread& first, rt::Shard& shard);
    static void serve(UserThread& t, rt::Shard& shard);
    static void in_task(UserThread& t, rt::CallWord& word, u64 asked, LeafOutcome outcome);
};

// The thread's call, which came by the inbox, joins the module's queue.
void accept_remote(rt::Schedulable& s);
// The thread has ended. A server may be looking at its call word in this moment: the personality hears of it later
// then.
void forget_remote(UserThread& t);

}  // namespace port
