// SPDX-License-Identifier: MIT
// What the CPUs of a machine share: the state of each line of memory, by which a write invalidates the copies of other CPUs,
// and the last-level cache. Any thread may call; a CPU's own caches are its thread's alone.
//
// Invalidation without touching another CPU's caches: a line has a version, and each copy remembers the version that it was
// filled with. A write by a CPU that does not own the line makes a new version, which no other CPU's copy has; a fill by
// another CPU takes the ownership away, so that the next write makes a new version again. This is MESI with the states
// derived: owned = modified or exclusive, same version = shared, other version = invalid.
#pragma once
#include <sys/mman.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <new>

#include "tools/cache_model/lru_sets.hpp"
#include "tools/cache_model/shape.hpp"

namespace cache_model {

// A line's number: physical address / bytes of a line. Code has numbers of its own (kCodeLine), because the emulator tells
// where code lies in the host's memory only; it is never invalidated by a write.
inline constexpr uint64_t kCodeLine = uint64_t{1} << 62, kNoLine = ~uint64_t{0};

class LineStates {
public:
    LineStates() {
        // Untouched pages cost nothing: 16 GiB of memory with lines of 64 bytes. Beyond that, lines share states, which
        // invalidates more.
        void* memory = ::mmap(nullptr, kLines * sizeof(State), PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) throw std::bad_alloc();
        states_ = static_cast<State*>(memory);
    }
    ~LineStates() { ::munmap(states_, kLines * sizeof(State)); }
    LineStates(const LineStates&) = delete;
    LineStates& operator=(const LineStates&) = delete;

    uint32_t version(uint64_t line) const { return of(line).load(std::memory_order_relaxed) >> kOwnerBits; }
    bool owns(uint64_t line, unsigned cpu, uint32_t version) const {
        return of(line).load(std::memory_order_relaxed) == (version << kOwnerBits | (cpu + 1));
    }
    // `cpu` gets a copy. Gives its version.
    uint32_t read(uint64_t line, unsigned cpu) {
        State& state = of(line);
        uint32_t seen = state.load(std::memory_order_relaxed);
        while ((seen & kOwnerMask) != 0 && (seen & kOwnerMask) != cpu + 1 &&
               !state.compare_exchange_weak(seen, seen & ~kOwnerMask, std::memory_order_relaxed)) {
        }
        return seen >> kOwnerBits;
    }
    // `cpu` writes: all other copies are invalid afterwards. Gives the version of its own.
    uint32_t write(uint64_t line, unsigned cpu) {
        State& state = of(line);
        uint32_t seen = state.load(std::memory_order_relaxed);
        while ((seen & kOwnerMask) != cpu + 1) {
            const uint32_t next = ((seen >> kOwnerBits) + 1) << kOwnerBits | (cpu + 1);
            if (state.compare_exchange_weak(seen, next, std::memory_order_relaxed)) return next >> kOwnerBits;
        }
        return seen >> kOwnerBits;
    }

private:
    // Version in the upper bits, then the owner's number + 1, or 0. Each state stands for itself, hence relaxed.
    using State = std::atomic<uint32_t>;
    static constexpr uint32_t kOwnerBits = 7, kOwnerMask = (1u << kOwnerBits) - 1;
    static constexpr uint64_t kLines = uint64_t{1} << 28;
    State& of(uint64_t line) const { return states_[line & (kLines - 1)]; }
    State* states_;
};

class SharedCache {
public:
    explicit SharedCache(const MachineShape& shape) : sets_(shape.llc.bytes / shape.line, shape.llc.ways) {}
    // True: it was there. It is afterwards.
    bool touch(uint64_t line) {
        std::atomic_flag& lock = locks_[(line & (sets_.sets() - 1)) % kLocks].flag;
        while (lock.test_and_set(std::memory_order_acquire)) {
        }
        const bool hit = sets_.find(line, [=](uint64_t tag) { return tag == line + 1; }) != nullptr;
        if (!hit) sets_.insert(line, line + 1, [](uint64_t tag) { return tag == 0; });
        lock.clear(std::memory_order_release);
        return hit;
    }

private:
    // A set has one lock, and a lock many sets.
    static constexpr uint64_t kLocks = 64;
    struct alignas(64) Lock {
        std::atomic_flag flag;
    };
    LruSets<uint64_t> sets_;  // line + 1; 0: free
    std::array<Lock, kLocks> locks_;
};

}  // namespace cache_model
