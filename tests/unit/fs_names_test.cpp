// SPDX-License-Identifier: MIT
// Path resolution and operations on names: rules one by one, a random model, allocation failures, threads.
#include <map>
#include <memory>
#include <random>

#include "fs/regular.hpp"
#include "fs/walk.hpp"
#include "fs_support.hpp"
#include "hosted_cpus.hpp"

namespace {

using fs_test::FsTest;

TEST_F(FsTest, HashesAgree) {
    std::mt19937_64 random(3);
    for (int i = 0; i < 20000; ++i) {
        std::string name(1 + random() % 40, 'a');
        for (char& c : name) c = char(1 + random() % 255);
        std::erase(name, '/');
        if (name.empty()) continue;
        std::string path =
            std::string(random() % 10, 'x') + name + (random() % 2 ? "" : "/" + std::string(random() % 10, 'y'));
        size_t at = path.find(name);
        auto scanned = fs::scan_component(path.data(), path.data() + at, path.data() + path.size());
        std::string_view expect{path.data() + at, std::min(path.find('/', at), path.size()) - at};
        EXPECT_EQ(scanned.view(), expect);
        EXPECT_EQ(scanned.key, fs::make_key(expect).key);
    }
}

TEST_F(FsTest, ARenameThatIsKeptOutHasDoneNothing) {
    ASSERT_EQ(file("f"), Errno::kOk);
    const std::string old_name = "f", new_name = "g";  // the lookups point into them
    auto from = parent(old_name), to = parent(new_name);
    ASSERT_TRUE(from.ok() && to.ok());
    {
        fs::RenamePause pause;
        pause.begin();
        EXPECT_EQ(fs::rename_name(from.value(), to.value(), 0, creds).error(), kNeedsTask);
        EXPECT_TRUE(find("f", 0).ok());
    }
    EXPECT_EQ(fs::rename_name(from.value(), to.value(), 0, creds).error(), Errno::kOk);
    EXPECT_TRUE(find("g", 0).ok());
}

TEST_F(FsTest, AWalkThatEachRenameDisturbsEnds) {
    ASSERT_EQ(file("f"), Errno::kOk);
    ASSERT_EQ(dir("d"), Errno::kOk);
    const std::string names[] = {"f", "g"};
    const fs::LookupContext lookups = context();
    const fs::WalkContext where = fs::walk_context(lookups, {});
    fs::Walk walk{where};
    u32 tries = 0, renames = 0;
    // A rename falls into each try, if renames may.
    auto again = [&] {
        Leaf<void> walked = walk.run("d", fs::kFollow);
        if (++tries > 20) return walked;
        auto from = parent(names[renames % 2]), to = parent(names[(renames + 1) % 2]);
        renames += fs::rename_name(from.value(), to.value(), 0, creds).ok();
        return walked;
    };
    EXPECT_TRUE(fs::walk_again(walk, again).ok());
    EXPECT_EQ(tries, fs::kFreeWalks);
    EXPECT_EQ(renames, fs::kFreeWalks - 1);
}

TEST_F(FsTest, ResolutionFollowsTheRules) {
    ASSERT_EQ(dir("d"), Errno::kOk);
    ASSERT_EQ(dir("d/e"), Errno::kOk);
    ASSERT_EQ(file("d/f"), Errno::kOk);
    ASSERT_EQ(symlink("d/up", "../d/f"), Errno::kOk);
    ASSERT_EQ(symlink("abs", "/d/e"), Errno::kOk);
    ASSERT_EQ(symlink("loop", "loop"), Errno::kOk);
    ASSERT_EQ(symlink("dangling", "nowhere/x"), Errno::kOk);
    ASSERT_EQ(symlink("slash", "d/f/"), Errno::kOk);
    ASSERT_EQ(symlink("dir", "d/e/"), Errno::kOk);
    auto same = [&](const std::string& a, const std::string& b, u32 flags = fs::kFollow) {
        auto x = find(a, flags), y = find(b, 0);
        return x.ok() && y.ok() && x.value().inode() == y.value().inode();
    };
    EXPECT_TRUE(same("/", "/"));
    EXPECT_TRUE(same("/..", "/"));
    EXPECT_TRUE(same("//d///e/./../f", "/d/f"));
    EXPECT_TRUE(same("d/up", "d/f"));
    EXPECT_TRUE(same("d/up", "d/up", 0));
    EXPECT_TRUE(same("abs/../f", "d/f"));
    EXPECT_TRUE(same("abs/", "d/e", 0));
    EXPECT_TRUE(same("dir", "d/e"));
    EXPECT_TRUE(same("dir/..", "d"));
    EXPECT_EQ(error_of(""), Errno::kNoEnt);
    EXPECT_EQ(error_of("d/f/"), Errno::kNotDir);
    EXPECT_EQ(error_of("d/f/."), Errno::kNotDir);
    EXPECT_EQ(error_of("d/f/.."), Errno::kNotDir);
    EXPECT_EQ(error_of("slash"), Errno::kNotDir);
    EXPECT_EQ(error_of("d/f", fs::kDirectory), Errno::kNotDir);
    EXPECT_EQ(error_of("d/nothing"), Errno::kNoEnt);
    EXPECT_EQ(error_of("nothing/../d"), Errno::kNoEnt);
    EXPECT_EQ(error_of("dangling"), Errno::kNoEnt);
    EXPECT_EQ(error_of("loop"), Errno::kLoop);
    EXPECT_EQ(error_of("loop/x"), Errno::kLoop);
    EXPECT_EQ(error_of("loop", 0), Errno::kOk);
    EXPECT_EQ(error_of(std::string(255, 'n')), Errno::kNoEnt);
    EXPECT_EQ(error_of(std::string(256, 'n')), Errno::kNameTooLong);
    // 40 links are followed, 41 are not.
    ASSERT_EQ(symlink("l0", "d"), Errno::kOk);
    for (int i = 1; i <= 40; ++i) ASSERT_EQ(symlink("l" + std::to_string(i), "l" + std::to_string(i - 1)), Errno::kOk);
    EXPECT_EQ(error_of("l39"), Errno::kOk);
    EXPECT_EQ(error_of("l40"), Errno::kLoop);
}

TEST_F(FsTest, PermissionsAreChecked) {
    ASSERT_EQ(dir("d"), Errno::kOk);
    ASSERT_EQ(file("d/f"), Errno::kOk);
    ASSERT_EQ(make("shared", fs::kTypeDirectory | 01777), Errno::kOk);
    ASSERT_EQ(file("shared/roots"), Errno::kOk);
    ASSERT_EQ(symlink("shared/link", "/d/f"), Errno::kOk);
    creds.uid = creds.euid = creds.fsuid = 1000;
    creds.gid = creds.egid = creds.fsgid = 1000;
    creds.cap_effective = 0;
    EXPECT_EQ(file("d/g"), Errno::kAcces);
    EXPECT_EQ(remove("d/f"), Errno::kAcces);
    EXPECT_EQ(file("shared/mine"), Errno::kOk);
    EXPECT_EQ(remove("shared/roots"), Errno::kPerm);
    EXPECT_EQ(rename("shared/roots", "shared/x"), Errno::kPerm);
    EXPECT_EQ(error_of("shared/link"), Errno::kOk);  // the directory's owner's link
    EXPECT_EQ(link("d/f", "shared/hard"), Errno::kPerm);
    EXPECT_EQ(symlink("shared/link2", "/d/f"), Errno::kOk);
    creds.fsuid = 1001;
    EXPECT_EQ(error_of("shared/link2"), Errno::kAcces);
    EXPECT_EQ(remove("shared/mine"), Errno::kPerm);
    EXPECT_FALSE(fs::check_access(*find("d/f").value().inode(), fs::kMayWrite, creds).ok());
    EXPECT_TRUE(fs::check_access(*find("d/f").value().inode(), fs::kMayRead, creds).ok());
    auto d = find("d").take();
    d.inode()->lock_attributes()->mode = fs::kTypeDirectory | 0700;
    EXPECT_EQ(error_of("d/f"), Errno::kAcces);
    EXPECT_EQ(error_of("d"), Errno::kOk);
}

TEST_F(FsTest, NameOperationsGiveLinuxErrors) {
    ASSERT_EQ(dir("d"), Errno::kOk);
    ASSERT_EQ(dir("d/e"), Errno::kOk);
    ASSERT_EQ(file("f"), Errno::kOk);
    ASSERT_EQ(file("d/g"), Errno::kOk);
    EXPECT_EQ(dir("d"), Errno::kExist);
    EXPECT_EQ(dir("d/"), Errno::kExist);
    EXPECT_EQ(dir("new/"), Errno::kOk);
    EXPECT_EQ(dir("."), Errno::kExist);
    EXPECT_EQ(file("x/"), Errno::kNoEnt);
    EXPECT_EQ(remove("d"), Errno::kIsDir);
    EXPECT_EQ(remove("f", true), Errno::kNotDir);
    EXPECT_EQ(remove("d", true), Errno::kNotEmpty);
    EXPECT_EQ(remove("d/.", true), Errno::kInval);
    EXPECT_EQ(remove("d/..", true), Errno::kNotEmpty);
    EXPECT_EQ(remove("f/"), Errno::kNotDir);
    EXPECT_EQ(remove("nothing"), Errno::kNoEnt);
    EXPECT_EQ(link("d", "hard"), Errno::kPerm);
    EXPECT_EQ(rename("d", "d/e/x"), Errno::kInval);
    EXPECT_EQ(rename("d/e", "d"), Errno::kNotEmpty);
    EXPECT_EQ(rename("f", "d"), Errno::kIsDir);
    EXPECT_EQ(rename("d", "f"), Errno::kNotDir);
    EXPECT_EQ(rename("f", "g/"), Errno::kNotDir);
    EXPECT_EQ(rename("f", "d/g", fs::kRenameNoReplace), Errno::kExist);
    EXPECT_EQ(rename("f", "nothing", fs::kRenameExchange), Errno::kNoEnt);
    EXPECT_EQ(rename("f", "f"), Errno::kOk);
    EXPECT_EQ(link("f", "h"), Errno::kOk);
    EXPECT_EQ(rename("f", "h"), Errno::kOk);  // the same file: nothing happens
    EXPECT_EQ(error_of("f"), Errno::kOk);
    EXPECT_EQ(find("f").value().inode()->attributes().links, 2u);
    EXPECT_EQ(rename("d", "new"), Errno::kOk);
    EXPECT_EQ(error_of("new/g"), Errno::kOk);
    EXPECT_EQ(rename("new", "f", fs::kRenameExchange), Errno::kOk);
    EXPECT_EQ(error_of("f/g"), Errno::kOk);
    EXPECT_EQ(error_of("new"), Errno::kOk);
    EXPECT_EQ(root.inode()->attributes().links, 3u);
    // A removed directory takes no new names.
    fs::Path gone = find("f/e").take();
    EXPECT_EQ(remove("f/e", true), Errno::kOk);
    auto at = fs::lookup_parent({root, gone, &creds}, {}, "x");
    ASSERT_TRUE(at.ok());
    EXPECT_EQ(fs::make_node(at.value(), fs::kTypeRegular | 0600, 0, {}, creds).error(), Errno::kNoEnt);
    EXPECT_EQ(gone.inode()->attributes().links, 0u);
}

TEST_F(FsTest, PathTextNamesWhereAPathIs) {
    ASSERT_EQ(dir("d"), Errno::kOk);
    ASSERT_EQ(dir("d/e"), Errno::kOk);
    fs::Path e = find("d/e").take(), d = find("d").take();
    char room[64];
    auto text = [&](const fs::Path& p, const fs::Path& top) {
        return std::string(fs::path_text(p, top, room, true).value());
    };
    EXPECT_EQ(text(root, root), "/");
    EXPECT_EQ(text(e, root), "/d/e");
    EXPECT_EQ(text(e, d), "/e");
    EXPECT_EQ(text(root, d), "(unreachable)/");
    EXPECT_EQ(rename("d/e", "moved"), Errno::kOk);
    EXPECT_EQ(text(e, root), "/moved");
    EXPECT_EQ(remove("moved", true), Errno::kOk);
    EXPECT_EQ(text(e, root), "/moved (deleted)");
    char small[4];
    EXPECT_EQ(fs::path_text(e, root, small, false).error(), Errno::kRange);
}

struct Names : fs::DirSink {
    bool add(const fs::DirEntry& e) override {
        if (left-- == 0) return false;
        names.push_back(std::string(e.name));
        return true;
    }
    int left = 1 << 30;
    std::vector<std::string> names;
};

TEST_F(FsTest, ReadingADirectorySurvivesRemoval) {
    for (int i = 0; i < 300; ++i) ASSERT_EQ(file("f" + std::to_string(i)), Errno::kOk);
    for (bool removing : {false, true}) {
        Ref<fs::File> d = open("/", fs::kOpenReadOnly).take();
        std::multiset<std::string> seen;
        for (;;) {
            Names some;
            some.left = 7;
            ASSERT_TRUE(d->read_directory(some).ok());
            if (some.names.empty()) break;
            for (auto& n : some.names) {
                seen.insert(n);
                if (removing && n[0] == 'f') ASSERT_EQ(remove(n), Errno::kOk);
            }
        }
        EXPECT_EQ(seen.size(), 302u);
        for (int i = 0; i < 300; ++i) EXPECT_EQ(seen.count("f" + std::to_string(i)), 1u);
    }
}

TEST_F(FsTest, MountsCoverAndUncover) {
    ASSERT_EQ(dir("m"), Errno::kOk);
    ASSERT_EQ(file("m/under"), Errno::kOk);
    auto made = fs::make_tmpfs({}).take();
    fs::Path m = find("m").take();
    ASSERT_TRUE(fs::mount_at(m, made.super, made.root, "inner").ok());
    made = {};
    EXPECT_EQ(error_of("m/under"), Errno::kNoEnt);
    ASSERT_EQ(file("m/over"), Errno::kOk);
    EXPECT_EQ(find("m/..").value().inode(), root.inode());
    EXPECT_EQ(remove("m", true), Errno::kBusy);
    EXPECT_EQ(rename("m", "n"), Errno::kBusy);
    EXPECT_EQ(rename("m/over", "over"), Errno::kXDev);
    char room[64];
    EXPECT_EQ(std::string(fs::path_text(find("m/over").value(), root, room, false).value()), "/m/over");
    {
        fs::Path held = find("m/over").take();
        fs::Path top = find("m").take();
        EXPECT_EQ(fs::unmount(top, false).error(), Errno::kBusy);
    }
    EXPECT_EQ(fs::unmount(find("m/over").value(), false).error(), Errno::kInval);
    EXPECT_TRUE(fs::unmount(find("m").value(), false).ok());
    EXPECT_EQ(error_of("m/under"), Errno::kOk);
    EXPECT_EQ(fs::unmount(find("m").value(), false).error(), Errno::kInval);
}

// A tree of names as the specification sees it.
struct Node {
    bool directory = false;
    int links = 1;
    std::map<std::string, std::shared_ptr<Node>> entries;
};
using NodeRef = std::shared_ptr<Node>;

TEST_F(FsTest, RandomNameOperationsAgreeWithModel) {
    std::mt19937_64 random(99);
    auto top = std::make_shared<Node>();
    top->directory = true;
    auto pick = [&] {
        std::string path;
        int depth = int(1 + random() % 3);
        for (int i = 0; i < depth; ++i) path += (i ? "/" : "") + std::string(1, char('a' + random() % 3));
        return path;
    };
    auto walk = [&](const std::string& path, NodeRef& dir, std::string& last) -> Errno {
        dir = top;
        size_t at = 0;
        for (size_t slash; (slash = path.find('/', at)) != path.npos; at = slash + 1) {
            auto it = dir->entries.find(path.substr(at, slash - at));
            if (it == dir->entries.end()) return Errno::kNoEnt;
            if (!it->second->directory) return Errno::kNotDir;
            dir = it->second;
        }
        last = path.substr(at);
        return Errno::kOk;
    };
    auto entry = [](const NodeRef& d, const std::string& n) {
        auto it = d->entries.find(n);
        return it == d->entries.end() ? NodeRef{} : it->second;
    };
    std::function<bool(const NodeRef&, const NodeRef&)> inside = [&](const NodeRef& above, const NodeRef& d) {
        if (above == d) return true;
        for (auto& [_, child] : above->entries)
            if (child->directory && inside(child, d)) return true;
        return false;
    };
    for (int step = 0; step < 30000; ++step) {
        std::string p = pick(), q = pick(), a, b;
        NodeRef d1, d2;
        Errno e1 = walk(p, d1, a), e2 = walk(q, d2, b);
        NodeRef x = e1 == Errno::kOk ? entry(d1, a) : nullptr, y = e2 == Errno::kOk ? entry(d2, b) : nullptr;
        switch (random() % 7) {
            case 0:
            case 1: {
                bool is_dir = random() % 2;
                Errno want = e1 != Errno::kOk ? e1 : x ? Errno::kExist : Errno::kOk;
                ASSERT_EQ(is_dir ? dir(p) : file(p), want) << p;
                if (want == Errno::kOk) {
                    d1->entries[a] = std::make_shared<Node>();
                    d1->entries[a]->directory = is_dir;
                }
                break;
            }
            case 2: {
                Errno want = e1 != Errno::kOk ? e1 : !x ? Errno::kNoEnt : x->directory ? Errno::kIsDir : Errno::kOk;
                ASSERT_EQ(remove(p), want) << p;
                if (want == Errno::kOk) --x->links, d1->entries.erase(a);
                break;
            }
            case 3: {
                Errno want = e1 != Errno::kOk      ? e1
                             : !x                  ? Errno::kNoEnt
                             : !x->directory       ? Errno::kNotDir
                             : !x->entries.empty() ? Errno::kNotEmpty
                                                   : Errno::kOk;
                ASSERT_EQ(remove(p, true), want) << p;
                if (want == Errno::kOk) d1->entries.erase(a);
                break;
            }
            case 4: {
                Errno want = e1 != Errno::kOk ? e1 : !x ? Errno::kNoEnt : Errno::kOk;
                if (want == Errno::kOk)
                    want = e2 != Errno::kOk ? e2 : y ? Errno::kExist : x->directory ? Errno::kPerm : Errno::kOk;
                ASSERT_EQ(link(p, q), want) << p << " " << q;
                if (want == Errno::kOk) ++x->links, d2->entries[b] = x;
                break;
            }
            case 5: {
                bool exchange = random() % 3 == 0;
                Errno want = Errno::kOk;
                if (e1 != Errno::kOk || e2 != Errno::kOk)
                    want = e1 != Errno::kOk ? e1 : e2;
                else if (!x || (exchange && !y))
                    want = Errno::kNoEnt;
                else if (x->directory && inside(x, d2))
                    want = Errno::kInval;
                else if (y && y->directory && inside(y, d1))
                    want = exchange ? Errno::kInval : Errno::kNotEmpty;
                else if (x == y)
                    want = Errno::kOk;
                else if (y && !exchange && x->directory && !y->directory)
                    want = Errno::kNotDir;
                else if (y && !exchange && !x->directory && y->directory)
                    want = Errno::kIsDir;
                else if (y && !exchange && y->directory && !y->entries.empty())
                    want = Errno::kNotEmpty;
                ASSERT_EQ(rename(p, q, exchange ? u32{fs::kRenameExchange} : 0), want) << p << " " << q;
                if (want == Errno::kOk && x != y) {
                    d1->entries.erase(a);
                    if (y) --y->links;
                    if (exchange) ++y->links, d1->entries[a] = y;
                    d2->entries[b] = x;
                }
                break;
            }
            default: {
                Errno want = e1 != Errno::kOk ? e1 : x ? Errno::kOk : Errno::kNoEnt;
                auto found = find(p);
                ASSERT_EQ(found.error(), want) << p;
                if (x) {
                    ASSERT_EQ(found.value().dentry->is_directory(), x->directory);
                    u32 links = u32(x->links);
                    if (x->directory) {
                        links = 2;
                        for (auto& [_, child] : x->entries) links += child->directory;
                        ASSERT_EQ(found.value().inode()->attributes().size, 40 + 20 * x->entries.size());
                    }
                    ASSERT_EQ(found.value().inode()->attributes().links, links) << p;
                }
            }
        }
        if (step % 16 == 0) fs_test::settle_epochs();
    }
}

TEST_F(FsTest, FailedAllocationsChangeNothing) {
    if (!rt::mem_fail_after(~u64{0} >> 1)) GTEST_SKIP() << "no failure injection in this build";
    ASSERT_EQ(dir("d"), Errno::kOk);
    ASSERT_EQ(file("d/old"), Errno::kOk);
    for (u64 n = 0;; ++n) {
        rt::mem_fail_after(n);
        LeafError e[] = {file("d/new"), symlink("d/link", std::string(200, 'x')), dir("d/sub"), link("d/old", "d/hard"),
                         rename("d/old", "d/renamed")};
        bool failed = rt::mem_injected_failures() != 0;
        rt::mem_fail_never();
        const char* names[] = {"d/new", "d/link", "d/sub", "d/hard", "d/renamed"};
        for (int i = 0; i < 5; ++i) {
            EXPECT_TRUE(e[i] == Errno::kOk || e[i] == Errno::kNoMem);
            EXPECT_EQ(error_of(names[i], 0), e[i] == Errno::kOk ? Errno::kOk : Errno::kNoEnt) << names[i];
            if (e[i] == Errno::kOk && i < 4) EXPECT_EQ(remove(names[i], i == 2), Errno::kOk);
        }
        if (e[4] == Errno::kOk) EXPECT_EQ(rename("d/renamed", "d/old"), Errno::kOk);
        EXPECT_EQ(find("d").value().inode()->attributes().size, 60u);
        if (!failed) break;
        ASSERT_LT(n, 100u);
    }
}

TEST_F(FsTest, ThreadsAgreeOnNames) {
    constexpr int kCpus = 4, kSteps = 4000;
    ASSERT_EQ(dir("p"), Errno::kOk);
    ASSERT_EQ(dir("q"), Errno::kOk);
    ASSERT_EQ(file("p/stays"), Errno::kOk);
    rt::epoch_enter_idle();
    std::atomic<int> made{0};
    mem_test::on_cpus(kCpus, [&](u32 cpu) {
        rt::Executor::start(CpuId{cpu});
        rt::epoch_leave_idle();
        std::mt19937_64 random(cpu + 1);
        for (int i = 0; i < kSteps; ++i) {
            std::string name = (random() % 2 ? "p/" : "q/") + std::string(1, char('a' + random() % 4));
            switch (random() % 6) {
                case 0: made += file(name) == Errno::kOk; break;
                case 1: made -= remove(name) == Errno::kOk; break;
                case 2: {
                    // Across directories, over whatever is there.
                    std::string to = (name[0] == 'p' ? "q/" : "p/") + std::string(1, char('a' + random() % 4));
                    (void)rename(name, to, fs::kRenameNoReplace);
                    break;
                }
                case 3: (void)rename("p/stays", "q/stays"), (void)rename("q/stays", "p/stays"); break;
                case 4: {
                    Ref<fs::File> f;
                    if (auto o = open(name); o.ok()) f = o.take();
                    char c = 'x';
                    if (f) (void)f->try_write(fs_test::kernel_spans(&c, 1), random() % 20000);
                    break;
                }
                default: {
                    // A directory that is renamed back and forth is always in one place or the other; names next to it
                    // stay.
                    EXPECT_EQ(error_of("p"), Errno::kOk);
                    EXPECT_EQ(error_of("q/../p/../q"), Errno::kOk);
                    char room[64];
                    if (auto at = find(name); at.ok()) EXPECT_TRUE(fs::path_text(at.value(), root, room, true).ok());
                }
            }
            rt::quiescent();
        }
        rt::epoch_enter_idle();
    });
    // Each CPU again, alone: frees what is still retired.
    for (u32 cpu = kCpus; cpu-- > 0;) {
        hal::Machine::bind_cpu(CpuId{cpu});
        rt::epoch_leave_idle();
        fs_test::settle_epochs();
        rt::drain_object_caches();
        rt::drain_frame_cache();
        rt::epoch_enter_idle();
    }
    rt::epoch_leave_idle();
    // What was made and not removed is there.
    int left = 0;
    for (const char* d : {"p", "q"}) {
        Names all;
        Ref<fs::File> f = open(d, fs::kOpenReadOnly).take();
        ASSERT_TRUE(f->read_directory(all).ok());
        for (auto& n : all.names) left += n.size() == 1 && n != ".";
    }
    EXPECT_EQ(left, made.load());
    EXPECT_EQ(find("p").value().inode()->attributes().size + find("q").value().inode()->attributes().size,
              80u + 20u * u64(left + 1));
}

}  // namespace
