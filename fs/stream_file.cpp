// SPDX-License-Identifier: MIT
// Standard streams that are not a terminal.
//
// Bytes taken from a driver cannot be returned, but a copy to the program may stop: so input passes through a buffer,
// and is consumed from there only when it is with the program. Lock: Rank::tty, one per direction.
#include "fs/stream_file.hpp"

#include "fs/anonymous.hpp"
#include "fs/tty.hpp"
#include "lib/format.hpp"
#include "port/api/streams.hpp"
#include "rt/mem/slab.hpp"

namespace fs {

namespace {

// What all files of one standard stream share.
struct StreamEnd {
    rt::SpinLock<rt::Rank::tty> lock;
    port::Stream* stream = nullptr;
    // Of buffer: input not yet read.
    u32 at RT_GUARDED_BY(lock) = 0;
    u32 end RT_GUARDED_BY(lock) = 0;
    std::byte buffer[4096] RT_GUARDED_BY(lock);
};

class StreamInode final : public AnonymousInode {
public:
    explicit StreamInode(StreamEnd* end) : end_(end) {}
    Leaf<Ref<File>> open(OpenContext& how) override;

private:
    StreamEnd* end_;  // never freed
};

class StreamFile final : public File {
public:
    StreamFile(StreamEnd* end, Ref<Inode> nameless, u32 flags) : File(std::move(nameless), flags), end_(end) {}
    StreamFile(StreamEnd* end, Path path, u32 flags) : File(std::move(path), flags), end_(end) {}

    Leaf<size_t> try_read(const UserSpans& to, u64) override {
        if (to.size() == 0) return size_t{0};
        StreamEnd& e = *end_;
        rt::LockGuard guard{e.lock};
        size_t done = 0;
        // Up to the capacity of a pipe, as long as there is more.
        while (done < to.size() && done < 65536) {
            if (e.at == e.end) {
                e.at = 0;
                e.end = u32(e.stream->try_read(e.buffer));
                if (e.end == 0) break;
            }
            size_t n = e.end - e.at < to.size() - done ? e.end - e.at : to.size() - done;
            if (auto copied = to.copy_out(done, e.buffer + e.at, n); !copied.ok()) {
                if (done > 0) break;
                return copied.error();
            }
            e.at += u32(n);
            done += n;
        }
        if (done > 0) return done;
        if (e.stream->at_end()) return size_t{0};
        return kNeedsTask;
    }
    // How much the driver will take is known only after it took it: a blocking write is a task's.
    Leaf<size_t> try_write(const UserSpans& from, u64) override {
        if (!nonblocking()) return kNeedsTask;
        return write(from);
    }
    Leaf<size_t> try_write_some(const UserSpans& from, u64) override { return write(from); }
    bool writes_all() const override { return true; }
    u64 copy_granule() const override { return kPageSize; }

    u32 poll() override {
        u32 mask = 0;
        rt::LockGuard guard{end_->lock};
        if (readable()) {
            if (end_->at != end_->end || end_->stream->readable())
                mask |= kPollIn | kPollRdNorm;
            else if (end_->stream->at_end())
                mask |= kPollHup;
        }
        if (writable() && end_->stream->writable()) mask |= kPollOut | kPollWrNorm;
        return mask;
    }
    void queues(u32, QueueSet& out) override { out.add(end_->stream->changed); }
    Leaf<u64> ioctl(UserMemory& user, u32 request, u64 argument) override {
        if (request != kFionRead) return Errno::kNoTty;
        u32 n;
        {
            StreamEnd& e = *end_;
            rt::LockGuard guard{e.lock};
            if (readable() && e.at == e.end) {
                e.at = 0;
                e.end = u32(e.stream->try_read(e.buffer));
            }
            n = e.end - e.at;
        }
        TRY(user.write(UserAddr{argument}, &n, sizeof n));
        return u64{0};
    }
    bool pollable() const override { return true; }
    std::string_view label(std::span<char> buffer) override {
        return {buffer.data(), lib::format_to(buffer, "pipe:[{}]", inode()->number)};
    }

private:
    // Through the buffer of an output stream, which holds nothing between calls.
    Leaf<size_t> write(const UserSpans& from) {
        StreamEnd& e = *end_;
        rt::LockGuard guard{e.lock};
        size_t done = 0;
        while (done < from.size()) {
            size_t n = from.size() - done < sizeof e.buffer ? from.size() - done : sizeof e.buffer;
            if (auto copied = from.copy_in(done, e.buffer, n); !copied.ok()) {
                if (done > 0) break;
                return copied.error();
            }
            size_t taken = e.stream->try_write({e.buffer, n});
            done += taken;
            if (taken < n) break;
        }
        if (done == 0 && from.size() > 0) return kNeedsTask;
        return done;
    }
    StreamEnd* end_;
};

Leaf<Ref<File>> StreamInode::open(OpenContext& how) {
    return make_file<StreamFile>(end_, how.path, how.flags & ~kOpenOnce);
}

}  // namespace

Result<Ref<File>> open_standard_stream(int n) {
    if (n < 0 || n > 2 || !port::streams.standard[n]) return Errno::kNxIo;
    if (port::streams.tty) {
        OpenContext how{.path = {}, .flags = kOpenReadWrite};
        return open_terminal(how, OpenAs::kConsole);
    }
    StreamEnd* end = rt::make<StreamEnd>();
    if (!end) return Errno::kNoMem;
    end->stream = port::streams.standard[n];
    auto inode = rt::make_ref<StreamInode>(end);
    if (!inode.ok()) {
        delete end;
        return inode.error();
    }
    inode.value()->super = TRY(pipe_super());
    inode.value()->set_up(kTypeFifo | 0600);
    return make_file<StreamFile>(end, Ref<Inode>{inode.value()}, n == 0 ? kOpenReadOnly : kOpenWriteOnly);
}

}  // namespace fs
