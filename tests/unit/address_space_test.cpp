// SPDX-License-Identifier: MIT
// Address spaces against a model: random mmap, munmap, mprotect, mremap, madvise, brk, fork, reads and writes on a
// small part of the address space. The model knows, page by page, what must be there and what an access must meet.
#include <gtest/gtest.h>

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <random>

#include "abi/linux/resource.hpp"
#include "linux/mm/state.hpp"
#include "mem_support.hpp"
#include "rt/executor.hpp"

namespace {

using linux::AddressSpace;
using linux::FaultKind;
using linux::MemoryLimits;
using port::Access;

constexpr linux::RlimitValue kNoLimits[abi::kRlimCount];

// Without the lock: a test has one thread.
AddressSpace::State& inside(AddressSpace& mm) RT_UNCHECKED_LOCKING { return mm.state(); }

class TestFile final : public fs::File {
public:
    TestFile(Ref<fs::Mapping> m, u32 flags) : fs::File(fs::Path{}, flags), mapping_(std::move(m)) {}
    Leaf<MapSource> map_source() override { return MapSource{mapping_, false}; }

private:
    Ref<fs::Mapping> mapping_;
};

// Runs a task to its end on this CPU.
template <class T>
Task<void> store(Task<T> task, std::optional<T>& out) {
    out.emplace(co_await task);
}
template <class T>
T run(Task<T> task) {
    std::optional<T> out;
    EXPECT_TRUE(rt::spawn("test", store(std::move(task), out), rt::Executor::current()));
    rt::Executor::current().run_until_idle();
    EXPECT_TRUE(out.has_value());
    return std::move(*out);
}

struct ModelObject {
    std::map<u64, u64> words;  // first word of each page that was written
};
struct ModelPage {
    u32 prot = 0;
    bool shared = false, growing = false;
    std::shared_ptr<ModelObject> object;  // null: private anonymous
    u64 index = 0;
    std::optional<u64> own;  // private: what was written
    u64 word() const {
        if (!shared && own) return *own;
        if (!object) return 0;
        auto it = object->words.find(index);
        return it == object->words.end() ? 0 : it->second;
    }
};
using Model = std::map<u64, ModelPage>;

constexpr u64 kBase = 0x4000'0000 >> 12, kPages = 96;
constexpr u32 kRw = linux::kProtRead | linux::kProtWrite;

class AddressSpaceTest : public mem_test::MemTest {
protected:
    void SetUp() override {
        MemTest::SetUp();
        rt::Executor::start(CpuId{0});
        mm_ = AddressSpace::create().take();
    }
    void TearDown() override {
        mm_ = nullptr;
        for (int i = 0; i < 8; ++i) rt::quiescent();
        MemTest::TearDown();
    }
    static UserAddr at(u64 page) { return UserAddr{page << 12}; }
    static FaultKind touch(AddressSpace& mm, u64 page, Access a) {
        FaultKind k = mm.fault(at(page), a, kNoLimits);
        if (k == FaultKind::kMustWait) k = run(mm.fault_task(at(page), a, kNoLimits));
        return k;
    }
    static FaultKind expected(const Model& m, u64 page, bool write) {
        auto it = m.find(page);
        if (it == m.end()) return FaultKind::kSegvMapError;
        bool ok = write ? (it->second.prot & linux::kProtWrite) != 0 : it->second.prot != 0;
        return ok ? FaultKind::kResolved : FaultKind::kSegvAccess;
    }
    // An access as the MMU and the fault handler make it together.
    static FaultKind access(AddressSpace& mm, u64 page, u64& word, bool write) {
        for (int i = 0; i < 3; ++i) {
            size_t n = write ? mm.space().copy_out(at(page), &word, 8) : mm.space().copy_in(&word, at(page), 8);
            if (n == 8) return FaultKind::kResolved;
            if (FaultKind k = touch(mm, page, write ? Access::kWrite : Access::kRead); k != FaultKind::kResolved)
                return k;
        }
        ADD_FAILURE() << "access does not end";
        return FaultKind::kMustWait;
    }
    static void check_all(AddressSpace& mm, const Model& m) {
        for (u64 p = kBase; p < kBase + kPages; ++p) {
            u64 word = 0;
            FaultKind k = access(mm, p, word, false);
            ASSERT_EQ(int(k), int(expected(m, p, false))) << "page " << p - kBase;
            if (k == FaultKind::kResolved) ASSERT_EQ(word, m.at(p).word()) << "page " << p - kBase;
        }
        check_areas(mm, m);
    }
    static void check_areas(AddressSpace& mm, const Model& m) {
        AddressSpace::State& s = inside(mm);
        ASSERT_TRUE(s.areas.valid());
        u64 pages = 0, data = 0, count = 0;
        const linux::Area* before = nullptr;
        for (const linux::Area& a : s.areas) {
            ASSERT_LT(a.start, a.end);
            if (before) {
                ASSERT_LE(before->end, a.start);
                ASSERT_FALSE(before->end == a.start && AddressSpace::State::alike(*before, a) && a.mapping == nullptr)
                    << "two areas that should be one";
            }
            pages += a.size() >> 12;
            if (a.is_data()) data += a.size() >> 12;
            ++count;
            before = &a;
        }
        ASSERT_EQ(pages, s.total_pages);
        ASSERT_EQ(data, s.data_pages);
        ASSERT_EQ(count, s.area_count);
        ASSERT_EQ(pages, m.size());
    }

    Ref<AddressSpace> mm_;
};

TEST_F(AddressSpaceTest, random_operations_agree_with_the_model) {
    for (u32 seed = 1; seed <= 200; ++seed) {
        SCOPED_TRACE(seed);
        std::mt19937 random(seed);
        auto pick = [&](u64 n) { return random() % n; };
        mm_ = AddressSpace::create().take();
        Model model;
        auto mapping = rt::make_ref<fs::Mapping>().take();
        mapping->size = kPages * kPageSize;
        auto object = std::make_shared<ModelObject>();
        Ref<fs::File> file = rt::make_ref<TestFile>(mapping, fs::kOpenReadWrite).take();
        u64 next_word = 1;
        for (u32 step = 0; step < 400; ++step) {
            SCOPED_TRACE(step);
            u64 page = kBase + pick(kPages), count = 1 + pick(12);
            if (page + count > kBase + kPages) count = kBase + kPages - page;
            u64 bytes = count * kPageSize;
            switch (pick(12)) {
                case 0:
                case 1: {  // mmap
                    u32 prot = pick(4) == 0 ? u32{linux::kProtRead} : kRw;
                    u32 kind = u32(pick(4));
                    AddressSpace::MapRequest r;
                    r.hint = at(page);
                    r.length = bytes;
                    r.prot = prot;
                    r.flags = linux::kMapFixed;
                    u64 offset = pick(kPages - count + 1);
                    if (kind == 0 || kind == 3) {
                        r.flags |= linux::kMapPrivate | linux::kMapAnonymous;
                    } else {
                        r.flags |= kind == 1 ? linux::kMapShared : linux::kMapPrivate;
                        r.file = file;
                        r.offset = offset * kPageSize;
                    }
                    auto got = run(mm_->map_task(r, {}));
                    ASSERT_TRUE(got.ok());
                    ASSERT_EQ(got.value(), at(page));
                    for (u64 i = 0; i < count; ++i) {
                        ModelPage p;
                        p.prot = prot;
                        p.shared = kind == 1;
                        if (r.file) {
                            p.object = object;
                            p.index = offset + i;
                        }
                        model[page + i] = p;
                    }
                    break;
                }
                case 2:  // munmap
                    ASSERT_TRUE(mm_->unmap(at(page), bytes).ok());
                    for (u64 i = 0; i < count; ++i) model.erase(page + i);
                    break;
                case 3: {  // mprotect
                    constexpr std::array<u32, 3> kProts = {0, linux::kProtRead, kRw};
                    u32 prot = kProts[pick(3)];
                    bool hole = false;
                    for (u64 i = 0; i < count && !hole; ++i) {
                        auto it = model.find(page + i);
                        hole = it == model.end();
                        if (!hole) it->second.prot = prot;
                    }
                    ASSERT_EQ(mm_->protect(at(page), bytes, prot, {}).error(), hole ? Errno::kNoMem : Errno::kOk);
                    break;
                }
                case 4: {  // madvise(MADV_DONTNEED)
                    bool hole = false;
                    for (u64 i = 0; i < count; ++i) {
                        auto it = model.find(page + i);
                        if (it == model.end())
                            hole = true;
                        else
                            it->second.own.reset();
                    }
                    ASSERT_EQ(mm_->advise(at(page), bytes, 4).error(), hole ? Errno::kNoMem : Errno::kOk);
                    break;
                }
                case 5: {  // mremap to a fixed place: of pages that lie in one area
                    auto* a = inside(*mm_).find(at(page));
                    u64 to = kBase + pick(kPages);
                    u64 grown = count + pick(3);
                    if (!a || a->end < at(page + count) || to + grown > kBase + kPages) break;
                    if (to + grown > page && page + count > to) break;
                    if (a->mapping && a->index(at(page)) + grown > kPages) break;
                    auto got = run(mm_->remap_task(
                        {at(page), bytes, grown * kPageSize, linux::kRemapMayMove | linux::kRemapFixed, at(to)}, {}));
                    ASSERT_TRUE(got.ok()) << int(got.error());
                    std::map<u64, ModelPage> moved;
                    for (u64 i = 0; i < grown; ++i) {
                        ModelPage p = model.at(i < count ? page + i : page);
                        if (i >= count) {
                            p.own.reset();
                            if (p.object) p.index += i;
                        }
                        moved[to + i] = p;
                    }
                    for (u64 i = 0; i < count; ++i) model.erase(page + i);
                    for (auto& [k, p] : moved) model[k] = p;
                    break;
                }
                case 6: {  // fork: the child must be like us, and its writes must not show here but in what is shared
                    if (pick(4)) break;
                    auto forked = run(mm_->fork());
                    ASSERT_TRUE(forked.ok());
                    Ref<AddressSpace> child = forked.take();
                    Model child_model = model;
                    for (u32 i = 0; i < 20; ++i) {
                        u64 p = kBase + pick(kPages), word = next_word++;
                        bool in_child = pick(2);
                        Model& m = in_child ? child_model : model;
                        FaultKind k = access(in_child ? *child : *mm_, p, word, true);
                        ASSERT_EQ(int(k), int(expected(m, p, true)));
                        if (k != FaultKind::kResolved) continue;
                        ModelPage& mp = m.at(p);
                        if (mp.shared)
                            mp.object->words[mp.index] = word;
                        else
                            mp.own = word;
                    }
                    // A private page that was never written may show the file as it is or as it was (mmap(2)): here the
                    // page cache is shown until the copy.
                    check_all(*child, child_model);
                    check_all(*mm_, model);
                    if (pick(2)) {
                        mm_ = child;
                        model = child_model;
                    }
                    break;
                }
                default: {  // read or write
                    u64 word = next_word++;
                    bool write = pick(3) != 0;
                    FaultKind k = access(*mm_, page, word, write);
                    ASSERT_EQ(int(k), int(expected(model, page, write)));
                    if (k != FaultKind::kResolved) break;
                    ModelPage& p = model.at(page);
                    if (!write)
                        ASSERT_EQ(word, p.word());
                    else if (p.shared)
                        p.object->words[p.index] = word;
                    else
                        p.own = word;
                    break;
                }
            }
            check_areas(*mm_, model);
            if (HasFatalFailure()) return;
            if (step % 20 == 0) check_all(*mm_, model);
            if (HasFatalFailure()) return;
        }
        check_all(*mm_, model);
        if (HasFatalFailure()) return;
        ASSERT_TRUE(mm_->unmap(UserAddr{0}, fs::kUserEnd).ok());
        ASSERT_EQ(mm_->space().mapped_pages(), 0u);
    }
}

TEST_F(AddressSpaceTest, free_ranges_are_the_highest_that_fit) {
    AddressSpace::MapRequest r;
    r.prot = kRw;
    r.flags = linux::kMapPrivate | linux::kMapAnonymous;
    std::mt19937 random(7);
    for (u32 step = 0; step < 3000; ++step) {
        if (random() % 3) {
            r.length = (1 + random() % 20) * kPageSize;
            r.prot = random() % 2 ? kRw : u32{linux::kProtRead};
            // The place that a search without memory of earlier ones finds.
            UserAddr top{0x7ffff7fff000}, want{};
            auto& s = inside(*mm_);
            for (auto* a = s.areas.last();; a = s.prev(*a)) {
                UserAddr bottom = a ? a->end : UserAddr{0};
                if (top >= bottom && top - bottom >= r.length) {
                    want = top - r.length;
                    break;
                }
                top = a->start;
            }
            auto got = mm_->map(r, {});
            ASSERT_TRUE(got.ok());
            ASSERT_EQ(got.value(), want) << "step " << step;
        } else {
            UserAddr somewhere = UserAddr{0x7ffff7fff000} - (1 + random() % 3000) * kPageSize;
            ASSERT_TRUE(mm_->unmap(somewhere, (1 + random() % 10) * kPageSize).ok());
        }
    }
}

TEST_F(AddressSpaceTest, a_long_unmap_runs_as_a_task_and_frees_everything) {
    AddressSpace::MapRequest r;
    r.prot = kRw;
    r.flags = linux::kMapPrivate | linux::kMapAnonymous;
    r.length = 2000 * kPageSize;
    UserAddr start = mm_->map(r, {}).value();
    ASSERT_EQ(u64(run(mm_->fault_in(start, r.length, true, nullptr))), r.length);
    EXPECT_EQ(inside(*mm_).anon.size(), 2000u);
    EXPECT_EQ(mm_->unmap(start, r.length).error(), kNeedsTask);
    EXPECT_EQ(inside(*mm_).anon.size(), 2000u);
    ASSERT_TRUE(run(mm_->unmap_task(start, r.length)).ok());
    EXPECT_EQ(inside(*mm_).anon.size(), 0u);
    EXPECT_EQ(mm_->space().mapped_pages(), 0u);
}

TEST_F(AddressSpaceTest, truncation_takes_pages_away_from_every_map) {
    auto mapping = rt::make_ref<fs::Mapping>().take();
    mapping->size = 4 * kPageSize;
    AddressSpace::MapRequest r;
    r.prot = kRw;
    r.flags = linux::kMapShared;
    r.length = 4 * kPageSize;
    r.file = rt::make_ref<TestFile>(mapping, fs::kOpenReadWrite).take();
    u64 a = mm_->map(r, {}).value().value >> 12;
    r.flags = linux::kMapPrivate;
    u64 b = mm_->map(r, {}).value().value >> 12;
    u64 word = 7;
    ASSERT_EQ(access(*mm_, a + 3, word, true), FaultKind::kResolved);
    ASSERT_EQ(access(*mm_, b + 3, word, false), FaultKind::kResolved);
    EXPECT_EQ(word, 7u);
    mapping->size = kPageSize + 1;
    mapping->truncate_pages(2);
    EXPECT_EQ(access(*mm_, a + 3, word, false), FaultKind::kBusAddress);
    EXPECT_EQ(access(*mm_, b + 3, word, false), FaultKind::kBusAddress);
    EXPECT_EQ(access(*mm_, a + 1, word, false), FaultKind::kResolved);
}

TEST_F(AddressSpaceTest, failing_allocations_change_nothing_that_can_be_seen) {
    AddressSpace::MapRequest r;
    r.hint = at(kBase);
    r.prot = kRw;
    r.flags = linux::kMapPrivate | linux::kMapAnonymous | linux::kMapFixed;
    r.length = 32 * kPageSize;
    ASSERT_TRUE(mm_->map(r, {}).ok());
    for (u64 p = 0; p < 32; ++p) {
        u64 word = p + 1;
        ASSERT_EQ(access(*mm_, kBase + p, word, true), FaultKind::kResolved);
    }
    auto intact = [&] {
        for (u64 p = 0; p < 32; ++p) {
            u64 word = 0;
            if (access(*mm_, kBase + p, word, false) != FaultKind::kResolved || word != p + 1) return false;
        }
        return inside(*mm_).areas.valid() && inside(*mm_).total_pages == 32;
    };
    for (u64 n = 0; n < 8; ++n) {
        ASSERT_TRUE(rt::mem_fail_after(n, 1));
        bool unmapped = mm_->unmap(at(kBase + 8), 8 * kPageSize).ok();
        rt::mem_fail_never();
        if (unmapped) break;
        ASSERT_TRUE(intact()) << n;
        ASSERT_LT(n, 7u);
    }
    // Put back what the last one took away.
    r.hint = at(kBase + 8);
    r.length = 8 * kPageSize;
    ASSERT_TRUE(mm_->map(r, {}).ok());
    for (u64 p = 8; p < 16; ++p) {
        u64 word = p + 1;
        ASSERT_EQ(access(*mm_, kBase + p, word, true), FaultKind::kResolved);
    }
    for (u64 n = 0;; ++n) {
        ASSERT_LT(n, 100u);
        ASSERT_TRUE(rt::mem_fail_after(n, 1));
        std::optional<Result<Ref<AddressSpace>>> forked;
        (void)rt::spawn("test", store(mm_->fork(), forked), rt::Executor::current());  // may itself get no memory
        rt::Executor::current().run_until_idle();
        u64 failed = rt::mem_injected_failures();
        rt::mem_fail_never();
        ASSERT_TRUE(intact()) << n;
        if (forked && forked->ok()) {
            EXPECT_EQ(failed, 0u);
            break;
        }
    }
}

}  // namespace
