// SPDX-License-Identifier: MIT
// Identities of the personality's threads (credentials(7), capabilities(7)).
#pragma once
#include "linux/process.hpp"

namespace linux {

inline constexpr u64 kAllCapabilities = (u64{1} << 41) - 1;  // CAP_CHOWN to CAP_CHECKPOINT_RESTORE

Result<Ref<fs::Creds>> copy_creds(const fs::Creds& from);
// May the caller signal, or otherwise act on, that process (kill(2))? EPERM.
Result<void> may_signal(Caller& c, Process& to, u32 sig);
void set_comm(Thread& t, std::string_view name);

}  // namespace linux
