// SPDX-License-Identifier: MIT
// Changes of the tables and of the derivation tree. Everything that can fail comes before the first change.
#include "core/cap/cap.hpp"

#include "rt/executor.hpp"

namespace core {

constinit Cap CapTable::kNothing;

CapTable::~CapTable() {
    if (slots_) rt::deallocate(slots_, bytes_for(limit_));
}

Result<void> CapTable::allocate(u32 slots, Pool& p) {
    void* memory = rt::allocate(bytes_for(slots));
    if (!memory) return Errno::kNoMem;
    slots_ = static_cast<std::atomic<Cap*>*>(memory);
    for (u32 i = 0; i < slots; ++i) new (&slots_[i]) std::atomic<Cap*>{&kNothing};
    limit_ = slots;
    pool = &p;
    return lib::kOk;
}

void CapTable::publish(Cap& c, u32 slot) {
    c.table = this;
    c.slot = slot;
    slots_[slot].store(&c, std::memory_order_release);  // pairs with find()
}

namespace caps {

constinit rt::SpinLock<rt::Rank::capability> lock;

namespace {

// Objects that no thread continues to end, and the reaper, which does: it runs at the highest priority, so no thread
// starves it. `reaper_posted` says that the reaper is in a queue, runs, or waits for its timer.
constinit Endings orphans;
void end_orphans(rt::Schedulable& s);
constinit rt::Schedulable reaper{&end_orphans, rt::Priority::kHighest};
constinit std::atomic<bool> reaper_posted{false};
// Between its runs: what it waits for may be a thread of this CPU with a lower priority.
constinit rt::Timer reaper_pause{[](rt::Timer&) { rt::Executor::current().enqueue(reaper); }};
constexpr Nanoseconds kReaperPause{200'000};

void wake_reaper() {
    if (!reaper_posted.exchange(true, std::memory_order_acq_rel)) rt::Executor::current().post(reaper);
}

void end_orphans(rt::Schedulable&) {
    constexpr u32 kBudget = 64;
    rt::Executor& ex = rt::Executor::current();
    if (!end_objects(orphans, kBudget)) {
        ex.timers().arm(reaper_pause, hal::Machine::now() + kReaperPause);
        return;
    }
    reaper_posted.store(false, std::memory_order_release);
    // Who has added to the list since its last look found it posted.
    rt::LockGuard guard{lock};
    if (!orphans.objects.empty()) wake_reaper();
}

// True: the reaper is to be woken.
bool add(Endings& to, Object& object) RT_REQUIRES(lock) {
    Endings& list = to.closed ? orphans : to;
    list.objects.push_back(object);
    return &list == &orphans;
}

void free_record(rt::Retired& r) {
    delete reinterpret_cast<Cap*>(reinterpret_cast<std::byte*>(&r) - offsetof(Cap, retired));
}

void link_child(Cap& parent, Cap& c) RT_REQUIRES(lock) {
    c.parent = &parent;
    c.prev = nullptr;
    c.next = parent.child;
    if (parent.child) parent.child->prev = &c;
    parent.child = &c;
}

void unlink_leaf(Cap& c) RT_REQUIRES(lock) {
    if (c.prev)
        c.prev->next = c.next;
    else if (c.parent)
        c.parent->child = c.next;
    if (c.next) c.next->prev = c.prev;
    c.parent = c.next = c.prev = nullptr;
}

// The children go to the parent: what was derived from a copy stays derived from the original. True: none is left.
bool shed_children(Cap& c, u32& budget) RT_REQUIRES(lock) {
    while (Cap* child = c.child) {
        if (budget == 0) return false;
        --budget;
        unlink_leaf(*child);
        if (c.parent) link_child(*c.parent, *child);
    }
    return true;
}

// Takes a record without children out of everything. The record stays readable for an epoch.
void drop(Cap& c, Endings& endings) RT_REQUIRES(lock) {
    unlink_leaf(c);
    c.table->clear(c.slot);
    if (--c.object->caps == 0 && add(endings, *c.object)) wake_reaper();
    c.table->pool->give_back(rt::kMemoryTaken<Cap>);
    c.retired.free = &free_record;
    rt::retire(c.retired);
}

// A record that can be published without failing.
class NewRecord {
public:
    static Result<NewRecord> make(CapTable& to) {
        REQUIRE(to.pool->charge(rt::kMemoryTaken<Cap>), pool_quota, kNoMem);
        Cap* c = rt::make<Cap>();
        if (!c) {
            to.pool->give_back(rt::kMemoryTaken<Cap>);
            return Errno::kNoMem;
        }
        return NewRecord{c, &to};
    }
    NewRecord(NewRecord&& o) noexcept : cap_(std::exchange(o.cap_, nullptr)), to_(o.to_) {}
    NewRecord(const NewRecord&) = delete;
    ~NewRecord() {
        if (!cap_) return;
        delete cap_;
        to_->pool->give_back(rt::kMemoryTaken<Cap>);
    }
    Cap& operator*() { return *cap_; }
    Cap& publish(u64 slot) RT_REQUIRES(lock) {
        Cap& c = *std::exchange(cap_, nullptr);
        to_->publish(c, u32(slot));
        return c;
    }

private:
    NewRecord(Cap* c, CapTable* to) : cap_(c), to_(to) {}
    Cap* cap_;
    CapTable* to_;
};

Result<void> check_target(CapTable& to, u64 slot) RT_REQUIRES(lock) {
    REQUIRE(slot != 0, slot_not_null, kInval);
    REQUIRE(slot < to.limit(), slot_in_range, kInval);
    if (to.ended.load(std::memory_order_relaxed)) return Errno::kIdRm;
    REQUIRE(to.at(u32(slot)) == nullptr, slot_empty, kExist);
    return lib::kOk;
}

Result<Cap*> source_at(CapTable& from, u64 slot) {
    Cap* c = from.find(slot);
    REQUIRE(c != nullptr, cap_exists, kBadF);
    return c;
}

Result<void> derive(CapTable& from, u64 source, CapTable& to, u64 slot, u64 rights, u64 badge, bool cut) {
    NewRecord record = TRY(NewRecord::make(to));
    rt::LockGuard guard{lock};
    Cap* c = TRY(source_at(from, source));
    TRY(check_target(to, slot));
    if (cut) rights = rights == 0 ? c->rights() : rights & c->rights();
    REQUIRE((rights & ~c->rights()) == 0, copy_no_more_rights, kPerm);
    REQUIRE(badge == 0 || c->badge == 0, copy_keeps_badge, kPerm);
    (*record).object = c->object;
    (*record).badge = badge != 0 ? badge : c->badge;
    (*record).set(c->object->type, rights);
    Cap& made = record.publish(slot);
    ++c->object->caps;
    link_child(*c, made);
    return lib::kOk;
}

}  // namespace

Result<void> insert_first(CapTable& table, u64 slot, Object& object, u64 rights, Cap* parent, u64 badge) {
    NewRecord record = TRY(NewRecord::make(table));
    rt::LockGuard guard{lock};
    TRY(check_target(table, slot));
    // The parent was found without the lock: it may have been deleted since.
    if (parent && parent->table->at(parent->slot) != parent) return Errno::kBadF;
    (*record).object = &object;
    (*record).badge = badge;
    (*record).set(object.type, rights);
    Cap& made = record.publish(slot);
    object.caps = 1;
    if (parent) link_child(*parent, made);
    return lib::kOk;
}

Result<void> copy(CapTable& from, u64 source, CapTable& to, u64 slot, u64 rights, u64 badge) {
    return derive(from, source, to, slot, rights, badge, false);
}

Result<void> hand_over(CapTable& from, u64 source, CapTable& to, u64 slot, u64 rights) {
    return derive(from, source, to, slot, rights, 0, true);
}

Result<void> move(CapTable& from, u64 source, CapTable& to, u64 slot) {
    rt::LockGuard guard{lock};
    Cap* c = TRY(source_at(from, source));
    TRY(check_target(to, slot));
    REQUIRE(to.pool->charge(rt::kMemoryTaken<Cap>), pool_quota, kNoMem);
    from.pool->give_back(rt::kMemoryTaken<Cap>);
    // Readers look at the object, the badge and the kind only: the record itself can stay.
    from.clear(u32(source));
    to.publish(*c, u32(slot));
    return lib::kOk;
}

Result<bool> remove(CapTable& table, u64 slot, Endings& endings) {
    rt::LockGuard guard{lock};
    Cap* c = TRY(source_at(table, slot));
    u32 budget = kStep;
    if (!shed_children(*c, budget)) return false;
    drop(*c, endings);
    return true;
}

Result<bool> revoke(CapTable& table, u64 slot, Endings& endings) {
    rt::LockGuard guard{lock};
    Cap* root = TRY(source_at(table, slot));
    u32 budget = kStep;
    while (Cap* c = root->child) {
        if (budget == 0) return false;
        --budget;
        // What was derived from it is derived from the root: its turn comes.
        const bool deep = c->child != nullptr;
        if (!shed_children(*c, budget)) return false;
        drop(*c, endings);
        if (deep && checks::switched_off(checks::Check::revoke_reaches_all)) return true;
    }
    return true;
}

bool end_objects(Endings& endings, u32 budget) {
    Object* stuck = nullptr;  // the first that could not be ended
    while (budget != 0) {
        Object* object;
        {
            rt::LockGuard guard{lock};
            object = endings.objects.pop_front();
            if (object && object == stuck) {
                // All that are left wait for something: not here.
                endings.objects.push_back(*object);
                return false;
            }
        }
        if (!object) return true;
        --budget;
        if (object->end(budget, endings)) {
            object->unref();
            continue;
        }
        // Others may have more luck: to the end of the list. (It may have ended the thread whose list this is.)
        rt::LockGuard guard{lock};
        if (add(endings, *object)) wake_reaper();
        if (!stuck) stuck = object;
    }
    rt::LockGuard guard{lock};
    return endings.objects.empty();
}

void pass_on(Endings& endings, bool close) {
    rt::LockGuard guard{lock};
    endings.closed |= close;
    if (endings.objects.empty()) return;
    orphans.objects.splice_back(endings.objects);
    wake_reaper();
}

bool empty(CapTable& table, u32& budget, Endings& endings) {
    rt::LockGuard guard{lock};
    table.ended.store(true, std::memory_order_relaxed);
    while (table.cursor < table.limit()) {
        if (budget == 0) return false;
        if (Cap* c = table.at(table.cursor)) {
            if (!shed_children(*c, budget)) return false;
            drop(*c, endings);
            if (budget != 0) --budget;
        } else if (table.cursor % 64 == 0) {
            --budget;
        }
        ++table.cursor;
    }
    return true;
}

}  // namespace caps
}  // namespace core
