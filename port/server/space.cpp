// SPDX-License-Identifier: MIT
// Address spaces: each change is made in the server's own table and, in the same critical section, in the kernel's.
#include <cstring>

#include "lib/copy_string.hpp"
#include "port/server/cpu.hpp"
#include "rt/mem/pages.hpp"
#include "rt/mem/retire.hpp"
#include "rt/mem/slab.hpp"

namespace port {
namespace {

using hal::Machine;

constexpr size_t kItems = native::kMostFrames;
constexpr u64 kClientSlots = 16;  // of its capability table, which stays empty: as few as there can be

hal::MapFlags flags_of(Prot p) {
    return {.read = p.read || p.write || p.exec, .write = p.write, .exec = p.exec, .user = true, .touched = true};
}
// No right at all: the page stays known here, and the kernel has no mapping of it.
u64 rights_of(Prot p) {
    return (p.read || p.write || p.exec ? native::kReadRight : 0) | (p.write ? native::kWriteRight : 0) |
           (p.exec ? native::kExecuteRight : 0);
}

Prot prot_of(hal::Entry e) { return {.read = e.present(), .write = e.writable(), .exec = e.executable()}; }

}  // namespace

// A table of the last level that a CPU has used lately, so that the next copy there need not walk. It is good as long as its
// space has the number that it had before the walk: a table is unlinked, then the number changes, and the table is freed when
// every CPU has been quiescent after that.
struct TableFound {
    u64 number = 0;  // Space::tables_number_
    u64 region = 0;
    hal::EntrySlot slot{nullptr};
};

struct alignas(64) Copying {
    // A copy that the CPU makes now: odd while it lasts. protect() waits for those that found a page writable before.
    std::atomic<u64> number{0};
    TableFound found[4];  // of the CPU alone; by the lowest bits of the region
};

namespace {

constinit Copying copying[lib::kMaxCpus];

struct CopySection {
    Copying& mine = copying[Machine::this_cpu().value];
    // seq_cst: before the table is read. Pairs with await_writers().
    CopySection() { mine.number.store(mine.number.load(std::memory_order_relaxed) + 1, std::memory_order_seq_cst); }
    ~CopySection() { mine.number.store(mine.number.load(std::memory_order_relaxed) + 1, std::memory_order_release); }
};

}  // namespace

PhysAddr Space::Tables::allocate_table() {
    auto page = rt::alloc_zeroed_frame();
    if (!page.ok()) return PhysAddr{0};
    count.fetch_add(1, std::memory_order_relaxed);
    return page.value();
}
void Space::Tables::free_table(PhysAddr page) {
    count.fetch_sub(1, std::memory_order_relaxed);
    rt::retire_frame(page);
}

Result<Ref<Space>> Space::create() {
    Ref<Space> s = TRY(rt::make_ref<Space>());
    s->table_ = Machine::PageTable::create(s->tables_);
    if (!s->table_.valid()) return Errno::kNoMem;
    const native::Slot slot = new_slot();
    if (slot == 0) return Errno::kNoMem;
    if (auto r = native::create(native::kSlotPool, native::kTypeSpace, slot, kClientSlots); !r.ok()) {
        free_slot(slot);
        return r.error();
    }
    s->slot_ = slot;
    return s;
}

Space::~Space() {
    if (slot_ != 0) {
        (void)native::remove(slot_);
        free_slot(slot_);
        rt::tables_came_back();
    }
    table_.destroy(tables_);
}

// The kernel may have no room for a page table, and the caller then frees the frames: until the kernel has mapped them, no copy
// may find them in the table here. Nor may one find what they replace, which programs do not see any more: it waits for the
// lock that the caller has, as for a page that is not there.
Result<void> Space::map(std::span<const MapEntry> entries) {
    rt::LockGuard guard{lock_};
    hal::EntrySlot slots[kItems];
    u64 before[kItems];
    while (!entries.empty()) {
        const size_t n = entries.size() < kItems ? entries.size() : kItems;
        for (size_t i = 0; i < n; ++i) {
            const UserAddr at = entries[i].at;
            slots[i] = i != 0 && at == entries[i - 1].at + kPageSize ? slots[i - 1].behind() : hal::EntrySlot{};
            if (!slots[i]) slots[i] = table_.slot(at, tables_);
            if (!slots[i]) return Errno::kNoMem;
        }
        u64* words = native::utcb().words;
        for (size_t i = 0; i < n; ++i) {
            const MapEntry& e = entries[i];
            before[i] = slots[i].load().raw();
            if (before[i] != 0) before[i] = slots[i].exchange(hal::Entry{}).raw();
            *words++ = e.at.value;
            *words++ = (e.frame.value - hal::kMemoryStart) | rights_of(e.prot);
        }
        const auto answer = native::make_call(native::kMapFrames, slot_, native::kSlotMemory, n);
        if (!answer.ok()) [[unlikely]] {
            if (answer.error() == Errno::kNoMem) rt::tables_ran_out();
            for (size_t i = 0; i < n; ++i) take_back(entries[i].at, slots[i], hal::Entry{before[i]});
            return answer.error();
        }
        for (size_t i = 0; i < n; ++i) slots[i].store(hal::Entry::make(entries[i].frame, flags_of(entries[i].prot)));
        note(answer);
        entries = entries.subspan(n);
    }
    return lib::kOk;
}

// The kernel may have mapped something else there, or not have come so far.
void Space::take_back(UserAddr at, hal::EntrySlot slot, hal::Entry before) {
    u64* words = native::utcb().words;
    words[0] = at.value;
    words[1] = at.value + kPageSize;
    note(native::make_call(native::kChangeFrames, slot_, 1, 0));
    if (!before.mapped()) return;
    words[0] = at.value;
    words[1] = (before.address().value - hal::kMemoryStart) | rights_of(prot_of(before));
    // Where it had been mapped before, there is the table still.
    note(native::make_call(native::kMapFrames, slot_, native::kSlotMemory, 1));
    slot.store(before);
}

void Space::unmap(std::span<const UserRange> ranges) {
    rt::LockGuard guard{lock_};
    for (const UserRange& r : ranges) {
        bool any = false;
        table_.unmap(r.start, r.end, [&](UserAddr, auto) { any = true; });
        if (!any) continue;
        native::utcb().words[0] = r.start.value;
        native::utcb().words[1] = r.end.value;
        note(native::make_call(native::kChangeFrames, slot_, 1, 0));
    }
}

void Space::protect(std::span<const UserRange> ranges, Prot prot) {
    rt::LockGuard guard{lock_};
    bool less = false;
    for (const UserRange& r : ranges) {
        less |= table_.protect(r.start, r.end, flags_of(prot));
        native::utcb().words[0] = r.start.value;
        native::utcb().words[1] = r.end.value;
        note(native::make_call(native::kChangeFrames, slot_, 1, rights_of(prot)));
    }
    if (less) await_writers();
}

u64 Space::next_number() {
    static constinit std::atomic<u64> last{0};
    return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

void Space::free_tables(UserRange range, UserAddr floor, UserAddr ceiling) {
    rt::LockGuard guard{lock_};
    table_.free_tables(range.start, range.end, floor, ceiling, tables_);
    // Release: pairs with reach(), which finds no unlinked table under this number.
    tables_number_.store(next_number(), std::memory_order_release);
    note(native::make_call(native::kFreeTables, slot_, range.start.value, range.end.value, floor.value, ceiling.value));
    rt::tables_came_back();
}

void Space::await_writers() {
    u32 found = 0;
    for (u32 cpu = 0; cpu < Machine::cpu_count(); ++cpu) {
        const u64 number = copying[cpu].number.load(std::memory_order_seq_cst);
        if (cpu == Machine::this_cpu().value || (number & 1) == 0) continue;
        awaited_copy_[cpu].store(number, std::memory_order_relaxed);
        found |= 1u << cpu;
    }
    if (found != 0) awaited_.fetch_or(found, std::memory_order_release);
}

bool Space::stale() const {
    for (u32 cpus = awaited_.load(std::memory_order_acquire), cpu = 0; cpus >> cpu; ++cpu)
        if (((cpus >> cpu) & 1) &&
            copying[cpu].number.load(std::memory_order_acquire) == awaited_copy_[cpu].load(std::memory_order_relaxed))
            return true;
    // What is noted while the kernel is asked, here or on another CPU, is not part of its answer.
    const u64 noted = noted_.load(std::memory_order_acquire);
    u64 fresh = fresh_.load(std::memory_order_acquire);
    if (noted == fresh) return false;
    auto r = native::make_call(native::kSpaceStale, slot_);
    if (r.ok() && r.value() != 0) return true;
    while (fresh < noted && !fresh_.compare_exchange_weak(fresh, noted, std::memory_order_acq_rel)) {
    }
    return false;
}

Task<void> Space::settle() {
    for (u32 tries = 0; stale(); ++tries) {
        if (tries < 16) {
            co_await rt::Yield{};
        } else {
            // An acknowledgement takes an interrupt on the other CPU: tens of microseconds.
            rt::Wait wait{"other CPUs to drop their translations"};
            wait.until(Machine::now() + Nanoseconds{50'000}).uninterruptible();
            (void)co_await wait;
        }
    }
}

// --- Copies

namespace {
constexpr u64 in_page(UserAddr at) { return at.value & (kPageSize - 1); }
}  // namespace

// The page in a table that was found before, if an access needs no look at the rest of its entry; else null.
[[gnu::always_inline]] inline std::byte* Space::known_page(const Copying& mine, UserAddr at, bool write) const {
    const u64 region = at.value / kTableBytes;
    const TableFound& f = mine.found[region % std::size(mine.found)];
    if (f.number != tables_number_.load(std::memory_order_acquire) || f.region != region) return nullptr;
    const hal::Entry e = f.slot.beside(at).load();
    return e.ready_for(write, false) ? static_cast<std::byte*>(Machine::phys_to_virt(e.address())) : nullptr;
}
// Where the bytes are, if they lie in one such page; else null.
[[gnu::always_inline]] inline std::byte* Space::known_bytes(const Copying& mine, UserAddr at, size_t n,
                                                            bool write) const {
    if (n > kPageSize - in_page(at)) return nullptr;
    std::byte* page = known_page(mine, at, write);
    return page ? page + in_page(at) : nullptr;
}
// Where the byte is, with the rights checked as the MMU would; null if it would fault.
std::byte* Space::reach(Copying& mine, UserAddr at, bool write) {
    if (std::byte* page = known_page(mine, at, write)) return page + in_page(at);
    if (at.value >= Machine::user_top().value) return nullptr;
    const u64 region = at.value / kTableBytes, number = tables_number_.load(std::memory_order_acquire);
    const hal::EntrySlot slot = table_.find(at);
    if (slot) mine.found[region % std::size(mine.found)] = {number, region, slot};
    const PhysAddr there = table_.access(slot, at, write);
    return there.value != 0 ? static_cast<std::byte*>(Machine::phys_to_virt(there)) : nullptr;
}

// Calls piece(pointer, bytes, done so far) for each page's part.
template <class F>
size_t Space::walk(Copying& mine, UserAddr at, size_t n, bool write, F&& piece) {
    size_t done = 0;
    while (done < n) {
        std::byte* p = reach(mine, at + done, write);
        if (!p) break;
        size_t part = kPageSize - in_page(at + done);
        if (part > n - done) part = n - done;
        if (!piece(p, part, done)) return done;
        done += part;
    }
    return done;
}

size_t Space::copy_in(void* to, UserAddr from, size_t n) {
    CopySection section;
    if (const std::byte* p = known_bytes(section.mine, from, n, false)) [[likely]] {
        std::memcpy(to, p, n);
        return n;
    }
    return walk(section.mine, from, n, false, [&](std::byte* p, size_t part, size_t done) {
        std::memcpy(static_cast<std::byte*>(to) + done, p, part);
        return true;
    });
}
size_t Space::copy_out(UserAddr to, const void* from, size_t n) {
    CopySection section;
    if (std::byte* p = known_bytes(section.mine, to, n, true)) [[likely]] {
        std::memcpy(p, from, n);
        return n;
    }
    return walk(section.mine, to, n, true, [&](std::byte* p, size_t part, size_t done) {
        std::memcpy(p, static_cast<const std::byte*>(from) + done, part);
        return true;
    });
}
size_t Space::zero_out(UserAddr to, size_t n) {
    CopySection section;
    return walk(section.mine, to, n, true, [&](std::byte* p, size_t part, size_t) {
        std::memset(p, 0, part);
        return true;
    });
}
size_t Space::copy_in_string(char* to, UserAddr from, size_t max, bool* ended) {
    CopySection section;
    *ended = false;
    size_t length = 0;
    walk(section.mine, from, max, false, [&](std::byte* p, size_t part, size_t) {
        const size_t n = lib::copy_string(to + length, p, part);
        length += n;
        *ended = n < part;
        return n == part;
    });
    return length;
}
Result<u32> Space::load_u32(UserAddr a) {
    CopySection section;
    const std::byte* p = reach(section.mine, a, false);
    if (!p) return Errno::kFault;
    return __atomic_load_n(reinterpret_cast<const u32*>(p), __ATOMIC_SEQ_CST);
}
Result<u32> Space::compare_exchange_u32(UserAddr a, u32 expected, u32 desired) {
    CopySection section;
    std::byte* p = reach(section.mine, a, true);
    if (!p) return Errno::kFault;
    __atomic_compare_exchange_n(reinterpret_cast<u32*>(p), &expected, desired, false, __ATOMIC_SEQ_CST,
                                __ATOMIC_SEQ_CST);
    return expected;
}

}  // namespace port
