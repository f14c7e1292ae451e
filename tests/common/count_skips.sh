#!/bin/sh
# Runs tests and says at the end how many of them were passed over, and why: count_skips.sh COMMAND...
GYRE_SKIPPED=$(mktemp) || exit 1
export GYRE_SKIPPED
trap 'rm -f "$GYRE_SKIPPED"' EXIT
"$@"
status=$?
if [ -s "$GYRE_SKIPPED" ]; then
    sort "$GYRE_SKIPPED" | uniq -c | sed 's/^ *\([0-9]*\) /skipped: \1 /'
else
    echo "skipped: 0"
fi
exit $status
