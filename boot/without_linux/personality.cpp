// SPDX-License-Identifier: MIT
#include "boot/kernel/personality.hpp"

#include "boot/kernel/give_up.hpp"

namespace boot::personality {

void add() {}

void configure(const CommandLine&) {
    give_up("Linux is not in this kernel: it runs route=server and programs of the native interface", Errno::kInval);
}

Task<void> start(const hal::BootInfo&, std::span<const std::byte>) { co_return; }  // configure has given up

}  // namespace boot::personality
