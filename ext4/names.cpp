// SPDX-License-Identifier: MIT
#include "ext4/names.hpp"

#include <algorithm>
#include <cstring>

#include "ext4/allocate.hpp"
#include "ext4/directory_write.hpp"
#include "ext4/map_write.hpp"
#include "ext4/orphans.hpp"

namespace ext4 {

namespace {

constexpr u32 kMaxLinks = 65000;

Result<void> whole(Volume& v, const Result<void>& r) {
    if (!r.ok() && r.error() != Errno::kRoFs) (void)v.damaged("a change of names stopped in its middle");
    return r;
}

// A directory with more subdirectories than a count can hold has the count 1.
Result<void> check_links(const Inode& i) {
    if (i.raw.links < kMaxLinks) return lib::kOk;
    if (i.is_directory() && (i.volume.geo.ro_compat & ro_compat::kDirNlink)) return lib::kOk;
    return Errno::kMLink;
}
void add_link(Inode& i) {
    if (i.is_directory() && i.raw.links == 1) return;
    i.raw.links = u16(i.raw.links + 1);
    if (i.is_directory() && i.raw.links > kMaxLinks) i.raw.links = 1;
}
void drop_link(Inode& i) {
    if (i.is_directory() && i.raw.links <= 2) return;
    if (i.raw.links != 0) i.raw.links = u16(i.raw.links - 1);
}

void touch(Inode& i, bool modified = true) {
    const Time now = i.volume.now();
    if (modified) set_time(i, TimeOf::kModified, now);
    set_time(i, TimeOf::kChanged, now);
}

// What every new name needs.
Task<Result<void>> check_new_name(Inode& dir, std::string_view name) {
    CO_TRY(dir.volume.check_writable());
    if (name.empty() || is_dot(name)) co_return Errno::kExist;
    if (dir.raw.links == 0) co_return Errno::kNoEnt;
    const auto found = co_await lookup(dir, name);
    if (found.ok()) co_return Errno::kExist;
    if (found.error() != Errno::kNoEnt) co_return found.error();
    co_return lib::kOk;
}

Task<Result<void>> save(Handle& h, Inode& i) { co_return EXT4_MUST(save_inode(h, i)); }

// The contents of a long symbolic link are written before the transaction begins.
Task<Result<BusyExtent*>> write_target(Inode& dir, std::string_view target) {
    Volume& v = dir.volume;
    const u32 bytes = v.geo.block_bytes;
    auto* memory = static_cast<std::byte*>(rt::allocate(bytes));
    if (!memory) co_return Errno::kNoMem;
    std::memset(memory, 0, bytes);
    std::memcpy(memory, target.data(), target.size());
    auto r = co_await v.allocator->reserve(allocation_goal(dir), 1, Allocator::For::kData);
    if (r.ok()) {
        const auto written =
            co_await transfer(v.disk, block::Op::kWrite, v.disk.sector_of(r.value()->start), {memory, bytes});
        if (!written.ok()) {
            v.allocator->release(r.value());
            r = written.error();
        }
    }
    rt::deallocate(memory, bytes);
    co_return r;
}

struct Creation {
    Inode& dir;
    std::string_view name;
    const NewInode& what;
    std::string_view target;
    BusyExtent* block = nullptr;  // with the target
    bool directory() const { return (what.mode & abi::kTypeMask) == abi::kTypeDirectory; }
};

// What the new inode has besides its fields.
Task<Result<void>> fill_new(Handle& h, Creation& c, Inode& i) {
    if (c.directory()) {
        i.raw.links = 2;
        co_return EXT4_MUST(make_first_block(h, i, c.dir.number));
    }
    i.raw.links = 1;
    if (c.target.empty()) co_return lib::kOk;
    i.set_size(c.target.size());
    if (!c.block) {
        std::memcpy(i.raw.block, c.target.data(), c.target.size());
        co_return lib::kOk;
    }
    make_empty_map(i);
    const Run run{0, 1, c.block->start, false};
    CO_TRY(EXT4_MUST(i.volume.allocator->take(h, std::exchange(c.block, nullptr))));
    i.add_blocks(1);
    co_return EXT4_MUST(insert_run(h, i, run));
}

Task<Result<Ref<Inode>>> create_in(Handle& h, Creation& c) {
    Volume& v = c.dir.volume;
    const InodeNo n = CO_TRY(co_await v.allocator->allocate_inode(h, c.dir, c.directory()));
    // The name first: an index that is full is no damage.
    auto added = EXT4_MUST(add_entry(h, c.dir, c.name, n, entry_type(c.what.mode)));
    if (added.error() == Errno::kNoSpc) {
        CO_TRY(whole(v, EXT4_MUST(v.allocator->free_inode(h, n, c.directory()))));
        CO_TRY(whole(v, EXT4_MUST(save(h, c.dir))));
        co_return Errno::kNoSpc;
    }
    CO_TRY(whole(v, added));
    auto made = EXT4_MUST(make_inode(h, v, n, c.what));
    if (!made.ok()) co_return whole(v, made.error()).error();
    Inode& i = *made.value();
    Result<void> r = EXT4_MUST(fill_new(h, c, i));
    if (r.ok()) r = EXT4_MUST(save(h, i));
    if (r.ok()) {
        if (c.directory()) add_link(c.dir);
        touch(c.dir);
        r = EXT4_MUST(save(h, c.dir));
    }
    CO_TRY(whole(v, r));
    co_return made.take();
}

}  // namespace

Task<Result<Ref<Inode>>> create(Inode& dir, std::string_view name, const NewInode& what, std::string_view target) {
    Volume& v = dir.volume;
    CO_TRY(co_await check_new_name(dir, name));
    Creation c{dir, name, what, target};
    if (c.directory()) CO_TRY(check_links(dir));
    if ((what.mode & abi::kTypeMask) == abi::kTypeLink) {
        if (target.empty()) co_return Errno::kNoEnt;
        if (target.size() >= v.geo.block_bytes) co_return Errno::kNameTooLong;
        if (target.size() >= kRawBlockBytes) c.block = CO_TRY(co_await write_target(dir, target));
    }
    auto claim = co_await v.allocator->claim(kEntryBlocks + 1);
    Result<void> r = claim.error();
    if (r.ok()) {
        auto h = co_await start(v, kEntryCredits + 16);
        r = h.error();
        if (r.ok()) {
            auto made = co_await create_in(*h, c);
            if (made.ok()) co_return std::move(made);
            r = made.error();
        }
    }
    if (c.block) v.allocator->release(c.block);
    co_return r.error();
}

Task<Result<Ref<Inode>>> create_unnamed(Inode& dir, const NewInode& what) {
    Volume& v = dir.volume;
    CO_TRY(v.check_writable());
    Handle h = CO_TRY(co_await start(v, Allocator::kInodeCredits + kOrphanCredits + 2));
    const InodeNo n = CO_TRY(co_await v.allocator->allocate_inode(h, dir, false));
    auto made = EXT4_MUST(make_inode(h, v, n, what));
    if (!made.ok()) co_return whole(v, made.error()).error();
    CO_TRY(whole(v, EXT4_MUST(add_orphan(h, *made.value()))));
    co_return made.take();
}

Task<Result<void>> link(Inode& dir, std::string_view name, Inode& target) {
    Volume& v = dir.volume;
    CO_TRY(co_await check_new_name(dir, name));
    CO_TRY(check_links(target));
    auto claim = CO_TRY(co_await v.allocator->claim(kEntryBlocks));
    Handle h = CO_TRY(co_await start(v, kEntryCredits + kOrphanCredits + 2));
    Result<void> r = EXT4_MUST(add_entry(h, dir, name, target.number, entry_type(target.mode())));
    if (r.error() == Errno::kNoSpc) {
        CO_TRY(whole(v, EXT4_MUST(save(h, dir))));
        co_return r;
    }
    if (r.ok() && target.raw.links == 0) r = EXT4_MUST(remove_orphan(h, target));
    if (r.ok()) {
        add_link(target);
        touch(target, false);
        touch(dir);
        r = EXT4_MUST(save(h, target));
    }
    if (r.ok()) r = EXT4_MUST(save(h, dir));
    co_return whole(v, r);
}

namespace {

// The inode has lost a name, or a directory its only one.
Task<Result<void>> lose_name(Handle& h, Inode& i) {
    if (i.is_directory()) {
        i.raw.links = 0;
        i.set_size(0);  // nothing is looked up in it any more; its blocks go with it
    } else {
        drop_link(i);
    }
    touch(i, false);
    if (i.raw.links == 0) CO_TRY(EXT4_MUST(add_orphan(h, i)));
    co_return EXT4_MUST(save(h, i));
}

}  // namespace

Task<Result<void>> unlink(Inode& dir, std::string_view name, Inode& victim) {
    Volume& v = dir.volume;
    CO_TRY(v.check_writable());
    Handle h = CO_TRY(co_await start(v, kOrphanCredits + 4));
    Result<void> r = EXT4_MUST(remove_entry(h, dir, name));
    if (r.error() == Errno::kNoEnt) co_return r;
    touch(dir);
    if (r.ok()) r = EXT4_MUST(save(h, dir));
    if (r.ok()) r = EXT4_MUST(lose_name(h, victim));
    co_return whole(v, r);
}

Task<Result<void>> rmdir(Inode& dir, std::string_view name, Inode& victim) {
    Volume& v = dir.volume;
    CO_TRY(v.check_writable());
    if (!CO_TRY(co_await is_empty_directory(victim))) co_return Errno::kNotEmpty;
    Handle h = CO_TRY(co_await start(v, kOrphanCredits + 4));
    Result<void> r = EXT4_MUST(remove_entry(h, dir, name));
    if (r.error() == Errno::kNoEnt) co_return r;
    drop_link(dir);
    touch(dir);
    if (r.ok()) r = EXT4_MUST(save(h, dir));
    if (r.ok()) r = EXT4_MUST(lose_name(h, victim));
    co_return whole(v, r);
}

namespace {

// A directory has moved: its "..", and the counts of both parents.
Task<Result<void>> move_parent(Handle& h, Inode& i, Inode& from, Inode& to) {
    if (!i.is_directory() || &from == &to) co_return lib::kOk;
    CO_TRY(EXT4_MUST(set_entry(h, i, "..", to.number, kTypeDir)));
    drop_link(from);
    add_link(to);
    co_return lib::kOk;
}

}  // namespace

Task<Result<void>> rename(Inode& dir, std::string_view name, Inode& victim, Inode& new_dir, std::string_view new_name,
                          Inode* replaced) {
    Volume& v = dir.volume;
    CO_TRY(v.check_writable());
    if (replaced == &victim) co_return lib::kOk;
    if (new_dir.raw.links == 0) co_return Errno::kNoEnt;
    if (replaced && replaced->is_directory() && !CO_TRY(co_await is_empty_directory(*replaced)))
        co_return Errno::kNotEmpty;
    if (victim.is_directory() && &dir != &new_dir && !replaced) CO_TRY(check_links(new_dir));
    auto claim = CO_TRY(co_await v.allocator->claim(kEntryBlocks));
    Handle h = CO_TRY(co_await start(v, kEntryCredits + kOrphanCredits + 8));
    Result<void> r = lib::kOk;
    if (replaced) {
        r = EXT4_MUST(set_entry(h, new_dir, new_name, victim.number, entry_type(victim.mode())));
    } else {
        r = EXT4_MUST(add_entry(h, new_dir, new_name, victim.number, entry_type(victim.mode())));
        if (r.error() == Errno::kNoSpc) {
            CO_TRY(whole(v, EXT4_MUST(save(h, new_dir))));
            co_return r;
        }
    }
    if (r.ok()) r = EXT4_MUST(remove_entry(h, dir, name));
    if (r.ok()) r = EXT4_MUST(move_parent(h, victim, dir, new_dir));
    touch(victim, false);
    touch(dir);
    touch(new_dir);
    if (replaced && replaced->is_directory()) drop_link(new_dir);
    if (r.ok()) r = EXT4_MUST(save(h, victim));
    if (r.ok()) r = EXT4_MUST(save(h, dir));
    if (r.ok() && &new_dir != &dir) r = EXT4_MUST(save(h, new_dir));
    if (r.ok() && replaced) r = EXT4_MUST(lose_name(h, *replaced));
    co_return whole(v, r);
}

Task<Result<void>> exchange(Inode& dir, std::string_view name, Inode& victim, Inode& new_dir, std::string_view new_name,
                            Inode& other) {
    Volume& v = dir.volume;
    CO_TRY(v.check_writable());
    if (&victim == &other) co_return lib::kOk;
    Handle h = CO_TRY(co_await start(v, 12));
    Result<void> r = EXT4_MUST(set_entry(h, new_dir, new_name, victim.number, entry_type(victim.mode())));
    if (r.ok()) r = EXT4_MUST(set_entry(h, dir, name, other.number, entry_type(other.mode())));
    if (r.ok()) r = EXT4_MUST(move_parent(h, victim, dir, new_dir));
    if (r.ok()) r = EXT4_MUST(move_parent(h, other, new_dir, dir));
    touch(victim, false);
    touch(other, false);
    touch(dir);
    touch(new_dir);
    for (Inode* i : {&victim, &other, &dir})
        if (r.ok()) r = EXT4_MUST(save(h, *i));
    if (r.ok() && &new_dir != &dir) r = EXT4_MUST(save(h, new_dir));
    co_return whole(v, r);
}

Task<Result<void>> release(Ref<Inode> i) {
    Volume& v = i->volume;
    // The list of orphans has one, too.
    if (i->raw.links != 0 || !i->is_orphan || i->ref_count() > 2 || !v.check_writable().ok()) co_return lib::kOk;
    co_return co_await remove_inode(std::move(i));
}

}  // namespace ext4
