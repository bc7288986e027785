# SPDX-License-Identifier: MIT
# The page of `farcall report`: what is refused, and that a browser renders it, without an error, with the numbers of its JSON.
report() { "$farcall" report "$@"; }
one_line report_no_file 2 '' report "$work/none.json" -o "$work/page.html"
one_line report_of_a_directory 2 '' report "$work" -o "$work/page.html"
refused() { printf %s "$2" >"$work/bad.json"; one_line "report_$1" 2 '' report "$work/bad.json" -o "$work/page.html"; }
refused empty ''
refused text 'no result'
refused cut_off '{"rows": [{"name": "getpid"'
refused list '[]'
refused no_rows '{"commit": "x"}'
refused no_results '{"results": []}'
refused no_unit '{"rows": [{"name": "getpid", "value": 1}]}'
refused word_for_number '{"rows": [{"name": "getpid", "unit": "s", "value": "fast"}]}'
refused bad_misses '{"rows": [], "misses": [{"work": "task0"}]}'
refused bad_member '{"kind": "fastpath", "rows": [], "measured": 7}'
refused second_bad '{"results": [{"rows": []}, 7]}'
refused deep "{\"rows\": [], \"x\": $(printf '%0200d' 0 | tr 0 '[')$(printf '%0200d' 0 | tr 0 ']')}"
refused trace '{"traceEvents": [{"ph": "X"}]}'
check report_writes_nothing_then 1 '' test -e "$work/page.html"
one_line report_missing 2 '' report
have_library() { "$(dirname "$farcall")/scripts/report_library" "$build/report" >/dev/null 2>"$work/library"; }
if have_library; then
one_line report_unwritable 2 '' report "$(dirname "$farcall")/bench/linux-6.1.json" -o "$work/none/page.html"

cat >"$work/syscall.json" <<'END'
{"rows": [{"name": "getpid", "unit": "kernel instructions", "value": 76.25, "goal": 80, "rival": 313},
          {"name": "</script><b>", "unit": "<i>", "value": 4321, "goal": 1, "rival": null}], "commit": "aaaaaaaaaaaa"}
END
sed 's/76.25/71.75/; s/aaaa/bbbb/' "$work/syscall.json" >"$work/later.json"
cat >"$work/more.json" <<'END'
{"results": [
 {"kind": "routes", "rows": [{"name": "task0_remote_over_inline", "unit": "ratio of times", "value": 2.375, "goal": 2.5, "rival": 4.33,
   "status": "met", "spread": {"q1": 2.125, "q3": 2.625}}], "runs": 20, "percent": 100, "commit": "cccccccccccc"},
 {"kind": "fastpath", "rows": [], "measured": {"contention.1.ipc.1.4.fast.round": {"median": 1500}, "contention.1.ipc.2.4.fast.round": {"median": 2500}}},
 {"kind": "misses", "model": "server", "rows": [], "misses": [{"work": "task0", "setting": "inline1", "unit": "call",
   "cpus": [{"user": {"instructions": 2000, "l1d": 7}}], "per_1000": {"l1d": 3.625}, "per_unit": {"instructions": 114.5},
   "per_unit_with_spin": {"instructions": 229}}]}]}
END
check report_of_several 0 "$work/page.html" report "$work/syscall.json" "$work/later.json" "$work/more.json" -o "$work/page.html"
# A status is a class of a cell, and no more; a size has no name.
sed 's/"status": "met"/"status": "x\\"><script>"/; s/{"kind": "fastpath", "rows": \[\]/{"rows": [{"placement": "inline"}]/' "$work/more.json" >"$work/odd.json"
odd() { report "$work/odd.json" -o "$work/odd.html" >/dev/null && grep -c 'x"><script>' "$work/odd.html"; }
check report_odd_rows 1 0 odd
check report_needs_no_network 1 '' grep -o 'src="[^"]*"\|href="http[^"]*"\|@import\|sourceMappingURL' "$work/page.html"
# Numbers of each kind, those of the last result in the table of calls and both in the history; a thing that looks like HTML
# is shown as text.
rendered() {
    timeout $((120 * pace)) chromium --headless --no-sandbox --disable-gpu --enable-logging=stderr --user-data-dir="$work/chromium" \
        --virtual-time-budget=10000 "$@" --dump-dom "file://$work/page.html" >"$work/dom" 2>"$work/console" </dev/null || return
    grep 'CONSOLE' "$work/console"
    grep -o 'data-plots="[0-9]*"' "$work/dom"
    for text in 76.25 71.75 2.375 4.330 2.625 3.625 114.5 229; do
        grep -q ">$text</td>" "$work/dom" && echo "$text"
    done
    grep -c '&lt;/script&gt;&lt;b&gt;' "$work/dom" | awk '{ print ($1 > 0) ? "as text" : "not there" }'
}
# Calls, their history, routes, contention, and five kinds of misses.
all='data-plots="9"
76.25
71.75
2.375
4.330
2.625
3.625
114.5
229
as text'
if have_package chromium chromium; then
    check report_in_a_browser 0 "$all" rendered
    check report_on_a_dark_phone 0 "$all" rendered --force-dark-mode --window-size=400,800
    broken() { sed 's/<script>.*Chart.js/<script>nothing();\/\//; s/const plots = /const plots = broken./' "$work/page.html" >"$work/x.html" && mv "$work/x.html" "$work/page.html" && rendered | grep -c 'CONSOLE\|data-plots'; }
    check report_errors_would_be_seen 0 1 broken
else
    echo 'skipped report_in_a_browser: chromium is not there, and apt-get does not install it'
fi
# And of what misses.sh has measured.
page_of_misses() {
    "$farcall" report "$work/misses.json" -o "$work/misses.html" >/dev/null || return
    grep -c '<td class="text">task1</td><td class="text">remote</td>' "$work/misses.html" | awk '{ print ($1 >= 2) ? "rows" : $1 }'
}
check misses_report 0 rows page_of_misses
else
    echo "skipped report: $(tail -n 1 "$work/library")"
fi
