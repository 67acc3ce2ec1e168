"""The load engine: sends what a plan says, when it says, and measures.

An asyncio program for its own process. Requests that are due wait in a queue when no connection is free; none is
dropped to make the numbers look better. Two times are kept of each: *response*, from when it was due, and *service*,
from when it was really sent. Under a stall the first grows and the second hides it (coordinated omission).
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from urllib.parse import quote

import numpy as np

from app.config import System
from app.egress import USER_AGENT, Checked, Credentials
from app.load.connection import Connection, Flight, cause_of
from app.load.payload import Payloads
from app.load.plan import MAX_SECONDS, Plan, arrivals, no_request
from app.load.stats import Row, Tally, Timeline, classes
from app.words.message import Message, t, tn

# At 1,000 a second, waking for each request costs more than sending it: 0.120 CPU seconds per 1,000 against 0.059.
TICK = 0.002
# uvloop rounds timers to whole milliseconds: asking for half of one more never wakes before a request is due.
ROUNDING = 0.0005
# Deadlines and Stop are looked at this often: far below the second in which Stop must have worked.
HOUSEKEEPING = 0.05
# A person sees four updates a second as live.
REPORT_EVERY = 0.25
# Rates shown while running are those of the last second, or of the last five requests of a slower run.
RATE_WINDOW = 1.0
RATE_REQUESTS = 5
# A connection idle for longer is not used again: servers close idle ones from 2 s on, and a request written to one
# that is being closed is lost.
IDLE_SECONDS = 1.5
# This many failed connections in a row, without one answer, are a service that is down ...
MAX_DEAD = 50
# ... unless all of them failed at once: a service that restarts drops everything, and is back a moment later.
DEAD_SECONDS = 2.0
# Rows of the timeline in a progress report: two minutes, what a live chart shows.
TAIL_ROWS = 120

STOPPED = t("stopped before the answer")


@dataclass(frozen=True, slots=True)
class Target:
    """Where to send: judged addresses, TLS, and the requests as bytes, by kind and body."""

    addresses: tuple[str, ...]
    port: int
    host: str
    tls: ssl.SSLContext | None
    requests: tuple[tuple[bytes, ...], ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A run while it goes on. Rates are of the last second, `p95` of the whole run so far (response time, s)."""

    seconds: float
    planned: int
    sent: int
    answered: int
    ok: int
    failed: int
    in_flight: int
    queued: int
    asked_rate: float | None
    achieved_rate: float
    p95: float | None
    step: int
    rows: tuple[Row, ...]
    # Everything so far, for the one who writes it down; not part of `to_dict`.
    tally: Tally

    def to_dict(self) -> dict[str, Any]:
        """For the progress file."""
        names = ("seconds", "planned", "sent", "answered", "ok", "failed", "in_flight", "queued")
        plain = {name: getattr(self, name) for name in names}
        rates: dict[str, Any] = {"asked_rate": self.asked_rate, "achieved_rate": self.achieved_rate, "p95": self.p95}
        rates["classes"] = classes(self.tally.by_status, self.tally.unanswered)
        rates |= {name: getattr(self.tally, name) for name in ("meant_to_fail", "refused")}
        return plain | rates | {"step": self.step, "timeline": [row.to_dict() for row in self.rows]}


def target(checked: Checked, system: System, payloads: Payloads, credentials: Credentials | None) -> Target:
    """The requests of a system as bytes for an address that egress has judged."""
    if system.request is None:
        raise no_request(system)
    path = quote(checked.path.rstrip("/") + system.request.path, safe="/%:@!$&'()*+,;=~")
    host = f"[{checked.host}]" if ":" in checked.host else checked.host
    lines = [
        f"{system.request.method} {path} HTTP/1.1",
        f"Host: {host}:{checked.port}",  # no catalogue: HTTP
        f"User-Agent: {USER_AGENT}",
        "Accept: application/json",  # no catalogue: HTTP
    ]
    if credentials is not None:
        lines.append(f"Authorization: {credentials.header}")  # no catalogue: HTTP
    head = "\r\n".join(lines).encode()

    def whole(body: bytes) -> bytes:
        if not body:
            length = b"" if system.request is not None and system.request.method == "GET" else b"\r\nContent-Length: 0"
            return head + length + b"\r\n\r\n"
        return b"%b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (head, len(body), body)

    return Target(
        addresses=checked.addresses,
        port=checked.port,
        host=checked.host,
        tls=ssl.create_default_context() if checked.scheme == "https" else None,
        requests=tuple(tuple(whole(body) for body in pool) for pool in payloads.bodies),
    )


def drive(
    plan: Plan,
    payloads: Payloads,
    where: Target,
    *,
    stop: threading.Event,
    report: Callable[[Snapshot], None] | None = None,
) -> Tally:
    """Run a plan to its end, to `stop`, or to a limit. `report` is called from another thread, four times a second."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(Engine(plan, payloads, where, stop, report).run())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:  # not on every platform; asyncio's own loop is about half as fast and as right
        return asyncio.new_event_loop
    return uvloop.new_event_loop


# Both are asked for at each failed request, and making a message costs more than sending one.
@cache
def _other_status(status: int, asked: int | None) -> Message:
    if asked is None:
        return t("HTTP {status}", status=status)
    return t("HTTP {status} where {asked} was asked for", status=status, asked=asked)


@cache
def _late(deadline: float, *, connected: bool) -> Message:
    if connected:
        return t("no answer within {deadline:g} s", deadline=deadline)
    return t("no connection within {deadline:g} s", deadline=deadline)


class Engine:
    """One run. Lives inside one event loop; `drive` is the way to use it."""

    def __init__(
        self,
        plan: Plan,
        payloads: Payloads,
        where: Target,
        stop: threading.Event,
        report: Callable[[Snapshot], None] | None = None,
    ) -> None:
        self.plan, self.payloads, self.where = plan, payloads, where
        self.stop, self.report = stop, report
        self.tally = Tally(Timeline(plan.most_seconds), planned=plan.requests)
        self._due = None if plan.closed else arrivals(plan)
        self._queue: deque[tuple[int, float]] = deque()
        self._idle: deque[Connection] = deque()
        self._flights: set[Flight] = set()
        # in the order of sending, which is the order of their deadlines
        self._watched: deque[Flight] = deque()
        self._recent: deque[tuple[float, int]] = deque()
        # set at each answer and at each housekeeping
        self._changed = asyncio.Event()
        # set once nothing more may be sent
        self._over = asyncio.Event()
        self._dead = 0
        self._dead_since = 0.0
        self._window = max(RATE_WINDOW, RATE_REQUESTS / plan.rate)
        self._best_address = 0
        self._defect: BaseException | None = None
        self._start = 0.0

    async def run(self) -> Tally:
        """Send everything, wait for the answers, return what happened. A defect of this code is raised, not counted."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._on_defect)
        self._start = time.perf_counter()
        keeper = asyncio.create_task(self._keep_house())
        # without deadlines and Stop nothing may go on; the exception is raised where the keeper is awaited
        keeper.add_done_callback(lambda _: self._over_now())
        try:
            await (self._pace_closed() if self._due is None else self._pace_open())
            await self._drain()
        finally:
            self._over_now()
            self._abandon()
            keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeper
        for connection in self._idle:
            connection.abort()
        if self._defect is not None:
            raise self._defect
        self.tally.seconds = self._now()
        self.tally.timeline.advance(self.tally.seconds)
        return self.tally

    def _now(self) -> float:
        return time.perf_counter() - self._start

    def _on_defect(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """An exception inside a callback would otherwise only be logged, and its request never end."""
        error = context.get("exception")
        if error is not None and not isinstance(error, OSError):  # connection_lost reports broken connections
            self._defect = self._defect or error
            self._over_now()

    def _over_now(self) -> None:
        """Nothing more must be sent; wake what waits."""
        self._over.set()
        self._changed.set()

    # -- when to send

    async def _pace_open(self) -> None:
        assert self._due is not None
        due = self._due.tolist()
        number = 0
        while number < len(due) and not self._over.is_set():
            now = self._now()
            while number < len(due) and due[number] <= now:
                self._queue.append((number, due[number]))
                number += 1
            self._pump()
            if number < len(due):
                # short naps, so that Stop is heard during a long gap
                await asyncio.sleep(min(max(due[number] - self._now() + ROUNDING, TICK), HOUSEKEEPING))

    async def _pace_closed(self) -> None:
        """One at a time: answer, pause, next. Never faster than the highest rate the system allows."""
        gap = 1.0 / self.plan.rate
        for number in range(self.plan.requests):
            begun = self._now()
            if begun > MAX_SECONDS:
                self._end(t("{most:g} s, the longest run", most=MAX_SECONDS))
            if self._over.is_set():
                return
            self._queue.append((number, begun))
            self._pump()
            while self._flights and not self._over.is_set():
                await self._change()
            left = max(self._now() + (self.plan.pause or 0.0), begun + gap) - self._now()
            if number + 1 < self.plan.requests:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._over.wait(), max(left, 0.0))

    async def _drain(self) -> None:
        """After the last send was due: the queue gets one deadline more, what is in flight its own."""
        until = max(self._now(), self.plan.duration) + self.plan.deadline
        while (self._queue or self._flights) and not self._over.is_set():
            if self._queue and self._now() > until:
                waiting = len(self._queue)
                self._queue.clear()
                self.tally.stopped_by = tn(
                    "the service did not keep up: {n:count} request was still waiting {late:g} s after the last was "
                    "due",
                    "the service did not keep up: {n:count} requests were still waiting {late:g} s after the last was "
                    "due",
                    waiting,
                    late=self.plan.deadline,
                )
            await self._change()

    async def _change(self) -> None:
        """Wait for an answer or for the next housekeeping."""
        self._changed.clear()
        await self._changed.wait()

    def _end(self, why: str) -> None:
        self.tally.stopped_by = self.tally.stopped_by or why
        self._over_now()

    # -- sending

    def _pump(self) -> None:
        """Send from the queue while a connection may be used or opened."""
        queue, flights = self._queue, self._flights
        while queue and len(flights) < self.plan.in_flight and not self._over.is_set():
            number, intended = queue.popleft()
            now = self._now()
            kind, body = self.payloads.at(number)
            flight = Flight(number, kind, intended, now, now + self.plan.deadline)
            flights.add(flight)
            self._watched.append(flight)
            self.tally.sent += 1
            self.tally.meant_to_fail += self.payloads.kinds[kind].status is not None
            self.tally.last_sent = now
            self.tally.timeline.sent(now)
            request = self.where.requests[kind][body]
            connection = self._usable(now)
            if connection is not None:
                self.tally.reached += 1
                connection.send(flight, request)
            else:
                flight.task = asyncio.get_running_loop().create_task(self._open(flight, request))

    def _usable(self, now: float) -> Connection | None:
        """The connection used last among the idle ones, unless it has been idle for too long."""
        while self._idle:
            connection = self._idle.pop()
            if connection.open and now - connection.idle_since < IDLE_SECONDS:
                return connection
            connection.abort()
        return None

    async def _open(self, flight: Flight, request: bytes) -> None:
        """Open a connection for one request; try each address of the host, the one that worked first."""
        loop = asyncio.get_running_loop()
        where = self.where
        failed: OSError | None = None
        for turn in range(len(where.addresses)):
            best = (self._best_address + turn) % len(where.addresses)
            try:
                name = where.host if where.tls is not None else None
                _, connection = await loop.create_connection(
                    lambda: Connection(self), where.addresses[best], where.port, ssl=where.tls, server_hostname=name
                )
            except OSError as error:  # ssl.SSLError and TimeoutError are among them
                failed = failed or error
                continue
            self._best_address = best
            if flight.ended or not connection.open:
                connection.abort()
                if not flight.ended:
                    self._fail(flight, cause_of(ConnectionResetError()), dead=True)
                return
            self.tally.reached += 1
            connection.send(flight, request)
            return
        if failed is not None and not flight.ended:
            self._fail(flight, cause_of(failed), dead=True)

    # -- what connections report (Owner)

    def answered(self, connection: Connection, flight: Flight, status: int, *, keep: bool) -> None:
        """A complete answer."""
        now = self._now()
        if keep:
            connection.idle_since = now
            self._idle.append(connection)
        self._dead = 0
        self._flights.discard(flight)
        flight.ended = True
        tally = self.tally
        tally.answered += 1
        tally.by_status[status] = tally.by_status.get(status, 0) + 1
        asked = self.payloads.kinds[flight.kind].status
        ok = 200 <= status < 300 if asked is None else status == asked
        if ok:
            tally.ok += 1
            tally.refused += asked is not None
        else:
            tally.fail(_other_status(status, asked))
        response = now - flight.intended
        tally.response.record(response)
        tally.service.record(now - flight.sent)
        tally.timeline.ended(now, ok=ok, response=response)
        self._changed.set()
        if self._queue:
            self._pump()

    def broken(self, connection: Connection, flight: Flight, cause: str) -> None:
        """The connection is gone, and the answer with it."""
        del connection
        self._fail(flight, cause, dead=True)

    def gone(self, connection: Connection) -> None:
        """An idle connection ended: it is marked closed and skipped when its turn comes."""

    def _fail(self, flight: Flight, cause: str, *, dead: bool = False, waited: float | None = None) -> None:
        flight.ended = True
        self._flights.discard(flight)
        self.tally.fail(cause)
        now = self._now()
        response = None
        if waited is not None:
            response = now - flight.intended
            self.tally.response.record(response)
            self.tally.service.record(waited)
        self.tally.timeline.ended(now, ok=False, response=response)
        if dead:
            self._dead_since = self._dead_since if self._dead else now
            self._dead += 1
        if self._dead >= MAX_DEAD and now - self._dead_since >= DEAD_SECONDS:
            self._end(t("{n} connections in a row failed, the last with: {cause}", n=self._dead, cause=cause))
        self._changed.set()
        if self._queue:
            self._pump()

    # -- housekeeping

    async def _keep_house(self) -> None:
        """Deadlines, stale connections and reports, twenty times a second."""
        reporting: asyncio.Future[None] | None = None
        next_report = 0.0
        while True:
            await asyncio.sleep(HOUSEKEEPING)
            now = self._now()
            self._expire(now)
            if self.stop.is_set():
                self._over.set()
            self._changed.set()
            while self._idle and now - self._idle[0].idle_since > IDLE_SECONDS:
                self._idle.popleft().abort()
            self._recent.append((now, self.tally.sent))
            while len(self._recent) > 2 and now - self._recent[1][0] >= self._window:
                self._recent.popleft()
            if self.report is None or now < next_report or (reporting is not None and not reporting.done()):
                continue
            if reporting is not None and (error := reporting.exception()) is not None:
                raise error
            next_report = now + REPORT_EVERY
            # Writing a file may take its time: not in this thread.
            reporting = asyncio.get_running_loop().run_in_executor(None, self.report, self.snapshot())

    def _expire(self, now: float) -> None:
        watched = self._watched
        while watched and (watched[0].ended or watched[0].deadline <= now):
            flight = watched.popleft()
            if not flight.ended:
                cause = _late(self.plan.deadline, connected=flight.connection is not None)
                self._release(flight)
                self._fail(flight, cause, waited=now - flight.sent)

    def _release(self, flight: Flight) -> None:
        """Drop what a flight occupies."""
        flight.ended = True
        if flight.connection is not None:
            flight.connection.abort()
        elif flight.task is not None:
            flight.task.cancel()

    def _abandon(self) -> None:
        """End everything that is still on its way: stopped, or over a limit."""
        self._queue.clear()
        for flight in list(self._flights):
            self._release(flight)
            self._fail(flight, STOPPED)

    def snapshot(self) -> Snapshot:
        """The run as it is now."""
        now, tally = self._now(), self.tally
        earlier, sent = self._recent[0] if self._recent else (0.0, 0)
        asked = None
        if self._due is not None:
            low, high = np.searchsorted(self._due, (max(0.0, now - self._window), now))
            asked = float(high - low) / min(self._window, now) if now > 0 else 0.0
        return Snapshot(
            seconds=now,
            planned=tally.planned,
            sent=tally.sent,
            answered=tally.answered,
            ok=tally.ok,
            failed=tally.failed,
            in_flight=len(self._flights),
            queued=len(self._queue),
            asked_rate=asked,
            achieved_rate=(tally.sent - sent) / (now - earlier) if now > earlier else 0.0,
            p95=tally.response.percentile(95),
            step=tally.timeline.step,
            rows=tuple(tally.timeline.rows(TAIL_ROWS)),
            tally=tally.frozen(now),
        )
