#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs go test -v and shows what matters: packages that passed, and what was skipped with the reason; after a failure all but
# the tests that passed, and at the very end, where a log that was cut still has it, what each failure said.
log=$(mktemp)
"$@" >"$log" 2>&1
rc=$?
if [ $rc = 0 ]; then
	grep -E '^ok ' "$log"
	grep -B1 -E '^ *--- SKIP' "$log"
else
	grep -vE '^(=== |--- PASS|    --- PASS)' "$log"
	echo "What failed:"
	grep -vE '^(=== |ok |--- PASS|    --- PASS)' "$log" | grep -E -B 24 -A 12 '^ *--- FAIL|^ +FAIL: |^panic:|^FAIL|WARNING: DATA RACE' | cut -c1-400 | tail -n 250
fi
rm -f "$log"
exit $rc
