// SPDX-License-Identifier: MIT
// The machine that counts modelled misses: see misses.hpp. Which pages of a kernel are large or global, the plugin cannot see.
#include <cstdio>

#include "cli/bench.hpp"
#include "cli/elf_layout.hpp"
#include "cli/machine.hpp"
#include "cli/misses.hpp"

namespace cli {

namespace {

constexpr uint64_t kDirectMap = 0xffff'8000'0000'0000, kDirectMapEnd = 0xffff'c000'0000'0000, kLargePage = 2 << 20;

std::string range(uint64_t begin, uint64_t end, const char* pages) {
    char text[80];
    std::snprintf(text, sizeof text, ",range=%llx-%llx/%s", static_cast<unsigned long long>(begin),
                  static_cast<unsigned long long>(end), pages);
    return text;
}

// docs/hal.md, "Memory": the kernel's half is global; the direct map has pages of 2 MiB but for those that hold the image.
std::string farcall_ranges(const fs::path& kernel) {
    auto layout = elf_layout(read_file(kernel));
    if (!layout) fail(kernel.string() + " is damaged");
    const uint64_t image = (layout->physical_end + kLargePage - 1) / kLargePage * kLargePage;
    return range(kDirectMap + image, kDirectMapEnd, "21g") + range(kDirectMap, 0, "12g");
}

// Linux's Documentation/x86/x86_64/mm.rst, four levels, without KASLR: direct map, struct pages and the image of 2 MiB pages;
// the processor is AMD's to Linux, so it keeps the kernel's pages global (no page-table isolation).
std::string linux_ranges() {
    return range(0xffff'8880'0000'0000, 0xffff'c880'0000'0000, "21g") +
           range(0xffff'ea00'0000'0000, 0xffff'eb00'0000'0000, "21g") +
           range(0xffff'ffff'8000'0000, 0xffff'ffff'a000'0000, "21g") + range(0xffff'8000'0000'0000, 0, "12g");
}

}  // namespace

void count_misses(MachineSpec& spec, const fs::path& out, const std::string& model, bool on_linux, bool server) {
    check_model(model);
    if (!spec.accel.empty() && !spec.accel.starts_with("tcg"))
        fail("--misses needs QEMU's TCG, not --accel " + spec.accel);
    std::string arguments = ",out=" + out.string() + ",model=" + model;
    if (on_linux) {
        arguments += linux_ranges();
        spec.append += " nokaslr";
    } else {
        arguments += farcall_ranges(spec.kernel) + spin_arguments(spec.kernel);
        if (server) arguments += server_arguments();
    }
    spec.plugin = (build_dir() / "host" / "miss_plugin.so").string() + arguments;
    spec.quit_gently = true;
}

}  // namespace cli
