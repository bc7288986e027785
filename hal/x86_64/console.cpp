// SPDX-License-Identifier: MIT
// Early messages over the first serial port (16550). Works in any context and at every stage, NMI and panic included:
// the wait for the lock is bounded, so that a message of a stopped CPU cannot block the dump.
#include "hal/x86_64/devices.hpp"
#include "hal/x86_64/internal.hpp"

namespace hal {
namespace {

TinyLock lock;
bool present;

void put(char c) {
    if (!present) return;
    for (u32 i = 0; i < 100'000 && !(in8(kUartStatus) & kUartTransmitEmpty); i++) {
    }
    out8(kUartData, static_cast<u8>(c));
}

void put_text(std::string_view text) {
    for (char c : text) {
        if (c == '\n') put('\r');
        put(c);
    }
}

struct Patience {
    Patience() {
        for (u32 i = 0; i < 3'000'000 && !taken; i++)
            if (!lock.held()) taken = lock.try_lock();
    }
    ~Patience() {
        if (taken) lock.unlock();
    }
    bool taken = false;
};

}  // namespace

void init_console() {
    out8(kUartLine, kUartDivisorLatch);
    out8(kUartData, kUartDivisor115200);
    out8(kUartInterruptEnable, 0);
    out8(kUartLine, kUart8n1);
    out8(kUartFifo, kUartFifoOn);
    out8(kUartModem, kUartDtrRts);
    present = in8(kUartLine) == kUart8n1;
}

void print_args(std::string_view fmt, std::span<const lib::FormatArg> args) {
    Patience hold;
    lib::format_args({[](void*, std::string_view piece) { put_text(piece); }, nullptr}, fmt, args);
}

void Machine::early_print(std::string_view text) {
    Patience hold;
    put_text(text);
}

}  // namespace hal
