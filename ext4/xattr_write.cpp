// SPDX-License-Identifier: MIT
#include "ext4/allocate.hpp"
#include "ext4/orphans.hpp"
#include "ext4/xattr.hpp"

namespace ext4 {

Task<Result<void>> release_xattr_block(Handle& h, Inode& i) {
    Volume& v = i.volume;
    if (i.file_acl() == 0) co_return lib::kOk;
    auto guard = CO_TRY(EXT4_INSIST(co_await v.xattr_lock.lock()));
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

}  // namespace ext4
