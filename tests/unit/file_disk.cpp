// SPDX-License-Identifier: MIT
#include "tests/unit/file_disk.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

namespace block_test {

using block::kSectorBytes;

FileDisk::FileDisk(u64 sectors, u32 depth) : file_(std::tmpfile()), commands_(depth) {
    EXPECT_NE(file_, nullptr);
    EXPECT_EQ(::ftruncate(::fileno(file_), off_t(sectors * kSectorBytes)), 0);
    limits_ = {.sectors = sectors, .most_pieces = 8, .most_bytes = 64 << 10, .has_flush = true, .has_discard = true};
    limits_.most_discard = 1024;
    EXPECT_TRUE(queue_.init(*this, limits_, depth).ok());
}

FileDisk::~FileDisk() { std::fclose(file_); }

void FileDisk::submit(block::Request& r) {
    block::RequestList list;
    list.push_back(r);
    submit_all(list);
}
void FileDisk::submit_all(block::RequestList& list) {
    queue_.submit(list);
    if (at_once) finish_all();
}

block::Stats FileDisk::stats() {
    block::Stats s;
    queue_.add_stats(s);
    return s;
}

bool FileDisk::start(u32 slot, block::Command& c) {
    if (full) return false;
    commands_[slot] = &c;
    u32 requests = 0;
    for (auto i = c.requests.begin(); i != c.requests.end(); ++i) ++requests;
    taken_.push_back({slot, c.op, c.sector, c.sectors, c.pieces, requests});
    history_.push_back(taken_.back());
    return true;
}

std::vector<FileDisk::Taken> FileDisk::with_device() {
    rt::LockGuard guard{queue_.lock};
    return taken_;
}
std::vector<FileDisk::Taken> FileDisk::all_taken() {
    rt::LockGuard guard{queue_.lock};
    return history_;
}

Errno FileDisk::execute(const Taken& t) {
    const Errno injected = error(t);
    if (injected != Errno::kOk) return injected;
    off_t at = off_t(t.sector * kSectorBytes);
    if (t.op == block::Op::kFlush) flushed_writes = writes_;
    if (t.op == block::Op::kWrite) ++writes_;
    if (t.op == block::Op::kDiscard) {
        const std::vector<char> zeros(t.sectors * kSectorBytes);
        EXPECT_EQ(::pwrite(::fileno(file_), zeros.data(), zeros.size(), at), ssize_t(zeros.size()));
    }
    for (const block::Request& r : commands_[t.slot]->requests)
        for (const block::Piece& p : r.pieces) {
            const ssize_t n = t.op == block::Op::kRead ? ::pread(::fileno(file_), p.data(), p.size(), at)
                                                       : ::pwrite(::fileno(file_), p.data(), p.size(), at);
            EXPECT_EQ(n, ssize_t(p.size()));
            at += off_t(p.size());
        }
    return Errno::kOk;
}

bool FileDisk::finish(size_t nth) {
    block::Ended ended;
    rt::LockGuard guard{queue_.lock};
    if (nth >= taken_.size()) return false;
    const Taken t = taken_[nth];
    taken_.erase(taken_.begin() + long(nth));
    queue_.end(t.slot, execute(t), ended);
    queue_.start_more();
    guard.unlock();
    ended.report();
    return true;
}

void FileDisk::break_down() {
    {
        rt::LockGuard guard{queue_.lock};
        taken_.clear();
    }
    while (!queue_.fail()) ++failed_in_pieces;
}

std::vector<std::byte> FileDisk::contents(u64 sector, u64 sectors) {
    std::vector<std::byte> bytes(sectors * kSectorBytes);
    EXPECT_EQ(::pread(::fileno(file_), bytes.data(), bytes.size(), off_t(sector * kSectorBytes)),
              ssize_t(bytes.size()));
    return bytes;
}

}  // namespace block_test
