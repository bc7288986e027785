// SPDX-License-Identifier: MIT
// Unpacking cpio archives. Every field comes from outside: nothing is read beyond the archive, sizes cannot overflow.
#include "fs/cpio.hpp"

#include "fs/tmpfs.hpp"
#include "fs/walk.hpp"
#include "rt/mem/slab.hpp"

namespace fs {

namespace {

constexpr size_t kHeaderSize = 110;

enum Field {
    kInode,
    kMode,
    kUid,
    kGid,
    kLinks,
    kModified,
    kSize,
    kMajor,
    kMinor,
    kDeviceMajor,
    kDeviceMinor,
    kNameSize,
    kCheck
};

u32 hex(const char* p, bool& good) {
    u32 n = 0;
    for (int i = 0; i < 8; ++i) {
        u32 c = u8(p[i]), digit = c - '0';
        if (digit > 9) {
            digit = (c | 0x20) - 'a' + 10;
            if (digit < 10 || digit > 15) good = false;
        }
        n = n << 4 | digit;
    }
    return n;
}

constexpr u64 round4(u64 n) { return (n + 3) & ~u64{3}; }

// A file with several names, seen before: the first name's inode.
struct LinkGroup {
    LinkGroup* next;
    u32 inode, major, minor;
    Path first;
};

class Unpacker {
public:
    Unpacker(std::span<const std::byte> archive, const Path& root, PhysAddr frames, CpioStats& stats)
        : text_(reinterpret_cast<const char*>(archive.data())),
          size_(archive.size()),
          root_(root),
          frames_(frames),
          stats_(stats) {
        creds_.cap_effective = ~u64{0};
    }
    ~Unpacker() {
        forget_links();
        if (frames_.value) free_frames();
    }
    Result<void> run();

private:
    Errno damaged(const char* what) {
        stats_.error = what;
        stats_.error_offset = at_;
        return Errno::kInval;
    }
    Leaf<void> entry(std::string_view name, u64 data, u64 size);
    Leaf<void> find_parent(std::string_view name, ParentLookup& out);
    Result<void> fill(Inode& file, u64 data, u64 size);
    Result<void> set_attributes(Inode& i);
    bool adopt(u64 offset, Ref<Page>& out);
    void free_frames();
    void free_range(u64 from, u64 to);
    void forget_links() {
        while (links_) {
            LinkGroup* g = links_;
            links_ = g->next;
            delete g;
        }
    }

    const char* text_;
    u64 size_, at_ = 0;
    const Path& root_;
    PhysAddr frames_;
    u64 freed_to_ = 0;  // frames before this offset are adopted or free
    CpioStats& stats_;
    Creds creds_;
    u32 field_[13] = {};
    LinkGroup* links_ = nullptr;
    // The directory of the last name: adjacent names of the archive are mostly in one directory.
    Path parent_;
    std::string_view parent_name_;
};

Result<void> Unpacker::run() {
    while (at_ < size_) {
        if (text_[at_] == 0) {  // padding between archives
            ++at_;
            continue;
        }
        if (size_ - at_ < kHeaderSize) return damaged("a header is cut short");
        std::string_view magic{text_ + at_, 6};
        if (magic != "070701" && magic != "070702") return damaged("no cpio header (newc)");
        bool good = true;
        for (int i = 0; i < 13; ++i) field_[i] = hex(text_ + at_ + 6 + 8 * i, good);
        if (!good) return damaged("a header field is not hexadecimal");
        u64 name_size = field_[kNameSize], size = field_[kSize];
        if (name_size == 0 || name_size > kPathMax) return damaged("a name has an impossible length");
        u64 data = at_ + round4(kHeaderSize + name_size);
        if (data > size_ || size > size_ - data) return damaged("a file is cut short");
        const char* name = text_ + at_ + kHeaderSize;
        if (name[name_size - 1] != 0) return damaged("a name has no end");
        std::string_view view{name, name_size - 1};
        // Zeros after the name pad the data to a page boundary; Linux reads the name up to the first one as well.
        view = view.substr(0, view.find('\0'));
        if (view == "TRAILER!!!") {
            forget_links();  // inode numbers are per archive
        } else {
            ++stats_.entries;
            stats_.bytes += size;
            auto r = entry(view, data, size);
            if (!r.ok()) {
                if (!stats_.error) damaged("an entry could not be made");
                return r.settled(Errno::kIo);
            }
        }
        at_ = round4(data + size);
    }
    return lib::kOk;
}

// The directory that `name` is in; missing ones are made (Linux would fail; archives of single files are handy).
Leaf<void> Unpacker::find_parent(std::string_view name, ParentLookup& out) {
    size_t slash = name.rfind('/');
    std::string_view dir = slash == name.npos ? std::string_view{} : name.substr(0, slash);
    out.last = slash == name.npos ? name : name.substr(slash + 1);
    out.last_is_dots = out.last == "." || out.last == "..";
    if (dir.empty()) {
        out.parent = root_;
        return lib::kOk;
    }
    if (parent_ && dir == parent_name_) {
        out.parent = parent_;
        return lib::kOk;
    }
    LookupContext c{root_, root_, &creds_};
    auto found = lookup(c, root_, dir, kFollow | kDirectory);
    if (!found.ok() && found.error() == Errno::kNoEnt) {
        ParentLookup above;
        TRY(find_parent(dir, above));
        found = make_node(above, kTypeDirectory | 0755, 0, {}, creds_);
    }
    out.parent = TRY(std::move(found));
    parent_ = out.parent;
    parent_name_ = dir;
    return lib::kOk;
}

// A frame of the archive, if the whole page at `offset` is aligned in it.
bool Unpacker::adopt(u64 offset, Ref<Page>& out) {
    PhysAddr at = frames_ + offset;
    if (frames_.value == 0 || !at.aligned(kPageSize) || !rt::find_frame_info(at)) return false;
    // Everything before it has been processed, the name of this entry and of its directory too.
    free_range(freed_to_, offset);
    parent_ = {};
    parent_name_ = {};
    freed_to_ = offset + kPageSize;
    out = Page::adopt_frame(at);
    ++stats_.adopted_frames;
    return true;
}

Result<void> Unpacker::fill(Inode& file, u64 data, u64 size) {
    for (u64 done = 0; done < size; done += kPageSize) {
        u64 part = size - done < kPageSize ? size - done : kPageSize;
        Ref<Page> page;
        if (part < kPageSize || !adopt(data + done, page)) {
            page = part == kPageSize ? TRY(Page::allocate()) : TRY(Page::allocate_zeroed());
            std::memcpy(page->bytes(), text_ + data + done, part);
        }
        TRY(place_page(file, done / kPageSize, std::move(page)));
    }
    set_file_size(file, size);
    return lib::kOk;
}

Result<void> Unpacker::set_attributes(Inode& i) {
    auto a = i.lock_attributes();
    a->mode = (a->mode & kTypeMask) | (field_[kMode] & ~kTypeMask);
    a->uid = field_[kUid];
    a->gid = field_[kGid];
    a->modified = {.seconds = i64(field_[kModified]), .nanoseconds = 0};
    return lib::kOk;
}

Leaf<void> Unpacker::entry(std::string_view name, u64 data, u64 size) {
    // Names are relative to the root, however they are written.
    while (!name.empty()) {
        if (name[0] == '/')
            name.remove_prefix(1);
        else if (name.substr(0, 2) == "./")
            name.remove_prefix(2);
        else
            break;
    }
    while (!name.empty() && name.back() == '/') name.remove_suffix(1);
    if (name.empty() || name == ".") return set_attributes(*root_.inode());
    u32 mode = field_[kMode], type = mode & kTypeMask;
    ParentLookup at;
    TRY(find_parent(name, at));
    if (at.last_is_dots || at.last.size() > kNameMax) return damaged("a name that cannot be made");

    Dentry* there = find_name(at.parent.dentry.get(), make_key(at.last));
    if (there && type == kTypeDirectory && there->is_directory()) return set_attributes(*there->inode());
    if (there && there->is_directory()) return damaged("a file in the place of a directory");
    bool several = field_[kLinks] > 1 && type != kTypeDirectory;
    LinkGroup* group = nullptr;
    if (several)
        for (group = links_; group; group = group->next)
            if (group->inode == field_[kInode] && group->major == field_[kMajor] && group->minor == field_[kMinor])
                break;
    if (there && !(group && group->first.inode() == there->inode())) {
        TRY(remove_name(at, false, creds_));
        there = nullptr;
    }
    Path made;
    if (group) {
        if (!there) TRY(make_link(at, group->first, creds_));
        // The data is with one of the names, as a rule the last.
        if (size == 0 || type != kTypeRegular || group->first.inode()->peek_attributes().size != 0) return lib::kOk;
        made = group->first;
    } else {
        std::string_view target;
        if (type == kTypeLink) {
            if (size == 0 || size >= kPathMax) return damaged("a symbolic link has an impossible length");
            target = {text_ + data, size};
        }
        u64 device =
            type == kTypeChar || type == kTypeBlock ? abi::make_dev(field_[kDeviceMajor], field_[kDeviceMinor]) : 0;
        if (type != kTypeRegular && type != kTypeDirectory && type != kTypeLink && type != kTypeChar &&
            type != kTypeBlock && type != kTypeFifo && type != kTypeSocket)
            return damaged("a file of unknown type");
        made = TRY(make_node(at, mode, device, target, creds_));
        if (several) {
            auto* g = rt::make<LinkGroup>();
            if (!g) return Errno::kNoMem;
            g->next = links_;
            g->inode = field_[kInode];
            g->major = field_[kMajor];
            g->minor = field_[kMinor];
            g->first = made;
            links_ = g;
        }
    }
    if (type == kTypeRegular && size) TRY(fill(*made.inode(), data, size));
    return set_attributes(*made.inode());
}

void Unpacker::free_range(u64 from, u64 to) {
    for (u64 p = (frames_ + from).up(kPageSize).value; p + kPageSize <= (frames_ + to).value; p += kPageSize)
        if (rt::find_frame_info(PhysAddr{p})) rt::free_frame(PhysAddr{p});
}

// The rest. The last frame is the archive's too, even if the archive ends within it.
void Unpacker::free_frames() { free_range(freed_to_, (frames_ + size_).up(kPageSize) - frames_); }

}  // namespace

Result<void> unpack_cpio(std::span<const std::byte> archive, const Path& root, PhysAddr frames, CpioStats* stats) {
    CpioStats unused;
    Unpacker u{archive, root, frames, stats ? *stats : unused};
    return u.run();
}

}  // namespace fs
