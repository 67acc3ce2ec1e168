"""PromQL: time ranges and steps, placeholders, quoting, selectors. The server is the authority on grammar."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from app.errors import ConfigError, QueryError
from app.prometheus.model import Column
from app.words.message import t

# More points than pixels cost time and payload and show nothing.
MAX_POINTS = 1500
# Enough for our charts, which are about 600 pixels wide.
WANTED_POINTS = 400
# More lines than this cannot be distinguished; the chart says "50 of N".
MAX_SERIES = 50
# What a chart of "the last hours" may leave out at its end, in seconds.
NEWEST = 10.0
# Round steps, in seconds; beyond a day they go on in whole days.
STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400)
# Prometheus' own default, used when no target tells its interval.
DEFAULT_SCRAPE = 60.0
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0, "y": 31_536_000.0}
# Grafana fills these in at each refresh: exported dashboards carry them in place of a length.
GRAFANA_LENGTHS = ("$__rate_interval", "$__range")
PLACEHOLDERS = ("selector", "window", "rate_interval", "range")

_DURATION = re.compile(r"(?:\d+(?:ms|[smhdwy]))+")
_DURATION_PART = re.compile(r"(\d+)(ms|[smhdwy])")
STRING = r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'|`[^`]*`'
_PLACE = re.compile(rf"{STRING}|#[^\n]*|(?P<all>\$(?:\{{(?P<braced>\w+)\}}|(?P<bare>\w+))(?P<comma>\s*,\s*)?)")
_MATCHER = re.compile(rf"\s*(?P<name>[a-zA-Z_][a-zA-Z0-9_]*)\s*(?P<op>=~|!~|!=|=)\s*(?P<value>{STRING})\s*")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


@dataclass(frozen=True, slots=True)
class TimeRange:
    """Start, end and step in seconds. Both ends are on a grid, so that two refreshes ask for the same points."""

    start: float
    end: float
    step: float

    @classmethod
    def last(cls, seconds: float, *, now: float | None = None, scrape: float | None = None) -> TimeRange:
        """The last `seconds` before `now`, with the step that suits them; what happened just now is in it.

        Where the step is long, the end is on a finer grid: on steps of five minutes the newest ones would be missing.
        """
        end = time.time() if now is None else now
        step = step_for(seconds, scrape)
        grain = max(NEWEST, scrape or 0.0)
        if step <= grain:
            return cls.between(end - seconds, end, scrape=scrape)
        end = _down(end, grain)
        return cls(max(end - seconds // step * step, end % step), end, step)

    @classmethod
    def between(cls, start: float, end: float, *, step: float | None = None, scrape: float | None = None) -> TimeRange:
        """`start` to `end` aligned to the step. Raises QueryError for an empty range or more than MAX_POINTS points."""
        if not (math.isfinite(start) and math.isfinite(end) and 0 <= start < end):
            raise QueryError(
                t("the range is empty: its start is not before its end."), hint=t("Exchange start and end.")
            )
        if step is not None and not (math.isfinite(step) and step > 0):
            raise QueryError(
                t("the step is {step:g} s; accepted: more than 0 s.", step=step), hint=t("Give a step such as 15 s.")
            )
        width = step_for(end - start, scrape) if step is None else step
        aligned = cls(_down(start, width), _down(end, width), width)
        if aligned.points > MAX_POINTS:
            message = t("{points} points per series; accepted: at most {most}.", points=aligned.points, most=MAX_POINTS)
            shortest = duration(step_for(end - start))
            raise QueryError(message, hint=t("Take a step of {shortest} or more.", shortest=shortest))
        return aligned

    @property
    def seconds(self) -> float:
        """Length."""
        return self.end - self.start

    def grid(self, times: Column, values: Column) -> Column:
        """One value for each step from start to end; NaN where there is no sample or the sample is not finite."""
        filled = np.full(self.points, np.nan)
        places = np.rint((times - self.start) / self.step).astype(np.int64)
        inside = (places >= 0) & (places < self.points) & np.isfinite(values)
        filled[places[inside]] = values[inside]
        return filled

    @property
    def points(self) -> int:
        """Samples of a series without gaps."""
        return round((self.end - self.start) / self.step) + 1


def _down(moment: float, step: float) -> float:
    # Rounded to milliseconds, the resolution of Prometheus: 0.1 s steps would otherwise drift.
    return round(math.floor(moment / step + 1e-9) * step, 3)


def step_for(seconds: float, scrape: float | None = None) -> float:
    """The step for a range: about WANTED_POINTS, never finer than the scrape interval, never over MAX_POINTS."""
    shortest = max(seconds / WANTED_POINTS, min(scrape or 0.0, seconds))
    for step in STEPS:
        if step >= shortest:
            return float(step)
    return math.ceil(shortest / STEPS[-1]) * float(STEPS[-1])


def rate_interval(scrape: float | None, step: float) -> float:
    """The shortest window in which rate() surely finds two samples, in seconds (as Grafana defines it)."""
    interval = scrape or DEFAULT_SCRAPE
    return max(step + interval, 4 * interval)


def window_for(chosen: float | None, scrape: float | None, step: float) -> float:
    """The window that rates are asked with, in seconds: `chosen`, or for None ("auto") the shortest sure one.

    A chosen window that is shorter than a step and a scrape would leave out what happened between two points, and hold
    fewer than the two samples a rate needs: the shortest sure one takes its place.
    """
    if chosen is not None and chosen >= step + (scrape or 0.0):
        return chosen
    return rate_interval(scrape, step)


def duration(seconds: float) -> str:
    """Seconds as a PromQL duration: 90 is `1m30s`, 0.5 is `500ms`. Raises QueryError for nothing or less."""
    left = round(seconds * 1000) if math.isfinite(seconds) else 0
    if left <= 0:
        raise QueryError(
            t("{seconds:g} s is not a duration; accepted: more than 0 s.", seconds=seconds),
            hint=t("Take 30 s, for example."),
        )
    parts = []
    for name, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count}{name}")
    return "".join(parts)


def seconds_of(text: str) -> float:
    """`1m30s` in seconds. Raises QueryError for anything but a PromQL duration."""
    if not _DURATION.fullmatch(text):
        raise QueryError(
            t("{text!r} is not a duration; accepted: 30s, 5m, 1h30m …", text=text), hint=t("Give number and unit.")
        )
    return sum(int(count) * UNITS[unit] for count, unit in _DURATION_PART.findall(text))


def quote(value: str) -> str:
    """`value` as a PromQL string literal, quotation marks included."""
    return json.dumps(value.encode("utf-8", "replace").decode(), ensure_ascii=False)


def matcher(name: str, value: str) -> str:
    """`name="value"`, escaped. Raises QueryError for a name that is no label name."""
    if not _LABEL.fullmatch(name):
        raise QueryError(t("{name!r} is not a label name.", name=name), hint=t("Accepted: letters, digits and _."))
    return f"{name}={quote(value)}"


@dataclass(frozen=True, slots=True)
class Matcher:
    """One `name op "value"` of a selector."""

    name: str
    op: str
    value: str

    def matches(self, labels: Mapping[str, str]) -> bool:
        """As Prometheus does: a missing label is empty, regular expressions match the whole value."""
        own = labels.get(self.name, "")
        if self.op in ("=", "!="):
            return (own == self.value) == (self.op == "=")
        try:
            fits = _fits(self.value, own)
        except (re.error, ValueError, OverflowError, RecursionError):
            return False
        return fits == (self.op == "=~")


def _fits(pattern: str, text: str) -> bool:
    """Whether a regular expression matches the whole text, in a time that grows no faster than the text does.

    Prometheus' engine is RE2. Python's own takes minutes for `(a+)+b` and thirty letters, and holds up every page
    meanwhile; without groups and with one repetition at most it has nothing to try again. Raises re.error or
    ValueError for what is no expression.
    """
    if "(" not in pattern and sum(map(pattern.count, "*+?{")) <= 1:
        return re.fullmatch(pattern, text, re.DOTALL) is not None
    import pyarrow as pa
    import pyarrow.compute as pc

    return bool(pc.match_substring_regex(pa.scalar(text), pattern=f"^(?s:{pattern})$").as_py())


def parse_selector(text: str) -> tuple[Matcher, ...]:
    """The matchers of `job="api", instance!="x"`. Raises ConfigError for anything else, such as a brace."""
    matchers, at = [], 0
    while at < len(text.rstrip()):
        hit = _MATCHER.match(text, at)
        after = text[hit.end() : hit.end() + 1] if hit else ""
        if hit is None or after not in ("", ","):
            message = t(
                'selector {text!r} is not a list of matchers; accepted: job="api", instance=~"10\\\\..*" …', text=text
            )
            raise ConfigError(message, hint=t("Correct `selector` under [prometheus] in the system file."))
        matchers.append(Matcher(hit["name"], hit["op"], _unquote(hit["value"])))
        at = hit.end() + 1
    return tuple(matchers)


def _unquote(literal: str) -> str:
    body = literal[1:-1]
    if literal[0] == "`":
        return body
    simple = {"n": "\n", "t": "\t", "r": "\r"}
    return re.sub(r"\\(.)", lambda hit: simple.get(hit[1], hit[1]), body)


def selects(text: str, labels: Mapping[str, str]) -> bool:
    """True when every matcher of the selector fits."""
    return all(one.matches(labels) for one in parse_selector(text))


def fill(
    expr: str,
    *,
    selector: str | None = None,
    window: str | float | None = None,
    rate_interval: str | float | None = None,
    range_: str | float | None = None,
) -> str:
    """Put values for `$selector`, `$window`, `$rate_interval`, `$range` (also `${…}`); numbers are seconds.

    One of GRAFANA_LENGTHS in place of a length stays as it is.
    String literals and comments stay as they are (`=~"5..$"`). Raises QueryError for an unknown or missing placeholder,
    ConfigError for a selector that is not a list of matchers.
    """
    values: dict[str, str | None] = {
        "selector": _checked_selector(selector),
        "window": _length(window),
        "rate_interval": _length(rate_interval),
        "range": _length(range_),
    }

    def put(hit: re.Match[str]) -> str:
        if hit["all"] is None:
            return hit[0]
        name = hit["braced"] or hit["bare"]
        value = values.get(name)
        if value is None:
            message = t("{name} has no value here." if name in values else "{name} is unknown.", name=f"${name}")
            position = expr.count("\n", 0, hit.start()) + 1, hit.start() - expr.rfind("\n", 0, hit.start())
            hint = t("Placeholders are {names}.", names=", ".join(f"${one}" for one in PLACEHOLDERS))
            raise QueryError(message, hint=hint, position=position)
        # `{, status="200"}` would be a syntax error: an empty selector takes its comma with it.
        return value + (hit["comma"] or "") if value else ""

    return _PLACE.sub(put, expr)


def _checked_selector(text: str | None) -> str | None:
    if text is None:
        return None
    parse_selector(text)
    return text.strip().rstrip(",")


def _length(value: str | float | None) -> str | None:
    if value is None:
        return None
    if value in GRAFANA_LENGTHS:
        return str(value)
    return duration(seconds_of(value) if isinstance(value, str) else value)


def counted(expr: str) -> str:
    """How many series `expr` has; the line breaks keep a comment at its end from swallowing the bracket."""
    return f"count(\n{expr}\n)"


def largest(expr: str, span: TimeRange, limit: int = MAX_SERIES) -> str:
    """The `limit` series of `expr` with the highest mean over the range: the same ones at each step."""
    # topk() over a range chooses anew at each step and can return every series; @ end() chooses once.
    window = f"[{duration(span.seconds)}:{duration(max(span.step, span.seconds / 100))}] @ end()"
    return f"(\n{expr}\n) and topk({limit}, avg_over_time((\n{expr}\n){window}))"  # no catalogue: PromQL
