// SPDX-License-Identifier: MIT
// A page table in software, for ports that cannot read the machine's: page -> frame and rights. Used by the ports for
// copies to and from user memory. The caller serialises. Tables are frames of rt/mem.
#pragma once
#include <atomic>
#include <cstring>
#include <utility>

#include "hal/bind.hpp"
#include "port/api/types.hpp"
#include "rt/mem/pages.hpp"

namespace port {

class SoftTable {
public:
    SoftTable() = default;
    SoftTable(const SoftTable&) = delete;
    ~SoftTable() { clear(); }

    struct Entry {
        u64 raw = 0;  // frame | rights; 0: nothing
        static constexpr u64 kRead = 1, kWrite = 2, kExec = 4, kMapped = 8;
        static Entry make(PhysAddr frame, Prot p) {
            return {frame.value | kMapped | (p.read ? kRead : 0) | (p.write ? kWrite : 0) | (p.exec ? kExec : 0)};
        }
        bool mapped() const { return (raw & kMapped) != 0; }
        PhysAddr frame() const { return PhysAddr{raw & ~(kPageSize - 1)}; }
        bool allows(bool write) const { return write ? (raw & kWrite) != 0 : (raw & (kRead | kWrite | kExec)) != 0; }
    };

    // kNoMem if a table could not be allocated.
    Result<void> set(UserAddr page, Entry e) {
        u64* slot = TRY(find(page, true));
        *slot = e.raw;
        return lib::kOk;
    }
    Entry get(UserAddr page) const {
        auto slot = const_cast<SoftTable*>(this)->find(page, false);
        return slot.ok() && slot.value() ? Entry{*slot.value()} : Entry{};
    }
    // fn(UserAddr, Entry&) for each mapped page of the range; empty tables are skipped, so cost follows what is mapped.
    template <class F>
    void for_each(UserRange r, F&& fn) {
        if (root_.value != 0) walk(root_, 3, 0, r, fn);
    }
    // What one table of the last level covers, in bytes.
    static constexpr u64 kTableBytes = 512 * kPageSize;
    // Frees the tables over `r`, where nothing is mapped, that cover nothing outside [floor, ceiling).
    void free_tables(UserRange r, UserAddr floor, UserAddr ceiling) {
        if (root_.value != 0 && r.start < r.end) free_below(root_, 3, 0, r, floor, ceiling);
    }
    // Where the first `most` tables of the last level that lie over [from, to) end; `to` if there are no more than
    // that.
    UserAddr end_of_tables(UserAddr from, UserAddr to, u32 most) const {
        for (u64 va = from.value; va < to.value;) {
            u32 level = 3;
            PhysAddr at = root_;
            for (; at.value != 0 && level > 0; --level) at = PhysAddr{table(at)[index(va, level)]};
            if (at.value != 0 && most-- == 0) return UserAddr{va};
            va = (va | (span(at.value != 0 ? 1 : level + 1) - 1)) + 1;
        }
        return to;
    }
    void clear() {
        if (root_.value != 0) destroy(root_, 3);
        root_ = PhysAddr{0};
        tables_.store(0, std::memory_order_relaxed);
    }
    u64 tables() const { return tables_.load(std::memory_order_relaxed); }  // with the root; read without the lock

private:
    static u64* table(PhysAddr p) { return static_cast<u64*>(hal::Machine::phys_to_virt(p)); }
    static u64 span(u32 level) { return u64{1} << (12 + 9 * level); }  // of one entry
    static u32 index(u64 va, u32 level) { return u32(va >> (12 + 9 * level)) & 511; }

    Result<u64*> find(UserAddr page, bool make) {
        PhysAddr* link = &root_;
        for (u32 level = 3;; --level) {
            if (link->value == 0) {
                if (!make) return static_cast<u64*>(nullptr);
                *link = TRY(rt::alloc_zeroed_frame());
                tables_.fetch_add(1, std::memory_order_relaxed);
            }
            u64* slot = &table(*link)[index(page.value, level)];
            if (level == 0) return slot;
            link = reinterpret_cast<PhysAddr*>(slot);
        }
    }
    template <class F>
    void walk(PhysAddr at, u32 level, u64 base, UserRange r, F& fn) {
        u64 step = span(level);
        u64 first = r.start.value > base ? (r.start.value - base) / step : 0;
        for (u64 i = first; i < 512 && base + i * step < r.end.value; ++i) {
            u64& slot = table(at)[i];
            if (slot == 0) continue;
            if (level == 0) {
                Entry e{slot};
                if (e.mapped()) fn(UserAddr{base + i * step}, e);
                slot = e.raw;
            } else {
                walk(PhysAddr{slot}, level - 1, base + i * step, r, fn);
            }
        }
    }
    void free_below(PhysAddr at, u32 level, u64 base, UserRange r, UserAddr floor, UserAddr ceiling) {
        const u64 step = span(level);
        u64 first = r.start.value > base ? (r.start.value - base) / step : 0;
        for (u64 i = first; i < 512 && base + i * step < r.end.value; ++i) {
            u64& slot = table(at)[i];
            if (slot == 0) continue;
            const u64 start = base + i * step;
            if (level > 1) free_below(PhysAddr{slot}, level - 1, start, r, floor, ceiling);
            if (start < floor.value || start + step > ceiling.value) continue;
            rt::free_frame(PhysAddr{std::exchange(slot, 0)});
            tables_.fetch_sub(1, std::memory_order_relaxed);
        }
    }
    void destroy(PhysAddr at, u32 level) {
        if (level != 0)
            for (u32 i = 0; i < 512; ++i)
                if (u64 child = table(at)[i]) destroy(PhysAddr{child}, level - 1);
        rt::free_frame(at);
    }
    PhysAddr root_{};
    std::atomic<u64> tables_{0};
};

}  // namespace port
