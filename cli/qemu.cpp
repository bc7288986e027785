// SPDX-License-Identifier: MIT
// Starting and stopping QEMU: see machine.hpp.
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "cli/machine.hpp"

namespace cli {

namespace {

constexpr const char* kQemu = "qemu-system-x86_64";
constexpr const char* kPortNames[] = {"stdin", "stdout", "stderr", "control", "trace"};

int free_tcp_port() {
    UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    if (::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), length) != 0 ||
        ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &length) != 0) {
        fail("no free TCP port for the debugger");
    }
    return ntohs(address.sin_port);
}

}  // namespace

void Session::announce_gdb(int port) {
    std::fprintf(stderr,
                 "farcall: waiting for a debugger; type in another terminal:\n  gdb %s -ex 'target remote :%d'\n",
                 spec_.kernel.c_str(), port);
}

void Session::start_qemu() {
    auto qemu = find_program(kQemu);
    if (!qemu) fail(std::string(kQemu) + " is not installed (Debian package qemu-system-x86)");
    if (!fs::exists(spec_.kernel)) fail("the kernel " + spec_.kernel.string() + " has not been built");

    std::vector<std::string> args = {*qemu};
    auto add = [&](std::initializer_list<std::string> words) { args.insert(args.end(), words); };
    const bool microvm = spec_.machine.starts_with("microvm");
    // With ACPI, microvm describes its devices in bytecode, which nothing here runs; without, on the command line.
    const bool acpi_chosen = spec_.machine.find("acpi=") != spec_.machine.npos;
    add({"-M", microvm ? spec_.machine + ",isa-serial=on" + (acpi_chosen ? "" : ",acpi=off") : spec_.machine});
    if (microvm) add({"-global", "virtio-mmio.force-legacy=false"});
    add({"-accel", spec_.accel.empty() ? "tcg,thread=multi" : spec_.accel, "-cpu", spec_.cpu});
    add({"-smp", std::to_string(spec_.cpus), "-m", std::to_string(spec_.memory >> 10) + "K"});
    add({"-kernel", spec_.kernel.string(), "-initrd", spec_.initrd.string(), "-append", spec_.append});
    add({"-display", "none", "-nodefaults", "-no-user-config", "-no-reboot"});
    add({"-device", "isa-debug-exit,iobase=0xf4,iosize=4"});
    add({"-device", microvm ? "virtio-serial-device,max_ports=8" : "virtio-serial-pci,max_ports=8,disable-legacy=on"});

    for (const std::string& word : disk_arguments(spec_.disks, spec_.cpus, microvm)) args.push_back(word);

    std::vector<int> inherited;
    for (int i = 0; i < kPortCount; ++i) {
        if (i == kTrace && !spec_.trace) continue;
        int pair[2];
        if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
            fail(std::string("socketpair: ") + std::strerror(errno));
        ports_[i].fd.reset(pair[0]);
        ::fcntl(pair[0], F_SETFL, O_NONBLOCK);
        inherited.push_back(pair[1]);
        std::string id = "c" + std::to_string(i);
        add({"-chardev", "socket,id=" + id + ",fd=" + std::to_string(pair[1])});
        if (i <= kTrace) {
            add({"-device",
                 "virtserialport,chardev=" + id + ",nr=" + std::to_string(i + 1) + ",name=farcall." + kPortNames[i]});
        } else if (i == kSerial) {
            add({"-serial", "chardev:" + id});
        } else {
            add({"-mon", "chardev=" + id + ",mode=readline"});
        }
    }
    if (!spec_.plugin.empty()) add({"-plugin", spec_.plugin});
    if (spec_.gdb) {
        int port = free_tcp_port();
        add({"-S", "-gdb", "tcp:127.0.0.1:" + std::to_string(port)});
        announce_gdb(port);
    }
    args.insert(args.end(), spec_.extra_args.begin(), spec_.extra_args.end());
    if (spec_.verbose) {
        std::string line;
        for (const std::string& word : args) line += (line.empty() ? "" : " ") + word;
        std::fprintf(stderr, "farcall: %s\n", line.c_str());
    }

    sigset_t mask;
    sigemptyset(&mask);
    for (int signal : {SIGINT, SIGTERM, SIGHUP, SIGCHLD, SIGWINCH}) sigaddset(&mask, signal);
    ::sigprocmask(SIG_BLOCK, &mask, nullptr);
    signals_.reset(::signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK));

    int errors[2];
    if (::pipe2(errors, O_CLOEXEC) != 0) fail("pipe: " + std::string(std::strerror(errno)));
    qemu_errors_.reset(errors[0]);
    ::fcntl(errors[0], F_SETFL, O_NONBLOCK);

    std::vector<char*> argv;
    for (std::string& word : args) argv.push_back(word.data());
    argv.push_back(nullptr);
    pid_t tool = ::getpid();
    qemu_ = ::fork();
    if (qemu_ < 0) fail("fork: " + std::string(std::strerror(errno)));
    if (qemu_ == 0) {
        // If the tool is killed, QEMU must end too. A group of its own keeps the terminal's Ctrl-C from it.
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (::getppid() != tool) ::_exit(1);
        ::setpgid(0, 0);
        ::sigprocmask(SIG_UNBLOCK, &mask, nullptr);
        ::signal(SIGPIPE, SIG_DFL);
        int null = ::open("/dev/null", O_RDWR);
        ::dup2(null, 0);
        ::dup2(errors[1], 1);
        ::dup2(errors[1], 2);
        for (int fd : inherited) ::fcntl(fd, F_SETFD, 0);
        ::execv(argv[0], argv.data());
        std::perror(argv[0]);
        ::_exit(127);
    }
    for (int fd : inherited) ::close(fd);
    ::close(errors[1]);
}

void Session::stop_qemu() {
    if (qemu_ < 0) return;
    if (!qemu_gone_) {
        // Without exit handlers to run nothing is lost by an immediate end.
        ::kill(qemu_, spec_.quit_gently ? SIGTERM : SIGKILL);
        auto start = Clock::now();
        while (::waitpid(qemu_, nullptr, WNOHANG) == 0) {
            if (seconds_since(start) > 10) ::kill(qemu_, SIGKILL);
            ::usleep(500);
        }
    }
    qemu_ = -1;
}

}  // namespace cli
