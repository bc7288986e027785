// SPDX-License-Identifier: MIT
// Path resolution without references, for leaf functions: what it yields is valid until the caller's next suspension.
// lookup() and its kin (fs/path.hpp) are this with references taken at the end.
#pragma once
#include "fs/path.hpp"

namespace fs {

// A place in the tree of names, without references. What a resolution starts from or yields has both parts.
struct Place {
    Mount* mount = nullptr;
    Dentry* dentry = nullptr;
    Inode* inode() const { return dentry->inode(); }
    bool is_directory() const { return dentry->is_directory(); }
    friend bool operator==(Place, Place) = default;
    // False: it is on its way out.
    bool hold(Path& out) const;
};

struct WalkContext {
    Place root, start;
    const Creds* creds = nullptr;
    const void* caller = nullptr;  // as in LookupContext
};

class Walk {
public:
    explicit Walk(const WalkContext& c) : context_(c) {}

    // Resolves `path` (not empty) completely. kFollow, kDirectory.
    Leaf<void> run(std::string_view path, u32 flags);
    // Up to the last component, which is left in last().
    Leaf<void> run_to_parent(std::string_view path);
    // After run_to_parent(): looks the last component up. kOk: at() is the file. With `follow`, a symbolic link there
    // is resolved up to *its* last component, and `again` says so: at() is a directory once more, last() the name in
    // it.
    Leaf<void> step_last(bool follow, bool& again);

    Place at() const { return at_; }
    NameKey last() const { return last_; }
    bool last_is_dots() const { return last_is_dots_; }  // ".", ".." or nothing but slashes
    bool trailing_slash() const { return trailing_slash_ || kept_slash_; }
    // False: a rename happened concurrently, so the result may never have been true: start over.
    bool stable() const { return names_stable(sequence_); }
    const WalkContext& context() const { return context_; }

private:
    enum Mode { kWhole, kParent };
    void begin(std::string_view path);
    // Where it continues if the same walk of this call was too long (fs/long_walk.cpp).
    void resume_kept(Mode mode, u32& flags);
    Leaf<void> pause(Mode mode, u32 flags);
    bool is_kept(const struct KeptWalk& kept, Mode mode) const;
    Leaf<void> go_on(Mode mode, u32 flags);
    bool pass_plain(Mode mode, u32 flags, Errno& result);  // true: all is resolved
    // True: a link's text was pushed. `last`: of the whole path.
    Leaf<bool> step(const NameKey& name, bool follow, bool last);
    Leaf<bool> follow_link(Place link, bool last);
    void up();
    void cross_mounts();
    bool arena_in_use() const;

    static constexpr size_t kArena = 512;
    static constexpr u32 kLong = 2560;  // bytes of names, plus 16 for each special one, that are walked in one step
    const WalkContext& context_;
    Place at_;
    std::string_view rest_;       // of the innermost text
    const char* text_ = nullptr;  // where that text starts
    u32 depth_ = 0, links_ = 0, arena_used_ = 0;
    bool last_is_dots_ = false, trailing_slash_ = false;
    bool kept_slash_ = false;  // after a link as last component whose text is walked now
    u32 asked_ = 0;            // flags at the beginning
    u32 walked_ = 0;           // since the beginning, or since it was resumed
    std::string_view path_;    // all of it
    Dentry* owner_ = nullptr;  // the link whose text is walked; null: the path, or a text that was made for us
    NameKey last_;
    u64 sequence_ = 0;
    Ref<Dentry> owned_;  // the last dentry that is in no cache; it holds all above it
    Path jumped_;        // the target of the last magic link
    struct Level {
        const char* text;
        std::string_view rest;
        Dentry* owner;
    };
    // Not initialised: outer texts with what is left of them, and texts that file systems made for us.
    union {
        Level levels_[kMaxSymlinks];
    };
    union {
        char arena_[kArena];
    };
};

// Repeats the walk until no rename interferes: in the end renames wait for it.
template <class Again>
[[gnu::noinline, gnu::cold]] Leaf<void> walk_again(const Walk& walk, Again&& again) {
    RenamePause pause;
    for (u32 tries = 1;; ++tries) {
        if (tries >= kFreeWalks) pause.begin();
        Leaf<void> walked = again();
        if (walk.stable()) return walked;
    }
}

// Repeats until no rename interfered. The walk's own state starts anew each time.
#define FS_WALK_STABLE(walk, call)                                         \
    ({                                                                     \
        Leaf<void> walked_ = (walk).call;                                  \
        if (!(walk).stable()) [[unlikely]]                                 \
            walked_ = fs::walk_again((walk), [&] { return (walk).call; }); \
        walked_;                                                           \
    })

// A call ends, or starts again, because its walk was long: kNeedsFault, which is not about memory then. `caller` as in
// WalkContext. The first form reports it once.
bool walk_was_paused(const void* caller);
bool has_walks(const void* caller);
void forget_walks(const void* caller);
extern std::atomic<u32> kept_walks;  // of all callers
// The first of a caller's own. Supplied by what defines callers.
KeptWalk*& kept_walks_of(const void* caller);

inline WalkContext walk_context(const LookupContext& c, const Path& start) {
    const Path& from = start ? start : c.cwd;
    return {{c.root.mount.get(), c.root.dentry.get()}, {from.mount.get(), from.dentry.get()}, c.creds, c.caller};
}

// Down to the topmost of what is mounted at `p`.
inline Place topmost(Place p) {
    while (p.dentry->flags() & Dentry::kMountPoint) {
        Mount* m = mounted_at(p.mount, p.dentry);
        if (!m) break;
        p = {m, m->root.get()};
    }
    return p;
}

// May the walker pass through this directory? Inline for directories that all may pass.
inline Leaf<void> check_search(Inode& dir, const Creds& c, const void* caller = nullptr) {
    if ((dir.mode() & kAnyExec) == kAnyExec) [[likely]]
        return lib::kOk;
    return check_access(dir, kMayExec, c, caller);
}

}  // namespace fs
