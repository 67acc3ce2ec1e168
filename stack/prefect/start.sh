#!/usr/bin/env bash
# Prefect's server and, beside it, what compares each new month. When one of them ends, so does the other, and with
# them the container: it is started again as a whole.
set -euo pipefail

prefect server start --host 0.0.0.0 --port "${PREFECT_PORT:-4200}" &
python "$(dirname "$0")/monitor_flow.py" --schedule &
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
# A signal ends `wait`, and the trap above then ends both.
trap 'exit 0' TERM INT
status=0
wait -n || status=$?
exit "$status"
