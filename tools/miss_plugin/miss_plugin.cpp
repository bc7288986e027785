// SPDX-License-Identifier: MIT
// QEMU TCG plugin (plugin API 1): counts what the caches and TLBs of a modelled machine miss (tools/cache_model), per virtual
// CPU and kind of code, between markers that the guest sets (tools/count_plugin/marker.h).
//
// Instructions are fed in segments: those of one translation block that lie in one line. A segment that a fault leaves early
// counts as a whole; so the counts of instructions are a little above those of the counting plugin. Each iteration of a `rep`
// instruction counts once. An instruction's kind is that of its address, as in the counting plugin; a datum's that of the
// instruction.
//
// A plugin sees no registers, so a change of address space is known by its opcode: MOV to CR3, CR0 or CR4, INVLPG, INVPCID.
// Which kernel pages are global or large is told by `range`. Page walks are not seen, and cost nothing.
//
// Arguments: out=PATH, model=PRESET, NAME=VALUE of tools/cache_model/shape.hpp, spin_begin, spin_end, server_begin,
// server_end=ADDRESS, range=BEGIN-END/LOG2[g] (hexadecimal but for the size; g: global; as often as wanted, the first that
// fits holds). Lines written to out, one for each CPU and kind of code, the values those of cache_model::Field:
//   boot CPU KIND VALUE...        until the first instruction of a program
//   count ROW CPU KIND VALUE...   at each stop marker: since the row's start marker
//   total CPU KIND VALUE...       at QEMU's end: since the machine's start
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_set>

#include "tools/cache_model/cpu.hpp"
#include "tools/count_plugin/qemu_plugin.h"

extern "C" {
EXPORT int qemu_plugin_version = 1;
EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t* info, int argc, char** argv);
}

namespace {

using namespace cache_model;

constexpr unsigned kMaxCpus = 64;
constexpr uint64_t kFirstProgramAddress = 1 << 20;  // below it CPUs start

struct Segment {
    uint64_t address, host;
    uint32_t instructions;
    bool next_too;
    Code kind;
    bool operator==(const Segment&) const = default;
};
struct SegmentHash {
    size_t operator()(const Segment& s) const {
        return (s.address * 0x9e3779b97f4a7c15u ^ s.host) + s.instructions * 131 + s.kind;
    }
};
using Values = std::array<std::array<std::array<uint64_t, kFields>, kCodes>, kMaxCpus>;

struct Plugin {
    MachineShape shape;
    std::unique_ptr<LineStates> states;
    std::unique_ptr<SharedCache> last;
    std::unique_ptr<Cpu> cpus[kMaxCpus];
    unsigned cpu_count = 1;
    uint64_t spin_begin = 0, spin_end = 0, server_begin = 0, server_end = 0;
    std::vector<PageRange> ranges;
    FILE* out = nullptr;

    // The lock is held for what follows.
    std::mutex lock;
    // QEMU keeps pointers to segments and does not say for how long: each is kept once, for ever.
    std::unordered_set<Segment, SegmentHash> segments;
    std::map<unsigned, std::unique_ptr<Values>> started;
    bool kernel_seen = false, booted = false;

    Code kind_of(uint64_t address) const {
        if (address >> 63 != 0) return address >= spin_begin && address < spin_end ? kSpin : kKernel;
        return address >= server_begin && address < server_end ? kServer : kUser;
    }
    std::unique_ptr<Values> read() const {
        auto values = std::make_unique<Values>();
        for (unsigned cpu = 0; cpu < cpu_count; ++cpu)
            for (unsigned kind = 0; kind < kCodes; ++kind)
                for (unsigned field = 0; field < kFields; ++field)
                    (*values)[cpu][kind][field] = cpus[cpu]->counters()[kind][field].get();
        return values;
    }
    void write(const std::string& name, const Values& now, const Values* start) const {
        for (unsigned cpu = 0; cpu < cpu_count; ++cpu) {
            for (unsigned kind = 0; kind < kCodes; ++kind) {
                std::fprintf(out, "%s %u %s", name.c_str(), cpu, kCodeNames[kind]);
                for (unsigned field = 0; field < kFields; ++field)
                    std::fprintf(out, " %" PRIu64, now[cpu][kind][field] - (start ? (*start)[cpu][kind][field] : 0));
                std::fputc('\n', out);
            }
        }
        std::fflush(out);
    }
};
Plugin* plugin;

void on_segment(unsigned vcpu, void* data) {
    const auto* s = static_cast<const Segment*>(data);
    plugin->cpus[vcpu]->code(s->address, s->host, s->instructions, s->next_too, s->kind);
}

// What an access is, by QEMU's word for it: there are few of them, and asking QEMU takes longer than the rest of a hit.
struct Access {
    qemu_plugin_meminfo_t info = ~0u;
    uint32_t size = 0;
    bool store = false;
};
constexpr unsigned kAccesses = 64;
thread_local Access accesses[kAccesses];

const Access& access_of(qemu_plugin_meminfo_t info) {
    Access& known = accesses[(info ^ info >> 4 ^ info >> 16) % kAccesses];
    if (known.info != info) [[unlikely]]
        known = {info, 1u << qemu_plugin_mem_size_shift(info), qemu_plugin_mem_is_store(info)};
    return known;
}

void on_memory(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t address, void* data) {
    const Access& access = access_of(info);
    plugin->cpus[vcpu]->data(address, access.size, access.store, static_cast<Code>(reinterpret_cast<uintptr_t>(data)),
                             [info](uint64_t at) {
                                 const qemu_plugin_hwaddr* where = qemu_plugin_get_hwaddr(info, at);
                                 if (!where) return kNoFrame;
                                 return qemu_plugin_hwaddr_is_io(where) ? kDevice : qemu_plugin_hwaddr_phys_addr(where);
                             });
}

enum class Flush : uintptr_t { kNone, kSpace, kAll, kPage };

void on_flush(unsigned vcpu, void* data) {
    Cpu& cpu = *plugin->cpus[vcpu];
    switch (static_cast<Flush>(reinterpret_cast<uintptr_t>(data))) {
        case Flush::kSpace: cpu.flush_space(kKernel); break;
        case Flush::kAll: cpu.flush_all(kKernel); break;
        case Flush::kPage: cpu.flush_page(kKernel); break;
        case Flush::kNone: break;
    }
}

// MOV to CR: 0F 22 /r. INVLPG: 0F 01 /7 with a memory operand. INVPCID: 66 0F 38 82 /r (Intel SDM volume 2).
Flush flush_of(const uint8_t* bytes, size_t size) {
    size_t at = 0;
    uint8_t rex = 0;
    for (; at < size; ++at) {
        if ((bytes[at] & 0xf0) == 0x40) {
            rex = bytes[at];
        } else if (bytes[at] != 0x66 && bytes[at] != 0xf0 && bytes[at] != 0xf2 && bytes[at] != 0xf3) {
            break;
        }
    }
    if (at + 2 >= size || bytes[at] != 0x0f) return Flush::kNone;
    const uint8_t operand = bytes[at + 2];
    const unsigned reg = operand >> 3 & 7;
    if (bytes[at + 1] == 0x22 && (rex & 4) == 0)
        return reg == 3 ? Flush::kSpace : reg == 0 || reg == 4 ? Flush::kAll : Flush::kNone;
    if (bytes[at + 1] == 0x01 && reg == 7 && operand >> 6 != 3) return Flush::kPage;
    if (bytes[at + 1] == 0x38 && operand == 0x82) return Flush::kSpace;
    return Flush::kNone;
}

void on_marker(unsigned, void* data) {
    const auto message = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(data));
    const unsigned kind = message >> 16 & 15, row = message & 0xffff;
    std::lock_guard hold(plugin->lock);
    auto now = plugin->read();
    if (kind == 0) {
        plugin->started[row] = std::move(now);
    } else if (kind == 1) {
        plugin->write("count " + std::to_string(row), *now, plugin->started[row].get());
    }
}

bool is_marker(const uint8_t* bytes, size_t size, uint32_t& message) {
    if (size != 7 || bytes[0] != 0x0f || bytes[1] != 0x1f || bytes[2] != 0x80) return false;
    std::memcpy(&message, bytes + 3, sizeof message);
    return message >> 20 == 0xfac;
}

// The first block of a program is translated just before it is executed.
void notice_boot(uint64_t address) {
    if (address >> 63 != 0) {
        plugin->kernel_seen = true;
    } else if (!plugin->booted && plugin->kernel_seen && address >= kFirstProgramAddress &&
               plugin->kind_of(address) == kUser) {
        plugin->booted = true;
        plugin->write("boot", *plugin->read(), nullptr);
    }
}

void on_translation(qemu_plugin_id_t, qemu_plugin_tb* tb) {
    const size_t count = qemu_plugin_tb_n_insns(tb);
    if (count == 0) return;
    const uint64_t line = plugin->shape.line;
    std::lock_guard hold(plugin->lock);
    notice_boot(qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(tb, 0)));
    qemu_plugin_insn* first = nullptr;  // of the segment
    Segment segment{};
    auto end_segment = [&] {
        if (!first) return;
        const Segment& kept = *plugin->segments.insert(segment).first;
        qemu_plugin_register_vcpu_insn_exec_cb(first, on_segment, QEMU_PLUGIN_CB_NO_REGS, const_cast<Segment*>(&kept));
    };
    for (size_t i = 0; i < count; ++i) {
        qemu_plugin_insn* insn = qemu_plugin_tb_get_insn(tb, i);
        const uint64_t address = qemu_plugin_insn_vaddr(insn);
        const size_t size = qemu_plugin_insn_size(insn);
        const auto* bytes = static_cast<const uint8_t*>(qemu_plugin_insn_data(insn));
        const Code kind = plugin->kind_of(address);
        if (!first || address / line != segment.address / line || kind != segment.kind) {
            end_segment();
            first = insn;
            auto host = reinterpret_cast<uint64_t>(qemu_plugin_insn_haddr(insn));
            segment = {
                .address = address, .host = host ? host : address, .instructions = 0, .next_too = false, .kind = kind};
        }
        ++segment.instructions;
        // Beyond the page's end the next line is elsewhere.
        const uint64_t last = address + size - 1;
        segment.next_too = address / line != last / line && address >> 12 == last >> 12;

        qemu_plugin_register_vcpu_mem_cb(insn, on_memory, QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_RW,
                                         reinterpret_cast<void*>(static_cast<uintptr_t>(kind)));
        if (const Flush flush = flush_of(bytes, size); flush != Flush::kNone)
            qemu_plugin_register_vcpu_insn_exec_cb(insn, on_flush, QEMU_PLUGIN_CB_NO_REGS,
                                                   reinterpret_cast<void*>(static_cast<uintptr_t>(flush)));
        uint32_t message;
        if (kind == kUser && is_marker(bytes, size, message))
            qemu_plugin_register_vcpu_insn_exec_cb(insn, on_marker, QEMU_PLUGIN_CB_NO_REGS,
                                                   reinterpret_cast<void*>(static_cast<uintptr_t>(message)));
    }
    end_segment();
}

void on_end(qemu_plugin_id_t, void*) {
    std::lock_guard hold(plugin->lock);
    plugin->write("total", *plugin->read(), nullptr);
    std::fclose(plugin->out);
}

// "BEGIN-END/LOG2[g]"
bool read_range(const char* text, PageRange& range) {
    unsigned long long begin, end;
    char global = 0;
    const int got = std::sscanf(text, "%llx-%llx/%u%c", &begin, &end, &range.shift, &global);
    range.begin = begin;
    range.end = end;
    range.global = global == 'g';
    return got >= 3 && (got == 3 || range.global) && range.shift >= 12 && range.shift <= 30;
}

// Empty, or what is wrong.
std::string read_argument(std::string_view word) {
    const size_t equals = word.find('=');
    const std::string name(word.substr(0, equals)), value(equals == word.npos ? "" : word.substr(equals + 1));
    const std::pair<const char*, uint64_t*> addresses[] = {{"spin_begin", &plugin->spin_begin},
                                                           {"spin_end", &plugin->spin_end},
                                                           {"server_begin", &plugin->server_begin},
                                                           {"server_end", &plugin->server_end}};
    for (const auto& [known, address] : addresses) {
        if (name == known) return *address = std::strtoull(value.c_str(), nullptr, 16), "";
    }
    if (name == "out") return plugin->out = std::fopen(value.c_str(), "w"), "";
    if (name == "model") return read_word(plugin->shape, value);
    if (name == "range") {
        PageRange range;
        if (!read_range(value.c_str(), range)) return "range=BEGIN-END/LOG2[g] is wanted, not " + value;
        plugin->ranges.push_back(range);
        return "";
    }
    return read_word(plugin->shape, word);
}

}  // namespace

int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t* info, int argc, char** argv) {
    plugin = new Plugin;
    std::string wrong = read_model(plugin->shape, kDefaultModel);
    for (int i = 0; i < argc && wrong.empty(); ++i) wrong = read_argument(argv[i]);
    if (wrong.empty()) wrong = check_shape(plugin->shape);
    if (wrong.empty() && (!plugin->out || !info->system_emulation || info->system.smp_vcpus > int{kMaxCpus}))
        wrong = "out=PATH is wanted, with a system emulator of at most 64 CPUs";
    if (!wrong.empty()) {
        std::fprintf(stderr, "miss_plugin: %s\n", wrong.c_str());
        return -1;
    }
    plugin->cpu_count = static_cast<unsigned>(info->system.smp_vcpus);
    plugin->states = std::make_unique<LineStates>();
    plugin->last = std::make_unique<SharedCache>(plugin->shape);
    for (unsigned n = 0; n < plugin->cpu_count; ++n)
        plugin->cpus[n] = std::make_unique<Cpu>(plugin->shape, n, plugin->cpu_count == 1, plugin->ranges,
                                                *plugin->states, *plugin->last);
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_atexit_cb(id, on_end, nullptr);
    return 0;
}
