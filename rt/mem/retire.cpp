// SPDX-License-Identifier: MIT
#include "rt/mem/retire.hpp"

namespace rt {

void retire_frame(PhysAddr at) {
    auto* node = new (frame_info(at).owner) Retired{};
    node->free = [](Retired& r) { free_frame(FrameInfo::of_owner(&r).address()); };
    retire(*node);
}

}  // namespace rt
