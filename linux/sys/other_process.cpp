// SPDX-License-Identifier: MIT
// Calls about what other processes have: kcmp(2), process_vm_readv(2), process_vm_writev(2).
#include "abi/linux/kcmp.hpp"
#include "linux/sys/io_vector.hpp"
#include "linux/task/creds.hpp"
#include "linux/task/out_of_memory.hpp"
#include "linux/task/thread.hpp"

namespace linux {

namespace {

using port::Module;

// ---- kcmp(2) ----

// An order of objects that does not tell where they are: of their addresses, mixed with numbers that nobody knows.
struct Mixer {
    u64 mask = 0, factor = 0;
};
constinit rt::Guarded<Mixer, rt::Rank::log> mixer;

u64 mixed(const void* object) {
    if (mixer.lock()->factor == 0) {
        Mixer fresh;  // made without the lock: the source has one of the same rank
        port::Port::entropy(std::as_writable_bytes(std::span{&fresh, 1}));
        fresh.factor |= 1;
        if (auto m = mixer.lock(); m->factor == 0) *m = fresh;
    }
    auto m = mixer.lock();
    return (reinterpret_cast<u64>(object) ^ m->mask) * m->factor;
}
i64 compare(const void* a, const void* b) {
    const u64 x = mixed(a), y = mixed(b);
    return x == y ? 0 : x < y ? 1 : 2;
}

Ref<ActionTable> actions_of(Thread& t) {
    rt::LockGuard guard{t.process().signals.lock};
    return t.process().signals.actions;
}
// EBADF: no such file, or the thread has none any more.
Result<Ref<fs::File>> file_of(const ProcessView& v, u32 fd) {
    if (!v.files) return Errno::kBadF;
    return v.files->get(Fd{i32(fd)});
}

Leaf<i64> sys_kcmp(Caller& c, i32 pid1, i32 pid2, i32 type, u64 index1, u64 index2) {
    Ref<Thread> a = find_thread(Pid{pid1}), b = find_thread(Pid{pid2});
    if (!a || !b) return Errno::kSrch;
    ProcessView va, vb;
    for (;;) {
        va = view_of(a->process(), a.get(), ViewOf::kDescriptors);
        vb = view_of(b->process(), b.get(), ViewOf::kDescriptors);
        if (!may_inspect(&c, va, AskedBy::kCall) || !may_inspect(&c, vb, AskedBy::kCall)) return Errno::kPerm;
        if (type != abi::kKcmpFile) break;
        auto x = file_of(va, u32(index1)), y = file_of(vb, u32(index2));
        // An execve keeps the table: what was read of it must be the files of the program that was decided about.
        if (view_of(a->process(), a.get()).mm != va.mm || view_of(b->process(), b.get()).mm != vb.mm) continue;
        if (!x.ok()) return x.error();
        if (!y.ok()) return y.error();
        return compare(x.value().get(), y.value().get());
    }
    switch (type) {
        case abi::kKcmpVm: return compare(va.has_memory ? va.mm.get() : nullptr, vb.has_memory ? vb.mm.get() : nullptr);
        case abi::kKcmpFiles: return compare(va.files.get(), vb.files.get());
        case abi::kKcmpFs: return compare(va.context.get(), vb.context.get());
        case abi::kKcmpSighand: return compare(actions_of(*a).get(), actions_of(*b).get());
        case abi::kKcmpIo: return 0;       // there are no I/O contexts
        case abi::kKcmpSysvsem: return 0;  // no System V semaphores: neither has any to undo
        case abi::kKcmpEpollTfd: return Errno::kOpNotSupp;
        default: return Errno::kInval;
    }
}

// ---- process_vm_readv(2), process_vm_writev(2) ----

// Both sides of what is left.
struct Transfer {
    Ref<AddressSpace> there;  // null while memory is waited for: the other process may be the one that ends for it
    IoVector local, remote;
    bool write;
    Ref<Thread> other;
    u64 serial = there->serial;  // it is to be the same memory afterwards

    // False: the thread has it no longer.
    bool return_there() {
        Ref<AddressSpace> now = view_of(other->process(), other.get()).mm;
        if (!now || now->serial != serial) return false;
        there = std::move(now);
        return true;
    }
};

constexpr u64 kPiece = 1024;

// A piece of up to `n` bytes by way of the kernel. kFault: not a byte of the other memory can be had as it is.
// kNeedsFault: ours.
Leaf<u64> move_piece(Caller& c, Transfer& t, u64 n) {
    std::byte bytes[kPiece];
    const fs::UserSpan at = t.remote.front();
    if (n > t.local.size()) n = t.local.size();
    const fs::UserSpans ours = t.local.spans(c.user(), n);
    if (t.write) {
        TRY(ours.copy_in(0, bytes, n));
        n = t.there->space().copy_out(at.at, bytes, n);
    } else {
        n = t.there->space().copy_in(bytes, at.at, n);
        if (n != 0) TRY(ours.copy_out(0, bytes, n));
    }
    return n != 0 ? Leaf<u64>(n) : Leaf<u64>(Errno::kFault);
}

TaskResult move_between(Caller& c, Transfer t) {
    constexpr u32 kPiecesAtOnce = 8;
    constexpr const RlimitValue* kNoStack = nullptr;  // a look must not make a stack grow
    u64 done = 0;
    u32 in_vain = 0;
    for (u32 pieces = 1; t.local.size() != 0 && t.remote.size() != 0; ++pieces) {
        if (is_ending(c)) break;
        if (t.remote.front().size == 0) {
            t.remote.drop_front();
            continue;
        }
        if (t.there->chosen_to_end.load(std::memory_order_relaxed)) break;  // its memory is waited for
        const fs::UserSpan front = t.remote.front();
        const u64 open = t.there->open_to_others(front.at, front.size < kPiece ? front.size : kPiece, t.write);
        if (open == 0) break;
        auto moved = move_piece(c, t, open);
        if (moved.ok()) {
            done += moved.value();
            in_vain = 0;
            t.local.advance(moved.value());
            t.remote.advance(moved.value());
            if (pieces % kPiecesAtOnce == 0) co_await rt::Yield{};
            continue;
        }
        if (moved.error() == kNeedsFault) {
            const fs::UserMemory::Fault f = c.user().fault();
            auto wait = c.mm().fault_in(f.start, f.size, f.write, c.process().stack_limits());
            Accessible have{Errno::kNoMem};
            if (wait.valid()) have = co_await wait;
            if (have >= f.size) continue;
            if (have.no_memory && in_vain++ < kMostEnds) {
                t.there = {};
                ForMemory outcome;
                FIND_MEMORY(c.thread(), outcome);
                if (!t.return_there()) break;
                if (outcome == ForMemory::kTryAgain) continue;
            }
            // What is accessible of our buffer is used.
            const u64 usable = t.local.spans(c.user(), t.local.size()).accessible(f, have);
            if (usable == 0) break;
            t.local.limit(usable);
        } else if (moved.error() != Errno::kFault) {
            co_return done != 0 ? Leaf<i64>(i64(done)) : Leaf<i64>(moved.error());
        } else {
            auto wait = t.there->fault_in(t.remote.front().at, 1, t.write, kNoStack);
            Accessible have{Errno::kNoMem};
            if (wait.valid()) have = co_await wait;
            if (have != 0) continue;
            if (!have.no_memory || in_vain++ == kMostEnds) break;
            t.there = {};
            ForMemory outcome;
            FIND_MEMORY(c.thread(), outcome);
            if (outcome != ForMemory::kTryAgain || !t.return_there()) break;
        }
    }
    co_return done != 0 ? Result<i64>(i64(done)) : Result<i64>(Errno::kFault);
}

Leaf<i64> process_vm(Caller& c, i32 pid, UserAddr local, u64 locals, UserAddr remote, u64 remotes, u64 flags,
                     bool write) {
    if (flags != 0) return Errno::kInval;
    IoVector ours = TRY(IoVector::import(c.user(), local, locals));
    if (ours.size() == 0) return 0;
    IoVector theirs = TRY(IoVector::import(c.user(), remote, remotes));
    if (theirs.size() == 0) return 0;
    Ref<Thread> t = find_thread(Pid{pid});
    if (!t) return Errno::kSrch;
    ProcessView v = view_of(t->process(), t.get());
    if (!v.has_memory) return Errno::kSrch;
    if (v.mm.get() != &c.mm() && !may_inspect(&c, v, AskedBy::kCall)) return Errno::kPerm;
    return c.later(move_between(c, Transfer{std::move(v.mm), std::move(ours), std::move(theirs), write, std::move(t)}));
}
Leaf<i64> sys_process_vm_readv(Caller& c, i32 pid, UserAddr local, u64 locals, UserAddr remote, u64 remotes,
                               u64 flags) {
    return process_vm(c, pid, local, locals, remote, remotes, flags, false);
}
Leaf<i64> sys_process_vm_writev(Caller& c, i32 pid, UserAddr local, u64 locals, UserAddr remote, u64 remotes,
                                u64 flags) {
    return process_vm(c, pid, local, locals, remote, remotes, flags, true);
}

}  // namespace

constexpr SyscallRow kRows[] = {
    row<&sys_kcmp>(abi::kNrKcmp, "kcmp", Module::kTask, "others/compare"),
    row<&sys_process_vm_readv>(abi::kNrProcessVmReadv, "process_vm_readv", Module::kMm, "others/memory"),
    row<&sys_process_vm_writev>(abi::kNrProcessVmWritev, "process_vm_writev", Module::kMm, "others/memory"),
};
const std::span<const SyscallRow> other_process_rows{kRows};

}  // namespace linux
