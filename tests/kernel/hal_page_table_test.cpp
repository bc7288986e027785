// SPDX-License-Identifier: MIT
// Page tables as data: rights, walks, accessed/dirty, and that every table page comes back. No table here is loaded.
#include "rt/mem/pages.hpp"
#include "tests/kernel/ktest.hpp"

namespace {

using hal::Entry;
using hal::EntrySlot;
using hal::MapFlags;
using hal::PageTable;

// Table pages from the frame allocator, counted; none after `left` have been taken.
struct CountedTables {
    u64 taken = 0, returned = 0, left = ~u64{0};
    PhysAddr allocate_table() {
        if (left == 0) return PhysAddr{0};
        auto page = rt::alloc_zeroed_frame();
        if (!page.ok()) return PhysAddr{0};
        left--;
        taken++;
        return page.value();
    }
    void free_table(PhysAddr page) {
        returned++;
        rt::free_frame(page);
    }
};

constexpr PhysAddr kFrame{0x12345000};

KTEST(hal_map_is_what_query_tells) {
    CountedTables source;
    PageTable table = PageTable::create(source);
    KCHECK(table.valid());
    UserAddr at{0x7f12'3456'7000};
    KCHECK(!table.query(at).mapped());
    KCHECK(table.map(at, kFrame, {.write = true, .software = 5}, source));
    Entry e = table.query(at + 0xabc);
    KCHECK(e.present() && e.writable() && e.user() && !e.executable() && e.software() == 5 && e.address() == kFrame);
    KCHECK(!e.accessed() && !e.dirty());
    KCHECK(table.map(at + kPageSize, kFrame, {.exec = true, .touched = true}, source));
    e = table.query(at + kPageSize);
    KCHECK(!e.writable() && e.executable() && e.accessed() && !e.dirty());
    u32 seen = 0;
    table.unmap(at, at + 2 * kPageSize, [&](UserAddr, Entry old) { seen += old.address() == kFrame; });
    KCHECK(seen == 2 && !table.query(at).mapped());
    KCHECK(source.taken == 4);
    table.destroy(source);
    KCHECK(source.returned == source.taken && !table.valid());
    co_return lib::kOk;
}

KTEST(hal_walks_visit_each_page_once_and_in_order) {
    CountedTables source;
    PageTable table = PageTable::create(source);
    // Around the borders of a leaf table, a directory and a top-level entry.
    const u64 places[] = {0x1000,      0x1ff000,       0x200000,       0x3fff'f000,
                          0x4000'0000, 0x7f'ffff'f000, 0x80'0000'0000, 0x7fff'ffff'e000};
    for (u64 at : places) KCHECK(table.map(UserAddr{at}, PhysAddr{at & 0xfffff000}, {}, source));
    u32 n = 0;
    bool order = true;
    table.for_each_mapped(UserAddr{0}, hal::Machine::user_top(), [&](UserAddr at, EntrySlot s) {
        order &= n < 8 && places[n] == at.value && s.load().address().value == (at.value & 0xfffff000);
        n++;
    });
    KCHECK(n == 8 && order);
    n = 0;
    table.for_each_mapped(UserAddr{0x1ff000}, UserAddr{0x4000'0000}, [&](UserAddr, EntrySlot) { n++; });
    KCHECK(n == 3);
    n = 0;
    KCHECK(table.for_each_slot(UserAddr{0x1fe000}, UserAddr{0x203000}, source, [&](UserAddr at, EntrySlot s) {
        n +=
            at.value == 0x1fe000 + n * kPageSize && s.load().mapped() == (at.value == 0x1ff000 || at.value == 0x200000);
        return true;
    }));
    KCHECK(n == 5);
    table.destroy(source);
    KCHECK(source.returned == source.taken);
    co_return lib::kOk;
}

KTEST(hal_protect_keeps_frame_and_dirty_and_tells_what_was_lost) {
    CountedTables source;
    PageTable table = PageTable::create(source);
    UserAddr at{0x40'0000}, end{0x40'1000};
    KCHECK(table.map(at, kFrame, {.write = true, .touched = true, .software = 3}, source));
    KCHECK(table.protect(at, end, {}));
    Entry e = table.query(at);
    KCHECK(!e.writable() && e.dirty() && e.software() == 3 && e.address() == kFrame);
    KCHECK(!table.protect(at, end, {.write = true}));
    KCHECK(!table.protect(at, end, {.write = true, .exec = true}));
    KCHECK(table.protect(at, end, {.read = false}));
    e = table.query(at);
    KCHECK(e.mapped() && !e.present() && e.address() == kFrame);
    KCHECK(!table.protect(at, end, {.write = true}));
    KCHECK(table.query(at).present());
    table.destroy(source);
    co_return lib::kOk;
}

KTEST(hal_access_checks_rights_and_marks_as_the_mmu_does) {
    CountedTables source;
    PageTable table = PageTable::create(source);
    UserAddr data{0x10'0000}, code{0x10'1000}, none{0x10'2000}, kernel{0x10'3000};
    KCHECK(table.map(data, kFrame, {.write = true}, source) && table.map(code, kFrame, {.exec = true}, source));
    KCHECK(table.map(none, kFrame, {.read = false}, source) && table.map(kernel, kFrame, {.user = false}, source));
    KCHECK(table.access(data + 7, false) == kFrame + 7);
    KCHECK(table.query(data).accessed() && !table.query(data).dirty());
    KCHECK(table.access(data, true) == kFrame && table.query(data).dirty());
    KCHECK(table.access(data, false, true).value == 0);
    KCHECK(table.access(code, false, true) == kFrame && table.access(code, true).value == 0);
    KCHECK(!table.query(code).dirty());
    KCHECK(table.access(none, false).value == 0 && table.access(kernel, false).value == 0);
    KCHECK(table.access(UserAddr{0x20'0000}, false).value == 0);
    table.destroy(source);
    co_return lib::kOk;
}

KTEST(hal_tables_are_freed_only_where_nothing_else_is_mapped) {
    CountedTables source;
    PageTable table = PageTable::create(source);
    UserAddr a{0x1000'0000}, b{0x1000'2000}, c{0x1020'0000};
    for (UserAddr at : {a, b, c}) KCHECK(table.map(at, kFrame, {}, source));
    KCHECK(source.taken == 5);  // root, two directories, two leaf tables
    auto drop = [&](UserAddr at, UserAddr floor, UserAddr ceiling) {
        table.unmap(at, at + kPageSize, [](UserAddr, Entry) {});
        table.free_tables(at, at + kPageSize, floor, ceiling, source);
    };
    drop(a, UserAddr{0}, b);
    KCHECK(source.returned == 0 && table.query(b).present());
    drop(b, UserAddr{0}, c);
    KCHECK(source.returned == 1 && table.query(c).present());
    drop(c, UserAddr{0}, hal::Machine::user_top());
    KCHECK(source.returned == 4);
    table.destroy(source);
    KCHECK(source.returned == 5);
    co_return lib::kOk;
}

// The end of a table looks only where something was entered; what lies in each eighth of a table is found, wherever.
KTEST(hal_entries_in_each_eighth_of_a_table_are_found) {
    constexpr u64 kDirectory = u64{1} << 30, kTop = u64{1} << 39;
    for (u64 step : {kDirectory / 512, kDirectory, kTop}) {
        CountedTables source;
        PageTable table = PageTable::create(source);
        const u64 slots = step == kTop ? 256 : 512;  // the user half of the root
        u64 mapped = 0;
        for (u64 i = 5; i < slots; i += 29, mapped++) KCHECK(table.map(UserAddr{i * step}, kFrame, {}, source));
        const u64 own = step == kTop ? 3 : step == kDirectory ? 2 : 1;  // tables that each of them has alone
        const u64 shared = 4 - own;
        KCHECK(source.taken == shared + own * mapped);
        const UserAddr end{slots * step};
        UserAddr some = table.end_of_tables(UserAddr{0}, end, 3);
        KCHECK(some > UserAddr{(5 + 2 * 29) * step} && some <= UserAddr{(5 + 3 * 29) * step});
        // Without the tables of the first three, which are empty; the rest keeps those above.
        table.unmap(UserAddr{0}, some, [](UserAddr, Entry) {});
        table.free_empty_tables(UserAddr{0}, some, UserAddr{0}, some, source);
        KCHECK(source.returned == 3 * own);
        u64 left = 0;
        table.for_each_mapped(UserAddr{0}, end, [&](UserAddr, EntrySlot) { left++; });
        KCHECK(left == mapped - 3);
        table.destroy(source);
        KCHECK(source.returned == source.taken && !table.valid());
    }
    co_return lib::kOk;
}

KTEST(hal_map_without_memory_fails_and_loses_nothing) {
    for (u64 pages = 0; pages < 4; ++pages) {
        CountedTables source;
        source.left = pages;
        PageTable table = PageTable::create(source);
        KCHECK(table.valid() == (pages > 0));
        if (!table.valid()) continue;
        KCHECK(!table.map(UserAddr{0x1234'5000}, kFrame, {}, source));
        KCHECK(!table.query(UserAddr{0x1234'5000}).mapped());
        source.left = 4;
        KCHECK(table.map(UserAddr{0x1234'5000}, kFrame, {}, source));
        KCHECK(source.taken == 4);
        table.destroy(source);
        KCHECK(source.returned == 4);
    }
    co_return lib::kOk;
}

}  // namespace
