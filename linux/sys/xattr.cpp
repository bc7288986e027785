// SPDX-License-Identifier: MIT
// Extended attributes (xattr(7)): no file system here has them. The calls make the checks of Linux that precede the
// file system, and then return the result of a file system without them: EOPNOTSUPP, or an empty list.
#include "linux/sys/path_calls.hpp"

namespace linux {

namespace {

using fs::kFollow;

Leaf<void> find_path(Caller& c, UserString path, u32 lookup) {
    Target t;
    return t.find(c, kAtCwd, path, lookup);
}
Leaf<void> find_descriptor(Caller& c, Fd fd) {
    auto file = c.borrow(fd);
    return file && !(file->flags() & fs::kOpenPath) ? Leaf<void>(lib::kOk) : Leaf<void>(Errno::kBadF);
}

// ERANGE: empty or too long.
Leaf<void> check_name(Caller& c, UserString name) {
    char text[kXattrNameMax + 1];
    auto r = c.user().read_string(text, name.at);
    if (r.error() == Errno::kNameTooLong || (r.ok() && r.value().empty())) return Errno::kRange;
    return r.ok() ? Leaf<void>(lib::kOk) : Leaf<void>(r.error());
}
Leaf<void> check_setting(Caller& c, UserString name, u64 size, u32 flags) {
    if (flags & ~(kXattrCreate | kXattrReplace)) return Errno::kInval;
    TRY(check_name(c, name));
    return size > kXattrSizeMax ? Leaf<void>(Errno::k2Big) : Leaf<void>(lib::kOk);
}

template <u32 kLookup>
Leaf<void> sys_set(Caller& c, UserString path, UserString name, UserAddr, u64 size, u32 flags) {
    TRY(find_path(c, path, kLookup));
    TRY(check_setting(c, name, size, flags));
    return Errno::kOpNotSupp;
}
Leaf<void> sys_fset(Caller& c, Fd fd, UserString name, UserAddr, u64 size, u32 flags) {
    TRY(find_descriptor(c, fd));
    TRY(check_setting(c, name, size, flags));
    return Errno::kOpNotSupp;
}

// get and remove
template <u32 kLookup>
Leaf<i64> sys_name(Caller& c, UserString path, UserString name) {
    TRY(find_path(c, path, kLookup));
    TRY(check_name(c, name));
    return Errno::kOpNotSupp;
}
Leaf<i64> sys_fname(Caller& c, Fd fd, UserString name) {
    TRY(find_descriptor(c, fd));
    TRY(check_name(c, name));
    return Errno::kOpNotSupp;
}

template <u32 kLookup>
Leaf<i64> sys_list(Caller& c, UserString path) {
    TRY(find_path(c, path, kLookup));
    return 0;
}
Leaf<i64> sys_flist(Caller& c, Fd fd) {
    TRY(find_descriptor(c, fd));
    return 0;
}

constexpr auto kFs = port::Module::kFs;
constexpr SyscallRow kRows[] = {
    row<&sys_set<kFollow>>(abi::kNrSetxattr, "setxattr", kFs, "path/extended_attributes"),
    row<&sys_set<0>>(abi::kNrLsetxattr, "lsetxattr", kFs, "path/extended_attributes"),
    row<&sys_fset>(abi::kNrFsetxattr, "fsetxattr", kFs, "path/extended_attributes"),
    row<&sys_name<kFollow>>(abi::kNrGetxattr, "getxattr", kFs, "path/extended_attributes"),
    row<&sys_name<0>>(abi::kNrLgetxattr, "lgetxattr", kFs, "path/extended_attributes"),
    row<&sys_fname>(abi::kNrFgetxattr, "fgetxattr", kFs, "path/extended_attributes"),
    row<&sys_list<kFollow>>(abi::kNrListxattr, "listxattr", kFs, "path/extended_attributes"),
    row<&sys_list<0>>(abi::kNrLlistxattr, "llistxattr", kFs, "path/extended_attributes"),
    row<&sys_flist>(abi::kNrFlistxattr, "flistxattr", kFs, "path/extended_attributes"),
    row<&sys_name<kFollow>>(abi::kNrRemovexattr, "removexattr", kFs, "path/extended_attributes"),
    row<&sys_name<0>>(abi::kNrLremovexattr, "lremovexattr", kFs, "path/extended_attributes"),
    row<&sys_fname>(abi::kNrFremovexattr, "fremovexattr", kFs, "path/extended_attributes"),
};

}  // namespace

const std::span<const SyscallRow> xattr_rows{kRows};

}  // namespace linux
