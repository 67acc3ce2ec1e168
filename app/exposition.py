"""Raw `/metrics` text: parse it, add up a counter, and tell two readings apart.

The parser takes the Prometheus text format 0.0.4 and what OpenMetrics adds to it (exemplars, `# EOF`). A line that is
not valid is left out; a text in which no line is valid is a BadAnswer. Everything is bounded: the text may be hostile.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from app.errors import AnswerTooLarge, BadAnswer
from app.words.message import t

# A service with 200 labels' worth of histograms answers about 2 MB; ten times that is another page.
MAX_BYTES = 20_000_000
# About 150 bytes a sample: no honest text under MAX_BYTES holds more.
MAX_SAMPLES = 200_000
# Label values of this length are an attack or a defect; the line is left out.
MAX_LINE_CHARS = 16_384
# A restarted process has another start time; below one second it is rounding.
START_TIME_SLACK = 1.0

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
# Possessive by construction: no two alternatives start with the same character, so time is linear in the line.
_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(,?)')
_END = re.compile(r"[ \t]*\}")
_NUMBER = re.compile(r"[+-]?(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[iI]nf(?:inity)?|[nN]a[nN])")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_DESCRIBED = re.compile(r"^#[ \t]+(TYPE|HELP)[ \t]+([a-zA-Z_:][a-zA-Z0-9_:]*)[ \t]*([^\n]*)", re.MULTILINE)

Labels = tuple[tuple[str, str], ...]


class Sample(NamedTuple):
    """One line: a value of one series. `labels` are sorted pairs, so that a sample's series can be a dictionary key."""

    name: str
    labels: Labels
    value: float

    def label(self, name: str) -> str:
        """The value of a label; "" when the series does not have it, as Prometheus treats it."""
        return next((value for key, value in self.labels if key == name), "")


@dataclass(frozen=True, slots=True)
class Difference:
    """How far a counter moved between two readings. `delta` None means unknown and `reason` says why."""

    delta: float | None
    before: float | None
    after: float | None
    reason: str = ""
    reset: bool = False


class Bucket(NamedTuple):
    """A cumulative histogram bucket: `total` observations were at most `le` (in the metric's unit)."""

    le: float
    total: float


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bucket edges around a quantile. None is unknown (`low`, with `reason`) or unbounded (`high`)."""

    low: float | None
    high: float | None
    reason: str = ""


def parse(text: str | bytes) -> list[Sample]:
    """The samples of an exposition, in its order. Raises BadAnswer (not such a text) or AnswerTooLarge."""
    if len(text) > MAX_BYTES:
        message = t("the metrics text is larger than {most:count} bytes.", most=MAX_BYTES)
        raise AnswerTooLarge(message, hint=t("The service exposes too many series, or this is not its metrics page."))
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    samples: list[Sample] = []
    wrong = 0
    for line in _lines(text):
        sample = _sample(line)
        if sample is None:
            wrong += 1
        elif len(samples) >= MAX_SAMPLES:
            message = t("the metrics text holds more than {most:count} samples.", most=MAX_SAMPLES)
            hint = t("A label with unbounded values (a user, an address) is the usual cause.")
            raise AnswerTooLarge(message, hint=hint)
        else:
            samples.append(sample)
    if wrong and not samples:
        html = text.lstrip()[:1] == "<"
        message = (
            t("the metrics page is HTML.")
            if html
            else t("the metrics page is text that is not in the Prometheus format.")
        )
        raise BadAnswer(message, hint=t("Check that the service exposes /metrics at this address."))
    return samples


@dataclass(frozen=True, slots=True)
class Described:
    """What an exposition says about a metric: `type` counter, gauge, histogram, summary …, and its help line."""

    type: str = ""
    help: str = ""


def described(text: str | bytes) -> dict[str, Described]:
    """Type and help by metric name, also of one without a sample (a labelled counter before its first use)."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    metrics: dict[str, Described] = {}
    for hit in _DESCRIBED.finditer(text[:MAX_BYTES]):
        if len(metrics) >= MAX_SAMPLES:
            break
        metric = metrics.get(hit[2], Described())
        words = hit[3].strip()[:MAX_LINE_CHARS]
        metrics[hit[2]] = Described(words, metric.help) if hit[1] == "TYPE" else Described(metric.type, words)
    return metrics


def _lines(text: str) -> Iterator[str]:
    """Lines that carry a sample. Only a line feed ends a line: other separators may be part of label values."""
    start = 0
    while start < len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        if end - start <= MAX_LINE_CHARS:
            line = text[start:end].strip(" \t\r")
            if line and line[0] != "#":
                yield line
        start = end + 1


def _sample(line: str) -> Sample | None:
    name = _NAME.match(line)
    if name is None:
        return None
    rest = line[name.end() :].lstrip(" \t")
    labels: Labels = ()
    if rest[:1] == "{":
        pairs = _labels(rest)
        if pairs is None:
            return None
        labels, rest = pairs
    elif rest == line[name.end() :]:  # a name must be set apart from its value
        return None
    # value, then perhaps a timestamp, then perhaps an exemplar
    fields = rest.partition("#")[0].split()
    if not 1 <= len(fields) <= 2 or not all(_NUMBER.fullmatch(field) for field in fields):
        return None
    return Sample(name[0], labels, float(fields[0]))


def _labels(rest: str) -> tuple[Labels, str] | None:
    pairs: dict[str, str] = {}
    at = 1
    while True:
        end = _END.match(rest, at)
        if end is not None:
            return tuple(sorted(pairs.items())), rest[end.end() :]
        pair = _LABEL.match(rest, at)
        if pair is None or (not pair[3] and not rest.startswith("}", pair.end())):
            return None
        pairs[pair[1]] = _ESCAPED.sub(_unescape, pair[2]) if "\\" in pair[2] else pair[2]
        at = pair.end()


def _unescape(match: re.Match[str]) -> str:
    return {"n": "\n", '"': '"', "\\": "\\"}.get(match[1], match[0])


def counter_total(
    samples: Sequence[Sample],
    name: str,
    exclude: Mapping[str, Collection[str]] | None = None,
) -> float | None:
    """The sum of a counter over its series; None when no series matches (unknown is not 0).

    `name` with or without `_total`; `_created` series are never added. A series is left out when one of its
    labels has a value that `exclude` lists.
    """
    counters = _select(samples, _counter_names(name), exclude)
    return math.fsum(sample.value for sample in counters) if counters else None


def difference(
    before: Sequence[Sample],
    after: Sequence[Sample],
    name: str,
    exclude: Mapping[str, Collection[str]] | None = None,
) -> Difference:
    """How far a counter moved. A series that appears counts from 0; one that goes back or away is a reset."""
    first = _select(before, _counter_names(name), exclude)
    second = _select(after, _counter_names(name), exclude)
    was = counter_total(first, name)
    now = counter_total(second, name)
    if now is None:
        if was is None:
            return Difference(None, was, None, t("the service does not expose {name}", name=name))
        return Difference(None, was, None, t("the service does not expose {name} any more", name=name))
    old, new = _by_series(first), _by_series(second)
    if restarted(before, after) or any(new.get(series, -1.0) < value for series, value in old.items()):
        reason = t(
            "the counter was reset (from {before} to {now:count}): the service restarted in between",
            before=t("nothing") if was is None else t("{n:count}", n=was),
            now=now,
        )
        return Difference(None, was, now, reason, reset=True)
    delta = math.fsum(value - old.get(series, 0.0) for series, value in new.items())
    if not math.isfinite(delta):
        return Difference(None, was, now, t("{name} is not a finite number", name=name))
    return Difference(delta, was, now)


def restarted(before: Sequence[Sample], after: Sequence[Sample]) -> bool:
    """True when the process behind the two readings says that it started at different times."""
    name = ("process_start_time_seconds",)
    first, second = _by_series(_select(before, name)), _by_series(_select(after, name))
    return any(abs(second[series] - value) > START_TIME_SLACK for series, value in first.items() if series in second)


def histogram_difference(
    before: Sequence[Sample],
    after: Sequence[Sample],
    name: str,
    exclude: Mapping[str, Collection[str]] | None = None,
) -> list[Bucket]:
    """The buckets of a histogram between two readings, summed over its series, by rising `le`. Empty: not exposed."""
    names = (f"{name}_bucket",)
    old = _by_series(_select(before, names, exclude))
    edges: dict[float, float] = {}
    for labels, value in _by_series(_select(after, names, exclude)).items():
        text = dict(labels).get("le", "")
        if _NUMBER.fullmatch(text):
            edge = float(text)
            # After a reset the new value is all there is: as rate() of Prometheus does.
            was = old.get(labels, 0.0)
            edges[edge] = edges.get(edge, 0.0) + (value - was if value >= was else value)
    return [Bucket(le, edges[le]) for le in sorted(edge for edge in edges if not math.isnan(edge))]


def quantile_bounds(buckets: Sequence[Bucket], quantile: float) -> Bounds:
    """The edges of the bucket that holds `quantile` (0 to 1): no interpolation, nothing pretended."""
    total = buckets[-1].total if buckets else 0.0
    if not buckets:
        return Bounds(None, None, t("the service exposes no histogram of that name"))
    if not (total > 0 and math.isfinite(total)):
        return Bounds(None, None, t("the histogram observed no request in between"))
    rank, low = quantile * total, 0.0
    for edge, seen in buckets:
        if seen >= rank:
            return Bounds(low, edge if math.isfinite(edge) else None)
        low = edge
    return Bounds(low, None)


def _counter_names(name: str) -> tuple[str, ...]:
    return (name,) if name.endswith("_total") else (name, f"{name}_total")


def _by_series(samples: Sequence[Sample]) -> dict[Labels, float]:
    return {sample.labels: sample.value for sample in samples}


def _select(
    samples: Sequence[Sample],
    names: Collection[str],
    exclude: Mapping[str, Collection[str]] | None = None,
) -> list[Sample]:
    """Samples of these names; of several names only the first that exists, so that none is counted twice."""
    kept: dict[str, list[Sample]] = {}
    for sample in samples:
        if sample.name not in names:
            continue
        if any(key in exclude and value in exclude[key] for key, value in sample.labels) if exclude else False:
            continue
        kept.setdefault(sample.name, []).append(sample)
    return next((kept[name] for name in names if name in kept), [])
