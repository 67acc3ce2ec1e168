#!/usr/bin/env bash
# Prefect's server and, beside it, what compares each new month. When one of them ends, so does the other, and with
# them the container: it is started again as a whole. Arguments go to the flow (--every SECONDS).
set -uo pipefail

prefect server start --host "${PREFECT_SERVER_API_HOST:-0.0.0.0}" --port "${PREFECT_SERVER_API_PORT:-4200}" &
python "$(dirname "$0")/monitor_flow.py" --schedule "$@" &

# `wait` ends with the first of them, or with a signal to this shell.
status=143
trap 'exit 143' TERM INT
trap 'kill $(jobs -p) 2>/dev/null; wait; exit $status' EXIT
wait -n
status=$?
exit
