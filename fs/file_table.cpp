// SPDX-License-Identifier: MIT
// The table of descriptors: an array of files and two bitmaps (open, close-on-exec), which grow together.
//
// Files are released outside the lock: the last reference may close a pipe or an inode.
#include "fs/file_table.hpp"

#include <bit>

#include "fs/epoll.hpp"
#include "fs/file_locks.hpp"
#include "rt/mem/slab.hpp"

namespace fs {

namespace {

// One block: the files, then the two bitmaps.
constexpr size_t block_bytes(u32 capacity) { return size_t{capacity} * sizeof(File*) + 2 * (capacity / 8); }

}  // namespace

Result<Ref<FileTable>> FileTable::create() { return rt::make_ref<FileTable>(); }

FileTable::~FileTable() {
    for (u32 word = 0; word < capacity_ / 64; ++word) {
        for (u64 bits = open_[word]; bits != 0; bits &= bits - 1) {
            release(files_[word * 64 + u32(std::countr_zero(bits))]);
        }
    }
    if (capacity_ > kFirst) rt::deallocate(files_, block_bytes(capacity_));
}

// What close(2) does beyond forgetting the number.
void FileTable::release(File* f) {
    if (file_locks_exist()) [[unlikely]]
        release_posix_locks(*f, this);
    if (f->watched()) [[unlikely]]
        epoll_closing(*f);
    f->unref();
}

FileTable::Borrowed FileTable::borrow_shared(Fd fd) {
    rt::LockGuard guard{lock_};
    u32 n = u32(fd.value);
    File* f = n < capacity_ ? files_[n] : nullptr;
    if (f) f->ref();
    return {f, f != nullptr};
}

Result<Ref<File>> FileTable::get(Fd fd) {
    rt::LockGuard guard{lock_};
    u32 n = u32(fd.value);
    File* f = n < capacity_ ? files_[n] : nullptr;
    if (!f) return Errno::kBadF;
    return Ref<File>{f};
}

// Makes room for descriptors below `to_hold`.
Result<void> FileTable::grow(u32 to_hold) {
    if (to_hold <= capacity_) return lib::kOk;
    u32 capacity = std::bit_ceil(to_hold);
    void* block = rt::allocate(block_bytes(capacity));
    if (!block) return Errno::kNoMem;
    auto** files = static_cast<File**>(block);
    auto* open = reinterpret_cast<u64*>(files + capacity);
    u64* cloexec = open + capacity / 64;
    std::memset(block, 0, block_bytes(capacity));
    std::memcpy(files, files_, capacity_ * sizeof(File*));
    std::memcpy(open, open_, capacity_ / 8);
    std::memcpy(cloexec, cloexec_, capacity_ / 8);
    if (capacity_ > kFirst) rt::deallocate(files_, block_bytes(capacity_));
    files_ = files;
    open_ = open;
    cloexec_ = cloexec;
    capacity_ = capacity;
    return lib::kOk;
}

// The lowest free number >= from; may be the capacity or above.
i32 FileTable::find_free(u32 from) const {
    if (from >= capacity_) return i32(from);
    u32 word = from / 64;
    u64 taken = open_[word] | ((u64{1} << (from % 64)) - 1);
    while (taken == ~u64{0}) {
        if (++word == capacity_ / 64) return i32(capacity_);
        taken = open_[word];
    }
    return i32(word * 64 + u32(std::countr_one(taken)));
}

void FileTable::put(u32 n, File* f, bool close_on_exec) {
    files_[n] = f;
    open_[n / 64] |= u64{1} << (n % 64);
    if (close_on_exec)
        cloexec_[n / 64] |= u64{1} << (n % 64);
    else
        cloexec_[n / 64] &= ~(u64{1} << (n % 64));
}

File* FileTable::take(u32 n) {
    File* f = files_[n];
    files_[n] = nullptr;
    open_[n / 64] &= ~(u64{1} << (n % 64));
    cloexec_[n / 64] &= ~(u64{1} << (n % 64));
    if (n < low_) low_ = n;
    return f;
}

Result<Fd> FileTable::install(Ref<File> file, bool close_on_exec, u64 limit, i32 from) {
    rt::LockGuard guard{lock_};
    u32 n = u32(find_free(u32(from) > low_ ? u32(from) : low_));
    if (n >= limit || n >= kMaxDescriptors) return Errno::kMFile;
    if (n >= capacity_) TRY(grow(n + 1));
    put(n, file.release(), close_on_exec);
    if (u32(from) <= low_) low_ = n + 1;
    return Fd{i32(n)};
}

Result<void> FileTable::install_at(Fd fd, Ref<File> file, bool close_on_exec, u64 limit) {
    u32 n = u32(fd.value);
    if (n >= limit || n >= kMaxDescriptors) return Errno::kBadF;
    File* old;
    {
        rt::LockGuard guard{lock_};
        TRY(grow(n + 1));
        old = files_[n];
        put(n, file.release(), close_on_exec);
    }
    if (old) release(old);
    return lib::kOk;
}

Result<void> FileTable::close(Fd fd) {
    File* f;
    {
        rt::LockGuard guard{lock_};
        u32 n = u32(fd.value);
        if (n >= capacity_ || !files_[n]) return Errno::kBadF;
        f = take(n);
    }
    release(f);
    return lib::kOk;
}

Result<bool> FileTable::close_on_exec(Fd fd) {
    rt::LockGuard guard{lock_};
    u32 n = u32(fd.value);
    if (n >= capacity_ || !files_[n]) return Errno::kBadF;
    return ((cloexec_[n / 64] >> (n % 64)) & 1) != 0;
}

Result<void> FileTable::set_close_on_exec(Fd fd, bool on) {
    rt::LockGuard guard{lock_};
    u32 n = u32(fd.value);
    if (n >= capacity_ || !files_[n]) return Errno::kBadF;
    u64 bit = u64{1} << (n % 64);
    cloexec_[n / 64] = on ? cloexec_[n / 64] | bit : cloexec_[n / 64] & ~bit;
    return lib::kOk;
}

i32 FileTable::next_open(i32 from) {
    rt::LockGuard guard{lock_};
    if (from < 0) from = 0;
    if (u32(from) >= capacity_) return -1;
    u32 word = u32(from) / 64;
    u64 bits = open_[word] & ~((u64{1} << (u32(from) % 64)) - 1);
    while (bits == 0) {
        if (++word == capacity_ / 64) return -1;
        bits = open_[word];
    }
    return i32(word * 64 + u32(std::countr_zero(bits)));
}

void FileTable::close_range(u32 first, u32 last) {
    for (i32 n = i32(first); (n = next_open(n)) >= 0 && u32(n) <= last; ++n) (void)close(Fd{n});
}

void FileTable::cloexec_range(u32 first, u32 last) {
    for (i32 n = i32(first); (n = next_open(n)) >= 0 && u32(n) <= last; ++n) (void)set_close_on_exec(Fd{n}, true);
}

// The table is the caller's alone: others (procfs) only look.
void FileTable::close_all_on_exec() RT_UNCHECKED_LOCKING {
    for (u32 word = 0; word < capacity_ / 64; ++word) {
        while (u64 bits = cloexec_[word]) (void)close(Fd{i32(word * 64 + u32(std::countr_zero(bits)))});
    }
}

Result<Ref<FileTable>> FileTable::clone() {
    Ref<FileTable> copy = TRY(create());
    copy->lock_.assume_held();  // no other CPU knows it
    for (;;) {
        // Memory is had without our lock (the same rank as the copy's); then we may have grown, and it is tried again.
        u32 last = 0;
        for (i32 n = 0; (n = next_open(n)) >= 0; ++n) {
            last = u32(n);
            // Skip to the end of the word: only the highest number counts.
            n |= 63;
            i32 next = next_open(n + 1);
            if (next < 0) break;
            n = next - 1;
        }
        TRY(copy->grow((last | 63) + 1));
        rt::LockGuard guard{lock_};
        u32 words = capacity_ / 64;
        while (words > 1 && open_[words - 1] == 0) --words;
        if (words * 64 > copy->capacity_) continue;
        for (u32 word = 0; word < words; ++word) {
            copy->open_[word] = open_[word];
            copy->cloexec_[word] = cloexec_[word];
            for (u64 bits = open_[word]; bits != 0; bits &= bits - 1) {
                u32 n = word * 64 + u32(std::countr_zero(bits));
                files_[n]->ref();
                copy->files_[n] = files_[n];
            }
        }
        copy->low_ = low_;
        return copy;
    }
}

u32 FileTable::open_count() {
    rt::LockGuard guard{lock_};
    u32 count = 0;
    for (u32 word = 0; word < capacity_ / 64; ++word) count += u32(std::popcount(open_[word]));
    return count;
}

}  // namespace fs
