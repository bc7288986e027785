// SPDX-License-Identifier: MIT
// execve(2) of damaged programs: the caller gets an error or the new program ends by a signal; the system continues.
#include "tests/unit/linux_world.hpp"

namespace {

using namespace linux_test;

constexpr i32 kRan = 9;
UserAddr name, argv, none;

UserAddr entry() {
    static const UserAddr at = add_code([](User&) -> Script { co_return kRan; });
    return at;
}
UserAddr try_it() {
    static const UserAddr at = add_code([](User& u) -> Script {
        i64 r = co_await u.sys(abi::kNrExecve, name, argv, none);
        EXPECT_LT(r, 0);
        co_return 100;
    });
    return at;
}
Script prepare(User& u) {
    EXPECT_EQ(co_await write_file(u, "/tmp/damaged", port::hosted::image(entry())), 0);
    name = u.scratch(32), argv = u.scratch(16), none = u.scratch(8);
    co_await u.store_bytes(name, "/tmp/damaged", 13);
    u64 pointers[2] = {name.value, 0};
    co_await u.store_bytes(argv, pointers, sizeof pointers);
    co_await u.store<u64>(none, 0);
    i64 fd = co_await u.sys(abi::kNrOpen, name, 2);
    EXPECT_GE(fd, 0);
    EXPECT_EQ(co_await wait_for(u, co_await u.fork_into(try_it(), abi::kNrFork)),
              error(Errno::kOk) + exited(100));  // ETXTBSY
    co_await u.sys(abi::kNrClose, fd);
    EXPECT_EQ(co_await wait_for(u, co_await u.fork_into(try_it(), abi::kNrFork)), exited(kRan));
    co_return 0;
}

TEST(LinuxExecDamage, EveryCutOfTheHeadersIsRefused) {
    EXPECT_EQ(run([](User& u) -> Script {
                  co_await prepare(u);
                  for (i64 n = 176; n-- > 0;) {
                      EXPECT_EQ(co_await u.sys(abi::kNrTruncate, name, n), 0);
                      i64 child = co_await u.fork_into(try_it(), abi::kNrFork);
                      EXPECT_EQ(co_await wait_for(u, child), exited(100)) << n << " bytes";
                  }
                  co_return 0;
              }),
              exited(0));
}

TEST(LinuxExecDamage, TwoThousandSeedsOfDamageAreSurvived) {
    static u32 ran, refused, killed;
    ran = refused = killed = 0;
    EXPECT_EQ(
        run([](User& u) -> Script {
            co_await prepare(u);
            UserAddr bytes = u.scratch(256);
            const auto good = port::hosted::image(entry());
            for (u64 seed = 0; seed < 2000; ++seed) {
                hosted_test::Random random(seed);
                auto damaged = good;
                for (u64 i = 0, n = 1 + random() % 3; i < n; ++i) {
                    size_t at = random() % 176;
                    if (at == 24 || at == 25) continue;  // another script of this test program would run
                    damaged[at] = random() % 2 ? std::byte(random()) : std::byte(1 << random() % 8);
                }
                i64 fd = co_await u.sys(abi::kNrOpen, name, 1);
                EXPECT_GE(fd, 0);
                co_await u.store_bytes(bytes, damaged.data(), 176);
                EXPECT_EQ(co_await u.sys(abi::kNrPwrite64, fd, bytes, 176, 0), 176);
                co_await u.sys(abi::kNrClose, fd);
                i64 child = co_await u.fork_into(try_it(), abi::kNrFork);
                EXPECT_GT(child, 0);
                i64 status = co_await wait_for(u, child);
                if (status == exited(kRan))
                    ++ran;
                else if (status == exited(100))
                    ++refused;
                else if ((status & 0x7f) == 11 || (status & 0x7f) == 4 || (status & 0x7f) == 7 || (status & 0x7f) == 9)
                    ++killed;
                else
                    ADD_FAILURE() << "seed " << seed << ": status " << status;
            }
            co_return 0;
        }),
        exited(0));
    EXPECT_GT(ran, 0u);
    EXPECT_GT(refused, 0u);
    EXPECT_GT(killed, 0u);
}

}  // namespace
