// SPDX-License-Identifier: MIT
#include "linux/start.hpp"

#include "fs/cpio.hpp"
#include "fs/devices.hpp"
#include "fs/tmpfs.hpp"
#include "linux/process.hpp"
#include "linux/procfs.hpp"

namespace linux {
namespace {

struct StartFile {
    static constexpr u32 kMax = 1024;
    std::string_view words[kMax];
    u32 arguments = 0, count = 0;
};
constinit StartFile start_file;

Result<void> read_start_file(std::span<const std::byte> cpio) {
    std::string_view text = TRY(fs::find_in_cpio(cpio, ".farcall/init"));
    size_t end = text.find('\0');
    if (end == text.npos) return Errno::kInval;
    u32 n = 0;
    for (char c : text.substr(0, end)) {
        if (c < '0' || c > '9' || n > StartFile::kMax) return Errno::kInval;
        n = n * 10 + u32(c - '0');
    }
    text.remove_prefix(end + 1);
    while (!text.empty()) {
        end = text.find('\0');
        if (end == text.npos || start_file.count == StartFile::kMax) return Errno::k2Big;
        start_file.words[start_file.count++] = text.substr(0, end);
        text.remove_prefix(end + 1);
    }
    if (n == 0 || n > start_file.count) return Errno::kInval;
    start_file.arguments = n;
    return lib::kOk;
}

Result<void> mount_everything(std::span<const std::byte> cpio) {
    static constinit fs::Creds root_creds;
    fs::RootInode root = TRY(fs::make_tmpfs("rootfs"));
    fs::Path top = TRY(fs::mount_root(root.super, root.inode, "rootfs"));
    TRY(fs::unpack_cpio(cpio, top));
    fs::LookupContext context{top, top, &root_creds};
    auto directory = [&](std::string_view path) -> Result<fs::Path> {
        auto found = fs::lookup(context, {}, path, fs::kFollow | fs::kDirectory);
        if (found.ok() || found.error() != Errno::kNoEnt) return found;
        auto at = TRY(fs::lookup_parent(context, {}, path));
        return fs::make_node(at, fs::kTypeDirectory | 0755, 0, {}, root_creds);
    };
    fs::RootInode dev = TRY(fs::make_tmpfs("devtmpfs"));
    TRY(fs::mount_at(TRY(directory("/dev")), dev.super, dev.inode, "devtmpfs"));
    TRY(fs::populate_devices(TRY(directory("/dev")), root_creds));
    fs::RootInode proc = TRY(make_procfs());
    TRY(fs::mount_at(TRY(directory("/proc")), proc.super, proc.inode, "proc"));
    return lib::kOk;
}

}  // namespace

Result<void> start_from_archive(std::span<const std::byte> cpio, void (*on_exit)(i32)) {
    TRY(mount_everything(cpio));
    TRY(read_start_file(cpio));
    InitialProgram program{{start_file.words, start_file.arguments},
                           {start_file.words + start_file.arguments, start_file.count - start_file.arguments}};
    return start_init(program, on_exit);
}

}  // namespace linux
