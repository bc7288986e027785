// SPDX-License-Identifier: MIT
// The table of descriptors: an array of files and two bitmaps (open, close-on-exec), which grow together in one block; the
// numbers beyond 65,535, which few programs have, are in pieces that stay where they are. A piece counts its descriptors, so
// that a search goes over full and empty ones.
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
    auto release_all = [this](File** files, const u64* open, u32 words) {
        for (u32 word = 0; word < words; ++word)
            for (u64 bits = open[word]; bits != 0; bits &= bits - 1)
                release(files[word * 64 + u32(std::countr_zero(bits))]);
    };
    release_all(files_, open_, flat_ / 64);
    if (room_ > kFirst) rt::deallocate(files_, block_bytes(room_));
    if (!pieces_) return;
    for (u32 i = 0; i < (capacity_ - kFlat) / Piece::kNumbers; ++i) {
        if (pieces_[i]->count != 0) release_all(pieces_[i]->files, pieces_[i]->open, Piece::kWords);
        rt::deallocate(pieces_[i], sizeof(Piece));
    }
    rt::deallocate(pieces_, kPieces * sizeof(Piece*));
}

FileTable::Part FileTable::far_part(u32 n) const {
    Piece& p = *pieces_[(n - kFlat) / Piece::kNumbers];
    return {p.files, p.open, p.cloexec, &p.count, (n - kFlat) % Piece::kNumbers};
}
File* FileTable::far_file(u32 n) const { return n < capacity_ ? far_part(n).file() : nullptr; }

// From number `from` on the first that is open, or that is free; 64 times `count` if there is none.
u32 FileTable::next_bit(const u64* words, u32 count, u32 from, bool free) {
    const u64 turn = free ? ~u64{0} : 0;
    u32 word = from / 64;
    if (word >= count) return count * 64;
    u64 bits = (words[word] ^ turn) & ~((u64{1} << (from % 64)) - 1);
    while (bits == 0) {
        if (++word == count) return count * 64;
        bits = words[word] ^ turn;
    }
    return word * 64 + u32(std::countr_zero(bits));
}

// No descriptor from there on is open; a multiple of 64.
u32 FileTable::end_of_open() const {
    const u64* open = open_;
    u32 words = flat_ / 64, base = 0;
    for (u32 i = (capacity_ - flat_) / Piece::kNumbers; i-- > 0;) {
        if (pieces_[i]->count == 0) continue;
        open = pieces_[i]->open;
        words = Piece::kWords;
        base = kFlat + i * Piece::kNumbers;
        break;
    }
    while (words > 0 && open[words - 1] == 0) --words;
    return base + words * 64;
}

// What close(2) does beyond forgetting the number.
void FileTable::release(File* f) {
    if (file_extras_exist() && !(f->flags() & kOpenPath)) [[unlikely]]
        release_posix_locks(*f, this);
    f->unref();
}

FileTable::Borrowed FileTable::borrow_shared(Fd fd) {
    rt::LockGuard guard{lock_};
    File* f = file_at(u32(fd.value));
    if (f) f->ref();
    return {f, f != nullptr};
}

Result<Ref<File>> FileTable::get(Fd fd) {
    rt::LockGuard guard{lock_};
    File* f = file_at(u32(fd.value));
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
    if (shared() || !ends_in_pieces()) return false;
    return close_some(closed_, kMaxDescriptors);
}

// No thread finds the table any more, but some may have found it before.
void FileTable::end_use() {
    if (ref_count() != 1) [[unlikely]]
        return empty_under_others();
    unref();
}

// Whoever looks at it keeps no descriptor open.
void FileTable::empty_under_others() {
    if (capacity() <= kFirst || !rt::Teardown::later()) {
        while (close_some(closed_, kMaxDescriptors)) {
        }
        return unref();
    }
    end_.take_apart([](rt::Teardown& end) {
        FileTable& table = ending(end);
        if (table.close_some(table.closed_, kMaxDescriptors)) return true;
        table.unref();
        return false;
    });
}

FileTable& FileTable::ending(rt::Teardown& end) {
    return *reinterpret_cast<FileTable*>(reinterpret_cast<std::byte*>(&end) - offsetof(FileTable, end_));
}

void FileTable::last_ref(FileTable* t) {
    // A short one is emptied by the thread that ends.
    if (t->capacity() <= kFirst || !rt::Teardown::later()) return delete t;
    t->end_.take_apart([](rt::Teardown& end) {
        FileTable& table = ending(end);
        if (table.close_some(table.closed_, kMaxDescriptors)) return true;
        delete &table;
        return false;
    });
}

// Memory for descriptors below `to_hold`, no more than half of it copied at once. Not more than kFlat.
Result<void> FileTable::make_room(u32 to_hold) {
    const u32 room = std::bit_ceil(to_hold);
    void* block = rt::allocate(block_bytes(room));
    if (!block) return Errno::kNoMem;
    auto** files = static_cast<File**>(block);
    auto* open = reinterpret_cast<u64*>(files + room);
    u64* cloexec = open + room / 64;
    std::memcpy(files, files_, flat_ * sizeof(File*));
    std::memcpy(open, open_, flat_ / 8);
    std::memcpy(cloexec, cloexec_, flat_ / 8);
    if (room_ > kFirst) rt::deallocate(files_, block_bytes(room_));
    files_ = files;
    open_ = open;
    cloexec_ = cloexec;
    room_ = room;
    return lib::kOk;
}

// There is room in the block.
void FileTable::open_up(u32 to) {
    std::memset(files_ + flat_, 0, (to - flat_) * sizeof(File*));
    std::memset(open_ + flat_ / 64, 0, (to - flat_) / 8);
    std::memset(cloexec_ + flat_ / 64, 0, (to - flat_) / 8);
    flat_ = to;
    capacity_ = to;
}

// The block has all that it may.
Result<void> FileTable::add_piece() {
    constexpr size_t kDirectory = kPieces * sizeof(Piece*);
    if (!pieces_ && !(pieces_ = static_cast<Piece**>(rt::allocate(kDirectory)))) return Errno::kNoMem;
    static_assert(sizeof(Piece) <= 128 << 10);
    void* memory = rt::allocate(sizeof(Piece));
    if (!memory) return Errno::kNoMem;
    std::memset(memory, 0, sizeof(Piece));
    pieces_[(capacity_ - kFlat) / Piece::kNumbers] = static_cast<Piece*>(memory);
    capacity_ += Piece::kNumbers;
    return lib::kOk;
}

// Makes descriptors below `to_hold` possible: many at a time, but not more than a piece beyond what is
// wanted.
Result<void> FileTable::grow(u32 to_hold) {
    if (to_hold <= capacity_) return lib::kOk;
    if (flat_ < kFlat) {
        const u32 flat = to_hold < kFlat ? to_hold : kFlat;
        if (flat > room_) TRY(make_room(flat));
        const u32 wanted = std::bit_ceil(flat), piece = (flat | (kPieceNumbers - 1)) + 1;
        open_up(wanted < piece ? wanted : piece);
    }
    while (to_hold > capacity_) TRY(add_piece());
    return lib::kOk;
}

Result<bool> FileTable::grow_some(u32 to_hold) {
    rt::LockGuard guard{lock_};
    return grow_step(to_hold);
}
Result<bool> FileTable::grow_step(u32 to_hold) {
    if (to_hold <= capacity_) return false;
    if (flat_ == kFlat) {
        TRY(add_piece());
        return capacity_ < to_hold;
    }
    const u32 flat = to_hold < kFlat ? to_hold : kFlat;
    if (flat > room_) TRY(make_room(flat));
    const u32 all = (flat | 63) + 1, most = flat_ + kPieceNumbers;
    open_up(all < most && all <= room_ ? all : most < room_ ? most : room_);
    return capacity_ < to_hold;
}

// The lowest free number >= from; may be the capacity or above.
i32 FileTable::find_free(u32 from) const {
    if (from >= flat_) [[unlikely]]
        return find_far_free(from);
    u32 word = from / 64;
    u64 taken = open_[word] | ((u64{1} << (from % 64)) - 1);
    while (taken == ~u64{0}) {
        if (++word == flat_ / 64) return find_far_free(flat_);
        taken = open_[word];
    }
    return i32(word * 64 + u32(std::countr_one(taken)));
}

i32 FileTable::find_far_free(u32 from) const {
    while (from < capacity_) {
        const u32 i = (from - kFlat) / Piece::kNumbers, base = kFlat + i * Piece::kNumbers;
        if (pieces_[i]->count < Piece::kNumbers) {
            u32 n = next_bit(pieces_[i]->open, Piece::kWords, from - base, true);
            if (n < Piece::kNumbers) return i32(base + n);
        }
        from = base + Piece::kNumbers;
    }
    return i32(from);
}

bool FileTable::has_free_below(u64 limit) {
    rt::LockGuard guard{lock_};
    low_ = u32(find_free(low_));
    return low_ < limit && low_ < kMaxDescriptors;
}

// A descriptor has changed: so it does in copies that are that far.
[[gnu::cold, gnu::noinline]] void FileTable::follow(u32 n) {
    for (Copy* c = copies_; c; c = c->next) {
        c->from.lock_.assume_held();  // ours
        if (n >= c->done) continue;
        c->to.lock_.assume_held();  // no other CPU knows it
        if (File* old = c->to.file_at(n)) old->unref();
        c->to.copy_number(*this, n);
    }
}

// The copy has no owner yet; the file that it has there was dropped.
void FileTable::copy_number(const FileTable& from, u32 n) {
    const Part old = from.part_of(n), copy = part_of(n);
    const u64 bit = copy.bit();
    if (copy.count) *copy.count += u32((old.open_word() & bit) != 0) - u32((copy.open_word() & bit) != 0);
    copy.file() = old.file();
    if (copy.file()) copy.file()->ref();
    copy.open_word() = (copy.open_word() & ~bit) | (old.open_word() & bit);
    copy.cloexec_word() = (copy.cloexec_word() & ~bit) | (old.cloexec_word() & bit);
}

void FileTable::put(u32 n, File* f, bool close_on_exec) {
    const Part part = part_of(n);
    if (part.count) [[unlikely]]
        *part.count += (part.open_word() & part.bit()) == 0;
    part.file() = f;
    part.open_word() |= part.bit();
    if (close_on_exec)
        part.cloexec_word() |= part.bit();
    else
        part.cloexec_word() &= ~part.bit();
    if (copies_) [[unlikely]]
        follow(n);
}

// It is open.
File* FileTable::take(u32 n) {
    const Part part = part_of(n);
    if (part.count) [[unlikely]]
        --*part.count;
    File* f = part.file();
    part.file() = nullptr;
    part.open_word() &= ~part.bit();
    part.cloexec_word() &= ~part.bit();
    if (n < low_) low_ = n;
    if (copies_) [[unlikely]]
        follow(n);
    return f;
}

Result<Fd> FileTable::install(Ref<File> file, bool close_on_exec, u64 limit, i32 from) {
    rt::LockGuard guard{lock_};
    u32 n = u32(find_free(u32(from) > low_ ? u32(from) : low_));
    if (n >= limit) return Errno::kMFile;
    if (n >= capacity_) [[unlikely]] {
        if (n >= kMaxDescriptors) return Errno::kMFile;
        TRY(grow(n + 1));
    }
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
        old = file_at(n);
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
        if (!file_at(n)) return Errno::kBadF;
        f = take(n);
    }
    release(f);
    return lib::kOk;
}

Result<bool> FileTable::close_on_exec(Fd fd) {
    rt::LockGuard guard{lock_};
    u32 n = u32(fd.value);
    if (!file_at(n)) return Errno::kBadF;
    const Part part = part_of(n);
    return (part.cloexec_word() & part.bit()) != 0;
}

Result<void> FileTable::set_close_on_exec(Fd fd, bool on) {
    rt::LockGuard guard{lock_};
    u32 n = u32(fd.value);
    if (!file_at(n)) return Errno::kBadF;
    const Part part = part_of(n);
    part.cloexec_word() = on ? part.cloexec_word() | part.bit() : part.cloexec_word() & ~part.bit();
    if (copies_) [[unlikely]]
        follow(n);
    return lib::kOk;
}

i32 FileTable::next_open(i32 from) {
    rt::LockGuard guard{lock_};
    u32 n = from < 0 ? 0 : u32(from);
    if (n < flat_) {
        n = next_bit(open_, flat_ / 64, n, false);
        if (n < flat_) return i32(n);
    }
    while (n < capacity_) {
        const u32 i = (n - kFlat) / Piece::kNumbers, base = kFlat + i * Piece::kNumbers;
        if (pieces_[i]->count != 0) {
            u32 found = next_bit(pieces_[i]->open, Piece::kWords, n - base, false);
            if (found < Piece::kNumbers) return i32(base + found);
        }
        n = base + Piece::kNumbers;
    }
    return -1;
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
    if (first < flat_ && close_part_on_exec(cloexec_, flat_ / 64, 0, first, stretch)) return true;
    while (first < capacity_) {
        const u32 i = (first - kFlat) / Piece::kNumbers, base = kFlat + i * Piece::kNumbers;
        if (pieces_[i]->count == 0) {
            first = base + Piece::kNumbers;
            continue;
        }
        if (stretch.over()) return true;
        if (close_part_on_exec(pieces_[i]->cloexec, Piece::kWords, base, first, stretch)) return true;
    }
    return false;
}

// Of one part of the table, whose first number is `base`. True: there is more, and it has taken long.
bool FileTable::close_part_on_exec(const u64* cloexec, u32 words, u32 base, u32& first, rt::Stretch& stretch) {
    for (u32 word = (first - base) / 64; word < words; first = base + ++word * 64) {
        while (u64 bits = cloexec[word]) {
            if (stretch.over()) return true;
            (void)close(Fd{i32(base + word * 64 + u32(std::countr_zero(bits)))});
        }
    }
    return false;
}

Result<Ref<FileTable>> FileTable::clone() {
    Ref<FileTable> copy = TRY(create());
    copy->lock_.assume_held();  // no other CPU knows it
    for (;;) {
        if (is_long()) return Ref<FileTable>{};
        // Memory is allocated without this table's lock (the same rank as the copy's); the table may have grown, then
        // it is tried again.
        if (capacity() > kFirst) {
            u32 end;
            {
                rt::LockGuard guard{lock_};
                end = end_of_open();
            }
            TRY(copy->grow(end));
        }
        rt::LockGuard guard{lock_};
        const u32 words = end_of_open() / 64;
        if (words * 64 > copy->flat_ || capacity_ > kLong) [[unlikely]]
            continue;
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
    // Nobody looks anything up in the copy, but what changes here changes there too, by whoever has this lock (follow): so
    // all of it is under this one, the copy's growth too.
    rt::LockGuard guard{lock_};
    c.from.lock_.assume_held();  // ours
    c.to.lock_.assume_held();
    u32 end = end_of_open();
    if (c.done >= end) {
        c.to.low_ = low_;
        c.leave();
        return false;
    }
    if (end > c.done + kPieceCopied) end = c.done + kPieceCopied;
    if (TRY(c.to.grow_step(end))) return true;
    // A word of the bitmaps at a time: each part begins at a multiple of 64, and the copy has nothing there yet.
    for (; c.done < end; c.done += 64) {
        const Part old = part_of(c.done), copy = c.to.part_of(c.done);
        const u64 open = old.open_word();
        for (u64 bits = open; bits != 0; bits &= bits - 1) {
            const u32 i = u32(std::countr_zero(bits));
            copy.files[copy.n + i] = old.files[old.n + i];
            copy.files[copy.n + i]->ref();
        }
        copy.open_word() = open;
        copy.cloexec_word() = old.cloexec_word();
        if (copy.count) *copy.count += u32(std::popcount(open));
    }
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
    for (u32 word = 0; word < flat_ / 64; ++word) count += u32(std::popcount(open_[word]));
    for (u32 i = 0; i < (capacity_ - flat_) / Piece::kNumbers; ++i) count += pieces_[i]->count;
    return count;
}

}  // namespace fs
