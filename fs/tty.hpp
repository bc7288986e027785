// SPDX-License-Identifier: MIT
// The terminal: termios(3) line discipline over the standard streams.
//
// A job pumps input from the driver's stream into the discipline, so that ^C works while no thread reads. Lock:
// Rank::tty guards everything but the queues. Signals to the foreground group go through `hooks`, outside the lock;
// permission to read, write and change it (job control) is decided by linux/terminal.cpp, which has access to
// processes.
#pragma once
#include "abi/linux/system.hpp"
#include "abi/linux/termios.hpp"
#include "fs/file.hpp"
#include "port/api/streams.hpp"

namespace fs {

class Tty {
public:
    // Signals the foreground group; set by linux/. May be called from any job, no lock held.
    struct Hooks {
        void (*signal_foreground)(Tty& tty, u32 signal) = nullptr;
    };
    static Hooks hooks;
    // The machine's one terminal; made on first use and never destroyed. kNxIo if the streams are not a terminal.
    static Result<Tty*> get();

    Leaf<size_t> read(const UserSpans& to);
    Leaf<size_t> write(const UserSpans& from, bool whole);  // as much as there is room for; kNeedsTask: none
    Leaf<u64> ioctl(UserMemory& user, u32 request, u64 argument);
    Termios termios();
    // `drain`: after the output before it was written (kNeedsTask); `flush`: and input that was not read is dropped.
    Leaf<void> set_termios(const Termios& to, bool drain, bool flush);
    u32 poll();
    // vhangup(2): what waits to be read is dropped, and files that were opened before reach the terminal no more.
    void hang_up();
    // Files count; the last one to close ends what TIOCEXCL began. False: it is another's alone, and the opener has no
    // CAP_SYS_ADMIN.
    bool add_file(bool privileged);
    void remove_file();
    u32 hang_ups() const { return hang_ups_.load(std::memory_order_relaxed); }
    Nanoseconds read_timeout();  // VTIME in force for a read that starts now

    // Job control. Session and foreground group are 0 if there is none. The group may have gone, and its number may be
    // another's: linux/terminal.cpp knows.
    std::atomic<i32> session{0}, foreground{0};
    u32 local_flags() const { return local_flags_.load(std::memory_order_relaxed); }

    rt::WaitQueue input, output;
    static constexpr u64 kDevice = kDeviceSerial0;

private:
    Task<void> pump();
    u32 receive(u8 c) RT_REQUIRES(lock_);  // returns a signal to send, or 0
    void simulate_input(u8 c);             // TIOCSTI
    void echo(u8 c) RT_REQUIRES(lock_);
    void erase(bool word, bool line) RT_REQUIRES(lock_);
    void put(u8 c) RT_REQUIRES(lock_);  // one output byte after OPOST, dropped if there is no room
    size_t drain(std::span<const std::byte> from);
    bool flush_output() RT_REQUIRES(lock_);
    void store(u8 c, bool end_of_line) RT_REQUIRES(lock_);
    bool ready() const RT_REQUIRES(lock_);
    void flush_input() RT_REQUIRES(lock_);
    bool has_char(u32 which, u8 c) const RT_REQUIRES(lock_) {
        return termios_.chars[which] != 0 && termios_.chars[which] == c;
    }

    static constexpr u32 kRing = 4096;
    rt::SpinLock<rt::Rank::tty> lock_;
    std::atomic<u32> local_flags_{0}, hang_ups_{0};
    Termios termios_ RT_GUARDED_BY(lock_){};
    WindowSize window_ RT_GUARDED_BY(lock_){};
    WindowSize host_window_ RT_GUARDED_BY(lock_){};  // as last heard from the host
    rt::WaitQueue resized_;
    port::Stream* in_ = nullptr;
    port::Stream* out_ = nullptr;
    bool stopped_ RT_GUARDED_BY(lock_) = false;       // ^S
    bool literal_next_ RT_GUARDED_BY(lock_) = false;  // ^V
    bool hung_up_ RT_GUARDED_BY(lock_) = false;
    bool exclusive_ RT_GUARDED_BY(lock_) = false;  // TIOCEXCL
    u32 files_ RT_GUARDED_BY(lock_) = 0;
    u32 column_ RT_GUARDED_BY(lock_) = 0;
    u32 canon_column_ RT_GUARDED_BY(lock_) = 0;
    // [read, canon_end) are complete lines, [canon_end, write) is being edited.
    u32 read_at_ RT_GUARDED_BY(lock_) = 0;
    u32 canon_end_ RT_GUARDED_BY(lock_) = 0;
    u32 write_at_ RT_GUARDED_BY(lock_) = 0;
    // Bytes of out_buffer_ not yet taken by the driver.
    u32 out_at_ RT_GUARDED_BY(lock_) = 0;
    u32 out_end_ RT_GUARDED_BY(lock_) = 0;
    u8 ring_[kRing] RT_GUARDED_BY(lock_);
    u64 line_ends_[kRing / 64] = {};  // a bit per ring byte: the line ends there (with EOF: and the byte is not read)
    std::byte out_buffer_[2 * 1024];
};

// The terminal as an open file; `path` is the device node's, or empty. As the console it is not hung up, whoever uses it
// (Linux: redirected_tty_write).
enum class OpenAs : bool { kTerminal, kConsole };
// EBUSY: see Tty::add_file().
Result<Ref<File>> open_terminal(OpenContext& how, OpenAs as = OpenAs::kTerminal);

}  // namespace fs
