"""The drift of a month as a Prefect 3 flow: what the console's Drift page does, task by task.

``python monitor_flow.py [--as-of-ref R] [--as-of-cur C] [--threshold T]`` compares two months (the two newest without
names) and prints the same two lines as ``python -m app drift``; the run has the same directory, files and row in the
index. It needs no server: Prefect starts one for the length of the run unless PREFECT_API_URL names one.
``--schedule`` stays, and compares each new month when it appears.

``app`` has to be importable: it is from the checkout, and from PYTHONPATH in the image. Nothing is tried twice: a
comparison that fails gives its reason, and the next month is another run.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

HERE: Final = Path(__file__).resolve()
# In a checkout this file is stack/prefect/monitor_flow.py; elsewhere PYTHONPATH leads to `app`.
if HERE.parent.name == "prefect" and (HERE.parents[2] / "app").is_dir():
    sys.path.append(str(HERE.parents[2]))

# Read by Prefect and Evidently when they are imported: neither reports its use to its makers.
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
# A server for one run starts in 10 s; on a busy machine Prefect's own 20 s are too few.
os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")

from prefect import flow, get_run_logger, serve, task
from prefect.cache_policies import NO_CACHE
from prefect.schedules import Interval
from prefect.utilities.annotations import quote

from app.config import Settings, load_systems
from app.drift import comparison, worker
from app.drift.request import job_args, job_key
from app.drift.result import Policy, Result, Target, Verdict
from app.drift.sentence import target_line
from app.drift.target import measure
from app.errors import ConfigError, DataError, VigieError
from app.jobs import Job
from app.notify import calls
from app.periods import list_periods, pick
from app.runs.active import ActiveRun
from app.runs.keep import retain
from app.runs.kinds import DRIFT
from app.runs.locks import Request
from app.runs.opening import opened
from app.runs.own_source import source_of
from app.runs.run import Ending, State

if TYPE_CHECKING:
    from app.periods import Frame

SYSTEM: Final = "streamflow"
# How often the list of months is read; a month that is an hour old is still new.
EVERY_SECONDS: Final = 900
# Prefect plans runs a few seconds ahead: sooner than this it could miss the first look.
FIRST_SECONDS: Final = 20
# A look starts a process and costs three seconds of CPU: more often than this it is its own load.
LEAST_SECONDS: Final = 60
# A month whose comparison failed is looked at again, in case the database was away; then it is left to a person.
TRIES: Final = 3
# The server in the same container is ready in 10 to 30 s.
SERVER_SECONDS: Final = 180.0
# Plain attempts, no cache, nothing written down by Prefect: frames are large, and the run directory has the result.
ONCE: Final[dict[str, Any]] = {"retries": 0, "cache_policy": NO_CACHE, "persist_result": False}


@dataclass(frozen=True, slots=True)
class Dataset:
    """Both months, loaded, and what they must be judged by."""

    pair: comparison.Pair
    reference: Frame
    current: Frame


@task(name="build_dataset", **ONCE)
def build_dataset(job: Job) -> Dataset:
    """Features and labels of both months, from Feast and the database."""
    pair = worker.pair_of(job.settings, job.system, job.args)
    job.progress("loading reference", 0, comparison.STEPS)
    reference = worker.load_period(job.settings, pair, pair.ref)
    job.progress("loading current", 1, comparison.STEPS)
    current = worker.load_period(job.settings, pair, pair.cur)
    for name, frame in (("reference", reference), ("current", current)):
        labelled = f"{frame.labelled} with a label" if frame.labelled is not None else frame.label_reason
        get_run_logger().info("%s %s: %s rows, %s", name, frame.key, frame.rows, labelled)
    return Dataset(pair, reference, current)


@task(name="compute_target_drift", **ONCE)
def compute_target_drift(dataset: Dataset) -> Target:
    """The absolute difference of the label rates, or the reason why it is not measured."""
    pair = dataset.pair
    target = measure(dataset.reference, dataset.current, pair.drift.label, pair.policy.min_rows)
    get_run_logger().info(target_line(target))
    return target


@task(name="run_evidently", **ONCE)
def run_evidently(job: Job, dataset: Dataset) -> comparison.Evidence:
    """Say what may be compared, and compare it with Evidently."""
    evidence = comparison.examine(job, dataset.pair, dataset.reference, dataset.current)
    for note in (evidence.refusal, *evidence.notes):
        if note:
            get_run_logger().info(note)
    return evidence


@task(name="decide_action", **ONCE)
def decide_action(
    job: Job, dataset: Dataset, evidence: comparison.Evidence, target: Target, begun: float
) -> tuple[Result, Path]:
    """Decide, and save the run. Retraining is simulated: nothing is trained."""
    verdicts = comparison.conclude(dataset.pair, evidence, target)
    result, path = comparison.save(job, dataset.pair, (dataset.reference, dataset.current), verdicts, begun)
    get_run_logger().info("%s: %s", result.decision, result.reason)
    return result, path


@flow(name="monitor_month", retries=0, persist_result=False)
def monitor_month(
    as_of_ref: str | None = None,
    as_of_cur: str | None = None,
    threshold: float | None = None,
    system: str = SYSTEM,
) -> str:
    """Compare two months of a system and print the decision; the word of the decision.

    Months are dates, names (month_000) or keys; without names the newest is compared with the one before it.
    `threshold` is the share of drifted columns from which retraining is due; without one, the system's own.
    """
    begun = time.monotonic()
    settings = Settings.from_env()
    with _recorded(settings, _request(settings, system, as_of_ref, as_of_cur, threshold)) as (job, endings):
        worker.preload()
        # Quoted: Prefect would look through every value of the frames for futures.
        dataset = build_dataset(quote(job))
        target = compute_target_drift(quote(dataset))
        evidence = run_evidently(quote(job), quote(dataset))
        result: Result
        result, path = decide_action(quote(job), quote(dataset), quote(evidence), quote(target), begun)
        endings.append(Ending(State.DONE, result.decision.value, result.reason, path))
    print(target_line(result.target_drift))
    print(result.line, flush=True)
    # The flow owns its run: no one else calls the hooks of the system file.
    calls.call(settings, job.run, get_run_logger().info)
    return result.decision.value


def _request(settings: Settings, system_id: str, ref: str | None, cur: str | None, threshold: float | None) -> Request:
    """The run that is meant, under the key it has everywhere. Raises a VigieError."""
    if threshold is not None and not 0 <= threshold <= 1:
        raise ConfigError(f"threshold is {threshold:g}; accepted: a share from 0 to 1.", hint="Try 0.3.")
    systems = load_systems(settings)
    system = systems.by_id.get(system_id)
    if system is None or system.drift is None or not system.compares:
        names = ", ".join(one.id for one in systems.by_id.values() if one.compares)
        raise DataError(f"There is no system {system_id!r} with months to compare.", hint=f"Known: {names}.")
    periods = list_periods(settings, system)
    newest = [period.key for period in periods]
    cur = pick(periods, cur).key if cur else _at(newest, len(newest) - 1, system.title)
    ref = pick(periods, ref).key if ref else _at(newest, newest.index(cur) - 1, system.title)
    policy = Policy.of(system.drift, threshold)
    return Request(DRIFT, system.id, job_key(system, ref, cur, policy), job_args(ref, cur, policy))


def _at(keys: Sequence[str], index: int, title: str) -> str:
    if index < 0:
        raise DataError(f"{title} has {len(keys)} months: two are needed.", hint="Load the data of another month.")
    return keys[index]


@contextmanager
def _recorded(settings: Settings, request: Request) -> Iterator[tuple[Job, list[Ending]]]:
    """The run in the index, from beginning to end, as the console's job host keeps it."""
    active = ActiveRun(settings, request)
    job = Job(active.id, request.kind, request.system, request.key, request.args, settings)
    endings = [Ending(State.INTERRUPTED, reason="the flow run was ended")]
    try:
        active.running("starting")
        yield job, endings
    except VigieError as error:
        endings.append(Ending(State.FAILED, reason=error.text))
        raise
    except Exception as error:
        endings.append(Ending(State.FAILED, reason=f"{type(error).__name__}: {error}"[:300]))
        raise
    finally:
        job.close()
        active.end(endings[-1])
    retain(settings, load_systems(settings))


# --- when a new month appears ----------------------------------------------------------------------------------------


@task(name="find_new_month", **ONCE)
def find_new_month(system: str) -> tuple[str, str] | None:
    """The two newest months, when no one has compared them yet under the system's own policy."""
    settings = Settings.from_env()
    configured = load_systems(settings).by_id.get(system)
    if configured is not None and len(list_periods(settings, configured)) < 2:
        get_run_logger().info("fewer than two months: nothing to compare yet")
        return None
    request = _request(settings, system, None, None, None)
    ref, cur = str(request.args["ref"]), str(request.args["cur"])
    source = None if configured is None else source_of(settings, configured)
    with opened(settings) as ledger:
        done = ledger.newest(DRIFT, system, request.key, source=source)
        tried = ledger.count(kind=DRIFT, system=system, key=request.key)
    if done is not None or tried >= TRIES:
        why = f"compared in run {done.id}" if done is not None else f"tried {tried} times without a result"
        get_run_logger().info("%s against %s: %s", cur, ref, why)
        return None
    return ref, cur


@flow(name="new_month", retries=0, persist_result=False)
def new_month(system: str = SYSTEM) -> str | None:
    """Compare the newest month with the one before it, once; None when there is nothing new."""
    months = find_new_month(system)
    return str(monitor_month(*months, system=system)) if months else None


def _schedule(system: str, every: int) -> None:
    """Serve both flows until the process is ended: one on request, one looking for a new month."""
    _wait_for_server(os.environ.get("PREFECT_API_URL", ""))
    # Prefect names a flow by its file, seen from the working directory.
    os.chdir(HERE.parent)
    given = {"system": system}
    # An interval begins in the future: without this the first look would come after a whole one.
    soon = Interval(timedelta(seconds=every), anchor_date=datetime.now(UTC) + timedelta(seconds=FIRST_SECONDS))
    looking = new_month.to_deployment("schedule", schedule=soon, parameters=given)
    asked = monitor_month.to_deployment("on-request", parameters=given)
    # The server may end before this process; a paused schedule would stay paused after the next start.
    serve(looking, asked, limit=1, pause_on_shutdown=False)


def _wait_for_server(address: str) -> None:
    if not address.startswith(("http://", "https://")):
        raise ConfigError(
            "--schedule needs a Prefect server in PREFECT_API_URL.",
            hint="Start one: `prefect server start`, then PREFECT_API_URL=http://127.0.0.1:4200/api.",
        )
    until = time.monotonic() + SERVER_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"{address.rstrip('/')}/health", timeout=5):
                return
        except OSError as error:
            if time.monotonic() > until:
                raise ConfigError(f"No Prefect server answers at PREFECT_API_URL ({error}).") from error
            time.sleep(1)


def main(arguments: list[str] | None = None) -> int:
    """Run once, or stay with --schedule. Exit 0 on any decision, 1 with a sentence; see --exit-code."""
    parser = argparse.ArgumentParser(description="Compare two months and decide; a Prefect flow.")
    parser.add_argument("--as-of-ref", help="the reference month: a date, month_000 or a key")
    parser.add_argument("--as-of-cur", help="the current month; without one the newest")
    parser.add_argument("--threshold", type=float, help="share of drifted columns; without one the system's own")
    parser.add_argument("--system", default=SYSTEM, help=f"the id of a system with months ({SYSTEM})")
    parser.add_argument("--exit-code", action="store_true", help="3 RETRAINING_TRIGGERED, 4 UNDECIDED")
    parser.add_argument("--schedule", action="store_true", help="stay, and compare each new month")
    parser.add_argument("--every", type=int, default=EVERY_SECONDS, help="seconds between two looks at the months")
    options = parser.parse_args(arguments)
    if options.every < LEAST_SECONDS:
        parser.error(f"--every is {options.every}; accepted: {LEAST_SECONDS} or more")
    try:
        if options.schedule:
            _schedule(options.system, options.every)
            return 0
        # A month that is not there needs no server to report it.
        _request(Settings.from_env(), options.system, options.as_of_ref, options.as_of_cur, options.threshold)
        decision = monitor_month(options.as_of_ref, options.as_of_cur, options.threshold, options.system)
    except VigieError as error:
        print(f"error: {error.text}", file=sys.stderr)
        return 1
    codes = {Verdict.RETRAINING_TRIGGERED: 3, Verdict.UNDECIDED: 4}
    return codes.get(Verdict(decision), 0) if options.exit_code else 0


if __name__ == "__main__":
    sys.exit(main())
