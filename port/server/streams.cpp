// SPDX-License-Identifier: MIT
#include "port/server/streams.hpp"

namespace port {
namespace {

namespace native = abi::server;
using sysapi::call;

// A read is tried to learn whether there is input; what it finds is kept for the next reader.
class KernelStream final : public Stream {
public:
    u32 number = 0;
    size_t try_read(std::span<std::byte> to) override {
        size_t n = 0;
        while (n < to.size() && held_at_ < held_) to[n++] = buffer_[held_at_++];
        if (n != 0) return n;
        auto r = call(native::kStreamRead, number, u64(to.data()), to.size());
        return r.ok() ? r.value() : 0;
    }
    size_t try_write(std::span<const std::byte> from) override {
        auto r = call(native::kStreamWrite, number, u64(from.data()), from.size());
        if (!r.ok()) return 0;
        full_ = r.value() < from.size();
        return r.value();
    }
    bool readable() const override {
        auto* self = const_cast<KernelStream*>(this);
        if (held_at_ == held_) {
            auto r = call(native::kStreamRead, number, u64(self->buffer_), sizeof buffer_);
            self->held_at_ = 0;
            self->held_ = r.ok() ? r.value() : 0;
        }
        return held_at_ < held_;
    }
    bool writable() const override { return !full_; }
    bool at_end() const override {
        if (held_at_ < held_) return false;
        auto r = call(native::kStreamEnded, number);
        return r.ok() && r.value() != 0;
    }
    void changed_now() {
        full_ = false;
        changed.wake_all();
    }

private:
    std::byte buffer_[256]{};
    size_t held_ = 0, held_at_ = 0;
    bool full_ = false;
};

constinit KernelStream kernel_streams[3];

}  // namespace

void connect_streams() {
    for (u32 n = 0; n < 3; ++n) {
        kernel_streams[n].number = n;
        if ((sysapi::boot_info().streams >> n) & 1) streams.standard[n] = &kernel_streams[n];
    }
    streams.tty = sysapi::boot_info().tty != 0;
}

namespace {

// For the kernel's dump: each job of the server and what it awaits.
void log_jobs() {
    log("=== jobs of the server ===");
    rt::Job::for_each_unlocked([](const rt::Job& job) {
        logf("job {} at {:x}: {}{}", job.name(), u64(&job), job.is_waiting() ? "waits for " : "not waiting",
             job.is_waiting() && job.waiting_for() ? job.waiting_for() : "");
        job.trace([](const std::source_location& at) {
            if (at.line() != 0) logf("    awaits in {} ({}:{})", at.function_name(), at.file_name(), at.line());
        });
    });
    log("=== end of jobs of the server ===");
}

}  // namespace

void server_events(u64 events) {
    for (u32 n = 0; n < 3; ++n)
        if ((events >> n) & 1) kernel_streams[n].changed_now();
    if ((events >> native::kEventWindow) & 1) {
        u64 size = call(native::kWindowSize).take();
        streams.rows = u16(size >> 16);
        streams.columns = u16(size);
        if (streams.window_changed) streams.window_changed->wake_all();
    }
    if ((events >> native::kEventDump) & 1) log_jobs();
}

}  // namespace port
