// SPDX-License-Identifier: MIT
// Address spaces over the machine's page tables.
#include "core/space.hpp"

#include <cstring>

#include "lib/copy_string.hpp"
#include "rt/executor.hpp"
#include "rt/mem/retire.hpp"
#include "rt/mem/slab.hpp"
#include "rt/teardown.hpp"
#include "rt/wait.hpp"

namespace core {
namespace {

using hal::Machine;

hal::MapFlags flags_of(lib::Prot p) {
    // A page that may be written or executed can be read on every supported machine.
    return {.read = p.read || p.write || p.exec, .write = p.write, .exec = p.exec, .user = true, .touched = true};
}

}  // namespace

PhysAddr Space::Tables::allocate_table() {
    auto page = rt::alloc_zeroed_frame();
    if (!page.ok()) return PhysAddr{0};
    count.store(count.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    return page.value();
}

// Other CPUs may walk it, and their MMUs may have its address cached: it is freed one epoch later.
void Space::Tables::free_table(PhysAddr page) {
    count.store(count.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
    rt::retire_frame(page);
}

Result<Ref<Space>> Space::create() {
    auto* space = rt::make<Space>();
    if (!space) return Errno::kNoMem;
    auto ref = Ref<Space>::adopt(space);
    space->table_ = Machine::PageTable::create(space->tables_);
    if (!space->table_.valid()) return Errno::kNoMem;
    space->tables_.count.store(0, std::memory_order_relaxed);  // the root does not count
    return ref;
}

Space::~Space() { table_.destroy(tables_); }

void Space::load_new() {
    rt::Executor& ex = rt::Executor::current();
    if (Space* before = state_of(ex).space) return load_from(ex, *before);
    loaded_on_.fetch_add(ex.cpu_bit(), std::memory_order_seq_cst);
    Machine::load_root(table_.root());
    state_of(ex).space = this;
}

void Space::unload() {
    rt::Executor& ex = rt::Executor::current();
    Machine::load_root(Machine::kernel_root());
    if (Space* old = std::exchange(state_of(ex).space, nullptr)) old->unloaded(ex.cpu_bit());
}

// On the way of a switch between threads, perhaps in a fastpath: what takes long is done later, some tables of one space a turn.
[[gnu::noinline]] void Space::free_now() {
    constexpr u32 kTablesAtOnce = 512;  // about 30,000 instructions
    static constinit rt::TeardownList<Space, &Space::next_to_free_> ending{[](Space& space) {
        if (space.table_.destroy_some(space.tables_, kTablesAtOnce)) return true;
        delete &space;
        return false;
    }};
    ending.add(*this);
}

// More rights to the same frame need no flush: a CPU that still has the old translation faults and finds them.
[[gnu::always_inline]] inline void Space::replace(hal::Machine::PageTable::Slot slot,
                                                  hal::Machine::PageTable::Entry entry, UserAddr at) {
    auto old = slot.exchange(entry);
    if (old.present() && (old.address() != entry.address() || (old.writable() && !entry.writable()) ||
                          (old.executable() && !entry.executable())))
        invalidate(at, at + kPageSize);
}

Result<void> Space::map(std::span<const lib::MapEntry> entries) {
    rt::LockGuard guard{lock_};
    for (const lib::MapEntry *e = entries.data(), *end = e + entries.size(); e != end;) {
        auto slot = table_.slot(e->at, tables_);
        if (!slot) return Errno::kNoMem;
        // Neighbours need no walk.
        do {
            auto entry = hal::Machine::PageTable::Entry::make(e->frame, flags_of(e->prot));
            if (!slot.load().mapped())
                slot.store(entry);
            else
                replace(slot, entry, e->at);
            if (++e == end) return lib::kOk;
            slot = slot.behind();
        } while (slot && e->at == e[-1].at + kPageSize);
    }
    return lib::kOk;
}

size_t Space::map_within(std::span<const PackedEntry> entries, u64& tables) {
    using Entry = hal::Machine::PageTable::Entry;
    struct Limited {
        Tables& from;
        u64& left;
        [[gnu::noinline]] PhysAddr allocate_table() {
            if (left == 0) return PhysAddr{0};
            const PhysAddr page = from.allocate_table();
            if (page.value != 0) --left;
            return page;
        }
        void free_table(PhysAddr page) { from.free_table(page); }
    } limited{tables_, tables};
    constexpr u64 kInPage = kPageSize - 1;
    u64 rights = ~u64{0};
    Entry with_rights;
    rt::LockGuard guard{lock_};
    for (const PackedEntry *e = entries.data(), *end = e + entries.size(); e != end;) {
        auto slot = table_.slot(UserAddr{e->at}, limited);
        if (!slot) return size_t(e - entries.data());
        do {
            const u64 word = e->frame_and_rights;
            if ((word & kInPage) != rights) {
                rights = word & kInPage;
                with_rights = Entry::make(PhysAddr{0}, flags_of({.read = (rights & PackedEntry::kRead) != 0,
                                                                 .write = (rights & PackedEntry::kWrite) != 0,
                                                                 .exec = (rights & PackedEntry::kExecute) != 0}));
            }
            const Entry entry = with_rights.with_address(PhysAddr{word - rights});
            if (!slot.load().mapped()) [[likely]]
                slot.store(entry);
            else
                replace(slot, entry, UserAddr{e->at});
            if (++e == end) return entries.size();
            slot = slot.behind();
        } while (slot && e->at == e[-1].at + kPageSize);
    }
    return entries.size();
}

void Space::unmap(std::span<const lib::UserRange> ranges) {
    rt::LockGuard guard{lock_};
    for (const lib::UserRange& r : ranges) {
        bool any = false;
        table_.unmap(r.start, r.end, [&](UserAddr, auto) { any = true; });
        if (any) invalidate(r.start, r.end);
    }
}

void Space::free_tables(lib::UserRange range, UserAddr floor, UserAddr ceiling) {
    rt::LockGuard guard{lock_};
    const u64 before = tables();
    table_.free_tables(range.start, range.end, floor, ceiling, tables_);
    // MMUs keep the addresses of tables in caches of their own, which the flush of any page of the space empties
    // (KernelMachine::flush_local). This CPU is in an epoch section until then, and others flush before they are
    // quiescent: the tables are not used again before.
    if (tables() != before) invalidate(range.start, range.start + kPageSize);
}

void Space::release_tables(lib::UserRange range, UserAddr floor, UserAddr ceiling) {
    if (range.start >= range.end) return;
    rt::LockGuard guard{lock_};
    // What the tables of the last level that go cover.
    u64 from = range.start.down(kTableBytes).value, to = range.end.up(kTableBytes).value;
    if (from < floor.value) from += kTableBytes;
    if (to > ceiling.value) to -= kTableBytes;
    const u64 before = tables();
    table_.free_empty_tables(range.start, range.end, floor, ceiling, tables_);
    // Their pages go with them, without a look at each.
    if (tables() != before)
        invalidate(from < to ? UserAddr{from} : range.start, from < to ? UserAddr{to} : range.start + kPageSize);
}

void Space::protect(std::span<const lib::UserRange> ranges, lib::Prot prot) {
    rt::LockGuard guard{lock_};
    bool any = false;
    for (const lib::UserRange& r : ranges) {
        if (!table_.protect(r.start, r.end, flags_of(prot))) continue;
        invalidate(r.start, r.end);
        any = true;
    }
    if (any && writers_.load(std::memory_order_seq_cst) != 0) await_writers();
}

// A CPU that has found a page by the tables may be writing to it still: it is asked as one that has the space loaded
// is, and answers when it is out of the copy.
void Space::await_writers() {
    const u32 cpus =
        writers_.exchange(0, std::memory_order_seq_cst) & ~loaded_cpus() & ~(1u << Machine::this_cpu().value);
    for (u32 cpu = 0; cpus >> cpu; ++cpu) {
        if (!((cpus >> cpu) & 1)) continue;
        ticket_[cpu].store(Machine::request_flush(CpuId{cpu}), std::memory_order_release);
        if (rt::Executor::of(CpuId{cpu}).user_state.get() != rt::UserState::kBusy) Machine::kick_flush(CpuId{cpu});
    }
    awaited_.fetch_or(cpus, std::memory_order_release);
}

bool Space::test_and_clear_dirty(UserAddr page) {
    rt::LockGuard guard{lock_};
    auto slot = table_.find(page);
    if (!slot || !slot.load().dirty()) return false;
    slot.update([](auto e) { return e.clean(); });
    invalidate(page, page + kPageSize);
    return true;
}

void Space::invalidate(UserAddr from, UserAddr to) {
    if (loaded_here()) Machine::flush_local(from, to);
    u32 others = loaded_cpus() & ~(1u << Machine::this_cpu().value);
    for (u32 cpu = 0; others >> cpu; ++cpu) {
        if (!((others >> cpu) & 1)) continue;
        ticket_[cpu].store(Machine::request_flush(CpuId{cpu}), std::memory_order_release);
        if (rt::Executor::of(CpuId{cpu}).user_state.get() != rt::UserState::kBusy) Machine::kick_flush(CpuId{cpu});
    }
}

bool Space::shared_now() const { return (loaded_cpus() & ~(1u << Machine::this_cpu().value)) != 0; }

bool Space::stale() const {
    u32 others = (loaded_cpus() | awaited_.load(std::memory_order_acquire)) & ~(1u << Machine::this_cpu().value);
    for (u32 cpu = 0; others >> cpu; ++cpu)
        if (((others >> cpu) & 1) && !Machine::flush_done(CpuId{cpu}, ticket_[cpu].load(std::memory_order_acquire)))
            return true;
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

// Nothing to do but to be dropped: no thread of this space will enter user mode again, so no translation of it will be
// used, and its tables go with it, when no CPU has it loaded any more.
void Space::clear() {}

// Before the tables are read for a write; protect() changes them before it looks for writers.
void Space::note_writer() {
    const u32 me = 1u << Machine::this_cpu().value;
    if (!(writers_.load(std::memory_order_relaxed) & me)) writers_.fetch_or(me, std::memory_order_seq_cst);
}

// Calls piece(kernel pointer, bytes, done so far) for each page's part, with the rights checked as the MMU would.
template <class F>
size_t Space::walk(UserAddr at, size_t n, bool write, F&& piece) {
    if (write) note_writer();
    size_t done = 0;
    while (done < n) {
        UserAddr here = at + done;
        PhysAddr frame = table_.access(here, write);
        if (frame.value == 0) break;
        size_t part = kPageSize - (here.value & (kPageSize - 1));
        if (part > n - done) part = n - done;
        if (!piece(static_cast<std::byte*>(Machine::phys_to_virt(frame)), part, done)) return done;
        done += part;
    }
    return done;
}

// In a call of another CPU, which waits for it with this space loaded, that CPU copies the end. copy(kernel, user,
// bytes).
template <class Copy>
[[gnu::always_inline]] inline size_t Space::copy_long(std::byte* kernel, UserAddr user, size_t n, bool to_user,
                                                      Copy&& copy) {
    rt::Executor& ex = rt::Executor::current();
    rt::CopyShare* share = ex.service.copy_partner(loaded_cpus());
    const size_t part = share ? ex.service.lead.part_of(n) : 0;
    if (part == 0) return copy(kernel, user, n);
    const size_t own = n - part;
    share->offer(user + own, kernel + own, part, to_user);
    size_t done = copy(kernel, user, own), by_home = 0;
    const bool first = share->over();
    if (!share->settle(by_home, [] { Machine::poll_mailbox(); })) {
        ex.service.count_taken_back();
        return done == own ? own + copy(kernel + own, user + own, part) : done;
    }
    ex.service.count_shared();
    if (first)
        ex.service.lead.home_was_first();
    else
        ex.service.lead.home_was_last();
    return done == own ? own + by_home : done;
}
[[gnu::noinline]] size_t Space::copy_in_any(void* to, UserAddr from, size_t n) {
    if (n >= kLong && rt::Executor::current().service.serves()) [[unlikely]]
        return copy_long(
            static_cast<std::byte*>(to), from, n, false, [&](std::byte* kernel, UserAddr user, size_t part) {
                return loaded_here() ? Machine::copy_long_from_user(kernel, user, part) : walk_in(kernel, user, part);
            });
    if (!loaded_here()) [[unlikely]]
        return walk_in(to, from, n);
    return Machine::copy_from_user(to, from, n);
}
[[gnu::noinline]] size_t Space::copy_out_any(UserAddr to, const void* from, size_t n) {
    auto* bytes = static_cast<std::byte*>(const_cast<void*>(from));  // only read
    if (n >= kLong && rt::Executor::current().service.serves()) [[unlikely]]
        return copy_long(bytes, to, n, true, [&](std::byte* kernel, UserAddr user, size_t part) {
            return loaded_here() ? Machine::copy_long_to_user(user, kernel, part) : walk_out(user, kernel, part);
        });
    if (!loaded_here()) [[unlikely]]
        return walk_out(to, from, n);
    return Machine::copy_to_user(to, from, n);
}

size_t Space::walk_in(void* to, UserAddr from, size_t n) {
    return walk(from, n, false, [&](std::byte* p, size_t part, size_t done) {
        std::memcpy(static_cast<std::byte*>(to) + done, p, part);
        return true;
    });
}

size_t Space::walk_out(UserAddr to, const void* from, size_t n) {
    return walk(to, n, true, [&](std::byte* p, size_t part, size_t done) {
        std::memcpy(p, static_cast<const std::byte*>(from) + done, part);
        return true;
    });
}

size_t Space::zero_out(UserAddr to, size_t n) {
    if (loaded_here()) [[likely]]
        return Machine::clear_user(to, n);
    return walk(to, n, true, [&](std::byte* p, size_t part, size_t) {
        std::memset(p, 0, part);
        return true;
    });
}

size_t Space::copy_in_string(char* to, UserAddr from, size_t max, bool* ended) {
    if (loaded_here()) [[likely]] {
        hal::UserString s = Machine::copy_string_from_user(to, from, max);
        *ended = s.terminated;
        return s.length;
    }
    *ended = false;
    size_t length = 0;
    walk(from, max, false, [&](std::byte* p, size_t part, size_t done) {
        const size_t n = lib::copy_string(to + done, p, part);
        length = done + n;
        *ended = n < part;
        return n == part;
    });
    return length;
}

Result<u32> Space::load_u32(UserAddr a) {
    u32 v = 0;
    if (loaded_here()) [[likely]] {
        if (!Machine::load_user_u32(a, &v)) return Errno::kFault;
        return v;
    }
    PhysAddr frame = table_.access(a, false);
    if (frame.value == 0) return Errno::kFault;
    return __atomic_load_n(static_cast<u32*>(Machine::phys_to_virt(frame)), __ATOMIC_SEQ_CST);
}

Result<u32> Space::compare_exchange_u32(UserAddr a, u32 expected, u32 desired) {
    if (loaded_here()) [[likely]] {
        if (!Machine::compare_exchange_user_u32(a, &expected, desired)) return Errno::kFault;
        return expected;
    }
    note_writer();
    PhysAddr frame = table_.access(a, true);
    if (frame.value == 0) return Errno::kFault;
    __atomic_compare_exchange_n(static_cast<u32*>(Machine::phys_to_virt(frame)), &expected, desired, false,
                                __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    return expected;
}

}  // namespace core
