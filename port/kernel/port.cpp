// SPDX-License-Identifier: MIT
// The small parts of the waist: log, clock offset, randomness, devices.
#include <cstring>

#include "core/sched.hpp"
#include "port/bind.hpp"

namespace port {

constinit Streams streams{};

namespace {

// ChaCha20 (RFC 8439, 2.3) as the generator; each request renews the key from its output, so that it is not possible to
// compute what was returned before.
struct Generator {
    u32 key[8] = {};
    u64 counter = 0;
    bool seeded = false;
};
constinit rt::Guarded<Generator, rt::Rank::log> generator;

constexpr u32 rotate(u32 v, int n) { return (v << n) | (v >> (32 - n)); }
void quarter(u32& a, u32& b, u32& c, u32& d) {
    a += b, d = rotate(d ^ a, 16);
    c += d, b = rotate(b ^ c, 12);
    a += b, d = rotate(d ^ a, 8);
    c += d, b = rotate(b ^ c, 7);
}
void block(const u32 (&key)[8], u64 counter, u32 (&out)[16]) {
    u32 in[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574, key[0], key[1],       key[2],
                  key[3],     key[4],     key[5],     key[6],     key[7], u32(counter), u32(counter >> 32),
                  0,          0};
    std::memcpy(out, in, sizeof in);
    for (int i = 0; i < 10; ++i) {
        quarter(out[0], out[4], out[8], out[12]);
        quarter(out[1], out[5], out[9], out[13]);
        quarter(out[2], out[6], out[10], out[14]);
        quarter(out[3], out[7], out[11], out[15]);
        quarter(out[0], out[5], out[10], out[15]);
        quarter(out[1], out[6], out[11], out[12]);
        quarter(out[2], out[7], out[8], out[13]);
        quarter(out[3], out[4], out[9], out[14]);
    }
    for (int i = 0; i < 16; ++i) out[i] += in[i];
}

}  // namespace

void log(std::string_view line) {
    static constinit rt::SpinLock<rt::Rank::log> lock;
    rt::LockGuard guard{lock};
    hal::Machine::early_print("farcall: ");
    hal::Machine::early_print(line);
    hal::Machine::early_print("\n");
}

u32 Port::cpu_count() { return u32(__builtin_popcount(core::sched::user_cpus().bits)); }

void Port::entropy(std::span<std::byte> out) {
    auto g = generator.lock();
    if (!g->seeded) {
        for (u32& word : g->key) {
            u64 hardware = 0;
            hal::Machine::hardware_random(hardware);  // where there is none, timing is all there is
            word ^= u32(hardware) ^ u32(hardware >> 32) ^
                    rotate(u32(hal::Machine::now().value), int(&word - g->key) * 3 + 1);
        }
        g->seeded = true;
    }
    // The first half of the first block is the next key before anything is returned; the second half and what follows
    // are the answer.
    u32 key[8], stream[16];
    std::memcpy(key, g->key, sizeof key);
    block(key, g->counter++, stream);
    std::memcpy(g->key, stream, sizeof g->key);
    for (size_t taken = sizeof g->key;; taken = 0) {
        const size_t left = sizeof stream - taken, n = out.size() < left ? out.size() : left;
        std::memcpy(out.data(), reinterpret_cast<std::byte*>(stream) + taken, n);
        out = out.subspan(n);
        if (out.empty()) return;
        block(key, g->counter++, stream);
    }
}

bool has_pci() { return hal::Machine::has_pci(); }
u32 pci_read(PciAddress at, u32 offset, u32 width) {
    return hal::Machine::pci_read(at.bus, at.device, at.function, offset, width);
}
void pci_write(PciAddress at, u32 offset, u32 width, u32 value) {
    hal::Machine::pci_write(at.bus, at.device, at.function, offset, width, value);
}
volatile void* map_registers(PhysAddr at, size_t bytes) {
    return hal::Machine::map_device(at, bytes, hal::MemoryType::kDevice);
}
Result<Interrupt> allocate_interrupt(InterruptHandler handler, void* argument, CpuId cpu) {
    u32 vector = TRY(hal::Machine::allocate_vector(handler, argument));
    hal::MsiMessage msi = hal::Machine::msi_message(vector, cpu);
    return Interrupt{vector, msi.address, msi.data};
}
bool route_line(u32 line, const Interrupt& to, CpuId cpu, bool level, bool active_low) {
    return hal::Machine::route_line(line, to.vector, cpu, level, active_low);
}

}  // namespace port
