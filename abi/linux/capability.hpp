// SPDX-License-Identifier: MIT
// Capabilities and securebits (linux/capability.h, linux/securebits.h): capabilities(7), capget(2).
#pragma once
#include <cstdint>

namespace abi {

// CAP_*: numbers of bits.
enum Capability : uint32_t {
    kCapChown = 0,
    kCapDacOverride = 1,
    kCapDacReadSearch = 2,
    kCapFowner = 3,
    kCapFsetid = 4,
    kCapKill = 5,
    kCapSetgid = 6,
    kCapSetuid = 7,
    kCapSetpcap = 8,
    kCapLinuxImmutable = 9,
    kCapIpcLock = 14,
    kCapSysModule = 16,
    kCapSysRawio = 17,
    kCapSysChroot = 18,
    kCapSysPtrace = 19,
    kCapSysPacct = 20,
    kCapSysAdmin = 21,
    kCapSysBoot = 22,
    kCapSysNice = 23,
    kCapSysResource = 24,
    kCapSysTime = 25,
    kCapSysTtyConfig = 26,
    kCapMknod = 27,
    kCapMacOverride = 32,
    kCapSyslog = 34,
    kCapBpf = 39,
    kCapCheckpointRestore = 40
};
inline constexpr uint32_t kLastCapability = kCapCheckpointRestore;
inline constexpr uint64_t kAllCapabilities = (uint64_t{1} << (kLastCapability + 1)) - 1;

// SECBIT_*. Each has a lock, the bit above it.
inline constexpr uint32_t kSecureNoRoot = 1 << 0, kSecureNoSetuidFixup = 1 << 2, kSecureKeepCaps = 1 << 4,
                          kSecureNoAmbientRaise = 1 << 6;
inline constexpr uint32_t kSecureBits = kSecureNoRoot | kSecureNoSetuidFixup | kSecureKeepCaps | kSecureNoAmbientRaise,
                          kSecureLocks = kSecureBits << 1;

// _LINUX_CAPABILITY_VERSION_*: 1 has one word of 32 bits, the others two.
inline constexpr uint32_t kCapVersion1 = 0x19980330, kCapVersion2 = 0x20071026, kCapVersion3 = 0x20080522;
struct CapHeader {
    uint32_t version;
    int32_t pid;
};
struct CapData {
    uint32_t effective, permitted, inheritable;
};

}  // namespace abi
