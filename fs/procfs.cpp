// SPDX-License-Identifier: MIT
// Generated file systems. See procfs.hpp. Locks: a file's text is guarded by Rank::poll; nothing is generated under a
// lock.
#include "fs/procfs.hpp"

#include "fs/regular.hpp"
#include "rt/mem/slab.hpp"

namespace fs {

namespace {

// Text that grows in one block.
struct TextBuffer {
    char* bytes = nullptr;
    size_t size = 0, room = 0;

    TextBuffer() = default;
    TextBuffer(const TextBuffer&) = delete;
    ~TextBuffer() {
        if (bytes) rt::deallocate(bytes, room);
    }
    void swap(TextBuffer& o) {
        std::swap(bytes, o.bytes);
        std::swap(size, o.size);
        std::swap(room, o.room);
    }
    static bool append(void* self, std::string_view piece) {
        auto& b = *static_cast<TextBuffer*>(self);
        if (b.room - b.size < piece.size()) {
            size_t room = b.room == 0 ? 1024 : b.room * 2;
            while (room - b.size < piece.size()) room *= 2;
            auto* bytes = static_cast<char*>(rt::allocate(room));
            if (!bytes) return false;
            if (b.size != 0) std::memcpy(bytes, b.bytes, b.size);
            if (b.bytes) rt::deallocate(b.bytes, b.room);
            b.bytes = bytes;
            b.room = room;
        }
        std::memcpy(b.bytes + b.size, piece.data(), piece.size());
        b.size += piece.size();
        return true;
    }
};

ProcContext asked_by(ProcContext c, const void* caller) {
    c.caller = caller;
    return c;
}

class ProcFile final : public File {
public:
    ProcFile(OpenContext& how, const ProcNode& node, const ProcContext& c)
        : File(how.path, (how.flags & ~kOpenOnce) | kOpenByElement), node_(node), context_(c) {
        if (node.changes) changes_seen_ = node.changes->count.load(std::memory_order_acquire);
    }
    bool pollable() const override { return node_.changes != nullptr; }
    void queues(u32, QueueSet& out) override {
        if (node_.changes) out.add(node_.changes->queue);
    }
    u32 poll() override {
        if (!node_.changes) return File::poll();
        u64 now = node_.changes->count.load(std::memory_order_acquire);
        u32 changed = changes_seen_.exchange(now, std::memory_order_relaxed) != now ? kPollErr | kPollPri : 0;
        return kPollIn | kPollRdNorm | changed;
    }
    bool by_element(bool) const override { return true; }
    // Of the files about processes only the lists of mounts.
    bool splices() const override { return context_.id == 0 || node_.changes; }

    Leaf<size_t> try_read(const UserSpans& to, u64 at) override {
        bool shared = at == kAtOffset;
        if (shared) at = position();
        size_t n;
        if (node_.show_some) {
            n = TRY(read_piece(to, at));
            if (n == 0) return n;
        } else {
            if (!node_.show) return Errno::kInval;
            if (at == 0 || !has_text()) TRY(generate(to.caller()));
            rt::LockGuard guard{lock_};
            if (at >= text_.size) return size_t{0};
            n = text_.size - at < to.size() ? text_.size - at : to.size();
            TRY(to.copy_out(0, text_.bytes + at, n));
        }
        if (shared) set_position(at + n);
        return n;
    }
    Leaf<size_t> try_write(const UserSpans& from, u64) override {
        char text[256];
        // Linux's files about processes have no write operation; those of the rest of /proc share one that fails.
        if (!node_.write) return context_.id != 0 ? Errno::kInval : Errno::kIo;
        const size_t n = node_.most_text && node_.most_text < from.size() ? node_.most_text : from.size();
        if (n >= sizeof text) return Errno::kInval;
        TRY(from.copy_in(0, text, n));
        TRY(node_.write({text, n}, asked_by(context_, from.caller())));
        return node_.takes_all ? size_t(from.size()) : n;
    }
    Leaf<u64> seek(i64 to, u32 whence) override {
        rt::LockGuard guard{offset_lock};
        if (whence == kSeekCur) to += i64(offset);
        // Linux's plain files about processes have a size of 0 and generic_file_llseek; the others seq_lseek.
        const bool sized = node_.plain && context_.id != 0;
        if (sized && (whence == kSeekData || whence == kSeekHole)) return Errno::kNxIo;
        if ((whence > kSeekCur && !(sized && whence == kSeekEnd)) || to < 0) return Errno::kInval;
        return offset = u64(to);
    }
    bool seekable() const override { return true; }
    bool writes_at_offset() const override { return node_.plain; }
    // kNeedsTask of a read that has to skip pieces: continue at once, after other ready threads.
    Nanoseconds wake_time(Nanoseconds after) override { return node_.show_some ? after : Nanoseconds::never(); }

private:
    // At most one piece is made in a call. kNeedsTask: `at` lies beyond it; call again.
    Leaf<size_t> read_piece(const UserSpans& to, u64 at) {
        u64 position, sums[ProcContext::kSums];
        {
            rt::LockGuard guard{lock_};
            const bool counting = generated_ && piece_at_ == 0 && text_.size == 0 && position_ != kEnd;
            if (!counting && (at == 0 || at < piece_at_ || !generated_)) {
                piece_at_ = position_ = 0;
                text_.size = 0;
                std::memset(sums_, 0, sizeof sums_);
                generated_ = true;
            }
            if (at < piece_at_ + text_.size) return copy_piece(to, at);
            if (position_ == kEnd) return size_t{0};
            position = position_;
            std::memcpy(sums, sums_, sizeof sums);
        }
        TextBuffer fresh;
        lib::StringBuilder out{&TextBuffer::append, &fresh};
        u64 next = position;
        ProcContext c = asked_by(context_, to.caller());
        c.sums = sums;
        TRY(node_.show_some(out, c, next));
        if (out.failed) return Errno::kNoMem;
        rt::LockGuard guard{lock_};
        if (position_ == position) {  // else another reader was here
            piece_at_ += text_.size;
            position_ = next;
            std::memcpy(sums_, sums, sizeof sums);
            text_.swap(fresh);
        }
        if (at >= piece_at_ && at < piece_at_ + text_.size) return copy_piece(to, at);
        if (position_ == kEnd && at >= piece_at_) return size_t{0};
        return kNeedsTask;
    }
    Leaf<size_t> copy_piece(const UserSpans& to, u64 at) RT_REQUIRES(lock_) {
        u64 in_piece = at - piece_at_, left = text_.size - in_piece;
        size_t n = left < to.size() ? left : to.size();
        TRY(to.copy_out(0, text_.bytes + in_piece, n));
        return n;
    }
    bool has_text() RT_EXCLUDES(lock_) {
        rt::LockGuard guard{lock_};
        return generated_;
    }
    Leaf<void> generate(const void* caller) RT_EXCLUDES(lock_) {
        TextBuffer fresh;
        lib::StringBuilder out{&TextBuffer::append, &fresh};
        TRY(node_.show(out, asked_by(context_, caller)));
        if (out.failed) return Errno::kNoMem;
        rt::LockGuard guard{lock_};
        text_.swap(fresh);
        generated_ = true;
        guard.unlock();
        return lib::kOk;
    }
    const ProcNode& node_;
    const ProcContext context_;
    rt::SpinLock<rt::Rank::poll> lock_;
    TextBuffer text_ RT_GUARDED_BY(lock_);
    bool generated_ RT_GUARDED_BY(lock_) = false;
    std::atomic<u64> changes_seen_{0};  // of node_.changes, when it was last polled
    static constexpr u64 kEnd = ~u64{0};
    // show_some: where text_ begins in the file, and where the next piece does.
    u64 piece_at_ RT_GUARDED_BY(lock_) = 0;
    u64 position_ RT_GUARDED_BY(lock_) = 0;
    u64 sums_[ProcContext::kSums] RT_GUARDED_BY(lock_) = {};
};

bool parse_number(std::string_view name, u64& out) {
    if (name.empty() || (name.size() > 1 && name[0] == '0')) return false;
    return lib::parse_u64(name, out);
}

// Mode and owner that root gave to a file right below the root, for inodes are not kept. There are fewer such files
// than places.
struct GivenAttributes {
    const ProcNode* node = nullptr;
    u32 mode = 0, uid = 0, gid = 0;
};
struct AllGiven {
    GivenAttributes at[64];
    GivenAttributes* find(const ProcNode* node) {
        for (GivenAttributes& g : at)
            if (g.node == node || !g.node) return &g;
        return nullptr;
    }
};
constinit rt::Guarded<AllGiven, rt::Rank::log> given;

class ProcInode final : public Inode {
public:
    ProcInode(Ref<SuperBlock> super_block, const ProcNode& node, const ProcContext& c) : node_(node), context_(c) {
        super = std::move(super_block);
        // The same file has the same number each time: a hash of what it is about, with the root as 1.
        u64 h =
            reinterpret_cast<u64>(&node) / alignof(ProcNode) * 0x9e3779b97f4a7c15 + c.id * 0xc2b2ae3d27d4eb4f + c.sub;
        number = ((h ^ (h >> 32)) & 0xffff'ffff) | 0x1000'0000;
        Attributes& a = attributes_.unguarded();
        a.mode = node.mode;
        a.links = is_directory() ? 2 : 1;
        a.accessed = a.modified = a.changed = a.born = current_time();
        if (is_directory())
            for (const ProcNode& child : node.children) a.links += (child.mode & kTypeMask) == kTypeDirectory;
        if (node.owner) (void)node.owner(c, a);
    }
    void set_root() { number = 1; }
    // One right below the root, about nothing: chmod(2) and chown(2) change it for all.
    void set_changeable() {
        changeable_ = !node_.owner && !is_symlink() && node_.name != "sys";
        auto all = given.lock();
        GivenAttributes* g = changeable_ ? all->find(&node_) : nullptr;
        if (!g || g->node != &node_) return;
        Attributes& a = attributes_.unguarded();
        a.mode = g->mode, a.uid = g->uid, a.gid = g->gid;
    }

    // Truncation (a shell's ">") is no error and changes nothing.
    Leaf<void> set_attributes(const AttributeChange& c) override {
        const Attributes& now = peek_attributes();
        if (changeable_ && (c.mode || c.uid || c.gid)) return change_for_all(c);
        TRY(c.allow(now));
        bool same = (!c.uid || c.to.uid == now.uid) && (!c.gid || c.to.gid == now.gid);
        return c.mode || !same ? Leaf<void>(Errno::kPerm) : Leaf<void>(lib::kOk);
    }
    // The owner is looked up each time.
    Attributes attributes() override {
        Attributes a = Inode::attributes();
        if (!node_.owner) return a;
        a.uid = a.gid = 0;
        (void)node_.owner(context_, a);
        return a;
    }
    bool grants_to(const void* caller) const override {
        return node_.grants && caller && node_.grants(asked_by(context_, caller));
    }
    bool cache_names() const override { return false; }
    // A name that does not exist cannot be looked up either, as on Linux.
    Leaf<Ref<Inode>> create(std::string_view, u32, u64, std::string_view, const Creds&) override {
        return Errno::kNoEnt;
    }

    Leaf<Ref<Inode>> lookup(std::string_view name) override {
        if (node_.owner) {
            Attributes ignored;
            ignored.mode = node_.mode;
            if (!node_.owner(context_, ignored).ok()) return node_.gone;
        }
        for (const ProcNode& child : node_.children)
            if (child.name == name) return make(child, context_, number == 1);
        u64 n;
        if (!node_.numbered || !parse_number(name, n)) return Errno::kNoEnt;
        if (n == ~u64{0} || node_.numbered->next(context_, n) != n) return Errno::kNoEnt;
        return make(*node_.numbered->node, inner_context(n));
    }

    // Cookies: 0 ".", 1 "..", 2 + i the i-th child, then 4096 + number.
    Leaf<u64> read_directory(File& f, u64 at, DirSink& sink) override {
        constexpr u64 kNumbers = 4096;
        if (at == 0) {
            if (!sink.add({number, 1, 4, "."})) return at;
            at = 1;
        }
        if (at == 1) {
            if (!sink.add({number, 2, 4, ".."})) return at;
            at = 2;
        }
        while (at - 2 < node_.children.size()) {
            const ProcNode& child = node_.children[at - 2];
            ProcInode like(super, child, context_);
            if (!sink.add({like.number, at + 1, dirent_type(child.mode), child.name})) return at;
            ++at;
        }
        if (!node_.numbered) return at;
        if (at < kNumbers) at = kNumbers;
        for (;;) {
            u64 n = node_.numbered->next(context_, at - kNumbers);
            if (n == ~u64{0}) return at;
            char name[24];
            size_t length = lib::format_to(name, "{}", n);
            ProcInode like(super, *node_.numbered->node, inner_context(n));
            if (!sink.add({like.number, kNumbers + n + 1, dirent_type(node_.numbered->node->mode), {name, length}}))
                return kNumbers + n;
            at = kNumbers + n + 1;
        }
    }

    Leaf<std::string_view> read_link(std::span<char> buffer, const Creds& c) override {
        return read_link_for(buffer, c, nullptr);
    }
    Leaf<std::string_view> read_link_for(std::span<char> buffer, const Creds&, const void* caller) override {
        if (!node_.link) return Errno::kInval;
        return node_.link(buffer, asked_by(context_, caller), caller);
    }
    Leaf<Path> follow_magic(const Creds&, const void* caller) override {
        if (!node_.target) return Path{};
        return node_.target(asked_by(context_, caller));
    }

    Leaf<Ref<File>> open(OpenContext& how) override {
        ProcContext c = context_;
        if (node_.open) c.opened = TRY(node_.open(asked_by(context_, how.caller)));
        if (is_directory()) return make_file<DirectoryFile>(how);
        if (is_symlink()) return Errno::kLoop;
        return make_file<ProcFile>(how, node_, c);
    }

private:
    ProcContext inner_context(u64 n) const {
        ProcContext c = context_;
        const ProcNumbered& numbered = *node_.numbered;
        (numbered.inner ? c.sub : c.id) = n;
        (numbered.inner ? c.sub_identity : c.identity) = 0;
        u64 identity = numbered.identity ? numbered.identity(c) : 0;
        (numbered.inner ? c.sub_identity : c.identity) = identity;
        return c;
    }
    Leaf<void> change_for_all(const AttributeChange& c) {
        auto a = lock_attributes();
        const u32 mode = TRY(c.allow(*a));
        auto all = given.lock();
        GivenAttributes* g = all->find(&node_);
        if (!g) return Errno::kNoSpc;
        a->mode = mode;
        if (c.uid) a->uid = c.to.uid;
        if (c.gid) a->gid = c.to.gid;
        *g = {&node_, a->mode, a->uid, a->gid};
        return lib::kOk;
    }
    Leaf<Ref<Inode>> make(const ProcNode& node, const ProcContext& c, bool below_root = false) {
        ProcInode* i = rt::make<ProcInode>(super, node, c);
        if (!i) return Errno::kNoMem;
        if (below_root) i->set_changeable();
        return Ref<Inode>::adopt(i);
    }
    const ProcNode& node_;
    const ProcContext context_;
    bool changeable_ = false;
};

}  // namespace

Result<NewFileSystem> make_generated(const ProcNode& root, const char* type, u64 magic) {
    Ref<SuperBlock> super = TRY(rt::make_ref<SuperBlock>());
    super->type = type;
    super->magic = magic;
    super->device = next_anonymous_device();
    Ref<ProcInode> inode = TRY(rt::make_ref<ProcInode>(super, root, ProcContext{}));
    inode->set_root();
    return NewFileSystem{std::move(super), std::move(inode)};
}

Result<Path> path_of_file(File& f) {
    if (f.path()) return Path{f.path()};
    char label[64];
    Dentry* d = Dentry::create(nullptr, make_key(f.label(label)), Ref<Inode>{f.inode()});
    if (!d) return Errno::kNoMem;
    return Path{Ref<Mount>{&f.mount()}, Ref<Dentry>::adopt(d)};
}

}  // namespace fs
