// SPDX-License-Identifier: MIT
// Pipes: what goes in comes out, in the portions and within the limits of Linux; ends that go are noticed.
#include <random>

#include "fs/pipe.hpp"
#include "fs_support.hpp"

namespace {

using fs_test::kernel_spans;

class PipeTest : public fs_test::FsTest {
protected:
    void SetUp() override {
        FsTest::SetUp();
        // The file system of pipes is made with the first one and stays.
        open_pipe();
        ends = {};
        measure_again();
    }
    void open_pipe(u32 flags = fs::kOpenNonblock) {
        auto made = fs::make_pipe(flags, creds);
        ASSERT_TRUE(made.ok());
        ends = made.take();
    }
    void TearDown() override {
        ends = {};
        FsTest::TearDown();
    }
    Leaf<size_t> put(std::string text) {
        return ends.write->try_write(kernel_spans(text.data(), text.size()), fs::kAtOffset);
    }
    std::string get(size_t n) {
        std::string out(n, '\0');
        auto r = ends.read->try_read(kernel_spans(out.data(), n), fs::kAtOffset);
        if (r.error() == kNeedsTask) return "must wait";
        if (!r.ok()) return "error " + std::to_string(int(r.error().ended()));
        out.resize(r.value());
        return out;
    }
    fs::PipeEnds ends;
};

TEST_F(PipeTest, BytesComeOutAsTheyWentIn) {
    open_pipe();
    std::mt19937 random(7);
    std::string model, seen;
    u8 next = 0;
    for (int step = 0; step < 4000; ++step) {
        if (random() % 2) {
            std::string text(random() % (random() % 8 ? 300 : 20000), '\0');
            for (char& c : text) c = char(next++);
            auto r = put(text);
            size_t taken = r.ok() ? r.value() : 0;
            next = u8(next - (text.size() - taken));
            model += text.substr(0, taken);
            if (text.size() <= fs::kPipeBuf && r.ok()) ASSERT_TRUE(taken == text.size() || taken == 0) << "not atomic";
        } else {
            std::string out = get(random() % 9000 + 1);
            if (model.empty()) {
                ASSERT_EQ(out, "must wait");
            } else {
                ASSERT_EQ(out, model.substr(0, out.size()));
                ASSERT_FALSE(out.empty());
                model.erase(0, out.size());
            }
        }
        ASSERT_EQ(static_cast<fs::PipeFile&>(*ends.read).pipe().buffered(), model.size());
    }
}

TEST_F(PipeTest, CapacityCountsPagesAsLinuxDoes) {
    auto fill = [&](size_t portion) {
        open_pipe();
        size_t writes = 0;
        while (put(std::string(portion, 'x')).ok()) ++writes;
        return writes;
    };
    EXPECT_EQ(fill(4096), 16u);
    EXPECT_EQ(fill(3000), 16u);  // two do not fit in a page, and a small write is never split
    EXPECT_EQ(fill(2048), 32u);
    EXPECT_EQ(fill(1), 65536u);
    open_pipe();
    EXPECT_EQ(put(std::string(100'000, 'x')).value(), 65536u);
}

TEST_F(PipeTest, BlockingWritesGoWholeOrNotAtAll) {
    open_pipe(0);
    EXPECT_EQ(put(std::string(60'000, 'a')).value(), 60'000u);
    EXPECT_EQ(put(std::string(10'000, 'b')).error(), kNeedsTask);
    std::string rest(10'000, 'b');
    EXPECT_EQ(ends.write->try_write_some(kernel_spans(rest.data(), rest.size()), fs::kAtOffset).value(),
              4096u);  // the one page that is free
    EXPECT_EQ(get(70'000), std::string(60'000, 'a') + std::string(4096, 'b'));
}

TEST_F(PipeTest, EndsThatGoAreNoticed) {
    open_pipe();
    EXPECT_EQ(ends.read->poll(), 0u);
    EXPECT_EQ(ends.write->poll(), fs::kPollOut | fs::kPollWrNorm);
    ASSERT_TRUE(put("rest").ok());
    ends.write = {};
    EXPECT_EQ(ends.read->poll(), fs::kPollIn | fs::kPollRdNorm | fs::kPollHup);
    EXPECT_EQ(get(10), "rest");
    EXPECT_EQ(get(10), "");
    EXPECT_EQ(ends.read->poll(), fs::kPollHup);
    open_pipe();
    ends.read = {};
    EXPECT_EQ(put("x").error(), Errno::kPipe);
    EXPECT_EQ(put("").value(), 0u);
    EXPECT_EQ(ends.write->poll(), fs::kPollOut | fs::kPollWrNorm | fs::kPollErr);
}

TEST_F(PipeTest, PacketsStayApart) {
    open_pipe(fs::kOpenNonblock | fs::kOpenDirect);
    ASSERT_TRUE(put("one").ok());
    ASSERT_TRUE(put("second").ok());
    EXPECT_EQ(get(100), "one");
    EXPECT_EQ(get(3), "sec");
    EXPECT_EQ(get(100), "must wait") << "the rest of a packet is lost";
}

TEST_F(PipeTest, CapacityCanChange) {
    open_pipe();
    fs::Pipe& pipe = static_cast<fs::PipeFile&>(*ends.read).pipe();
    fs::Creds user;
    user.cap_effective = 0;
    EXPECT_EQ(pipe.set_capacity(0, user).value(), 4096u);
    EXPECT_EQ(put(std::string(9000, 'x')).value(), 4096u);
    EXPECT_EQ(pipe.set_capacity(20'000, user).value(), 32768u);
    ASSERT_EQ(put(std::string(5000, 'y')).value(), 5000u);
    EXPECT_EQ(pipe.set_capacity(4096, user).error(), Errno::kBusy);
    EXPECT_EQ(pipe.set_capacity(2 << 20, user).error(), Errno::kPerm);
    EXPECT_EQ(pipe.set_capacity(u64{1} << 32, creds).error(), Errno::kInval);
    EXPECT_EQ(pipe.set_capacity(2 << 20, creds).value(), 2u << 20);
    EXPECT_EQ(get(10'000), std::string(4096, 'x') + std::string(5000, 'y'));
}

TEST_F(PipeTest, RoomIsChargedToItsMakerWhileAnEndIsOpen) {
    creds.user = fs::UserAccount::of(7).take();
    EXPECT_EQ(fs::UserAccount::of(7).value(), creds.user) << "a user has one account";
    std::atomic<u64>& pages = creds.user->pipe_pages;
    open_pipe();
    EXPECT_EQ(pages, fs::kPipeSlots);
    ASSERT_TRUE(static_cast<fs::PipeFile&>(*ends.read).pipe().set_capacity(1 << 20, creds).ok());
    EXPECT_EQ(pages, 256u);
    ends.read = {};
    EXPECT_EQ(pages, 256u);
    ends.write = {};
    EXPECT_EQ(pages, 0u);
    creds.user = {};
}

TEST_F(PipeTest, RunningOutOfMemoryLosesNothing) {
    for (u64 n = 0;; ++n) {
        rt::mem_fail_after(n);
        auto made = fs::make_pipe(fs::kOpenNonblock, creds);
        Leaf<size_t> wrote{Errno::kNoMem};
        if (made.ok()) {
            ends = made.take();
            wrote = put(std::string(10'000, 'z'));
        }
        rt::mem_fail_never();
        if (made.ok()) {
            size_t count = wrote.ok() ? wrote.value() : 0;
            EXPECT_EQ(get(20'000), count ? std::string(count, 'z') : "must wait");
        }
        ends = {};
        if (wrote.ok() && wrote.value() == 10'000) break;
        ASSERT_LT(n, 100u);
    }
}

TEST_F(PipeTest, FifosWaitForTheOtherEnd) {
    ASSERT_EQ(make("/fifo", fs::kTypeFifo | 0666), Errno::kOk);
    EXPECT_EQ(open("/fifo", fs::kOpenReadOnly).error(), kNeedsTask);
    EXPECT_EQ(open("/fifo", fs::kOpenWriteOnly).error(), kNeedsTask);
    EXPECT_EQ(open("/fifo", fs::kOpenWriteOnly | fs::kOpenNonblock).error(), Errno::kNxIo);
    ends.read = open("/fifo", fs::kOpenReadOnly | fs::kOpenNonblock).take();
    EXPECT_EQ(ends.read->poll(), 0u) << "no hang-up before the first writer";
    ends.write = open("/fifo", fs::kOpenWriteOnly).take();
    ASSERT_TRUE(put("text").ok());
    EXPECT_EQ(get(10), "text");
    ends.write = {};
    EXPECT_EQ(ends.read->poll(), fs::kPollHup);
    EXPECT_EQ(get(10), "");
    ends.read = {};
    ends.read = open("/fifo", fs::kOpenReadWrite).take();
    ends.write = ends.read;
    ASSERT_TRUE(put("old").ok());
    ends = {};
    ends.read = open("/fifo", fs::kOpenReadOnly | fs::kOpenNonblock).take();
    EXPECT_EQ(get(10), "") << "data goes with the last end";
}

}  // namespace
