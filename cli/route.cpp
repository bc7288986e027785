// SPDX-License-Identifier: MIT
// Routes and capacities: see route.hpp. The kernel checks them again (port/kernel/route.cpp); the message here is
// clearer.
#include "cli/route.hpp"

#include <sched.h>

#include <algorithm>
#include <array>
#include <set>
#include <vector>

#include "cli/util.hpp"

namespace cli {

namespace {

// Empty pieces are kept: they are mistakes.
std::vector<std::string> split(const std::string& text, char at) {
    std::vector<std::string> pieces{""};
    for (char c : text) {
        if (c == at)
            pieces.emplace_back();
        else
            pieces.back() += c;
    }
    return pieces;
}

bool digits(const std::string& text) {
    return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// `what` is the option and its value. The kernel takes numbers of 6 digits.
void check_cpu(const std::string& cpu, int cpus, const std::string& what) {
    if (cpu.size() > 6 || std::stoi(cpu) >= cpus)
        fail(what + ": there is no CPU " + cpu + " (--cpus " + std::to_string(cpus) + ")");
}

}  // namespace

void check_route(const std::string& route, int cpus) {
    constexpr std::array kModules = {"task", "mm", "fs", "net", "sync", "time", "*"};
    if ((route == "remote" || route == "adaptive") && cpus < 2)
        fail("--route " + route + " needs at least two CPUs (--cpus 2)");
    if (route == "inline" || route == "remote" || route == "server" || route == "adaptive") return;
    const std::string what = "--route " + route;
    for (const std::string& pair : split(route, ',')) {
        size_t colon = pair.find(':');
        if (colon == std::string::npos)
            fail("not a route: '" + route + "' (inline, remote, server, adaptive, or MODULE:CPU[+CPU],...,*:inline)");
        std::string module = pair.substr(0, colon), place = pair.substr(colon + 1);
        if (std::find(kModules.begin(), kModules.end(), module) == kModules.end())
            fail(what + ": there is no module '" + module + "' (task, mm, fs, net, sync, time, *)");
        if (place == "inline") continue;
        if (place == "server")
            fail(what +
                 ": a task's state lives in one placement, so the server executes all calls (--route server) or none");
        for (const std::string& cpu : split(place, '+')) {
            if (!digits(cpu)) fail(what + ": '" + place + "' is not a place (inline, CPU, or CPU+CPU...)");
            check_cpu(cpu, cpus, what);
        }
    }
}

void check_capacity(const std::string& capacity, int cpus) {
    const std::string what = "--capacity " + capacity;
    std::set<int> named;
    for (const std::string& pair : split(capacity, ',')) {
        size_t colon = pair.find(':');
        std::string cpu = pair.substr(0, colon), fraction = colon == std::string::npos ? "" : pair.substr(colon + 1);
        if (colon == std::string::npos || !digits(cpu))
            fail(what + ": '" + pair + "' is not CPU:FRACTION, such as 1:0.25");
        check_cpu(cpu, cpus, what);
        if (!named.insert(std::stoi(cpu)).second) fail(what + ": CPU " + cpu + " is named twice");
        // The kernel has no floating point: it reads the digits, as thousandths.
        const std::string part = fraction.starts_with("0.") ? fraction.substr(2) : "";
        bool above_zero = digits(part) && part.find_first_not_of('0') != std::string::npos;
        if (fraction != "1" && (!above_zero || part.size() > 3))
            fail(what + ": '" + fraction +
                 "' is not 1 or a fraction such as 0.25, of at most three digits and above 0");
    }
}

int host_cpus() {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (::sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    return std::max(CPU_COUNT(&set), 1);
}

}  // namespace cli
