// SPDX-License-Identifier: MIT
// The buddy lists behind the per-CPU caches of pages.hpp. Used only within rt/mem.
#pragma once
#include <atomic>

#include "rt/mem/pages.hpp"
#include "rt/spinlock.hpp"

namespace rt::detail {

class Buddy {
public:
    // Records a range, which takes effect with the first allocation. Called on one CPU, before others run. Ranges
    // beyond kMaxRanges are ignored.
    void add_range(PhysAddr start, u64 bytes, bool used) RT_EXCLUDES(lock_);

    // Returns one block of 2^order frames, or PhysAddr{0} if there is none: frame 0 is never allocated.
    PhysAddr take(unsigned order, Alloc how) RT_EXCLUDES(lock_);
    // Frees a block, with the order that take() got.
    void give(PhysAddr at, unsigned order) RT_EXCLUDES(lock_);
    // Takes up to n single frames and returns how many it took.
    u32 take_many(u64* out, u32 n, Alloc how) RT_EXCLUDES(lock_);
    void give_many(const u64* frames, u32 n) RT_EXCLUDES(lock_);

    // Counts in frames. Relaxed reads: statistics.
    u64 total() const { return total_.load(std::memory_order_relaxed); }
    u64 info() const { return info_.load(std::memory_order_relaxed); }
    u64 free() const { return free_.load(std::memory_order_relaxed); }
    u64 reserve() const { return reserve_.load(std::memory_order_relaxed); }

    // Lays out the ranges that were added but are not laid out yet.
    void settle() RT_EXCLUDES(lock_);
    // For tests: null if the lists are consistent, otherwise what is wrong.
    const char* check() RT_EXCLUDES(lock_);
    void reset() RT_EXCLUDES(lock_);

private:
    struct Range {
        u64 start, end;  // frame numbers
        bool used;
    };
    static constexpr u32 kMaxRanges = 128;

    void build() RT_REQUIRES(lock_);
    bool place_infos(u64 section) RT_REQUIRES(lock_);
    bool covered(u64 frame) const RT_REQUIRES(lock_);
    FrameInfo* carve(u64 bytes) RT_REQUIRES(lock_);
    u64 add_free(u64 start, u64 end) RT_REQUIRES(lock_);
    u64 add_used(u64 start, u64 end) RT_REQUIRES(lock_);
    void make_ready(u64 frame, FrameState state) RT_REQUIRES(lock_);
    bool allowed(u64 frames, Alloc how) const RT_REQUIRES(lock_);
    FrameInfo* pop(unsigned order) RT_REQUIRES(lock_);
    void push(FrameInfo* f, unsigned order) RT_REQUIRES(lock_);
    void unlink(FrameInfo* f, unsigned order) RT_REQUIRES(lock_);
    void merge_and_push(u64 frame, unsigned order) RT_REQUIRES(lock_);
    u64 split_off(unsigned at_least, unsigned at_most, unsigned& order) RT_REQUIRES(lock_);
    void count_free(i64 frames) RT_REQUIRES(lock_) {
        free_.store(free_.load(std::memory_order_relaxed) + static_cast<u64>(frames), std::memory_order_relaxed);
    }

    SpinLock<Rank::frames> lock_;
    bool pending_ RT_GUARDED_BY(lock_) = false;
    u32 nonempty_ RT_GUARDED_BY(lock_) = 0;  // bit k: lists_[k] is not empty
    FrameInfo* lists_[kMaxOrder + 1] RT_GUARDED_BY(lock_) = {};
    u32 range_count_ RT_GUARDED_BY(lock_) = 0;
    Range ranges_[kMaxRanges] RT_GUARDED_BY(lock_) = {};
    u32 covered_[kSections] RT_GUARDED_BY(lock_) = {};  // chunks that the section's array covers
    // Written under lock_, read without it.
    std::atomic<u64> total_{0}, info_{0}, free_{0}, reserve_{0};
};

extern Buddy buddy;

}  // namespace rt::detail
