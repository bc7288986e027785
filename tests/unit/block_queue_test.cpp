// SPDX-License-Identifier: MIT
// The request queue that drivers share (block/queue.hpp): order, merging, plugging, the bound, errors, statistics; and
// transfers as awaitables.
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <deque>

#include "rt/wait.hpp"
#include "tests/unit/file_disk.hpp"
#include "tests/unit/hosted_cpus.hpp"

namespace {

using namespace block;
using block_test::FileDisk;

// A request with memory of its own, which tells of its end.
struct Own : Request {
    std::vector<std::byte> memory;
    std::vector<Piece> parts;
    u32 ends = 0;
    std::vector<Own*>* order = nullptr;
    std::function<void()> then;
    Own(Op kind, u64 at, u64 n, u32 in_pieces = 1) : memory(n * kSectorBytes) {
        op = kind;
        sector = at;
        sectors = kind == Op::kFlush ? 0 : n;
        if (kind == Op::kRead || kind == Op::kWrite) {
            const u64 each = memory.size() / in_pieces;
            for (u32 i = 0; i < in_pieces; ++i) parts.emplace_back(memory.data() + i * each, each);
        }
        pieces = parts;
        ended = [](Request& r) {
            auto& own = static_cast<Own&>(r);
            ++own.ends;
            if (own.order) own.order->push_back(&own);
            if (own.then) own.then();
        };
    }
    void fill(u8 with) { std::memset(memory.data(), with, memory.size()); }
};

class BlockQueue : public testing::Test {
protected:
    BlockQueue() : cpus_(1) {}
    hosted_test::Cpus cpus_;
    FileDisk disk_{1024, 2};
};

std::vector<u64> sectors_of(const std::vector<FileDisk::Taken>& list) {
    std::vector<u64> at;
    for (const auto& t : list) at.push_back(t.sector);
    return at;
}

TEST_F(BlockQueue, requests_reach_the_device_in_the_order_of_arrival_and_at_most_depth_at_once) {
    std::deque<Own> list;
    for (u64 at : {500, 10, 300, 20, 900}) disk_.submit(list.emplace_back(Op::kRead, at, 1));
    EXPECT_EQ(sectors_of(disk_.with_device()), (std::vector<u64>{500, 10}));
    EXPECT_EQ(disk_.stats().in_flight, 5u);
    EXPECT_TRUE(disk_.finish(1));  // the later one first
    EXPECT_EQ(list[0].ends, 0u);
    EXPECT_EQ(list[1].ends, 1u);
    EXPECT_EQ(sectors_of(disk_.with_device()), (std::vector<u64>{500, 300}));
    disk_.finish_all();
    EXPECT_EQ(sectors_of(disk_.all_taken()), (std::vector<u64>{500, 10, 300, 20, 900}));
    for (const Own& r : list) EXPECT_EQ(r.ends, 1u);
    EXPECT_EQ(disk_.stats().in_flight, 0u);
}

TEST_F(BlockQueue, what_was_written_is_read) {
    Own w{Op::kWrite, 7, 4, 2}, r{Op::kRead, 7, 4, 4};
    for (size_t i = 0; i < w.memory.size(); ++i) w.memory[i] = std::byte(i * 7);
    disk_.submit(w);
    disk_.finish_all();
    disk_.submit(r);
    disk_.finish_all();
    EXPECT_EQ(w.result, Errno::kOk);
    EXPECT_EQ(r.memory, w.memory);
    EXPECT_EQ(disk_.contents(7, 4), w.memory);
}

TEST_F(BlockQueue, adjacent_requests_that_wait_become_one_command_in_the_order_of_their_places) {
    Own first{Op::kRead, 0, 1}, second{Op::kRead, 100, 1};
    disk_.submit(first);
    disk_.submit(second);  // the device is full
    std::deque<Own> list;
    for (u64 at : {22, 20, 21, 23, 19, 40}) {
        list.emplace_back(Op::kWrite, at, 1);
        list.back().fill(u8(at));
        disk_.submit(list.back());
    }
    disk_.finish();
    const auto now = disk_.with_device();
    ASSERT_EQ(now.size(), 2u);
    EXPECT_EQ(now[1].sector, 19u);
    EXPECT_EQ(now[1].sectors, 5u);
    EXPECT_EQ(now[1].requests, 5u);
    disk_.finish_all();
    for (u64 at = 19; at <= 23; ++at) EXPECT_EQ(disk_.contents(at, 1)[511], std::byte(at)) << at;
    EXPECT_EQ(disk_.stats().of[u32(Op::kWrite)].merged, 4u);
    EXPECT_EQ(disk_.stats().of[u32(Op::kWrite)].done, 6u);
    EXPECT_EQ(disk_.stats().of[u32(Op::kWrite)].sectors, 6u);
    for (const Own& r : list) EXPECT_EQ(r.ends, 1u);
}

TEST_F(BlockQueue, other_kinds_and_gaps_are_not_merged) {
    Own a{Op::kRead, 0, 1}, b{Op::kRead, 100, 1};
    disk_.submit(a);
    disk_.submit(b);
    Own read{Op::kRead, 10, 1}, write{Op::kWrite, 11, 1}, gap{Op::kRead, 12, 1}, flush{Op::kFlush, 0, 0};
    for (Own* r : {&read, &flush, &write, &gap}) disk_.submit(*r);
    disk_.finish_all();
    EXPECT_EQ(disk_.all_taken().size(), 6u);
}

TEST_F(BlockQueue, a_command_stays_within_the_limits) {
    Own a{Op::kRead, 0, 1}, b{Op::kRead, 100, 1};
    disk_.submit(a);
    disk_.submit(b);
    std::deque<Own> list;
    for (u64 i = 0; i < 20; ++i) disk_.submit(list.emplace_back(Op::kRead, 200 + i, 1));       // 8 pieces at most
    for (u64 i = 0; i < 6; ++i) disk_.submit(list.emplace_back(Op::kRead, 300 + i * 60, 60));  // 128 sectors at most
    disk_.finish_all();
    u64 sectors = 0;
    for (const auto& t : disk_.all_taken()) {
        EXPECT_LE(t.pieces, 8u);
        EXPECT_LE(t.sectors, 128u);
        sectors += t.sectors;
    }
    EXPECT_EQ(sectors, 2u + 20 + 360);
    EXPECT_LE(disk_.all_taken().size(), 2u + 3 + 3);
}

TEST_F(BlockQueue, a_plug_notifies_once_and_merges_what_it_holds) {
    std::deque<Own> list;
    {
        Plug plug{disk_};
        for (u64 i = 0; i < 6; ++i) plug.add(list.emplace_back(Op::kWrite, 50 + i, 1));
        EXPECT_TRUE(disk_.with_device().empty());
        EXPECT_EQ(disk_.notified(), 0u);
    }
    EXPECT_EQ(disk_.notified(), 1u);
    ASSERT_EQ(disk_.with_device().size(), 1u);
    EXPECT_EQ(disk_.with_device()[0].requests, 6u);
    disk_.finish_all();
    for (const Own& r : list) EXPECT_EQ(r.ends, 1u);
}

TEST_F(BlockQueue, what_limits_do_not_allow_ends_at_once_and_does_not_reach_the_device) {
    Limits& l = disk_.change_limits();
    l.block_bytes = 1024;
    auto result = [&](Own&& r) {
        disk_.submit(r);
        EXPECT_EQ(r.ends, 1u);
        return r.result;
    };
    EXPECT_EQ(result({Op::kRead, 1024, 2}), Errno::kIo);
    EXPECT_EQ(result({Op::kRead, 1022, 4}), Errno::kIo);
    EXPECT_EQ(result({Op::kWrite, ~u64{0} - 1, 2}), Errno::kIo);
    EXPECT_EQ(result({Op::kRead, 1, 2}), Errno::kInval);
    EXPECT_EQ(result({Op::kRead, 2, 1}), Errno::kInval);
    EXPECT_EQ(result({Op::kRead, 0, 18, 9}), Errno::kInval);
    EXPECT_EQ(result({Op::kRead, 0, 130}), Errno::kInval);
    Own short_of_memory{Op::kWrite, 0, 2};
    short_of_memory.sectors = 4;
    EXPECT_EQ(result(std::move(short_of_memory)), Errno::kInval);
    EXPECT_EQ(result({Op::kDiscard, 0, 1026}), Errno::kInval);
    l.has_discard = false;
    EXPECT_EQ(result({Op::kDiscard, 0, 2}), Errno::kOpNotSupp);
    l.read_only = true;
    EXPECT_EQ(result({Op::kWrite, 0, 2}), Errno::kRoFs);
    EXPECT_TRUE(disk_.all_taken().empty());
    EXPECT_EQ(disk_.stats().errors, 11u);
}

TEST_F(BlockQueue, an_error_ends_each_request_of_its_command_and_no_other) {
    Own a{Op::kRead, 0, 1}, b{Op::kRead, 100, 1}, c{Op::kWrite, 10, 1}, d{Op::kWrite, 11, 1}, e{Op::kWrite, 30, 1};
    for (Own* r : {&a, &b, &c, &d, &e}) disk_.submit(*r);
    disk_.error = [](const FileDisk::Taken& t) { return t.sector == 10 ? Errno::kIo : Errno::kOk; };
    disk_.finish_all();
    EXPECT_EQ(a.result, Errno::kOk);
    EXPECT_EQ(c.result, Errno::kIo);
    EXPECT_EQ(d.result, Errno::kIo);
    EXPECT_EQ(e.result, Errno::kOk);
    EXPECT_EQ(disk_.stats().errors, 2u);
    EXPECT_EQ(disk_.stats().of[u32(Op::kWrite)].sectors, 1u);
}

TEST_F(BlockQueue, a_device_without_room_gets_the_same_requests_later_in_the_same_order) {
    std::deque<Own> list;
    disk_.submit(list.emplace_back(Op::kRead, 900, 1));
    disk_.full = true;
    for (u64 at : {5, 6, 700, 7}) disk_.submit(list.emplace_back(Op::kRead, at, 1));
    EXPECT_EQ(disk_.with_device().size(), 1u);
    disk_.full = false;
    disk_.finish_all();
    EXPECT_EQ(sectors_of(disk_.all_taken()), (std::vector<u64>{900, 5, 700}));
    EXPECT_EQ(disk_.stats().of[u32(Op::kRead)].merged, 2u);
    for (const Own& r : list) EXPECT_EQ(r.ends, 1u);
}

TEST_F(BlockQueue, a_failed_queue_ends_everything_once_also_what_comes_later) {
    std::deque<Own> list;
    for (u64 i = 0; i < 9; ++i) disk_.submit(list.emplace_back(Op::kWrite, i * 10, 1));
    disk_.finish();
    disk_.break_down();
    for (u64 i = 0; i < 9; ++i) {
        EXPECT_EQ(list[i].ends, 1u) << i;
        EXPECT_EQ(list[i].result, i == 0 ? Errno::kOk : Errno::kIo) << i;
    }
    Own late{Op::kRead, 0, 1};
    disk_.submit(late);
    EXPECT_EQ(late.ends, 1u);
    EXPECT_EQ(late.result, Errno::kIo);
    EXPECT_EQ(disk_.stats().in_flight, 0u);
}

TEST_F(BlockQueue, an_end_may_submit) {
    u32 count = 0;
    Own r{Op::kRead, 0, 1};
    r.then = [&] {
        if (++count < 100) disk_.submit(r);
    };
    disk_.submit(r);
    disk_.finish_all();
    EXPECT_EQ(r.ends, 100u);
}

// --- Awaitables

TEST_F(BlockQueue, a_transfer_waits_for_its_end_which_nothing_interrupts) {
    static std::array<std::byte, 512> bytes;
    static Errno result;
    result = Errno::kAgain;
    hosted_test::TestJob job;
    auto body = [](FileDisk& disk) -> Task<void> { result = (co_await block::read(disk, 3, bytes)).error(); };
    ASSERT_TRUE(job.start(body(disk_), cpus_[0]));
    cpus_[0].run_until_idle();
    EXPECT_EQ(disk_.with_device().size(), 1u);
    EXPECT_TRUE(job.waits_uninterruptibly());
    job.interrupt();
    cpus_[0].run_until_idle();
    EXPECT_FALSE(job.ended.load());
    disk_.finish();
    cpus_[0].run_until_idle();
    EXPECT_TRUE(job.ended.load());
    EXPECT_TRUE(job.interrupted());
    EXPECT_EQ(result, Errno::kOk);
}

TEST_F(BlockQueue, transfers_that_end_before_they_are_awaited_and_errors_are_results) {
    static std::array<std::byte, 512> bytes;
    static std::vector<Errno> results;
    results.clear();
    disk_.at_once = true;
    disk_.error = [](const FileDisk::Taken& t) { return t.sector == 5 ? Errno::kIo : Errno::kOk; };
    hosted_test::TestJob job;
    auto body = [](FileDisk& disk) -> Task<void> {
        bytes.fill(std::byte{9});
        results.push_back((co_await block::write(disk, 4, bytes)).error());
        results.push_back((co_await block::write(disk, 5, bytes)).error());
        results.push_back((co_await block::read(disk, 1024, bytes)).error());
        results.push_back((co_await block::flush(disk)).error());
    };
    ASSERT_TRUE(job.start(body(disk_), cpus_[0]));
    cpus_[0].run_until_idle();
    ASSERT_TRUE(job.ended.load());
    EXPECT_EQ(results, (std::vector<Errno>{Errno::kOk, Errno::kIo, Errno::kIo, Errno::kOk}));
    EXPECT_EQ(disk_.flushed_writes, 1u);
    EXPECT_EQ(disk_.contents(4, 1)[0], std::byte{9});
}

TEST_F(BlockQueue, a_device_without_a_cache_is_not_flushed) {
    disk_.change_limits().has_flush = false;
    static Errno result;
    result = Errno::kAgain;
    hosted_test::TestJob job;
    auto body = [](FileDisk& disk) -> Task<void> { result = (co_await block::flush(disk)).error(); };
    ASSERT_TRUE(job.start(body(disk_), cpus_[0]));
    cpus_[0].run_until_idle();
    EXPECT_TRUE(job.ended.load());
    EXPECT_EQ(result, Errno::kOk);
    EXPECT_TRUE(disk_.all_taken().empty());
}

// --- Flushes that several want

struct Flusher : hosted_test::TestJob {
    Errno result = Errno::kAgain;
    u64 written = 0,
        flushed = 0;  // of the device, when this job asked, and what a flush had made durable when it ended
};
Task<void> flush_once(Flusher& me, FileDisk& disk) {
    me.result = (co_await block::flush(disk)).error();
    me.flushed = disk.flushed_writes;
}
class BlockFlushes : public BlockQueue {
protected:
    Flusher& ask() {
        Flusher& f = flushers_.emplace_back();
        f.written = disk_.stats().of[u32(Op::kWrite)].done;
        EXPECT_TRUE(f.start(flush_once(f, disk_), cpus_[0]));
        cpus_[0].run_until_idle();
        return f;
    }
    void write_one() {
        Own w{Op::kWrite, 5, 1};
        disk_.submit(w);
        while (w.ends == 0 && disk_.finish(disk_.with_device().size() - 1)) {
        }
        EXPECT_EQ(w.ends, 1u);
    }
    u32 flushes() {
        u32 n = 0;
        for (const auto& t : disk_.all_taken()) n += t.op == Op::kFlush;
        return n;
    }
    void finish() {
        EXPECT_TRUE(disk_.finish());
        cpus_[0].run_until_idle();
    }
    std::deque<Flusher> flushers_;
};

TEST_F(BlockFlushes, those_who_come_while_one_is_under_way_share_the_next) {
    for (u32 i = 0; i < 200; ++i) ask();
    EXPECT_EQ(disk_.stats().in_flight, 1u);
    finish();
    EXPECT_TRUE(flushers_[0].ended.load());
    EXPECT_FALSE(flushers_[1].ended.load());  // the first flush may have begun before its writes ended
    EXPECT_EQ(flushes(), 2u);
    finish();
    EXPECT_EQ(flushes(), 2u);
    EXPECT_FALSE(disk_.finish());
    for (Flusher& f : flushers_) {
        EXPECT_TRUE(f.ended.load());
        EXPECT_EQ(f.result, Errno::kOk);
    }
}

TEST_F(BlockFlushes, a_flush_begins_after_the_writes_whose_ends_its_caller_saw) {
    for (u32 round = 0; round < 30; ++round) {
        write_one();
        ask();
        write_one();
        ask();
        if (round % 3 != 0) finish();
    }
    while (disk_.finish()) cpus_[0].run_until_idle();
    for (Flusher& f : flushers_) {
        EXPECT_TRUE(f.ended.load());
        EXPECT_GE(f.flushed, f.written);
    }
    EXPECT_LT(flushes(), 60u);
}

TEST_F(BlockFlushes, an_error_is_of_those_who_shared_the_flush) {
    Flusher &first = ask(), &second = ask(), &third = ask();
    disk_.error = [](const FileDisk::Taken&) { return Errno::kIo; };
    finish();
    disk_.error = [](const FileDisk::Taken&) { return Errno::kOk; };
    Flusher& fourth = ask();
    finish();
    finish();
    EXPECT_EQ(first.result, Errno::kIo);
    for (Flusher* f : {&second, &third, &fourth}) EXPECT_EQ(f->result, Errno::kOk);
    Flusher &fifth = ask(), &sixth = ask(), &seventh = ask();
    finish();
    disk_.error = [](const FileDisk::Taken&) { return Errno::kIo; };
    finish();
    EXPECT_EQ(fifth.result, Errno::kOk);
    EXPECT_EQ(sixth.result, Errno::kIo);
    EXPECT_EQ(seventh.result, Errno::kIo);
}

TEST_F(BlockQueue, a_queue_of_many_requests_fails_in_pieces) {
    std::deque<Own> list;
    for (u64 i = 0; i < 500; ++i) disk_.submit(list.emplace_back(Op::kWrite, i * 2, 1));
    disk_.break_down();
    EXPECT_GE(disk_.failed_in_pieces, 500u / Queue::kFailedAtOnce);
    for (Own& r : list) {
        EXPECT_EQ(r.ends, 1u);
        EXPECT_EQ(r.result, Errno::kIo);
    }
    EXPECT_EQ(disk_.stats().in_flight, 0u);
}

// Jobs on several CPUs transfer while a thread is the device: each sector has one writer, which finds what it wrote.
TEST(BlockThreads, jobs_on_several_cpus_find_what_they_wrote) {
    constexpr u32 kCpus = 4, kJobs = 8, kRounds = 50;
    hosted_test::Cpus cpus{kCpus};
    FileDisk disk{64, 3};
    std::atomic<bool> stop{false};
    std::thread device{[&] {
        hal::Machine::bind_cpu(CpuId{kCpus});
        rt::Executor::start(CpuId{kCpus});
        hosted_test::Random random{7};
        while (!stop.load())
            if (!disk.finish(random() % 3)) std::this_thread::yield();
        rt::epoch_enter_idle();
    }};
    struct Writer : hosted_test::TestJob {
        u32 number = 0;
        u32 wrong = 0;
    };
    std::deque<Writer> jobs(kJobs);
    auto body = [](Writer& me, FileDisk& disk) -> Task<void> {
        alignas(16) std::byte out[kSectorBytes], in[kSectorBytes];
        for (u32 round = 0; round < kRounds; ++round) {
            std::memset(out, int(round + me.number), sizeof out);
            auto w = co_await block::write(disk, me.number, out);
            if (round % 8 == 0) (void)co_await block::flush(disk);
            auto r = co_await block::read(disk, me.number, in);
            me.wrong += !w.ok() || !r.ok() || std::memcmp(in, out, sizeof in) != 0;
        }
    };
    for (u32 i = 0; i < kJobs; ++i) {
        jobs[i].number = i;
        ASSERT_TRUE(jobs[i].start(body(jobs[i], disk), cpus[i % kCpus]));
    }
    EXPECT_TRUE(cpus.run_until([&] {
        for (Writer& j : jobs)
            if (!j.ended.load(std::memory_order_acquire)) return false;
        return true;
    }));
    stop.store(true);
    device.join();
    for (Writer& j : jobs) EXPECT_EQ(j.wrong, 0u);
    const Stats s = disk.stats();
    EXPECT_EQ(s.of[u32(Op::kWrite)].done, u64{kJobs} * kRounds);
    EXPECT_EQ(s.of[u32(Op::kRead)].done, u64{kJobs} * kRounds);
    EXPECT_EQ(s.in_flight, 0u);
}

}  // namespace
