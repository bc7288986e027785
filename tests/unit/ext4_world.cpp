// SPDX-License-Identifier: MIT
#include "tests/unit/ext4_world.hpp"

namespace ext4_test {

namespace {

class AllNames : public ext4::EntrySink {
public:
    bool add(const ext4::ListedEntry& e) override {
        found.push_back({std::string(e.name), e.inode, e.type});
        return true;
    }
    std::vector<Listed> found;
};

}  // namespace

std::vector<Listed> World::list(const std::string& path) {
    AllNames names;
    auto dir = find(path);
    EXPECT_TRUE(dir.ok()) << path;
    if (!dir.ok()) return {};
    auto r = run(ext4::iterate(*dir.value(), 0, names));
    EXPECT_TRUE(r.ok()) << path << ": " << i32(r.error());
    return names.found;
}

void World::walk(const std::string& path, Model& found, std::map<ext4::InodeNo, u32>& numbers) {
    for (const Listed& l : list(path)) {
        if (l.name == "." || l.name == ".." || (path.empty() && l.name == "lost+found")) continue;
        const std::string below = path.empty() ? l.name : path + "/" + l.name;
        auto i = find(below);
        EXPECT_TRUE(i.ok()) << below << ": " << i32(i.error());
        if (!i.ok()) continue;
        ModelNode n;
        n.type = i.value()->type();
        n.file = l.inode;
        numbers[l.inode]++;
        if (n.type == abi::kTypeDirectory) {
            n.file = 0;
            walk(below, found, numbers);
        } else {
            n.contents = read(below);
            EXPECT_GT(u32(i.value()->raw.links), 0u);
        }
        found[below] = n;
    }
}

std::string World::compare(const Model& model) {
    Model found = {{"", {abi::kTypeDirectory, "", 0}}};
    std::map<ext4::InodeNo, u32> numbers;
    walk("", found, numbers);
    std::map<u32, u32> same;  // the model's number of a file, the volume's
    for (const auto& [path, node] : model) {
        auto at = found.find(path);
        if (at == found.end()) return "missing: " + path;
        if (at->second.type != node.type) return "another type: " + path;
        if (at->second.contents != node.contents) {
            size_t d = 0;
            while (d < node.contents.size() && d < at->second.contents.size() &&
                   node.contents[d] == at->second.contents[d])
                ++d;
            return "other contents: " + path + " from byte " + std::to_string(d) + " of " +
                   std::to_string(node.contents.size()) + ", found " + std::to_string(at->second.contents.size());
        }
        if (node.file == 0) continue;
        if (same.emplace(node.file, at->second.file).first->second != at->second.file) return "another file: " + path;
    }
    for (const auto& [path, node] : found)
        if (!model.count(path)) return "not expected: " + path;
    return "";
}

std::string Operations::name() {
    std::string s = "n" + std::to_string(random_() % 1000);
    if (random_() % 4 == 0) s += std::string(random_() % 200, 'x');
    return s;
}

std::string Operations::pick(u32 type, bool root) {
    std::vector<const std::string*> of;
    for (const auto& [path, node] : model)
        if (node.type == type && (root || !path.empty())) of.push_back(&path);
    return of.empty() ? "-" : *of[random_() % of.size()];
}

std::string Operations::new_path() {
    const std::string dir = pick(abi::kTypeDirectory, true);
    return dir.empty() ? name() : dir + "/" + name();
}

bool Operations::expect(Errno got, const std::string& what) {
    if (got == Errno::kOk) return true;
    if (got == Errno::kNoSpc) {
        ++no_space;
        return false;
    }
    ADD_FAILURE() << what << ": error " << i32(got) << " " << (world_.volume->damage ? world_.volume->damage : "");
    return false;
}

void Operations::same_file(const std::string& path, const std::function<void(ModelNode&)>& change) {
    const u32 file = model[path].file;
    for (auto& [other, node] : model)
        if (node.file == file && node.type == abi::kTypeRegular) change(node);
}

bool Operations::step() {
    const u64 kind = random_() % 100;
    if (kind < 22) {  // a file
        const std::string path = new_path();
        if (model.count(path)) {
            EXPECT_EQ(world_.make_file(path), Errno::kExist) << path;
        } else if (expect(world_.make_file(path), "create " + path)) {
            model[path] = {abi::kTypeRegular, "", next_file_++};
        }
    } else if (kind < 30) {
        const std::string path = new_path();
        if (!model.count(path) && expect(world_.make_dir(path), "mkdir " + path))
            model[path] = {abi::kTypeDirectory, "", 0};
    } else if (kind < 35) {
        const std::string path = new_path(), target(1 + random_() % 200, 't');
        if (!model.count(path) && expect(world_.make(path, abi::kTypeLink | 0777, target), "symlink " + path))
            model[path] = {abi::kTypeLink, target, next_file_++};
    } else if (kind < 60) {
        const std::string path = pick(abi::kTypeRegular, false);
        if (path == "-") return true;
        const u64 offset = random_() % most_;
        const std::string text(1 + random_() % (most_ / 4), char('a' + random_() % 26));
        if (expect(world_.write(path, offset, text), "write " + path)) {
            same_file(path, [&](ModelNode& n) {
                if (n.contents.size() < offset + text.size()) n.contents.resize(offset + text.size());
                n.contents.replace(offset, text.size(), text);
            });
        } else {
            const std::string now = world_.read(path);  // a part may have been written
            same_file(path, [&](ModelNode& n) { n.contents = now; });
        }
    } else if (kind < 70) {
        const std::string path = pick(abi::kTypeRegular, false);
        if (path == "-") return true;
        const u64 size = random_() % most_;
        if (expect(world_.truncate(path, size), "truncate " + path))
            same_file(path, [&](ModelNode& n) { n.contents.resize(size); });
    } else if (kind < 80) {
        const std::string path = pick(random_() % 5 ? abi::kTypeRegular : abi::kTypeLink, false);
        if (path != "-" && expect(world_.unlink(path), "unlink " + path)) model.erase(path);
    } else if (kind < 84) {
        const std::string path = pick(abi::kTypeDirectory, false);
        if (path == "-") return true;
        const auto next = model.upper_bound(path + "/");
        const bool empty = next == model.end() || !next->first.starts_with(path + "/");
        const Errno e = world_.rmdir(path);
        if (!empty)
            EXPECT_EQ(e, Errno::kNotEmpty) << path;
        else if (expect(e, "rmdir " + path))
            model.erase(path);
    } else if (kind < 88) {
        const std::string path = pick(abi::kTypeRegular, false), to = new_path();
        if (path != "-" && !model.count(to) && expect(world_.link(path, to), "link " + path)) model[to] = model[path];
    } else {  // rename, also over a file, and of directories
        const std::string from = pick(random_() % 4 ? abi::kTypeRegular : abi::kTypeDirectory, false);
        if (from == "-") return true;
        std::string to = random_() % 3 ? new_path() : pick(abi::kTypeRegular, false);
        if (to == "-" || to == from || to.starts_with(from + "/")) return true;
        const bool dir = model[from].type == abi::kTypeDirectory;
        if (model.count(to) && (dir || model[to].type == abi::kTypeDirectory)) return true;
        if (!expect(world_.rename(from, to), "rename " + from + " to " + to)) return true;
        if (model.count(to) && model[to].file == model[from].file) return true;  // names of one file stay
        Model moved;
        for (auto at = model.begin(); at != model.end();) {
            if (at->first == from || (dir && at->first.starts_with(from + "/"))) {
                moved[to + at->first.substr(from.size())] = at->second;
                at = model.erase(at);
            } else {
                ++at;
            }
        }
        model.erase(to);
        model.merge(moved);
    }
    return !testing::Test::HasFailure();
}

std::vector<std::byte> cut(const std::vector<std::byte>& before, const std::vector<MemoryDisk::LogEntry>& log,
                           size_t at, Random& random) {
    std::vector<std::byte> image = before;
    size_t durable = 0;
    for (size_t n = 0; n < at; ++n)
        if (log[n].flush) durable = n;
    for (size_t n = 0; n < at; ++n) {
        const MemoryDisk::LogEntry& e = log[n];
        if (e.flush) continue;
        const u64 fate = n < durable ? 0 : random() % 4;
        if (fate == 1) continue;
        for (u64 s = 0; s < e.bytes.size(); s += block::kSectorBytes)
            if (fate != 2 || random() % 2)
                std::memcpy(image.data() + e.sector * block::kSectorBytes + s, e.bytes.data() + s, block::kSectorBytes);
    }
    return image;
}

}  // namespace ext4_test
