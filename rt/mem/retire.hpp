// SPDX-License-Identifier: MIT
// Frees a frame to which other CPUs may still translate, or through which they may walk, after a grace period
// (rt/epoch.hpp).
#pragma once
#include "rt/epoch.hpp"
#include "rt/mem/pages.hpp"

namespace rt {

// Never fails. The owner area of the frame's FrameInfo holds the link: it may hold no other data any more.
void retire_frame(PhysAddr at);

}  // namespace rt
