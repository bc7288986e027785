// SPDX-License-Identifier: MIT
#include "linux/sys/file_owner.hpp"

#include "abi/linux/fcntl.hpp"
#include "fs/file_locks.hpp"
#include "linux/task/pid.hpp"
#include "rt/mem/slab.hpp"

namespace linux {

namespace {

using fs::FileOwner;

// What a number of that kind names now: a serial number that no other of the kind has had; 0: nothing.
u64 named(FileOwner::Kind kind, i32 number) {
    switch (kind) {
        case FileOwner::Kind::kThread: {
            Ref<Thread> t = find_thread(Pid{number});
            return t ? t->serial + 1 : 0;
        }
        case FileOwner::Kind::kProcess: {
            Ref<Process> p = find_process(Pid{number});
            return p ? p->serial + 1 : 0;
        }
        case FileOwner::Kind::kGroup: {
            rt::LockGuard guard{process_tree};
            PidEntry* e = pid_entry(number);
            return e && !e->members.empty() ? e->serial : 0;
        }
        case FileOwner::Kind::kNobody: break;
    }
    return 0;
}
// ESRCH: the number names nothing at all. Linux takes one that names something of another kind.
Result<void> check_number(i32 number) {
    rt::LockGuard guard{process_tree};
    return number > 0 && pid_entry(number) ? Result<void>(lib::kOk) : Result<void>(Errno::kSrch);
}

FileOwner owner_of(fs::File& file) {
    rt::LockGuard guard{file.offset_lock};
    return file.owner ? *file.owner : FileOwner{};
}
// Changes the owner of the file; makes one at first. ENOMEM.
Result<void> change_owner(fs::File& file, lib::FunctionRef<void(FileOwner&)> change) {
    rt::Owned<FileOwner> fresh;
    for (;;) {
        {
            rt::LockGuard guard{file.offset_lock};
            if (!file.owner && fresh) {
                file.owner = fresh.release();
                fs::file_extras.fetch_add(1, std::memory_order_relaxed);
            }
            if (file.owner) {
                change(*file.owner);
                return lib::kOk;
            }
        }
        fresh = TRY(rt::make_owned<FileOwner>());
    }
}

Result<void> set_owner(Caller& c, fs::File& file, FileOwner::Kind kind, i32 number) {
    if (number != 0) TRY(check_number(number));
    const u64 serial = number != 0 ? named(kind, number) : 0;
    return change_owner(file, [&](FileOwner& o) {
        o.kind = kind;
        o.number = number;
        o.serial = serial;
        if (number == 0) return;
        o.uid = c.creds().uid;
        o.euid = c.creds().euid;
    });
}

// The number, 0 if what it named has gone.
i32 number_of(const FileOwner& o) { return o.serial != 0 && named(o.kind, o.number) == o.serial ? o.number : 0; }

Leaf<i64> set_owner_ex(Caller& c, fs::File& file, UserAddr at) {
    abi::OwnerEx asked;
    TRY(c.user().read(&asked, at, sizeof asked));
    FileOwner::Kind kind;
    switch (asked.type) {
        case abi::kOwnerThread: kind = FileOwner::Kind::kThread; break;
        case abi::kOwnerProcess: kind = FileOwner::Kind::kProcess; break;
        case abi::kOwnerGroup: kind = FileOwner::Kind::kGroup; break;
        default: return Errno::kInval;
    }
    TRY(set_owner(c, file, kind, asked.pid));
    return i64{0};
}

Leaf<i64> get_owner_ex(Caller& c, const FileOwner& o, UserAddr at) {
    abi::OwnerEx told{abi::kOwnerThread, number_of(o)};
    if (o.kind == FileOwner::Kind::kProcess) told.type = abi::kOwnerProcess;
    if (o.kind == FileOwner::Kind::kGroup) told.type = abi::kOwnerGroup;
    TRY(c.user().write(at, &told, sizeof told));
    return i64{0};
}

}  // namespace

Leaf<i64> owner_command(Caller& c, fs::File& file, u32 command, u64 argument) {
    switch (command) {
        case abi::kFcntlSetOwn: {
            const i32 who = i32(argument);
            if (who == INT32_MIN) return Errno::kInval;
            TRY(set_owner(c, file, who < 0 ? FileOwner::Kind::kGroup : FileOwner::Kind::kProcess,
                          who < 0 ? -who : who));
            return i64{0};
        }
        case abi::kFcntlGetOwn: {
            const FileOwner o = owner_of(file);
            return i64{o.kind == FileOwner::Kind::kGroup ? -number_of(o) : number_of(o)};
        }
        case abi::kFcntlSetOwnEx: return set_owner_ex(c, file, UserAddr{argument});
        case abi::kFcntlGetOwnEx: return get_owner_ex(c, owner_of(file), UserAddr{argument});
        case abi::kFcntlSetSig:
            if (argument > kSignals) return Errno::kInval;
            TRY(change_owner(file, [&](FileOwner& o) { o.signal = u32(argument); }));
            return i64{0};
        case abi::kFcntlGetSig: return i64{owner_of(file).signal};
        case abi::kFcntlGetOwnerUids: {
            const FileOwner o = owner_of(file);
            const u32 ids[2] = {o.uid, o.euid};
            TRY(c.user().write(UserAddr{argument}, ids, sizeof ids));
            return i64{0};
        }
        default: return Errno::kInval;
    }
}

}  // namespace linux
