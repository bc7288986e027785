// SPDX-License-Identifier: MIT
#include "linux/task/creds.hpp"

#include <cstring>

#include "fs/regular.hpp"
#include "rt/mem/slab.hpp"

namespace linux {

Result<Ref<fs::Creds>> copy_creds(const fs::Creds& from) {
    auto r = TRY(rt::make_ref<fs::Creds>());
    fs::Creds& to = *r;
    to.uid = from.uid, to.euid = from.euid, to.suid = from.suid, to.fsuid = from.fsuid;
    to.gid = from.gid, to.egid = from.egid, to.sgid = from.sgid, to.fsgid = from.fsgid;
    to.cap_bounding = from.cap_bounding;
    to.securebits = from.securebits;
    to.groups = from.groups;
    to.user = from.user;
    to.cap_effective = from.cap_effective;
    to.cap_permitted = from.cap_permitted;
    to.cap_inheritable = from.cap_inheritable;
    to.cap_ambient = from.cap_ambient;
    return r;
}

namespace {

Result<void> may_signal_as(Caller& c, Process& to, const fs::Creds& theirs, u32 sig) {
    const fs::Creds& mine = c.creds();
    if (mine.capable(fs::kCapKill)) return lib::kOk;
    if (mine.euid == theirs.suid || mine.euid == theirs.uid || mine.uid == theirs.suid || mine.uid == theirs.uid)
        return lib::kOk;
    if (sig == kSigCont && to.session_seen() == c.process().session_seen()) return lib::kOk;
    return Errno::kPerm;
}

}  // namespace

Result<void> may_signal(Caller& c, Process& to, u32 sig) {
    if (&to == &c.process()) return lib::kOk;
    Ref<const fs::Creds> theirs = to.credentials();
    return may_signal_as(c, to, *theirs, sig);
}
Result<void> may_signal(Caller& c, Thread& to, u32 sig) {
    if (&to.process() == &c.process()) return lib::kOk;
    Ref<const fs::Creds> theirs = to.credentials();
    return may_signal_as(c, to.process(), *theirs, sig);
}

ProcessView view_of(Process& p, Thread* t, ViewOf what) {
    ProcessView v{.process = &p};
    rt::LockGuard guard{p.lock};
    v.creds = t ? t->own_creds() : p.creds;
    v.program = p.exe;
    if (t) {
        v.mm = t->mm_ref();
        if (what == ViewOf::kDescriptors) {
            v.files = t->files_use().ref();
            v.context = t->fs_context_ref();
        }
    }
    v.has_memory = bool(v.mm);
    for (Thread& other : p.threads) {
        if (!v.mm) v.mm = other.mm_ref();
        if (t || what == ViewOf::kMemory) {
            if (v.mm) break;
            continue;
        }
        if (!v.files) v.files = other.files_use().ref();
        if (!v.context) v.context = other.fs_context_ref();
        if (v.mm && v.files && v.context) break;
    }
    return v;
}

bool may_inspect(Caller* c, const ProcessView& of, AskedBy by) {
    if (!c) return false;
    if (of.process == &c->process()) return true;
    const fs::Creds& mine = c->creds();
    if (mine.capable(fs::kCapSysPtrace)) return true;
    const fs::Creds& theirs = *of.creds;
    bool file = by == AskedBy::kFile;
    u32 uid = file ? mine.fsuid : mine.uid, gid = file ? mine.fsgid : mine.gid;
    if (uid != theirs.uid || uid != theirs.euid || uid != theirs.suid) return false;
    if (gid != theirs.gid || gid != theirs.egid || gid != theirs.sgid) return false;
    if (of.mm && !of.dumpable()) return false;
    return (theirs.cap_permitted & ~(file ? mine.cap_effective : mine.cap_permitted)) == 0;
}

void set_comm(Thread& t, std::string_view name) {
    size_t n = name.size() < kCommLength - 1 ? name.size() : kCommLength - 1;
    char fresh[kCommLength] = {};
    std::memcpy(fresh, name.data(), n);
    // Others read it without a lock (/proc): always terminated.
    std::memcpy(t.comm, fresh, kCommLength);
}

}  // namespace linux

namespace fs {

const Creds& creds_of_caller(const void* caller) { return static_cast<const linux::Caller*>(caller)->creds(); }

}  // namespace fs
