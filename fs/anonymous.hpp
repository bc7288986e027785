// SPDX-License-Identifier: MIT
// Inodes of files without a name (pipes, eventfd, epoll...): what fstat(2) shows of them.
#pragma once
#include "fs/inode.hpp"

namespace fs {

class AnonymousInode : public Inode {
public:
    // ENXIO, like open("/proc/self/fd/N") of such a file. Pipes and streams can be opened again.
    Leaf<Ref<File>> open(OpenContext& how) override { return Errno::kNxIo; }
    void set_up(u32 mode, const Creds* owner = nullptr);  // number, times, file system
};

// The pseudo file systems they belong to; kNoMem on the first use.
Result<Ref<SuperBlock>> anonymous_super();
Result<Ref<SuperBlock>> pipe_super();
// A plain one: mode 0600 and no type, as Linux's anon_inode.
Result<Ref<Inode>> anonymous_inode();

}  // namespace fs
