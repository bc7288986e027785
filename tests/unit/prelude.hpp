// SPDX-License-Identifier: MIT
// Included before everything else in the unit tests: libstdc++'s <cxxabi.h>, which GoogleTest needs, makes `abi` an
// alias of __cxxabiv1, and that clashes with this project's namespace of the same name. The alias gets another name
// here, and the one function that GoogleTest looks up in it is added to the project's.
#pragma once
#define abi farcall_cxxabi_alias
#include <cxxabi.h>
#undef abi
namespace abi {
using ::__cxxabiv1::__cxa_demangle;
}
