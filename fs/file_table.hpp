// SPDX-License-Identifier: MIT
// File descriptors: the table that maps small numbers to open files (shared by CLONE_FILES).
// Lock: Rank::files guards all changes. A thread that has the table to itself reads it without the lock: get() from one
// thread is on the hot path of every read and write.
#pragma once
#include <utility>

#include "fs/file.hpp"
#include "rt/teardown.hpp"

namespace fs {

using Fd = lib::Strong<struct FdTag, i32>;

class FileTable : public RefCounted<FileTable> {
public:
    // The descriptors of a table belong to its users: threads, and calls in progress that keep a table shared. Only they
    // decide whether it is shared, and the last one closes all of it. Others, who look at it (procfs), have plain
    // references, which keep the memory and nothing else. The users together hold one reference.
    class Use {
    public:
        constexpr Use() = default;
        // Of a table that was just created: its first user.
        explicit Use(Ref<FileTable> created) : table_(created.release()) {}
        Use(const Use& o) : table_(o.table_) {
            if (table_) table_->users_.fetch_add(1, std::memory_order_relaxed);
        }
        Use(Use&& o) noexcept : table_(std::exchange(o.table_, nullptr)) {}
        Use& operator=(Use o) noexcept {
            std::swap(table_, o.table_);
            return *this;
        }
        ~Use() {
            if (table_) table_->leave();
        }
        FileTable* get() const { return table_; }
        FileTable* operator->() const { return table_; }
        FileTable& operator*() const { return *table_; }
        explicit operator bool() const { return table_ != nullptr; }
        Ref<FileTable> ref() const { return Ref<FileTable>{table_}; }

    private:
        FileTable* table_ = nullptr;
    };
    static Result<Ref<FileTable>> create();
    ~FileTable();  // closes everything
    // Before a user releases a table that may be long: closes some descriptors if it is the only one. True: there are
    // more, give way and call it again.
    bool empty_some();
    // Who has not called that: the rest of a long one is closed by a job.
    static void last_ref(FileTable* t);

    // EBADF if there is none. The reference keeps the file across a close by another thread.
    Result<Ref<File>> get(Fd fd);
    // The same for the length of one leaf call, without touching the count if no other thread shares the table.
    class Borrowed {
    public:
        Borrowed(File* f, bool counted) : file_(f), counted_(counted) {}
        Borrowed(const Borrowed&) = delete;
        ~Borrowed() {
            if (counted_) file_->unref();
        }
        File* operator->() const { return file_; }
        File& operator*() const { return *file_; }
        File* get() const { return file_; }
        explicit operator bool() const { return file_ != nullptr; }
        bool counted() const { return counted_; }  // the table was shared

    private:
        File* file_;
        bool counted_;
    };
    // Null if there is none. By the threads of the table's processes only.
    Borrowed borrow(Fd fd) {
        if (shared()) [[unlikely]]
            return borrow_shared(fd);
        return {peek(fd), false};
    }
    // Could another thread close a file under the caller? Only a user can raise the count from 1, and the caller is the
    // one; others (procfs) look under the lock.
    bool shared() const { return users_.load(std::memory_order_acquire) != 1; }
    // While it is not shared: the file, or null.
    File* peek(Fd fd) const RT_UNCHECKED_LOCKING {
        u32 n = u32(fd.value);
        if (n >= flat_) [[unlikely]]
            return far_file(n);
        return files_[n];
    }
    // Lowest free descriptor >= from and < limit (RLIMIT_NOFILE): EMFILE, ENOMEM.
    Result<Fd> install(Ref<File> file, bool close_on_exec, u64 limit, i32 from = 0);
    // Is a number so far beyond the others that room for it is made in pieces, before it is installed? grow_some: true,
    // there is more to make. ENOMEM.
    bool is_far(u32 n) const { return n >= capacity() + kPieceNumbers; }
    Result<bool> grow_some(u32 to_hold) RT_EXCLUDES(lock_);
    // dup2/dup3: closes what was there. EBADF if fd >= limit.
    Result<void> install_at(Fd fd, Ref<File> file, bool close_on_exec, u64 limit);
    Result<void> close(Fd fd);
    Result<bool> close_on_exec(Fd fd);
    Result<void> set_close_on_exec(Fd fd, bool on);
    // Some of the descriptors in [first, last]; `first` moves on. False: none are left.
    bool close_some(u32& first, u32 last) { return some_of_range(first, last, false); }
    bool cloexec_some(u32& first, u32 last) { return some_of_range(first, last, true); }
    bool close_some_on_exec(u32& first);
    // fork: a copy. Of a table that is_long() in pieces; it is a copy of what there is at their end. Null: it is long, perhaps
    // only since the caller looked.
    Result<Ref<FileTable>> clone();
    Task<Result<Ref<FileTable>>> clone_long();
    bool is_long() const { return capacity() > kLong; }
    // Is it closed in pieces at its end? Not where it is short and no set that may hold thousands ends with it.
    bool ends_in_pieces() const;
    // For /proc/N/fd: the smallest open descriptor >= from, or -1.
    i32 next_open(i32 from);
    u32 open_count();
    bool has_free_below(u64 limit);  // a number that is not open
    // No descriptor reaches it now: select(2) looks no further. It only grows; without the lock.
    u32 capacity() const RT_UNCHECKED_LOCKING { return capacity_; }

private:
    static constexpr u32 kFirst = 64;               // descriptors before the table grows
    static constexpr u32 kFlat = 64 << 10;          // in one block, which grows; more are in pieces
    static constexpr u32 kLong = 1024;              // more than that are copied in pieces
    static constexpr u32 kPieceNumbers = 16 << 10;  // visited, or made room for, at once
    static constexpr u32 kPieceCopied = 2048;       // copied at once
    // A copy that is being made in pieces. What changes below `done` changes in both: so it is a copy of its end. The
    // original has all that the copy has, so a reference that the copy gives up is never the last.
    struct Copy {
        Copy(FileTable& original, FileTable& copy) RT_EXCLUDES(original.lock_);
        Copy(const Copy&) = delete;
        ~Copy();
        void leave() RT_REQUIRES(from.lock_);
        FileTable &from, &to;
        u32 done RT_GUARDED_BY(from.lock_) = 0;
        Copy* next RT_GUARDED_BY(from.lock_) = nullptr;
    };
    Result<bool> copy_some(Copy& c) RT_EXCLUDES(lock_);
    bool some_of_range(u32& first, u32 last, bool on_exec) RT_EXCLUDES(lock_);
    void follow(u32 n) RT_REQUIRES(lock_);
    void copy_number(const FileTable& from, u32 n) RT_REQUIRES(lock_, from.lock_);
    Borrowed borrow_shared(Fd fd) RT_EXCLUDES(lock_);
    // Descriptors beyond the block, a fixed number of them: together 128 KiB.
    struct Piece {
        static constexpr u32 kWords = 248, kNumbers = kWords * 64;
        File* files[kNumbers];
        u64 open[kWords], cloexec[kWords];
        u32 count;  // of those that are open
    };
    static constexpr u32 kPieces = (kMaxDescriptors - kFlat + Piece::kNumbers - 1) / Piece::kNumbers;
    // Where a number is: in arrays that begin with it or below. `count`: null for the block.
    struct Part {
        File** files;
        u64 *open, *cloexec;
        u32* count;
        u32 n;  // the number within the part
        File*& file() const { return files[n]; }
        u64& open_word() const { return open[n / 64]; }
        u64& cloexec_word() const { return cloexec[n / 64]; }
        u64 bit() const { return u64{1} << (n % 64); }
    };
    // `n` is below the capacity.
    Part part_of(u32 n) const RT_REQUIRES(lock_) {
        if (n >= flat_) [[unlikely]]
            return far_part(n);
        return {files_, open_, cloexec_, nullptr, n};
    }
    [[gnu::cold]] Part far_part(u32 n) const RT_REQUIRES(lock_);
    // Registers are the callers': who looks up a usual number needs no stack for it.
    [[gnu::cold, clang::preserve_most]] File* far_file(u32 n) const RT_REQUIRES(lock_);
    // The file with the number, or null.
    File* file_at(u32 n) const RT_REQUIRES(lock_) {
        if (n >= flat_) [[unlikely]]
            return far_file(n);
        return files_[n];
    }
    u32 end_of_open() const RT_REQUIRES(lock_);
    static u32 next_bit(const u64* words, u32 count, u32 from, bool free);
    bool close_part_on_exec(const u64* cloexec, u32 words, u32 base, u32& first, rt::Stretch& stretch);
    Result<void> add_piece() RT_REQUIRES(lock_);
    Result<void> grow(u32 to_hold) RT_REQUIRES(lock_);
    Result<bool> grow_step(u32 to_hold) RT_REQUIRES(lock_);
    Result<void> make_room(u32 to_hold) RT_REQUIRES(lock_);
    void open_up(u32 to) RT_REQUIRES(lock_);
    i32 find_free(u32 from) const RT_REQUIRES(lock_);
    [[gnu::cold]] i32 find_far_free(u32 from) const RT_REQUIRES(lock_);
    void put(u32 n, File* f, bool close_on_exec) RT_REQUIRES(lock_);
    File* take(u32 n) RT_REQUIRES(lock_);
    void release(File* f) RT_EXCLUDES(lock_);
    // One user less.
    void leave() {
        if (users_.fetch_sub(1, std::memory_order_acq_rel) == 1) end_use();
    }
    void end_use();
    [[gnu::cold]] void empty_under_others();
    static FileTable& ending(rt::Teardown& end);

    std::atomic<u32> users_{1};
    rt::SpinLock<rt::Rank::files> lock_;
    u32 flat_ RT_GUARDED_BY(lock_) = kFirst;  // descriptors in the block
    u32 capacity_ RT_GUARDED_BY(lock_) =
        kFirst;  // and with the pieces, of which there are none while the block may grow
    // As many as the block has memory for; from flat_ on it is not initialised.
    u32 room_ RT_GUARDED_BY(lock_) = kFirst;
    u32 low_ RT_GUARDED_BY(lock_) = 0;  // no descriptor below is free
    File** files_ RT_GUARDED_BY(lock_) RT_PT_GUARDED_BY(lock_) = first_files_;
    u64* open_ RT_GUARDED_BY(lock_) RT_PT_GUARDED_BY(lock_) = &first_open_;  // bitmaps
    u64* cloexec_ RT_GUARDED_BY(lock_) RT_PT_GUARDED_BY(lock_) = &first_cloexec_;
    u64 first_open_ = 0, first_cloexec_ = 0;
    Piece** pieces_ RT_GUARDED_BY(lock_) RT_PT_GUARDED_BY(lock_) = nullptr;  // room for kPieces
    Copy* copies_ RT_GUARDED_BY(lock_) = nullptr;
    rt::Teardown end_;
    u32 closed_ = 0;  // at its end: all below are closed
    File* first_files_[kFirst] = {};
};

}  // namespace fs
