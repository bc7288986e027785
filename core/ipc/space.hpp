// SPDX-License-Identifier: MIT
// Address and capability spaces, and the memory that is mapped into them.
//
// A Mapping joins a stretch of a Memory object to a stretch of a space; it is in a list of both, so that the end of either
// takes the other's entry away. Locks: Rank::memory_object for a Memory's list, then Rank::native_space for a space's.
#pragma once
#include "core/cap/cap.hpp"
#include "core/space.hpp"
#include "lib/tree.hpp"

namespace core {

class Memory;
class SpaceObject;

struct Mapping {
    Memory* memory = nullptr;
    SpaceObject* space = nullptr;
    u64 start = 0, end = 0;  // in the space
    u64 offset = 0;          // of `start`, in the memory
    u64 rights = 0;          // the most it may have
    u64 charge = 0;
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

    // In steps of at most kStep bytes of pages: false means that there is more to do, by the same call again with the same
    // `done` (0 at first). All errors but the lack of a page for tables come at the first step.
    static constexpr u64 kStep = 2 << 20;
    Result<bool> map_some(Memory& memory, u64 address, u64 offset, u64 length, u64 rights, u64 most, u64& done);
    Result<bool> unmap_some(u64 address, u64 length, u64& done);
    Result<bool> protect_some(u64 address, u64 length, u64 rights, u64& done);
    // In one go, whatever the length.
    Result<void> map(Memory& memory, u64 address, u64 offset, u64 length, u64 rights, u64 most);

private:
    friend class Memory;
    // The first that reaches into [start, end), null if none does; and the one behind it.
    Mapping* first_in(u64 start, u64 end) const;
    void charge_tables(u64 start, u64 end, u64& charge);
    Result<Mapping*> make_mapping(Memory& memory, u64 address, u64 offset, u64 length, u64 rights, u64 most);
    Result<void> fill(Mapping& m, u64 rights, u64& done);
    // Sorted by address. Guarded by the mapping lock (one for all: mapping is not a fast path, and takes two objects).
    lib::Tree<Mapping, &Mapping::in_space, lib::KeyMember<&Mapping::start>> mappings_;
};

class Memory final : public Object {
public:
    explicit Memory(u64 bytes) : Object(native::kTypeMemory), size(bytes) {}
    ~Memory() override;
    bool end(u32& budget, Endings& more) override;
    // Frames for all of it, filled with zeros. In one go (for small ones, and before the first program runs), or at most
    // kAllocateStep bytes of it: false means that there is more to do.
    Result<void> allocate();
    Result<bool> allocate_some();
    static constexpr u64 kAllocateStep = 256 << 10;  // 32,768 stores of 8 bytes
    // Frames that exist already and stay the kernel's (the boot image); size a multiple of the page size.
    void borrow(PhysAddr start) { borrowed_ = start; }
    PhysAddr frame(u64 offset) const;
    // A whole mapping begins there.
    bool mapped_at(const SpaceObject& space, u64 address);
    // For one that only the kernel names, and that has a few mappings at most.
    void leave_all_but(const SpaceObject& space, u64 address);

    const u64 size;

private:
    friend class SpaceObject;
    struct Extent {
        u64 offset;
        PhysAddr at;
        u32 order;
    };
    Result<void> add_extent();
    Extent* extents_ = nullptr;
    static bool detach(Mapping& m, u32& budget);
    u32 count_ = 0, room_ = 0;
    u64 allocated_ = 0, zeroed_ = 0;  // bytes
    PhysAddr borrowed_{};
    bool dead_ = false;
    lib::List<Mapping, &Mapping::in_memory> mappings_;
};

}  // namespace core
