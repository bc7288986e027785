// SPDX-License-Identifier: MIT
// The terminal's line discipline (termios(3)), over streams made of strings.
#include "fs/tty.hpp"

#include "fs_support.hpp"

namespace {

using fs_test::kernel_spans;

struct Keyboard final : port::Stream {
    std::string input;
    bool ended = false;
    size_t try_read(std::span<std::byte> to) override {
        size_t n = std::min(to.size(), input.size());
        std::memcpy(to.data(), input.data(), n);
        input.erase(0, n);
        return n;
    }
    size_t try_write(std::span<const std::byte>) override { return 0; }
    bool readable() const override { return !input.empty(); }
    bool writable() const override { return false; }
    bool at_end() const override { return ended && input.empty(); }
};
struct Screen final : port::Stream {
    std::string shown;
    size_t room = ~size_t{0};
    size_t try_read(std::span<std::byte>) override { return 0; }
    size_t try_write(std::span<const std::byte> from) override {
        size_t n = std::min(from.size(), room);
        room -= n;
        shown.append(reinterpret_cast<const char*>(from.data()), n);
        return n;
    }
    bool readable() const override { return false; }
    bool writable() const override { return room != 0; }
    bool at_end() const override { return false; }
};
Keyboard keyboard;
Screen screen;
std::string signals;

// One terminal for all: it lives as long as the program.
class TtyTest : public testing::Test {
protected:
    void SetUp() override {
        hal::Machine::set_cpu_count(4);
        hal::Machine::bind_cpu(CpuId{0});
        mem_test::fresh_memory(u64{64} << 20);
        rt::Executor::start(CpuId{0});
        rt::epoch_leave_idle();
    }
    void TearDown() override { rt::epoch_enter_idle(); }

    void type(const std::string& keys) {
        keyboard.input += keys;
        keyboard.changed.wake_all();
        rt::Executor::current().run_until_idle();
    }
    std::string read(size_t n = 100) {
        std::string out(n, '\0');
        auto r = tty->read(kernel_spans(out.data(), n));
        if (r.error() == kNeedsTask) return "must wait";
        if (!r.ok()) return "error " + std::to_string(int(r.error().ended()));
        out.resize(r.value());
        return out;
    }
    std::string shown() { return std::exchange(screen.shown, {}); }
    LeafError set(const fs::Termios& t) { return tty->set_termios(t, false, false).error(); }
    fs::Tty* tty = nullptr;
};

TEST_F(TtyTest, Discipline) {
    port::streams = {.standard = {&keyboard, &screen, &screen}, .tty = true, .rows = 30, .columns = 90};
    fs::Tty::hooks.signal_foreground = [](fs::Tty& of, u32 sig) {
        signals += std::to_string(of.foreground.load()) + ":" + std::to_string(sig) + " ";
    };
    auto made = fs::Tty::get();
    ASSERT_TRUE(made.ok());
    tty = made.value();
    rt::Executor::current().run_until_idle();

    // Lines: nothing can be read before the end of one.
    type("hel");
    EXPECT_EQ(read(), "must wait");
    type("lo\r");
    EXPECT_EQ(shown(), "hello\r\n");
    EXPECT_EQ(read(), "hello\n");
    type("one\ntwo\n");
    EXPECT_EQ(read(2), "on");
    EXPECT_EQ(read(), "e\n");
    EXPECT_EQ(read(), "two\n");
    (void)shown();

    // Editing: erase, word erase, kill, a literal character.
    type("abx\177c\n");
    EXPECT_EQ(shown(), "abx\b \bc\r\n");
    EXPECT_EQ(read(), "abc\n");
    type("one two  \027three\n");
    EXPECT_EQ(read(), "one three\n");
    type("nonsense\025good\n");
    EXPECT_EQ(read(), "good\n");
    (void)shown();
    type("a\026\003b\n");
    EXPECT_EQ(read(), "a\003b\n");
    EXPECT_EQ(shown(), "a^\b^Cb\r\n");

    // End of file: an empty read, or the end of an unfinished line.
    type("\004");
    EXPECT_EQ(read(), "");
    EXPECT_EQ(read(), "must wait");
    type("part\004");
    EXPECT_EQ(read(), "part");
    EXPECT_EQ(read(), "must wait");
    (void)shown();

    // Signals: to the foreground group; the line is lost.
    tty->foreground.store(17);
    type("lost\003");
    EXPECT_EQ(signals, "17:2 ");
    EXPECT_EQ(shown(), "lost^C");
    type("\034\032");
    EXPECT_EQ(signals, "17:2 17:3 17:20 ");
    type("kept\n");
    EXPECT_EQ(read(), "kept\n");
    (void)shown();

    // Output: newlines become two characters; a full screen makes writers wait, and then continues.
    std::string text = "a\nb\n";
    EXPECT_EQ(tty->write(kernel_spans(text.data(), text.size()), false).value(), 4u);
    EXPECT_EQ(shown(), "a\r\nb\r\n");
    screen.room = 3;
    EXPECT_EQ(tty->write(kernel_spans(text.data(), text.size()), false).value(), 4u);
    EXPECT_EQ(tty->write(kernel_spans(text.data(), text.size()), false).error(), kNeedsTask);
    EXPECT_EQ(tty->poll() & fs::kPollOut, 0u);
    screen.room = ~size_t{0};
    screen.changed.wake_all();
    rt::Executor::current().run_until_idle();
    EXPECT_EQ(shown(), "a\r\nb\r\n");
    EXPECT_NE(tty->poll() & fs::kPollOut, 0u);

    // ^S holds output, ^Q lets it go.
    type("\023");
    EXPECT_EQ(tty->write(kernel_spans(text.data(), 1), false).value(), 1u);
    EXPECT_EQ(shown(), "");
    type("\021");
    EXPECT_EQ(shown(), "a");

    // Raw: every byte as it comes, no echo, no signals.
    fs::Termios cooked = tty->termios(), raw = cooked;
    raw.input = 0;
    raw.output = 0;
    raw.local = 0;
    raw.chars[6] = 1;  // VMIN
    ASSERT_EQ(set(raw), Errno::kOk);
    type("\003\r");
    EXPECT_EQ(read(), "\003\r");
    EXPECT_EQ(shown(), "");
    EXPECT_EQ(signals, "17:2 17:3 17:20 ");
    raw.chars[6] = 3;
    ASSERT_EQ(set(raw), Errno::kOk);
    type("ab");
    EXPECT_EQ(read(), "must wait");
    type("c");
    EXPECT_EQ(read(), "abc");
    raw.chars[6] = 0;
    ASSERT_EQ(set(raw), Errno::kOk);
    EXPECT_EQ(read(), "");
    // An unfinished line can be read once lines do not count any more.
    ASSERT_EQ(set(cooked), Errno::kOk);
    type("unfinished");
    ASSERT_EQ(set(raw), Errno::kOk);
    EXPECT_EQ(read(), "unfinished");

    // vhangup(2): what was open then is at its end, and what waited to be read has gone.
    ASSERT_EQ(set(cooked), Errno::kOk);
    fs::OpenContext how{.path = {}, .flags = fs::kOpenReadWrite};
    Ref<fs::File> before = fs::open_terminal(how).take();
    type("lost\n");
    tty->hang_up();
    Ref<fs::File> after = fs::open_terminal(how).take();
    char c = 0;
    EXPECT_EQ(before->try_read(kernel_spans(&c, 1), 0).value(), 0u);
    EXPECT_EQ(before->try_write_some(kernel_spans(&c, 1), 0).error(), Errno::kIo);
    EXPECT_EQ(before->poll() & (fs::kPollHup | fs::kPollErr), fs::kPollHup | fs::kPollErr);
    EXPECT_EQ(before->terminal(), nullptr);
    EXPECT_EQ(after->try_read(kernel_spans(&c, 1), 0).error(), kNeedsTask);
    EXPECT_EQ(after->terminal(), tty);
    type("x\n");
    EXPECT_EQ(after->try_read(kernel_spans(&c, 1), 0).value(), 1u);
    EXPECT_EQ(c, 'x');
    EXPECT_EQ(read(), "\n");

    // The other side hangs up.
    ASSERT_EQ(set(cooked), Errno::kOk);
    keyboard.ended = true;
    type("");
    EXPECT_EQ(read(), "");
    EXPECT_NE(tty->poll() & fs::kPollHup, 0u);
    port::streams = {};
}

}  // namespace
