"""From a service's `/metrics`: its request counter, latency histogram, failures, drift and status gauges. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from app.exposition import Described, Sample
from app.prometheus.outcomes import STATUS_LABELS, failed, rule
from app.prometheus.promql import parse_selector
from app.words.message import t

# Gauges of one sort that are taken over; a service with more of them wants a person's choice.
MAX_GAUGES = 8
# Values of a label that are looked at.
MAX_LABEL_VALUES = 200

# Labels that name the route, so that scrapes and health checks can be left out.
ROUTE_LABELS = ("handler", "endpoint", "path", "route", "url", "uri", "http_route")

_FOREIGN = re.compile(r"^(?:process|python|go|jvm|node|promhttp|scrape|prometheus|nodejs|dotnet|up$)(?:_|$)?")
_FAILS = re.compile(r"error|fail|exception|reject|timeout", re.IGNORECASE)
_NOT_REQUESTS = re.compile(r"bytes|size|in_?progress|exception|error|fail|retry|cache|query|queries|db_", re.IGNORECASE)
_STATUS_GAUGE = re.compile(r"_(?:loaded|connected|ready|healthy|available|alive|online|reachable|up)$")
# Routes that are asked by Prometheus, by health checks and by us, not by traffic; and no letter that means something
# in a regular expression.
_OWN_ROUTE = re.compile(r"/?(?:metrics|health[a-z/]*|livez?|readyz?|ping|docs)/?")
_CLASS = re.compile(r"[1-5](?:[0-9]{2}|xx|XX)?")


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of the exposition: its type ("" when not declared), help, samples, and the values of each label."""

    name: str
    type: str
    help: str
    samples: tuple[Sample, ...]
    labels: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Failures:
    """How failures are counted: `errors` for `[metrics]`, `label` on the counter or "" for a separate counter.

    `words` say which values of the label count as what.
    """

    errors: str
    label: str
    words: str = ""


@dataclass(frozen=True, slots=True)
class Measures:
    """What was found; None or empty where nothing was, and `notes` say what was seen in its place."""

    counter: Metric | None
    route_label: str
    own_routes: tuple[str, ...]
    latency: Metric | None
    failures: Failures | None
    status_label: str
    drift: tuple[Metric, ...]
    states: tuple[Metric, ...]
    memory: bool
    cpu: bool
    notes: tuple[str, ...]


def metrics(samples: Sequence[Sample], descriptions: Mapping[str, Described]) -> dict[str, Metric]:
    """The metrics of an exposition by name; a histogram's parts are under its base name."""
    bases = {name for name, one in descriptions.items() if one.type in ("histogram", "gaugehistogram", "summary")}
    rows: dict[str, list[Sample]] = {name: [] for name in descriptions if not name.endswith("_created")}
    histograms = set[str]()
    for sample in samples:
        base, _, part = sample.name.rpartition("_")
        name = sample.name
        if part == "bucket" and base not in descriptions and any(key == "le" for key, _ in sample.labels):
            histograms.add(base)
        if (part in ("bucket", "sum", "count") and base in bases) or base in histograms:
            name = base
        elif name not in descriptions and part == "total" and base in descriptions:
            # OpenMetrics declares a counter without its suffix.
            rows.pop(base, None)
        if not name.endswith("_created"):
            rows.setdefault(name, []).append(sample)
    return {name: _metric(name, parts, descriptions, name in histograms) for name, parts in rows.items()}


def _metric(name: str, samples: list[Sample], descriptions: Mapping[str, Described], histogram: bool) -> Metric:
    one = descriptions.get(name) or descriptions.get(name.removesuffix("_total")) or Described()
    labels: dict[str, dict[str, None]] = {}
    for sample in samples:
        for key, value in sample.labels:
            values = labels.setdefault(key, {})
            if len(values) < MAX_LABEL_VALUES:
                values[value] = None
    kind = "histogram" if histogram else one.type
    return Metric(name, kind, one.help, tuple(samples), {key: tuple(values) for key, values in labels.items()})


def find(by_name: Mapping[str, Metric]) -> Measures:
    """The parts of a system file in these metrics."""
    own = {name: one for name, one in by_name.items() if not _FOREIGN.match(name)}
    notes: list[str] = []
    counter = _counter(own.values())
    if counter is not None and not counter.samples:
        notes.append(
            t(
                "{counter} has no series yet, so its labels are not known: send a request, then read again.",
                counter=counter.name,
            )
        )
    latency = _latency(own.values(), notes)
    failures = _failures(counter, own)
    if counter is not None and counter.samples and failures is None:
        notes.append(
            t(
                "{counter} has no label that tells failures apart ({labels}).",
                counter=counter.name,
                labels=_names(counter.labels),
            )
        )
    route = next((name for name in ROUTE_LABELS if counter and name in counter.labels), "")
    gauges = [one for one in own.values() if one.type in ("gauge", "untyped", "unknown", "")]
    drift = [
        one for one in gauges if "drift" in one.name and not re.search(r"time|count|total|threshold|window", one.name)
    ]
    drift.sort(key=lambda one: (bool(one.labels), len(one.name), one.name))
    states = [one for one in gauges if _STATUS_GAUGE.search(one.name) and _is_state(one)]
    return Measures(
        counter=counter,
        route_label=route,
        own_routes=_own_routes(counter.labels[route]) if counter and route else (),
        latency=latency,
        failures=failures,
        status_label=next((name for name in STATUS_LABELS if counter and name in counter.labels), ""),
        drift=tuple(drift[:MAX_GAUGES]),
        states=tuple(states[:MAX_GAUGES]),
        memory="process_resident_memory_bytes" in by_name,
        cpu="process_cpu_seconds_total" in by_name,
        notes=tuple(notes),
    )


def _own_routes(values: Sequence[str]) -> tuple[str, ...]:
    """Routes of a label that are no traffic: those seen, and the one that Prometheus is about to ask."""
    slash = "/" if not values or any(value.startswith("/") for value in values) else ""
    seen = [value for value in values if _OWN_ROUTE.fullmatch(value)]
    return tuple(sorted({f"{slash}metrics", *seen}))


def _counter(candidates: Iterable[Metric]) -> Metric | None:
    rated = []
    for one in candidates:
        if one.type not in ("counter", "", "unknown", "untyped"):
            continue
        points = 10 * one.name.endswith(("requests_total", "request_total", "requests")) + 4 * ("request" in one.name)
        points += 6 * bool(re.search(r"predictions?(?:_total)?$|inferences?(?:_total)?$", one.name))
        points += 3 * ("request" in one.help.lower())
        points -= 30 * bool(_NOT_REQUESTS.search(one.name))
        if points <= 0 or not (one.type == "counter" or one.name.endswith("_total")):
            continue
        points += 5 * any(name in one.labels for name in STATUS_LABELS[:9])
        points += 2 * any(name in one.labels for name in ROUTE_LABELS)
        rated.append((points, -len(one.name), one.name, one))
    return max(rated, key=lambda row: row[:3])[3] if rated else None


def _latency(candidates: Iterable[Metric], notes: list[str]) -> Metric | None:
    rated = []
    other: list[str] = []
    for one in candidates:
        words = f"{one.name} {one.help}".lower()
        timed = re.search(r"duration|latency|response_time|request_time|seconds|elapsed", one.name)
        if one.type not in ("histogram", "summary") or not timed:
            continue
        if one.type == "summary":
            other.append(
                t(
                    "{summary} is a summary: its quantiles cannot be added up over processes, so no p95 is proposed.",
                    summary=one.name,
                )
            )
        elif not one.name.endswith("_seconds") and re.search(
            r"_(?:ms|millis|milliseconds|us|microseconds|minutes)$", one.name
        ):
            other.append(
                t(
                    "{histogram} is not in seconds: divide in a panel of your own, `latency` must be in seconds.",
                    histogram=one.name,
                )
            )
        else:
            points = 6 * one.name.endswith("_seconds") + 5 * ("request" in words) + 4 * ("http" in words)
            points += 3 * ("predict" in words or "inference" in words)
            points -= 20 * bool(re.search(r"db|query|sql|train|startup|load_|feature|gc_", one.name))
            rated.append((points, -len(one.name), one.name, one))
    best = max(rated, key=lambda row: row[:3]) if rated else None
    if best is None or best[0] <= 0:
        notes.extend(other)
        return None
    return best[3]


def _failures(counter: Metric | None, by_name: Mapping[str, Metric]) -> Failures | None:
    """A matcher on the counter from the values its status label has, or a counter of failures."""
    by_label = None if counter is None else _by_label(counter)
    if by_label is not None:
        return by_label
    candidates = [
        one
        for one in by_name.values()
        if one.name.endswith("_total") and _FAILS.search(one.name) and one is not counter
    ]
    stem = counter.name.split("_")[0] if counter is not None else ""
    near = [one for one in candidates if re.search(r"request|predict|infer|http", one.name)]
    near.sort(key=lambda one: (not one.name.startswith(stem), len(one.name), one.name))
    return Failures(near[0].name, "") if near else None


def _by_label(counter: Metric) -> Failures | None:
    for label in STATUS_LABELS:
        values = Counter(dict(sample.labels).get(label, "") for sample in counter.samples)
        errors = _matcher(label, values)
        # A label that some series lack does not classify those.
        if errors and "" not in values:
            return Failures(errors, label, rule(parse_selector(errors)[0], values, counter.name).words)
    return None


def _matcher(label: str, values: Collection[str]) -> str:
    """`status=~"[45].."` of codes or classes, `outcome="error"` or `outcome=~"error|failure"` of words; else empty."""
    if values and all(_CLASS.fullmatch(value) for value in values):
        return f'{label}=~"{"[45].*" if any(len(value) == 1 for value in values) else "[45].."}"'
    for means, one, several in ((True, "=", "=~"), (False, "!=", "!~")):
        words = sorted(value for value in values if re.fullmatch(r"[a-zA-Z_]+", value) and failed(value) is means)
        if words:
            return f'{label}{one if len(words) == 1 else several}"{"|".join(words)}"'
    return ""


def _is_state(one: Metric) -> bool:
    return bool(one.samples) and not one.labels and all(sample.value in (0.0, 1.0) for sample in one.samples)


def _names(labels: Mapping[str, object]) -> str:
    return t("labels: {labels}", labels=", ".join(sorted(labels))) if labels else t("it has no labels")
