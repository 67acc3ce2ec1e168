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
from app.words.message import Message, code_of, joined, kept, sentences, t, tn
from app.words.shared import capital
from app.words.units import scale

VERSION = 1
# What to do where nothing more can be written.
MAKE_ROOM = t("Make room on the disk, or set VIGIE_HOME elsewhere.")


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
            message = t("a result of traffic cannot be read ({error}).", error=type(error).__name__)
            raise ReportError(message, hint=t("Run it again.")) from error
        if not isinstance(raw, dict):
            raise ReportError(t("a result of traffic is not an object."), hint=t("Run it again."))
        return cls.from_dict(raw)

    def to_dict(self) -> dict[str, Any]:
        """As `result.json` holds it: null for unknown, never NaN. `codes` gives by text what it was made of."""
        raw: dict[str, Any] = plain(self)
        reasons = [side.reason for side in (self.counted, self.prometheus, self.server_p95)]
        texts = [self.plan.get("words", ""), self.stopped_by, self.remark, self.sentence, *self.errors, *reasons]
        return raw | {
            "classes": self.classes,
            "codes": {str(text): code for text in texts if (code := code_of(text))},
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Result:
        """What `to_dict` gave. Raises ReportError for another version or a damaged file."""
        if raw.get("version") != VERSION:
            version = repr(raw.get("version"))
            message = t("the result of this load run has version {version}, not {ours}.", version=version, ours=VERSION)
            raise ReportError(message, hint=t("It was written by another version of the console."))
        try:
            texts = _in_words({name: raw[name] for name in TEXTS if name in raw}, raw.get("codes") or {})
            plain_fields = {item.name: raw[item.name] for item in fields(cls) if item.name in raw}
            nested = {"counted": Counted, "prometheus": Seen, "server_p95": ServerP95}
            sides = {name: kind(**texts[name]) for name, kind in nested.items()}
            return cls(**plain_fields | texts | sides | {"source": Source.from_dict(raw.get("source"))})
        except (TypeError, KeyError, AttributeError) as error:
            message = t("the result of this load run is damaged ({error}).", error=str(error))
            raise ReportError(message, hint=t("Run it again.")) from error


# The fields that hold texts, in themselves or within.
TEXTS = ("plan", "errors", "counted", "prometheus", "server_p95", "stopped_by", "remark", "sentence")


def _in_words(raw: Any, codes: Mapping[str, Any]) -> Any:
    """The same with every text that was kept as a message."""
    if isinstance(raw, dict):
        return {_in_words(name, codes): _in_words(value, codes) for name, value in raw.items()}
    return kept(raw, codes.get(raw)) if isinstance(raw, str) else raw


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


def exposed(histogram: Histogram) -> dict[str, Any]:
    """A histogram as Prometheus exposes it: `buckets` of [le, cumulative count], the last "+Inf"; `sum` in seconds."""
    rows = [["+Inf" if math.isinf(le) else le, count] for le, count in histogram.cumulative(LES)]
    return {"buckets": rows, "sum": histogram.total / 1e6, "count": histogram.count}


def write(folder: Path, result: Result, *, durable: bool = True) -> Path:
    """Put `result.json` into a run directory in one step; it outlives a power cut if `durable`. Raises StorageFull."""
    text = json.dumps(result.to_dict(), allow_nan=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return files.replace(folder / RESULT, text, durable=durable)
    except OSError as error:
        message = t("the result cannot be written to {folder} ({why}).", folder=str(folder), why=error.strerror)
        raise StorageFull(message, hint=t(MAKE_ROOM)) from error


def sentence(result: Result) -> str:
    """The run as text: what was sent, what each side counted, what each side measured."""
    if result.cut:
        parts = [_cut(result)]
    else:
        whole = t(
            "{sent:count} sent, {answered}, counter {counted}, Prometheus {prometheus}.",
            sent=result.sent,
            answered=_answered(result, classes=result.answered > result.classes["2xx"]),
            counted=_moved(result.counted.delta, result.counted.reason),
            prometheus=_moved(result.prometheus.delta, result.prometheus.reason),
        )
        parts = [whole]
    parts.append(_meant(result.meant_to_fail, result.refused))
    if result.failed:
        parts.append(t("{failed:count} failed: {causes}.", failed=result.failed, causes=causes(result.errors)))
    if result.not_sent and (result.sent or not result.cut):
        parts.append(t("{not_sent:count} of the plan were not sent.", not_sent=result.not_sent))
    if result.cancelled:
        parts.append(t("Stopped before its end, after {took:seconds}.", took=result.seconds))
    elif result.stopped_by:
        parts.append(t("Stopped by a limit: {limit}.", limit=result.stopped_by))
    if result.remark:
        parts.append(t("{remark}.", remark=capital(result.remark)))
    p95 = result.response.get("p95")
    client = t("Client p95 unknown (no answer)") if p95 is None else t("Client p95 {p95:seconds}", p95=p95)
    parts.append(t("{client}; {server}.", client=client, server=_server(result.server_p95)))
    return sentences(parts)


def class_words(counts: Mapping[str, int]) -> str:
    """Answers by class as text, `80 × 2xx, 20 × 4xx`; "" without any answer."""
    return joined([_times(count, name) for name, count in counts.items() if count and name != UNANSWERED], ", ")


def _times(count: int, what: str) -> str:
    return Message("{count:count} × {what}", {"count": count, "what": what})


def _answered(result: Result, *, classes: bool) -> str:
    if classes and (answers := class_words(result.classes)):
        return t("{answered:count} answered ({classes})", answered=result.answered, classes=answers)
    return t("{answered:count} answered", answered=result.answered)


def _meant(meant: int | None, refused: int | None) -> str:
    """Failures that were asked for, and how many of them came as asked."""
    if not meant or refused is None:
        return ""
    if meant == refused:
        return tn(
            "{n:count} was meant to fail and was refused as asked.",
            "{n:count} were meant to fail and were refused as asked.",
            meant,
        )
    return tn(
        "{n:count} of {meant:count} meant to fail was refused as asked.",
        "{n:count} of {meant:count} meant to fail were refused as asked.",
        refused,
        meant=meant,
    )


def _cut(result: Result) -> str:
    """How far a run had come when it was last written down."""
    if not result.sent:
        return t("Interrupted as it began to send: how many requests went out is not known.")
    state = [_answered(result, classes=True)]
    if waiting := result.sent - result.ok - result.failed:
        state.append(tn("{n:count} still on its way", "{n:count} still on their way", waiting))
    return tn(
        "Interrupted after {n:count} request: {state}; nothing was counted on the other side.",
        "Interrupted after {n:count} requests: {state}; nothing was counted on the other side.",
        result.sent,
        state=joined(state, ", "),
    )


def causes(errors: Mapping[str, int]) -> str:
    """The three commonest causes with their counts."""
    rows = sorted(errors.items(), key=lambda pair: -pair[1])
    texts = [_times(count, cause) for cause, count in rows[:3]]
    left = sum(count for _, count in rows[3:])
    return joined([*texts, _times(left, t("other"))] if left else texts, ", ")


def _moved(delta: float | None, reason: str) -> str:
    return t("unknown ({reason})", reason=reason) if delta is None else Message("{delta:+,.0f}", {"delta": delta})


def _server(p95: ServerP95) -> str:
    low, high = p95.low, p95.high
    if low is None:
        return t("server p95 unknown ({reason})", reason=p95.reason) if p95.reason else t("server p95 unknown")
    if high is None:
        return t("server p95 above {low:seconds}", low=low)
    if low == 0:
        return t("server p95 at most {high:seconds}", high=high)
    unit = scale("s", low)
    if unit == scale("s", high):
        return t("server p95 between {low:significant} and {high:seconds}", low=low * unit.factor, high=high)
    return t("server p95 between {low:seconds} and {high:seconds}", low=low, high=high)
