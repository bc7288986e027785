// SPDX-License-Identifier: MIT
// Address and capability spaces, and the memory that is mapped into them.
//
// A Mapping joins a stretch of a Memory object to a stretch of a space; it is in a list of both, so that the end of
// either takes the other's entry away. One lock for all mappings: mapping is not a fast path, and takes two objects.
#pragma once
#include "core/cap/cap.hpp"
#include "core/space.hpp"
#include "lib/tree.hpp"

namespace core {

class Memory;
class SpaceObject;

extern rt::SpinLock<rt::Rank::native_mapping> mapping_lock;

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

private:
    friend class Memory;
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
    // Frames that exist already and stay the kernel's (the boot image); size a multiple of the page size.
    void borrow(PhysAddr start) { borrowed_ = start; }
    PhysAddr frame(u64 offset) const;
    // A whole mapping begins there.
    bool mapped_at(const SpaceObject& space, u64 address) RT_EXCLUDES(mapping_lock);
    // For one that only the kernel names, and that has a few mappings at most.
    void leave_all_but(const SpaceObject& space, u64 address) RT_EXCLUDES(mapping_lock);

    const u64 size;

private:
    friend class SpaceObject;
    struct Extent {
        u64 offset;
        PhysAddr at;
        u32 order;
    };
    static constexpr u32 kFirstRoom = 4;

public:
    // The first table of extents of one that has no pool of its own (the others charge theirs as they grow).
    static constexpr u64 kFirstExtents = rt::memory_taken(kFirstRoom * sizeof(Extent));

private:
    Result<void> add_extent();
    Extent* extents_ = nullptr;
    static bool detach(Mapping& m, u32& budget) RT_REQUIRES(mapping_lock);
    u32 count_ = 0, room_ = 0;
    u64 allocated_ = 0, zeroed_ = 0;  // bytes
    PhysAddr borrowed_{};
    bool dead_ RT_GUARDED_BY(mapping_lock) = false;
    lib::List<Mapping, &Mapping::in_memory> mappings_ RT_GUARDED_BY(mapping_lock);
};

}  // namespace core
