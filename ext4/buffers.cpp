// SPDX-License-Identifier: MIT
#include "ext4/buffers.hpp"

#include <cstring>

#include "rt/mem/slab.hpp"

namespace ext4 {

BufferRef::BufferRef(const BufferRef& o) : b_(o.b_) {
    if (!b_) return;
    rt::LockGuard guard{b_->cache.lock};
    b_->cache.ref_locked(*b_);
}

void BufferRef::release() { b_->cache.unref(*b_); }

BufferCache::~BufferCache() RT_UNCHECKED_LOCKING {  // no other user is left
    if (!buckets_) return;
    for (u32 i = 0; i < kBuckets; ++i)
        while (Buffer* b = buckets_[i].list.front()) {
            RT_ASSERT(b->refs == 0, "ext4: a buffer is in use at the end");
            if (b->list_hook.linked()) b->list_hook.unlink();
            b->hash_hook.unlink();
            destroy(b);
        }
    for (u32 i = 0; i < kBuckets; ++i) buckets_[i].~Bucket();
    rt::deallocate(buckets_, sizeof(Bucket) * kBuckets);
}

Result<void> BufferCache::start(BlockNo blocks, u32 most) RT_UNCHECKED_LOCKING {
    static_assert(kBuckets == 1u << (64 - 54));
    blocks_ = blocks;
    most_ = most;
    if (buckets_) return lib::kOk;
    void* memory = rt::allocate(sizeof(Bucket) * kBuckets);
    if (!memory) return Errno::kNoMem;
    buckets_ = static_cast<Bucket*>(memory);
    for (u32 i = 0; i < kBuckets; ++i) new (&buckets_[i]) Bucket;
    return lib::kOk;
}

void BufferCache::destroy(Buffer* b) {
    if (b->data) rt::deallocate(b->data, disk_.block_bytes());
    delete b;
    count_.fetch_sub(1, std::memory_order_relaxed);
}

Buffer* BufferCache::lookup_locked(BlockNo block) {
    for (Buffer& b : bucket(block).list)
        if (b.block == block) return &b;
    return nullptr;
}

void BufferCache::ref_locked(Buffer& b) {
    if (b.refs++ == 0 && b.list_hook.linked() && !(b.flags & Buffer::kDirty)) b.list_hook.unlink();
}

void BufferCache::settle_locked(Buffer& b) {
    if (b.refs == 0 && !b.busy() && !b.list_hook.linked() && !(b.flags & Buffer::kOrphaned)) lru_.push_back(b);
}

bool BufferCache::unref_locked(Buffer& b) {
    RT_ASSERT(b.refs != 0, "ext4: a buffer without references is released");
    if (--b.refs != 0) return false;
    if (b.flags & Buffer::kOrphaned) return true;
    settle_locked(b);
    return false;
}

void BufferCache::unref(Buffer& b) {
    rt::LockGuard guard{lock};
    const bool last = unref_locked(b);
    guard.unlock();
    if (last) destroy(&b);
}

void BufferCache::orphan_locked(Buffer& b) {
    if (b.flags & Buffer::kOrphaned) return;
    b.flags |= Buffer::kOrphaned;
    b.hash_hook.unlink();
    if (b.list_hook.linked()) b.list_hook.unlink();
    b.flags &= u8(~Buffer::kDirty);
}

u32 BufferCache::shrink(u32 n) {
    u32 freed = 0;
    while (freed < n) {
        Buffer* b = nullptr;
        {
            rt::LockGuard guard{lock};
            b = lru_.pop_front();
            if (b) b->hash_hook.unlink();
        }
        if (!b) break;
        destroy(b);
        ++freed;
    }
    return freed;
}

BufferRef BufferCache::find(BlockNo block) {
    rt::LockGuard guard{lock};
    Buffer* b = lookup_locked(block);
    if (!b || !(b->flags & Buffer::kUpToDate)) return {};
    ref_locked(*b);
    return BufferRef::adopt(b);
}

Result<Buffer*> BufferCache::obtain(BlockNo block) {
    if (block >= blocks_) return Errno::kUClean;
    Buffer* made = nullptr;
    for (;;) {
        {
            rt::LockGuard guard{lock};
            Buffer* b = lookup_locked(block);
            if (!b && made) {
                b = std::exchange(made, nullptr);
                bucket(block).list.push_front(*b);
            }
            if (b) {
                ref_locked(*b);
                guard.unlock();
                if (made) destroy(made);  // another job was faster
                return b;
            }
        }
        if (count() >= most_) shrink(8);
        for (u32 attempt = 0; attempt < 2 && !made; ++attempt) {
            made = rt::make<Buffer>(*this, block);
            if (made) {
                count_.fetch_add(1, std::memory_order_relaxed);
                made->data = static_cast<std::byte*>(rt::allocate(disk_.block_bytes()));
                if (made->data) break;
                destroy(std::exchange(made, nullptr));
            }
            shrink(32);
        }
        if (!made) return Errno::kNoMem;
    }
}

Task<Result<void>> BufferCache::wait_while_reading(Buffer& b) {
    for (;;) {
        const u32 seen = read_.sequence();
        {
            rt::LockGuard guard{lock};
            if (!(b.flags & Buffer::kReading)) break;
        }
        rt::WaitOn wait = rt::wait_on(read_, seen, "disk block");
        wait.uninterruptible();
        (void)co_await wait;
    }
    co_return lib::kOk;
}

Task<Result<BufferRef>> BufferCache::read(BlockNo block) {
    BufferRef b = BufferRef::adopt(CO_TRY(obtain(block)));
    for (;;) {
        bool mine = false;
        {
            rt::LockGuard guard{lock};
            if (b->flags & Buffer::kUpToDate) break;
            mine = !(b->flags & Buffer::kReading);
            b->flags |= Buffer::kReading;
        }
        if (!mine) {
            CO_TRY(co_await wait_while_reading(*b));
            continue;
        }
        Batch batch{disk_};
        Transfer t;
        t.prepare(block::Op::kRead, disk_.sector_of(block), block::Piece(b->data, disk_.block_bytes()));
        batch.start(t);
        while (!batch.ended()) co_await batch.change();
        {
            rt::LockGuard guard{lock};
            b->flags &= u8(~Buffer::kReading);
            if (batch.error() == Errno::kOk) b->flags |= Buffer::kUpToDate;
        }
        b->verified.store(0, std::memory_order_relaxed);
        read_.wake_all();
        if (batch.error() != Errno::kOk) co_return batch.error();
    }
    co_return std::move(b);
}

Task<Result<BufferRef>> BufferCache::fresh(BlockNo block) {
    BufferRef b = BufferRef::adopt(CO_TRY(obtain(block)));
    CO_TRY(co_await wait_while_reading(*b));
    std::memset(b->data, 0, disk_.block_bytes());
    b->verified.store(0, std::memory_order_relaxed);
    rt::LockGuard guard{lock};
    b->flags |= Buffer::kUpToDate;
    guard.unlock();
    co_return std::move(b);
}

void BufferCache::discard(Buffer& b) {
    rt::LockGuard guard{lock};
    orphan_locked(b);
}

void BufferCache::mark_dirty(Buffer& b) {
    rt::LockGuard guard{lock};
    if (b.flags & (Buffer::kDirty | Buffer::kOrphaned)) return;
    b.flags |= Buffer::kDirty;
    dirty_.push_back(b);
}

Task<Result<void>> BufferCache::write_dirty() {
    Errno first = Errno::kOk;
    lib::List<Buffer, &Buffer::list_hook> failed;
    for (;;) {
        Buffer* b = nullptr;
        {
            rt::LockGuard guard{lock};
            b = dirty_.pop_front();
            if (!b) break;
            b->flags &= u8(~Buffer::kDirty);
            ++b->refs;
        }
        BufferRef held = BufferRef::adopt(b);
        Batch batch{disk_};
        Transfer t;
        t.prepare(block::Op::kWrite, disk_.sector_of(b->block), block::Piece(b->data, disk_.block_bytes()));
        batch.start(t);
        while (!batch.ended()) co_await batch.change();
        if (batch.error() != Errno::kOk) {
            first = batch.error();
            rt::LockGuard guard{lock};
            if (!(b->flags & (Buffer::kDirty | Buffer::kOrphaned))) {
                b->flags |= Buffer::kDirty;
                failed.push_back(*b);
            }
        }
    }
    rt::LockGuard guard{lock};
    dirty_.splice_back(failed);
    guard.unlock();
    co_return first;
}

}  // namespace ext4
