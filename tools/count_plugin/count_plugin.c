// SPDX-License-Identifier: MIT
// QEMU TCG plugin (plugin API 1): counts guest instructions per virtual CPU, user and kernel apart, between markers
// that the guest sets (marker.h). An instruction is the kernel's when bit 63 of its address is set, which holds for
// every x86_64 kernel after its first steps. Every executed instruction is counted by itself, so a block that is left
// early by a fault is counted as far as it came; a faulting instruction counts again when it is repeated, and so does
// each iteration of a `rep` one. bench/count_check.c compares with the TSC under -icount: the two agree to the
// instruction but for that.
//
// Kernel instructions between the addresses spin_begin (inclusive) and spin_end (exclusive) are counted apart: there a CPU
// spins because it has nothing to do, and how often depends on the host. So are user instructions between server_begin and
// server_end: they are the user-level server's, which is linked where no program of its clients is. CALLS is the number of
// `syscall` instructions of the other user code.
//
// With profile=PATH the instructions of kernel and server inside intervals are also counted one by one; "ADDRESS COUNT" lines at
// QEMU's end.
//
// Arguments: out=PATH, profile=PATH, spin_begin, spin_end, server_begin, server_end=ADDRESS. Lines written to out:
//   count ROW CPU USER KERNEL SPIN SERVER CALLS   at each stop marker, one line per CPU: since the row's start marker
//   note ROW CPU USER KERNEL SPIN SERVER CALLS    at each note marker: since the machine's start
//   total CPU USER KERNEL SPIN SERVER CALLS       at QEMU's end
#include "tools/count_plugin/qemu_plugin.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

EXPORT int qemu_plugin_version = 1;

enum {
    kMaxCpus = 64,
    kMaxRows = 4096,
    kUser = 0,
    kKernel = 1,
    kSpin = 2,
    kServer = 3,
    kCalls = 4,
    kModes = 5,
    kLine = 128
};

// One cache line per CPU: with several CPUs each writes its own.
static struct {
    uint64_t count[kModes];
} __attribute__((aligned(kLine))) cpus[kMaxCpus];
static uint64_t started[kMaxRows][kMaxCpus][kModes];
static uint64_t spin_begin, spin_end, server_begin, server_end;
static int cpu_count = 1;
static FILE* out;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

// One counter for each instruction; QEMU adds to `count` directly, so a slot never moves.
struct slot {
    uint64_t address, count, at_start, inside;
};
enum { kSlotBits = 20, kSlotCount = 1 << kSlotBits };
static struct slot* slots;  // open addressing; address 0 is free
static FILE* profile;

static struct slot* slot_of(uint64_t address) {
    uint64_t hash = address * 0x9e3779b97f4a7c15u >> (64 - kSlotBits);
    for (uint64_t i = 0; i < kSlotCount; ++i) {
        struct slot* slot = &slots[(hash + i) % kSlotCount];
        if (slot->address == address || slot->address == 0) {
            slot->address = address;
            return slot;
        }
    }
    return NULL;
}

static void profile_marker(unsigned kind) {
    for (size_t i = 0; i < kSlotCount; ++i) {
        if (kind == 0) slots[i].at_start = slots[i].count;
        if (kind == 1) slots[i].inside += slots[i].count - slots[i].at_start;
    }
}

static void count_one(unsigned vcpu, void* mode) { ++cpus[vcpu % kMaxCpus].count[(uintptr_t)mode]; }

// "NAME USER KERNEL SPIN SERVER CALLS": what was counted from `start` to `now`; start NULL: all.
static void write_counts(const char* name, const uint64_t* now, const uint64_t* start) {
    fprintf(out, "%s", name);
    for (int i = 0; i < kModes; ++i) fprintf(out, " %" PRIu64, now[i] - (start ? start[i] : 0));
    fputc('\n', out);
}

static void on_marker(unsigned vcpu, void* data) {
    (void)vcpu;
    uint32_t message = (uint32_t)(uintptr_t)data;
    unsigned kind = message >> 16 & 15, row = message & 0xffff;
    if (row >= kMaxRows) return;
    pthread_mutex_lock(&lock);
    for (int cpu = 0; cpu < cpu_count; ++cpu) {
        const uint64_t* now = cpus[cpu].count;
        uint64_t* start = started[row][cpu];
        char name[48];
        snprintf(name, sizeof name, "%s %u %d", kind == 1 ? "count" : "note", row, cpu);
        if (kind == 0) {
            memcpy(start, now, sizeof started[row][cpu]);
        } else {
            write_counts(name, now, kind == 1 ? start : NULL);
        }
    }
    if (profile) profile_marker(kind);
    if (kind != 0) fflush(out);
    pthread_mutex_unlock(&lock);
}

static uintptr_t mode_of(uint64_t address) {
    if (address >> 63) return address >= spin_begin && address < spin_end ? kSpin : kKernel;
    return address >= server_begin && address < server_end ? kServer : kUser;
}

static void count_instruction(struct qemu_plugin_insn* insn, uintptr_t mode) {
    if (cpu_count == 1) {
        qemu_plugin_register_vcpu_insn_exec_inline(insn, QEMU_PLUGIN_INLINE_ADD_U64, &cpus[0].count[mode], 1);
    } else {
        qemu_plugin_register_vcpu_insn_exec_cb(insn, count_one, QEMU_PLUGIN_CB_NO_REGS, (void*)mode);
    }
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb* tb) {
    (void)id;
    for (size_t i = 0, n = qemu_plugin_tb_n_insns(tb); i < n; ++i) {
        struct qemu_plugin_insn* insn = qemu_plugin_tb_get_insn(tb, i);
        const uint64_t address = qemu_plugin_insn_vaddr(insn);
        const uintptr_t mode = mode_of(address);
        count_instruction(insn, mode);
        const uint8_t* bytes = qemu_plugin_insn_data(insn);
        const size_t size = qemu_plugin_insn_size(insn);
        if (mode == kUser && size == 2 && bytes[0] == 0x0f && bytes[1] == 0x05) count_instruction(insn, kCalls);
        if (profile && (mode == kKernel || mode == kServer)) {
            pthread_mutex_lock(&lock);
            struct slot* slot = slot_of(address);
            pthread_mutex_unlock(&lock);
            if (slot) qemu_plugin_register_vcpu_insn_exec_inline(insn, QEMU_PLUGIN_INLINE_ADD_U64, &slot->count, 1);
        }
        if (mode == kUser && size == 7) {
            uint32_t message;
            memcpy(&message, bytes + 3, sizeof message);
            if (bytes[0] == 0x0f && bytes[1] == 0x1f && bytes[2] == 0x80 && message >> 20 == 0xfac) {
                qemu_plugin_register_vcpu_insn_exec_cb(insn, on_marker, QEMU_PLUGIN_CB_NO_REGS,
                                                       (void*)(uintptr_t)message);
            }
        }
    }
}

static void on_end(qemu_plugin_id_t id, void* data) {
    (void)id;
    (void)data;
    for (int cpu = 0; cpu < cpu_count; ++cpu) {
        char name[48];
        snprintf(name, sizeof name, "total %d", cpu);
        write_counts(name, cpus[cpu].count, NULL);
    }
    fclose(out);
    if (!profile) return;
    for (size_t i = 0; i < kSlotCount; ++i) {
        if (slots[i].inside) fprintf(profile, "0x%" PRIx64 " %" PRIu64 "\n", slots[i].address, slots[i].inside);
    }
    fclose(profile);
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t* info, int argc, char** argv) {
    const struct {
        const char* name;
        uint64_t* value;
    } addresses[] = {{"spin_begin", &spin_begin},
                     {"spin_end", &spin_end},
                     {"server_begin", &server_begin},
                     {"server_end", &server_end}};
    for (int i = 0; i < argc; ++i) {
        if (strncmp(argv[i], "out=", 4) == 0) out = fopen(argv[i] + 4, "w");
        if (strncmp(argv[i], "profile=", 8) == 0) profile = fopen(argv[i] + 8, "w");
        for (size_t k = 0; k < sizeof addresses / sizeof *addresses; ++k) {
            size_t length = strlen(addresses[k].name);
            if (strncmp(argv[i], addresses[k].name, length) == 0 && argv[i][length] == '=')
                *addresses[k].value = strtoull(argv[i] + length + 1, NULL, 16);
        }
    }
    if (!out || !info->system_emulation) {
        fprintf(stderr, "count_plugin: out=PATH is wanted, with a system emulator\n");
        return -1;
    }
    if (profile && !(slots = calloc(kSlotCount, sizeof *slots))) return -1;
    cpu_count = info->system.smp_vcpus < kMaxCpus ? info->system.smp_vcpus : kMaxCpus;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_atexit_cb(id, on_end, NULL);
    return 0;
}
