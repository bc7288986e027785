// SPDX-License-Identifier: MIT
// Transfers between memory and the device, several at a time, without allocation. A Batch lives in a coroutine's frame or in an
// object of the volume; whoever starts one waits until all of it has ended:
//     batch.start(transfer);
//     while (!batch.ended()) co_await batch.change();
// Its last touch by the device's callback is the count: then only the Disk is touched, whose destructor waits for that.
#pragma once
#include "block/device.hpp"
#include "ext4/format.hpp"
#include "rt/wait.hpp"

// Awaits a task; while there is no memory for its frame, lets others work and tries again. For what must not stop in its middle.
#define EXT4_MUST(...)                   \
    ({                                   \
        auto must_task_ = (__VA_ARGS__); \
        while (!must_task_.valid()) {    \
            co_await rt::Yield{};        \
            must_task_ = (__VA_ARGS__);  \
        }                                \
        co_await must_task_;             \
    })

// The same for a result that says kNoMem, of what can be repeated: it has changed nothing then.
#define EXT4_INSIST(...)                                                          \
    ({                                                                            \
        auto insist_result_ = (__VA_ARGS__);                                      \
        while (!insist_result_.ok() && insist_result_.error() == Errno::kNoMem) { \
            co_await rt::Yield{};                                                 \
            insist_result_ = (__VA_ARGS__);                                       \
        }                                                                         \
        std::move(insist_result_);                                                \
    })

namespace ext4 {

class Batch;

// The device, counted in blocks of the file system.
class Disk {
public:
    explicit Disk(block::Device& device) : device_(device) {}
    ~Disk();
    Disk(const Disk&) = delete;
    void set_block_bytes(u32 n) { block_bytes_ = n; }
    u32 block_bytes() const { return block_bytes_; }
    block::Device& device() { return device_; }
    const block::Limits& limits() const { return device_.limits(); }
    u64 sector_of(BlockNo block) const { return block * (block_bytes_ / block::kSectorBytes); }

private:
    friend class Batch;
    rt::WaitQueue& queue_of(const Batch* b) { return queues_[(reinterpret_cast<uintptr_t>(b) >> 6) % kQueues]; }
    static constexpr u32 kQueues = 8;
    block::Device& device_;
    u32 block_bytes_ = 1024;
    rt::Atomic<u32> in_flight_{0};  // transfers whose callback has not returned yet
    rt::WaitQueue queues_[kQueues];
};

struct Transfer : block::Request {
    // One piece of memory of whole sectors.
    void prepare(block::Op what, u64 at_sector, block::Piece memory) {
        one = memory;
        prepare(what, at_sector, std::span<const block::Piece>(&one, 1), memory.size());
    }
    void prepare(block::Op what, u64 at_sector, std::span<const block::Piece> memory, u64 bytes) {
        op = what;
        sector = at_sector;
        sectors = bytes / block::kSectorBytes;
        pieces = memory;
    }
    void prepare_flush() { op = block::Op::kFlush; }

private:
    friend class Batch;
    block::Piece one;
    Batch* batch = nullptr;
};

class Batch {
public:
    explicit Batch(Disk& disk) : disk_(disk) {}
    Batch(const Batch&) = delete;
    // Submits; the transfer stays where it is until the batch has ended. Never blocks.
    void start(Transfer& t);
    bool ended() const { return left_.load(std::memory_order_acquire) == 0; }
    // The first error of a transfer, when all have ended. It stays until clear().
    Errno error() const { return Errno(error_.load(std::memory_order_relaxed)); }
    void clear() { error_.store(0, std::memory_order_relaxed); }

    // Awaitable: until a transfer of the disk has ended, which may be one of another batch.
    class Change {
    public:
        explicit Change(Batch& b, rt::WaitQueue& q)
            : wait_(q, q.sequence(), "disk transfer"), ready_(b.ended()) {  // in this order
            wait_.uninterruptible();
        }
        bool await_ready() const noexcept { return ready_; }
        template <class P>
        void await_suspend(std::coroutine_handle<P> h) noexcept {
            wait_.await_suspend(h);
        }
        void await_resume() noexcept {
            if (!ready_) (void)wait_.await_resume();
        }

    private:
        rt::WaitOn wait_;
        bool ready_;
    };
    Change change() { return Change{*this, disk_.queue_of(this)}; }

private:
    static void ended(block::Request& r);
    Disk& disk_;
    rt::Atomic<u32> left_{0};
    rt::Atomic<i32> error_{0};
};

// Reads or writes, and waits. kNoMem: nothing was started.
Task<Result<void>> transfer(Disk& disk, block::Op op, u64 sector, block::Piece memory);
// All that has ended before is durable afterwards. At once if the device needs none.
Task<Result<void>> flush(Disk& disk);

// Writes single blocks of memory of its own, several at a time; blocks that follow one another go as one request.
class BlockWriter {
public:
    static constexpr u32 kMost = 64;
    explicit BlockWriter(Disk& disk) : batch_(disk), disk_(disk) {}
    ~BlockWriter();
    Result<void> allocate();  // its memory: kNoMem
    bool full() const { return count_ == kMost; }
    bool empty() const { return count_ == 0; }
    // The memory that will be written to `block`; not full. Its content is undefined.
    std::byte* add(BlockNo block) {
        blocks_[count_] = block;
        return memory_[count_++];
    }
    void start();  // what was added; then wait with batch()
    Batch& batch() { return batch_; }
    // After the batch has ended: empty again. The first error.
    Errno reset();

private:
    Batch batch_;
    Disk& disk_;
    u32 count_ = 0;
    std::byte* memory_[kMost] = {};
    BlockNo blocks_[kMost] = {};
    block::Piece pieces_[kMost];
    Transfer transfers_[kMost];
};

}  // namespace ext4
