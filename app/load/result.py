"""What a load run came to: `result.json` in its run directory, and the sentence that says it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from app.base import files
from app.base.text import plain
from app.errors import ReportError, StorageFull
from app.load.stats import LES, UNANSWERED, Histogram, Tally, classes
from app.runs.result import RESULT
from app.runs.source import Source
from app.words.units import format_value

VERSION = 1


@dataclass(frozen=True, slots=True)
class Counted:
    """The service's own request counter, read from its /metrics. `delta` None is unknown: `reason` says why."""

    source: str = ""
    before: float | None = None
    after: float | None = None
    delta: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """How far the same counter moved in Prometheus. `delta` None is unknown: `reason` says why."""

    delta: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ServerP95:
    """Bucket edges, in seconds, between which the server's own p95 is; `high` None with a `low` is "above"."""

    low: float | None = None
    high: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """One load run. Times in epoch seconds, latencies in seconds, rates in 1/s; None is unknown.

    `sent + not_sent` is what was planned; `sent = ok + failed`; `failed` is the sum of `errors` (by cause) and counts
    answers of another status than asked for too; `answered` are complete answers of any status; `reached` are requests
    written to a connection. `meant_to_fail` requests were sent to be refused, and `refused` of them were: `ok`, and no
    2xx. `cut` is a run whose process was killed: it holds what was known a moment before, and `sent - ok - failed`
    requests were still on their way. `response` is measured from the intended send, `service` from the actual one.
    `buckets` are cumulative by `le`, for gauges. `remark` says why the counter moved otherwise than by what was
    answered.
    """

    run: str
    system: str
    plan: Mapping[str, Any]
    started: float
    finished: float
    seconds: float
    sent: int
    reached: int
    answered: int
    ok: int
    failed: int
    not_sent: int
    by_status: Mapping[str, int]
    errors: Mapping[str, int]
    asked_rate: float | None
    achieved_rate: float | None
    response: Mapping[str, float | None]
    service: Mapping[str, float | None]
    histograms: Mapping[str, Any]
    buckets: Mapping[str, Any]
    timeline: Sequence[Mapping[str, Any]]
    timeline_step: int
    counted: Counted = field(default_factory=Counted)
    prometheus: Seen = field(default_factory=Seen)
    server_p95: ServerP95 = field(default_factory=ServerP95)
    cancelled: bool = False
    stopped_by: str = ""
    remark: str = ""
    sentence: str = ""
    # None in results of versions before 0.2.1.
    meant_to_fail: int | None = None
    refused: int | None = None
    cut: bool = False
    source: Source | None = None
    version: int = VERSION

    @property
    def classes(self) -> dict[str, int]:
        """What was sent by the class of its answer: `2xx` to `5xx` and `no answer`."""
        return classes(self.by_status, self.ok + self.failed - self.answered)

    @classmethod
    def from_json(cls, data: bytes) -> Result:
        """Read `result.json`. Raises ReportError when it is not one."""
        try:
            raw = json.loads(data)
        except (ValueError, RecursionError) as error:
            message = f"a result of traffic cannot be read ({type(error).__name__})."
            raise ReportError(message, hint="Run it again.") from error
        if not isinstance(raw, dict):
            raise ReportError("a result of traffic is not an object.", hint="Run it again.")
        return cls.from_dict(raw)

    def to_dict(self) -> dict[str, Any]:
        """As `result.json` holds it: null for unknown, never NaN."""
        raw: dict[str, Any] = plain(self)
        return raw | {"classes": self.classes}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Result:
        """What `to_dict` gave. Raises ReportError for another version or a damaged file."""
        if raw.get("version") != VERSION:
            message = f"the result of this load run has version {raw.get('version')!r}, not {VERSION}."
            raise ReportError(message, hint="It was written by another version of the console.")
        try:
            known = {item.name: raw[item.name] for item in fields(cls) if item.name in raw}
            nested = {"counted": Counted, "prometheus": Seen, "server_p95": ServerP95}
            rest = {name: kind(**raw[name]) for name, kind in nested.items()}
            return cls(**known | rest | {"source": Source.from_dict(raw.get("source"))})
        except (TypeError, KeyError) as error:
            message = f"the result of this load run is damaged ({error})."
            raise ReportError(message, hint="Run it again.") from error


def measured(tally: Tally) -> dict[str, Any]:
    """The fields of a Result that come from the engine."""
    kinds = {"response": tally.response, "service": tally.service}
    return {
        "seconds": tally.seconds,
        "sent": tally.sent,
        "reached": tally.reached,
        "answered": tally.answered,
        "ok": tally.ok,
        "failed": tally.failed,
        "not_sent": tally.not_sent,
        "meant_to_fail": tally.meant_to_fail,
        "refused": tally.refused,
        "by_status": {str(status): count for status, count in sorted(tally.by_status.items())},
        "errors": dict(sorted(tally.errors.items(), key=lambda pair: -pair[1])),
        "response": tally.response.summary(),
        "service": tally.service.summary(),
        "histograms": {name: histogram.to_dict() for name, histogram in kinds.items()},
        "buckets": {name: exposed(histogram) for name, histogram in kinds.items()},
        "timeline": [row.to_dict() for row in tally.timeline.rows()],
        "timeline_step": tally.timeline.step,
        "stopped_by": tally.stopped_by,
    }


def exposed(histogram: Histogram, les: Sequence[float] = LES) -> dict[str, Any]:
    """A histogram as Prometheus exposes it: `buckets` of [le, cumulative count], the last "+Inf"; `sum` in seconds."""
    rows = [["+Inf" if math.isinf(le) else le, count] for le, count in histogram.cumulative(les)]
    return {"buckets": rows, "sum": histogram.total / 1e6, "count": histogram.count}


def write(folder: Path, result: Result, *, durable: bool = True) -> Path:
    """Put `result.json` into a run directory in one step; it outlives a power cut if `durable`. Raises StorageFull."""
    text = json.dumps(result.to_dict(), allow_nan=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return files.replace(folder / RESULT, text, durable=durable)
    except OSError as error:
        message = f"the result cannot be written to {folder} ({error.strerror})."
        raise StorageFull(message, hint="Make room on the disk, or set VIGIE_HOME elsewhere.") from error


def sentence(result: Result) -> str:
    """The run as text: what was sent, what each side counted, what each side measured."""
    if result.cut:
        parts = [_cut(result)]
    else:
        counts = [
            f"{result.sent:,} sent",
            f"{result.answered:,} answered{_by_class(result)}",
            f"counter {_moved(result.counted.delta, result.counted.reason)}",
            f"Prometheus {_moved(result.prometheus.delta, result.prometheus.reason)}",
        ]
        parts = [", ".join(counts) + "."]
    parts += _meant(result.meant_to_fail, result.refused)
    if result.failed:
        parts.append(f"{result.failed:,} failed: {causes(result.errors)}.")
    if result.not_sent and (result.sent or not result.cut):
        parts.append(f"{result.not_sent:,} of the plan were not sent.")
    if result.cancelled:
        parts.append(f"Stopped before its end, after {format_value(result.seconds, 's')}.")
    elif result.stopped_by:
        parts.append(f"Stopped by a limit: {result.stopped_by}.")
    if result.remark:
        parts.append(f"{result.remark[0].upper()}{result.remark[1:]}.")
    parts.append(f"{_client(result)}; {_server(result.server_p95)}.")
    return " ".join(parts)


def class_words(counts: Mapping[str, int]) -> str:
    """Answers by class as text, `80 × 2xx, 20 × 4xx`; "" without any answer."""
    return ", ".join(f"{count:,} × {name}" for name, count in counts.items() if count and name != UNANSWERED)


def _by_class(result: Result) -> str:
    """Said unless every answer was a 2xx."""
    return f" ({class_words(result.classes)})" if result.answered > result.classes["2xx"] else ""


def _meant(meant: int | None, refused: int | None) -> list[str]:
    """Failures that were asked for, and how many of them came as asked."""
    if not meant or refused is None:
        return []
    if meant == refused:
        return [f"{meant:,} {'was' if meant == 1 else 'were'} meant to fail and {_refused(meant)} as asked."]
    return [f"{refused:,} of {meant:,} meant to fail {_refused(refused)} as asked."]


def _refused(count: int) -> str:
    return "was refused" if count == 1 else "were refused"


def _cut(result: Result) -> str:
    """How far a run had come when it was last written down."""
    if not result.sent:
        return "Interrupted as it began to send: how many requests went out is not known."
    words = "request" if result.sent == 1 else "requests"
    answers = class_words(result.classes)
    answered = f"{result.answered:,} answered" + (f" ({answers})" if answers else "")
    waiting = result.sent - result.ok - result.failed
    on_the_way = f", {waiting:,} still on {'its' if waiting == 1 else 'their'} way" if waiting else ""
    return f"Interrupted after {result.sent:,} {words}: {answered}{on_the_way}; nothing was counted on the other side."


def causes(errors: Mapping[str, int], most: int = 3) -> str:
    """The commonest causes with their counts."""
    rows = sorted(errors.items(), key=lambda pair: -pair[1])
    named = [f"{count:,} × {cause}" for cause, count in rows[:most]]
    left = sum(count for _, count in rows[most:])
    return ", ".join([*named, f"{left:,} × other"] if left else named)


def _moved(delta: float | None, reason: str) -> str:
    return f"unknown ({reason})" if delta is None else f"{delta:+,.0f}"


def _client(result: Result) -> str:
    p95 = result.response.get("p95")
    return "Client p95 unknown (no answer)" if p95 is None else f"Client p95 {format_value(p95, 's')}"


def _server(p95: ServerP95) -> str:
    if p95.low is None:
        return f"server p95 unknown ({p95.reason})" if p95.reason else "server p95 unknown"
    if p95.high is None:
        return f"server p95 above {format_value(p95.low, 's')}"
    if p95.low == 0:
        return f"server p95 at most {format_value(p95.high, 's')}"
    low, high = format_value(p95.low, "s"), format_value(p95.high, "s")
    number, _, unit = low.partition(" ")
    return f"server p95 between {number if high.endswith(' ' + unit) else low} and {high}"
