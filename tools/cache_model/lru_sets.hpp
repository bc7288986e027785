// SPDX-License-Identifier: MIT
// A set-associative table whose sets are kept in order of use, the most recent first: true LRU. Not for several threads.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace cache_model {

template <typename Entry>
class LruSets {
public:
    LruSets() = default;
    // `entries` / `ways` is a power of two; no entries: every lookup fails, and nothing may be inserted.
    LruSets(uint32_t entries, uint32_t ways)
        : entries_(entries), ways_(ways), mask_(entries == 0 ? 0 : entries / ways - 1) {}

    void clear() { entries_.assign(entries_.size(), Entry{}); }
    bool empty() const { return entries_.empty(); }
    uint64_t sets() const { return mask_ + 1; }
    // The set of a number (of a line or page), its most recent entry.
    Entry* set(uint64_t number) { return &entries_[(number & mask_) * ways_]; }

    // The entry for which `same` holds, after it has become the most recent; else null.
    template <typename Same>
    Entry* find(uint64_t number, Same same) {
        if (empty()) return nullptr;
        Entry* set = this->set(number);
        for (uint32_t way = 0; way < ways_; ++way) {
            if (same(set[way])) return to_front(set, way);
        }
        return nullptr;
    }

    // Takes the place of an entry that is free (the least recent of those), else of the least recent.
    template <typename Free>
    Entry* insert(uint64_t number, const Entry& entry, Free is_free) {
        Entry* set = this->set(number);
        uint32_t victim = ways_ - 1;
        for (uint32_t way = ways_; way-- > 0;) {
            if (!is_free(set[way])) continue;
            victim = way;
            break;
        }
        set[victim] = entry;
        return to_front(set, victim);
    }

private:
    static Entry* to_front(Entry* set, uint32_t way) {
        if (way == 0) return set;
        const Entry entry = set[way];
        for (; way > 0; --way) set[way] = set[way - 1];
        *set = entry;
        return set;
    }

    std::vector<Entry> entries_;
    uint32_t ways_ = 1;
    uint64_t mask_ = 0;
};

}  // namespace cache_model
