# SPDX-License-Identifier: MIT
# A small tree with the layout of an installed LTP: tests that pass, fail, do not apply, differ between routes and fastpaths.
ltp=$work/ltp
mkdir -p "$ltp/runtest" "$ltp/testcases/bin" "$ltp/testcases/data"
printf '#!/bin/sh\n. needs_data.sh\n[ "$1" = a ] && [ "$(cat "$LTPROOT/testcases/data/file")" = data ] && [ -w "$TMPDIR" ]\n' >"$ltp/testcases/bin/pass01.sh"
echo 'data=$LTPROOT/testcases/data/file' >"$ltp/testcases/bin/needs_data.sh"
echo data >"$ltp/testcases/data/file"
chmod 755 "$ltp/testcases/bin/"*.sh
printf '%s\n' '# A comment' '' 'pass01 pass01.sh a' ' pass02   sh -c "exit 0"' 'fail01 pass01.sh b' 'conf01 sh -c "exit 32"' \
    'killed01 sh -c "kill -9 \$\$"' 'missing01 no-such-program' >"$ltp/runtest/syscalls"
if printf '#include <stdio.h>\nint main(void) { return puts("TPASS") < 0; }\n' | gcc -g -o "$ltp/testcases/bin/dynamic01" -xc -; then
    echo 'dynamic01 dynamic01' >>"$ltp/runtest/syscalls"
else
    echo 'dynamic01 true' >>"$ltp/runtest/syscalls"
fi
ltp() { "$farcall" test ltp "$@" | sed 's/  */ /g'; }
ltp() { "$farcall" test ltp "$@" >"$work/ltp.out"; status=$?; sed 's/  */ /g' "$work/ltp.out"; return $status; }
# All results are the same everywhere; what does not pass anywhere is no difference.
check ltp_same 0 'inline 3 failed 1 not configured 3 passed
server fastpath=all 3 failed 1 not configured 3 passed
server fastpath=none 3 failed 1 not configured 3 passed
7 passed, 0 failed' ltp "$ltp"
check ltp_some 0 'inline 1 passed
1 passed, 0 failed' ltp "$ltp" --route inline --cpus 1 --case pass02
# The command line of the kernel tells the routes apart.
echo 'differ01 grep -q route=inline /proc/cmdline' >>"$ltp/runtest/syscalls"
echo 'differ02 grep -qv fastpath=none /proc/cmdline' >>"$ltp/runtest/syscalls"
ltp_differs() { ltp "$ltp" --case pass01 --case differ01 --case differ02 >/dev/null; status=$?; tail -n 3 "$work/ltp.out"; return $status; }
check ltp_differs 1 'FAIL ltp/differ01: passes over inline; not over server fastpath=all (status 1), server fastpath=none (status 1)
FAIL ltp/differ02: passes over inline, server fastpath=all; not over server fastpath=none (status 1)
1 passed, 2 failed' ltp_differs
ltp_fails() { ltp "$ltp" --route inline --case fail01 >/dev/null; status=$?; tail -n 1 "$work/ltp.out"; return $status; }
check ltp_none_passes 1 '1 passed, 1 failed' ltp_fails
one_line ltp_no_directory 2 '' "$farcall" test ltp
one_line ltp_missing 2 '' "$farcall" test ltp "$work/none"
one_line ltp_no_ltp 2 '' "$farcall" test ltp "$work/root"
one_line ltp_no_such_test 2 '' "$farcall" test ltp "$ltp" --case nothing
echo lonely >>"$ltp/runtest/syscalls"
one_line ltp_malformed 2 '' "$farcall" test ltp "$ltp"
