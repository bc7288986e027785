// SPDX-License-Identifier: MIT
#include "core/cap/object.hpp"

namespace core {

void Object::set_charge(Pool& pool, u64 bytes) {
    pool.ref();
    pool_ = &pool;
    charge_ = bytes;
}

// No reference is left, and so no capability: no other CPU looks at `caps` and `ending_hook`.
void Object::release() RT_UNCHECKED_LOCKING {
    RT_ASSERT(caps == 0 && !ending_hook.linked(), "an object is freed that capabilities name");
    if (Pool* p = std::exchange(pool_, nullptr)) {
        p->give_back(charge_);
        p->unref();
    }
    retired_.free = [](rt::Retired& r) {
        delete reinterpret_cast<Object*>(reinterpret_cast<std::byte*>(&r) - offsetof(Object, retired_));
    };
    rt::retire(retired_);
}

}  // namespace core
