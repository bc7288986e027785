// SPDX-License-Identifier: MIT
// /proc/PID/mounts and /proc/PID/mountinfo (proc(5), fstab(5)).
#include "linux/procfs/procfs.hpp"
#include "rt/mem/slab.hpp"

namespace linux {

using fs::ProcContext;
using lib::StringBuilder;

void add_escaped(StringBuilder& out, std::string_view text, std::string_view special) {
    for (char ch : text) {
        if (special.contains(ch))
            out.add("\\{:03o}", u32(u8(ch)));
        else
            out.put({&ch, 1});
    }
}

namespace {

// Blanks and backslashes (getmntent(3)).
constexpr std::string_view kMountSpecial = " \t\n\\";

void add_flags(StringBuilder& out, const fs::Mount& m, bool read_only) {
    u32 flags = m.flags.load(std::memory_order_relaxed);
    out.put(read_only ? "ro" : "rw");
    if (flags & fs::kMountNoSuid) out.put(",nosuid");
    if (flags & fs::kMountNoDev) out.put(",nodev");
    if (flags & fs::kMountNoExec) out.put(",noexec");
    if (flags & fs::kMountNoAtime) out.put(",noatime");
    if (flags & fs::kMountNoDirAtime) out.put(",nodiratime");
    if (flags & fs::kMountRelAtime) out.put(",relatime");
}

struct PathBuffer {
    char* bytes = static_cast<char*>(rt::allocate(fs::kPathMax));
    PathBuffer() = default;
    PathBuffer(const PathBuffer&) = delete;
    ~PathBuffer() {
        if (bytes) rt::deallocate(bytes, fs::kPathMax);
    }
};

// Calls out(mount, where it is seen) for some mounts below the process's root, from the number `position` on, which it moves
// on; the last: ~0. Mounts are listed by their numbers.
template <class Out>
Leaf<void> some_mounts(const ProcContext& c, u64& position, Out out) {
    constexpr u32 kOfAPiece = 6;
    Ref<Process> p = proc_process(c);
    if (!p) return Errno::kSrch;
    Ref<FsContext> context = p->fs_context();
    if (!context) return Errno::kInval;
    fs::Path root;
    {
        auto s = context->state.lock();
        root = s->root;
    }
    PathBuffer buffer;
    if (!buffer.bytes) return Errno::kNoMem;
    u32 left = kOfAPiece;
    for (fs::Mount* m = fs::first_mount(); m; m = m->next()) {
        if (m->id < position) continue;
        position = m->id;
        if (left-- == 0) return lib::kOk;
        if (!m->try_ref()) continue;
        fs::Path at{Ref<fs::Mount>::adopt(m), Ref<fs::Dentry>{m->root}};
        auto text = fs::path_text(at, root, {buffer.bytes, fs::kPathMax}, false);
        if (!text.ok() || text.value().empty() || text.value()[0] != '/') continue;  // not to be seen from there
        out(*m, text.value());
    }
    position = ~u64{0};
    return lib::kOk;
}

}  // namespace

Leaf<void> show_mounts(StringBuilder& out, const ProcContext& c, u64& position) {
    return some_mounts(c, position, [&out](const fs::Mount& m, std::string_view where) {
        add_escaped(out, m.source[0] ? std::string_view{m.source} : std::string_view{"none"}, kMountSpecial);
        out.put(" ");
        add_escaped(out, where, kMountSpecial);
        out.add(" {} ", m.super->type);
        add_flags(out, m, m.read_only());
        char options[128];
        out.put({options, m.super->show_options(options)});
        out.put(" 0 0\n");
    });
}

Leaf<void> show_mount_info(StringBuilder& out, const ProcContext& c, u64& position) {
    return some_mounts(c, position, [&out](const fs::Mount& m, std::string_view where) {
        u64 device = m.super->device;
        out.add("{} {} {}:{} / ", m.id, m.parent() ? m.parent()->id : m.id, abi::dev_major(device),
                abi::dev_minor(device));
        add_escaped(out, where, kMountSpecial);
        out.put(" ");
        add_flags(out, m, (m.flags.load(std::memory_order_relaxed) & fs::kMountReadOnly) != 0);
        out.add(" - {} ", m.super->type);
        add_escaped(out, m.source[0] ? std::string_view{m.source} : std::string_view{"none"}, kMountSpecial);
        char options[128];
        out.add(" {}", m.super->read_only.load(std::memory_order_relaxed) ? "ro" : "rw");
        out.put({options, m.super->show_options(options)});
        out.put("\n");
    });
}

}  // namespace linux
