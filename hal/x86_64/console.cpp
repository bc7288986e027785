// SPDX-License-Identifier: MIT
// Early messages over the first serial port (16550). Works in any context and at every stage, NMI and panic included:
// the lock is taken with patience, not for certain, so that a message of a stopped CPU cannot block the dump.
#include "hal/x86_64/internal.hpp"

namespace hal {
namespace {

constexpr u16 kPort = 0x3f8;
constexpr u16 kInterruptEnable = kPort + 1, kFifo = kPort + 2, kLine = kPort + 3, kModem = kPort + 4,
              kStatus = kPort + 5;

TinyLock lock;
bool present;

void put(char c) {
    if (!present) return;
    for (u32 i = 0; i < 100'000 && !(in8(kStatus) & 0x20); i++) {
    }
    out8(kPort, static_cast<u8>(c));
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
    out8(kLine, 0x80);  // divisor latch: 115200 baud
    out8(kPort, 1);
    out8(kInterruptEnable, 0);
    out8(kLine, 0x03);  // 8n1
    out8(kFifo, 0xc7);
    out8(kModem, 0x03);
    present = in8(kLine) == 0x03;
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
