// SPDX-License-Identifier: MIT
// Transfers as awaitables: what is submitted is a copy of the request in the coroutine's frame, with what its end wakes.
#include "block/device.hpp"
#include "rt/one_shot.hpp"

namespace block {

namespace {

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
    Request r{.op = Op::kFlush};
    co_return co_await transfer(device, r);
}

}  // namespace block
