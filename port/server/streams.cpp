// SPDX-License-Identifier: MIT
// Input and output of the programs: their standard streams, which the kernel drives.
#include "port/server/cpu.hpp"

namespace port {

constinit Streams streams{};

namespace {

Result<u64> console(u64 op, u64 a = 0, u64 b = 0, u64 c = 0) {
    return native::make_call(native::kConsole, native::kSlotSystem, op, a, b, c);
}

// A read is tried to learn whether there is input; what it finds is kept for the next reader.
class KernelStream final : public Stream {
public:
    u32 number = 0;
    size_t try_read(std::span<std::byte> to) override {
        {
            auto held = held_.lock();
            size_t n = 0;
            while (n < to.size() && held->at < held->end) to[n++] = held->bytes[held->at++];
            if (n != 0) return n;
        }
        auto r = console(native::kConsoleRead, number, u64(to.data()), to.size());
        return r.ok() ? r.value() : 0;
    }
    size_t try_write(std::span<const std::byte> from) override {
        auto r = console(native::kConsoleWrite, number, u64(from.data()), from.size());
        if (!r.ok()) return 0;
        full_.store(r.value() < from.size(), std::memory_order_relaxed);
        return r.value();
    }
    bool readable() const override {
        auto held = held_.lock();
        if (held->at == held->end) {
            auto r = console(native::kConsoleRead, number, u64(held->bytes), sizeof held->bytes);
            held->at = 0;
            held->end = r.ok() ? r.value() : 0;
        }
        return held->at < held->end;
    }
    bool writable() const override { return !full_.load(std::memory_order_relaxed); }
    bool at_end() const override {
        {
            auto held = held_.lock();
            if (held->at < held->end) return false;
        }
        auto r = console(native::kConsoleEnded, number);
        return r.ok() && r.value() != 0;
    }
    void changed_now() {
        full_.store(false, std::memory_order_relaxed);
        changed.wake_all();
    }

private:
    struct Held {
        std::byte bytes[256]{};
        size_t end = 0, at = 0;
    };
    mutable rt::Guarded<Held, rt::Rank::device> held_;
    std::atomic<bool> full_{false};
};

constinit KernelStream kernel_streams[3];

void take_size() {
    auto size = console(native::kConsoleSize);
    if (!size.ok()) return;
    const u16 rows = u16(size.value() >> 16), columns = u16(size.value());
    if (rows == streams.rows && columns == streams.columns) return;
    streams.rows = rows;
    streams.columns = columns;
    if (streams.window_changed) streams.window_changed->wake_all();
}

}  // namespace

void connect_streams() {
    const native::BootInfo& info = native::boot_info();
    for (u32 n = 0; n < 3; ++n) {
        kernel_streams[n].number = n;
        if ((info.streams >> n) & 1) streams.standard[n] = &kernel_streams[n];
    }
    streams.tty = info.tty != 0;
    ServerCpu::on_device = [] {
        for (KernelStream& s : kernel_streams) s.changed_now();
        if (streams.tty) take_size();
    };
    (void)console(native::kConsoleBind, ServerCpu::of(CpuId{0}).notification(), ServerCpu::kDevice);
    if (streams.tty) take_size();
}

}  // namespace port
