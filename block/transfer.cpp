// SPDX-License-Identifier: MIT
// Transfers as awaitables: what is submitted is a copy of the request in the coroutine's frame, with what its end wakes.
#include "block/device.hpp"
#include "rt/one_shot.hpp"

namespace block {

namespace {

constexpr u32 kWakesPerTurn = 64;

struct Awaited : Request {
    rt::OneShot over{"disk"};
    static void signal(Request& r) { static_cast<Awaited&>(r).over.signal(); }
};

}  // namespace

Task<Result<void>> transfer(Device& device, Request& r) {
    Awaited copy;
    copy.op = r.op;
    copy.sector = r.sector;
    copy.sectors = r.sectors;
    copy.pieces = r.pieces;
    copy.ended = &Awaited::signal;
    device.submit(copy);
    co_await copy.over;
    r.result = copy.result;
    if (copy.result != Errno::kOk) co_return copy.result;
    co_return lib::kOk;
}

Task<Result<void>> read(Device& device, u64 sector, Piece to) {
    Request r{.op = Op::kRead, .sector = sector, .sectors = to.size() / kSectorBytes, .pieces = {&to, 1}};
    co_return co_await transfer(device, r);
}

Task<Result<void>> write(Device& device, u64 sector, Piece from) {
    Request r{.op = Op::kWrite, .sector = sector, .sectors = from.size() / kSectorBytes, .pieces = {&from, 1}};
    co_return co_await transfer(device, r);
}

Task<Result<void>> flush(Device& device) {
    if (!device.limits().has_flush) co_return lib::kOk;
    FlushTurns& turns = device.flushes_;
    FlushTurns::Waiter me;
    bool leads;
    {
        rt::LockGuard guard{turns.lock_};
        leads = !std::exchange(turns.busy_, true);
        turns.waiting_.push_back(me);
    }
    if (!leads) co_await me.turn;
    if (!leads && !me.leads) {
        if (me.result != Errno::kOk) co_return me.result;
        co_return lib::kOk;
    }
    // All who wait now have seen the ends of their writes: this flush is for them, too.
    FlushTurns::Waiters group;
    {
        rt::LockGuard guard{turns.lock_};
        group.splice_back(turns.waiting_);
    }
    FlushTurns::Waiters::remove(me);
    Request r{.op = Op::kFlush};
    const auto result = co_await transfer(device, r);
    FlushTurns::Waiter* next;
    {
        rt::LockGuard guard{turns.lock_};
        next = turns.waiting_.front();  // it stays in the list until its flush begins
        turns.busy_ = next != nullptr;
    }
    if (next) {
        next->leads = true;
        next->turn.signal();
    }
    for (u32 n = 1; FlushTurns::Waiter* other = group.pop_front(); ++n) {
        other->result = result.error();
        other->turn.signal();
        if (n % kWakesPerTurn == 0) co_await rt::Yield{};
    }
    co_return result;
}

}  // namespace block
