// SPDX-License-Identifier: MIT
#include "block/queue.hpp"

#include <bit>

#include "rt/mem/slab.hpp"

namespace block {

namespace {

bool moves_data(Op op) { return op == Op::kRead || op == Op::kWrite; }

// The pieces are what a device can take, and their sum is what the request says.
bool pieces_fit(const Limits& limits, const Request& r) {
    if (r.pieces.empty() || r.pieces.size() > limits.most_pieces || r.sectors > limits.most_bytes / kSectorBytes)
        return false;
    u64 bytes = 0;
    for (const Piece& p : r.pieces) {
        if (p.empty() || p.size() % kSectorBytes != 0 || p.size() > limits.most_bytes) return false;
        bytes += p.size();
    }
    return bytes == r.sectors * kSectorBytes;
}

}  // namespace

Errno check_request(const Limits& limits, const Request& r) {
    if (r.op == Op::kFlush) return r.pieces.empty() && r.sectors == 0 ? Errno::kOk : Errno::kInval;
    if (r.op != Op::kRead && limits.read_only) return Errno::kRoFs;
    if (r.op == Op::kDiscard && !limits.has_discard) return Errno::kOpNotSupp;
    const u64 block = limits.block_bytes / kSectorBytes;
    if (r.sectors == 0 || r.sector % block != 0 || r.sectors % block != 0) return Errno::kInval;
    if (r.op == Op::kDiscard && (!r.pieces.empty() || r.sectors > limits.most_discard)) return Errno::kInval;
    if (r.sector > limits.sectors || r.sectors > limits.sectors - r.sector) return Errno::kIo;
    return moves_data(r.op) && !pieces_fit(limits, r) ? Errno::kInval : Errno::kOk;
}

Queue::~Queue() { delete[] commands_; }

Result<void> Queue::init(Channel& channel, const Limits& limits, u32 depth) {
    RT_CHECK(depth != 0 && depth <= kMostDepth, "depth of a request queue");
    commands_ = new (std::nothrow) Command[depth];
    if (!commands_) return Errno::kNoMem;
    channel_ = &channel;
    limits_ = &limits;
    depth_ = depth;
    return lib::kOk;
}

// Time since the last change of what is in flight is counted for what was in flight until now.
void Queue::account_busy(Nanoseconds now) {
    const u64 passed = now > accounted_ ? (now - accounted_).value : 0;
    if (stats_.in_flight != 0) stats_.busy_nanoseconds += passed;
    stats_.weighted_nanoseconds += passed * stats_.in_flight;
    accounted_ = now;
}

void Queue::end_request(Request& r, Errno result, Nanoseconds now, Ended& out) {
    OpStats& of = stats_.of[u32(r.op)];
    ++of.done;
    if (result != Errno::kOk)
        ++stats_.errors;
    else
        of.sectors += r.sectors;
    of.nanoseconds += now > r.submitted ? (now - r.submitted).value : 0;
    --stats_.in_flight;
    out.add(r, result);
}

void Queue::submit(RequestList& list) {
    Ended refused;
    {
        rt::LockGuard guard{lock};
        const Nanoseconds now = hal::Machine::now();
        account_busy(now);
        while (Request* r = list.pop_front()) {
            const Errno can = failed_ ? Errno::kIo : check_request(*limits_, *r);
            if (can != Errno::kOk) {
                ++stats_.errors;
                refused.add(*r, can);
                continue;
            }
            r->submitted = now;
            ++stats_.in_flight;
            waiting_.push_back(*r);
        }
        start_more();
    }
}

bool Queue::fits(const Command& c, const Request& r) const {
    return r.op == c.op && moves_data(c.op) && c.pieces + r.pieces.size() <= limits_->most_pieces &&
           c.sectors + r.sectors <= limits_->most_bytes / kSectorBytes;
}

// Waiting requests that lie directly before or after the command become part of it. Those that are passed over are
// concurrent with it: their order is not defined.
void Queue::gather(Command& c) {
    u32 seen = 0;
    for (Request* r = waiting_.front(); r && seen < kMergeWindow; ++seen) {
        Request* next = waiting_.next(*r);
        const bool after = r->sector == c.sector + c.sectors, before = r->sector + r->sectors == c.sector;
        if ((after || before) && fits(c, *r)) {
            RequestList::remove(*r);
            if (after) {
                c.requests.push_back(*r);
            } else {
                c.requests.push_front(*r);
                c.sector = r->sector;
            }
            c.sectors += r->sectors;
            c.pieces += u32(r->pieces.size());
            ++c.merged;
            next = waiting_.front();  // what was not adjacent before may be now
        }
        r = next;
    }
}

void Queue::start_more() {
    bool any = false;
    const u64 all = depth_ == 64 ? ~u64{0} : (u64{1} << depth_) - 1;
    while (!failed_ && (busy_ & all) != all && !waiting_.empty()) {
        const u32 slot = u32(std::countr_one(busy_));
        Command& c = commands_[slot];
        Request* first = waiting_.pop_front();
        c.op = first->op;
        c.sector = first->sector;
        c.sectors = first->sectors;
        c.pieces = u32(first->pieces.size());
        c.merged = 0;
        c.requests.push_back(*first);
        if (moves_data(c.op)) gather(c);
        if (!channel_->start(slot, c)) {
            // Back to where they were: before everything that waits.
            while (Request* r = c.requests.back()) {
                RequestList::remove(*r);
                waiting_.push_front(*r);
            }
            break;
        }
        busy_ |= u64{1} << slot;
        stats_.of[u32(c.op)].merged += c.merged;
        any = true;
    }
    if (any) channel_->notify();
}

void Queue::end(u32 slot, Errno result, Ended& out) {
    const Nanoseconds now = hal::Machine::now();
    account_busy(now);
    busy_ &= ~(u64{1} << slot);
    while (Request* r = commands_[slot].requests.pop_front()) end_request(*r, result, now, out);
}

bool Queue::fail() {
    Ended out;
    rt::LockGuard guard{lock};
    failed_ = true;
    const u64 before = stats_.in_flight;
    auto more = [&]() RT_REQUIRES(lock) { return before - stats_.in_flight < kFailedAtOnce; };
    while (busy_ != 0 && more()) end(u32(std::countr_zero(busy_)), Errno::kIo, out);
    const Nanoseconds now = hal::Machine::now();
    account_busy(now);
    while (more() && !waiting_.empty()) end_request(*waiting_.pop_front(), Errno::kIo, now, out);
    const bool all = busy_ == 0 && waiting_.empty();
    guard.unlock();
    out.report();
    return all;
}

void Queue::add_stats(Stats& out) {
    rt::LockGuard guard{lock};
    account_busy(hal::Machine::now());
    for (u32 i = 0; i < kOps; ++i) {
        out.of[i].done += stats_.of[i].done;
        out.of[i].merged += stats_.of[i].merged;
        out.of[i].sectors += stats_.of[i].sectors;
        out.of[i].nanoseconds += stats_.of[i].nanoseconds;
    }
    out.errors += stats_.errors;
    out.in_flight += stats_.in_flight;
    out.weighted_nanoseconds += stats_.weighted_nanoseconds;
    if (stats_.busy_nanoseconds > out.busy_nanoseconds) out.busy_nanoseconds = stats_.busy_nanoseconds;
}

}  // namespace block
