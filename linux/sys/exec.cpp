// SPDX-License-Identifier: MIT
// execve(2), execveat(2).
#include "linux/exec/exec.hpp"

#include <cstring>

#include "lib/format.hpp"
#include "linux/sys/table.hpp"
#include "linux/task/thread.hpp"

namespace linux {
namespace {

using port::Module;

// The strings of argv and envp, one at a time, so that a missing page only repeats the present one.
struct Gather {
    ExecImage& image;
    UserAddr argv, envp;
    u32 argc = 0, envc = 0;  // as counted
    u32 done = 0;            // strings copied, argv first
    u32 counted = 0;         // 0: argv is being counted, 1: envp, 2: both done
};

constexpr u32 kCountAtOnce = 4096;  // pointers between two points of rest
constexpr u32 kCopyAtOnce = 160;    // strings

// kNeedsTask: so many were counted, there are more.
Leaf<void> count_strings(fs::UserMemory& user, UserAddr array, u32& n) {
    if (array.value == 0) return lib::kOk;
    for (u32 begin = n; n - begin < kCountAtOnce;) {
        // As many as the page holds, because a fault must not discard what lies before it.
        constexpr u32 kMost = 64;
        u64 pointers[kMost];
        UserAddr at = array + u64{n} * 8;
        u64 in_page = (kPageSize - at.value % kPageSize) / 8;
        u32 count = in_page == 0 ? 1 : in_page < kMost ? u32(in_page) : kMost;
        TRY(user.read(pointers, at, count * sizeof pointers[0]));
        for (u32 i = 0; i < count; ++i) {
            if (pointers[i] == 0) return lib::kOk;
            if (++n >= kMaxArgumentStrings) return Errno::k2Big;
        }
    }
    return kNeedsTask;
}

// May be called again after kNeedsFault, or after kNeedsTask and a Yield; continues where it was.
Leaf<void> gather(Gather& g, Caller& c) {
    fs::UserMemory& user = c.user();
    if (g.counted == 0) {
        TRY(count_strings(user, g.argv, g.argc));
        g.counted = 1;
    }
    if (g.counted == 1) {
        TRY(count_strings(user, g.envp, g.envc));
        u64 pointers = u64{g.argc ? g.argc : 1} + g.envc;
        TRY(g.image.set_limits(c.process().limit(kRlimStack), c.process().limit(kRlimAs), pointers));
        g.counted = 2;
        if (g.argc == 0) {
            // A program always has argv[0] (Linux since 5.18).
            TRY(g.image.append({}));
            g.image.argc = 1;
        }
    }
    for (u32 left = kCopyAtOnce; g.done < g.argc + g.envc; ++g.done) {
        if (left-- == 0) return kNeedsTask;
        bool argument = g.done < g.argc;
        UserAddr at = argument ? g.argv + u64{g.done} * 8 : g.envp + u64{g.done - g.argc} * 8;
        u64 pointer = 0;
        TRY(user.read(&pointer, at, sizeof pointer));
        if (pointer == 0) return Errno::kFault;  // changed since it was counted
        TRY(g.image.append_user(user, UserAddr{pointer}));
        ++(argument ? g.image.argc : g.image.envc);
    }
    return lib::kOk;
}

// The name that a program run by a descriptor, and its interpreter, see.
void name_by_descriptor(ExecImage& image, i32 fd) {
    char prefix[32];
    size_t n = lib::format_to(prefix, image.path_length ? "/dev/fd/{}/" : "/dev/fd/{}", fd);
    size_t rest = image.path_length;
    if (rest > sizeof image.path - 1 - n) rest = sizeof image.path - 1 - n;
    std::memmove(image.path + n, image.path, rest);
    std::memcpy(image.path, prefix, n);
    image.path[n + rest] = 0;
    image.path_length = u32(n + rest);
}

TaskResult execute(Caller& c, i32 fd, UserString name, UserAddr argv, UserAddr envp, u32 flags) {
    Thread& t = c.thread();
    if (flags & ~(kAtEmptyPath | kAtSymlinkNoFollow)) co_return Errno::kInval;
    auto image = CO_TRY(rt::make_owned<ExecImage>());
    for (;;) {
        auto path = c.user().read_string({image->path, sizeof image->path}, name.at);
        if (path.ok()) {
            image->path_length = u32(path.value().size());
            break;
        }
        if (path.error() != kNeedsFault) co_return path.error();
        CO_TRY(co_await fault_in_range(t, c.user().fault()));
    }
    if (image->path_length == 0 && !(flags & kAtEmptyPath)) co_return Errno::kNoEnt;

    if (t.over_process_limit) {
        const u64 threads = t.creds().user->threads.load(std::memory_order_relaxed);
        if (threads > t.process().limit(kRlimNproc)) co_return Errno::kAgain;
        t.over_process_limit = false;
    }

    Gather g{*image, argv, envp};
    for (;;) {
        auto r = gather(g, c);
        if (r.ok()) break;
        if (r.error() == kNeedsTask) {
            co_await rt::Yield{};
            if (t.work.load(std::memory_order_relaxed) & kWorkExit) co_return Errno::kIntr;
            continue;
        }
        if (r.error() != kNeedsFault) co_return r.error();
        if (fault_in_now(t, c.user().fault()) == FaultIn::kReady) continue;
        CO_TRY(co_await fault_in_range(t, c.user().fault()));
    }

    fs::Path start, file;
    std::string_view path = image->path_view();
    u32 lookup_flags = (flags & kAtSymlinkNoFollow) ? 0 : u32(fs::kFollow);
    bool by_descriptor = fd != kAtCwd && (path.empty() || path[0] != '/');
    if (by_descriptor) {
        Ref<fs::File> directory = CO_TRY(c.files().get(Fd{fd}));
        start = directory->path();
        if (!start && !path.empty()) co_return Errno::kNotDir;
        image->path_inaccessible = CO_TRY(c.files().close_on_exec(Fd{fd}));
    }
    if (path.empty()) {
        if (!by_descriptor) co_return Errno::kAcces;  // AT_EMPTY_PATH with the working directory: not a regular file
        if (!start) co_return Errno::kAcces;          // a pipe, an eventfd: not a regular file
        CO_TRY(check_program(t, start));
        file = start;
    } else {
        file = CO_TRY(find_program(t, start, path, lookup_flags));
    }
    if (by_descriptor) {
        name_by_descriptor(*image, fd);
    }
    co_return co_await exec_image(t, *image, std::move(file));
}

TaskResult sys_execve(Caller& c, UserString name, UserAddr argv, UserAddr envp) {
    return execute(c, kAtCwd, name, argv, envp, 0);
}
TaskResult sys_execveat(Caller& c, i32 fd, UserString name, UserAddr argv, UserAddr envp, u32 flags) {
    return execute(c, fd, name, argv, envp, flags);
}

}  // namespace

constexpr SyscallRow kRows[] = {
    row<&sys_execve>(abi::kNrExecve, "execve", Module::kHome, "exec/errors"),
    row<&sys_execveat>(abi::kNrExecveat, "execveat", Module::kHome, "exec/execveat"),
};
const std::span<const SyscallRow> exec_rows{kRows};

}  // namespace linux
