// SPDX-License-Identifier: MIT
// Sizes of the modelled caches and TLBs: presets, and the text by which a user changes them.
//
//   MODEL = PRESET[,NAME=VALUE...]   NAME: l1i l1d l2 llc (SIZE/WAYS, or none for l2)
//                                          itlb dtlb stlb itlb2m dtlb2m (ENTRIES/WAYS, or none for the last three)
//                                          line (bytes)
//   i5-8279u   Intel Core i5-8279U (Coffee Lake U). Sources: Intel 64 and IA-32 Architectures Optimization Reference Manual,
//              Skylake client microarchitecture (cache and TLB parameters); 6 MiB last level
//   cortex-a9  Pandaboard (OMAP4430): Arm Cortex-A9 TRM r2p2, chapters 6 and 7; PL310 of 1 MiB as the last level. No private
//              second level; its large pages share the small ones' TLBs
//   server     Golden Cove core (Sapphire Rapids), the same manual; 60 MiB last level
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace cache_model {

// All of a cache or TLB with no entries is absent.
struct CacheShape {
    uint32_t bytes = 0, ways = 1;
    bool operator==(const CacheShape&) const = default;
};
struct TlbShape {
    uint32_t entries = 0, ways = 1;
    bool operator==(const TlbShape&) const = default;
};

struct MachineShape {
    uint32_t line = 64;  // bytes
    CacheShape l1i, l1d, l2, llc;
    // For pages of 4 KiB; itlb2m and dtlb2m for larger ones, which use the first two where they are absent. stlb: second
    // level, for code and data and all sizes.
    TlbShape itlb, dtlb, stlb, itlb2m, dtlb2m;
    bool operator==(const MachineShape&) const = default;
};

inline constexpr const char* kPresets = "i5-8279u, cortex-a9, server";
inline constexpr const char* kDefaultModel = "i5-8279u";

namespace detail {

inline constexpr MachineShape kI5{.line = 64,
                                  .l1i = {32 << 10, 8},
                                  .l1d = {32 << 10, 8},
                                  .l2 = {256 << 10, 4},
                                  .llc = {6 << 20, 12},
                                  .itlb = {128, 8},
                                  .dtlb = {64, 4},
                                  .stlb = {1536, 12},
                                  .itlb2m = {8, 8},
                                  .dtlb2m = {32, 4}};
inline constexpr MachineShape kCortexA9{.line = 32,
                                        .l1i = {32 << 10, 4},
                                        .l1d = {32 << 10, 4},
                                        .l2 = {},
                                        .llc = {1 << 20, 16},
                                        .itlb = {32, 32},
                                        .dtlb = {32, 32},
                                        .stlb = {128, 2},
                                        .itlb2m = {},
                                        .dtlb2m = {}};
inline constexpr MachineShape kServer{.line = 64,
                                      .l1i = {32 << 10, 8},
                                      .l1d = {48 << 10, 12},
                                      .l2 = {2 << 20, 16},
                                      .llc = {60 << 20, 15},
                                      .itlb = {256, 8},
                                      .dtlb = {96, 6},
                                      .stlb = {2048, 16},
                                      .itlb2m = {32, 8},
                                      .dtlb2m = {32, 4}};

constexpr bool power_of_two(uint64_t n) { return n != 0 && (n & (n - 1)) == 0; }

// "N", "NK", "NM"; false: something else, or 0, or above 1 GiB.
inline bool read_number(std::string_view text, uint32_t& number) {
    uint64_t value = 0;
    size_t at = 0;
    for (; at < text.size() && text[at] >= '0' && text[at] <= '9' && value <= (1u << 30); ++at)
        value = value * 10 + static_cast<uint64_t>(text[at] - '0');
    if (at == 0) return false;
    if (text.substr(at) == "K") {
        value <<= 10;
    } else if (text.substr(at) == "M") {
        value <<= 20;
    } else if (at != text.size()) {
        return false;
    }
    number = static_cast<uint32_t>(value);
    return value != 0 && value <= (1u << 30);
}

inline bool read_pair(std::string_view text, uint32_t& size, uint32_t& ways) {
    const size_t slash = text.find('/');
    return slash != std::string_view::npos && read_number(text.substr(0, slash), size) &&
           read_number(text.substr(slash + 1), ways);
}

}  // namespace detail

// Sets must be powers of two, because an address's bits choose the set. Empty, or what is wrong.
inline std::string check_shape(const MachineShape& shape) {
    if (!detail::power_of_two(shape.line) || shape.line < 16 || shape.line > 256)
        return "line is a power of two from 16 to 256";
    auto sets = [](uint32_t entries, uint32_t ways) {
        return ways >= 1 && ways <= 64 && entries % ways == 0 && detail::power_of_two(entries / ways);
    };
    const struct {
        const char* name;
        CacheShape shape;
        bool needed;
    } caches[] = {
        {"l1i", shape.l1i, true}, {"l1d", shape.l1d, true}, {"l2", shape.l2, false}, {"llc", shape.llc, true}};
    for (const auto& cache : caches) {
        if (cache.shape.bytes == 0 && !cache.needed) continue;
        if (cache.shape.bytes > 256u << 20) return std::string(cache.name) + ": more than 256 MiB";
        if (cache.shape.bytes == 0 || cache.shape.bytes % shape.line != 0 ||
            !sets(cache.shape.bytes / shape.line, cache.shape.ways))
            return std::string(cache.name) + ": SIZE / line / WAYS must be a power of two, with 1 to 64 ways";
    }
    const struct {
        const char* name;
        TlbShape shape;
        bool needed;
    } tlbs[] = {{"itlb", shape.itlb, true},
                {"dtlb", shape.dtlb, true},
                {"stlb", shape.stlb, false},
                {"itlb2m", shape.itlb2m, false},
                {"dtlb2m", shape.dtlb2m, false}};
    for (const auto& tlb : tlbs) {
        if (tlb.shape.entries == 0 && !tlb.needed) continue;
        if (tlb.shape.entries > 65'536) return std::string(tlb.name) + ": more than 64K entries";
        if (tlb.shape.entries == 0 || !sets(tlb.shape.entries, tlb.shape.ways))
            return std::string(tlb.name) + ": ENTRIES / WAYS must be a power of two, with 1 to 64 ways";
    }
    return "";
}

// One word of a model: a preset's name, or NAME=VALUE. Empty, or what is wrong; does not check the sizes.
inline std::string read_word(MachineShape& shape, std::string_view word) {
    const size_t equals = word.find('=');
    if (equals == std::string_view::npos) {
        if (word == "i5-8279u") return shape = detail::kI5, "";
        if (word == "cortex-a9") return shape = detail::kCortexA9, "";
        if (word == "server") return shape = detail::kServer, "";
        return "no such model: '" + std::string(word) + "' (" + kPresets + ")";
    }
    const std::string_view name = word.substr(0, equals), value = word.substr(equals + 1);
    const std::string wrong = "not understood: '" + std::string(word) + "'";
    if (name == "line") return detail::read_number(value, shape.line) ? "" : wrong;
    const struct {
        const char* name;
        CacheShape* shape;
    } caches[] = {{"l1i", &shape.l1i}, {"l1d", &shape.l1d}, {"l2", &shape.l2}, {"llc", &shape.llc}};
    for (const auto& cache : caches) {
        if (name != cache.name) continue;
        if (value == "none") return *cache.shape = {}, "";
        return detail::read_pair(value, cache.shape->bytes, cache.shape->ways) ? "" : wrong;
    }
    const struct {
        const char* name;
        TlbShape* shape;
    } tlbs[] = {{"itlb", &shape.itlb},
                {"dtlb", &shape.dtlb},
                {"stlb", &shape.stlb},
                {"itlb2m", &shape.itlb2m},
                {"dtlb2m", &shape.dtlb2m}};
    for (const auto& tlb : tlbs) {
        if (name != tlb.name) continue;
        if (value == "none") return *tlb.shape = {}, "";
        return detail::read_pair(value, tlb.shape->entries, tlb.shape->ways) ? "" : wrong;
    }
    return wrong;
}

// The whole text. Empty, or what is wrong, in one line.
inline std::string read_model(MachineShape& shape, std::string_view text) {
    shape = detail::kI5;
    while (true) {
        const size_t comma = text.find(',');
        if (std::string wrong = read_word(shape, text.substr(0, comma)); !wrong.empty()) return wrong;
        if (comma == std::string_view::npos) break;
        text.remove_prefix(comma + 1);
    }
    return check_shape(shape);
}

}  // namespace cache_model
