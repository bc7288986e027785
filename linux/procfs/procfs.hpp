// SPDX-License-Identifier: MIT
// /proc (proc(5)): the tables are in procfs.cpp (the system) and procfs_process.cpp (processes); formats are those of
// Linux 6.1, which programs parse.
#pragma once
#include "abi/linux/time.hpp"
#include "fs/procfs.hpp"
#include "linux/task/process.hpp"

namespace linux {

// A mountable instance; also what mount(2) makes for the type "proc".
Result<fs::NewFileSystem> make_procfs();

// What the boot loader said, for /proc/cmdline. The text must stay.
void set_command_line(std::string_view text);

// The caller as an inode operation gets it (fs::LookupContext::caller).
inline Caller* proc_caller(const void* caller) { return const_cast<Caller*>(static_cast<const Caller*>(caller)); }

// procfs_process.cpp
extern const fs::ProcNode proc_process_node;  // /proc/PID
u64 next_process_number(const fs::ProcContext& c, u64 from);
u64 process_identity(const fs::ProcContext& c);
Ref<Process> proc_process(const fs::ProcContext& c);  // null: it has gone

// Puts a name that a program has given, with its `special` characters as octal escapes, so that it makes no fields or
// lines of its own (seq_file(9): mangle_path).
void add_escaped(lib::StringBuilder& out, std::string_view text, std::string_view special);

// procfs_memory.cpp
Leaf<u64> open_memory(const fs::ProcContext& c);  // EACCES: may_inspect()
Leaf<void> show_maps(lib::StringBuilder& out, const fs::ProcContext& c, u64& position);
Leaf<void> show_statm(lib::StringBuilder& out, const fs::ProcContext& c);
Leaf<void> show_command_line(lib::StringBuilder& out, const fs::ProcContext& c, u64& position);
// The vector of auxiliary values that the program was given (getauxval(3)), up to its end.
Leaf<void> show_auxiliary(lib::StringBuilder& out, const fs::ProcContext& c);
Leaf<void> show_oom_score(lib::StringBuilder& out, const fs::ProcContext& c);
Leaf<void> show_oom_adjustment(lib::StringBuilder& out, const fs::ProcContext& c);
Leaf<void> show_old_oom_adjustment(lib::StringBuilder& out, const fs::ProcContext& c);
// The longest text that the two below take (PROC_NUMBUF of Linux, without the end). EINVAL, ERANGE, ESRCH, EACCES.
inline constexpr u32 kMostNumber = 12;
Leaf<void> write_oom_adjustment(std::string_view text, const fs::ProcContext& c);
Leaf<void> write_old_oom_adjustment(std::string_view text, const fs::ProcContext& c);
Leaf<void> show_environment(lib::StringBuilder& out, const fs::ProcContext& c, u64& position);

// procfs_mounts.cpp
Leaf<void> show_mounts(lib::StringBuilder& out, const fs::ProcContext& c, u64& position);
Leaf<void> show_mount_info(lib::StringBuilder& out, const fs::ProcContext& c, u64& position);

// procfs_system.cpp: what the files of the root show
// Memory as reported to programs: frames that no program can access any more count as free, wherever they still wait.
rt::MemStats memory_as_seen();
// procfs_disks.cpp
Leaf<void> show_devices(lib::StringBuilder& out, const fs::ProcContext&);
Leaf<void> show_partitions(lib::StringBuilder& out, const fs::ProcContext&);
Leaf<void> show_disk_stats(lib::StringBuilder& out, const fs::ProcContext&);

Leaf<void> show_meminfo(lib::StringBuilder& out, const fs::ProcContext& c, u64& position);
Leaf<void> show_stat(lib::StringBuilder& out, const fs::ProcContext& c, u64& position);
Leaf<void> show_uptime(lib::StringBuilder& out, const fs::ProcContext& c, u64& position);
Leaf<void> show_load(lib::StringBuilder& out, const fs::ProcContext& c, u64& position);
Leaf<void> show_cpus(lib::StringBuilder& out, const fs::ProcContext&);
Leaf<void> show_version(lib::StringBuilder& out, const fs::ProcContext&);
Leaf<void> show_file_systems(lib::StringBuilder& out, const fs::ProcContext&);

// linux/arch: the lines of /proc/cpuinfo that only this machine has.
void add_cpu_features(lib::StringBuilder& out);

constexpr u64 to_ticks(u64 nanoseconds) { return nanoseconds / (1'000'000'000 / kTicksPerSecond); }

}  // namespace linux
