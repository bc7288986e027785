// SPDX-License-Identifier: MIT
#include "rt/remote/service.hpp"

#include "rt/executor.hpp"

namespace rt {
namespace {
void serve_nobody(Executor&, CallWord&) { RT_ASSERT(false, "a pending call without a handler"); }
}  // namespace

// A CPU that polls but serves no calls never finds a word.
constinit CallService::How CallService::how_{nullptr, &Executor::serve_words<&serve_nobody>, nullptr};

}  // namespace rt
