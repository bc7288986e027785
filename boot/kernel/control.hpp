// SPDX-License-Identifier: MIT
// The control channel to the host tool: lines of text over their own port, so that the exit status does not have to be
// read off the console. docs/control-channel.md lists the messages.
#pragma once
#include <string_view>

#include "port/bind.hpp"

namespace boot::control {

// Starts the job that obeys the host's lines (stdin-eof, winsize, tty, dump).
bool start(port::Stream& port);
// Queues one line (without its end). Safe from any job. False: the buffer (16 KiB) is full, the line is lost.
bool send(std::string_view line);
// Send counters before the exit status (`stats=1`).
void want_stats();
bool wants_stats();
// The program has ended with this wait(2) status: the trace, if one was asked for; byte counts of its output, then exit or
// signal.
void report_exit(i32 wait_status);
// Before that: Linux's first program could not even begin (kOk: it did). Then this is said instead of its status.
void not_started(Errno why);

}  // namespace boot::control
