// SPDX-License-Identifier: MIT
// Identities of the personality's threads (credentials(7), capabilities(7)).
#pragma once
#include "linux/task/process.hpp"

namespace linux {

Result<Ref<fs::Creds>> copy_creds(const fs::Creds& from);
// May the caller signal that process, or one thread of it (kill(2))? EPERM.
Result<void> may_signal(Caller& c, Process& to, u32 sig);
Result<void> may_signal(Caller& c, Thread& to, u32 sig);
// A process, or one of its threads, as it is at one moment: it may execute another program right after. Who may look at
// it is decided about what will be looked at.
struct ProcessView {
    const Process* process;
    Ref<const fs::Creds> creds;
    Ref<AddressSpace> mm;     // the thread's; once that has none, another's of the process; null: none has
    bool has_memory = false;  // it is the thread's
    // Only if they were asked for. The thread's, or of a process the first that there is; null: none.
    Ref<fs::FileTable> files;
    Ref<FsContext> context;
    Ref<ProgramFile> program;
    bool dumpable() const { return mm && mm->dumpable.load(std::memory_order_relaxed); }
};
// `t`: the thread whose identity counts; null: the leader's. What is not going to be looked at is not held, as whoever
// may stat a file of /proc holds a view.
enum class ViewOf : u8 { kMemory, kDescriptors };  // also the tables of files and the working directory
ProcessView view_of(Process& p, Thread* t, ViewOf what = ViewOf::kMemory);
// May the caller look into a process: memory, files, directories (ptrace(2), "Ptrace access mode checking")? A null caller
// may not. The caller's file-system ids count for files (PTRACE_MODE_READ_FSCREDS), its real ids for other calls
// (PTRACE_MODE_READ_REALCREDS).
enum class AskedBy : u8 { kFile, kCall };
bool may_inspect(Caller* c, const ProcessView& of, AskedBy by = AskedBy::kFile);
void set_comm(Thread& t, std::string_view name);

}  // namespace linux
