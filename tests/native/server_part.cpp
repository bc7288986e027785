// SPDX-License-Identifier: MIT
// What a server does to the threads that it has: another handler or address space, times, FPU state; threads without a
// page; alarms.
#include "tests/native/redirected.hpp"

namespace ktest {

// --- Another handler

KTEST_CPUS(handler_of_one_that_waits_for_an_answer, none) {
    Slot one = make(kTypeEndpoint), two = make(kTypeEndpoint);
    Helper& h = client(derive(one, kSendRight, 5), 1, cpu);
    Message m;
    KDONE(code(receive_soon(one, m)));
    KCHECK(m.badge == 5);
    KDONE(code(set_handler(h.thread, two, 9)));
    KDONE(code(reply(message(kResume, 2))));
    KDONE(code(receive_soon(two, m)));
    KCHECK(m.badge == 9 && m.words[3] == 2);
    // The capability's own badge.
    KDONE(code(set_handler(h.thread, derive(one, kSendRight, 6))));
    KDONE(code(reply(message(kResume, 3))));
    KDONE(code(receive_soon(one, m)));
    KCHECK(m.badge == 6 && m.words[3] == 3);
    KDONE(code(set_handler(h.thread, 0)));
    KDONE(code(reply(message(kResume, 4))));
    KCHECK(until_stopped(h));
    // And of one that is inactive.
    KDONE(code(set_handler(h.thread, two, 11)));
    KDONE(code(resume(h.thread)));
    KDONE(code(receive_soon(two, m)));
    KCHECK(m.badge == 11 && m.label() == kLabelSyscall);
    KDONE(code(reply(message(kStop))));
    KREFUSED(kAgain, raw_call(kReceive | kNonBlocking, one));
}
KTEST(handler_keeps_the_badge_of_its_capability, handler_keeps_badge) {
    Slot t = make(kTypeThread), badged = derive(make(kTypeEndpoint), kSendRight, 5);
    KREFUSED(kPerm, raw_call(kThreadHandler, t, badged, 6));
    KREFUSED(kPerm, raw_call(kThreadHandler, t, badged, 5));
    KDONE(raw_call(kThreadHandler, t, badged, 0));
}
KTEST_CPUS(changes_of_a_thread_that_runs, thread_not_running) {
    static u8 area[16384];
    Slot e = make(kTypeEndpoint);
    Helper& h = start_at(u64(&ktest_spinner), u64(area), {.priority = 3, .cpu = cpu, .handler = e});
    KREFUSED(kBusy, raw_call(kThreadHandler, h.thread, e, 0));
    KREFUSED(kBusy, raw_call(kThreadHandler, kSlotThread, e, 0));
    KREFUSED(kBusy, raw_call(kThreadSpace, h.thread, kSlotSpace));
    KREFUSED(kBusy, raw_call(kThreadSetFpu, h.thread, 0, 0));
    // One whose trap is not received yet, and one that waits for a message.
    Helper& c = client(e, 5, cpu);
    KCHECK(until_state(c, kStateSending));
    KREFUSED(kBusy, raw_call(kThreadHandler, c.thread, e, 0));
}
KTEST_CPUS(handlers_change_while_answers_come, none) {
    static std::atomic<u64> stop_now, served, wrong;
    static auto serve = [](u64 e) {
        Message m;
        for (auto r = receive(e, m); r.ok(); r = reply_receive(e, m)) {
            if (m.label() != kLabelSyscall) wrong = wrong + 1;
            served = served + 1;
            m = message(stop_now ? kStop : kResume, m.words[3] + 1);
        }
    };
    stop_now = served = wrong = 0;
    Slot e = make(kTypeEndpoint);
    Helper& server = start(+serve, e, {.priority = 20, .cpu = far_cpu() - cpu});
    KCHECK(until_state(server, kStateReceiving));
    Helper& h = client(e, 1, cpu, 3);
    u64 done = 0;
    for (u64 n = 0, end = now() + kPatience; n < 400 && now() < end; ++n) {
        const i64 r = raw_call(kThreadHandler, h.thread, e, 0);
        KCHECK(r == 0 || r == -i64(Errno::kBusy));
        done += r == 0;
    }
    KCHECK(done + 1 != 0);
    // No answer was lost.
    KCHECK(until([before = served.load()] { return served > before + 10; }) && wrong == 0);
    stop_now = 1;
    KCHECK(until_stopped(h));
    Registers r;
    KDONE(code(get_registers(h.thread, r)));
    KCHECK(r.rdi == served.load());  // the last one's argument: each got one more
}

// --- Another space

KTEST_CPUS(space_of_one_that_waits_for_an_answer, none) {
    Slot e = make(kTypeEndpoint), spaces[2], t = slot();
    KDONE(raw_call(kCreate, pool(), kTypeThread, t, 1));
    for (u64 i = 0; i < 2; ++i) {
        spaces[i] = other_space(16);
        Slot memory = make(kTypeMemory, kPage);
        KDONE(code(map(kSlotSpace, memory, kAreaStart + i * kPage, 0, kPage, kReadRight | kWriteRight)));
        *reinterpret_cast<volatile u64*>(kAreaStart + i * kPage) = 100 + i;
        KDONE(code(map(spaces[i], memory, kAreaStart, 0, kPage, kReadRight)));
    }
    Registers r{};
    r.rip = u64(&ktest_reader);
    r.rdi = kAreaStart;
    r.rflags = 0x202;
    KDONE(code(configure(t, spaces[0], 0, e, kRedirect)));
    KDONE(code(set_registers(t, r)));
    KDONE(code(schedule(t, kSlotSched, kDefaultPriority, cpu)));
    KDONE(code(resume(t)));
    Message m;
    for (u64 n = 0; n < 6; ++n) {
        KDONE(code(receive_soon(e, m)));
        KCHECK(m.label() == kLabelSyscall && m.words[3] == 100 + n % 2);
        KDONE(code(set_space(t, spaces[(n + 1) % 2])));
        KDONE(code(reply(message(kResume))));
    }
    // Its old spaces may go.
    KDONE(code(receive_soon(e, m)));
    KDONE(code(set_space(t, spaces[1])));
    KDONE(code(remove(spaces[0])));
    KDONE(code(reply(message(kResume))));
    KDONE(code(receive_soon(e, m)));
    KCHECK(m.words[3] == 101);
    KDONE(code(reply(message(kStop))));
}
KTEST(space_of_a_thread_with_a_page, thread_without_utcb) {
    Slot t = make(kTypeThread), other = make(kTypeSpace, 16);
    KDONE(code(set_space(t, kSlotSpace)));  // not mapped yet
    KDONE(code(configure(t, kSlotSpace, kAreaStart)));
    KREFUSED(kExist, raw_call(kThreadSpace, t, other));
}

// --- Threads without a page

KTEST(thread_without_a_page, thread_has_utcb) {
    Slot with = slot(), without = slot();
    const u64 before = used_of(pool());
    KDONE(raw_call(kCreate, pool(), kTypeThread, with, 0));
    const u64 first = used_of(pool());
    KDONE(raw_call(kCreate, pool(), kTypeThread, without, 1));
    KCHECK(used_of(pool()) - first + kPage <= first - before);
    KREFUSED(kInval, raw_call(kThreadConfigure, without, kSlotSpace, kAreaStart, 0, 0));
    KDONE(raw_call(kThreadConfigure, without, kSlotSpace, 0, 0, 0));
    KDONE(code(remove(without)));
    KDONE(code(remove(with)));
}
KTEST(thread_of_an_unknown_kind, thread_argument) {
    KREFUSED(kInval, raw_call(kCreate, pool(), kTypeThread, slot(), 2));
    KREFUSED(kInval, raw_call(kCreate, pool(), kTypeThread, slot(), ~u64{0}));
}

// --- Times

KTEST_CPUS(time_of_a_thread, none) {
    static u64 count;
    Helper& h = start_at(u64(&ktest_spinner), u64(&count), {.priority = 3, .cpu = cpu});
    u64 last = 0;
    KCHECK(until([&] {
        auto t = thread_time(h.thread);
        if (!t.ok() || t.value() < last || t.value() > now()) note_failure("a time", __FILE_NAME__, __LINE__);
        if (t.ok()) last = t.value();
        return last > 2 * kMillisecond;
    }));
    KDONE(code(suspend(h.thread)));
    const u64 then = thread_time(h.thread).value();
    sleep(kMillisecond);
    KCHECK(then >= last && thread_time(h.thread).value() == then);
    // Never torn: read while it starts and stops.
    for (u64 i = 0; i < 30; ++i) {
        KDONE(code(resume(h.thread)));
        for (u64 n = 0; n < 20; ++n) {
            auto t = thread_time(h.thread);
            KCHECK(t.ok() && t.value() >= then && t.value() < now());
        }
        KDONE(code(suspend(h.thread)));
    }
    KCHECK(thread_time(make(kTypeThread)).value() == 0);
}

// --- FPU state

namespace {
constexpr u64 kXmm0 = 160, kMxcsr = 24, kXsaveHeader = 512;
alignas(64) u8 area[16384];
u64 area_size() {
    u32 a = 1, b, c = 0, d;
    asm volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    if (!(c & (1u << 27))) return 512;  // OSXSAVE
    a = 0xd;
    c = 0;
    asm volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    return (b + 63) & ~63u;
}
u64& word_at(u64 offset) { return *reinterpret_cast<u64*>(&area[offset]); }
}  // namespace

KTEST_CPUS(fpu_state_is_read_and_written, none) {
    Slot e = make(kTypeEndpoint);
    Helper& h = client(e, 0x1234'5678, cpu, kDefaultPriority, u64(&ktest_fpu_client));
    Message m;
    KDONE(code(receive_soon(e, m)));
    KCHECK(m.words[3] == 0x1234'5678);
    KDONE(code(get_fpu(h.thread, area, area_size())));
    KCHECK(word_at(kXmm0) == 0x1234'5678 && word_at(kXmm0 + 8) == 0);
    word_at(kXmm0) = 0x9999;
    // What no CPU may load: reserved bits, components that there are not, another format.
    word_at(kMxcsr) |= 0xffff'0000;
    if (area_size() > kXsaveHeader) {
        word_at(kXsaveHeader) |= u64{3} | u64{1} << 62;
        for (u64 i = 8; i < 64; i += 8) word_at(kXsaveHeader + i) = ~u64{0};
    }
    KDONE(code(set_fpu(h.thread, area, area_size())));
    KDONE(code(reply(message(kResume))));
    KDONE(code(receive_soon(e, m)));
    KCHECK(m.label() == kLabelSyscall && m.words[3] == 0x9999);
    KDONE(code(set_fpu(h.thread, nullptr, 0)));
    KDONE(code(reply(message(kResume))));
    KDONE(code(receive_soon(e, m)));
    KCHECK(m.words[3] == 0);
    KDONE(code(reply(message(kStop))));
    // Inactive, the same.
    KDONE(code(get_fpu(h.thread, area, area_size())));
    KCHECK(word_at(kXmm0) == 0);
}
KTEST_CPUS(fpu_state_of_one_that_has_not_used_it, none) {
    Slot e = make(kTypeEndpoint);
    Helper& c = client(e, 5, cpu);
    Message m;
    KDONE(code(receive_soon(e, m)));
    KDONE(code(get_fpu(c.thread, area, area_size())));
    word_at(kXmm0) = 0x4444;
    if (area_size() > kXsaveHeader) word_at(kXsaveHeader) |= 3;
    KDONE(code(set_fpu(c.thread, area, area_size())));
    KDONE(code(reply(message(kResumeAt, 0, u64(&ktest_fpu_client) + 5, 0))));  // behind its first instruction
    KDONE(code(receive_soon(e, m)));
    KCHECK(m.label() == kLabelSyscall && m.words[3] == 0x4444);
    KDONE(code(reply(message(kStop))));
}
KTEST(fpu_state_of_a_wrong_size, fpu_size) {
    Slot t = make(kTypeThread);
    for (u64 size : {u64{1}, area_size() - 64, area_size() - 1}) {
        KREFUSED(kInval, raw_call(kThreadGetFpu, t, u64(area), size));
        KREFUSED(kInval, raw_call(kThreadSetFpu, t, u64(area), size));
    }
    KREFUSED(kInval, raw_call(kThreadGetFpu, t, u64(area), 0));
}
KTEST_CPUS(fpu_state_at_a_bad_address, none) {
    Slot e = make(kTypeEndpoint), page = make(kTypeMemory, kPage);
    Helper& h = client(e, 0x77, cpu, kDefaultPriority, u64(&ktest_fpu_client));
    Message m;
    KDONE(code(receive_soon(e, m)));
    KDONE(code(get_fpu(h.thread, area, area_size())));
    for (u64 at : {kAreaStart, ~u64{0} << 47, ~u64{0} - 100}) {
        KREFUSED(kFault, raw_call(kThreadGetFpu, h.thread, at, area_size()));
        KREFUSED(kFault, raw_call(kThreadSetFpu, h.thread, at, area_size()));
    }
    // Half of it is there: never that half, but the initial state.
    KDONE(code(map(kSlotSpace, page, kAreaStart, 0, kPage, kReadRight | kWriteRight)));
    const u64 at = kAreaStart + kPage - 256;
    std::memcpy(reinterpret_cast<void*>(at), area, 256);
    KREFUSED(kFault, raw_call(kThreadSetFpu, h.thread, at, area_size()));
    KDONE(code(get_fpu(h.thread, area, area_size())));
    KDONE(code(reply(message(kResume))));
    KDONE(code(receive_soon(e, m)));
    KCHECK(m.label() == kLabelSyscall && m.words[3] == 0);
    KDONE(code(reply(message(kStop))));
}

// --- Alarms

KTEST(alarm_without_a_notification, alarm_bound) {
    KREFUSED(kInval, raw_call(kAlarm, now() + kMillisecond, 1));
    KDONE(raw_call(kAlarm, 0, 0));
}
KTEST(alarm_without_bits, alarm_bits) {
    KDONE(code(bind(kSlotThread, make(kTypeNotification))));
    KREFUSED(kInval, raw_call(kAlarm, now() + kMillisecond, 0));
}
KTEST(alarm_rings_in_time, none) {
    Slot e = make(kTypeEndpoint), n = make(kTypeNotification);
    KDONE(code(bind(kSlotThread, n)));
    Message m;
    for (u64 wait : {u64{0}, kMillisecond, 3 * kMillisecond}) {
        const u64 at = now() + wait;
        KDONE(code(alarm(at, 0x10)));
        KDONE(code(receive_soon(e, m)));
        KCHECK(m.label() == kLabelSignal && m.badge == 0x10 && now() >= at);
    }
    KDONE(code(alarm(1, 2)));  // long ago
    KDONE(code(receive_soon(e, m)));
    KCHECK(m.badge == 2);
    // Replaced, then none. The host may take its CPU away between two calls: what is replaced is far off.
    KDONE(code(alarm(now() + 2000 * kMillisecond, 1)));
    KDONE(code(alarm(now() + 3 * kMillisecond, 4)));
    KDONE(code(receive_soon(e, m)));
    KCHECK(m.badge == 4);
    KDONE(code(alarm(now() + 100 * kMillisecond, 1)));
    KDONE(code(alarm(0, 0)));
    KCHECK(code(receive_soon(e, m, 110 * kMillisecond)) == -i64(Errno::kTimedOut));
    KDONE(code(alarm(~u64{0}, 1)));
    KCHECK(code(receive_soon(e, m, kMillisecond)) == -i64(Errno::kTimedOut));
    KDONE(code(alarm(0, 0)));
}
namespace {
std::atomic<u64> rung;
void wait_for_alarm(u64 e) {
    Message m;
    if (!alarm(now() + 3 * kMillisecond, 8).ok()) return;
    if (receive(e, m).ok()) rung = m.badge;
}
}  // namespace
KTEST_CPUS(alarm_of_a_thread_that_moves, none) {
    rung = 0;
    Slot e = make(kTypeEndpoint), n = make(kTypeNotification);
    Helper& h = start(wait_for_alarm, e, {.cpu = cpu, .start = false});
    KDONE(code(bind(h.thread, n)));
    KDONE(code(resume(h.thread)));
    KCHECK(until_state(h, kStateReceiving) || rung != 0);
    KDONE(raw_call(kThreadSchedule, h.thread, kSlotSched, kDefaultPriority, far_cpu() - cpu));
    KCHECK(until_done(h) && rung == 8);
}
KTEST_CPUS(alarm_of_a_thread_that_ends, none) {
    for (u64 i = 0; i < 4; ++i) {
        rung = 0;
        Slot e = make(kTypeEndpoint), n = make(kTypeNotification);
        Helper& h = start(wait_for_alarm, e, {.cpu = cpu, .start = false});
        KDONE(code(bind(h.thread, n)));
        KDONE(code(resume(h.thread)));
        sleep(i * kMillisecond);
        KDONE(code(remove(h.thread)));
    }
    sleep(4 * kMillisecond);
}
KTEST(alarm_for_a_notification_that_is_unbound, none) {
    Slot e = make(kTypeEndpoint), n = make(kTypeNotification);
    // Unbound before it rings, if the host lets the CPU run.
    for (u64 rings = 0, unbound = 1; unbound >= rings;) {
        KDONE(code(bind(kSlotThread, n)));
        rings = now() + kMillisecond;
        KDONE(code(alarm(rings, 1)));
        KDONE(code(bind(kSlotThread, 0)));
        unbound = now();
        if (unbound < rings) break;
        KDONE(code(alarm(0, 0)));
        (void)raw_call(kReceive | kNonBlocking, n);
    }
    Message m;
    KCHECK(code(receive_soon(e, m, 3 * kMillisecond)) == -i64(Errno::kTimedOut));
    KREFUSED(kAgain, raw_call(kReceive | kNonBlocking, n));
}

}  // namespace ktest
