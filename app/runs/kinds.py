"""What kinds of runs there are. A further kind is one entry here, a worker module and a record.

Names of modules never come over the socket: a request names a kind.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from app.runs.record import Record
from app.words.message import t


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of run; times in seconds.

    `module` has `preload()` and `run(job)`; without one, runs of this kind are not started as jobs. `record`, written
    `module:class`, says what the files of such a run hold.
    """

    name: str
    module: str = ""
    # Its name on screen, where that is not the one of the command line.
    title: str = ""
    # How many run at the same time, and how many more may wait.
    at_once: int = 1
    waiting: int = 0
    deadline: float = 900.0
    # Between asking a worker to stop (SIGTERM) and ending it (SIGKILL).
    grace: float = 1.0
    # One process is kept, with its heavy libraries loaded, for the next run.
    warm: bool = False
    # SIGTERM lets it finish what it had (Job.stopping) instead of ending it where it is.
    graceful: bool = False
    record: str = ""
    # Its result is in a report directory, under a hash; else in the run's own folder.
    report: bool = False
    # The newest of its name is also published flat in the report directory.
    published: bool = False
    # Its source is the prediction service and its Prometheus, not the data of `[drift]`.
    of_service: bool = False


DRIFT: Final = "drift"
LOAD: Final = "load"
IMPORTED: Final = "imported"
REPORT: Final = "report"
# A comparison at five million rows took 436 CPU seconds: twice that, and a person has given up anyway.
DRIFT_DEADLINE = 900.0
# Background traffic may go on for a day; a plan with an end has its own, far smaller bound.
LOAD_DEADLINE = 25 * 3600.0
# A report of an hour takes a few seconds; of one that asks a server that hangs, each question has its own deadline.
REPORT_DEADLINE = 300.0
# A cancelled comparison is gone within a second.
QUICK_GRACE = 0.8
# A load run stops sending at once; writing down what it measured may take longer on a busy machine.
LOAD_GRACE = 3.0

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        # Each comparison takes a core and some 400 MB: one at a time.
        Kind(
            DRIFT,
            "app.drift.worker",
            title=t("drift"),
            at_once=1,
            waiting=20,
            deadline=DRIFT_DEADLINE,
            grace=QUICK_GRACE,
            warm=True,
            record="app.drift.record:Comparison",
            report=True,
            published=True,
        ),
        # Waiting makes no sense for traffic: anyone who presses Start wants it now.
        Kind(
            LOAD,
            "app.load.worker",
            title=t("load"),
            at_once=4,
            waiting=0,
            deadline=LOAD_DEADLINE,
            grace=LOAD_GRACE,
            graceful=True,
            record="app.load.record:Traffic",
            of_service=True,
        ),
        Kind(IMPORTED, title=t("imported"), record="app.drift.record:Imported", report=True),
        # One after the other: what two of one name publish is never mixed.
        Kind(
            REPORT,
            "app.report.worker",
            title=t("report"),
            at_once=1,
            waiting=20,
            deadline=REPORT_DEADLINE,
            grace=QUICK_GRACE,
            record="app.report.record:Written",
            report=True,
            published=True,
            of_service=True,
        ),
    )
}


def kind_of(name: str) -> Kind:
    """The kind of that name; of one that is not known here nothing is reported."""
    return KINDS.get(name) or Kind(name)


def title_of(name: str) -> str:
    """The kind of that name as lists show it."""
    return t(kind_of(name).title or name)


def unknown_kind(kind: str, kinds: Iterable[str]) -> str:
    """The sentence on a kind that has no job."""
    return t("There is no job of kind {kind}; known: {kinds}.", kind=kind, kinds=", ".join(sorted(kinds)))


def record_of(name: str) -> Record:
    """What the files of runs of that kind hold."""
    module, _, cls = kind_of(name).record.partition(":")
    if not module:
        return Record()
    record: Record = getattr(importlib.import_module(module), cls)()
    return record
