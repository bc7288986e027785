// SPDX-License-Identifier: MIT
// Descriptor tables against a map, and advisory locks against an array of bytes.
#include <map>
#include <random>

#include "fs/anonymous.hpp"
#include "fs/epoll_look.hpp"
#include "fs/eventfd.hpp"
#include "fs/file_locks.hpp"
#include "fs/file_table.hpp"
#include "fs_support.hpp"

namespace {

using fs::Fd;

class TableTest : public fs_test::FsTest {
protected:
    void SetUp() override {
        FsTest::SetUp();
        (void)any_file();  // the file system of anonymous inodes is made with the first one and stays
        measure_again();
    }
    Ref<fs::File> any_file() {
        return fs::make_file<fs::EventFile>(fs::anonymous_inode().take(), fs::kOpenReadWrite, u64{0}, false).take();
    }
};

Task<void> copy_into(fs::FileTable* from, Ref<fs::FileTable>* to) {
    auto copy = co_await from->clone_long();
    if (copy.ok()) *to = copy.take();
}

// The copy is made in pieces, between which the original changes.
TEST_F(TableTest, ALongCopyIsOneOfItsEnd) {
    constexpr i32 kNumbers = 9000;
    std::mt19937 random(5);
    auto change = [&](fs::FileTable& table) {
        const Fd fd{i32(random() % kNumbers)};
        switch (random() % 3) {
            case 0: (void)table.close(fd); break;
            case 1: (void)table.set_close_on_exec(fd, random() % 2); break;
            default: ASSERT_TRUE(table.install_at(fd, any_file(), random() % 2, kNumbers).ok());
        }
    };
    for (int round = 0; round < 10; ++round) {
        auto table = fs::FileTable::create().take();
        for (int i = 0; i < 8000; ++i) change(*table);
        ASSERT_TRUE(table->is_long());
        Ref<fs::FileTable> copy;
        ASSERT_TRUE(rt::spawn("copy", copy_into(table.get(), &copy), rt::Executor::current()));
        u32 pieces = 0;
        for (; rt::Executor::current().run_one() && !copy; ++pieces)
            for (int i = 0; i < 50; ++i) change(*table);
        ASSERT_TRUE(copy);
        EXPECT_GT(pieces, 3u);
        for (i32 n = 0; n < kNumbers; ++n) {
            auto a = table->get(Fd{n}), b = copy->get(Fd{n});
            ASSERT_EQ(a.ok(), b.ok()) << n;
            if (!a.ok()) continue;
            ASSERT_EQ(a.value().get(), b.value().get()) << n;
            ASSERT_EQ(table->close_on_exec(Fd{n}).value(), copy->close_on_exec(Fd{n}).value()) << n;
        }
        while (rt::Executor::current().run_one()) {
        }
    }
}

// Numbers around the borders of the pieces that a long table is made of.
TEST_F(TableTest, FarNumbersBehaveLikeAMap) {
    constexpr u32 kPiece = 248 * 64, kFlat = 64 << 10;
    constexpr u64 kLimit = fs::kMaxDescriptors;
    const i32 borders[] = {
        64, kFlat, kFlat + kPiece, kFlat + 2 * kPiece, kFlat + 40 * kPiece, fs::kMaxDescriptors - 16};
    std::mt19937 random(7);
    std::map<i32, bool> model;  // close-on-exec
    auto table = fs::FileTable::create().take();
    auto check = [&](fs::FileTable& t) {
        i32 at = 0;
        for (auto [n, cloexec] : model) {
            ASSERT_EQ(t.next_open(at), n);
            ASSERT_EQ(t.close_on_exec(Fd{n}).value(), cloexec) << n;
            at = n + 1;
        }
        ASSERT_EQ(t.next_open(at), -1);
        ASSERT_EQ(t.open_count(), model.size());
    };
    for (int step = 0; step < 4000; ++step) {
        const i32 n = borders[random() % std::size(borders)] + i32(random() % 16) - 8;
        const bool cloexec = random() % 2;
        switch (random() % 4) {
            case 0: ASSERT_EQ(table->close(Fd{n}).error(), model.erase(n) ? Errno::kOk : Errno::kBadF); break;
            case 1: {
                auto r = table->install(any_file(), cloexec, kLimit, n);
                i32 want = n;
                while (model.count(want)) ++want;
                if (u64(want) >= kLimit) {
                    ASSERT_EQ(r.error(), Errno::kMFile);
                    break;
                }
                ASSERT_EQ(r.value().value, want);
                model[want] = cloexec;
                break;
            }
            case 2:
                ASSERT_EQ(table->set_close_on_exec(Fd{n}, cloexec).ok(), model.count(n) == 1);
                if (model.count(n)) model[n] = cloexec;
                break;
            default: ASSERT_TRUE(table->install_at(Fd{n}, any_file(), cloexec, kLimit).ok()); model[n] = cloexec;
        }
        if (step % 500 == 0) check(*table);
    }
    check(*table);
    Ref<fs::FileTable> copy;
    ASSERT_TRUE(rt::spawn("copy", copy_into(table.get(), &copy), rt::Executor::current()));
    while (rt::Executor::current().run_one()) {
    }
    ASSERT_TRUE(copy);
    check(*copy);
    for (u32 first = 0; copy->close_some_on_exec(first);) {
    }
    std::erase_if(model, [](auto& entry) { return entry.second; });
    check(*copy);
    for (u32 first = kFlat; copy->close_some(first, fs::kMaxDescriptors);) {
    }
    std::erase_if(model, [](auto& entry) { return u32(entry.first) >= kFlat; });
    check(*copy);
}

TEST_F(TableTest, NoMemoryForFarNumbers) {
    for (u64 n = 0;; ++n) {
        auto table = fs::FileTable::create().take();
        ASSERT_TRUE(table->install(any_file(), false, 1024).ok());
        Ref<fs::File> file = any_file();
        ASSERT_TRUE(rt::mem_fail_after(n));
        auto r = table->install_at(Fd{100'000}, std::move(file), false, fs::kMaxDescriptors);
        rt::mem_fail_never();
        if (r.ok()) {
            ASSERT_GT(n, 2u);
            break;
        }
        ASSERT_EQ(r.error(), Errno::kNoMem);
        ASSERT_EQ(table->open_count(), 1u);
        ASSERT_TRUE(table->install_at(Fd{100'000}, any_file(), false, fs::kMaxDescriptors).ok());
    }
}

TEST_F(TableTest, BehavesLikeAMap) {
    std::mt19937 random(3);
    auto table = fs::FileTable::create().take();
    std::map<i32, std::pair<fs::File*, bool>> model;
    constexpr u64 kLimit = 700;
    auto lowest = [&](i32 from) {
        while (model.count(from)) ++from;
        return from;
    };
    for (int step = 0; step < 20'000; ++step) {
        i32 n = i32(random() % 720);
        switch (random() % 8) {
            case 0:
            case 1:
            case 2: {
                i32 from = random() % 2 ? 0 : i32(random() % 700);
                Ref<fs::File> f = any_file();
                bool cloexec = random() % 2;
                auto r = table->install(f, cloexec, kLimit, from);
                i32 want = lowest(from);
                if (u64(want) >= kLimit) {
                    ASSERT_EQ(r.error(), Errno::kMFile);
                } else {
                    ASSERT_EQ(r.value().value, want);
                    model[want] = {f.get(), cloexec};
                }
                break;
            }
            case 3: {
                Ref<fs::File> f = any_file();
                auto r = table->install_at(Fd{n}, f, false, kLimit);
                ASSERT_EQ(r.error(), u64(n) < kLimit ? Errno::kOk : Errno::kBadF);
                if (r.ok()) model[n] = {f.get(), false};
                break;
            }
            case 4:
            case 5: ASSERT_EQ(table->close(Fd{n}).error(), model.erase(n) ? Errno::kOk : Errno::kBadF); break;
            case 6: {
                auto r = table->get(Fd{n});
                ASSERT_EQ(r.ok(), model.count(n) == 1);
                if (r.ok()) {
                    ASSERT_EQ(r.value().get(), model[n].first);
                    ASSERT_EQ(table->close_on_exec(Fd{n}).value(), model[n].second);
                }
                break;
            }
            case 7:
                if (random() % 50 == 0) {
                    for (u32 first = 0; table->close_some_on_exec(first);) {
                    }
                    std::erase_if(model, [](auto& e) { return e.second.second; });
                } else if (random() % 50 == 0) {
                    for (u32 first = u32(n); table->close_some(first, u32(n) + 60);) {
                    }
                    std::erase_if(model, [&](auto& e) { return e.first >= n && e.first <= n + 60; });
                } else if (random() % 50 == 0) {
                    auto copy = table->clone().take();
                    ASSERT_EQ(copy->open_count(), model.size());
                    for (auto& [fd, file] : model) {
                        ASSERT_EQ(copy->get(Fd{fd}).value().get(), file.first);
                        ASSERT_EQ(copy->close_on_exec(Fd{fd}).value(), file.second);
                    }
                    table = std::move(copy);
                }
                break;
        }
        ASSERT_EQ(table->open_count(), model.size());
        auto at = model.lower_bound(n);
        ASSERT_EQ(table->next_open(n), at == model.end() ? -1 : at->first);
    }
    EXPECT_EQ(table->get(Fd{-1}).error(), Errno::kBadF);
    EXPECT_EQ(table->close(Fd{0x7fffffff}).error(), Errno::kBadF);
}

TEST_F(TableTest, LocksCoverBytesLikeAnArray) {
    ASSERT_EQ(file("/locked"), Errno::kOk);
    Ref<fs::File> f = open("/locked").take();
    fs::Inode& inode = *f->inode();
    std::mt19937 random(5);
    constexpr int kOwners = 3, kBytes = 24;
    int held[kOwners][kBytes] = {};  // 0 none, 1 read, 2 write
    int owners[kOwners];
    for (int step = 0; step < 20'000; ++step) {
        int who = int(random() % kOwners);
        u64 start = random() % kBytes, end = start + random() % (kBytes - start);
        int type = int(random() % 3);
        fs::FileLock lock{.write = type == 2, .owner = &owners[who], .pid = who, .start = start, .end = end};
        if (type == 0) {
            ASSERT_TRUE(fs::clear_lock(inode, lock).ok());
            for (u64 i = start; i <= end; ++i) held[who][i] = 0;
        } else {
            bool free = true;
            for (int o = 0; o < kOwners; ++o)
                for (u64 i = start; i <= end; ++i)
                    free &= o == who || held[o][i] == 0 || (held[o][i] == 1 && type == 1);
            fs::FileLock found;
            ASSERT_EQ(fs::find_conflict(inode, lock, found), !free);
            ASSERT_EQ(fs::set_lock(inode, lock).error(), free ? Errno::kOk : Errno::kAgain);
            if (free)
                for (u64 i = start; i <= end; ++i) held[who][i] = type;
        }
    }
    // Every byte, as read from outside.
    for (u64 i = 0; i < kBytes; ++i) {
        int strongest = 0;
        for (auto& h : held) strongest = std::max(strongest, h[i]);
        int stranger;
        fs::FileLock found, look{.write = true, .owner = &stranger, .start = i, .end = i};
        EXPECT_EQ(fs::find_conflict(inode, look, found), strongest != 0);
        look.write = false;
        EXPECT_EQ(fs::find_conflict(inode, look, found), strongest == 2);
    }
    for (int& o : owners) fs::release_posix_locks(*f, &o);
    EXPECT_FALSE(fs::file_extras_exist());
}

TEST_F(TableTest, FlockAndRecordsDoNotMeet) {
    ASSERT_EQ(file("/locked"), Errno::kOk);
    Ref<fs::File> a = open("/locked").take(), b = open("/locked").take();
    fs::FileLock flock_a{.kind = fs::LockKind::kFlock, .write = true, .owner = a.get()}, flock_b = flock_a;
    flock_b.owner = b.get();
    ASSERT_TRUE(fs::set_lock(*a->inode(), flock_a).ok());
    EXPECT_EQ(fs::set_lock(*a->inode(), flock_b).error(), Errno::kAgain);
    int owner;
    fs::FileLock record{.write = true, .owner = &owner};
    EXPECT_TRUE(fs::set_lock(*a->inode(), record).ok());
    fs::FileLock ofd{.kind = fs::LockKind::kOpenFile, .write = true, .owner = b.get()};
    EXPECT_EQ(fs::set_lock(*a->inode(), ofd).error(), Errno::kAgain) << "POSIX and open-file locks do";
    fs::release_posix_locks(*a, &owner);
    EXPECT_TRUE(fs::set_lock(*a->inode(), ofd).ok());
    a = {};
    EXPECT_TRUE(fs::set_lock(*b->inode(), flock_b).ok()) << "a flock goes with its open file";
    b = {};
    EXPECT_FALSE(fs::file_extras_exist());
}

// Who waits for a lock is woken when a lock of its file goes or lets others in, and by nothing else.
TEST_F(TableTest, OnlyWhatLetsOthersInWakesWaitersForLocks) {
    Ref<fs::File> file = any_file();
    fs::Inode& inode = *file->inode();
    rt::WaitQueue& changed = fs::file_locks_changed(inode);
    u32 seen = changed.sequence();
    fs::FileLock lock{.write = true, .owner = this, .start = 10, .end = 19};
    ASSERT_TRUE(fs::clear_lock(inode, lock).ok());
    ASSERT_TRUE(fs::set_lock(inode, lock).ok());
    fs::FileLock beside{.write = true, .owner = this, .start = 30, .end = 39};
    ASSERT_TRUE(fs::clear_lock(inode, beside).ok());
    EXPECT_EQ(changed.sequence(), seen);
    lock.write = false;
    ASSERT_TRUE(fs::set_lock(inode, lock).ok());
    EXPECT_EQ(changed.sequence(), ++seen) << "a lock for writing has become one for reading";
    ASSERT_TRUE(fs::clear_lock(inode, lock).ok());
    EXPECT_EQ(changed.sequence(), ++seen);
    ASSERT_TRUE(fs::clear_lock(inode, lock).ok());
    EXPECT_EQ(changed.sequence(), seen);
}

TEST_F(TableTest, EpollForgetsFilesThatGo) {
    Ref<fs::File> set = fs::make_file<fs::EpollFile>(fs::anonymous_inode().take(), fs::kOpenReadWrite).take();
    auto& epoll = static_cast<fs::EpollFile&>(*set);
    Ref<fs::File> a = any_file(), b = any_file();
    ASSERT_TRUE(epoll.add(3, *a, fs::kPollIn, 33).ok());
    ASSERT_TRUE(epoll.add(4, *b, fs::kPollIn | fs::kEpollEdge, 44).ok());
    EXPECT_EQ(epoll.add(3, *a, fs::kPollIn, 0).error(), Errno::kExist);
    EXPECT_EQ(epoll.remove(3, *b).error(), Errno::kNoEnt);
    fs::EpollFile::Ready ready[4];
    EXPECT_EQ(epoll.collect(ready, 4), 0u);
    u64 one = 1;
    ASSERT_TRUE(a->try_write(fs_test::kernel_spans(&one, 8), 0).ok());
    ASSERT_TRUE(b->try_write(fs_test::kernel_spans(&one, 8), 0).ok());
    ASSERT_EQ(epoll.collect(ready, 4), 2u);
    EXPECT_EQ(ready[0].data + ready[1].data, 77u);
    epoll.commit(ready, 2);
    ASSERT_EQ(epoll.collect(ready, 4), 1u) << "an edge is told once";
    EXPECT_EQ(ready[0].data, 33u);
    ASSERT_TRUE(b->try_write(fs_test::kernel_spans(&one, 8), 0).ok());
    EXPECT_EQ(epoll.collect(ready, 4), 2u) << "and again after the next";
    EXPECT_EQ(set->poll(), fs::kPollIn | fs::kPollRdNorm);
    b = {};
    EXPECT_EQ(epoll.size(), 1u);
    // A set in a set, and no circles.
    Ref<fs::File> outer = fs::make_file<fs::EpollFile>(fs::anonymous_inode().take(), fs::kOpenReadWrite).take();
    auto& around = static_cast<fs::EpollFile&>(*outer);
    ASSERT_TRUE(around.add(5, *set, fs::kPollIn, 55).ok());
    EXPECT_EQ(epoll.add(6, *outer, fs::kPollIn, 0).error(), Errno::kLoop);
    EXPECT_EQ(around.collect(ready, 4), 1u);
}

// While a thread waits on a set, its waiter is in the queues of the files in the sets inside it: those may end, but not their
// memory.
TEST_F(TableTest, AWaitKeepsTheQueuesOfFilesInSetsInSets) {
    auto make_set = [] {
        return fs::make_file<fs::EpollFile>(fs::anonymous_inode().take(), fs::kOpenReadWrite).take();
    };
    Ref<fs::File> outer = make_set(), inner = make_set(), file = any_file();
    ASSERT_TRUE(static_cast<fs::EpollFile&>(*inner).add(3, *file, fs::kPollIn, 0).ok());
    ASSERT_TRUE(static_cast<fs::EpollFile&>(*outer).add(4, *inner, fs::kPollIn, 0).ok());
    rt::Waiter room[4];
    fs::QueueSet queues{room, 4};
    fs::EpollLook look;
    look.start(&queues, Nanoseconds{0});
    fs::EpollFile::Ready ready;
    u32 found = 1;
    EXPECT_EQ(look.collect(static_cast<fs::EpollFile&>(*outer), &ready, 1, found), fs::EpollLook::Step::kDone);
    EXPECT_EQ(found, 0u);
    EXPECT_EQ(queues.count(), 3u);
    EXPECT_EQ(file->ref_count(), 1u);
    EXPECT_EQ(inner->ref_count(), 1u);
    EXPECT_TRUE(file->watched() && inner->watched());
    file = {};
    EXPECT_EQ(static_cast<fs::EpollFile&>(*inner).size(), 0u);
    inner = {};
    EXPECT_EQ(static_cast<fs::EpollFile&>(*outer).size(), 0u);
    // What the waiter's queues are in goes now (a sanitizer would see it go before).
    EXPECT_TRUE(look.forget());
    EXPECT_FALSE(outer->watched());
}

// The memory of a wait is its user's, from the first piece on and to the last.
TEST_F(TableTest, TheMemoryOfWaitsOnSetsIsCharged) {
    constexpr u32 kFiles = 500;
    Ref<fs::UserAccount> user = fs::UserAccount::of(4711).take();
    Ref<fs::File> set = fs::make_file<fs::EpollFile>(fs::anonymous_inode().take(), fs::kOpenReadWrite, user).take();
    auto& epoll = static_cast<fs::EpollFile&>(*set);
    std::vector<Ref<fs::File>> files;
    for (u32 i = 0; i < kFiles; ++i) {
        files.push_back(any_file());
        ASSERT_TRUE(epoll.add(i32(i), *files.back(), fs::kPollIn, i).ok());
    }
    std::vector<rt::Waiter> room(kFiles * 4);
    using Step = fs::EpollLook::Step;
    auto look_at_all = [&](fs::EpollLook& look) {
        fs::QueueSet queues{room.data(), u32(room.size())};
        look.start(&queues, Nanoseconds{0});
        fs::EpollFile::Ready ready;
        u32 found;
        Step step;
        do step = look.collect(epoll, &ready, 1, found);
        while (step == Step::kMore);
        return step;
    };
    EXPECT_EQ(user->epoll_waits.load(), 0u);
    {
        fs::EpollLook look{user}, other{user};
        EXPECT_EQ(look_at_all(look), Step::kDone);
        const u64 one = user->epoll_waits.load();
        EXPECT_GT(one, kFiles * 64u);
        EXPECT_EQ(look_at_all(other), Step::kDone);
        EXPECT_EQ(user->epoll_waits.load(), 2 * one);
        while (!look.forget()) {
        }
        EXPECT_EQ(look_at_all(look), Step::kDone) << "a second look takes the place of the first";
        EXPECT_EQ(user->epoll_waits.load(), 2 * one);
        EXPECT_FALSE(other.memory().take(fs::epoll_wait_limit()));
        EXPECT_EQ(user->epoll_waits.load(), 2 * one);
    }
    EXPECT_EQ(user->epoll_waits.load(), 0u);
    // As little as is left: no memory, and nothing is lost.
    const u64 others = fs::epoll_wait_limit() - 20000;
    user->epoll_waits.fetch_add(others);
    {
        fs::EpollLook look{user};
        EXPECT_EQ(look_at_all(look), Step::kNoMem);
        EXPECT_LE(user->epoll_waits.load(), fs::epoll_wait_limit());
    }
    EXPECT_EQ(user->epoll_waits.fetch_sub(others), others);
    files.clear();
    EXPECT_EQ(epoll.size(), 0u);
    EXPECT_FALSE(set->watched());
}

}  // namespace
