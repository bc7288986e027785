// SPDX-License-Identifier: MIT
// ext4/ reads what mke2fs has made, of each kind of file system and size of block.
#include <sys/stat.h>

#include <filesystem>
#include <map>
#include <set>

#include "tests/unit/ext4_support.hpp"

namespace {

using namespace ext4_test;
using ext4::InodeNo;

class Names : public ext4::EntrySink {
public:
    explicit Names(size_t most = ~size_t{0}) : most_(most) {}
    bool add(const ext4::ListedEntry& e) override {
        if (found.size() == most_) return false;
        found.push_back({std::string(e.name), e.inode, e.type});
        return true;
    }
    std::vector<Listed> found;

private:
    size_t most_;
};

std::string pattern(size_t n, u32 seed) {
    std::string s(n, ' ');
    Random random(seed);
    for (char& c : s) c = char('a' + random() % 26);
    return s;
}

// A tree with what can be in one, once for all tests.
const std::string& source_tree() {
    static const std::string root = [] {
        const std::string r = temporary("tree");
        std::filesystem::create_directories(r + "/many");
        std::filesystem::create_directories(r + "/few/deep/er");
        for (u32 i = 0; i < 1500; ++i)
            write_text(r + "/many/a name that is somewhat long, number " + std::to_string(i), "");
        write_text(r + "/small", "hello\n");
        write_text(r + "/large", pattern(700'001, 1));
        write_text(r + "/few/empty", "");
        std::filesystem::create_symlink("short", r + "/link");
        std::filesystem::create_symlink(pattern(300, 2), r + "/long_link");
        std::filesystem::create_hard_link(r + "/small", r + "/few/again");
        // A sparse file with many pieces.
        FILE* f = std::fopen((r + "/sparse").c_str(), "w");
        for (u32 i = 0; i < 300; ++i) {
            std::fseek(f, long(i) * 24576, SEEK_SET);
            std::fwrite("x", 1, 1, f);
        }
        std::fclose(f);
        ::chmod((r + "/small").c_str(), 04751);
        return r;
    }();
    return root;
}

struct Kind {
    const char* name;
    const char* options;
};
void PrintTo(const Kind& k, std::ostream* out) { *out << k.name; }

class Ext4Read : public testing::TestWithParam<Kind> {
protected:
    void SetUp() override {
        source_tree();
        disk = std::make_unique<MemoryDisk>(image());
        runner = std::make_unique<Runner>(*disk);
        ext4::MountReport report;
        auto mounted = runner->run(ext4::mount(*disk, {.read_only = true}, report));
        ASSERT_TRUE(mounted.ok()) << i32(mounted.error()) << report.problem << report.feature;
        volume = mounted.take();
    }
    void TearDown() override {
        volume.reset();
        runner.reset();
    }
    static const std::vector<std::byte>& image() {
        static std::map<std::string, std::vector<std::byte>> made;
        auto& bytes = made[GetParam().name];
        if (bytes.empty()) {
            bytes = make_image(GetParam().options, "16M", source_tree());
            // The host's folder may keep no attributes.
            const std::string path = temporary("attributes.img"), value = temporary("value");
            write_file(path, bytes);
            write_text(value, pattern(600, 3));
            shell("debugfs -w -R 'ea_set small user.colour blue' " + path);
            shell("debugfs -w -R 'ea_set -f " + value + " small user.big' " + path);
            bytes = read_file(path);
            EXPECT_EQ(check_image(bytes), "");
        }
        return bytes;
    }
    Ref<ext4::Inode> walk(const std::string& path) {
        InodeNo at = ext4::kRootInode;
        size_t from = 0;
        while (from < path.size()) {
            const size_t to = std::min(path.find('/', from), path.size());
            auto dir = runner->run(ext4::get_inode(*volume, at));
            EXPECT_TRUE(dir.ok());
            auto e = runner->run(ext4::lookup(*dir.value(), std::string_view(path).substr(from, to - from)));
            EXPECT_TRUE(e.ok()) << path << " " << i32(e.error());
            if (!e.ok()) return {};
            at = e->inode;
            from = to + 1;
        }
        auto i = runner->run(ext4::get_inode(*volume, at));
        EXPECT_TRUE(i.ok()) << path << " " << i32(i.error());
        return i.ok() ? i.take() : Ref<ext4::Inode>{};
    }
    std::string contents(const std::string& path) {
        auto i = walk(path);
        std::string s(i->size(), '?');
        auto r = runner->run(ext4::read(*i, 0, std::as_writable_bytes(std::span(s))));
        EXPECT_TRUE(r.ok()) << path << " " << i32(r.error());
        return s;
    }
    std::unique_ptr<MemoryDisk> disk;
    std::unique_ptr<Runner> runner;
    rt::Owned<ext4::Volume> volume;
};

std::string host_contents(const std::string& path) {
    const auto bytes = read_file(source_tree() + "/" + path);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

TEST_P(Ext4Read, FilesHaveTheirContents) {
    for (const char* path : {"small", "large", "sparse", "few/empty", "few/again"})
        EXPECT_TRUE(contents(path) == host_contents(path)) << path;
    auto large = walk("large");
    char part[100];
    for (u64 at : {u64{0}, u64{1000}, u64{4090}, u64{123'457}, large->size() - 50, large->size()}) {
        auto n = runner->run(ext4::read(*large, at, std::as_writable_bytes(std::span(part))));
        ASSERT_TRUE(n.ok());
        EXPECT_EQ(std::string(part, n.value()), host_contents("large").substr(at, 100));
    }
}

TEST_P(Ext4Read, AttributesAreThoseOfTheTree) {
    struct stat s;
    for (const char* path : {"small", "large", "link", "few", "sparse"}) {
        ASSERT_EQ(::lstat((source_tree() + "/" + path).c_str(), &s), 0);
        auto i = walk(path);
        EXPECT_EQ(i->mode(), s.st_mode) << path;
        EXPECT_EQ(i->raw.links, s.st_nlink) << path;
        EXPECT_EQ(ext4::get_time(*i, ext4::TimeOf::kModified).seconds, s.st_mtim.tv_sec) << path;
        if (!i->is_directory()) EXPECT_EQ(i->size(), u64(s.st_size)) << path;
    }
    EXPECT_EQ(walk("small")->number, walk("few/again")->number);
    EXPECT_LT(walk("sparse")->sectors() * 512, walk("sparse")->size());
}

TEST_P(Ext4Read, LinksHaveTheirTargets) {
    for (const auto& [path, target] :
         {std::pair<std::string, std::string>{"link", "short"}, {"long_link", pattern(300, 2)}}) {
        char text[400];
        auto n = runner->run(ext4::read_link(*walk(path), text));
        ASSERT_TRUE(n.ok());
        EXPECT_EQ(std::string(text, n.value()), target);
    }
    char text[10];
    EXPECT_EQ(runner->run(ext4::read_link(*walk("small"), text)).error(), Errno::kInval);
}

TEST_P(Ext4Read, EveryEntryIsListedOnceHoweverSmallTheSteps) {
    auto many = walk("many");
    for (size_t step : {size_t{1}, size_t{7}, size_t{100'000}}) {
        std::map<std::string, InodeNo> seen;
        for (u64 cookie = 0; cookie != ext4::kEndCookie;) {
            Names names(step);
            auto next = runner->run(ext4::iterate(*many, cookie, names));
            ASSERT_TRUE(next.ok()) << i32(next.error());
            for (const Listed& l : names.found) EXPECT_TRUE(seen.emplace(l.name, l.inode).second) << l.name;
            cookie = next.value();
        }
        EXPECT_EQ(seen.size(), 1502u);
        EXPECT_EQ(seen["."], many->number);
        EXPECT_EQ(seen[".."], ext4::kRootInode);
        for (u32 i = 0; i < 1500; ++i)
            EXPECT_EQ(seen.count("a name that is somewhat long, number " + std::to_string(i)), 1u);
        for (u32 i = 0; i < 1500 && step > 7; i += 97) {
            const std::string name = "a name that is somewhat long, number " + std::to_string(i);
            EXPECT_EQ(walk("many/" + name)->number, seen[name]);
        }
    }
    Names names;
    ASSERT_TRUE(runner->run(ext4::iterate(*walk(""), 0, names)).ok());
    std::map<std::string, u8> types;
    for (const Listed& l : names.found) types[l.name] = l.type;
    const bool typed = volume->geo.incompat & ext4::incompat::kFileType;  // otherwise DT_UNKNOWN
    EXPECT_EQ(types["small"], typed ? 8 : 0);
    EXPECT_EQ(types["link"], typed ? 10 : 0);
    EXPECT_EQ(types["few"], typed ? 4 : 0);
    EXPECT_EQ(types["lost+found"], typed ? 4 : 0);
}

TEST_P(Ext4Read, NamesThatAreNotThereAreNotFound) {
    auto many = walk("many");
    EXPECT_EQ(runner->run(ext4::lookup(*many, "a name that is not there")).error(), Errno::kNoEnt);
    EXPECT_EQ(runner->run(ext4::lookup(*many, std::string(256, 'x'))).error(), Errno::kNameTooLong);
    EXPECT_EQ(runner->run(ext4::lookup(*walk("small"), "x")).error(), Errno::kNotDir);
    EXPECT_FALSE(runner->run(ext4::is_empty_directory(*many)).value());
    EXPECT_TRUE(runner->run(ext4::is_empty_directory(*walk("few/deep/er"))).value());
}

TEST_P(Ext4Read, AttributesByNameAreThere) {
    auto small = walk("small");
    char value[1000];
    const auto bytes = std::as_writable_bytes(std::span(value));
    auto n = runner->run(ext4::get_xattr(*small, "user.colour", bytes));
    if (!(volume->geo.compat & ext4::compat::kExtAttr)) {  // of revision 0
        EXPECT_EQ(n.error(), Errno::kNoData);
        return;
    }
    ASSERT_TRUE(n.ok()) << i32(n.error());
    EXPECT_EQ(std::string(value, n.value()), "blue");
    n = runner->run(ext4::get_xattr(*small, "user.big", bytes));
    ASSERT_TRUE(n.ok());
    EXPECT_EQ(std::string(value, n.value()), pattern(600, 3));
    EXPECT_EQ(runner->run(ext4::get_xattr(*small, "user.big", bytes.first(10))).error(), Errno::kRange);
    EXPECT_EQ(runner->run(ext4::get_xattr(*small, "user.big", {})).value(), 600u);
    EXPECT_EQ(runner->run(ext4::get_xattr(*small, "user.none", bytes)).error(), Errno::kNoData);
    n = runner->run(ext4::list_xattrs(*small, value));
    ASSERT_TRUE(n.ok());
    const std::string list(value, n.value());
    EXPECT_NE(list.find(std::string("user.colour\0", 12)), std::string::npos);
    EXPECT_NE(list.find(std::string("user.big\0", 9)), std::string::npos);
}

TEST_P(Ext4Read, StatisticsAreThoseOfTheSuperblock) {
    const ext4::VolumeStats s = ext4::stats(*volume);
    EXPECT_EQ(s.free_blocks, u32(volume->super->free_blocks_lo));
    EXPECT_EQ(s.free_inodes, u32(volume->super->free_inodes));
    EXPECT_LT(s.available_blocks, s.free_blocks);
}

constexpr Kind kKinds[] = {
    {"ext2_1k", "-t ext2 -b 1024 -O ext_attr,dir_index"},
    {"ext2_4k", "-t ext2 -b 4096 -O ext_attr,^dir_index"},
    {"ext2_old", "-t ext2 -b 1024 -r 0 -O none"},
    {"ext3_2k", "-t ext3 -b 2048 -O ext_attr,has_journal,dir_index,filetype,sparse_super -I 128"},
    {"ext4_1k",
     "-t ext4 -b 1024 -O "
     "has_journal,extent,dir_index,64bit,metadata_csum,flex_bg,huge_file,extra_isize,filetype,sparse_super,large_file,"
     "dir_nlink"},
    {"ext4_4k",
     "-t ext4 -b 4096 -O "
     "has_journal,extent,dir_index,64bit,metadata_csum,metadata_csum_seed,flex_bg,huge_file,extra_isize,filetype,"
     "sparse_super,orphan_file"},
    {"ext4_uninit",
     "-t ext4 -b 1024 -O ext_attr,has_journal,extent,dir_index,uninit_bg,flex_bg,filetype,^metadata_csum,^64bit"},
    {"ext4_meta_bg",
     "-t ext4 -b 1024 -g 1024 -O ext_attr,extent,dir_index,meta_bg,^resize_inode,metadata_csum,filetype,sparse_super"},
    {"ext4_inline",
     "-t ext4 -b 4096 -I 1024 -O "
     "ext_attr,has_journal,extent,dir_index,64bit,metadata_csum,flex_bg,filetype,inline_data"},
    {"ext4_bigalloc",
     "-t ext4 -b 1024 -C 16384 -N 4096 -O "
     "ext_attr,has_journal,extent,dir_index,64bit,metadata_csum,flex_bg,filetype,bigalloc"},
};
INSTANTIATE_TEST_SUITE_P(Kinds, Ext4Read, testing::ValuesIn(kKinds),
                         [](const testing::TestParamInfo<Kind>& info) { return info.param.name; });

}  // namespace
