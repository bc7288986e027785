// SPDX-License-Identifier: MIT
// The native calls. Each checks its arguments, then acts; an error changes nothing. Handles are indices + 1 into the
// server's own tables: a server can name nothing but what it made.
#include <cstring>

#include "core/sched.hpp"
#include "core/server/server.hpp"
#include "core/trap.hpp"
#include "rt/mem/slab.hpp"

namespace core::server {

using hal::Machine;
namespace native = abi::server;

void receive(ServerThread& server, Nanoseconds until);
constinit const Host* host = nullptr;

namespace {

constexpr u64 kBatch = 32;

Result<ClientThread*> thread_of(ServerThread& s, u64 handle) {
    if (handle == 0 || handle > ServerThread::kMaxThreads || !s.threads[handle - 1]) return Errno::kBadF;
    return s.threads[handle - 1];
}
Result<Space*> space_of(ServerThread& s, u64 handle) {
    if (handle == 0 || handle > ServerThread::kMaxSpaces || !s.spaces[handle - 1]) return Errno::kBadF;
    return s.spaces[handle - 1].get();
}
lib::Prot rights_of(u64 r) {
    return {.read = (r & native::kRead) != 0, .write = (r & native::kWrite) != 0, .exec = (r & native::kExec) != 0};
}
bool user_range(u64 start, u64 end) {
    return start <= end && end <= Machine::user_top().value && ((start | end) & (kPageSize - 1)) == 0;
}

// Copies `count` elements from the server's memory in batches and hands each on.
template <class T, class F>
Result<void> for_each_element(ServerThread& s, u64 at, u64 count, F&& fn) {
    T batch[kBatch];
    while (count != 0) {
        u64 n = count < kBatch ? count : kBatch;
        if (s.space->copy_in(batch, UserAddr{at}, n * sizeof(T)) != n * sizeof(T)) return Errno::kFault;
        for (u64 i = 0; i < n; ++i) TRY(fn(batch[i]));
        at += n * sizeof(T);
        count -= n;
    }
    return lib::kOk;
}

// A call, fault or kick of the client is over.
void trace_answer(ServerThread& s, const ClientThread& t) {
    if (t.traced_pc == 0) return;  // it has not run yet
    i64 result = t.context.syscall_result();
    bool is_call = abi::trace::number_in(t.traced_detail) < abi::trace::kKick;
    bool failed = is_call && result < 0 && result >= -4095;
    if (t.context.pc().value != t.traced_pc) return s.trace_served(trace::Reason::kElsewhere, t);
    s.trace_served(failed ? trace::Reason::kError : trace::Reason::kDone, t, failed ? u64(-result) : 0);
}

// Continues the thread with the registers of the message page; at the front of the queue if the server works for it.
Result<i64> resume(ServerThread& s, u64 handle) {
    ClientThread* t = TRY(thread_of(s, handle));
    Machine::UserContext regs;
    std::memcpy(&regs, s.message->registers, sizeof regs);
    // What the machine would refuse in kernel mode is refused here: TLS bases must be user addresses.
    if (!hal::user_bases(regs)) return Errno::kInval;
    if (regs.pc() >= Machine::user_top()) return Errno::kInval;
    {
        rt::LockGuard guard{s.endpoint.lock};
        if (!s.has(*t) || t->wait_hook.linked()) return Errno::kBusy;
        s.set_has(*t, false);
    }
    if (hal::bases_of(regs) != hal::bases_of(t->context)) t->state_changed();
    hal::replace_user_registers(t->context, regs);
    if (trace::on.load(std::memory_order_relaxed)) [[unlikely]]
        trace_answer(s, *t);
    if (t == s.served)
        t->go_on();
    else
        t->return_to_queue();
    return i64{0};
}

Result<i64> thread_create(ServerThread& s, u64 space_handle) {
    Space* space = TRY(space_of(s, space_handle));
    for (u64 i = 0; i < ServerThread::kMaxThreads; ++i) {
        if (s.threads[i]) continue;
        auto* t = rt::make<ClientThread>(s);
        if (!t) return Errno::kNoMem;
        if (auto r = t->allocate_fpu(); !r.ok()) {
            delete t;
            return r.error();
        }
        t->space = Ref<Space>(space);
        t->handle = i + 1;
        // A new thread starts on the CPU of its creator: their first calls then come in a natural order.
        t->set_home(sched::choose_home(t->affinity, s.served ? s.served->home() : rt::Executor::current()));
        s.threads[i] = t;
        return i64(i + 1);
    }
    return Errno::kAgain;
}

Result<i64> thread_destroy(ServerThread& s, u64 handle) {
    ClientThread* t = TRY(thread_of(s, handle));
    {
        rt::LockGuard guard{s.endpoint.lock};
        if (!s.has(*t)) return Errno::kBusy;  // kick it first and take its message
        if (t->wait_hook.linked()) t->wait_hook.unlink();
        if (trace::on.load(std::memory_order_relaxed) && t->traced_pc != 0) s.trace_served(trace::Reason::kEnded, *t);
        if (s.served == t) s.served = nullptr;
    }
    s.threads[handle - 1] = nullptr;
    delete t;
    return i64{0};
}

// A thread that runs on another CPU continues; the values read may be one time slice old, but never torn.
Result<i64> thread_times(ServerThread& s, u64 handle, u64 to) {
    ClientThread* t = TRY(thread_of(s, handle));
    native::Times times{t->user_time(Machine::now()), t->system_time()};
    if (s.space->copy_out(UserAddr{to}, &times, sizeof times) != sizeof times) return Errno::kFault;
    return i64{0};
}

// A thread in user mode stays where it is until it traps: the server kicks it if it cares.
Result<i64> thread_affinity(ServerThread& s, u64 handle, u64 mask) {
    ClientThread* t = TRY(thread_of(s, handle));
    CpuSet cpus{u32(mask)};
    if ((cpus & sched::user_cpus()).empty()) return Errno::kInval;
    t->affinity = cpus;
    return i64{0};
}

Result<i64> space_create(ServerThread& s) {
    for (u64 i = 0; i < ServerThread::kMaxSpaces; ++i) {
        if (s.spaces[i]) continue;
        s.spaces[i] = TRY(Space::create());
        return i64(i + 1);
    }
    return Errno::kAgain;
}

Result<i64> space_map(ServerThread& s, u64 handle, u64 entries, u64 count) {
    Space* space = TRY(space_of(s, handle));
    TRY(for_each_element<native::MapEntry>(s, entries, count, [&](const native::MapEntry& e) -> Result<void> {
        if (!user_range(e.at, e.at + kPageSize) || !s.owns(e.frame)) return Errno::kInval;
        lib::MapEntry entry{UserAddr{e.at}, PhysAddr{e.frame}, rights_of(e.rights)};
        return space->map({&entry, 1});
    }));
    return i64{0};
}

Result<i64> space_change(ServerThread& s, u64 handle, u64 ranges, u64 count, const lib::Prot* prot) {
    Space* space = TRY(space_of(s, handle));
    TRY(for_each_element<native::Range>(s, ranges, count, [&](const native::Range& r) -> Result<void> {
        if (!user_range(r.start, r.end)) return Errno::kInval;
        lib::UserRange range{UserAddr{r.start}, UserAddr{r.end}};
        if (prot)
            space->protect({&range, 1}, *prot);
        else
            space->unmap({&range, 1});
        return lib::kOk;
    }));
    return i64{0};
}

// What is mapped there all the same goes first: a table in use is never freed.
Result<i64> space_free_tables(ServerThread& s, u64 handle, u64 ranges) {
    Space* space = TRY(space_of(s, handle));
    native::Range r[2];
    if (s.space->copy_in(r, UserAddr{ranges}, sizeof r) != sizeof r) return Errno::kFault;
    if (!user_range(r[0].start, r[0].end) || !user_range(r[1].start, r[1].end)) return Errno::kInval;
    if (r[1].start > r[0].start || r[1].end < r[0].end) return Errno::kInval;
    const lib::UserRange within{UserAddr{r[1].start}, UserAddr{r[1].end}};
    space->unmap({&within, 1});
    space->free_tables({UserAddr{r[0].start}, UserAddr{r[0].end}}, within.start, within.end);
    return i64{0};
}

Result<i64> fpu(ServerThread& s, u64 handle, u64 buffer, u64 size, bool write) {
    ClientThread* t = TRY(thread_of(s, handle));
    if (!s.has_now(*t)) return Errno::kBusy;
    if (write && size == 0) {
        t->state_changed();
        Machine::fpu_init(t->fpu_area());
        return i64{0};
    }
    if (size != Machine::fpu_area_size()) return Errno::kInval;
    if (!write)
        return s.space->copy_out(UserAddr{buffer}, t->fpu_area(), size) == size ? Result<i64>{0} : Errno::kFault;
    t->leave_cpu();
    if (s.space->copy_in(t->fpu_area(), UserAddr{buffer}, size) != size) {
        Machine::fpu_init(t->fpu_area());
        return Errno::kFault;
    }
    Machine::fpu_sanitize(t->fpu_area());
    return i64{0};
}

// Moves bytes between the server and something of the kernel's, through a small buffer.
template <class F>
Result<i64> bytes_in(ServerThread& s, u64 from, u64 size, F&& take) {
    std::byte buffer[512];
    u64 done = 0;
    while (done < size) {
        u64 n = size - done < sizeof buffer ? size - done : sizeof buffer;
        if (s.space->copy_in(buffer, UserAddr{from + done}, n) != n) return Errno::kFault;
        size_t taken = take(std::span{buffer, n});
        done += taken;
        if (taken < n) break;
    }
    return i64(done);
}
template <class F>
Result<i64> bytes_out(ServerThread& s, u64 to, u64 size, F&& give) {
    std::byte buffer[512];
    u64 done = 0;
    while (done < size) {
        u64 n = size - done < sizeof buffer ? size - done : sizeof buffer;
        size_t got = give(std::span{buffer, n});
        if (s.space->copy_out(UserAddr{to + done}, buffer, got) != got) return Errno::kFault;
        done += got;
        if (got < n) break;
    }
    return i64(done);
}

Result<i64> dispatch(ServerThread& s, u64 number, const u64 (&a)[5]) {
    switch (number) {
        case native::kResume: return resume(s, a[0]);
        case native::kKick: {
            ClientThread* t = TRY(thread_of(s, a[0]));
            if (!s.has_now(*t)) t->kick();
            return i64{0};
        }
        case native::kThreadCreate: return thread_create(s, a[0]);
        case native::kThreadDestroy: return thread_destroy(s, a[0]);
        case native::kThreadSetSpace: {
            ClientThread* t = TRY(thread_of(s, a[0]));
            Space* space = TRY(space_of(s, a[1]));
            if (!s.has_now(*t)) return Errno::kBusy;
            t->space = Ref<Space>(space);
            return i64{0};
        }
        case native::kThreadTimes: return thread_times(s, a[0], a[1]);
        case native::kThreadAffinity: return thread_affinity(s, a[0], a[1]);
        case native::kSpaceCreate: return space_create(s);
        case native::kSpaceMap: return space_map(s, a[0], a[1], a[2]);
        case native::kSpaceUnmap: return space_change(s, a[0], a[1], a[2], nullptr);
        case native::kSpaceProtect: {
            lib::Prot prot = rights_of(a[3]);
            return space_change(s, a[0], a[1], a[2], &prot);
        }
        case native::kSpaceFreeTables: return space_free_tables(s, a[0], a[1]);
        case native::kSpaceStale: return i64((TRY(space_of(s, a[0])))->stale());
        case native::kSpaceClear: (TRY(space_of(s, a[0])))->clear(); return i64{0};
        case native::kSpaceDestroy: {
            TRY(space_of(s, a[0]));
            s.spaces[a[0] - 1] = nullptr;
            return i64{0};
        }
        case native::kFpuRead: return fpu(s, a[0], a[1], a[2], false);
        case native::kFpuWrite: return fpu(s, a[0], a[1], a[2], true);
        case native::kClock: return i64(Machine::now().value);
        case native::kLog:
            return bytes_in(s, a[0], a[1] < 512 ? a[1] : 512, [](std::span<std::byte> b) {
                host->log({reinterpret_cast<const char*>(b.data()), b.size()});
                return b.size();
            });
        case native::kStreamRead:
            if (a[0] >= native::kStreams) return Errno::kBadF;
            return bytes_out(s, a[1], a[2], [&](std::span<std::byte> b) { return host->stream_read(u32(a[0]), b); });
        case native::kStreamWrite:
            if (a[0] >= native::kStreams) return Errno::kBadF;
            return bytes_in(s, a[1], a[2], [&](std::span<std::byte> b) { return host->stream_write(u32(a[0]), b); });
        case native::kStreamEnded:
            if (a[0] >= native::kStreams) return Errno::kBadF;
            return i64(host->stream_ended(u32(a[0])));
        case native::kWindowSize: return i64(host->window_size());
        case native::kReport: host->report(i32(a[0])); return i64{0};
        case native::kEntropy:
            return bytes_out(s, a[0], a[1], [](std::span<std::byte> b) {
                host->entropy(b);
                return b.size();
            });
        case native::kExit:
            if (a[0] != 0) host->cannot_start(Errno(i32(a[0])));
            Machine::panic("the personality server gave up");
        default: return Errno::kNoSys;
    }
}

}  // namespace

void native_syscall(Thread& thread) {
    auto& s = static_cast<ServerThread&>(thread);
    u64 number = s.context.syscall_number();
    u64 a[5];
    for (unsigned i = 0; i < 5; ++i) a[i] = s.context.syscall_argument(i);
    if (number == native::kReplyReceive) {
        if (a[0] != 0) {
            if (auto r = resume(s, a[0]); !r.ok()) {
                s.context.set_syscall_result(-i64(r.error()));
                return;
            }
        }
        receive(s, Nanoseconds{a[1]});
        return leave_trap(s);
    }
    auto r = dispatch(s, number, a);
    s.context.set_syscall_result(r.ok() ? r.value() : -i64(r.error()));
    leave_trap(s);
}

}  // namespace core::server
