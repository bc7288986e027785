// SPDX-License-Identifier: MIT
// The ends of pipes: pipe(2), open(2) of FIFOs, close.
//
// A FIFO's pipe hangs on its inode while at least one end is open.
#include "fs/anonymous.hpp"
#include "fs/pipe.hpp"
#include "fs/walk.hpp"
#include "rt/mem/slab.hpp"

namespace fs {

constinit rt::SpinLock<rt::Rank::fifo> fifo_lock;

namespace {

class PipeInode final : public AnonymousInode {
public:
    explicit PipeInode(Ref<Pipe> p) : pipe_(std::move(p)) {}
    // By way of /proc/PID/fd: another description of the same end, and it never waits.
    Leaf<Ref<File>> open(OpenContext& how) override {
        const u32 access = how.flags & kOpenAccess;
        if (access == kOpenAccess) return Errno::kInval;
        const bool reader = access != kOpenWriteOnly, writer = access != kOpenReadOnly;
        TRY(pipe_->reopen(how.creds, reader, writer));
        File* f = rt::make<PipeFile>(pipe_, how.path, how.flags & ~kOpenOnce, false);
        if (!f) {
            pipe_->remove_end(reader, writer);
            return Errno::kNoMem;
        }
        return Ref<File>::adopt(f);
    }

private:
    Ref<Pipe> pipe_;
};

}  // namespace

void Pipe::add_end_locked(bool reader, bool writer) {
    readers_ += reader;
    writers_ += writer;
    // Release: pairs with the acquire in open_fifo_wait.
    if (reader) readers_ever.fetch_add(1, std::memory_order_release);
    if (writer) writers_ever.fetch_add(1, std::memory_order_release);
}
void Pipe::add_end(bool reader, bool writer) {
    rt::LockGuard guard{lock_};
    add_end_locked(reader, writer);
}

Result<void> Pipe::reopen(const Creds* opener, bool reader, bool writer) {
    Ref<UserAccount> before;  // let go of outside the lock
    for (;;) {
        rt::LockGuard guard{lock_};
        if (readers_ == 0 && writers_ == 0) {
            if (!is_new()) {  // the last end is on its way out
                guard.unlock();
                empty_ring();
                continue;
            }
            before = std::move(payer_);
            resize_first(kPipeSlots);
            if (opener && !charge_new_locked(*opener).ok()) return Errno::kNoMem;  // ENFILE is for pipe(2) only
        }
        add_end_locked(reader, writer);
        return lib::kOk;
    }
}

void Pipe::remove_end(bool reader, bool writer) {
    bool last_reader, last_writer, left;
    {
        rt::LockGuard guard{lock_};
        readers_ -= reader;
        writers_ -= writer;
        last_reader = reader && readers_ == 0;
        last_writer = writer && writers_ == 0;
        const bool none = readers_ == 0 && writers_ == 0;
        left = none && !is_new();
        // The pipe itself may live on for an epoch.
        if (none) refund();
    }
    if (last_reader) writable.wake_all();
    if (last_writer) readable.wake_all();
    if (left) [[unlikely]]
        empty_ring();
}

PipeFile::PipeFile(Ref<Pipe> pipe, Ref<Inode> nameless, u32 flags)
    : File(std::move(nameless), flags), pipe_(std::move(pipe)) {
    kind_ = FileKind::kPipe;
    pipe_->add_end(readable(), writable());
}

PipeFile::PipeFile(Ref<Pipe> pipe, Path path, u32 flags, bool fifo)
    : File(std::move(path), flags), pipe_(std::move(pipe)), fifo_(fifo) {
    kind_ = FileKind::kPipe;
    if (fifo) pipe_->add_end(readable(), writable());
}

PipeFile::~PipeFile() {
    if (!hung_up_) PipeFile::hang_up();
}

void PipeFile::hang_up() {
    hung_up_ = true;
    if (fifo_) {
        // Before the end goes: a pipe that can be found has an end, and so an account that it is charged to. Data that was
        // not read is dropped with the last end.
        rt::LockGuard guard{fifo_lock};
        if (--pipe_->files_ == 0) inode()->fifo = nullptr;
    }
    pipe_->remove_end(readable(), writable());
}

Result<PipeEnds> make_pipe(u32 flags, const Creds& owner) {
    Ref<Pipe> pipe = TRY(rt::make_ref<Pipe>());
    TRY(pipe->charge_new(owner));
    Ref<PipeInode> inode = TRY(rt::make_ref<PipeInode>(pipe));
    inode->super = TRY(pipe_super());
    inode->set_up(kTypeFifo | 0600, &owner);
    u32 kept = flags & (kOpenNonblock | kOpenDirect);
    PipeEnds ends;
    ends.read = Ref<File>::adopt(rt::make<PipeFile>(pipe, inode, kOpenReadOnly | (kept & kOpenNonblock)));
    ends.write = Ref<File>::adopt(rt::make<PipeFile>(pipe, inode, kOpenWriteOnly | kept));
    if (!ends.read || !ends.write) return Errno::kNoMem;
    return ends;
}

// One more end of a FIFO. Serialised by Rank::fifo, so that the pipe on the inode is the one that is opened.
struct FifoOpen {
    Ref<PipeFile> file;
    Ref<Pipe> pipe;
    std::atomic<u64>* partner_ever = nullptr;  // not null: the other end is not open yet,
    u64 partner_seen = 0;                      // and this many ends of that kind were ever opened

    static Result<Ref<Pipe>> new_fifo(OpenContext& how) {
        Ref<Pipe> pipe = TRY(rt::make_ref<Pipe>());
        // ENFILE is for pipe(2) only.
        if (how.creds && !pipe->charge_new(*how.creds).ok()) return Errno::kNoMem;
        return pipe;
    }

    // `may_wait` false: kNeedsTask, with nothing changed, instead of an end that is alone.
    static Leaf<FifoOpen> run(OpenContext& how, Inode& inode, bool may_wait) {
        u32 access = how.flags & kOpenAccess;
        if (access == kOpenAccess) return Errno::kInval;
        bool nonblock = (how.flags & kOpenNonblock) != 0;
        FifoOpen result;
        {
            rt::LockGuard guard{fifo_lock};
            result.pipe = inode.fifo ? Ref<Pipe>{inode.fifo} : TRY(new_fifo(how));
            Pipe& pipe = *result.pipe;
            bool alone = false;
            {
                rt::LockGuard pipe_guard{pipe.lock_};
                if (access == kOpenWriteOnly) alone = pipe.readers_ == 0;
                if (access == kOpenReadOnly) alone = pipe.writers_ == 0;
                if (alone && access == kOpenWriteOnly && nonblock) return Errno::kNxIo;
                if (alone && !nonblock && !may_wait) return kNeedsTask;
                if (alone) {
                    result.partner_ever = access == kOpenReadOnly ? &pipe.writers_ever : &pipe.readers_ever;
                    result.partner_seen = result.partner_ever->load(std::memory_order_relaxed);
                }
            }
            result.file = TRY(rt::make_ref<FifoFile>(result.pipe, how.path, how.flags & ~kOpenOnce));
            if (alone && nonblock) result.file->writers_seen_ = result.partner_seen;
            ++pipe.files_;
            inode.fifo = &pipe;
        }
        if (access != kOpenWriteOnly) result.pipe->reader_came.wake_all();
        if (access != kOpenReadOnly) result.pipe->writer_came.wake_all();
        return result;
    }
};

// fifo(7): a reader and a writer wait for each other; read-write never waits; a non-blocking writer needs a reader.
Leaf<Ref<File>> open_fifo(OpenContext& how, Inode& inode) {
    FifoOpen opened = TRY(FifoOpen::run(how, inode, false));
    return Ref<File>{std::move(opened.file)};
}

Task<Result<Ref<File>>> open_fifo_wait(OpenContext how, Ref<Inode> inode) {
    FifoOpen opened = CO_TRY(FifoOpen::run(how, *inode, true).ended());
    forget_walks(how.caller);  // the call does not start again, and may wait for long
    if (opened.partner_ever && (how.flags & kOpenNonblock) == 0) {
        Errno interrupted = Errno::kOk;
        rt::WaitQueue& partner =
            (how.flags & kOpenAccess) == kOpenReadOnly ? opened.pipe->writer_came : opened.pipe->reader_came;
        for (;;) {
            u32 seen = partner.sequence();
            if (opened.partner_ever->load(std::memory_order_acquire) != opened.partner_seen) break;
            if (interrupted != Errno::kOk) co_return interrupted;
            interrupted = (co_await rt::wait_on(partner, seen, "FIFO: the other end")).error();
        }
    }
    co_return Ref<File>{std::move(opened.file)};
}

}  // namespace fs
