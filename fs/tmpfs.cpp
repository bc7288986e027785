// SPDX-License-Identifier: MIT
// tmpfs. The VFS holds the directory's names_lock around create, link, unlink, rmdir and rename; attributes are changed
// under Rank::inode, one inode at a time.
#include "fs/tmpfs.hpp"

#include "abi/linux/magic.hpp"
#include "fs/regular.hpp"
#include "lib/format.hpp"
#include "rt/mem/slab.hpp"

namespace fs {

namespace {

constexpr u64 kDirentSize = 20;  // what Linux's tmpfs counts for a name in a directory's size (mm/shmem.c)
constexpr u64 kShortLink = 128;  // longer links occupy a page there

class TmpfsSuper final : public SuperBlock {
public:
    static constexpr u64 kUnlimited = ~u64{0};
    std::atomic<u64> max_pages{0}, max_inodes{0};
    u32 root_mode = 0;
    std::atomic<u64> used_pages{0}, used_inodes{0};

    static bool take(std::atomic<u64>& used, u64 n, const std::atomic<u64>& most) {
        const u64 limit = most.load(std::memory_order_relaxed);
        u64 before = used.fetch_add(n, std::memory_order_relaxed);
        if (before + n <= limit) [[likely]]
            return true;
        used.fetch_sub(n, std::memory_order_relaxed);
        return false;
    }
    Statfs statfs() override {
        u64 pages = used_pages.load(std::memory_order_relaxed), inodes = used_inodes.load(std::memory_order_relaxed);
        const u64 most = shown(max_pages), files = shown(max_inodes);
        u64 left = most > pages ? most - pages : 0;
        return {.blocks = most,
                .free = left,
                .available = left,
                .files = files,
                .free_files = files > inodes ? files - inodes : 0,
                .used = pages,
                .room = pages_left()};
    }
    size_t show_options(std::span<char> out) override {
        size_t n =
            lib::format_to(out, ",size={}k,nr_inodes={}", shown(max_pages) * (kPageSize / 1024), shown(max_inodes));
        if (root_mode != 01777) n += lib::format_to(out.subspan(n), ",mode={:o}", root_mode);
        return n;
    }
    // Linux: shmem_reconfigure. Mode and owner of the root stay.
    Result<void> reconfigure(std::string_view options) override {
        TmpfsOptions o;
        TRY(o.parse(options));
        if (!may_limit(o.max_pages, max_pages, used_pages) || !may_limit(o.max_inodes, max_inodes, used_inodes))
            return Errno::kInval;
        if (o.max_pages) limit(max_pages, *o.max_pages);
        if (o.max_inodes) limit(max_inodes, *o.max_inodes);
        return lib::kOk;
    }
    static void limit(std::atomic<u64>& most, u64 to) {
        most.store(to == 0 ? kUnlimited : to == kUnlimited ? to - 1 : to, std::memory_order_relaxed);
    }
    u64 pages_left() const {
        const u64 most = max_pages.load(std::memory_order_relaxed), used = used_pages.load(std::memory_order_relaxed);
        return most > used ? most - used : 0;
    }

private:
    static u64 shown(const std::atomic<u64>& most) {
        const u64 n = most.load(std::memory_order_relaxed);
        return n == kUnlimited ? 0 : n;
    }
    // What has no limit gets none later.
    static bool may_limit(std::optional<u64> to, const std::atomic<u64>& most, const std::atomic<u64>& used) {
        return !to || *to == 0 ||
               (most.load(std::memory_order_relaxed) != kUnlimited && used.load(std::memory_order_relaxed) <= *to);
    }
};

class TmpfsMapping final : public Mapping {
public:
    explicit TmpfsMapping(Ref<TmpfsSuper> s) : super_(std::move(s)) {}
    bool charge(u64 pages) override { return TmpfsSuper::take(super_->used_pages, pages, super_->max_pages); }
    void uncharge(u64 pages) override { super_->used_pages.fetch_sub(pages, std::memory_order_relaxed); }

private:
    Ref<TmpfsSuper> super_;
};

class TmpfsInode final : public Inode {
public:
    static Result<Ref<TmpfsInode>> make(TmpfsSuper& s, u32 mode, u32 uid, u32 gid, u64 device,
                                        std::string_view link_target);
    ~TmpfsInode() override;
    void evict() override;

    Attributes attributes() override;
    Leaf<void> set_attributes(const AttributeChange& c) override;
    Leaf<Ref<Inode>> create(std::string_view name, u32 mode, u64 device, std::string_view link_target,
                            const Creds& c) override;
    Leaf<Ref<Inode>> create_unnamed(u32 mode, const Creds& c) override;
    Leaf<void> link(std::string_view name, Inode& target) override;
    Leaf<void> unlink(std::string_view name, Inode& victim) override;
    Leaf<void> rmdir(std::string_view name, Inode& victim) override;
    Leaf<void> rename(std::string_view old_name, Inode& victim, Inode& new_dir, std::string_view new_name,
                      Inode* replaced) override;
    Leaf<void> exchange(Inode& victim, Inode& new_dir, Inode& other) override;
    Leaf<u64> read_directory(File& f, u64 offset, DirSink& sink) override {
        auto& file = static_cast<DirectoryFile&>(f);
        Dentry& dir = *f.path().dentry;
        // DirectoryFile::read_directory() holds both.
        dir.names_lock.assume_held();
        file.offset_lock.assume_held();
        return read_pinned_names(file, dir, offset, sink);
    }
    Leaf<std::string_view> read_link(std::span<char>, const Creds&) override {
        if (!link_text_) return Errno::kInval;
        return std::string_view{link_text_, link_length_};
    }
    Leaf<Ref<File>> open(OpenContext& how) override { return open_inode(how, *this); }
    Leaf<void> allocate_range(u32 mode, u64 offset, u64 length) override;
    Mapping* mapping() override { return mapping_; }

    Result<void> place(u64 index, Ref<Page> page) {
        TRY(mapping_->insert(index, std::move(page)));
        return lib::kOk;
    }
    void resize(Attributes& a, u64 size);

private:
    TmpfsSuper& tmpfs() { return static_cast<TmpfsSuper&>(*super); }
    Leaf<Ref<Inode>> make_child(u32 mode, u64 device, std::string_view link_target, const Creds& c);
    // Names come and go in this directory; `directories`: subdirectories among them.
    void count_names(int names, int directories, Timestamp now);
    static void change_links(Inode& i, int by, Timestamp now);
    // Of a file: each name but the first counts as an inode (tmpfs(5): what a name costs is memory, too). kNoSpc.
    static Result<void> add_name(TmpfsInode& i, Timestamp now);
    static void drop_name(TmpfsInode& i, Timestamp now);
    // It has just lost its last name.
    void become_nameless() { super->nameless.fetch_add(1, std::memory_order_relaxed); }

    TmpfsMapping* mapping_ = nullptr;  // holds a reference until evict()
    char* link_text_ = nullptr;
    u32 link_length_ = 0;
};

Result<Ref<TmpfsInode>> TmpfsInode::make(TmpfsSuper& s, u32 mode, u32 uid, u32 gid, u64 device,
                                         std::string_view link_target) {
    if (!TmpfsSuper::take(s.used_inodes, 1, s.max_inodes)) return Errno::kNoSpc;
    auto* i = rt::make<TmpfsInode>();
    if (!i) {
        s.used_inodes.fetch_sub(1, std::memory_order_relaxed);
        return Errno::kNoMem;
    }
    Ref<TmpfsInode> self = Ref<TmpfsInode>::adopt(i);
    i->super = Ref<SuperBlock>{&s};
    i->number = s.next_inode();
    Attributes& a = i->attributes_.unguarded();
    a.mode = mode;
    a.uid = uid;
    a.gid = gid;
    a.device = device;
    a.accessed = a.modified = a.changed = a.born = current_time();
    switch (mode & kTypeMask) {
        case kTypeDirectory:
            a.links = 2;
            a.size = 2 * kDirentSize;
            break;
        case kTypeRegular: {
            i->mapping_ = TRY(rt::make_ref<TmpfsMapping>(Ref<TmpfsSuper>{&s})).release();
            break;
        }
        case kTypeLink: {
            if (link_target.size() + 1 > kPathMax) return Errno::kNameTooLong;
            const bool is_long = link_target.size() + 1 > kShortLink;
            if (is_long && !TmpfsSuper::take(s.used_pages, 1, s.max_pages)) return Errno::kNoSpc;
            i->link_text_ = static_cast<char*>(rt::allocate(link_target.size() + 1));
            if (!i->link_text_) {
                if (is_long) s.used_pages.fetch_sub(1, std::memory_order_relaxed);
                return Errno::kNoMem;
            }
            i->link_length_ = u32(link_target.size());
            std::memcpy(i->link_text_, link_target.data(), link_target.size());
            i->link_text_[link_target.size()] = 0;
            a.size = link_target.size();
            if (is_long) a.blocks = kPageSize / 512;
            break;
        }
    }
    return self;
}

TmpfsInode::~TmpfsInode() {
    if (link_text_) rt::deallocate(link_text_, link_length_ + 1);
}

void TmpfsInode::evict() {
    // A mapping of the file that is still in use keeps its pages, else they go now. The pointer stays for lock-free
    // readers: the mapping's memory outlives the last reference by an epoch, as ours does.
    if (mapping_) mapping_->unref();
    tmpfs().used_inodes.fetch_sub(1, std::memory_order_relaxed);
    if (attributes_.unguarded().links == 0) tmpfs().nameless.fetch_sub(1, std::memory_order_relaxed);
    if (link_text_ && link_length_ + 1 > kShortLink) tmpfs().used_pages.fetch_sub(1, std::memory_order_relaxed);
}

Attributes TmpfsInode::attributes() {
    Attributes a = *attributes_.lock();
    if (mapping_) a.blocks = mapping_->page_count() * (kPageSize / 512);
    return a;
}

void TmpfsInode::resize(Attributes& a, u64 size) {
    u64 old = a.size;
    a.size = size;
    mapping_->size.store(size, std::memory_order_release);
    if (size > old) return;  // the same size: what was made beyond it goes (fallocate)
    u64 in_page = size % kPageSize;
    if (in_page)
        if (Page* p = mapping_->peek(size / kPageSize)) std::memset(p->bytes() + in_page, 0, kPageSize - in_page);
    mapping_->truncate_pages(lib::pages_for(size));
}

Leaf<void> TmpfsInode::set_attributes(const AttributeChange& c) {
    if (c.size && !mapping_) return Errno::kInval;
    if (c.size && c.to.size > kMaxFileSize) return Errno::kFBig;
    Timestamp now = current_time();
    auto a = attributes_.lock();
    const u32 mode = TRY(c.allow(*a));
    if (c.size) {
        resize(*a, c.to.size);
        a->modified = now;
    }
    a->mode = mode;
    if (c.uid) a->uid = c.to.uid;
    if (c.gid) a->gid = c.to.gid;
    if (c.accessed) a->accessed = c.to.accessed;
    if (c.modified) a->modified = c.to.modified;
    a->changed = now;
    note_changed();
    return lib::kOk;
}

void TmpfsInode::count_names(int names, int directories, Timestamp now) {
    auto a = attributes_.lock();
    a->size += u64(i64(names) * i64(kDirentSize));
    a->links += u32(directories);
    a->modified = a->changed = now;
    note_changed();
}

void TmpfsInode::change_links(Inode& i, int by, Timestamp now) {
    auto a = i.lock_attributes();
    a->links += u32(by);
    if (by != 0 && a->links == 0) static_cast<TmpfsInode&>(i).become_nameless();
    a->changed = now;
    i.note_changed();
}

Result<void> TmpfsInode::add_name(TmpfsInode& i, Timestamp now) {
    TmpfsSuper& s = i.tmpfs();
    auto a = i.lock_attributes();
    if (a->links != 0 && !TmpfsSuper::take(s.used_inodes, 1, s.max_inodes)) return Errno::kNoSpc;
    if (a->links++ == 0) s.nameless.fetch_sub(1, std::memory_order_relaxed);
    a->changed = now;
    i.note_changed();
    return lib::kOk;
}

void TmpfsInode::drop_name(TmpfsInode& i, Timestamp now) {
    auto a = i.lock_attributes();
    if (--a->links != 0)
        i.tmpfs().used_inodes.fetch_sub(1, std::memory_order_relaxed);
    else
        i.become_nameless();
    a->changed = now;
    i.note_changed();
}

// A new inode as it would be made in this directory (inode(7), setgid directories).
Leaf<Ref<Inode>> TmpfsInode::make_child(u32 mode, u64 device, std::string_view link_target, const Creds& c) {
    const Attributes& dir = peek_attributes();
    u32 gid = c.fsgid;
    bool is_dir = (mode & kTypeMask) == kTypeDirectory;
    if (dir.mode & kSetGid) {
        gid = dir.gid;
        if (is_dir)
            mode |= kSetGid;
        else if ((mode & (kSetGid | kGroupExec)) == (kSetGid | kGroupExec) && !c.in_group(gid) &&
                 !c.capable(kCapFsetid))
            mode &= ~kSetGid;
    }
    Ref<TmpfsInode> made = TRY(make(tmpfs(), mode, c.fsuid, gid, device, link_target));
    return Ref<Inode>{std::move(made)};
}

Leaf<Ref<Inode>> TmpfsInode::create(std::string_view, u32 mode, u64 device, std::string_view link_target,
                                    const Creds& c) {
    Ref<Inode> made = TRY(make_child(mode, device, link_target, c));
    count_names(1, (mode & kTypeMask) == kTypeDirectory ? 1 : 0, made->peek_attributes().born);
    return made;
}

Leaf<Ref<Inode>> TmpfsInode::create_unnamed(u32 mode, const Creds& c) {
    Ref<Inode> made = TRY(make_child(mode, 0, {}, c));
    made->lock_attributes()->links = 0;
    static_cast<TmpfsInode&>(*made).become_nameless();
    return made;
}

Leaf<void> TmpfsInode::link(std::string_view, Inode& target) {
    Timestamp now = current_time();
    TRY(add_name(static_cast<TmpfsInode&>(target), now));
    count_names(1, 0, now);
    return lib::kOk;
}

Leaf<void> TmpfsInode::unlink(std::string_view, Inode& victim) {
    Timestamp now = current_time();
    drop_name(static_cast<TmpfsInode&>(victim), now);
    count_names(-1, 0, now);
    return lib::kOk;
}

Leaf<void> TmpfsInode::rmdir(std::string_view, Inode& victim) {
    Timestamp now = current_time();
    change_links(victim, -2, now);
    count_names(-1, -1, now);
    return lib::kOk;
}

Leaf<void> TmpfsInode::rename(std::string_view, Inode& victim, Inode& new_dir, std::string_view, Inode* replaced) {
    Timestamp now = current_time();
    auto& to = static_cast<TmpfsInode&>(new_dir);
    int dir = victim.is_directory() ? 1 : 0;
    if (replaced) {
        if (dir)
            change_links(*replaced, -2, now);
        else
            drop_name(static_cast<TmpfsInode&>(*replaced), now);
        to.count_names(-1, -dir, now);
    }
    count_names(-1, -dir, now);
    to.count_names(1, dir, now);
    change_links(victim, 0, now);
    return lib::kOk;
}

Leaf<void> TmpfsInode::exchange(Inode& victim, Inode& new_dir, Inode& other) {
    Timestamp now = current_time();
    int more = (other.is_directory() ? 1 : 0) - (victim.is_directory() ? 1 : 0);
    if (this == &new_dir) more = 0;
    count_names(0, more, now);
    static_cast<TmpfsInode&>(new_dir).count_names(0, -more, now);
    change_links(victim, 0, now);
    change_links(other, 0, now);
    return lib::kOk;
}

Leaf<void> TmpfsInode::allocate_range(u32 mode, u64 offset, u64 length) {
    if (!mapping_ || (mode & ~(kFallocKeepSize | kFallocPunchHole))) return Errno::kOpNotSupp;
    u64 end = offset + length;
    if (end > kMaxFileSize) return Errno::kFBig;
    Timestamp now = current_time();
    auto a = attributes_.lock();
    if (mode & kFallocPunchHole) {
        u64 first = lib::pages_for(offset), last = end / kPageSize;
        auto blank = [&](u64 from, u64 to) {
            if (from >= to) return;
            if (Page* p = mapping_->peek(from / kPageSize)) std::memset(p->bytes() + from % kPageSize, 0, to - from);
        };
        if (first <= last) {
            blank(offset, first * kPageSize);
            blank(last * kPageSize, end);
            mapping_->drop_range(first, last - first);
        } else {
            blank(offset, end);
        }
    } else {
        u64 last = lib::pages_for(end);
        const u64 wanted = last - offset / kPageSize, there = mapping_->page_count();
        if (wanted > there && wanted - there > tmpfs().pages_left()) return Errno::kNoSpc;
        for (u64 i = offset / kPageSize; i < last; ++i) {
            if (mapping_->peek(i)) continue;
            Ref<Page> room = TRY(Page::allocate_zeroed());
            room->flags.store(Page::kUnwritten, std::memory_order_relaxed);
            TRY(mapping_->insert(i, std::move(room)));
        }
        if (!(mode & kFallocKeepSize) && end > a->size) {
            a->size = end;
            mapping_->size.store(end, std::memory_order_release);
        }
    }
    a->modified = a->changed = now;
    note_changed();
    return lib::kOk;
}

constinit std::atomic<TmpfsInode*> unnamed_home{nullptr};  // root of the instance of nameless files; never freed

bool parse_size(std::string_view text, u64 whole, u64& out) {
    u32 shift = 0;
    bool percent = false;
    if (!text.empty()) switch (text.back() | 0x20) {
            case 'k': shift = 10; break;
            case 'm': shift = 20; break;
            case 'g': shift = 30; break;
            case 't': shift = 40; break;
            case 'p': shift = 50; break;
            case 'e': shift = 60; break;
            case '%' | 0x20: percent = true; break;
            default: return lib::parse_u64(text, out);
        }
    text.remove_suffix(text.empty() ? 0 : 1);
    u64 n;
    if (!lib::parse_u64(text, n)) return false;
    out = percent ? whole / 100 * n : n << shift;
    return true;
}

bool parse_octal(std::string_view text, u32& out) {
    u32 n = 0;
    for (char c : text) {
        if (c < '0' || c > '7') return false;
        n = n * 8 + u32(c - '0');
    }
    out = n & kModeMask;
    return !text.empty();
}

}  // namespace

Result<void> TmpfsOptions::parse(std::string_view text) {
    u64 memory = rt::mem_stats().total_bytes;
    while (!text.empty()) {
        size_t comma = text.find(',');
        std::string_view option = text.substr(0, comma);
        text = comma == text.npos ? std::string_view{} : text.substr(comma + 1);
        if (option.empty()) continue;
        size_t equals = option.find('=');
        std::string_view key = option.substr(0, equals), value = equals == option.npos ? "" : option.substr(equals + 1);
        u64 n = 0;
        bool good = true;
        if (key == "size")
            good = parse_size(value, memory, n) && (max_pages = lib::pages_for(n), true);
        else if (key == "nr_blocks")
            good = parse_size(value, 0, n) && (max_pages = n, true);
        else if (key == "nr_inodes")
            good = parse_size(value, 0, n) && (max_inodes = n, true);
        else if (key == "mode")
            good = parse_octal(value, root_mode);
        else if (key == "uid")
            good = lib::parse_u64(value, n) && (uid = u32(n), true);
        else if (key == "gid")
            good = lib::parse_u64(value, n) && (gid = u32(n), true);
        else
            good = key == "huge" || key == "mpol" || key == "inode32" || key == "inode64";  // hints
        if (!good) return Errno::kInval;
    }
    return lib::kOk;
}

Result<NewFileSystem> make_tmpfs(const TmpfsOptions& o) {
    Ref<TmpfsSuper> s = TRY(rt::make_ref<TmpfsSuper>());
    u64 memory = rt::mem_stats().total_bytes;
    s->device = next_anonymous_device();
    s->magic = kMagicTmpfs;
    s->type = o.type;
    s->names_pinned = true;
    TmpfsSuper::limit(s->max_pages, o.max_pages.value_or(memory / kPageSize / 2));
    TmpfsSuper::limit(s->max_inodes, o.max_inodes.value_or(memory / kPageSize / 2));
    s->root_mode = o.root_mode;
    Ref<Inode> root = TRY(TmpfsInode::make(*s, kTypeDirectory | o.root_mode, o.uid, o.gid, 0, {}));
    return NewFileSystem{std::move(s), std::move(root)};
}

Leaf<Ref<Inode>> make_unnamed_file(u32 mode, const Creds& c) {
    TmpfsInode* home = unnamed_home.load(std::memory_order_acquire);
    if (!home) [[unlikely]] {
        NewFileSystem fresh = TRY(make_tmpfs({.max_pages = 0, .max_inodes = 0}));
        Ref<Mount> mount = TRY(mount_internally(*fresh.super, fresh.root));
        if (unnamed_home.compare_exchange_strong(home, static_cast<TmpfsInode*>(fresh.root.get()),
                                                 std::memory_order_acq_rel)) {
            mount.release();
            home = static_cast<TmpfsInode*>(fresh.root.release());
        }
    }
    return home->create_unnamed(mode, c);
}

namespace {

constinit FileSystemType tmpfs_type{"tmpfs", [](std::string_view options, bool& known) -> Result<NewFileSystem> {
                                        TmpfsOptions o;
                                        auto parsed = o.parse(options);
                                        known = parsed.ok();
                                        if (!known) return Errno::kInval;
                                        return make_tmpfs(o);
                                    }};

}  // namespace

void start_tmpfs() { register_file_system(tmpfs_type); }

Result<void> place_page(Inode& file, u64 index, Ref<Page> page) {
    return static_cast<TmpfsInode&>(file).place(index, std::move(page));
}

void set_file_size(Inode& file, u64 size) {
    auto a = file.lock_attributes();
    a->size = size;
    file.mapping()->size.store(size, std::memory_order_release);
}

}  // namespace fs
