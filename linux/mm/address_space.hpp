// SPDX-License-Identifier: MIT
// A program's address space: its areas (mmap(2)), the anonymous pages they hold, and its page tables, which are
// only a cache: every present page is known to an AnonMap or a Mapping.
//
// Locks: Rank::address_space guards the tree of areas and page-table changes of this space. Leaf functions take it,
// change everything they need and release it; what must wait (reading a file page, waiting for other CPUs'
// translations) is done by the Task forms without it. Order of freeing: unmap from the page tables, then drop page
// references; frames go one epoch later.
#pragma once
#include "abi/linux/mman.hpp"
#include "fs/file.hpp"
#include "fs/page.hpp"
#include "lib/tree.hpp"
#include "linux/abi.hpp"
#include "linux/mm/anon_map.hpp"
#include "linux/task/oom_adjustment.hpp"
#include "port/bind.hpp"

namespace linux {

inline constexpr u64 kMaxAreas = 65530;  // sysctl vm.max_map_count

struct Area;
struct AreaSpec;

// How a page fault ended. Converts to its enumeration; made from an error (no memory for a coroutine) it is kNoMemory.
class FaultKind {
public:
    enum Value : u8 { kResolved, kSegvMapError, kSegvAccess, kBusAddress, kNoMemory, kMustWait };
    constexpr FaultKind() = default;
    constexpr FaultKind(Value v) : value_(v) {}  // NOLINT
    constexpr explicit FaultKind(Errno) : value_(kNoMemory) {}
    constexpr operator Value() const { return value_; }  // NOLINT

private:
    Value value_ = kResolved;
};

// How many bytes a copy by the kernel may touch, and whether the next one lacks nothing but memory. Made from an error (no
// memory for a coroutine) it is none.
struct Accessible {
    u64 bytes = 0;
    bool no_memory = false;
    constexpr Accessible(u64 n, bool memory_is_all = false) : bytes(n), no_memory(memory_is_all) {}  // NOLINT
    constexpr explicit Accessible(Errno) : no_memory(true) {}
    constexpr operator u64() const { return bytes; }  // NOLINT
};

// A limit of getrlimit(2). `soft` is read without a lock.
struct RlimitValue {
    u64 soft = ~u64{0}, hard = ~u64{0};
};

// Soft limits that the calls below keep (getrlimit(2)), in bytes.
struct MemoryLimits {
    u64 address = ~u64{0};  // RLIMIT_AS
    u64 data = ~u64{0};     // RLIMIT_DATA
    u64 stack = ~u64{0};    // RLIMIT_STACK; for execve only
    u64 locked = ~u64{0};   // RLIMIT_MEMLOCK; unlimited with CAP_IPC_LOCK
};

class AddressSpace : public RefCounted<AddressSpace> {
public:
    static Result<Ref<AddressSpace>> create();
    ~AddressSpace();
    port::Space& space() { return *space_; }

    struct MapRequest {
        UserAddr hint{};
        u64 length = 0;
        u32 prot = 0, flags = 0;
        Ref<fs::File> file;             // null: anonymous
        u64 offset = 0;                 // bytes, page-aligned
        bool may_map_low = false;       // below vm.mmap_min_addr: CAP_SYS_RAWIO
        fs::Mapping* object = nullptr;  // shared anonymous memory that is there already, kept by the caller; null: new
    };
    // Checks what remap_file_pages(2) may map anew: [request.hint, + request.length) lies in areas of one file, shared and with
    // the same rights. Fills in what they map, and those rights. `at`: how far it is; kNeedsTask: call again. EINVAL.
    // `object` keeps the one that the request names.
    Leaf<void> find_shared(MapRequest& request, Ref<fs::Mapping>& object, UserAddr& at);
    // The mmap family; errors as the manual pages say. Leaf: kNeedsTask only if other CPUs must be waited for or the
    // work is long (more than kLongWork pages), and then nothing has changed: await the _task.
    Leaf<UserAddr> map(const MapRequest& r, const MemoryLimits& l) { return change_map(r, l, Step::kLeaf); }
    Leaf<void> unmap(UserAddr at, u64 length) { return change_unmap(at, length, Step::kLeaf); }
    Leaf<void> protect(UserAddr at, u64 length, u32 prot, const MemoryLimits& l) {
        return change_protection(at, length, prot, l, nullptr);
    }
    struct RemapRequest {
        UserAddr old;
        u64 old_length, new_length;
        u32 flags;
        UserAddr new_at;
        bool may_map_low;  // as in MapRequest
    };
    Leaf<UserAddr> remap(const RemapRequest& r, const MemoryLimits& l) { return change_remap(r, l, nullptr); }
    Leaf<void> advise(UserAddr at, u64 length, i32 advice) { return change_advice(at, length, advice, nullptr); }
    // The new break, or the old one if it cannot be moved (brk(2), "C library/kernel differences").
    Leaf<UserAddr> set_break(UserAddr to, const MemoryLimits& l) { return change_break(to, l, Step::kLeaf); }
    Task<Result<UserAddr>> map_task(MapRequest r, MemoryLimits l);
    Task<Result<void>> unmap_task(UserAddr at, u64 length);
    Task<Result<void>> protect_task(UserAddr at, u64 length, u32 prot, MemoryLimits l);
    Task<Result<UserAddr>> remap_task(RemapRequest r, MemoryLimits l);
    Task<Result<void>> advise_task(UserAddr at, u64 length, i32 advice);
    Task<Result<UserAddr>> set_break_task(UserAddr to, MemoryLimits l);
    // mincore: one byte a page, 1 if it is resident, or of a file that `asker` neither owns nor may write. kNoMem:
    // something is not mapped.
    Leaf<void> resident(UserAddr at, u64 length, std::span<u8> out, const fs::Creds& asker);
    // msync(2) of [at, end): `at` moves on; `hole`: one has been met. kNoMem, kBusy; kNeedsTask: there is more to do.
    Leaf<void> sync(UserAddr& at, UserAddr end, u32 flags, bool& hole);
    // mlock and munlock: marks and accounts (pages never leave memory). kNoMem: over the limit, or not mapped.
    Leaf<void> set_locked(UserAddr at, u64 length, bool locked, const MemoryLimits& l) {
        return change_locked(at, length, locked, l, nullptr);
    }
    Task<Result<void>> set_locked_task(UserAddr at, u64 length, bool locked, MemoryLimits l);
    Leaf<void> set_all_locked(bool current, bool future, const MemoryLimits& l) {
        return change_all_locked(current, future, l, nullptr);
    }
    Task<Result<void>> set_all_locked_task(bool current, bool future, MemoryLimits l);
    bool locks_future() const
        RT_UNCHECKED_LOCKING;  // mlockall(MCL_FUTURE) is in force: new areas are populated at once

    // One page fault, without waiting (kMustWait: use fault_task). `limits`: the process's, for a
    // stack that grows; null: none does.
    FaultKind fault(UserAddr at, port::Access access, const RlimitValue* limits);
    Task<FaultKind> fault_task(UserAddr at, port::Access access, const RlimitValue* limits);
    // Makes a range accessible for a copy by the kernel. Returns how many bytes from `at` are (all, or up to the first
    // page that cannot be): 0 means EFAULT. fault_in_now: as far as can be done without waiting; *must_wait says that
    // it stopped for that.
    Accessible fault_in_now(UserAddr at, u64 length, bool write, const RlimitValue* limits, bool* must_wait);
    Task<Accessible> fault_in(UserAddr at, u64 length, bool write, const RlimitValue* limits);

    // How many bytes from `at` another process may read (write) by the right itself: one to execute or to write lets pages
    // be read by the processor alone. None of a page of the kernel's.
    u64 open_to_others(UserAddr at, u64 length, bool write) RT_EXCLUDES(lock_);

    // Brings a range in as mlock and MAP_POPULATE do: private memory that may be written as if it were. `at` begins a page.
    // kResolved, or what the first page met that is not there.
    Task<FaultKind> populate(UserAddr at, u64 length, const RlimitValue* limits);

    // fork: the areas, copy-on-write. kNeedsTask never; long spaces yield inside the task. Changes of areas wait until
    // it is done.
    Task<Result<Ref<AddressSpace>>> fork();
    // Before the caller drops what may be the last reference of a space that no program uses any more and no lookup
    // finds any more (page tables keep what the areas do not): takes out some of many areas. True: there are more, give
    // way and call it again. False: what is left is short, or others refer to it.
    bool empty_some();
    bool many_areas();  // is empty_some() needed?
    // Exec and exit: removes everything that others could see, and leaves private pages to a reclaimer if there are
    // many. Cannot fail, allocates nothing.
    static void last_ref(AddressSpace* mm);

    // What execve sets and procfs shows.
    struct Layout {
        UserAddr code_start, code_end, data_start, data_end, break_start, stack_start, arg_start, arg_end, env_start,
            env_end;
        // The vector that the program was given: /proc/PID/auxv. Never changed; copies of the process share it.
        struct Auxiliary : RefCounted<Auxiliary> {
            static constexpr u32 kWords = 44;
            u64 words[kWords] = {};
        };
        Ref<Auxiliary> auxiliary;  // null: there is no program yet
    } layout;
    struct Totals {
        u64 virtual_pages, resident_pages, shared_pages, stack_pages, data_pages, locked_pages;
        u64 peak_resident;
    };
    Totals totals();
    // What it counts for when memory has run out (oom_badness of Linux): resident pages, shared ones included, and page
    // tables. An estimate where it has thousands of areas.
    u64 pages_in_use();
    // The serial number of the space that ends because memory has run out, set by who chose it; 0 once it has gone. What it
    // held may still wait for an epoch or in a reclaimer then.
    static inline std::atomic<u64> awaited_end{0};
    SharedOom shared_oom;
    std::atomic<bool> chosen_to_end{false};  // it is, or was waited for in vain
    // For /proc/PID/maps: the first area ending above `from`; false if none.
    struct AreaView {
        UserAddr start, end;
        u32 prot;
        bool shared;
        u64 offset;
        fs::Path file;
        const char* name;
    };
    bool next_area(UserAddr from, AreaView& out);
    // What names a word that several address spaces may map (futex(2)): the object and the offset. False: it is
    // private.
    bool shared_object(UserAddr at, u64& object, u64& offset);
    std::atomic<u64> minor_faults{0};
    // May the user inspect it (PR_SET_DUMPABLE of prctl(2))? Copied by fork, set by execve and by changes of identity.
    std::atomic<bool> dumpable{true};
    // No two spaces since boot have the same.
    const u64 serial = next_serial();

    // The inside (linux/mm/state.hpp), for the rest of linux/mm and the program loader.
    struct State;
    State& state() RT_REQUIRES(lock_) { return *state_; }

private:
    friend class ProgramLoader;  // linux/exec/exec_load.cpp fills a space that is not visible yet
    struct FaultWait;
    // A turn to change areas, alone (MM_CHANGE). What must not fail may wait for it: it is held for a bounded time,
    // during which the holder waits for other CPUs' translations only.
    class Change {
    public:
        explicit Change(AddressSpace& mm);
        Change(const Change&) = delete;
        ~Change();
        bool has_its_turn() const;

    private:
        AddressSpace& mm_;
        u32 number_;
    };
    // How a change is made: in a leaf (kNeedsTask: nothing has changed); or by the holder of a Change, in two steps:
    // checks and cuts borders, and if what is to be dropped is short, does it (kNeedsTask: drop most of it in pieces,
    // then finish).
    enum class Step : u8 { kLeaf, kPrepare, kFinish };
    AddressSpace() = default;
    static u64 next_serial();
    void clear_areas();
    static rt::Reclaimable* reclaim_step(rt::Reclaimable& r, u64 most);
    Leaf<UserAddr> change_map(const MapRequest& r, const MemoryLimits& l, Step step);
    Leaf<void> change_unmap(UserAddr at, u64 length, Step step);
    struct Move;
    // With a Move (null in a leaf) it may stop for work that is done in pieces: kNeedsTask, and `move` describes it.
    Leaf<UserAddr> change_remap(const RemapRequest& r, const MemoryLimits& l, Move* move);
    Leaf<UserAddr> change_break(UserAddr to, const MemoryLimits& l, Step step);
    // In pieces. `cursor` (null in a leaf, which does not begin what is long) is where to continue: the call does one
    // piece from there on and moves it, at last to the end of the range.
    Leaf<void> change_protection(UserAddr at, u64 length, u32 prot, const MemoryLimits& l, UserAddr* cursor);
    // `removed`: what pages were taken out of that may be mapped elsewhere still: Mapping::drop_some_copies() is called
    // then.
    Leaf<void> change_advice(UserAddr at, u64 length, i32 advice, UserAddr* cursor,
                             Ref<fs::Mapping>* removed = nullptr);
    // `locked_there`: pages of the range that are locked already, which do not count twice.
    Leaf<void> change_locked(UserAddr at, u64 length, bool locked, const MemoryLimits& l, UserAddr* cursor,
                             u64 locked_there = 0);
    // Adds the locked pages of [from, end) to `pages`; true: `from` is how far it came, and there is more.
    bool count_locked(UserAddr& from, UserAddr end, u64& pages);
    Leaf<void> change_all_locked(bool current, bool future, const MemoryLimits& l, UserAddr* cursor);
    // `wait` (null in the leaf) gets what kMustWait is about.
    FaultKind resolve(UserAddr at, port::Access access, const RlimitValue* limits, bool settled, FaultWait* wait);
    // Takes out a piece of a long range from `cursor` on, whose ends are borders. False: what is left is short.
    bool remove_some(UserAddr& cursor, UserAddr end);
    // Pieces of a long move: pages to their new place; their translations there. False: all is done.
    bool reserve_some(Move& m, bool& no_memory);
    bool give_back_some(Move& m);
    bool move_some(Move& m);
    bool map_some(Move& m);
    void finish_move_locked(Move& m, class DeadAreas& dead) RT_REQUIRES(lock_);
    bool clear_some();
    UserAddr program_break();
    friend struct Area;
    bool drop_copies(const Area& a, u64 first);
    static void end_later(AddressSpace* mm);
    FaultKind resolve_private(struct Area& a, UserAddr page_at, bool write, bool settled, FaultWait* wait)
        RT_REQUIRES(lock_);
    FaultKind resolve_own(struct Area& a, AnonMap::Chunk& c, UserAddr page_at, bool write, bool settled,
                          FaultWait* wait) RT_REQUIRES(lock_);
    FaultKind resolve_zero(struct Area& a, AnonMap::Chunk& c, UserAddr page_at) RT_REQUIRES(lock_);
    FaultKind resolve_file(struct Area& a, AnonMap::Chunk* c, UserAddr page_at, bool write, FaultWait* wait)
        RT_REQUIRES(lock_);
    FaultKind resolve_shared(struct Area& a, UserAddr page_at, bool write, FaultWait* wait) RT_REQUIRES(lock_);
    FaultKind page_from(struct Area& a, UserAddr page_at, Ref<fs::Page>& out, FaultWait* wait) RT_REQUIRES(lock_);
    static FaultKind must_settle(FaultWait* wait);
    FaultKind not_allowed(UserAddr at, FaultKind kind, FaultWait* wait) RT_REQUIRES(lock_);
    FaultKind map_around(struct Area& a, UserAddr page_at, fs::Page& page) RT_REQUIRES(lock_);
    struct Area* grow_stack(UserAddr page_at, const RlimitValue* limits) RT_REQUIRES(lock_);
    Result<bool> fork_areas(AddressSpace& child, UserAddr& from);
    Result<u64> fork_some(AddressSpace& child, u64 from_page);

    Ref<port::Space> space_;
    rt::SpinLock<rt::Rank::address_space> lock_;
    State* state_ RT_PT_GUARDED_BY(lock_) = nullptr;
    rt::WaitQueue change_over_;
    rt::Reclaimable reclaim_;
    AddressSpace* next_to_end_ = nullptr;  // of those that are being emptied
};

}  // namespace linux
