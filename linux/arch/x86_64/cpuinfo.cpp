// SPDX-License-Identifier: MIT
// /proc/cpuinfo: the feature names of CPUID.1:EDX, which is also the program's AT_HWCAP (SDM vol. 2A, CPUID, table 3-11).
#include "linux/procfs/procfs.hpp"

namespace linux {

void add_cpu_features(lib::StringBuilder& out) {
    static constexpr const char* kNames[32] = {
        "fpu",  "vme",  "de",   "pse", "tsc",  "msr", "pae",   "mce", "cx8",     "apic",  nullptr,
        "sep",  "mtrr", "pge",  "mca", "cmov", "pat", "pse36", "pn",  "clflush", nullptr, "dts",
        "acpi", "mmx",  "fxsr", "sse", "sse2", "ss",  "ht",    "tm",  "ia64",    "pbe",
    };
    out.put("flags\t\t:");
    u64 features = port::Port::hardware_capabilities();
    for (u32 bit = 0; bit < 32; ++bit)
        if (kNames[bit] && ((features >> bit) & 1)) out.add(" {}", kNames[bit]);
    out.put(" lm\n");  // 64-bit mode: we run in it
}

}  // namespace linux
