// SPDX-License-Identifier: MIT
// The pseudo file system of files without a name.
#include "fs/anonymous.hpp"

#include "abi/linux/magic.hpp"
#include "fs/file.hpp"
#include "rt/mem/slab.hpp"

namespace fs {

namespace {
// Made once, never freed. Released by the maker, acquired by every user.
constinit std::atomic<SuperBlock*> the_super{nullptr}, the_pipe_super{nullptr};
// One inode serves all plain anonymous files, as in Linux.
constinit std::atomic<AnonymousInode*> the_inode{nullptr};

Result<Ref<SuperBlock>> once(std::atomic<SuperBlock*>& where, const char* type, u64 magic) {
    SuperBlock* s = where.load(std::memory_order_acquire);
    if (!s) [[unlikely]] {
        Ref<SuperBlock> fresh = TRY(rt::make_ref<SuperBlock>());
        fresh->device = next_anonymous_device();
        fresh->magic = magic;
        fresh->type = type;
        // A directory without a name: the root of a mount that no program sees.
        Ref<AnonymousInode> root = TRY(rt::make_ref<AnonymousInode>());
        root->super = fresh;
        root->set_up(kTypeDirectory | 0600);
        Ref<Mount> mount = TRY(mount_internally(*fresh, std::move(root)));
        if (where.compare_exchange_strong(s, fresh.get(), std::memory_order_acq_rel)) {
            mount.release();
            s = fresh.release();
        }
    }
    return Ref<SuperBlock>{s};
}

}  // namespace

// Magic numbers: statfs(2).
Result<Ref<SuperBlock>> anonymous_super() { return once(the_super, "anon_inodefs", kMagicAnonInodes); }
Result<Ref<SuperBlock>> pipe_super() { return once(the_pipe_super, "pipefs", kMagicPipeFs); }

void AnonymousInode::set_up(u32 mode, const Creds* owner) {
    number = super->next_inode();
    Attributes& a = attributes_.unguarded();
    a.mode = mode;
    if (owner) {
        a.uid = owner->fsuid;
        a.gid = owner->fsgid;
    }
    a.accessed = a.modified = a.changed = a.born = current_time();
}

Result<Ref<Inode>> anonymous_inode() {
    AnonymousInode* i = the_inode.load(std::memory_order_acquire);
    if (!i) [[unlikely]] {
        Ref<AnonymousInode> fresh = TRY(rt::make_ref<AnonymousInode>());
        fresh->super = TRY(anonymous_super());
        fresh->set_up(0600);
        if (the_inode.compare_exchange_strong(i, fresh.get(), std::memory_order_acq_rel)) i = fresh.release();
    }
    return Ref<Inode>{i};
}

}  // namespace fs
