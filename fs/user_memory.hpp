// SPDX-License-Identifier: MIT
// Typed access to a program's memory. A UserMemory is one address space as seen by one call; a copy that meets a page
// that is not there records the range and yields kNeedsFault: the call is run again after it was faulted in. If the
// range cannot be provided, the call is run again with the range given up, and then its copies there yield kFault, as
// on Linux.
#pragma once
#include <cstring>
#include <span>
#include <type_traits>

#include "lib/result.hpp"
#include "port/bind.hpp"

namespace fs {

inline constexpr u64 kUserEnd = 0x0000'7fff'ffff'f000;  // first address a program cannot have (x86_64, 47 bits)

class UserMemory {
public:
    explicit UserMemory(port::Space* space, const void* caller = nullptr) : space_(space), caller_(caller) {}

    static constexpr u64 kNowhere = ~u64{0};
    // What the last kNeedsFault was about.
    struct Fault {
        UserAddr start{};
        u64 size = 0;
        bool write = false;
        u64 position = kNowhere;  // in the pieces that were being copied; kNowhere: it was no copy of pieces
    };
    const Fault& fault() const { return fault_; }

    Leaf<void> read(void* to, UserAddr from, size_t n) {
        if (!inside(from, n)) return Errno::kFault;
        if (space_->copy_in(to, from, n) == n) [[likely]]
            return lib::kOk;
        return note(from, n, false);
    }
    Leaf<void> write(UserAddr to, const void* from, size_t n) {
        if (!inside(to, n)) return Errno::kFault;
        if (space_->copy_out(to, from, n) == n) [[likely]]
            return lib::kOk;
        return note(to, n, true);
    }
    // What the space can do at once; false does not mean an error.
    template <class... W>
    [[gnu::always_inline]] bool store_now(UserAddr to, const W&... words) {
        return space_->store_now(to, words...);
    }
    template <class... T>
    [[gnu::always_inline]] bool load_now(UserAddr from, T&... words) {
        return space_->load_now(from, words...);
    }
    // The same, as calls' own copies: for a thread that is near its memory (port::UserThread::come_near).
    template <class... W>
    [[gnu::always_inline]] Leaf<void> store_words(UserAddr to, const W&... words) {
        constexpr u64 kSize = (sizeof(W) + ...);
        if (space_->store_now(to, words...)) [[likely]]
            return lib::kOk;
        if (!inside(to, kSize)) return Errno::kFault;
        return note(to, kSize, true);
    }
    template <class... T>
    [[gnu::always_inline]] Leaf<void> load_words(UserAddr from, T&... words) {
        constexpr u64 kSize = (sizeof(T) + ...);
        if (space_->load_now(from, words...)) [[likely]]
            return lib::kOk;
        if (!inside(from, kSize)) return Errno::kFault;
        return note(from, kSize, false);
    }
    Leaf<void> zero(UserAddr to, size_t n) {
        if (!inside(to, n)) return Errno::kFault;
        if (space_->zero_out(to, n) == n) [[likely]]
            return lib::kOk;
        return note(to, n, true);
    }
    // A NUL-terminated string, without the NUL. kNameTooLong if there is none within to.size() bytes.
    Leaf<std::string_view> read_string(std::span<char> to, UserAddr from) {
        if (from.value >= kUserEnd) return Errno::kFault;
        bool ended = false;
        size_t limit = to.size() < kUserEnd - from.value ? to.size() : kUserEnd - from.value;
        size_t n = space_->copy_in_string(to.data(), from, limit, &ended);
        if (ended) [[likely]]
            return std::string_view{to.data(), n};
        if (n == to.size()) return Errno::kNameTooLong;
        if (n == limit) return Errno::kFault;
        return note(from + n, 1, false);
    }
    Leaf<u32> load_u32(UserAddr a) {
        if (!inside(a, 4)) return Errno::kFault;
        auto r = space_->load_u32(a);
        if (r.ok()) return r;
        return note(a, 4, false);
    }
    Leaf<u32> compare_exchange_u32(UserAddr a, u32 expected, u32 desired) {
        if (!inside(a, 4)) return Errno::kFault;
        auto r = space_->compare_exchange_u32(a, expected, desired);
        if (r.ok()) return r;
        return note(a, 4, true);
    }
    // fault() cannot be provided as a whole. The second time in a call everything is given up, so that the call ends.
    void give_up_fault() { lost_ = lost_.size == 0 ? fault_ : Fault{UserAddr{0}, ~u64{0}, true, kNowhere}; }
    void hope_again() { lost_.size = 0; }
    // Is the error of a copy that of a range that was given up? Its beginning may be there: what gives short counts
    // looks.
    bool gave_up(LeafError e) const { return e == Errno::kFault && lost_.size != 0; }
    // A longer range than the one that was met: what will be needed next, too.
    void widen_fault(u64 size) { fault_.size = size > fault_.size ? size : fault_.size; }
    // It lies so far into the pieces that are being copied.
    void place_fault(u64 position) { fault_.position = position; }
    static bool inside(UserAddr a, u64 n) { return a.value < kUserEnd && n <= kUserEnd - a.value; }
    port::Space* space() const { return space_; }
    void set_space(port::Space* s) { space_ = s; }
    const void* caller() const { return caller_; }  // whose it is, as LookupContext::caller; null: the kernel

private:
    LeafError note(UserAddr a, u64 n, bool write) {
        fault_ = {a, n, write, kNowhere};
        const bool lost = a.value - lost_.start.value < lost_.size || lost_.start.value - a.value < n;
        return lost && lost_.size != 0 ? Errno::kFault : kNeedsFault;
    }
    port::Space* space_;
    const void* caller_;
    Fault fault_, lost_;
};

// Typed pointers as system calls get them.
template <class T>
struct UserIn {
    UserAddr at;
    explicit operator bool() const { return at.value != 0; }
    Leaf<T> get(UserMemory& m) const
        requires std::is_trivially_copyable_v<T>
    {
        T v;
        TRY(m.read(&v, at, sizeof v));
        return v;
    }
    UserIn operator+(u64 n) const { return {at + n * sizeof(T)}; }
};
template <class T>
struct UserOut {
    UserAddr at;
    explicit operator bool() const { return at.value != 0; }
    Leaf<void> put(UserMemory& m, const T& v) const
        requires std::is_trivially_copyable_v<T>
    {
        return m.write(at, &v, sizeof v);
    }
    UserOut operator+(u64 n) const { return {at + n * sizeof(T)}; }
};
struct UserString {
    UserAddr at;
};

// The user (or, for the kernel's own reads, kernel) memory of one read or write: one range, or an iovec array already
// copied in. File operations see only this.
struct UserSpan {
    UserAddr at;
    u64 size;
};
class UserSpans {
public:
    UserSpans(UserMemory& m, UserAddr at, u64 size) : memory_(&m), at_(at), total_(size) {}
    UserSpans(UserMemory& m, const UserSpan* spans, u32 count, u64 total)
        : memory_(&m), spans_(spans), at_(count), total_(total) {}
    // Kernel memory instead (sendfile, exec, core files).
    // `caller`: on whose behalf, as LookupContext::caller; null: the kernel's own.
    explicit UserSpans(std::span<std::byte> kernel, const void* caller = nullptr)
        : caller_(caller), at_(reinterpret_cast<u64>(kernel.data())), total_(kernel.size()) {}

    u64 size() const { return total_; }
    UserAddr start() const { return at_; }                                        // of one range
    const void* caller() const { return memory_ ? memory_->caller() : caller_; }  // as LookupContext::caller
    void limit(u64 n) { total_ = n < total_ ? n : total_; }
    // Copies at byte position `at` of the whole. kNeedsFault/kFault as UserMemory.
    Leaf<void> copy_out(u64 at, const void* from, size_t n) const {  // to the program
        if (is_plain()) [[likely]]
            return memory_->write(at_ + at, from, n);
        return copy_out_pieces(at, from, n);
    }
    Leaf<void> copy_in(u64 at, void* to, size_t n) const {  // from the program
        if (is_plain()) [[likely]]
            return memory_->read(to, at_ + at, n);
        return copy_in_pieces(at, to, n);
    }
    Leaf<void> zero(u64 at, size_t n) const {
        if (is_plain()) [[likely]]
            return memory_->zero(at_ + at, n);
        return zero_pieces(at, n);
    }
    // A first word, as UserMemory's.
    [[gnu::always_inline]] bool store_now(u64 word) const { return is_plain() && memory_->store_now(at_, word); }
    [[gnu::always_inline]] bool load_now(u64& word) const { return is_plain() && memory_->load_now(at_, word); }
    // After a copy yielded kNeedsFault: all up to position `end` of the whole will be needed. What of it lies in the same
    // span as the fault is faulted in at once.
    void expect(u64 end) const;
    // How much of the whole is accessible before what is missing, if only `have` bytes of this fault, the last one of a
    // copy of it, are. 0 also if the fault does not lie in it. Less than size().
    u64 accessible(const UserMemory::Fault& f, u64 have) const;

private:
    bool is_plain() const { return memory_ && !spans_; }
    u32 count() const { return u32(at_.value); }
    std::byte* kernel() const { return memory_ ? nullptr : reinterpret_cast<std::byte*>(at_.value); }
    u64 position_of(const UserMemory::Fault& f) const;  // kNowhere: not in it
    template <class Piece>
    Leaf<void> each_piece(u64 at, size_t n, Piece&& piece) const;
    Leaf<void> copy_out_pieces(u64 at, const void* from, size_t n) const;
    Leaf<void> copy_in_pieces(u64 at, void* to, size_t n) const;
    Leaf<void> zero_pieces(u64 at, size_t n) const;

    UserMemory* memory_ = nullptr;  // null: the kernel's memory, at address at_
    union {
        const UserSpan* spans_ = nullptr;  // null: one range, from at_ on; otherwise at_ is their number
        const void* caller_;               // of the kernel's memory
    };
    UserAddr at_{};
    u64 total_ = 0;
};

}  // namespace fs
