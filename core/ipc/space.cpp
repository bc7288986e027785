// SPDX-License-Identifier: MIT
#include "core/ipc/space.hpp"

#include <bit>
#include <cstring>

#include "rt/mem/pages.hpp"
#include "rt/mem/retire.hpp"

namespace core {

constinit rt::SpinLock<rt::Rank::native_mapping> mapping_lock;

namespace {

using hal::Machine;

constexpr u64 kBatch = 32;
constexpr u64 kRecord = rt::kMemoryTaken<Mapping>;

bool in_user_half(u64 address, u64 length) {
    return length != 0 && address < Machine::user_top().value && length <= Machine::user_top().value - address;
}

}  // namespace

SpaceObject::~SpaceObject() = default;

bool SpaceObject::shrink(Mapping& m, u32& budget, u64& was_end) {
    constexpr u64 kPerUnit = 8 * kPageSize;  // as much as 100 instructions do
    u64 length = m.end - m.start;
    u64 most = budget * kPerUnit, n = length < most ? length : most;
    if (n == 0) return false;
    was_end = m.end;
    lib::UserRange range{UserAddr{m.end - n}, UserAddr{m.end}};
    m.space->space->unmap({&range, 1});
    m.end -= n;
    budget -= u32((n + kPerUnit - 1) / kPerUnit);
    if (m.end == m.start) return true;
    m.space->free_tables(m.end, was_end);
    return false;
}

bool SpaceObject::end(u32& budget, Endings& more) {
    if (!caps::empty(caps, budget, more) || !empty_window(budget)) return false;
    leave_window();
    for (;;) {
        rt::LockGuard guard{mapping_lock};
        Mapping* m = mappings_.first();
        if (!m) return true;
        // A thread may still run in the space; what it could reach may be freed by others from now on.
        u64 was_end = 0;
        if (!shrink(*m, budget, was_end)) return false;
        take_out(*m, was_end);
        guard.unlock();
        delete m;
    }
}

// Out of the space and of both lists: it is empty, and the caller deletes it.
void SpaceObject::take_out(Mapping& m, u64 was_end) {
    const u64 start = m.start;
    mappings_.remove(m);
    m.in_memory.unlink();
    free_tables(start, was_end);
    if (pool_) pool_->give_back(m.charge);
}

Mapping* SpaceObject::first_in(u64 start, u64 end) const {
    Mapping* m = mappings_.lower_bound(start);
    // The preceding mapping may reach into it.
    Mapping* before = m ? mappings_.prev(*m) : mappings_.last();
    if (before && before->end > start) return before;
    return m && m->start < end ? m : nullptr;
}

// The most that the page tables of the range can take, in bytes: one page for each 2 MiB, 1 GiB and 512 GiB that it
// touches.
u64 SpaceObject::most_tables(u64 start, u64 end) {
    u64 bytes = 0;
    for (u32 shift : {21u, 30u, 39u}) bytes += (((end - 1) >> shift) - (start >> shift) + 1) * kPageSize;
    return bytes;
}

void SpaceObject::tables_made(Mapping& m) {
    const u64 now = space->tables() * kPageSize;
    m.charge -= now - tables_charged_;
    tables_charged_ = now;
}

void SpaceObject::free_tables(u64 start, u64 end) {
    const Mapping* above = mappings_.lower_bound(start);
    const Mapping* below = above ? mappings_.prev(*above) : mappings_.last();
    space->free_tables({UserAddr{start}, UserAddr{end}}, UserAddr{below ? below->end : 0},
                       above ? UserAddr{above->start} : Space::tables_end());
    const u64 now = space->tables() * kPageSize;
    if (pool_) pool_->give_back(tables_charged_ - now);
    tables_charged_ = now;
}

// Checks, and makes a record of the whole range that is in no list yet.
Result<Mapping*> SpaceObject::make_mapping(Memory& memory, u64 address, u64 offset, u64 length, u64 rights, u64 most) {
    REQUIRE(((address | offset | length) & (kPageSize - 1)) == 0, map_aligned, kInval);
    REQUIRE(in_user_half(address, length), map_range, kInval);
    REQUIRE(offset <= memory.size && length <= memory.size - offset, map_offset, kInval);
    REQUIRE((rights & ~most) == 0, map_rights, kPerm);
    const u64 charge = kRecord + most_tables(address, address + length);
    REQUIRE(!pool_ || pool_->charge(charge), pool_quota, kNoMem);
    Mapping* m = rt::make<Mapping>();
    if (!m) {
        if (pool_) pool_->give_back(charge);
        return Errno::kNoMem;
    }
    *m = {.memory = &memory,
          .space = this,
          .start = address,
          .end = address + length,
          .offset = offset,
          .rights = most,
          .charge = charge};
    return m;
}

// Maps the pages from `done` bytes on, one step.
Result<void> SpaceObject::fill(Mapping& m, u64 rights, u64& done) {
    const u64 length = m.end - m.start, until = length - done < kStep ? length : done + kStep;
    while (done < until) {
        lib::MapEntry batch[kBatch];
        u64 n = 0;
        for (; n < kBatch && done + n * kPageSize < until; ++n)
            batch[n] = {UserAddr{m.start + done + n * kPageSize}, m.memory->frame(m.offset + done + n * kPageSize),
                        prot_of(rights)};
        TRY(space->map({batch, n}));
        done += n * kPageSize;
    }
    return lib::kOk;
}

Result<bool> SpaceObject::map_some(Memory& memory, u64 address, u64 offset, u64 length, u64 rights, u64 most,
                                   u64& done) {
    Mapping* m = done == 0 ? TRY(make_mapping(memory, address, offset, length, rights, most)) : nullptr;
    auto put = [&]() -> Result<void> {
        rt::LockGuard guard{mapping_lock};
        if (m) {
            if (memory.dead_ || caps.ended.load(std::memory_order_relaxed)) return Errno::kIdRm;
            REQUIRE(window_of_ == nullptr, map_window, kExist);
            REQUIRE(first_in(address, address + length) == nullptr, map_free, kExist);
            mappings_.insert(*m);
            memory.mappings_.push_back(*m);
        } else {
            Mapping* was = first_in(address, address + 1);
            // Another thread has removed it in the meantime, as a whole or in part: as if it had done so afterwards.
            if (!was || was->memory != &memory || was->start != address || was->end != address + length ||
                was->offset != offset) {
                done = length;
                return lib::kOk;
            }
            m = was;
        }
        auto r = fill(*m, rights, done);
        tables_made(*m);
        if (r.ok()) {
            if (done == length) {
                if (pool_) pool_->give_back(m->charge - kRecord);
                m->charge = kRecord;
            }
            return lib::kOk;
        }
        lib::UserRange range{UserAddr{address}, UserAddr{address + length}};
        space->unmap({&range, 1});
        take_out(*m, address + length);
        m->charge = 0;
        return r.error();
    };
    auto r = put();
    if (r.ok()) return done == length;
    discard(m);
    return r.error();
}

// No other CPU has it.
void SpaceObject::discard(Mapping* m) RT_UNCHECKED_LOCKING {
    if (pool_) pool_->give_back(m->charge);
    delete m;
}

Result<void> SpaceObject::map(Memory& memory, u64 address, u64 offset, u64 length, u64 rights, u64 most) {
    for (u64 done = 0; !TRY(map_some(memory, address, offset, length, rights, most, done));) {
    }
    return lib::kOk;
}

// `done`: all below address + done is unmapped.
Result<bool> SpaceObject::unmap_some(u64 address, u64 length, u64& done) {
    REQUIRE(((address | length) & (kPageSize - 1)) == 0 && in_user_half(address, length), unmap_range, kInval);
    const u64 end = address + length;
    // A hole in the middle of a mapping needs a second record; only the first step can make one.
    const bool first = done == 0;
    Mapping* spare = nullptr;
    if (first && (!pool_ || pool_->charge(kRecord))) {
        spare = rt::make<Mapping>();
        if (!spare && pool_) pool_->give_back(kRecord);
    }
    u64 back = 0, left = kStep;
    lib::List<Mapping, &Mapping::in_memory> gone;
    {
        rt::LockGuard guard{mapping_lock};
        Mapping* m = first_in(address + done, end);
        while (m && left != 0) {
            const u64 from = m->start > address + done ? m->start : address + done;
            u64 to = m->end < end ? m->end : end;
            if (to - from > left) to = from + left;
            Mapping* next = mappings_.next(*m);
            if (m->start < from && to < m->end && !spare) {
                if (first) return Errno::kNoMem;  // it is the first of the range: nothing has changed
                // Another thread has mapped this since: it is left as it is.
                done = (m->end < end ? m->end : end) - address;
                m = next && next->start < end ? next : nullptr;
                continue;
            }
            lib::UserRange range{UserAddr{from}, UserAddr{to}};
            space->unmap({&range, 1});
            left -= to - from;
            done = to - address;
            if (m->start < from && to < m->end) {
                *spare = {.memory = m->memory,
                          .space = this,
                          .start = to,
                          .end = m->end,
                          .offset = m->offset + (to - m->start),
                          .rights = m->rights,
                          .charge = kRecord};
                m->end = from;
                mappings_.insert(*spare);
                m->memory->mappings_.push_back(*spare);
                next = spare;
                spare = nullptr;
            } else if (m->start < from) {
                m->end = from;
            } else if (to < m->end) {
                m->offset += to - m->start;
                m->start = to;
                next = m;
            } else {
                back += m->charge;
                mappings_.remove(*m);
                m->in_memory.unlink();
                gone.push_back(*m);
            }
            free_tables(from, to);
            m = next && next->start < end ? next : nullptr;
        }
        if (!m) done = length;
    }
    while (Mapping* m = gone.pop_front()) delete m;
    if (spare) back += kRecord;
    delete spare;
    if (pool_) pool_->give_back(back);
    return done == length;
}

// `done`: all below address + done has the rights.
Result<bool> SpaceObject::protect_some(u64 address, u64 length, u64 rights, u64& done) {
    REQUIRE(((address | length) & (kPageSize - 1)) == 0 && in_user_half(address, length), protect_range, kInval);
    const u64 end = address + length;
    rt::LockGuard guard{mapping_lock};
    // Check, then commit.
    if (done == 0)
        for (Mapping* m = first_in(address, end); m && m->start < end; m = mappings_.next(*m))
            REQUIRE((rights & ~m->rights) == 0, protect_rights, kPerm);
    u64 left = kStep;
    for (Mapping* m = first_in(address + done, end); m && m->start < end; m = mappings_.next(*m)) {
        if (left == 0) return false;
        const u64 from = m->start > address + done ? m->start : address + done;
        u64 to = m->end < end ? m->end : end;
        if (to - from > left) to = from + left;
        // (One that another thread has put there since, with fewer rights, keeps them.)
        lib::UserRange range{UserAddr{from}, UserAddr{to}};
        if ((rights & ~m->rights) == 0) space->protect({&range, 1}, prot_of(rights));
        left -= to - from;
        done = to - address;
        if (to < m->end && to < end) return false;
    }
    done = length;
    return true;
}

// --- Memory

Result<void> Memory::make_room() {
    if (count_ < room_) return lib::kOk;
    u32 room = room_ == 0 ? kFirstRoom : room_ * 2;
    const u64 charge =
        rt::memory_taken(room * sizeof(Extent)) - (room_ == 0 ? 0 : rt::memory_taken(room_ * sizeof(Extent)));
    REQUIRE(!pool_ || pool_->charge(charge), pool_quota, kNoMem);
    auto* more = static_cast<Extent*>(rt::allocate(room * sizeof(Extent)));
    if (!more) {
        if (pool_) pool_->give_back(charge);
        return Errno::kNoMem;
    }
    if (pool_) charge_ += charge;
    for (u32 i = 0; i < count_; ++i) more[i] = extents_[i];
    if (extents_) rt::deallocate(extents_, room_ * sizeof(Extent));
    extents_ = more;
    room_ = room;
    return lib::kOk;
}

void Memory::push_extent(PhysAddr at, u64 bytes, u32 order) {
    u32 run = 0;
    if (count_ != 0) {
        const Extent& last = extents_[count_ - 1];
        run = last.run + u32(last.at + (allocated_ - last.offset) != at);
    }
    extents_[count_++] = {allocated_, at, order, run};
    allocated_ += bytes;
}

Result<void> Memory::add_extent() {
    TRY(make_room());
    u32 order = u32(std::bit_width((size - allocated_) >> lib::kPageShift)) - 1;
    if (order > rt::kMaxOrder) order = rt::kMaxOrder;
    for (;; --order) {
        auto block = rt::alloc_frames(order);
        if (block.ok()) {
            push_extent(block.value(), kPageSize << order, order);
            return lib::kOk;
        }
        if (order == 0) return block.error();
    }
}

Result<void> Memory::adopt(PhysAddr start, u64 bytes, Adopted how) {
    const u32 order = u32(std::bit_width(bytes >> lib::kPageShift)) - 1;
    RT_ASSERT(start.aligned(kPageSize) && bytes % kPageSize == 0 && bytes != 0 && bytes <= size - allocated_,
              "a block that does not fit the memory");
    RT_ASSERT(how == Adopted::kBorrowed || (bytes == kPageSize << order && order <= rt::kMaxOrder),
              "not one block of the allocator's");
    TRY(make_room());
    push_extent(start, bytes, how == Adopted::kOwned ? order : kNotFreed);
    zeroed_ = allocated_;
    return lib::kOk;
}

Result<bool> Memory::allocate_some() {
    for (u64 left = kAllocateStep; zeroed_ < size && left != 0;) {
        if (zeroed_ == allocated_) TRY(add_extent());
        const Extent& last = extents_[count_ - 1];
        u64 n = allocated_ - zeroed_ < left ? allocated_ - zeroed_ : left;
        std::memset(static_cast<std::byte*>(Machine::phys_to_virt(last.at)) + (zeroed_ - last.offset), 0, n);
        zeroed_ += n;
        left -= n;
    }
    return zeroed_ == size;
}

Result<void> Memory::allocate() {
    while (!TRY(allocate_some())) {
    }
    return lib::kOk;
}

u32 Memory::extent_at(u64 offset) const {
    // As if all blocks were of the largest size, which most are.
    const u64 guess = offset >> (lib::kPageShift + rt::kMaxOrder);
    if (guess < count_ && extents_[guess].offset <= offset && offset < end_of(u32(guess))) return u32(guess);
    u32 low = 0, high = count_;
    while (high - low > 1) {
        u32 middle = (low + high) / 2;
        if (extents_[middle].offset <= offset)
            low = middle;
        else
            high = middle;
    }
    return low;
}

PhysAddr Memory::frame(u64 offset) const {
    const Extent& e = extents_[extent_at(offset)];
    return e.at + (offset - e.offset);
}

Memory::Block Memory::block_at(u64 offset, u32& last) const {
    if (offset >= allocated_) return {};
    if (last >= count_ || offset < extents_[last].offset || offset >= end_of(last)) last = extent_at(offset);
    return {extents_[last].offset, end_of(last) - extents_[last].offset, extents_[last].at};
}

bool Memory::run(u64 index, Run& run) const {
    if (count_ == 0 || index > extents_[count_ - 1].run) return false;
    // The first extent of the run, and that of the next one.
    auto first_of = [&](u64 wanted) {
        u32 low = 0, high = count_;
        while (low < high) {
            const u32 middle = (low + high) / 2;
            if (extents_[middle].run < wanted)
                low = middle + 1;
            else
                high = middle;
        }
        return low;
    };
    const u32 first = first_of(index), next = first_of(index + 1);
    run = {extents_[first].at, (next < count_ ? extents_[next].offset : allocated_) - extents_[first].offset};
    return true;
}

// Out of its space and of both lists, as far as the budget goes; true: it is out, and the caller deletes it.
bool Memory::detach(Mapping& m, u32& budget) {
    u64 was_end = 0;
    if (!SpaceObject::shrink(m, budget, was_end)) return false;
    m.space->take_out(m, was_end);
    return true;
}

bool Memory::end(u32& budget, Endings&) {
    for (;;) {
        rt::LockGuard guard{mapping_lock};
        dead_ = true;
        Mapping* m = mappings_.front();
        if (!m) {
            SpaceObject* s = windows_.front();
            if (!s) return true;
            // The end of the space would take it out of the list first.
            const auto window = ObjectRef<SpaceObject>{s};
            guard.unlock();
            if (!window->empty_window(budget)) return false;
            window->leave_window();
            continue;
        }
        if (!detach(*m, budget)) return false;
        guard.unlock();
        delete m;
    }
}

bool Memory::mapped_at(const SpaceObject& space, u64 address) {
    rt::LockGuard guard{mapping_lock};
    for (Mapping& m : mappings_)
        if (m.space == &space && m.start == address) return true;
    return false;
}

void Memory::leave_all_but(const SpaceObject& space, u64 address) {
    for (;;) {
        rt::LockGuard guard{mapping_lock};
        Mapping* m = mappings_.front();
        while (m && m->space == &space && m->start == address) m = mappings_.next(*m);
        if (!m) return;
        u32 budget = ~u32{0};
        (void)detach(*m, budget);
        guard.unlock();
        delete m;
    }
}

// One epoch after the last reference: no CPU translates to the frames any more.
Memory::~Memory() {
    for (u32 i = 0; i < count_; ++i)
        if (extents_[i].order != kNotFreed) rt::free_frames(extents_[i].at, extents_[i].order);
    if (extents_) rt::deallocate(extents_, room_ * sizeof(Extent));
}

}  // namespace core
