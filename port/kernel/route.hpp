// SPDX-License-Identifier: MIT
// Routes: where each module's calls are executed. Set at boot from the command line's `route=`, changed by
// /proc/farcall/modules while programs run.
//
//   inline                  every call on the core that trapped
//   remote                  every call on the last CPU, which then runs no user threads
//   fs:1,task:2+3,*:inline  per module; a CPU named here still runs user threads
//   adaptive                inline or remote per class of call, by measurement (controller.hpp)
#pragma once
#include "port/api/modules.hpp"
#include "port/api/types.hpp"
#include "port/bind.hpp"
#include "rt/remote/module.hpp"

namespace port::route {

inline constexpr u32 kPlaced = kModules - 1;  // all but kHome
extern rt::Module modules[kPlaced];

// kInval: malformed, an unknown module, a CPU that is not there, `remote` with one CPU. Nothing has changed then.
// Call after all CPUs have started and before the first thread.
Result<void> configure(std::string_view spec);
// Takes the first item off a list `name:value,name:value`. False: it is no such item.
bool next_pair(std::string_view& list, std::string_view& name, std::string_view& value);
// /proc/farcall/modules: see port/api/modules.hpp.
Result<void> command(std::string_view line);
// Moves a module, if it is still where the caller has seen it.
void move_if_at(rt::Module& m, u32 place, CpuSet to);
void report(lib::StringBuilder& out);
// The same as one line: `"modules": [...], "cpus": [...]`, members of a JSON object.
void report_json(lib::StringBuilder& out);

// The call word with which the call of a number is handed over (rt/remote/lane.hpp): its module, and as server a CPU or
// one of these, which are no CPU's. Kept up to date with the modules' places.
inline constexpr u8 kHere = 0xff, kSpread = 0xfe;
extern std::atomic<u64> word_of_call[512];
extern const u8* module_of_call;  // for the table above: of the personality
inline u8 server_in(u64 word) { return u8(word >> 8); }
inline Module module_in(u64 word) { return Module(u8(word)); }
void places_changed();

// Null: inline. The key is the caller's space.
inline rt::Executor* executor_of(Module m, const void* key) {
    return m == Module::kHome ? nullptr : modules[u32(m)].executor_for(key);
}
// Is any module elsewhere than inline?
bool any_remote();
u64 remote_calls();  // so far, all modules

// What port/kernel/user_thread.cpp supplies: executes one call on the module's CPU.
void serve_request(rt::Request& r, rt::Shard& shard);
void serve_traced(rt::Request& r, rt::Shard& shard);  // the same, with records in the trace buffer
Personality<UserThread>& personality_in_use();
// Loads of a call word before its caller gives up the CPU: while others are ready there, and while none is.
inline constexpr u32 kSpinWithOthers = 2'000, kSpinAlone = 20'000;
// Giving it up takes about as long as this, to a thread of the same address space and of another (bench/switch.c, under
// emulation): calls that take longer are not waited for while others are ready.
inline constexpr u32 kSwitchNs = 2'000, kSwitchSpaceNs = 7'500;

}  // namespace port::route
