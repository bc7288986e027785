// SPDX-License-Identifier: MIT
// Address spaces: beginning and end, what procfs shows. See address_space.hpp.
#include "linux/mm/address_space.hpp"

#include <cstddef>

#include "linux/exec/vdso.hpp"
#include "linux/mm/state.hpp"
#include "port/api/modules.hpp"

namespace linux {

namespace {
constinit std::atomic<u64> last_serial{0};
}
u64 AddressSpace::next_serial() { return last_serial.fetch_add(1, std::memory_order_relaxed) + 1; }

Result<Ref<AddressSpace>> AddressSpace::create() {
    Ref<port::Space> space = TRY(port::Space::create());
    // The constructor is private: not rt::make_ref.
    auto* mm = new (std::nothrow) AddressSpace;
    if (!mm) return Errno::kNoMem;
    auto ref = Ref<AddressSpace>::adopt(mm);
    mm->state_ = rt::make<State>(*mm, *space);
    if (!mm->state_) return Errno::kNoMem;
    mm->space_ = std::move(space);
    mm->lock_.assume_held();  // no other CPU knows it yet
    // Linux without randomisation: 128 MiB below the end for the stack (mmap_base in arch/x86/mm/mmap.c).
    mm->state_->mmap_base = mm->state_->scan_from = UserAddr{(fs::kUserEnd - (u64{128} << 20)) & ~(kPageSize - 1)};
    return ref;
}

AddressSpace::~AddressSpace() {
    delete state_;
    // Release: pairs with EndForMemory::next().
    if (u64 mine = serial; awaited_end.load(std::memory_order_relaxed) == mine) [[unlikely]]
        awaited_end.compare_exchange_strong(mine, 0, std::memory_order_release, std::memory_order_relaxed);
}

// Removes the space from mappings and files; the totals are not used any more. Page tables are freed with the space: no
// thread of it enters user mode again. True: there are more areas.
bool AddressSpace::clear_some() {
    DeadAreas dead;
    rt::LockGuard guard(lock_);
    State& s = state();
    u32 count = 0;
    while (Area* a = s.areas.first()) {
        if (++count > kLongAreas) return true;
        s.take_out(*a, dead);
    }
    return false;
}

bool AddressSpace::many_areas() {
    rt::LockGuard guard(lock_);
    return state_->area_count > kLongAreas;
}

// A reader of /proc may hold a reference for a moment: then it ends the space, see last_ref().
bool AddressSpace::empty_some() { return many_areas() && ref_count() == 1 && clear_some(); }

// Few have many areas left here: the last reference of most is a thread's, which calls empty_some() before. Those are emptied
// later, some areas of one space a turn.
void AddressSpace::end_later(AddressSpace* mm) {
    static constinit rt::TeardownList<AddressSpace, &AddressSpace::next_to_end_> ending{[](AddressSpace& space) {
        if (space.clear_some()) return true;
        last_ref(&space);
        return false;
    }};
    ending.add(*mm);
}

void AddressSpace::last_ref(AddressSpace* mm) {
    if (!mm->state_) return delete mm;
    if (mm->many_areas() && rt::Reclaimer::later.load(std::memory_order_relaxed)) return end_later(mm);
    while (mm->clear_some()) {
    }
    rt::Reclaimer& reclaimer = port::reclaimer(port::Module::kMm);
    mm->lock_.assume_held();  // no other CPU knows it any more
    mm->space_->clear();
    if (!reclaimer.defers(mm->state_->anon.work())) return delete mm;
    mm->reclaim_.step = &AddressSpace::reclaim_step;
    reclaimer.free(mm->reclaim_, mm->state_->anon.size());
}

rt::Reclaimable* AddressSpace::reclaim_step(rt::Reclaimable& r, u64 most) {
    auto* mm = reinterpret_cast<AddressSpace*>(reinterpret_cast<std::byte*>(&r) - offsetof(AddressSpace, reclaim_));
    mm->lock_.assume_held();  // no other CPU knows it any more
    if (mm->state_->anon.reclaim_some(most)) return &r;
    delete mm;
    return nullptr;
}

AddressSpace::Totals AddressSpace::totals() {
    rt::LockGuard guard(lock_);
    State& s = state();
    u64 resident = s.resident_pages();
    u64 peak = s.peak_anon + (resident - s.anon.size());
    return {.virtual_pages = s.total_pages,
            .resident_pages = resident,
            .shared_pages = resident - s.anon.size(),
            .stack_pages = s.stack_pages,
            .data_pages = s.data_pages,
            .locked_pages = s.locked_pages,
            .peak_resident = peak > resident ? peak : resident};
}

u64 AddressSpace::pages_in_use() {
    rt::LockGuard guard(lock_);
    const u64 tables = space_->tables();
    return rt::tables_are_short() ? tables : state().resident_pages() + tables;
}

bool AddressSpace::shared_object(UserAddr at, u64& object, u64& offset) {
    rt::LockGuard guard(lock_);
    const Area* a = state_->find(at);
    if (!a || !a->mapping) return false;
    // What a private mapping has not changed, and may not change, is the file's (get_futex_key in kernel/futex/core.c).
    if (!a->shared() && (a->writable() || state_->anon.find(at.value >> lib::kPageShift))) return false;
    object = a->mapping->serial();
    offset = at.value - a->base;
    return true;
}

bool AddressSpace::next_area(UserAddr from, AreaView& out) {
    // Paths are copied and dropped without the lock: references to names have locks of their own.
    Ref<fs::File> file;
    AreaView view{};
    {
        rt::LockGuard guard(lock_);
        Area* a = state_->find_at_or_above(from);
        if (!a) return false;
        view.start = a->start;
        view.end = a->end;
        view.prot = a->prot;
        view.shared = a->shared();
        if (a->special()) {
            view.name = a->mapping.get() == vdso.code ? "[vdso]" : "[vvar]";
        } else if (a->file) {
            file = a->file;
            view.offset = a->offset();
        } else if (a->mapping) {
            view.name = "/dev/zero (deleted)";
        } else if (a->start <= state_->break_end && a->end >= layout.break_start && layout.break_start.value != 0 &&
                   state_->break_end > layout.break_start) {
            view.name = "[heap]";
        } else if (a->start <= layout.stack_start && a->end > layout.stack_start) {
            view.name = "[stack]";
        }
    }
    if (file) view.file = file->path();
    out = std::move(view);
    return true;
}

}  // namespace linux
