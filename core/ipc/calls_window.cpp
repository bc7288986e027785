// SPDX-License-Identifier: MIT
// The native calls on windows (window.cpp), and what a memory consists of. Their items are in the caller's UTCB, which
// its threads can write to at any time: each word is read once, all of them are checked, and then the copies are used.
#include "core/ipc/calls.hpp"
#include "core/trap.hpp"

namespace core::calls {
namespace {

using hal::Machine;

constexpr u64 kAccess = native::kReadRight | native::kWriteRight | native::kExecuteRight, kInPage = kPageSize - 1;

u64 word_of(const native::Utcb& u, u64 i) {
    return std::atomic_ref{const_cast<u64&>(u.words[i])}.load(std::memory_order_relaxed);
}

bool pages(u64 start, u64 end) {
    return ((start | end) & kInPage) == 0 && start <= end && end <= Machine::user_top().value;
}

// The result of a call that takes translations away.
i64 stale_now(SpaceObject& s) { return i64(s.space->stale()); }

// One kMapFrames, decoded and checked. Not initialised: most calls have few entries.
struct Frames {
    SpaceObject* space;
    Memory* memory;
    u64 most;
    std::span<const PackedEntry> entries() const { return {list, count}; }
    u64 count;
    PackedEntry list[native::kMostFrames];
};
[[gnu::always_inline]] inline Result<void> decode(NativeThread& t, u64 space, u64 memory, u64 count, Frames& to) {
    to.space = TRY(find<SpaceObject>(*t.caps, space, native::kTypeSpace, native::kWriteRight)).object;
    const auto found = TRY(find<Memory>(*t.caps, memory, native::kTypeMemory, 0));
    to.memory = found.object;
    to.most = found.cap->rights() & kAccess;
    REQUIRE(count - 1 < native::kMostFrames, window_count, kInval);
    to.count = count;
    const native::Utcb* const utcb = t.utcb;
    REQUIRE(utcb != nullptr, tag_needs_utcb, kInval);
    // What is wrong with one of them is seen in all of them: a bit too many, an address or offset too high.
    u64 addresses = 0, words = 0, highest = 0;
    bool beyond = false;
    Memory::Block block;
    for (u64 i = 0; i < count; ++i) {
        const u64 at = word_of(*utcb, 2 * i), word = word_of(*utcb, 2 * i + 1);
        addresses |= at;
        words |= word;
        highest = at > highest ? at : highest;
        // The rights, in the low bits, are of no consequence: blocks are whole pages.
        if (word - block.start >= block.bytes) [[unlikely]] {
            block = to.memory->block_at(word, t.last_block);
            beyond |= block.bytes == 0;
        }
        to.list[i] = {at, word + (block.frame.value - block.start)};
    }
    REQUIRE((addresses & kInPage) == 0, window_aligned, kInval);
    REQUIRE(highest < Machine::user_top().value, window_range, kInval);
    REQUIRE((words & kInPage & ~kAccess) == 0, window_bits, kInval);
    REQUIRE(!beyond, window_offset, kInval);
    REQUIRE((words & kAccess & ~to.most) == 0, window_rights, kPerm);
    return lib::kOk;
}

// One kChangeFrames. Not initialised, either.
struct Ranges {
    SpaceObject* space;
    u64 count;
    alignas(lib::UserRange) std::byte room[native::kMostFrames * sizeof(lib::UserRange)];
    lib::UserRange* at(u64 i) { return reinterpret_cast<lib::UserRange*>(room) + i; }
    std::span<const lib::UserRange> list() { return {at(0), count}; }
};
[[gnu::always_inline]] inline Result<void> decode(NativeThread& t, u64 space, u64 count, u64 rights, Ranges& to) {
    to.space = TRY(find<SpaceObject>(*t.caps, space, native::kTypeSpace, native::kWriteRight)).object;
    REQUIRE(count - 1 < native::kMostFrames, window_count, kInval);
    to.count = count;
    const native::Utcb* const utcb = t.utcb;
    REQUIRE(utcb != nullptr, tag_needs_utcb, kInval);
    REQUIRE((rights & ~kAccess) == 0, window_bits, kInval);
    for (u64 i = 0; i < count; ++i) {
        const auto* range =
            std::construct_at(to.at(i), UserAddr{word_of(*utcb, 2 * i)}, UserAddr{word_of(*utcb, 2 * i + 1)});
        REQUIRE(pages(range->start.value, range->end.value), window_ranges, kInval);
    }
    return lib::kOk;
}

}  // namespace

Result<i64> map_frames(NativeThread& t, const u64 (&a)[6]) {
    Frames frames;
    TRY(decode(t, a[0], a[1], a[2], frames));
    if (t.restart_step > frames.count) t.restart_step = 0;  // the count has changed since the last step
    if (!TRY(frames.space->map_frames(*frames.memory, frames.most, frames.entries(), t.restart_step)))
        return kAgainLater;
    return stale_now(*frames.space);
}

Result<i64> change_frames(NativeThread& t, const u64 (&a)[6]) {
    Ranges ranges;
    TRY(decode(t, a[0], a[1], a[2], ranges));
    if (!TRY(ranges.space->change_frames(ranges.list(), a[2], t.restart_step))) return kAgainLater;
    return stale_now(*ranges.space);
}

Result<i64> free_tables(NativeThread& t, const u64 (&a)[6]) {
    auto space = TRY(hold<SpaceObject>(*t.caps, a[0], native::kTypeSpace, native::kWriteRight));
    REQUIRE(pages(a[1], a[2]) && pages(a[3], a[4]), tables_range, kInval);
    REQUIRE(a[3] <= a[1] && a[2] <= a[4], tables_bounds, kInval);
    // Nothing can be mapped above the user half.
    const UserAddr floor{a[3]}, ceiling = a[4] == Machine::user_top().value ? Space::tables_end() : UserAddr{a[4]};
    return stepped(space->release_tables({UserAddr{a[1]}, UserAddr{a[2]}}, floor, ceiling, t.restart_step));
}

Result<i64> space_stale(NativeThread& t, u64 slot) {
    auto space = TRY(find<SpaceObject>(*t.caps, slot, native::kTypeSpace, 0));
    return stale_now(*space.object);
}

Result<i64> memory_extent(NativeThread& t, const u64 (&a)[6]) {
    TRY(find<Object>(*t.caps, a[0], native::kTypeSystem, native::kReadRight));
    auto memory = TRY(find<Memory>(*t.caps, a[1], native::kTypeMemory, native::kReadRight));
    Memory::Run run{};
    const bool there = memory->run(a[2], run);
    REQUIRE(there, extent_index, kInval);
    hal::set_call_results(t.context, run.start.value, run.bytes);
    return i64(run.start.value);
}

}  // namespace core::calls

// The usual cases of the most frequent calls, without the way through all of them. What is not done at once is left to
// that way, errors too.
namespace {
[[gnu::always_inline]] inline void done_at_once(core::NativeThread& t, core::SpaceObject& space) {
    t.context.set_syscall_result(core::calls::stale_now(space));
    // The call is done: its result is where its number was.
    if (rt::Executor::current().needs_attention()) [[unlikely]]
        core::leave_trap_changed(t);
    hal::Machine::resume_syscall(t.context);
}
}  // namespace

[[gnu::noinline]] void core::ipc::fast_map_frames(NativeThread& t) {
    if (t.restart_step != 0) return;
    calls::Frames frames;
    if (!calls::decode(t, t.context.syscall_argument(0), t.context.syscall_argument(1), t.context.syscall_argument(2),
                       frames)
             .ok())
        return;
    u64 done = 0;  // it begins anew
    const auto mapped = frames.space->map_frames(*frames.memory, frames.most, frames.entries(), done);
    if (mapped.ok() && mapped.value()) done_at_once(t, *frames.space);
}

[[gnu::noinline]] void core::ipc::fast_change_frames(NativeThread& t) {
    const u64 rights = t.context.syscall_argument(2);
    calls::Ranges ranges;
    if (!calls::decode(t, t.context.syscall_argument(0), t.context.syscall_argument(1), rights, ranges).ok()) return;
    const auto changed = ranges.space->change_frames(ranges.list(), rights, t.restart_step);
    if (!changed.ok() || !changed.value()) return;  // it goes on from there
    t.restart_step = 0;
    done_at_once(t, *ranges.space);
}
