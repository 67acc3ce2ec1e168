"""The sentence under each chart: what it shows now, its peak, or why there is nothing to see."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from app.config import Panel
from app.prometheus import Answer, Series, State, TimeRange
from app.words.message import t, tn
from app.words.shared import text_value
from app.words.units import Clock, format_number, format_time, format_value

# More numbers than these make no sentence.
MOST_NAMED = 3
# The legend of the shipped systems for a rate of requests; a sentence can count those.
REQUESTS = t("requests")
# Names longer than this are read in the legend.
LONG_NAME = 24
# The newest sample counts as "now" when it is at most this many steps old: one is the scrape, one the alignment.
FRESH_STEPS = 3
# Waiting and drawing take a moment; a range that ended less than this ago ends now.
FRESH_SECONDS = 15.0
# Data that begins this many steps after the range does covers the range: one is the alignment, one the scrape.
LATE_STEPS = 2


def sentence(panel: Panel, answer: Answer, span: TimeRange | None = None, clock: Clock | None = None) -> str:
    """One line: `12.4 requests a second now, peak 48 at 14:02:10.` `span` tells gaps at the end from now."""
    clock = clock or Clock()
    if answer.state is State.ERROR:
        return _join(t("Not drawn: {why}", why=answer.reason), answer.hint)
    if answer.state is State.EMPTY:
        return _join(t("Nothing to draw: {why}", why=answer.reason), answer.hint)
    if answer.text:
        return text_value(answer.text)
    numbers = _numbers(panel, answer, span, clock)
    if answer.state is State.PARTIAL:
        return _join(numbers, t("Incomplete: {why}", why=answer.reason), answer.hint)
    if answer.state is State.STALE:
        return _join(numbers, t("Not fresh: {why}", why=answer.reason), answer.hint)
    return numbers


def _join(*parts: str) -> str:
    """The parts as sentences, each with a full stop."""
    kept = [part.strip() for part in parts if part.strip()]
    return " ".join(part if part[-1] in ".:!?…" else f"{part}." for part in kept)


def _numbers(panel: Panel, answer: Answer, span: TimeRange | None, clock: Clock) -> str:
    end, step = _end(answer.series, span)
    fresh = [one for one in answer.series if one.last and one.last[0] >= end - FRESH_STEPS * step]
    is_now = clock.moment - end <= FRESH_SECONDS + FRESH_STEPS * step
    when = t("now") if is_now else t("at {time}", time=format_time(end, clock))
    if not fresh:
        newest = max((one for one in answer.series if one.last), key=lambda one: one.last or (0, 0), default=None)
        if newest is None or newest.last is None:
            return t("No number in this range.")
        at, value = newest.last
        text = t(
            "No value {when}; last {value} at {time}.",
            when=when,
            value=named_value(panel, newest, value),
            time=format_time(at, clock),
        )
        of_traffic = panel.unit in ("s", "ratio")
        return f"{text} {t('Without traffic there is nothing to measure.')}" if of_traffic else text
    peak = _peak(panel, answer.series, span, clock)
    if len(fresh) > MOST_NAMED or (len(fresh) > 1 and any(len(one.name) > LONG_NAME for one in fresh)):
        top = max(fresh, key=lambda one: one.last[1] if one.last else 0.0)
        highest = named_value(panel, top, top.last[1] if top.last else None)
        text = t("{count} series; the highest {when} is {value}", count=len(answer.series), when=when, value=highest)
        return f"{text}{peak}."
    alone = len(answer.series) == 1
    texts = [named_value(panel, one, one.last[1] if one.last else None, alone=alone) for one in fresh]
    return f"{t('{values} {when}', values=', '.join(texts), when=when)}{peak}."


def steady_from(series: Series, span: TimeRange) -> int:
    """Where the newest value of a series began to hold: the index of the first sample equal to it, without a gap."""
    times, values = series.times, series.values
    at = len(times) - 1
    while at > 0 and values[at - 1] == values[-1] and times[at] - times[at - 1] <= LATE_STEPS * span.step:
        at -= 1
    return at


def idle(rate: Series, span: TimeRange) -> str:
    """How long there was no request, of a rate that is 0 now; no claim beyond its samples.

    `No request in the last 2 min.`, `No request in the 4 min since the first scrape.`
    """
    at = steady_from(rate, span)
    first = float(rate.times[at])
    if first <= span.start + LATE_STEPS * span.step:
        return t("No request in the last {length:duration}.", length=span.seconds)
    length = max(span.end - first, span.step)
    if at == 0:
        return t("No request in the {length:duration} since the first scrape.", length=length)
    return t("No request in the last {length:duration}.", length=length)


def _late(series: Sequence[Series], span: TimeRange | None, clock: Clock) -> str:
    """When the first value is, where the data begins later than the range; else ""."""
    firsts = [float(one.times[good][0]) for one in series if (good := np.isfinite(one.values)).any()]
    if span is None or not firsts or min(firsts) <= span.start + LATE_STEPS * span.step:
        return ""
    return format_time(min(firsts), clock)


def _through(series: Sequence[Series], span: TimeRange | None, clock: Clock, *, zero: bool) -> str:
    """For how long a line has not moved: no claim beyond its samples."""
    if first := _late(series, span, clock):
        if zero:
            return t("ever since the first value at {time}", time=first)
        return t("unchanged since the first value at {time}", time=first)
    times = np.unique(np.concatenate([one.times[np.isfinite(one.values)] for one in series]))
    gaps = span is not None and bool((np.diff(times) > FRESH_STEPS * span.step).any())
    if gaps:
        return (
            t("all through what was measured of this range")
            if zero
            else t("unchanged through what was measured of this range")
        )
    return t("all through this range") if zero else t("unchanged through this range")


def named_value(panel: Panel, series: Series, value: float | None, *, alone: bool = False) -> str:
    """A value with its name: `12.4 requests a second`, `p95 41 ms`."""
    name = series.name
    if panel.unit == "1/s" and alone and name == t(REQUESTS):
        n = value if value is None or format_number(value) != "1" else 1
        return tn("{n:significant} request a second", "{n:significant} requests a second", n)
    if panel.unit == "1/s" and alone and name.isalpha():
        return t("{name}: {rate:rate_words}", name=name, rate=value)
    text = format_value(value, panel.unit, words=alone and not name)
    return f"{name} {text}" if name and name != "value" else text


def _peak(panel: Panel, series: Sequence[Series], span: TimeRange | None, clock: Clock) -> str:
    """`, peak 48/s at 14:02:10`; of a line that never moves, how long it has been so: no claim beyond its samples."""
    best: tuple[float, float, str] | None = None
    lowest = np.inf
    for one in series:
        good = np.isfinite(one.values)
        if not good.any():
            continue
        values = np.where(good, one.values, -np.inf)
        index = int(values.argmax())
        lowest = min(lowest, float(one.values[good].min()))
        if best is None or values[index] > best[0]:
            best = float(values[index]), float(one.times[index]), one.name
    if best is None:
        return ""
    value, at, name = best
    if value == lowest:
        return f", {_through(series, span, clock, zero=value == 0)}"
    whose = f" ({name})" if len(series) > 1 and name else ""
    peak = {"peak": f"{format_value(value, panel.unit)}{whose}", "time": format_time(at, clock)}
    if first := _late(series, span, clock):
        return t(", peak {peak} at {time} (the first value at {first})", **peak, first=first)
    return t(", peak {peak} at {time}", **peak)


def _end(series: Sequence[Series], span: TimeRange | None) -> tuple[float, float]:
    """(end, step) of what was asked; without a range, as the samples tell it."""
    if span is not None:
        return span.end, span.step
    end = max((float(one.times[-1]) for one in series if one.times.size), default=0.0)
    steps = [float(np.diff(one.times).min()) for one in series if one.times.size > 1]
    return end, min(steps, default=1.0)
