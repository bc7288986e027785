// SPDX-License-Identifier: MIT
// Sockets (socket(2)): no address family is registered, as in a Linux that was built without any. No descriptor is a socket.
#include "abi/linux/socket.hpp"
#include "linux/sys/file_calls.hpp"

namespace linux {

namespace {

// EAFNOSUPPORT, unless the request is wrong.
Errno no_family(u32 family, u32 type) {
    if (type & ~(kSocketTypeMask | fs::kOpenCloexec | fs::kOpenNonblock)) return Errno::kInval;
    if (family >= kSocketFamilies) return Errno::kAfNoSupport;
    return (type & kSocketTypeMask) > kSocketTypeMax ? Errno::kInval : Errno::kAfNoSupport;
}
Leaf<void> sys_socket(Caller&, u32 family, u32 type) { return no_family(family, type); }
Leaf<void> sys_socketpair(Caller& c, u32 family, u32 type, u32, UserOut<i32>) { return no_family(family, type); }

// Every call on a socket: EBADF, ENOTSOCK.
Leaf<void> sys_on_socket(Caller& c, Fd fd) {
    (void)TRY(open_file(c, fd));
    return Errno::kNotSock;
}
Leaf<void> sys_accept4(Caller& c, Fd fd, UserAddr, UserAddr, u32 flags) {
    (void)TRY(open_file(c, fd));
    return flags & ~(fs::kOpenCloexec | fs::kOpenNonblock) ? Errno::kInval : Errno::kNotSock;
}

Leaf<void> sys_message(Caller& c, Fd fd, UserAddr, u32 flags) {
    if (flags & kMessageCompatible) return Errno::kInval;
    return sys_on_socket(c, fd);
}
Leaf<void> sys_messages(Caller& c, Fd fd, UserAddr, u32, u32 flags) {
    if (flags & kMessageCompatible) return Errno::kInval;
    return sys_on_socket(c, fd);
}
Leaf<void> sys_setsockopt(Caller& c, Fd fd, i32, i32, UserAddr, i32 length) {
    if (length < 0) return Errno::kInval;
    return sys_on_socket(c, fd);
}

constexpr auto kFs = port::Module::kFs;
constexpr SyscallRow kRows[] = {
    row<&sys_socket>(abi::kNrSocket, "socket", kFs, "fd/no_sockets"),
    row<&sys_socketpair>(abi::kNrSocketpair, "socketpair", kFs, "fd/no_sockets"),
    row<&sys_on_socket>(abi::kNrConnect, "connect", kFs, "fd/no_sockets"),
    row<&sys_on_socket>(abi::kNrAccept, "accept", kFs, "fd/no_sockets"),
    row<&sys_accept4>(abi::kNrAccept4, "accept4", kFs, "fd/no_sockets"),
    row<&sys_on_socket>(abi::kNrSendto, "sendto", kFs, "fd/no_sockets"),
    row<&sys_on_socket>(abi::kNrRecvfrom, "recvfrom", kFs, "fd/no_sockets"),
    row<&sys_message>(abi::kNrSendmsg, "sendmsg", kFs, "fd/no_sockets"),
    row<&sys_message>(abi::kNrRecvmsg, "recvmsg", kFs, "fd/no_sockets"),
    row<&sys_messages>(abi::kNrSendmmsg, "sendmmsg", kFs, "fd/no_sockets"),
    row<&sys_messages>(abi::kNrRecvmmsg, "recvmmsg", kFs, "fd/no_sockets"),
    row<&sys_on_socket>(abi::kNrShutdown, "shutdown", kFs, "fd/no_sockets"),
    row<&sys_on_socket>(abi::kNrBind, "bind", kFs, "fd/no_sockets"),
    row<&sys_on_socket>(abi::kNrListen, "listen", kFs, "fd/no_sockets"),
    row<&sys_on_socket>(abi::kNrGetsockname, "getsockname", kFs, "fd/no_sockets"),
    row<&sys_on_socket>(abi::kNrGetpeername, "getpeername", kFs, "fd/no_sockets"),
    row<&sys_setsockopt>(abi::kNrSetsockopt, "setsockopt", kFs, "fd/no_sockets"),
    row<&sys_on_socket>(abi::kNrGetsockopt, "getsockopt", kFs, "fd/no_sockets"),
};

}  // namespace

const std::span<const SyscallRow> socket_rows{kRows};

}  // namespace linux
