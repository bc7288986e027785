// SPDX-License-Identifier: MIT
// epoll and timerfd calls (epoll.cpp), for the rows in poll.cpp.
#pragma once
#include "linux/sys/file_calls.hpp"

namespace linux {

Leaf<Fd> sys_epoll_create(Caller&, i32 size);
Leaf<Fd> sys_epoll_create1(Caller&, u32 flags);
Leaf<void> sys_epoll_ctl(Caller&, Fd epoll, i32 operation, Fd fd, UserAddr event);
Leaf<i64> sys_epoll_wait(Caller&, Fd epoll, UserAddr events, i32 max, i32 timeout);
Leaf<i64> sys_epoll_pwait(Caller&, Fd epoll, UserAddr events, i32 max, i32 timeout, ArgumentsFrom<4> mask);
TaskResult sys_epoll_pwait2(Caller&, Fd epoll, UserAddr events, i32 max, UserAddr timeout, UserAddr mask,
                            u64 mask_size);
Leaf<Fd> sys_timerfd_create(Caller&, i32 clock, u32 flags);
Leaf<void> sys_timerfd_settime(Caller&, Fd fd, u32 flags, UserAddr to, UserAddr old);
Leaf<void> sys_timerfd_gettime(Caller&, Fd fd, UserAddr to);

}  // namespace linux
