// SPDX-License-Identifier: MIT
// The loop between one guest and the host: see machine.hpp. One thread, one poll(2); all of its own descriptors are
// non-blocking except the user's own descriptors, which are only written when poll says so and at most PIPE_BUF bytes
// at a time (POSIX: a pipe that polls writable takes that much without blocking).
#include "cli/machine.hpp"

#include "cli/pace.hpp"

#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace cli {

namespace {

constexpr size_t kChunk = 64 * 1024;
constexpr double kFinishGrace = 5;   // seconds for announced bytes to arrive after the exit line
constexpr double kDumpLimit = 5;     // seconds for a dump after the NMI
constexpr double kDumpQuiet = 0.4;   // seconds of silence that end a dump
constexpr double kPanicQuiet = 1.0;  // a panic that does not end the machine by itself
constexpr char kEscape = 'A' - 64;   // Ctrl-A

Clock::time_point after(double seconds) {
    return Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds * pace()));
}

// "panic" near the start of a line, with or without a time stamp before it.
size_t find_panic(std::string_view text) {
    for (std::string_view word : {"panic", "PANIC", "Panic"}) {
        for (size_t at = text.find(word); at != text.npos; at = text.find(word, at + 1)) {
            size_t line = text.rfind('\n', at);
            line = line == text.npos ? 0 : line + 1;
            char next = at + word.size() < text.size() ? text[at + word.size()] : ' ';
            if (at - line <= 40 && (next == ':' || next == ' ' || next == '\n' || next == '\r')) return line;
        }
    }
    return text.npos;
}

// The kernel's reason, if it gave up before the first program.
std::string why_not_started(std::string_view serial) {
    constexpr std::string_view kMark = "farcall: cannot start: ";
    size_t at = serial.rfind(kMark);
    if (at == serial.npos) return {};
    std::string_view why = serial.substr(at + kMark.size());
    return std::string(why.substr(0, why.find_first_of("\r\n")));
}

}  // namespace

int Outcome::status() const {
    switch (kind) {
        case Kind::Exit: return value;
        case Kind::Signal: return 128 + value;
        case Kind::NotFound: return kStatusNotFound;
        case Kind::NotExecutable: return kStatusCannotExecute;
        case Kind::Timeout: return kStatusTimeout;
        case Kind::OutputClosed: return 128 + SIGPIPE;
        case Kind::QemuFailed:
        case Kind::CannotStart: return kStatusUsage;
        case Kind::Panic:
        case Kind::Stopped:
        case Kind::Cancelled: break;
    }
    return kStatusPanic;
}

struct RawTerminal::Saved {
    termios attributes;
};

RawTerminal::RawTerminal(int fd, bool enable) : fd_(fd) {
    if (!enable) return;
    saved_ = new Saved;
    if (::tcgetattr(fd, &saved_->attributes) != 0) return;
    termios raw = saved_->attributes;
    ::cfmakeraw(&raw);
    // TCSADRAIN may stop a background job (SIGTTOU); that is what a user expects of a background job.
    ::tcsetattr(fd, TCSADRAIN, &raw);
}

RawTerminal::~RawTerminal() {
    if (saved_) ::tcsetattr(fd_, TCSADRAIN, &saved_->attributes);
    delete saved_;
}

void Session::set_patience(double seconds) {
    set_timeout(seconds);
    patience_ = deadline_ ? seconds : 0;
    patient_since_ = Clock::now();
}

void Session::set_timeout(double seconds) {
    deadline_.reset();
    patience_ = 0;
    if (seconds <= 0 || spec_.gdb) return;
    deadline_ = Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
}

void Session::finish(Outcome::Kind kind, int value, std::string text) {
    if (outcome_) return;
    outcome_ = Outcome{.kind = kind, .value = value, .text = std::move(text), .serial = {}, .dump = {}};
    finish_deadline_ = after(kFinishGrace);
}

bool Session::output_complete() const {
    for (int i = 0; i < 2; ++i) {
        const Port& port = ports_[kStdout + i];
        if (!port.from_guest.empty()) return false;
        if (expected_[i] && port.received < *expected_[i] && !qemu_gone_) return false;
    }
    return !expected_trace_ || !spec_.trace || ports_[kTrace].received >= *expected_trace_ || qemu_gone_;
}

void Session::control_line(std::string_view line) {
    size_t space = line.find(' ');
    std::string verb(line.substr(0, space));
    std::string rest(space == line.npos ? "" : line.substr(space + 1));
    if (verb == "ready") {
        if (streams_.terminal) {
            send_control("tty 1");
            send_winsize();
        }
    } else if (verb == "stdout-bytes") {
        expected_[0] = std::strtoull(rest.c_str(), nullptr, 10);
    } else if (verb == "stderr-bytes") {
        expected_[1] = std::strtoull(rest.c_str(), nullptr, 10);
    } else if (verb == "trace-bytes") {
        expected_trace_ = std::strtoull(rest.c_str(), nullptr, 10);
    } else if (verb == "exit") {
        finish(Outcome::Kind::Exit, std::atoi(rest.c_str()) & 255);
    } else if (verb == "signal") {
        finish(Outcome::Kind::Signal, std::atoi(rest.c_str()) & 127);
    } else if (verb == "error" && rest.starts_with("notfound")) {
        finish(Outcome::Kind::NotFound);
    } else if (verb == "error" && rest.starts_with("noexec")) {
        finish(Outcome::Kind::NotExecutable);
    } else if (verb == "panic") {
        panicked_ = true;
        if (!quiet_deadline_) quiet_deadline_ = after(kPanicQuiet);
    } else if (verb == "log" && spec_.verbose) {
        std::fprintf(stderr, "%s\n", rest.c_str());
    }
    if (streams_.on_control) streams_.on_control(line);
}

void Session::serial_bytes(std::string_view bytes) {
    size_t scan = serial_.size() > 200 ? serial_.size() - 200 : 0;
    serial_.append(bytes);
    if (spec_.verbose && !dumping_) {
        std::string text;
        for (char c : bytes) {
            if (c == '\n' && streams_.terminal) text += '\r';
            text += c;
        }
        std::fwrite(text.data(), 1, text.size(), stderr);
    }
    if (streams_.on_serial) streams_.on_serial(bytes);
    if (dumping_) quiet_deadline_ = after(kDumpQuiet);
    if (!dumping_ && !panicked_) {
        size_t at = find_panic(std::string_view(serial_).substr(scan));
        if (at != std::string_view::npos) {
            panicked_ = true;
            dump_start_ = scan + at;
        }
    }
    // More words put the end off, but not for ever: a panic that panics again is cut.
    if (panicked_ && serial_.size() - dump_start_ < (1 << 20)) quiet_deadline_ = after(kPanicQuiet);
}

void Session::deliver(PortIndex index) {
    Port& port = ports_[index];
    if (index == kSerial) {
        serial_bytes(port.from_guest);
        port.from_guest.clear();
    } else if (index == kMonitor) {
        port.from_guest.clear();
    } else if (index == kControl) {
        size_t start = 0;
        for (size_t end; (end = port.from_guest.find('\n', start)) != std::string::npos; start = end + 1) {
            control_line(std::string_view(port.from_guest).substr(start, end - start));
        }
        port.from_guest.erase(0, start);
    } else if (index == kTrace) {
        if (streams_.on_trace) streams_.on_trace(port.from_guest);
        port.from_guest.clear();
    } else if (index == kStdout && streams_.on_output) {
        streams_.on_output(port.from_guest);
        port.from_guest.clear();
    } else if (index == kStderr && streams_.on_error) {
        streams_.on_error(port.from_guest);
        port.from_guest.clear();
    }
}

void Session::read_port(PortIndex index) {
    char buffer[kChunk];
    Port& port = ports_[index];
    ssize_t n = ::recv(port.fd.get(), buffer, sizeof buffer, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) {
        port.fd.reset();
        return;
    }
    port.received += static_cast<uint64_t>(n);
    port.from_guest.append(buffer, static_cast<size_t>(n));
    deliver(index);
}

void Session::write_port(PortIndex index) {
    Port& port = ports_[index];
    ssize_t n = ::send(port.fd.get(), port.to_guest.data(), port.to_guest.size(), MSG_NOSIGNAL);
    if (n > 0) port.to_guest.erase(0, static_cast<size_t>(n));
    if (n < 0 && errno != EAGAIN && errno != EINTR) port.to_guest.clear();
}

void Session::read_input() {
    char buffer[kChunk];
    ssize_t n = ::read(streams_.input, buffer, sizeof buffer);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) return;
    if (n <= 0) {
        input_open_ = false;
        return;
    }
    std::string& queue = ports_[kStdin].to_guest;
    if (!streams_.terminal) {
        queue.append(buffer, static_cast<size_t>(n));
        input_bytes_ += static_cast<uint64_t>(n);
        return;
    }
    for (ssize_t i = 0; i < n; ++i) {
        char c = buffer[i];
        if (!escape_ && c == kEscape) {
            escape_ = true;
            continue;
        }
        if (escape_ && (c == 'x' || c == 'X')) {
            std::fputs("\r\nfarcall: ended by Ctrl-A x\r\n", stderr);
            throw Interrupted{SIGTERM};
        }
        escape_ = false;
        queue += c;
        ++input_bytes_;
    }
}

void Session::send_winsize() {
    winsize size{};
    if (::ioctl(streams_.input, TIOCGWINSZ, &size) != 0 || size.ws_row == 0) return;
    send_control("winsize " + std::to_string(size.ws_row) + " " + std::to_string(size.ws_col));
}

void Session::handle_signals() {
    signalfd_siginfo info;
    while (::read(signals_.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
        int signal = static_cast<int>(info.ssi_signo);
        if (signal == SIGCHLD) {
            int status;
            if (qemu_ > 0 && !qemu_gone_ && ::waitpid(qemu_, &status, WNOHANG) == qemu_) qemu_gone_ = true;
        } else if (signal == SIGWINCH) {
            if (streams_.terminal) send_winsize();
        } else {
            throw Interrupted{signal};
        }
    }
}

void Session::start_dump() {
    dumping_ = true;
    dump_start_ = serial_.size();
    ports_[kMonitor].to_guest += "nmi\n";
    send_control("dump");
    dump_deadline_ = after(kDumpLimit);
}

// After QEMU's end its sockets still hold what it wrote.
void Session::drain_all() {
    for (int i = 0; i < kPortCount; ++i) {
        while (ports_[i].fd.get() >= 0) {
            size_t before = ports_[i].received;
            read_port(static_cast<PortIndex>(i));
            if (ports_[i].received == before) ports_[i].fd.reset();
        }
    }
    char buffer[4096];
    ssize_t n;
    while ((n = ::read(qemu_errors_.get(), buffer, sizeof buffer)) > 0)
        qemu_error_text_.append(buffer, static_cast<size_t>(n));
}

void Session::poll_once() {
    pollfd fds[kPortCount + 5];
    int count = 0;
    auto watch = [&](int fd, short events) {
        fds[count] = {.fd = fd, .events = events, .revents = 0};
        return count++;
    };
    int signals = watch(signals_.get(), POLLIN);
    int errors = watch(qemu_errors_.get(), POLLIN);
    int input = watch(input_open_ && ports_[kStdin].to_guest.empty() ? streams_.input : -1, POLLIN);
    int user[2];
    const int user_fd[2] = {streams_.output, streams_.error};
    for (int i = 0; i < 2; ++i) user[i] = watch(ports_[kStdout + i].from_guest.empty() ? -1 : user_fd[i], POLLOUT);
    int ports[kPortCount];
    for (int i = 0; i < kPortCount; ++i) {
        short events = 0;
        // An undelivered chunk stops reading: QEMU, then the guest, then the program wait in turn.
        if (!((i == kStdout || i == kStderr) && !ports_[i].from_guest.empty())) events |= POLLIN;
        if (!ports_[i].to_guest.empty()) events |= POLLOUT;
        ports[i] = watch(events ? ports_[i].fd.get() : -1, events);
    }

    int timeout = -1;
    auto now = Clock::now();
    for (const auto& deadline : {deadline_, finish_deadline_, dump_deadline_, quiet_deadline_}) {
        if (!deadline) continue;
        auto left = std::chrono::ceil<std::chrono::milliseconds>(*deadline - now).count();
        int wait = static_cast<int>(std::clamp<long>(left, 0, 3600 * 1000));
        timeout = timeout < 0 ? wait : std::min(timeout, wait);
    }
    if (::poll(fds, static_cast<nfds_t>(count), timeout) < 0 && errno != EINTR)
        fail("poll: " + std::string(std::strerror(errno)));

    if (fds[signals].revents) handle_signals();
    if (fds[errors].revents) {
        char buffer[4096];
        ssize_t n = ::read(qemu_errors_.get(), buffer, sizeof buffer);
        if (n > 0) {
            qemu_error_text_.append(buffer, static_cast<size_t>(n));
            if (spec_.verbose) std::fwrite(buffer, 1, static_cast<size_t>(n), stderr);
        } else if (n == 0) {
            qemu_errors_.reset();
        }
    }
    if (fds[input].revents) read_input();
    for (int i = 0; i < 2; ++i) {
        if (!fds[user[i]].revents) continue;
        std::string& queue = ports_[kStdout + i].from_guest;
        ssize_t n = ::write(user_fd[i], queue.data(), std::min<size_t>(queue.size(), PIPE_BUF));
        if (n > 0) queue.erase(0, static_cast<size_t>(n));
        if (n < 0 && errno != EINTR && errno != EAGAIN) {
            queue.clear();
            output_closed_ = true;
        }
    }
    for (int i = 0; i < kPortCount; ++i) {
        short got = fds[ports[i]].revents;
        if (got & POLLOUT) write_port(static_cast<PortIndex>(i));
        if (got & (POLLIN | POLLHUP | POLLERR)) read_port(static_cast<PortIndex>(i));
    }
}

Outcome Session::run() {
    ::signal(SIGPIPE, SIG_IGN);
    struct Stopper {
        Session& session;
        ~Stopper() { session.stop_qemu(); }
    } stopper{*this};
    start_qemu();
    RawTerminal raw(streams_.input, streams_.terminal);
    input_open_ = streams_.input >= 0;
    auto past = [](const std::optional<Clock::time_point>& deadline) { return deadline && Clock::now() >= *deadline; };
    for (;;) {
        poll_once();
        // The end of input is reported after its last byte went into the port.
        if (streams_.input >= 0 && !input_open_ && !eof_sent_ && ports_[kStdin].to_guest.empty()) {
            send_control("stdin-eof " + std::to_string(input_bytes_));
            eof_sent_ = true;
        }
        if (output_closed_) finish(Outcome::Kind::OutputClosed), finish_deadline_ = Clock::now();
        if (cancelled_) finish(Outcome::Kind::Cancelled), finish_deadline_ = Clock::now();
        if (qemu_gone_) {
            drain_all();
            if (!outcome_ && panicked_) finish(Outcome::Kind::Panic);
            if (!outcome_ && dumping_) finish(Outcome::Kind::Timeout);
            if (!outcome_ && !qemu_error_text_.empty()) finish(Outcome::Kind::QemuFailed, 0, qemu_error_text_);
            if (!outcome_) {
                std::string why = why_not_started(serial_);
                finish(why.empty() ? Outcome::Kind::Stopped : Outcome::Kind::CannotStart, 0, why);
            }
            deadline_.reset(), quiet_deadline_.reset(), dump_deadline_.reset();
        }
        if (outcome_ && !panicked_ && (output_complete() || past(finish_deadline_))) break;
        if (outcome_ && qemu_gone_ && (output_complete() || past(finish_deadline_))) break;
        if (panicked_ && past(quiet_deadline_)) {
            outcome_.reset();
            finish(Outcome::Kind::Panic);
            break;
        }
        if (dumping_ && !panicked_ && (past(quiet_deadline_) || past(dump_deadline_))) {
            finish(Outcome::Kind::Timeout);
            break;
        }
        if (patience_ > 0 && past(deadline_) && seconds_since(patient_since_) < patience_ * pace())
            deadline_ = Clock::now() + std::chrono::seconds(1);
        if (!dumping_ && !panicked_ && !outcome_ && past(deadline_)) {
            deadline_.reset();
            start_dump();
        }
    }
    stop_qemu();
    drain_all();
    outcome_->serial = serial_;
    if (outcome_->kind == Outcome::Kind::Panic || outcome_->kind == Outcome::Kind::Timeout) {
        outcome_->dump = serial_.substr(std::min(dump_start_, serial_.size()));
    } else if (outcome_->kind == Outcome::Kind::Stopped) {
        // No last words: the tail of the log is the best there is.
        outcome_->dump = serial_.size() > 4096 ? serial_.substr(serial_.size() - 4096) : serial_;
    }
    return *outcome_;
}

}  // namespace cli
