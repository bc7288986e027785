// SPDX-License-Identifier: MIT
// Readiness (asm-generic/poll.h, linux/eventpoll.h, linux/eventfd.h): poll(2), epoll_ctl(2), eventfd(2).
#pragma once
#include <cstdint>

namespace abi {

// poll(2), POLL*; epoll's EPOLL* have the same values.
inline constexpr uint32_t kPollIn = 1, kPollPri = 2, kPollOut = 4, kPollErr = 8, kPollHup = 16, kPollNval = 32,
                          kPollRdNorm = 0x40, kPollRdBand = 0x80, kPollWrNorm = 0x100, kPollWrBand = 0x200,
                          kPollRdHup = 0x2000;

// epoll_ctl(2): EPOLL_CTL_*, and the input flags of an item.
inline constexpr int32_t kEpollCtlAdd = 1, kEpollCtlDelete = 2, kEpollCtlModify = 3;
inline constexpr uint32_t kEpollExclusive = 1u << 28, kEpollWakeup = 1u << 29, kEpollOneShot = 1u << 30,
                          kEpollEdge = 1u << 31;

struct [[gnu::packed]] EpollEvent {  // x86_64
    uint32_t events;
    uint64_t data;
};
static_assert(sizeof(EpollEvent) == 12);

inline constexpr uint32_t kEventfdSemaphore = 1;  // eventfd(2), EFD_SEMAPHORE

}  // namespace abi
