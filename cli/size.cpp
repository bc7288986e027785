// SPDX-License-Identifier: MIT
// `farcall size`: what of each placement of Linux runs privileged, in bytes of the images' sections. Memory that the kernel
// takes while it runs is not in it.
#include <cstdio>
#include <nlohmann/json.hpp>

#include "cli/bench.hpp"
#include "cli/commands.hpp"
#include "cli/elf_layout.hpp"

namespace cli {

namespace {

struct Image {
    const char* placement;
    fs::path file;
    bool privileged;
};

}  // namespace

int size_command(const std::string& json_file) {
    const fs::path kernels = build_dir() / "kernel";
    const Image images[] = {{"inline, remote, adaptive", kernels / "farcall.elf", true},
                            {"server", kernels / "farcall-core.elf", true},
                            {"server, in user mode", server_image(), false}};
    nlohmann::ordered_json rows = nlohmann::ordered_json::array();
    std::printf("%-26s %-18s %-10s %9s %9s %9s %9s %9s\n", "placement", "image", "mode", "text", "rodata", "data",
                "bss", "sum");
    double privileged[2] = {0, 0};
    for (const Image& image : images) {
        if (!fs::exists(image.file)) fail("size: " + image.file.string() + " has not been built");
        auto layout = elf_layout(read_file(image.file));
        if (!layout || layout->bytes() == 0) fail("size: " + image.file.string() + " is no ELF file with sections");
        const std::string name = image.file.filename().string();
        const char* mode = image.privileged ? "privileged" : "user";
        std::printf("%-26s %-18s %-10s %9llu %9llu %9llu %9llu %9llu\n", image.placement, name.c_str(), mode,
                    static_cast<unsigned long long>(layout->text), static_cast<unsigned long long>(layout->rodata),
                    static_cast<unsigned long long>(layout->data), static_cast<unsigned long long>(layout->bss),
                    static_cast<unsigned long long>(layout->bytes()));
        rows.push_back({{"placement", image.placement},
                        {"image", name},
                        {"privileged", image.privileged},
                        {"text", layout->text},
                        {"rodata", layout->rodata},
                        {"data", layout->data},
                        {"bss", layout->bss},
                        {"sum", layout->bytes()}});
        if (image.privileged) privileged[std::string_view(image.placement) == "server"] = double(layout->bytes());
    }
    std::printf("privileged with a server over without: %.2f\n", privileged[1] / privileged[0]);
    if (!json_file.empty()) {
        nlohmann::ordered_json json{{"kind", "size"}, {"rows", rows}, {"unit", "bytes"}, {"commit", bench_commit()}};
        write_file(json_file, json.dump(1) + "\n");
    }
    return 0;
}

}  // namespace cli
