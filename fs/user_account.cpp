// SPDX-License-Identifier: MIT
// The accounts by uid, and lists of groups. Lock: Rank::log, because an identity may be dropped under any other.
#include "fs/user_account.hpp"

#include "fs/creds.hpp"
#include "rt/mem/slab.hpp"
#include "rt/spinlock.hpp"

namespace fs {

Result<Ref<GroupList>> GroupList::make(u32 count) {
    void* memory = rt::allocate(sizeof(GroupList) + count * sizeof(u32));
    if (!memory) return Errno::kNoMem;
    return Ref<GroupList>::adopt(new (memory) GroupList(count));
}

void GroupList::last_ref(GroupList* list) { rt::deallocate(list, sizeof(GroupList) + list->count_ * sizeof(u32)); }

bool GroupList::has(u32 group) const {
    std::span<const u32> list = all();
    size_t from = 0, to = list.size();
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (list[middle] == group) return true;
        if (list[middle] < group)
            from = middle + 1;
        else
            to = middle;
    }
    return false;
}

namespace {

struct Accounts {
    lib::Tree<UserAccount, &UserAccount::hook, lib::KeyMember<&UserAccount::uid>> by_uid;
};
constinit rt::Guarded<Accounts, rt::Rank::log> accounts;

// One whose last reference is just going counts as absent; there may be several of these.
Ref<UserAccount> find(Accounts& all, u32 uid) {
    for (UserAccount* a = all.by_uid.lower_bound(uid); a && a->uid == uid; a = all.by_uid.next(*a))
        if (a->try_ref()) return Ref<UserAccount>::adopt(a);
    return {};
}

}  // namespace

Result<Ref<UserAccount>> UserAccount::of(u32 uid) {
    {
        auto all = accounts.lock();
        if (Ref<UserAccount> there = find(*all, uid)) return there;
    }
    Ref<UserAccount> made = TRY(rt::make_ref<UserAccount>(uid));
    Ref<UserAccount> there;
    {
        auto all = accounts.lock();
        there = find(*all, uid);
        if (!there) {
            all->by_uid.insert(*made);
            return made;
        }
    }
    return there;
}

void UserAccount::last_ref(UserAccount* account) {
    {
        auto all = accounts.lock();
        if (account->hook.linked()) all->by_uid.remove(*account);
    }
    delete account;
}

}  // namespace fs
