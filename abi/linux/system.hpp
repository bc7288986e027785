// SPDX-License-Identifier: MIT
// Calls on the system as a whole: reboot(2) (linux/reboot.h), syslog(2), getrandom(2) (linux/random.h), and the devices with
// a number of their own (Documentation/admin-guide/devices.txt in Linux).
#pragma once
#include <cstdint>

#include "abi/linux/stat.hpp"

namespace abi {

// LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2*, LINUX_REBOOT_CMD_*.
inline constexpr uint32_t kRebootMagic1 = 0xfee1dead, kRebootMagic2[] = {672274793, 85072278, 369367448, 537993216};
enum RebootCommand : uint32_t {
    kRebootCadOff = 0,
    kRebootCadOn = 0x89abcdef,
    kRebootRestart = 0x01234567,
    kRebootHalt = 0xcdef0123,
    kRebootPowerOff = 0x4321fedc
};

// SYSLOG_ACTION_*.
enum SyslogAction : int32_t {
    kSyslogRead = 2,
    kSyslogReadAll = 3,
    kSyslogReadClear = 4,
    kSyslogConsoleLevel = 8,
    kSyslogSizeUnread = 9,
    kSyslogSizeBuffer = 10
};

// getrandom(2), GRND_*.
inline constexpr uint32_t kRandomNonblock = 1, kRandomRandom = 2, kRandomInsecure = 4;

inline constexpr uint64_t kDeviceNull = make_dev(1, 3), kDeviceZero = make_dev(1, 5), kDeviceFull = make_dev(1, 7),
                          kDeviceRandom = make_dev(1, 8), kDeviceUrandom = make_dev(1, 9),
                          kDeviceKmsg = make_dev(1, 11), kDeviceSerial0 = make_dev(4, 64), kDeviceTty = make_dev(5, 0),
                          kDeviceConsole = make_dev(5, 1);

}  // namespace abi
