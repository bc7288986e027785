// SPDX-License-Identifier: MIT
// Mutants: one call's handler replaced by a constant answer, to see whether the guest test that the call's row names
// notices (docs/testing.md). Off unless the kernel command line asks; nothing here is on the path of a call otherwise.
#pragma once
#include <span>
#include <string_view>

#include "lib/types.hpp"

namespace linux {

// Lines "mutant NAME TEST", one for each implemented call and call of this function; empty at the end. `cursor` starts at
// 0. TEST is "-" if the row names none. A third word is the only kind of mutant that can be noticed: for a call whose one
// right answer is 0.
std::string_view next_mutant(u32& cursor, std::span<char> line);

// "CALL:zero" or "CALL:einval": every process but the first program gets 0 or EINVAL. False: no such call or kind. After
// start_from_archive, which fills the table.
bool install_mutant(std::string_view spec);

}  // namespace linux
