#!/bin/sh
# SPDX-License-Identifier: MIT
# What a user is promised of ./farcall itself: streams, exit statuses, clear errors. Prints `tool NAME ok` or
# `tool NAME FAIL WHY` for each fact, and `tool done` last.
set -u
farcall=$(dirname "$(dirname "$(readlink -f "$0")")")/farcall
export FARCALL_NO_BUILD=1
build=${FARCALL_BUILD:-$(dirname "$farcall")/build}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# name expected-status expected-output command...  (output: stdout only; "*" is not compared)
check() {
    name=$1 want_status=$2 want=$3
    shift 3
    "$@" >"$work/out" 2>"$work/err"
    status=$?
    got=$(cat "$work/out")
    if [ "$status" != "$want_status" ]; then
        cp "$work/err" "$build/log/tool-$name"  # a panic is more than its last line
        echo "tool $name FAIL status $status, not $want_status: $(tail -n 1 "$work/err")"
    elif [ "$want" != '*' ] && [ "$got" != "$want" ]; then
        echo "tool $name FAIL output '$(printf %.80s "$got")', not '$want'"
    else
        echo "tool $name ok"
    fi
}
# The same, and standard error must be exactly one line, which is kept in $work/said.
one_line() {
    check "$@"
    cp "$work/err" "$work/said"
    lines=$(wc -l <"$work/err")
    [ "$lines" = 1 ] && echo "tool $1.one_line ok" || echo "tool $1.one_line FAIL $lines lines on standard error"
}
# Limits that only end hangs grow with the slowness of the host.
pace=${FARCALL_PACE:-1}
limit=$((60 * pace))
run() { "$farcall" run --timeout $limit "$@"; }

# A program of a Debian package that only a test needs: there, or installed now where CI or root may. What else follows the
# check says `skipped NAME: WHY`.
have_package() { # PROGRAM PACKAGE
    command -v "$1" >/dev/null 2>&1 && return
    [ "$(id -u)" = 0 ] && [ -z "${FARCALL_NO_INSTALL:-}" ] || return
    export DEBIAN_FRONTEND=noninteractive
    timeout 600 apt-get install -y --no-install-recommends "$2" >"$work/apt" 2>&1 </dev/null ||
        { timeout 300 apt-get update >"$work/apt" 2>&1 </dev/null && timeout 600 apt-get install -y --no-install-recommends "$2" >"$work/apt" 2>&1 </dev/null; }
    command -v "$1" >/dev/null 2>&1
}

# Parts in files of their own; `tests/tool.sh PART...` runs only these.
part() { . "$(dirname "$farcall")/tests/tool/$1.sh"; }
if [ $# != 0 ]; then
    for name in "$@"; do part "$name"; done
    echo 'tool done'
    exit
fi
part memory
part size
part bench
part misses
part report
part server_stats
part ltp
part disk

check true 0 '' run -- busybox true
check false 1 '' run -- busybox false
check status_byte 255 '' run -- sh -c 'exit 255'
check output 0 'a b  c' run -- busybox echo 'a b  c'
check arguments_kept 0 '[a b][][%20][é"$]' run -- busybox printf '[%s]' 'a b' '' '%20' 'é"$'
check killed_by_signal 137 '' run -- sh -c 'kill -9 $$'
check segmentation_fault 139 '' run -- sh -c 'kill -SEGV $$'
one_line not_found 127 '' run -- no-such-program
one_line not_found_path 127 '' run -- /bin/no-such-program
one_line not_executable 126 '' run -- /etc/passwd
one_line bad_option 2 '' "$farcall" run --no-such-option -- busybox true
one_line bad_cpus 2 '' run --cpus 99 -- busybox true
one_line bad_memory 2 '' run --memory lots -- busybox true
# A processor without long mode.
one_line processor_too_old 2 '' run --cpu qemu32 -- busybox true
one_line bad_route 2 '' run --route sideways -- busybox true
one_line remote_needs_two 2 '' run --route remote -- busybox true
one_line missing_root 2 '' run --root "$work/none" -- busybox true
one_line missing_program 2 '' run
one_line missing_qemu 2 '' env PATH=/nonexistent "${FARCALL_BUILD:-$(dirname "$farcall")/build}/host/farcall-tool" run -- busybox true
licenses() { run -- sh -c 'wc /usr/share/common-licenses/*'; }
check licenses 0 "$(cd / && busybox wc /usr/share/common-licenses/*)" licenses
sorted() { seq 1 100000 | run -- busybox sort -n | tail -n 1; }
check input_passed_in 0 100000 sorted
binary() { head -c 300000 /dev/urandom >"$work/random"; run -- busybox cat <"$work/random" | cmp - "$work/random"; }
check bytes_unchanged 0 '' binary
empty() { run -- busybox wc -c </dev/null; }
check null_input 0 0 empty
streams() { run -- sh -c 'echo out; echo err >&2' 2>"$work/two"; cat "$work/two"; }
check streams_apart 0 "out
err" streams
early() { run -- busybox yes | head -n 1; }
check closed_output 0 y early

mkdir -p "$work/root/bin" "$work/root/data"
cp /bin/busybox "$work/root/bin/busybox"
ln "$work/root/bin/busybox" "$work/root/bin/hard"
ln -s busybox "$work/root/bin/soft"
echo hello >"$work/root/data/file"
chmod 2751 "$work/root/data"
chown 12:34 "$work/root/data/file"
own_root() { run --root "$work/root" -- /bin/busybox sh -c '
    /bin/busybox stat -c "%a %h" /bin/hard; /bin/busybox readlink /bin/soft; /bin/busybox cat /data/file
    /bin/busybox stat -c "%a" /data; /bin/busybox stat -c "%u:%g" /data/file'; }
check own_root 0 "755 2
busybox
hello
2751
12:34" own_root
printf '#!/bin/sh\necho script "$0" "$1"\n' >"$work/script"
chmod 755 "$work/script"
check host_program_copied 0 "script $work/script x" run -- "$work/script" x
# Help needs no build, and is what the tool says.
check help_is_current 0 '' "$(dirname "$farcall")/scripts/help" check
unbuilt() { FARCALL_NO_BUILD= FARCALL_BUILD="$work/none" PATH=/usr/bin:/bin "$farcall" "$@"; }
for words in '' run test bench trace size report oracle 'oracle record' 'run --cpus 2'; do
    # shellcheck disable=SC2086
    help() { unbuilt $words --help >"$work/help" && [ -s "$work/help" ] && [ ! -e "$work/none" ]; }
    check "help_without_a_build_$(printf %s "${words:-alone}" | tr ' ' _)" 0 '' help
done
check help_of_the_program 0 '' sh -c "'$farcall' run busybox --help | grep -q 'multi-call binary'"
one_line no_subcommand 2 '' unbuilt
one_line unknown_subcommand 2 '' unbuilt walk
one_line not_found_without_a_build 127 '' unbuilt run -- no-such-program
# Programs of the host: with their interpreters and libraries, found as the loader finds them.
check host_bash 0 'a-b 5.' sh -c "'$farcall' run -- bash -c 'x=(a b); echo \"\${x[0]}-\${x[1]} \${BASH_VERSION%%.*}.\"'"
check host_perl 0 42 run -- perl -e 'print 6 * 7, "\n"'
check host_coreutils 0 'coreutils' sh -c "'$farcall' run -- /usr/bin/ls --version | grep -o -m 1 coreutils"
check host_ls_long 0 '-rw-r--r-- 1 root root' sh -c "'$farcall' run -- /usr/bin/ls -l /etc/passwd | cut -d ' ' -f 1-4"
check host_sed 0 bab run -- sh -c 'echo aba | sed y/ab/ba/'
printf '#!/usr/bin/env bash\necho "env script ${BASH_VERSION:+bash} $1"\n' >"$work/env-script"
printf '#!%s/script\n' "$work" >"$work/nested"
printf '#!%s/nothing -x\n' "$work" >"$work/no-interpreter"
printf '#!/usr/bin/env no-such-program\n' >"$work/no-target"
chmod 755 "$work/env-script" "$work/nested" "$work/no-interpreter" "$work/no-target"
check host_env_script 0 'env script bash x' run -- "$work/env-script" x
check host_script_of_a_script 0 "script $work/script $work/nested" run -- "$work/nested" x
one_line host_script_lacks_interpreter 127 '' run -- "$work/no-interpreter"
check says_the_interpreter 0 1 grep -c "no-interpreter: its interpreter $work/nothing is neither" "$work/said"
one_line host_script_lacks_target 127 '' run -- "$work/no-target"
check says_the_target 0 1 grep -c 'no-such-program, which runs it, is not found' "$work/said"
# -v names a call that is missing, once for each program that makes it.
missing_calls() {
    run -v -- perl -e 'for (1..3) { syscall(250); } if (fork) { wait } else { open(F, ">", "/proc/self/comm"); print F "other"; close F; syscall(250) for 1..3 }' 2>&1 |
        tr -d '\r' | grep -o '[a-z]*: system call keyctl .* is not implemented'
}
check missing_calls_named 0 'perl: system call keyctl (250) is not implemented
other: system call keyctl (250) is not implemented' missing_calls
# A library beside the program ($ORIGIN), one that only a library needs, and the same with one of them gone.
mkdir -p "$work/elf/lib"
if printf 'int two(void) { return 2; }\n' | gcc -shared -fPIC -Wl,-soname,libtwo.so -o "$work/elf/lib/libtwo.so" -xc - &&
    printf 'int two(void); int one(void) { return two() - 1; }\n' |
        gcc -shared -fPIC -o "$work/elf/lib/libone.so" -xc - -L"$work/elf/lib" -ltwo '-Wl,-rpath,$ORIGIN' &&
    printf 'int one(void); int main(void) { return 40 + one(); }\n' |
        gcc -o "$work/elf/program" -xc - -L"$work/elf/lib" -lone '-Wl,-rpath,$ORIGIN/lib' "-Wl,-rpath-link,$work/elf/lib"; then
    check host_libraries 41 '' run -- "$work/elf/program"
    in_folder() { cd "$work/elf" && run -- ./program; }
    check host_libraries_relative 41 '' in_folder
    rm "$work/elf/lib/libtwo.so"
    one_line host_lacks_library 127 '' run -- "$work/elf/program"
    check says_the_library 0 1 grep -c 'the shared library libtwo.so, which libone.so needs, is not found' "$work/said"
fi
cp /bin/busybox "$work/root/bin/lacking" && printf '#!/bin/none\n' >"$work/root/bin/lacking"
one_line root_script_lacks_interpreter 127 '' run --root "$work/root" -- /bin/lacking
late() { "$farcall" run --timeout 2 -- busybox sleep 100 2>/dev/null; }
check timeout 124 '' late
server_jobs() {
    "$farcall" run --timeout $((2 * pace)) --route server -- busybox sleep 100 2>&1 | grep -c '^farcall: job thread at .*: waits for sleep'
}
check timeout_shows_the_server 0 1 server_jobs

# A wake-up that never comes is named by the dump: the job, what it waits for, and the line where.
planted() {
    "$farcall" run --timeout $((10 * pace)) --test-kernel --append plant=lost-wake-up -- busybox sleep 100 2>&1 |
        grep -A 1 '^job planted at .*: waits for a wake-up that was lost$' |
        grep -c 'wait_for_ever() (.*tests/kernel/hooks.cpp:[0-9]*)'
}
check timeout_shows_a_lost_wake_up 0 1 planted

# The Linux server dies at several steps of a call: the status is 71, a backtrace names the step, and a native program beside
# it comes to its own end.
death() {
    "$farcall" run --timeout $limit --cpus 2 --route server --test-kernel --append "plant=server-$1" \
        --native 'examples/ticker 3 50' -- "$build/guest/tests/server_death" "$1" >"$work/death" 2>&1
    died=$?
    grep -c '^ticker: 3 of 3$' "$work/death"
    grep -c 'not reached' "$work/death"
    grep -q "$2" "$work/death" && echo named
    return $died
}
dies() { check "server_death_$1" 71 "1
0
named" death "$1" "$2"; }
dies leaf 'planted_syscall(port::UserThread&) at .*hooks.cpp'
dies lock 'crash_with_lock() at .*hooks.cpp'
dies fault 'planted_fault(port::UserThread&, lib::Trap const&) at .*hooks.cpp'
dies panic 'server failure: planted in'
dies task 'awaits in Task<void> .*planted_inner()'
dies exit 'farcall: the Linux server died'
dies twice 'a thread of the Linux server stops: trap 1'
skeleton=${FARCALL_BUILD:-$(dirname "$farcall")/build}/guest/tests/skeleton
# Parent and child write at the same time: the lines are compared in sorted order.
walk() {
    "$@" >"$work/walk"
    walked=$?
    sort "$work/walk"
    return $walked
}
if [ -x "$skeleton" ]; then
    want=$(walk timeout $((20 * pace)) "$skeleton")
    for route in inline remote server; do
        check "skeleton_$route" 3 "$want" walk run --cpus 2 --route $route -- "$skeleton"
    done
fi
# A shell at a terminal (script(1) makes one): what is typed waits until the screen shows what it answers.
shows() {
    tries=0
    until grep -q "$1" "$work/screen" 2>/dev/null; do
        tries=$((tries + 1))
        [ $tries -lt $((400 * pace)) ] || return 1
        sleep 0.1
    done
}
types() { printf "$2" >&3; shows "$1" || { echo "'$1' is not on the screen"; printf '\001x' >&3; return 1; }; }
terminal() {
    rm -f "$work/keys" "$work/screen"
    mkfifo "$work/keys"
    script -qefc "stty rows 33 columns 77; '$farcall' run --timeout $limit --cpus 2 --route $1 -- busybox sh" "$work/screen" <"$work/keys" >/dev/null 2>&1 &
    terminal=$!
    exec 3>"$work/keys"
    types '# ' '' && types '^42' 'echo $((40+2))\r' && types '^33 77' 'stty size\r' &&
        types '^reading' "echo read''ing; cat; echo en''d=\$?\\r" && types '^line' 'li\177ine\r' && types '^end=0' '\004' &&
        types '^asleep' "echo a''sleep; sleep 100\\r" && sleep 0.5 && types '\^C' '\003' && types '^status=130' 'echo sta""tus=$?\r' &&
        printf 'exit 5\r' >&3
    wait $terminal
    ended=$?
    exec 3>&-
    return $ended
}
for route in inline remote server; do check "terminal_$route" 5 '' terminal $route; done
# The plugin against QEMU's own count (bench/count_check.c): they may differ by the markers and by the stores that faulted.
counted() {
    run --accel tcg,thread=single --qemu-arg=-icount --qemu-arg=shift=0,sleep=off \
        --qemu-arg=-plugin --qemu-arg="$build/host/count_plugin.so,out=$work/counts" -- "$build/guest/bench/count_check" >"$work/tsc" || return
    cat "$work/counts" "$work/tsc" | awk '$1 == "count" { count = $4 + $5 } $1 == "tsc" { tsc = $2 }
        END { d = count - tsc; print (tsc > 0 && d > -20 && d < 90) ? "agree" : "count " count ", tsc " tsc }'
}
# All of the kernel as the range in which it spins: nothing is left to the kernel, and nothing is lost.
spins() {
    run --qemu-arg=-plugin \
        --qemu-arg="$build/host/count_plugin.so,out=$work/counts,spin_begin=0x8000000000000000,spin_end=0xffffffffffffffff" \
        -- "$build/guest/bench/count_check" >/dev/null || return
    awk '$1 == "count" { print ($4 > 0 && $5 == 0 && $6 > 1000) ? "apart" : $0 }' "$work/counts"
}
# Over the server route, the server starts before the program's first instruction.
served() {
    run --route server --qemu-arg=-plugin \
        --qemu-arg="$build/host/count_plugin.so,out=$work/counts,server_begin=0x60000000,server_end=0x61000000" \
        -- "$build/guest/bench/syscall" boot >/dev/null || return
    awk '$1 == "note" && $2 == 1 { print ($5 > 100000 && $7 > 100000 && $8 < 10) ? "apart" : $0 }' "$work/counts"
}
if [ -x "$build/guest/bench/count_check" ]; then
    check count_is_exact 0 agree counted
    check spin_counted_apart 0 apart spins
    check server_counted_apart 0 apart served
fi

# Where calls are executed: words that are refused before a guest starts, and by the kernel when the tool does not look.
one_line route_needs_two_for_adaptive 2 '' run --route adaptive -- busybox true
for route in fs fs: fs:0+ fs:+0 fs:2 fs:0+2 fs:9999999 fs:-1 fs:x file:1 fs:0,,mm:1 fs:0, ,; do
    one_line "bad_route_$route" 2 '' run --cpus 2 --route "$route" -- busybox true
done
one_line route_server_is_of_all_modules 2 '' run --cpus 2 --route fs:server -- busybox true
check says_what_is_placed_once 0 1 grep -c "one placement.*--route server" "$work/said"
for capacity in 1 1: 1:0 1:0.0 1:1.5 1:2 1:x 1:.5 1:0.1234 1:1.0 2:0.5 x:1 1:-1 1:1,1:1 0:1,; do
    one_line "bad_capacity_$capacity" 2 '' run --cpus 2 --capacity "$capacity" -- busybox true
done
for spin in -1 x 1000000; do one_line "bad_spin_$spin" 2 '' run "--spin=$spin" -- busybox true; done
one_line bad_spin_for_kernel 2 '' run --append spin=x -- busybox true
one_line bad_route_for_kernel 2 '' run --append route=fs:1 -- busybox true
one_line bad_stats 2 '' run --stats=all -- busybox true
# What the tool adds to the kernel's command line, seen by a QEMU that only looks at its own.
mkdir -p "$work/qemu"
printf '#!/bin/sh\nprintf "%%s\\n" "$@" >"%s/words"\nexit 1\n' "$work" >"$work/qemu/qemu-system-x86_64"
chmod 755 "$work/qemu/qemu-system-x86_64"
words() {
    PATH="$work/qemu:$PATH" "$@" -- busybox true
    tr ' ' '\n' <"$work/words" | grep -E '^(route|spin|capacity)='
}
check route_and_capacity_passed 0 'route=fs:0+1,task:1,*:inline
capacity=1:0.25,0:1
spin=50' words run --cpus 2 --route 'fs:0+1,task:1,*:inline' --capacity 1:0.25,0:1 --spin 50
host_cpu=$(taskset -cp $$ | sed 's/.*: //; s/[-,].*//')
check no_spin_beyond_host 0 'route=inline
spin=0' words taskset -c "$host_cpu" "$farcall" run --cpus 2
check spin_of_the_user_wins 0 'route=inline
spin=7' words taskset -c "$host_cpu" "$farcall" run --cpus 2 --spin 7
check spin_is_the_kernels_within_host 0 route=inline words taskset -c "$host_cpu" "$farcall" run --cpus 1

# /proc/farcall/modules. Columns: 1 name, 2 place, 3 policy, 11 migrations; the others count calls.
check modules_read 0 'module place
task inline
mm inline
fs 0+1
net inline
sync inline
time 1
total_remote
cpu 0
cpu 1' run --cpus 2 --route fs:0+1,time:1 -- sh -c 'sed "s/^total_remote .*/total_remote/" /proc/farcall/modules | grep -v ^adaptive | cut -d " " -f 1-2'
check modules_obey 0 'fs 1 fifo 1
mm 0+1 fifo 1
net inline cohort 0
sync inline priority 0
time inline controller 0
task inline fifo 2
many calls' run --cpus 2 -- sh -c 'cd /proc/farcall
    for c in "fs 1" "mm 0+1" "task 0" "task inline" "net policy cohort" "sync policy priority" "time policy controller" \
        "task policy cohort" "task policy fifo" "fs batch 3" "spin 0" "spin 20"; do echo "$c" >modules || echo "refused: $c"; done
    for m in fs mm net sync time task; do grep "^$m " modules | cut -d " " -f 1-3,11; done
    taskset 1 dd if=/dev/zero of=/dev/null bs=1 count=2000 2>/dev/null
    [ "$(grep ^fs modules | cut -d " " -f 4)" -gt 4000 ] && echo many calls'
check modules_refuse 0 'unchanged' run --cpus 2 --route fs:1,mm:0+1 -- sh -c 'cd /proc/farcall
    state() { cut -d " " -f 1-3,11 modules | grep -v "^total\|^cpu\|^adaptive"; }
    echo "net policy cohort" >modules
    before=$(state)
    for c in "" " " fs "fs 2" "fs 99999999" "fs -1" "fs 1+" "fs +1" "fs 1+2" "fs 0 1" "fs x" "fs inline x" "fs inline+1" "FS 1" "file 1" \
        "home 1" "* 1" "fs:1" inline remote "fs policy" "fs policy lifo" "fs policy fifo x" "fs batch" "fs batch 0" "fs batch x" \
        "fs batch 1 2" "fs batch 10000000" spin "spin x" "spin -1" "spin 1 2" "spin 10000000" "policy fifo" "fs 0
mm 0"; do
        why=$(echo "$c" 2>&1 >modules) && echo "taken: $c"
        case $why in *"Invalid argument") ;; *) echo "$c: $why" ;; esac
    done
    [ "$(state)" = "$before" ] && echo unchanged'
# Modules on the move while calls are under way: nothing is lost, nothing is done twice.
on_the_move() {
    run --cpus "$1" --route "$2" -- sh -c 'list() { find / -xdev | sort | md5sum; }
        calls() { dd if=/bin/busybox bs=512 2>/dev/null | md5sum; }
        pipes() { seq 1 3000 | while read -r n; do echo "$n"; done | md5sum; }
        list=$(list) calls=$(calls) pipes=$(pipes)
        (while :; do for place in 1 inline 0+1 0; do for m in fs task mm sync time; do
            echo "$m $place" >/proc/farcall/modules || echo "refused: $m $place"; done; done; done) &
        for round in 1 2 3; do
            [ "$(list)" = "$list" ] && [ "$(calls)" = "$calls" ] && [ "$(pipes)" = "$pipes" ] && echo right || echo wrong
        done
        kill $!
        [ "$(grep ^fs /proc/farcall/modules | cut -d " " -f 11)" -gt 20 ] && echo moved'
}
check modules_move_under_calls 0 'right
right
right
moved' on_the_move 2 inline
check modules_move_under_calls_remote 0 'right
right
right
moved' on_the_move 4 remote

# The controller, with a module that is always busy as far as it can tell: it moves off a CPU that is much slower than another
# that serves, to no other, and stays there. A policy that is taken away and given again starts it anew.
controlled() {
    run --cpus 3 --route fs:1,net:2 --test-kernel --append plant=busy "$@" -- taskset 1 sh -c 'cd /proc/farcall
        echo fs policy controller >modules; echo fs policy fifo >modules; sleep 0.3
        grep "^fs" modules | cut -d " " -f 1-3,11
        echo fs policy controller >modules
        n=0; while [ $n -lt 40 ] && grep -q "^fs 1 " modules; do sleep 0.05; n=$((n + 1)); done; sleep 0.3
        grep "^fs" modules | cut -d " " -f 1-3,11'
}
check controller_stays 0 'fs 1 fifo 1
fs 1 controller 1' controlled
check controller_moves_by_capacity 0 'fs 1 fifo 1
fs 2 controller 2' controlled --capacity 1:0.25
check controller_compares_capacities 0 'fs 1 fifo 1
fs 1 controller 1' controlled --capacity 1:0.25,2:0.25
# The time that a module's CPU sleeps counts, the sleep that goes on too; no clock goes back, and together they are the time
# since boot.
idle() {
    run --cpus 2 --route "$1" -- taskset 1 sh -c 'look() { grep "^cpu 1 " /proc/farcall/modules | cut -d " " -f 4,6,8; }
        for i in 1 2 3 4; do look; sleep 0.3; done; cut -d " " -f 1 /proc/uptime' >"$work/idle"
    awk 'NF == 3 { all = $1 + $2 + $3
            if (n++ && ($1 < user || $2 < kernel || $3 < idle)) print "back: " user, kernel, idle, "then", $0
            if (n > 1 && ($3 - idle < 1e8 || $3 - idle > all - before)) print "asleep for", $3 - idle, "of", all - before
            user = $1; kernel = $2; idle = $3; before = all }
        NF == 1 { d = $1 - before / 1e9; print n, (d > 0.2 && d < 20 ? "the time since boot" : "not " $1 ": " before) }' "$work/idle"
}
check idle_while_a_module_cpu_sleeps 0 '4 the time since boot' idle remote
check idle_in_one_long_sleep 0 '4 the time since boot' idle net:1
# Alone on its CPU with what it wakes, a program that never waits: no timer of others is there to help.
never_waits() { run --cpus 1 -- "$build/guest/tests/clock" beside_one_that_never_waits; }
[ -x "$build/guest/tests/clock" ] && check never_waits 0 'read(both[0], &byte, 1) -> 1
who never waits: killed by SIGKILL' never_waits
# A thread on the CPU that executes all the others' calls, and adaptive, which may send anybody's calls anywhere.
starve() { run --cpus "$1" --route "$2" -- "$build/guest/tests/starve" 1 "$1"; }
if [ -x "$build/guest/tests/starve" ]; then
    for route in '*:1' '*:0+1' adaptive; do
        check "nobody_starves_$route" 0 'computed
slept
called' starve 4 "$route"
    done
    check nobody_starves_adaptive_2 0 'computed
slept
called' starve 2 adaptive
fi

# Kill, exit, exec, signals and fork while calls are in flight on another CPU, held up there at each step until their home has
# detached; and with the module moved at that step.
in_flight() {
    policy=
    [ "${1#move-}" = before-queued ] && policy=cohort
    # shellcheck disable=SC2086
    run --cpus 4 --route "$2" --test-kernel --append "hold=$1" -- "$build/guest/tests/inflight" $policy
}
if [ -x "$build/guest/tests/inflight" ]; then
    for step in before-serve after-serve before-queued before-again after-again; do
        for hold in $step move-$step; do
            check "in_flight_$hold" 0 'killed
exited
executed
signalled
forked
ended' in_flight $hold 'fs:2,*:inline'
        done
    done
    check in_flight_remote 0 'killed
exited
executed
signalled
forked
ended' in_flight before-serve remote
fi
# Long copies are shared by the two CPUs, until the program has seen it.
if [ -x "$build/guest/tests/share" ]; then
    check copies_shared 0 ok run --cpus 2 --route remote -- "$build/guest/tests/share" counted
fi
one_line bad_hold 2 '' run --test-kernel --append hold=nowhere -- busybox true
# The shipped kernel has no hooks for tests: it refuses their words.
for word in ktest ktest=1 check=cap_right check= plant=busy hold=before-serve mutants=list mutant=read:zero; do
    one_line "shipped_refuses_$word" 2 '' run --append "$word" -- busybox echo ran
done
one_line shipped_refuses_check_of_native 2 '' run --native examples/pingpong --append check=cap_right

# --stats: two tables behind the program's output; the module CPU has executed the calls, and times add up.
stats() {
    run --stats --cpus 2 --route remote -- sh -c 'ls / >/dev/null; echo last >&2' 2>"$work/stats"
    awk 'NR == 1 { print $1 } $1 == "fs" && $2 == 1 && $3 == "fifo" && $4 > 10 && $5 > 0 && $12 == 1 { print "fs" }
        $1 == "cpu" { cpus = 1 } cpus && $1 == 0 && $NF == 0 && $2 > 0 { print "cpu 0" }
        cpus && $1 == 1 && $NF > 20 && $2 == 0 { print "cpu 1" }
        cpus && NF == 8 && $1 != "cpu" { all = $3 + $5 + $7; if (all < 99.7 || all > 100.3) print "not all: " $0 }
        cpus && NF == 8 && $1 != "cpu" { served += $NF }
        / remote calls, / { print (served == $5 ? "whole" : "served " served " of " $5) }
        /^longest stretch with interrupts off: [0-9]+ instructions, in [a-z]/ && $6 > 1000 { print "longest" }' "$work/stats"
}
check stats_tables 0 'last
fs
cpu 0
cpu 1
whole
longest' stats
stats_json() { run --stats=json --cpus 2 --route remote -- busybox true 2>"$work/stats"; wc -l <"$work/stats"; grep -o -e '"name": "fs", "place": "1", "policy": "fifo"' -e '"longest_stretch": {"instructions": [1-9]' "$work/stats" | sed 's/[1-9]$/N/'; }
check stats_json 0 '1
"name": "fs", "place": "1", "policy": "fifo"
"longest_stretch": {"instructions": N' stats_json
stats_server() { run --stats=json --cpus 2 --route server -- busybox true 2>"$work/stats"; grep -c '^{"nanoseconds": [1-9]' "$work/stats"; }
check stats_server 0 1 stats_server
stats_many() { run --stats --cpus 16 -- busybox true 2>"$work/stats"; awk '$1 == "cpu" { cpus = 1 } cpus && NF == 8 && $1 == n { n++ } END { print n }' "$work/stats"; }
check stats_of_many_cpus 0 16 stats_many
stats_status() { run --stats -- sh -c 'exit 9' 2>"$work/stats"; }
check stats_status 9 '' stats_status

# What the dead have left behind is there when it is wanted: nobody is killed, no fork fails.
for route in inline remote mm:0,fs:1; do
    for test in most_memory most_memory_twice most_memory_at_once; do
        check "${test}_$route" 0 'bad = 0' run --memory 32M --cpus 2 --route "$route" -- "$build/guest/tests/reclaim" $test
    done
done
# What was left for later is shown.
reclaimed() { run --cpus 2 --route remote --stats -- "$build/guest/tests/reclaim" last_close 2>&1 >/dev/null | awk '$1 == "fs" { print ($NF >= 4500) }'; }
check stats_show_what_was_left 0 1 reclaimed
# Programs of the native interface: the examples say what they should, with and without fastpaths, on one CPU and two.
native() { run --native "examples/$1" --cpus "$2" --fastpath "$3"; }
pingpong() { native "$@" | cut -d , -f 1; }
for cpus in 1 2; do
    for fast in all none; do
        how=${cpus}_$fast
        check "native_pingpong_$how" 0 'pingpong: 100000 round trips' pingpong pingpong $cpus $fast
        check "native_echo_$how" 0 "echo: client 7 says 'hello' and hears 'olleh' at its call 1
echo: client 9 says 'fastpath' and hears 'htaptsaf' at its call 1
echo: client 7 says 'a server of another space' and hears 'ecaps rehtona fo revres a' at its call 2
echo: client 7 cannot pass for client 9
echo: the clients have lost their capabilities" native echo $cpus $fast
        check "native_pager_$how" 0 'pager: 16 faults answered, the sum is 120
pager: 3000000000 is outside the region (a write): the thread stops' native pager $cpus $fast
        check "native_personality_$how" 0 'Linux program: hello
Linux program: getpid works
Linux program: no register has changed
Linux program: an unknown call is ENOSYS
personality: 8 system calls, status 7' native personality $cpus $fast
        check "native_events_$how" 0 'events: signals of 1 and 16 are received as 17
events: nothing came within 10 ms
events: one endpoint gave signals 12 and the message 123
events: three interrupts of the timer' native events $cpus $fast
        check "native_sharing_$how" 0 'sharing: 1000 numbers received, their sum is 499500
sharing: the reader may not write at 2000000008' native sharing $cpus $fast
        check "native_loader_$how" 0 "loader: the program's pool is smaller than a megabyte
loader: the program with badge 77 says 42
loader: it computes within its budget
loader: it has ended, and its memory is free" native loader $cpus $fast
    done
done
# A program without a thread that can go on ends, also beside Linux; with one it does not.
for how in alone suspend delete stop; do
    for cpus in 1 2; do one_line "native_stands_still_${how}_$cpus" 72 '' run --native tests/native_end/stops --cpus $cpus -- $how; done
    one_line "native_stands_still_${how}_beside" 72 '' run --route server --native "tests/native_end/stops $how" --cpus 1 -- true
done
for cpus in 1 2; do
    check native_goes_on_$cpus 6 'stops: another thread has ended the program' run --native tests/native_end/stops --cpus $cpus -- other
done
one_line native_unknown 2 '' run --native examples/nothing
one_line native_has_no_root 2 '' run --native examples/echo --root "$work"
one_line native_has_no_routes 2 '' run --native examples/echo --route remote --cpus 2
one_line native_bad_fastpath 2 '' run --native examples/echo --fastpath sideways
part trace
echo 'tool done'
