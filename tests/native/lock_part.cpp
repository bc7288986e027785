// SPDX-License-Identifier: MIT
// kLockInfo: which locks can be queried, and that the counts are right after known operations.
#include "tests/native/ktest.hpp"

namespace ktest {
namespace {

constexpr Type kLocked[] = {kTypeEndpoint, kTypeNotification, kTypeSched, kTypeSystem};
constexpr Type kOthers[] = {kTypePool, kTypeSpace, kTypeThread, kTypeReply, kTypeMemory, kTypeIrq};

bool is(Slot s, u64 taken, u64 contended, u64 longest) {
    auto r = lock_info(s);
    return r.ok() && r.value().taken == taken && r.value().contended == contended && r.value().longest == longest;
}

constexpr u64 kSignals = 3000;
void signals(u64 n) {
    for (u64 i = 0; i < kSignals; ++i) (void)raw_call(kSignal, n, 1);
}

}  // namespace

KTEST(lock_info_without_capability, cap_exists) {
    Slot ended = make(kTypeEndpoint);
    KDONE(raw_call(kDelete, ended));
    for (Slot s : {slot(), ended, Slot{kFirstSlots}, ~Slot{0}}) KREFUSED(kBadF, raw_call(kLockInfo, s));
}
KTEST(lock_info_with_wrong_type, cap_type) {
    for (Type t : kOthers) {
        Slot s = derive(any_object(t), kAllRights, 7);
        KREFUSED(kInval, raw_call(kLockInfo, s));
    }
}
KTEST(lock_info_without_right, cap_right) {
    for (Type t : kLocked) {
        Slot s = any_object(t), less = derive(s, kAllRights & ~kReadRight), none = derive(s, 0);
        KREFUSED(kPerm, raw_call(kLockInfo, less));
        KREFUSED(kPerm, raw_call(kLockInfo, none));
        KDONE(raw_call(kLockInfo, derive(s, kReadRight)));
    }
}
KTEST(lock_info_takes_no_flags, call_flags) {
    Slot n = make(kTypeNotification);
    KREFUSED(kInval, raw_call(kLockInfo | kNonBlocking, n));
}
KTEST(lock_info_of_a_new_object, none) {
    for (Type t : {kTypeEndpoint, kTypeNotification}) {
        Slot s = make(t);
        // Querying is not counted.
        for (int i = 0; i < 3; ++i) KCHECK(is(s, 0, 0, 0));
    }
}
KTEST(lock_info_counts_what_takes_the_lock, none) {
    Slot n = make(kTypeNotification), other = make(kTypeNotification);
    for (u64 i = 0; i < 5; ++i) KDONE(raw_call(kSignal, n, 1));
    KCHECK(is(n, 5, 0, 0));
    Message m;
    KDONE(code(receive(n, m, kNonBlocking)));
    KREFUSED(kAgain, raw_call(kReceive | kNonBlocking, n));
    KCHECK(is(n, 7, 0, 0) && is(other, 0, 0, 0));
    Slot e = make(kTypeEndpoint);
    KREFUSED(kAgain, raw_call(kSend | kNonBlocking, e, make_tag(1, 0)));
    KREFUSED(kAgain, raw_call(kReceive | kNonBlocking, e));
    // A call refused before it needs the object takes no lock.
    Slot less = derive(e, kReadRight);
    KREFUSED(kPerm, raw_call(kSend | kNonBlocking, less, make_tag(1, 0)));
    KCHECK(is(e, 2, 0, 0));
    // Another capability names the same object.
    KCHECK(is(derive(n, kReadRight), 7, 0, 0));
}
// Two CPUs that signal all the time: no acquisition is lost, and contended ones are a part of all.
KTEST_CPUS(lock_info_counts_on_two_cpus, none) {
    Slot n = make(kTypeNotification);
    auto before = lock_info(kSlotSystem);
    Helper& h = start(signals, n, {.cpu = cpu});
    signals(n);
    KCHECK(until_done(h));
    auto r = lock_info(n), after = lock_info(kSlotSystem);
    KCHECK(before.ok() && r.ok() && after.ok());
    KCHECK(r.value().taken == 2 * kSignals);
    KCHECK(r.value().contended <= r.value().taken && (r.value().contended == 0) == (r.value().longest == 0));
    KCHECK(cpu != 0 || r.value().contended == 0);
    KCHECK(after.value().taken == 0 && after.value().longest >= r.value().longest);
    KCHECK(after.value().contended - before.value().contended >= r.value().contended);
}

}  // namespace ktest
