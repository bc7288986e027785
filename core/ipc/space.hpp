// SPDX-License-Identifier: MIT
// Address and capability spaces, and the memory that is mapped into them.
//
// A Mapping joins a stretch of a Memory object to a stretch of a space; it is in a list of both, so that the end of
// either takes the other's entry away. One lock for all mappings: mapping is not a fast path, and takes two objects.
//
// A space can be the window of one memory instead (window.cpp): frames of it are mapped one by one, without a record.
#pragma once
#include "core/cap/cap.hpp"
#include "core/space.hpp"
#include "lib/tree.hpp"

namespace core {

class Memory;
class SpaceObject;

extern rt::SpinLock<rt::Rank::native_mapping> mapping_lock;

// Of kReadRight, kWriteRight and kExecuteRight.
inline lib::Prot prot_of(u64 rights) {
    return {.read = (rights & native::kReadRight) != 0,
            .write = (rights & native::kWriteRight) != 0,
            .exec = (rights & native::kExecuteRight) != 0};
}

struct Mapping {
    Memory* memory = nullptr;
    SpaceObject* space = nullptr;
    u64 start RT_GUARDED_BY(mapping_lock) = 0;  // in the space
    u64 end RT_GUARDED_BY(mapping_lock) = 0;
    u64 offset RT_GUARDED_BY(mapping_lock) = 0;  // of `start`, in the memory
    u64 rights RT_GUARDED_BY(mapping_lock) = 0;  // the most it may have
    u64 charge RT_GUARDED_BY(mapping_lock) = 0;  // the record, and the tables that are still to be made for it
    lib::ListHook in_memory;
    lib::TreeHook in_space;
};

// Of a space that is the window of a memory. Its page tables are all that says what is mapped where.
struct Window {
    rt::SpinLock<rt::Rank::native_window> lock;          // of the space's page tables too, and of their charge
    const Memory* memory RT_GUARDED_BY(lock) = nullptr;  // null: the space is none
    u64 rights RT_GUARDED_BY(lock) = 0;                  // the most that a page may be given without the memory
    bool closed RT_GUARDED_BY(lock) = false;             // the memory or the space ends: nothing is mapped any more
    UserAddr emptied RT_GUARDED_BY(lock){};              // below, all is unmapped and has no tables
};

class SpaceObject final : public Object {
public:
    SpaceObject() : Object(native::kTypeSpace) {}
    ~SpaceObject() override;
    bool end(u32& budget, Endings& more) override;

    Ref<Space> space;
    CapTable caps;

    // Page tables are charged one by one while the space has them. A mapping's first step charges the most that it can
    // need; what it did not need goes back with the last one.
    //
    // In steps of at most kStep bytes of pages: false means that there is more to do, by the same call again with the
    // same `done` (0 at first). All errors but the lack of a page for tables come at the first step.
    static constexpr u64 kStep = 2 << 20;
    Result<bool> map_some(Memory& memory, u64 address, u64 offset, u64 length, u64 rights, u64 most, u64& done)
        RT_EXCLUDES(mapping_lock);
    Result<bool> unmap_some(u64 address, u64 length, u64& done) RT_EXCLUDES(mapping_lock);
    Result<bool> protect_some(u64 address, u64 length, u64 rights, u64& done) RT_EXCLUDES(mapping_lock);
    // In one go, whatever the length.
    Result<void> map(Memory& memory, u64 address, u64 offset, u64 length, u64 rights, u64 most)
        RT_EXCLUDES(mapping_lock);

    // As a window of `memory`, which it becomes by this. One step: false means that there is more to do, with the same
    // entries and the same `done` (0 at first), of which so many are mapped. `most`: rights of the capability. An error
    // leaves those mapped. Errors: kExist, kIdRm, kNoMem.
    Result<bool> map_frames(Memory& memory, u64 most, std::span<const PackedEntry> entries, u64& done)
        RT_EXCLUDES(mapping_lock);
    // Unmaps (rights 0) or protects what is mapped in the ranges. In steps: `done` (0 at first) is the number of ranges
    // that are done, and the address up to which the next one is. Errors: kExist (it has mappings), kPerm.
    Result<bool> change_frames(std::span<const lib::UserRange> ranges, u64 rights, u64& done) RT_EXCLUDES(mapping_lock);
    // core::Space::release_tables(), in steps: `done` (0 at first) is an address. Errors: kExist.
    Result<bool> release_tables(lib::UserRange range, UserAddr floor, UserAddr ceiling, u64& done)
        RT_EXCLUDES(mapping_lock);

private:
    friend class Memory;
    Result<void> become_window(Memory& memory, u64 most) RT_EXCLUDES(mapping_lock);
    Result<bool> not_a_window() RT_EXCLUDES(mapping_lock);
    Result<bool> map_first(Memory& memory, u64 most, std::span<const PackedEntry> entries, u64& done)
        RT_EXCLUDES(mapping_lock);
    Result<bool> map_rest(std::span<const PackedEntry> entries, u64& done) RT_REQUIRES(window_.lock);
    void release_here(lib::UserRange range, UserAddr floor, UserAddr ceiling) RT_REQUIRES(window_.lock);
    // Nothing is mapped any more, and what is, is unmapped, as far as the budget goes. True: all of it is.
    bool empty_window(u32& budget) RT_EXCLUDES(mapping_lock);
    // After that: it is as new.
    void leave_window() RT_EXCLUDES(mapping_lock);
    Window window_;
    Memory* window_of_ RT_GUARDED_BY(mapping_lock) = nullptr;  // window_.memory, changed under both locks
    lib::ListHook in_windows_;                                 // of that memory; under mapping_lock

    // The first that reaches into [start, end), null if none does; and the next one.
    Mapping* first_in(u64 start, u64 end) const RT_REQUIRES(mapping_lock);
    static u64 most_tables(u64 start, u64 end);
    // After tables were made, which were charged with the mapping; after the range was unmapped and left the records:
    // frees the tables that no other mapping needs, and returns their charge.
    void tables_made(Mapping& m) RT_REQUIRES(mapping_lock);
    void free_tables(u64 start, u64 end) RT_REQUIRES(mapping_lock);
    // Takes pages away from the end of a mapping, as many as the budget allows; true: it is empty, and ended at
    // `was_end`.
    static bool shrink(Mapping& m, u32& budget, u64& was_end) RT_REQUIRES(mapping_lock);
    void take_out(Mapping& m, u64 was_end) RT_REQUIRES(mapping_lock);
    // Gives back what a mapping that is in no list was charged, and deletes it.
    void discard(Mapping* m);
    u64 tables_charged_ RT_GUARDED_BY(mapping_lock) = 0;
    Result<Mapping*> make_mapping(Memory& memory, u64 address, u64 offset, u64 length, u64 rights, u64 most);
    Result<void> fill(Mapping& m, u64 rights, u64& done) RT_REQUIRES(mapping_lock);
    // Sorted by address.
    lib::Tree<Mapping, &Mapping::in_space, lib::KeyMember<&Mapping::start>> mappings_ RT_GUARDED_BY(mapping_lock);
};

class Memory final : public Object {
public:
    explicit Memory(u64 bytes) : Object(native::kTypeMemory), size(bytes) {}
    ~Memory() override;
    bool end(u32& budget, Endings& more) override;
    // Frames for all of it, filled with zeros. In one step (for small ones, and before the first program runs), or at
    // most kAllocateStep bytes of it: false means that there is more to do.
    Result<void> allocate();
    Result<bool> allocate_some();
    static constexpr u64 kAllocateStep = 256 << 10;  // 32,768 stores of 8 bytes
    // Before it is used: a block that exists already, with what it holds, behind those that were given before. kOwned:
    // allocated with rt::alloc_frames, and freed with the memory. kBorrowed: it stays whose it is. Error: kNoMem.
    enum class Adopted : u8 { kOwned, kBorrowed };
    Result<void> adopt(PhysAddr start, u64 bytes, Adopted how) RT_EXCLUDES(mapping_lock);
    PhysAddr frame(u64 offset) const;
    // What lies in one block with it: offsets from `start` on, so many bytes, are at `frame`. Nothing: beyond the end.
    struct Block {
        u64 start = 0, bytes = 0;
        PhysAddr frame{};
    };
    // last: which one the caller found last, where it is looked first; 0 at first.
    Block block_at(u64 offset, u32& last) const;
    // The index-th run of frames that follow each other. False: there are not so many.
    struct Run {
        PhysAddr start;
        u64 bytes;
    };
    bool run(u64 index, Run& run) const;
    // A whole mapping begins there.
    bool mapped_at(const SpaceObject& space, u64 address) RT_EXCLUDES(mapping_lock);
    // For one that only the kernel names, and that has a few mappings at most.
    void leave_all_but(const SpaceObject& space, u64 address) RT_EXCLUDES(mapping_lock);

    const u64 size;

private:
    friend class SpaceObject;
    static constexpr u32 kNotFreed = ~u32{0};
    struct Extent {
        u64 offset;
        PhysAddr at;
        u32 order;  // or kNotFreed
        u32 run;    // which it belongs to
    };
    static constexpr u32 kFirstRoom = 4;

public:
    // The first table of extents of one that has no pool of its own (the others charge theirs as they grow).
    static constexpr u64 kFirstExtents = rt::memory_taken(kFirstRoom * sizeof(Extent));

private:
    Result<void> make_room();
    Result<void> add_extent();
    void push_extent(PhysAddr at, u64 bytes, u32 order);
    u64 end_of(u32 extent) const { return extent + 1 < count_ ? extents_[extent + 1].offset : allocated_; }
    u32 extent_at(u64 offset) const;
    Extent* extents_ = nullptr;
    static bool detach(Mapping& m, u32& budget) RT_REQUIRES(mapping_lock);
    u32 count_ = 0, room_ = 0;
    u64 allocated_ = 0, zeroed_ = 0;  // bytes
    bool dead_ RT_GUARDED_BY(mapping_lock) = false;
    lib::List<Mapping, &Mapping::in_memory> mappings_ RT_GUARDED_BY(mapping_lock);
    lib::List<SpaceObject, &SpaceObject::in_windows_> windows_ RT_GUARDED_BY(mapping_lock);
};

}  // namespace core
