// SPDX-License-Identifier: MIT
// Volumes whose metadata is not what it should be: each is refused, or gives errors; nothing is read or written out of bounds, and
// everything ends.
#include <cstdlib>
#include <filesystem>

#include "tests/unit/ext4_world.hpp"

namespace {

using namespace ext4_test;

constexpr const char* kOptions[] = {
    "-t ext2 -b 1024 -O dir_index,filetype,sparse_super,large_file,ext_attr",
    "-t ext4 -b 1024 -O has_journal,extent,dir_index,^64bit,^metadata_csum,filetype,sparse_super,ext_attr",
    "-t ext4 -b 4096 -I 512 -O has_journal,extent,dir_index,64bit,^metadata_csum,flex_bg,filetype,inline_data,ext_attr",
    "-t ext4 -b 1024 -O has_journal,extent,dir_index,64bit,metadata_csum,flex_bg,filetype,orphan_file,ext_attr",
};

class Names : public ext4::EntrySink {
public:
    bool add(const ext4::ListedEntry& e) override {
        found.push_back({std::string(e.name), e.inode, e.type});
        return found.size() < 300;
    }
    std::vector<Listed> found;
};

// Looks at everything that can be reached, up to a bound, whatever the errors.
void look(World& w, ext4::InodeNo number, u32 depth, u32& budget) {
    if (budget == 0) return;
    --budget;
    auto got = w.run(ext4::get_inode(*w.volume, number));
    if (!got.ok()) return;
    ext4::Inode& i = *got.value();
    std::vector<std::byte> bytes(20'000);
    (void)w.run(ext4::read(i, 0, bytes));
    (void)w.run(ext4::read(i, i.size() > 5000 ? i.size() - 5000 : 0, bytes));
    char text[300];
    (void)w.run(ext4::read_link(i, text));
    (void)w.run(ext4::list_xattrs(i, text));
    (void)w.run(ext4::get_xattr(i, "user.colour", std::span(bytes).first(100)));
    if (!i.is_directory() || depth == 0) return;
    Names names;
    (void)w.run(ext4::iterate(i, 0, names));
    (void)w.run(ext4::lookup(i, "no such name"));
    for (const Listed& l : names.found)
        if (l.name != "." && l.name != "..") look(w, l.inode, depth - 1, budget);
}

void change(World& w, Random& random) {
    for (u32 n = 0; n < 12; ++n) {
        auto dir = w.find(n % 3 ? "" : "many");
        if (!dir.ok()) continue;
        const std::string name = "new" + std::to_string(n) + std::string(random() % 100, 'y');
        auto made =
            w.run(ext4::create(*dir.value(), name, {.mode = (n % 4 ? abi::kTypeRegular : abi::kTypeDirectory) | 0700}));
        if (made.ok() && n % 4) {
            const std::string text(30'000, 'w');
            (void)w.run(ext4::write(*made.value(), random() % 100'000, std::as_bytes(std::span(text))));
        }
    }
    for (const char* path : {"large", "sparse", "small"}) {
        auto i = w.find(path);
        if (!i.ok()) continue;
        (void)w.run(ext4::truncate(*i.value(), random() % 50'000));
        auto root = w.find("");
        if (!root.ok() || !w.run(ext4::unlink(*root.value(), path, *i.value())).ok()) continue;
        (void)w.run(ext4::release(i.take()));
    }
    (void)w.run(ext4::sync(*w.volume));
}

std::string source() {
    static const std::string root = [] {
        const std::string r = temporary("damage_tree");
        std::filesystem::create_directories(r + "/many");
        for (u32 i = 0; i < 150; ++i)
            write_text(r + "/many/a name that is somewhat long, number " + std::to_string(i), "x");
        write_text(r + "/small", "hello\n");
        write_text(r + "/large", std::string(400'000, 'l'));
        std::filesystem::create_symlink(std::string(200, 's'), r + "/link");
        FILE* f = std::fopen((r + "/sparse").c_str(), "w");
        for (u32 i = 0; i < 60; ++i) {
            std::fseek(f, long(i) * 24576, SEEK_SET);
            std::fwrite("x", 1, 1, f);
        }
        std::fclose(f);
        return r;
    }();
    return root;
}

class Ext4Damage : public testing::TestWithParam<const char*> {};

TEST_P(Ext4Damage, WhateverTheMetadataSaysEverythingEnds) {
    const char* more = std::getenv("FARCALL_EXT4_DAMAGES");
    const u32 rounds = more ? u32(std::atoi(more)) : 60;
    const auto image = make_image(GetParam(), "8M", source());
    // Blocks with metadata: neither stale, nor of the large file.
    std::vector<size_t> places;
    for (size_t at = 0; at < image.size(); at += 1024) {
        const auto* b = reinterpret_cast<const u8*>(image.data() + at);
        if (b[0] == kStale || b[0] == 'l') continue;
        for (u32 k = 0; k < 1024; ++k)
            if (b[k] != 0) {
                places.push_back(at);
                break;
            }
    }
    u32 mounted = 0;
    for (u32 round = 0; round < rounds; ++round) {
        Random random(round * 77 + 5);
        auto bytes = image;
        for (u64 hits = 1 + random() % 20; hits != 0; --hits) {
            u8* block = reinterpret_cast<u8*>(bytes.data() + places[random() % places.size()]);
            u8* at = block + random() % 1024;
            // Half of the time where something is.
            for (u32 k = 0; k < 1024 && *at == 0 && random() % 8; ++k) at = block + random() % 1024;
            switch (random() % 4) {
                case 0: *at = u8(random()); break;
                case 1: *at ^= u8(1u << random() % 8); break;
                case 2: *at = 0xff; break;
                default: std::memcpy(block + (random() % 256) * 4, block + (random() % 256) * 4, 4); break;
            }
        }
        World w(bytes, round);
        if (w.mount({.read_only = round % 4 == 0, .most_buffers = 64}) != Errno::kOk) continue;
        ++mounted;
        u32 budget = 400;
        look(w, ext4::kRootInode, 4, budget);
        if (!w.volume->read_only) change(w, random);
        budget = 100;
        look(w, ext4::kRootInode, 4, budget);
        (void)w.unmount();
    }
    EXPECT_GT(mounted, 0u);
}

INSTANTIATE_TEST_SUITE_P(Kinds, Ext4Damage, testing::ValuesIn(kOptions));

}  // namespace
