// SPDX-License-Identifier: MIT
// Walks that are too long for one step (40 links of 4 KiB each): the walk stops at the start of a component, its state
// is kept for the call, and the call starts again after other ready threads have run. The same walk then continues
// where it stopped.
//
// Each caller has its own list, which only its own thread uses: a call that waits for long after such a walk costs others
// nothing.
//
// What has been walked holds as of the piece it was walked in, as it does for Linux, which looks component by
// component.
#include <cstring>
#include <utility>

#include "fs/walk.hpp"
#include "rt/mem/slab.hpp"

namespace fs {

struct KeptWalk {
    KeptWalk* next = nullptr;
    bool paused = false;  // not yet reported to the call
    // Which walk it is.
    Path root, start;
    u32 mode = 0, asked = 0, size = 0;
    char* path = nullptr;
    // How far it has come. Texts are links' that `owners` keep, but for the path itself, whose text is another one each
    // time.
    Path at;
    u32 flags = 0, depth = 0, links = 0;
    bool trailing_slash = false, kept_slash = false;
    struct Text {
        const char* text;
        std::string_view rest;
        Ref<Dentry> owner;      // null: the path
    } texts[kMaxSymlinks + 1];  // the innermost one is the last

    ~KeptWalk() {
        if (path) rt::deallocate(path, size);
    }
};

constinit std::atomic<u32> kept_walks{0};

namespace {

void drop(KeptWalk* k) {
    rt::Owned<KeptWalk> gone{k};
    kept_walks.fetch_sub(1, std::memory_order_relaxed);
}

}  // namespace

// Is it this walk?
bool Walk::is_kept(const KeptWalk& k, Mode mode) const {
    auto is = [](const Path& p, const Place& q) { return p.mount.get() == q.mount && p.dentry.get() == q.dentry; };
    return k.mode == mode && k.asked == asked_ && k.size == path_.size() && is(k.root, context_.root) &&
           is(k.start, context_.start) && std::memcmp(k.path, path_.data(), k.size) == 0;
}

void Walk::resume_kept(Mode mode, u32& flags) {
    if (!context_.caller) return;
    for (KeptWalk* i = kept_walks_of(context_.caller); i; i = i->next) {
        KeptWalk& k = *i;
        if (!is_kept(k, mode)) continue;
        at_ = {k.at.mount.get(), k.at.dentry.get()};
        flags = k.flags;
        links_ = k.links;
        trailing_slash_ = k.trailing_slash;
        kept_slash_ = k.kept_slash;
        for (depth_ = 0; depth_ <= k.depth; ++depth_) {
            const KeptWalk::Text& t = k.texts[depth_];
            text_ = t.owner ? t.text : path_.data();
            rest_ = t.owner ? t.rest : path_.substr(path_.size() - t.rest.size());
            owner_ = t.owner.get();
            if (depth_ < k.depth) levels_[depth_] = {text_, rest_, owner_};
        }
        --depth_;
        return;
    }
}

// Is the rest of a link's text in this walk's own memory?
bool Walk::arena_in_use() const {
    for (u32 i = 0; i <= depth_ && arena_used_ != 0; ++i) {
        const std::string_view rest = i < depth_ ? levels_[i].rest : rest_;
        if (!rest.empty() && rest.data() >= arena_ && rest.data() < arena_ + arena_used_) return true;
    }
    return false;
}

// kNeedsFault: the walk is kept. Otherwise it continues: there is no caller that could retry, or no memory to keep it.
Leaf<void> Walk::pause(Mode mode, u32 flags) {
    walked_ = 0;
    if (!context_.caller || arena_in_use() || !stable()) return lib::kOk;
    rt::Owned<KeptWalk> fresh{rt::make<KeptWalk>()};
    if (!fresh) return lib::kOk;
    fresh->mode = mode;
    fresh->asked = asked_;
    fresh->size = u32(path_.size());
    fresh->path = static_cast<char*>(rt::allocate(path_.size()));
    if (!fresh->path) return lib::kOk;
    std::memcpy(fresh->path, path_.data(), path_.size());
    if (!context_.root.hold(fresh->root) || !context_.start.hold(fresh->start) || !at_.hold(fresh->at)) return lib::kOk;
    fresh->flags = flags;
    fresh->links = links_;
    fresh->depth = depth_;
    fresh->trailing_slash = trailing_slash_;
    fresh->kept_slash = kept_slash_;
    for (u32 i = 0; i <= depth_; ++i) {
        const Level level = i < depth_ ? levels_[i] : Level{text_, rest_, owner_};
        if (level.owner && !level.owner->try_ref()) return lib::kOk;
        fresh->texts[i] = {level.text, level.rest, level.owner ? Ref<Dentry>::adopt(level.owner) : Ref<Dentry>{}};
    }
    fresh->paused = true;
    // Instead of how far it had come before.
    for (KeptWalk** link = &kept_walks_of(context_.caller); KeptWalk* k = *link; link = &k->next) {
        if (!is_kept(*k, mode)) continue;
        *link = k->next;
        drop(k);
        break;
    }
    KeptWalk*& first = kept_walks_of(context_.caller);
    fresh->next = first;
    first = fresh.release();
    kept_walks.fetch_add(1, std::memory_order_relaxed);
    return kNeedsFault;
}

bool has_walks(const void* caller) {
    return kept_walks.load(std::memory_order_relaxed) != 0 && kept_walks_of(caller) != nullptr;
}

bool walk_was_paused(const void* caller) {
    if (!has_walks(caller)) [[likely]]
        return false;
    for (KeptWalk* k = kept_walks_of(caller); k; k = k->next)
        if (std::exchange(k->paused, false)) return true;
    return false;
}

void forget_walks(const void* caller) {
    if (!caller || !has_walks(caller)) [[likely]]
        return;
    for (KeptWalk* k = std::exchange(kept_walks_of(caller), nullptr); k;) drop(std::exchange(k, k->next));
}

}  // namespace fs
