// SPDX-License-Identifier: MIT
#include "linux/exec/vdso.hpp"

#include <cstring>

#include "abi/vdso.hpp"
#include "port/bind.hpp"
#include "rt/mem/slab.hpp"

namespace linux {

constinit Vdso vdso{};

Leaf<void> make_vdso() {
    using abi::vdso::kCodePages;
    std::span<const std::byte> image = port::Port::vdso();
    if (image.empty()) return lib::kOk;
    if (image.size() > kCodePages * kPageSize) return Errno::k2Big;
    Ref<fs::Mapping> data = TRY(rt::make_ref<fs::Mapping>()), code = TRY(rt::make_ref<fs::Mapping>());
    data->size.store(kPageSize, std::memory_order_relaxed);
    code->size.store(kCodePages * kPageSize, std::memory_order_relaxed);
    // The mappings keep their pages, because they are never truncated.
    for (u64 n = 0; n < kCodePages; ++n) {
        Ref<fs::Page> p = TRY(code->get(n));
        size_t from = n * kPageSize, left = image.size() > from ? image.size() - from : 0;
        std::memcpy(p->bytes(), image.data() + from, left < kPageSize ? left : kPageSize);
    }
    Ref<fs::Page> page = TRY(data->get(0));
    port::Port::keep_vdso_data(page->bytes());
    vdso = {data.release(), code.release()};
    return lib::kOk;
}

}  // namespace linux
