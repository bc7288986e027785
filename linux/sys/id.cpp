// SPDX-License-Identifier: MIT
// User and group ids, supplementary groups, capabilities (credentials(7), setresuid(2), capabilities(7)).
#include <cstring>

#include "abi/linux/task.hpp"
#include "linux/sys/table.hpp"
#include "linux/sys/wait_set.hpp"
#include "linux/task/creds.hpp"
#include "linux/task/thread.hpp"

namespace linux {
namespace {

using fs::Creds;
using port::Module;

constexpr u32 kNone = ~0u;  // "leave it"
// Dropped with a file-system uid of 0.
constexpr u64 kFsCapabilities = u64{1} << kCapChown | u64{1} << kCapDacOverride | u64{1} << kCapDacReadSearch |
                                u64{1} << kCapFowner | u64{1} << kCapFsetid | u64{1} << kCapLinuxImmutable |
                                u64{1} << kCapMknod | u64{1} << kCapMacOverride;

Leaf<i64> sys_getuid(Caller& c) { return i64{c.creds().uid}; }
Leaf<i64> sys_geteuid(Caller& c) { return i64{c.creds().euid}; }
Leaf<i64> sys_getgid(Caller& c) { return i64{c.creds().gid}; }
Leaf<i64> sys_getegid(Caller& c) { return i64{c.creds().egid}; }

Leaf<i64> sys_getresuid(Caller& c, UserOut<u32> real, UserOut<u32> effective, UserOut<u32> saved) {
    TRY(real.put(c.user(), c.creds().uid));
    TRY(effective.put(c.user(), c.creds().euid));
    TRY(saved.put(c.user(), c.creds().suid));
    return 0;
}
Leaf<i64> sys_getresgid(Caller& c, UserOut<u32> real, UserOut<u32> effective, UserOut<u32> saved) {
    TRY(real.put(c.user(), c.creds().gid));
    TRY(effective.put(c.user(), c.creds().egid));
    TRY(saved.put(c.user(), c.creds().sgid));
    return 0;
}

// What a change of user ids does to the capabilities (capabilities(7), "Effect of user ID changes").
void fix_capabilities(const Creds& old, Creds& to, bool keep) {
    if (old.securebits & kSecureNoSetuidFixup) return;
    bool was_root = old.uid == 0 || old.euid == 0 || old.suid == 0;
    bool is_root = to.uid == 0 || to.euid == 0 || to.suid == 0;
    if (was_root && !is_root) {
        if (!keep) to.cap_permitted = to.cap_effective = 0;
        to.cap_ambient = 0;
    }
    if (old.euid == 0 && to.euid != 0) to.cap_effective = 0;
    if (old.euid != 0 && to.euid == 0) to.cap_effective = to.cap_permitted;
}

// The new identity takes effect. A change of the effective ids makes the process undumpable, and it no longer gets a
// signal at its parent's end (prctl(2), PR_SET_DUMPABLE and PR_SET_PDEATHSIG).
void commit(Caller& c, Ref<Creds> to) {
    const Creds& old = c.creds();
    if (old.euid != to->euid || old.egid != to->egid || old.fsuid != to->fsuid || old.fsgid != to->fsgid ||
        (to->cap_permitted & ~old.cap_permitted)) {
        c.mm().dumpable.store(false, std::memory_order_relaxed);
        c.thread().parent_death_signal = 0;
    }
    c.thread().set_creds(std::move(to));
}

Leaf<i64> commit_uids(Caller& c, u32 uid, u32 euid, u32 suid) {
    const Creds& old = c.creds();
    if (uid == old.uid && euid == old.euid && suid == old.suid && euid == old.fsuid) return 0;
    Ref<Creds> to = TRY(copy_creds(old));
    if (uid != old.uid) {
        to->user = TRY(fs::UserAccount::of(uid));
        const u64 threads = to->user->threads.load(std::memory_order_relaxed);
        c.thread().over_process_limit = uid != 0 && threads > c.process().limit(kRlimNproc);
    }
    to->uid = uid, to->euid = euid, to->suid = suid, to->fsuid = euid;
    fix_capabilities(old, *to, c.thread().keep_capabilities);
    commit(c, std::move(to));
    return 0;
}
Leaf<i64> commit_gids(Caller& c, u32 gid, u32 egid, u32 sgid) {
    const Creds& old = c.creds();
    if (gid == old.gid && egid == old.egid && sgid == old.sgid && egid == old.fsgid) return 0;
    Ref<Creds> to = TRY(copy_creds(old));
    to->gid = gid, to->egid = egid, to->sgid = sgid, to->fsgid = egid;
    commit(c, std::move(to));
    return 0;
}

Leaf<i64> sys_setuid(Caller& c, u32 uid) {
    if (uid == kNone) return Errno::kInval;
    const Creds& o = c.creds();
    if (o.capable(fs::kCapSetuid)) return commit_uids(c, uid, uid, uid);
    if (uid != o.uid && uid != o.suid) return Errno::kPerm;
    return commit_uids(c, o.uid, uid, o.suid);
}
Leaf<i64> sys_setgid(Caller& c, u32 gid) {
    if (gid == kNone) return Errno::kInval;
    const Creds& o = c.creds();
    if (o.capable(fs::kCapSetgid)) return commit_gids(c, gid, gid, gid);
    if (gid != o.gid && gid != o.sgid) return Errno::kPerm;
    return commit_gids(c, o.gid, gid, o.sgid);
}

Leaf<i64> sys_setreuid(Caller& c, u32 uid, u32 euid) {
    const Creds& o = c.creds();
    bool may = o.capable(fs::kCapSetuid);
    if (uid != kNone && uid != o.uid && uid != o.euid && !may) return Errno::kPerm;
    if (euid != kNone && euid != o.uid && euid != o.euid && euid != o.suid && !may) return Errno::kPerm;
    u32 new_uid = uid == kNone ? o.uid : uid, new_euid = euid == kNone ? o.euid : euid;
    bool save = uid != kNone || (euid != kNone && euid != o.uid);
    return commit_uids(c, new_uid, new_euid, save ? new_euid : o.suid);
}
Leaf<i64> sys_setregid(Caller& c, u32 gid, u32 egid) {
    const Creds& o = c.creds();
    bool may = o.capable(fs::kCapSetgid);
    if (gid != kNone && gid != o.gid && gid != o.egid && !may) return Errno::kPerm;
    if (egid != kNone && egid != o.gid && egid != o.egid && egid != o.sgid && !may) return Errno::kPerm;
    u32 new_gid = gid == kNone ? o.gid : gid, new_egid = egid == kNone ? o.egid : egid;
    bool save = gid != kNone || (egid != kNone && egid != o.gid);
    return commit_gids(c, new_gid, new_egid, save ? new_egid : o.sgid);
}

Leaf<i64> sys_setresuid(Caller& c, u32 uid, u32 euid, u32 suid) {
    const Creds& o = c.creds();
    auto own = [&](u32 id) { return id == kNone || id == o.uid || id == o.euid || id == o.suid; };
    if (!o.capable(fs::kCapSetuid) && !(own(uid) && own(euid) && own(suid))) return Errno::kPerm;
    return commit_uids(c, uid == kNone ? o.uid : uid, euid == kNone ? o.euid : euid, suid == kNone ? o.suid : suid);
}
Leaf<i64> sys_setresgid(Caller& c, u32 gid, u32 egid, u32 sgid) {
    const Creds& o = c.creds();
    auto own = [&](u32 id) { return id == kNone || id == o.gid || id == o.egid || id == o.sgid; };
    if (!o.capable(fs::kCapSetgid) && !(own(gid) && own(egid) && own(sgid))) return Errno::kPerm;
    return commit_gids(c, gid == kNone ? o.gid : gid, egid == kNone ? o.egid : egid, sgid == kNone ? o.sgid : sgid);
}

// The old one is the result, whether or not it was changed (setfsuid(2)).
Leaf<i64> sys_setfsuid(Caller& c, u32 uid) {
    const Creds& o = c.creds();
    u32 old = o.fsuid;
    bool may = uid == o.uid || uid == o.euid || uid == o.suid || uid == o.fsuid || o.capable(fs::kCapSetuid);
    if (uid == kNone || uid == old || !may) return i64{old};
    auto to = copy_creds(o);
    if (!to.ok()) return i64{old};
    to.value()->fsuid = uid;
    const bool fix = !(o.securebits & kSecureNoSetuidFixup);
    if (fix && old == 0 && uid != 0) to.value()->cap_effective &= ~kFsCapabilities;
    if (fix && old != 0 && uid == 0) to.value()->cap_effective |= to.value()->cap_permitted & kFsCapabilities;
    commit(c, to.take());
    return i64{old};
}
Leaf<i64> sys_setfsgid(Caller& c, u32 gid) {
    const Creds& o = c.creds();
    u32 old = o.fsgid;
    bool may = gid == o.gid || gid == o.egid || gid == o.sgid || gid == o.fsgid || o.capable(fs::kCapSetgid);
    if (gid == kNone || gid == old || !may) return i64{old};
    auto to = copy_creds(o);
    if (!to.ok()) return i64{old};
    to.value()->fsgid = gid;
    commit(c, to.take());
    return i64{old};
}

Leaf<i64> sys_getgroups(Caller& c, i32 size, UserAddr to) {
    const Creds& o = c.creds();
    if (size < 0) return Errno::kInval;
    if (!o.groups) return 0;
    std::span<const u32> all = o.groups->all();
    if (size != 0) {
        if (u32(size) < all.size()) return Errno::kInval;
        TRY(c.user().write(to, all.data(), all.size_bytes()));
    }
    return i64(all.size());
}

// Enough for a leaf; what is longer is read and sorted in pieces of this many.
constexpr u32 kLeafGroups = 64;
constexpr u32 kLookedAt = 8192;

// The element at `at` to its place in a heap whose greatest is the first.
void sift_down(std::span<u32> heap, size_t at) {
    for (size_t child; (child = 2 * at + 1) < heap.size(); at = child) {
        if (child + 1 < heap.size() && heap[child] < heap[child + 1]) ++child;
        if (heap[child] <= heap[at]) return;
        std::swap(heap[at], heap[child]);
    }
}
void sort_few(std::span<u32> all) {
    for (size_t i = 1; i < all.size(); ++i)
        for (size_t j = i; j > 0 && all[j - 1] > all[j]; --j) std::swap(all[j - 1], all[j]);
}

Result<void> may_set_groups(Caller& c, i32 size) {
    if (!c.creds().capable(fs::kCapSetgid)) return Errno::kPerm;
    return u32(size) > fs::kMaxGroups ? Result<void>(Errno::kInval) : lib::kOk;
}

Result<void> commit_groups(Caller& c, Ref<fs::GroupList> groups) {
    Ref<Creds> to = TRY(copy_creds(c.creds()));
    to->groups = std::move(groups);
    commit(c, std::move(to));
    return lib::kOk;
}

TaskResult set_many_groups(Caller& c, i32 size, UserAddr from) {
    Ref<fs::GroupList> groups = CO_TRY(fs::GroupList::make(u32(size)));
    std::span<u32> all = groups->all();
    CO_TRY(co_await copy_from_program(c, from, all.data(), all.size_bytes()));
    for (size_t at = 0; at < all.size(); ++at) {
        if (all[at] == kNone) co_return Errno::kInval;
        if (at % kLookedAt == kLookedAt - 1) co_await rt::Yield{};
    }
    // Heapsort: a heap, then its greatest to the end, and so on. Each step is short.
    for (size_t at = all.size() / 2; at-- > 0;) {
        sift_down(all, at);
        if (at % kLeafGroups == 0) co_await rt::Yield{};
    }
    for (size_t n = all.size(); n > 1; --n) {
        std::swap(all[0], all[n - 1]);
        sift_down(all.first(n - 1), 0);
        if (n % kLeafGroups == 0) co_await rt::Yield{};
    }
    CO_TRY(commit_groups(c, std::move(groups)));
    co_return i64{0};
}
Leaf<i64> sys_setgroups(Caller& c, i32 size, UserAddr from) {
    TRY(may_set_groups(c, size));
    if (u32(size) > kLeafGroups) return c.later(set_many_groups(c, size, from));
    Ref<fs::GroupList> groups;
    if (size != 0) {
        groups = TRY(fs::GroupList::make(u32(size)));
        TRY(c.user().read(groups->all().data(), from, groups->all().size_bytes()));
        for (u32 group : groups->all())
            if (group == kNone) return Errno::kInval;
        sort_few(groups->all());
    }
    TRY(commit_groups(c, std::move(groups)));
    return 0;
}

// ---- Capabilities ----

// How many 32-bit words the caller's version has. For an unknown version the current one is returned.
Leaf<u32> cap_words(Caller& c, UserAddr header_at, abi::CapHeader& h) {
    TRY(c.user().read(&h, header_at, sizeof h));
    if (h.version == kCapVersion1) return 1;
    if (h.version == kCapVersion2 || h.version == kCapVersion3) return 2;
    u32 current = kCapVersion3;
    TRY(c.user().write(header_at, &current, sizeof current));
    return Errno::kInval;
}

Leaf<i64> sys_capget(Caller& c, UserAddr header_at, UserAddr data_at) {
    abi::CapHeader h;
    auto words = cap_words(c, header_at, h);
    if (!words.ok()) {
        if (words.error() == Errno::kInval && data_at.value == 0) return 0;  // a question for the version
        return words.error();
    }
    if (h.pid < 0) return Errno::kInval;
    Ref<const Creds> creds = c.creds_ref();
    if (h.pid != 0 && h.pid != c.thread().tid.value) {
        Ref<Thread> t = find_thread(Pid{h.pid});
        if (!t) return Errno::kSrch;
        creds = t->credentials();
    }
    if (data_at.value == 0) return 0;
    abi::CapData d[2];
    for (u32 i = 0; i < 2; ++i)
        d[i] = {u32(creds->cap_effective >> (32 * i)), u32(creds->cap_permitted >> (32 * i)),
                u32(creds->cap_inheritable >> (32 * i))};
    TRY(c.user().write(data_at, d, words.value() * sizeof d[0]));
    return 0;
}

Leaf<i64> sys_capset(Caller& c, UserAddr header_at, UserAddr data_at) {
    abi::CapHeader h;
    u32 words = TRY(cap_words(c, header_at, h));
    if (h.pid != 0 && h.pid != c.thread().tid.value) return Errno::kPerm;
    abi::CapData d[2] = {};
    TRY(c.user().read(d, data_at, words * sizeof d[0]));
    u64 effective = (d[0].effective | u64{d[1].effective} << 32) & kAllCapabilities;
    u64 permitted = (d[0].permitted | u64{d[1].permitted} << 32) & kAllCapabilities;
    u64 inheritable = (d[0].inheritable | u64{d[1].inheritable} << 32) & kAllCapabilities;
    const Creds& o = c.creds();
    bool setpcap = o.capable(fs::kCapSetpcap);
    if (!setpcap && (inheritable & ~(o.cap_inheritable | o.cap_permitted))) return Errno::kPerm;
    if (inheritable & ~(o.cap_inheritable | o.cap_bounding)) return Errno::kPerm;
    if (permitted & ~o.cap_permitted) return Errno::kPerm;
    if (effective & ~permitted) return Errno::kPerm;
    Ref<Creds> to = TRY(copy_creds(o));
    to->cap_effective = effective;
    to->cap_permitted = permitted;
    to->cap_inheritable = inheritable;
    to->cap_ambient &= permitted & inheritable;
    commit(c, std::move(to));
    return 0;
}

}  // namespace

constexpr SyscallRow kRows[] = {
    row<&sys_getuid>(abi::kNrGetuid, "getuid", Module::kTask, "calls/identity"),
    row<&sys_geteuid>(abi::kNrGeteuid, "geteuid", Module::kTask, "calls/identity"),
    row<&sys_getgid>(abi::kNrGetgid, "getgid", Module::kTask, "calls/identity"),
    row<&sys_getegid>(abi::kNrGetegid, "getegid", Module::kTask, "calls/identity"),
    row<&sys_getresuid>(abi::kNrGetresuid, "getresuid", Module::kTask, "calls/identity"),
    row<&sys_getresgid>(abi::kNrGetresgid, "getresgid", Module::kTask, "calls/identity"),
    row<&sys_setuid>(abi::kNrSetuid, "setuid", Module::kTask, "ids/setuid_as_root_is_for_good"),
    row<&sys_setgid>(abi::kNrSetgid, "setgid", Module::kTask, "ids/setresgid_rules"),
    row<&sys_setreuid>(abi::kNrSetreuid, "setreuid", Module::kTask, "ids/setreuid_rules"),
    row<&sys_setregid>(abi::kNrSetregid, "setregid", Module::kTask, "ids/setresgid_rules"),
    row<&sys_setresuid>(abi::kNrSetresuid, "setresuid", Module::kTask, "ids/setresuid_rules"),
    row<&sys_setresgid>(abi::kNrSetresgid, "setresgid", Module::kTask, "ids/setresgid_rules"),
    row<&sys_setfsuid>(abi::kNrSetfsuid, "setfsuid", Module::kTask, "ids/setfsuid"),
    row<&sys_setfsgid>(abi::kNrSetfsgid, "setfsgid", Module::kTask, "ids/setfsuid"),
    row<&sys_getgroups>(abi::kNrGetgroups, "getgroups", Module::kTask, "ids/groups"),
    row<&sys_setgroups>(abi::kNrSetgroups, "setgroups", Module::kTask, "ids/groups"),
    row<&sys_capget>(abi::kNrCapget, "capget", Module::kTask, "ids/capabilities"),
    row<&sys_capset>(abi::kNrCapset, "capset", Module::kTask, "ids/capabilities"),
};
const std::span<const SyscallRow> id_rows{kRows};

}  // namespace linux
