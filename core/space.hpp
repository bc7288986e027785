// SPDX-License-Identifier: MIT
// A user address space: page tables, which CPUs have them loaded, and asynchronous invalidation.
//
// Locks: Rank::space guards changes of the tables. Walks by other CPUs (user copies of a module) need no lock: entries
// are atomic, table pages and frames are freed one epoch after they were unlinked.
// Invalidation: what is taken away is flushed here at once; every other CPU that has the space loaded is asked to flush
// (an IPI only if it may be in user mode or asleep), and flushes at the latest before it enters user mode or is
// quiescent.
#pragma once
#include <span>

#include "core/cpu_state.hpp"
#include "hal/bind.hpp"
#include "lib/ref.hpp"
#include "lib/user.hpp"
#include "rt/executor.hpp"
#include "rt/spinlock.hpp"
#include "rt/task.hpp"

namespace core {

// A page to map as two words, for many of them at once: its rights are below the frame's address.
struct PackedEntry {
    static constexpr u64 kRead = 8, kWrite = 16, kExecute = 32;
    u64 at, frame_and_rights;
};

class Space : public RefCounted<Space> {
public:
    static Result<Ref<Space>> create();
    ~Space();

    Result<void> map(std::span<const lib::MapEntry> entries) RT_EXCLUDES(lock_);
    // The same with at most `tables` new page tables, which is counted down for each. How many of the entries are
    // mapped: not all, if the next one needs one more, or there is no memory for one.
    size_t map_within(std::span<const PackedEntry> entries, u64& tables) RT_EXCLUDES(lock_);
    void unmap(std::span<const lib::UserRange> ranges) RT_EXCLUDES(lock_);
    void protect(std::span<const lib::UserRange> ranges, lib::Prot prot) RT_EXCLUDES(lock_);
    // Frees the page tables over `range`, where nothing is mapped, that cover nothing outside [floor, ceiling): floor
    // is where what may be mapped below ends, ceiling where what may be mapped above begins. Cannot fail, allocates
    // nothing.
    void free_tables(lib::UserRange range, UserAddr floor, UserAddr ceiling) RT_EXCLUDES(lock_);
    // The same where something may be mapped: what is mapped in a table of the last level that goes is unmapped first,
    // and a table above that is in use stays.
    void release_tables(lib::UserRange range, UserAddr floor, UserAddr ceiling) RT_EXCLUDES(lock_);
    // Where the last page tables of the user half end: `ceiling` if nothing may be mapped above.
    static constexpr UserAddr tables_end() { return hal::Machine::user_top().up(hal::Machine::PageTable::span(4)); }
    // Where the first `most` tables of the last level that lie over [from, to) end; `to` if there are no more than
    // that. For work on a long range in pieces.
    UserAddr end_of_tables(UserAddr from, UserAddr to, u32 most) const { return table_.end_of_tables(from, to, most); }
    // What one table of the last level covers, in bytes.
    static constexpr u64 kTableBytes = hal::Machine::PageTable::span(2);
    // Page tables that it has, without the root. Exact for who alone changes mappings of the space.
    u64 tables() const { return tables_.count.load(std::memory_order_relaxed); }
    // Was the page written since this was last asked? Clears the mark.
    bool test_and_clear_dirty(UserAddr page) RT_EXCLUDES(lock_);
    // May another CPU hold translations of this space?
    bool shared_now() const;
    // May one still hold translations that were taken away?
    bool stale() const;
    Task<void> settle();
    void clear();

    // Inline: the sizes of words and small structures, when they are known, need no loop.
    [[gnu::always_inline]] size_t copy_in(void* to, UserAddr from, size_t n) {
        if (!__builtin_constant_p(n)) return copy_in_any(to, from, n);
        if (!loaded_here()) [[unlikely]]
            return walk_in(to, from, n);
        if (n == 4) return load_word<u32>(to, from);
        if (n == 8) return load_word<u64>(to, from);
        return hal::Machine::copy_from_user(to, from, n);
    }
    [[gnu::always_inline]] size_t copy_out(UserAddr to, const void* from, size_t n) {
        if (!__builtin_constant_p(n)) return copy_out_any(to, from, n);
        if (!loaded_here()) [[unlikely]]
            return walk_out(to, from, n);
        if (n == 4) return store_word<u32>(to, from);
        if (n == 8) return store_word<u64>(to, from);
        return hal::Machine::copy_to_user(to, from, n);
    }
    // The caller's part of a copy that another CPU shares with it (rt/remote/share.hpp); the space is loaded here.
    static size_t copy_loaded(void* kernel, UserAddr user, size_t n, bool to_user) {
        return to_user ? hal::Machine::copy_long_to_user(user, kernel, n)
                       : hal::Machine::copy_long_from_user(kernel, user, n);
    }
    template <class... W>
    [[gnu::always_inline]] bool store_now(UserAddr to, const W&... words) {
        return loaded_here() && hal::Machine::store_user_words(to, words...);
    }
    template <class... T>
    [[gnu::always_inline]] bool load_now(UserAddr from, T&... words) {
        return loaded_here() && hal::Machine::load_user_words(from, words...);
    }
    size_t zero_out(UserAddr to, size_t n);
    size_t copy_in_string(char* to, UserAddr from, size_t max, bool* ended);
    Result<u32> load_u32(UserAddr a);
    Result<u32> compare_exchange_u32(UserAddr a, u32 expected, u32 desired);  // the value that was there

    // Makes this CPU use the space, until it loads another. It keeps no reference: a space without any reference
    // stays until no CPU has it loaded.
    void load() {
        if (loaded_here()) [[likely]]
            return;
        load_new();
    }
    // The same when `from` is what this CPU has loaded, and another.
    [[gnu::always_inline]] void load_from(rt::Executor& ex, Space& from) {
        const u32 bit = ex.cpu_bit();
        // seq_cst: pairs with invalidate(), which changes entries before it reads which CPUs have the space loaded.
        loaded_on_.fetch_add(bit, std::memory_order_seq_cst);
        hal::Machine::load_other_root(table_.root());
        state_of(ex).space = this;
        from.unloaded(bit);
    }
    static void last_ref(Space* s) { s->unloaded(kReferred); }
    bool loaded_here() const { return hal::Machine::current_root() == table_.root(); }
    static void unload();  // this CPU: the kernel's own tables

private:
    // From this many bytes on a copy may be shared.
    static constexpr size_t kLong = 1'024;
    size_t copy_in_any(void* to, UserAddr from, size_t n);
    size_t copy_out_any(UserAddr to, const void* from, size_t n);
    template <class Copy>
    size_t copy_long(std::byte* kernel, UserAddr user, size_t n, bool to_user, Copy&& copy);
    size_t walk_in(void* to, UserAddr from, size_t n);
    size_t walk_out(UserAddr to, const void* from, size_t n);
    template <class T>
    [[gnu::always_inline]] static size_t load_word(void* to, UserAddr from) {
        T v;
        if (!hal::Machine::load_user(from, v)) [[unlikely]]
            return 0;
        __builtin_memcpy(to, &v, sizeof v);
        return sizeof v;
    }
    template <class T>
    [[gnu::always_inline]] static size_t store_word(UserAddr to, const void* from) {
        T v;
        __builtin_memcpy(&v, from, sizeof v);
        return hal::Machine::store_user(to, v) ? sizeof v : 0;
    }
    void invalidate(UserAddr from, UserAddr to) RT_REQUIRES(lock_);
    void replace(hal::Machine::PageTable::Slot slot, hal::Machine::PageTable::Entry entry, UserAddr at)
        RT_REQUIRES(lock_);
    void note_writer();
    void await_writers() RT_REQUIRES(lock_);
    template <class F>
    size_t walk(UserAddr at, size_t n, bool write, F&& piece);

    // Where tables come from and go to; how many there are.
    struct Tables {
        std::atomic<u64> count{0};  // written under Space::lock_
        PhysAddr allocate_table();
        void free_table(PhysAddr page);
    };

    rt::SpinLock<rt::Rank::space> lock_;
    hal::Machine::PageTable table_;
    void load_new();
    // The CPU of this bit no longer has the space loaded, or no reference is left (kReferred). The last of them frees
    // it.
    [[gnu::always_inline]] void unloaded(u32 bit) {
        if (loaded_on_.fetch_sub(bit, std::memory_order_seq_cst) == bit) [[unlikely]]
            free_now();
    }
    void free_now();
    static constexpr u32 kReferred = 1u << 31;
    static_assert(lib::kMaxCpus < 31);
    u32 loaded_cpus() const { return loaded_on_.load(std::memory_order_seq_cst) & ~kReferred; }

    std::atomic<u32> loaded_on_{kReferred};     // CPUs whose root register holds it, and kReferred
    std::atomic<u64> ticket_[lib::kMaxCpus]{};  // the last flush asked of each
    // CPUs that have written through its tables since the last protect(), and those that settle() therefore waits for.
    std::atomic<u32> writers_{0}, awaited_{0};
    Space* next_to_free_ = nullptr;  // of those that are being taken apart
    Tables tables_;
};

}  // namespace core
