// SPDX-License-Identifier: MIT
// The global operators of the bare-metal worlds: `new (std::nothrow)` and `delete` over rt::allocate. The throwing
// forms of `new` are missing on purpose, so that a forgotten nothrow is a link error, not an unchecked null pointer.
// Not part of hosted builds, which use the host's operators (watched by the sanitizers).
#include <new>

#include "rt/mem/slab.hpp"

namespace std {
const nothrow_t nothrow{};
}

void* operator new(size_t n, const std::nothrow_t&) noexcept { return rt::allocate(n); }
void* operator new[](size_t n, const std::nothrow_t&) noexcept { return rt::allocate(n); }
void* operator new(size_t n, std::align_val_t align, const std::nothrow_t&) noexcept {
    return rt::allocate_aligned(n, static_cast<size_t>(align));
}
void* operator new[](size_t n, std::align_val_t align, const std::nothrow_t&) noexcept {
    return rt::allocate_aligned(n, static_cast<size_t>(align));
}

void operator delete(void* p, size_t n) noexcept { rt::deallocate(p, n); }
void operator delete[](void* p, size_t n) noexcept { rt::deallocate(p, n); }
void operator delete(void* p, size_t n, std::align_val_t align) noexcept {
    rt::deallocate_aligned(p, n, static_cast<size_t>(align));
}
void operator delete[](void* p, size_t n, std::align_val_t align) noexcept {
    rt::deallocate_aligned(p, n, static_cast<size_t>(align));
}

// Without a size: the FrameInfo of the page tells it.
void operator delete(void* p) noexcept {
    if (p) rt::deallocate(p, rt::allocated_size(p));
}
void operator delete[](void* p) noexcept { operator delete(p); }
void operator delete(void* p, std::align_val_t) noexcept { operator delete(p); }
void operator delete[](void* p, std::align_val_t) noexcept { operator delete(p); }
void operator delete(void* p, const std::nothrow_t&) noexcept { operator delete(p); }
void operator delete[](void* p, const std::nothrow_t&) noexcept { operator delete(p); }
void operator delete(void* p, std::align_val_t, const std::nothrow_t&) noexcept { operator delete(p); }
