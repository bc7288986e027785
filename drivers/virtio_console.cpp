// SPDX-License-Identifier: MIT
// Virtio console, multiport. One lock (Rank::device) guards all queues; the interrupt handler drains them and wakes.
//
// Receiving: each port keeps a few frames posted; a filled one is read in place and posted again when it is used up, so
// a program that does not read stops the host by itself. Sending: a copy into a free frame; no free frame means wait.
#include "drivers/virtio_console.hpp"

#include <cstring>

#include "rt/mem/pages.hpp"
#include "rt/mem/slab.hpp"

namespace drivers {
namespace {

using namespace abi::virtio;

constexpr u32 kMaxPorts = 8;
constexpr u16 kReceiveBuffers = 4, kSendBuffers = 8;
// The device drops a control message for which no buffer is posted, and answers the driver's with several: many small
// ones, all in one frame.
constexpr u32 kControlBytes = kPageSize / VirtQueue::kMaxSize;

class Console;

class ConsolePort final : public port::Stream {
public:
    size_t try_read(std::span<std::byte> to) override;
    size_t try_write(std::span<const std::byte> from) override;
    bool readable() const override { return filled_count_ != 0; }
    bool writable() const override { return free_sends_ != 0; }
    bool at_end() const override {
        return read_total_.load(std::memory_order_acquire) >= end_.load(std::memory_order_acquire);
    }
    void end_after(u64 total) override {
        end_.store(total, std::memory_order_release);
        changed.wake_all();
    }
    u64 bytes_written() const override { return written_.load(std::memory_order_acquire); }

    Console* console = nullptr;
    VirtQueue receive, send;
    char name[32] = {};
    bool announced = false;

    Result<void> post_buffers();
    void drain();  // lock held

private:
    std::byte* bytes(PhysAddr frame) { return static_cast<std::byte*>(rt::frame_info(frame).bytes()); }
    PhysAddr receive_frame_[kReceiveBuffers]{}, send_frame_[kSendBuffers]{};
    // Filled receive buffers in order of arrival; the first is being read from `position_`.
    struct Filled {
        u16 id;
        u32 length;
    } filled_[kReceiveBuffers]{};
    u32 filled_count_ = 0, position_ = 0;
    u32 free_sends_ = 0;  // bit set of send buffers
    std::atomic<u64> read_total_{0}, written_{0}, end_{~u64{0}};
};

class Console {
public:
    Result<void> start(VirtioDevice& d);
    ConsolePort* find(std::string_view name) {
        for (ConsolePort& p : ports_)
            if (p.announced && name == p.name) return &p;
        return nullptr;
    }
    void handle();
    rt::SpinLock<rt::Rank::device> lock;
    VirtioDevice* device = nullptr;

private:
    static void interrupt(void* self) { static_cast<Console*>(self)->handle(); }
    void control(u32 port, u16 event, u16 value);
    void on_control(const ConsoleControl& message, std::string_view text);
    ConsolePort ports_[kMaxPorts];
    VirtQueue control_receive_, control_send_;
    PhysAddr control_in_{}, control_out_{};
    u16 control_slot_ = 0;
};

constinit Console* the_console = nullptr;

Result<void> ConsolePort::post_buffers() {
    for (u16 i = 0; i < kReceiveBuffers && i < receive.size(); ++i) {
        receive_frame_[i] = TRY(rt::alloc_frame());
        receive.submit(i, receive_frame_[i], kPageSize, true);
    }
    for (u16 i = 0; i < kSendBuffers && i < send.size(); ++i) {
        send_frame_[i] = TRY(rt::alloc_frame());
        free_sends_ |= 1u << i;
    }
    receive.kick();
    return lib::kOk;
}

size_t ConsolePort::try_read(std::span<std::byte> to) {
    rt::LockGuard guard{console->lock};
    drain();
    size_t done = 0;
    while (done < to.size() && filled_count_ != 0) {
        Filled& first = filled_[0];
        size_t n = first.length - position_;
        if (n > to.size() - done) n = to.size() - done;
        std::memcpy(to.data() + done, bytes(receive_frame_[first.id]) + position_, n);
        done += n;
        position_ += u32(n);
        if (position_ == first.length) {
            receive.submit(first.id, receive_frame_[first.id], kPageSize, true);
            --filled_count_;
            for (u32 i = 0; i < filled_count_; ++i) filled_[i] = filled_[i + 1];
            position_ = 0;
        }
    }
    receive.kick();
    read_total_.fetch_add(done, std::memory_order_acq_rel);
    return done;
}

size_t ConsolePort::try_write(std::span<const std::byte> from) {
    rt::LockGuard guard{console->lock};
    if (free_sends_ == 0) drain();
    size_t done = 0;
    while (done < from.size() && free_sends_ != 0) {
        u16 id = u16(__builtin_ctz(free_sends_));
        size_t n = from.size() - done < kPageSize ? from.size() - done : kPageSize;
        std::memcpy(bytes(send_frame_[id]), from.data() + done, n);
        free_sends_ &= ~(1u << id);
        send.submit(id, send_frame_[id], u32(n), false);
        done += n;
    }
    send.kick();
    written_.fetch_add(done, std::memory_order_acq_rel);
    return done;
}

void ConsolePort::drain() {
    if (!receive.ready()) return;
    u16 id;
    u32 length;
    bool any = false;
    while (filled_count_ < kReceiveBuffers && receive.take(id, length)) {
        if (id >= kReceiveBuffers || length == 0 || length > kPageSize) {
            if (id < kReceiveBuffers) receive.submit(id, receive_frame_[id], kPageSize, true);
            continue;
        }
        filled_[filled_count_++] = {id, length};
        any = true;
    }
    while (send.take(id, length))
        if (id < kSendBuffers) {
            any |= free_sends_ == 0;
            free_sends_ |= 1u << id;
        }
    if (any) changed.wake_all();
}

Result<void> Console::start(VirtioDevice& d) {
    device = &d;
    u64 features = TRY(d.negotiate(kConsoleMultiport));
    if (!(features & kConsoleMultiport)) {
        d.fail();
        return Errno::kNoDev;
    }
    TRY(d.set_interrupt(&Console::interrupt, this));
    u32 host_ports = d.config_read32(4);
    for (u32 i = 0; i < kMaxPorts && i < host_ports; ++i) {
        u16 base = u16(i == 0 ? 0 : 2 * i + 2);
        ports_[i].console = this;
        TRY(ports_[i].receive.init(d, base));
        TRY(ports_[i].send.init(d, u16(base + 1)));
    }
    TRY(control_receive_.init(d, 2));
    TRY(control_send_.init(d, 3));
    control_in_ = TRY(rt::alloc_zeroed_frame());
    control_out_ = TRY(rt::alloc_zeroed_frame());
    d.driver_ok();
    for (u16 i = 0; i < control_receive_.size(); ++i)
        control_receive_.submit(i, control_in_ + i * kControlBytes, kControlBytes, true);
    control_receive_.kick();
    rt::LockGuard guard{lock};
    control(0, kDeviceReady, 1);
    return lib::kOk;
}

// Control messages are few: a slot is used again only after a whole ring of later ones.
void Console::control(u32 port, u16 event, u16 value) {
    u16 id;
    u32 length;
    while (control_send_.take(id, length)) {
    }
    u16 slot = control_slot_++ % control_send_.size();
    auto* out = static_cast<ConsoleControl*>(rt::frame_info(control_out_).bytes()) + slot;
    *out = {port, event, value};
    // (Dropped if the device, which does not take its messages, still has that slot.)
    control_send_.submit(slot, control_out_ + slot * sizeof(ConsoleControl), sizeof(ConsoleControl), false);
    control_send_.kick();
}

void Console::on_control(const ConsoleControl& m, std::string_view text) {
    if (m.port >= kMaxPorts || !ports_[m.port].receive.ready()) return;
    ConsolePort& p = ports_[m.port];
    switch (m.event) {
        case kPortAdd: control(m.port, kPortReady, 1); break;
        case kPortName: {
            size_t n = text.size() < sizeof p.name - 1 ? text.size() : sizeof p.name - 1;
            while (n > 0 && text[n - 1] == 0) --n;
            std::memcpy(p.name, text.data(), n);
            p.name[n] = 0;
            if (!p.announced && p.post_buffers().ok()) {
                p.announced = true;
                control(m.port, kPortOpen, 1);
            }
            break;
        }
        default: break;
    }
}

void Console::handle() {
    rt::LockGuard guard{lock};
    device->acknowledge();
    u16 id;
    u32 length;
    while (control_receive_.take(id, length)) {
        auto* message = static_cast<const char*>(rt::frame_info(control_in_).bytes()) + id * kControlBytes;
        if (length >= sizeof(ConsoleControl) && length <= kControlBytes) {
            ConsoleControl m;
            std::memcpy(&m, message, sizeof m);
            on_control(m, {message + sizeof m, length - sizeof m});
        }
        control_receive_.submit(id, control_in_ + id * kControlBytes, kControlBytes, true);
    }
    control_receive_.kick();
    for (ConsolePort& p : ports_)
        if (p.announced) p.drain();
}

}  // namespace

Result<void> start_virtio_console(VirtioDevice& device) {
    if (the_console) return Errno::kBusy;
    auto* console = rt::make<Console>();
    if (!console) return Errno::kNoMem;
    TRY(console->start(device));
    the_console = console;
    return lib::kOk;
}

port::Stream* find_console_port(std::string_view name) { return the_console ? the_console->find(name) : nullptr; }

void poll_virtio_console() {
    if (the_console) the_console->handle();
}

}  // namespace drivers
