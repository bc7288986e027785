// SPDX-License-Identifier: MIT
// A mounted volume that a test changes, and a model of what must be in it.
#pragma once
#include <map>

#include "ext4/names.hpp"
#include "ext4/write.hpp"
#include "tests/unit/ext4_support.hpp"

namespace ext4_test {

// What a file system must hold: paths without a leading slash, "" is the root.
struct ModelNode {
    u32 type = 0;          // as in the mode
    std::string contents;  // of a file; the target of a link
    u32 file = 0;          // names of one file have one number
};
using Model = std::map<std::string, ModelNode>;

// One mounted volume on one disk.
class World {
public:
    World(std::vector<std::byte> image, u64 seed, u32 cpus = 1) : disk(std::move(image), seed), runner(disk, cpus) {}
    ~World() { volume.reset(); }
    // The error of the mount.
    Errno mount(ext4::MountOptions options = {}) {
        if (!options.now) options.now = &World::now;
        report = {};
        auto r = runner.run(ext4::mount(disk, options, report));
        if (r.ok()) volume = r.take();
        return r.error();
    }
    Errno unmount() {
        const auto r = runner.run(ext4::unmount(*volume));
        volume.reset();
        return r.error();
    }
    template <class T>
    Result<T> run(Task<Result<T>> t) {
        return runner.run(std::move(t));
    }
    Result<Ref<ext4::Inode>> find(const std::string& path) {
        ext4::InodeNo at = ext4::kRootInode;
        for (size_t from = 0; from < path.size();) {
            const size_t to = std::min(path.find('/', from), path.size());
            auto dir = run(ext4::get_inode(*volume, at));
            if (!dir.ok()) return dir.error();
            auto e = run(ext4::lookup(*dir.value(), std::string_view(path).substr(from, to - from)));
            if (!e.ok()) return e.error();
            at = e->inode;
            from = to + 1;
        }
        return run(ext4::get_inode(*volume, at));
    }
    static std::pair<std::string, std::string> split(const std::string& path) {
        const size_t slash = path.rfind('/');
        if (slash == std::string::npos) return {"", path};
        return {path.substr(0, slash), path.substr(slash + 1)};
    }
    Ref<ext4::Inode> parent_of(const std::string& path) { return find(split(path).first).take(); }
    Errno make(const std::string& path, u32 mode, const std::string& target = {}) {
        return run(ext4::create(*parent_of(path), split(path).second, {.mode = mode, .uid = 70000, .gid = 5}, target))
            .error();
    }
    Errno make_file(const std::string& path) { return make(path, abi::kTypeRegular | 0644); }
    Errno make_dir(const std::string& path) { return make(path, abi::kTypeDirectory | 0755); }
    Errno write(const std::string& path, u64 offset, const std::string& text) {
        return run(ext4::write(*find(path).take(), offset, std::as_bytes(std::span(text)))).error();
    }
    Errno unlink(const std::string& path) {
        auto i = find(path);
        if (!i.ok()) return i.error();
        const auto r = run(ext4::unlink(*parent_of(path), split(path).second, *i.value()));
        if (!r.ok()) return r.error();
        return run(ext4::release(i.take())).error();
    }
    Errno rmdir(const std::string& path) {
        auto i = find(path);
        if (!i.ok()) return i.error();
        const auto r = run(ext4::rmdir(*parent_of(path), split(path).second, *i.value()));
        if (!r.ok()) return r.error();
        return run(ext4::release(i.take())).error();
    }
    Errno rename(const std::string& from, const std::string& to) {
        auto i = find(from);
        if (!i.ok()) return i.error();
        auto replaced = find(to);
        Ref<ext4::Inode> old = replaced.ok() ? replaced.take() : Ref<ext4::Inode>{};
        const auto r = run(ext4::rename(*parent_of(from), split(from).second, *i.value(), *parent_of(to),
                                        split(to).second, old.get()));
        if (!r.ok() || !old) return r.error();
        return run(ext4::release(std::move(old))).error();
    }
    Errno link(const std::string& from, const std::string& to) {
        auto i = find(from);
        if (!i.ok()) return i.error();
        return run(ext4::link(*parent_of(to), split(to).second, *i.value())).error();
    }
    Errno truncate(const std::string& path, u64 size) { return run(ext4::truncate(*find(path).take(), size)).error(); }
    std::string read(const std::string& path) {
        auto i = find(path);
        if (!i.ok()) return "<" + std::to_string(i32(i.error())) + ">";
        if (i.value()->is_symlink()) {
            char text[4096];
            auto n = run(ext4::read_link(*i.value(), text));
            return n.ok() ? std::string(text, n.value()) : "<link>";
        }
        std::string s(i.value()->size(), '?');
        auto r = run(ext4::read(*i.value(), 0, std::as_writable_bytes(std::span(s))));
        return r.ok() ? s : "<" + std::to_string(i32(r.error())) + ">";
    }
    std::vector<Listed> list(const std::string& path);
    // All that is in the volume but lost+found; "" if it is as the model says, or the first difference.
    std::string compare(const Model& model);
    void each_file(const std::string& path, const std::function<void(const std::string&, const std::string&)>& call) {
        for (const Listed& l : list(path)) {
            if (l.name == "." || l.name == "..") continue;
            const std::string below = path.empty() ? l.name : path + "/" + l.name;
            auto i = find(below);
            if (!i.ok()) continue;
            if (i.value()->is_directory())
                each_file(below, call);
            else if (i.value()->is_regular())
                call(below, read(below));
        }
    }
    static ext4::Time now() {
        const u64 n = ticks_.fetch_add(1);
        return {1'700'000'000 + i64(n / 1000), u32(n % 1000)};
    }

    MemoryDisk disk;
    Runner runner;
    rt::Owned<ext4::Volume> volume;
    ext4::MountReport report;

private:
    void walk(const std::string& path, Model& found, std::map<ext4::InodeNo, u32>& numbers);
    static inline std::atomic<u64> ticks_{0};
};

// Random operations on a world and its model. Each is performed on both; the results must agree.
class Operations {
public:
    Operations(World& w, u64 seed, u32 most_file_bytes = 60'000) : world_(w), random_(seed), most_(most_file_bytes) {}
    // One operation. False: they disagree (a failure was added).
    bool step();
    // All that was done so far is durable.
    void sync() { EXPECT_TRUE(world_.run(ext4::sync(*world_.volume)).ok()); }
    Model model = {{"", {abi::kTypeDirectory, "", 0}}};
    u64 no_space = 0;  // operations that found no room

private:
    std::string pick(u32 type, bool root);  // a path that is there; "-": none
    std::string new_path();
    std::string name();
    bool expect(Errno got, const std::string& what);
    void same_file(const std::string& path, const std::function<void(ModelNode&)>& change);
    World& world_;
    Random random_;
    u32 most_;
    u32 next_file_ = 1;
};

// The disk as it may be when the power goes after `at` entries of the log: all writes before the last flush, any of those after
// it, torn by sectors.
std::vector<std::byte> cut(const std::vector<std::byte>& before, const std::vector<MemoryDisk::LogEntry>& log,
                           size_t at, Random& random);

}  // namespace ext4_test
