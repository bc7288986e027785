// SPDX-License-Identifier: MIT
// One CPU of the model: L1I, L1D, unified L2, ITLB, DTLB, second-level TLB. Used by one thread; what CPUs share is in
// lines.hpp. Write-back, write-allocate, true LRU, no prefetcher; the levels are filled together and none is made to contain
// another. Page walks' own accesses are not modelled.
//
// Caches are looked up by physical address. A TLB entry keeps the page's frame, which `Resolve` (the emulator) is asked for
// when no entry has it, so a translation is as old as hardware's would be.
//
// Which page an INVLPG drops is not known to the caller. After one, each entry is compared with the emulator's translation
// when it is used next: a page with another frame counts as a miss, one with the same frame does not.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "tools/cache_model/counters.hpp"
#include "tools/cache_model/lines.hpp"
#include "tools/cache_model/lru_sets.hpp"
#include "tools/cache_model/shape.hpp"

namespace cache_model {

// Kernel addresses from begin (inclusive) to end (exclusive), 0 for the end of the address space. `shift`: log2 of the
// pages' size. The first range that contains an address holds; without one, pages of 4 KiB that are not global.
struct PageRange {
    uint64_t begin = 0, end = 0;
    unsigned shift = 12;
    bool global = false;
};

inline constexpr uint64_t kNoFrame = ~uint64_t{0}, kDevice = kNoFrame - 1;  // instead of a frame's address

class Cpu {
public:
    // `alone`: the machine has one CPU, so nothing is ever invalidated.
    Cpu(const MachineShape& shape, unsigned number, bool alone, const std::vector<PageRange>& ranges,
        LineStates& states, SharedCache& last)
        : number_(number),
          alone_(alone),
          line_bits_(static_cast<unsigned>(__builtin_ctz(shape.line))),
          ranges_(ranges),
          states_(states),
          last_(last),
          l1i_(shape.l1i.bytes / shape.line, shape.l1i.ways),
          l1d_(shape.l1d.bytes / shape.line, shape.l1d.ways),
          l2_(shape.l2.bytes / shape.line, shape.l2.ways),
          itlb_(shape.itlb, shape.itlb2m),
          dtlb_(shape.dtlb, shape.dtlb2m),
          stlb_(shape.stlb.entries, shape.stlb.ways) {}

    const Counters& counters() const { return counters_; }

    // `instructions` one after the other in one line, which is at `address` (virtual) and `host` (anything that identifies
    // the bytes, its low 12 bits those of the address). `next_too`: the last one ends in the line after it.
    void code(uint64_t address, uint64_t host, uint32_t instructions, bool next_too, Code kind) {
        counters_[kind][kInstructions].add(instructions);
        const uint64_t line = host >> line_bits_;
        if (address >> 12 != code_page_) translate_code(address, host, kind);
        if (line != code_line_ || next_too) {
            unsigned level = code_level(line);
            if (next_too) level = std::max(level, code_level(line + 1));
            count(kind, kL1i, level);
            code_line_ = next_too ? line + 1 : line;
        }
    }

    // An access of 1 to 64 bytes. `resolve(address)` gives the physical address, kDevice for one that is no memory, or
    // kNoFrame if it is not known (then the virtual one stands for it).
    template <typename Resolve>
    void data(uint64_t address, uint32_t size, bool store, Code kind, Resolve resolve) {
        auto& counts = counters_[kind];
        counts[store ? kStores : kLoads].add(1);
        unsigned level = data_level(address, store, kind, resolve);
        const uint64_t end = address + size - 1;
        if ((address ^ end) >> line_bits_ != 0) [[unlikely]]
            level = std::max(level, data_level(end, store, kind, resolve));
        if (level != 0) [[unlikely]]
            count(kind, kL1d, level);
    }

    // CR3 is written: all translations but the global ones are dropped.
    void flush_space(Code kind) {
        counters_[kind][kSpaceFlushes].add(1);
        next_space();
        code_page_ = kNoLine;
    }
    // CR4 or CR0: the global ones too.
    void flush_all(Code kind) {
        counters_[kind][kSpaceFlushes].add(1);
        drop_all();
    }
    void flush_page(Code kind) {
        counters_[kind][kPageFlushes].add(1);
        ++epoch_;
        code_page_ = kNoLine;
    }

private:
    // Which level had it: 0 the first, 1 the second, 2 the last, 3 none.
    enum : unsigned { kFirst, kSecond, kLast, kMemory };
    struct Line {
        uint64_t number = kNoLine;
        uint32_t version = 0;
    };
    // What identifies a page: its number, its size, and the address space (0 for global pages).
    struct Page {
        uint64_t key, number;
        unsigned shift;
    };
    struct Translation {
        uint64_t key = 0;  // no page has this
        uint64_t frame = kNoFrame, code_frame = kNoFrame;
        uint32_t epoch = 0;
    };
    using Lines = LruSets<Line>;
    using Pages = LruSets<Translation>;
    // A first-level TLB: with entries of their own for large pages, or not.
    struct Tlb {
        Tlb(TlbShape small_shape, TlbShape large_shape)
            : small(small_shape.entries, small_shape.ways), large(large_shape.entries, large_shape.ways) {}
        Pages& of(const Page& page) { return page.shift == 12 || large.empty() ? small : large; }
        Pages small, large;
    };

    static constexpr unsigned kNumberBits = 36;  // 48 bits of address
    static constexpr uint64_t kNumberMask = (uint64_t{1} << kNumberBits) - 1, kLarge = uint64_t{1} << 63;
    static constexpr uint64_t kSpaceMask = kLarge - (uint64_t{1} << kNumberBits);
    static constexpr uint64_t kLastSpace = (uint64_t{1} << 27) - 1;

    void count(Code kind, Field first, unsigned level) {
        auto& counts = counters_[kind];
        if (level >= kSecond) counts[first].add(1);
        if (level >= kLast && !l2_.empty()) counts[kL2].add(1);
        if (level >= kMemory) counts[kLlc].add(1);
    }

    // --- Caches

    bool stale(const Line& line) const {
        return !alone_ && (line.number & kCodeLine) == 0 && states_.version(line.number) != line.version;
    }
    bool is_free(const Line& line) const { return line.number == kNoLine || stale(line); }
    void insert(Lines& lines, uint64_t number, uint32_t version) {
        lines.insert(number, {number, version}, [this](const Line& line) { return is_free(line); });
    }
    static Line* find(Lines& lines, uint64_t number) {
        return lines.find(number, [=](const Line& line) { return line.number == number; });
    }

    bool in_second(uint64_t number) {
        if (l2_.empty()) return false;
        const Line* line = find(l2_, number);
        return line && !stale(*line);
    }
    // What neither of the CPU's own levels has: into the second, and the last.
    unsigned from_last(uint64_t number, uint32_t version) {
        if (!l2_.empty()) {
            if (Line* stale = find(l2_, number)) {
                stale->version = version;
            } else {
                insert(l2_, number, version);
            }
        }
        return last_.touch(number) ? kLast : kMemory;
    }

    [[gnu::noinline]] unsigned code_level(uint64_t line) {
        line |= kCodeLine;
        if (find(l1i_, line)) return kFirst;
        insert(l1i_, line, 0);
        return in_second(line) ? kSecond : from_last(line, 0);
    }

    // Most accesses find the most recent line of its set: these paths are inlined, the others are calls.
    unsigned line_level(uint64_t number, bool store, Code kind) {
        const Line* line = l1d_.set(number);
        if (line->number == number &&
            (alone_ || (store ? states_.owns(number, number_, line->version) : !stale(*line)))) [[likely]]
            return kFirst;
        return other_line_level(number, store, kind);
    }
    [[gnu::noinline]] unsigned other_line_level(uint64_t number, bool store, Code kind) {
        Line* line = find(l1d_, number);
        if (line && alone_) return kFirst;
        if (line && !stale(*line)) {
            if (store && !states_.owns(number, number_, line->version)) upgrade(*line);
            return kFirst;
        }
        if (line) counters_[kind][kInvalidated].add(1);
        // Looked up before this access changes the line's state.
        const bool second = in_second(number);
        uint32_t version = 0;
        if (!alone_) version = store ? states_.write(number, number_) : states_.read(number, number_);
        if (line) {
            line->version = version;
        } else {
            insert(l1d_, number, version);
        }
        if (!second) return from_last(number, version);
        l2_.set(number)->version = version;  // the most recent, since it was looked up
        return kSecond;
    }
    // The first write to a line that other CPUs may have read.
    void upgrade(Line& line) {
        line.version = states_.write(line.number, number_);
        if (l2_.empty()) return;
        if (Line* below = find(l2_, line.number)) below->version = line.version;
    }

    // --- TLBs

    Page page_of(uint64_t address) const {
        if (address >> 63 != 0) {
            for (const PageRange& range : ranges_) {
                if (address < range.begin || (range.end != 0 && address >= range.end)) continue;
                const uint64_t number = address >> range.shift & (kNumberMask >> (range.shift - 12));
                return {(range.global ? 0 : space_ << kNumberBits) | number | (range.shift > 12 ? kLarge : 0), number,
                        range.shift};
            }
        }
        const uint64_t number = address >> 12 & kNumberMask;
        return {space_ << kNumberBits | number, number, 12};
    }
    bool is_free(const Translation& entry) const {
        const uint64_t space = entry.key & kSpaceMask;
        return entry.key == 0 || (space != 0 && space != space_ << kNumberBits);
    }
    Translation* insert(Pages& pages, const Page& page, const Translation& entry) {
        return pages.insert(page.number, entry, [this](const Translation& other) { return is_free(other); });
    }

    // After an INVLPG: whether the entry may have stayed. `now`: the frame, of data or of code.
    bool confirm(Translation& entry, uint64_t Translation::* frame, uint64_t now) const {
        if (entry.epoch == epoch_) return true;
        if (entry.*frame != kNoFrame && entry.*frame != now) return false;
        if (entry.*frame == kNoFrame) entry.frame = entry.code_frame = kNoFrame;
        entry.*frame = now;
        entry.epoch = epoch_;
        return true;
    }
    // The page's entry in the first level, which had to be looked up, and then in the second. `now()` gives the frame.
    template <typename Now>
    [[gnu::noinline]] Translation* look_up(Tlb& tlb, const Page& page, Code kind, Field miss,
                                           uint64_t Translation::* frame, Now now) {
        auto same = [&](const Translation& entry) { return entry.key == page.key; };
        Pages& first = tlb.of(page);
        Translation* entry = first.find(page.number, same);
        if (entry && (entry->epoch == epoch_ || confirm(*entry, frame, now()))) return entry;
        counters_[kind][miss].add(1);
        Translation found{.key = page.key, .frame = kNoFrame, .code_frame = kNoFrame, .epoch = epoch_};
        Translation* below = stlb_.find(page.number, same);
        if (below && (below->epoch == epoch_ || confirm(*below, frame, now()))) {
            found = *below;
        } else {
            counters_[kind][miss + 1].add(1);
            found.*frame = now();
            if (below) {
                *below = found;
            } else if (!stlb_.empty()) {
                insert(stlb_, page, found);
            }
        }
        if (entry) {
            *entry = found;
            return entry;
        }
        return insert(first, page, found);
    }

    [[gnu::noinline]] void translate_code(uint64_t address, uint64_t host, Code kind) {
        code_page_ = address >> 12;
        const Page page = page_of(address);
        const uint64_t frame = host - (address & ((uint64_t{1} << page.shift) - 1));
        look_up(itlb_, page, kind, kItlb, &Translation::code_frame, [=] { return frame; });
    }

    template <typename Resolve>
    unsigned data_level(uint64_t address, bool store, Code kind, Resolve& resolve) {
        const Page page = page_of(address);
        const uint64_t offset = address & ((uint64_t{1} << page.shift) - 1);
        auto now = [&] {
            const uint64_t physical = resolve(address);
            return physical == kDevice ? kDevice : (physical == kNoFrame ? address : physical) - offset;
        };
        Translation* entry = dtlb_.of(page).set(page.number);
        if (entry->key != page.key || entry->epoch != epoch_) [[unlikely]]
            entry = look_up(dtlb_, page, kind, kDtlb, &Translation::frame, now);
        if (entry->frame == kNoFrame) [[unlikely]]
            entry->frame = now();  // an entry that only code has used
        if (entry->frame == kDevice) return kFirst;
        return line_level((entry->frame + offset) >> line_bits_, store, kind);
    }

    void next_space() {
        if (++space_ > kLastSpace) drop_all();
    }
    void drop_all() {
        // Global pages have no space that could end: their entries are cleared one by one.
        for (Pages* pages : {&itlb_.small, &itlb_.large, &dtlb_.small, &dtlb_.large, &stlb_}) pages->clear();
        space_ = 1;
        code_page_ = kNoLine;
    }

    const unsigned number_;
    const bool alone_;
    const unsigned line_bits_;
    const std::vector<PageRange> ranges_;
    LineStates& states_;
    SharedCache& last_;
    Lines l1i_, l1d_, l2_;
    Tlb itlb_, dtlb_;
    Pages stlb_;
    uint64_t space_ = 1;
    uint32_t epoch_ = 0;
    uint64_t code_page_ = kNoLine, code_line_ = kNoLine;  // of the last instruction
    Counters counters_;
};

}  // namespace cache_model
