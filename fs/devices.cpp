// SPDX-License-Identifier: MIT
// The memory devices (null(4), random(4)) and the table that finds a character device by its number.
#include "fs/devices.hpp"

#include "abi/linux/system.hpp"
#include "block/disk.hpp"
#include "fs/tty.hpp"
#include "rt/mem/slab.hpp"

namespace fs {

namespace {

// Files of devices that have no position: seeking succeeds and does nothing (Linux: noop_llseek, null_lseek).
class MemoryDevice : public File {
public:
    using File::File;
    bool seekable() const override { return true; }
    Leaf<u64> seek(i64, u32) override { return u64{0}; }
};

constexpr u64 kZerosAtOnce = 64 << 10;
constexpr u64 kRandomAtOnce = 2048;  // some 50,000 instructions of the generator

class NullFile final : public MemoryDevice {
public:
    using MemoryDevice::MemoryDevice;
    Leaf<size_t> try_read(const UserSpans&, u64) override { return size_t{0}; }
    Leaf<size_t> try_write(const UserSpans& from, u64) override { return size_t(from.size()); }
};

class ZeroFile final : public MemoryDevice {
public:
    using MemoryDevice::MemoryDevice;
    Leaf<size_t> try_read(const UserSpans& to, u64) override {
        TRY(to.zero(0, to.size()));
        return size_t(to.size());
    }
    u64 piece_size(bool write) const override { return write ? 0 : kZerosAtOnce; }
    Leaf<size_t> try_write(const UserSpans& from, u64) override { return size_t(from.size()); }
    Leaf<MapSource> map_source() override { return MapSource{.mapping = {}, .anonymous = true}; }
};

class FullFile final : public MemoryDevice {
public:
    FullFile(Path path, u32 flags) : MemoryDevice(std::move(path), flags | kOpenByElement) {}
    bool by_element(bool write) const override { return write; }
    u64 piece_size(bool write) const override { return write ? 0 : kZerosAtOnce; }
    Leaf<size_t> try_read(const UserSpans& to, u64) override {
        TRY(to.zero(0, to.size()));
        return size_t(to.size());
    }
    Leaf<size_t> try_write(const UserSpans& from, u64) override { return Errno::kNoSpc; }
};

// random and urandom are the same once the generator is seeded, which it is from the start; but urandom cannot be waited
// for.
class RandomFile : public MemoryDevice {
public:
    using MemoryDevice::MemoryDevice;
    u64 piece_size(bool) const override { return kRandomAtOnce; }
    bool splices() const override { return true; }
    Leaf<size_t> try_read(const UserSpans& to, u64) override {
        if (to.size() > kRandomAtOnce) return kNeedsTask;
        return generate(to, true);
    }
    Leaf<size_t> read_for(void*, const UserSpans& to, u64) override { return generate(to, false); }
    bool pollable() const override { return true; }
    u32 poll() override { return kPollIn | kPollRdNorm; }
    // What programs mix in is not credited, and the pool is the machine's: it is read, as for an unprivileged writer.
    Leaf<size_t> try_write(const UserSpans& from, u64) override { return take(from, true); }
    Leaf<size_t> write_for(void*, const UserSpans& from, u64) override { return take(from, false); }

private:
    static Leaf<size_t> generate(const UserSpans& to, bool whole) {
        return in_chunks(to, whole, [&](u64 done, std::span<std::byte> chunk) {
            port::Port::entropy(chunk);
            return to.copy_out(done, chunk.data(), chunk.size());
        });
    }
    static Leaf<size_t> take(const UserSpans& from, bool whole) {
        return in_chunks(from, whole, [&](u64 done, std::span<std::byte> chunk) {
            return from.copy_in(done, chunk.data(), chunk.size());
        });
    }
    // Where memory is missing: a short count, so that what was generated is kept; an error if it must be all.
    template <class Move>
    static Leaf<size_t> in_chunks(const UserSpans& memory, bool whole, Move&& move) {
        std::byte chunk[256];
        size_t done = 0;
        while (done < memory.size()) {
            const size_t n = memory.size() - done < sizeof chunk ? memory.size() - done : sizeof chunk;
            auto moved = move(done, std::span{chunk, n});
            if (!moved.ok()) {
                if (moved.error() == kNeedsFault) memory.expect(memory.size());
                if (done == 0 || whole) return moved.error();
                break;
            }
            done += n;
        }
        return done;
    }
};

class UrandomFile final : public RandomFile {
public:
    using RandomFile::RandomFile;
    bool pollable() const override { return false; }
    u32 poll() override { return File::poll(); }
};

// Messages go to the kernel's log. There is no record buffer to read back.
class KernelLogFile final : public File {
public:
    using File::File;
    Leaf<size_t> try_write(const UserSpans& from, u64) override {
        char text[1024];  // LOG_LINE_MAX: longer ones are refused (Linux: devkmsg_write)
        if (from.size() > sizeof text - 1) return Errno::kInval;
        TRY(from.copy_in(0, text, from.size()));
        size_t skip = 0, n = from.size();
        // A leading "<level>" is the message's priority.
        if (n > 2 && text[0] == '<') {
            size_t at = 1;
            while (at < n && text[at] >= '0' && text[at] <= '9') ++at;
            if (at < n && at > 1 && text[at] == '>') skip = at + 1;
        }
        if (n > skip && text[n - 1] == '\n') --n;
        port::log({text + skip, n - skip});
        return size_t(from.size());
    }
    u32 poll() override { return kPollOut | kPollWrNorm; }
    bool pollable() const override { return true; }
};

template <class T>
Result<Ref<File>> open_as(OpenContext& how) {
    return make_file<T>(how.path, how.flags & ~kOpenOnce);
}

template <OpenAs kAs>
Result<Ref<File>> open_console(OpenContext& how) {
    if (port::streams.tty) return open_terminal(how, kAs);
    return Errno::kNxIo;
}

// /dev/tty: whatever terminal controls the caller.
Result<Ref<File>> open_controlling(OpenContext& how) {
    if (!how.terminal) return Errno::kNxIo;
    return open_terminal(how);
}

struct Device {
    u64 number;
    const char* name;
    u32 mode;
    Result<Ref<File>> (*open)(OpenContext&);
};

constexpr Device kDevices[] = {
    {kDeviceNull, "null", 0666, &open_as<NullFile>},
    {kDeviceZero, "zero", 0666, &open_as<ZeroFile>},
    {kDeviceFull, "full", 0666, &open_as<FullFile>},
    {kDeviceRandom, "random", 0666, &open_as<RandomFile>},
    {kDeviceUrandom, "urandom", 0666, &open_as<UrandomFile>},
    {kDeviceKmsg, "kmsg", 0644, &open_as<KernelLogFile>},
    {kDeviceSerial0, "ttyS0", 0660, &open_console<OpenAs::kTerminal>},
    {kDeviceTty, "tty", 0666, &open_controlling},
    {kDeviceConsole, "console", 0600, &open_console<OpenAs::kConsole>},
};

struct DeviceLink {
    const char* name;
    const char* target;
};
constexpr DeviceLink kLinks[] = {
    {"fd", "/proc/self/fd"},
    {"stdin", "/proc/self/fd/0"},
    {"stdout", "/proc/self/fd/1"},
    {"stderr", "/proc/self/fd/2"},
};

}  // namespace

Leaf<Ref<File>> open_device(OpenContext& how, u64 device) {
    for (const Device& d : kDevices)
        if (d.number == device) return d.open(how);
    return Errno::kNxIo;
}

Leaf<void> populate_devices(const Path& dev, const Creds& creds) {
    for (const Device& d : kDevices)
        (void)TRY(make_node({.parent = dev, .last = d.name}, kTypeChar | d.mode, d.number, {}, creds));
    for (u32 i = 0; i < block::disk_count(); ++i) {
        const block::Disk& disk = block::disk_at(i);
        const u64 number = make_dev(block::kDiskMajor, disk.minor());
        (void)TRY(make_node({.parent = dev, .last = disk.name()}, kTypeBlock | 0600, number, {}, creds));
    }
    for (const DeviceLink& l : kLinks)
        (void)TRY(make_node({.parent = dev, .last = l.name}, kTypeLink | 0777, 0, l.target, creds));
    (void)TRY(make_node({.parent = dev, .last = "shm"}, kTypeDirectory | kSticky | 0777, 0, {}, creds));
    return lib::kOk;
}

}  // namespace fs
