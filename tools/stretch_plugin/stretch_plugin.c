// SPDX-License-Identifier: MIT
// QEMU TCG plugin (plugin API 1): measures the stretches of instructions that a kernel executes with interrupts off,
// on each virtual CPU. It needs nothing of the kernel: no counter and no branch in it.
//
// A stretch is what the kernel executes (bit 63 of the address is set) between two instructions after which interrupts
// can be taken: SYSRET and IRET (to a program, or to code that was interrupted), STI, and HLT. Blocks are counted when
// they are entered, so a block that a fault leaves early counts as a whole; each iteration of a `rep` instruction
// counts once. What comes before the first instruction of a program is the boot, and is left out.
//
// Attribution: the tool lists where the functions of the kernel's table of calls begin, so the plugin knows which of them was
// entered last; a trap that is no call is -1. Inside a stretch above the limit the address of the block is sampled every
// `every` instructions; the tool turns addresses into functions.
//
// Arguments: out=PATH, limit=N (0: only the longest is told), every=N, calls=PATH (lines of one address in hexadecimal, ascending: CALL below is the number
// of the line, from 0), trap=ADDRESS (the function that gets traps). Lines written to out, as they come:
//   stretch CASE INSTRUCTIONS CALL ADDRESS...   (CASE: how many markers of tools/count_plugin/marker.h came before) at the end of each stretch above the limit: the samples, oldest first
//   longest INSTRUCTIONS CALL              at QEMU's end
#include "tools/count_plugin/qemu_plugin.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

EXPORT int qemu_plugin_version = 1;

enum { kSamples = 12, kTrapCall = -1, kCpus = 64 };

static uint64_t limit = 100000, every = 20000;
static uint64_t trap_entry;
static uint64_t calls[2048];
static size_t call_count;
static FILE* out;

// Of one virtual CPU; each is touched by the thread that runs it.
static struct cpu {
    uint64_t stretch, next_sample, longest;
    long call, call_of_stretch, call_of_longest;
    uint64_t samples[kSamples];
    unsigned sample_count;
    bool kernel_seen;
} cpus[kCpus];
static bool booted;
static unsigned marks;

struct block {
    uint64_t address, size;
};

static void on_kernel_block(unsigned vcpu, void* data) {
    struct cpu* cpu = &cpus[vcpu];
    const struct block* block = data;
    cpu->kernel_seen = true;
    cpu->stretch += block->size;
    if (cpu->stretch < cpu->next_sample) return;
    cpu->next_sample += every;
    if (cpu->sample_count < kSamples) cpu->samples[cpu->sample_count++] = block->address;
}

static void on_interrupts(unsigned vcpu, void* data) {
    (void)data;
    struct cpu* cpu = &cpus[vcpu];
    if (booted && cpu->stretch > cpu->longest) {
        cpu->longest = cpu->stretch;
        cpu->call_of_longest = cpu->call_of_stretch;
    }
    if (booted && limit != 0 && cpu->stretch > limit) {
        fprintf(out, "stretch %u %" PRIu64 " %ld", marks, cpu->stretch, cpu->call_of_stretch);
        for (unsigned i = 0; i < cpu->sample_count; ++i) fprintf(out, " 0x%" PRIx64, cpu->samples[i]);
        fprintf(out, "\n");
        fflush(out);
    }
    cpu->stretch = 0;
    cpu->sample_count = 0;
    cpu->next_sample = every;
    cpu->call_of_stretch = cpu->call;
}

static void on_program(unsigned vcpu, void* data) {
    (void)data;
    booted |= cpus[vcpu].kernel_seen;  // each CPU's boot begins at low addresses, too, but does not come back to them
}

static void on_mark(unsigned vcpu, void* data) {
    (void)vcpu;
    (void)data;
    ++marks;
}

static void on_call(unsigned vcpu, void* data) {
    cpus[vcpu].call = cpus[vcpu].call_of_stretch = (const uint64_t*)data - calls;
}

static void on_trap(unsigned vcpu, void* data) {
    (void)data;
    cpus[vcpu].call = cpus[vcpu].call_of_stretch = kTrapCall;
}

// SYSRETQ 48 0F 07, IRETQ 48 CF, STI FB, HLT F4 (Intel SDM volume 2).
static bool lets_interrupts_in(const uint8_t* bytes, size_t size) {
    return (size == 1 && (bytes[0] == 0xfb || bytes[0] == 0xf4)) ||
           (size == 2 && bytes[0] == 0x48 && bytes[1] == 0xcf) ||
           (size == 3 && bytes[0] == 0x48 && bytes[1] == 0x0f && bytes[2] == 0x07);
}

static int by_address(const void* a, const void* b) {
    const uint64_t x = *(const uint64_t*)a, y = *(const uint64_t*)b;
    return x < y ? -1 : x > y;
}

static void read_calls(const char* path) {
    FILE* file = fopen(path, "r");
    if (!file) return;
    while (call_count < sizeof calls / sizeof *calls && fscanf(file, "%" SCNx64, &calls[call_count]) == 1) ++call_count;
    fclose(file);
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb* tb) {
    (void)id;
    size_t n = qemu_plugin_tb_n_insns(tb);
    if (n == 0) return;
    uint64_t address = qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(tb, 0));
    if (!(address >> 63)) {
        if (!booted) qemu_plugin_register_vcpu_tb_exec_cb(tb, on_program, QEMU_PLUGIN_CB_NO_REGS, NULL);
        for (size_t i = 0; i < n; ++i) {
            struct qemu_plugin_insn* insn = qemu_plugin_tb_get_insn(tb, i);
            const uint8_t* bytes = qemu_plugin_insn_data(insn);
            if (qemu_plugin_insn_size(insn) == 7 && memcmp(bytes, "\x0f\x1f\x80\x00\x00\xc2\xfa", 7) == 0)
                qemu_plugin_register_vcpu_insn_exec_cb(insn, on_mark, QEMU_PLUGIN_CB_NO_REGS, NULL);
        }
        return;
    }
    // Never freed: QEMU keeps the pointer as long as it may execute the block, and does not say when that ends.
    struct block* block = malloc(sizeof *block);
    if (!block) abort();
    *block = (struct block){address, n};
    qemu_plugin_register_vcpu_tb_exec_cb(tb, on_kernel_block, QEMU_PLUGIN_CB_NO_REGS, block);
    uint64_t* entered = bsearch(&address, calls, call_count, sizeof *calls, by_address);
    if (entered) qemu_plugin_register_vcpu_tb_exec_cb(tb, on_call, QEMU_PLUGIN_CB_NO_REGS, entered);
    for (size_t i = 0; i < n; ++i) {
        struct qemu_plugin_insn* insn = qemu_plugin_tb_get_insn(tb, i);
        uint64_t at = qemu_plugin_insn_vaddr(insn);
        if (lets_interrupts_in(qemu_plugin_insn_data(insn), qemu_plugin_insn_size(insn)))
            qemu_plugin_register_vcpu_insn_exec_cb(insn, on_interrupts, QEMU_PLUGIN_CB_NO_REGS, NULL);
        if (at == trap_entry) qemu_plugin_register_vcpu_insn_exec_cb(insn, on_trap, QEMU_PLUGIN_CB_NO_REGS, NULL);
    }
}

static void on_end(qemu_plugin_id_t id, void* data) {
    (void)id;
    (void)data;
    const struct cpu* most = cpus;
    for (const struct cpu* cpu = cpus; cpu < cpus + kCpus; ++cpu)
        if (cpu->longest > most->longest) most = cpu;
    fprintf(out, "longest %" PRIu64 " %ld\n", most->longest, most->call_of_longest);
    fclose(out);
}

static bool is(const char* argument, const char* name, uint64_t* value) {
    size_t n = strlen(name);
    if (strncmp(argument, name, n) != 0 || argument[n] != '=') return false;
    *value = strtoull(argument + n + 1, NULL, 0);
    return true;
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t* info, int argc, char** argv) {
    for (int i = 0; i < argc; ++i) {
        if (strncmp(argv[i], "out=", 4) == 0) out = fopen(argv[i] + 4, "w");
        if (strncmp(argv[i], "calls=", 6) == 0) read_calls(argv[i] + 6);
        (void)(is(argv[i], "limit", &limit) || is(argv[i], "every", &every) || is(argv[i], "trap", &trap_entry));
    }
    if (!out || !info->system_emulation || info->system.smp_vcpus > kCpus) {
        fprintf(stderr, "stretch_plugin: out=PATH is wanted, with a system emulator of at most %d CPUs\n", kCpus);
        return -1;
    }
    for (struct cpu* cpu = cpus; cpu < cpus + kCpus; ++cpu) {
        cpu->next_sample = every;
        cpu->call = cpu->call_of_stretch = cpu->call_of_longest = kTrapCall;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_atexit_cb(id, on_end, NULL);
    return 0;
}
