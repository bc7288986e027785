// SPDX-License-Identifier: MIT
// The device fails, or there is no memory: errors, and the volume stays whole.
#include "ext4/journal.hpp"
#include "tests/unit/ext4_world.hpp"

namespace {

using namespace ext4_test;
using ext4::Inode;

constexpr const char* kOptions =
    "-t ext4 -b 1024 -O has_journal,extent,dir_index,64bit,metadata_csum,flex_bg,filetype,sparse_super,extra_isize";

// A device that fails at some time: errors, and what was committed is there at the next mount.
TEST(Ext4Faults, AfterAnErrorOfTheDeviceNothingMoreIsWrittenAndTheNextMountIsWhole) {
    for (u64 fault = 5; fault < 400; fault += 23) {
        World w(make_image(kOptions, "8M"), fault);
        ASSERT_EQ(w.mount(), Errno::kOk);
        u64 left = fault;
        w.disk.fault = [&](const block::Request& r) {
            if (r.op == block::Op::kRead) return Errno::kOk;
            if (left != 0) --left;
            return left == 0 ? Errno::kIo : Errno::kOk;
        };
        for (u32 n = 0; n < 60; ++n) {
            const std::string name = "f" + std::to_string(n);
            if (w.make_file(name) != Errno::kOk) break;
            if (w.write(name, n * 100, std::string(3000, 'f')) != Errno::kOk && !w.volume->failed) continue;
            if (!w.run(ext4::sync(*w.volume)).ok()) break;
        }
        EXPECT_NE(w.unmount(), Errno::kOk) << fault;
        w.disk.fault = {};
        ASSERT_EQ(w.mount(), Errno::kOk) << fault << w.report.problem;
        EXPECT_EQ(w.unmount(), Errno::kOk);
        EXPECT_EQ(check_image(w.disk.bytes), "") << fault;
        if (HasFailure()) return;
    }
}

// ---- No memory ----

Task<Result<void>> change_everything(ext4::Volume* v, u64 fail_after) {
    Ref<Inode> root = CO_TRY(co_await ext4::get_inode(*v, ext4::kRootInode));
    const std::string target(200, 't'), text(9000, 'm');
    rt::mem_fail_after(fail_after, 1);
    Ref<Inode> f = CO_TRY(co_await ext4::create(*root, "f", {.mode = abi::kTypeRegular | 0600}));
    (void)CO_TRY(co_await ext4::write(*f, 5000, std::as_bytes(std::span(text))));
    CO_TRY(co_await ext4::set_xattr(*f, "user.a", std::as_bytes(std::span(text).first(500)), ext4::XattrHow::kAny));
    Ref<Inode> d = CO_TRY(co_await ext4::create(*root, "d", {.mode = abi::kTypeDirectory | 0700}));
    Ref<Inode> l = CO_TRY(co_await ext4::create(*d, "l", {.mode = abi::kTypeLink | 0777}, target));
    CO_TRY(co_await ext4::link(*d, "g", *f));
    CO_TRY(co_await ext4::rename(*root, "f", *f, *d, "l", l.get()));
    CO_TRY(co_await ext4::release(std::move(l)));
    CO_TRY(co_await ext4::sync(*v));
    CO_TRY(co_await ext4::truncate(*f, 100));
    CO_TRY(co_await ext4::unlink(*d, "g", *f));
    CO_TRY(co_await ext4::unlink(*d, "l", *f));
    CO_TRY(co_await ext4::release(std::move(f)));
    CO_TRY(co_await ext4::rmdir(*root, "d", *d));
    CO_TRY(co_await ext4::release(std::move(d)));
    co_return co_await ext4::sync(*v);
}

TEST(Ext4Faults, WithoutMemoryAnOperationFailsOrIsWholeAndTheVolumeStaysInUse) {
    u32 failures = 0;
    for (u64 n = 0; n < 3000; n += 1 + n / 12) {
        World w(make_image(kOptions, "8M"), n);
        ASSERT_EQ(w.mount(), Errno::kOk);
        const auto r = w.run(change_everything(w.volume.get(), n));
        rt::mem_fail_never();
        EXPECT_TRUE(r.ok() || r.error() == Errno::kNoMem) << n << ": " << i32(r.error());
        if (!r.ok()) ++failures;
        EXPECT_FALSE(w.volume->failed) << n << ": " << (w.volume->damage ? w.volume->damage : "");
        EXPECT_EQ(w.unmount(), Errno::kOk) << n;
        // What was unlinked and not released waits for the next mount.
        ASSERT_EQ(w.mount(), Errno::kOk) << n;
        EXPECT_EQ(w.unmount(), Errno::kOk) << n;
        EXPECT_EQ(check_image(w.disk.bytes), "") << n;
        if (HasFailure()) return;
    }
    EXPECT_GT(failures, 10u);
}

}  // namespace
