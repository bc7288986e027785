// SPDX-License-Identifier: MIT
// The C memory functions that the compiler calls by name, for the worlds without a C library (kernel, server, native
// programs); x86_64. Small sizes: at most a few overlapping loads and stores, no byte loops. Large sizes: `rep movsq`
// and `rep stosq`, whose iterations move eight bytes each (Intel SDM vol. 1, 7.3.9.3); the tail is one overlapping
// store, never `rep movsb`, which takes one iteration per byte (emulators count iterations). The empty asm statements
// stop the compiler from turning a loop into a call of the function that contains it.
#include <cstddef>
#include <cstdint>

namespace {

// Accesses that may be unaligned and may alias any type.
template <class Word>
struct [[gnu::packed, gnu::may_alias]] Unaligned {
    Word value;
};
template <class Word>
inline Word load(const void* p) {
    return static_cast<const Unaligned<Word>*>(p)->value;
}
template <class Word>
inline void store(void* p, Word w) {
    static_cast<Unaligned<Word>*>(p)->value = w;
}

// Copies of 0 to 32 bytes: every load precedes every store, so the areas may overlap.
inline void copy_small(unsigned char* d, const unsigned char* s, size_t n) {
    if (n >= 16) {
        uint64_t a = load<uint64_t>(s), b = load<uint64_t>(s + 8);
        uint64_t y = load<uint64_t>(s + n - 16), z = load<uint64_t>(s + n - 8);
        store(d, a);
        store(d + 8, b);
        store(d + n - 16, y);
        store(d + n - 8, z);
    } else if (n >= 8) {
        uint64_t a = load<uint64_t>(s), z = load<uint64_t>(s + n - 8);
        store(d, a);
        store(d + n - 8, z);
    } else if (n >= 4) {
        uint32_t a = load<uint32_t>(s), z = load<uint32_t>(s + n - 4);
        store(d, a);
        store(d + n - 4, z);
    } else if (n >= 2) {
        uint16_t a = load<uint16_t>(s), z = load<uint16_t>(s + n - 2);
        store(d, a);
        store(d + n - 2, z);
    } else if (n == 1) {
        *d = *s;
    }
}

// Eight bytes at a time, in ascending order; correct if d < s or the areas do not overlap.
inline void copy_words_up(void* d, const void* s, size_t words) {
    asm volatile("rep movsq" : "+D"(d), "+S"(s), "+c"(words) : : "memory");
}

inline void fill_words(void* d, uint64_t pattern, size_t words) {
    asm volatile("rep stosq" : "+D"(d), "+c"(words) : "a"(pattern) : "memory");
}

}  // namespace

extern "C" {

[[gnu::used]] void* memcpy(void* __restrict to, const void* __restrict from, size_t n) {
    auto* d = static_cast<unsigned char*>(to);
    auto* s = static_cast<const unsigned char*>(from);
    if (n <= 32) {
        copy_small(d, s, n);
        return to;
    }
    uint64_t tail = load<uint64_t>(s + n - 8);
    copy_words_up(d, s, n / 8);
    store(d + n - 8, tail);
    return to;
}

[[gnu::used]] void* memmove(void* to, const void* from, size_t n) {
    auto* d = static_cast<unsigned char*>(to);
    auto* s = static_cast<const unsigned char*>(from);
    if (n <= 32) {
        copy_small(d, s, n);
        return to;
    }
    if (reinterpret_cast<uintptr_t>(d) - reinterpret_cast<uintptr_t>(s) >= n) {  // no overlap, or d below s
        uint64_t tail = load<uint64_t>(s + n - 8);
        copy_words_up(d, s, n / 8);
        store(d + n - 8, tail);
        return to;
    }
    // d overlaps the end of s: copies in descending order, the head last.
    uint64_t head = load<uint64_t>(s);
    size_t at = n;
    for (; at >= 8; at -= 8) {
        store(d + at - 8, load<uint64_t>(s + at - 8));
        asm volatile("" : : : "memory");  // prevents a call of memmove
    }
    store(d, head);
    return to;
}

[[gnu::used]] void* memset(void* to, int value, size_t n) {
    auto* d = static_cast<unsigned char*>(to);
    uint64_t pattern = uint64_t{static_cast<unsigned char>(value)} * 0x0101010101010101;
    if (n >= 8) {
        if (n <= 32) {
            store(d, pattern);
            if (n > 16) {
                store(d + 8, pattern);
                store(d + n - 16, pattern);
            }
        } else {
            fill_words(d, pattern, n / 8);
        }
        store(d + n - 8, pattern);
    } else if (n >= 4) {
        store(d, static_cast<uint32_t>(pattern));
        store(d + n - 4, static_cast<uint32_t>(pattern));
    } else if (n > 0) {
        d[0] = d[n / 2] = d[n - 1] = static_cast<unsigned char>(value);
    }
    return to;
}

[[gnu::used]] int memcmp(const void* a, const void* b, size_t n) {
    auto* x = static_cast<const unsigned char*>(a);
    auto* y = static_cast<const unsigned char*>(b);
    for (; n >= 8; n -= 8, x += 8, y += 8)
        if (load<uint64_t>(x) != load<uint64_t>(y)) {
            n = 8;
            break;
        }
    for (; n; --n, ++x, ++y)
        if (*x != *y) return *x < *y ? -1 : 1;
    return 0;
}

[[gnu::used]] int bcmp(const void* a, const void* b, size_t n) { return memcmp(a, b, n); }

[[gnu::used]] void* memchr(const void* a, int value, size_t n) {
    auto* p = static_cast<const unsigned char*>(a);
    for (; n; --n, ++p)
        if (*p == static_cast<unsigned char>(value)) return const_cast<unsigned char*>(p);
    return nullptr;
}

[[gnu::used]] size_t strlen(const char* s) {
    const char* p = s;
    // Single bytes up to alignment, then words: an aligned word never reaches into the next page, which may be
    // unmapped.
    for (; reinterpret_cast<uintptr_t>(p) & 7; ++p)
        if (!*p) return static_cast<size_t>(p - s);
    for (;; p += 8) {
        uint64_t w = load<uint64_t>(p);
        if ((w - 0x0101010101010101) & ~w & 0x8080808080808080) break;
        asm volatile("" : : : "memory");
    }
    while (*p) ++p;
    return static_cast<size_t>(p - s);
}

[[gnu::used]] size_t strnlen(const char* s, size_t limit) {
    size_t n = 0;
    while (n < limit && s[n]) {
        ++n;
        asm volatile("" : : : "memory");
    }
    return n;
}

[[gnu::used]] int strcmp(const char* a, const char* b) {
    for (; *a && *a == *b; ++a, ++b) asm volatile("" : : : "memory");
    return static_cast<int>(static_cast<unsigned char>(*a)) - static_cast<int>(static_cast<unsigned char>(*b));
}

}  // extern "C"
