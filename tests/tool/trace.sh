# SPDX-License-Identifier: MIT
# Traces. A call is counted once, wherever it was executed; which path it took there depends on the route.
trace=$work/trace.json tables=$work/tables
traced() { run --trace "$trace" "$@" && "$farcall" trace "$trace" --calls 1000 >"$tables"; }
count_of() { awk -v name="$1" '$1 == name { print $3, $NF; found = 1; exit } END { if (!found) print "none" }' "$tables"; }
has_path() { grep -q "^$1  *[1-9]" "$tables" && echo "$1" || echo "no $1"; }
kills='for i in 1 2 3 4 5 6 7 8 9 10; do kill -0 $$; kill -0 $$; kill -0 $$; done'
traced_kills() {
    traced --cpus 2 --route "$1" -- sh -c "$kills" || return
    count_of kill
    grep -o 'no record was lost' "$tables"
    shift
    for path; do has_path "$path"; done
}
check trace_inline 0 '30 30
no record was lost
leaf
fault
task' traced_kills inline leaf fault task
check trace_remote 0 '30 30
no record was lost
sent
service
task' traced_kills remote sent service task
check trace_server 0 '30 30
no record was lost
fast exception
fast reply
server' traced_kills server 'fast exception' 'fast reply' server
check trace_mixed 0 '30 30
no record was lost
leaf
service' traced_kills 'fs:1,*:inline' leaf service
# An error is told by its number; a wait ends a stretch, and the call is counted at its end.
traced_waits() {
    traced --cpus 2 --route "$1" -- sh -c 'sleep 0.2; kill -0 9999 2>/dev/null; (sleep 0.2; echo x) | cat' || return
    grep -o '^kill (62) .*' "$tables" | sed 's/  .*  / /'
    grep -o 'waits: [1-9]' "$tables" | sed 's/[0-9]//' | head -n 1
    awk '$1 == "exit_group" { print $3, $NF }' "$tables"
}
for route in inline remote; do
    check "trace_waits_$route" 0 'x
kill (62) error 3: 1
waits: 
5 5' traced_waits $route
done
# The ring keeps the last records.
traced_full() {
    run --trace "$trace" --trace-records 100 -- sh -c "$kills; exit 3"
    full=$?
    "$farcall" trace "$trace" >"$tables"
    count_of exit_group
    awk '/records lost/ { print $1, "of", ($0 ~ /CPU 0: [1-9]/ ? "more" : "few") }' "$tables"
    return $full
}
check trace_full 3 '1 1
127 of more' traced_full
check trace_full_is_said 0 1 sh -c "'$farcall' run --trace '$trace' --trace-records 16 -- busybox true 2>&1 | grep -c 'lacks its oldest records'"
# Programs of the native interface: three calls to a server, two of an object that cannot be called.
traced_echo() {
    traced --native examples/echo --fastpath "$1" >/dev/null || return
    sed -n '/^fast call .*capability/ { s/  */ /g; p; }
        /^\(fast\|slow\) \(call\|reply\) .*:/ { s/^\([a-z]* [a-z]*\) *\([0-9]*\).*  /\1 \2 /; /capability/!p; }' "$tables"
    grep -o '^kCreate (16) *[0-9]*' "$tables" | sed 's/  */ /g'
}
check trace_native_fast 0 'fast call 5 done: 3, slowpath: 2
fast reply 4 done: 4
slow call 2 error: 2
fast call 3 2 capability: 2
kCreate (16) 4' traced_echo all
check trace_native_slow 0 'slow call 5 switched: 3, error: 2
slow reply 4 switched: 4
kCreate (16) 4' traced_echo none
# A program that waits: its last records are in the dump, and the file is not left behind.
traced_dump() {
    rm -f "$trace"
    "$farcall" run --timeout $((6 * pace)) --trace "$trace" -- busybox sleep 100 2>"$work/dump"
    # More than once if the call was restarted.
    grep -m 1 -c '^[0-9]*: leaf 230 of 2, .*needs task' "$work/dump"
    grep -c 'farcall: no trace: ' "$work/dump"
    [ -e "$trace" ] && echo left behind
}
check trace_in_a_dump 1 '1
1' traced_dump
# Without the port nothing is sent; where nobody takes the records, the exit status comes all the same.
check trace_without_port 0 ran run --append trace=64 -- busybox echo ran
mkfifo "$work/port.in" "$work/port.out"
nobody_reads() {
    sleep $((30 * pace)) <"$work/port.out" &
    reader=$!
    run --append trace=16384 --qemu-arg=-chardev --qemu-arg="pipe,id=trace,path=$work/port" \
        --qemu-arg=-device --qemu-arg=virtserialport,chardev=trace,nr=5,name=farcall.trace \
        -- sh -c 'seq 1 3000 | while read n; do :; done; exit 7'
    nobody=$?
    kill $reader
    return $nobody
}
check trace_nobody_reads 7 '' nobody_reads
one_line trace_unwritable 2 '' run --trace "$work/none/trace.json" -- busybox echo ran
one_line trace_into_a_directory 2 '' run --trace "$work" -- busybox echo ran
one_line trace_records_alone 2 '' run --trace-records 100 -- busybox true
for n in 0 -1 x 4194305; do one_line "trace_bad_records_$n" 2 '' run --trace "$trace" "--trace-records=$n" -- busybox true; done
one_line trace_bad_for_kernel 2 '' run --append trace=x -- busybox true
one_line trace_too_little_memory 2 '' run --memory 32M --trace "$trace" --trace-records 4194304 -- busybox true
one_line trace_no_file 2 '' "$farcall" trace "$work/none"
one_line trace_of_nothing 2 '' "$farcall" trace /dev/null
one_line trace_of_a_directory 2 '' "$farcall" trace "$work"
one_line trace_of_a_program 2 '' "$farcall" trace /bin/busybox
echo '{"traceEvents":[{"ph":"X"}]}' >"$work/other.json"
one_line trace_of_another 2 '' "$farcall" trace "$work/other.json"
run --trace "$trace" -- busybox true
head -c 3000 "$trace" >"$work/cut.json"
one_line trace_cut_off 2 '' "$farcall" trace "$work/cut.json"
one_line trace_missing_file 2 '' "$farcall" trace
