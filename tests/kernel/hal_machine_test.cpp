// SPDX-License-Identifier: MIT
// Clocks, interrupts, flush requests and FPU state of the running machine.
#include "hal/x86_64/internal.hpp"
#include "rt/executor.hpp"
#include "tests/kernel/ktest.hpp"

namespace {

using hal::Machine;

KTEST(hal_clock_never_goes_back_from_cpu_to_cpu) {
    Nanoseconds last = Machine::now();
    for (u32 round = 0; round < 50; ++round)
        for (u32 cpu = 0; cpu < rt::executor_count(); ++cpu) {
            co_await rt::MoveTo{rt::Executor::of(CpuId{cpu})};
            KCHECK(Machine::this_cpu().value == cpu);
            Nanoseconds now = Machine::now();
            KCHECK(now >= last);
            last = now;
        }
    co_await rt::MoveTo{rt::Executor::of(CpuId{0})};
    co_return lib::kOk;
}

KTEST(hal_clock_runs_at_the_rate_of_the_pm_timer) {
    if (!hal::platform.pm_timer) co_return lib::kOk;  // microvm
    u64 mask = hal::platform.pm_timer_32 ? 0xffffffff : 0xffffff;
    u64 ticks = hal::in32(hal::platform.pm_timer);
    u64 start = Machine::now().value;
    while (Machine::now().value - start < 20'000'000) Machine::relax();
    u64 passed = ((hal::in32(hal::platform.pm_timer) - ticks) & mask) * 1'000'000'000 / 3'579'545;
    u64 ours = Machine::now().value - start;
    // 3 %: a busy host may stop us between the two readings.
    KCHECK(passed > ours - ours / 32 && passed < ours + ours / 32);
    co_return lib::kOk;
}

std::atomic<u32> interrupts[lib::kMaxCpus];

KTEST(hal_device_vector_runs_its_handler_on_the_cpu_addressed) {
    auto vector = Machine::allocate_vector(
        [](void* argument) {
            if (argument == &interrupts) interrupts[Machine::this_cpu().value].fetch_add(1);
        },
        &interrupts);
    KCHECK(vector.ok());
    auto second = Machine::allocate_vector([](void*) {}, nullptr);
    KCHECK(second.ok() && second.value() != vector.value());
    Machine::free_vector(second.value());
    for (u32 cpu = 0; cpu < Machine::cpu_count(); ++cpu) {
        hal::send_ipi(hal::cpus[cpu]->apic_id, vector.value());
        Nanoseconds limit = Machine::now() + lib::milliseconds(2'000);
        while (interrupts[cpu].load() == 0 && Machine::now() < limit) {
            Machine::take_interrupts();
            Machine::relax();
        }
        KCHECK(interrupts[cpu].load() == 1);
    }
    rt::Executor::current().run_due_timers();  // a timer interrupt may have been among them
    Machine::free_vector(vector.value());
    hal::MsiMessage message = Machine::msi_message(vector.value(), CpuId{0});
    KCHECK((message.address & 0xfff00000) == 0xfee00000 && (message.data & 0xff) == vector.value());
    co_return lib::kOk;
}

KTEST(hal_wake_sent_before_the_sleep_ends_it) {
    for (u32 i = 0; i < 20; ++i) {
        Machine::wake(Machine::this_cpu());
        Machine::wait_for_event();  // hangs if the wake was lost
    }
    rt::Executor::current().run_due_timers();  // a timer interrupt may have been among them
    co_return lib::kOk;
}

KTEST(hal_flush_requests_are_answered_by_every_cpu) {
    for (u32 round = 0; round < 20; ++round) {
        u64 tickets[lib::kMaxCpus];
        u32 n = Machine::cpu_count();
        for (u32 cpu = 0; cpu < n; ++cpu) {
            tickets[cpu] = Machine::request_flush(CpuId{cpu});
            KCHECK(!Machine::flush_done(CpuId{cpu}, tickets[cpu] + 1));
            if (cpu != Machine::this_cpu().value) Machine::kick_flush(CpuId{cpu});
        }
        Machine::poll_mailbox();
        KCHECK(Machine::flush_done(Machine::this_cpu(), tickets[Machine::this_cpu().value]));
        Nanoseconds limit = Machine::now() + lib::milliseconds(2'000);
        for (u32 cpu = 0; cpu < n; ++cpu)
            while (!Machine::flush_done(CpuId{cpu}, tickets[cpu])) {
                KCHECK(Machine::now() < limit);
                Machine::relax();
            }
    }
    co_return lib::kOk;
}

alignas(64) constinit u64 own_state[1024];
alignas(64) constinit u64 test_state[1024];

KTEST(hal_fpu_state_survives_save_and_restore) {
    KCHECK(Machine::fpu_area_size() <= sizeof own_state);
    Machine::fpu_save(own_state);
    Machine::fpu_init(test_state);
    Machine::fpu_restore(test_state);
    u64 in = 0x1122334455667788, out = 1;
    asm volatile("movq %%xmm5, %0" : "=r"(out));
    KCHECK(out == 0);
    asm volatile("movq %0, %%xmm5" ::"r"(in));
    Machine::fpu_save(test_state);
    asm volatile("pxor %%xmm5, %%xmm5" ::);
    Machine::fpu_restore(test_state);
    asm volatile("movq %%xmm5, %0" : "=r"(out));
    KCHECK(out == in);
    // What a program wrote into its signal frame must not fault here.
    for (u64& word : test_state) word = ~u64{0};
    Machine::fpu_sanitize(test_state);
    Machine::fpu_restore(test_state);
    Machine::fpu_init(test_state);
    Machine::fpu_restore(test_state);
    Machine::fpu_init(own_state);
    co_return lib::kOk;
}

KTEST(hal_image_has_no_page_both_writable_and_executable) {
    hal::PageTable kernel{Machine::kernel_root()};
    u32 text = 0, constants = 0, data = 0;
    for (u64 va = reinterpret_cast<u64>(hal_image_start); va < reinterpret_cast<u64>(hal_image_end); va += kPageSize) {
        hal::Entry e = kernel.query(UserAddr{va});
        hal::Entry alias = kernel.query(UserAddr{va - HAL_IMAGE_BASE + HAL_DIRECT_MAP});
        KCHECK(e.present() && !e.user() && !(e.writable() && e.executable()));
        if (!e.writable() && alias.mapped()) KCHECK(!alias.writable() && !alias.executable());
        text += e.executable();
        constants += !e.executable() && !e.writable();
        data += e.writable();
    }
    KCHECK(text > 0 && constants > 0 && data > 0);
    co_return lib::kOk;
}

}  // namespace
