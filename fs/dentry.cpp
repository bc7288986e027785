// SPDX-License-Identifier: MIT
// The name cache's table and the life of a Dentry.
#include "fs/dentry.hpp"

#include "port/bind.hpp"
#include "rt/mem/slab.hpp"
#include "rt/teardown.hpp"

namespace fs {

namespace detail {
constinit std::atomic<Dentry*> buckets[1 << kBucketBits] = {};
constinit NameSecret name_secret{0, kHashFactor};

[[gnu::cold]] u64 load_few(const char* from, size_t n) {
    u64 w = 0;
    for (size_t i = 0; i < n; ++i) w |= u64(u8(from[i])) << (8 * i);
    return w;
}
}  // namespace detail
constinit rt::SpinLock<rt::Rank::namespace_> namespace_lock;
constinit std::atomic<u64> rename_sequence{0};
constinit std::atomic<u32> RenamePause::paused{0};

namespace {

constexpr u32 kStripes = 64;
struct alignas(16) Stripe {
    rt::SpinLock<rt::Rank::dentry> lock;
};
constinit Stripe stripes[kStripes];

rt::SpinLock<rt::Rank::dentry>& stripe_of(const std::atomic<Dentry*>& bucket) {
    return stripes[static_cast<size_t>(&bucket - detail::buckets) % kStripes].lock;
}

void fill_name(Dentry::Name* n, NameKey name, bool separate) {
    n->key = name.key;
    n->separate = separate;
    std::memcpy(n->text, name.text, name.length());
    n->text[name.length()] = 0;
}

}  // namespace

void choose_name_secret() {
    detail::NameSecret fresh;
    port::Port::entropy(std::as_writable_bytes(std::span{&fresh, 1}));
    fresh.factor |= 1;
    detail::name_secret = fresh;
}

Dentry* Dentry::allocate(NameKey name) {
    size_t size = sizeof(Dentry) + Name::bytes(name.length());
    void* memory = rt::allocate(size);
    if (!memory) return nullptr;
    auto* d = new (memory) Dentry;
    d->allocated_ = static_cast<u32>(size);
    auto* n = reinterpret_cast<Name*>(d + 1);
    fill_name(n, name, false);
    d->name_.store(n, std::memory_order_relaxed);
    return d;
}

void Dentry::discard() { rt::deallocate(this, allocated_); }

void Dentry::attach(Dentry* parent, Ref<Inode> inode) {
    u32 flags = inode->is_directory() ? kIsDirectory : inode->is_symlink() ? kIsLink : 0;
    if (inode->super && inode->super->names_pinned) flags |= kPinned;
    if (parent)
        parent->ref();
    else
        flags |= kRoot;
    parent_.store(parent ? parent : this, std::memory_order_relaxed);
    flags_.store(flags, std::memory_order_relaxed);
    inode_ = inode.release();
}

Dentry* Dentry::create(Dentry* parent, NameKey name, Ref<Inode> inode) {
    Dentry* d = allocate(name);
    if (d) d->attach(parent, std::move(inode));
    return d;
}

Dentry::Name* Dentry::new_name(NameKey name) {
    auto* n = static_cast<Name*>(rt::allocate(sizeof(rt::Retired) + Name::bytes(name.length())));
    if (!n) return nullptr;
    n = reinterpret_cast<Name*>(reinterpret_cast<std::byte*>(n) + sizeof(rt::Retired));
    fill_name(n, name, true);
    return n;
}

void Dentry::free_name(Name* n) {
    size_t size = sizeof(rt::Retired) + Name::bytes(n->key & 0xffff);
    rt::deallocate(reinterpret_cast<std::byte*>(n) - sizeof(rt::Retired), size);
}

// The last reference has gone. What it holds is given back now; lock-free readers may look at its memory for an epoch.
void Dentry::release(Dentry* d) {
    while (d) {
        Dentry* parent = d->flags() & kRoot ? nullptr : d->parent();
        d->inode_->unref();
        d->retired_.free = [](rt::Retired& r) {
            auto* self = reinterpret_cast<Dentry*>(reinterpret_cast<std::byte*>(&r) - offsetof(Dentry, retired_));
            if (Name* n = self->name_.load(std::memory_order_relaxed); n->separate) free_name(n);
            rt::deallocate(self, self->allocated_);
        };
        rt::retire(d->retired_);
        // Up without recursion: the parent may be gone as well.
        d = parent && parent->refs_.fetch_sub(1, std::memory_order_acq_rel) == 1 ? parent : nullptr;
    }
}

void Dentry::hash_in() {
    std::atomic<Dentry*>& b = detail::bucket(parent(), name().key);
    rt::LockGuard g(stripe_of(b));
    hash_next_.store(b.load(std::memory_order_relaxed), std::memory_order_release);
    b.store(this, std::memory_order_release);
}

void Dentry::hash_out() {
    std::atomic<Dentry*>& b = detail::bucket(parent(), name().key);
    rt::LockGuard g(stripe_of(b));
    std::atomic<Dentry*>* link = &b;
    while (Dentry* at = link->load(std::memory_order_relaxed)) {
        if (at == this) {
            // The dentry's own link stays: a reader that is here continues along the old chain.
            link->store(hash_next_.load(std::memory_order_relaxed), std::memory_order_release);
            return;
        }
        link = &at->hash_next_;
    }
}

void Dentry::enter(Dentry& dir) {
    cookie = dir.next_cookie++;
    dir.children.push_back(*this);
    set_flag(kHashed);
    ref();
    hash_in();
}

Ref<Dentry> Dentry::leave(Dentry& dir) {
    hash_out();
    dir.children.remove(*this);
    flags_.store((flags() & ~u32{kHashed}) | kUnlinked, std::memory_order_release);
    return Ref<Dentry>::adopt(this);
}

Ref<Dentry> Dentry::move(Dentry& from, Dentry& to, Name* fresh) {
    hash_out();
    from.children.remove(*this);
    Name* old = name_.load(std::memory_order_relaxed);
    if (fresh) {
        name_.store(fresh, std::memory_order_release);
        if (old->separate) {
            auto* r = new (reinterpret_cast<std::byte*>(old) - sizeof(rt::Retired)) rt::Retired;
            r->free = [](rt::Retired& retired) {
                free_name(reinterpret_cast<Name*>(reinterpret_cast<std::byte*>(&retired) + sizeof(rt::Retired)));
            };
            rt::retire(*r);
        }
    }
    to.ref();
    parent_.store(&to, std::memory_order_release);
    cookie = to.next_cookie++;
    to.children.push_back(*this);
    hash_in();
    return Ref<Dentry>::adopt(&from);
}

bool drop_some_of_tree(Dentry* root, Dentry*& at) {
    // Leaves first; no other CPU can reach these names any more. A child holds its parent, so `at` stays valid.
    for (rt::Stretch stretch;;) {
        if (Dentry* child = at->any_child()) {
            at = child;
        } else if (at != root) {
            Dentry* parent = at->parent();
            rt::LockGuard g(parent->names_lock);
            Ref<Dentry> pin = at->leave(*parent);
            g.unlock();
            at = parent;
        } else {
            root->unref();
            return false;
        }
        if (stretch.over()) return true;
    }
}

}  // namespace fs
