// SPDX-License-Identifier: MIT
// The table of descriptors: an array of files and two bitmaps (open, close-on-exec), which grow together.
//
// Files are released outside the lock: the last reference may close a pipe or an inode.
#include "fs/file_table.hpp"

#include <bit>
#include <cstddef>
#include <utility>

#include "fs/epoll.hpp"
#include "fs/file_locks.hpp"
#include "rt/mem/slab.hpp"

namespace fs {

namespace {

// One block: the files, then the two bitmaps. Nothing is initialised beyond the capacity, so that growth is short too.
constexpr size_t block_bytes(u32 capacity) { return size_t{capacity} * sizeof(File*) + 2 * (capacity / 8); }

}  // namespace

Result<Ref<FileTable>> FileTable::create() { return rt::make_ref<FileTable>(); }

FileTable::~FileTable() {
    for (u32 word = 0; word < capacity_ / 64; ++word) {
        for (u64 bits = open_[word]; bits != 0; bits &= bits - 1) {
            release(files_[word * 64 + u32(std::countr_zero(bits))]);
        }
    }
    if (room_ > kFirst) rt::deallocate(files_, block_bytes(room_));
}

// What close(2) does beyond forgetting the number.
void FileTable::release(File* f) {
    if (file_locks_exist() && !(f->flags() & kOpenPath)) [[unlikely]]
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

// Called by the last holder: no other thread changes it.
bool FileTable::ends_in_pieces() const RT_UNCHECKED_LOCKING {
    if (capacity_ > kFirst) return true;
    if (!EpollFile::any_ends_slowly()) return false;
    for (u64 bits = open_[0]; bits != 0; bits &= bits - 1) {
        File& f = *files_[std::countr_zero(bits)];
        if (f.kind() == FileKind::kEpoll && f.ref_count() == 1 && static_cast<EpollFile&>(f).ends_slowly()) return true;
    }
    return false;
}

// Of several threads that end at the same time each may have seen that it is not the last.
bool FileTable::empty_some() {
    if (ref_count() != 1 || !ends_in_pieces()) return false;
    return close_some(closed_, kMaxDescriptors);
}

void FileTable::last_ref(FileTable* t) {
    // A short one is emptied by the thread that ends; others' last looks at it (procfs) are seldom the last.
    if (t->capacity() <= kFirst || !rt::Teardown::later()) return delete t;
    t->end_.take_apart([](rt::Teardown& end) {
        auto* table = reinterpret_cast<FileTable*>(reinterpret_cast<std::byte*>(&end) - offsetof(FileTable, end_));
        if (table->close_some(table->closed_, kMaxDescriptors)) return true;
        delete table;
        return false;
    });
}

// Memory for descriptors below `to_hold`, no more than half of it copied at once.
Result<void> FileTable::make_room(u32 to_hold) {
    constexpr u32 kMostCopied = 64 << 10;
    u32 room = std::bit_ceil(to_hold);
    if (room == 2 * kMostCopied) room *= 2;  // the next step would copy too many
    void* block = rt::allocate(block_bytes(room));
    if (!block) return Errno::kNoMem;
    auto** files = static_cast<File**>(block);
    auto* open = reinterpret_cast<u64*>(files + room);
    u64* cloexec = open + room / 64;
    std::memcpy(files, files_, capacity_ * sizeof(File*));
    std::memcpy(open, open_, capacity_ / 8);
    std::memcpy(cloexec, cloexec_, capacity_ / 8);
    if (room_ > kFirst) rt::deallocate(files_, block_bytes(room_));
    files_ = files;
    open_ = open;
    cloexec_ = cloexec;
    room_ = room;
    return lib::kOk;
}

// There is room.
void FileTable::open_up(u32 to) {
    std::memset(files_ + capacity_, 0, (to - capacity_) * sizeof(File*));
    std::memset(open_ + capacity_ / 64, 0, (to - capacity_) / 8);
    std::memset(cloexec_ + capacity_ / 64, 0, (to - capacity_) / 8);
    capacity_ = to;
}

// Makes descriptors below `to_hold` possible: many at a time, but not more than a piece beyond what is
// wanted.
Result<void> FileTable::grow(u32 to_hold) {
    if (to_hold <= capacity_) return lib::kOk;
    if (to_hold > room_) TRY(make_room(to_hold));
    const u32 wanted = std::bit_ceil(to_hold), piece = (to_hold | (kPieceNumbers - 1)) + 1;
    open_up(wanted < piece ? wanted : piece);
    return lib::kOk;
}

Result<bool> FileTable::grow_some(u32 to_hold) {
    rt::LockGuard guard{lock_};
    if (to_hold <= capacity_) return false;
    if (to_hold > room_) TRY(make_room(to_hold));
    const u32 all = (to_hold | 63) + 1, most = capacity_ + kPieceNumbers;
    open_up(all < most && all <= room_ ? all : most < room_ ? most : room_);
    return capacity_ < to_hold;
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

// A descriptor has changed: so it does in copies that are that far.
[[gnu::cold, gnu::noinline]] void FileTable::follow(u32 n) {
    for (Copy* c = copies_; c; c = c->next) {
        c->from.lock_.assume_held();  // ours
        if (n >= c->done) continue;
        c->to.lock_.assume_held();  // no other CPU knows it
        if (File* old = std::exchange(c->to.files_[n], nullptr)) old->unref();
        c->to.copy_number(*this, n);
    }
}

// The copy has no owner yet, and is empty there.
void FileTable::copy_number(const FileTable& from, u32 n) {
    const u64 bit = u64{1} << (n % 64);
    files_[n] = from.files_[n];
    if (files_[n]) files_[n]->ref();
    open_[n / 64] = (open_[n / 64] & ~bit) | (from.open_[n / 64] & bit);
    cloexec_[n / 64] = (cloexec_[n / 64] & ~bit) | (from.cloexec_[n / 64] & bit);
}

void FileTable::put(u32 n, File* f, bool close_on_exec) {
    files_[n] = f;
    open_[n / 64] |= u64{1} << (n % 64);
    if (close_on_exec)
        cloexec_[n / 64] |= u64{1} << (n % 64);
    else
        cloexec_[n / 64] &= ~(u64{1} << (n % 64));
    if (copies_) [[unlikely]]
        follow(n);
}

File* FileTable::take(u32 n) {
    File* f = files_[n];
    files_[n] = nullptr;
    open_[n / 64] &= ~(u64{1} << (n % 64));
    cloexec_[n / 64] &= ~(u64{1} << (n % 64));
    if (n < low_) low_ = n;
    if (copies_) [[unlikely]]
        follow(n);
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
    if (copies_) [[unlikely]]
        follow(n);
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

bool FileTable::some_of_range(u32& first, u32 last, bool on_exec) {
    for (rt::Stretch stretch;;) {
        i32 n = next_open(i32(first));
        if (n < 0 || u32(n) > last) return false;
        first = u32(n);
        if (stretch.over()) return true;
        (void)(on_exec ? set_close_on_exec(Fd{n}, true) : close(Fd{n}));
        ++first;
    }
}

// The table is the caller's alone: others (procfs) only look.
bool FileTable::close_some_on_exec(u32& first) RT_UNCHECKED_LOCKING {
    rt::Stretch stretch;
    for (u32 word = first / 64; word < capacity_ / 64; first = ++word * 64) {
        while (u64 bits = cloexec_[word]) {
            if (stretch.over()) return true;
            (void)close(Fd{i32(word * 64 + u32(std::countr_zero(bits)))});
        }
    }
    return false;
}

Result<Ref<FileTable>> FileTable::clone() {
    Ref<FileTable> copy = TRY(create());
    copy->lock_.assume_held();  // no other CPU knows it
    for (;;) {
        // Memory is allocated without this table's lock (the same rank as the copy's); the table may have grown, then
        // it is tried again.
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

FileTable::Copy::Copy(FileTable& original, FileTable& copy) : from(original), to(copy) {
    rt::LockGuard guard{from.lock_};
    next = std::exchange(from.copies_, this);
}
FileTable::Copy::~Copy() {
    rt::LockGuard guard{from.lock_};
    leave();
}
// From now on the copy is a table of its own.
void FileTable::Copy::leave() {
    for (Copy** link = &from.copies_; *link; link = &(*link)->next) {
        if (*link != this) continue;
        *link = next;
        return;
    }
}

// False: all is copied.
Result<bool> FileTable::copy_some(Copy& c) {
    // Memory is allocated without this table's lock, which is of the same rank as the copy's.
    u32 end;
    {
        rt::LockGuard guard{lock_};
        u32 words = capacity_ / 64;
        while (words > 0 && open_[words - 1] == 0) --words;
        end = words * 64;
        c.from.lock_.assume_held();  // ours
        if (c.done >= end) {
            c.to.lock_.assume_held();  // no other CPU knows it
            c.to.low_ = low_;
            c.leave();
            return false;
        }
        if (end > c.done + kPieceCopied) end = c.done + kPieceCopied;
    }
    if (TRY(c.to.grow_some(end))) return true;
    rt::LockGuard guard{lock_};
    c.to.lock_.assume_held();
    for (; c.done < end; c.done += 64)
        for (u64 bits = open_[c.done / 64]; bits != 0; bits &= bits - 1)
            c.to.copy_number(*this, c.done + u32(std::countr_zero(bits)));
    return true;
}

Task<Result<Ref<FileTable>>> FileTable::clone_long() {
    Ref<FileTable> made = CO_TRY(create());
    {
        Copy copy(*this, *made);
        while (CO_TRY(copy_some(copy))) co_await rt::Yield{};
    }
    co_return made;
}

u32 FileTable::open_count() {
    rt::LockGuard guard{lock_};
    u32 count = 0;
    for (u32 word = 0; word < capacity_ / 64; ++word) count += u32(std::popcount(open_[word]));
    return count;
}

}  // namespace fs
