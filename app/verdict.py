"""The judgement of a system now (badges, tiles, one or two sentences) and of one comparison. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

from app.charts import Context
from app.charts.sentence import LATE_STEPS, idle, steady_from
from app.config import System
from app.drift.decide import Decision
from app.drift.result import Policy, Result, Verdict
from app.drift.versus import POLICY_WORDS
from app.errors import VigieError
from app.prometheus import Answer, Series, State, Target, TimeRange
from app.prometheus.targets import of_system
from app.runs.run import Run
from app.runs.source import APART
from app.services import StackState, activity
from app.words.language import word
from app.words.message import clauses, listed, t, tn
from app.words.numbers import limit, number, share_apart
from app.words.shared import FIRST_SCRAPE, PROMETHEUS_SILENT
from app.words.units import Clock, format_time, format_value

Tone = Literal["good", "warning", "bad", "unknown"]
# A policy that differs in more than this is another policy: naming every rule would be a list, not a sentence.
PARTS_NAMED = 2


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
            return whole(self.targets_error)
        answer = self.answers.get(name)
        if answer is None:
            return t("not asked")
        return f"{answer.reason}. {answer.hint}" if answer.state in (State.EMPTY, State.ERROR) else ""

    def shown(self, name: str, unit: str) -> str:
        """The value of a panel with its unit; without one whether there was no traffic or nothing is known."""
        value, answer = self.newest(name), self.answers.get(name)
        if value is not None:
            return format_value(value, unit)
        # Series without a number: 0 divided by 0.
        silent = answer is not None and answer.state is State.EMPTY and (answer.idle or answer.series)
        return t("no traffic") if silent or self.newest("kpi-rps") == 0 else word("unknown")


def whole(error: VigieError) -> str:
    """Message and hint of an error, in the language of the present reader."""
    return f"{t(error.message)} {t(error.hint)}".strip()


def targets_badge(targets: Sequence[Target]) -> tuple[str, Tone]:
    """How many targets are up, as text and a tone."""
    up, waiting = sum(target.health == "up" for target in targets), sum(target.waiting for target in targets)
    if not targets:
        return t("no targets"), "unknown"
    if waiting == len(targets):
        return t(FIRST_SCRAPE), "unknown"
    tone: Tone = "good" if up == len(targets) else "unknown" if up + waiting == len(targets) else "bad"
    if waiting:
        text = t("{targets_up}, {n} waiting for the first scrape", targets_up=_up(targets), n=waiting)
        return text, tone
    return _up(targets), tone


def _up(targets: Sequence[Target]) -> str:
    up = sum(target.health == "up" for target in targets)
    return t("{up} of {all} targets up", up=up, all=len(targets))


def badges(now: Now) -> list[tuple[str, Tone]]:
    """How many targets are up, and whether the system is among them."""
    starting = {name for name, row in now.stack.services.items() if row.state == "starting"}
    if now.targets_error is not None:
        wait = "prometheus" in starting
        return [(t("Prometheus is starting"), "warning") if wait else (t(PROMETHEUS_SILENT), "bad")]
    badge = targets_badge(now.targets)
    if not now.targets or all(target.waiting for target in now.targets):
        return [badge]
    if now.system.id in starting:
        # Prometheus scrapes a service from its launch on, and nothing answers for the first seconds.
        return [(_up(now.targets), "unknown"), (t("{system} is starting", system=t(now.system.title)), "warning")]
    return [badge] if now.own else [badge, (t("{system} is not scraped", system=t(now.system.title)), "unknown")]


def behaviour(now: Now) -> str:
    """Whether the system is up and how it behaves, in one sentence."""
    title = t(now.system.title)
    if now.targets_error is not None:
        return f"{whole(now.targets_error)} {activity(now.stack)}"
    down = [target for target in now.own if target.health == "down"]
    row = now.stack.services.get(now.system.id)
    if row is not None and row.state == "starting" and (down or not now.own):
        return t("{system} is starting: {stage}.", system=title, stage=row.reason)
    if not now.own:
        return f"{t('Prometheus does not scrape {system}.', system=title)} {now.start_hint}"
    if down:
        meaning = down[0].meaning
        return f"{t('{system} is down: {why}.', system=title, why=meaning.text)} {meaning.hint}"
    if all(target.waiting for target in now.own):
        return t("Waiting for the first scrape of {system}: a few seconds.", system=title)
    return _traffic(now)


def _traffic(now: Now) -> str:
    rps, p95, errors = (now.newest(f"kpi-{name}") for name in ("rps", "p95", "errors"))
    if rps is None:
        kpi = now.answers.get("kpi-rps")
        if kpi is None or not kpi.reason:
            return t("The rate of requests is not known yet.")
        return f"{t('The rate of requests is not known yet: {why}.', why=kpi.reason)} {kpi.hint}"
    if rps == 0:
        return idle(now.answers["kpi-rps"].series[0], now.context.span)
    parts = [tn("{n:significant} request a second", "{n:significant} requests a second", rps)]
    if p95 is not None:
        parts.append(t("p95 {latency:seconds}", latency=p95))
    if errors is not None:
        parts.append(t("no errors") if errors == 0 else t("{share:percent} errors", share=errors))
    measured, window = ", ".join(parts), now.context.window
    if errors is None and "kpi-errors" in now.answers:
        return t("{measured} in the last {window:duration}; error rate unknown.", measured=measured, window=window)
    return t("{measured} in the last {window:duration}.", measured=measured, window=window)


def last_decision(now: Now, clock: Clock) -> str:
    """The newest decision on the data of the system, in one sentence; "" where no months are compared."""
    if now.system.drift is None:
        return ""
    if not now.system.compares:
        return t("This system measures its own drift: see Compare months.")
    if now.drift is None:
        return t("No months compared yet.")
    result = now.compared
    if result is None:
        return t("The last comparison cannot be read: see Compare months.")
    share = _drifted(result.k, result.n) if result.share is not None else t("not decided")
    decision = {
        Verdict.NO_ACTION: t("no action"),
        Verdict.RETRAINING_TRIGGERED: t("retraining triggered (SIMULÉ)"),
    }.get(result.decision, t("undecided"))
    return t(
        "Last decision: {months}, {share}, {decision}, compared {when}.",
        months=f"{result.ref.key} → {result.cur.key}",
        share=share,
        decision=decision,
        when=format_time(now.drift.finished, clock),
    )


def _drifted(drifted: int | None, columns: int | None) -> str:
    return t("{drifted} of {columns} columns drifted", drifted=drifted, columns=columns)


def headline(policy: Policy, decision: Decision) -> str:
    """The decision in numbers: `1 of 16 columns drifted: 0.06 < 0.30`; where target drift alone decides, that first."""
    counted, least = decision.counted, policy.threshold
    if decision.share is None:
        if counted.comparable < counted.n:
            return t("{comparable} of {columns} columns comparable", comparable=counted.comparable, columns=counted.n)
        return t("nothing is decided")
    sign = "≥" if counted.reaches(least) else "<"
    share = t(
        "{drifted}: {share} {sign} {threshold:limit}",
        drifted=_drifted(counted.k, counted.n),
        share=share_apart(decision.share, least),
        sign=sign,
        threshold=least,
    )
    if decision.by_target and decision.target is not None:
        against = f"{number(decision.target.value)} ≥ {limit(policy.target_threshold or 0.0)}"
        return clauses([t("target drift {against}", against=against), share])
    return share


def not_own(system: System, result: Result) -> str:
    """Why a run moves no gauge: its policy is not the system's own; "" when it is."""
    if system.drift is None or (result.source is not None and result.source.kind in APART):
        return ""
    own = Policy.of(system.drift)
    names = [one.name for one in fields(Policy) if getattr(own, one.name) != getattr(result.policy, one.name)]
    if not names:
        return ""
    if len(names) > PARTS_NAMED:
        return t("Not the system's own policy of today (several of its rules differ): this run moves no gauge.")
    rules = listed([t(POLICY_WORDS.get(name, name)) for name in names])
    return t("Not the system's own policy of today (different: {rules}): this run moves no gauge.", rules=rules)


def status(answer: Answer, span: TimeRange, clock: Clock) -> tuple[Tone, str]:
    """(tone, words) of a gauge that is 1 or 0: `yes, since 14:02:11`, or why it is not known."""
    if len(answer.series) != 1 or not answer.series[0].values.size or not math.isfinite(answer.series[0].values[-1]):
        return "unknown", t("unknown: {why}", why=answer.reason or t("the gauge has no value now"))
    series = answer.series[0]
    now = series.values[-1]
    holds = t("yes") if now == 1 else t("no") if now == 0 else format_value(float(now))
    return ("good" if now == 1 else "bad"), f"{holds}, {_since(series, span, clock)}"


def _since(series: Series, span: TimeRange, clock: Clock) -> str:
    at = steady_from(series, span)
    moment = format_time(float(series.times[at]), clock)
    if at and series.values[at - 1] != series.values[-1]:
        return t("since {moment}", moment=moment)
    if at:
        return t("since {moment} at least: nothing was measured before", moment=moment)
    if series.times[0] > span.start + LATE_STEPS * span.step:
        return t("since it was first seen at {moment}", moment=moment)
    return t("all through the last hour")
