// SPDX-License-Identifier: MIT
// execve(2): #! lines, identity, the point of no return. The new address space is complete before anything of the old
// program is touched, so that errors are errors of the call.
#include "linux/exec/exec.hpp"

#include <cstring>

#include "abi/linux/prctl.hpp"
#include "fs/mount.hpp"
#include "linux/arch/machine.hpp"
#include "linux/exec/exec_load.hpp"
#include "linux/task/creds.hpp"
#include "linux/task/thread.hpp"

namespace linux {
namespace {

constexpr u32 kMaxScripts = 5;

// One #! line, as fs/binfmt_script.c of Linux reads it; the texts point into `header`. ENOEXEC: no interpreter is
// named.
struct ScriptLine {
    std::string_view interpreter, argument;
};

bool blank(char c) { return c == ' ' || c == '\t'; }

Result<ScriptLine> parse_script(const char (&header)[kProgramHeaderSize]) {
    const char* begin = header + 2;
    const char* limit = header + kProgramHeaderSize - 1;
    const char* end = static_cast<const char*>(std::memchr(header, '\n', kProgramHeaderSize));
    if (!end) {
        // The line is cut off: fine as long as the interpreter's name is not.
        const char* name = begin;
        while (name < limit && blank(*name)) ++name;
        if (name >= limit) return Errno::kNoExec;
        const char* stop = name;
        while (stop < limit && !blank(*stop) && *stop != 0) ++stop;
        if (stop >= limit) return Errno::kNoExec;
        end = limit;
    }
    while (end > begin && blank(end[-1])) --end;
    while (begin < end && blank(*begin)) ++begin;
    if (begin == end) return Errno::kNoExec;
    const char* stop = begin;
    while (stop < end && !blank(*stop) && *stop != 0) ++stop;
    ScriptLine line{{begin, size_t(stop - begin)}, {}};
    if (stop < end && *stop != 0) {
        while (stop < end && blank(*stop)) ++stop;
        const char* tail = stop;
        while (tail < end && *tail != 0) ++tail;
        line.argument = {stop, size_t(tail - stop)};
    }
    return line;
}

// The identity that the program gets (credentials(7), capabilities(7) "Transformation of capabilities during execve").
struct NewCreds {
    Ref<fs::Creds> creds;
    bool secure = false;
    bool dumpable = true;
    u32 personality_mask = ~0u;  // what is left of the personality
};
// The user of a privileged program may not choose its memory layout (personality(2): PER_CLEAR_ON_SETID):
// ADDR_NO_RANDOMIZE, MMAP_PAGE_ZERO, ADDR_COMPAT_LAYOUT, READ_IMPLIES_EXEC.
// `fs_shared`: another process could change root or working directory under a privileged program.
Result<NewCreds> creds_for(Thread& t, const fs::Attributes& file, u32 mount_flags, bool fs_shared) {
    const fs::Creds& old = t.creds();
    NewCreds r;
    u32 euid = old.euid, egid = old.egid;
    if (!t.no_new_privileges && !(mount_flags & fs::kMountNoSuid)) {
        const bool set_uid = file.mode & fs::kSetUid;
        const bool set_gid = (file.mode & (fs::kSetGid | kGroupExec)) == (fs::kSetGid | kGroupExec);
        if (set_uid) euid = file.uid;
        if (set_gid) egid = file.gid;
        if (set_uid || set_gid) r.personality_mask = ~kPersonalityClearOnSetId;
    }
    bool effective = euid == 0;
    const bool as_root = (effective || old.uid == 0) && !(old.securebits & kSecureNoRoot);
    if (!as_root) effective = false;
    u64 permitted = as_root ? (old.cap_inheritable | old.cap_bounding) & kAllCapabilities : 0;
    if (permitted & ~old.cap_permitted) r.personality_mask = ~kPersonalityClearOnSetId;
    bool set_id = euid != old.uid || egid != old.gid;
    // A program with set-ID bits gets what those give, and nothing that was ambient.
    const u64 ambient = set_id ? 0 : old.cap_ambient;
    r.secure = set_id || (old.uid != 0 && effective);
    if ((set_id || (permitted & ~old.cap_permitted)) && (fs_shared || t.no_new_privileges)) {
        // It gets no more than it had.
        if (!old.capable(fs::kCapSetuid) || t.no_new_privileges) euid = old.uid, egid = old.gid;
        permitted &= old.cap_permitted;
    }
    permitted |= ambient;
    r.dumpable = old.euid == old.uid && old.egid == old.gid && euid == old.euid && egid == old.egid &&
                 euid == old.fsuid && egid == old.fsgid && !(permitted & ~old.cap_permitted);
    u64 cap_effective = effective ? permitted : ambient;
    if (euid == old.euid && egid == old.egid && old.suid == euid && old.fsuid == euid && old.sgid == egid &&
        old.fsgid == egid && old.cap_permitted == permitted && old.cap_effective == cap_effective &&
        old.cap_ambient == ambient) {
        r.creds = t.own_creds();
        return r;
    }
    r.creds = TRY(copy_creds(old));
    fs::Creds& c = *r.creds;
    c.euid = c.suid = c.fsuid = euid;
    c.egid = c.sgid = c.fsgid = egid;
    c.cap_permitted = permitted;
    c.cap_effective = cap_effective;
    c.cap_ambient = ambient;
    return r;
}

// For the length of an execve: is the thread's FsContext shared with other processes? If not, it stays so.
class FsUse {
public:
    explicit FsUse(Thread& t) : context_(t.fs_context_ref()) {
        // In one step: a thread that ends gives its context back under the same lock, and must not be counted for
        // another's.
        rt::LockGuard guard{t.process().lock};
        u32 own = 0;
        for (Thread& other : t.process().threads) own += other.fs_context_ref() == context_;
        shared_ = context_->begin_exec(own);
    }
    FsUse(const FsUse&) = delete;
    ~FsUse() { context_->end_exec(); }
    bool shared() const { return shared_; }

private:
    Ref<FsContext> context_;
    bool shared_;
};

// What other processes share with the caller becomes its own. Other threads may be giving it to new processes until
// they have ended, and hold references themselves: only with the caller alone do references mean other processes. Until
// then a table of actions is kept for the case that one is needed; descriptors are copied as they are at the end.
struct OwnTables {
    Ref<ActionTable> actions;
    fs::FileTable::Use files;

    // kNoMem: nothing has been done.
    Result<void> begin(Process& p) {
        bool alone;
        {
            rt::LockGuard guard{p.lock};
            alone = p.live_threads == 1;
        }
        if (!alone || p.signals.actions->ref_count() > 1) actions = TRY(rt::make_ref<ActionTable>());
        return lib::kOk;
    }
    // The caller is alone. kNoMem: what it shares, it still shares.
    Task<Result<void>> finish(Thread& t) {
        if (t.process().signals.actions->ref_count() == 1) actions = {};
        if (t.files().shared()) {
            Ref<fs::FileTable> copy = CO_TRY(t.files().clone());
            if (!copy) copy = CO_TRY(co_await t.files().clone_long());
            files = fs::FileTable::Use{std::move(copy)};
        }
        co_return lib::kOk;
    }
    // Cannot fail. The old ones go with this object, that of files in pieces: drop_some() while it is true.
    bool drop_some() { return files && files->empty_some(); }
    void take(Thread& t) {
        if (files) files = t.exchange_files(std::move(files));
        if (!actions) return;
        SignalState& s = t.process().signals;
        rt::LockGuard guard{s.lock};
        {
            rt::LockGuard from{s.actions->lock};
            std::memcpy(actions->at, s.actions->at, sizeof actions->at);
        }
        std::swap(s.actions, actions);
    }
};

// Handlers go, what is ignored stays (execve(2)).
void reset_actions(ActionTable& a) {
    rt::LockGuard guard{a.lock};
    for (u32 sig = 1; sig <= kSignals; ++sig) {
        u64 keep = a.at[sig].handler == kSigIgnore ? kSigIgnore : kSigDefault;
        a.at[sig] = {};
        a.at[sig].handler = keep;
    }
}

}  // namespace

Leaf<void> check_program(Thread& t, const fs::Path& file) {
    if (file.inode()->is_symlink()) return Errno::kLoop;  // AT_SYMLINK_NOFOLLOW
    if (!file.inode()->is_regular()) return Errno::kAcces;
    if (file.mount->flags.load(std::memory_order_relaxed) & fs::kMountNoExec) return Errno::kAcces;
    return fs::check_access(*file.inode(), fs::kMayExec, t.creds());
}

Leaf<fs::Path> find_program(Thread& t, const fs::Path& start, std::string_view path, u32 lookup_flags) {
    fs::Path found = TRY(fs::lookup(t.lookup_context(), start, path, lookup_flags));
    TRY(check_program(t, found));
    return found;
}

TaskResult exec_image(Thread& t, ExecImage& image, fs::Path path) {
    Process& p = t.process();
    Ref<ProgramFile> program;
    Ref<fs::File> file;
    char script_name[kProgramHeaderSize];
    script_name[0] = 0;
    co_await port::at(port::Module::kFs);
    for (u32 depth = 0;; ++depth) {
        if (depth > kMaxScripts) co_return Errno::kLoop;
        if (!path.inode()->deny_writing()) co_return Errno::kTxtBsy;
        program = Ref<ProgramFile>::adopt(rt::make<ProgramFile>(path));
        if (!program) {
            path.inode()->allow_writing();
            co_return Errno::kNoMem;
        }
        fs::OpenContext how{path, fs::kOpenReadOnly | fs::kOpenLargeFile, &t.creds()};
        file = CO_TRY(path.inode()->open(how));
        char header[kProgramHeaderSize] = {};
        size_t n = CO_TRY(file->try_read(fs::UserSpans(std::as_writable_bytes(std::span(header))), 0));
        if (n < 2 || header[0] != '#' || header[1] != '!') break;
        ScriptLine line = CO_TRY(parse_script(header));
        if (image.path_inaccessible) co_return Errno::kNoEnt;
        std::string_view old_name = script_name[0] ? std::string_view(script_name) : image.path_view();
        image.drop_first();
        CO_TRY(image.prepend(old_name));
        if (!line.argument.empty()) CO_TRY(image.prepend(line.argument));
        CO_TRY(image.prepend(line.interpreter));
        std::memcpy(script_name, line.interpreter.data(), line.interpreter.size());
        script_name[line.interpreter.size()] = 0;
        // An empty name, cut off by a NUL, is the working directory to Linux: not a program.
        if (script_name[0] == 0) co_return Errno::kAcces;
        path = CO_TRY(find_program(t, {}, script_name, fs::kFollow));
    }

    FsUse fs_use{t};
    NewCreds creds = CO_TRY(
        creds_for(t, path.inode()->attributes(), path.mount->flags.load(std::memory_order_relaxed), fs_use.shared()));
    // A program that the user may not read may not be inspected in memory either.
    if (!fs::check_access(*path.inode(), fs::kMayRead, t.creds()).ok()) creds.dumpable = false;
    ExecArguments arguments{.strings = &image,
                            .argc = image.argc,
                            .envc = image.envc,
                            .path = image.path_view(),
                            .creds = creds.creds.get(),
                            .secure = creds.secure};
    co_await port::at(port::Module::kMm);
    LoadedProgram loaded = CO_TRY(co_await load_program(t, std::move(file), arguments));
    co_await port::at(port::Module::kTask);
    if (loaded.dead) {
        begin_group_exit(p, kSigSegv);
        co_return Errno::kNoExec;
    }
    OwnTables own;
    CO_TRY(own.begin(p));
    const bool was_alone = CO_TRY(co_await end_other_threads(t));
    if (auto r = co_await own.finish(t); !r.ok()) {
        if (!was_alone) begin_group_exit(p, kSigSegv);  // the program is not what it was
        co_return r.error();
    }

    // ---- The point of no return. ----
    LEAVE_USER_MEMORY(t);
    co_await t.at_home();
    // Before it becomes visible: until the new identity is set, permission to inspect the old program does not apply to
    // this one. And as long as the process still has something of an old program that was not to be inspected, nor is it.
    const bool dumpable = creds.dumpable && !loaded.unreadable;
    loaded.mm->dumpable.store(dumpable && t.mm().dumpable.load(std::memory_order_relaxed), std::memory_order_relaxed);
    {
        leave_oom_adjustment(p);
        // Nobody finds the old memory any more: many areas of it go in pieces.
        Ref<AddressSpace> old = t.exchange_mm(std::move(loaded.mm));
        while (old->empty_some()) co_await rt::Yield{};
    }
    own.take(t);
    while (own.drop_some()) co_await rt::Yield{};
    reset_actions(*p.signals.actions);
    t.set_creds(std::move(creds.creds));
    if (creds.secure) {
        t.parent_death_signal = 0;
        auto limits = p.rlimits.lock();
        u64& stack = (*limits)[kRlimStack].soft;
        if (stack > kSecureStack) __atomic_store_n(&stack, kSecureStack, __ATOMIC_RELAXED);
    }
    p.personality &= creds.personality_mask;
    {
        rt::LockGuard guard{p.lock};
        std::swap(p.exe, program);
        size_t n = image.path_length < sizeof p.exe_path - 1 ? image.path_length : sizeof p.exe_path - 1;
        std::memcpy(p.exe_path, image.path, n);
        p.exe_path[n] = 0;
    }
    std::string_view name = image.path_view();
    if (size_t slash = name.rfind('/'); slash != std::string_view::npos) name.remove_prefix(slash + 1);
    set_comm(t, name);
    {
        rt::LockGuard tree{process_tree};
        p.did_exec = true;
        ++p.exec_id;
        p.exit_signal = kSigChld;
    }
    // Last of what others see: whom the end of vfork or of a pipe wakes finds the new program (setpgid(2): EACCES).
    for (u32 first = 0; t.files().close_some_on_exec(first);) co_await rt::Yield{};
    t.mm().dumpable.store(dumpable, std::memory_order_release);
    release_vfork_parent(t);
    t.alternate_stack = {};
    t.restart = {};
    t.keep_capabilities = false;
    t.robust_list = {};
    t.robust_walk = {};
    t.clear_child_tid = {};
    t.reset_fpu();
    arch::start_program(t, loaded.entry, loaded.stack);
    co_return i64{0};
}

}  // namespace linux
