"""The drift job: two periods in, a saved run with its decision out. Runs in a warm, killable worker process."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from app.config import Settings, load_systems
from app.drift.comparison import STEPS, Pair, compared
from app.drift.result import Policy
from app.errors import DataError
from app.periods import Period, list_periods, load, pick
from app.periods.model import PeriodSource
from app.runs.job import Job
from app.runs.run import Ending, State
from app.words.message import t

if TYPE_CHECKING:
    from app.periods import Frame

# One comparison takes one core: more threads only take time from the services on the same machine.
THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def preload() -> None:
    """Import what a decision needs, with bounded threads and no telemetry: a second once, none per run."""
    for name in THREADS:
        os.environ.setdefault(name, "1")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    from app.drift import aggregates, chance, gate, rows, scoring  # noqa: F401 - imported to be there
    from app.periods import feast, files, sql  # noqa: F401


def settle() -> None:
    """Import the rest while no one waits: what makes reports, and what the sources of the systems are read with."""
    from app.drift import compare

    compare.preload()
    for system in load_systems(Settings.from_env()).by_id.values():
        if isinstance(system.drift, PeriodSource):
            system.drift.preload()


def run(job: Job) -> Ending:
    """Compare, decide, save. Failures are VigieErrors whose text is the reason of the failed run."""
    if "files" in job.args:
        from app.drift import uploads

        return uploads.run(job)
    begun = time.monotonic()
    pair = pair_of(job.settings, job.system, job.args)
    job.progress(t("loading reference"), 0, STEPS)
    reference = load_period(job.settings, pair, pair.ref)
    job.progress(t("loading current"), 1, STEPS)
    current = load_period(job.settings, pair, pair.cur)
    result, path = compared(job, pair, (reference, current), begun)
    return Ending(State.DONE, result.decision.value, result.reason, path)


def pair_of(settings: Settings, system_id: str, args: Mapping[str, Any]) -> Pair:
    """The pair that `ref`, `cur`, `threshold` and `report` in `args` mean. Raises DataError."""
    systems = load_systems(settings)
    system = systems.by_id.get(system_id)
    if system is None:
        hint = t("Known: {systems}.", systems=", ".join(systems.by_id))
        raise DataError(t("There is no system {system!r}.", system=system_id), hint=hint)
    drift = system.drift
    if drift is None:
        message = t("{system} has no months to compare.", system=t(system.title))
        raise DataError(message, hint=t("Add [drift] to its system file."))
    if not system.compares:
        raise DataError(
            t(
                "{system} measures its drift itself, as a gauge: there are no months to compare.",
                system=t(system.title),
            ),
            hint=t("Look at the gauge on the Charts page."),
        )
    periods = list_periods(settings, system, labels=False)
    ref, cur = args.get("ref"), args.get("cur")
    if not ref and not cur and len(periods) == 2:
        ref, cur = periods[0].key, periods[1].key
    if not ref or not cur:
        raise DataError(t("Two months are needed."), hint=t("Give ref and cur: a date, month_000, or a period's key."))
    policy = Policy.of(drift, args.get("threshold"))
    months = pick(periods, str(ref)), pick(periods, str(cur))
    return Pair(system, drift, policy, *months, report=bool(args.get("report", True)))


def load_period(settings: Settings, pair: Pair, period: Period) -> Frame:
    """The rows of one of the pair's periods."""
    return load(settings, pair.system, period)
