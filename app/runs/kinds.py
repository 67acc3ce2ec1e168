"""What can be run, by which module, and within which bounds. Names of modules never come over the socket."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of job: `module` has `preload()` and `run(job)`; times in seconds."""

    name: str
    module: str
    # How many run at the same time, and how many more may wait.
    at_once: int
    waiting: int
    deadline: float
    # Between asking a worker to stop (SIGTERM) and ending it (SIGKILL).
    grace: float
    # One process is kept, with its heavy libraries loaded, for the next run.
    warm: bool = False
    # SIGTERM lets it finish what it had (Job.stopping) instead of ending it where it stands.
    graceful: bool = False


# A comparison at five million rows took 436 CPU seconds: twice that, and a person has given up anyway.
DRIFT_DEADLINE = 900.0
# Background traffic may go on for a day; a plan with an end has its own, far smaller bound.
LOAD_DEADLINE = 25 * 3600.0
# A cancelled comparison is gone within a second.
QUICK_GRACE = 0.8
# A load run stops sending at once; writing down what it measured may take longer on a busy machine.
LOAD_GRACE = 3.0

KINDS: Mapping[str, Kind] = {
    # Each comparison takes a core and some 400 MB: one at a time.
    "drift": Kind(
        "drift", "app.drift.worker", at_once=1, waiting=20, deadline=DRIFT_DEADLINE, grace=QUICK_GRACE, warm=True
    ),
    # Waiting makes no sense for traffic: whoever presses Start wants it now.
    "load": Kind(
        "load", "app.load.worker", at_once=4, waiting=0, deadline=LOAD_DEADLINE, grace=LOAD_GRACE, graceful=True
    ),
}
