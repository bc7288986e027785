// SPDX-License-Identifier: MIT
// Says on standard error what the tool is doing when that takes longer than two seconds, once, also if standard error is no
// terminal.
#pragma once
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

namespace cli {

// `what` is said as "farcall: WHAT ..." two seconds after the construction, unless the object is gone by then.
class Announcement {
public:
    explicit Announcement(std::string what);
    ~Announcement();
    Announcement(const Announcement&) = delete;
    Announcement& operator=(const Announcement&) = delete;

private:
    std::mutex lock_;
    std::condition_variable ended_;
    bool over_ = false;
    std::thread thread_;
};

}  // namespace cli
