# SPDX-License-Identifier: MIT
# Benchmarks over routes: what is refused before a guest starts, and that a short run gives every row.
bench() { "$farcall" bench "$@"; }
one_line bench_unknown 2 '' bench task6
one_line bench_unknown_among 2 '' bench task0 tusk1
one_line bench_syscall_alone 2 '' bench task0 syscall
one_line bench_bad_route 2 '' bench task0 --routes inline,sideways
one_line bench_bad_placement 2 '' bench task0 --routes inline,fs:7+*:inline
one_line bench_no_runs 2 '' bench task0 --runs 0
one_line bench_row_is_of_syscall 2 '' bench task0 --row getpid
one_line bench_route_is_of_syscall 2 '' bench task0 --route server
one_line bench_syscall_bad_route 2 '' bench syscall --route remote
one_line bench_linux_has_no_route 2 '' bench syscall --linux --route server
short_bench() {
    bench task1 task3 stat --routes inline,remote --runs 1 --percent 1 --json "$work/bench.json" --markdown "$work/bench.md" >"$work/table" || return
    grep -o '"name": "task3_[a-z0-9_]*"' "$work/bench.json" | sort
    grep -c '^| task1 | remote |' "$work/bench.md"
    grep -c '^stat ' "$work/table"
}
check bench_rows 0 '"name": "task3_inline1"
"name": "task3_inline2"
"name": "task3_inline2_over_inline"
"name": "task3_remote"
"name": "task3_remote_over_inline"
"name": "task3_remote_over_inline2"
1
3' short_bench
# Fastpaths against slowpaths: every figure and every point of the grid is there; how fast is not asked.
one_line bench_fastpath_bad_row 2 '' bench fastpath --row sideways
one_line bench_plot_is_of_fastpath 2 '' bench ipc --plot "$work"
short_fastpath() {
    bench fastpath --runs 1 --percent 1 --json "$work/fastpath.json" --markdown "$work/fastpath.md" >"$work/table" || return
    grep -o '"name": "[a-z0-9_]*"' "$work/fastpath.json" | cut -d '"' -f 4 | tr '\n' ' '
    grep -c '"value": [0-9]' "$work/fastpath.json"
    for mode in fast slow; do grep -c "\"contention.[12].[a-z]*.[0-9]*.[0-9]*.$mode.round\"" "$work/fastpath.json"; done
    grep -c '^| 16, 64 |' "$work/fastpath.md"
    grep -c '^contention_.*_[12] ' "$work/table"
}
check bench_fastpath_rows 0 'exception_round exception_paths ipc_round ipc_paths signal_round signal_paths load_1_share load_1_paths load_2_share load_2_paths contention_exception_1 contention_ipc_1 contention_exception_2 contention_ipc_2 pairs pairs_bare 16
100
100
4
4' short_fastpath
# The same under Linux programs: each kind has a share, and cycles of both paths.
one_line bench_linux_load_has_no_rows 2 '' bench fastpath --linux-load --row load
one_line bench_linux_load_is_of_fastpath 2 '' bench ipc --linux-load
linux_load() {
    bench fastpath --linux-load --runs 1 --percent 20 --json "$work/load.json" --markdown "$work/load.md" >"$work/table" || return
    grep -o '"name": "[a-z0-9_]*"' "$work/load.json" | cut -d '"' -f 4 | tr '\n' ' '
    # Shares on fastpaths are over 0.9, ratios over 1.
    grep '"value":' "$work/load.json" | awk -F '[:,]' '$2 > 0.9 { n++ } END { print n }'
    grep -c '"linux_load.[12].[a-z_]*.\(fast\|slow\).median"' "$work/load.json"
    grep -c '^| replies | [0-9]' "$work/load.md"
}
check bench_linux_load 0 'linux_load_1_calls linux_load_1_page_faults linux_load_1_replies linux_load_1_paths linux_load_2_calls linux_load_2_page_faults linux_load_2_replies linux_load_2_paths 8
16
4' linux_load
time_one() { run -- "$build/guest/bench/time1" sh -c 'exit 3' >"$work/time1"; status=$?; cut -d ' ' -f 1 "$work/time1"; return $status; }
check time1 3 elapsed time_one
time_many() { run --cpus 2 -- "$build/guest/bench/timen" 3 sh -c 'exit 4' >"$work/timen"; status=$?; cut -d ' ' -f 1 "$work/timen"; return $status; }
check timen 4 'own
own
own
elapsed' time_many
check timen_not_found 127 '*' run -- "$build/guest/bench/timen" 2 /no/such/program

# The server route: kernel and server apart, and their sum over inline.
server_rows() {
    bench syscall --route server --row getpid --row file_page_fault --json "$work/server.json" --markdown "$work/server.md" >"$work/table" || return
    awk -F '[:,]' '/"name"/ { name = $2 } /"value"/ { value = $2 } /"kernel"/ { kernel = $2 } /"server"/ { server = $2 } /"calls"/ { calls = $2 }
        /"ratio"/ { d = value - kernel - server
            print name, (kernel > 100 && server > 100 && d < 1 && d > -1 && $2 > 1) ? "apart" : "wrong", calls }
        /"goal"/ { print "goal", ($2 > 200 && $2 < 10000) ? "set" : $2 }' "$work/server.json"
    grep -c '^| getpid | [0-9]* | [0-9]* | [0-9]* | [0-9]* |' "$work/server.md"
    grep -c 'exception round trip [1-9]' "$work/table"
}
check bench_server_rows 0 ' "getpid" apart  1.0
goal set
 "file_page_fault" apart  2.0
goal set
1
1' server_rows
server_profile() {
    bench syscall --route server --profile getpid >"$work/profile" || return
    grep -c '^getpid: [1-9][0-9.]* \(kernel\|server\) instructions' "$work/profile"
    grep -c 'ServerCpu::' "$work/profile"
}
profile_of_both() { server_profile | awk 'NR == 1 { print } NR == 2 { print ($1 > 0) ? "named" : "unnamed" }'; }
check bench_server_profile 0 '2
named' profile_of_both
two_clients() {
    bench two_clients --routes server --runs 1 --percent 1 --json "$work/two.json" >"$work/table" || return
    grep -o '"name": "[a-z0-9_]*"' "$work/two.json" | grep -c 'server[12]"'
    grep -o '"name": "two_clients_[a-z]*"' "$work/two.json"
    grep -c '^two_clients_server .*>= 1.80' "$work/table"
}
check bench_two_clients 0 '4
"name": "two_clients_server"
1' two_clients
