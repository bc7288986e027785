// SPDX-License-Identifier: MIT
// 4-level page tables (SDM vol. 3A, 4.5). The owner serialises changes of structure; the MMU and walkers on other CPUs
// read and set accessed/dirty at any time, so every entry is accessed as an atomic, and a change that must not lose a
// dirty bit is an exchange or a compare-exchange. Tables are read through the direct map. Table pages that were
// unlinked go to the source's free_table, which must wait for one epoch.
// The same tables, which no MMU walks, are where a server looks up its clients' memory (hal/user).
#pragma once
#include <atomic>
#include <type_traits>

#include "hal/api/kernel_machine.hpp"
#include "hal/x86_64/include/hal/layout.h"

namespace hal {

inline void* direct_map(PhysAddr p) { return reinterpret_cast<void*>(p.value + HAL_DIRECT_MAP); }

// The value of one leaf entry.
class Entry {
public:
    static constexpr u64 kPresent = 1, kWrite = 2, kUser = 4, kWriteThrough = 8, kCacheDisable = 16, kAccessed = 32;
    static constexpr u64 kDirty = 64, kLarge = 128, kGlobal = 256, kSoftware = 7u << 9, kNoExec = u64{1} << 63;
    static constexpr u64 kAddress = 0x000ffffffffff000;
    static constexpr unsigned kSoftwareShift = 9;

    constexpr Entry() = default;
    constexpr explicit Entry(u64 raw) : raw_(raw) {}
    static constexpr Entry make(PhysAddr pa, MapFlags f) {
        return Entry{(pa.value & kAddress) | rights(f) | type(f.type) |
                     (static_cast<u64>(f.software) << kSoftwareShift & kSoftware) | (f.global ? kGlobal : 0) |
                     (f.touched ? (kAccessed | (f.write ? kDirty : 0)) : 0)};
    }
    constexpr u64 raw() const { return raw_; }
    constexpr bool mapped() const { return raw_ != 0; }  // there is a frame, perhaps out of reach
    constexpr bool present() const { return (raw_ & kPresent) != 0; }
    constexpr bool writable() const { return (raw_ & kWrite) != 0; }
    constexpr bool executable() const { return (raw_ & kNoExec) == 0; }
    constexpr bool user() const { return (raw_ & kUser) != 0; }
    constexpr bool accessed() const { return (raw_ & kAccessed) != 0; }
    constexpr bool dirty() const { return (raw_ & kDirty) != 0; }
    constexpr bool large() const { return (raw_ & kLarge) != 0; }  // above the last level only
    constexpr u8 software() const { return static_cast<u8>((raw_ & kSoftware) >> kSoftwareShift); }
    constexpr PhysAddr address() const { return PhysAddr{raw_ & kAddress}; }
    // Other rights, everything else kept (frame, accessed, dirty, memory type, software bits).
    constexpr Entry with_rights(MapFlags f) const {
        return Entry{(raw_ & ~(kPresent | kWrite | kUser | kNoExec)) | rights(f)};
    }
    // Of one without an address: the same for this frame.
    constexpr Entry with_address(PhysAddr pa) const { return Entry{raw_ | pa.value}; }
    constexpr Entry with_software(u8 s) const {
        return Entry{(raw_ & ~kSoftware) | (static_cast<u64>(s) << kSoftwareShift & kSoftware)};
    }
    constexpr Entry write_protected() const { return Entry{raw_ & ~kWrite}; }
    constexpr Entry clean() const { return Entry{raw_ & ~kDirty}; }
    // A user access of this kind needs no look at the rest of it, and sets no bit.
    constexpr bool ready_for(bool write, bool exec) const {
        const u64 needed = kPresent | kUser | kAccessed | (write ? kWrite | kDirty : 0);
        return (raw_ & (needed | (exec ? kNoExec : 0))) == needed;
    }
    constexpr Entry touched(bool dirty) const { return Entry{raw_ | kAccessed | (dirty ? kDirty : 0)}; }
    friend constexpr bool operator==(Entry, Entry) = default;

    // PAT entry 1 is reprogrammed to write-combining, entry 3 is uncached (fill in paging.cpp).
    static constexpr u64 type(MemoryType t) {
        return t == MemoryType::kNormal           ? 0
               : t == MemoryType::kWriteCombining ? kWriteThrough
                                                  : kWriteThrough | kCacheDisable;
    }

private:
    static constexpr u64 rights(MapFlags f) {
        return (f.read ? kPresent : 0) | (f.write ? kWrite : 0) | (f.user ? kUser : 0) | (f.exec ? 0 : kNoExec);
    }
    u64 raw_ = 0;
};

// One leaf entry in place.
class EntrySlot {
public:
    EntrySlot() = default;  // of no value, unless it is written as EntrySlot{}
    constexpr explicit EntrySlot(u64* p) : p_(p) {}
    explicit operator bool() const { return p_ != nullptr; }
    Entry load() const { return Entry{__atomic_load_n(p_, __ATOMIC_ACQUIRE)}; }
    void store(Entry e) { __atomic_store_n(p_, e.raw(), __ATOMIC_RELEASE); }
    Entry exchange(Entry e) { return Entry{__atomic_exchange_n(p_, e.raw(), __ATOMIC_ACQ_REL)}; }
    bool compare_exchange(Entry& expected, Entry e) {
        u64 old = expected.raw();
        bool ok = __atomic_compare_exchange_n(p_, &old, e.raw(), false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
        if (!ok) expected = Entry{old};
        return ok;
    }
    // The next entry in the same table; empty if this is the last.
    EntrySlot behind() const {
        u64* next = p_ + 1;
        return EntrySlot{(reinterpret_cast<u64>(next) & 4095) == 0 ? nullptr : next};
    }
    // The entry of another page in the same table of the last level.
    EntrySlot beside(UserAddr va) const {
        return EntrySlot{reinterpret_cast<u64*>(reinterpret_cast<u64>(p_) & ~u64{4095}) + ((va.value >> 12) & 511)};
    }
    // Applies change(old) without losing what the MMU sets concurrently; returns the replaced value.
    template <class F>
    Entry update(F&& change) {
        Entry old = load();
        while (!compare_exchange(old, change(old))) {
        }
        return old;
    }

private:
    u64* p_;
};

// Direct: how tables are reached, and what a new root has in the kernel's half.
template <class Direct>
class PageTableBy {
public:
    using Entry = hal::Entry;
    using Slot = EntrySlot;

    constexpr PageTableBy() = default;
    constexpr explicit PageTableBy(PhysAddr root) : root_(root) {}
    // A new space with the kernel's half and nothing else; !valid() if there is no memory.
    template <TableSource S>
    static PageTableBy create(S& source) {
        PhysAddr root = source.allocate_table();
        if (root.value != 0) Direct::fill_root(root);
        return PageTableBy{root};
    }
    bool valid() const { return root_.value != 0; }
    PhysAddr root() const { return root_; }

    // The entry of one page, with the tables above it made where missing; empty Slot if there is no memory.
    template <TableSource S>
    Slot slot(UserAddr va, S& source) {
        u64* table = entries(root_);
        for (unsigned level = 4; level > 1; level--) {
            u64 e = __atomic_load_n(&table[index(va.value, level)], __ATOMIC_ACQUIRE);
            if (!(e & Entry::kPresent)) return make_slot(va, source);
            table = entries(PhysAddr{e & Entry::kAddress});
        }
        return Slot{&table[index(va.value, 1)]};
    }
    // The entry of one page if its tables exist.
    Slot find(UserAddr va) const {
        u64* table = leaf_table(va.value);
        return Slot{table ? &table[index(va.value, 1)] : nullptr};
    }

    // Replaces whatever was there; the caller knows whether a flush is due. False: no memory, nothing changed.
    template <TableSource S>
    bool map(UserAddr va, PhysAddr pa, MapFlags flags, S& source) {
        Slot s = slot(va, source);
        if (!s) return false;
        s.store(Entry::make(pa, flags));
        return true;
    }
    // fn(UserAddr, Slot) -> bool for every page of the range, tables made where missing. False: no memory or fn said
    // so.
    template <TableSource S, class F>
    bool for_each_slot(UserAddr from, UserAddr to, S& source, F&& fn) {
        for (u64 va = from.value; va < to.value;) {
            Slot first = slot(UserAddr{va}, source);
            if (!first) return false;
            u64* table = leaf_table(va);
            for (unsigned i = index(va, 1); i < 512 && va < to.value; i++, va += kPageSize)
                if (!fn(UserAddr{va}, Slot{&table[i]})) return false;
        }
        return true;
    }
    // fn(UserAddr, Slot) for every page that has a frame; holes cost nothing below the level they are at.
    template <class F>
    void for_each_mapped(UserAddr from, UserAddr to, F&& fn) const {
        u64 va = from.value;
        while (va < to.value) {
            u64* table = entries(root_);
            unsigned level = 4;
            for (; level > 1; level--) {
                u64 e = __atomic_load_n(&table[index(va, level)], __ATOMIC_ACQUIRE);
                if (!(e & Entry::kPresent)) break;
                table = entries(PhysAddr{e & Entry::kAddress});
            }
            if (level > 1) {
                va = (va | (span(level) - 1)) + 1;
                continue;
            }
            for (unsigned i = index(va, 1); i < 512 && va < to.value; i++, va += kPageSize)
                if (table[i] != 0) fn(UserAddr{va}, Slot{&table[i]});
        }
    }
    // Empties the range; fn(UserAddr, Entry) gets each old entry with its final dirty bit as far as this CPU knows:
    // frames are reused only after every CPU has flushed.
    template <class F>
    void unmap(UserAddr from, UserAddr to, F&& fn) {
        for_each_mapped(from, to, [&](UserAddr va, Slot s) { fn(va, s.exchange(Entry{})); });
    }
    // New rights for what is mapped; frames and software bits stay. True if some right was taken away (flush).
    bool protect(UserAddr from, UserAddr to, MapFlags flags) {
        bool less = false;
        for_each_mapped(from, to, [&](UserAddr, Slot s) {
            Entry old = s.update([&](Entry e) { return e.with_rights(flags); });
            less |=
                old.present() && (!flags.read || (old.writable() && !flags.write) || (old.executable() && !flags.exec));
        });
        return less;
    }
    Entry query(UserAddr va) const {
        Slot s = find(va);
        return s ? s.load() : Entry{};
    }
    // The frame address of a byte, with the rights checked and accessed/dirty set as the MMU would for a user access
    // (SDM 4.6, 4.8); 0 if the MMU would fault. Safe on any CPU inside an epoch.
    PhysAddr access(UserAddr va, bool write, bool exec = false) const { return access(find(va), va, write, exec); }
    // The same with the byte's entry; an empty one: not there.
    static PhysAddr access(Slot s, UserAddr va, bool write, bool exec = false) {
        if (!s) return PhysAddr{0};
        Entry e = s.load();
        if (e.ready_for(write, exec)) [[likely]]
            return e.address() + (va.value & (kPageSize - 1));
        for (;;) {
            if (!e.present() || !e.user() || (write && !e.writable()) || (exec && !e.executable())) return PhysAddr{0};
            Entry want = e.touched(write);
            if (want == e || s.compare_exchange(e, want)) return e.address() + (va.value & (kPageSize - 1));
        }
    }
    // Frees the tables above [from, to), which is unmapped, as far as each covers nothing outside [floor, ceiling):
    // floor is where the mapping before the range ends, ceiling where the next one begins.
    template <TableSource S>
    void free_tables(UserAddr from, UserAddr to, UserAddr floor, UserAddr ceiling, S& source) {
        if (from.value < to.value)
            free_level<4>(entries(root_), root_groups_, from.value, to.value, floor.value, ceiling.value, source);
    }
    template <TableSource S>
    void free_tables(UserAddr from, UserAddr to, S& source) {
        free_tables(from, to, from, to, source);
    }
    // The same, but for tables above the last level that are not empty: they stay. Only what the tables of the last
    // level that are freed cover is unmapped.
    template <TableSource S>
    void free_empty_tables(UserAddr from, UserAddr to, UserAddr floor, UserAddr ceiling, S& source) {
        if (from.value < to.value)
            free_level<4, true>(entries(root_), root_groups_, from.value, to.value, floor.value, ceiling.value, source);
    }
    // Where the first `most` tables of the last level that lie over [from, to) end, or as much as is visited at once:
    // `to` if there are no more than that.
    UserAddr end_of_tables(UserAddr from, UserAddr to, u32 most) const {
        constexpr u32 kLooks = 64;  // some 700 instructions each, with what the caller then does there
        u32 looks = 0;
        for (u64 va = from.value; va < to.value;) {
            if (looks++ == kLooks) return UserAddr{va};
            unsigned level = 4;
            const u64* table = entries(root_);
            u64 owner = root_groups_;
            for (; level > 1; level--) {
                u64 e = __atomic_load_n(&table[index(va, level)], __ATOMIC_ACQUIRE);
                if (!(e & Entry::kPresent)) break;
                table = entries(PhysAddr{e & Entry::kAddress});
                owner = e;
            }
            if (level == 1 && most-- == 0) return UserAddr{va};
            va = (va | (span(level == 1 ? 2 : level) - 1)) + 1;
            if (level != 1 && va < to.value) va = after_hole(table, owner, va, to.value, level);
        }
        return to;
    }
    // Frees up to about `most` tables of the user half, at last the root. False: all have gone. No CPU has the root
    // loaded, and no frame that is mapped matters.
    template <TableSource S>
    bool destroy_some(S& source, u32 most) {
        if (!valid()) return false;
        if (!destroy_level<4>(entries(root_), root_groups_, source, most)) return true;
        source.free_table(root_);
        root_ = PhysAddr{0};
        root_groups_ = 0;
        return false;
    }
    template <TableSource S>
    void destroy(S& source) {
        while (destroy_some(source, ~u32{0})) {
        }
    }

    static constexpr u64 span(unsigned level) { return u64{1} << (12 + 9 * (level - 1)); }  // of one entry
    static constexpr unsigned index(u64 va, unsigned level) { return (va >> (12 + 9 * (level - 1))) & 511; }
    static u64* entries(PhysAddr table) { return static_cast<u64*>(Direct::map(table)); }

private:
    // Which eighths of a table above the last level may hold entries: a bit each in the entry that names the table, where
    // the MMU ignores them (SDM 4.5.4: bits 52 to 62 of an entry that names a table). Set when a table is entered; never
    // cleared before the table goes. A new process has entries in few eighths, and its end need not read the others.
    static constexpr unsigned kGroup = 64, kGroupShift = 52;
    static constexpr u64 group(unsigned i) { return u64{1} << (kGroupShift + i / kGroup); }

    // First non-zero entry at or after i, or end. `repe scasq` counts one instruction an entry.
    static unsigned find_used(const u64* table, unsigned i, unsigned end) {
        u64 left = end - i;
        const u64* at = table + i;
        if (left == 0) return end;
        bool found;
        asm volatile("repe scasq" : "+D"(at), "+c"(left), "=@ccne"(found) : "a"(0ul) : "memory");
        return found ? static_cast<unsigned>(at - table) - 1 : end;
    }
    // The same in a table that `owner` names.
    static unsigned find_used(const u64* table, u64 owner, unsigned i, unsigned end) {
        if (end - i <= kGroup / 4) return find_used(table, i, end);
        while (i < end) {
            const u64 groups = (owner >> kGroupShift & 255) >> (i / kGroup);
            if (groups == 0) return end;
            if (!(groups & 1)) {
                i = (i / kGroup + static_cast<unsigned>(__builtin_ctzll(groups))) * kGroup;
                continue;
            }
            const unsigned behind = (i | (kGroup - 1)) + 1;
            const unsigned stop = behind < end ? behind : end;
            i = find_used(table, i, stop);
            if (i < stop) return i;
        }
        return end;
    }
    // The entry before va's in a table of this level is unused: where the next used one begins, or what lies behind the
    // table, or beyond `to`, which va is not.
    [[gnu::noinline]] static u64 after_hole(const u64* table, u64 owner, u64 va, u64 to, unsigned level) {
        const unsigned i = index(va, level);
        if (i == 0) return va;
        const u64 behind = (va | (span(level + 1) - 1)) + 1;
        const unsigned end = to < behind ? index(to - 1, level) + 1 : 512;
        return va + (find_used(table, owner, i, end) - i) * span(level);
    }
    u64* leaf_table(u64 va) const {
        u64* table = entries(root_);
        for (unsigned level = 4; level > 1; level--) {
            u64 e = __atomic_load_n(&table[index(va, level)], __ATOMIC_ACQUIRE);
            if (!(e & Entry::kPresent) || (e & Entry::kLarge)) return nullptr;
            table = entries(PhysAddr{e & Entry::kAddress});
        }
        return table;
    }
    // slot() where a table is missing.
    template <TableSource S>
    [[gnu::noinline]] Slot make_slot(UserAddr va, S& source) {
        u64* table = entries(root_);
        u64* owner = &root_groups_;  // names `table`
        for (unsigned level = 4; level > 1; level--) {
            const unsigned i = index(va.value, level);
            u64 e = __atomic_load_n(&table[i], __ATOMIC_ACQUIRE);
            if (!(e & Entry::kPresent)) {
                PhysAddr page = source.allocate_table();
                if (page.value == 0) return Slot{nullptr};
                __atomic_store_n(owner, *owner | group(i), __ATOMIC_RELAXED);
                // The zeroed page is seen before the entry that names it: pairs with the acquire of every walk.
                e = page.value | Entry::kPresent | Entry::kWrite | Entry::kUser | Entry::kAccessed;
                __atomic_store_n(&table[i], e, __ATOMIC_RELEASE);
            }
            owner = &table[i];
            table = entries(PhysAddr{e & Entry::kAddress});
        }
        return Slot{&table[index(va.value, 1)]};
    }
    // Looking: a table above the last level may hold others outside [from, to), and then stays.
    template <unsigned Level, bool kLooking = false, TableSource S>
    static void free_level(u64* table, u64 owner, u64 from, u64 to, u64 floor, u64 ceiling, S& source) {
        constexpr u64 kSpan = span(Level);
        // [from, to) lies in what one table of this level covers.
        const u64 base = from & ~(kSpan * 512 - 1);
        const unsigned end = index(to - 1, Level) + 1;
        for (unsigned i = index(from, Level); (i = find_used(table, owner, i, end)) < end; i++) {
            u64& entry = table[i];
            const u64 start = base + i * kSpan;
            PhysAddr child{entry & Entry::kAddress};
            if constexpr (Level > 2)
                free_level<Level - 1, kLooking>(entries(child), entry, start > from ? start : from,
                                                start + kSpan < to ? start + kSpan : to, floor, ceiling, source);
            if (start >= floor && start + kSpan <= ceiling) {
                if constexpr (kLooking && Level > 2)
                    if (find_used(entries(child), entry, 0, 512) < 512) continue;
                __atomic_store_n(&entry, u64{0}, __ATOMIC_RELEASE);
                source.free_table(child);
            }
        }
    }
    // False: `left` tables are freed, and there are more.
    template <unsigned Level, TableSource S>
    static bool destroy_level(u64* table, u64 owner, S& source, u32& left) {
        u32 freed = 0;  // counted in a whole table at a time
        for (unsigned i = 0; (i = find_used(table, owner, i, 512)) < 512; i++) {
            PhysAddr child{table[i] & Entry::kAddress};
            if constexpr (Level > 2) {
                if (left == 0) return false;
                if (!destroy_level<Level - 1>(entries(child), table[i], source, left)) return false;
            }
            table[i] = 0;
            source.free_table(child);
            freed++;
        }
        left -= left < freed ? left : freed;
        return true;
    }
    PhysAddr root_{};
    u64 root_groups_ = 0;  // of the user half
};

struct KernelTables {
    static void* map(PhysAddr table) { return direct_map(table); }
    static void fill_root(PhysAddr root);  // paging.cpp
};
using PageTable = PageTableBy<KernelTables>;

}  // namespace hal
