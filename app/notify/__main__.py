"""`python -m app.notify RUN`: the process that calls the hooks of one finished run, in the order of the system file."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Sequence

from app.base.processes import watch_pipe
from app.config import Settings
from app.errors import LedgerError, VigieError
from app.notify.channel import Cancellable
from app.notify.due import CLAIM, due
from app.notify.sending import call_one
from app.runs.opening import opened
from app.runs.progress import directory


def _claimed(settings: Settings, run: str) -> bool:
    """True for the first who asks for this run."""
    try:
        os.close(os.open(directory(settings, run) / CLAIM, os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return False
    except OSError as error:
        # On a full disk the owner of the run still calls only once.
        _say(f"{run}: {error}")
    return True


def main(argv: Sequence[str] | None = None) -> int:
    """Call the hooks of the run named; ends with its standard input. A line on standard error for each hook."""
    (run,) = sys.argv[1:] if argv is None else argv
    wait = Cancellable()
    signal.signal(signal.SIGTERM, wait.stop)
    watch_pipe(wait.stop)
    try:
        settings = Settings.from_env()
        pending = due(settings, run)
    except VigieError as error:
        _say(error.text)
        return 1
    if pending is None or not _claimed(settings, run):
        return 0
    for hook in pending.hooks:
        outcome, seconds = call_one(pending.event, hook, wait)
        _say(f"hook {hook.name}: {outcome}")  # no catalogue: a log line
        try:
            with opened(settings) as ledger:
                ledger.hook(run, hook.name, outcome, seconds)
        except LedgerError as error:
            _say(f"hook {hook.name}: its outcome is not in the ledger: {error.text}")  # no catalogue: a log line
    return 0


def _say(line: str) -> None:
    # Anyone who listened may be gone; the ledger still gets its row.
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
