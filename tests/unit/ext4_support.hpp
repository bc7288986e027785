// SPDX-License-Identifier: MIT
// For the tests of ext4/: a disk in memory, images that mke2fs makes, and what runs a coroutine to its end.
#pragma once
#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "block/device.hpp"
#include "ext4/directory.hpp"
#include "ext4/file.hpp"
#include "ext4/map.hpp"
#include "ext4/volume.hpp"
#include "tests/unit/hosted_cpus.hpp"

namespace ext4_test {

using hosted_test::Random;

// A device over bytes in memory. Requests end when pump() says so, in a random order; a flush waits for those before it.
class MemoryDisk : public block::Device {
public:
    struct LogEntry {
        bool flush;
        u64 sector;
        std::vector<std::byte> bytes;
    };
    explicit MemoryDisk(std::vector<std::byte> image, u64 seed = 0) : bytes(std::move(image)), random_(seed) {
        limits_.sectors = bytes.size() / block::kSectorBytes;
        limits_.most_pieces = 16;
        limits_.most_bytes = 64 << 10;
        limits_.has_flush = true;
    }
    std::string_view name() const override { return "vda"; }
    const block::Limits& limits() const override { return limits_; }
    block::Limits& set_limits() { return limits_; }
    void submit(block::Request& r) override {
        std::lock_guard guard{lock_};
        waiting_.push_back(&r);
    }

    // Ends one of the requests that wait. False: there is none.
    bool pump() {
        std::unique_lock guard{lock_};
        if (waiting_.empty()) return false;
        size_t n = random_() % waiting_.size();
        for (size_t k = 0; k <= n; ++k)
            if (waiting_[k]->op == block::Op::kFlush) n = 0;  // nothing overtakes a flush, nor it what was there
        block::Request* r = waiting_[n];
        waiting_.erase(waiting_.begin() + i64(n));
        guard.unlock();
        r->result = perform(*r);
        r->ended(*r);
        return true;
    }

    std::vector<std::byte> bytes;
    bool logging = false;
    std::vector<LogEntry> log;
    u64 reads = 0, writes = 0, flushes = 0;
    // Set: what a request ends with instead of being performed.
    std::function<Errno(const block::Request&)> fault;

private:
    Errno perform(const block::Request& r) {
        if (fault)
            if (const Errno e = fault(r); e != Errno::kOk) return e;
        if (r.op == block::Op::kFlush) {
            ++flushes;
            if (logging) log.push_back({true, 0, {}});
            return Errno::kOk;
        }
        if (r.sector > limits_.sectors || r.sectors > limits_.sectors - r.sector) return Errno::kIo;
        EXPECT_LE(r.pieces.size(), limits_.most_pieces);
        EXPECT_LE(r.sectors * block::kSectorBytes, limits_.most_bytes);
        std::byte* at = bytes.data() + r.sector * block::kSectorBytes;
        u64 total = 0;
        for (const block::Piece& p : r.pieces) {
            if (r.op == block::Op::kRead)
                std::memcpy(p.data(), at + total, p.size());
            else
                std::memcpy(at + total, p.data(), p.size());
            total += p.size();
        }
        EXPECT_EQ(total, r.sectors * block::kSectorBytes);
        ++(r.op == block::Op::kRead ? reads : writes);
        if (r.op == block::Op::kWrite && logging) log.push_back({false, r.sector, {at, at + total}});
        return Errno::kOk;
    }
    block::Limits limits_;
    std::mutex lock_;  // of those that wait: any CPU submits, one pumps
    std::deque<block::Request*> waiting_;
    Random random_;
};

// Runs coroutines on one CPU, over one disk.
class Runner {
public:
    explicit Runner(MemoryDisk& disk, u32 cpus = 1) : cpus_(cpus), disk_(disk) {}

    template <class T>
    Result<T> run(Task<Result<T>> task) {
        std::optional<Result<T>> result;
        EXPECT_TRUE(rt::spawn("ext4 test", hold(std::move(task), &result), cpus_[0]));
        wait([&] { return result.has_value(); });
        return std::move(*result);
    }
    // Lets everything run that is ready, and the disk, until `done`.
    void wait(const std::function<bool()>& done) {
        u32 idle = 0;
        for (u64 steps = 0; !done(); ++steps) {
            if (steps > kMostSteps) {
                ADD_FAILURE() << "it does not end";
                std::abort();
            }
            if (cpus_[0].run_one() || disk_.pump()) {
                idle = 0;
                continue;
            }
            cpus_[0].run_due_timers();
            if (cpus_.count() > 1) {
                if (++idle > 200) std::this_thread::sleep_for(std::chrono::microseconds(20));
                if (idle < 1'000'000) continue;
            }
            if (++idle > 2'000'000) {
                ADD_FAILURE() << "nothing runs any more";
                std::abort();
            }
        }
    }
    rt::Executor& executor(u32 cpu = 0) { return cpus_[cpu]; }
    u32 cpus() const { return cpus_.count(); }

private:
    static constexpr u64 kMostSteps = 20'000'000;
    template <class T>
    static Task<void> hold(Task<Result<T>> task, std::optional<Result<T>>* result) {
        result->emplace(co_await std::move(task));
    }
    hosted_test::Cpus cpus_;
    MemoryDisk& disk_;
};

// ---- Images ----

// A command of e2fsprogs; its output. `status`: null if it must be 0.
std::string shell(const std::string& command, int* status = nullptr);
std::string temporary(const std::string& name);  // a path in a folder that goes with the process
std::vector<std::byte> read_file(const std::string& path);
void write_file(const std::string& path, std::span<const std::byte> bytes);
void write_text(const std::string& path, const std::string& text);
// Blocks that mke2fs has not written are full of this.
inline constexpr u8 kStale = 0xee;
// An image of `size` ("8M") by mke2fs with these options, filled from a folder ("": empty).
std::vector<std::byte> make_image(const std::string& options, const std::string& size, const std::string& from = "");
// What e2fsck -f -n finds; "" if nothing. `journal`: the journal is replayed first.
std::string check_image(std::span<const std::byte> image, bool journal = false);

// A name and its inode, as iterate() gives them.
struct Listed {
    std::string name;
    ext4::InodeNo inode;
    u8 type;
};

}  // namespace ext4_test
