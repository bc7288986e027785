// SPDX-License-Identifier: MIT
// Every allocation of a call fails in turn: the call returns ENOMEM or succeeds without, nothing leaks, and the call
// works when there is memory again. Paths that must not fail (close, exit, munmap) are never part of it.
#include <cstring>

#include "tests/unit/linux_world.hpp"

namespace {

using namespace linux_test;

struct Call {
    const char* name;
    std::function<User::Awaiter(User&)> call;
    std::function<Script(User&, i64)> undo;
    const char* path = "";
};
// The address of the path. It is stored before any failure: a store that finds no memory kills the process, as it
// should.
constexpr UserAddr kPath{port::hosted::kData + 0x400};

// Returns how many different allocations have failed.
Script try_each(User& u, const Call* c) {
    u32 failed = 0;
    co_await u.store_bytes(kPath, c->path, strlen(c->path) + 1);
    for (u64 n = 0; n < 400; ++n) {
        if (!rt::mem_fail_after(n)) co_return -1;
        i64 r = co_await c->call(u);
        u64 injected = rt::mem_injected_failures();
        rt::mem_fail_never();
        if (r >= 0) {
            co_await c->undo(u, r);
        } else {
            EXPECT_GT(injected, 0u) << c->name << ": error " << r << " without a failed allocation";
            EXPECT_TRUE(r == error(Errno::kNoMem)) << c->name << ", allocation " << n << ": " << r;
        }
        if (injected == 0) {
            EXPECT_GE(r, 0) << c->name;
            EXPECT_GT(failed, 0u) << c->name << " allocates nothing";
            co_return failed;
        }
        failed += r < 0;
    }
    ADD_FAILURE() << c->name << " never gets by";
    co_return failed;
}

Script close_it(User& u, i64 fd) { co_return co_await u.sys(abi::kNrClose, fd); }

u64 use_after(const std::function<i32()>& what) {
    EXPECT_EQ(what(), exited(0));
    rt::drain_object_caches();
    return frames_in_use();
}

void each_allocation(Call call) {
    static const Call* current;
    static UserAddr code = add_code([](User& u) -> Script {
        co_await try_each(u, current);
        co_return 0;
    });
    current = &call;
    auto once = [] { return run_at(code); };
    use_after(once);
    u64 before = use_after(once);
    for (u32 i = 0; i < 3; ++i) use_after(once);
    u64 after = use_after(once);
    EXPECT_LE(after, before + 4) << call.name << " loses memory";  // the allocators' own caches vary by a few
}

std::function<User::Awaiter(User&)> on_path(u32 number, u64 a = 0, u64 b = 0) {
    return [=](User& u) { return u.sys(number, kPath, a, b); };
}

TEST(LinuxNoMemory, Open) {
    run([](User& u) -> Script {
        EXPECT_EQ(co_await write_file(u, "/tmp/nomem", std::vector<std::byte>(10)), 0);
        co_return 0;
    });
    each_allocation({"open", on_path(abi::kNrOpen), close_it, "/tmp/nomem"});
}

TEST(LinuxNoMemory, CreateAndUnlink) {
    each_allocation({"open(O_CREAT)", on_path(abi::kNrOpen, 0101, 0644),
                     [](User& u, i64 fd) -> Script {
                         EXPECT_EQ(co_await u.sys(abi::kNrClose, fd), 0);
                         EXPECT_EQ(co_await u.sys(abi::kNrUnlink, kPath), 0);
                         co_return 0;
                     },
                     "/tmp/nomem-new"});
}

TEST(LinuxNoMemory, Mkdir) {
    each_allocation({"mkdir", on_path(abi::kNrMkdir, 0755),
                     [](User& u, i64) -> Script {
                         EXPECT_EQ(co_await u.sys(abi::kNrMkdir, kPath, 0755), error(Errno::kExist));
                         EXPECT_EQ(co_await u.sys(abi::kNrRmdir, kPath), 0);
                         co_return 0;
                     },
                     "/tmp/nomem-dir"});
}

TEST(LinuxNoMemory, Pipe) {
    static UserAddr fds;
    each_allocation({"pipe",
                     [](User& u) {
                         fds = UserAddr{port::hosted::kData + 0x800};
                         return u.sys(abi::kNrPipe, fds);
                     },
                     [](User& u, i64) -> Script {
                         EXPECT_EQ(co_await u.sys(abi::kNrClose, co_await u.load<i32>(fds)), 0);
                         EXPECT_EQ(co_await u.sys(abi::kNrClose, co_await u.load<i32>(fds + 4)), 0);
                         EXPECT_EQ(co_await u.sys(abi::kNrDup, 0), 3);  // no descriptor was left open
                         EXPECT_EQ(co_await u.sys(abi::kNrClose, 3), 0);
                         co_return 0;
                     }});
}

TEST(LinuxNoMemory, Mmap) {
    each_allocation({"mmap", [](User& u) { return u.sys(abi::kNrMmap, 0, 0x10000, 3, 0x22, -1, 0); },
                     [](User& u, i64 at) -> Script { co_return co_await u.sys(abi::kNrMunmap, at, 0x10000); }});
}

TEST(LinuxNoMemory, Fork) {
    static const UserAddr child = add_code([](User&) -> Script { co_return 0; });
    each_allocation({"fork", [](User& u) { return u.fork_into(child, abi::kNrFork); },
                     [](User& u, i64 pid) -> Script {
                         // A child that meets the failure before its first instruction is killed for lack of memory.
                         i64 status = co_await wait_for(u, pid);
                         EXPECT_TRUE(status == exited(0) || status == killed_by(9)) << status;
                         EXPECT_EQ(co_await u.sys(abi::kNrWait4, -1, 0, 1, 0), error(Errno::kChild));
                         co_return 0;
                     }});
}

TEST(LinuxNoMemory, ThreadsAndEvents) {
    each_allocation({"eventfd2", [](User& u) { return u.sys(abi::kNrEventfd2, 0, 0); }, close_it});
    each_allocation({"epoll_create1", [](User& u) { return u.sys(abi::kNrEpollCreate1, 0); }, close_it});
    each_allocation({"timerfd_create", [](User& u) { return u.sys(abi::kNrTimerfdCreate, 1, 0); }, close_it});
    each_allocation({"memfd_create", on_path(abi::kNrMemfdCreate), close_it, "name"});
}

// A file that is mapped is cut by a task. Without memory for one nothing has happened: no page is gone from the file that
// is mapped still.
TEST(LinuxNoMemory, ACutOfAMappedFileIsWholeOrNotBegun) {
    constexpr i64 kSize = 0x10000;
    static u32 failed;
    failed = 0;
    const i32 status = run([](User& u) -> Script {
        co_await u.store_bytes(kPath, "/tmp/nomem-cut", 15);
        const i64 fd = co_await u.sys(abi::kNrOpen, kPath, 0102, 0644);
        EXPECT_EQ(co_await u.sys(abi::kNrFtruncate, fd, kSize), 0);
        const i64 at = co_await u.sys(abi::kNrMmap, 0, kSize, 3, 1, fd, 0);
        EXPECT_GT(at, 0);
        for (u64 n = 0; n < 400; ++n) {
            co_await u.store<u64>(UserAddr{u64(at)}, 7);
            if (!rt::mem_fail_after(n)) co_return 2;
            const i64 r = co_await u.sys(abi::kNrFtruncate, fd, 0);
            const u64 injected = rt::mem_injected_failures();
            rt::mem_fail_never();
            EXPECT_TRUE(r == 0 || r == error(Errno::kNoMem)) << r;
            EXPECT_EQ(co_await u.sys(abi::kNrLseek, fd, 0, 2), r == 0 ? 0 : kSize) << "allocation " << n;
            failed += r != 0;
            EXPECT_EQ(co_await u.sys(abi::kNrFtruncate, fd, kSize), 0);
            if (injected == 0) break;
        }
        EXPECT_EQ(co_await u.sys(abi::kNrUnlink, kPath), 0);
        co_return 0;
    });
    EXPECT_EQ(status, exited(0));
    EXPECT_GT(failed, 0u);
}

}  // namespace
