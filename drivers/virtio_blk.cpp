// SPDX-License-Identifier: MIT
// Virtio block devices. Each queue has a lock (block::Queue::lock), which its interrupt handler takes too.
//
// Nothing that the device writes is trusted: what it says of itself is checked before it is a disk; a status that it did
// not write, and a read of which it wrote less than was asked for, are I/O errors. If a queue's ring makes no sense, the
// device is reset, so that it accesses no memory any more, and then everything that it had ends with kIo.
#include "drivers/virtio_blk.hpp"

#include <atomic>
#include <bit>
#include <cstddef>

#include "block/disk.hpp"
#include "drivers/virtio_chain.hpp"
#include "port/api/log.hpp"
#include "rt/cpus.hpp"
#include "rt/mem/slab.hpp"

namespace drivers {
namespace {

using namespace abi::virtio;

constexpr u32 kDepth = 32;               // commands of a queue that are with the device
constexpr u32 kInterruptsOfDisks = 160;  // the machine has 192 (hal/x86_64)
constexpr u32 kMostBytes = 1 << 20;
constexpr u32 kLargestBlock = kPageSize;
constexpr u64 kMostSectors = (u64{1} << 63) / block::kSectorBytes - 1;  // places in bytes fit an off_t
constexpr u8 kNoStatus = 0xff;                                          // 5.2.6 has no such status

// What a command needs beside its pieces, in memory that the device reads and writes.
struct Slot {
    static constexpr u32 kDescriptors = 60;
    BlockHeader header;
    BlockDiscardRange range;
    u8 status;
    u8 unused[31];
    Descriptor table[kDescriptors];  // header, pieces, status
};
static_assert(sizeof(Slot) == 1024 && offsetof(Slot, table) == 64);
constexpr unsigned kSlotsOrder = 3;
static_assert(kDepth * sizeof(Slot) == kPageSize << kSlotsOrder);
constexpr u32 kMostPieces = Slot::kDescriptors - 2;

class VirtioBlk;

class Lane final : public block::Channel {
public:
    ~Lane() {
        if (slots_) rt::free_frames(slots_at_, kSlotsOrder);
    }
    // Before init(): what its interrupt handler needs, which a device may call at any time.
    void belongs_to(VirtioBlk& disk) { disk_ = &disk; }
    // kNoDev, kInval: the device's queue cannot be used; kNoSpc: the machine has no more interrupts; kNoMem.
    Result<void> init(u16 index, u64 features);
    bool start(u32 slot, block::Command& command) override;
    void notify() override { ring_.kick(); }
    static void interrupt(void* self) { static_cast<Lane*>(self)->handle(); }
    void handle();
    u16 ring_size() const { return ring_.size(); }
    bool indirect() const { return ring_.indirect(); }
    block::Queue requests;

private:
    Errno result_of(u32 slot, u32 written);
    PhysAddr at(const void* in_slot) const {
        return slots_at_ + u64(static_cast<const std::byte*>(in_slot) - reinterpret_cast<const std::byte*>(slots_));
    }
    VirtioBlk* disk_ = nullptr;
    ChainQueue ring_;
    Slot* slots_ = nullptr;
    PhysAddr slots_at_{};
    u32 to_read_[kDepth] = {};  // by slot: bytes that the device is to write besides the status
};

class VirtioBlk final : public block::Disk {
public:
    ~VirtioBlk() { delete[] lanes_; }
    Result<void> start(VirtioDevice& d);
    void submit(block::Request& r) override {
        block::RequestList one;
        one.push_back(r);
        submit_all(one);
    }
    void submit_all(block::RequestList& list) override { mine().requests.submit(list); }
    // Interrupts mean something: all queues are there, and the device may use them.
    bool started() const { return started_.load(std::memory_order_acquire); }
    block::Stats stats() override {
        block::Stats sum;
        for (u32 i = 0; i < lane_count_; ++i) lanes_[i].requests.add_stats(sum);
        return sum;
    }
    VirtioDevice& device() { return *device_; }
    const block::Limits& own_limits() const { return limits_; }
    bool has_interrupts() const { return lanes_ != nullptr; }
    VirtioBlk* next_refused = nullptr;
    void give_up(const char* why);

private:
    Task<void> fail_the_rest();
    Result<void> read_config(u64 features);
    bool refuse(const char* what, u64 value);
    Result<void> start_lanes(u64 features, u32 count);
    bool fit_requests(const Lane& lane, bool first);
    u32 lanes_wanted();
    Lane& mine() { return lanes_[hal::Machine::this_cpu().value % lane_count_]; }

    VirtioDevice* device_ = nullptr;
    Lane* lanes_ = nullptr;
    u32 lane_count_ = 0;
    u32 offered_queues_ = 1;
    rt::Atomic<bool> started_{false};  // released once the lanes are there, acquired by interrupt handlers
    rt::Atomic<bool> given_up_{false};
};

// What can fail for lack of memory comes first: a lane that the device knows is complete.
Result<void> Lane::init(u16 index, u64 features) {
    slots_at_ = TRY(rt::alloc_frames(kSlotsOrder));
    slots_ = static_cast<Slot*>(rt::frame_info(slots_at_).bytes());
    TRY(requests.init(*this, disk_->own_limits(), kDepth));
    TRY(disk_->device().set_interrupt(index, &Lane::interrupt, this, CpuId{index}));
    return ring_.init(disk_->device(), index, index, features);
}

bool Lane::start(u32 index, block::Command& c) {
    Slot& slot = slots_[index];
    u32 type = kBlockIn;
    switch (c.op) {
        case block::Op::kRead: break;
        case block::Op::kWrite: type = kBlockOut; break;
        case block::Op::kFlush: type = kBlockTypeFlush; break;
        case block::Op::kDiscard: type = kBlockTypeDiscard; break;
    }
    const bool reads = c.op == block::Op::kRead;
    slot.header = {type, 0, reads || c.op == block::Op::kWrite ? c.sector : 0};
    slot.status = kNoStatus;
    u32 n = 0;
    slot.table[n++] = {at(&slot.header).value, sizeof slot.header, 0, 0};
    if (c.op == block::Op::kDiscard) {
        slot.range = {c.sector, u32(c.sectors), 0};
        slot.table[n++] = {at(&slot.range).value, sizeof slot.range, 0, 0};
    }
    for (const block::Request& r : c.requests)
        for (const block::Piece& p : r.pieces)
            slot.table[n++] = {hal::Machine::virt_to_phys(p.data()).value, u32(p.size()),
                               reads ? kDescriptorWrite : u16{0}, 0};
    slot.table[n++] = {at(&slot.status).value, sizeof slot.status, kDescriptorWrite, 0};
    to_read_[index] = reads ? u32(c.sectors * block::kSectorBytes) : 0;
    return ring_.submit(u16(index), {slot.table, n}, at(slot.table), to_read_[index] + 1);
}

Errno Lane::result_of(u32 slot, u32 written) {
    // Once: the device can write to it at any time.
    const u8 status = std::atomic_ref{slots_[slot].status}.load(std::memory_order_relaxed);
    if (status == kBlockStatusUnsupported) return Errno::kOpNotSupp;
    return status == kBlockStatusOk && written > to_read_[slot] ? Errno::kOk : Errno::kIo;
}

void Lane::handle() {
    block::Ended ended;
    bool broken;
    {
        rt::LockGuard guard{requests.lock};
        disk_->device().acknowledge();
        if (!disk_->started()) return;  // it has no request yet
        u16 slot;
        u32 written;
        // Each round but the first ends one that the device has, or its index lies.
        u32 rounds = 0;
        do {
            while (ring_.take(slot, written))
                if (requests.is_with_device(slot)) requests.end(slot, result_of(slot, written), ended);
        } while (!ring_.rest() && ++rounds <= kDepth);
        broken = ring_.broken() || rounds > kDepth;
        if (!broken) requests.start_more();
    }
    if (broken) disk_->give_up("its rings make no sense");
}

Result<void> VirtioBlk::start(VirtioDevice& d) {
    device_ = &d;
    const u64 features = TRY(d.negotiate(kBlockSizeMax | kBlockSegMax | kBlockReadOnly | kBlockBlockSize | kBlockFlush |
                                         kBlockMultiQueue | kBlockDiscard | kFeatureIndirect | kFeatureEventIndex));
    auto r = read_config(features);
    if (r.ok()) r = start_lanes(features, lanes_wanted());
    if (r.ok()) {
        d.driver_ok();
        started_.store(true, std::memory_order_release);
        r = block::add_disk(*this);
    }
    // Nothing of it is used, and its memory may be.
    if (!r.ok() && d.cut_off()) d.fail();
    return r;
}

bool VirtioBlk::refuse(const char* what, u64 value) {
    port::logf("virtio block device cannot be used: {} {}", what, value);
    return false;
}

// 2.4.1: several words belong together if the generation did not change while they were read.
Result<void> VirtioBlk::read_config(u64 features) {
    BlockConfig c;
    u32 words[sizeof c / sizeof(u32)];
    for (u32 tries = 0;; ++tries) {
        const u32 before = device_->config_generation();
        for (u32 i = 0; i < std::size(words); ++i) words[i] = device_->config_read32(i * u32(sizeof(u32)));
        if (device_->config_generation() == before) break;
        if (tries == 100) return refuse("its configuration keeps changing;", tries), Errno::kNoDev;
    }
    __builtin_memcpy(&c, words, sizeof c);
    const u64 sectors = u64{c.capacity_low} | u64{c.capacity_high} << 32;
    const u32 block = features & kBlockBlockSize ? c.block_size : block::kSectorBytes;
    if (!std::has_single_bit(block) || block < block::kSectorBytes || block > kLargestBlock)
        return refuse("blocks of bytes:", block), Errno::kNoDev;
    if (sectors == 0 || sectors > kMostSectors) return refuse("sectors:", sectors), Errno::kNoDev;
    limits_.block_bytes = block;
    limits_.sectors = sectors - sectors % (block / block::kSectorBytes);
    if (limits_.sectors == 0) return refuse("sectors, less than a block:", sectors), Errno::kNoDev;
    limits_.most_bytes = kMostBytes;
    if (features & kBlockSizeMax) {
        const u32 most = c.size_max - c.size_max % block;
        if (most == 0) return refuse("bytes in a segment at most:", c.size_max), Errno::kNoDev;
        if (most < limits_.most_bytes) limits_.most_bytes = most;
    }
    limits_.most_pieces = kMostPieces;
    // Where it says nothing, 1 (5.2.5).
    const u32 segments = features & kBlockSegMax && c.seg_max != 0 ? c.seg_max : 1;
    if (segments < limits_.most_pieces) limits_.most_pieces = segments;
    limits_.read_only = (features & kBlockReadOnly) != 0;
    limits_.has_flush = (features & kBlockFlush) != 0;
    if (features & kBlockDiscard && c.most_discard_segments != 0) {
        limits_.most_discard = c.most_discard_sectors - c.most_discard_sectors % (block / block::kSectorBytes);
        limits_.has_discard = limits_.most_discard != 0;
    }
    if (features & kBlockMultiQueue) offered_queues_ = c.queue_count;
    return lib::kOk;
}

u32 VirtioBlk::lanes_wanted() {
    u32 count = rt::executor_count();
    if (count > offered_queues_) count = offered_queues_;
    if (count > device_->interrupts()) count = device_->interrupts();
    // Every disk that may follow has one interrupt at least.
    const u32 before = block::disk_count(), reserved = before * count + (block::kMostDisks - 1 - before);
    const u32 left = reserved < kInterruptsOfDisks ? kInterruptsOfDisks - reserved : 1;
    if (count > left) count = left;
    return count == 0 ? 1 : count;
}

// One lane must be there. Where there is no interrupt, queue or memory for a later one, its CPU shares another's.
Result<void> VirtioBlk::start_lanes(u64 features, u32 count) {
    lanes_ = new (std::nothrow) Lane[count];
    if (!lanes_) return Errno::kNoMem;
    for (u32 i = 0; i < count; ++i) lanes_[i].belongs_to(*this);
    for (u16 i = 0; i < count; ++i) {
        auto r = lanes_[i].init(i, features);
        if (!r.ok() && i == 0) {
            if (r.error() == Errno::kNoSpc) port::log("a disk is left out: the machine has no more interrupts");
            return r;
        }
        if (!r.ok() || !fit_requests(lanes_[i], i == 0)) break;
        lane_count_ = i + 1u;
    }
    return lane_count_ != 0 ? Result<void>(lib::kOk) : Result<void>(Errno::kNoDev);
}

// A request must fit each ring when it is empty, whichever CPU submits it. False: this ring is too small for any.
bool VirtioBlk::fit_requests(const Lane& lane, bool first) {
    if (lane.indirect()) return true;
    constexpr u32 kOthers = 2;  // header and status
    const u32 room = lane.ring_size();
    if (room <= kOthers) return first ? refuse("descriptors in a queue:", room) : false;
    if (room - kOthers < limits_.most_pieces) limits_.most_pieces = room - kOthers;
    return true;
}

void VirtioBlk::give_up(const char* why) {
    if (given_up_.exchange(true, std::memory_order_acq_rel)) return;
    port::logf("disk {} fails: {}", name(), why);
    // Without this its memory could be written after its owner has it back.
    if (!device_->cut_off()) hal::Machine::panic("a virtio block device does not stop");
    // The handler of an interrupt ends some of each queue, a job the rest, so that others have their turns.
    bool all = true;
    for (u32 i = 0; i < lane_count_; ++i) all = lanes_[i].requests.fail() && all;
    if (all || rt::spawn("failed disk", fail_the_rest(), rt::Executor::current())) return;
    for (u32 i = 0; i < lane_count_; ++i)
        while (!lanes_[i].requests.fail()) {
        }
}

Task<void> VirtioBlk::fail_the_rest() {
    for (u32 i = 0; i < lane_count_; ++i)
        while (!lanes_[i].requests.fail()) co_await rt::Yield{};
}

// Devices that are not used, but whose interrupts still refer to them.
constinit VirtioBlk* refused = nullptr;

}  // namespace

Result<void> start_virtio_blk(VirtioDevice& device) {
    auto* disk = rt::make<VirtioBlk>();
    if (!disk) return Errno::kNoMem;
    auto r = disk->start(device);
    if (!r.ok()) {
        if (disk->has_interrupts())
            disk->next_refused = std::exchange(refused, disk);
        else
            delete disk;
        return r;
    }
    const block::Limits& l = disk->limits();
    port::logf("disk {}: {} sectors, blocks of {} bytes{}", disk->name(), l.sectors, l.block_bytes,
               std::string_view{l.read_only ? ", read-only" : ""});
    return lib::kOk;
}

}  // namespace drivers
