// SPDX-License-Identifier: MIT
#include "linux/start.hpp"

#include <cstring>

#include "fs/cpio.hpp"
#include "fs/devices.hpp"
#include "fs/tmpfs.hpp"
#include "linux/procfs/procfs.hpp"
#include "linux/task/process.hpp"
#include "linux/task/thread.hpp"
#include "rt/mem/slab.hpp"

namespace linux {
namespace {

struct StartFile {
    static constexpr u32 kMax = 1024;
    std::string_view words[kMax];
    u32 arguments = 0, count = 0;
};
constinit StartFile start_file;

// The words are never freed: the archive's own memory is.
Result<void> read_start_file(std::span<const std::byte> cpio) {
    std::string_view original = TRY(fs::find_in_cpio(cpio, ".farcall/init"));
    auto* copy = static_cast<char*>(rt::allocate(original.size() + 1));
    if (!copy) return Errno::kNoMem;
    std::memcpy(copy, original.data(), original.size());
    std::string_view text{copy, original.size()};
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

Leaf<void> mount_everything(std::span<const std::byte> cpio, PhysAddr frames) {
    fs::choose_name_secret();
    fs::start_tmpfs();
    rt::Reclaimer::later.store(true, std::memory_order_relaxed);  // executors run: what is large may wait for them
    fs::NewFileSystem root = TRY(fs::make_tmpfs({.type = "rootfs", .root_mode = 0755}));
    fs::Path top = TRY(fs::mount_root(root.super, root.root, "rootfs"));
    fs::CpioStats stats;
    if (auto r = fs::unpack_cpio(cpio, top, frames, &stats); !r.ok()) {
        port::logf("the root archive: {} at byte {}", stats.error ? stats.error : "error", stats.error_offset);
        return r;
    }
    const Ref<fs::Creds> root_owner = TRY(rt::make_ref<fs::Creds>());
    const fs::Creds& root_creds = *root_owner;
    fs::LookupContext context{top, top, &root_creds};
    auto directory = [&](std::string_view path) -> Leaf<fs::Path> {
        auto found = fs::lookup(context, {}, path, fs::kFollow | fs::kDirectory);
        if (found.ok() || found.error() != Errno::kNoEnt) return found;
        auto at = TRY(fs::lookup_parent(context, {}, path));
        return fs::make_node(at, fs::kTypeDirectory | 0755, 0, {}, root_creds);
    };
    fs::NewFileSystem dev = TRY(fs::make_tmpfs({.type = "devtmpfs", .root_mode = 0755}));
    TRY(fs::mount_at(TRY(directory("/dev")), dev.super, dev.root, "devtmpfs"));
    TRY(fs::populate_devices(TRY(directory("/dev")), root_creds));
    fs::NewFileSystem proc = TRY(make_procfs());
    TRY(fs::mount_at(TRY(directory("/proc")), proc.super, proc.root, "proc"));
    return lib::kOk;
}

}  // namespace

void register_personality() {
    build_syscall_table();  // routes look into it before the first program starts
    port::set_personality(personality);
}

Result<void> start_from_archive(std::span<const std::byte> cpio, PhysAddr frames, void (*on_exit)(i32)) {
    TRY(read_start_file(cpio));
    TRY(mount_everything(cpio, frames).settled(Errno::kIo));
    InitialProgram program{{start_file.words, start_file.arguments},
                           {start_file.words + start_file.arguments, start_file.count - start_file.arguments}};
    return start_init(program, on_exit);
}

}  // namespace linux
