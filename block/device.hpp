// SPDX-License-Identifier: MIT
// Block devices: what a file system asks of a disk. Drivers implement BlockDevice; whoever uses one is in a coroutine.
#pragma once
#include <span>
#include <string_view>

#include "lib/list.hpp"
#include "lib/result.hpp"
#include "lib/types.hpp"
#include "rt/one_shot.hpp"
#include "rt/spinlock.hpp"
#include "rt/task.hpp"
#include "rt/wait.hpp"

namespace block {

inline constexpr u32 kSectorBytes = 512;  // the unit of all places on a device, whatever its own blocks are

enum class Op : u8 { kRead, kWrite, kFlush, kDiscard };

// Memory that a device reads or writes: frames of rt/mem or slabs, contiguous for the device, a multiple of kSectorBytes.
using Piece = std::span<std::byte>;

// One transfer. Its owner keeps it, its pieces and their memory until it is done. A write is durable after a flush that
// was submitted when the write was done.
struct Request {
    Op op = Op::kRead;
    u64 sector = 0;
    u64 sectors = 0;                // the sum of the pieces; of a discard, how many
    std::span<const Piece> pieces;  // none for kFlush and kDiscard
    // Called once, on the CPU that saw the end, interrupts off; may wake, post and submit. `result` is set before.
    void (*ended)(Request& r) = nullptr;
    // kOk; kIo: the device failed, or has no such sectors; kOpNotSupp; kRoFs: a write to a device that takes none; kInval:
    // not what Limits allow.
    Errno result = Errno::kOk;
    lib::ListHook hook;     // the device's, from submit() to the end
    Nanoseconds submitted;  // the same: when
};
using RequestList = lib::List<Request, &Request::hook>;

// What a device can do; constant after it was found.
struct Limits {
    u64 sectors = 0;                 // its size
    u32 block_bytes = kSectorBytes;  // transfers begin and end at multiples of this
    u32 most_pieces = 1;             // of one request
    u32 most_bytes = 0;              // of one request
    bool read_only = false;
    bool has_flush = false;  // without it every write is durable when it is done
    bool has_discard = false;
    u64 most_discard = 0;  // sectors of one discard
};

// Flushes of one device that several jobs want: one is with the device, and those who come meanwhile share the next.
class FlushTurns {
    friend Task<Result<void>> flush(class Device& device);
    struct Waiter {
        lib::ListHook hook;
        rt::OneShot turn{"disk"};  // it begins the next flush (leads), or `result` is there
        bool leads = false;
        Errno result = Errno::kOk;
    };
    using Waiters = lib::List<Waiter, &Waiter::hook>;
    rt::SpinLock<rt::Rank::async_lock> lock_;
    bool busy_ RT_GUARDED_BY(lock_) = false;  // one job has a flush under way, or is about to begin it
    Waiters waiting_ RT_GUARDED_BY(lock_);    // they came after it began
};

class Device {
public:
    virtual ~Device() = default;
    virtual std::string_view name() const = 0;  // as in /dev: "vda"
    virtual const Limits& limits() const = 0;
    // Never blocks, never fails: errors are the request's result. From any CPU, no lock held of Rank::device or above. At
    // most some are with the device, the others wait in the order of arrival.
    virtual void submit(Request& r) = 0;
    // The same of all of `list`, which is empty afterwards: adjacent ones are merged, and the device is notified once.
    virtual void submit_all(RequestList& list) {
        while (Request* r = list.pop_front()) submit(*r);
    }

private:
    friend Task<Result<void>> flush(Device& device);
    FlushTurns flushes_;
};

// Collects requests, so that those which are adjacent are merged and the device is notified once: submitted by flush()
// and by the destructor. Not to be kept across co_await.
class Plug {
public:
    explicit Plug(Device& device) : device_(device) {}
    Plug(const Plug&) = delete;
    ~Plug() { flush(); }
    void add(Request& r) { list_.push_back(r); }
    void flush() {
        if (!list_.empty()) device_.submit_all(list_);
    }

private:
    Device& device_;
    RequestList list_;
};

// Submits `r` and waits for its end, which nothing interrupts: the device uses the memory until then. `ended` is used by
// this. Returns `result`. kNoMem: no frame for the coroutine; nothing was submitted.
Task<Result<void>> transfer(Device& device, Request& r);
// The same of one piece of memory, and of a flush (at once if the device has none). Flushes that wait for one another
// are one request, which is submitted after the last of them was asked for.
Task<Result<void>> read(Device& device, u64 sector, Piece to);
Task<Result<void>> write(Device& device, u64 sector, Piece from);
Task<Result<void>> flush(Device& device);

}  // namespace block
