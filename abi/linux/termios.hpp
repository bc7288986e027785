// SPDX-License-Identifier: MIT
// Terminals (asm-generic/termbits.h, asm-generic/termios.h, asm-generic/ioctls.h): termios(3), ioctl_tty(2); and the
// requests of ioctl(2) that any file takes.
#pragma once
#include <cstdint>

namespace abi {

struct Termios {
    uint32_t input, output, control, local;
    uint8_t line;
    uint8_t chars[19];
};
static_assert(sizeof(Termios) == 36);
struct WindowSize {
    uint16_t rows, columns, x_pixels, y_pixels;
};

// TC*, TIOC*, FIO*.
inline constexpr uint32_t kTcGets = 0x5401, kTcSets = 0x5402, kTcSetsW = 0x5403, kTcSetsF = 0x5404, kTcSbrk = 0x5409,
                          kTcXonc = 0x540a, kTcFlsh = 0x540b, kTiocExcl = 0x540c, kTiocNxcl = 0x540d,
                          kTiocSctty = 0x540e, kTiocGpgrp = 0x540f, kTiocSpgrp = 0x5410, kTiocOutq = 0x5411,
                          kTiocSti = 0x5412, kTiocGwinsz = 0x5413, kTiocSwinsz = 0x5414, kFionRead = 0x541b,
                          kFionBio = 0x5421, kTiocNotty = 0x5422, kTiocSetd = 0x5423, kTiocGetd = 0x5424,
                          kTcSbrkp = 0x5425, kTiocGsid = 0x5429, kFioNclex = 0x5450, kFioClex = 0x5451,
                          kFioAsync = 0x5452, kFioQsize = 0x5460, kTiocGexcl = 0x80045440;
inline constexpr int32_t kLineDisciplineTty = 0;  // N_TTY

// TCXONC: TCOOFF, TCOON, TCIOFF, TCION.
enum FlowControl : uint64_t { kFlowOutputOff, kFlowOutputOn, kFlowInputOff, kFlowInputOn };

// c_iflag, c_oflag, c_cflag, c_lflag.
inline constexpr uint32_t kInputIstrip = 0x20, kInputInlcr = 0x40, kInputIgncr = 0x80, kInputIcrnl = 0x100,
                          kInputIxon = 0x400, kInputIxany = 0x800;
inline constexpr uint32_t kOutputPost = 1, kOutputOnlcr = 4, kOutputOcrnl = 8;
inline constexpr uint32_t kControlB38400 = 017, kControlCs8 = 060, kControlRead = 0200, kControlHangUp = 02000;
inline constexpr uint32_t kLocalIsig = 1, kLocalCanon = 2, kLocalEcho = 8, kLocalEchoE = 16, kLocalEchoK = 32,
                          kLocalEchoNl = 64, kLocalNoFlush = 128, kLocalToStop = 256, kLocalEchoCtl = 512,
                          kLocalEchoKe = 2048, kLocalExten = 32768;

// c_cc.
enum ControlChar : uint32_t {
    kCharIntr,
    kCharQuit,
    kCharErase,
    kCharKill,
    kCharEof,
    kCharTime,
    kCharMin,
    kCharSwtc,
    kCharStart,
    kCharStop,
    kCharSusp,
    kCharEol,
    kCharReprint,
    kCharDiscard,
    kCharWerase,
    kCharLnext,
    kCharEol2
};

}  // namespace abi
