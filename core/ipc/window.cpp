// SPDX-License-Identifier: MIT
// A space as the window of one memory: its frames are mapped one by one, without a record each, so that the page tables
// alone say what is mapped where.
//
// The memory has a list of the spaces that are its windows. When the memory or the space ends, the window is closed
// (nothing is mapped any more), emptied in steps, and taken out of that list: the space is as new.
// Locks: Window::lock, one per space, for its pages, its page tables and their charge. mapping_lock before it, when the
// space becomes a window or ceases to be one: calls on a window do not take it, so those on different spaces do not meet.
#include "core/ipc/space.hpp"

namespace core {
namespace {

// Of one step: some 12,000 instructions, most of them to fill new tables with zeros.
constexpr u64 kTablesAStep = 16;
// Unmapping or protecting so many pages takes about as long; a longer range counts as one table's.
constexpr u64 kPagesAStep = 1024, kPagesOfTable = Space::kTableBytes / kPageSize;
// Tables of the last level, with all of their pages, and the budget that each is worth (Object::end).
constexpr u32 kReleasedAStep = 2, kBudgetOfTable = 64;

static_assert(PackedEntry::kRead == native::kReadRight && PackedEntry::kWrite == native::kWriteRight &&
              PackedEntry::kExecute == native::kExecuteRight);

}  // namespace

// Its checks come before the first change; another thread's call may have made it a window of the same memory already.
Result<void> SpaceObject::become_window(Memory& memory, u64 most) {
    rt::LockGuard guard{mapping_lock};
    if (memory.dead_) return Errno::kIdRm;
    REQUIRE(mappings_.empty(), window_unmapped, kExist);
    REQUIRE(window_of_ == nullptr || window_of_ == &memory, window_memory, kExist);
    if (window_of_ != nullptr) return lib::kOk;
    rt::LockGuard window{window_.lock};
    // Under this lock too: the end of the space looks for a window under it, after it has set this.
    if (caps.ended.load(std::memory_order_relaxed)) return Errno::kIdRm;
    RT_ASSERT(space->tables() == 0, "tables that no mapping needs");
    window_.memory = window_of_ = &memory;
    window_.rights = most;
    window_.closed = false;
    window_.emptied = UserAddr{0};
    memory.windows_.push_back(*this);
    return lib::kOk;
}

// For calls that change a window: one that is none has no pages to change, and those of mappings are kUnmap's.
Result<bool> SpaceObject::not_a_window() {
    rt::LockGuard guard{mapping_lock};
    REQUIRE(mappings_.empty(), window_unmapped, kExist);
    return true;
}

// What has its tables is mapped at once. Without a reference: what is a window has not ended.
Result<bool> SpaceObject::map_frames(Memory& memory, u64 most, std::span<const PackedEntry> entries, u64& done) {
    rt::LockGuard guard{window_.lock};
    if (window_.memory != &memory) [[unlikely]] {
        guard.unlock();
        return map_first(memory, most, entries, done);
    }
    if (window_.closed) [[unlikely]]
        return Errno::kIdRm;
    // A page that was mapped with fewer rights to the memory gets no more of them without it.
    window_.rights &= most;
    u64 no_table = 0;
    done += space->map_within(entries.subspan(done), no_table);
    if (done == entries.size()) [[likely]]
        return true;
    return map_rest(entries, done);
}

[[gnu::noinline]] Result<bool> SpaceObject::map_first(Memory& memory, u64 most, std::span<const PackedEntry> entries,
                                                      u64& done) {
    const auto held = ObjectRef<SpaceObject>::of_found(this);
    if (!held) return Errno::kBadF;  // only in a race: it was deleted
    TRY(become_window(memory, most));
    rt::LockGuard guard{window_.lock};
    if (window_.memory != &memory || window_.closed) return Errno::kIdRm;  // only in a race: one of them has ended
    window_.rights &= most;
    return map_rest(entries, done);
}

// Each page table is charged before it is made.
[[gnu::noinline]] Result<bool> SpaceObject::map_rest(std::span<const PackedEntry> entries, u64& done) {
    for (u64 made = 0; made < kTablesAStep; ++made) {
        REQUIRE(!pool_ || pool_->charge(kPageSize), pool_quota, kNoMem);
        u64 charged = 1;
        done += space->map_within(entries.subspan(done), charged);
        if (charged != 0 && pool_) pool_->give_back(kPageSize);
        if (done == entries.size()) return true;
        if (charged != 0) return Errno::kNoMem;  // not used: there is no page
    }
    return false;
}

Result<bool> SpaceObject::change_frames(std::span<const lib::UserRange> ranges, u64 rights, u64& done) {
    rt::LockGuard guard{window_.lock};
    if (!window_.memory) {
        guard.unlock();
        return not_a_window();
    }
    REQUIRE((rights & ~window_.rights) == 0, window_protect, kPerm);
    // Pages are aligned: the number of ranges fits below.
    u64 left = kPagesAStep;
    UserAddr at = UserAddr{done}.down(kPageSize);
    for (u64 i = done & (kPageSize - 1); i < ranges.size(); ++i, at = UserAddr{0}) {
        const auto [start, end] = ranges[i];
        if (at < start || at > end) at = start;
        while (at < end) {
            if (left == 0) {
                done = at.value | i;
                return false;
            }
            const UserAddr to = end - at <= kPageSize ? end : space->end_of_tables(at, end, 1);
            const lib::UserRange piece{at, to};
            if (rights == 0)
                space->unmap({&piece, 1});
            else
                space->protect({&piece, 1}, prot_of(rights));
            const u64 pages = piece.size() / kPageSize, cost = pages < kPagesOfTable ? pages : kPagesOfTable;
            left -= cost < left ? cost : left;
            at = to;
        }
    }
    return true;
}

// Gives back what the tables that go were charged.
void SpaceObject::release_here(lib::UserRange range, UserAddr floor, UserAddr ceiling) {
    const u64 before = space->tables();
    space->release_tables(range, floor, ceiling);
    if (pool_) pool_->give_back((before - space->tables()) * kPageSize);
}

Result<bool> SpaceObject::release_tables(lib::UserRange range, UserAddr floor, UserAddr ceiling, u64& done) {
    rt::LockGuard guard{window_.lock};
    if (!window_.memory) {
        guard.unlock();
        return not_a_window();
    }
    UserAddr at = UserAddr{done};
    if (at < range.start || at > range.end) at = range.start;
    const UserAddr to = space->end_of_tables(at, range.end, kReleasedAStep);
    // Until the last step, a table above that reaches beyond this one is left to a later one.
    release_here({at, to}, floor, to == range.end ? ceiling : to);
    done = to.value;
    return to == range.end;
}

bool SpaceObject::empty_window(u32& budget) {
    rt::LockGuard guard{window_.lock};
    if (!window_.memory) return true;
    window_.closed = true;
    const UserAddr end = Space::tables_end();
    while (window_.emptied < end) {
        if (budget == 0) return false;
        const UserAddr to = space->end_of_tables(window_.emptied, end, 1);
        release_here({window_.emptied, to}, UserAddr{0}, to);
        window_.emptied = to;
        budget -= budget < kBudgetOfTable ? budget : kBudgetOfTable;
    }
    return true;
}

void SpaceObject::leave_window() {
    rt::LockGuard guard{mapping_lock};
    if (window_of_ == nullptr) return;  // the other end was faster
    rt::LockGuard window{window_.lock};
    RT_ASSERT(window_.emptied == Space::tables_end() && space->tables() == 0, "a window that is not empty");
    window_of_->windows_.remove(*this);
    window_.memory = window_of_ = nullptr;
}

}  // namespace core
