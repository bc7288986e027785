// SPDX-License-Identifier: MIT
// The first processes. Number 1 is the kernel's own: it runs nothing and adopts orphans. Number 2 is the program that
// was requested, an ordinary child of number 1, so that signals end it like any other; the machine stops with it.
#include <cstring>

#include "fs/mount.hpp"
#include "fs/stream_file.hpp"
#include "linux/exec/exec.hpp"
#include "linux/exec/vdso.hpp"
#include "linux/task/creds.hpp"
#include "linux/task/exit.hpp"
#include "linux/task/pid.hpp"
#include "linux/task/thread.hpp"
#include "linux/terminal.hpp"
#include "rt/mem/slab.hpp"

namespace linux {
namespace {

constexpr std::string_view kDefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

// An eighth of all memory for stacks of 16 KiB (set_max_threads in kernel/fork.c).
u64 default_most_threads() {
    const u64 threads = rt::mem_stats().total_bytes / (8 * 16384);
    return threads < kLeastThreads ? kLeastThreads : threads < kMostThreads ? threads : kMostThreads;
}

// The limits of Linux's first process (include/asm-generic/resource.h).
void set_default_limits(Process& p) {
    auto& l = p.rlimits.unguarded();
    const u64 most_threads = default_most_threads();
    for (RlimitValue& each : l) each = {};
    l[kRlimStack].soft = 8u << 20;
    l[kRlimCore].soft = 0;
    l[kRlimNproc] = {most_threads / 2, most_threads / 2};
    l[kRlimNofile] = {1024, 4096};
    l[kRlimMemlock] = {8u << 20, 8u << 20};
    l[kRlimSigpending] = l[kRlimNproc];
    l[kRlimMsgqueue] = {819200, 819200};
    l[kRlimNice] = {0, 0};
    l[kRlimRtprio] = {0, 0};
}

Result<Ref<Process>> new_process(const Ref<fs::Creds>& creds) {
    auto p = TRY(rt::make_ref<Process>());
    p->lock.assume_held();  // no other CPU knows it
    p->signals.actions = TRY(rt::make_ref<ActionTable>());
    p->creds = creds;
    p->signals.account = creds->user.get();
    p->exit_signal = kSigChld;
    p->started = port::Port::now();
    set_default_limits(*p);
    return p;
}

// Its own group and session.
Result<void> enter_tree(Process& p) RT_REQUIRES(process_tree) {
    PidEntry* e = TRY(allocate_pid());
    link_process(p, *e);
    join_group(p, p.pid.value);
    join_session(p, p.pid.value);
    p.ref();  // the table's
    return lib::kOk;
}

// A thread that never runs, for calls about the thread of number 1 (sched_setscheduler(2), getpriority(2), capget(2)).
Result<Ref<Thread>> init_thread(const Ref<Process>& init, const Ref<fs::Creds>& creds) {
    Ref<Thread> t = TRY(rt::make_ref<Thread>());
    Ref<AddressSpace> nothing = TRY(AddressSpace::create());
    TRY(t->init(Ref<port::Space>(&nothing->space())));
    t->set_process(init);
    t->set_creds(creds);
    t->started = init->started;
    set_comm(*t, "init");
    return t;
}

fs::Path root_of_all() {
    fs::Mount* m = fs::first_mount();
    return m ? fs::Path(Ref<fs::Mount>(m), m->root) : fs::Path{};
}

// The program as execvp(3) finds it: as it is if it has a slash, else along PATH.
Leaf<fs::Path> find_first(Thread& t, ExecImage& image, std::string_view path_list) {
    char name[fs::kPathMax];
    std::string_view wanted = image.path_view();
    if (wanted.find('/') != wanted.npos) return find_program(t, {}, wanted, fs::kFollow);
    Errno worst = Errno::kNoEnt;
    while (true) {
        size_t colon = path_list.find(':');
        std::string_view directory = path_list.substr(0, colon);
        if (directory.empty()) directory = ".";
        if (directory.size() + 1 + wanted.size() < sizeof name) {
            size_t n = directory.size();
            std::memcpy(name, directory.data(), n);
            name[n++] = '/';
            std::memcpy(name + n, wanted.data(), wanted.size());
            n += wanted.size();
            auto found = find_program(t, {}, {name, n}, fs::kFollow);
            if (found.ok()) {
                std::memcpy(image.path, name, n);
                image.path[n] = 0;
                image.path_length = u32(n);
                return found;
            }
            if (found.error() == Errno::kAcces) worst = Errno::kAcces;
        }
        if (colon == path_list.npos) return worst;
        path_list.remove_prefix(colon + 1);
    }
}

TaskResult become(Thread& t, ExecImage& image, std::string_view path_list) {
    fs::Path file = CO_TRY(find_first(t, image, path_list));
    co_return co_await exec_image(t, image, std::move(file));
}

// Written by the first thread before it ends, read by the report of that end.
constinit Errno start_error = Errno::kOk;

// The root coroutine of the first thread: execve, then the life of any thread.
Task<void> first_main(Thread& t, rt::Owned<ExecImage> image, std::string_view path_list) {
    {
        auto task = become(t, *image, path_list);
        Result<i64> r = Errno::kNoMem;
        if (task.valid()) r = (co_await task).settled(Errno::kIo);
        if (!r.ok()) {
            port::logf("cannot run {}: error {}", image->path_view(), r.error());
            start_error = r.error();
            bool missing = r.error() == Errno::kNoEnt || r.error() == Errno::kNotDir;
            begin_group_exit(t.process(), (missing ? 127 : 126) << 8);
        }
        image = {};
    }
    auto life = thread_main(t);
    if (!life.valid()) {
        begin_group_exit(t.process(), kSigKill);
        if (u64 look = 0; exit_thread(t)) {
            while (exit_process(t, look)) {
            }
        }
        co_return;
    }
    co_await life;
}

Leaf<Ref<fs::File>> open_null(const fs::Path& root, const fs::Creds& creds) {
    fs::OpenContext how;
    how.path = TRY(fs::lookup({root, root, &creds}, {}, "/dev/null", fs::kFollow));
    how.flags = fs::kOpenReadWrite | fs::kOpenLargeFile;
    how.creds = &creds;
    return how.path.inode()->open(how);
}

}  // namespace

Errno first_program_error() { return start_error; }

Result<void> start_init(const InitialProgram& program, void (*on_exit)(i32 wait_status)) {
    TRY(make_vdso().settled(Errno::kIo));
    Ref<fs::Creds> creds = TRY(rt::make_ref<fs::Creds>());
    creds->cap_effective = creds->cap_permitted = kAllCapabilities;
    creds->user = TRY(fs::UserAccount::of(0));
    fs::Path root = root_of_all();
    if (!root) return Errno::kNoEnt;

    Ref<Process> init = TRY(new_process(creds));
    std::memcpy(init->exe_path, "init", 5);
    Ref<Thread> idle = TRY(init_thread(init, creds));
    Ref<Process> first = TRY(new_process(creds));

    auto image = TRY(rt::make_owned<ExecImage>());
    TRY(image->set_limits(8u << 20, ~u64{0}, program.arguments.size() + program.environment.size()));
    if (program.arguments.empty() || program.arguments[0].size() >= sizeof image->path) return Errno::kInval;
    std::memcpy(image->path, program.arguments[0].data(), program.arguments[0].size());
    image->path_length = u32(program.arguments[0].size());
    std::string_view path_list = kDefaultPath;
    for (std::string_view s : program.arguments) {
        TRY(image->append(s));
        ++image->argc;
    }
    for (std::string_view s : program.environment) {
        if (s.starts_with("PATH=")) path_list = s.substr(5);
        TRY(image->append(s));
        ++image->envc;
    }

    Ref<fs::FileTable> files = TRY(fs::FileTable::create());
    for (int n = 0; n < 3; ++n) {
        auto stream = fs::open_standard_stream(n);
        if (!stream.ok()) stream = open_null(root, *creds).settled(Errno::kNxIo);  // the machine has no such stream
        if (stream.ok()) TRY(files->install(stream.take(), false, 1024, n));
    }
    auto context = TRY(rt::make_ref<FsContext>());
    context->state.unguarded().root = root;
    context->state.unguarded().cwd = root;
    Ref<AddressSpace> mm = TRY(AddressSpace::create());

    Ref<Thread> thread = TRY(rt::make_ref<Thread>());
    TRY(thread->init(Ref<port::Space>(&mm->space())));
    thread->set_process(first);
    thread->started = first->started;
    TRY(thread->begin_first(std::move(mm), fs::FileTable::Use{std::move(files)}, std::move(context), creds));
    set_comm(*thread, "init");
    auto main = first_main(*thread, std::move(image), path_list);
    if (!main.valid()) return Errno::kNoMem;

    {
        rt::LockGuard guard{process_tree};
        creds->user->threads.fetch_add(2, std::memory_order_relaxed);
        thread_totals.now.fetch_add(2, std::memory_order_relaxed);
        thread_totals.most.store(default_most_threads(), std::memory_order_relaxed);
        TRY(enter_tree(*init));
        set_init_process(*init);
        link_thread(*idle, *pid_entry(init->pid.value));
        init->leader = std::move(idle);
        TRY(enter_tree(*first));
        first->set_parent(init.get());
        init->children.push_back(*first);
        link_thread(*thread, *pid_entry(first->pid.value));
        first->threads.push_back(*thread);
        first->live_threads = 1;
        first->leader = thread;
    }
    set_first_program(*first, on_exit);
    attach_first_terminal(*first);
    thread->ref();  // until it has ended
    thread->start(std::move(main));
    return lib::kOk;
}

}  // namespace linux
