// SPDX-License-Identifier: MIT
// The virtio block driver against a device that the test plays: one that keeps to the rules, in each way that they allow,
// and hostile ones, which say absurd things of themselves, return buffers that they do not have, lie about lengths and
// write any status. Whatever the device does, each request ends once, and the device has been reset before the memory
// of an unanswered one is given back.
#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <map>
#include <random>

#include "block/disk.hpp"
#include "drivers/virtio_blk.hpp"
#include "rt/executor.hpp"
#include "rt/mem/pages.hpp"
#include "tests/unit/mem_support.hpp"

namespace {

using namespace drivers;
using namespace abi::virtio;
using block::kSectorBytes;

template <class T>
T* memory(u64 at) {
    return static_cast<T*>(hal::Machine::phys_to_virt(PhysAddr{at}));
}

class FakeBlk final : public VirtioDevice {
public:
    u64 offered = ~u64{0};
    u64 accepted = 0;
    BlockConfig config{.capacity_low = 256,
                       .size_max = 1 << 20,
                       .seg_max = 126,
                       .block_size = 512,
                       .queue_count = 1,
                       .most_discard_sectors = 64,
                       .most_discard_segments = 1};
    u32 ring_max = 128, vectors = 4, notified = 0, generation = 0, resets = 0;
    bool generation_moves = false;
    std::vector<std::byte> storage = std::vector<std::byte>(256 * kSectorBytes);
    // What the device does with a request instead of saying that it is done.
    u8 status_given = kBlockStatusOk;
    u32 length_given = 0;  // not 0: the used length
    u32 served = 0, flushes = 0;
    std::map<u16, QueuePlace> queues;
    std::map<u16, CpuId> interrupted_cpu;
    std::map<u16, u32> ring_max_of;  // of queues whose size differs from ring_max
    u32 vectors_left = 1000;         // of the machine
    // Interrupts as soon as it can, with rings that say that something is done.
    bool too_early = false;

    FakeBlk() { type_ = kDeviceBlock; }
    using VirtioDevice::set_interrupt;
    Result<void> set_interrupt(u16 number, port::InterruptHandler handler, void* argument, CpuId cpu) override {
        if (vectors_left == 0) return Errno::kNoSpc;
        --vectors_left;
        handlers_[number] = {handler, argument};
        interrupted_cpu[number] = cpu;
        if (too_early) handler(argument);
        return lib::kOk;
    }
    u32 interrupts() override { return vectors; }
    u32 queue_size_max(u16 q) override { return ring_max_of.contains(q) ? ring_max_of[q] : ring_max; }
    Result<void> set_queue(const QueuePlace& place) override {
        queues[place.queue] = place;
        if (too_early) {
            push_used(place.queue, 0, 1);
            interrupt_all();
            used(place.queue).index = 0;
        }
        return lib::kOk;
    }
    void notify(u16) override { ++notified; }
    u32 config_read32(u32 offset) override {
        u32 word;
        std::memcpy(&word, reinterpret_cast<char*>(&config) + offset, sizeof word);
        return word;
    }
    u32 config_generation() override { return generation_moves ? ++generation : generation; }

    Available& available(u16 q) { return *memory<Available>(queues[q].driver.value); }
    Used& used(u16 q) { return *memory<Used>(queues[q].device.value); }
    bool running() const { return status_ & kStatusDriverOk; }
    void interrupt(u16 number = 0) {
        auto [handler, argument] = handlers_.at(number);
        handler(argument);
    }
    void interrupt_all() {
        for (auto& [number, called] : handlers_) called.first(called.second);
    }
    void push_used(u16 q, u32 id, u32 length) {
        Used& u = used(q);
        u.ring[u.index % queues[q].size] = {id, length};
        ++u.index;
    }
    // Takes the next request of the queue; false: none.
    bool serve_one(u16 q = 0) {
        Available& a = available(q);
        u16& seen = seen_[q];
        if (a.index == seen) return false;
        const u16 head = a.ring[seen++ % queues[q].size];
        push_used(q, head, do_chain(q, head));
        ++served;
        return true;
    }
    void serve(u16 q = 0) {
        while (serve_one(q)) {
        }
        if (accepted & kFeatureEventIndex) *event(q) = available(q).index;
    }
    void serve_and_interrupt() {
        for (int i = 0; i < 50 && running(); ++i) {
            serve();
            interrupt();
        }
    }

protected:
    u64 device_features() override { return offered; }
    void set_driver_features(u64 f) override { accepted = f; }
    u8 status() override { return status_; }
    void set_status(u8 s) override {
        if (too_early) interrupt_all();
        if (s == 0) {
            ++resets;
            seen_.clear();
        }
        status_ = s;
    }

private:
    u16* event(u16 q) { return reinterpret_cast<u16*>(&used(q).ring[queues[q].size]); }
    u32 do_chain(u16 q, u16 head) {
        std::vector<Descriptor> chain;
        const Descriptor* table = memory<Descriptor>(queues[q].descriptors.value);
        u16 at = head, limit = queues[q].size;
        if (table[head].flags & kDescriptorIndirect) {
            EXPECT_TRUE(accepted & kFeatureIndirect);
            limit = u16(table[head].length / sizeof(Descriptor));
            table = memory<Descriptor>(table[head].address);
            at = 0;
        }
        for (;; at = table[at].next) {
            EXPECT_LT(at, limit);
            chain.push_back(table[at]);
            if (!(table[at].flags & kDescriptorNext) || chain.size() > limit) break;
        }
        EXPECT_GE(chain.size(), 2u);
        EXPECT_EQ(chain.front().length, sizeof(BlockHeader));
        EXPECT_EQ(chain.back().length, 1u);
        EXPECT_TRUE(chain.back().flags & kDescriptorWrite);
        const BlockHeader h = *memory<BlockHeader>(chain.front().address);
        u64 place = h.sector * kSectorBytes;
        u32 written = 1;
        if (h.type == kBlockTypeFlush) ++flushes;
        for (size_t i = 1; i + 1 < chain.size(); ++i) {
            auto* bytes = memory<std::byte>(chain[i].address);
            if (h.type == kBlockTypeDiscard) {
                const auto range = *memory<BlockDiscardRange>(chain[i].address);
                std::memset(&storage[range.sector * kSectorBytes], 0, range.sectors * kSectorBytes);
                continue;
            }
            EXPECT_LE(place + chain[i].length, storage.size());
            EXPECT_EQ((chain[i].flags & kDescriptorWrite) != 0, h.type == kBlockIn);
            if (h.type == kBlockIn) {
                std::memcpy(bytes, &storage[place], chain[i].length);
                written += chain[i].length;
            } else {
                std::memcpy(&storage[place], bytes, chain[i].length);
            }
            place += chain[i].length;
        }
        *memory<u8>(chain.back().address) = status_given;
        return length_given != 0 ? length_given : written;
    }
    u8 status_ = 0;
    std::map<u16, u16> seen_;
    std::map<u16, std::pair<port::InterruptHandler, void*>> handlers_;
};

// In the machine's memory; a page for each piece.
struct Own : block::Request {
    std::vector<block::Piece> parts;
    std::vector<PhysAddr> frames;
    u32 ends = 0, resets_then = 0;
    FakeBlk* device = nullptr;
    Own(block::Op kind, u64 at, u64 n, u32 count = 1) {
        op = kind;
        sector = at;
        sectors = n;
        if (kind == block::Op::kRead || kind == block::Op::kWrite)
            for (u32 i = 0; i < count; ++i) {
                frames.push_back(rt::alloc_zeroed_frame().value());
                parts.emplace_back(memory<std::byte>(frames.back().value), n / count * kSectorBytes);
            }
        pieces = parts;
        ended = [](block::Request& r) {
            auto& own = static_cast<Own&>(r);
            ++own.ends;
            own.resets_then = own.device ? own.device->resets : 0;
        };
    }
    Own(const Own&) = delete;
    ~Own() {
        for (PhysAddr f : frames) rt::free_frame(f);
    }
};

class VirtioBlkTest : public mem_test::MemTest {
protected:
    void SetUp() override {
        MemTest::SetUp();
        rt::Executor::start(CpuId{0});
    }
    void TearDown() override {
        forget();
        MemTest::TearDown();
    }
    block::Disk* start(FakeBlk& device) { return start_virtio_blk(device).ok() ? block::find_disk("vda") : nullptr; }
    void forget() {
        if (block::disk_count() != 0) delete block::find_disk("vda");
        block::forget_disks();
    }
};

TEST_F(VirtioBlkTest, what_was_written_is_read_in_each_way_that_a_device_may_offer) {
    for (u64 features : {u64{0}, kFeatureIndirect, kFeatureEventIndex, kFeatureIndirect | kFeatureEventIndex}) {
        FakeBlk device;
        device.offered = kFeatureVersion1 | kBlockSegMax | kBlockFlush | kBlockDiscard | features;
        block::Disk* disk = start(device);
        ASSERT_NE(disk, nullptr);
        EXPECT_EQ(disk->limits().sectors, 256u);
        EXPECT_TRUE(disk->limits().has_flush);
        for (u32 round = 0; round < 300; ++round) {  // more than the ring has
            Own w{block::Op::kWrite, round % 31 * 8, 8, 2}, r{block::Op::kRead, round % 31 * 8, 8, 4};
            for (auto& p : w.parts) std::memset(p.data(), int(round), p.size());
            disk->submit(w);
            device.serve_and_interrupt();
            disk->submit(r);
            device.serve_and_interrupt();
            ASSERT_EQ(w.ends + r.ends, 2u);
            ASSERT_EQ(w.result, Errno::kOk);
            ASSERT_EQ(r.result, Errno::kOk);
            ASSERT_EQ(r.parts[3][1023], std::byte(round));
        }
        Own flush{block::Op::kFlush, 0, 0}, discard{block::Op::kDiscard, 8, 8}, after{block::Op::kRead, 8, 1};
        for (Own* o : {&flush, &discard, &after}) {
            disk->submit(*o);
            device.serve_and_interrupt();
            EXPECT_EQ(o->result, Errno::kOk);
        }
        EXPECT_EQ(device.flushes, 1u);
        EXPECT_EQ(after.parts[0][0], std::byte{0});
        EXPECT_EQ(disk->stats().errors, 0u);
        forget();
    }
}

TEST_F(VirtioBlkTest, many_at_once_end_whatever_the_size_of_the_ring) {
    for (u32 ring : {4u, 8u, 64u, 1024u})
        for (u64 features : {u64{0}, kFeatureIndirect | kFeatureEventIndex}) {
            FakeBlk device;
            device.offered = kFeatureVersion1 | kBlockSegMax | features;
            device.ring_max = ring;
            block::Disk* disk = start(device);
            ASSERT_NE(disk, nullptr);
            std::deque<Own> list;
            for (u32 i = 0; i < 100; ++i) disk->submit(list.emplace_back(block::Op::kWrite, i * 2, 1));
            for (int i = 0; i < 200; ++i) {
                device.serve_one();
                device.interrupt();
            }
            for (Own& o : list) ASSERT_EQ(o.ends, 1u);
            EXPECT_EQ(disk->stats().errors, 0u);
            forget();
        }
}

TEST_F(VirtioBlkTest, with_event_index_a_device_that_is_busy_is_not_notified_again) {
    FakeBlk device;
    block::Disk* disk = start(device);
    ASSERT_NE(disk, nullptr);
    std::deque<Own> list;
    for (u32 i = 0; i < 10; ++i) disk->submit(list.emplace_back(block::Op::kRead, i * 2, 1));
    EXPECT_EQ(device.notified, 1u);  // the event stands at the first one
    device.serve_and_interrupt();
    disk->submit(list.emplace_back(block::Op::kRead, 0, 1));
    EXPECT_EQ(device.notified, 2u);
    device.serve_and_interrupt();
    for (Own& o : list) EXPECT_EQ(o.ends, 1u);
}

TEST_F(VirtioBlkTest, each_cpu_has_a_queue_whose_interrupt_it_gets_as_far_as_the_device_has_any) {
    for (u32 i = 1; i < 4; ++i) {
        hal::Machine::bind_cpu(CpuId{i});
        rt::Executor::start(CpuId{i});
    }
    for (auto [offered, vectors] : {std::pair{16u, 16u}, {2u, 16u}, {16u, 3u}, {4u, 1u}}) {
        FakeBlk device;
        device.config.queue_count = u16(offered);
        device.vectors = vectors;
        block::Disk* disk = start(device);
        ASSERT_NE(disk, nullptr);
        const u32 lanes = std::min({offered, vectors, rt::executor_count()});
        EXPECT_EQ(device.queues.size(), lanes);
        for (u32 cpu = 0; cpu < 4; ++cpu) {
            hal::Machine::bind_cpu(CpuId{cpu});
            const u16 lane = u16(cpu % lanes), before = device.available(lane).index;
            Own r{block::Op::kRead, 0, 1};
            disk->submit(r);
            EXPECT_EQ(device.available(lane).index, before + 1);
            EXPECT_EQ(device.queues[lane].interrupt, lane);
            EXPECT_EQ(device.interrupted_cpu[lane], CpuId{lane});
            device.serve(lane);
            EXPECT_EQ(r.ends, 0u);
            device.interrupt(lane);
            EXPECT_EQ(r.ends, 1u);
        }
        EXPECT_EQ(disk->stats().of[u32(block::Op::kRead)].done, 4u);
        hal::Machine::bind_cpu(CpuId{0});
        forget();
    }
}

class VirtioBlkLanes : public VirtioBlkTest {
protected:
    void SetUp() override {
        VirtioBlkTest::SetUp();
        for (u32 i = 1; i < 4; ++i) {
            hal::Machine::bind_cpu(CpuId{i});
            rt::Executor::start(CpuId{i});
        }
        hal::Machine::bind_cpu(CpuId{0});
        device_.config.queue_count = 4;
    }
    // A request of this CPU, served by whichever queue has it.
    Errno result_on(block::Disk& disk, u32 cpu, u64 sectors = 1, u32 pieces = 1) {
        hal::Machine::bind_cpu(CpuId{cpu});
        Own r{block::Op::kRead, 0, sectors, pieces};
        disk.submit(r);
        for (auto& [q, place] : device_.queues) {
            device_.serve(q);
            device_.interrupt(place.interrupt);
        }
        hal::Machine::bind_cpu(CpuId{0});
        EXPECT_EQ(r.ends, 1u) << "cpu " << cpu;
        if (r.ends == 0) device_.used(0).index = 5000, device_.interrupt(0);  // the test's memory must come back
        return r.result;
    }
    FakeBlk device_;
};

TEST_F(VirtioBlkLanes, interrupts_before_the_device_is_started_do_nothing) {
    device_.too_early = true;
    block::Disk* disk = start(device_);
    ASSERT_NE(disk, nullptr);
    device_.too_early = false;
    EXPECT_EQ(device_.queues.size(), 4u);
    EXPECT_TRUE(device_.running());
    for (u32 cpu = 0; cpu < 4; ++cpu) EXPECT_EQ(result_on(*disk, cpu), Errno::kOk);
}

TEST_F(VirtioBlkLanes, interrupts_of_a_device_that_is_refused_do_nothing) {
    device_.too_early = true;
    device_.ring_max = 2;
    device_.offered &= ~kFeatureIndirect;
    EXPECT_EQ(start(device_), nullptr);
    device_.interrupt_all();
    device_.ring_max = 128;
    device_.vectors_left = 0;
    EXPECT_EQ(start(device_), nullptr);
    EXPECT_EQ(block::disk_count(), 0u);
}

TEST_F(VirtioBlkLanes, a_request_of_the_most_pieces_fits_the_smallest_queue) {
    device_.offered &= ~kFeatureIndirect;
    device_.ring_max_of = {{2, 8}};
    block::Disk* disk = start(device_);
    ASSERT_NE(disk, nullptr);
    const u32 most = disk->limits().most_pieces;
    EXPECT_EQ(most, 6u);
    for (u32 cpu = 0; cpu < 4; ++cpu) EXPECT_EQ(result_on(*disk, cpu, most, most), Errno::kOk);
}

TEST_F(VirtioBlkLanes, without_a_queue_or_an_interrupt_for_each_cpu_they_share) {
    for (auto [vectors, small] : {std::pair{1u, false}, {2u, false}, {1000u, true}}) {
        device_.queues.clear();
        device_.offered = ~u64{0} & ~(small ? kFeatureIndirect : u64{0});
        device_.vectors_left = vectors;
        device_.ring_max_of = small ? std::map<u16, u32>{{1, 2}} : std::map<u16, u32>{{2, 0}};
        block::Disk* disk = start(device_);
        ASSERT_NE(disk, nullptr) << vectors;
        for (u32 cpu = 0; cpu < 4; ++cpu) EXPECT_EQ(result_on(*disk, cpu), Errno::kOk);
        forget();
    }
}

// 192: as many as the machine has (hal/x86_64).
TEST_F(VirtioBlkTest, with_many_cpus_each_disk_has_an_interrupt) {
    for (u32 i = 1; i < 16; ++i) {
        hal::Machine::bind_cpu(CpuId{i});
        rt::Executor::start(CpuId{i});
    }
    hal::Machine::bind_cpu(CpuId{0});
    std::deque<FakeBlk> devices(block::kMostDisks);
    u32 left = 192;
    for (FakeBlk& d : devices) {
        d.config.queue_count = 16;
        d.vectors = 16;
        d.vectors_left = left;
        ASSERT_TRUE(start_virtio_blk(d).ok()) << block::disk_count();
        left = d.vectors_left;
        EXPECT_GE(d.queues.size(), 1u);
    }
    EXPECT_EQ(devices[0].queues.size(), 16u);
    for (u32 i = 0; i < block::kMostDisks; ++i) delete &block::disk_at(i);
    block::forget_disks();
}

TEST_F(VirtioBlkTest, absurd_configurations_are_refused) {
    auto refused = [&](auto change) {
        FakeBlk device;
        change(device);
        const bool started = start(device) != nullptr;
        forget();
        return !started && !device.running();
    };
    EXPECT_FALSE(refused([](FakeBlk&) {}));
    EXPECT_TRUE(refused([](FakeBlk& d) { d.config.capacity_low = 0; }));
    EXPECT_TRUE(refused([](FakeBlk& d) { d.config.capacity_high = ~0u; }));
    for (u32 size : {0u, 1u, 100u, 256u, 513u, 768u, 8192u, 1u << 31, ~0u})
        EXPECT_TRUE(refused([=](FakeBlk& d) { d.config.block_size = size; })) << size;
    EXPECT_TRUE(refused([](FakeBlk& d) {
        d.config.capacity_low = 7;
        d.config.block_size = 4096;
    }));
    for (u32 size : {1u, 511u}) EXPECT_TRUE(refused([=](FakeBlk& d) { d.config.size_max = size; })) << size;
    EXPECT_TRUE(refused([](FakeBlk& d) { d.generation_moves = true; }));
    EXPECT_TRUE(refused([](FakeBlk& d) { d.offered &= ~kFeatureVersion1; }));
}

TEST_F(VirtioBlkTest, odd_configurations_are_used_as_far_as_they_make_sense) {
    FakeBlk device;
    device.config.capacity_low = 259;
    device.config.block_size = 2048;
    device.config.size_max = 5000;
    device.config.seg_max = 0;
    device.config.most_discard_sectors = 3;
    device.config.queue_count = 0;
    device.offered &= ~kBlockFlush;
    block::Disk* disk = start(device);
    ASSERT_NE(disk, nullptr);
    const block::Limits& l = disk->limits();
    EXPECT_EQ(l.sectors, 256u);
    EXPECT_EQ(l.most_bytes, 4096u);
    EXPECT_EQ(l.most_pieces, 1u);
    EXPECT_FALSE(l.has_discard);
    EXPECT_FALSE(l.has_flush);
    EXPECT_TRUE(l.read_only);
}

class VirtioBlkLies : public VirtioBlkTest {
protected:
    void SetUp() override {
        VirtioBlkTest::SetUp();
        device_.offered &= ~kBlockReadOnly;
        disk_ = start(device_);
        ASSERT_NE(disk_, nullptr);
    }
    FakeBlk device_;
    block::Disk* disk_ = nullptr;
};

TEST_F(VirtioBlkLies, only_a_status_of_0_is_success_and_a_short_read_is_an_error) {
    auto result = [&](block::Op op) {
        Own r{op, 0, 2};
        disk_->submit(r);
        device_.serve_and_interrupt();
        EXPECT_EQ(r.ends, 1u);
        return r.result;
    };
    for (u32 status = 1; status < 256; ++status) {
        device_.status_given = u8(status);
        EXPECT_EQ(result(block::Op::kRead), status == kBlockStatusUnsupported ? Errno::kOpNotSupp : Errno::kIo);
    }
    device_.status_given = kBlockStatusOk;
    for (u32 length : {1u, 2u, 512u, 1024u}) {  // 1,025 are wanted
        device_.length_given = length;
        EXPECT_EQ(result(block::Op::kRead), Errno::kIo) << length;
    }
    for (u32 length : {1025u, ~0u}) {
        device_.length_given = length;
        EXPECT_EQ(result(block::Op::kRead), Errno::kOk) << length;
    }
}

TEST_F(VirtioBlkLies, a_ring_that_makes_no_sense_ends_everything_after_a_reset) {
    std::deque<Own> list;
    for (u32 i = 0; i < 50; ++i) {
        list.emplace_back(block::Op::kRead, i * 2, 1).device = &device_;
        disk_->submit(list.back());
    }
    const u32 before = device_.resets;
    device_.push_used(0, 99, 1);  // 32 are with the device, none of this number
    device_.interrupt();
    EXPECT_EQ(device_.resets, before + 1);
    for (Own& o : list) {
        EXPECT_EQ(o.ends, 1u);
        EXPECT_EQ(o.result, Errno::kIo);
        EXPECT_EQ(o.resets_then, before + 1);
    }
    Own late{block::Op::kWrite, 0, 1};
    disk_->submit(late);
    EXPECT_EQ(late.ends, 1u);
    EXPECT_EQ(late.result, Errno::kIo);
    device_.interrupt();  // one that was under way
    EXPECT_EQ(device_.resets, before + 1);
}

TEST_F(VirtioBlkLies, a_buffer_that_comes_back_twice_ends_the_use_of_the_device) {
    Own r{block::Op::kRead, 0, 1};
    disk_->submit(r);
    device_.serve();
    device_.push_used(0, device_.used(0).ring[0].id, 513);
    device_.interrupt();
    EXPECT_EQ(r.ends, 1u);
    EXPECT_EQ(r.result, Errno::kOk);
    EXPECT_FALSE(device_.running());
}

TEST_F(VirtioBlkTest, random_devices_end_each_request_once) {
    u64 ok = 0, failed = 0, started = 0;
    for (u32 seed = 1; seed <= 400; ++seed) {
        std::mt19937_64 random(seed);
        auto one_in = [&](u32 n) { return random() % n == 0; };
        FakeBlk device;
        device.offered = (random() & 0xffff'ffff) | kFeatureVersion1;
        device.ring_max = one_in(8) ? u32(random() % 70'000) : 8u << random() % 6;
        auto* words = reinterpret_cast<u32*>(&device.config);
        if (one_in(3))
            for (u64 changes = random() % 4; changes != 0; --changes)
                words[2 + random() % (sizeof device.config / 4 - 2)] = u32(random() >> random() % 64);
        device.config.capacity_low = 256;  // the test's own storage
        block::Disk* disk = start(device);
        if (!disk) {
            forget();
            continue;
        }
        ++started;
        std::deque<Own> list;
        const u32 lies = 1u << random() % 9;
        for (u32 step = 0; step < 200 && device.running(); ++step) {
            switch (random() % 4) {
                case 0: {
                    const auto op = block::Op(random() % 4);
                    const u64 n = op == block::Op::kFlush ? 0 : 1 + random() % 8;
                    list.emplace_back(op, op == block::Op::kFlush ? 0 : random() % 250, n).device = &device;
                    disk->submit(list.back());
                    break;
                }
                case 1: device.serve_one(); break;
                case 2: device.interrupt(); break;
                default:
                    if (one_in(2 * lies)) device.push_used(0, u32(random() % 40), u32(random()));
                    if (one_in(4 * lies)) device.used(0).index = u16(random());
                    device.status_given = one_in(lies) ? u8(random()) : kBlockStatusOk;
                    device.length_given = one_in(lies) ? u32(random() % 5000) : 0;
            }
        }
        // What it has not answered, it never will.
        if (device.running()) {
            device.used(0).index = u16(device.used(0).index + 5000);
            device.interrupt();
        }
        for (Own& o : list) {
            ASSERT_EQ(o.ends, 1u) << "seed " << seed;
            o.result == Errno::kOk ? ++ok : ++failed;
        }
        ASSERT_EQ(disk->stats().in_flight, 0u) << "seed " << seed;
        forget();
    }
    EXPECT_GT(started, 100u);
    EXPECT_GT(ok, 1000u);
    EXPECT_GT(failed, 1000u);
}

}  // namespace
