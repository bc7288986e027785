// SPDX-License-Identifier: MIT
// The server's side of the waist. See bind.hpp.
#include <cstring>

#include "port/api/modules.hpp"
#include "port/bind.hpp"
#include "port/server/streams.hpp"
#include "rt/mem/slab.hpp"

namespace port {

constinit const ModuleControl* const module_control = nullptr;
constinit rt::Reclaimer reclaimers[kModules];

namespace native = abi::server;
using sysapi::call;

constinit Streams streams{};
constinit u32 Port::current_cpu = 0;

namespace {

constinit Personality<UserThread> personality{};
constinit UserThread* threads[4097] = {};  // by handle

u64 rights(Prot p) {
    return (p.read ? native::kRead : 0) | (p.write ? native::kWrite : 0) | (p.exec ? native::kExec : 0);
}

}  // namespace

void set_personality(const Personality<UserThread>& p) { personality = p; }

void log(std::string_view line) { sysapi::log(line); }

void Port::entropy(std::span<std::byte> out) { (void)call(native::kEntropy, u64(out.data()), out.size()); }

// --- Space

Result<Ref<Space>> Space::create() {
    Ref<Space> s = TRY(rt::make_ref<Space>());
    s->handle_ = TRY(call(native::kSpaceCreate));
    return s;
}

Space::~Space() {
    if (handle_ != 0) (void)call(native::kSpaceDestroy, handle_);
}

Result<void> Space::map(std::span<const MapEntry> entries) {
    native::MapEntry wire[32];
    while (!entries.empty()) {
        size_t n = entries.size() < 32 ? entries.size() : 32;
        for (size_t i = 0; i < n; ++i) {
            TRY(table_.set(entries[i].at, SoftTable::Entry::make(entries[i].frame, entries[i].prot)));
            wire[i] = {entries[i].at.value, entries[i].frame.value, rights(entries[i].prot)};
        }
        TRY(call(native::kSpaceMap, handle_, u64(wire), n));
        entries = entries.subspan(n);
    }
    return lib::kOk;
}

void Space::unmap(std::span<const UserRange> ranges) {
    for (const UserRange& r : ranges) {
        table_.for_each(r, [](UserAddr, SoftTable::Entry& e) { e = {}; });
        native::Range wire{r.start.value, r.end.value};
        (void)call(native::kSpaceUnmap, handle_, u64(&wire), 1);
    }
}

void Space::protect(std::span<const UserRange> ranges, Prot prot) {
    for (const UserRange& r : ranges) {
        table_.for_each(r, [&](UserAddr, SoftTable::Entry& e) { e = SoftTable::Entry::make(e.frame(), prot); });
        native::Range wire{r.start.value, r.end.value};
        (void)call(native::kSpaceProtect, handle_, u64(&wire), 1, rights(prot));
    }
}

void Space::free_tables(UserRange range, UserAddr floor, UserAddr ceiling) {
    table_.free_tables(range, floor, ceiling);
    const native::Range wire[2] = {{range.start.value, range.end.value}, {floor.value, ceiling.value}};
    (void)call(native::kSpaceFreeTables, handle_, u64(wire));
}

bool Space::stale() const {
    auto r = call(native::kSpaceStale, handle_);
    return r.ok() && r.value() != 0;
}

Task<void> Space::settle() {
    while (stale()) {
        rt::Wait wait{"other CPUs to drop their translations"};
        wait.until(hal::Machine::now() + Nanoseconds{50'000}).uninterruptible();
        (void)co_await wait;
    }
}

void Space::clear() {
    table_.clear();
    (void)call(native::kSpaceClear, handle_);
}

template <class F>
size_t Space::walk(UserAddr at, size_t n, bool write, F&& piece) {
    size_t done = 0;
    while (done < n) {
        UserAddr here = at + done;
        SoftTable::Entry e = table_.get(here.down(kPageSize));
        if (!e.mapped() || !e.allows(write)) break;
        u64 offset = here.value & (kPageSize - 1);
        size_t part = kPageSize - offset < n - done ? kPageSize - offset : n - done;
        if (!piece(static_cast<std::byte*>(hal::Machine::phys_to_virt(e.frame())) + offset, part, done)) return done;
        done += part;
    }
    return done;
}

size_t Space::copy_in(void* to, UserAddr from, size_t n) {
    return walk(from, n, false, [&](std::byte* p, size_t part, size_t done) {
        std::memcpy(static_cast<std::byte*>(to) + done, p, part);
        return true;
    });
}
size_t Space::copy_out(UserAddr to, const void* from, size_t n) {
    return walk(to, n, true, [&](std::byte* p, size_t part, size_t done) {
        std::memcpy(p, static_cast<const std::byte*>(from) + done, part);
        return true;
    });
}
size_t Space::zero_out(UserAddr to, size_t n) {
    return walk(to, n, true, [&](std::byte* p, size_t part, size_t) {
        std::memset(p, 0, part);
        return true;
    });
}
size_t Space::copy_in_string(char* to, UserAddr from, size_t max, bool* ended) {
    *ended = false;
    size_t length = 0;
    walk(from, max, false, [&](std::byte* p, size_t part, size_t) {
        for (size_t i = 0; i < part; ++i) {
            char c = char(p[i]);
            to[length] = c;
            if (c == 0) {
                *ended = true;
                return false;
            }
            ++length;
        }
        return true;
    });
    return length;
}
Result<u32> Space::load_u32(UserAddr a) {
    SoftTable::Entry e = table_.get(a.down(kPageSize));
    if (!e.mapped() || !e.allows(false)) return Errno::kFault;
    auto* p = static_cast<std::byte*>(hal::Machine::phys_to_virt(e.frame())) + (a.value & (kPageSize - 1));
    return __atomic_load_n(reinterpret_cast<u32*>(p), __ATOMIC_SEQ_CST);
}
Result<u32> Space::compare_exchange_u32(UserAddr a, u32 expected, u32 desired) {
    SoftTable::Entry e = table_.get(a.down(kPageSize));
    if (!e.mapped() || !e.allows(true)) return Errno::kFault;
    auto* p = static_cast<std::byte*>(hal::Machine::phys_to_virt(e.frame())) + (a.value & (kPageSize - 1));
    __atomic_compare_exchange_n(reinterpret_cast<u32*>(p), &expected, desired, false, __ATOMIC_SEQ_CST,
                                __ATOMIC_SEQ_CST);
    return expected;
}

// --- UserThread

UserThread::UserThread() : job_(*this) {
    job_.set_on_switch([](rt::Job& job, bool runs) {
        if (runs) Port::current_cpu = static_cast<OwnJob&>(job).owner.cpu_;
    });
}

UserThread::~UserThread() {
    if (handle_ != 0) {
        threads[handle_] = nullptr;
        (void)call(native::kThreadDestroy, handle_);
    }
    if (fpu_) rt::deallocate(fpu_, fpu_size_);
}

Result<void> UserThread::init(Ref<Space> in) {
    fpu_size_ = sysapi::boot_info().fpu_size;
    fpu_ = static_cast<std::byte*>(rt::allocate(fpu_size_));
    if (!fpu_) return Errno::kNoMem;
    handle_ = TRY(call(native::kThreadCreate, in->handle()));
    threads[handle_] = this;
    space_ = std::move(in);
    return lib::kOk;
}

bool UserThread::start(Task<void> root) { return job_.start(std::move(root), rt::Executor::current()); }

void UserThread::set_space(Ref<Space> to) {
    (void)call(native::kThreadSetSpace, handle_, to->handle());
    space_ = std::move(to);
}

void UserThread::fork_state_from(UserThread& from) {
    context_ = from.context_;
    if (from.affinity_.bits != affinity_.bits) set_affinity(from.affinity_);
    from.save_fpu();
    (void)call(native::kFpuWrite, handle_, u64(from.fpu_), fpu_size_);
}

void UserThread::save_fpu() { (void)call(native::kFpuRead, handle_, u64(fpu_), fpu_size_); }

Result<void> UserThread::set_fpu_state(std::span<const std::byte> state) {
    if (state.size() != fpu_size_) return Errno::kInval;
    TRY(call(native::kFpuWrite, handle_, u64(state.data()), state.size()));
    return lib::kOk;
}

void UserThread::reset_fpu() { (void)call(native::kFpuWrite, handle_, 0, 0); }

// Remembered here in any case: a thread that has trapped already, with its message in the queue, is not kicked by the
// kernel.
void UserThread::kick() {
    kicked_ = true;
    if (in_user_) (void)call(native::kKick, handle_);
}

void UserThread::set_affinity(CpuSet cpus) {
    affinity_ = cpus;
    (void)call(native::kThreadAffinity, handle_, cpus.bits);
    if (in_user_) kick();  // looked at on the way to user mode
}

UserThread::Times UserThread::times(Nanoseconds) const {
    native::Times now;  // the kernel's clock is asked anew
    if (!in_user_ || !call(native::kThreadTimes, handle_, u64(&now)).ok()) return times_;
    // Never back: the kernel reads the counters of a running thread without stopping it.
    auto* self = const_cast<UserThread*>(this);
    if (now.user > times_.user) self->times_.user = now.user;
    if (now.system > times_.system) self->times_.system = now.system;
    return times_;
}

void UserThread::job_done(rt::Job& job) { personality.ended(static_cast<OwnJob&>(job).owner); }

void UserThread::to_user() {
    if (kicked_) {
        kicked_ = false;
        trap_ = Trap{};
        job_.home().enqueue(job_);
        return;
    }
    std::memcpy(sysapi::message().registers, &context_, sizeof context_);
    in_user_ = true;
    if (auto r = call(native::kResume, handle_); !r.ok()) {
        // Registers that the machine cannot take: as if the program had jumped to nowhere.
        in_user_ = false;
        trap_ = Trap{.kind = Trap::Kind::kProtection};
        job_.home().enqueue(job_);
    }
}

// --- The loop

// While long work gives way: pending messages are taken in order, by a node of the run queue.
struct Look : rt::Schedulable {
    constexpr Look() : Schedulable(&Look::take) {}
    static void take(rt::Schedulable&);
    static void later();
};
constinit Look look;

struct ServerLoop {
    // Takes one message, or returns at the next deadline of a timer.
    static void receive() {
        if (!receive_until(hal::Machine::deadline())) rt::Executor::current().attract(rt::kAttnTimer);
    }
    // False: nothing came before the deadline.
    static bool receive_until(Nanoseconds deadline) {
        auto r = call(native::kReplyReceive, 0, deadline.value);
        if (!r.ok()) return false;
        take_message();
        return true;
    }
    static void take_message() {
        const native::Message& m = sysapi::message();
        if (m.events != 0) server_events(m.events);
        if (m.thread == 0 || m.thread >= std::size(threads) || !threads[m.thread]) return;
        UserThread& t = *threads[m.thread];
        std::memcpy(&t.context_, m.registers, sizeof t.context_);
        t.in_user_ = false;
        if (m.times.user > t.times_.user) t.times_.user = m.times.user;
        if (m.times.system > t.times_.system) t.times_.system = m.times.system;
        t.cpu_ = Port::current_cpu = u32(m.cpu);
        t.trap_ =
            Trap{Trap::Kind(m.kind), Access(m.access), m.present != 0, UserAddr{m.address}, m.vector, m.error_code};
        // The leaf tier, as in the kernel; a result goes back at once.
        LeafOutcome outcome = LeafOutcome::kNeedsTask;
        if (t.trap_.kind == Trap::Kind::kSyscall) outcome = personality.syscall(t);
        if (t.trap_.kind == Trap::Kind::kPageFault) outcome = personality.fault(t, t.trap_);
        if (outcome == LeafOutcome::kBlocked) outcome = LeafOutcome::kNeedsTask;  // waits are coroutines here
        if (outcome != LeafOutcome::kNeedsTask && !t.kicked_) {
            std::memcpy(sysapi::message().registers, &t.context_, sizeof t.context_);
            t.in_user_ = true;
            if (call(native::kResume, t.handle_).ok()) return;
            t.in_user_ = false;
            t.trap_ = Trap{.kind = Trap::Kind::kProtection};
        } else if (outcome != LeafOutcome::kNeedsTask) {
            t.trap_ = Trap{};
        }
        t.kicked_ = false;
        t.job_.resume();
    }
};

void Look::take(rt::Schedulable&) {
    for (u32 n = 0; n < 8 && ServerLoop::receive_until(Nanoseconds{1}); ++n) {
    }
}
void Look::later() {
    if (!look.run_hook.linked()) rt::Executor::current().enqueue(look);
}

void serve() {
    hal::Machine::on_event = &ServerLoop::receive;
    hal::Machine::on_pause = &Look::later;
    rt::Executor::current().run_forever();
}

}  // namespace port
