// SPDX-License-Identifier: MIT
// The terminal: input. Characters come from the driver one by one (receive), are edited in canonical mode, and wait in a
// ring: [read_at_, canon_end_) are complete lines, [canon_end_, write_at_) the line being edited (termios(3)).
// Without canonical mode all of it is there to be read. Positions count up and are taken modulo the ring's size.
#include "fs/tty.hpp"

#include "abi/linux/signal.hpp"
#include "rt/mem/slab.hpp"

namespace fs {

namespace {

constinit std::atomic<Tty*> the_tty{nullptr};

}  // namespace

constinit Tty::Hooks Tty::hooks;

Result<Tty*> Tty::get() {
    Tty* t = the_tty.load(std::memory_order_acquire);
    if (t) return t;
    if (!port::streams.tty || !port::streams.standard[0] || !port::streams.standard[1]) return Errno::kNxIo;
    Tty* fresh = rt::make<Tty>();
    if (!fresh) return Errno::kNoMem;
    fresh->lock_.assume_held();  // no other CPU knows it
    fresh->in_ = port::streams.standard[0];
    fresh->out_ = port::streams.standard[1];
    // INIT_C_CC and tty_std_termios of Linux: cooked, 38400 baud, 8 bits.
    fresh->termios_ = {.input = kInputIcrnl | kInputIxon,
                       .output = kOutputPost | kOutputOnlcr,
                       .control = kControlB38400 | kControlCs8 | kControlRead | kControlHangUp,
                       .local = kLocalIsig | kLocalCanon | kLocalEcho | kLocalEchoE | kLocalEchoK | kLocalEchoCtl |
                                kLocalEchoKe | kLocalExten,
                       .line = 0,
                       .chars = {3, 28, 127, 21, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22, 0, 0, 0}};
    fresh->local_flags_.store(fresh->termios_.local, std::memory_order_relaxed);
    fresh->window_ = fresh->host_window_ = {port::streams.rows, port::streams.columns, 0, 0};
    if (!the_tty.compare_exchange_strong(t, fresh, std::memory_order_acq_rel)) {
        delete fresh;
        return t;
    }
    port::streams.window_changed = &fresh->resized_;
    if (!rt::spawn("terminal input", fresh->pump(), rt::Executor::current())) return Errno::kNoMem;
    return fresh;
}

// Moves input from the driver into the discipline, and output that had no room to the driver, for ever.
Task<void> Tty::pump() {
    for (;;) {
        rt::Waiter waiters[3];
        u32 count = 0;
        auto watch = [&](rt::WaitQueue& q) {
            waiters[count].queue = &q;
            waiters[count++].seen = q.sequence();
        };
        watch(in_->changed);
        if (&out_->changed != &in_->changed) watch(out_->changed);
        watch(resized_);
        std::byte chunk[64];
        size_t n = in_->try_read(chunk);
        u32 signals = 0;
        bool room;
        // The host's window, not the program's TIOCSWINSZ: only a change of it counts.
        const WindowSize host{port::streams.rows, port::streams.columns, 0, 0};
        {
            rt::LockGuard guard{lock_};
            if (host.rows != host_window_.rows || host.columns != host_window_.columns) {
                window_ = host_window_ = host;
                signals |= 1u << kSigWinch;
            }
            for (size_t i = 0; i < n; ++i) {
                u32 sig = receive(u8(chunk[i]));
                if (sig != 0) signals |= 1u << sig;
            }
            if (n == 0 && in_->at_end() && !hung_up_) hung_up_ = true;
            room = flush_output();
        }
        input.wake_all();
        if (room) output.wake_all();
        for (u32 sig = 1; signals != 0 && sig < 32; ++sig) {
            if (!(signals & (1u << sig))) continue;
            signals &= ~(1u << sig);
            if (hooks.signal_foreground) hooks.signal_foreground(*this, sig);
        }
        if (n != 0) continue;
        rt::Wait wait{"terminal: input"};
        (void)co_await wait.on(waiters, count).uninterruptible();
    }
}

void Tty::store(u8 c, bool end_of_line) {
    if (write_at_ - read_at_ >= kRing - 1 && !(end_of_line && write_at_ - read_at_ < kRing)) return;  // full: lost
    u32 at = write_at_ % kRing;
    ring_[at] = c;
    u64 bit = u64{1} << (at % 64);
    line_ends_[at / 64] = end_of_line ? line_ends_[at / 64] | bit : line_ends_[at / 64] & ~bit;
    ++write_at_;
    if (end_of_line || !(termios_.local & kLocalCanon)) canon_end_ = write_at_;
}

void Tty::flush_input() { read_at_ = canon_end_ = write_at_ = 0; }

// One character from the keyboard. The order of the tests is that of Linux (n_tty_receive_char_special).
u32 Tty::receive(u8 c) {
    const u32 local = termios_.local;
    if (termios_.input & kInputIstrip) c &= 0x7f;
    if (literal_next_) {
        literal_next_ = false;
        store(c, false);
        if (local & kLocalEcho) echo(c);
        return 0;
    }
    if (termios_.input & kInputIxon) {
        if (has_char(kCharStop, c)) return stopped_ = true, 0;
        if (has_char(kCharStart, c) || (stopped_ && (termios_.input & kInputIxany))) {
            stopped_ = false;
            (void)flush_output();
            if (has_char(kCharStart, c)) return 0;
        }
    }
    if (local & kLocalIsig) {
        u32 sig = has_char(kCharIntr, c)   ? kSigInt
                  : has_char(kCharQuit, c) ? kSigQuit
                  : has_char(kCharSusp, c) ? kSigTstp
                                           : 0;
        if (sig != 0) {
            if (!(local & kLocalNoFlush)) {
                flush_input();
                out_at_ = out_end_ = 0;
            }
            stopped_ = false;
            if (local & kLocalEcho) echo(c);
            return sig;
        }
    }
    if (c == '\r') {
        if (termios_.input & kInputIgncr) return 0;
        if (termios_.input & kInputIcrnl) c = '\n';
    } else if (c == '\n' && (termios_.input & kInputInlcr)) {
        c = '\r';
    }
    if (local & kLocalCanon) {
        if (has_char(kCharErase, c)) return erase(false, false), 0;
        if ((local & kLocalExten) && has_char(kCharWerase, c)) return erase(true, false), 0;
        if (has_char(kCharKill, c)) return erase(false, true), 0;
        if ((local & kLocalExten) && has_char(kCharLnext, c)) {
            literal_next_ = true;
            if ((local & kLocalEcho) && (local & kLocalEchoCtl)) put('^'), put('\b');
            return 0;
        }
        if ((local & kLocalEcho) && (local & kLocalExten) && has_char(kCharReprint, c)) {
            echo(c);
            put('\n');
            for (u32 at = canon_end_; at != write_at_; ++at) echo(ring_[at % kRing]);
            return 0;
        }
        if (c == '\n') {
            if (local & (kLocalEcho | kLocalEchoNl)) put('\n');
            store(c, true);
            return 0;
        }
        if (has_char(kCharEof, c)) {
            store(0, true);  // ends the line and is not read: marked by the byte 0 together with the mark
            ring_[(write_at_ - 1) % kRing] = 0;
            return 0;
        }
        if (has_char(kCharEol, c) || ((local & kLocalExten) && has_char(kCharEol2, c))) {
            if (local & kLocalEcho) echo(c);
            store(c, true);
            return 0;
        }
    }
    if (local & kLocalEcho) {
        if (c == '\n')
            put('\n');
        else
            echo(c);
    }
    store(c, false);
    return 0;
}

void Tty::echo(u8 c) {
    bool control = (c < 32 && c != '\t' && c != '\n') || c == 127;
    if (control && (termios_.local & kLocalEchoCtl)) {
        put('^');
        put(c ^ 0100);
    } else {
        put(c);
    }
}

// ERASE, WERASE and KILL work on the line being edited.
void Tty::erase(bool word, bool line) {
    bool echoing = (termios_.local & kLocalEcho) != 0;
    bool seen_letter = false;
    if (line && echoing &&
        !((termios_.local & kLocalEchoK) && (termios_.local & kLocalEchoKe) && (termios_.local & kLocalEchoE))) {
        write_at_ = canon_end_;
        echo(termios_.chars[kCharKill]);
        if (termios_.local & kLocalEchoK) put('\n');
        return;
    }
    while (write_at_ != canon_end_) {
        u8 c = ring_[(write_at_ - 1) % kRing];
        if (word) {
            bool letter =
                (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' || c >= 128;
            if (letter)
                seen_letter = true;
            else if (seen_letter)
                break;
        }
        // A character of UTF-8 goes as a whole: continuation bytes take no column.
        bool continuation = (c & 0xc0) == 0x80;
        --write_at_;
        if (echoing && !continuation) {
            if (!(termios_.local & kLocalEchoE)) {
                echo(termios_.chars[kCharErase]);
            } else {
                u32 columns = (c < 32 || c == 127) && (termios_.local & kLocalEchoCtl) ? 2 : 1;
                for (u32 i = 0; i < columns; ++i) put('\b'), put(' '), put('\b');
            }
        }
        if (!word && !line && !continuation) break;
    }
}

bool Tty::ready() const {
    if (termios_.local & kLocalCanon) return canon_end_ != read_at_;
    u32 least = termios_.chars[kCharTime] != 0 || termios_.chars[kCharMin] == 0 ? 1 : termios_.chars[kCharMin];
    return write_at_ - read_at_ >= least;
}

Leaf<size_t> Tty::read(const UserSpans& to) {
    if (to.size() == 0) return size_t{0};
    rt::LockGuard guard{lock_};
    const bool canon = (termios_.local & kLocalCanon) != 0;
    if (!ready()) {
        if (hung_up_ && !canon && write_at_ != read_at_) {
            // What is there is all there will ever be.
        } else if (hung_up_) {
            return size_t{0};
        } else if (!canon && termios_.chars[kCharMin] == 0 && termios_.chars[kCharTime] == 0) {
            if (write_at_ == read_at_) return size_t{0};
        } else {
            return kNeedsTask;
        }
    }
    u8 chunk[256];
    size_t done = 0;
    u32 at = read_at_, end = canon ? canon_end_ : write_at_;
    bool line_done = false;
    while (!line_done && at != end && done < to.size()) {
        size_t n = 0;
        while (at != end && n < sizeof chunk && done + n < to.size()) {
            u32 slot = at % kRing;
            bool mark = canon && ((line_ends_[slot / 64] >> (slot % 64)) & 1);
            ++at;
            if (mark && ring_[slot] == 0) {  // EOF: ends the line, is not part of it
                line_done = true;
                break;
            }
            chunk[n++] = ring_[slot];
            if (mark) {
                line_done = true;
                break;
            }
        }
        TRY(to.copy_out(done, chunk, n));
        done += n;
    }
    // A line that fills the buffer exactly takes a following EOF mark with it, which would otherwise read as an end.
    if (canon && !line_done && at != end && done == to.size()) {
        u32 slot = at % kRing;
        if (((line_ends_[slot / 64] >> (slot % 64)) & 1) && ring_[slot] == 0) ++at;
    }
    read_at_ = at;
    return done;
}

Nanoseconds Tty::read_timeout() {
    rt::LockGuard guard{lock_};
    if ((termios_.local & kLocalCanon) || termios_.chars[kCharTime] == 0 || termios_.chars[kCharMin] != 0)
        return Nanoseconds::never();
    return port::Port::now() + lib::milliseconds(100 * u64(termios_.chars[kCharTime]));
}

u32 Tty::poll() {
    rt::LockGuard guard{lock_};
    u32 mask = 0;
    if (ready() || hung_up_) mask |= kPollIn | kPollRdNorm;
    if (hung_up_) mask |= kPollHup;
    if (!stopped_ && out_end_ == out_at_) mask |= kPollOut | kPollWrNorm;
    return mask;
}

void Tty::hang_up() {
    {
        rt::LockGuard guard{lock_};
        flush_input();
        hang_ups_.fetch_add(1, std::memory_order_relaxed);
    }
    input.wake_all();
    output.wake_all();
}

// ---- Output ----

// What is in the buffer, to the driver. True: all of it.
bool Tty::flush_output() {
    while (out_at_ != out_end_ && !stopped_) {
        size_t n = out_->try_write({out_buffer_ + out_at_, out_end_ - out_at_});
        if (n == 0) return false;
        out_at_ += u32(n);
    }
    if (out_at_ == out_end_) out_at_ = out_end_ = 0;
    return out_end_ == 0;
}

// One character after output processing; an echo that finds no room is dropped.
void Tty::put(u8 c) {
    if (out_end_ + 2 > sizeof out_buffer_) return;
    if (termios_.output & kOutputPost) {
        if (c == '\n' && (termios_.output & kOutputOnlcr)) out_buffer_[out_end_++] = std::byte{'\r'};
        if (c == '\r' && (termios_.output & kOutputOcrnl)) c = '\n';
    }
    out_buffer_[out_end_++] = std::byte{c};
    (void)flush_output();
}

// Takes as many bytes as the buffer and the driver will have.
Leaf<size_t> Tty::write(const UserSpans& from, bool) {
    rt::LockGuard guard{lock_};
    size_t done = 0;
    while (done < from.size()) {
        if (!flush_output()) break;
        // In the worst case each byte becomes two.
        u8 chunk[sizeof out_buffer_ / 2];
        size_t n = from.size() - done < sizeof chunk ? from.size() - done : sizeof chunk;
        if (auto copied = from.copy_in(done, chunk, n); !copied.ok()) {
            if (done > 0) break;
            return copied.error();
        }
        const bool post = (termios_.output & kOutputPost) != 0, onlcr = (termios_.output & kOutputOnlcr) != 0;
        for (size_t i = 0; i < n; ++i) {
            u8 c = chunk[i];
            if (post && c == '\n' && onlcr) out_buffer_[out_end_++] = std::byte{'\r'};
            if (post && c == '\r' && (termios_.output & kOutputOcrnl)) c = '\n';
            out_buffer_[out_end_++] = std::byte{c};
        }
        done += n;
    }
    (void)flush_output();
    if (done == 0 && from.size() > 0) return kNeedsTask;
    return done;
}

Termios Tty::termios() {
    rt::LockGuard guard{lock_};
    return termios_;
}

Leaf<void> Tty::set_termios(const Termios& to, bool drain, bool flush) {
    {
        rt::LockGuard guard{lock_};
        if (drain && !flush_output()) return kNeedsTask;
        if (flush) flush_input();
        bool was_canon = (termios_.local & kLocalCanon) != 0;
        termios_ = to;
        local_flags_.store(to.local, std::memory_order_relaxed);
        if (was_canon && !(to.local & kLocalCanon)) canon_end_ = write_at_;  // the unfinished line can be read now
        if (!(to.input & kInputIxon)) stopped_ = false;
    }
    input.wake_all();
    return lib::kOk;
}

bool Tty::add_file(bool privileged) {
    rt::LockGuard guard{lock_};
    if (exclusive_ && !privileged) return false;
    ++files_;
    return true;
}
void Tty::remove_file() {
    rt::LockGuard guard{lock_};
    if (--files_ == 0) exclusive_ = false;
}

void Tty::simulate_input(u8 c) {
    u32 sig;
    {
        rt::LockGuard guard{lock_};
        sig = receive(c);
        (void)flush_output();
    }
    input.wake_all();
    if (sig != 0 && hooks.signal_foreground) hooks.signal_foreground(*this, sig);
}

Leaf<u64> Tty::ioctl(UserMemory& user, u32 request, u64 argument) {
    UserAddr at{argument};
    switch (request) {
        case kTcGets: {
            Termios t = termios();
            TRY(user.write(at, &t, sizeof t));
            return u64{0};
        }
        case kTcSets:
        case kTcSetsW:
        case kTcSetsF: {
            Termios t;
            TRY(user.read(&t, at, sizeof t));
            TRY(set_termios(t, request != kTcSets, request == kTcSetsF));
            return u64{0};
        }
        case kTiocGwinsz: {
            rt::LockGuard guard{lock_};
            TRY(user.write(at, &window_, sizeof window_));
            return u64{0};
        }
        case kTiocSwinsz: {
            WindowSize w;
            TRY(user.read(&w, at, sizeof w));
            bool same;
            {
                rt::LockGuard guard{lock_};
                same = std::memcmp(&w, &window_, sizeof w) == 0;
                window_ = w;
            }
            if (!same && hooks.signal_foreground) hooks.signal_foreground(*this, kSigWinch);
            return u64{0};
        }
        case kFionRead: {
            i32 n;
            {
                rt::LockGuard guard{lock_};
                n = i32(((termios_.local & kLocalCanon) ? canon_end_ : write_at_) - read_at_);
            }
            TRY(user.write(at, &n, sizeof n));
            return u64{0};
        }
        case kTiocOutq: {
            i32 n;
            {
                rt::LockGuard guard{lock_};
                n = i32(out_end_ - out_at_);
            }
            TRY(user.write(at, &n, sizeof n));
            return u64{0};
        }
        case kTcFlsh: {
            if (argument > 2) return Errno::kInval;
            {
                rt::LockGuard guard{lock_};
                if (argument != 1) flush_input();
                if (argument != 0) out_at_ = out_end_ = 0;
            }
            output.wake_all();
            return u64{0};
        }
        case kTcXonc: {
            if (argument > kFlowInputOn) return Errno::kInval;
            rt::LockGuard guard{lock_};
            if (argument == kFlowOutputOff) stopped_ = true;
            if (argument == kFlowOutputOn) stopped_ = false;
            (void)flush_output();
            return u64{0};
        }
        case kTiocExcl:
        case kTiocNxcl: {
            rt::LockGuard guard{lock_};
            exclusive_ = request == kTiocExcl;
            return u64{0};
        }
        case kTiocGexcl: {
            i32 on;
            {
                rt::LockGuard guard{lock_};
                on = exclusive_;
            }
            TRY(user.write(at, &on, sizeof on));
            return u64{0};
        }
        case kTiocSti: {
            u8 c;
            TRY(user.read(&c, at, sizeof c));
            simulate_input(c);
            return u64{0};
        }
        case kTiocGetd: {
            const i32 line = kLineDisciplineTty;
            TRY(user.write(at, &line, sizeof line));
            return u64{0};
        }
        case kTiocSetd: {
            i32 line;
            TRY(user.read(&line, at, sizeof line));
            rt::LockGuard guard{lock_};
            if (!flush_output()) return kNeedsTask;
            return line == kLineDisciplineTty ? Leaf<u64>(u64{0}) : Leaf<u64>(Errno::kInval);
        }
        case kTcSbrk:  // a break needs a line to break; with an argument it waits for output (tcdrain)
        case kTcSbrkp: {
            rt::LockGuard guard{lock_};
            if (!flush_output()) return kNeedsTask;
            return u64{0};
        }
        default: return Errno::kNoTty;
    }
}

}  // namespace fs
