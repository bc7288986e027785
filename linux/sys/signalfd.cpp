// SPDX-License-Identifier: MIT
// signalfd(2). See signalfd.hpp.
#include "linux/sys/signalfd.hpp"

#include "fs/anonymous.hpp"
#include "lib/format.hpp"

namespace linux {

namespace {

struct SignalFdInfo {  // struct signalfd_siginfo
    u32 signo;
    i32 error, code;
    u32 pid, uid;
    i32 fd;
    u32 tid, band, overrun, trapno;
    i32 status, value;
    u64 pointer, user_time, system_time, address;
    u8 rest[48];
};
static_assert(sizeof(SignalFdInfo) == 128);

class SignalFile final : public fs::File {
public:
    SignalFile(Ref<fs::Inode> nameless, u32 flags, SignalSet mask, Ref<Process> of)
        : File(std::move(nameless), flags | fs::kOpenTaskOnly), mask_(mask.bits), process_(std::move(of)) {
        kind_ = fs::FileKind::kSignal;
    }
    SignalSet mask() const { return SignalSet{mask_.load(std::memory_order_relaxed)}; }
    void set_mask(SignalSet to) { mask_.store(to.bits, std::memory_order_relaxed); }
    // As its creator would see it: for epoll sets, which do not pass the caller.
    u32 poll() override {
        SignalSummary s = signal_summary(*process_);
        return ((s.pending.bits | s.shared_pending.bits) & mask().bits) != 0 ? fs::kPollIn : 0;
    }
    void queues(u32, fs::QueueSet& out) override { out.add(process_->signals.arrived); }
    // As the caller sees it: its own signals, and those of its process.
    Leaf<size_t> read_for(void* caller, const fs::UserSpans& to, u64) override;
    u32 poll_for(void* caller) override { return has_pending(caller_of(caller).thread(), mask()) ? fs::kPollIn : 0; }
    void queues_for(void* caller, u32, fs::QueueSet& out) override {
        out.add(caller_of(caller).process().signals.arrived);
    }
    // Linux has taken the signal by then.
    void buffer_failed(void* caller, bool write, u64) override {
        SignalInfo lost;
        if (!write) (void)take_signal(caller_of(caller).thread(), mask(), lost);
    }
    bool by_element(bool) const override { return true; }
    bool show_info(lib::StringBuilder& out, u64&) override {
        out.add("sigmask:\t{:016x}\n", mask().bits);
        return false;
    }
    bool pollable() const override { return true; }
    std::string_view label(std::span<char>) override { return "anon_inode:[signalfd]"; }
    Leaf<u64> seek(i64, u32) override { return u64{0}; }

private:
    static Caller& caller_of(void* caller) { return *static_cast<Caller*>(caller); }
    std::atomic<u64> mask_;
    Ref<Process> process_;
};

SignalFdInfo describe(const SignalInfo& i) {
    SignalFdInfo s{};
    s.signo = u32(i.signo);
    s.error = i.error;
    s.code = i.code;
    if (i.signo == kSigChld) {
        s.pid = u32(i.child.pid);
        s.uid = i.child.uid;
        s.status = i.child.status;
        s.user_time = i.child.utime;
        s.system_time = i.child.stime;
    } else if (i.code == kSiTimer) {
        s.tid = u32(i.timer.timer);
        s.overrun = u32(i.timer.overrun);
        s.pointer = i.timer.value;
        s.value = i32(i.timer.value);
    } else {
        s.pid = u32(i.from.pid);
        s.uid = i.from.uid;
        if (i.code == kSiQueue) {
            s.pointer = i.from.value;
            s.value = i32(i.from.value);
        }
    }
    return s;
}

Leaf<size_t> SignalFile::read_for(void* caller, const fs::UserSpans& to, u64) {
    size_t room = to.size() / sizeof(SignalFdInfo);
    if (room == 0) return Errno::kInval;
    Thread& t = caller_of(caller).thread();
    if (!has_pending(t, mask())) return kNeedsTask;
    // A signal cannot be put back: the buffer must be there before one is taken.
    SignalFdInfo blank{};
    TRY(to.copy_out(0, &blank, sizeof blank));
    size_t n = 0;
    SignalInfo info;
    while (n < room && take_signal(t, mask(), info)) {
        SignalFdInfo s = describe(info);
        if (!to.copy_out(n * sizeof s, &s, sizeof s).ok()) break;
        ++n;
        if (n < room && !to.copy_out(n * sizeof s, &blank, sizeof blank).ok()) break;
    }
    if (n == 0) return kNeedsTask;
    return n * sizeof(SignalFdInfo);
}

}  // namespace

Leaf<Fd> sys_signalfd4(Caller& c, Fd fd, UserAddr mask_at, u64 size, u32 flags) {
    if (size != sizeof(SignalSet)) return Errno::kInval;
    SignalSet mask;
    TRY(c.user().read(&mask, mask_at, sizeof mask));
    if (flags & ~(fs::kOpenCloexec | fs::kOpenNonblock)) return Errno::kInval;
    mask.bits &= ~kUnblockable.bits;
    if (fd.value != -1) {
        Ref<fs::File> file = TRY(open_file(c, fd));
        if (file->kind() != fs::FileKind::kSignal) return Errno::kInval;
        static_cast<SignalFile&>(*file).set_mask(mask);
        c.process().signals.arrived.wake_all();
        return fd;
    }
    Ref<fs::Inode> inode = TRY(fs::anonymous_inode());
    u32 file_flags = fs::kOpenReadWrite | (flags & fs::kOpenNonblock);
    return install_file(
        c, TRY(fs::make_file<SignalFile>(std::move(inode), file_flags, mask, Ref<Process>{&c.process()})), flags);
}
Leaf<Fd> sys_signalfd(Caller& c, Fd fd, UserAddr mask, u64 size) { return sys_signalfd4(c, fd, mask, size, 0); }

}  // namespace linux
