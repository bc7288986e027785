// SPDX-License-Identifier: MIT
// sendfile(2) and copy_file_range(2): from file to file through a page of the kernel's.
#include "linux/sys/file_calls.hpp"
#include "linux/sys/io_vector.hpp"
#include "linux/task/thread.hpp"
#include "rt/mem/slab.hpp"

namespace linux {

using fs::File;

namespace {

constexpr size_t kChunk = 16384;
constexpr u32 kChunksPerTurn = 8;

struct Buffer {
    std::byte* bytes = static_cast<std::byte*>(rt::allocate(kChunk));
    Buffer() = default;
    Buffer(const Buffer&) = delete;
    ~Buffer() {
        if (bytes) rt::deallocate(bytes, kChunk);
    }
};

// Copies up to `count` bytes from `in` at *from to `out` at *to (kAtOffset: its own position). The outcome of the
// first byte is an error's if there is one; then a count.
TaskResult copy(Caller& c, File& in, u64* from, File& out, u64* to, u64 count) {
    Buffer buffer;
    if (!buffer.bytes) co_return Errno::kNoMem;
    u64 done = 0;
    const u64 piece = in.piece_size(false) != 0 && in.piece_size(false) < kChunk ? in.piece_size(false) : kChunk;
    const u32 pieces_per_turn = piece == kChunk ? kChunksPerTurn : 1;
    for (u32 turn = 0; done < count; ++turn) {
        size_t want = count - done < piece ? size_t(count - done) : piece;
        const bool from_disk = in.kind() == fs::FileKind::kBlock;
        auto got = from_disk ? co_await block_piece(in, {buffer.bytes, want}, *from, false)
                             : in.try_read(fs::UserSpans{std::span{buffer.bytes, want}, &c}, *from);
        if (got.error() == kNeedsTask) {  // a file of /proc that skips what lies before
            co_await rt::Yield{};
            if (!c.interrupted()) continue;
            got = Errno::kIntr;
        }
        if (!got.ok() || got.value() == 0) {
            if (!got.ok() && done == 0) co_return got.error();
            break;
        }
        bool interrupted = false;
        for (size_t sent = 0; sent < got.value();) {
            rt::Waiter room[fs::QueueSet::kUsual];
            fs::QueueSet queues{room, fs::QueueSet::kUsual};
            out.queues(fs::kPollOut, queues);
            u64 room_left = room_below_limit(c, out, *to, got.value() - sent);
            if (room_left == 0) {
                if (done > 0) co_return i64(done);
                co_return Errno::kFBig;
            }
            const std::span rest{buffer.bytes + sent, room_left};
            auto put = out.kind() == fs::FileKind::kBlock ? co_await block_piece(out, rest, *to, true)
                                                          : out.try_write_some(fs::UserSpans{rest, &c}, *to);
            if (put.ok() && put.value() > 0) {
                sent += put.value();
                done += put.value();
                *from += put.value();
                if (*to != fs::kAtOffset) *to += put.value();
                continue;
            }
            if (put.ok()) co_return i64(done);
            LeafError e = put.error();
            if (e == Errno::kPipe) broken_pipe(c);
            if (e == kNeedsTask && !out.nonblocking()) {
                if (!interrupted) {
                    rt::Wait wait{"sendfile"};
                    interrupted = co_await wait.on(room, queues.count()) == rt::Wake::kInterrupted;
                    continue;
                }
                e = Errno::kRestartSys;
            }
            if (done > 0) co_return i64(done);
            co_return e == kNeedsTask ? Errno::kAgain : e;
        }
        if (turn % pieces_per_turn == pieces_per_turn - 1) {
            co_await rt::Yield{};
            if (c.interrupted() && done > 0) break;
        }
    }
    co_return i64(done);
}

// A copy in or out that may need the page first.
template <bool kWrite>
Task<Result<void>> user_copy(Caller& c, UserAddr at, void* bytes, size_t n) {
    for (;;) {
        auto r = kWrite ? c.user().write(at, bytes, n) : c.user().read(bytes, at, n);
        if (r.error() != kNeedsFault) co_return r.ended();
        CO_TRY(co_await fault_in_range(c.thread(), c.user().fault()));
    }
}

u64 position(File& f) {
    rt::LockGuard guard{f.offset_lock};
    return f.offset;
}
void set_position(File& f, u64 to) {
    rt::LockGuard guard{f.offset_lock};
    f.offset = to;
}

}  // namespace

TaskResult sys_sendfile(Caller& c, Fd out_fd, Fd in_fd, UserAddr offset, u64 count) {
    i64 explicit_offset = 0;
    if (offset.value != 0) CO_TRY(co_await user_copy<false>(c, offset, &explicit_offset, sizeof explicit_offset));
    Ref<File> in = CO_TRY(c.files().get(in_fd));
    if (!in->readable()) co_return Errno::kBadF;
    if (offset.value != 0 && !in->seekable()) co_return Errno::kSPipe;
    u64 from = offset.value != 0 ? u64(explicit_offset) : position(*in);
    if (i64(from) < 0 || i64(count) < 0 || i64(from + count) < 0) co_return Errno::kInval;
    if (count > kMaxIo) count = kMaxIo;
    Ref<File> out = CO_TRY(c.files().get(out_fd));
    if (!out->writable()) co_return Errno::kBadF;
    if (!in->splices()) co_return Errno::kInval;
    if (out->flags() & fs::kOpenAppend) co_return Errno::kInval;
    u64 to = fs::kAtOffset;
    i64 done = CO_TRY(co_await copy(c, *in, &from, *out, &to, count));
    if (out->kind() == fs::FileKind::kBlock && done != 0) CO_TRY(co_await flush_if_synced(*out));
    if (!in->inode()->is_regular() && in->kind() != fs::FileKind::kBlock) co_return done;  // it has no position
    if (offset.value != 0) {
        explicit_offset = i64(from);
        CO_TRY(co_await user_copy<true>(c, offset, &explicit_offset, sizeof explicit_offset));
    } else {
        set_position(*in, from);
    }
    co_return done;
}

TaskResult sys_copy_file_range(Caller& c, Fd in_fd, UserAddr in_offset, Fd out_fd, UserAddr out_offset, u64 count,
                               u32 flags) {
    Ref<File> in = CO_TRY(c.files().get(in_fd));
    Ref<File> out = CO_TRY(c.files().get(out_fd));
    if ((in->flags() | out->flags()) & fs::kOpenPath) co_return Errno::kBadF;
    i64 from_offset = 0, to_offset = 0;
    if (in_offset.value != 0)
        CO_TRY(co_await user_copy<false>(c, in_offset, &from_offset, sizeof from_offset));
    else
        from_offset = i64(position(*in));
    if (out_offset.value != 0)
        CO_TRY(co_await user_copy<false>(c, out_offset, &to_offset, sizeof to_offset));
    else
        to_offset = i64(position(*out));
    if (flags != 0) co_return Errno::kInval;
    if (in->inode()->is_directory() || out->inode()->is_directory()) co_return Errno::kIsDir;
    if (!in->inode()->is_regular() || !out->inode()->is_regular()) co_return Errno::kInval;
    if (!in->readable() || !out->writable() || (out->flags() & fs::kOpenAppend)) co_return Errno::kBadF;
    if (in->inode()->super != out->inode()->super) co_return Errno::kXDev;
    if (u64(from_offset) + count < u64(from_offset) || u64(to_offset) + count < u64(to_offset))
        co_return Errno::kOverflow;
    if (from_offset < 0 || to_offset < 0) co_return Errno::kInval;
    u64 from = u64(from_offset), to = u64(to_offset);
    u64 size = in->inode()->attributes().size;
    count = from >= size ? 0 : count < size - from ? count : size - from;
    // The limit counts once, for the whole, and also if there is nothing to copy.
    u64 room_left = room_below_limit(c, *out, to, count != 0 ? count : 1);
    if (room_left == 0 || to_offset == INT64_MAX) co_return Errno::kFBig;
    if (room_left < count) count = room_left;
    if (in->inode() == out->inode() && to + count > from && to < from + count) co_return Errno::kInval;
    if (count > kMaxIo) count = kMaxIo;
    if (count == 0) co_return i64{0};
    i64 done = CO_TRY(co_await copy(c, *in, &from, *out, &to, count));
    from_offset = i64(from);
    to_offset = i64(to);
    if (in_offset.value != 0)
        CO_TRY(co_await user_copy<true>(c, in_offset, &from_offset, sizeof from_offset));
    else
        set_position(*in, from);
    if (out_offset.value != 0)
        CO_TRY(co_await user_copy<true>(c, out_offset, &to_offset, sizeof to_offset));
    else
        set_position(*out, to);
    co_return done;
}

}  // namespace linux
