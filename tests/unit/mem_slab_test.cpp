// SPDX-License-Identifier: MIT
// rt/mem/slab and rt/mem/frames: objects never overlap, are aligned, come back to the buddy lists, survive being freed
// on another CPU; every allocation may fail; frames are counted, and the reserve serves when nothing else does.
#include "rt/mem/slab.hpp"

#include <cstring>
#include <map>
#include <mutex>
#include <random>

#include "rt/mem/frames.hpp"
#include "tests/unit/mem_support.hpp"

namespace {

using rt::detail::slab_allocate;
using rt::detail::slab_deallocate;

class Slabs : public mem_test::MemTest {
protected:
    // All free objects go back; then every frame must be free again.
    void expect_nothing_lost() {
        rt::drain_object_caches();
        rt::drain_frame_cache();
        EXPECT_EQ(rt::free_frame_count(), before_);
        EXPECT_EQ(rt::mem_stats().slab_bytes, 0u);
        EXPECT_EQ(rt::mem_stats().frame_bytes, 0u);
    }
};

constexpr size_t kSizes[] = {1,   8,   16,  17,  32,  33,   48,   64,   65,   96,   100,  128,  192,  200,  256,  300,
                             384, 500, 512, 700, 768, 1000, 1024, 1500, 1536, 2000, 2048, 2049, 4096, 4097, 20000};

TEST_F(Slabs, RandomObjectsNeverOverlapAndAllPagesComeBack) {
    for (u32 seed = 1; seed <= 4; ++seed) {
        std::mt19937 random(seed);
        std::map<char*, size_t> model;
        for (int step = 0; step < 20000; ++step) {
            if (model.empty() || random() % 100 < (step < 12000 ? 55u : 45u)) {
                size_t n = kSizes[random() % std::size(kSizes)];
                auto* p = static_cast<char*>(slab_allocate(n));
                if (!p) continue;
                ASSERT_EQ(reinterpret_cast<u64>(p) % 16, 0u);
                auto after = model.lower_bound(p);
                if (after != model.end()) ASSERT_LE(p + n, after->first);
                if (after != model.begin()) {
                    auto b = std::prev(after);
                    ASSERT_LE(b->first + b->second, p);
                }
                ASSERT_GE(rt::allocated_size(p), n);
                model[p] = n;
                memset(p, static_cast<int>(n), n);
            } else {
                auto it = model.begin();
                std::advance(it, random() % std::min<size_t>(model.size(), 50));
                auto [p, n] = *it;
                for (size_t i = 0; i < n; i += 7) ASSERT_EQ(p[i], static_cast<char>(n));
                if (random() % 2)
                    slab_deallocate(p, n);
                else
                    slab_deallocate(p, rt::allocated_size(p));  // what the unsized delete does
                model.erase(it);
            }
        }
        for (auto [p, n] : model) slab_deallocate(p, n);
        expect_nothing_lost();
    }
}

TEST_F(Slabs, SizesDecideTheAlignment) {
    for (size_t align : {16, 32, 64, 128, 256, 512, 1024, 2048, 4096})
        for (size_t n = align; n <= 8 * align && n <= 16384; n += align) {
            void* p[5];
            for (void*& q : p) {
                q = slab_allocate(n);
                EXPECT_EQ(reinterpret_cast<u64>(q) % align, 0u) << n << " " << align;
            }
            for (void* q : p) slab_deallocate(q, n);
        }
    expect_nothing_lost();
}

TEST_F(Slabs, StatisticsTellObjectsInUse) {
    std::vector<void*> objects;
    for (int i = 0; i < 100; ++i) objects.push_back(slab_allocate(64));
    rt::MemStats s = rt::mem_stats();
    EXPECT_EQ(s.slab_bytes - s.slab_free_bytes, 6400u);
    void* large = slab_allocate(5000);
    EXPECT_EQ(rt::mem_stats().slab_bytes, s.slab_bytes + 8192);
    slab_deallocate(large, 5000);
    for (void* p : objects) slab_deallocate(p, 64);
    s = rt::mem_stats();
    EXPECT_EQ(s.slab_bytes, s.slab_free_bytes);
    expect_nothing_lost();
}

TEST_F(Slabs, OutOfMemoryIsNullAndHarmless) {
    std::vector<void*> objects;
    while (void* p = slab_allocate(1024)) objects.push_back(p);
    EXPECT_GT(objects.size() * 1024, u64{60} << 20);
    EXPECT_EQ(slab_allocate(16), nullptr);
    EXPECT_EQ(slab_allocate(8192), nullptr);
    EXPECT_EQ(slab_allocate(u64{8} << 20), nullptr);
    for (void* p : objects) slab_deallocate(p, 1024);
    expect_nothing_lost();
}

TEST_F(Slabs, ObjectsMayBeFreedOnAnyCpu) {
    struct Block {
        u64* p;
        size_t n;
    };
    std::mutex mutex;
    std::vector<Block> shared;
    mem_test::on_cpus(4, [&](u32 cpu) {
        std::mt19937 random(cpu + 7);
        std::vector<Block> mine;
        auto release = [](Block b) {
            for (size_t i = 1; i < b.n / 8; ++i) ASSERT_EQ(b.p[i], b.p[0]);
            slab_deallocate(b.p, b.n);
        };
        for (int step = 0; step < 20000; ++step) {
            if (random() % 2) {
                size_t n = (kSizes[random() % std::size(kSizes)] + 15) & ~size_t{15};
                auto* p = static_cast<u64*>(slab_allocate(n));
                if (!p) continue;
                for (size_t i = 0; i < n / 8; ++i) p[i] = u64{cpu} << 32 | static_cast<u64>(step);
                mine.push_back({p, n});
            } else if (!mine.empty()) {
                Block b = mine.back();
                mine.pop_back();
                if (random() % 3 == 0) {
                    std::lock_guard hold(mutex);
                    shared.push_back(b);
                    std::swap(shared.back(), shared[random() % shared.size()]);
                    b = shared.back();
                    shared.pop_back();
                }
                release(b);
            }
            if (step % 100 == 0) rt::mem_stats();
        }
        for (Block b : mine) release(b);
        rt::drain_object_caches();
        rt::drain_frame_cache();
    });
    expect_nothing_lost();
}

// The dying children share the memory with this process: each gets an object of its own, and none is used afterwards.
TEST_F(Slabs, WrongFreesStopTheMachine) {
    void* p[3];
    for (void*& q : p) q = slab_allocate(64);
    EXPECT_DEATH(slab_deallocate(p[0], 128), "wrong size");
    EXPECT_DEATH(
        {
            slab_deallocate(p[1], 64);
            slab_deallocate(p[1], 64);
        },
        "freed twice");
    EXPECT_DEATH(
        {
            slab_deallocate(p[2], 64);
            static_cast<char*>(p[2])[20] = 1;
            slab_allocate(64);
        },
        "written to");
}

struct Counted : RefCounted<Counted> {
    explicit Counted(int* n) : alive(n) { ++*alive; }
    ~Counted() { --*alive; }
    int* alive;
};

TEST_F(Slabs, MadeObjectsAreDestroyedOnceAndMayFail) {
    int alive = 0;
    {
        auto a = rt::make_ref<Counted>(&alive);
        ASSERT_TRUE(a.ok());
        Ref<Counted> again = a.value();
        rt::Owned<Counted> owned(rt::make<Counted>(&alive));
        rt::Owned<Counted> moved(std::move(owned));
        EXPECT_FALSE(owned);
        EXPECT_EQ(alive, 2);
    }
    EXPECT_EQ(alive, 0);
    rt::mem_fail_after(1);
    EXPECT_TRUE(rt::make_ref<Counted>(&alive).ok());
    auto failed = rt::make_ref<Counted>(&alive);
    EXPECT_FALSE(failed.ok());
    EXPECT_EQ(failed.error(), Errno::kNoMem);
    EXPECT_TRUE(rt::make_ref<Counted>(&alive).ok());
    EXPECT_EQ(alive, 0);
}

TEST_F(Slabs, EveryAllocationCanBeMadeToFail) {
    // n counts injection points: an object whose slab must be made first has two of them.
    for (u64 n = 0;; ++n) {
        rt::mem_fail_after(n);
        void* p[6];
        size_t size[6] = {16, 64, 64, 2048, 4096, 16384};
        for (int i = 0; i < 6; ++i) p[i] = slab_allocate(size[i]);
        u64 failed = rt::mem_injected_failures();
        rt::mem_fail_never();
        int missing = 0;
        for (int i = 0; i < 6; ++i) missing += p[i] == nullptr;
        EXPECT_EQ(missing, static_cast<int>(failed));
        for (int i = 0; i < 6; ++i)
            if (p[i]) slab_deallocate(p[i], size[i]);
        expect_nothing_lost();
        if (failed == 0) {
            EXPECT_GE(n, 6u);
            break;
        }
    }
}

class CoroutineFrames : public Slabs {};

TEST_F(CoroutineFrames, AreCountedAndComeBack) {
    u64 start = rt::frames_allocated(), live = rt::frames_live();
    std::vector<std::pair<void*, size_t>> frames;
    for (size_t n = 1; n < 9000; n += 61) {
        void* p = rt::frame_allocate(n);
        ASSERT_NE(p, nullptr);
        memset(p, 1, n);
        frames.emplace_back(p, n);
    }
    EXPECT_EQ(rt::frames_allocated() - start, frames.size());
    EXPECT_EQ(rt::frames_live() - live, frames.size());
    mem_test::on_cpus(3, [&](u32 cpu) {
        for (size_t i = cpu; i < frames.size(); i += 3) rt::frame_free(frames[i].first, frames[i].second);
        rt::drain_object_caches();
        rt::drain_frame_cache();
    });
    EXPECT_EQ(rt::frames_live(), live);
    expect_nothing_lost();
}

TEST_F(CoroutineFrames, ReserveServesWhenMemoryFails) {
    rt::FrameReserve reserve;
    ASSERT_TRUE(reserve.prepare(1000).ok());
    rt::mem_fail_after(0, 1000);
    EXPECT_EQ(rt::frame_allocate(100), nullptr);
    rt::set_frame_reserve(&reserve);
    void* a = rt::frame_allocate(300);
    void* b = rt::frame_allocate(300);
    void* c = rt::frame_allocate(300);
    ASSERT_TRUE(a && b && c);
    EXPECT_TRUE(reserve.holds(a) && reserve.holds(b) && reserve.holds(c));
    EXPECT_EQ(reinterpret_cast<u64>(b) % 16, 0u);
    EXPECT_EQ(rt::frame_allocate(300), nullptr);
    rt::frame_free(c, 300);
    c = rt::frame_allocate(350);  // a stack: the last place is free again
    EXPECT_NE(c, nullptr);
    rt::frame_free(a, 300);  // out of order: comes back when all are free
    rt::frame_free(c, 350);
    rt::frame_free(b, 300);
    EXPECT_FALSE(reserve.in_use());
    a = rt::frame_allocate(1000);
    EXPECT_NE(a, nullptr);
    rt::frame_free(a, 1000);
    rt::mem_fail_never();
    a = rt::frame_allocate(200);  // memory again: the reserve is left alone
    EXPECT_FALSE(reserve.holds(a));
    rt::frame_free(a, 200);
    rt::set_frame_reserve(nullptr);
    reserve.drop();
    expect_nothing_lost();
}

}  // namespace
