// SPDX-License-Identifier: MIT
// Runs the tests one after another; see ktest.hpp. Words after the program's name:
//   check=NAME   only the tests that name this check      only=NAME    only this test
//   after=NAME   only the tests after this one
#include "tests/native/ktest.hpp"

extern "C" const ktest::Case __start_ktest_cases[], __stop_ktest_cases[];

namespace ktest {
namespace {

constexpr Slot kPoolSlot = 17, kSleepSlot = 18;
constexpr unsigned kHelpers = 16;
constexpr u64 kStack = 0x4000, kUtcbs = 0x30'0000'0000;

struct Failure {
    std::atomic<bool> noted{false};
    const char* what = nullptr;
    const char* file = nullptr;
    const char* wanted = nullptr;
    int line = 0;
    i64 got = 0;
} failure;

Slot next_slot = kFirstSlot;
unsigned next_helper = 0;
Helper helpers[kHelpers];
alignas(16) std::byte stacks[kHelpers][kStack];

void helper_body(Helper* h) {
    h->body(h->argument);
    h->done = true;
    for (;;) {
        // In another space it may lack this capability: then a trap without a handler stops it.
        if (!suspend(h->thread).ok()) asm volatile("ud2");
    }
}

u64 used() { return used_of(kSlotPool); }

// Bytes of free memory, after each CPU has returned its caches.
u64 free_memory() {
    u64 free = 0;
    for (u64 cpu = boot_info().cpus; cpu-- != 0;) {
        (void)schedule(kSlotThread, kSlotSched, kDefaultPriority, cpu);
        free = memory_free(kSlotSystem).value();
    }
    return free;
}
// Tolerance for finding what charges cannot show: memory that is in use but no longer charged, or never was. Objects
// that remain may share their slabs with others after a test, but not before: at most one page for each size.
constexpr u64 kSlabNoise = 16 * kPage;

bool prepare() {
    failure.noted = false;
    failure.wanted = nullptr;
    next_slot = kFirstSlot;
    next_helper = 0;
    for (Helper& h : helpers) h.done = false;
    return create(kSlotPool, kTypePool, kPoolSlot, kPoolBytes).ok();
}

bool clean_up(u64 used_before) {
    Utcb& u = utcb();
    (void)bind(kSlotThread, 0);
    (void)raw_call(kThreadFastpaths, kSlotThread, kFastAll);
    // Everything that the test made is derived from the pool; what it copied is deleted one by one.
    bool ok = revoke(kPoolSlot).ok();
    for (Slot s = kFirstSlot; s < next_slot; ++s) (void)remove(s);
    ok &= remove(kPoolSlot).ok();
    (void)unmap(kSlotSpace, kAreaStart, kAreaEnd - kAreaStart);
    (void)schedule(kSlotThread, kSlotSched, kDefaultPriority, 0);
    for (u64 i = 0; i < kMaxCaps; ++i) u.caps[i] = u.cap_rights[i] = u.receive[i] = 0;
    u.timeout = 0;
    // A request under way keeps an object alive a little longer, and a CPU that sleeps frees its objects only when it
    // is awake again: so after a moment, this thread visits each CPU.
    auto clean = [&] { return used() == used_before; };
    if (!until(clean, 2 * kMillisecond)) {
        ok = ok && until([&] {
                 for (u64 cpu = boot_info().cpus; cpu-- != 0;)
                     (void)schedule(kSlotThread, kSlotSched, kDefaultPriority, cpu);
                 return clean();
             });
    }
    return ok;
}

std::string_view word(std::string_view key) {
    std::string_view line = boot_info().command_line;
    for (size_t at = line.find(key); at != line.npos; at = line.find(key, at + 1)) {
        if (at != 0 && line[at - 1] != ' ') continue;
        line.remove_prefix(at + key.size());
        return line.substr(0, line.find(' '));
    }
    return {};
}

}  // namespace

void note_failure(const char* what, const char* file, int line) {
    if (failure.noted.exchange(true)) return;
    failure.what = what;
    failure.file = file;
    failure.line = line;
}
void note_result(const char* what, i64 got, const char* wanted, const char* file, int line) {
    if (failure.noted.exchange(true)) return;
    failure.what = what;
    failure.file = file;
    failure.line = line;
    failure.got = got;
    failure.wanted = wanted;
}
bool failed() { return failure.noted; }

Slot pool() { return kPoolSlot; }
Slot slot() {
    if (next_slot >= kLastSlot) note_failure("the test has no slot left", __FILE_NAME__, __LINE__);
    return next_slot++;
}
Slot make(Type type, u64 argument) {
    Slot s = slot();
    auto r = create(kPoolSlot, type, s, argument);
    if (r.ok()) return s;
    note_result("make", code(r), "an object", __FILE_NAME__, __LINE__);
    return 0;
}
Slot any_object(Type type) {
    switch (type) {
        case kTypeIrq: return derive(kSlotIrq, kAllRights);
        case kTypeSystem: return derive(kSlotSystem, kAllRights);
        default: return make(type, type == kTypePool || type == kTypeMemory ? kPage : type == kTypeSpace ? 16 : 0);
    }
}
Slot derive(Slot from, u64 rights, u64 badge) {
    Slot s = slot();
    auto r = copy(from, s, rights, badge);
    if (r.ok()) return s;
    note_result("derive", code(r), "a copy", __FILE_NAME__, __LINE__);
    return 0;
}
bool empty(Slot s) { return raw_call(kIdentify, s) == -i64(Errno::kBadF); }
u64 far_cpu() { return boot_info().cpus - 1; }
Charges charges() { return {used_of(kPoolSlot), used()}; }

u64 stack_top(const Helper& h) { return u64(&stacks[&h - helpers][kStack]); }

Helper& start_at(u64 pc, u64 argument, const Options& o) {
    if (next_helper == kHelpers) {
        note_failure("the test has no helper left", __FILE_NAME__, __LINE__);
        --next_helper;
    }
    unsigned n = next_helper++;
    Helper& h = helpers[n];
    h.utcb_at = o.with_utcb ? kUtcbs + n * kPage : 0;
    h.thread = make(kTypeThread);
    Registers r{};
    r.rip = pc;
    r.rdi = argument;
    r.rsp = stack_top(h) - 8;
    r.fs_base = h.utcb_at;
    r.rflags = 0x202;
    auto run = [&]() -> Result<void> {
        TRY(configure(h.thread, o.space, h.utcb_at, o.handler, o.flags));
        TRY(set_registers(h.thread, r));
        TRY(schedule(h.thread, o.sched, o.priority, o.cpu));
        if (o.start) TRY(resume(h.thread));
        return lib::kOk;
    };
    if (auto done = run(); !done.ok()) note_result("start", code(done), "a thread", __FILE_NAME__, __LINE__);
    return h;
}
Helper& start(void (*body)(u64), u64 argument, const Options& o) {
    Helper& h = helpers[next_helper < kHelpers ? next_helper : kHelpers - 1];
    h.body = body;
    h.argument = argument;
    return start_at(u64(&helper_body), u64(&h), o);
}

Slot other_space(u64 slots) {
    Slot s = make(kTypeSpace, slots);
    const BootInfo& info = boot_info();
    for (u64 i = 0; i < info.segments; ++i) {
        const Segment& g = info.segment[i];
        auto r = map(s, kSlotImage, g.start, g.start - info.image_start, g.end - g.start, g.rights);
        if (!r.ok()) note_result("other_space", code(r), "a mapping", __FILE_NAME__, __LINE__);
    }
    return s;
}
void give(Slot space, Slot s, u64 rights, u64 badge) {
    auto r = copy(s, s, rights, badge, space);
    if (!r.ok()) note_result("give", code(r), "a copy", __FILE_NAME__, __LINE__);
}

void sleep(u64 ns) {
    u64 before = utcb().timeout;
    utcb().timeout = ns;
    Message m;
    (void)receive(kSleepSlot, m, kTimed);
    utcb().timeout = before;
}
bool until_state(Slot thread, ThreadState wanted) {
    return until([&] {
        auto s = state(thread);
        return s.ok() && s.value() == wanted;
    });
}

}  // namespace ktest

int native_main() {
    using namespace ktest;
    std::string_view check = word("check="), only = word("only="), after = word("after=");
    if (!create(kSlotPool, kTypeNotification, kSleepSlot).ok()) return 1;
    // The buffers of traces are allocated once and stay.
    (void)raw_call(kTraceControl, kSlotSystem, kTraceStart);
    (void)raw_call(kTraceControl, kSlotSystem, kTraceStop);
    u64 count = 0, failures = 0;
    for (const Case* c = __start_ktest_cases; c != __stop_ktest_cases; ++c) {
        if (!check.empty() && check != core::checks::name_of(u32(c->check))) continue;
        if (!only.empty() && only != c->name) continue;
        if (!after.empty()) {
            if (after == c->name) after = {};
            continue;
        }
        ++count;
        print("ktest start {}\n", c->name);
        const u64 before = used(), free_before = free_memory();
        bool clean = prepare();
        if (clean) {
            c->run();
            clean = clean_up(before);
        }
        u64 free_after = 0;
        bool returned = until([&] { return (free_after = free_memory()) + kSlabNoise >= free_before; });
        if (failure.noted && failure.wanted)
            print("ktest {} FAIL {}: {}, not {} ({}:{})\n", c->name, failure.what, failure.got, failure.wanted,
                  failure.file, failure.line);
        else if (failure.noted)
            print("ktest {} FAIL {} ({}:{})\n", c->name, failure.what, failure.file, failure.line);
        else if (!clean)
            print("ktest {} FAIL {} bytes are charged after its end, {} before\n", c->name, used(), before);
        else if (!returned)
            print("ktest {} FAIL {} bytes of memory are free after its end, {} before\n", c->name, free_after,
                  free_before);
        else
            print("ktest {} ok\n", c->name);
        failures += failure.noted || !clean || !returned;
    }
    print("ktest done {}\n", count);
    return failures != 0;
}
