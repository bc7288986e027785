# SPDX-License-Identifier: MIT
# What runs privileged. The kernel without Linux is less than half of the one with it, and refuses to run Linux.
sizes() {
    "$farcall" size --json "$work/size.json" >"$work/size" || return
    awk '$NF ~ /^[0-9]+$/ { sum = 0; for (i = NF - 4; i < NF; ++i) sum += $i; print $(NF - 5), (sum == $NF && $NF > 100000) ? "adds up" : $0; all[$(NF - 5)] += $NF; n[++rows] = $NF }
        END { print (2 * n[2] < n[1]) ? "less than half" : "more than half" }' "$work/size"
    grep -c '"privileged": true' "$work/size.json"
}
check size 0 'privileged adds up
privileged adds up
user adds up
less than half
2' sizes
one_line size_takes_no_words 2 '' "$farcall" size kernel
no_linux() { nm -C "$build/kernel/farcall-core.elf" | grep -c ' linux::'; }
check size_without_linux 1 0 no_linux
without_linux() {
    mkdir -p "$work/other/kernel" "$work/other/root"
    ln -sf "$build/host" "$work/other/host"
    ln -sf "$build/kernel/farcall-core.elf" "$work/other/kernel/farcall.elf"
    FARCALL_BUILD=$work/other "$farcall" run --timeout $limit -- busybox true
}
one_line core_runs_no_linux 2 '' without_linux
check says_that_there_is_no_linux 0 1 grep -c 'Linux is not in this kernel' "$work/said"
