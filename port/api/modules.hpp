// SPDX-License-Identifier: MIT
// What a program may see and change of where its calls are executed: /proc/farcall/modules.
#pragma once
#include "lib/format.hpp"
#include "port/api/types.hpp"
#include "rt/reclaim.hpp"

namespace port {

struct ModuleControl {
    // A header, a line for each module, then `total_remote N` and a line for each CPU.
    void (*report)(lib::StringBuilder& out);
    // One line: `fs 1`, `fs 2+3`, `fs inline`, `fs policy cohort`, `fs batch 8`, `spin 200`. kInval: nothing has
    // changed.
    Result<void> (*command)(std::string_view line);
};
// Null: this port has one place for all calls.
extern const ModuleControl* const module_control;

// By module: destroys the rest of an object that is not reachable any more, where and when the port chooses.
extern rt::Reclaimer reclaimers[kModules];
inline rt::Reclaimer& reclaimer(Module m) { return reclaimers[u32(m)]; }

}  // namespace port
