// SPDX-License-Identifier: MIT
// What a CPU has to do, and what the jobs wait for, as text for panics and dumps. Takes no lock and allocates nothing: what
// changes meanwhile may be told wrongly.
#pragma once
#include <string_view>

#include "hal/api/types.hpp"

namespace rt::dump {

// Gets the text piece by piece; a line may come in several.
using Out = void (*)(std::string_view piece);

void print_cpu(CpuId cpu, Out out);
// Each job with its await chain.
void print_jobs(Out out);

}  // namespace rt::dump
