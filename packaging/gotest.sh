#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs go test -v and shows what matters: packages that passed, what was skipped with the reason, and of each test that failed the last
# of what it said, which a log that is cut in the middle must still have.
log=$(mktemp)
"$@" >"$log" 2>&1
rc=$?
grep -E '^ok ' "$log"
grep -B1 -E '^ *--- SKIP' "$log"
if [ $rc != 0 ]; then
	echo "What failed:"
	# First the names, then the parts of the log that are theirs: each begins with "=== RUN", CONT or NAME. What has no name, such as
	# a compiler's errors, a panic and a race, is shown with what is around it.
	awk -v most=60 '
		function show(  i) {
			if (name in failed) for (i = n > most ? n - most : 0; i < n; i++) print part[i]
			n = 0
		}
		NR == FNR { if ($1 == "---" && $2 == "FAIL:") failed[$3]; next }
		$1 == "===" { show(); name = $3 }
		/^(ok|PASS|FAIL|panic:)/ { show(); name = "" }
		{ part[n++] = substr($0, 1, 400) }
		END { show() }' "$log" "$log" | grep -vE '^=== (RUN|PAUSE|CONT)'
	grep -vE '^(=== |ok |PASS|\?  |--- PASS|    --- PASS)' "$log" | grep -E -B 5 -A 12 '^# |^panic:|^FAIL|WARNING: DATA RACE' | cut -c1-400 | tail -n 120
fi
rm -f "$log"
exit $rc
