// SPDX-License-Identifier: MIT
// ext4/ changes volumes: what was done is there, and e2fsck finds nothing.
#include <cstdlib>

#include "tests/unit/ext4_world.hpp"

namespace {

using namespace ext4_test;

struct Kind {
    const char* name;
    const char* options;
};
void PrintTo(const Kind& k, std::ostream* out) { *out << k.name; }
constexpr const char* kPlain =
    "-t ext4 -b 1024 -O has_journal,extent,dir_index,64bit,metadata_csum,flex_bg,huge_file,extra_isize,"
    "filetype,sparse_super,large_file,dir_nlink,ext_attr -E lazy_itable_init=1";
constexpr Kind kKinds[] = {
    {"ext2_1k", "-t ext2 -b 1024 -O dir_index,filetype,sparse_super,large_file"},
    {"ext2_old", "-t ext2 -b 1024 -r 0 -O none"},
    {"ext3_1k", "-t ext3 -b 1024 -O has_journal,dir_index,filetype,sparse_super,large_file -I 128"},
    {"ext4_1k", kPlain},
    {"ext4_2k",
     "-t ext4 -b 2048 -O has_journal,extent,dir_index,metadata_csum,filetype,sparse_super,^64bit,extra_isize"},
    {"ext4_4k",
     "-t ext4 -b 4096 -O has_journal,extent,dir_index,64bit,metadata_csum,metadata_csum_seed,flex_bg,huge_file,"
     "extra_isize,filetype,sparse_super,orphan_file,dir_nlink"},
    {"ext4_uninit",
     "-t ext4 -b 1024 -O has_journal,extent,dir_index,uninit_bg,flex_bg,filetype,^metadata_csum,^64bit,sparse_super"},
    {"ext4_fast_commit",
     "-t ext4 -b 1024 -O has_journal,fast_commit,extent,dir_index,64bit,metadata_csum,flex_bg,filetype,large_dir"},
    {"ext4_sparse2",
     "-t ext4 -b 1024 -g 2048 -O has_journal,extent,dir_index,metadata_csum,filetype,sparse_super2,^resize_inode"},
    {"ext4_meta_bg",
     "-t ext4 -b 1024 -g 1024 -O has_journal,extent,dir_index,meta_bg,^resize_inode,metadata_csum,filetype"},
};

class Ext4Write : public testing::TestWithParam<Kind> {
protected:
    std::unique_ptr<World> mounted(const char* size = "24M", u64 seed = 1) {
        auto w = std::make_unique<World>(make_image(GetParam().options, size), seed);
        EXPECT_EQ(w->mount(), Errno::kOk) << w->report.problem << " " << w->report.feature;
        EXPECT_FALSE(w->volume->read_only) << w->report.feature;
        return w;
    }
    static void finish(World& w) {
        EXPECT_EQ(w.unmount(), Errno::kOk);
        EXPECT_EQ(check_image(w.disk.bytes), "");
    }
};

TEST_P(Ext4Write, NothingDoneLeavesAVolumeThatIsClean) {
    auto w = mounted();
    finish(*w);
}

TEST_P(Ext4Write, OneOfEachIsThereAfterTheNextMount) {
    auto w = mounted();
    EXPECT_EQ(w->make_dir("d"), Errno::kOk);
    EXPECT_EQ(w->make_file("d/f"), Errno::kOk);
    EXPECT_EQ(w->write("d/f", 3000, "some text"), Errno::kOk);
    EXPECT_EQ(w->make("d/s", abi::kTypeLink | 0777, "short"), Errno::kOk);
    EXPECT_EQ(w->make("d/l", abi::kTypeLink | 0777, std::string(500, 'l')), Errno::kOk);
    EXPECT_EQ(
        w->run(ext4::create(*w->parent_of("dev"), "dev", {.mode = abi::kTypeChar | 0600, .device = 0x501})).error(),
        Errno::kOk);
    EXPECT_EQ(w->link("d/f", "g"), Errno::kOk);
    EXPECT_EQ(w->unmount(), Errno::kOk);
    EXPECT_EQ(check_image(w->disk.bytes), "");
    ASSERT_EQ(w->mount(), Errno::kOk);
    EXPECT_EQ(w->read("g"), std::string(3000, '\0') + "some text");
    EXPECT_EQ(w->read("d/s"), "short");
    EXPECT_EQ(w->read("d/l"), std::string(500, 'l'));
    auto i = w->find("d/f").take();
    EXPECT_EQ(u32(i->raw.links), 2u);
    EXPECT_EQ(i->uid(), 70000u);
    EXPECT_EQ(w->find("dev").value()->device(), 0x501u);
    i = {};
    finish(*w);
}

TEST_P(Ext4Write, RandomOperationsAgreeWithTheModel) {
    const char* more = std::getenv("FARCALL_EXT4_SEEDS");
    for (u64 seed = 1; seed <= (more ? u64(std::atoi(more)) : 2); ++seed) {
        auto w = mounted("24M", seed);
        Operations ops(*w, seed);
        for (u32 n = 0; n < 600 && ops.step(); ++n)
            if (n % 100 == 99) ops.sync();
        if (HasFailure()) {
            ADD_FAILURE() << "seed " << seed;
            w->volume.reset();
            return;
        }
        EXPECT_EQ(w->compare(ops.model), "") << "seed " << seed;
        finish(*w);
        ASSERT_EQ(w->mount(), Errno::kOk);
        EXPECT_EQ(w->compare(ops.model), "") << "seed " << seed;
        finish(*w);
        if (HasFailure()) return;
    }
}

TEST_P(Ext4Write, ALargeDirectoryKeepsItsNamesAndGivesThemBack) {
    auto w = mounted();
    ASSERT_EQ(w->make_dir("d"), Errno::kOk);
    const u32 count = std::string(GetParam().name) == "ext2_old" ? 300 : 3000;
    for (u32 n = 0; n < count; ++n)
        ASSERT_EQ(w->make_file("d/a rather long name of a file " + std::to_string(n)), Errno::kOk);
    EXPECT_EQ(w->list("d").size(), count + 2);
    for (u32 n = 0; n < count; n += 2)
        ASSERT_EQ(w->unlink("d/a rather long name of a file " + std::to_string(n)), Errno::kOk);
    EXPECT_EQ(w->list("d").size(), count / 2 + 2);
    EXPECT_EQ(w->unmount(), Errno::kOk);
    EXPECT_EQ(check_image(w->disk.bytes), "");
    ASSERT_EQ(w->mount(), Errno::kOk);
    for (u32 n = 0; n < count; ++n)
        EXPECT_EQ(w->find("d/a rather long name of a file " + std::to_string(n)).ok(), n % 2 == 1);
    finish(*w);
}

TEST_P(Ext4Write, AFileOfManyPiecesGrowsAndShrinks) {
    auto w = mounted();
    ASSERT_EQ(w->make_file("f"), Errno::kOk);
    const u32 step = w->volume->geo.block_bytes * 2;
    std::string model;
    for (u32 n = 0; n < 1200; ++n) {
        const u64 at = u64(n * 7 % 1200) * step;
        ASSERT_EQ(w->write("f", at, std::to_string(n)), Errno::kOk) << n;
        if (model.size() < at + std::to_string(n).size()) model.resize(at + std::to_string(n).size());
        model.replace(at, std::to_string(n).size(), std::to_string(n));
    }
    EXPECT_TRUE(w->read("f") == model);
    for (u64 size : {model.size() - 5, model.size() / 2, model.size() / 2 + 100'000, u64{5000}, u64{0}}) {
        ASSERT_EQ(w->truncate("f", size), Errno::kOk);
        model.resize(size);
        EXPECT_TRUE(w->read("f") == model) << size;
    }
    EXPECT_EQ(w->find("f").value()->sectors(), 0u);
    finish(*w);
}

TEST_P(Ext4Write, AttributesByNameComeGrowAndGo) {
    auto w = mounted();
    ASSERT_EQ(w->make_file("f"), Errno::kOk);
    auto i = w->find("f").take();
    std::map<std::string, std::string> model;
    Random random(9);
    const auto check = [&] {
        for (const auto& [name, value] : model) {
            std::string got(4096, '?');
            auto n = w->run(ext4::get_xattr(*i, name, std::as_writable_bytes(std::span(got))));
            ASSERT_TRUE(n.ok()) << name;
            EXPECT_EQ(got.substr(0, n.value()), value) << name;
        }
    };
    u32 full = 0;
    for (u32 n = 0; n < 150; ++n) {
        const char* prefixes[] = {"user.", "trusted.", "security."};
        const std::string name =
            std::string(prefixes[random() % 3]) + std::string(1 + random() % 3, char('a' + random() % 5));
        const std::string value(random() % 120, char('A' + random() % 26));
        if (random() % 3 == 0) {
            EXPECT_EQ(w->run(ext4::remove_xattr(*i, name)).error(), model.erase(name) ? Errno::kOk : Errno::kNoData);
        } else {
            const Errno e =
                w->run(ext4::set_xattr(*i, name, std::as_bytes(std::span(value)), ext4::XattrHow::kAny)).error();
            if (e == Errno::kNoSpc) {
                ++full;
                continue;
            }
            EXPECT_EQ(e, Errno::kOk);
            model[name] = value;
        }
        if (n % 30 == 29) check();
    }
    if (w->volume->geo.block_bytes == 1024) EXPECT_GT(full, 0u);
    const auto any = std::as_bytes(std::span("x", 1));
    EXPECT_EQ(w->run(ext4::set_xattr(*i, "user.none", any, ext4::XattrHow::kReplace)).error(), Errno::kNoData);
    EXPECT_EQ(w->run(ext4::set_xattr(*i, model.begin()->first, any, ext4::XattrHow::kCreate)).error(), Errno::kExist);
    EXPECT_EQ(w->run(ext4::set_xattr(*i, "strange", any, ext4::XattrHow::kAny)).error(), Errno::kOpNotSupp);
    i = {};
    EXPECT_EQ(w->unmount(), Errno::kOk);
    EXPECT_EQ(check_image(w->disk.bytes), "");
    ASSERT_EQ(w->mount(), Errno::kOk);
    i = w->find("f").take();
    check();
    i = {};
    EXPECT_EQ(w->unlink("f"), Errno::kOk);
    finish(*w);
}

TEST_P(Ext4Write, AFullVolumeSaysSoAndLosesNothing) {
    auto w = mounted("6M");
    Operations ops(*w, 5, 900'000);
    for (u32 n = 0; n < 400 && !HasFailure(); ++n) ops.step();
    EXPECT_GT(ops.no_space, 0u);
    EXPECT_EQ(w->compare(ops.model), "");
    finish(*w);
}

TEST_P(Ext4Write, PreallocatedBlocksReadAsZerosUntilTheyAreWritten) {
    auto w = mounted();
    ASSERT_EQ(w->make_file("f"), Errno::kOk);
    auto i = w->find("f").take();
    const u32 bytes = w->volume->geo.block_bytes;
    if (!i->has(ext4::kInodeExtents)) {
        EXPECT_EQ(w->run(ext4::preallocate(*i, 0, 10)).error(), Errno::kOpNotSupp);
        i = {};
        finish(*w);
        return;
    }
    ASSERT_TRUE(w->run(ext4::preallocate(*i, 5, 300)).ok());
    EXPECT_EQ(i->size(), 0u);
    const u64 sectors = i->sectors();
    EXPECT_GE(sectors, u64{300} * bytes / 512);
    ASSERT_EQ(w->truncate("f", u64{305} * bytes), Errno::kOk);
    std::string model(u64{305} * bytes, '\0');
    Random random(4);
    for (u32 n = 0; n < 60; ++n) {
        const u64 at = random() % (model.size() - 3000);
        const std::string text(1 + random() % 3000, char('a' + n % 26));
        ASSERT_EQ(w->write("f", at, text), Errno::kOk);
        model.replace(at, text.size(), text);
    }
    EXPECT_TRUE(w->read("f") == model);
    EXPECT_EQ(model.find(char(kStale)), std::string::npos);
    i = {};
    EXPECT_EQ(w->unmount(), Errno::kOk);
    EXPECT_EQ(check_image(w->disk.bytes), "");
    ASSERT_EQ(w->mount(), Errno::kOk);
    EXPECT_TRUE(w->read("f") == model);
    finish(*w);
}

TEST_P(Ext4Write, NamesChangePlacesAndAFileWithoutANameGetsOne) {
    auto w = mounted();
    ASSERT_EQ(w->make_dir("a"), Errno::kOk);
    ASSERT_EQ(w->make_dir("a/sub"), Errno::kOk);
    ASSERT_EQ(w->make_dir("b"), Errno::kOk);
    ASSERT_EQ(w->make_file("b/file"), Errno::kOk);
    ASSERT_EQ(w->write("b/file", 0, "text"), Errno::kOk);
    {
        auto sub = w->find("a/sub").take(), file = w->find("b/file").take();
        auto a = w->find("a").take(), b = w->find("b").take();
        ASSERT_TRUE(w->run(ext4::exchange(*a, "sub", *sub, *b, "file", *file)).ok());
        EXPECT_EQ(u32(a->raw.links), 2u);
        EXPECT_EQ(u32(b->raw.links), 3u);
        EXPECT_EQ(w->run(ext4::lookup(*sub, "..")).value().inode, b->number);
    }
    EXPECT_EQ(w->read("a/sub"), "text");
    {
        auto root = w->find("").take();
        auto unnamed = w->run(ext4::create_unnamed(*root, {.mode = abi::kTypeRegular | 0600})).take();
        const std::string text = "unnamed";
        ASSERT_TRUE(w->run(ext4::write(*unnamed, 0, std::as_bytes(std::span(text)))).ok());
        ASSERT_TRUE(w->run(ext4::link(*root, "named", *unnamed)).ok());
        auto gone = w->run(ext4::create_unnamed(*root, {.mode = abi::kTypeRegular | 0600})).take();
        ASSERT_TRUE(w->run(ext4::write(*gone, 0, std::as_bytes(std::span(text)))).ok());
        ASSERT_TRUE(w->run(ext4::release(std::move(gone))).ok());
    }
    EXPECT_EQ(w->unmount(), Errno::kOk);
    EXPECT_EQ(check_image(w->disk.bytes), "");
    ASSERT_EQ(w->mount(), Errno::kOk);
    EXPECT_EQ(w->read("named"), "unnamed");
    finish(*w);
}

// ---- Orphans ----

constexpr const char* kWithOrphanFile =
    "-t ext4 -b 1024 -O has_journal,extent,dir_index,64bit,metadata_csum,flex_bg,filetype,sparse_super,orphan_file";

// A volume that was cut off while two files without a name were in use; the free blocks and inodes of before.
std::vector<std::byte> cut_off_with_orphans(std::pair<u64, u32>& free_before, std::vector<ext4::InodeNo>& orphans) {
    World w(make_image(kWithOrphanFile, "12M"), 1);
    EXPECT_EQ(w.mount(), Errno::kOk);
    const auto before = ext4::stats(*w.volume);
    free_before = {before.free_blocks, before.free_inodes};
    std::vector<Ref<ext4::Inode>> held;
    for (const char* name : {"a", "b"}) {
        EXPECT_EQ(w.make_file(name), Errno::kOk);
        EXPECT_EQ(w.write(name, 0, std::string(100'000, 'o')), Errno::kOk);
        held.push_back(w.find(name).take());
        EXPECT_TRUE(w.run(ext4::unlink(*w.parent_of(name), name, *held.back())).ok());
        orphans.push_back(held.back()->number);
        EXPECT_EQ(w.read(name), "<2>");
    }
    std::string some(10, ' ');
    EXPECT_EQ(w.run(ext4::read(*held[0], 0, std::as_writable_bytes(std::span(some)))).value(), 10u);
    EXPECT_EQ(some, std::string(10, 'o'));
    EXPECT_TRUE(w.run(ext4::sync(*w.volume)).ok());
    held.clear();
    w.volume.reset();
    return w.disk.bytes;
}

void expect_cleaned_up(std::vector<std::byte> image, std::pair<u64, u32> free_before) {
    World w(std::move(image), 2);
    ASSERT_EQ(w.mount(), Errno::kOk);
    EXPECT_STREQ(w.report.problem, "");
    const auto after = ext4::stats(*w.volume);
    EXPECT_EQ(after.free_blocks, free_before.first);
    EXPECT_EQ(after.free_inodes, free_before.second);
    EXPECT_EQ(w.unmount(), Errno::kOk);
    EXPECT_EQ(check_image(w.disk.bytes), "");
}

TEST(Ext4Orphans, FilesWithoutANameThatWereInUseAreRemovedByTheNextMount) {
    std::pair<u64, u32> before;
    std::vector<ext4::InodeNo> orphans;
    expect_cleaned_up(cut_off_with_orphans(before, orphans), before);
}

TEST(Ext4Orphans, ThoseOfTheOrphanFileToo) {
    std::pair<u64, u32> before;
    std::vector<ext4::InodeNo> orphans;
    const std::string path = temporary("orphans.img");
    {  // a read-only mount replays, and leaves orphans alone
        World w(cut_off_with_orphans(before, orphans), 2);
        ASSERT_EQ(w.mount({.read_only = true}), Errno::kOk);
        w.volume.reset();
        write_file(path, w.disk.bytes);
    }
    // From the list to the file, as another system would have them.
    shell("debugfs -w -R 'set_super_value last_orphan 0' " + path);
    shell("debugfs -w -R 'feature orphan_present' " + path);
    auto image = read_file(path);
    const auto& super = *reinterpret_cast<const ext4::RawSuper*>(image.data() + ext4::kSuperOffset);
    const ext4::InodeNo number = super.orphan_file_inode;
    ASSERT_TRUE(super.feature_ro_compat & ext4::ro_compat::kOrphanPresent);
    const std::string out = shell("debugfs -R 'bmap <" + std::to_string(number) + "> 0' " + path);
    const u64 block = std::strtoull(out.substr(out.find("\n") + 1).c_str(), nullptr, 10);
    ASSERT_GT(block, 0u) << out;
    std::byte* data = image.data() + block * 1024;
    auto* tail = reinterpret_cast<ext4::RawOrphanTail*>(data + 1024 - sizeof(ext4::RawOrphanTail));
    ASSERT_EQ(u32(tail->magic), ext4::kOrphanBlockMagic);
    for (u32 n = 0; n < orphans.size(); ++n) reinterpret_cast<ext4::Le32*>(data)[n * 7] = orphans[n];
    const u32 seed = ext4::crc32c(~0u, super.uuid, sizeof super.uuid);
    ext4::Le64 at;
    at = block;
    u32 sum = ext4::crc32c_le32(ext4::crc32c_le32(seed, number), 0);  // its generation
    sum = ext4::crc32c(sum, &at, sizeof at);
    tail->checksum = ext4::crc32c(sum, data, 1024 - sizeof *tail);
    expect_cleaned_up(std::move(image), before);
}

INSTANTIATE_TEST_SUITE_P(Kinds, Ext4Write, testing::ValuesIn(kKinds),
                         [](const testing::TestParamInfo<Kind>& info) { return info.param.name; });

}  // namespace
