// SPDX-License-Identifier: MIT
#include "ext4/file.hpp"

#include <algorithm>
#include <cstring>

#include "ext4/map.hpp"
#include "ext4/xattr.hpp"

namespace ext4 {

Task<Result<void>> read_inline(Inode& i, InlineData& data) {
    data.part[0] = {reinterpret_cast<std::byte*>(i.raw.block), kRawBlockBytes};
    data.part[1] = {};
    XattrInInode area;
    CO_TRY(co_await open_inode_xattrs(i, area));
    const RawXattrEntry* e = CO_TRY(find_xattr(area.set, kXattrSystem, "data"));
    if (e && e->value_size != 0) data.part[1] = CO_TRY(xattr_value(area.set, *e));
    data.table = std::move(area.table);
    co_return lib::kOk;
}

namespace {

u64 read_part(std::span<std::byte> part, u64 begin, u64 offset, std::span<std::byte> to) {
    if (offset < begin || offset - begin >= part.size()) return 0;
    const u64 n = std::min<u64>(to.size(), part.size() - (offset - begin));
    std::memcpy(to.data(), part.data() + (offset - begin), n);
    return n;
}

Task<Result<u64>> read_inline_file(Inode& i, u64 offset, std::span<std::byte> to) {
    InlineData data;
    CO_TRY(co_await read_inline(i, data));
    u64 done = read_part(data.part[0], 0, offset, to);
    done += read_part(data.part[1], data.part[0].size(), offset + done, to.subspan(done));
    if (done < to.size()) std::memset(to.data() + done, 0, to.size() - done);
    co_return to.size();
}

// Memory for a transfer that need not begin or end with a block.
struct Bounce {
    explicit Bounce(u32 n) : bytes(n), data(static_cast<std::byte*>(rt::allocate(n))) {}
    ~Bounce() {
        if (data) rt::deallocate(data, bytes);
    }
    Bounce(const Bounce&) = delete;
    u32 bytes;
    std::byte* data;
};

}  // namespace

Task<Result<u64>> read(Inode& i, u64 offset, std::span<std::byte> to) {
    if (i.is_directory()) co_return Errno::kIsDir;
    if (offset >= i.size()) co_return u64{0};
    to = to.first(std::min<u64>(to.size(), i.size() - offset));
    if (i.has(kInodeInlineData)) co_return co_await read_inline_file(i, offset, to);
    const u32 bytes = i.volume.geo.block_bytes, shift = i.volume.geo.block_shift;
    Bounce bounce{bytes};
    if (!bounce.data) co_return Errno::kNoMem;
    for (u64 done = 0; done < to.size();) {
        const u64 at = offset + done;
        const u32 into = u32(at & (bytes - 1));
        if (at >> shift >= ~0u) co_return Errno::kUClean;
        const u64 n = std::min<u64>(bytes - into, to.size() - done);
        const Run run = CO_TRY(co_await map(i, FileBlock(at >> shift), 1));
        if (run.reads_as_zeros()) {
            std::memset(to.data() + done, 0, n);
        } else {
            const u64 sector = i.volume.disk.sector_of(run.block);
            CO_TRY(co_await transfer(i.volume.disk, block::Op::kRead, sector, block::Piece(bounce.data, bytes)));
            std::memcpy(to.data() + done, bounce.data + into, n);
        }
        done += n;
        if ((done >> shift) % 16 == 15) co_await rt::Yield{};
    }
    co_return to.size();
}

Task<Result<u32>> read_link(Inode& i, std::span<char> to) {
    if (!i.is_symlink()) co_return Errno::kInval;
    const u32 length = u32(i.size());
    if (length == 0) co_return Errno::kUClean;
    const auto bytes = std::as_writable_bytes(to.first(std::min<size_t>(to.size(), length)));
    if (i.is_fast_symlink()) {
        std::memcpy(bytes.data(), i.raw.block, bytes.size());
        co_return length;
    }
    (void)CO_TRY(co_await read(i, 0, bytes));
    co_return length;
}

}  // namespace ext4
