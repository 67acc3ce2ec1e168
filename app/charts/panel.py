"""A panel's queries as one answer: placeholders filled, series named, an empty answer explained."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from app.charts.units import Clock, format_duration, format_time
from app.config import Panel, System
from app.drift import panels as drift_panels
from app.errors import VigieError
from app.prometheus import Answer, Prometheus, Series, State, Target, TimeRange
from app.prometheus.promql import fill, rate_interval, step_for
from app.prometheus.targets import scrape_interval

# How far back the last request is looked for when a chart is empty: half an hour finely, then a working day.
LOOK_BACK = (1800.0, 8 * 3600.0)
# A label value longer than this (a query, a path) would push the legend over the chart.
LEGEND_CHARS = 60

_TEMPLATE = re.compile(r"\{\{\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*\}\}")


@dataclass(frozen=True, slots=True)
class Context:
    """What a panel's placeholders stand for: selector, window (seconds), range, scrape interval (None is unknown).

    `requests` is the system's request counter, used to say why a chart is empty.
    """

    selector: str
    window: float
    span: TimeRange
    scrape: float | None = None
    requests: str | None = None

    @classmethod
    def of(cls, system: System, window: float, span: TimeRange, targets: Iterable[Target] = ()) -> Context:
        """The context of a system; `targets` tell the scrape interval."""
        selector = system.prometheus.selector
        return cls(selector, window, span, scrape_interval(targets, selector), system.metrics.requests)

    def fill(self, expr: str) -> str:
        """`expr` with its placeholders filled. Raises QueryError and ConfigError."""
        interval = rate_interval(self.scrape, self.span.step)
        return fill(expr, selector=self.selector, window=self.window, rate_interval=interval, range_=self.span.seconds)


def title(panel: Panel, context: Context) -> str:
    """The panel's title with the window in words: `p95 latency, 1 min window`."""
    words = {
        "window": format_duration(context.window),
        "rate_interval": format_duration(rate_interval(context.scrape, context.span.step)),
        "range": format_duration(context.span.seconds),
        "selector": context.selector,
    }
    return re.sub(r"\$\{?(window|rate_interval|range|selector)\}?", lambda hit: words[hit[1]], panel.title)


def ask(prometheus: Prometheus, panel: Panel, context: Context, clock: Clock | None = None) -> Answer:
    """Ask every expression of a panel over the context's range. Never raises: what fails is in the answer."""
    expressions = panel.expr if isinstance(panel.expr, dict) else {"": panel.expr}
    answers: dict[str, Answer] = {}
    for name, expr in expressions.items():
        try:
            answers[name] = prometheus.query_range(context.fill(expr), context.span)
        except VigieError as error:
            answers[name] = Answer.failed(error)
    answer = merge(answers, panel.legend)
    if answer.state is State.EMPTY:
        reason, hint = drift_panels.why_empty(panel) or why_empty(prometheus, context, answer, clock)
        return replace(answer, reason=reason, hint=hint)
    return answer


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
    told = next((answer for answer in [*failed.values(), *good] if answer.reason), first)
    state = State.EMPTY if empty and not failed else State.PARTIAL if notes else State.OK
    return Answer(
        state=state,
        series=tuple(_distinct(series)),
        warnings=tuple(dict.fromkeys(notes)),
        infos=tuple(dict.fromkeys(infos)),
        reason="; ".join(dict.fromkeys(notes)) if state is State.PARTIAL else told.reason if empty else "",
        hint=told.hint if state is not State.OK else "",
        seconds=seconds,
        total_series=sum(answer.total_series for answer in answers.values()),
        kind=first.kind,
    )


def _named(key: str, series: Sequence[Series], legend: str) -> list[Series]:
    found = []
    for one in series:
        own = legend_name(legend, one.labels) if legend or not key else ""
        if key and len(series) > 1 and not own:
            own = legend_name("", one.labels)
        found.append(replace(one, name=" · ".join(part for part in (key, own) if part)))
    return found


def legend_name(legend: str, labels: Mapping[str, str]) -> str:
    """`{{status}}` filled from the labels; without a template the series as PromQL writes it, or `value`."""
    if legend:
        text = _TEMPLATE.sub(lambda hit: labels.get(hit[1], ""), legend).strip()
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
    found = []
    for one in series:
        group = by_name[one.name]
        if len(group) > 1:
            names = {name for other in group for name in other.labels}
            differ = sorted(name for name in names if len({other.labels.get(name) for other in group}) > 1)
            told = ", ".join(one.labels.get(name, "") or f"no {name}" for name in differ)
            found.append(replace(one, name=f"{one.name} ({_short(told)})" if told else one.name))
        else:
            found.append(one)
    return found


def why_empty(prometheus: Prometheus, context: Context, answer: Answer, clock: Clock | None = None) -> tuple[str, str]:
    """(reason, hint) of an empty chart: nothing scraped, no traffic in the window, or another name."""
    if context.requests is None:
        return answer.reason, answer.hint
    counter = f"{context.requests}{{{context.selector}}}"
    last, known = None, False
    for back in LOOK_BACK:
        # Counted back from the end, not aligned: the newest samples matter most here.
        step, end = step_for(back, context.scrape), context.span.end
        wide = TimeRange(max(0.0, end - back // step * step), end, step)
        traffic = prometheus.query_range(f"sum({counter})", wide)
        if traffic.state is State.ERROR:
            return answer.reason, answer.hint
        known = known or bool(traffic.series)
        last = last_increase(traffic.series[0]) if traffic.series else None
        if last is not None:
            break
    if not known:
        reason = f"Prometheus has no series {counter}"
        return reason, "Look at Targets: is the service scraped, and is `selector` in its system file right?"
    if last is None:
        return f"no request in the last {format_duration(LOOK_BACK[-1])}", "Generate traffic to see this chart move."
    if last < context.span.end - context.window:
        window = format_duration(context.window)
        reason = f"the last request, at {format_time(last, clock)}, is older than the {window} window"
        return reason, "Generate traffic, or take a range that holds it."
    return answer.reason, answer.hint


def last_increase(series: Series) -> float | None:
    """When a counter last went up, in epoch seconds; None when it did not."""
    rises = np.flatnonzero(np.diff(series.values) > 0)
    if rises.size:
        return float(series.times[rises[-1] + 1])
    return None
