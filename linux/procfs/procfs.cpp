// SPDX-License-Identifier: MIT
// The tree of /proc: its root, /proc/sys and the links to the caller's own directory.
#include "linux/procfs/procfs.hpp"

#include "abi/linux/magic.hpp"
#include "fs/epoll.hpp"
#include "fs/pipe.hpp"
#include "linux/task/pid.hpp"
#include "linux/uts.hpp"
#include "port/api/modules.hpp"

namespace linux {

namespace {

using fs::ProcContext;
using fs::ProcNode;
using lib::StringBuilder;
using ShowFn = Leaf<void> (*)(StringBuilder&, const ProcContext&);

constexpr u32 kFile = fs::kTypeRegular | 0444, kDirectory = fs::kTypeDirectory | 0555, kLink = fs::kTypeLink | 0777,
              kSetting = fs::kTypeRegular | 0644;

constinit std::string_view command_line;

Leaf<void> show_boot_line(StringBuilder& out, const ProcContext&) {
    out.add("{}\n", command_line);
    return lib::kOk;
}

// ---- /proc/farcall ----

Leaf<void> show_modules(StringBuilder& out, const ProcContext&) {
    if (!port::module_control) return Errno::kNoSys;
    port::module_control->report(out);
    return lib::kOk;
}
Leaf<void> set_modules(std::string_view text, const ProcContext&) {
    if (!port::module_control) return Errno::kNoSys;
    if (!text.empty() && text.back() == '\n') text.remove_suffix(1);
    auto r = port::module_control->command(text);
    return r.ok() ? Leaf<void>(lib::kOk) : Leaf<void>(r.error());
}

// ---- Links ----

Leaf<std::string_view> link_self(std::span<char> buffer, const ProcContext&, const void* caller) {
    if (!caller) return Errno::kNoEnt;
    return std::string_view{buffer.data(), lib::format_to(buffer, "{}", proc_caller(caller)->process().pid)};
}
Leaf<std::string_view> link_thread_self(std::span<char> buffer, const ProcContext&, const void* caller) {
    if (!caller) return Errno::kNoEnt;
    Caller& c = *proc_caller(caller);
    return std::string_view{buffer.data(), lib::format_to(buffer, "{}/task/{}", c.process().pid, c.thread().tid)};
}
template <size_t N>
struct Literal {
    char text[N];
    constexpr Literal(const char (&s)[N]) {
        for (size_t i = 0; i < N; ++i) text[i] = s[i];
    }
};
template <Literal kText>
Leaf<std::string_view> link_to(std::span<char>, const ProcContext&, const void*) {
    return std::string_view{kText.text};
}
template <Literal kText>
Leaf<void> show_text(StringBuilder& out, const ProcContext&) {
    out.put(std::string_view{kText.text, sizeof kText.text - 1});
    return lib::kOk;
}
template <u64 kNumber>
Leaf<void> show_number(StringBuilder& out, const ProcContext&) {
    out.add("{}\n", kNumber);
    return lib::kOk;
}

// ---- /proc/sys ----

std::string_view first_line(std::string_view text) {
    size_t end = 0;
    while (end < text.size() && text[end] != '\n' && text[end] != '\0') ++end;
    return text.substr(0, end);
}

template <auto Member>
Leaf<void> show_host(StringBuilder& out, const ProcContext&) {
    char name[65];
    {
        auto names = host_names.lock();
        std::memcpy(name, (*names).*Member, sizeof name);
    }
    out.add("{}\n", static_cast<const char*>(name));
    return lib::kOk;
}
template <auto Member>
Leaf<void> set_host(std::string_view text, const ProcContext&) {
    text = first_line(text);
    if (text.size() > 64) text = text.substr(0, 64);
    auto names = host_names.lock();
    std::memcpy((*names).*Member, text.data(), text.size());
    ((*names).*Member)[text.size()] = 0;
    return lib::kOk;
}

void add_uuid(StringBuilder& out, const u8 (&b)[16]) {
    for (u32 i = 0; i < 16; ++i) {
        if (i == 4 || i == 6 || i == 8 || i == 10) out.put("-");
        out.add("{:02x}", b[i]);
    }
    out.put("\n");
}
void make_uuid(u8 (&b)[16]) {
    port::Port::entropy(std::as_writable_bytes(std::span{b}));
    b[6] = u8((b[6] & 0x0f) | 0x40);  // RFC 4122, 4.4: random
    b[8] = u8((b[8] & 0x3f) | 0x80);
}
Leaf<void> show_uuid(StringBuilder& out, const ProcContext&) {
    u8 b[16];
    make_uuid(b);
    add_uuid(out, b);
    return lib::kOk;
}
struct BootId {
    bool made = false;
    u8 bytes[16] = {};
};
constinit rt::Guarded<BootId, rt::Rank::log> boot_id;
Leaf<void> show_boot_id(StringBuilder& out, const ProcContext&) {
    u8 fresh[16];
    make_uuid(fresh);
    {
        auto id = boot_id.lock();
        if (!id->made) {
            std::memcpy(id->bytes, fresh, sizeof fresh);
            id->made = true;
        }
        std::memcpy(fresh, id->bytes, sizeof fresh);
    }
    add_uuid(out, fresh);
    return lib::kOk;
}

Leaf<void> show_release(StringBuilder& out, const ProcContext&) {
    out.add("{}\n", kRelease);
    return lib::kOk;
}
Leaf<void> show_kernel_version(StringBuilder& out, const ProcContext&) {
    out.add("{}\n", kVersion);
    return lib::kOk;
}

constexpr ProcNode file(std::string_view name, ShowFn show) { return {.name = name, .mode = kFile, .show = show}; }
// One of /proc/sys.
constexpr ProcNode setting(std::string_view name, ShowFn show) {
    return {.name = name, .mode = kFile, .show = show, .plain = true};
}
using ShowSomeFn = decltype(ProcNode::show_some);
constexpr ProcNode file(std::string_view name, ShowSomeFn show) {
    return {.name = name, .mode = kFile, .show_some = show};
}
constexpr ProcNode directory(std::string_view name, std::span<const ProcNode> children) {
    return {.name = name, .mode = kDirectory, .children = children};
}

// A number alone on the line. kInval.
Result<u64> parse_number(std::string_view text) {
    text = first_line(text);
    while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
    while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
    u64 n = 0;
    if (text.empty()) return Errno::kInval;
    for (char digit : text) {
        if (digit < '0' || digit > '9' || n > ~u64{0} / 16) return Errno::kInval;
        n = n * 10 + u64(digit - '0');
    }
    return n;
}
Leaf<void> show_most_threads(StringBuilder& out, const ProcContext&) {
    out.add("{}\n", thread_totals.most.load(std::memory_order_relaxed));
    return lib::kOk;
}
Leaf<void> set_most_threads(std::string_view text, const ProcContext&) {
    const u64 most = TRY(parse_number(text));
    if (most == 0 || most > kMostThreads) return Errno::kInval;
    thread_totals.most.store(most, std::memory_order_relaxed);
    return lib::kOk;
}

constexpr ProcNode kRandom[] = {
    setting("boot_id", &show_boot_id),
    setting("entropy_avail", &show_number<256>),
    setting("poolsize", &show_number<256>),
    setting("uuid", &show_uuid),
};
constexpr ProcNode kKernel[] = {
    setting("cap_last_cap", &show_number<40>),
    {.name = "domainname",
     .mode = kSetting,
     .show = &show_host<&HostNames::domain>,
     .write = &set_host<&HostNames::domain>,
     .plain = true},
    {.name = "hostname",
     .mode = kSetting,
     .show = &show_host<&HostNames::node>,
     .write = &set_host<&HostNames::node>,
     .plain = true},
    setting("ngroups_max", &show_number<fs::kMaxGroups>),
    setting("osrelease", &show_release),
    setting("ostype", &show_text<"Linux\n">),
    setting("overflowgid", &show_number<65534>),
    setting("overflowuid", &show_number<65534>),
    setting("pid_max", &show_number<kPidMax>),
    directory("random", kRandom),
    setting("randomize_va_space", &show_number<0>),
    setting("tainted", &show_number<0>),
    {.name = "threads-max", .mode = kSetting, .show = &show_most_threads, .write = &set_most_threads, .plain = true},
    setting("version", &show_kernel_version),
};

// ---- Limits of pipes (pipe(7)) ----

template <auto Member>
Leaf<void> show_pipe_limit(StringBuilder& out, const ProcContext&) {
    out.add("{}\n", (fs::pipe_limits.*Member).load(std::memory_order_relaxed));
    return lib::kOk;
}
template <auto Member>
Leaf<void> set_pipe_limit(std::string_view text, const ProcContext&) {
    (fs::pipe_limits.*Member).store(TRY(parse_number(text)), std::memory_order_relaxed);
    return lib::kOk;
}
Leaf<void> set_pipe_max(std::string_view text, const ProcContext&) {
    u64 room = fs::pipe_room(TRY(parse_number(text)));
    if (room == 0) return Errno::kInval;
    fs::pipe_limits.max_bytes.store(room, std::memory_order_relaxed);
    return lib::kOk;
}
template <auto Member>
constexpr ProcNode pipe_limit(std::string_view name) {
    return {.name = name,
            .mode = kSetting,
            .show = &show_pipe_limit<Member>,
            .write = &set_pipe_limit<Member>,
            .plain = true};
}

Leaf<void> show_watch_limit(StringBuilder& out, const ProcContext&) {
    out.add("{}\n", fs::epoll_watch_limit());
    return lib::kOk;
}
Leaf<void> set_watch_limit(std::string_view text, const ProcContext&) {
    fs::set_epoll_watch_limit(TRY(parse_number(text)));
    return lib::kOk;
}
constexpr ProcNode kEpoll[] = {
    {.name = "max_user_watches", .mode = kSetting, .show = &show_watch_limit, .write = &set_watch_limit, .plain = true},
};

constexpr ProcNode kSysFs[] = {
    directory("epoll", kEpoll),
    setting("nr_open", &show_number<fs::kMaxDescriptors>),
    {.name = "pipe-max-size",
     .mode = kSetting,
     .show = &show_pipe_limit<&fs::PipeLimits::max_bytes>,
     .write = &set_pipe_max,
     .plain = true},
    pipe_limit<&fs::PipeLimits::hard_pages>("pipe-user-pages-hard"),
    pipe_limit<&fs::PipeLimits::soft_pages>("pipe-user-pages-soft"),
    setting("protected_symlinks", &show_number<1>),
};
constexpr ProcNode kVm[] = {
    setting("max_map_count", &show_number<kMaxAreas>),
    setting("mmap_min_addr", &show_number<65536>),
    setting("overcommit_memory", &show_number<0>),
};
constexpr ProcNode kSys[] = {
    directory("fs", kSysFs),
    directory("kernel", kKernel),
    directory("vm", kVm),
};

constexpr ProcNode kFarcall[] = {
    {.name = "modules", .mode = kSetting, .show = &show_modules, .write = &set_modules},
};

constexpr ProcNode kRoot[] = {
    file("cmdline", &show_boot_line),
    file("cpuinfo", &show_cpus),
    file("devices", &show_devices),
    file("diskstats", &show_disk_stats),
    directory("farcall", kFarcall),
    file("filesystems", &show_file_systems),
    file("loadavg", &show_load),
    file("meminfo", &show_meminfo),
    {.name = "mounts", .mode = kLink, .link = &link_to<"self/mounts">},
    directory("net", {}),
    file("partitions", &show_partitions),
    {.name = "self", .mode = kLink, .link = &link_self},
    file("stat", &show_stat),
    file("swaps", &show_text<"Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n">),
    directory("sys", kSys),
    {.name = "thread-self", .mode = kLink, .link = &link_thread_self},
    file("uptime", &show_uptime),
    file("version", &show_version),
};
constexpr fs::ProcNumbered kProcesses{
    .node = &proc_process_node, .inner = false, .next = &next_process_number, .identity = &process_identity};
constexpr ProcNode kTop{.name = "/", .mode = kDirectory, .children = kRoot, .numbered = &kProcesses};

Result<fs::NewFileSystem> mount_proc(std::string_view, bool& known_options) {
    known_options = true;
    return fs::make_generated(kTop, "proc", abi::kMagicProc);
}
constinit fs::FileSystemType proc_type{.name = "proc", .make = &mount_proc};
constinit std::atomic<bool> registered{false};

}  // namespace

void set_command_line(std::string_view text) { command_line = text; }

Result<fs::NewFileSystem> make_procfs() {
    if (!registered.exchange(true, std::memory_order_relaxed)) fs::register_file_system(proc_type);
    bool known;
    return mount_proc({}, known);
}

}  // namespace linux
