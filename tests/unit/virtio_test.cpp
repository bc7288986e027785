// SPDX-License-Identifier: MIT
// What a virtio device offers is not trusted: capabilities, register blocks, queue sizes, used rings.
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <random>

#include "drivers/virtio.hpp"
#include "drivers/virtio_pci.hpp"
#include "rt/mem/pages.hpp"
#include "tests/unit/mem_support.hpp"

namespace {

using namespace drivers;
using namespace abi::virtio;

// --- Capabilities

class FakeFunction : public PciFunction {
public:
    std::array<u8, 256> config{};
    std::array<PciBar, 6> bars{};
    u32 read(u32 offset, u32 width) override {
        EXPECT_LE(offset + width, config.size());
        u32 value = 0;
        if (offset + width <= config.size()) std::memcpy(&value, &config[offset], width);
        return value;
    }
    PciBar bar(u32 index) override {
        EXPECT_LT(index, 6u);
        return bars[index];
    }
    void put(u32 offset, u32 value, u32 width = 4) { std::memcpy(&config[offset], &value, width); }
    void capability(u32 at, u32 next, u8 kind, u32 bar, u32 offset, u32 length) {
        put(at, 0x09, 1);
        put(at + 1, next, 1);
        put(at + 2, kind == kCapNotify ? 20 : 16, 1);
        put(at + 3, kind, 1);
        put(at + 4, bar, 1);
        put(at + 8, offset);
        put(at + 12, length);
        if (kind == kCapNotify) put(at + 16, 4);
    }
};

// As QEMU's: four blocks in BAR 4, the MSI-X table in BAR 1.
FakeFunction good() {
    FakeFunction f;
    f.put(0x06, 0x10, 2);
    f.put(0x34, 0x40, 1);
    f.bars[4] = {0xfe00'0000, 0x4000};
    f.bars[1] = {0xfd00'0000, 0x1000};
    f.capability(0x40, 0x60, kCapCommon, 4, 0x0000, 0x1000);
    f.capability(0x60, 0x80, kCapNotify, 4, 0x3000, 0x1000);
    f.capability(0x80, 0xa0, kCapDevice, 4, 0x2000, 0x1000);
    f.put(0xa0, 0x11, 1);
    f.put(0xa2, 3, 2);
    f.put(0xa4, 1);
    return f;
}

bool refused(FakeFunction& f) {
    const char* why = nullptr;
    auto r = find_virtio_regions(f, why);
    EXPECT_TRUE(r.ok() || why != nullptr);
    return !r.ok() && r.error() == Errno::kNoDev;
}

TEST(VirtioPci, a_whole_function_is_found) {
    FakeFunction f = good();
    const char* why = nullptr;
    auto r = find_virtio_regions(f, why);
    ASSERT_TRUE(r.ok());
    EXPECT_EQ(r.value().common.at, 0xfe00'0000u);
    EXPECT_EQ(r.value().notify.at, 0xfe00'3000u);
    EXPECT_EQ(r.value().notify_multiplier, 4u);
    EXPECT_EQ(r.value().device.at, 0xfe00'2000u);
    EXPECT_EQ(r.value().msix_table.at, 0xfd00'0000u);
    EXPECT_EQ(r.value().msix_table.length, 64u);
    EXPECT_EQ(r.value().msix_capability, 0xa0u);
}

TEST(VirtioPci, a_block_that_reaches_past_its_bar_is_refused) {
    FakeFunction f = good();
    f.bars[4].size = 0x1000;  // the common block fits, the others do not
    EXPECT_TRUE(refused(f));
    f = good();
    f.put(0x4c, 0x4001);  // longer than the BAR
    EXPECT_TRUE(refused(f));
    f = good();
    f.put(0x48, 0xffff'f000);  // offset and length wrap around 32 bits
    EXPECT_TRUE(refused(f));
    f = good();
    f.bars[4] = {~u64{0} - 0xfff, 0x4000};  // the BAR wraps around 64 bits
    EXPECT_TRUE(refused(f));
}

TEST(VirtioPci, a_block_shorter_than_its_structure_is_refused) {
    FakeFunction f = good();
    f.put(0x4c, sizeof(PciCommon) - 1);
    EXPECT_TRUE(refused(f));
    f = good();
    f.put(0x6c, 1);
    EXPECT_TRUE(refused(f));
    f = good();
    f.put(0x8c, 3);
    EXPECT_TRUE(refused(f));
}

TEST(VirtioPci, a_block_that_is_not_aligned_or_of_no_memory_bar_is_refused) {
    FakeFunction f = good();
    f.put(0x48, 2);
    EXPECT_TRUE(refused(f));
    for (u32 bar : {0u, 5u, 6u, 255u}) {
        f = good();
        f.put(0x44, bar, 1);
        EXPECT_TRUE(refused(f)) << bar;
    }
}

TEST(VirtioPci, another_capability_of_the_kind_is_used_where_the_first_cannot_be) {
    FakeFunction f = good();
    f.put(0x48, 0x9000);
    f.put(0xa1, 0xb0, 1);
    f.capability(0xb0, 0, kCapCommon, 4, 0x1000, 0x1000);
    const char* why = nullptr;
    auto r = find_virtio_regions(f, why);
    ASSERT_TRUE(r.ok());
    EXPECT_EQ(r.value().common.at, 0xfe00'1000u);
}

TEST(VirtioPci, a_list_that_leads_into_the_header_or_never_ends_is_cut) {
    FakeFunction f = good();
    f.put(0x41, 0x10, 1);
    EXPECT_TRUE(refused(f));
    f = good();
    f.put(0x41, 0x40, 1);  // itself
    EXPECT_TRUE(refused(f));
    f = good();
    f.put(0xa1, 0x40, 1);  // all is found before the circle closes
    EXPECT_FALSE(refused(f));
}

TEST(VirtioPci, a_capability_that_reaches_past_configuration_space_is_passed_over) {
    FakeFunction f = good();
    for (u32 at : {0xf4u, 0xf8u, 0xfcu}) {
        f.put(0x34, at, 1);
        f.put(at, 0x09, 1);
        f.put(at + 1, 0x40, 1);
        f.put(at + 2, 16, 1);
        f.put(at + 3, kCapCommon, 1);
        EXPECT_FALSE(refused(f));
    }
    f = good();
    f.capability(0xf0, 0, kCapNotify, 4, 0x3000, 0x1000);  // its multiplier lies outside
    f.put(0x61, 0xf0, 1);
    f.put(0x60, 0, 1);
    EXPECT_TRUE(refused(f));
}

TEST(VirtioPci, a_msix_table_that_does_not_fit_is_not_used) {
    FakeFunction f = good();
    f.put(0xa2, 0x7ff, 2);  // 2,048 entries in 4 KiB
    const char* why = nullptr;
    auto r = find_virtio_regions(f, why);
    ASSERT_TRUE(r.ok());
    EXPECT_EQ(r.value().msix_capability, 0u);
}

TEST(VirtioPci, random_configuration_space_gives_regions_within_bars_or_an_error) {
    std::mt19937_64 random(11);
    for (int n = 0; n < 20'000; ++n) {
        FakeFunction f = good();
        for (u64 changes = random() % 24; changes != 0; --changes) f.config[random() % 256] = u8(random());
        f.bars[random() % 6] = {random() >> random() % 64, random() >> random() % 64};
        const char* why = nullptr;
        auto r = find_virtio_regions(f, why);
        if (!r.ok()) continue;
        for (const PciRegion& region : {r.value().common, r.value().notify, r.value().device}) {
            bool within = false;
            for (const PciBar& bar : f.bars)
                within |= region.at >= bar.base && region.at - bar.base <= bar.size &&
                          region.length <= bar.size - (region.at - bar.base);
            ASSERT_TRUE(within);
        }
        ASSERT_GE(r.value().common.length, sizeof(PciCommon));
    }
}

// --- Queues

class FakeDevice final : public VirtioDevice {
public:
    u32 offered = 8;
    u16 given = 0;
    u32 notified = 0;
    PhysAddr used_at{};
    Result<void> accepts = lib::kOk;
    using VirtioDevice::set_interrupt;
    Result<void> set_interrupt(u16, port::InterruptHandler, void*, CpuId) override { return lib::kOk; }
    u32 queue_size_max(u16) override { return offered; }
    Result<void> set_queue(const QueuePlace& place) override {
        given = place.size;
        used_at = place.device;
        return accepts;
    }
    void notify(u16) override { ++notified; }
    u32 config_read32(u32) override { return 0; }
    u32 config_generation() override { return 0; }

    Used& used() {
        const PhysAddr frame{used_at.value & ~(kPageSize - 1)};
        return *reinterpret_cast<Used*>(static_cast<std::byte*>(rt::frame_info(frame).bytes()) + 2048);
    }
    void finish(u32 id, u32 length) {
        Used& u = used();
        u.ring[u.index % given] = {id, length};
        ++u.index;
    }

protected:
    u64 device_features() override { return ~u64{0}; }
    void set_driver_features(u64) override {}
    u8 status() override { return 0; }
    void set_status(u8) override {}
};

class VirtQueueTest : public mem_test::MemTest {
protected:
    FakeDevice device_;
    VirtQueue queue_;
    u16 id_ = 0;
    u32 bytes_ = 0;
    const PhysAddr buffer_{0x1000};
};

TEST_F(VirtQueueTest, an_absurd_size_is_refused_and_nothing_is_kept) {
    const u64 free = rt::mem_stats().free_bytes;
    for (u32 size : {32769u, 65535u, 65536u, ~0u}) {
        device_.offered = size;
        EXPECT_EQ(queue_.init(device_, 0).error(), Errno::kInval) << size;
    }
    device_.offered = 0;
    EXPECT_EQ(queue_.init(device_, 0).error(), Errno::kNoDev);
    device_.offered = 8;
    device_.accepts = Errno::kNoDev;
    EXPECT_EQ(queue_.init(device_, 0).error(), Errno::kNoDev);
    EXPECT_FALSE(queue_.ready());
    EXPECT_FALSE(queue_.take(id_, bytes_));
    EXPECT_FALSE(queue_.submit(0, buffer_, 16, true));
    EXPECT_EQ(rt::mem_stats().free_bytes, free);
}

TEST_F(VirtQueueTest, the_size_is_a_power_of_two_that_fits_a_frame) {
    const std::pair<u32, u16> sizes[] = {{1, 1}, {3, 2}, {63, 32}, {64, 64}, {100, 64}, {32768, 64}};
    for (auto [offered, used] : sizes) {
        device_.offered = offered;
        VirtQueue queue;
        ASSERT_TRUE(queue.init(device_, 0).ok());
        EXPECT_EQ(device_.given, used);
        EXPECT_EQ(queue.size(), used);
        rt::free_frame(PhysAddr{device_.used_at.value & ~(kPageSize - 1)});
    }
}

TEST_F(VirtQueueTest, buffers_come_back_once_whatever_round_the_ring_is_in) {
    ASSERT_TRUE(queue_.init(device_, 0).ok());
    for (u32 n = 0; n < 70'000; ++n) {  // the indices wrap at 65,536
        const u16 id = u16(n % 8);
        ASSERT_TRUE(queue_.submit(id, buffer_, 16, true));
        ASSERT_FALSE(queue_.submit(id, buffer_, 16, true));
        device_.finish(id, 7);
        ASSERT_TRUE(queue_.take(id_, bytes_));
        ASSERT_EQ(id_, id);
        ASSERT_EQ(bytes_, 7u);
        ASSERT_FALSE(queue_.take(id_, bytes_));
    }
    rt::free_frame(PhysAddr{device_.used_at.value & ~(kPageSize - 1)});
}

TEST_F(VirtQueueTest, a_length_beyond_the_buffer_is_cut) {
    ASSERT_TRUE(queue_.init(device_, 0).ok());
    ASSERT_TRUE(queue_.submit(5, buffer_, 16, true));
    device_.finish(5, ~0u);
    ASSERT_TRUE(queue_.take(id_, bytes_));
    EXPECT_EQ(bytes_, 16u);
    rt::free_frame(PhysAddr{device_.used_at.value & ~(kPageSize - 1)});
}

TEST_F(VirtQueueTest, a_buffer_that_the_device_does_not_have_ends_the_queue) {
    for (u32 id : {1u, 8u, 13u, 65536u, ~0u}) {  // of 8 buffers the device has number 5
        VirtQueue queue;
        ASSERT_TRUE(queue.init(device_, 0).ok());
        ASSERT_TRUE(queue.submit(5, buffer_, 16, true));
        device_.finish(id, 1);
        EXPECT_FALSE(queue.take(id_, bytes_)) << id;
        device_.finish(5, 1);
        EXPECT_FALSE(queue.take(id_, bytes_)) << id;
        const u32 before = device_.notified;
        (void)queue.submit(6, buffer_, 16, true);
        queue.kick();
        EXPECT_EQ(device_.notified, before);
        rt::free_frame(PhysAddr{device_.used_at.value & ~(kPageSize - 1)});
    }
}

TEST_F(VirtQueueTest, an_index_that_jumps_ends_the_queue) {
    ASSERT_TRUE(queue_.init(device_, 0).ok());
    ASSERT_TRUE(queue_.submit(0, buffer_, 16, true));
    device_.used().index = 9;
    EXPECT_FALSE(queue_.take(id_, bytes_));
    device_.used().index = 1;
    EXPECT_FALSE(queue_.take(id_, bytes_));
    rt::free_frame(PhysAddr{device_.used_at.value & ~(kPageSize - 1)});
}

}  // namespace
