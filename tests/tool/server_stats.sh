# SPDX-License-Identifier: MIT
# Counters of the server route: what the server received and answered, and what of it the kernel counted on slowpaths.
# The rest was on fastpaths, which a trace of the same run confirms record by record.
server_run() { run --route server --stats "$@" 2>"$work/stats"; }
loop='i=0; while [ $i -lt 2000 ]; do kill -0 $$; i=$((i + 1)); done'
# The numbers of a line, and the reasons after them.
lines_of_servers() {
    awk '$1 == "server" { on = 1; print "head"; next } on && $1 ~ /^[0-9]+$/ && $5 ~ /^[0-9.-]+$/ { print; next } { on = 0 }' "$work/stats"
}
per_thread() {
    server_run --cpus 2 -- sh -c "$loop" || return
    lines_of_servers | awk '$1 == "head" { print; next }
        $2 > 1000 && ($5 <= 95 || $7 <= 95) { print "slow: " $0 }
        /unknown/ { print } { calls += $2; faults += $3; replies += $6; busy += ($10 > 0) }
        END { print NR - 1, (calls > 2000), (faults > 10), (replies > 2000), (busy > 0) }'
}
check server_stats_per_thread 0 'head
2 1 1 1 1' per_thread
# Programs that wait for one another: the answer comes later, from another place in the server. No path is left untried.
blocking() {
    server_run --cpus "$1" -- sh -c 'dd if=/dev/zero bs=512 count=4000 2>/dev/null | dd bs=512 >/dev/null 2>&1' || return
    lines_of_servers | awk '$1 == "head" { next } /unknown/ { print } { receives += $8; if ($8 > 20 && $9 <= 90) print "receives: " $0 }
        $6 > 100 && $7 <= 95 { print "replies: " $0 } END { print (receives > 20 ? "waits" : "no waits") }'
}
for cpus in 1 2; do check "server_stats_blocking_$cpus" 0 waits blocking $cpus; done
# The boot is left out, on CPUs that start later, too.
stretch() {
    server_run --cpus 2 -- true || return
    awk '/^longest stretch/ { print ($6 > 100 && $6 <= 100000 ? "short" : $0) }' "$work/stats"
}
check server_stats_stretch 0 short stretch
# Without fastpaths both count everything, apart from each other.
none() {
    server_run --cpus 1 --fastpath none -- sh -c "$loop; (sleep 0.01; ls /) | cat >/dev/null" || return
    lines_of_servers | awk '$1 == "head" { next }
        { for (i = 1; i <= NF; ++i) if ($i == "exceptions:" || $i == "replies:") at[$i] = i
          e = at["exceptions:"]; r = at["replies:"]; slow = 0
          for (i = e + 1; i < r; ++i) if ($i ~ /^[0-9]+[,;]?$/) slow += $i
          print $5, $7, $9, (slow == $2 + $3 + $4 ? "all" : slow " of " $2 + $3 + $4)
          slow = 0
          for (i = r + 1; i <= NF && $i != "receives:"; ++i) if ($i ~ /^[0-9]+[,;]?$/) slow += $i
          print (slow == $6 ? "all" : slow " of " $6) }'
}
check server_stats_without_fastpaths 0 '0.0 0.0 0.0 all
all' none
# Exceptions are fastpaths and slowpaths, each with its record in a trace; so are replies.
json_sum() { # MEMBERS: of all servers
    grep -o '"server": .*' "$work/stats" | grep -o "\"\($1\)\": [0-9]*" | awk '{ n += $2 } END { print n }'
}
slow_sum() { # KINDS
    grep -o '"server": .*' "$work/stats" | grep -o "\"\($1\)\": {[^}]*}" | grep -o ': [0-9]*' | awk '{ n += $2 } END { print n + 0 }'
}
records_of() { # PATH END: of the tables
    sed -n "s/^$1 .*[ ,]$2: \([0-9]*\).*/\1/p" "$tables" | head -n 1 | grep . || echo 0
}
counted() {
    tables=$work/tables
    run --route server --stats=json --cpus 1 --fastpath "$1" --trace "$work/trace.json" --trace-records 262144 -- sh -c "$loop" 2>"$work/stats" || return
    "$farcall" trace "$work/trace.json" >"$tables"
    grep -o 'no record was lost' "$tables"
    all=$(json_sum 'calls\|page_faults\|other_traps') slow=$(slow_sum 'call\|page_fault\|other_trap')
    fast=$(records_of 'fast exception' 'done') recorded=$(awk '/^slow exception / { print $3; exit }' "$tables")
    [ "$all" = $((fast + ${recorded:-0})) ] && echo "all" || echo "$all are not $fast and ${recorded:-0}"
    [ "$slow" = "${recorded:-0}" ] && echo "slow" || echo "$slow are not ${recorded:-0}"
    # The server's watcher receives once, at the start.
    answers=$(($(json_sum 'replies\|receives') + 1)) slow=$(slow_sum 'reply\|receive')
    fast_answers=$(records_of 'fast reply' 'done')
    [ "$1" = none ] || [ "$answers" = $((fast_answers + slow)) ] || echo "$answers are not $fast_answers and $slow"
    awk -v all="$all" -v fast="$fast" 'BEGIN { print (fast > 0.95 * all ? "fast" : fast == 0 ? "none fast" : "few fast") }'
}
check server_stats_are_what_happened_all 0 'no record was lost
all
slow
fast' counted all
check server_stats_are_what_happened_none 0 'no record was lost
all
slow
none fast' counted none
