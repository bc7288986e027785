// SPDX-License-Identifier: MIT
// QEMU TCG plugin (plugin API 1): each virtual CPU gives the host's CPU to another one after kBlocks blocks of code (some
// 50 us). For machines with more CPUs than the host has, whose CPUs wait for each other by running (races of native
// threads: a call that finds its thread busy on another CPU is made again). The host would stop a virtual CPU for a slice of
// some milliseconds, and the others would spin as long: such races take a tenth of the time with this.
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tools/count_plugin/qemu_plugin.h"

EXPORT int qemu_plugin_version = 1;

enum { kBlocks = 2000, kSliceNs = 100000 };

// As in <linux/sched/types.h>, which does not go with <sched.h> everywhere.
struct Attributes {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

static __thread unsigned blocks, known;

// Linux 6.12 and later: a thread of a short slice comes sooner after it has given way. Older kernels refuse it.
static void take_short_slices(void) {
    struct Attributes attributes;
    if (syscall(SYS_sched_getattr, 0, &attributes, sizeof attributes, 0) != 0) return;
    attributes.runtime = kSliceNs;
    (void)syscall(SYS_sched_setattr, 0, &attributes, 0);
}

static void on_block(unsigned vcpu, void* data) {
    (void)vcpu, (void)data;
    if (++blocks < kBlocks) return;
    blocks = 0;
    if (!known) take_short_slices();
    known = 1;
    sched_yield();
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb* block) {
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_cb(block, on_block, QEMU_PLUGIN_CB_NO_REGS, 0);
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t* info, int argc, char** argv) {
    (void)info, (void)argc, (void)argv;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    return 0;
}
