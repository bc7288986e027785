// SPDX-License-Identifier: MIT
// The kernel's reads and writes of user memory, in a space of two pages with nothing mapped after them: a copy stops
// exactly at the first byte that cannot be reached, whatever the alignment, and no address can reach the kernel.
#include <cstring>

#include "rt/mem/pages.hpp"
#include "tests/kernel/ktest.hpp"

namespace {

using hal::Machine;

struct FrameTables {
    PhysAddr allocate_table() {
        auto page = rt::alloc_zeroed_frame();
        return page.ok() ? page.value() : PhysAddr{0};
    }
    void free_table(PhysAddr page) { rt::free_frame(page); }
};

// [start, start + 4096) writable, the next page read-only, nothing around. Loaded while it lives; nothing may wait
// then.
struct TwoPages {
    static constexpr u64 kStart = 0x5000'0000, kEnd = kStart + 2 * kPageSize;
    FrameTables tables;
    hal::PageTable table;
    PhysAddr frames[2];
    PhysAddr before = Machine::current_root();
    bool ok = false;

    TwoPages() : table(hal::PageTable::create(tables)) {
        for (PhysAddr& f : frames) f = tables.allocate_table();
        ok = table.valid() && table.map(UserAddr{kStart}, frames[0], {.write = true}, tables) &&
             table.map(UserAddr{kStart + kPageSize}, frames[1], {}, tables);
        if (ok) Machine::load_root(table.root());
    }
    ~TwoPages() {
        Machine::load_root(before);
        for (PhysAddr f : frames) rt::free_frame(f);
        table.destroy(tables);
    }
    unsigned char* bytes(u32 page) { return static_cast<unsigned char*>(Machine::phys_to_virt(frames[page])); }
    UserAddr at(i64 offset) const { return UserAddr{kStart + static_cast<u64>(offset)}; }
    UserAddr from_end(u64 n) const { return UserAddr{kEnd - n}; }
};

constinit unsigned char buffer[3 * kPageSize];

KTEST(hal_copies_stop_at_the_first_byte_out_of_reach) {
    TwoPages user;
    KCHECK(user.ok);
    for (u32 i = 0; i < kPageSize; ++i) user.bytes(1)[i] = static_cast<unsigned char>(i * 7);
    bool exact = true;
    for (u64 reach = 0; reach <= 40; ++reach)
        for (u64 want : {u64{0}, u64{1}, u64{7}, u64{8}, u64{9}, u64{24}, u64{41}, u64{4096}}) {
            u64 expected = want < reach ? want : reach;
            exact &= Machine::copy_from_user(buffer, user.from_end(reach), want) == expected;
            for (u64 i = 0; i < expected; ++i)
                exact &= buffer[i] == static_cast<unsigned char>((kPageSize - reach + i) * 7);
            // Writing: the second page is read-only.
            UserAddr at = user.at(static_cast<i64>(kPageSize - reach));
            exact &= Machine::copy_to_user(at, buffer, want) == expected;
            exact &= Machine::clear_user(at, want) == expected;
        }
    // By blocks of 48 bytes, too; and the bytes after the end stay.
    for (u64 reach = 0; reach <= 120; ++reach)
        for (u64 want : {u64{0}, u64{7}, u64{47}, u64{48}, u64{49}, u64{103}, u64{4096}}) {
            u64 expected = want < reach ? want : reach;
            std::memset(buffer, 1, 256);
            exact &= hal_copy_from_user_blocks(buffer, user.from_end(reach).value, want) == expected;
            for (u64 i = 0; i < expected; ++i)
                exact &= buffer[i] == static_cast<unsigned char>((kPageSize - reach + i) * 7);
            for (u64 i = expected; i < 256; ++i) exact &= buffer[i] == 1;
            unsigned char* place = user.bytes(0) + kPageSize - reach;
            std::memset(place, 2, reach);
            exact &=
                hal_copy_to_user_blocks(user.at(static_cast<i64>(kPageSize - reach)).value, buffer, want) == expected;
            for (u64 i = 0; i < reach; ++i) exact &= place[i] == (i < expected ? buffer[i] : 2);
        }
    // Whole pages either way, and where the two are the same modulo 64 pages.
    std::memset(buffer, 0, sizeof buffer);
    KCHECK(Machine::copy_long_from_user(buffer, user.at(0), sizeof buffer) == 2 * kPageSize);
    KCHECK(hal_copy_from_user_blocks(buffer, user.at(0).value, sizeof buffer) == 2 * kPageSize);
    KCHECK(std::memcmp(buffer, user.bytes(0), kPageSize) == 0);
    KCHECK(std::memcmp(buffer + kPageSize, user.bytes(1), kPageSize) == 0);
    KCHECK(hal_copy_to_user_blocks(user.at(0).value, buffer, 2 * kPageSize) == kPageSize);
    auto far = [](u64 kernel, u64 at) {
        return Machine::evict_each_other(reinterpret_cast<const void*>(kernel), UserAddr{at});
    };
    KCHECK(far(0x1000'0000, 0x40'0000) && far(0x1000'0fff, 0x40'0000) && far(0x1000'0000, 0x40'0fff));
    KCHECK(!far(0x1000'1000, 0x40'0000) && !far(0x1000'0000, 0x40'1000) && far(0x1004'0000, 0x40'0000));
    KCHECK(exact);
    KCHECK(Machine::copy_from_user(buffer, user.at(0), 2 * kPageSize) == 2 * kPageSize);
    KCHECK(Machine::copy_from_user(buffer, user.at(0), sizeof buffer) == 2 * kPageSize);
    KCHECK(Machine::copy_from_user(buffer, user.at(-1), 8) == 0);
    co_return lib::kOk;
}

KTEST(hal_user_accesses_never_reach_the_kernel) {
    TwoPages user;
    KCHECK(user.ok);
    u64 secret = reinterpret_cast<u64>(&buffer);
    for (u64 at : {secret, u64{HAL_DIRECT_MAP}, u64{HAL_USER_TOP}, u64{0x8000'0000'0000}, ~u64{0}, ~u64{7}}) {
        u32 word = 0;
        KCHECK(Machine::copy_from_user(buffer, UserAddr{at}, 8) == 0);
        KCHECK(Machine::copy_to_user(UserAddr{at}, buffer, 8) == 0);
        KCHECK(hal_copy_from_user_blocks(buffer, at, 96) == 0);
        KCHECK(hal_copy_to_user_blocks(at, buffer, 96) == 0);
        KCHECK(Machine::clear_user(UserAddr{at}, 8) == 0);
        KCHECK(!Machine::load_user_u32(UserAddr{at}, &word));
        KCHECK(!Machine::compare_exchange_user_u32(UserAddr{at}, &word, 1));
        auto s = Machine::copy_string_from_user(reinterpret_cast<char*>(buffer), UserAddr{at}, 8);
        KCHECK(s.faulted && s.length == 0 && !s.terminated);
    }
    // A length that wraps round.
    KCHECK(Machine::copy_from_user(buffer, UserAddr{HAL_USER_TOP - 8}, ~u64{0}) == 0);
    co_return lib::kOk;
}

KTEST(hal_strings_end_at_their_terminator_or_their_fault) {
    TwoPages user;
    KCHECK(user.ok);
    char out[64];
    bool exact = true;
    for (u64 offset = 0; offset < 16; ++offset)
        for (u64 length = 0; length < 40; ++length) {
            for (u64 i = 0; i < 64; ++i)
                user.bytes(0)[offset + i] = static_cast<unsigned char>(i == length ? 0 : 0x80 + i);
            auto s = Machine::copy_string_from_user(out, user.at(static_cast<i64>(offset)), sizeof out);
            exact &= s.length == length && s.terminated && !s.faulted && out[length] == 0;
            for (u64 i = 0; i < length; ++i) exact &= static_cast<unsigned char>(out[i]) == 0x80 + i;
            s = Machine::copy_string_from_user(out, user.at(static_cast<i64>(offset)), length);
            exact &= s.length == length && !s.terminated && !s.faulted;
        }
    KCHECK(exact);
    for (u32 i = 0; i < kPageSize; ++i) user.bytes(1)[i] = 'x';
    for (u64 reach = 0; reach < 20; ++reach) {
        auto s = Machine::copy_string_from_user(out, user.from_end(reach), sizeof out);
        KCHECK(s.length == reach && s.faulted && !s.terminated);
    }
    co_return lib::kOk;
}

KTEST(hal_user_words_are_exchanged_atomically_or_refused) {
    TwoPages user;
    KCHECK(user.ok);
    u32 word = 0;
    KCHECK(Machine::compare_exchange_user_u32(user.at(8), &word, 17) && word == 0);
    word = 3;
    KCHECK(Machine::compare_exchange_user_u32(user.at(8), &word, 18) && word == 17);
    KCHECK(Machine::load_user_u32(user.at(8), &word) && word == 17);
    KCHECK(!Machine::compare_exchange_user_u32(user.at(kPageSize), &word, 1));  // read-only
    KCHECK(!Machine::load_user_u32(user.from_end(2), &word));                   // across the end
    KCHECK(user.table.query(user.at(0)).dirty() && !user.table.query(user.at(kPageSize)).dirty());
    co_return lib::kOk;
}

}  // namespace
