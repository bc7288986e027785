// SPDX-License-Identifier: MIT
// A disk over a host file, for tests in a hosted process: the queue of the real drivers (block/queue.hpp), and a device
// that does nothing until the test, or a thread, lets it: so errors, delays and orders are the test's to choose.
#pragma once
#include <cstdio>
#include <functional>
#include <vector>

#include "block/disk.hpp"

namespace block_test {

class FileDisk final : public block::Disk, private block::Channel {
public:
    // The file is of this size, and has no name. `depth`: commands with the device.
    explicit FileDisk(u64 sectors, u32 depth = 4);
    ~FileDisk() override;
    void submit(block::Request& r) override;
    void submit_all(block::RequestList& list) override;
    block::Stats stats() override;
    block::Limits& change_limits() { return limits_; }

    // What the device has, in the order in which it got it.
    struct Taken {
        u32 slot;
        block::Op op;
        u64 sector, sectors;
        u32 pieces, requests;
    };
    std::vector<Taken> with_device();
    std::vector<Taken> all_taken();  // since the beginning
    u32 notified() const { return notified_; }
    // The device does the command that it got as n-th of those it has, with an error if one is injected; false: it has none
    // such.
    bool finish(size_t nth = 0);
    void finish_all() {
        while (finish()) {
        }
    }
    // All else that it does fails with kIo.
    void break_down();
    u32 failed_in_pieces = 0;
    // With what commands end instead of what they do; nothing: they are done.
    std::function<Errno(const Taken&)> error = [](const Taken&) { return Errno::kOk; };
    bool full = false;       // start() refuses
    bool at_once = false;    // what is submitted is done before submit() returns
    u64 flushed_writes = 0;  // how many writes the last flush made durable
    // The file's bytes, past all queues.
    std::vector<std::byte> contents(u64 sector, u64 sectors);

private:
    bool start(u32 slot, block::Command& c) override;
    void notify() override { ++notified_; }
    Errno execute(const Taken& t);
    block::Queue queue_;
    std::FILE* file_;
    std::vector<Taken> taken_, history_;
    std::vector<block::Command*> commands_;
    u32 notified_ = 0;
    u64 writes_ = 0;
};

}  // namespace block_test
