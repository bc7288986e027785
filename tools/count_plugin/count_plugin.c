// SPDX-License-Identifier: MIT
// QEMU TCG plugin (plugin API 1): counts guest instructions per virtual CPU, user and kernel apart, between markers
// that the guest sets (marker.h). An instruction is the kernel's when bit 63 of its address is set, which holds for
// every x86_64 kernel after its first steps. Every executed instruction is counted by itself, so a block that is left
// early by a fault is counted as far as it came; a faulting instruction counts again when it is repeated, and so does
// each iteration of a `rep` one. bench/count_check.c compares with the TSC under -icount: the two agree to the
// instruction but for that.
//
// Arguments: out=PATH. Lines written there:
//   count ROW CPU USER KERNEL     at each stop marker, one line per CPU: instructions since the row's start marker
//   note ROW CPU USER KERNEL      at each note marker: instructions since the machine's start
//   total CPU USER KERNEL         at QEMU's end
//
// Debian ships no qemu-plugin.h; these are the functions of the API that are used here (QEMU 7.2,
// include/qemu/qemu-plugin.h).
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
typedef struct {
    const char* target_name;
    struct {
        int min, cur;
    } version;
    bool system_emulation;
    union {
        struct {
            int smp_vcpus, max_vcpus;
        } system;
    };
} qemu_info_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };
typedef void (*vcpu_tb_trans_cb)(qemu_plugin_id_t, struct qemu_plugin_tb*);
typedef void (*vcpu_udata_cb)(unsigned vcpu, void* data);
typedef void (*udata_cb)(qemu_plugin_id_t, void*);

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, vcpu_tb_trans_cb);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn*, vcpu_udata_cb, enum qemu_plugin_cb_flags, void*);
void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn*, enum qemu_plugin_op, void*, uint64_t);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, udata_cb, void*);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb*);
struct qemu_plugin_insn* qemu_plugin_tb_get_insn(const struct qemu_plugin_tb*, size_t);
const void* qemu_plugin_insn_data(const struct qemu_plugin_insn*);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn*);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn*);

#define EXPORT __attribute__((visibility("default")))
EXPORT int qemu_plugin_version = 1;

enum { kMaxCpus = 64, kMaxRows = 4096, kUser = 0, kKernel = 1, kLine = 128 };

// One cache line per CPU: with several CPUs each writes its own.
static struct {
    uint64_t count[2];
} __attribute__((aligned(kLine))) cpus[kMaxCpus];
static uint64_t started[kMaxRows][kMaxCpus][2];
static int cpu_count = 1;
static FILE* out;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void count_one(unsigned vcpu, void* mode) { ++cpus[vcpu % kMaxCpus].count[(uintptr_t)mode]; }

static void on_marker(unsigned vcpu, void* data) {
    (void)vcpu;
    uint32_t message = (uint32_t)(uintptr_t)data;
    unsigned kind = message >> 16 & 15, row = message & 0xffff;
    if (row >= kMaxRows) return;
    pthread_mutex_lock(&lock);
    for (int cpu = 0; cpu < cpu_count; ++cpu) {
        uint64_t user = cpus[cpu].count[kUser], kernel = cpus[cpu].count[kKernel];
        if (kind == 0) {
            started[row][cpu][kUser] = user;
            started[row][cpu][kKernel] = kernel;
        } else if (kind == 1) {
            fprintf(out, "count %u %d %" PRIu64 " %" PRIu64 "\n", row, cpu, user - started[row][cpu][kUser],
                    kernel - started[row][cpu][kKernel]);
        } else {
            fprintf(out, "note %u %d %" PRIu64 " %" PRIu64 "\n", row, cpu, user, kernel);
        }
    }
    if (kind != 0) fflush(out);
    pthread_mutex_unlock(&lock);
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb* tb) {
    (void)id;
    for (size_t i = 0, n = qemu_plugin_tb_n_insns(tb); i < n; ++i) {
        struct qemu_plugin_insn* insn = qemu_plugin_tb_get_insn(tb, i);
        uintptr_t mode = qemu_plugin_insn_vaddr(insn) >> 63 ? kKernel : kUser;
        if (cpu_count == 1) {
            qemu_plugin_register_vcpu_insn_exec_inline(insn, QEMU_PLUGIN_INLINE_ADD_U64, &cpus[0].count[mode], 1);
        } else {
            qemu_plugin_register_vcpu_insn_exec_cb(insn, count_one, QEMU_PLUGIN_CB_NO_REGS, (void*)mode);
        }
        if (mode == kUser && qemu_plugin_insn_size(insn) == 7) {
            const uint8_t* bytes = qemu_plugin_insn_data(insn);
            uint32_t message;
            memcpy(&message, bytes + 3, sizeof message);
            if (bytes[0] == 0x0f && bytes[1] == 0x1f && bytes[2] == 0x80 && message >> 20 == 0xfac) {
                qemu_plugin_register_vcpu_insn_exec_cb(insn, on_marker, QEMU_PLUGIN_CB_NO_REGS,
                                                       (void*)(uintptr_t)message);
            }
        }
    }
}

static void on_exit(qemu_plugin_id_t id, void* data) {
    (void)id;
    (void)data;
    for (int cpu = 0; cpu < cpu_count; ++cpu) {
        fprintf(out, "total %d %" PRIu64 " %" PRIu64 "\n", cpu, cpus[cpu].count[kUser], cpus[cpu].count[kKernel]);
    }
    fclose(out);
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t* info, int argc, char** argv) {
    for (int i = 0; i < argc; ++i) {
        if (strncmp(argv[i], "out=", 4) == 0) out = fopen(argv[i] + 4, "w");
    }
    if (!out || !info->system_emulation) {
        fprintf(stderr, "count_plugin: out=PATH is wanted, with a system emulator\n");
        return -1;
    }
    cpu_count = info->system.smp_vcpus < kMaxCpus ? info->system.smp_vcpus : kMaxCpus;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_atexit_cb(id, on_exit, NULL);
    return 0;
}
