// SPDX-License-Identifier: MIT
// A file system to test on: a tmpfs of its own, mounted nowhere, on fresh memory. When it goes, nothing may be left.
#pragma once
#include <gtest/gtest.h>

#include <string>

#include "fs/file.hpp"
#include "fs/mount.hpp"
#include "fs/tmpfs.hpp"
#include "mem_support.hpp"
#include "rt/executor.hpp"
#include "rt/mem/slab.hpp"

namespace fs_test {

// Lets everything that was retired go. The calling thread must be the only CPU that runs.
inline void settle_epochs() {
    for (int i = 0; i < 8; ++i) rt::quiescent();
    rt::epoch_enter_idle();
    rt::epoch_leave_idle();
}

class FsTest : public testing::Test {
protected:
    // Stands for the initial RAM disk: frames in use that may be given away.
    static constexpr PhysAddr kRamDisk = hal::Machine::kMemoryStart + (u64{256} << 20);
    static constexpr u64 kRamDiskSize = 8 * kPageSize;

    void SetUp() override {
        hal::Machine::set_cpu_count(4);
        hal::Machine::bind_cpu(CpuId{0});
        mem_test::fresh_memory(u64{128} << 20);
        rt::mem_add_used_range(kRamDisk, kRamDiskSize);
        rt::Executor::start(CpuId{0});
        rt::epoch_leave_idle();
        make_root();  // once, so that what is made on first use is there
        measure_again();
    }
    // What is in use now is not lost at the end. With a new root.
    void measure_again() {
        drop_root();
        before_ = used();
        make_root();
    }
    void TearDown() override {
        drop_root();
        EXPECT_EQ(used(), before_ - given_away) << "memory was lost";
        EXPECT_EQ(rt::mem_check(), nullptr);
        rt::epoch_enter_idle();
    }
    static u64 used() {
        settle_epochs();
        rt::drain_object_caches();
        rt::drain_frame_cache();
        rt::MemStats s = rt::mem_stats();
        return s.total_bytes - s.free_bytes;
    }
    void make_root(fs::TmpfsOptions options = {}) {
        auto made = fs::make_tmpfs(options);
        ASSERT_TRUE(made.ok());
        Ref<fs::SuperBlock> super = made.value().super;
        auto* top = fs::Dentry::create(nullptr, fs::make_key("/"), made.value().root);
        ASSERT_NE(top, nullptr);
        {
            rt::LockGuard guard{fs::namespace_lock};
            super->root_dentry = top;
            super->mounts = 1;
        }
        root = fs::Path{rt::make_ref<fs::Mount>(super).take(), Ref<fs::Dentry>{top}};
        root.mount->root = Ref<fs::Dentry>{top};
    }
    void drop_root() { root = {}; }

    fs::LookupContext context() { return {root, root, &creds}; }
    Leaf<fs::ParentLookup> parent(const std::string& path) { return fs::lookup_parent(context(), {}, path); }
    Leaf<fs::Path> find(const std::string& path, u32 flags = fs::kFollow) {
        return fs::lookup(context(), {}, path, flags);
    }
    LeafError error_of(const std::string& path, u32 flags = fs::kFollow) { return find(path, flags).error(); }
    LeafError make(const std::string& path, u32 mode, const std::string& target = "") {
        auto at = parent(path);
        return at.ok() ? fs::make_node(at.value(), mode, 0, target, creds).error() : at.error();
    }
    LeafError file(const std::string& path) { return make(path, fs::kTypeRegular | 0644); }
    LeafError dir(const std::string& path) { return make(path, fs::kTypeDirectory | 0755); }
    LeafError symlink(const std::string& path, const std::string& to) { return make(path, fs::kTypeLink | 0777, to); }
    LeafError remove(const std::string& path, bool directory = false) {
        auto at = parent(path);
        return at.ok() ? fs::remove_name(at.value(), directory, creds).error() : at.error();
    }
    LeafError rename(const std::string& from, const std::string& to, u32 flags = 0) {
        auto a = parent(from), b = parent(to);
        if (!a.ok()) return a.error();
        if (!b.ok()) return b.error();
        for (;;) {
            LeafError e = fs::rename_name(a.value(), b.value(), flags, creds).error();
            if (e != kNeedsTask) return e;  // a walk keeps renames out
        }
    }
    LeafError link(const std::string& from, const std::string& to) {
        auto target = find(from, 0);
        auto at = parent(to);
        if (!target.ok()) return target.error();
        return at.ok() ? fs::make_link(at.value(), target.value(), creds).error() : at.error();
    }
    Leaf<Ref<fs::File>> open(const std::string& path, u32 flags = fs::kOpenReadWrite) {
        auto at = find(path);
        if (!at.ok()) return at.error();
        fs::OpenContext how;
        how.path = at.take();
        how.flags = flags;
        how.creds = &creds;
        fs::Inode* inode = how.path.inode();
        return inode->open(how);
    }

    fs::Creds creds;
    fs::Path root;
    u64 given_away = 0;  // bytes of the RAM disk that are free now

private:
    u64 before_ = 0;
};

inline fs::UserSpans kernel_spans(void* p, size_t n) { return fs::UserSpans{std::span{static_cast<std::byte*>(p), n}}; }

}  // namespace fs_test
