// SPDX-License-Identifier: MIT
// Byte streams between the machine's drivers and the personality: the program's standard streams and the control
// channel. A driver implements Stream, boot/ registers it, the personality reads and writes it.
#pragma once
#include <span>

#include "rt/wait.hpp"

namespace port {

// try_* never wait. `changed` is woken when reading or writing may be possible again.
class Stream {
public:
    virtual size_t try_read(std::span<std::byte> to) = 0;           // 0: nothing there now
    virtual size_t try_write(std::span<const std::byte> from) = 0;  // 0: no room now
    virtual bool readable() const = 0;
    virtual bool writable() const = 0;
    virtual bool at_end() const = 0;  // no more input will ever come
    // The sender has said that its stream ends after so many bytes in all (a virtio port cannot carry an end of file).
    virtual void end_after(u64 total) {}
    virtual u64 bytes_written() const { return 0; }  // so far
    rt::WaitQueue changed;

protected:
    ~Stream() = default;
};

// What boot found. Null where there is none (hosted tests set what they need).
struct Streams {
    Stream* standard[3] = {};  // stdin, stdout, stderr
    Stream* control = nullptr;
    bool tty = false;  // the three are one terminal
    u16 rows = 24, columns = 80;
    rt::WaitQueue* window_changed = nullptr;  // set by the code that handles a new size
};
extern Streams streams;

}  // namespace port
