// SPDX-License-Identifier: MIT
// Changing extended attributes. All of an inode's attributes are laid out anew: those that were in the inode stay there if there
// is room, the others are in a block, which other inodes may share.
#include <algorithm>
#include <cstring>

#include "ext4/allocate.hpp"
#include "ext4/file.hpp"
#include "ext4/map_write.hpp"
#include "ext4/orphans.hpp"
#include "ext4/write.hpp"
#include "ext4/xattr.hpp"

namespace ext4 {

namespace {

// The inode has one block of attributes less.
Task<Result<void>> leave_block(Handle& h, Inode& i) {
    Volume& v = i.volume;
    XattrBlock block;
    CO_TRY(EXT4_INSIST(co_await open_xattr_block(i, block)));
    auto* header = block.buffer->as<RawXattrHeader>();
    const BlockNo at = i.file_acl();
    if (header->refcount > 1) {
        CO_TRY(EXT4_INSIST(h.change(*block.buffer)));
        header->refcount = header->refcount - 1;
        if (v.geo.has_checksums()) header->checksum = xattr_block_checksum(v, at, block.buffer->data);
    } else {
        block = {};
        CO_TRY(EXT4_INSIST(h.forget(at)));
        CO_TRY(EXT4_MUST(v.allocator->free(h, at, 1)));
    }
    i.set_file_acl(0);
    i.add_blocks(-1);
    co_return lib::kOk;
}

}  // namespace

Task<Result<void>> release_xattr_block(Handle& h, Inode& i) {
    if (i.file_acl() == 0) co_return lib::kOk;
    auto guard = CO_TRY(EXT4_INSIST(co_await i.volume.xattr_lock.lock()));
    co_return EXT4_MUST(leave_block(h, i));
}

namespace {

struct Item {
    XattrName name;
    std::span<const std::byte> value;
    bool in_inode;
};

u32 value_bytes(const Item& i) { return (u32(i.value.size()) + 3) & ~3u; }
u32 item_bytes(const Item& i) {
    return ((u32(sizeof(RawXattrEntry)) + u32(i.name.rest.size()) + 3) & ~3u) + value_bytes(i);
}

// In a block, entries are in this order.
bool sorts_before(const Item& a, const Item& b) {
    if (a.name.index != b.name.index) return a.name.index < b.name.index;
    if (a.name.rest.size() != b.name.rest.size()) return a.name.rest.size() < b.name.rest.size();
    return a.name.rest < b.name.rest;
}

u32 entry_hash(const RawXattrEntry& e, const std::byte* value, u32 padded) {
    u32 h = 0;
    for (u32 n = 0; n < e.name_length; ++n) h = (h << 5) ^ (h >> 27) ^ u32(i32(static_cast<signed char>(e.name[n])));
    for (u32 n = 0; n < padded; n += sizeof(Le32))
        h = (h << 16) ^ (h >> 16) ^ *reinterpret_cast<const Le32*>(value + n);
    return h;
}

// The attributes of an inode as they will be, in memory of their own.
class Plan {
public:
    explicit Plan(Inode& i)
        : i_(i), block_bytes_(i.volume.geo.block_bytes), most_(2 * block_bytes_ / sizeof(RawXattrEntry)) {}
    ~Plan() {
        if (memory_) rt::deallocate(memory_, 4 * block_bytes_);
        if (items_) rt::deallocate(items_, most_ * sizeof(Item));
    }
    Plan(const Plan&) = delete;

    Task<Result<void>> gather();
    Item* find(const XattrName& n) {
        for (u32 k = 0; k < count_; ++k)
            if (items_[k].name.index == n.index && items_[k].name.rest == n.rest) return &items_[k];
        return nullptr;
    }
    void remove(Item* item) { std::copy(item + 1, items_ + count_--, item); }
    // kNoSpc: it fits neither into the inode nor into a block.
    Result<void> add(const XattrName& name, std::span<const std::byte> value);
    void lay_out();
    bool has_area() const { return area_bytes_ != 0; }
    // From the magic number to the end of the inode.
    std::span<const std::byte> area() const { return {inode_image(), sizeof(Le32) + area_bytes_}; }
    bool has_block() const { return blocks_; }
    const std::byte* block() const { return block_image(); }

private:
    u32 used(bool in_inode) const {
        u32 n = sizeof(Le32);  // behind the last entry
        for (u32 k = 0; k < count_; ++k)
            if (items_[k].in_inode == in_inode) n += item_bytes(items_[k]);
        return n;
    }
    Result<void> collect(const XattrSet& s, bool in_inode);
    void write(std::byte* base, u32 first, u32 bytes, bool in_inode);
    std::byte* inode_image() const { return memory_ + 2 * block_bytes_; }
    std::byte* block_image() const { return memory_ + 3 * block_bytes_; }

    Inode& i_;
    const u32 block_bytes_, most_;
    std::byte* memory_ = nullptr;  // as it was: inode, block; as it will be: the same
    Item* items_ = nullptr;
    u32 count_ = 0, area_bytes_ = 0;
    bool blocks_ = false;
};

Result<void> Plan::collect(const XattrSet& s, bool in_inode) {
    if (s.bytes == 0) return lib::kOk;
    for (u32 at = s.first;;) {
        const RawXattrEntry* e = TRY(xattr_at(s, at));
        if (!e) return lib::kOk;
        if (count_ + 1 >= most_) return Errno::kUClean;
        const auto value = TRY(xattr_value(s, *e));
        items_[count_++] = {{e->name_index, {e->name, e->name_length}}, value, in_inode};
        at += xattr_entry_bytes(*e);
    }
}

Task<Result<void>> Plan::gather() {
    memory_ = static_cast<std::byte*>(rt::allocate(4 * block_bytes_));
    items_ = static_cast<Item*>(rt::allocate(most_ * sizeof(Item)));
    if (!memory_ || !items_) co_return Errno::kNoMem;
    const Geometry& g = i_.volume.geo;
    const u32 begin = kGoodOldInodeBytes + i_.raw.extra_size;
    if (g.inode_bytes > kGoodOldInodeBytes && i_.raw.extra_size != 0 && begin + 2 * sizeof(Le32) <= g.inode_bytes)
        area_bytes_ = g.inode_bytes - begin - u32(sizeof(Le32));
    XattrInInode area;
    CO_TRY(co_await open_inode_xattrs(i_, area));
    if (area.set.bytes != 0) {
        std::memcpy(memory_, area.set.base, area.set.bytes);
        CO_TRY(collect({memory_, area.set.bytes, area.set.first}, true));
    }
    XattrBlock block;
    CO_TRY(co_await open_xattr_block(i_, block));
    if (block.set.bytes != 0) {
        std::memcpy(memory_ + block_bytes_, block.set.base, block_bytes_);
        CO_TRY(collect({memory_ + block_bytes_, block_bytes_, block.set.first}, false));
    }
    co_return lib::kOk;
}

Result<void> Plan::add(const XattrName& name, std::span<const std::byte> value) {
    Item item{name, value, true};
    if (used(true) + item_bytes(item) > area_bytes_) {
        item.in_inode = false;
        if (used(false) + item_bytes(item) > block_bytes_ - sizeof(RawXattrHeader)) return Errno::kNoSpc;
    }
    items_[count_++] = item;
    return lib::kOk;
}

void Plan::write(std::byte* base, u32 first, u32 bytes, bool in_inode) {
    u32 at = first, end = bytes;
    for (u32 k = 0; k < count_; ++k) {
        const Item& item = items_[k];
        if (item.in_inode != in_inode) continue;
        auto* e = reinterpret_cast<RawXattrEntry*>(base + at);
        e->name_length = u8(item.name.rest.size());
        e->name_index = item.name.index;
        std::memcpy(e->name, item.name.rest.data(), item.name.rest.size());
        e->value_size = u32(item.value.size());
        end -= value_bytes(item);
        e->value_offset = u16(item.value.empty() ? 0 : end);
        if (!item.value.empty()) std::memcpy(base + end, item.value.data(), item.value.size());
        e->hash = entry_hash(*e, base + end, value_bytes(item));
        at += xattr_entry_bytes(*e);
    }
}

void Plan::lay_out() {
    std::memset(inode_image(), 0, 2 * block_bytes_);
    *reinterpret_cast<Le32*>(inode_image()) = kXattrMagic;
    write(inode_image() + sizeof(Le32), 0, area_bytes_, true);
    blocks_ = used(false) > sizeof(Le32);
    if (!blocks_) return;
    std::sort(items_, items_ + count_, sorts_before);
    auto* header = reinterpret_cast<RawXattrHeader*>(block_image());
    header->magic = kXattrMagic;
    header->refcount = 1;
    header->blocks = 1;
    write(block_image(), sizeof *header, block_bytes_, false);
    u32 hash = 0, at = sizeof *header;
    for (u32 k = 0; k < count_; ++k) {
        if (items_[k].in_inode) continue;
        const auto* e = reinterpret_cast<const RawXattrEntry*>(block_image() + at);
        hash = (hash << 16) ^ (hash >> 16) ^ e->hash;
        at += xattr_entry_bytes(*e);
    }
    header->hash = hash;
}

// The block as planned, in its place if no other inode has it.
Task<Result<void>> write_block(Handle& h, Inode& i, const Plan& plan) {
    Volume& v = i.volume;
    BufferRef b;
    if (i.file_acl() != 0) {
        XattrBlock old;
        CO_TRY(EXT4_INSIST(co_await open_xattr_block(i, old)));
        if (old.buffer->as<RawXattrHeader>()->refcount == 1 && plan.has_block())
            b = old.buffer;
        else
            CO_TRY(EXT4_MUST(leave_block(h, i)));
    }
    if (!plan.has_block()) co_return lib::kOk;
    if (!b) {
        const BlockNo block = CO_TRY(EXT4_INSIST(co_await v.allocator->allocate_block(h, allocation_goal(i))));
        b = CO_TRY(EXT4_INSIST(co_await v.cache.fresh(block)));
        i.set_file_acl(block);
        i.add_blocks(1);
    }
    CO_TRY(EXT4_INSIST(h.change(*b)));
    std::memcpy(b->data, plan.block(), v.geo.block_bytes);
    if (v.geo.has_checksums()) b->as<RawXattrHeader>()->checksum = xattr_block_checksum(v, b->block, b->data);
    if (v.geo.compat & compat::kExtAttr) co_return lib::kOk;
    CO_TRY(EXT4_INSIST(h.change(*v.super_buffer)));
    v.super->feature_compat = v.super->feature_compat | compat::kExtAttr;
    v.geo.compat |= compat::kExtAttr;
    set_super_checksum(v);
    co_return lib::kOk;
}

Task<Result<void>> write_plan(Inode& i, Plan& plan) {
    Volume& v = i.volume;
    plan.lay_out();
    auto claim = CO_TRY(co_await v.allocator->claim(1));
    Handle h = CO_TRY(co_await start(v, 12));
    auto guard = CO_TRY(EXT4_INSIST(co_await v.xattr_lock.lock()));
    Result<void> r = EXT4_MUST(write_block(h, i, plan));
    set_time(i, TimeOf::kChanged, v.now());
    if (r.ok()) r = EXT4_MUST(save_inode_and(h, i, plan.has_area() ? plan.area() : std::span<const std::byte>{}));
    if (!r.ok() && r.error() != Errno::kRoFs) (void)v.damaged("a change of attributes stopped in its middle");
    co_return r;
}

}  // namespace

Task<Result<void>> set_xattr(Inode& i, std::string_view name, std::span<const std::byte> value, XattrHow how) {
    CO_TRY(i.volume.check_writable());
    const XattrName n = CO_TRY(split_xattr_name(name));
    if (n.index == kXattrSystem) co_return Errno::kOpNotSupp;
    if (n.rest.size() > kMaxName) co_return Errno::kRange;
    if (value.size() > i.volume.geo.block_bytes) co_return Errno::kNoSpc;
    Plan plan{i};
    CO_TRY(co_await plan.gather());
    Item* old = plan.find(n);
    if (old && how == XattrHow::kCreate) co_return Errno::kExist;
    if (!old && how == XattrHow::kReplace) co_return Errno::kNoData;
    if (old) plan.remove(old);
    CO_TRY(plan.add(n, value));
    co_return co_await write_plan(i, plan);
}

Task<Result<void>> remove_xattr(Inode& i, std::string_view name) {
    CO_TRY(i.volume.check_writable());
    const XattrName n = CO_TRY(split_xattr_name(name));
    Plan plan{i};
    CO_TRY(co_await plan.gather());
    Item* old = plan.find(n);
    if (!old) co_return Errno::kNoData;
    plan.remove(old);
    co_return co_await write_plan(i, plan);
}

}  // namespace ext4
