// SPDX-License-Identifier: MIT
#include "tests/unit/linux_world.hpp"

#include <cstdlib>
#include <cstring>
#include <deque>
#include <mutex>

#include "fs/tty.hpp"
#include "linux/start.hpp"
#include "port/api/streams.hpp"

namespace linux_test {
namespace {

// A standard stream in memory. Written and read by CPUs, looked at by the test.
class MemoryStream final : public port::Stream {
public:
    size_t try_read(std::span<std::byte> to) override {
        std::lock_guard hold(mutex_);
        size_t n = std::min(to.size(), bytes_.size());
        std::copy_n(bytes_.begin(), n, to.begin());
        bytes_.erase(bytes_.begin(), bytes_.begin() + long(n));
        return n;
    }
    size_t try_write(std::span<const std::byte> from) override {
        std::lock_guard hold(mutex_);
        bytes_.insert(bytes_.end(), from.begin(), from.end());
        return from.size();
    }
    bool readable() const override {
        std::lock_guard hold(mutex_);
        return !bytes_.empty();
    }
    bool writable() const override { return true; }
    bool at_end() const override { return false; }
    std::string take() {
        std::lock_guard hold(mutex_);
        std::string all;
        for (std::byte b : bytes_) all += char(b);
        bytes_.clear();
        return all;
    }

private:
    mutable std::mutex mutex_;
    std::deque<std::byte> bytes_;
};

// What the first program is to run next, through its standard input.
struct World {
    MemoryStream standard[3];
    std::atomic<i32> status{0};
    std::atomic<bool> done{true}, booted{false};
    Result<void> boot_result{Errno::kAgain};
    hosted_test::Cpus* cpus = nullptr;
};
World* world = nullptr;

Script init_program(User& u) {
    UserAddr request = u.scratch(16);
    UserAddr status = request + 8;
    for (;;) {
        i64 n = co_await u.sys(abi::kNrRead, 0, request, 8);
        if (n != 8) continue;
        u64 code = co_await u.load<u64>(request);
        i64 child = co_await u.fork_into(UserAddr{code}, abi::kNrFork);
        i32 result = child < 0 ? i32(child) : -1;
        // Orphans come here too: the run is over when no process is left.
        for (;;) {
            i64 pid = co_await u.sys(abi::kNrWait4, -1, status, 0, 0);
            if (pid == error(Errno::kIntr)) continue;
            if (pid < 0) break;
            if (pid == child) result = co_await u.load<i32>(status);
        }
        world->status.store(result);
        world->done.store(true);
    }
}

// The "newc" format: Linux Documentation/driver-api/early-userspace/buffer-format.rst.
void add_entry(std::vector<std::byte>& archive, const std::string& name, u32 mode, std::span<const std::byte> data) {
    char header[111];
    static u32 inode = 1;
    std::snprintf(header, sizeof header, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", inode++, mode, 0,
                  0, 1, 0, u32(data.size()), 0, 0, 0, 0, u32(name.size() + 1), 0);
    auto put = [&](const void* bytes, size_t n) {
        auto* b = static_cast<const std::byte*>(bytes);
        archive.insert(archive.end(), b, b + n);
        while (archive.size() % 4 != 0) archive.push_back({});
    };
    std::string head = std::string(header) + name + '\0';
    put(head.data(), head.size());
    put(data.data(), data.size());
}

Task<void> boot(const std::vector<std::byte>* archive) {
    world->boot_result = linux::start_from_archive(*archive, PhysAddr{}, [](i32 status) {
        std::fprintf(stderr, "the first program ended: %x\n", status);
        std::abort();
    });
    world->booted.store(true);
    co_return;
}

// The CPUs stop before the process ends.
struct Shutdown : testing::Environment {
    void TearDown() override {
        if (!world) return;
        delete std::exchange(world->cpus, nullptr);
    }
};
[[maybe_unused]] const auto* const shutdown = testing::AddGlobalTestEnvironment(new Shutdown);

}  // namespace

hosted_test::Cpus& cpus() {
    if (world) return *world->cpus;
    world = new World;
    hal::Machine::set_cpu_count(lib::kMaxCpus);
    rt::mem_add_range(hal::Machine::kMemoryStart, u64{256} << 20);
    world->cpus = new hosted_test::Cpus(3);
    for (u32 i = 0; i < 3; ++i) port::streams.standard[i] = &world->standard[i];
    linux::register_personality();
    port::hosted::set_program_maker(&User::make);
    std::vector<std::byte> archive;
    UserAddr entry = add_code(&init_program);
    add_entry(archive, ".", 0040755, {});
    add_entry(archive, "tmp", 0041777, {});
    add_entry(archive, "dev", 0040755, {});
    add_entry(archive, "proc", 0040755, {});
    add_entry(archive, "init", 0100755, port::hosted::image(entry));
    add_entry(archive, ".farcall", 0040755, {});
    constexpr char kStart[] = "1\0/init";
    add_entry(archive, ".farcall/init", 0100644, std::as_bytes(std::span{kStart}));
    add_entry(archive, "TRAILER!!!", 0, {});
    if (!rt::spawn("boot", boot(&archive), (*world->cpus)[0]) ||
        !world->cpus->run_until([] { return world->booted.load(); }) || !world->boot_result.ok()) {
        std::fprintf(stderr, "the hosted system does not start: error %d\n", int(world->boot_result.error()));
        std::abort();
    }
    return *world->cpus;
}

i32 run(port::hosted::Code code) { return run_at(add_code(std::move(code))); }

i32 run_at(UserAddr code) {
    hosted_test::Cpus& all = cpus();
    world->done.store(false);
    world->standard[0].try_write(std::as_bytes(std::span{&code.value, 1}));
    port::streams.standard[0]->changed.wake_all();
    if (!all.run_until([] { return world->done.load(); })) {
        std::fprintf(stderr, "the test does not end; every job:\n");
        rt::Job::for_each_unlocked([](rt::Job& j) {
            std::fprintf(stderr, "  %s: %s\n", j.name(), j.waiting_for() ? j.waiting_for() : "-");
            j.trace([](const std::source_location& at) {
                std::fprintf(stderr, "    %s:%u\n", at.function_name(), at.line());
            });
        });
        std::abort();
    }
    return world->status.load();
}

std::string take_output(u32 descriptor) { return world->standard[descriptor].take(); }

void give_terminal() {
    static MemoryStream ends[2];
    port::Stream* const before[2] = {port::streams.standard[0], port::streams.standard[1]};
    for (u32 i = 0; i < 2; ++i) port::streams.standard[i] = &ends[i];
    port::streams.tty = true;
    EXPECT_TRUE(fs::Tty::get().ok());
    for (u32 i = 0; i < 2; ++i) port::streams.standard[i] = before[i];
}

Script write_file(User& u, std::string path, std::vector<std::byte> bytes, u32 mode) {
    i64 fd = co_await u.sys(abi::kNrOpen, path, 01101, mode);
    if (fd < 0) co_return fd;
    i64 buffer = co_await map_pages(u, bytes.size());
    if (buffer < 0) co_return buffer;
    co_await u.store_bytes(UserAddr{u64(buffer)}, bytes.data(), bytes.size());
    i64 n = co_await u.sys(abi::kNrWrite, fd, buffer, bytes.size());
    co_await u.sys(abi::kNrClose, fd);
    co_await u.sys(abi::kNrMunmap, buffer, bytes.size());
    co_return n == i64(bytes.size()) ? 0 : n < 0 ? n : error(Errno::kIo);
}

Script set_handler(User& u, u32 signal, u64 handler, u64 flags, u64 mask) {
    // struct kernel_sigaction: handler, flags, restorer, mask.
    u64 action[4] = {handler, flags | 0x04000000, port::hosted::restorer().value, mask};
    UserAddr at = u.scratch(sizeof action);
    co_await u.store_bytes(at, action, sizeof action);
    co_return co_await u.sys(abi::kNrRtSigaction, signal, at, 0, 8);
}

Script wait_for(User& u, i64 pid) {
    UserAddr status = u.scratch(4);
    i64 r;
    do r = co_await u.sys(abi::kNrWait4, pid, status, 0, 0);
    while (r == error(Errno::kIntr));
    if (r < 0) co_return r;
    co_return co_await u.load<i32>(status);
}

Script map_pages(User& u, u64 bytes, u32 prot, u32 flags) {
    co_return co_await u.sys(abi::kNrMmap, 0, bytes, prot, flags, -1, 0);
}

u64 frames_in_use() {
    for (int i = 0; i < 8; ++i) {
        rt::epoch_hurry();
        rt::Executor::current().run_until_idle();
        rt::quiescent();
    }
    rt::MemStats s = rt::mem_stats();
    return (s.total_bytes - s.free_bytes) / kPageSize;
}

}  // namespace linux_test
