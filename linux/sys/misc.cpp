// SPDX-License-Identifier: MIT
// System-wide calls and settings of a thread: names, memory figures, randomness, prctl(2), personality(2), reboot(2).
#include <cstring>

#include "abi/linux/capability.hpp"
#include "abi/linux/prctl.hpp"
#include "abi/linux/system.hpp"
#include "abi/linux/task.hpp"
#include "linux/arch/machine.hpp"
#include "linux/procfs/procfs.hpp"
#include "linux/sys/table.hpp"
#include "linux/task/creds.hpp"
#include "linux/task/exit.hpp"
#include "linux/task/thread.hpp"
#include "linux/uts.hpp"
#include "rt/reclaim.hpp"

namespace linux {

constinit rt::Guarded<HostNames, rt::Rank::log> host_names;

namespace {

using port::Module;

// ---- Names ----

template <size_t N>
void copy_text(char (&to)[N], const char* from) {
    size_t n = std::strlen(from);
    if (n > N - 1) n = N - 1;
    std::memcpy(to, from, n);
}

Leaf<i64> sys_uname(Caller& c, UserOut<abi::Utsname> to) {
    abi::Utsname u{};
    copy_text(u.sysname, kSystemName);
    copy_text(u.release, kRelease);
    copy_text(u.version, kVersion);
    copy_text(u.machine, arch::kMachineName);
    {
        auto names = host_names.lock();
        copy_text(u.nodename, names->node);
        copy_text(u.domainname, names->domain);
    }
    TRY(to.put(c.user(), u));
    return 0;
}

Leaf<i64> set_name(Caller& c, UserAddr from, i32 length, char (HostNames::*which)[65]) {
    if (!c.creds().capable(fs::kCapSysAdmin)) return Errno::kPerm;
    if (length < 0 || length > 64) return Errno::kInval;
    char text[65] = {};
    TRY(c.user().read(text, from, u32(length)));
    auto names = host_names.lock();
    std::memcpy((*names).*which, text, sizeof text);
    return 0;
}
Leaf<i64> sys_sethostname(Caller& c, UserAddr from, i32 length) { return set_name(c, from, length, &HostNames::node); }
Leaf<i64> sys_setdomainname(Caller& c, UserAddr from, i32 length) {
    return set_name(c, from, length, &HostNames::domain);
}

Leaf<void> put_sysinfo(Caller& c, UserOut<abi::Sysinfo> to) {
    abi::Sysinfo s{};
    rt::MemStats m = memory_as_seen();
    s.uptime = i64(port::Port::now().value / 1'000'000'000);
    s.totalram = m.total_bytes;
    s.freeram = m.free_bytes;
    s.procs = u16(thread_count() > 0xffff ? 0xffff : thread_count());
    s.mem_unit = 1;
    return to.put(c.user(), s);
}
TaskResult settled_sysinfo(Caller& c, UserOut<abi::Sysinfo> to, rt::Settling settling) {
    do {
        co_await rt::Yield{};
    } while (!settling.step());
    CO_TRY(put_sysinfo(c, to));
    co_return i64{0};
}
Leaf<i64> sys_sysinfo(Caller& c, UserOut<abi::Sysinfo> to) {
    rt::Settling settling;
    if (!settling.step()) return c.later(settled_sysinfo(c, to, settling));
    TRY(put_sysinfo(c, to));
    return 0;
}

// ---- Randomness ----

constexpr u64 kLeafRandom = 4096, kPiece = 256;

Result<void> check_random(u32 flags) {
    if (flags & ~(kRandomNonblock | kRandomRandom | kRandomInsecure)) return Errno::kInval;
    if ((flags & (kRandomRandom | kRandomInsecure)) == (kRandomRandom | kRandomInsecure)) return Errno::kInval;
    return lib::kOk;
}

Leaf<void> put_random(Caller& c, UserAddr at, u64 size) {
    std::byte piece[kPiece];
    for (u64 done = 0; done < size; done += kPiece) {
        u64 n = size - done < kPiece ? size - done : kPiece;
        port::Port::entropy({piece, n});
        TRY(c.user().write(at + done, piece, n));
    }
    return lib::kOk;
}

// A short count if a signal comes, or where the memory ends.
TaskResult put_much_random(Caller& c, UserAddr to, u64 size) {
    if (size > INT32_MAX) size = INT32_MAX;
    u64 done = 0;
    while (done < size) {
        u64 n = size - done < kLeafRandom ? size - done : kLeafRandom;
        auto r = put_random(c, to + done, n);
        if (r.error() == kNeedsFault) {
            auto in = co_await fault_in_range(c.thread(), {to + done, n, true});
            if (in.ok()) continue;
            // Up to the last byte that is there.
            while (done < size && put_random(c, to + done, 1).ok()) ++done;
            if (done == 0) co_return Errno::kFault;
            break;
        }
        if (!r.ok()) {
            if (done == 0) co_return r.error();
            break;
        }
        done += n;
        if (c.interrupted()) break;
        co_await rt::Yield{};
    }
    co_return i64(done);
}
Leaf<i64> sys_getrandom(Caller& c, UserAddr to, u64 size, u32 flags) {
    TRY(check_random(flags));
    if (size > kLeafRandom) return c.later(put_much_random(c, to, size));
    auto put = put_random(c, to, size);
    if (c.user().gave_up(put.error())) return c.later(put_much_random(c, to, size));
    TRY(put);
    return i64(size);
}

// ---- prctl ----

// Settings without effect on this kernel: checked, kept and reported (prctl(2)).
Leaf<i64> kept_setting(Caller& c, u32 option, u64 a2, u64 a3, u64 a4, u64 a5) {
    Thread& t = c.thread();
    Process& p = c.process();
    switch (option) {
        case kPrGetTiming: return 0;  // PR_TIMING_STATISTICAL
        case kPrSetTiming: return a2 != 0 ? Leaf<i64>(Errno::kInval) : Leaf<i64>(i64{0});
        case kPrGetTsc: {
            const u32 mode = kPrTscEnable;
            TRY(c.user().write(UserAddr{a2}, &mode, sizeof mode));
            return 0;
        }
        case kPrSetTsc: return a2 == kPrTscEnable ? Leaf<i64>(i64{0}) : Leaf<i64>(Errno::kInval);
        case kPrPerfEventsDisable:
        case kPrPerfEventsEnable: return 0;  // there are none
        case kPrMceKill:
            if (a4 || a5 || a2 > kPrMceSet || (a2 == kPrMceClear ? a3 != 0 : a3 > kPrMceDefault)) return Errno::kInval;
            t.machine_check_policy = u8(a2 == kPrMceClear ? kPrMceDefault : a3);
            return 0;
        case kPrMceKillGet:
            if (a2 || a3 || a4 || a5) return Errno::kInval;
            return i64{t.machine_check_policy};
        case kPrSetThpDisable:
            if (a3 || a4 || a5) return Errno::kInval;
            p.no_huge_pages = a2 != 0;
            return 0;
        case kPrGetThpDisable:
            if (a2 || a3 || a4 || a5) return Errno::kInval;
            return i64{p.no_huge_pages};
        case kPrSetIoFlusher:
            if (!c.creds().capable(fs::kCapSysResource)) return Errno::kPerm;
            if (a2 > 1 || a3 || a4 || a5) return Errno::kInval;
            t.io_flusher = a2 == 1;
            return 0;
        case kPrGetIoFlusher:
            if (!c.creds().capable(fs::kCapSysResource)) return Errno::kPerm;
            if (a2 || a3 || a4 || a5) return Errno::kInval;
            return i64{t.io_flusher};
        case kPrSetSyscallUserDispatch:  // off; there is no other state
            return a2 || a3 || a4 || a5 ? Leaf<i64>(Errno::kInval) : Leaf<i64>(i64{0});
        // Any process of the user may inspect this one anyway (kernel.yama.ptrace_scope is 0).
        case kPrSetPtracer:
            if (i32(a2) == 0 || i32(a2) == -1 || find_thread(Pid{i32(a2)})) return 0;
            return Errno::kInval;
        default: return Errno::kInval;
    }
}

// Speculation is on, and cannot be switched off: there are no mitigations.
Leaf<i64> speculation(u32 option, u64 which, u64 to, u64 a4, u64 a5) {
    if (option == kPrGetSpeculation) {
        if (to || a4 || a5) return Errno::kInval;
        if (which == kPrSpecL1dFlush) return i64{kPrSpecForceDisable};
        return which <= kPrSpecIndirectBranch ? Leaf<i64>(i64{kPrSpecEnable}) : Leaf<i64>(Errno::kNoDev);
    }
    if (a4 || a5) return Errno::kInval;
    switch (which) {
        case kPrSpecStoreBypass: return Errno::kNxIo;
        case kPrSpecIndirectBranch:
            if (to == kPrSpecEnable) return 0;
            return to == kPrSpecDisable || to == kPrSpecForceDisable ? Errno::kPerm : Errno::kRange;
        case kPrSpecL1dFlush: return Errno::kPerm;
        default: return Errno::kNoDev;
    }
}

// The bounding set and securebits (capabilities(7)).
Leaf<i64> drop_bounding(Caller& c, u64 capability) {
    if (!c.creds().capable(fs::kCapSetpcap)) return Errno::kPerm;
    if (capability > kLastCapability) return Errno::kInval;
    Ref<fs::Creds> to = TRY(copy_creds(c.creds()));
    to->cap_bounding &= ~(u64{1} << capability);
    c.thread().set_creds(std::move(to));
    return 0;
}
u32 securebits(Caller& c) { return c.creds().securebits | (c.thread().keep_capabilities ? kSecureKeepCaps : 0); }
Leaf<i64> set_securebits(Caller& c, u64 wanted) {
    const u32 now = securebits(c), locks = now & kSecureLocks;
    if (((locks >> 1) & (now ^ wanted)) || (locks & ~wanted) || (wanted & ~u64{kSecureBits | kSecureLocks}) ||
        !c.creds().capable(fs::kCapSetpcap))
        return Errno::kPerm;
    Ref<fs::Creds> to = TRY(copy_creds(c.creds()));
    to->securebits = u32(wanted) & ~kSecureKeepCaps;
    c.thread().set_creds(std::move(to));
    c.thread().keep_capabilities = (wanted & kSecureKeepCaps) != 0;
    return 0;
}

// What programs without set-ID bits keep of what is permitted and inheritable (capabilities(7), "Ambient").
Leaf<i64> ambient_set(Caller& c, u64 operation, u64 capability) {
    const fs::Creds& old = c.creds();
    u64 set = 0;
    if (operation == abi::kPrCapAmbientClearAll) {
        if (capability != 0) return Errno::kInval;
    } else {
        if (capability > kLastCapability) return Errno::kInval;
        const u64 bit = u64{1} << capability;
        switch (operation) {
            case abi::kPrCapAmbientIsSet: return i64{(old.cap_ambient & bit) != 0};
            case abi::kPrCapAmbientRaise:
                if (!(old.cap_permitted & old.cap_inheritable & bit) || (old.securebits & kSecureNoAmbientRaise))
                    return Errno::kPerm;
                set = old.cap_ambient | bit;
                break;
            case abi::kPrCapAmbientLower: set = old.cap_ambient & ~bit; break;
            default: return Errno::kInval;
        }
    }
    Ref<fs::Creds> to = TRY(copy_creds(old));
    to->cap_ambient = set;
    c.thread().set_creds(std::move(to));
    return 0;
}

Leaf<i64> sys_prctl(Caller& c, u32 option, u64 a2, u64 a3, u64 a4, u64 a5) {
    Thread& t = c.thread();
    Process& p = c.process();
    switch (option) {
        case kPrSetPdeathsig:
            if (a2 > kSignals) return Errno::kInval;
            t.parent_death_signal = u32(a2);
            return 0;
        case kPrGetPdeathsig: {
            u32 sig = t.parent_death_signal;
            TRY(c.user().write(UserAddr{a2}, &sig, sizeof sig));
            return 0;
        }
        case kPrGetDumpable: return i64{c.mm().dumpable.load(std::memory_order_relaxed)};
        case kPrSetDumpable:
            if (a2 > 1) return Errno::kInval;
            c.mm().dumpable.store(a2 == 1, std::memory_order_relaxed);
            return 0;
        case kPrGetKeepcaps: return i64{t.keep_capabilities};
        case kPrSetKeepcaps:
            if (a2 > 1) return Errno::kInval;
            if (c.creds().securebits & (kSecureKeepCaps << 1)) return Errno::kPerm;
            t.keep_capabilities = a2 == 1;
            return 0;
        case kPrSetName: {
            char name[kCommLength] = {};
            auto r = c.user().read_string({name, sizeof name - 1}, UserAddr{a2});
            if (!r.ok() && r.error() != Errno::kNameTooLong) return r.error();
            set_comm(t, {name, r.ok() ? r.value().size() : sizeof name - 1});
            return 0;
        }
        case kPrGetName: TRY(c.user().write(UserAddr{a2}, t.comm, kCommLength)); return 0;
        case kPrGetSeccomp: return 0;
        case kPrCapbsetRead:
            if (a2 > kLastCapability) return Errno::kInval;
            return i64((c.creds().cap_bounding >> a2) & 1);
        case kPrCapbsetDrop: return drop_bounding(c, a2);
        case kPrGetSecurebits: return i64{securebits(c)};
        case kPrSetSecurebits: return set_securebits(c, a2);
        case kPrGetSpeculation:
        case kPrSetSpeculation: return speculation(option, a2, a3, a4, a5);
        case kPrSetTimerslack: t.timer_slack = i64(a2) > 0 ? a2 : t.default_timer_slack; return 0;
        case kPrGetTimerslack: return i64(t.timer_slack);
        case kPrSetChildSubreaper: {
            rt::LockGuard guard{process_tree};
            p.subreaper = a2 != 0;
            return 0;
        }
        case kPrGetChildSubreaper: {
            i32 v = p.subreaper;
            TRY(c.user().write(UserAddr{a2}, &v, sizeof v));
            return 0;
        }
        case kPrSetNoNewPrivs:
            if (a2 != 1 || a3 || a4 || a5) return Errno::kInval;
            t.no_new_privileges = true;
            return 0;
        case kPrGetNoNewPrivs:
            if (a2 || a3 || a4 || a5) return Errno::kInval;
            return i64{t.no_new_privileges};
        case kPrGetTidAddress: {
            u64 at = t.clear_child_tid.value;
            TRY(c.user().write(UserAddr{a2}, &at, sizeof at));
            return 0;
        }
        case kPrCapAmbient: return a4 || a5 ? Leaf<i64>(Errno::kInval) : ambient_set(c, a2, a3);
        default: return kept_setting(c, option, a2, a3, a4, a5);
    }
}

Leaf<i64> sys_arch_prctl(Caller& c, i32 code, UserAddr argument) { return arch::process_control(c, code, argument); }

Leaf<i64> sys_personality(Caller& c, u32 to) {
    u32 old = c.process().personality;
    if (to != kPersonalityQuery) c.process().personality = to;
    return i64{old};
}

// ---- The log ----

// There is nothing to read, but the memory for it must be accessible.
TaskResult read_no_messages(Caller& c, UserAddr to, i32 length) {
    u64 first = u64(length) < kPageSize ? u64(length) : kPageSize;
    if (!fs::UserMemory::inside(to, first)) co_return Errno::kFault;
    if (!(co_await fault_in_range(c.thread(), {to, first, true})).ok()) co_return Errno::kFault;
    co_return i64{0};
}

// The kernel's messages go to the machine's console; the ring that programs may read is empty.
Leaf<i64> sys_syslog(Caller& c, i32 type, UserAddr to, i32 length) {
    // Debian restricts every access to the log (dmesg_restrict) to privileged callers.
    if (!c.creds().capable(kCapSyslog) && !c.creds().capable(fs::kCapSysAdmin)) return Errno::kPerm;
    if (type < 0 || type > kSyslogSizeBuffer) return Errno::kInval;
    switch (type) {
        case kSyslogRead:  // would wait for the first message
        case kSyslogReadAll:
        case kSyslogReadClear:
            if (to.value == 0 || length < 0) return Errno::kInval;
            if (length == 0 || type == kSyslogRead) return 0;
            return c.later(read_no_messages(c, to, length));
        case kSyslogConsoleLevel: return length < 1 || length > 8 ? Leaf<i64>(Errno::kInval) : Leaf<i64>(i64{0});
        case kSyslogSizeUnread:
        case kSyslogSizeBuffer:
        default: return 0;
    }
}

// ---- Reboot ----

Leaf<i64> sys_reboot(Caller& c, u32 magic1, u32 magic2, u32 command, UserAddr) {
    if (!c.creds().capable(kCapSysBoot)) return Errno::kPerm;
    bool known = false;
    for (u32 m : kRebootMagic2) known |= magic2 == m;
    if (magic1 != kRebootMagic1 || !known) return Errno::kInval;
    switch (command) {
        case kRebootCadOn:
        case kRebootCadOff: return 0;  // there is no such key
        case kRebootRestart:
        case kRebootHalt:
        case kRebootPowerOff:  // what the machine's owner makes of it
            end_machine(0);
            begin_group_exit(c.process(), 0);
            return 0;
        default: return Errno::kInval;
    }
}

}  // namespace

constexpr SyscallRow kRows[] = {
    row<&sys_uname>(abi::kNrUname, "uname", Module::kTask, "misc/uname"),
    row<&sys_sethostname>(abi::kNrSethostname, "sethostname", Module::kTask, "misc/host_name"),
    row<&sys_setdomainname>(abi::kNrSetdomainname, "setdomainname", Module::kTask, "misc/host_name"),
    row<&sys_sysinfo>(abi::kNrSysinfo, "sysinfo", Module::kTask, "misc/sysinfo"),
    row<&sys_getrandom>(abi::kNrGetrandom, "getrandom", Module::kTask, "misc/random"),
    row<&sys_prctl>(abi::kNrPrctl, "prctl", Module::kTask, "misc/prctl_values"),
    row<&sys_arch_prctl>(abi::kNrArchPrctl, "arch_prctl", Module::kHome, "misc/segment_bases"),
    row<&sys_personality>(abi::kNrPersonality, "personality", Module::kTask, "misc/personality"),
    row<&sys_syslog>(abi::kNrSyslog, "syslog", Module::kTask, "misc/kernel_log"),
    row<&sys_reboot>(abi::kNrReboot, "reboot", Module::kTask, "ids/privileged_calls_as_user"),
};
const std::span<const SyscallRow> misc_rows{kRows};

}  // namespace linux
