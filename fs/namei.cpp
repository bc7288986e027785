// SPDX-License-Identifier: MIT
// Path resolution (path_resolution(7)): components, symbolic links, mounts, "..", permissions.
// No lock is taken and no reference held on the way (see fs/dentry.hpp), except for names that are in no cache
// (procfs).
#include "fs/walk.hpp"
#include "rt/mem/slab.hpp"

namespace fs {

bool Place::hold(Path& out) const {
    if (!mount->try_ref()) return false;
    Ref<Mount> m = Ref<Mount>::adopt(mount);
    if (!dentry->try_ref()) return false;
    out = Path{std::move(m), Ref<Dentry>::adopt(dentry)};
    return true;
}

void Walk::begin(std::string_view path) {
    sequence_ = names_stable_begin();
    at_ = !path.empty() && path[0] == '/' ? context_.root : context_.start;
    rest_ = path;
    text_ = path.data();
    depth_ = links_ = arena_used_ = walked_ = 0;
    last_is_dots_ = trailing_slash_ = kept_slash_ = false;
    last_ = {};
    path_ = path;
    owner_ = nullptr;
}

void Walk::cross_mounts() {
    if (at_.dentry->flags() & Dentry::kMountPoint) [[unlikely]]
        at_ = topmost(at_);
}

void Walk::up() {
    while (at_ != context_.root) {
        if (at_.dentry != at_.mount->root.get()) {
            at_.dentry = at_.dentry->parent();
            break;
        }
        Mount* parent = at_.mount->parent();
        Dentry* point = at_.mount->mount_point();
        if (!parent || !point) break;
        at_ = {parent, point};
    }
    cross_mounts();
}

// Enters the link at `link`: its text becomes what is resolved next, or (magic) at_ its target at once.
Leaf<bool> Walk::follow_link(Place link, bool last) {
    if (++links_ > kMaxSymlinks) return Errno::kLoop;
    Inode& inode = *link.inode();
    const Creds& c = *context_.creds;
    // proc(5) fs.protected_symlinks: in a sticky world-writable directory only the owner's links, or the directory
    // owner's. It is about the last component; a link on the way is followed.
    const Attributes& dir = at_.inode()->peek_attributes();
    if (last && (dir.mode & (kSticky | 02)) == (kSticky | 02)) [[unlikely]] {
        u32 owner = inode.peek_attributes().uid;
        if (c.fsuid != owner && dir.uid != owner) return Errno::kAcces;
    }
    if (!(link.dentry->flags() & Dentry::kPinned)) {
        Path target = TRY(inode.follow_magic(c, context_.caller));
        if (target) {
            jumped_ = std::move(target);
            at_ = {jumped_.mount.get(), jumped_.dentry.get()};
            return false;
        }
    }
    std::string_view text = TRY(inode.read_link_for({arena_ + arena_used_, kArena - arena_used_}, c, context_.caller));
    if (text.data() == arena_ + arena_used_) arena_used_ += u32(text.size());
    inode.touch_accessed();
    if (text.empty()) return Errno::kNoEnt;
    // What is left of the outer text comes after the link's. (At most slashes are left at the end of everything.)
    if (!rest_.empty()) levels_[depth_++] = {text_, rest_, owner_};
    rest_ = text;
    text_ = text.data();
    owner_ = link.dentry;
    if (text[0] == '/') at_ = context_.root;
    return true;
}

// Looks `name` up in at_ and goes there.
Leaf<bool> Walk::step(const NameKey& name, bool follow, bool last) {
    Dentry* d = find_name(at_.dentry, name);
    if (!d) [[unlikely]] {
        if (at_.dentry->flags() & Dentry::kPinned) return Errno::kNoEnt;
        Ref<Inode> inode = TRY(at_.inode()->lookup(name.view()));
        if (!at_.dentry->try_ref()) return Errno::kNoEnt;  // the directory has gone under us
        Ref<Dentry> dir = Ref<Dentry>::adopt(at_.dentry);
        d = Dentry::create(dir.get(), name, std::move(inode));
        if (!d) return Errno::kNoMem;
        owned_ = Ref<Dentry>::adopt(d);
    }
    u32 flags = d->flags();
    if ((flags & Dentry::kIsLink) && follow) return follow_link({at_.mount, d}, last);
    at_.dentry = d;
    if (flags & Dentry::kMountPoint) [[unlikely]]
        at_ = topmost(at_);
    return false;
}

// Plain names in directories that all may pass, one after the other: the body of most resolutions. What is special in
// any way stops it, at the start of a component, and is left to go_on().
bool Walk::pass_plain(Mode mode, u32 flags, Errno& result) {
    const char *p = rest_.data(), *const end = p + rest_.size(), *const text = text_;
    const bool whole = depth_ == 0;  // what ends here is the end of the path
    Dentry* dir = at_.dentry;
    while (p != end && *p == '/') ++p;
    while (p != end && *p != '.' && dir->is_directory() && (dir->inode()->mode() & kAnyExec) == kAnyExec) {
        NameKey name = scan_component(text, p, end);
        const char* after = p + name.length();
        if (after == end) {
            if (!whole || name.length() > kNameMax) break;
            if (mode == kParent) {
                last_ = name;
                result = Errno::kOk;
            } else {
                Dentry* d = find_name(dir, name);
                if (!d || (d->flags() & (Dentry::kIsLink | Dentry::kMountPoint))) break;
                dir = d;
                result = (flags & kDirectory) && !d->is_directory() ? Errno::kNotDir : Errno::kOk;
            }
            rest_ = {};
            at_.dentry = dir;
            return true;
        }
        if (after + 1 == end || after[1] == '/') break;
        Dentry* d = find_name(dir, name);  // a name that is too long is in no cache
        if (!d || (d->flags() & (Dentry::kIsLink | Dentry::kMountPoint))) break;
        dir = d;
        p = after + 1;
    }
    at_.dentry = dir;
    walked_ += u32(p - rest_.data()) + 16;
    rest_ = {p, size_t(end - p)};
    return false;
}

// Resolves what is left. kParent stops before the last component.
Leaf<void> Walk::go_on(Mode mode, u32 flags) {
    for (;;) {
        if (Errno result; pass_plain(mode, flags, result)) return result;
        if (walked_ > kLong) [[unlikely]]
            TRY(pause(mode, flags));
        const char *p = rest_.data(), *end = p + rest_.size();
        if (p == end) {
            // Only slashes: the end of an inner text that was absolute or of a path like "/".
            if (depth_ != 0) {
                text_ = levels_[--depth_].text;
                rest_ = levels_[depth_].rest;
                owner_ = levels_[depth_].owner;
                continue;
            }
            rest_ = {};
            last_is_dots_ = true;
            if (mode == kWhole && (flags & kDirectory) && !at_.is_directory()) return Errno::kNotDir;
            return lib::kOk;
        }
        if (!at_.is_directory()) return Errno::kNotDir;
        TRY(check_search(*at_.inode(), *context_.creds, context_.caller));
        NameKey name = scan_component(text_, p, end);
        if (name.length() > kNameMax) [[unlikely]]
            return Errno::kNameTooLong;
        p += name.length();
        bool slash = p != end;
        while (p != end && *p == '/') ++p;
        bool last = p == end && depth_ == 0;
        bool dots = name.text[0] == '.' && (name.length() == 1 || (name.length() == 2 && name.text[1] == '.'));
        rest_ = {p, size_t(end - p)};
        if (p == end && depth_ != 0) {
            // The end of a link's text: continue with the outer one.
            text_ = levels_[--depth_].text;
            rest_ = levels_[depth_].rest;
            owner_ = levels_[depth_].owner;
        }
        if (last) {
            trailing_slash_ = slash;
            if (mode == kParent) {
                last_ = name;
                last_is_dots_ = dots;
                return lib::kOk;
            }
        }
        if (dots) [[unlikely]] {
            if (name.length() == 2) up();
            if (last) return lib::kOk;
            continue;
        }
        bool pushed = TRY(step(name, !last || slash || (flags & kFollow), last));
        if (pushed) {
            // A link as the last component: a slash after it requires a directory, whatever its text looks like.
            if (last && slash) flags |= kDirectory;
            continue;
        }
        if (last) {
            if ((slash || (flags & kDirectory)) && !at_.is_directory()) return Errno::kNotDir;
            return lib::kOk;
        }
    }
}

Leaf<void> Walk::run(std::string_view path, u32 flags) {
    begin(path);
    asked_ = flags;
    if (kept_walks.load(std::memory_order_relaxed) != 0) [[unlikely]]
        resume_kept(kWhole, flags);
    return go_on(kWhole, flags);
}

Leaf<void> Walk::run_to_parent(std::string_view path) {
    begin(path);
    u32 flags = 0;
    if (kept_walks.load(std::memory_order_relaxed) != 0) [[unlikely]]
        resume_kept(kParent, flags);
    return go_on(kParent, flags);
}

Leaf<void> Walk::step_last(bool follow, bool& again) {
    again = false;
    if (last_is_dots_) {
        if (last_.length() == 2) up();
        return lib::kOk;
    }
    bool slash = trailing_slash_;
    again = TRY(step(last_, follow || slash, true));
    if (!again) return lib::kOk;
    kept_slash_ |= slash;
    return go_on(kParent, 0);
}

Leaf<Path> lookup(const LookupContext& c, const Path& start, std::string_view path, u32 flags) {
    WalkContext context = walk_context(c, start);
    if (path.empty()) {
        if (!(flags & kEmptyPath)) return Errno::kNoEnt;
        return start ? start : c.cwd;
    }
    Walk walk(context);
    for (;;) {
        TRY(FS_WALK_STABLE(walk, run(path, flags)));
        Path found;
        if (walk.at().hold(found)) return found;
    }
}

Leaf<ParentLookup> lookup_parent(const LookupContext& c, const Path& start, std::string_view path) {
    if (path.empty()) return Errno::kNoEnt;
    WalkContext context = walk_context(c, start);
    Walk walk(context);
    for (;;) {
        TRY(FS_WALK_STABLE(walk, run_to_parent(path)));
        ParentLookup p;
        p.last = walk.last().view();
        p.last_is_dots = walk.last_is_dots();
        p.trailing_slash = walk.trailing_slash();
        if (walk.at().hold(p.parent)) return p;
    }
}

Leaf<Path> lookup_child(const Path& dir, std::string_view name, const Creds& c) {
    if (!dir.dentry->is_directory()) return Errno::kNotDir;
    if (name.size() > kNameMax) return Errno::kNameTooLong;
    TRY(check_search(*dir.inode(), c));
    WalkContext context{{dir.mount.get(), dir.dentry.get()}, {dir.mount.get(), dir.dentry.get()}, &c};
    Walk walk(context);
    for (;;) {
        TRY(FS_WALK_STABLE(walk, run(name, 0)));
        Path found;
        if (walk.at().hold(found)) return found;
    }
}

namespace {

// Writes the text backwards from the end of the buffer.
struct Backwards {
    std::span<char> buffer;
    size_t at;
    bool put(std::string_view s) {
        if (s.size() > at) return false;
        at -= s.size();
        std::memcpy(buffer.data() + at, s.data(), s.size());
        return true;
    }
    std::string_view view() const { return {buffer.data() + at, buffer.size() - at}; }
};

Result<std::string_view> climb(Place at, Place root, std::span<char> buffer, bool mark_deleted) {
    Backwards out{buffer, buffer.size()};
    if (mark_deleted && at.dentry->unlinked() && !out.put(" (deleted)")) return Errno::kRange;
    bool any = false;
    // A file of a kernel-internal file system: its name is all there is. That of a file which could have one in a
    // directory (memfd) looks like a path, the others are "pipe:[12]", "anon_inode:[eventfd]".
    if (at.mount->internal()) {
        bool fits = out.put(at.dentry->name().view()) && (!at.dentry->unlinked() || out.put("/"));
        return fits ? out.view() : Result<std::string_view>{Errno::kRange};
    }
    while (at != root) {
        if (at.dentry == at.mount->root.get() || at.dentry->parent() == at.dentry) {
            Mount* parent = at.mount->parent();
            Dentry* point = at.mount->mount_point();
            if (parent && point) {
                at = {parent, point};
                continue;
            }
            // Another root than the caller's: the top of everything is "/" if the caller's root is below it.
            if (!any && !out.put("/")) return Errno::kRange;
            if (!out.put("(unreachable)")) return Errno::kRange;
            return out.view();
        }
        std::string_view name = at.dentry->name().view();
        if (!out.put(name) || !out.put("/")) return Errno::kRange;
        any = true;
        at.dentry = at.dentry->parent();
    }
    if (!any && !out.put("/")) return Errno::kRange;
    return out.view();
}

}  // namespace

Result<std::string_view> path_text(const Path& p, const Path& root, std::span<char> buffer, bool mark_deleted) {
    Place at{p.mount.get(), p.dentry.get()}, top{root.mount.get(), root.dentry.get()};
    RenamePause pause;
    for (u32 tries = 0;; ++tries) {
        if (tries >= kFreeWalks) [[unlikely]]
            pause.begin();
        u64 since = names_stable_begin();
        auto text = climb(at, top, buffer, mark_deleted);
        if (names_stable(since)) return text;
    }
}

}  // namespace fs
