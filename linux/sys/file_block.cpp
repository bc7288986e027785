// SPDX-License-Identifier: MIT
// Reads, writes and requests that wait for a disk. They are tasks of module fs: the driver runs on that module's CPU, and
// a transfer that has begun is awaited, whatever happens to the thread.
#include "fs/block_file.hpp"
#include "linux/sys/file_calls.hpp"
#include "linux/sys/io_vector.hpp"
#include "linux/task/thread.hpp"

namespace linux {

using fs::BlockFile;
using fs::File;

namespace {

BlockFile& disk_file(File& file) { return static_cast<BlockFile&>(file); }

// Where it begins. Transfers of a shared position are not atomic (Linux: only those of regular files are).
u64 place_of(BlockFile& file, u64 offset) { return offset == fs::kAtOffset ? file.position() : offset; }

}  // namespace

TaskResult block_transfer(Caller& c, Ref<File> held, IoVector buffers, u64 offset, bool write) {
    BlockFile& file = disk_file(*held);
    const u64 at = place_of(file, offset);
    const u64 n = CO_TRY(file.transferable(at, buffers.size(), write));
    if (n == 0) co_return i64{0};
    buffers.limit(n);
    if ((file.flags() & fs::kOpenDirect) && !buffers.aligned(BlockFile::kMemoryAlignment)) co_return Errno::kInval;
    co_await port::at(port::Module::kFs);
    BlockFile::Held kept;
    u64 done = 0;
    LeafError error = Errno::kOk;
    while (buffers.size() != 0) {
        fs::UserSpans spans = buffers.spans(c.user(), buffers.size());
        auto moved = co_await file.move(spans, at + done, write, kept);
        if (moved.ok()) {
            done += moved.value();
            buffers.advance(moved.value());
        } else if (moved.error() == kNeedsFault) {
            const fs::UserMemory::Fault f = c.user().fault();
            const Accessible have = co_await fault_in_patiently(c.thread(), f);
            if (have < f.size) {
                const u64 usable = buffers.spans(c.user(), buffers.size()).accessible(f, have);
                if (usable == 0) {
                    error = have.no_memory ? Errno::kNoMem : Errno::kFault;
                    break;
                }
                buffers.limit(usable);
            }
        } else {
            error = moved.error();
            break;
        }
        if (buffers.size() == 0) break;
        co_await rt::Yield{};
        if (is_ending(c)) break;
    }
    if (offset == fs::kAtOffset && done != 0) file.set_position(at + done);
    if (done == 0 && error != Errno::kOk) co_return error;
    if (write) CO_TRY(co_await flush_if_synced(*held));
    co_return i64(done);
}

Task<Result<void>> flush_if_synced(File& file) {
    if (!(file.flags() & (fs::kOpenSync | fs::kOpenDsync))) co_return lib::kOk;
    co_return co_await disk_file(file).flush();
}

Task<Leaf<size_t>> block_piece(File& held, std::span<std::byte> memory, u64 offset, bool write) {
    BlockFile& file = disk_file(held);
    const u64 at = place_of(file, offset);
    auto n = file.transferable(at, memory.size(), write);
    if (!n.ok()) co_return n.error();
    if (n.value() == 0) co_return size_t{0};
    BlockFile::Held kept;
    auto moved = co_await file.move(fs::UserSpans{memory.subspan(0, n.value())}, at, write, kept);
    if (moved.ok() && offset == fs::kAtOffset) file.set_position(at + moved.value());
    co_return moved;
}

Task<Result<void>> sync_disk(Ref<File> file) {
    co_await port::at(port::Module::kFs);
    co_return co_await disk_file(*file).flush();
}

TaskResult sync_after(TaskResult transfer, Ref<File> file) {
    if (!transfer.valid()) co_return Errno::kNoMem;
    auto r = co_await transfer;
    if (r.ok()) CO_TRY(co_await disk_file(*file).flush());
    co_return r;
}

TaskResult change_disk(Caller& c, Ref<File> file, u64 argument) {
    u64 range[2];
    for (;;) {
        auto r = c.user().read(range, UserAddr{argument}, sizeof range);
        if (r.ok()) break;
        if (r.error() != kNeedsFault) co_return r.error();
        CO_TRY(co_await fault_in_range(c.thread(), c.user().fault()));
    }
    co_await port::at(port::Module::kFs);
    u64 at = range[0], left = range[1];
    for (;;) {
        const u64 n = CO_TRY(co_await disk_file(*file).discard(at, left));
        at += n;
        left -= n;
        if (left == 0) co_return i64{0};
        co_await rt::Yield{};
        if (is_ending(c)) co_return Errno::kIntr;
    }
}

}  // namespace linux
