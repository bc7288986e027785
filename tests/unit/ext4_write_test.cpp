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

INSTANTIATE_TEST_SUITE_P(Kinds, Ext4Write, testing::ValuesIn(kKinds),
                         [](const testing::TestParamInfo<Kind>& info) { return info.param.name; });

}  // namespace
