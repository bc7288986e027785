// SPDX-License-Identifier: MIT
// Error numbers of the Linux x86_64/aarch64/riscv64 ABI (asm-generic/errno-base.h, errno.h values), errno(3).
#pragma once
#include <cstdint>

namespace abi {

enum class Errno : int32_t {
    kOk = 0,
    kPerm = 1,
    kNoEnt = 2,
    kSrch = 3,
    kIntr = 4,
    kIo = 5,
    kNxIo = 6,
    k2Big = 7,
    kNoExec = 8,
    kBadF = 9,
    kChild = 10,
    kAgain = 11,
    kNoMem = 12,
    kAcces = 13,
    kFault = 14,
    kNotBlk = 15,
    kBusy = 16,
    kExist = 17,
    kXDev = 18,
    kNoDev = 19,
    kNotDir = 20,
    kIsDir = 21,
    kInval = 22,
    kNFile = 23,
    kMFile = 24,
    kNoTty = 25,
    kTxtBsy = 26,
    kFBig = 27,
    kNoSpc = 28,
    kSPipe = 29,
    kRoFs = 30,
    kMLink = 31,
    kPipe = 32,
    kDom = 33,
    kRange = 34,
    kDeadLk = 35,
    kNameTooLong = 36,
    kNoLck = 37,
    kNoSys = 38,
    kNotEmpty = 39,
    kLoop = 40,
    kNoMsg = 42,
    kIdRm = 43,
    kNoData = 61,
    kTime = 62,
    kProto = 71,
    kBadMsg = 74,
    kOverflow = 75,
    kLibAcc = 79,
    kLibBad = 80,
    kUsers = 87,
    kNotSock = 88,
    kDestAddrReq = 89,
    kMsgSize = 90,
    kProtoType = 91,
    kNoProtoOpt = 92,
    kProtoNoSupport = 93,
    kOpNotSupp = 95,
    kAfNoSupport = 97,
    kAddrInUse = 98,
    kAddrNotAvail = 99,
    kNetUnreach = 101,
    kConnAborted = 103,
    kConnReset = 104,
    kNoBufs = 105,
    kIsConn = 106,
    kNotConn = 107,
    kTimedOut = 110,
    kConnRefused = 111,
    kAlready = 114,
    kInProgress = 115,
    kStale = 116,
    kCanceled = 125,
    // Restart kinds, never visible to a program: how a call that a signal interrupted may be restarted; delivery
    // decides (Linux: include/linux/errno.h). kRestartSys: restarted if SA_RESTART, otherwise EINTR. kRestartNoIntr:
    // always restarted. kRestartNoHand: only if no handler runs. kRestartBlock: as NoHand, through the thread's
    // restart block.
    kRestartSys = 512,
    kRestartNoIntr = 513,
    kRestartNoHand = 514,
    kRestartBlock = 516,
    // Outcomes of a leaf, never visible to a program either (lib/result.hpp, `Leaf`).
    kNeedsTask = 600,   // must wait: Caller::later() says how
    kNeedsFault = 601,  // user memory is not present: fault the recorded range in, then run again
};

}  // namespace abi
using abi::Errno;
