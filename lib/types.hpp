// SPDX-License-Identifier: MIT
// Strong types for quantities that must not be confused: addresses, CPU numbers, times.
// No type converts to another. Only meaningful arithmetic is defined; `.value` is the plain number.
#pragma once
#include <compare>
#include <cstddef>
#include <cstdint>

namespace lib {

using u8 = uint8_t;
using u16 = uint16_t;
using u32 = uint32_t;
using u64 = uint64_t;
using i32 = int32_t;
using i64 = int64_t;

// A number whose type is distinguished by Tag.
template <class Tag, class Rep>
struct Strong {
    Rep value{};
    constexpr Strong() = default;
    constexpr explicit Strong(Rep v) : value(v) {}
    friend constexpr auto operator<=>(Strong, Strong) = default;
    friend constexpr bool operator==(Strong, Strong) = default;
};

// An address of one kind. A byte count can be added or subtracted; the difference of two addresses of a kind is a byte
// count.
template <class Tag>
struct Address : Strong<Tag, u64> {
    using Strong<Tag, u64>::Strong;
    friend constexpr Address operator+(Address a, u64 n) { return Address{a.value + n}; }
    friend constexpr Address operator-(Address a, u64 n) { return Address{a.value - n}; }
    friend constexpr u64 operator-(Address a, Address b) { return a.value - b.value; }
    constexpr Address& operator+=(u64 n) {
        this->value += n;
        return *this;
    }
    constexpr bool aligned(u64 to) const { return (this->value & (to - 1)) == 0; }
    constexpr Address down(u64 to) const { return Address{this->value & ~(to - 1)}; }
    constexpr Address up(u64 to) const { return Address{(this->value + to - 1) & ~(to - 1)}; }
};

using PhysAddr = Address<struct PhysAddrTag>;
using VirtAddr = Address<struct VirtAddrTag>;  // an address in the kernel's (or the server's own) space
using UserAddr = Address<struct UserAddrTag>;  // an address in a program's space; never dereferenced

using CpuId = Strong<struct CpuIdTag, u32>;

// Nanoseconds since boot, or a duration.
struct Nanoseconds : Strong<struct NanosecondsTag, u64> {
    using Strong<NanosecondsTag, u64>::Strong;
    friend constexpr Nanoseconds operator+(Nanoseconds a, Nanoseconds b) { return Nanoseconds{a.value + b.value}; }
    friend constexpr Nanoseconds operator-(Nanoseconds a, Nanoseconds b) { return Nanoseconds{a.value - b.value}; }
    static constexpr Nanoseconds never() { return Nanoseconds{~u64{0}}; }
};
constexpr Nanoseconds milliseconds(u64 n) { return Nanoseconds{n * 1'000'000}; }

inline constexpr u64 kPageSize = 4096;
inline constexpr u64 kPageShift = 12;
constexpr u64 pages_for(u64 bytes) { return (bytes + kPageSize - 1) >> kPageShift; }

inline constexpr u32 kMaxCpus = 16;

// A set of CPUs, one bit each (at most kMaxCpus).
struct CpuSet {
    u32 bits = 0;
    static constexpr CpuSet first(u32 n) { return CpuSet{n >= 32 ? ~0u : (1u << n) - 1}; }
    constexpr bool has(CpuId c) const { return (bits >> c.value) & 1; }
    constexpr void add(CpuId c) { bits |= 1u << c.value; }
    constexpr void remove(CpuId c) { bits &= ~(1u << c.value); }
    constexpr bool empty() const { return bits == 0; }
    friend constexpr CpuSet operator&(CpuSet a, CpuSet b) { return CpuSet{a.bits & b.bits}; }
    friend constexpr bool operator==(CpuSet, CpuSet) = default;
};

}  // namespace lib

// Names used without a prefix.
using lib::CpuId;
using lib::CpuSet;
using lib::i32;
using lib::i64;
using lib::kPageSize;
using lib::Nanoseconds;
using lib::PhysAddr;
using lib::u16;
using lib::u32;
using lib::u64;
using lib::u8;
using lib::UserAddr;
using lib::VirtAddr;
