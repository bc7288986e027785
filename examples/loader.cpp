// SPDX-License-Identifier: MIT
// A loader. It starts another program with its own space, pool and CPU budget, and with one capability. At the end it
// takes everything back with one revocation.
//     ./farcall run --native examples/loader
#include "sysapi/program.hpp"

// The program: it sends 42 to slot 1 of its table and then spins for ever. Its code is position-independent.
asm(R"(
    .section .rodata
    .globl guest_begin, guest_end
guest_begin:
    xor %eax, %eax            # kCall
    mov $1, %edi              # the endpoint
    mov $0x1001, %esi         # label 1, one word
    mov $42, %edx
    syscall
1:  pause
    jmp 1b
guest_end:
    .text
)");
extern "C" const char guest_begin[], guest_end[];

namespace {

using namespace native;

constexpr u64 kCode = 0x400000, kStack = 0x800000, kUtcb = 0x900000, kPage = 4096, kMillisecond = 1'000'000;
constexpr u64 kBudget = 20 * kMillisecond, kPeriod = 400 * kMillisecond, kWatched = 1200 * kMillisecond;

Result<void> sleep(u64 ns) {
    Slot never = TRY(make(kTypeNotification));
    utcb().timeout = ns;
    Message m;
    (void)receive(never, m, kTimed);
    return remove(never);
}

Result<void> play() {
    const u64 before = TRY(pool_used(kSlotPool));
    Slot endpoint = TRY(make(kTypeEndpoint));

    // All of the program's memory is charged to this pool, and all its objects are derived from it.
    Slot pool = TRY(make(kTypePool, 256 * 1024));
    Slot space = new_slot(), code = new_slot(), stack = new_slot(), thread = new_slot(), sched = new_slot();
    TRY(create(pool, kTypeSpace, space, 16));
    TRY(create(pool, kTypeMemory, code, kPage));
    TRY(create(pool, kTypeMemory, stack, kPage));
    TRY(create(pool, kTypeThread, thread));
    TRY(create(pool, kTypeSched, sched, kDefaultPriority));
    Slot refused = new_slot();
    if (create(pool, kTypeMemory, refused, 1 << 20).error() != Errno::kNoMem) return Errno::kInval;
    print("loader: the program's pool is smaller than a megabyte\n");

    // Writes the code through a mapping in this space. In the program's space it is executable and not writable.
    const u64 window = new_address(kPage), size = u64(guest_end - guest_begin);
    TRY(map(kSlotSpace, code, window, 0, kPage, kReadRight | kWriteRight));
    __builtin_memcpy(reinterpret_cast<void*>(window), guest_begin, size);
    TRY(unmap(kSlotSpace, window, kPage));
    TRY(map(space, code, kCode, 0, kPage, kReadRight | kExecuteRight));
    TRY(map(space, stack, kStack, 0, kPage, kReadRight | kWriteRight));

    // The only capability in the program's table.
    TRY(copy(endpoint, 1, kSendRight, 77, space));
    // A twentieth of a CPU.
    TRY(configure_sched(sched, 1, kDefaultPriority, kBudget, kPeriod));
    TRY(configure(thread, space, kUtcb, 0));
    TRY(set_registers(thread, {.rsp = kStack + kPage, .rip = kCode, .rflags = 0x202, .fs_base = kUtcb}));
    TRY(schedule(thread, sched, kDefaultPriority, 0));
    TRY(resume(thread));

    Message m;
    TRY(receive(endpoint, m));
    print("loader: the program with badge {} says {}\n", m.badge, m.words[0]);
    TRY(reply(message(0)));
    const u64 start = now();
    TRY(sleep(kWatched));
    // The clock is the host's, and the host may stop the guest during a time slice. Half of the time is far above the
    // budget, but below a whole CPU.
    const u64 used = TRY(sched_used(sched)), watched = now() - start;
    if (used == 0 || used > watched / 2) {
        print("loader: it used {} ns of {}\n", used, watched);
        return Errno::kInval;
    }
    print("loader: it computes within its budget\n");

    TRY(revoke(pool));
    if (identify(thread).error() != Errno::kBadF || identify(space).error() != Errno::kBadF) return Errno::kInval;
    TRY(remove(pool));
    TRY(remove(endpoint));
    // The memory is freed a little later, when no CPU can access it any more.
    for (u64 i = 0; i < 100 && TRY(pool_used(kSlotPool)) > before; ++i) TRY(sleep(kMillisecond));
    if (TRY(pool_used(kSlotPool)) > before) return Errno::kNoMem;
    print("loader: it has ended, and its memory is free\n");
    return lib::kOk;
}

}  // namespace

int native_main() {
    auto result = play();
    if (!result.ok()) print("loader: error {}\n", i32(result.error()));
    return result.ok() ? 0 : 1;
}
