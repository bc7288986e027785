# SPDX-License-Identifier: MIT
# Too little memory for a start.
# Refused by the tool; by the kernel, where the loader has put the RAM disk over its image.
one_line too_little_memory 2 '' run --memory 4M -- busybox true
one_line too_little_memory_for_kernel 2 '' run --qemu-arg=-m --qemu-arg=4M -- busybox true
check little_memory_is_enough 0 '' run --memory 8M -- busybox true
for memory in 6M 8M 10M; do one_line "too_little_memory_for_the_server_$memory" 2 '' run --memory $memory --cpus 4 --route server -- busybox true; done
check little_memory_is_enough_for_the_server 0 '' run --memory 24M --cpus 4 --route server -- busybox true
# Each says how much is needed, and that is enough.
enough() {
    shift 2
    suggested=$("$farcall" run --memory "$@" -- busybox true 2>&1 | grep -o 'try --memory [0-9]*M' | cut -d ' ' -f 3)
    shift
    run --memory "$suggested" "$@" -- busybox echo "ran"
}
check memory_named 0 ran enough - - 4M
for cpus in 1 4 16; do check "memory_named_for_the_server_$cpus" 0 ran enough - - 9M --cpus $cpus --route server; done
one_line server_not_executable 126 '' run --route server -- /etc/passwd
check memory_named_for_a_trace 0 ran enough - - 32M --trace "$work/trace.json" --trace-records 1000000
