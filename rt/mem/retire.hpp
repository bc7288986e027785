// SPDX-License-Identifier: MIT
// Freeing a frame that other CPUs may still translate to or walk through: one epoch later (rt/epoch.hpp).
#pragma once
#include "rt/epoch.hpp"
#include "rt/mem/pages.hpp"

namespace rt {

// The owner area of its FrameInfo is used for the link: nobody may hold data there any more. Never fails.
void retire_frame(PhysAddr at);

}  // namespace rt
