# SPDX-License-Identifier: MIT
# Modelled misses of caches and TLBs. The numbers themselves are checked by tests/unit/cache_model_test.cpp, and against
# cachegrind below; here, that each kind of code and each run of a benchmark has its counts.
bench() { "$farcall" bench "$@"; }
one_line misses_bad_model 2 '' run --misses --caches i7 -- busybox true
one_line misses_bad_size 2 '' run --misses --caches server,l1d=32K/7 -- busybox true
one_line misses_large_cache 2 '' run --misses --caches server,llc=512M/16 -- busybox true
one_line misses_too_large 2 '' run --misses --caches server,itlb=1024M/1 -- busybox true
one_line misses_bad_form 2 '' run --misses=xml -- busybox true
one_line misses_and_stats 2 '' run --misses --stats -- busybox true
one_line misses_without_tcg 2 '' run --misses --accel kvm -- busybox true
one_line misses_are_of_works 2 '' bench syscall --misses
one_line misses_bad_bench_model 2 '' bench task0 --misses --caches i5-8279u,l9=1K/1
one_line thesis_is_of_works 2 '' bench ipc --thesis
one_line mode_disk 2 '' bench task1 --mode disk --misses
one_line mode_both 2 '' bench task1 --mode ramfs,disk
one_line mode_unknown 2 '' bench task1 --mode tape
one_line quick_chooses 2 '' bench task0 --quick
one_line quick_alone 2 '' bench --quick --runs 3

# A field of the JSON: of the phase, CPU and kind of code.
count_of_misses() { jq_like "$1" "$2" "$3" "$4" <"$work/misses"; }
jq_like() {
    tr -d '\n' | sed "s/.*\"$1\":\\[//" | awk -v cpu="$2" -v kind="$3" -v field="$4" '{
        n = split($0, cpus, /\}\}/); text = cpus[cpu + 1]
        at = index(text, "\"" kind "\":{"); if (at == 0) { print 0; exit }
        text = substr(text, at); at = index(text, "\"" field "\":"); text = substr(text, at + length(field) + 3)
        print text + 0 }'
}
run_misses() { # WORDS...: of run; prints whether each kind of code is there
    run --misses=json "$@" 2>"$work/misses" >/dev/null || return
    for kind in user kernel spin server; do
        [ "$(count_of_misses run 0 $kind instructions)" -gt 0 ] && printf '%s ' $kind
    done
    [ "$(count_of_misses run 0 user l1d)" -lt "$(count_of_misses run 0 user instructions)" ] && echo
}
check misses_inline 0 'user kernel ' run_misses -- busybox wc -c /etc/passwd
check misses_server 0 'user kernel server ' run_misses --route server -- busybox true
# Each call to the server changes the address space twice, without a tag: what a plugin that never flushes would not see.
flushes() {
    run --misses=json $1 -- busybox true 2>"$work/misses" >/dev/null || return
    echo $(($(count_of_misses run 0 kernel space_flushes) > $2))
}
check misses_flushes_inline 0 0 flushes '--route inline' 100
check misses_flushes_server 0 1 flushes '--route server' 100
spun() {
    run --misses=json --cpus 2 --route remote -- busybox true 2>"$work/misses" || return
    [ "$(count_of_misses run 1 spin instructions)" -gt 1000 ] && echo spins
}
check misses_spinning_apart 0 spins spun
misses_table() { run --misses --caches cortex-a9 -- sh -c 'exit 3' 2>"$work/misses"; status=$?; grep -c 'caches of cortex-a9\|^0  *user \|^0  *kernel \|^all  *everything' "$work/misses"; return $status; }
check misses_table 3 4 misses_table
check misses_native 0 '*' run --misses --native examples/echo

# Every run of every work and setting; remote's lines are taken away by the other CPU.
short_misses() {
    bench task0 task1 --misses --runs 1 --percent 1 --json "$work/misses.json" >"$work/table" || return
    grep -c '^task[01]  *\(inline1\|inline2\|remote\)  *\(call\|file\) ' "$work/table"
    grep -c '"per_unit_with_spin"' "$work/misses.json"
    awk '$1 == "task0" && $2 == "inline1" { base = $4; if ($NF == "-" || $4 < 80 || $4 > 200) print "inline: " $0 }
        $1 == "task0" && $2 == "remote" { print ($4 > base && $5 > $4 && $14 > 0) ? "taken" : $0 }' "$work/table"
}
check misses_bench 0 '6
6
taken' short_misses

# Against an independent simulator: valgrind's cachegrind has no second level, one set of caches, and no kernel. The same
# program, the same shapes: instructions and data accesses nearly agree, and so do the misses of the first level.
against_cachegrind() {
    program=$build/guest/bench/cache_walk
    valgrind --tool=cachegrind --cachegrind-out-file=/dev/null --I1=32768,8,64 --D1=32768,8,64 --LL=6291456,12,64 "$program" 2>"$work/grind" || return
    # "==N== I   refs:  1,234"; D1 misses: all, then reads and writes.
    known() { sed -n "s/^==[0-9]*== $1: *\([0-9,]*\).*/\1/p" "$work/grind" | tr -d ,; }
    run --misses=json --cpu qemu64 --caches i5-8279u,l2=none,llc=6M/12 -- "$program" 2>"$work/misses" || return
    loads=$(count_of_misses run 0 user loads) stores=$(count_of_misses run 0 user stores)
    compare() { awk -v what="$1" -v a="$2" -v b="$3" -v within="$4" 'BEGIN {
        d = b > 0 ? (a - b) / b : 1; if (d < 0) d = -d; print what, (d <= within) ? "agrees" : a " and " b }'; }
    compare instructions "$(count_of_misses run 0 user instructions)" "$(known 'I *refs')" 0.002
    compare accesses $((loads + stores)) "$(known 'D *refs')" 0.002
    compare l1d "$(count_of_misses run 0 user l1d)" "$(known 'D1 *misses')" 0.01
}
if have_package valgrind valgrind; then
    check misses_cachegrind 0 'instructions agrees
accesses agrees
l1d agrees' against_cachegrind
else
    echo 'skipped misses_cachegrind: valgrind is not there, and apt-get does not install it'
fi
