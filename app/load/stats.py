"""Numbers of a load run: latency histogram, percentiles, totals, a line per second. Pure; nothing here sends.

Latencies go in as seconds and are kept as whole microseconds in log-linear buckets: 128 per doubling, so that any
percentile is within 0.4 % of the true value, at a fixed size and without keeping the values.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from app.words.message import t

# 2**7 buckets per doubling: half a bucket is at most 1/256 of the value.
SUB_BITS = 7
SUB = 1 << SUB_BITS
# 2**32 µs = 71 minutes: longer than any run lets a request wait.
MAX_MICROS = (1 << 32) - 1
BUCKETS = (32 - SUB_BITS - 1) * SUB + 2 * SUB
# Edges of the gauge `vigie_load_latency_seconds_bucket`: the defaults of the Prometheus clients, and both ends finer.
LES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0)
# A row a second for the longest run and the answers after it; background traffic gets wider steps.
MAX_ROWS = 1100
# Causes are grouped; a server that words each failure differently must not fill the memory.
MAX_CAUSES = 40
OTHER_CAUSES = t("other causes")
# Answers are read by the first digit of their status; what came without one has its own class.
CLASSES = ("2xx", "3xx", "4xx", "5xx")
UNANSWERED = "no answer"  # no catalogue: a key of files


def classes(by_status: Mapping[Any, int], unanswered: int) -> dict[str, int]:
    """Requests by what came back: `2xx` to `5xx`, another class only where one was answered, and `no answer`."""
    counts = dict.fromkeys(CLASSES, 0)
    for status, count in by_status.items():
        name = f"{int(status) // 100}xx"
        counts[name] = counts.get(name, 0) + count
    return counts | {UNANSWERED: unanswered}


def _index(micros: int) -> int:
    shift = micros.bit_length() - SUB_BITS - 1
    return micros if shift <= 0 else (shift << SUB_BITS) + (micros >> shift)


def _middle(index: int) -> int:
    """The middle of a bucket, in microseconds."""
    if index < 2 * SUB:
        return index
    shift = (index >> SUB_BITS) - 1
    return ((index - (shift << SUB_BITS)) << shift) + (1 << shift >> 1)


class Histogram:
    """Counts of latencies. Count, sum, smallest and largest are exact; percentiles are within 0.4 %."""

    __slots__ = ("count", "counts", "largest", "smallest", "total")

    def __init__(self) -> None:
        self.counts = [0] * BUCKETS
        self.count = 0
        self.total = 0
        self.smallest = MAX_MICROS
        self.largest = 0

    def record(self, seconds: float) -> None:
        """Add one latency. Below 0 counts as 0; above 71 minutes as 71 minutes."""
        micros = min(max(int(seconds * 1e6 + 0.5), 0), MAX_MICROS)
        self.counts[_index(micros)] += 1
        self.count += 1
        self.total += micros
        if micros < self.smallest:  # noqa: PLR1730 - runs once per request; a call of min() costs more than the rest
            self.smallest = micros
        if micros > self.largest:  # noqa: PLR1730 - see above
            self.largest = micros

    def percentile(self, percent: float) -> float | None:
        """Seconds that `percent` of the latencies do not exceed (nearest rank); None without any."""
        if not self.count:
            return None
        rank = max(1, math.ceil(percent / 100 * self.count - 1e-9))
        if rank >= self.count:
            return self.largest / 1e6
        seen = 0
        for index, count in enumerate(self.counts):
            seen += count
            if seen >= rank:
                return min(max(_middle(index), self.smallest), self.largest) / 1e6
        return self.largest / 1e6

    @property
    def mean(self) -> float | None:
        """Seconds; None without any latency."""
        return self.total / self.count / 1e6 if self.count else None

    @property
    def max(self) -> float | None:
        """Seconds; None without any latency."""
        return self.largest / 1e6 if self.count else None

    def copy(self) -> Histogram:
        """The same counts, which stay as they are while this one goes on."""
        same = Histogram()
        same.counts = self.counts.copy()
        same.count, same.total, same.smallest, same.largest = self.count, self.total, self.smallest, self.largest
        return same

    def merge(self, other: Histogram) -> None:
        """Add everything that `other` holds."""
        for index, count in enumerate(other.counts):
            if count:
                self.counts[index] += count
        self.count += other.count
        self.total += other.total
        self.smallest = min(self.smallest, other.smallest)
        self.largest = max(self.largest, other.largest)

    def cumulative(self, les: Sequence[float] = LES) -> list[tuple[float, int]]:
        """Prometheus buckets: how many latencies were at most each `le`, and the last is (inf, count)."""
        filled = [(_middle(index) / 1e6, count) for index, count in enumerate(self.counts) if count]
        rows: list[tuple[float, int]] = []
        at, seen = 0, 0
        for le in les:
            while at < len(filled) and filled[at][0] <= le:
                seen += filled[at][1]
                at += 1
            rows.append((le, seen))
        return [*rows, (math.inf, self.count)]

    def summary(self) -> dict[str, float | int | None]:
        """count, mean, p50, p95, p99, max in seconds; None where there is nothing to say it of."""
        return {
            "count": self.count,
            "mean": self.mean,
            "p50": self.percentile(50),
            "p95": self.percentile(95),
            "p99": self.percentile(99),
            "max": self.max,
        }

    def to_dict(self) -> dict[str, Any]:
        """Only the filled buckets, by index."""
        filled = [[index, count] for index, count in enumerate(self.counts) if count]
        least = self.smallest if self.count else None
        return {"sub_bits": SUB_BITS, "total": self.total, "min": least, "max": self.largest, "buckets": filled}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Histogram:
        """What `to_dict` wrote. Raises ValueError when it is not that."""
        made = cls()
        try:
            if raw["sub_bits"] != SUB_BITS:
                raise ValueError("a histogram of another resolution")
            for index, count in raw["buckets"]:
                if not 0 <= index < BUCKETS or count < 0:
                    raise ValueError("a bucket out of range")
                made.counts[index] += int(count)
            made.count = sum(made.counts)
            made.total, made.largest = int(raw["total"]), int(raw["max"])
            made.smallest = MAX_MICROS if raw["min"] is None else int(raw["min"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a histogram: {error}") from error
        return made


@dataclass(frozen=True, slots=True)
class Row:
    """One step of the timeline. `t` is seconds since the start; `p95` (response time, s) None without an answer."""

    t: int
    sent: int
    ok: int
    failed: int
    p95: float | None

    def to_dict(self) -> dict[str, float | int | None]:
        """For JSON."""
        return {"t": self.t, "sent": self.sent, "ok": self.ok, "failed": self.failed, "p95": self.p95}


class Timeline:
    """What was sent and answered in each step of `step` whole seconds."""

    def __init__(self, expected_seconds: float) -> None:
        self.step = max(1, math.ceil(expected_seconds / MAX_ROWS))
        self._closed: list[Row] = []
        self._open = Row(0, 0, 0, 0, None)
        self._latency = Histogram()
        self._sent = self._ok = self._failed = 0

    def advance(self, seconds: float) -> None:
        """Close every step that ended before `seconds`. Steps without anything are rows of zeros: a gap is a fact."""
        now = int(seconds / self.step) * self.step
        while self._open.t < now and len(self._closed) < 2 * MAX_ROWS:
            self._closed.append(self._row())
            self._open = Row(self._open.t + self.step, 0, 0, 0, None)
            if self._latency.count:
                self._latency = Histogram()
            self._sent = self._ok = self._failed = 0

    def sent(self, seconds: float) -> None:
        """One request went out."""
        self.advance(seconds)
        self._sent += 1

    def ended(self, seconds: float, *, ok: bool, response: float | None) -> None:
        """One request ended, with its response time when it has one."""
        self.advance(seconds)
        if ok:
            self._ok += 1
        else:
            self._failed += 1
        if response is not None:
            self._latency.record(response)

    def rows(self, last: int | None = None) -> list[Row]:
        """Every step so far, the running one included; or the last few."""
        rows = [*(self._closed[-last:] if last else self._closed), self._row()]
        return rows[-last:] if last else rows

    def copy(self) -> Timeline:
        """The same rows, which stay as they are while this one goes on."""
        same = copy.copy(self)
        vars(same).update(_closed=self._closed.copy(), _latency=self._latency.copy())
        return same

    def _row(self) -> Row:
        p95 = self._latency.percentile(95) if self._latency.count else None
        return Row(self._open.t, self._sent, self._ok, self._failed, p95)


@dataclass(slots=True)
class Tally:
    """What a run has come to. `planned = sent + not_sent`, `sent = ok + failed + in flight`, `failed = sum(errors)`.

    `sent` counts attempts; `reached` those that were written to a connection; `answered` complete answers of any
    status; `ok` answers with the status asked for. `meant_to_fail` were sent to be refused, and `refused` of them
    were, with the status asked for: they are `ok`, and no 2xx. `response` is counted from the intended send, `service`
    from the actual one; both hold answered requests, and those given up at their deadline with the time waited until
    then.
    """

    timeline: Timeline
    planned: int = 0
    sent: int = 0
    reached: int = 0
    answered: int = 0
    ok: int = 0
    failed: int = 0
    meant_to_fail: int = 0
    refused: int = 0
    by_status: dict[int, int] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    response: Histogram = field(default_factory=Histogram)
    service: Histogram = field(default_factory=Histogram)
    # seconds since the start: when the last request went out, and when everything was over
    last_sent: float = 0.0
    seconds: float = 0.0
    stopped_by: str = ""

    @property
    def not_sent(self) -> int:
        """Requests of the plan that never went out."""
        return self.planned - self.sent

    @property
    def unanswered(self) -> int:
        """Requests that ended without an answer; those still on their way are not among them."""
        return self.ok + self.failed - self.answered

    def frozen(self, seconds: float) -> Tally:
        """What the run has come to after `seconds`, in containers that the running one does not touch."""
        return replace(
            self,
            timeline=self.timeline.copy(),
            by_status=dict(self.by_status),
            errors=dict(self.errors),
            response=self.response.copy(),
            service=self.service.copy(),
            seconds=seconds,
        )

    def fail(self, cause: str) -> None:
        """Count one failure under its cause."""
        self.failed += 1
        if cause not in self.errors and len(self.errors) >= MAX_CAUSES:
            cause = OTHER_CAUSES
        self.errors[cause] = self.errors.get(cause, 0) + 1
