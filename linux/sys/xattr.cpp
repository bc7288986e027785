// SPDX-License-Identifier: MIT
// Extended attributes (xattr(7)): no file system here has them. The calls make the checks of Linux that precede the
// file system, and then return the result of a file system without them: EOPNOTSUPP, or an empty list.
#include "linux/sys/path_calls.hpp"

namespace linux {

namespace {

using fs::kFollow;

enum class For : u8 { kRead, kChange };

// EROFS comes before all that is said of the attribute.
Leaf<void> find_path(Caller& c, UserString path, u32 lookup, For what) {
    Target t;
    TRY(t.find(c, kAtCwd, path, lookup));
    return what == For::kChange && t.read_only() ? Leaf<void>(Errno::kRoFs) : Leaf<void>(lib::kOk);
}
Leaf<void> find_descriptor(Caller& c, Fd fd, For what) {
    auto file = c.borrow(fd);
    if (!file || (file->flags() & fs::kOpenPath)) return Errno::kBadF;
    return what == For::kChange && file->mount().read_only() ? Leaf<void>(Errno::kRoFs) : Leaf<void>(lib::kOk);
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
    TRY(find_path(c, path, kLookup, For::kChange));
    TRY(check_setting(c, name, size, flags));
    return Errno::kOpNotSupp;
}
Leaf<void> sys_fset(Caller& c, Fd fd, UserString name, UserAddr, u64 size, u32 flags) {
    TRY(find_descriptor(c, fd, For::kChange));
    TRY(check_setting(c, name, size, flags));
    return Errno::kOpNotSupp;
}

// get and remove
template <u32 kLookup, For kWhat>
Leaf<i64> sys_name(Caller& c, UserString path, UserString name) {
    TRY(find_path(c, path, kLookup, kWhat));
    TRY(check_name(c, name));
    return Errno::kOpNotSupp;
}
template <For kWhat>
Leaf<i64> sys_fname(Caller& c, Fd fd, UserString name) {
    TRY(find_descriptor(c, fd, kWhat));
    TRY(check_name(c, name));
    return Errno::kOpNotSupp;
}

template <u32 kLookup>
Leaf<i64> sys_list(Caller& c, UserString path) {
    TRY(find_path(c, path, kLookup, For::kRead));
    return 0;
}
Leaf<i64> sys_flist(Caller& c, Fd fd) {
    TRY(find_descriptor(c, fd, For::kRead));
    return 0;
}

constexpr auto kFs = port::Module::kFs;
constexpr SyscallRow kRows[] = {
    row<&sys_set<kFollow>>(abi::kNrSetxattr, "setxattr", kFs, "path/extended_attributes"),
    row<&sys_set<0>>(abi::kNrLsetxattr, "lsetxattr", kFs, "path/extended_attributes"),
    row<&sys_fset>(abi::kNrFsetxattr, "fsetxattr", kFs, "path/extended_attributes"),
    row<&sys_name<kFollow, For::kRead>>(abi::kNrGetxattr, "getxattr", kFs, "path/extended_attributes"),
    row<&sys_name<0, For::kRead>>(abi::kNrLgetxattr, "lgetxattr", kFs, "path/extended_attributes"),
    row<&sys_fname<For::kRead>>(abi::kNrFgetxattr, "fgetxattr", kFs, "path/extended_attributes"),
    row<&sys_list<kFollow>>(abi::kNrListxattr, "listxattr", kFs, "path/extended_attributes"),
    row<&sys_list<0>>(abi::kNrLlistxattr, "llistxattr", kFs, "path/extended_attributes"),
    row<&sys_flist>(abi::kNrFlistxattr, "flistxattr", kFs, "path/extended_attributes"),
    row<&sys_name<kFollow, For::kChange>>(abi::kNrRemovexattr, "removexattr", kFs, "path/extended_attributes"),
    row<&sys_name<0, For::kChange>>(abi::kNrLremovexattr, "lremovexattr", kFs, "path/extended_attributes"),
    row<&sys_fname<For::kChange>>(abi::kNrFremovexattr, "fremovexattr", kFs, "path/extended_attributes"),
};

}  // namespace

const std::span<const SyscallRow> xattr_rows{kRows};

}  // namespace linux
