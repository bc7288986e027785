// SPDX-License-Identifier: MIT
// A whole system in a test process: the Linux personality over port/hosted, a tmpfs root with /dev and /proc, and a
// first program that runs what tests give it. It is booted by the first test and stays; each test is a child of process
// 1.
//
//     TEST(LinuxX, Y) {
//         EXPECT_EQ(run([](User& u) -> Script {
//             EXPECT_GT(co_await u.sys(abi::kNrGetpid), 1);
//             co_return 0;
//         }), exited(0));
//     }
//
// Scripts run on the test's own thread (CPU 0) unless spread(true): then new threads and processes use all CPUs.
#pragma once
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "abi/linux/errno.hpp"
#include "abi/linux/syscall_x86_64.hpp"
#include "linux/task/process.hpp"
#include "port/hosted/script.hpp"
#include "tests/unit/hosted_cpus.hpp"

namespace linux_test {

using port::Trap;
using port::hosted::add_code;
using port::hosted::CodeKind;
using port::hosted::Script;
using port::hosted::User;

constexpr i64 error(Errno e) { return -i64(e); }
// wait(2) statuses.
constexpr i32 exited(i32 code) { return code << 8; }
constexpr i32 killed_by(i32 signal) { return signal; }

// The machine: booted when first asked for.
hosted_test::Cpus& cpus();

// Runs `code` as a new process and returns its wait status when it and all its descendants have gone; -1 after a
// minute.
i32 run(port::hosted::Code code);
i32 run_at(UserAddr code);
// What was written to standard output (error) since the last call.
std::string take_output(u32 descriptor = 1);

// From now on the machine has a terminal, /dev/ttyS0, of streams of its own.
void give_terminal();

// While it lives, new threads go to all CPUs.
struct Spread {
    Spread() { port::hosted::set_spread(true); }
    ~Spread() { port::hosted::set_spread(false); }
};

// Parts of scripts.
Script write_file(User& u, std::string path, std::vector<std::byte> bytes, u32 mode = 0755);
// rt_sigaction with the restorer that port/hosted has.
Script set_handler(User& u, u32 signal, u64 handler, u64 flags = 0, u64 mask = 0);
// wait4(pid): the status, or a negative error.
Script wait_for(User& u, i64 pid);
// A fresh anonymous mapping.
Script map_pages(User& u, u64 bytes, u32 prot = 3, u32 flags = 0x22);

// Frames that are in use, when everything retired has been freed.
u64 frames_in_use();

}  // namespace linux_test
