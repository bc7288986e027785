// SPDX-License-Identifier: MIT
// Looks one file up in the archives without unpacking them: needed at boot, before there is a file system.
#include "fs/cpio.hpp"

namespace fs {

Result<std::string_view> find_in_cpio(std::span<const std::byte> archive, std::string_view name) {
    constexpr u64 kHeader = 110;
    const char* text = reinterpret_cast<const char*>(archive.data());
    u64 size = archive.size(), at = 0;
    std::string_view found;
    bool any = false;
    while (at + kHeader <= size) {
        if (text[at] == 0) {  // padding between archives
            at += 4;
            continue;
        }
        if (std::string_view{text + at, 5} != "07070") return Errno::kInval;
        auto field = [&](u32 n) {
            u64 v = 0;
            for (u32 i = 0; i < 8; ++i) {
                char c = text[at + 6 + n * 8 + i];
                v = v << 4 | u64(c >= '0' && c <= '9'   ? c - '0'
                                 : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                 : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                        : 0);
            }
            return v;
        };
        u64 bytes = field(6), name_bytes = field(11);
        u64 data = (at + kHeader + name_bytes + 3) & ~u64{3};
        if (name_bytes == 0 || data > size || bytes > size - data) return Errno::kInval;
        std::string_view entry{text + at + kHeader, name_bytes - 1};
        while (entry.starts_with("./")) entry.remove_prefix(2);
        while (entry.starts_with("/")) entry.remove_prefix(1);
        if (entry == name) {  // the last one wins, as when unpacked
            found = {text + data, bytes};
            any = true;
        }
        at = (data + bytes + 3) & ~u64{3};
    }
    if (!any) return Errno::kNoEnt;
    return found;
}

}  // namespace fs
