"""One load run as a job: plan, count before, send, count after, wait for Prometheus, write down.

Runs in its own process, so that neither the console nor a reload of it disturbs a measurement.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from app import egress
from app.config import System, load_systems
from app.errors import ConfigError, LedgerError, StorageFull, Unreachable
from app.load import engine, payload, readings, result
from app.load.counting import Meter, Reading, Watch, remark
from app.load.plan import MAX_IN_FLIGHT, Plan
from app.load.record import COMPLETE, LIMIT, STOPPED
from app.load.result import Counted, Result, Seen, ServerP95
from app.load.stats import Tally, Timeline, classes
from app.runs.kinds import LOAD
from app.runs.opening import ledger_of
from app.runs.own_source import source_of
from app.runs.run import LIVE, Ending, State
from app.services import address
from app.words.language import word
from app.words.message import t

if TYPE_CHECKING:
    from app.runs.job import Job

# Stages as the progress file names them, in English; drawn by `t`.
PREPARING = word("preparing")
SENDING = word("sending")
SETTLING = word("settling")
# What a run has come to is written down while it goes on, so that a kill loses a second at most; the writing may take
# this share of the time.
KEEP_SECONDS = 1.0
KEEP_SHARE = 0.01
# Why the other side of a run that was killed is not known.
KILLED = t("the process that sent was killed")
# Beside the connections: the event loop, files, the database of a payload query.
OTHER_FILES = 200


def preload() -> None:
    """Import what a run needs, so that Start begins at once, and allow enough open connections."""
    import httptools  # noqa: F401 - imported to be loaded
    import numpy as np  # noqa: F401 - imported to be loaded

    with contextlib.suppress(ImportError):
        import uvloop  # noqa: F401 - imported to be loaded; optional
    _allow_files(MAX_IN_FLIGHT + OTHER_FILES)


def _allow_files(number: int) -> None:
    """Raise this process' own limit of open files where the system allows it (macOS begins at 256)."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = number if hard == resource.RLIM_INFINITY else min(number, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        # refused on some systems: too many connections then fail with their own cause
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def run(job: Job) -> Ending:
    """Carry out a load run. Raises VigieError when nothing could be sent; what was sent is always written down."""
    job.progress(PREPARING)
    ready = prepare(job)
    started = time.time()
    before = ready.meter.read(must_answer=True)
    watch = Watch(job.settings, ready.system, ready.meter.series_name(before))
    try:
        keeper = Keeper(job, ready.plan, started)
        tally, last = _send(job, ready, keeper)
        keeper.keep(tally, now=True)
        job.progress(SETTLING, tally.sent, ready.plan.requests, **last)
        settled, after = _settle(job, ready, tally, watch, before)
    finally:
        watch.close()
    settled = replace(settled, started=started)
    settled = replace(settled, sentence=result.sentence(settled))
    result.write(job.directory, settled)
    readings.keep(job.directory, ready.system, before.text, after.text)
    if settled.cancelled:
        return Ending(State.CANCELLED, STOPPED, settled.sentence, job.directory)
    return Ending(State.DONE, LIMIT if settled.stopped_by else COMPLETE, settled.sentence, job.directory)


class Keeper:
    """Writes the result of a run that goes on: what is left of it when this process is killed."""

    def __init__(self, job: Job, plan: Plan, started: float) -> None:
        self.job, self.plan, self.started = job, plan, started
        self._due = 0.0

    def keep(self, tally: Tally, *, now: bool = False) -> None:
        """Replace `result.json` when it is time to, or `now`. Raises StorageFull."""
        begun = time.monotonic()
        if begun < self._due and not now:
            return
        kept = Result(
            run=self.job.run,
            system=self.job.system,
            plan=self.plan.to_dict(),
            started=self.started,
            finished=time.time(),
            **result.measured(tally),
            asked_rate=self.plan.asked_rate,
            achieved_rate=tally.sent / tally.seconds if tally.sent else None,
            counted=Counted(reason=KILLED),
            prometheus=Seen(reason=KILLED),
            server_p95=ServerP95(reason=KILLED),
            cut=True,
        )
        kept = replace(kept, sentence=result.sentence(kept))
        result.write(self.job.directory, kept, durable=False)
        cost = time.monotonic() - begun
        self._due = begun + min(KEEP_SECONDS, cost / KEEP_SHARE)


@dataclass(frozen=True, slots=True)
class Ready:
    """Everything a run needs, checked before the first request."""

    system: System
    plan: Plan
    payloads: payload.Payloads
    where: engine.Target
    meter: Meter


def prepare(job: Job) -> Ready:
    """Read system and plan, judge the address, draw the payloads. Raises VigieError for a person."""
    systems = load_systems(job.settings)
    system = systems.by_id.get(job.system)
    if system is None:
        broken = next((error.message for error in systems.broken if f"{job.system}.toml" in str(error)), "")
        message = broken or t("there is no system called {name}.", name=repr(job.system))
        raise ConfigError(message, hint=t("Systems here: {names}.", names=", ".join(systems.by_id) or t("none")))
    plan = Plan.from_args(job.args, system)
    api = address(job.settings, system, "api")
    if api.url is None:
        why = api.reason or t("none is configured")
        message = t("{system} has no address to send to: {why}.", system=t(system.title), why=why)
        command, file = "python -m stack up", f"{system.id}.toml"  # no catalogue: a command
        hint = t("Start the embedded stack ({command}), or give [api] url in {file}.", command=command, file=file)
        raise Unreachable(message, hint=hint)
    checked = egress.check_address(api.url, system.load.hosts)
    where = f"{system.id}.toml [api]"
    credentials = egress.credentials(system.api, job.settings.environ, job.settings.root, where=where)
    payloads = payload.make(plan, job.settings, system)
    target = engine.target(checked, system, payloads, credentials)
    return Ready(system, plan, payloads, target, Meter(api.url, system, credentials))


def _send(job: Job, ready: Ready, keeper: Keeper) -> tuple[Tally, dict[str, Any]]:
    """Run the engine; the last report comes back too, for the stage after it."""
    last: dict[str, Any] = {"plan": ready.plan.words}

    def report(snapshot: engine.Snapshot) -> None:
        last.update(snapshot.to_dict())
        keeper.keep(snapshot.tally)
        try:
            job.progress(SENDING, snapshot.sent, snapshot.planned, **last)
        except OSError as error:
            why = error.strerror
            message = t("progress cannot be written to {folder} ({why}).", folder=str(job.directory), why=why)
            raise StorageFull(message, hint=t(result.MAKE_ROOM)) from error

    keeper.keep(Tally(Timeline(ready.plan.most_seconds), planned=ready.plan.requests))
    job.progress(SENDING, 0, ready.plan.requests, **last)
    tally = engine.drive(ready.plan, ready.payloads, ready.where, stop=job.stopping, report=report)
    last |= {name: getattr(tally, name) for name in ("seconds", "planned", "sent", "answered", "ok", "failed")}
    last |= {name: getattr(tally, name) for name in ("meant_to_fail", "refused")}
    last |= {"classes": classes(tally.by_status, tally.unanswered)}
    last |= {"in_flight": 0, "queued": 0, "p95": tally.response.percentile(95)}
    last["timeline"] = [row.to_dict() for row in tally.timeline.rows(engine.TAIL_ROWS)]
    return tally, last


def _settle(job: Job, ready: Ready, tally: Tally, watch: Watch, before: Reading) -> tuple[Result, Reading]:
    """Both counters and the server's p95, with what the engine measured; and the reading after the run."""
    finished, cancelled = time.time(), job.stopping.is_set()
    counted, after = ready.meter.counted(before, tally, job.stopping)
    if counted.delta is None and counted.before is not None and counted.after is not None:
        seen = Seen(None, counted.reason)  # a reset: Prometheus' numbers do not belong together either
    else:
        seen = watch.settle(finished, counted.before, counted.after, job.stopping)
    plan = ready.plan
    whole = tally.not_sent == 0 and not plan.closed
    spent = max(plan.duration, tally.last_sent) if whole else tally.seconds
    settled = Result(
        run=job.run,
        system=ready.system.id,
        plan=plan.to_dict(),
        started=0.0,
        finished=finished,
        **result.measured(tally),
        asked_rate=plan.asked_rate,
        achieved_rate=tally.sent / spent if tally.sent and spent > 0 else None,
        counted=counted,
        prometheus=seen,
        server_p95=ready.meter.server_p95(before, after),
        cancelled=cancelled,
        source=source_of(job.settings, ready.system, LOAD),
        remark=remark(tally, counted, _others(job)),
    )
    return settled, after


def _others(job: Job) -> list[str]:
    """Load runs of the same system that go on now, as text."""
    try:
        with ledger_of(job.settings) as ledger:
            rows = ledger.runs(kind=LOAD, system=job.system, states=LIVE)
    except LedgerError:
        return []  # only a likely reason is lost, and the ledger's owner reports its own trouble
    others = [row for row in rows if row.id != job.run]
    return [t("background traffic") if row.background else t("load run {run}", run=row.id) for row in others]
