// SPDX-License-Identifier: MIT
// open(2) and its relatives; truncate(2).
#include "fs/pipe.hpp"
#include "fs/regular.hpp"
#include "linux/sys/file_calls.hpp"
#include "linux/sys/path_calls.hpp"
#include "linux/terminal.hpp"
#include "rt/mem/slab.hpp"

namespace linux {

namespace {

using namespace fs;  // NOLINT: flags by the dozen

constexpr u32 kKnownFlags = kOpenAccess | kOpenCreate | kOpenExclusive | kOpenNoCtty | kOpenTruncate | kOpenAppend |
                            kOpenNonblock | kOpenSync | kOpenDsync | kOpenAsync | kOpenDirect | kOpenLargeFile |
                            kOpenDirectory | kOpenNoFollow | kOpenNoAtime | kOpenCloexec | kOpenPath | kOpenTmpfile;
constexpr u32 kTmpfileBit = kOpenTmpfile & ~kOpenDirectory;

// A decoded request: fs/open.c, build_open_flags.
struct Request {
    u32 flags, mode;
    u32 access = 0;  // kMay bits that the file must grant

    static Result<Request> decode(u32 flags, u32 mode) {
        flags = (flags & kKnownFlags) | kOpenLargeFile;
        if (flags & kOpenPath) flags &= kOpenDirectory | kOpenNoFollow | kOpenPath | kOpenCloexec;
        if (!(flags & (kOpenCreate | kTmpfileBit))) mode = 0;
        if ((flags & kOpenAccess) == kOpenAccess) flags |= kOpenTaskOnly;  // neither read nor written
        Request r{flags, mode & kModeMask};
        static constexpr u32 kAccess[] = {kMayRead, kMayWrite, kMayRead | kMayWrite, kMayRead | kMayWrite};
        r.access = kAccess[flags & kOpenAccess];
        if ((flags & kOpenDirectory) && (flags & kOpenCreate)) return Errno::kInval;
        if (flags & kTmpfileBit) {
            if (!(flags & kOpenDirectory)) return Errno::kInval;
            if (!(r.access & kMayWrite)) return Errno::kInval;
        }
        if (flags & kOpenPath) r.access = 0;
        if (flags & kOpenTruncate) r.access |= kMayWrite;
        if ((flags & (kOpenCreate | kOpenExclusive)) == (kOpenCreate | kOpenExclusive)) r.flags |= kOpenOwnName;
        return r;
    }
};

// The checks of Linux's may_open for a file that existed before.
Leaf<void> may_open(const Request& r, const Place& at, const Creds& c, const void* caller) {
    Inode& inode = *at.inode();
    u32 type = inode.mode() & kTypeMask;
    if (type == kTypeLink) return Errno::kLoop;
    if (type == kTypeDirectory && (r.access & kMayWrite)) return Errno::kIsDir;
    bool device = type == kTypeChar || type == kTypeBlock;
    if (device && (at.mount->flags.load(std::memory_order_relaxed) & kMountNoDev)) return Errno::kAcces;
    if ((r.access & kMayWrite) && (type == kTypeRegular || type == kTypeDirectory) && at.mount->read_only())
        return Errno::kRoFs;
    TRY(check_access(inode, r.access, c, caller));
    if ((r.flags & kOpenNoAtime) && c.fsuid != inode.peek_attributes().uid && !c.capable(kCapFowner))
        return Errno::kPerm;
    return lib::kOk;
}

struct Resolved {
    OpenContext how;
    bool created = false;
};

// O_TMPFILE: a file without a name in the directory.
Leaf<void> make_tmpfile(const Request& r, PathArgument& a, Resolved& out) {
    Walk walk(a.context);
    TRY(FS_WALK_STABLE(walk, run(a.text, kFollow | kDirectory)));
    const Creds& c = *a.context.creds;
    Path dir;
    if (!walk.at().hold(dir)) return Errno::kNoEnt;
    MountWrite write{*dir.mount};
    if (!write) return Errno::kRoFs;
    TRY(check_access(*dir.inode(), kMayWrite | kMayExec, c));
    Ref<Inode> inode = TRY(dir.inode()->create_unnamed(kTypeRegular | (r.mode & ~a.umask), c));
    char name[24] = "#";
    size_t n = 1 + lib::format_to(std::span(name).subspan(1), "{}", inode->number);
    Dentry* d = Dentry::create(dir.dentry.get(), make_key({name, n}), std::move(inode));
    if (!d) return Errno::kNoMem;
    d->set_flag(Dentry::kUnlinked);
    if (!(r.flags & kOpenExclusive)) d->inode()->linkable.store(true, std::memory_order_relaxed);
    out.how.path = Path{dir.mount, Ref<Dentry>::adopt(d)};
    out.created = true;
    return lib::kOk;
}

// O_CREAT: the file, made if it is not there.
Leaf<void> find_or_create(const Request& r, PathArgument& a, Resolved& out) {
    const Creds& c = *a.context.creds;
    Walk walk(a.context);
    RenamePause pause;
    u32 tries = 0, unstable = 0;
restart:
    if (unstable >= kFreeWalks) [[unlikely]]
        pause.begin();
    if (++tries > 64) return Errno::kNoEnt;  // a generated directory in which the name exists and leads nowhere
    TRY(FS_WALK_STABLE(walk, run_to_parent(a.text)));
    for (;;) {
        if (walk.last_is_dots()) return r.flags & kOpenExclusive ? Errno::kExist : Errno::kIsDir;
        if (walk.trailing_slash()) return Errno::kIsDir;
        Place parent = walk.at();
        std::string_view name = walk.last().view();
        bool again = false;
        auto found = walk.step_last(!(r.flags & (kOpenNoFollow | kOpenOwnName)), again);
        if (!walk.stable()) {
            ++unstable;
            goto restart;
        }
        if (found.ok()) {
            if (again) continue;
            if (r.flags & kOpenExclusive) return Errno::kExist;
            if (walk.at().is_directory()) return Errno::kIsDir;
            TRY(may_open(r, walk.at(), c, a.context.caller));
            if (!walk.at().hold(out.how.path)) goto restart;
            return lib::kOk;
        }
        if (found.error() != Errno::kNoEnt) return found.error();
        if (again) return Errno::kNoEnt;  // somewhere after a link, not the last name
        ParentLookup at;
        at.last = name;
        if (!parent.hold(at.parent)) goto restart;
        auto made = make_node(at, kTypeRegular | (r.mode & ~a.umask), 0, {}, c);
        if (made.ok()) {
            out.how.path = made.take();
            out.created = true;
            return lib::kOk;
        }
        if (made.error() != Errno::kExist) return made.error();
        goto restart;  // another thread was faster
    }
}

Leaf<void> find_existing(const Request& r, PathArgument& a, Resolved& out) {
    Walk walk(a.context);
    u32 lookup = (r.flags & (kOpenNoFollow | kOpenOwnName) ? 0 : u32{kFollow}) |
                 (r.flags & kOpenDirectory ? u32{kDirectory} : 0);
    for (;;) {
        TRY(FS_WALK_STABLE(walk, run(a.text, lookup)));
        if (!(r.flags & kOpenPath)) TRY(may_open(r, walk.at(), *a.context.creds, a.context.caller));
        if (walk.at().hold(out.how.path)) return lib::kOk;
    }
}

Leaf<void> resolve(Caller& c, i32 directory, UserString path, const Request& r, Resolved& out) {
    PathArgument a;
    TRY(a.read(c, directory, path));
    if (r.flags & kTmpfileBit)
        TRY(make_tmpfile(r, a, out));
    else if (r.flags & kOpenCreate)
        TRY(find_or_create(r, a, out));
    else
        TRY(find_existing(r, a, out));
    if ((r.flags & kOpenDirectory) && !(r.flags & kTmpfileBit) && !out.how.path.dentry->is_directory())
        return Errno::kNotDir;
    out.how.flags = r.flags & ~(kOpenOnce & ~kOpenExclusive);  // a disk wants to know
    out.how.creds = &c.creds();
    out.how.caller = &c;
    if (!out.created && (out.how.path.inode()->mode() & kTypeMask) == kTypeChar) {
        out.how.terminal = controlling_terminal(c.process());
        if (!(r.flags & kOpenNoCtty)) out.how.terminal_opened = &take_opened_terminal;
    }
    return lib::kOk;
}

// EMFILE comes before everything else. A table no larger than the limit can always take one more.
bool descriptor_left(Caller& c) {
    u64 limit = descriptor_limit(c);
    return c.files().capacity() < limit || c.files().has_free_below(limit);
}

// More pages than this are not freed at once: truncation then runs as a task, in steps from the end. So it does for a
// file that is mapped: private copies may have to go.
constexpr u64 kStepPages = 256;

bool is_long_truncation(Inode& inode, u64 length) {
    Mapping* m = inode.mapping();
    if (!m || m->page_count() <= kStepPages) return false;
    u64 last = m->last_resident();
    return last != ~u64{0} && last >= lib::pages_for(length) + kStepPages;
}

// A new length; the caller may write to the file.
AttributeChange length_change(Caller& c, u64 length) {
    AttributeChange change;
    change.size = true;
    change.to.size = length;
    change.rule = AttributeChange::Rule::kContents;
    change.asker = &c.creds();
    return change;
}

// Cuts a file that is longer. Where it is mapped more is to be done afterwards: private copies beyond the end, pages that
// many have mapped. There is no memory that this might lack then.
Task<Result<void>> shrink(Caller& c, Ref<Inode> inode, u64 length) {
    while (is_long_truncation(*inode, length)) {
        Mapping* m = inode->mapping();
        u64 keep = m->last_resident() + 1 - kStepPages;
        if (keep * kPageSize < inode->peek_attributes().size)
            CO_TRY(inode->set_attributes(length_change(c, keep * kPageSize)).ended());
        else
            m->truncate_pages(keep);  // beyond the end of the file: fallocate(2)
        co_await rt::Yield{};
    }
    if (length < inode->peek_attributes().size) CO_TRY(inode->set_attributes(length_change(c, length)).ended());
    if (Mapping* m = inode->mapping(); m && (m->has_users() || m->has_dropped()))
        for (const u64 cut = m->begin_cut(); m->drop_some_copies(cut);) co_await rt::Yield{};
    co_return lib::kOk;
}

// kNeedsTask: shrink() is to be called, then this again.
Leaf<void> change_size(Inode& inode, const AttributeChange& change) {
    const bool shorter = change.to.size < inode.peek_attributes().size;
    if (shorter && inode.mapping() && inode.mapping()->has_users()) return kNeedsTask;
    TRY(inode.set_attributes(change));
    if (shorter && inode.mapping() && inode.mapping()->has_users()) return kNeedsTask;
    return lib::kOk;
}

// For O_TRUNC. ETXTBSY before anything is cut: an open for writing is counted already, one for reading is not.
Task<Result<void>> shrink_opened(Caller& c, const Request& r, Ref<Inode> inode) {
    bool read_only_file = (r.flags & kOpenAccess) == kOpenReadOnly;
    if (read_only_file && !inode->start_writing()) co_return Errno::kTxtBsy;
    auto done = co_await shrink(c, inode, 0);
    if (read_only_file) inode->stop_writing();
    co_return done;
}

bool truncates(const Request& r, bool created, Inode& inode) {
    return (r.flags & kOpenTruncate) && !created && inode.is_regular() && inode.mapping();
}

Leaf<i64> finish(Caller& c, const Request& r, bool created, Ref<File> file) {
    if ((r.flags & kOpenDirect) && file->kind() != FileKind::kBlock)
        return Errno::kInval;  // only disks are without a cache
    Inode& inode = *file->inode();
    if (truncates(r, created, inode)) {
        if (is_long_truncation(inode, 0)) return kNeedsTask;
        bool read_only_file = (r.flags & kOpenAccess) == kOpenReadOnly;
        if (read_only_file && !inode.start_writing()) return Errno::kTxtBsy;
        auto done = change_size(inode, length_change(c, 0));
        if (read_only_file) inode.stop_writing();
        if (!done.ok()) return done.error();
    }
    Fd fd = TRY(install_file(c, std::move(file), r.flags));
    return i64{fd.value};
}

Leaf<i64> open_now(Caller& c, i32 directory, UserString path, const Request& r) {
    if (!descriptor_left(c)) [[unlikely]]
        return Errno::kMFile;
    Resolved at;
    TRY(resolve(c, directory, path, r, at));
    if (r.flags & kOpenPath) {
        Ref<PathFile> handle = TRY(rt::make_ref<PathFile>(at.how));
        return finish(c, r, at.created, std::move(handle));
    }
    Ref<File> file = TRY(at.how.path.inode()->open(at.how));
    return finish(c, r, at.created, std::move(file));
}

// FIFOs wait, large files are truncated in steps. The name is resolved again: nothing has been changed yet.
TaskResult open_patiently(Caller& c, i32 directory, UserString path, Request r) {
    Resolved at;
    CO_TRY(resolve(c, directory, path, r, at));
    Inode* inode = at.how.path.inode();
    Ref<File> file;
    if ((inode->mode() & kTypeMask) == kTypeFifo)
        file = CO_TRY(co_await open_fifo_wait(at.how, Ref<Inode>{inode}));
    else
        file = CO_TRY(inode->open(at.how));
    for (;;) {
        if (truncates(r, at.created, *file->inode())) CO_TRY(co_await shrink_opened(c, r, Ref<Inode>{file->inode()}));
        auto fd = finish(c, r, at.created, file);
        if (fd.error() != kNeedsTask) co_return fd;
        co_await rt::Yield{};  // it has grown again in the meantime, or it is mapped
        if (is_ending(c)) co_return Errno::kIntr;
    }
}

Leaf<i64> open(Caller& c, i32 directory, UserString path, u32 flags, u32 mode) {
    const Request r = TRY(Request::decode(flags, mode));
    return c.or_later(open_now(c, directory, path, r), [&] { return open_patiently(c, directory, path, r); });
}

// The checks of RLIMIT_FSIZE for a file that grows.
Leaf<void> set_length(Caller& c, Inode& inode, i64 length) {
    if (u64(length) > c.process().limit(kRlimFsize) && u64(length) > inode.peek_attributes().size) {
        (void)send_signal(c.thread(), kernel_signal(kSigXfsz));
        return Errno::kFBig;
    }
    if (is_long_truncation(inode, u64(length))) return kNeedsTask;
    return change_size(inode, length_change(c, u64(length)));
}

}  // namespace

Leaf<i64> sys_open(Caller& c, UserString path, u32 flags, u32 mode) { return open(c, kAtCwd, path, flags, mode); }
Leaf<i64> sys_openat(Caller& c, i32 directory, UserString path, u32 flags, u32 mode) {
    return open(c, directory, path, flags, mode);
}
Leaf<i64> sys_creat(Caller& c, UserString path, u32 mode) {
    return open(c, kAtCwd, path, kOpenCreate | kOpenWriteOnly | kOpenTruncate, mode);
}

namespace {

// The file of truncate(2), with everything checked.
Leaf<Ref<Inode>> truncated_file(Caller& c, UserString path, i64 length) {
    if (length < 0) return Errno::kInval;
    Target t;
    TRY(t.find(c, kAtCwd, path, kFollow));
    Inode& inode = t.inode();
    if (inode.is_directory()) return Errno::kIsDir;
    if (!inode.is_regular()) return Errno::kInval;
    if (t.read_only()) return Errno::kRoFs;
    TRY(check_access(inode, kMayWrite, c.creds()));
    if (!inode.try_ref()) return Errno::kNoEnt;
    return Ref<Inode>::adopt(&inode);
}

Leaf<Ref<File>> truncated_file(Caller& c, Fd fd, i64 length) {
    if (length < 0) return Errno::kInval;
    Ref<File> file = TRY(open_file(c, fd));
    if (!file->inode()->is_regular() || !file->writable()) return Errno::kInval;
    return file;
}

Task<Result<void>> set_length_patiently(Caller& c, Ref<Inode> inode, i64 length) {
    for (;;) {
        CO_TRY(co_await shrink(c, inode, u64(length)));
        auto done = set_length(c, *inode, length);
        if (done.error() != kNeedsTask) co_return done.ended();
        // It has grown again meanwhile, or it is mapped.
        co_await rt::Yield{};
        if (is_ending(c)) co_return Errno::kIntr;
    }
}
// By name: the file is counted as one that is being written.
Task<Result<void>> truncate_patiently(Caller& c, Ref<Inode> inode, i64 length) {
    if (!inode->start_writing()) co_return Errno::kTxtBsy;
    auto done = co_await set_length_patiently(c, inode, length);
    inode->stop_writing();
    co_return done;
}

}  // namespace

Leaf<void> sys_truncate(Caller& c, UserString path, i64 length) {
    Ref<Inode> inode = TRY(truncated_file(c, path, length));
    if (!inode->start_writing()) return Errno::kTxtBsy;
    auto done = set_length(c, *inode, length);
    inode->stop_writing();
    return c.or_later(std::move(done), [&] { return truncate_patiently(c, std::move(inode), length); });
}

Leaf<void> sys_ftruncate(Caller& c, Fd fd, i64 length) {
    Ref<File> file = TRY(truncated_file(c, fd, length));
    return c.or_later(set_length(c, *file->inode(), length),
                      [&] { return set_length_patiently(c, Ref<Inode>{file->inode()}, length); });
}

}  // namespace linux
