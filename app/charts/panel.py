"""A panel's queries as one answer: placeholders filled, series named, an empty answer explained."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from app.charts.sentence import LATE_STEPS
from app.config import Panel, System
from app.drift import panels as drift_panels
from app.errors import VigieError
from app.prometheus import Answer, Prometheus, Series, State, Target, TimeRange
from app.prometheus.outcomes import MAX_VALUES, Rule, ValuesOf, adapted, outcome_labels
from app.prometheus.promql import fill, rate_interval, step_for, window_for
from app.prometheus.targets import scrape_interval
from app.words.message import clauses, t
from app.words.units import Clock, format_duration, format_time

# How far back the last request is looked for when a chart is empty: half an hour finely, then a working day.
LOOK_BACK = (1800.0, 8 * 3600.0)
# A label value longer than this (a query, a path) would push the legend over the chart.
LEGEND_CHARS = 60
# So often the values of a status label are looked up over a range; never further apart than Prometheus looks back.
STATUS_LOOKS, LOOK_BACK_SECONDS = 60, 300.0

# What tells one panel's title of the window it was asked with.
_OF_WINDOW = re.compile(r"\$\{?(window|rate_interval)\}?")
_TEMPLATE = re.compile(r"\{\{\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*\}\}")


@dataclass(frozen=True, slots=True)
class Context:
    """What a panel's placeholders mean: selector, window (seconds), range, scrape interval (None is unknown).

    `requests` is the system's request counter, used to say why a chart is empty; `outcomes` are the labels by which the
    system tells failures, beyond the usual ones, `failures` the counter by which it does.
    """

    selector: str
    window: float
    span: TimeRange
    scrape: float | None = None
    requests: str | None = None
    outcomes: frozenset[str] = frozenset()
    failures: str | None = None

    @classmethod
    def of(cls, system: System, window: float | None, span: TimeRange, targets: Iterable[Target] = ()) -> Context:
        """The context of a system; `targets` tell the scrape interval, on which a window of None ("auto") depends.

        Raises ConfigError for a selector that is not a list of matchers.
        """
        selector, metrics = system.prometheus.selector, system.metrics
        scrape = scrape_interval(targets, selector)
        width = window_for(window, scrape, span.step)
        failures = metrics.errors if re.fullmatch(r"[a-zA-Z_:][\w:]*", metrics.errors or "") else None
        return cls(selector, width, span, scrape, metrics.requests, outcome_labels(metrics.errors), failures)

    def fill(self, expr: str) -> str:
        """`expr` with its placeholders filled. Raises QueryError and ConfigError."""
        interval = rate_interval(self.scrape, self.span.step)
        return fill(expr, selector=self.selector, window=self.window, rate_interval=interval, range_=self.span.seconds)


def title(panel: Panel, context: Context, *, asked: bool = True) -> str:
    """The panel's title with its window: `p95 latency, 1 min window`; `p95 latency` where nothing could be asked."""
    text: str = t(panel.title)
    if not asked:
        text = ", ".join(part for part in text.split(", ") if not _OF_WINDOW.search(part))
        text = text or _OF_WINDOW.sub(t("unknown"), t(panel.title))
    values = {
        "window": format_duration(context.window),
        "rate_interval": format_duration(rate_interval(context.scrape, context.span.step)),
        "range": format_duration(context.span.seconds),
        "selector": context.selector,
    }
    return re.sub(r"\$\{?(window|rate_interval|range|selector)\}?", lambda hit: values[hit[1]], text)


def ask(prometheus: Prometheus, panel: Panel, context: Context, clock: Clock | None = None) -> Answer:
    """Ask every expression of a panel over the context's range. Never raises: what fails is in the answer."""
    expressions = panel.expr if isinstance(panel.expr, dict) else {"": panel.expr}
    answers: dict[str, Answer] = {}
    unknown: dict[str, Rule] = {}
    for name, expr in expressions.items():
        try:
            values_of = _values_of(prometheus, context.span)
            text, cannot = adapted(context.fill(expr), values_of, context.outcomes)
            cannot = cannot or _unseen(prometheus, context, text, values_of)
            if cannot is not None:
                unknown[name] = cannot
                answers[name] = Answer(State.EMPTY, reason=cannot.reason, hint=cannot.hint)
                continue
            answer = prometheus.query_range(text, context.span)
            answers[name] = replace(answer, series=tuple(replace(one, query=text) for one in answer.series))
        except VigieError as error:
            answers[name] = Answer.failed(error)
    answer = merge(answers, panel.legend)
    if unknown and answer.state is not State.ERROR:
        name, cannot = next(iter(unknown.items()))
        if answer.state is State.EMPTY:
            return replace(answer, reason=cannot.reason, hint=cannot.hint)
        return replace(
            answer,
            state=State.PARTIAL,
            reason=t("{series} unknown: {why}", series=t(name), why=cannot.reason),
            hint=cannot.hint,
        )
    if answer.state is State.EMPTY:
        if not_compared := drift_panels.why_empty(panel):
            return replace(answer, reason=not_compared[0], hint=not_compared[1])
        return explained(prometheus, context, answer, clock)
    return answer


def _values_of(prometheus: Prometheus, span: TimeRange) -> ValuesOf:
    """Asks how many series have each value of a label in a range; each question once. Raises what the query raises."""
    step = max(span.step, min(LOOK_BACK_SECONDS, span.seconds / STATUS_LOOKS))
    looks = TimeRange(span.start, span.end, step)

    @functools.cache
    def values_of(selector: str, label: str) -> Mapping[str, int]:
        # no catalogue: PromQL
        answer = prometheus.query_range(f"count by ({label}) ({selector})", looks, MAX_VALUES + 1).checked()
        return {one.labels.get(label, ""): int(one.last[1]) for one in answer.series if one.last}

    return values_of


def _unseen(prometheus: Prometheus, context: Context, expr: str, values_of: ValuesOf) -> Rule | None:
    """Why a counter shows no failure: nothing exports it. One with labels appears with the first failure."""
    name = context.failures
    if name is None or not re.search(rf"(?<![\w:]){re.escape(name)}(?![\w:])", expr):
        return None
    if values_of(f"{name}{{{context.selector}}}", "__name__"):
        return None
    with contextlib.suppress(VigieError):
        if {name, name.removesuffix("_total")} & prometheus.metadata().keys():
            return None
    hint = t("Correct `errors` in the system file; a counter with labels appears with the first failure.")
    return Rule(None, reason=t("Prometheus knows no counter {counter}", counter=name), hint=hint)


def merge(answers: Mapping[str, Answer], legend: str = "") -> Answer:
    """Several answers as one: series named by key and legend; one that fails makes the whole PARTIAL, all ERROR."""
    series = [one for key, answer in answers.items() for one in _named(key, answer.series, legend)]
    failed = {key: answer for key, answer in answers.items() if answer.state is State.ERROR}
    seconds = sum(answer.seconds for answer in answers.values())
    first = next(iter(answers.values()))
    if len(failed) == len(answers):
        return replace(first, seconds=seconds)
    notes = [note for answer in answers.values() for note in answer.warnings]
    notes += [f"{key}: {answer.reason}" for key, answer in failed.items()]
    infos = [note for answer in answers.values() for note in answer.infos]
    good = [answer for answer in answers.values() if answer.state is not State.ERROR]
    empty = all(answer.state is State.EMPTY for answer in good)
    explains = next((answer for answer in [*failed.values(), *good] if answer.reason), first)
    state = State.EMPTY if empty and not failed else State.PARTIAL if notes else State.OK
    return Answer(
        state=state,
        series=tuple(_distinct(series)),
        warnings=tuple(dict.fromkeys(notes)),
        infos=tuple(dict.fromkeys(infos)),
        reason=clauses(dict.fromkeys(notes)) if state is State.PARTIAL else explains.reason if empty else "",
        hint=explains.hint if state is not State.OK else "",
        seconds=seconds,
        total_series=sum(answer.total_series for answer in answers.values()),
        kind=first.kind,
    )


def _named(key: str, series: Sequence[Series], legend: str) -> list[Series]:
    named = []
    for one in series:
        own = legend_name(legend, one.labels) if legend or not key else ""
        if key and len(series) > 1 and not own:
            own = legend_name("", one.labels)
        named.append(replace(one, name=" · ".join(part for part in (t(key), own) if part)))
    return named


def legend_name(legend: str, labels: Mapping[str, str]) -> str:
    """`{{status}}` filled from the labels; without a template the series as PromQL writes it, or `value`."""
    if legend:
        text = _TEMPLATE.sub(lambda hit: labels.get(hit[1], ""), t(legend)).strip()
        if text:
            return _short(text)
    pairs = ", ".join(f"{name}={value}" for name, value in labels.items() if name != "__name__")
    metric = labels.get("__name__", "")
    return _short(f"{metric} {pairs}".strip() or "value")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LEGEND_CHARS else line[: LEGEND_CHARS - 1] + "…"


def _distinct(series: Sequence[Series]) -> list[Series]:
    """Series that share a name also say the labels in which they differ."""
    by_name: dict[str, list[Series]] = {}
    for one in series:
        by_name.setdefault(one.name, []).append(one)
    distinct = []
    for one in series:
        group = by_name[one.name]
        if len(group) > 1:
            names = {name for other in group for name in other.labels}
            differ = sorted(name for name in names if len({other.labels.get(name) for other in group}) > 1)
            labels = ", ".join(one.labels.get(name, "") or t("no {label}", label=name) for name in differ)
            distinct.append(replace(one, name=f"{one.name} ({_short(labels)})" if labels else one.name))
        else:
            distinct.append(one)
    return distinct


def explained(prometheus: Prometheus, context: Context, answer: Answer, clock: Clock | None = None) -> Answer:
    """An empty answer with its reason: nothing scraped, no traffic in the window, or another name.

    It claims nothing of a time that was not scraped.
    """
    if context.requests is None:
        return answer
    counter = f"{context.requests}{{{context.selector}}}"
    looked = Looked(counted=False, last=None, since=None)
    for back in LOOK_BACK:
        # Counted back from the end, not aligned: the newest samples matter most here.
        step, end = step_for(back, context.scrape), context.span.end
        wide = TimeRange(max(0.0, end - back // step * step), end, step)
        traffic = prometheus.query_range(f"sum({counter})", wide)
        if traffic.state is State.ERROR:
            return answer
        looked = looked.wider(_look(prometheus, context.selector, traffic.series, wide))
        if looked.last is not None:
            break
    if not looked.counted:
        reason = t("Prometheus has no series {series}", series=counter)
        hint = t("Look at Targets: is the service scraped, and is `selector` in its system file right?")
        return replace(answer, reason=reason, hint=hint)
    if looked.last is None:
        if looked.since is None:
            reason = t("no request in the last {length:duration}", length=LOOK_BACK[-1])
        else:
            length = max(1.0, context.span.end - looked.since)
            reason = t("no request in the {length:duration} since the first scrape", length=length)
        return replace(answer, reason=reason, hint=t("Generate traffic to see this chart move."), idle=True)
    if looked.last < context.span.end - context.window:
        reason = t(
            "the last request, at {time}, is older than the {window:duration} window",
            time=format_time(looked.last, clock),
            window=context.window,
        )
        return replace(answer, reason=reason, hint=t("Generate traffic, or take a range that holds it."), idle=True)
    return answer


@dataclass(frozen=True, slots=True)
class Looked:
    """A look back for the last request. `counted`: the counter exists. Times in epoch seconds.

    `since` is the first scrape, None where the scrapes reach back to the beginning of the look.
    """

    counted: bool
    last: float | None
    since: float | None

    def wider(self, other: Looked) -> Looked:
        """With what a wider, coarser look saw. Both times are at or after the first scrape: the earlier is nearer."""
        since = None if other.since is None else min(self.since or other.since, other.since)
        return Looked(self.counted or other.counted, self.last or other.last, since)


def _look(prometheus: Prometheus, selector: str, counter: Sequence[Series], span: TimeRange) -> Looked:
    """The last request and the first scrape in a range, from the sum of the counter and, where it begins late, `up`."""
    if not counter:
        return Looked(counted=False, last=None, since=None)
    last, first = last_increase(counter[0]), float(counter[0].times[0])
    late = span.start + LATE_STEPS * span.step
    if first > late:
        up = prometheus.query_range(f"max(up{{{selector}}})", span)
        scraped = min((float(one.times[0]) for one in up.series), default=first)
        if last is None and scraped < first - span.step and counter[0].values[0] > 0:
            # A counter with labels appears with its first request, and that increment is in no difference.
            last = first
        first = min(first, scraped)
    return Looked(counted=True, last=last, since=first if first > late else None)


def last_increase(series: Series) -> float | None:
    """When a counter last went up, or began anew above 0, in epoch seconds; None when it did not."""
    moves = np.diff(series.values)
    rises = np.flatnonzero((moves > 0) | ((moves < 0) & (series.values[1:] > 0)))
    if rises.size:
        return float(series.times[rises[-1] + 1])
    return None
