// SPDX-License-Identifier: MIT
// Memory is short, and no allocation has failed yet: who is ended for it, and when. What programs notice when there is none
// left are guest cases (tests/linux/programs/scarce.c, hogs.c).
#include "linux/task/out_of_memory.hpp"
#include "tests/unit/linux_world.hpp"

namespace {

using namespace linux_test;
using linux::AddressSpace;
using linux::EndForMemory;
using linux::ForMemory;

constexpr i32 kKill = 9;

// Takes frames until memory is short, and gives them back at its end.
class Shortage {
public:
    Shortage() { take(); }
    // Again: some may have come back.
    void take() {
        while (!rt::memory_is_short()) {
            auto frame = rt::alloc_frame();
            if (!frame.ok()) break;
            frames_.push_back(frame.value());
        }
    }
    ~Shortage() {
        for (PhysAddr frame : frames_) rt::free_frame(frame);
    }

private:
    std::vector<PhysAddr> frames_;
};

// Has so many pages, and sleeps.
template <u64 kPages>
Script sleeps_with(User& u) {
    const i64 at = co_await map_pages(u, kPages * kPageSize);
    for (u64 i = 0; i < kPages; ++i) co_await u.store<u64>(UserAddr{u64(at) + i * kPageSize}, 1);
    co_return co_await u.sys(abi::kNrPause);
}
Script start(User& u, UserAddr code) {
    const i64 pid = co_await u.fork_into(code, abi::kNrFork);
    for (u32 i = 0; i < 2000; ++i) co_await u.sys(abi::kNrSchedYield);
    co_return pid;
}
bool is_ending(i64 pid) {
    Ref<linux::Process> p = linux::find_process(linux::Pid{i32(pid)});
    if (!p) return true;
    rt::LockGuard guard{p->signals.lock};
    return p->group_exiting;
}
Ref<linux::Thread> thread_of(i64 pid) { return linux::find_thread(linux::Pid{i32(pid)}); }

TEST(LinuxScarce, ErrorForAnotherReasonEndsNobody) {
    static const UserAddr large = add_code([](User& u) -> Script { co_return co_await sleeps_with<900>(u); });
    EXPECT_EQ(run([](User& u) -> Script {
                  const i64 hog = co_await start(u, large);
                  {
                      Shortage shortage;
                      for (u32 i = 0; i < 3; ++i)
                          EXPECT_EQ(co_await u.sys(abi::kNrMprotect, u64{1} << 40, kPageSize, 1), error(Errno::kNoMem));
                      EXPECT_FALSE(is_ending(hog));
                  }
                  EXPECT_EQ(co_await u.sys(abi::kNrKill, hog, kKill), 0);
                  EXPECT_EQ(co_await wait_for(u, hog), killed_by(kKill));
                  co_return 0;
              }),
              exited(0));
}

// Of the two the larger, not the first program, which must look larger still; and the other not while that one's memory is
// there.
TEST(LinuxScarce, OneAtATimeAndNotTheFirstProgram) {
    static const UserAddr large = add_code([](User& u) -> Script { co_return co_await sleeps_with<900>(u); }),
                          small = add_code([](User& u) -> Script { co_return co_await sleeps_with<500>(u); });
    EXPECT_EQ(run([](User& u) -> Script {
                  const i64 other = co_await start(u, small), hog = co_await start(u, large);
                  Ref<linux::Process> first = linux::find_process(linux::Pid{i32(co_await u.sys(abi::kNrGetppid))});
                  (void)set_oom_adjustment(*first, linux::kMostOomAdjustment, true);
                  Ref<linux::Thread> mine = thread_of(co_await u.sys(abi::kNrGettid));
                  {
                      Shortage shortage;
                      EndForMemory one;
                      for (u32 i = 0; i < 100'000; ++i) {
                          shortage.take();
                          EXPECT_GE(one.next(*mine), ForMemory::kYield);
                          if (AddressSpace::awaited_end.load() != 0) break;  // it must not go on before the look
                          co_await u.sys(abi::kNrSchedYield);
                      }
                      shortage.take();
                      EndForMemory two;
                      // Longer than for what had gone by then to be free.
                      for (const auto end = hal::Machine::now() + lib::milliseconds(700); hal::Machine::now() < end;) {
                          EXPECT_GE(one.next(*mine), ForMemory::kYield);
                          EXPECT_GE(two.next(*mine), ForMemory::kYield);
                      }
                      EXPECT_TRUE(is_ending(hog));
                      EXPECT_FALSE(is_ending(other));
                      EXPECT_FALSE(is_ending(first->pid.value));
                  }
                  (void)set_oom_adjustment(*first, 0, true);
                  EXPECT_EQ(co_await wait_for(u, hog), killed_by(kKill));
                  EXPECT_EQ(AddressSpace::awaited_end.load(), 0u);
                  EXPECT_EQ(co_await u.sys(abi::kNrKill, other, kKill), 0);
                  EXPECT_EQ(co_await wait_for(u, other), killed_by(kKill));
                  co_return 0;
              }),
              exited(0));
}

// What is freed later never ends.
struct Endless {
    rt::Reclaimable item{.step = &Endless::step};
    bool stop = false;
    static constexpr u64 kFrames = 1 << 10;
    static rt::Reclaimable* step(rt::Reclaimable& r, u64) {
        if (!reinterpret_cast<Endless&>(r).stop) return &r;
        rt::reclaim_settled(kFrames);
        return nullptr;
    }
};

TEST(LinuxScarce, PiecesWithoutEndAreNotWaitedFor) {
    static Endless endless;
    static rt::Reclaimer reclaimer;
    EXPECT_EQ(run([](User& u) -> Script {
                  Ref<linux::Thread> mine = thread_of(co_await u.sys(abi::kNrGettid));
                  reclaimer.free(endless.item, Endless::kFrames);
                  {
                      Shortage shortage;
                      EndForMemory end;
                      ForMemory got = ForMemory::kYield;
                      for (u64 i = 0; got == ForMemory::kYield && i < 2 * rt::frame_total() / rt::kPushedForMemory; ++i)
                          got = end.next(*mine);
                      EXPECT_EQ(got, ForMemory::kPause);
                      endless.stop = true;
                      reclaimer.drain();
                  }
                  reclaimer.forget();
                  co_return 0;
              }),
              exited(0));
}

}  // namespace
