// SPDX-License-Identifier: MIT
// /proc/PID and /proc/PID/task/TID.
#include "linux/procfs/procfs.hpp"
#include "linux/task/creds.hpp"
#include "linux/task/pid.hpp"
#include "linux/terminal.hpp"
#include "rt/mem/slab.hpp"

namespace linux {

namespace {

using fs::ProcContext;
using fs::ProcNode;
using lib::StringBuilder;

// The process an instance is about, and the thread: the one it names, or the first.
struct Subject {
    Ref<Process> process;
    Ref<Thread> thread;  // may have ended; null: the kernel's init

    static Result<Subject> find(const ProcContext& c) {
        Subject s;
        s.process = proc_process(c);
        if (!s.process) return Errno::kSrch;
        if (c.sub != 0) {
            s.thread = find_thread(Pid{i32(c.sub)});
            if (!s.thread || &s.thread->process() != s.process.get() || s.thread->serial != c.sub_identity)
                return Errno::kSrch;
        } else {
            s.thread = s.process->leading_thread();
        }
        return s;
    }
    Ref<const fs::Creds> credentials(const ProcContext& c) {
        return c.sub != 0 && thread ? thread->credentials() : process->credentials();
    }
    ProcessView view(const ProcContext& c, ViewOf what = ViewOf::kMemory) {
        return view_of(*process, c.sub != 0 ? thread.get() : nullptr, what);
    }
    char state() const { return thread ? Process::state_letter(*thread) : 'S'; }
    // Null: it has ended, or has none.
    Ref<AddressSpace> mm() const { return state() == 'Z' ? Ref<AddressSpace>{} : process->mm(); }
    // For a process without threads: what it was started from.
    std::string_view comm() const {
        if (thread) {
            std::string_view whole{thread->comm, kCommLength};
            return whole.substr(0, whole.find('\0'));
        }
        std::string_view path{process->exe_path};
        if (path.empty()) return "init";
        size_t slash = path.rfind('/');
        if (slash != path.npos) path.remove_prefix(slash + 1);
        return path.substr(0, kCommLength - 1);
    }
};

struct Relations {
    i32 parent = 0, group = 0, session = 0, terminal_group = -1;
    u64 terminal = 0;
};
Relations relations_of(Process& p) {
    rt::LockGuard guard{process_tree};
    Relations r;
    r.parent = p.parent ? p.parent->pid.value : 0;
    r.group = p.group.value;
    r.session = p.session.value;
    if (const Terminal* terminal = terminal_of(p)) {
        r.terminal = fs::Tty::kDevice;
        r.terminal_group = terminal->tty->foreground.load(std::memory_order_relaxed);
    }
    return r;
}

// ---- Owner ----

// Root's, if it is not dumpable; the directory itself always shows whose process it is.
Result<void> owner_of(const ProcContext& c, fs::Attributes& a) {
    Subject s = TRY(Subject::find(c));
    const ProcessView v = s.view(c);
    if ((a.mode & ~u32{fs::kSetUid}) != (fs::kTypeDirectory | 0555) && !v.dumpable()) return lib::kOk;
    if (v.creds) {
        a.uid = v.creds->euid;
        a.gid = v.creds->egid;
    }
    return lib::kOk;
}
// The same file, as one of the process.
ProcContext of_process(ProcContext c) {
    c.sub = c.sub_identity = 0;
    return c;
}
Result<void> owner_of_descriptor(const ProcContext& c, fs::Attributes& a) { return owner_of(of_process(c), a); }
bool is_own(const ProcContext& c) {
    Ref<Process> p = proc_process(c);
    return p && c.caller && &proc_caller(c.caller)->process() == p.get();
}
// What the caller may look at. EACCES: may_inspect().
Result<ProcessView> followed(const ProcContext& c, ViewOf what = ViewOf::kMemory) {
    auto s = Subject::find(c);
    if (!s.ok()) return Errno::kAcces;
    ProcessView v = s.value().view(c, what);
    if (!may_inspect(proc_caller(c.caller), v)) return Errno::kAcces;
    return v;
}
Leaf<u64> open_descriptor_info(const ProcContext& c) {
    (void)TRY(followed(of_process(c)));
    return u64{0};
}

// ---- stat, status ----

Leaf<void> show_process_stat(StringBuilder& out, const ProcContext& c) {
    Subject s = TRY(Subject::find(c));
    Process& p = *s.process;
    Relations r = relations_of(p);
    Usage usage = p.usage();
    CpuTimes times = c.sub != 0 && s.thread ? s.thread->cpu_times() : usage.times;
    AddressSpace::Totals t{};
    AddressSpace::Layout l{};
    const ProcessView view = s.view(c);
    Ref<AddressSpace> mm = s.state() == 'Z' ? Ref<AddressSpace>{} : view.mm;
    if (mm) {
        t = mm->totals();
        l = mm->layout;
    }
    SignalSummary signals = signal_summary(p, s.thread.get());
    i32 nice = s.thread ? s.thread->nice : 0;
    u32 policy = s.thread ? s.thread->sched_policy : 0, priority = s.thread ? s.thread->sched_priority : 0;
    Nanoseconds started = c.sub != 0 && s.thread ? s.thread->started : p.started;
    u64 mask31 = 0x7fff'ffff;
    const bool permitted = may_inspect(proc_caller(c.caller), view);
    if (!permitted) {
        // Addresses are not revealed; 1 replaces an address.
        u64 one = mm ? 1 : 0;
        l = {};
        l.code_start = l.code_end = UserAddr{one};
    }
    out.add("{} ({}) {} {} {} {} {} {} {} ", c.sub != 0 ? c.sub : c.id, s.comm(), s.state(), r.parent, r.group,
            r.session, r.terminal, r.terminal_group, kTaskRandomize);
    out.add("{} {} {} {} {} {} {} {} ", usage.minor_faults, p.usage_children.minor_faults, usage.major_faults,
            p.usage_children.major_faults, to_ticks(times.user), to_ticks(times.system),
            to_ticks(p.usage_children.times.user), to_ticks(p.usage_children.times.system));
    out.add("{} {} {} 0 {} ", priority != 0 ? -1 - i32(priority) : 20 + nice, nice, p.thread_count(),
            to_ticks(started.value));
    out.add("{} {} {} ", t.virtual_pages * kPageSize, t.resident_pages, p.limit(kRlimRss));
    out.add("{} {} {} 0 0 ", l.code_start.value, l.code_end.value, l.stack_start.value);
    out.add("{} {} {} {} ", signals.pending.bits & mask31, signals.blocked.bits & mask31, signals.ignored.bits & mask31,
            signals.caught.bits & mask31);
    out.add("{} 0 0 {} {} {} {} 0 0 0 ", permitted && (s.state() == 'S' || s.state() == 'D') ? 1 : 0,
            c.sub != 0 ? -1 : p.exit_signal, 0, priority, policy);
    out.add("{} {} {} {} {} {} {} ", l.data_start.value, l.data_end.value, l.break_start.value, l.arg_start.value,
            l.arg_end.value, l.env_start.value, l.env_end.value);
    out.add("{}\n", permitted && p.state_seen() == Process::State::kZombie ? p.exit_status : 0);
    return lib::kOk;
}

const char* state_name(char letter) {
    switch (letter) {
        case 'R': return "R (running)";
        case 'T': return "T (stopped)";
        case 'Z': return "Z (zombie)";
        case 'D': return "D (disk sleep)";
        default: return "S (sleeping)";
    }
}

void add_cpu_list(StringBuilder& out, CpuSet set) {
    bool first = true;
    for (u32 i = 0; i < lib::kMaxCpus; ++i) {
        if (!set.has(CpuId{i})) continue;
        u32 last = i;
        while (last + 1 < lib::kMaxCpus && set.has(CpuId{last + 1})) ++last;
        out.put(first ? "" : ",");
        if (last == i)
            out.add("{}", i);
        else
            out.add("{}-{}", i, last);
        first = false;
        i = last;
    }
    out.put("\n");
}

// Up to the groups.
void add_status_head(StringBuilder& out, const ProcContext& c, Subject& s, const fs::Creds& id) {
    Process& p = *s.process;
    u64 tid = c.sub != 0 ? c.sub : c.id;
    u32 umask = 022;
    if (Ref<FsContext> context = p.fs_context()) umask = context->state.lock()->umask;
    out.put("Name:\t");
    for (char ch : s.comm()) {  // on one line, whatever it is (proc_task_name)
        if (ch == '\n')
            out.put("\\n");
        else if (ch == '\\')
            out.put("\\\\");
        else
            out.put({&ch, 1});
    }
    out.add("\nUmask:\t{:04o}\nState:\t{}\n", umask, state_name(s.state()));
    out.add("Tgid:\t{}\nNgid:\t0\nPid:\t{}\nPPid:\t{}\nTracerPid:\t0\n", p.pid, tid, relations_of(p).parent);
    out.add("Uid:\t{}\t{}\t{}\t{}\n", id.uid, id.euid, id.suid, id.fsuid);
    out.add("Gid:\t{}\t{}\t{}\t{}\n", id.gid, id.egid, id.sgid, id.fsgid);
    Ref<fs::FileTable> files = p.files();
    out.add("FDSize:\t{}\nGroups:\t", files ? std::min(files->capacity(), fs::kMaxDescriptors) : 0);
    if (!id.groups) out.put(" ");
}

void add_status_memory(StringBuilder& out, AddressSpace& mm) {
    AddressSpace::Totals t = mm.totals();
    auto line = [&](const char* name, u64 pages) { out.add("{}\t{:>8} kB\n", name, pages * (kPageSize / 1024)); };
    u64 text = mm.layout.code_end.value > mm.layout.code_start.value
                   ? lib::pages_for(mm.layout.code_end.value) - (mm.layout.code_start.value >> lib::kPageShift)
                   : 0;
    line("VmPeak:", t.virtual_pages);
    line("VmSize:", t.virtual_pages);
    line("VmLck:", t.locked_pages);
    line("VmPin:", 0);
    line("VmHWM:", t.peak_resident > t.resident_pages ? t.peak_resident : t.resident_pages);
    line("VmRSS:", t.resident_pages);
    line("RssAnon:", t.resident_pages - t.shared_pages);
    line("RssFile:", t.shared_pages);
    line("VmData:", t.data_pages);
    line("VmStk:", t.stack_pages);
    line("VmExe:", text);
    line("VmSwap:", 0);
    line("HugetlbPages:", 0);
    out.put("CoreDumping:\t0\nTHP_enabled:\t0\n");
}

// After the groups.
void add_status_tail(StringBuilder& out, const ProcContext& c, Subject& s, const fs::Creds& id) {
    Process& p = *s.process;
    Relations r = relations_of(p);
    u64 tid = c.sub != 0 ? c.sub : c.id;
    out.add("\nNStgid:\t{}\nNSpid:\t{}\nNSpgid:\t{}\nNSsid:\t{}\n", p.pid, tid, r.group, r.session);
    if (Ref<AddressSpace> mm = s.mm()) add_status_memory(out, *mm);
    SignalSummary signals = signal_summary(p, s.thread.get());
    out.add("Threads:\t{}\nSigQ:\t{}/{}\n", p.thread_count(), signals.queued, p.limit(kRlimSigpending));
    out.add("SigPnd:\t{:016x}\nShdPnd:\t{:016x}\nSigBlk:\t{:016x}\nSigIgn:\t{:016x}\nSigCgt:\t{:016x}\n",
            signals.pending.bits, signals.shared_pending.bits, signals.blocked.bits, signals.ignored.bits,
            signals.caught.bits);
    out.add("CapInh:\t{:016x}\nCapPrm:\t{:016x}\nCapEff:\t{:016x}\nCapBnd:\t{:016x}\nCapAmb:\t{:016x}\n",
            id.cap_inheritable & kAllCapabilities, id.cap_permitted & kAllCapabilities,
            id.cap_effective & kAllCapabilities, id.cap_bounding & kAllCapabilities, id.cap_ambient & kAllCapabilities);
    out.add("NoNewPrivs:\t{}\nSeccomp:\t0\nSeccomp_filters:\t0\n", s.thread && s.thread->no_new_privileges ? 1 : 0);
    CpuSet cpus = CpuSet::first(port::Port::cpu_count());
    if (s.thread) cpus = s.thread->allowed_cpus() & cpus;
    out.add("Cpus_allowed:\t{:x}\nCpus_allowed_list:\t", cpus.bits);
    add_cpu_list(out, cpus);
    out.put("Mems_allowed:\t1\nMems_allowed_list:\t0\n");
    Usage usage = p.usage();
    out.add("voluntary_ctxt_switches:\t{}\nnonvoluntary_ctxt_switches:\t{}\n", usage.voluntary_switches,
            usage.involuntary_switches);
}

// Positions: 0, or 1 and the index of a group that is not the first.
Leaf<void> show_process_status(StringBuilder& out, const ProcContext& c, u64& position) {
    constexpr size_t kGroupsOfAPiece = 192;
    Subject s = TRY(Subject::find(c));
    Ref<const fs::Creds> creds = s.credentials(c);
    const fs::Creds nobody{};
    const fs::Creds& id = creds ? *creds : nobody;
    if (position == 0) add_status_head(out, c, s, id);
    if (id.groups) {
        std::span<const u32> all = id.groups->all();
        size_t at = position == 0 ? 0 : size_t(position - 1);
        for (size_t n = 0; n < kGroupsOfAPiece && at < all.size(); ++n, ++at) out.add("{} ", all[at]);
        if (at < all.size()) {
            position = at + 1;
            return lib::kOk;
        }
    }
    add_status_tail(out, c, s, id);
    position = ~u64{0};
    return lib::kOk;
}

Leaf<void> show_comm(StringBuilder& out, const ProcContext& c) {
    Subject s = TRY(Subject::find(c));
    out.add("{}\n", s.comm());
    return lib::kOk;
}
Leaf<void> set_comm_text(std::string_view text, const ProcContext& c) {
    Subject s = TRY(Subject::find(c));
    if (!s.thread) return Errno::kSrch;
    if (!is_own(c)) return Errno::kInval;  // only threads of the process itself change its names
    if (!text.empty() && text.back() == '\n') text.remove_suffix(1);
    size_t n = text.size() < kCommLength - 1 ? text.size() : kCommLength - 1;
    std::memcpy(s.thread->comm, text.data(), n);
    std::memset(s.thread->comm + n, 0, kCommLength - n);
    return lib::kOk;
}

Leaf<void> show_limits(StringBuilder& out, const ProcContext& c) {
    struct Line {
        const char* name;
        const char* unit;
    };
    static constexpr Line kLines[kRlimCount] = {
        {"Max cpu time", "seconds"},    {"Max file size", "bytes"},      {"Max data size", "bytes"},
        {"Max stack size", "bytes"},    {"Max core file size", "bytes"}, {"Max resident set", "bytes"},
        {"Max processes", "processes"}, {"Max open files", "files"},     {"Max locked memory", "bytes"},
        {"Max address space", "bytes"}, {"Max file locks", "locks"},     {"Max pending signals", "signals"},
        {"Max msgqueue size", "bytes"}, {"Max nice priority", nullptr},  {"Max realtime priority", nullptr},
        {"Max realtime timeout", "us"},
    };
    Subject s = TRY(Subject::find(c));
    RlimitValue values[kRlimCount];
    {
        auto limits = s.process->rlimits.lock();
        for (u32 i = 0; i < kRlimCount; ++i) values[i] = (*limits)[i];
    }
    out.add("{:<25} {:<20} {:<20} {:<10}\n", "Limit", "Soft Limit", "Hard Limit", "Units");
    for (u32 i = 0; i < kRlimCount; ++i) {
        out.add("{:<25} ", kLines[i].name);
        for (u64 v : {values[i].soft, values[i].hard}) {
            if (v == ~u64{0})
                out.add("{:<20} ", "unlimited");
            else
                out.add("{:<20} ", v);
        }
        if (kLines[i].unit) out.add("{:<10}", kLines[i].unit);
        out.put("\n");
    }
    return lib::kOk;
}

// ---- Links ----

// The target of a link, as the caller sees it.
Leaf<std::string_view> text_of(const fs::Path& p, std::span<char> buffer, const void* caller) {
    fs::Path root;
    if (caller) root = proc_caller(caller)->lookup_context().root;
    auto text = fs::path_text(p, root, buffer, true);
    return text.error() == Errno::kRange ? Leaf<std::string_view>(Errno::kNameTooLong) : text;
}

Leaf<fs::Path> target_exe(const ProcContext& c) {
    const ProcessView v = TRY(followed(c));
    Subject s = TRY(Subject::find(c));
    if (!v.mm || !v.program || !v.program->path || s.state() == 'Z') return Errno::kNoEnt;
    return fs::Path{v.program->path};
}
template <auto Member>
Leaf<fs::Path> target_of_context(const ProcContext& c) {
    const ProcessView v = TRY(followed(c, ViewOf::kDescriptors));
    if (!v.context) return Errno::kNoEnt;
    auto state = v.context->state.lock();
    return fs::Path{(*state).*Member};
}
template <auto Target>
Leaf<std::string_view> link_text(std::span<char> buffer, const ProcContext& c, const void* caller) {
    return text_of(TRY(Target(c)), buffer, caller);
}

Result<Ref<fs::File>> file_of(const ProcContext& c) {
    Ref<Process> p = proc_process(c);
    if (!p) return Errno::kNoEnt;
    Ref<fs::FileTable> files = p->files();
    if (!files) return Errno::kNoEnt;
    auto file = files->get(fs::Fd{i32(c.sub)});
    if (!file.ok()) return Errno::kNoEnt;
    return file;
}
bool closes_on_exec(const ProcContext& c) {
    Ref<Process> p = proc_process(c);
    Ref<fs::FileTable> files = p ? p->files() : Ref<fs::FileTable>{};
    if (!files) return false;
    const auto set = files->close_on_exec(fs::Fd{i32(c.sub)});
    return set.ok() && set.value();
}
Result<Ref<fs::File>> followed_file(const ProcContext& c) {
    const ProcessView v = TRY(followed(of_process(c)));
    Ref<fs::File> file = TRY(file_of(c));
    // What a program has opened that was executed in the meantime was not decided about.
    Ref<Process> p = proc_process(c);
    if (!p || p->mm().get() != v.mm.get()) return Errno::kAcces;
    return file;
}
Leaf<fs::Path> target_fd(const ProcContext& c) { return fs::path_of_file(*TRY(followed_file(c))); }
Leaf<std::string_view> link_fd(std::span<char> buffer, const ProcContext& c, const void* caller) {
    Ref<fs::File> file = TRY(followed_file(c));
    if (file->path()) return text_of(file->path(), buffer, caller);
    char label[64];
    std::string_view text = file->label(label);
    if (text.size() > buffer.size()) return Errno::kNameTooLong;
    std::memcpy(buffer.data(), text.data(), text.size());
    return std::string_view{buffer.data(), text.size()};
}
// Position 0: what all files have, and the first lines of the type's own; then File::show_info's.
Leaf<void> show_fd_info(StringBuilder& out, const ProcContext& c, u64& position) {
    u64 at = std::exchange(position, ~u64{0});
    Ref<fs::File> file = TRY(file_of(c));
    if (at == 0) {
        u32 flags = file->flags() & ~fs::kOpenHidden;
        if (closes_on_exec(c)) flags |= fs::kOpenCloexec;
        out.add("pos:\t{}\nflags:\t0{:o}\nmnt_id:\t{}\nino:\t{}\n", file->position(), flags, file->mount().id,
                file->inode()->number);
    }
    if (file->show_info(out, at)) position = at;
    return lib::kOk;
}
// A link shows how its file is open.
Result<void> look_of_descriptor(const ProcContext& c, fs::Attributes& a) {
    constexpr u64 kLinkSize = 64;
    TRY(owner_of_descriptor(c, a));
    Ref<fs::File> file = TRY(file_of(c));
    a.mode = fs::kTypeLink | (file->readable() ? 0500 : 0) | (file->writable() ? 0300 : 0);
    a.size = kLinkSize;
    return lib::kOk;
}
u64 next_descriptor(const ProcContext& c, u64 from) {
    Ref<Process> p = proc_process(c);
    Ref<fs::FileTable> files = p ? p->files() : Ref<fs::FileTable>{};
    if (!files || from > fs::kMaxDescriptors) return ~u64{0};
    i32 n = files->next_open(i32(from));
    return n < 0 ? ~u64{0} : u64(n);
}
u64 next_thread(const ProcContext& c, u64 from) {
    Ref<Process> p = proc_process(c);
    if (!p) return ~u64{0};
    rt::LockGuard guard{p->lock};
    u64 best = ~u64{0};
    for (Thread& t : p->threads) {
        u64 n = u64(t.tid.value);
        if (n >= from && n < best) best = n;
    }
    guard.unlock();
    // The leader is one of them until the process is reaped, also when it has ended.
    if (u64 n = c.id; n >= from && n < best && p->leading_thread()) best = n;
    return best;
}

u64 thread_identity(const ProcContext& c) {
    Ref<Thread> t = find_thread(Pid{i32(c.sub)});
    return t ? t->serial : 0;
}

// ---- Tables ----

constexpr u32 kFile = fs::kTypeRegular | 0444, kPrivate = fs::kTypeRegular | 0400,
              kDirectory = fs::kTypeDirectory | 0555, kPrivateDirectory = fs::kTypeDirectory | 0500,
              kLink = fs::kTypeLink | 0777;

constexpr ProcNode kDescriptor{
    .mode = fs::kTypeLink | 0700, .link = &link_fd, .target = &target_fd, .owner = &look_of_descriptor};
constexpr fs::ProcNumbered kDescriptors{.node = &kDescriptor, .inner = true, .next = &next_descriptor};
constexpr ProcNode kDescriptorInfo{
    .mode = kFile, .show_some = &show_fd_info, .open = &open_descriptor_info, .owner = &owner_of_descriptor};
constexpr fs::ProcNumbered kDescriptorInfos{.node = &kDescriptorInfo, .inner = true, .next = &next_descriptor};

constexpr ProcNode file(std::string_view name, Leaf<void> (*show)(StringBuilder&, const ProcContext&),
                        u32 mode = kFile) {
    return {.name = name, .mode = mode, .show = show, .owner = &owner_of};
}

constexpr auto kCwd = &target_of_context<&FsContext::State::cwd>;
constexpr auto kRootDir = &target_of_context<&FsContext::State::root>;

// There are no logins on this machine: the number that means "not set" (pam_loginuid(8)).
Leaf<void> show_login_uid(StringBuilder& out, const ProcContext&) {
    out.put("4294967295");
    return lib::kOk;
}

constexpr ProcNode kComm{.name = "comm",
                         .mode = fs::kTypeRegular | 0644,
                         .show = &show_comm,
                         .write = &set_comm_text,
                         .most_text = sizeof Thread::comm - 1,
                         .takes_all = true,
                         .owner = &owner_of};

constexpr ProcNode kEnvironment{.name = "environ",
                                .mode = kPrivate,
                                .show_some = &show_environment,
                                .plain = true,
                                .open = &open_memory,
                                .owner = &owner_of};
constexpr ProcNode kAuxiliary{
    .name = "auxv", .mode = kPrivate, .show = &show_auxiliary, .plain = true, .open = &open_memory, .owner = &owner_of};
constexpr ProcNode kMaps{
    .name = "maps", .mode = kFile, .show_some = &show_maps, .open = &open_memory, .owner = &owner_of};

constexpr ProcNode kOomAdjustment{.name = "oom_score_adj",
                                  .mode = fs::kTypeRegular | 0644,
                                  .show = &show_oom_adjustment,
                                  .write = &write_oom_adjustment,
                                  .most_text = kMostNumber,
                                  .plain = true,
                                  .owner = &owner_of};
constexpr ProcNode kOldOomAdjustment{.name = "oom_adj",
                                     .mode = fs::kTypeRegular | 0644,
                                     .show = &show_old_oom_adjustment,
                                     .write = &write_old_oom_adjustment,
                                     .most_text = kMostNumber,
                                     .plain = true,
                                     .owner = &owner_of};

constexpr ProcNode kThreadFiles[] = {
    {.name = "cmdline", .mode = kFile, .show_some = &show_command_line, .plain = true, .owner = &owner_of},
    kComm,
    {.name = "cwd", .mode = kLink, .link = &link_text<kCwd>, .target = kCwd, .owner = &owner_of},
    kEnvironment,
    {.name = "exe", .mode = kLink, .link = &link_text<&target_exe>, .target = &target_exe, .owner = &owner_of},
    file("limits", &show_limits),
    kAuxiliary,
    kMaps,
    file("oom_score", &show_oom_score),
    kOomAdjustment,
    kOldOomAdjustment,
    {.name = "root", .mode = kLink, .link = &link_text<kRootDir>, .target = kRootDir, .owner = &owner_of},
    file("stat", &show_process_stat),
    file("statm", &show_statm),
    {.name = "status", .mode = kFile, .show_some = &show_process_status, .owner = &owner_of},
};
constexpr ProcNode kThread{.mode = kDirectory, .children = kThreadFiles, .owner = &owner_of};
constexpr fs::ProcNumbered kThreads{
    .node = &kThread, .inner = true, .next = &next_thread, .identity = &thread_identity};

constexpr ProcNode kProcessFiles[] = {
    kAuxiliary,
    {.name = "cmdline", .mode = kFile, .show_some = &show_command_line, .plain = true, .owner = &owner_of},
    kComm,
    {.name = "cwd", .mode = kLink, .link = &link_text<kCwd>, .target = kCwd, .owner = &owner_of},
    kEnvironment,
    {.name = "exe", .mode = kLink, .link = &link_text<&target_exe>, .target = &target_exe, .owner = &owner_of},
    {.name = "fd", .mode = kPrivateDirectory, .grants = &is_own, .numbered = &kDescriptors, .owner = &owner_of},
    {.name = "fdinfo",
     .mode = kDirectory,
     .open = &open_descriptor_info,
     .numbered = &kDescriptorInfos,
     .owner = &owner_of},
    file("limits", &show_limits),
    {.name = "loginuid", .mode = kFile, .show = &show_login_uid, .plain = true, .owner = &owner_of},
    kMaps,
    {.name = "mountinfo",
     .mode = kFile,
     .show_some = &show_mount_info,
     .changes = &fs::mount_changes,
     .owner = &owner_of},
    {.name = "mounts", .mode = kFile, .show_some = &show_mounts, .changes = &fs::mount_changes, .owner = &owner_of},
    {.name = "net", .mode = kDirectory, .owner = &owner_of},
    file("oom_score", &show_oom_score),
    kOomAdjustment,
    kOldOomAdjustment,
    {.name = "root", .mode = kLink, .link = &link_text<kRootDir>, .target = kRootDir, .owner = &owner_of},
    file("stat", &show_process_stat),
    file("statm", &show_statm),
    {.name = "status", .mode = kFile, .show_some = &show_process_status, .owner = &owner_of},
    {.name = "task", .mode = kDirectory, .numbered = &kThreads, .owner = &owner_of},
};

}  // namespace

constinit const ProcNode proc_process_node{
    .mode = kDirectory, .gone = Errno::kSrch, .children = kProcessFiles, .owner = &owner_of};

Ref<Process> proc_process(const ProcContext& c) {
    Ref<Process> p = find_process(Pid{i32(c.id)});
    if (p && p->serial != c.identity) p = {};
    return p;
}
u64 process_identity(const ProcContext& c) {
    Ref<Process> p = find_process(Pid{i32(c.id)});
    return p ? p->serial : 0;
}

u64 next_process_number(const ProcContext&, u64 from) {
    Ref<Process> p = from <= u64(kPidMax) ? next_process(i32(from)) : Ref<Process>{};
    return p ? u64(p->pid.value) : ~u64{0};
}

}  // namespace linux
