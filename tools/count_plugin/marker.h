// SPDX-License-Identifier: MIT
// Markers that a guest program sets for the counting plugin: a 7-byte NOP (0F 1F 80 disp32, Intel SDM volume 2, NOP)
// whose displacement carries the message. It touches no memory and does nothing on any machine without the plugin.
//   0xFACk0000 | row, k: 0 start the row's interval, 1 stop it, 2 note the totals since the machine's start
#pragma once
#define FARCALL_MARK_(kind, row)                                                          \
    __asm__ volatile(".byte 0x0f, 0x1f, 0x80\n\t.long %c0"                                \
                     :                                                                    \
                     : "i"((int)(0xFAC00000u | (unsigned)(kind) << 16 | (unsigned)(row))) \
                     : "memory")
#define FARCALL_MARK_START(row) FARCALL_MARK_(0, row)
#define FARCALL_MARK_STOP(row) FARCALL_MARK_(1, row)
#define FARCALL_MARK_NOTE(row) FARCALL_MARK_(2, row)
