// SPDX-License-Identifier: MIT
// The name cache. A Dentry is one name in a directory, or the root of a file system; its inode never changes.
//
// Lookups take no lock and no reference: buckets are singly linked lists, and dentries are freed one epoch after their
// last reference went. What is found that way is valid until the caller's next suspension. A rename changes parent and
// name in place; `rename_sequence` is odd during a rename, and a walk without a lock reads it before and after.
//
// Locks: names_lock (Rank::directory) guards a directory's children and their being hashed. Code that takes several of
// them holds namespace_lock first. The striped bucket locks (Rank::dentry) guard the chains.
// References: a child holds its parent. In a file system with pinned names each hashed dentry holds itself once (the
// pin).
#pragma once
#include <cstring>
#include <new>

#include "fs/inode.hpp"
#include "lib/list.hpp"
#include "rt/epoch.hpp"
#include "rt/spinlock.hpp"

namespace fs {

// A name with its hash, as the cache compares it. `key`: 48 bits of hash, 16 bits of length.
struct NameKey {
    const char* text = nullptr;
    u64 key = 0;
    u32 length() const { return u32(key & 0xffff); }
    std::string_view view() const { return {text, length()}; }
};

namespace detail {
inline constexpr u64 kHashFactor = 0x9e3779b97f4a7c15;
// The start value of a name's hash, and the factor of each step (odd). Chosen at boot, so that no program can know
// which names share a bucket.
struct NameSecret {
    u64 start, factor;
};
extern NameSecret name_secret;
// A product folded to its half: every bit of the word counts in every bit of the result.
inline u64 hash_step(u64 h, u64 word) {
    auto product = static_cast<unsigned __int128>(h ^ word) * name_secret.factor;
    return u64(product) ^ u64(product >> 64);
}
constexpr u64 finish_key(u64 h, u64 length) { return (h << 16) | length; }
inline u64 load_word(const char* p) {
    u64 w;
    std::memcpy(&w, p, 8);
    return w;
}
u64 load_few(const char* from, size_t n);  // n < 8
// The n < 8 bytes before `end`, in the low bytes of a word. `start`: what may be read from.
inline u64 load_tail(const char* start, const char* end, size_t n) {
    if (size_t(end - start) < 8) [[unlikely]]
        return load_few(end - n, n);
    return n == 0 ? 0 : load_word(end - 8) >> (8 * (8 - n));
}
}  // namespace detail

// Chooses the secret of all hashes. Called once, before there is any name: names are never hashed again.
void choose_name_secret();

// Hash of a name of at most kNameMax bytes.
inline NameKey make_key(std::string_view name) {
    u64 h = detail::name_secret.start;
    const char *p = name.data(), *end = p + name.size();
    for (; end - p >= 8; p += 8) h = detail::hash_step(h, detail::load_word(p));
    h = detail::hash_step(h, detail::load_tail(name.data(), end, size_t(end - p)));
    return {name.data(), detail::finish_key(h, name.size())};
}
// The component at p, up to a slash or `end`; the same hash. Text before p back to `start` may be read.
inline NameKey scan_component(const char* start, const char* p, const char* end) {
    constexpr u64 kOnes = 0x0101010101010101, kHighs = 0x8080808080808080;
    const char* begin = p;
    u64 h = detail::name_secret.start;
    for (;; p += 8) {
        size_t left = size_t(end - p);
        u64 w = left >= 8 ? detail::load_word(p) : detail::load_tail(start, end, left);
        u64 x = w ^ (kOnes * '/');
        u64 found = (x - kOnes) & ~x & kHighs;
        if (left < 8) [[likely]]
            found |= u64{0x80} << (8 * left);  // the end counts as a slash
        if (found) {
            u32 n = u32(__builtin_ctzll(found)) >> 3;
            h = detail::hash_step(h, w & ((u64{1} << (8 * n)) - 1));
            return {begin, detail::finish_key(h, size_t(p - begin) + n)};
        }
        h = detail::hash_step(h, w);
    }
}
// Copies n bytes, inline: for short names. The text is not read beyond its end.
inline void copy_text(char* to, const char* from, size_t n) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8) std::memcpy(to + i, from + i, 8);
    if (i == n) return;
    if (n >= 8) {
        std::memcpy(to + n - 8, from + n - 8, 8);
    } else if (n >= 4) {
        u32 head, tail;
        std::memcpy(&head, from, 4), std::memcpy(&tail, from + n - 4, 4);
        std::memcpy(to, &head, 4), std::memcpy(to + n - 4, &tail, 4);
    } else {
        for (; i < n; ++i) to[i] = from[i];
    }
}
// Are n bytes equal? Short names, inline.
inline bool equal_text(const char* a, const char* b, size_t n) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        if (detail::load_word(a + i) != detail::load_word(b + i)) return false;
    if (n >= 8) return i == n || detail::load_word(a + n - 8) == detail::load_word(b + n - 8);
    if (n >= 4) {
        u32 x, y, v, w;
        std::memcpy(&x, a, 4), std::memcpy(&y, b, 4), std::memcpy(&v, a + n - 4, 4), std::memcpy(&w, b + n - 4, 4);
        return x == y && v == w;
    }
    for (; i < n; ++i)
        if (a[i] != b[i]) return false;
    return true;
}

class Dentry {
public:
    enum Flags : u32 {
        kHashed = 1,
        kUnlinked = 2,    // its name is gone; a directory: nothing can be made in it any more
        kMountPoint = 4,  // something is mounted here (in some mount)
        kIsDirectory = 8,
        kIsLink = 16,
        kPinned = 32,            // of a file system whose names are all cached
        kRoot = 64,              // of a file system: its own parent
        kStaysMountPoint = 128,  // while mounts are taken away: one that stays is here. Under namespace_lock
    };
    // Immutable; replaced as a whole by rename.
    struct Name {
        u64 key;
        bool separate;  // an allocation of its own
        char text[1];   // and more
        std::string_view view() const { return {text, size_t(key & 0xffff)}; }
        static size_t bytes(size_t length) { return offsetof(Name, text) + length + 1; }
    };

    // A name that is in no directory's list yet, with one reference. Null parent: a root. Returns null: no memory.
    static Dentry* create(Dentry* parent, NameKey name, Ref<Inode> inode);
    // The same in two steps, so that what may fail comes first: parent and inode are set by attach().
    static Dentry* allocate(NameKey name);
    void attach(Dentry* parent, Ref<Inode> inode);
    void discard();  // of one that was never attached
    static Name* new_name(NameKey name);
    static void free_name(Name* n);

    void ref() { refs_.fetch_add(1, std::memory_order_relaxed); }
    bool try_ref() {
        u32 n = refs_.load(std::memory_order_relaxed);
        while (n != 0)
            if (refs_.compare_exchange_weak(n, n + 1, std::memory_order_acquire, std::memory_order_relaxed))
                return true;
        return false;
    }
    void unref() {
        if (refs_.fetch_sub(1, std::memory_order_acq_rel) == 1) release(this);
    }

    Inode* inode() const { return inode_; }
    Dentry* parent() const { return parent_.load(std::memory_order_acquire); }
    const Name& name() const { return *name_.load(std::memory_order_acquire); }
    u32 flags() const { return flags_.load(std::memory_order_acquire); }
    void set_flag(u32 f) { flags_.fetch_or(f, std::memory_order_release); }
    void clear_flag(u32 f) { flags_.fetch_and(~f, std::memory_order_release); }
    bool is_directory() const { return (flags() & kIsDirectory) != 0; }
    bool unlinked() const { return (flags() & kUnlinked) != 0; }

    // `dir` is the parent. Entering takes the pin; leaving gives it to the caller, to be dropped outside the lock.
    void enter(Dentry& dir) RT_REQUIRES(dir.names_lock);
    [[nodiscard]] Ref<Dentry> leave(Dentry& dir) RT_REQUIRES(dir.names_lock);
    // Between rename_begin and rename_end. Takes over `fresh`, which may be null for the same name. Yields the old
    // parent, to be dropped outside the locks.
    [[nodiscard]] Ref<Dentry> move(Dentry& from, Dentry& to, Name* fresh)
        RT_REQUIRES(namespace_lock, from.names_lock, to.names_lock);

    rt::SpinLock<rt::Rank::directory> names_lock;
    // The entries of this directory, oldest first, by ascending cookie. An entry's hook and cookie belong to its
    // parent's lock.
    lib::ListHook child_hook;
    lib::List<Dentry, &Dentry::child_hook> children RT_GUARDED_BY(names_lock);
    Dentry* any_child() RT_UNCHECKED_LOCKING { return children.front(); }  // of a tree that no other CPU can reach
    u64 cookie = 0;                                                        // in the parent's list
    u64 next_cookie RT_GUARDED_BY(names_lock) =
        3;  // for the next entry here; 0..2 mean the start, after "." and after ".."

private:
    friend Dentry* find_name(Dentry* dir, const NameKey& name);
    static void release(Dentry* d);
    void hash_in();
    void hash_out();
    Dentry() = default;

    std::atomic<u32> refs_{1};
    std::atomic<u32> flags_{0};
    std::atomic<Dentry*> hash_next_{nullptr};
    std::atomic<Dentry*> parent_{nullptr};
    std::atomic<Name*> name_{nullptr};
    Inode* inode_ = nullptr;  // holds a reference
    rt::Retired retired_;
    u32 allocated_ = 0;
};

namespace detail {
inline constexpr u32 kBucketBits = 13;
extern std::atomic<Dentry*> buckets[1 << kBucketBits];
inline std::atomic<Dentry*>& bucket(const Dentry* dir, u64 key) {
    return buckets[(((key >> 16) + (reinterpret_cast<u64>(dir) >> 5)) * kHashFactor) >> (64 - kBucketBits)];
}
}  // namespace detail

// The cached name in `dir`, or null. No lock, no reference.
inline Dentry* find_name(Dentry* dir, const NameKey& name) {
    Dentry* d = detail::bucket(dir, name.key).load(std::memory_order_acquire);  // pairs with hash_in()
    for (; d; d = d->hash_next_.load(std::memory_order_acquire)) {
        if (d->parent_.load(std::memory_order_relaxed) != dir) continue;
        const Dentry::Name& n = d->name();
        if (n.key == name.key && equal_text(n.text, name.text, name.length())) return d;
    }
    return nullptr;
}

// Odd while a rename is in progress. Changed under namespace_lock.
extern std::atomic<u64> rename_sequence;
inline u64 names_stable_begin() {
    for (;;) {
        u64 s = rename_sequence.load(std::memory_order_acquire);
        if ((s & 1) == 0) [[likely]]
            return s;
        hal::Machine::poll_mailbox();
    }
}
// All loads of the walk are acquire, so this one comes after them.
inline bool names_stable(u64 since) { return rename_sequence.load(std::memory_order_acquire) == since; }
// Prevents new renames, for a walk that failed because of them more than once: it succeeds at the next but one
// try, for one rename may already be under way. A rename that comes in between is begun anew when others have run
// (kNeedsTask of rename_name()). Only for what a rename has made unstable: without renames there are no pauses.
class RenamePause {
public:
    RenamePause() = default;
    RenamePause(const RenamePause&) = delete;
    ~RenamePause() {
        if (begun_) [[unlikely]]
            paused.fetch_sub(1, std::memory_order_release);
    }
    void begin() {
        if (!std::exchange(begun_, true)) paused.fetch_add(1, std::memory_order_seq_cst);
    }
    static bool wanted() { return paused.load(std::memory_order_acquire) != 0; }

private:
    static std::atomic<u32> paused;
    bool begun_ = false;
};
// How often a walk is retried because of renames before they must wait.
inline constexpr u32 kFreeWalks = 3;
inline void rename_begin() { rename_sequence.fetch_add(1, std::memory_order_seq_cst); }
inline void rename_end() { rename_sequence.fetch_add(1, std::memory_order_seq_cst); }

// Drops some of the names of a pinned file system when its last mount has gone, at last the root. False: all have gone.
// `at` is where it continues, at first the root.
bool drop_some_of_tree(Dentry* root, Dentry*& at);

}  // namespace fs
