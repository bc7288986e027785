// SPDX-License-Identifier: MIT
// The inside of an AddressSpace: the tree of areas, the anonymous pages, the totals. It is reached through
// AddressSpace::state(), which needs the space's lock. Each function checks first and then changes what cannot fail.
//
// Areas that were taken out may hold the last reference to a file, whose end takes locks of smaller rank: they are put
// into a DeadAreas that the caller declares before its lock guard, and are destroyed after the lock was released.
#pragma once
#include "linux/mm/anon_map.hpp"
#include "linux/mm/area.hpp"

namespace linux {

// What one piece of a long change may touch, together less than 100,000 instructions (docs/testing.md, "Stretches"). A
// leaf does one piece at the most.
inline constexpr u64 kLongWork = 512;     // private pages
inline constexpr u64 kLongTables = 2048;  // pages in page tables
inline constexpr u32 kLongAreas = 128;
inline constexpr u64 kMinAddress = 0x10000;               // sysctl vm.mmap_min_addr
inline constexpr u64 kStackGuard = 256 * lib::kPageSize;  // below an area that grows down (stack_guard_gap)

class DeadAreas {
public:
    DeadAreas() = default;
    DeadAreas(const DeadAreas&) = delete;
    ~DeadAreas() {
        while (first_) {
            Area* next = reinterpret_cast<Area*>(first_->hook.left);
            delete std::exchange(first_, next);
        }
    }
    void add(Area& a) {  // not in a tree any more: its hook carries the list
        a.hook.left = reinterpret_cast<lib::TreeHook*>(first_);
        first_ = &a;
    }

private:
    Area* first_ = nullptr;
};

struct AddressSpace::State {
    State(AddressSpace& mm, port::Space& s) : owner(mm), space(s) {}

    AddressSpace& owner;
    port::Space& space;
    lib::Tree<Area, &Area::hook, lib::KeyMember<&Area::start>> areas;
    AnonMap anon;
    Area* recent = nullptr;  // the last area found
    u64 area_count = 0;
    u64 total_pages = 0, data_pages = 0, stack_pages = 0, locked_pages = 0;
    u64 peak_anon = 0;
    u32 future_flags = 0;  // mlockall(MCL_FUTURE): flags of new areas
    UserAddr break_end{};  // the program break; its area ends at the page above

    // Free ranges are searched from `mmap_base` down. Above `scan_from` no free range is larger than `largest_above`.
    UserAddr mmap_base{};
    UserAddr scan_from{};
    u64 largest_above = 0;
    // Others from their beginning up. Below `from` no free range is larger than `largest`.
    struct UpwardScan {
        UserAddr begin{}, limit{}, from{};
        u64 largest = 0;
    } scan_low, scan_high;                    // MAP_32BIT; above mmap_base
    static constexpr u32 kLongSearch = 1024;  // areas visited in one step

    // Page tables over this range, of kTablesKept at the most, may have no area any more. Of all others none is kept
    // without one; a program that maps and unmaps the same place in a loop finds its tables again.
    static constexpr u64 kTablesKept = 4;
    port::UserRange tables_kept{};

    // Long changes of areas, and fork, exclude each other and every short change: whose turn it is of those that have
    // asked. Page faults are handled concurrently. See AddressSpace::Change.
    u32 changes_asked = 0, changes_over = 0;
    bool changing() const { return changes_asked != changes_over; }

    // The area that holds an address, or null.
    Area* find(UserAddr at) {
        if (recent && at >= recent->start && at < recent->end) [[likely]]
            return recent;
        Area* a = areas.floor(at);
        if (!a || at >= a->end) return nullptr;
        return recent = a;
    }
    // The first area that ends above an address.
    Area* find_at_or_above(UserAddr at) {
        if (Area* a = find(at)) return a;
        return areas.upper_bound(at);
    }
    Area* next(const Area& a) const { return areas.next(a); }
    Area* prev(const Area& a) const { return areas.prev(a); }
    bool overlaps(UserAddr start, UserAddr end) {
        Area* a = find_at_or_above(start);
        return a && a->start < end;
    }
    // Where the free range below an area ends: above the guard gap of a stack.
    static UserAddr guarded_start(const Area& a) {
        if (!(a.flags & kAreaGrowsDown)) return a.start;
        return a.start.value > kStackGuard ? a.start - kStackGuard : UserAddr{0};
    }

    // A free range: at the hint if it is free, else the highest below mmap_base. kNoMem. kNeedsTask: many areas are in
    // the way, call it again to look further.
    Leaf<UserAddr> find_gap(UserAddr hint, u64 length);
    Leaf<UserAddr> find_gap_up(UpwardScan& scan, u64 length);
    Leaf<UserAddr> find_gap_low(UserAddr hint, u64 length);  // MAP_32BIT: the lowest in [1 GiB, 2 GiB)
    void gap_opened(UserAddr start, UserAddr end);

    // Makes an address the border of two areas (no change if it lies in none or is one already). kNoMem. kInval: the
    // area is not to be split.
    Result<void> split_at(UserAddr at);
    // Adds an area where none is; extends compatible adjacent ones instead where it can. kNoMem: nothing changed;
    // it cannot fail with a spare one.
    Result<void> place(AreaSpec&& spec, DeadAreas& dead, rt::Owned<Area>* spare = nullptr);
    // Merges an area with the next one, if both are compatible.
    void merge_with_next(Area& a, DeadAreas& dead);
    // After a change of areas inside [start, end): joins what can be joined, the borders included.
    void merge_range(UserAddr start, UserAddr end, DeadAreas& dead);
    // Takes out the areas inside [start, end), whose ends are borders; unmaps them and drops their anonymous pages.
    void remove_range(UserAddr start, UserAddr end, DeadAreas& dead);
    // Drops the anonymous pages of a range and unmaps it; the areas stay.
    void zap(UserAddr start, UserAddr end);
    // Gives a clone of an area, not yet in the tree. Null: no memory.
    static Area* clone(const Area& a, State& in);

    // Areas have gone from [start, end), which is not inside tables_kept: so do page tables that no area needs any
    // more. Cannot fail.
    void areas_gone(UserAddr start, UserAddr end);
    // Frees the tables of a range without areas that no area needs.
    void free_tables(UserAddr start, UserAddr end);

    // The end of the piece of [start, end) that is done at once.
    UserAddr piece_end(UserAddr start, UserAddr end);
    UserAddr cut_piece(UserAddr start, UserAddr end);  // the same, made a border where it can be
    bool many_areas_in(UserAddr start, UserAddr end) {
        u32 n = 0;
        for (Area* a = find_at_or_above(start); a && a->start < end; a = next(*a))
            if (++n > kLongAreas) return true;
        return false;
    }
    bool is_long(UserAddr start, UserAddr end) {
        return end - start > kLongAreas * kPageSize && piece_end(start, end) < end;  // so few pages are never long
    }
    u64 resident_pages();
    u64 resident_pages_of_some();

    // `like`: what it is a part or a copy of. `into`: what it has become a part of.
    void insert(Area& a, Area* like = nullptr) {
        areas.insert(a);
        ++area_count;
        if (a.mapping && !a.special()) a.mapping->add_user(a, like);
    }
    void take_out(Area& a, DeadAreas& dead, Area* into = nullptr) {
        if (recent == &a) recent = nullptr;
        areas.remove(a);
        --area_count;
        if (a.mapping && !a.special()) {
            if (into)
                a.mapping->join_user(a, *into);
            else
                a.mapping->remove_user(a);
        }
        dead.add(a);
    }
    void account(const Area& a, u64 pages, bool add) {
        u64 n = add ? pages : u64{0} - pages;
        total_pages += n;
        if (a.is_data()) data_pages += n;
        if (a.flags & kAreaGrowsDown) stack_pages += n;
        if (a.flags & kAreaLocked) locked_pages += n;
    }
    void note_peak() {
        if (anon.size() > peak_anon) peak_anon = anon.size();
    }
    static bool alike(const Area& a, const Area& b) {
        return a.prot == b.prot && a.flags == b.flags && a.base == b.base && a.mapping == b.mapping && a.file == b.file;
    }
};

// In a coroutine: waits until no CPU uses translations that were taken away. Needs no memory to succeed.
#define MM_SETTLE(space)                                  \
    if ((space).stale()) {                                \
        auto settled_ = (space).settle();                 \
        if (settled_.valid()) {                           \
            co_await settled_;                            \
        } else {                                          \
            while ((space).stale()) co_await rt::Yield{}; \
        }                                                 \
    }

// In a coroutine: from here to the end of the scope, the caller alone changes areas. Needs no memory.
#define MM_CHANGE(mm)                                                                                               \
    AddressSpace::Change change_{mm};                                                                               \
    for (u32 seen_ = (mm).change_over_.sequence(); !change_.has_its_turn(); seen_ = (mm).change_over_.sequence()) { \
        auto wait_ = rt::wait_on((mm).change_over_, seen_, "another thread's change of the address space");         \
        wait_.uninterruptible();                                                                                    \
        (void)co_await wait_;                                                                                       \
    }

// Overcommit: more private or shared anonymous memory than there is memory at all.
bool exceeds_memory(u64 pages);
// RLIMIT_AS, and RLIMIT_DATA if `data`.
bool over_limits(u64 total_pages, u64 data_pages, u64 more, bool data, const MemoryLimits& l);

}  // namespace linux
