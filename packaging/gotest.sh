#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs go test -v and shows what matters: packages that passed, and what was skipped with the reason; after a failure all but
# the tests that passed.
log=$(mktemp)
"$@" >"$log" 2>&1
rc=$?
if [ $rc = 0 ]; then
	grep -E '^ok ' "$log"
	grep -B1 -E '^ *--- SKIP' "$log"
else
	grep -vE '^(=== |--- PASS|    --- PASS)' "$log"
fi
rm -f "$log"
exit $rc
