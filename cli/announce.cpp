// SPDX-License-Identifier: MIT
#include "cli/announce.hpp"

#include <signal.h>

#include <chrono>
#include <cstdio>

namespace cli {

Announcement::Announcement(std::string what) {
    // Signals are for the thread that collects them from a descriptor.
    sigset_t all, before;
    sigfillset(&all);
    ::pthread_sigmask(SIG_BLOCK, &all, &before);
    thread_ = std::thread([this, what = std::move(what)] {
        std::unique_lock guard(lock_);
        if (!ended_.wait_for(guard, std::chrono::seconds(2), [this] { return over_; }))
            std::fprintf(stderr, "farcall: %s ...\n", what.c_str());
    });
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Announcement::~Announcement() {
    {
        std::lock_guard guard(lock_);
        over_ = true;
    }
    ended_.notify_one();
    thread_.join();
}

}  // namespace cli
