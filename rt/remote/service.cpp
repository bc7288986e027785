// SPDX-License-Identifier: MIT
#include "rt/remote/service.hpp"

#include "rt/executor.hpp"

namespace rt {
namespace {
void serve_nobody(Executor&, CallWord&) { RT_ASSERT(false, "a word, and nobody to execute it"); }
}  // namespace

// A CPU that polls and serves nobody finds no word.
constinit CallService::How CallService::how_{nullptr, &Executor::serve_words<&serve_nobody>, nullptr};

}  // namespace rt
