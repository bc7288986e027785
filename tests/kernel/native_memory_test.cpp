// SPDX-License-Identifier: MIT
// Memory made of blocks that exist already, as boot gives it to a program.
#include "core/ipc/space.hpp"
#include "rt/mem/pages.hpp"
#include "rt/mem/slab.hpp"
#include "tests/kernel/ktest.hpp"

namespace {

using core::Memory;

// Two blocks of the allocator's that follow each other, one that does not, and pages that stay the test's.
struct Blocks {
    PhysAddr pair, apart, lent;
    bool made() {
        auto a = rt::alloc_frames(5), b = rt::alloc_frames(2), c = rt::alloc_frames(3);
        if (!a.ok() || !b.ok() || !c.ok()) return false;
        pair = a.value();
        apart = b.value();
        lent = c.value();
        return true;
    }
};

KTEST(memory_of_given_blocks_is_where_they_are) {
    Blocks blocks;
    KCHECK(blocks.made());
    const u64 lent = 5 * kPageSize, all = 36 * kPageSize + lent;
    auto* m = rt::make<Memory>(all);
    KCHECK(m);
    *static_cast<u64*>(hal::Machine::phys_to_virt(blocks.apart)) = 77;
    KCHECK(m->adopt(blocks.apart, 4 * kPageSize, Memory::Adopted::kOwned).ok());
    KCHECK(m->adopt(blocks.lent, lent, Memory::Adopted::kBorrowed).ok());
    KCHECK(m->adopt(blocks.pair, 32 * kPageSize, Memory::Adopted::kOwned).ok());
    bool right = true;
    for (u64 page = 0; page < 41; ++page) {
        const PhysAddr wanted = page < 4   ? blocks.apart + page * kPageSize
                                : page < 9 ? blocks.lent + (page - 4) * kPageSize
                                           : blocks.pair + (page - 9) * kPageSize;
        right &= m->frame(page * kPageSize) == wanted;
        // Found wherever the last one was, there or not.
        for (u32 last : {0u, 1u, 2u, 3u, 41u, ~0u}) {
            const auto block = m->block_at(page * kPageSize + 8, last);
            right &= block.frame + (page * kPageSize - block.start) == wanted &&
                     page * kPageSize - block.start < block.bytes;
        }
    }
    u32 last = 0;
    KCHECK(right && m->block_at(all, last).bytes == 0);
    // With what they held.
    KCHECK(*static_cast<u64*>(hal::Machine::phys_to_virt(m->frame(0))) == 77);
    Memory::Run run{};
    u64 bytes = 0, runs = 0;
    for (; m->run(runs, run); ++runs) bytes += run.bytes;
    KCHECK(bytes == all && runs >= 1 && runs <= 3 && !m->run(runs, run) && !m->run(~u64{0}, run));
    m->unref();
    for (u32 turn = 0; turn < 16; ++turn) co_await rt::Yield{};
    // What was lent is still ours: freed once more it would stop the debug kernel.
    rt::free_frames(blocks.lent, 3);
    co_return lib::kOk;
}

// Neighbours are one run, whoever gave them; what lies apart is not, also if it is in the order of addresses.
KTEST(neighbouring_blocks_are_one_run) {
    auto block = rt::alloc_frames(4);
    KCHECK(block.ok());
    const PhysAddr at = block.value();
    auto* m = rt::make<Memory>(9 * kPageSize);
    KCHECK(m);
    for (u64 page : {0, 1, 2, 5, 6, 10, 9, 11, 12})
        KCHECK(m->adopt(at + page * kPageSize, kPageSize, Memory::Adopted::kBorrowed).ok());
    constexpr struct {
        u64 page, pages;
    } kWanted[] = {{0, 3}, {5, 2}, {10, 1}, {9, 1}, {11, 2}};
    u64 n = 0;
    Memory::Run run{};
    for (; m->run(n, run); ++n)
        KCHECK(n < 5 && run.start == at + kWanted[n].page * kPageSize && run.bytes == kWanted[n].pages * kPageSize);
    KCHECK(n == 5);
    m->unref();
    for (u32 turn = 0; turn < 16; ++turn) co_await rt::Yield{};
    rt::free_frames(at, 4);
    co_return lib::kOk;
}

// Blocks of the largest size, where the search begins with a guess, and smaller ones between them.
KTEST(frames_of_many_blocks_are_found) {
    constexpr u64 kLarge = kPageSize << rt::kMaxOrder;
    auto* m = rt::make<Memory>(5 * kLarge + 3 * kPageSize);
    KCHECK(m);
    // Never touched: any address will do.
    const PhysAddr base{u64{1} << 36};
    struct {
        PhysAddr at;
        u64 bytes;
    } const blocks[] = {{base, kLarge},
                        {base + 8 * kLarge, kLarge},
                        {base + 2 * kLarge, kPageSize},
                        {base + 4 * kLarge, kLarge},
                        {base + 20 * kLarge, 2 * kPageSize},
                        {base + 6 * kLarge, 2 * kLarge}};
    for (const auto& b : blocks) KCHECK(m->adopt(b.at, b.bytes, Memory::Adopted::kBorrowed).ok());
    u64 offset = 0;
    bool right = true;
    for (const auto& b : blocks)
        for (u64 within = 0; within < b.bytes; within += kPageSize, offset += kPageSize)
            right &= m->frame(offset) == b.at + within;
    KCHECK(right && offset == m->size);
    m->unref();
    for (u32 turn = 0; turn < 8; ++turn) co_await rt::Yield{};
    co_return lib::kOk;
}

// Upper tables that hold others outside the range stay; those that are empty go.
KTEST(hal_tables_are_freed_only_if_they_are_empty) {
    struct Counted {
        u64 taken = 0, returned = 0;
        PhysAddr allocate_table() {
            auto page = rt::alloc_zeroed_frame();
            if (!page.ok()) return PhysAddr{0};
            ++taken;
            return page.value();
        }
        void free_table(PhysAddr page) {
            ++returned;
            rt::free_frame(page);
        }
    } source;
    auto table = hal::PageTable::create(source);
    const UserAddr a{0x1000'0000}, b{0x1020'0000}, top = core::Space::tables_end();
    for (UserAddr at : {a, b}) KCHECK(table.map(at, PhysAddr{0x12345000}, {}, source));
    auto drop = [&](UserAddr at) {
        table.unmap(at, at + kPageSize, [](UserAddr, hal::Entry) {});
        table.free_empty_tables(at, at + kPageSize, UserAddr{0}, top, source);
    };
    drop(a);
    KCHECK(source.returned == 1 && table.query(b).present());
    drop(b);
    KCHECK(source.returned == 4);
    table.destroy(source);
    KCHECK(source.returned == source.taken);
    co_return lib::kOk;
}

}  // namespace
