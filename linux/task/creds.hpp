// SPDX-License-Identifier: MIT
// Identities of the personality's threads (credentials(7), capabilities(7)).
#pragma once
#include "linux/task/process.hpp"

namespace linux {

Result<Ref<fs::Creds>> copy_creds(const fs::Creds& from);
// May the caller signal that process, or one thread of it (kill(2))? EPERM.
Result<void> may_signal(Caller& c, Process& to, u32 sig);
Result<void> may_signal(Caller& c, Thread& to, u32 sig);
// May the caller look into a process: memory, files, directories (ptrace(2), "Ptrace access mode checking")? `t`: the thread
// whose identity counts; null: the leader's. A null caller may not. The caller's file-system ids count for files
// (PTRACE_MODE_READ_FSCREDS), its real ids for other calls (PTRACE_MODE_READ_REALCREDS).
enum class AskedBy : u8 { kFile, kCall };
bool may_inspect(Caller* c, Process& p, Thread* t, AskedBy by = AskedBy::kFile);
void set_comm(Thread& t, std::string_view name);

}  // namespace linux
