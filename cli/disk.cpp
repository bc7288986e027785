// SPDX-License-Identifier: MIT
#include "cli/disk.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>

namespace cli {

namespace {

constexpr uint64_t kSector = 512;

[[noreturn]] void refuse(const DiskSpec& disk, const std::string& why) {
    fail("--disk " + disk.file.string() + ": " + why);
}

// Where QEMU says with locks what it does with an image and what others may not do (block/file-posix.c): a byte of each
// range for each of its permissions.
constexpr off_t kDoesWrite = 100 + 1, kNoOthersWrite = 200 + 1;

bool locked_at(int fd, off_t byte) {
    struct flock lock{};
    // A lock for writing conflicts with each of QEMU's, which are for reading.
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    lock.l_start = byte;
    lock.l_len = 1;
    return ::fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

uint64_t size_of(const DiskSpec& disk, int fd, const struct stat& st) {
    if (S_ISREG(st.st_mode)) return static_cast<uint64_t>(st.st_size);
    uint64_t bytes = 0;
    if (!S_ISBLK(st.st_mode)) refuse(disk, "is neither a file nor a block device");
    if (::ioctl(fd, BLKGETSIZE64, &bytes) != 0) refuse(disk, std::strerror(errno));
    return bytes;
}

}  // namespace

DiskSpec parse_disk(const std::string& text) {
    constexpr std::string_view kReadOnly = ",ro";
    DiskSpec disk{.file = text};
    if (text.ends_with(kReadOnly)) disk = {.file = text.substr(0, text.size() - kReadOnly.size()), .read_only = true};
    if (disk.file.empty()) fail("--disk: FILE or FILE,ro is wanted");
    return disk;
}

DiskFiles::DiskFiles(const std::vector<DiskSpec>& disks) {
    constexpr size_t kMost = 16;
    if (disks.size() > kMost) fail("--disk: at most " + std::to_string(kMost) + " disks");
    std::set<std::pair<dev_t, ino_t>> seen;
    for (const DiskSpec& disk : disks) {
        UniqueFd fd(::open(disk.file.c_str(), (disk.read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK));
        if (fd.get() < 0) refuse(disk, std::strerror(errno));
        struct stat st{};
        if (::fstat(fd.get(), &st) != 0) refuse(disk, std::strerror(errno));
        const uint64_t size = size_of(disk, fd.get(), st);
        if (size == 0) refuse(disk, "is empty");
        if (size % kSector != 0)
            refuse(disk, std::to_string(size) + " bytes are not a multiple of " + std::to_string(kSector));
        if (!seen.insert({st.st_dev, st.st_ino}).second) refuse(disk, "is given twice");
        if (::flock(fd.get(), (disk.read_only ? LOCK_SH : LOCK_EX) | LOCK_NB) != 0)
            refuse(disk, errno == EWOULDBLOCK ? "is in use by another run" : std::strerror(errno));
        if (locked_at(fd.get(), kDoesWrite) || (!disk.read_only && locked_at(fd.get(), kNoOthersWrite)))
            refuse(disk, "is in use by another machine");
        locks_.push_back(std::move(fd));
    }
}

std::vector<std::string> disk_arguments(const std::vector<DiskSpec>& disks, int cpus, bool microvm) {
    std::vector<std::string> words;
    for (size_t i = 0; i < disks.size(); ++i) {
        const std::string id = "disk" + std::to_string(i);
        std::string file;
        for (char c : fs::absolute(disks[i].file).string()) file += c == ',' ? std::string(",,") : std::string(1, c);
        words.insert(words.end(), {"-drive", "if=none,id=" + id + ",format=raw,cache=writeback,discard=unmap,file=" +
                                                 file + (disks[i].read_only ? ",read-only=on" : "")});
        // An error is the guest's: QEMU does not stop the machine for it.
        std::string device = microvm ? "virtio-blk-device" : "virtio-blk-pci,disable-legacy=on";
        device += ",drive=" + id + ",rerror=report,werror=report,num-queues=" + std::to_string(cpus);
        words.insert(words.end(), {"-device", device});
    }
    return words;
}

}  // namespace cli
