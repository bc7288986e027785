// SPDX-License-Identifier: MIT
#include "boot/kernel/programs.hpp"

#include "abi/linux/signal.hpp"
#include "abi/linux/wait.hpp"
#include "boot/kernel/control.hpp"
#include "core/cap/cap.hpp"
#include "core/ipc/space.hpp"
#include "port/bind.hpp"
#include "rt/task.hpp"
#include "rt/wait.hpp"

namespace boot::programs {
namespace {

namespace native = abi::native;
namespace caps = core::caps;
using hal::Machine;

constexpr i32 kServerDied = 71;  // status of the machine

struct Program {
    core::SpaceObject* space = nullptr;   // with a reference; null: there is none, or it has ended
    core::NativeThread* first = nullptr;  // only compared
    core::CapTable* given = nullptr;
    i32 status = 0;
};
struct Programs {
    Program of[kKinds];
    bool with_server = false;
};
constinit rt::Guarded<Programs, rt::Rank::device> programs;

// What a program made of its pool goes first: its other threads, those of its clients, their spaces. Then the rest that it was
// given, whoever has it by now: its space ends, and so does what is in its table.
Task<void> take_away(core::CapTable& given) {
    static_assert(native::kSlotPool < kGivenSlots && native::kSlotMemory < kGivenSlots);
    constexpr u32 kBudget = 128;
    core::Endings endings;
    for (u64 n = 0; n < kGivenSlots; ++n) {
        const u64 slot = n == 0 ? u64{native::kSlotPool} : n;
        bool revoked = false, removed = n == 0;
        for (;;) {
            if (!revoked) {
                const auto r = caps::revoke(given, slot, endings);
                revoked = !r.ok() || r.value();  // an error: it was given nothing there
            } else if (!removed) {
                const auto r = caps::remove(given, slot, endings);
                removed = !r.ok() || r.value();
            }
            const bool all_ended = !endings.any_of_mine() || caps::end_objects(endings, kBudget);
            if (revoked && removed && all_ended) break;
            rt::Wait wait{"other CPUs to let go of a program that has ended"};
            wait.until(Machine::now() + Nanoseconds{20'000}).uninterruptible();
            (void)co_await wait;
        }
    }
}

i32 machine_status(const Programs& all) {
    const i32 server = all.of[u32(Kind::kLinuxServer)].status;
    return server != 0 ? server : all.of[u32(Kind::kNative)].status;
}

// Its end, once. True: it is the last.
bool note_end(Kind kind, i32 wait_status, core::ObjectRef<core::SpaceObject>& space, core::CapTable*& given,
              i32& of_machine) {
    auto all = programs.lock();
    Program& p = all->of[u32(kind)];
    if (!p.space) return false;
    p.status = wait_status;
    given = p.given;
    space = core::ObjectRef<core::SpaceObject>::of_counted(std::exchange(p.space, nullptr));
    for (Program& other : all->of)
        if (other.space) return false;
    of_machine = machine_status(*all);
    return true;
}

}  // namespace

Result<core::CapTable*> make_given() {
    // The records are few, and nothing of the program's pays for them.
    auto* pool = rt::make<core::Pool>(u64{kGivenSlots} * kPageSize);
    auto* table = rt::make<core::CapTable>();
    if (!pool || !table) return Errno::kNoMem;
    TRY(table->allocate(kGivenSlots, *pool));
    return table;
}

void add(Kind kind, core::CapTable& given, core::SpaceObject& space, core::NativeThread& first) {
    auto all = programs.lock();
    all->with_server |= kind == Kind::kLinuxServer;
    all->of[u32(kind)] = {core::ObjectRef<core::SpaceObject>{&space}.take(), &first, &given, 0};
}

void ended(Kind kind, i32 wait_status) {
    core::ObjectRef<core::SpaceObject> space;  // dropped without the lock
    core::CapTable* given = nullptr;
    i32 of_machine = 0;
    if (note_end(kind, wait_status, space, given, of_machine)) return control::report_exit(of_machine);
    if (!space) return;  // it had ended before
    if (!rt::spawn("end of a program", take_away(*given), rt::Executor::current()))
        control::report_exit(wait_status);  // no memory to go on with
}

Kind kind_of(u64 badge) {
    const bool server = badge == kServerBadge && programs.lock()->with_server;
    return server ? Kind::kLinuxServer : Kind::kNative;
}

void shut_down(u64 badge, i32 status) {
    if (kind_of(badge) == Kind::kNative) return ended(Kind::kNative, abi::exit_status_of(status));
    control::send("server-died");
    ended(Kind::kLinuxServer, abi::exit_status_of(kServerDied));
}

void thread_failed(core::NativeThread& t, const lib::Trap& trap) {
    Kind kind = Kind::kNative;
    bool fatal = false;
    {
        auto all = programs.lock();
        for (u32 k = 0; k < kKinds; ++k) {
            const Program& p = all->of[k];
            if (!p.space || (&t != p.first && t.space_object.get() != p.space)) continue;
            kind = Kind(k);
            fatal = &t == p.first || kind == Kind::kLinuxServer;
        }
    }
    port::logf("a thread of {} stops: trap {} at {:x}, address {:x}",
               kind == Kind::kLinuxServer ? "the Linux server" : "a native program", u32(trap.kind),
               t.context.pc().value, trap.address.value);
    if (!fatal) return;
    if (kind == Kind::kLinuxServer) return shut_down(kServerBadge, kServerDied);
    ended(kind, abi::kSigSegv);
}

void nobody_left(u8 kind) {
    if (!programs.lock()->of[kind].space) return;  // it has ended
    const bool server = Kind(kind) == Kind::kLinuxServer;
    port::logf("no thread of {} is left that can run", server ? "the Linux server" : "the native program");
    if (server) return shut_down(kServerBadge, kServerDied);
    control::send("native-stuck");
    ended(Kind::kNative, abi::exit_status_of(kNobodyLeft));
}

}  // namespace boot::programs
