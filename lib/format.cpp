// SPDX-License-Identifier: MIT
// The formatter behind lib/format.hpp: one pass over the format string, which passes each piece to a sink.
#include "lib/format.hpp"

namespace lib {
namespace {

struct Spec {
    bool left = false;
    bool right = false;
    bool zero = false;
    u32 width = 0;
    u32 precision = ~0u;
    char kind = 0;
};

constexpr u32 kMaxWidth = 4096;  // bounds the output of a wrong format string

u32 parse_number(std::string_view s, size_t& at) {
    u32 n = 0;
    for (; at < s.size() && s[at] >= '0' && s[at] <= '9'; ++at)
        if (n < kMaxWidth) n = n * 10 + static_cast<u32>(s[at] - '0');
    return n < kMaxWidth ? n : kMaxWidth;
}

// `s` is the text between the braces.
Spec parse_spec(std::string_view s) {
    Spec spec;
    size_t at = 0;
    if (at < s.size() && s[at] == ':') ++at;
    if (at < s.size() && (s[at] == '<' || s[at] == '>')) {
        spec.left = s[at] == '<';
        spec.right = s[at] == '>';
        ++at;
    }
    if (at < s.size() && s[at] == '0') {
        spec.zero = true;
        ++at;
    }
    spec.width = parse_number(s, at);
    if (at < s.size() && s[at] == '.') {
        ++at;
        spec.precision = parse_number(s, at);
    }
    if (at < s.size()) spec.kind = s[at];
    return spec;
}

void fill(FormatSink sink, char with, u32 count) {
    static constexpr char kSpaces[] = "                ";
    static constexpr char kZeros[] = "0000000000000000";
    const char* from = with == '0' ? kZeros : kSpaces;
    while (count > 0) {
        u32 n = count < 16 ? count : 16;
        sink.put(sink.context, std::string_view(from, n));
        count -= n;
    }
}

void put_field(FormatSink sink, const Spec& spec, std::string_view prefix, std::string_view body, bool to_right) {
    u32 length = static_cast<u32>(prefix.size() + body.size());
    u32 padding = spec.width > length ? spec.width - length : 0;
    bool zeros = spec.zero && to_right;
    if (padding && to_right && !zeros) fill(sink, ' ', padding);
    if (!prefix.empty()) sink.put(sink.context, prefix);
    if (padding && zeros) fill(sink, '0', padding);
    if (!body.empty()) sink.put(sink.context, body);
    if (padding && !to_right) fill(sink, ' ', padding);
}

void put_arg(FormatSink sink, const Spec& spec, const FormatArg& arg) {
    using K = FormatArg::Kind;
    if (arg.kind == K::kText || (arg.kind == K::kBool && (spec.kind == 0 || spec.kind == 's'))) {
        std::string_view s = arg.kind == K::kText ? std::string_view(arg.text, arg.length)
                             : arg.number         ? std::string_view("true")
                                                  : std::string_view("false");
        put_field(sink, spec, {}, s.substr(0, spec.precision), spec.right);
        return;
    }
    if (spec.kind == 'c' || (arg.kind == K::kChar && spec.kind == 0)) {
        char c = static_cast<char>(arg.number);
        put_field(sink, spec, {}, std::string_view(&c, 1), spec.right);
        return;
    }
    char kind = spec.kind;
    std::string_view prefix;
    if (kind == 0 && arg.kind == K::kAddress) {
        kind = 'x';
        prefix = "0x";
    }
    u64 n = arg.number;
    u32 base = kind == 'x' || kind == 'X' ? 16 : kind == 'o' ? 8 : 10;
    if (arg.kind == K::kSigned && static_cast<i64>(n) < 0) {
        prefix = "-";
        n = 0 - n;
    }
    const char* digits = kind == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
    char text[24];
    char* at = text + sizeof text;
    if (base == 10) {
        do *--at = static_cast<char>('0' + n % 10);
        while (n /= 10);
    } else {
        u32 shift = base == 16 ? 4 : 3;
        do *--at = digits[n & (base - 1)];
        while (n >>= shift);
    }
    put_field(sink, spec, prefix, std::string_view(at, static_cast<size_t>(text + sizeof text - at)), !spec.left);
}

struct Bounded {
    std::span<char> out;
    size_t used;
};
void put_bounded(void* context, std::string_view piece) {
    auto* b = static_cast<Bounded*>(context);
    size_t room = b->out.size() - 1 - b->used;
    size_t n = piece.size() < room ? piece.size() : room;
    __builtin_memcpy(b->out.data() + b->used, piece.data(), n);
    b->used += n;
}

}  // namespace

void format_args(FormatSink sink, std::string_view fmt, std::span<const FormatArg> args) {
    size_t next = 0;
    size_t plain = 0;  // start of text not yet passed on
    size_t at = 0;
    auto flush = [&](size_t end) {
        if (end > plain) sink.put(sink.context, fmt.substr(plain, end - plain));
    };
    while (at < fmt.size()) {
        char c = fmt[at];
        if (c != '{' && c != '}') {
            ++at;
            continue;
        }
        if (at + 1 < fmt.size() && fmt[at + 1] == c) {  // {{ or }}: one brace
            flush(at + 1);
            at += 2;
            plain = at;
            continue;
        }
        if (c == '}') {
            ++at;
            continue;
        }
        size_t close = at + 1;
        while (close < fmt.size() && fmt[close] != '}') ++close;
        if (close == fmt.size()) break;  // an unclosed brace is plain text
        flush(at);
        if (next < args.size())
            put_arg(sink, parse_spec(fmt.substr(at + 1, close - at - 1)), args[next++]);
        else
            sink.put(sink.context, "{?}");
        at = close + 1;
        plain = at;
    }
    flush(fmt.size());
}

size_t format_args_to(std::span<char> out, std::string_view fmt, std::span<const FormatArg> args) {
    if (out.empty()) return 0;
    Bounded bounded{out, 0};
    format_args({put_bounded, &bounded}, fmt, args);
    out[bounded.used] = '\0';
    return bounded.used;
}

bool parse_u64(std::string_view text, u64& out) {
    if (text.empty()) return false;
    u64 n = 0;
    for (char c : text) {
        if (c < '0' || c > '9') return false;
        u64 digit = static_cast<u64>(c - '0');
        if (n > (~u64{0} - digit) / 10) return false;
        n = n * 10 + digit;
    }
    out = n;
    return true;
}

}  // namespace lib
