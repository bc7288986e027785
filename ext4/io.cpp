// SPDX-License-Identifier: MIT
#include "ext4/io.hpp"

#include <algorithm>

#include "rt/mem/slab.hpp"

namespace ext4 {

Disk::~Disk() {
    // Callbacks that have counted their transfer, on other CPUs: a few instructions each.
    while (in_flight_.load(std::memory_order_acquire) != 0) hal::Machine::poll_mailbox();
}

void Batch::start(Transfer& t) {
    t.batch = this;
    t.ended = &Batch::ended;
    t.result = Errno::kOk;
    left_.fetch_add(1, std::memory_order_relaxed);
    disk_.in_flight_.fetch_add(1, std::memory_order_relaxed);
    disk_.device_.submit(t);
}

void Batch::ended(block::Request& r) {
    auto& t = static_cast<Transfer&>(r);
    Batch& batch = *t.batch;
    Disk& disk = batch.disk_;
    rt::WaitQueue& queue = disk.queue_of(&batch);
    i32 none = 0;
    if (r.result != Errno::kOk) batch.error_.compare_exchange_strong(none, i32(r.result), std::memory_order_relaxed);
    // Pairs with ended(): from here on the waiter may end the batch.
    batch.left_.fetch_sub(1, std::memory_order_acq_rel);
    queue.wake_all();
    disk.in_flight_.fetch_sub(1, std::memory_order_release);
}

Task<Result<void>> transfer(Disk& disk, block::Op op, u64 sector, block::Piece memory) {
    Batch batch{disk};
    Transfer t;
    t.prepare(op, sector, memory);
    batch.start(t);
    while (!batch.ended()) co_await batch.change();
    co_return batch.error();
}

Task<Result<void>> flush(Disk& disk) {
    if (!disk.limits().has_flush) co_return lib::kOk;
    Batch batch{disk};
    Transfer t;
    t.prepare_flush();
    batch.start(t);
    while (!batch.ended()) co_await batch.change();
    co_return batch.error();
}

BlockWriter::~BlockWriter() {
    for (std::byte* m : memory_)
        if (m) rt::deallocate(m, disk_.block_bytes());
}

Result<void> BlockWriter::allocate() {
    for (std::byte*& m : memory_) {
        if (m) continue;
        m = static_cast<std::byte*>(rt::allocate(disk_.block_bytes()));
        if (!m) return Errno::kNoMem;
    }
    return lib::kOk;
}

void BlockWriter::start() {
    const block::Limits& limits = disk_.limits();
    const u32 bytes = disk_.block_bytes();
    const u32 by_size = limits.most_bytes / bytes;
    const u32 most = std::max<u32>(1, std::min(limits.most_pieces, by_size));
    for (u32 i = 0; i < count_; ++i) pieces_[i] = block::Piece(memory_[i], bytes);
    u32 used = 0;
    for (u32 from = 0; from < count_;) {
        u32 n = 1;
        while (from + n < count_ && n < most && blocks_[from + n] == blocks_[from] + n) ++n;
        Transfer& t = transfers_[used++];
        t.prepare(block::Op::kWrite, disk_.sector_of(blocks_[from]), std::span(pieces_).subspan(from, n),
                  u64{n} * bytes);
        batch_.start(t);
        from += n;
    }
}

Errno BlockWriter::reset() {
    const Errno e = batch_.error();
    batch_.clear();
    count_ = 0;
    return e;
}

}  // namespace ext4
