// SPDX-License-Identifier: MIT
// Address spaces of the hosted port: a software page table, walked under its lock for every page.
#include <cstring>

#include "port/bind.hpp"
#include "rt/mem/slab.hpp"

namespace port {

Result<Ref<Space>> Space::create() { return rt::make_ref<Space>(); }

Result<void> Space::map(std::span<const MapEntry> entries) {
    rt::LockGuard guard{lock_};
    for (const MapEntry& e : entries) TRY(table_.set(e.at, SoftTable::Entry::make(e.frame, e.prot)));
    return lib::kOk;
}

void Space::unmap(std::span<const UserRange> ranges) {
    rt::LockGuard guard{lock_};
    for (const UserRange& r : ranges) table_.for_each(r, [](UserAddr, SoftTable::Entry& e) { e.raw = 0; });
}

void Space::free_tables(UserRange range, UserAddr floor, UserAddr ceiling) {
    rt::LockGuard guard{lock_};
    table_.free_tables(range, floor, ceiling);
}

UserAddr Space::end_of_tables(UserAddr from, UserAddr to, u32 most) const {
    rt::LockGuard guard{lock_};
    return table_.end_of_tables(from, to, most);
}

void Space::protect(std::span<const UserRange> ranges, Prot prot) {
    rt::LockGuard guard{lock_};
    for (const UserRange& r : ranges)
        table_.for_each(r, [&](UserAddr, SoftTable::Entry& e) { e = SoftTable::Entry::make(e.frame(), prot); });
}

// The software table has no dirty bit: what may be written counts as written.
bool Space::test_and_clear_dirty(UserAddr page) {
    rt::LockGuard guard{lock_};
    return table_.get(page.down(kPageSize)).allows(true);
}

void Space::clear() {
    rt::LockGuard guard{lock_};
    table_.clear();
}

std::byte* Space::byte_at(UserAddr at, bool write) {
    SoftTable::Entry e = table_.get(at.down(kPageSize));
    if (!e.mapped() || !e.allows(write)) return nullptr;
    return static_cast<std::byte*>(hal::Machine::phys_to_virt(e.frame())) + (at.value & (kPageSize - 1));
}

// Calls piece(bytes, how many, done so far) for each page's part; false ends the walk.
template <class F>
size_t Space::walk(UserAddr at, size_t n, bool write, F&& piece) {
    size_t done = 0;
    while (done < n) {
        rt::LockGuard guard{lock_};
        std::byte* here = byte_at(at + done, write);
        if (!here) break;
        size_t part = kPageSize - ((at.value + done) & (kPageSize - 1));
        if (part > n - done) part = n - done;
        if (!piece(here, part, done)) return done;
        done += part;
    }
    return done;
}

size_t Space::copy_in(void* to, UserAddr from, size_t n) {
    return walk(from, n, false, [&](const std::byte* p, size_t part, size_t done) {
        std::memcpy(static_cast<std::byte*>(to) + done, p, part);
        return true;
    });
}

size_t Space::copy_out(UserAddr to, const void* from, size_t n) {
    return walk(to, n, true, [&](std::byte* p, size_t part, size_t done) {
        std::memcpy(p, static_cast<const std::byte*>(from) + done, part);
        return true;
    });
}

size_t Space::zero_out(UserAddr to, size_t n) {
    return walk(to, n, true, [&](std::byte* p, size_t part, size_t) {
        std::memset(p, 0, part);
        return true;
    });
}

size_t Space::copy_in_string(char* to, UserAddr from, size_t max, bool* ended) {
    *ended = false;
    size_t length = 0;
    walk(from, max, false, [&](const std::byte* p, size_t part, size_t) {
        for (size_t i = 0; i < part; ++i) {
            to[length] = char(p[i]);
            if (to[length] == 0) {
                *ended = true;
                return false;
            }
            ++length;
        }
        return true;
    });
    return length;
}

Result<u32> Space::load_u32(UserAddr a) {
    rt::LockGuard guard{lock_};
    std::byte* p = byte_at(a, false);
    if (!p) return Errno::kFault;
    return __atomic_load_n(reinterpret_cast<u32*>(p), __ATOMIC_SEQ_CST);
}

Result<u32> Space::compare_exchange_u32(UserAddr a, u32 expected, u32 desired) {
    rt::LockGuard guard{lock_};
    std::byte* p = byte_at(a, true);
    if (!p) return Errno::kFault;
    __atomic_compare_exchange_n(reinterpret_cast<u32*>(p), &expected, desired, false, __ATOMIC_SEQ_CST,
                                __ATOMIC_SEQ_CST);
    return expected;
}

Space::Look Space::look(UserAddr at, Access access) {
    rt::LockGuard guard{lock_};
    SoftTable::Entry e = table_.get(at.down(kPageSize));
    if (!e.mapped()) return {};
    bool allowed =
        access == Access::kExec ? (e.raw & SoftTable::Entry::kExec) != 0 : e.allows(access == Access::kWrite);
    return {true, allowed};
}

u64 Space::mapped_pages() {
    rt::LockGuard guard{lock_};
    u64 n = 0;
    table_.for_each({UserAddr{0}, UserAddr{u64{1} << 47}}, [&](UserAddr, SoftTable::Entry&) { ++n; });
    return n;
}

}  // namespace port
