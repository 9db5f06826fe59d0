#!/usr/bin/env bash
# Tells the operator, for cron jobs: scripts/alert-telegram.sh INFO|WARNING|CRITICAL TEXT [--key KEY] [--source WHO]
# The running daemon sends it; without one it waits in a file for the next. No token is needed here.
# Exit codes: 0 taken or kept, 64 wrong call, 69 no openclaw, 74 it could not be kept, 75 the daemon could not store it yet.
set -euo pipefail
usage="usage: $(basename "$0") INFO|WARNING|CRITICAL TEXT [--key KEY] [--source WHO]"
[ $# -ge 2 ] || { echo "$usage" >&2; exit 64; }
level=$1 text=$2
shift 2
here=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd)
# The one that is named, that of this installation or checkout, the one on the path.
for openclaw in "${OPENCLAW_BIN:-}" "$here/bin/openclaw" "$here/target/release/openclaw" "$(command -v openclaw || true)"; do
    [ -n "$openclaw" ] && [ -x "$openclaw" ] && exec "$openclaw" alert raise "$@" -- "$level" "$text"
done
echo "$(basename "$0"): there is no openclaw: install it, or name it in OPENCLAW_BIN; not told: $level $text" >&2
exit 69
