"""The other side of a load run: what the service counted, what Prometheus has of it, how slow the server says it was.

Counters are compared as raw values. rate() and increase() lose the first increment of a new series and extrapolate, so
that 100 requests would read 97 or 104.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app import egress
from app.config import Settings, System
from app.errors import AddressRefused, EgressError, Unreachable, VigieError
from app.exposition import (
    Sample,
    counter_total,
    difference,
    histogram_difference,
    parse,
    quantile_bounds,
)
from app.load.result import Counted, Seen, ServerP95
from app.load.stats import Tally
from app.prometheus import Prometheus, connect
from app.prometheus.promql import quote
from app.prometheus.targets import scrape_interval
from app.words.message import clause, listed, t

NO_COUNTER = t("the system file names no request counter")
# Labels by which services name the route of a request.
ROUTE_LABELS = ("endpoint", "handler", "path", "route", "url", "uri", "http_route")
# Routes that are asked by Prometheus and by health checks, not by traffic.
OWN_ROUTES = ("metrics", "health", "healthz")
# A service counts a request after having answered the last one: a moment later at most.
COUNT_SECONDS = 1.0
COUNT_EVERY = 0.1
# Prometheus' own default is a minute. After one interval the scrape has happened or will not.
MAX_SETTLE = 65.0
# For a Prometheus that does not report its interval: its usual configuration.
DEFAULT_INTERVAL = 15.0
# A scrape takes its own time, and the clock of the server may differ a little.
SETTLE_SLACK = 1.0
SETTLE_EVERY = 0.25
# /metrics of a service under load is slower than usual.
METRICS_DEADLINE = 5.0


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at /metrics, `text` as it came. Without `samples`, `reason` says why there are none."""

    samples: Sequence[Sample] | None
    reason: str = ""
    text: bytes = b""


class Meter:
    """Reads the service's /metrics. `url` is the service's base address."""

    def __init__(self, url: str, system: System, credentials: egress.Credentials | None) -> None:
        self.system = system
        self.url = url.rstrip("/") + "/metrics"
        self.exclude = excluded(system)
        self._credentials = credentials

    def read(self, *, must_answer: bool = False) -> Reading:
        """One look. With `must_answer`, raises Unreachable when nothing listens: then there is nothing to load."""
        try:
            options: dict[str, Any] = {"auth": self._credentials, "hosts": self.system.load.hosts}
            answer = egress.get(self.url, deadline=METRICS_DEADLINE, **options).check()
            return Reading(parse(answer.body), text=answer.body)
        except (Unreachable, AddressRefused) as error:
            if must_answer:
                raise
            return Reading(None, clause(error.message))
        except EgressError as error:
            return Reading(None, clause(error.message))

    def counted(self, before: Reading, tally: Tally, stop: threading.Event) -> tuple[Counted, Reading]:
        """How far the request counter moved; looks again for a second while it lags behind the answers."""
        until = time.monotonic() + COUNT_SECONDS
        while True:
            after = self.read()
            moved = self._difference(before, after)
            late = moved.delta is not None and moved.delta < tally.answered
            if not late or time.monotonic() > until or stop.wait(COUNT_EVERY):
                return moved, after

    def _difference(self, before: Reading, after: Reading) -> Counted:
        name = self.system.metrics.requests
        if name is None:
            return Counted(reason=t(NO_COUNTER))
        source = f"{name} of {egress.shown(self.url)}"  # no catalogue: kept in files, shown nowhere
        if before.samples is None or after.samples is None:
            return Counted(source, reason=before.reason or after.reason)
        moved = difference(before.samples, after.samples, name, exclude=self.exclude)
        return Counted(source, moved.before, moved.after, moved.delta, moved.reason)

    def server_p95(self, before: Reading, after: Reading) -> ServerP95:
        """Between which bucket edges of the service's own histogram the p95 is."""
        name = self.system.metrics.latency
        if name is None:
            return ServerP95(reason=t("the system file names no latency histogram"))
        if before.samples is None or after.samples is None:
            return ServerP95(reason=before.reason or after.reason)
        bounds = quantile_bounds(histogram_difference(before.samples, after.samples, name, self.exclude), 0.95)
        return ServerP95(bounds.low, bounds.high, bounds.reason)

    def total(self, reading: Reading) -> float | None:
        """The request counter of a reading."""
        name = self.system.metrics.requests
        if name is None or reading.samples is None:
            return None
        return counter_total(reading.samples, name, exclude=self.exclude)

    def series_name(self, reading: Reading) -> str | None:
        """The counter's name as the service exposes it: with or without `_total`."""
        name = self.system.metrics.requests
        if name is None or reading.samples is None:
            return name
        exposed = {sample.name for sample in reading.samples}
        return next((one for one in (name, f"{name}_total") if one in exposed), name)


def excluded(system: System) -> dict[str, tuple[str, ...]]:
    """Values of route labels that are not traffic: /metrics and health checks, in any spelling."""
    own = system.request.path if system.request else ""
    routes = dict.fromkeys((*OWN_ROUTES, system.api.health.strip("/")))
    values = tuple(text for route in routes if route for text in (route, f"/{route}") if text != own)
    return dict.fromkeys(ROUTE_LABELS, values)


def traffic_matchers(system: System) -> str:
    """PromQL matchers of this system's traffic: its selector, without the routes that are not traffic.

    A series without such a label passes: an absent label is empty, and no pattern matches that.
    """
    matchers = [system.prometheus.selector.strip().strip(",")] if system.prometheus.selector.strip() else []
    for label, values in excluded(system).items():
        pattern = "|".join(re.escape(value).replace("\\-", "-") for value in values)
        matchers.append(f"{label}!~{quote(pattern)}")
    return ", ".join(matchers)


def expression(system: System, name: str) -> str:
    """The selector of the request counter in Prometheus, without the routes that are not traffic."""
    return f"{name}{{{traffic_matchers(system)}}}"


@dataclass(frozen=True, slots=True)
class Point:
    """The counter in Prometheus: its sum, and when it was scraped (epoch seconds)."""

    value: float | None
    at: float | None
    reason: str = ""


class Watch:
    """The request counter as Prometheus has it. `reason` says why there is nothing to ask."""

    def __init__(self, settings: Settings, system: System, name: str | None) -> None:
        self.reason = ""
        self.interval = DEFAULT_INTERVAL
        self.before = Point(None, None)
        self._client: Prometheus | None = None
        if name is None:
            self.reason = t(NO_COUNTER)
            return
        self._selector = expression(system, name)
        try:
            self._client = connect(settings, system, deadline=METRICS_DEADLINE)
            interval = scrape_interval(self._client.targets(), system.prometheus.selector)
        except VigieError as error:
            self._client, self.reason = None, clause(error.message)
            return
        self.interval = interval or DEFAULT_INTERVAL
        self.before = self.look()

    def look(self) -> Point:
        """The counter now; both numbers at one moment.

        The time is asked first: a scrape that is stored between the two questions then makes the sum newer than its
        time, never older. The oldest of several instances counts: all must have been scraped.
        """
        if self._client is None:
            return Point(None, None, self.reason)
        now = time.time()
        newest = self._client.query(f"min(timestamp({self._selector}))", at=now)
        total = self._client.query(f"sum({self._selector})", at=now)
        if total.value is None:
            return Point(None, None, clause(total.reason) if total.reason else t("Prometheus has no such series"))
        return Point(total.value, newest.value)

    def settle(self, finished: float, before: float | None, after: float | None, stop: threading.Event) -> Seen:
        """Wait for a scrape made after `finished` and say how far the counter moved.

        `before` and `after` are the raw values of the service itself, where they are known.
        """
        if self._client is None:
            return Seen(None, self.reason)
        wait = min(2 * self.interval, MAX_SETTLE) + SETTLE_SLACK
        until = time.monotonic() + wait
        while True:
            point = self.look()
            fresh = point.at is not None and point.at >= finished
            if fresh or (after is not None and point.value == after):
                return self._moved(point, before, after)
            if stop.is_set():
                return Seen(None, t("stopped before the next scrape"))
            if time.monotonic() > until:
                return Seen(None, point.reason or t("no scrape within {wait:g} s after the run", wait=wait))
            stop.wait(SETTLE_EVERY)

    def _moved(self, point: Point, before: float | None, after: float | None) -> Seen:
        if point.value is None:
            return Seen(None, point.reason)
        start = self.before.value
        # At the start Prometheus may not yet have seen the newest requests before the run. Where it agrees with the
        # service at the end, both are the same counter, and the service's own start value is the exact one.
        if before is not None and point.value == after:
            start = before
        if start is None:
            return Seen(None, self.before.reason or t("Prometheus did not have the counter when the run began"))
        if point.value < start:
            return Seen(None, t("the counter was reset: the service restarted in between"))
        return Seen(point.value - start)

    def close(self) -> None:
        """Close the connection."""
        if self._client is not None:
            self._client.close()


def remark(tally: Tally, counted: Counted, others: Sequence[str]) -> str:
    """Why the counter moved by something else than what was answered; "" when it did not.

    `others` are load runs of the same system that went on at the same time, as text.
    """
    delta = counted.delta
    if delta is None or tally.answered <= delta <= tally.reached:
        return ""
    if delta > tally.reached:
        others_too = t("{runs} went on as well", runs=listed(others))
        why = others_too if others else t("another client sends requests too")
        more = delta - tally.reached
        return t("the service counted {more:count} more than reached it from this run: {why}", more=more, why=why)
    why = (
        t("it seems to count successful requests only")
        if delta == tally.ok
        else t("it may not count every route, or several processes may answer /metrics in turn")
    )
    return t("the service counted {fewer:count} fewer than it answered: {why}", fewer=tally.answered - delta, why=why)
