// SPDX-License-Identifier: MIT
// The hosted machine: threads as CPUs, a condition variable as the wake-up interrupt, a memfd as memory.
#include <sched.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>

#include "hal/bind.hpp"

namespace hal {
namespace {

struct HostedCpu {
    std::mutex mutex;
    std::condition_variable changed;
    bool pending = false;  // a wake that no wait_for_event has taken yet; under mutex
    // The bound thread's own.
    void* local = nullptr;
    Nanoseconds deadline = Nanoseconds::never();
};

HostedCpu cpus[lib::kMaxCpus];
std::mutex memory_mutex;  // the first mapping
int memory_descriptor = -1;

u64 monotonic() {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<u64>(t.tv_sec) * 1'000'000'000 + static_cast<u64>(t.tv_nsec);
}
const u64 start_time = monotonic();

HostedCpu& self() { return cpus[Machine::this_cpu().value]; }

}  // namespace

void* Machine::local() { return self().local; }
void Machine::set_local(void* p) { self().local = p; }

Nanoseconds Machine::now() { return Nanoseconds{monotonic() - start_time}; }

void Machine::relax() { sched_yield(); }

void Machine::disturb() {
    thread_local u32 state = 12'345 + cpu_ * 77;
    state = state * 1'103'515'245 + 12'345;
    const u32 bits = state >> 12;
    if (bits % disturb_one_in_.load(std::memory_order_relaxed) == 0) usleep(20 + bits % 200);
}

void Machine::wake(CpuId cpu) {
    HostedCpu& c = cpus[cpu.value];
    {
        std::lock_guard hold(c.mutex);
        c.pending = true;
    }
    c.changed.notify_one();
    if (auto hook = wake_hook_.load(std::memory_order_acquire)) hook(cpu);
}

void Machine::wait_for_event() {
    HostedCpu& c = self();
    std::unique_lock hold(c.mutex);
    while (!c.pending) {
        if (c.deadline == Nanoseconds::never()) {
            c.changed.wait(hold);
            continue;
        }
        u64 time = now().value;
        if (time >= c.deadline.value) {
            c.deadline = Nanoseconds::never();
            return;
        }
        c.changed.wait_for(hold, std::chrono::nanoseconds(c.deadline.value - time));
    }
    c.pending = false;
}

void Machine::arm_timer(Nanoseconds deadline) { self().deadline = deadline; }
void Machine::disarm_timer() { self().deadline = Nanoseconds::never(); }

void Machine::panic(const char* what, std::source_location at) {
    std::fprintf(stderr, "panic on CPU %u: %s (%s:%u, %s)\n", this_cpu().value, what, at.file_name(), at.line(),
                 at.function_name());
    std::abort();
}

void Machine::early_print(std::string_view text) {
    while (!text.empty()) {
        ssize_t n = ::write(STDERR_FILENO, text.data(), text.size());
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return;
        text.remove_prefix(static_cast<size_t>(n));
    }
}

std::byte* Machine::map_memory() {
    std::lock_guard hold(memory_mutex);
    if (std::byte* m = memory_.load(std::memory_order_relaxed)) return m;
    int fd = memfd_create("farcall-memory", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, static_cast<off_t>(kMemorySize)) != 0) panic("hosted: no memfd for the memory");
    void* m = mmap(nullptr, kMemorySize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (m == MAP_FAILED) panic("hosted: the memory cannot be mapped");
    memory_descriptor = fd;
    memory_.store(static_cast<std::byte*>(m), std::memory_order_release);
    return static_cast<std::byte*>(m);
}

int Machine::memory_fd() {
    memory();
    return memory_descriptor;
}

#ifdef FARCALL_HOST_MALLOC
// Aligned as the slabs would: to the largest power of two that divides the size, at most a page.
void* Machine::heap_allocate(size_t n) {
    size_t align = n & (~n + 1);
    if (align < 16) align = 16;
    if (align > lib::kPageSize) align = lib::kPageSize;
    return std::aligned_alloc(align, (n + align - 1) & ~(align - 1));
}
void Machine::heap_free(void* p, size_t) { std::free(p); }
#endif

}  // namespace hal
