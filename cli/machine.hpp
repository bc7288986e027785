// SPDX-License-Identifier: MIT
// One QEMU with one guest: its command line, its ports, and the loop that carries bytes between them and the host.
//
// Four named virtio-serial ports: farcall.stdin, farcall.stdout, farcall.stderr, farcall.control. The first three carry
// the program's bytes and nothing else (a fifth, farcall.trace, the trace's); what a byte stream cannot express goes
// over the control port as lines of text:
//   guest: ready | exit N | signal N | error notfound | error noexec | stdout-bytes N | stderr-bytes N |
//          panic | log TEXT | mark NAME | stats JSON | trace-bytes N | flush-failed
//   host:  stdin-eof N | winsize R C | tty 0|1 | dump | term
// The byte counts come before the exit line, so the end of the output is known without an end-of-file.
#pragma once
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/disk.hpp"
#include "cli/util.hpp"

namespace cli {

struct MachineSpec {
    fs::path kernel;
    fs::path initrd;
    std::string append;
    int cpus = 1;
    uint64_t memory = uint64_t{256} << 20;
    std::string machine = "q35";
    std::string cpu = "max";
    std::string accel;                    // empty: tcg,thread=multi
    std::string plugin;                   // value of -plugin
    std::vector<DiskSpec> disks;          // checked and locked by the caller (DiskFiles)
    std::vector<std::string> extra_args;  // last on the command line
    bool gdb = false;
    bool verbose = false;
    bool trace = false;        // one more port, farcall.trace
    bool quit_gently = false;  // let QEMU run its exit handlers (a plugin writes its file there)
};

// Where the program's bytes go. A descriptor gets them with back-pressure; a function gets them at once.
struct Streams {
    int input = -1;  // descriptor, -1: the guest's standard input is null
    int output = 1;
    int error = 2;
    std::function<void(std::string_view)> on_output, on_error;  // used instead of the descriptors when set
    std::function<void(std::string_view)> on_control;           // every line of the guest, besides its handling here
    std::function<void(std::string_view)> on_serial;            // raw serial bytes
    std::function<void(std::string_view)> on_trace;             // bytes of the trace, if the machine has that port
    bool terminal = false;                                      // raw mode on `input`, Ctrl-A x ends
};

struct Outcome {
    enum class Kind {
        Exit,
        Signal,
        NotFound,
        NotExecutable,
        Panic,
        Timeout,
        CannotStart,
        Stopped,
        QemuFailed,
        OutputClosed,
        Cancelled
    };
    Kind kind = Kind::Stopped;
    int value = 0;       // exit status or signal
    std::string text;    // name for NotFound; QEMU's words for QemuFailed, the kernel's for CannotStart
    std::string serial;  // all of the serial line
    std::string dump;    // Panic, Timeout: the part of the serial line to show
    int status() const;  // as the tool's exit status
};

class Session {
public:
    Session(MachineSpec spec, Streams streams) : spec_(std::move(spec)), streams_(std::move(streams)) {}
    // 0: none. A deadline can be moved from a callback (a batch gives each case its own).
    void set_timeout(double seconds);
    // The same for a limit that only ends hangs: it grows with the host's slowness (cli/pace.hpp), also afterwards.
    void set_patience(double seconds);
    void cancel() { cancelled_ = true; }  // from a callback: stop the guest now
    Outcome run();

private:
    struct Port {
        UniqueFd fd;
        std::string to_guest;
        std::string from_guest;
        uint64_t received = 0;
    };
    enum PortIndex { kStdin, kStdout, kStderr, kControl, kTrace, kSerial, kMonitor, kPortCount };

    void start_qemu();
    void stop_qemu();
    void poll_once();
    void read_input();
    void read_port(PortIndex index);
    void write_port(PortIndex index);
    void drain_all();
    void deliver(PortIndex index);
    void control_line(std::string_view line);
    void serial_bytes(std::string_view bytes);
    void send_control(const std::string& line) { ports_[kControl].to_guest += line + "\n"; }
    void send_winsize();
    void handle_signals();
    void start_dump();
    void finish(Outcome::Kind kind, int value = 0, std::string text = {});
    bool output_complete() const;
    void announce_gdb(int port);

    MachineSpec spec_;
    Streams streams_;
    Port ports_[kPortCount];
    UniqueFd signals_;
    UniqueFd qemu_errors_;
    std::string qemu_error_text_;
    pid_t qemu_ = -1;
    bool input_open_ = false;
    bool eof_sent_ = false;
    bool escape_ = false;  // Ctrl-A was typed
    uint64_t input_bytes_ = 0;
    std::optional<uint64_t> expected_[2], expected_trace_;
    Clock::time_point patient_since_;
    double patience_ = 0;
    std::optional<Clock::time_point> deadline_, finish_deadline_, dump_deadline_, quiet_deadline_;
    size_t dump_start_ = 0;
    bool dumping_ = false, panicked_ = false, cancelled_ = false, output_closed_ = false, qemu_gone_ = false;
    std::optional<Outcome> outcome_;
    std::string serial_;
};

// Puts a terminal into raw mode and back, on every way out.
class RawTerminal {
public:
    RawTerminal(int fd, bool enable);
    ~RawTerminal();

private:
    struct Saved;
    Saved* saved_ = nullptr;
    int fd_;
};

}  // namespace cli
