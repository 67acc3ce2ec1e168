"""What is said of a system now: its badges, its tiles and one or two sentences. Pure judgement on what was asked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from app.charts import Context
from app.charts.sentence import LATE_STEPS, idle, steady_from
from app.config import System
from app.drift.result import Result, Verdict
from app.errors import VigieError
from app.prometheus import Answer, Series, State, Target, TimeRange
from app.prometheus.targets import of_system
from app.runs.run import Run
from app.services import StackState, activity
from app.words.language import word
from app.words.shared import FIRST_SCRAPE, PROMETHEUS_SILENT
from app.words.units import Clock, format_duration, format_time, format_value

Tone = Literal["good", "warning", "bad", "unknown"]
DECISIONS = {Verdict.NO_ACTION: "no action", Verdict.RETRAINING_TRIGGERED: "retraining triggered (SIMULÉ)"}


@dataclass(frozen=True, slots=True)
class Now:
    """Everything asked of one system at one moment: rates over `context.window`, sparklines over `context.span`.

    `compared` is the result of the run `drift`, None where it cannot be read; `start_hint` is the next step when the
    API of the system is not there.
    """

    system: System
    context: Context
    targets: Sequence[Target]
    targets_error: VigieError | None
    answers: dict[str, Answer]
    stack: StackState
    start_hint: str
    load: Run | None
    drift: Run | None
    compared: Result | None
    shares: Sequence[float]

    @property
    def own(self) -> list[Target]:
        """The targets of the system itself."""
        return of_system(self.targets, self.system.prometheus.selector)

    def newest(self, name: str) -> float | None:
        """The value of a panel now, None when unknown: an older value would be a wrong number."""
        answer = self.answers.get(name)
        if answer is None or not answer.series or answer.state is State.ERROR:
            return None
        at, value = answer.series[0].newest
        fresh = at >= self.context.span.end - LATE_STEPS * self.context.span.step
        return value if fresh and math.isfinite(value) else None

    def why_unknown(self, name: str) -> str:
        """Why a panel has no value; "" where nothing is wrong."""
        if self.targets_error is not None:
            return self.targets_error.text
        answer = self.answers.get(name)
        if answer is None:
            return "not asked"
        return f"{answer.reason}. {answer.hint}" if answer.state in (State.EMPTY, State.ERROR) else ""

    def shown(self, name: str, unit: str) -> str:
        """The value of a panel with its unit; without one whether there was no traffic or nothing is known."""
        value, why = self.newest(name), self.why_unknown(name)
        if value is not None:
            return format_value(value, unit)
        silent = "no request" in why or "older than" in why or "0 divided" in why
        return "no traffic" if silent or self.newest("kpi-rps") == 0 else word("unknown")


def targets_badge(targets: Sequence[Target]) -> tuple[str, Tone]:
    """How many targets are up, as text and a tone."""
    up, waiting = sum(target.health == "up" for target in targets), sum(target.waiting for target in targets)
    if not targets:
        return "no targets", "unknown"
    if waiting == len(targets):
        return FIRST_SCRAPE, "unknown"
    tone: Tone = "good" if up == len(targets) else "unknown" if up + waiting == len(targets) else "bad"
    return _up(targets) + (f", {waiting} {FIRST_SCRAPE}" if waiting else ""), tone


def _up(targets: Sequence[Target]) -> str:
    return f"{sum(target.health == 'up' for target in targets)} of {len(targets)} targets up"


def badges(now: Now) -> list[tuple[str, Tone]]:
    """How many targets are up, and whether the system is among them."""
    starting = {name for name, row in now.stack.services.items() if row.state == "starting"}
    if now.targets_error is not None:
        wait = "prometheus" in starting
        return [("Prometheus is starting", "warning") if wait else (PROMETHEUS_SILENT, "bad")]
    badge = targets_badge(now.targets)
    if not now.targets or all(target.waiting for target in now.targets):
        return [badge]
    if now.system.id in starting:
        # Prometheus scrapes a service from its launch on, and finds no one for the seconds until it answers.
        return [(_up(now.targets), "unknown"), (f"{now.system.title} is starting", "warning")]
    return [badge] if now.own else [badge, (f"{now.system.title} is not scraped", "unknown")]


def behaviour(now: Now) -> str:
    """Whether the system is up and how it behaves, in one sentence."""
    title = now.system.title
    if now.targets_error is not None:
        return f"{now.targets_error.text} {activity(now.stack)}"
    down = [target for target in now.own if target.health == "down"]
    row = now.stack.services.get(now.system.id)
    if row is not None and row.state == "starting" and (down or not now.own):
        # Prometheus scrapes a service from its launch on, and finds no one for the seconds until it answers.
        return f"{title} is starting: {row.reason}."
    if not now.own:
        return f"Prometheus does not scrape {title}. {now.start_hint}"
    if down:
        meaning = down[0].meaning
        return f"{title} is down: {meaning.text}. {meaning.hint}"
    if all(target.waiting for target in now.own):
        return f"Waiting for the first scrape of {title}: a few seconds."
    return _traffic(now)


def _traffic(now: Now) -> str:
    rps, p95, errors = (now.newest(f"kpi-{name}") for name in ("rps", "p95", "errors"))
    if rps is None:
        kpi = now.answers.get("kpi-rps")
        why = f": {kpi.reason}. {kpi.hint}" if kpi is not None and kpi.reason else "."
        return f"The rate of requests is not known yet{why}"
    if rps == 0:
        return f"{idle(now.answers['kpi-rps'].series[0], now.context.span)}."
    parts = [f"{format_value(rps, '1/s', words=True)} requests".replace(" a second requests", " requests a second")]
    if p95 is not None:
        parts.append(f"p95 {format_value(p95, 's')}")
    if errors is not None:
        parts.append("no errors" if errors == 0 else f"{format_value(errors, 'ratio')} errors")
    unknown = "; error rate unknown" if errors is None and "kpi-errors" in now.answers else ""
    return f"{', '.join(parts)} in the last {format_duration(now.context.window)}{unknown}."


def last_decision(now: Now, clock: Clock) -> str:
    """The newest decision on the data of the system, in one sentence; "" where no months are compared."""
    if now.system.drift is None:
        return ""
    if now.system.drift.source == "gauge":
        return "This system measures its own drift: see Compare months."
    if now.drift is None:
        return "No months compared yet."
    result = now.compared
    if result is None:
        return "The last comparison cannot be read: see Compare months."
    share = f"{result.k} of {result.n} columns drifted" if result.share is not None else "not decided"
    word = DECISIONS.get(result.decision, "undecided")
    when = format_time(now.drift.finished, clock)
    return f"Last decision: {result.ref.key} → {result.cur.key}, {share}, {word}, compared {when}."


def status(answer: Answer, span: TimeRange, clock: Clock) -> tuple[Tone, str]:
    """(tone, words) of a gauge that is 1 or 0: `yes, since 14:02:11`, or why it is not known."""
    if len(answer.series) != 1 or not answer.series[0].values.size or not math.isfinite(answer.series[0].values[-1]):
        return "unknown", f"unknown: {answer.reason or 'the gauge has no value now'}"
    series = answer.series[0]
    now = series.values[-1]
    word = "yes" if now == 1 else "no" if now == 0 else format_value(float(now))
    return ("good" if now == 1 else "bad"), f"{word}, {_since(series, span, clock)}"


def _since(series: Series, span: TimeRange, clock: Clock) -> str:
    at = steady_from(series, span)
    moment = format_time(float(series.times[at]), clock)
    if at and series.values[at - 1] != series.values[-1]:
        return f"since {moment}"
    if at:
        return f"since {moment} at least: nothing was measured before"
    if series.times[0] > span.start + LATE_STEPS * span.step:
        return f"since it was first seen at {moment}"
    return "all through the last hour"
