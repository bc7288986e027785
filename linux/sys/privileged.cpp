// SPDX-License-Identifier: MIT
// Calls for the administrator on what this kernel does not have: modules, swap areas, quotas, accounting, ports of the
// machine. Who may not call them is refused as by Linux, before anything else is looked at (capabilities(7)); who may is told
// what a kernel built without that part says, or what is true of one where nothing of it is in use.
#include "abi/linux/capability.hpp"
#include "linux/sys/file_calls.hpp"
#include "linux/sys/path_calls.hpp"
#include "linux/task/thread.hpp"
#include "linux/terminal.hpp"

namespace linux {

namespace {

using port::Module;

// EPERM without the capability.
Result<void> need(Caller& c, u32 capability) {
    return c.creds().capable(capability) ? Result<void>(lib::kOk) : Result<void>(Errno::kPerm);
}
// ENOSYS, named in the log like any other call that is not there.
TaskResult absent(Caller& c, u32 number) {
    note_unknown_call(c.thread(), number);
    co_return Errno::kNoSys;
}
// For privileged callers alone, and not there.
template <u32 Number, u32 Capability>
Leaf<i64> sys_absent(Caller& c) {
    TRY(need(c, Capability));
    return c.later(absent(c, Number));
}
template <u32 Number, u32 Capability>
constexpr SyscallRow absent_row(const char* name, const char* test = "caps/administration") {
    return row<&sys_absent<Number, Capability>>(Number, name, Module::kTask, test);
}

// ---- The machine's ports: iopl(2), ioperm(2) ----

constexpr u64 kPorts = 65536;

// Nobody has a level above 0, so that can only be kept.
Leaf<i64> sys_iopl(Caller& c, u32 level) {
    if (level > 3) return Errno::kInval;
    if (level == 0) return 0;
    TRY(need(c, abi::kCapSysRawio));
    return c.later(absent(c, abi::kNrIopl));
}
Leaf<i64> sys_ioperm(Caller& c, u64 from, u64 count, i32 on) {
    if (from + count <= from || from + count > kPorts) return Errno::kInval;
    if (!on) return 0;
    TRY(need(c, abi::kCapSysRawio));
    return c.later(absent(c, abi::kNrIoperm));
}

// ---- Modules ----

// No module is loaded, so none has that name.
Leaf<i64> sys_delete_module(Caller& c, UserString name, u32) {
    constexpr size_t kModuleName = 56;  // MODULE_NAME_LEN
    TRY(need(c, abi::kCapSysModule));
    char text[kModuleName];
    auto r = c.user().read_string({text, sizeof text}, name.at);
    if (!r.ok() && r.error() != Errno::kNameTooLong) return r.error();
    return Errno::kNoEnt;
}

// ---- Swapping, accounting, quotas ----

constexpr u32 kSwapFlags = 0x7ffff;  // SWAP_FLAGS_VALID
Leaf<i64> sys_swapon(Caller& c, UserString, u32 flags) {
    if (flags & ~kSwapFlags) return Errno::kInval;
    TRY(need(c, fs::kCapSysAdmin));
    return c.later(absent(c, abi::kNrSwapon));
}
// A file that is there is no swap area.
Leaf<i64> sys_swapoff(Caller& c, UserString path) {
    TRY(need(c, fs::kCapSysAdmin));
    Target t;
    TRY(t.find(c, kAtCwd, path, fs::kFollow));
    return Errno::kInval;
}

// It is off; nothing can switch it on.
Leaf<i64> sys_acct(Caller& c, UserString path) {
    TRY(need(c, abi::kCapSysPacct));
    return path.at.value == 0 ? Leaf<i64>(i64{0}) : Leaf<i64>(c.later(absent(c, abi::kNrAcct)));
}

constexpr u32 kQuotaTypes = 3, kQuotaCommandShift = 8, kQuotaTypeMask = 0xff, kQuotaSync = 0x800001;
Leaf<i64> sys_quotactl(Caller& c, u32 command, UserString special) {
    if ((command & kQuotaTypeMask) >= kQuotaTypes) return Errno::kInval;
    if (special.at.value == 0)
        return command >> kQuotaCommandShift == kQuotaSync ? Leaf<i64>(i64{0}) : Leaf<i64>(Errno::kNoDev);
    Target t;
    TRY(t.find(c, kAtCwd, special, fs::kFollow));
    if ((t.inode().mode() & fs::kTypeMask) != fs::kTypeBlock) return Errno::kNotBlk;
    if (t.mount().flags.load(std::memory_order_relaxed) & fs::kMountNoDev) return Errno::kAcces;
    return Errno::kNoDev;  // no file system is on a device
}
// No file system keeps quotas.
Leaf<i64> sys_quotactl_fd(Caller& c, Fd fd, u32 command) {
    Ref<fs::File> file = TRY(open_file(c, fd));
    if ((command & kQuotaTypeMask) >= kQuotaTypes) return Errno::kInval;
    return Errno::kNoSys;
}

// ---- bpf(2) ----

// Users may neither make maps nor load programs (kernel.unprivileged_bpf_disabled, as Debian has it).
Leaf<i64> sys_bpf(Caller& c, u32 command) {
    constexpr u32 kMapCreate = 0, kProgramLoad = 5;
    if (command == kMapCreate || command == kProgramLoad) {
        if (!c.creds().capable(abi::kCapBpf)) TRY(need(c, fs::kCapSysAdmin));
    }
    return c.later(absent(c, abi::kNrBpf));
}

// ---- The terminal ----

Leaf<i64> sys_vhangup(Caller& c) {
    TRY(need(c, abi::kCapSysTtyConfig));
    if (fs::Tty* tty = controlling_terminal(c.process())) hang_up_terminal(*tty);
    return 0;
}

}  // namespace

constexpr SyscallRow kRows[] = {
    row<&sys_iopl>(abi::kNrIopl, "iopl", Module::kTask, "caps/ports_of_the_machine"),
    row<&sys_ioperm>(abi::kNrIoperm, "ioperm", Module::kTask, "caps/ports_of_the_machine"),
    absent_row<abi::kNrInitModule, abi::kCapSysModule>("init_module"),
    absent_row<abi::kNrFinitModule, abi::kCapSysModule>("finit_module"),
    row<&sys_delete_module>(abi::kNrDeleteModule, "delete_module", Module::kTask, "caps/administration"),
    row<&sys_swapon>(abi::kNrSwapon, "swapon", Module::kTask, "caps/administration"),
    row<&sys_swapoff>(abi::kNrSwapoff, "swapoff", Module::kFs, "caps/administration"),
    row<&sys_acct>(abi::kNrAcct, "acct", Module::kTask, "caps/administration"),
    row<&sys_quotactl>(abi::kNrQuotactl, "quotactl", Module::kFs, "caps/quotas"),
    row<&sys_quotactl_fd>(abi::kNrQuotactlFd, "quotactl_fd", Module::kFs, "caps/quotas"),
    row<&sys_bpf>(abi::kNrBpf, "bpf", Module::kTask, "caps/administration"),
    absent_row<abi::kNrKexecLoad, abi::kCapSysBoot>("kexec_load"),
    absent_row<abi::kNrKexecFileLoad, abi::kCapSysBoot>("kexec_file_load"),
    absent_row<abi::kNrPivotRoot, fs::kCapSysAdmin>("pivot_root"),
    absent_row<abi::kNrFsopen, fs::kCapSysAdmin>("fsopen"),
    absent_row<abi::kNrFsmount, fs::kCapSysAdmin>("fsmount"),
    absent_row<abi::kNrMoveMount, fs::kCapSysAdmin>("move_mount"),
    absent_row<abi::kNrFspick, fs::kCapSysAdmin>("fspick"),
    absent_row<abi::kNrOpenByHandleAt, fs::kCapDacReadSearch>("open_by_handle_at"),
    row<&sys_vhangup>(abi::kNrVhangup, "vhangup", Module::kTask, "caps/administration"),
};
const std::span<const SyscallRow> privileged_rows{kRows};

}  // namespace linux
