// SPDX-License-Identifier: MIT
// Type-safe text formatting without allocation, for kernel messages and procfs.
//   format_to(buffer, "pid {} at {:x}, {:>6} KiB\n", pid, address, size)
// A placeholder is {} or {:[<|>][0][width][.precision][kind]}; {{ and }} are braces. Kinds: d decimal, x X hexadecimal,
// o octal, c character, s text. Plain {} prints numbers in decimal, addresses and pointers in hexadecimal with 0x, bool
// as true or false, strong types by their value, enumerations (Errno) as numbers. Precision limits text. Numbers are
// aligned to the right of their field and text to the left, unless < or > is given. A placeholder without an argument
// prints {?}.
#pragma once
#include <concepts>
#include <cstddef>
#include <span>
#include <string_view>
#include <type_traits>

#include "lib/types.hpp"

namespace lib {

struct FormatArg {
    enum class Kind : u8 { kUnsigned, kSigned, kAddress, kBool, kChar, kText };
    Kind kind;
    u32 length;  // of text
    union {
        u64 number;
        const char* text;
    };
};

constexpr FormatArg text_arg(std::string_view s) {
    return {.kind = FormatArg::Kind::kText, .length = static_cast<u32>(s.size()), .text = s.data()};
}
constexpr FormatArg number_arg(FormatArg::Kind kind, u64 n) { return {.kind = kind, .length = 0, .number = n}; }

template <class T>
constexpr bool kIsAddress = false;
template <class Tag>
constexpr bool kIsAddress<Address<Tag>> = true;

template <class T>
constexpr FormatArg format_arg(const T& v) {
    using K = FormatArg::Kind;
    if constexpr (std::is_same_v<T, bool>) {
        return number_arg(K::kBool, v);
    } else if constexpr (std::is_same_v<T, char>) {
        return number_arg(K::kChar, static_cast<u8>(v));
    } else if constexpr (std::is_enum_v<T>) {
        return format_arg(static_cast<std::underlying_type_t<T>>(v));
    } else if constexpr (std::is_integral_v<T>) {
        if constexpr (std::is_signed_v<T>)
            return number_arg(K::kSigned, static_cast<u64>(static_cast<i64>(v)));
        else
            return number_arg(K::kUnsigned, v);
    } else if constexpr (std::is_convertible_v<const T&, const char*>) {
        const char* s = v;
        return text_arg(s ? std::string_view(s) : std::string_view("(null)"));
    } else if constexpr (std::is_convertible_v<const T&, std::string_view>) {
        return text_arg(v);
    } else if constexpr (std::is_pointer_v<T>) {
        return number_arg(K::kAddress, reinterpret_cast<u64>(v));
    } else if constexpr (kIsAddress<T>) {
        return number_arg(K::kAddress, v.value);
    } else if constexpr (requires { v.value; }) {
        return format_arg(v.value);
    } else {
        static_assert(sizeof(T) == 0, "no way to print this type");
    }
}

// Receives the formatted text in pieces.
struct FormatSink {
    void (*put)(void* context, std::string_view piece);
    void* context;
};
void format_args(FormatSink sink, std::string_view fmt, std::span<const FormatArg> args);
// See format_to().
size_t format_args_to(std::span<char> out, std::string_view fmt, std::span<const FormatArg> args);

// Writes at most out.size() - 1 characters and a NUL; returns how many were written without the NUL.
template <class... A>
size_t format_to(std::span<char> out, const char* fmt, const A&... args) {
    const FormatArg list[sizeof...(A) + 1] = {format_arg(args)..., FormatArg{}};
    return format_args_to(out, fmt, std::span<const FormatArg>(list, sizeof...(A)));
}

// Appends text through a function of the caller (to a list of pages, to a byte vector). The first append that fails
// sets `failed`, and nothing more is appended, so one check at the end suffices.
struct StringBuilder {
    bool (*append)(void* context, std::string_view piece);
    void* context;
    bool failed = false;

    void put(std::string_view piece) {
        if (!failed && !piece.empty() && !append(context, piece)) failed = true;
    }
    template <class... A>
    StringBuilder& add(const char* fmt, const A&... args) {
        const FormatArg list[sizeof...(A) + 1] = {format_arg(args)..., FormatArg{}};
        format_args({[](void* self, std::string_view piece) { static_cast<StringBuilder*>(self)->put(piece); }, this},
                    fmt, std::span<const FormatArg>(list, sizeof...(A)));
        return *this;
    }
};

// Parses decimal text. False if it is empty, contains another character, or does not fit in 64 bits; `out` is then
// unchanged.
bool parse_u64(std::string_view text, u64& out);

}  // namespace lib
