"""A load plan: how many requests go out when. Pure: from arguments to a bounded Plan and its send times.

Open workloads (`count` over a duration, `steady`, `ramp`, `spike`) send at times fixed beforehand, whether or not the
service keeps up; a closed workload (`pause`) waits for each answer, then pauses. Only an open one shows what a stall
does to people who do not wait for each other.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from app.config import System
from app.config.drift import PERIOD_KEY
from app.errors import PlanError
from app.words.message import Message, t, tn

# 1,000 a second, the highest rate a system file may allow, for three minutes; the arrays of a plan stay small.
MAX_REQUESTS = 200_000
# A quarter of an hour shows any queue or leak a laptop can show; longer is background traffic.
MAX_SECONDS = 900.0
# Below this a run is one burst, and its rate a matter of rounding.
MIN_SECONDS = 0.1
# One request in a quarter of an hour.
MIN_RATE = 1e-3
# Background traffic is one request a second: enough that no chart is empty, too little to disturb a measurement.
BACKGROUND_RATE = 1.0
# A working day. It ends by itself, because a forgotten switch is the rule.
MAX_BACKGROUND_SECONDS = 8 * 3600.0
# Under the 1,024 open files a process may have by default, with room for the process' own.
MAX_IN_FLIGHT = 800
# Twice what any client of a prediction service would wait.
DEFAULT_DEADLINE = 10.0
# Beyond a minute a request is not slow but lost.
MAX_DEADLINE = 60.0
# Shorter deadlines measure this machine's scheduler.
MIN_DEADLINE = 0.05
# A pause longer than this makes a run of silence.
MAX_PAUSE = 60.0
# Seeds are written into results and URLs: 32 bits are enough to tell runs apart.
MAX_SEED = 2**32 - 1
# A spike is on a tenth of its height, for the fifth of the run in its middle.
SPIKE_BASE = 0.1
SPIKE_SHARE = 0.2
# So much of a wrong argument is repeated.
SHOWN_CHARS = 80
Number = TypeVar("Number", int, float)
KEYS = frozenset(
    {"shape", "rate", "duration", "count", "pause", "errors", "period", "background", "seed", "deadline", "in_flight"}
)


class Shape(StrEnum):
    """How the rate runs over time."""

    COUNT = "count"
    CLOSED = "closed"
    STEADY = "steady"
    RAMP = "ramp"
    SPIKE = "spike"
    BACKGROUND = "background"


@dataclass(frozen=True, slots=True)
class Plan:
    """A load run within its bounds. `rate` is the highest asked, 1/s; `duration` what the sends span, s.

    `requests` are never exceeded. A closed plan has a `pause` and a `duration` of 0: its end depends on the service.
    """

    system: str
    shape: Shape
    requests: int
    rate: float
    duration: float
    pause: float | None = None
    errors: float = 0.0
    period: str | None = None
    seed: int = 0
    deadline: float = DEFAULT_DEADLINE
    in_flight: int = MAX_IN_FLIGHT

    @property
    def closed(self) -> bool:
        """True when each request waits for the answer to the one before."""
        return self.shape is Shape.CLOSED

    @property
    def background(self) -> bool:
        """True for the long, slow traffic that only keeps charts alive."""
        return self.shape is Shape.BACKGROUND

    @property
    def asked_rate(self) -> float | None:
        """Requests a second on average; None for a closed plan, which asks for no rate."""
        return None if self.closed else self.requests / self.duration

    @property
    def key(self) -> str:
        """One foreground and one background run at a time per system: a second start joins the first."""
        return f"load:{self.system}:{'background' if self.background else 'run'}"

    @property
    def most_seconds(self) -> float:
        """When the run is over at the latest: the sends, then the queue, then the last answers."""
        if self.closed:
            return MAX_SECONDS + self.deadline
        return self.duration + 2 * self.deadline

    @property
    def words(self) -> Message:
        """The plan in a few words, as a button or a mark on a chart shows it."""
        match self.shape:
            case Shape.COUNT:
                return _requests_over(self.requests, self.duration)
            case Shape.CLOSED if self.pause:
                return tn(
                    "{n:count} request one after another, {pause:g} s pause",
                    "{n:count} requests one after another, {pause:g} s pause",
                    self.requests,
                    pause=self.pause,
                )
            case Shape.CLOSED:
                return tn("{n:count} request one after another", "{n:count} requests one after another", self.requests)
            case Shape.RAMP:
                return t("ramp from 0 to {rate:g}/s in {duration:g} s", rate=self.rate, duration=self.duration)
            case Shape.SPIKE:
                return t("spike to {rate:g}/s within {duration:g} s", rate=self.rate, duration=self.duration)
            case Shape.BACKGROUND:
                return t("background traffic, {rate:g}/s", rate=self.rate)
            case Shape.STEADY:
                return t("{rate:g}/s for {duration:g} s", rate=self.rate, duration=self.duration)

    def to_dict(self) -> dict[str, Any]:
        """For result.json, with the plan's words."""
        return asdict(self) | {"shape": self.shape.value, "words": self.words}

    @classmethod
    def from_args(cls, args: Mapping[str, Any], system: System) -> Plan:
        """The plan that a job's arguments describe. Raises PlanError that names the bound or the wrong argument."""
        unknown = sorted(set(args) - KEYS)
        if unknown:
            raise PlanError(t("unknown argument {name}.", name=_quoted(unknown[0])), hint=_accepted(sorted(KEYS)))
        if system.request is None:
            raise no_request(system)
        shape = _shape(args)
        rate, duration, requests, pause = _schedule(shape, args, system)
        errors = _number(args, "errors", 0.0, 1.0, t("a share from 0 to 1")) or 0.0
        if errors and not system.request.errors:
            message = t("{system}: the system file names no requests that must fail.", system=system.id)
            hint = t("Add [request.errors.<name>] to the system file, or ask for no errors.")
            raise PlanError(message, hint=hint)
        deadline = _number(args, "deadline", MIN_DEADLINE, MAX_DEADLINE, t("the deadline of one request, s"))
        return cls(
            system=system.id,
            shape=shape,
            requests=requests,
            rate=rate,
            duration=duration,
            pause=pause,
            errors=errors,
            period=_period(args),
            seed=_whole(args, "seed", 0, MAX_SEED) or 0,
            deadline=DEFAULT_DEADLINE if deadline is None else deadline,
            in_flight=1 if shape is Shape.CLOSED else _whole(args, "in_flight", 1, MAX_IN_FLIGHT) or MAX_IN_FLIGHT,
        )


@dataclass(frozen=True, slots=True)
class Preview:
    """The plan as a small chart: starts of equal steps (s) and the rate asked in each (1/s), or why there is none."""

    seconds: npt.NDArray[np.float64]
    rates: npt.NDArray[np.float64]
    step: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Preset:
    """A button of the traffic page: its words and the arguments of the job."""

    title: str
    args: Mapping[str, Any]


def presets(system: System) -> tuple[Preset, ...]:
    """The buttons for a system, within its highest rate."""
    top = system.load.max_rate
    seconds = max(10.0, float(math.ceil(100 / top)))
    return (
        Preset(_requests_over(100, seconds), {"count": 100, "duration": seconds}),
        Preset(t("1 minute steady"), {"shape": "steady", "rate": min(10.0, top), "duration": 60.0}),
        Preset(t("Ramp"), {"shape": "ramp", "rate": min(50.0, top), "duration": 60.0}),
        Preset(t("Spike"), {"shape": "spike", "rate": min(100.0, top), "duration": 30.0}),
    )


def arrivals(plan: Plan) -> npt.NDArray[np.float64]:
    """Intended send times in seconds since the start, rising, `plan.requests` long.

    A closed plan has none fixed beforehand: ValueError.
    """
    if plan.closed:
        raise ValueError("a closed plan sends after each answer")
    done = np.arange(plan.requests, dtype=np.float64)
    if plan.shape is Shape.RAMP:
        # the rate grows as r·t/d, so that r·t²/2d requests are due by t; the half centres each in its share
        return plan.duration * np.sqrt((done + 0.5) / plan.requests)
    if plan.shape is Shape.SPIKE:
        edges, due = _spike(plan.rate, plan.duration)
        return np.interp(done, due, edges)
    return done * (plan.duration / plan.requests)


def preview(plan: Plan, buckets: int = 60) -> Preview:
    """How the rate will run, in `buckets` equal steps."""
    if plan.closed:
        none = np.empty(0)
        return Preview(none, none, 0.0, t("each request waits for the answer before it: the service sets the rate"))
    counts, edges = np.histogram(arrivals(plan), bins=buckets, range=(0.0, plan.duration))
    step = plan.duration / buckets
    return Preview(edges[:-1], counts / step, step)


def _spike(rate: float, duration: float) -> tuple[list[float], list[float]]:
    """Corner times of a spike and how many requests are due by each."""
    low, width = rate * SPIKE_BASE, duration * SPIKE_SHARE
    side = (duration - width) / 2
    rise, peak = side * low, width * rate
    return [0.0, side, side + width, duration], [0.0, rise, rise + peak, 2 * rise + peak]


def _shape(args: Mapping[str, Any]) -> Shape:
    given = args.get("shape")
    if args.get("background"):
        return Shape.BACKGROUND
    if given is None:
        if args.get("count") is None:
            return Shape.STEADY
        return Shape.COUNT if args.get("duration") is not None else Shape.CLOSED
    try:
        return Shape(given)
    except ValueError:
        hint = _accepted([shape.value for shape in Shape])
        raise PlanError(t("{name} is {value}.", name="shape", value=_quoted(given)), hint=hint) from None


def _schedule(shape: Shape, args: Mapping[str, Any], system: System) -> tuple[float, float, int, float | None]:
    """Rate, duration, requests and pause of a shape, each within its bound."""
    top = system.load.max_rate
    longest = MAX_BACKGROUND_SECONDS if shape is Shape.BACKGROUND else MAX_SECONDS
    if shape is Shape.CLOSED:
        count = _needed("count", _whole(args, "count", 1, MAX_REQUESTS))
        pause = _number(args, "pause", 0.0, MAX_PAUSE, t("the pause between two requests, s")) or 0.0
        if count * pause > MAX_SECONDS:
            message = t(
                "{pauses:count} pauses of {pause:g} s last longer than {most:g} s, the longest run.",
                pauses=count,
                pause=pause,
                most=MAX_SECONDS,
            )
            raise PlanError(message, hint=t("Ask for fewer requests or a shorter pause."))
        return top, 0.0, count, pause
    default = MAX_BACKGROUND_SECONDS if shape is Shape.BACKGROUND else None
    asked = _number(args, "duration", MIN_SECONDS, longest, t("the duration, s"))
    duration = _needed("duration", default if asked is None else asked)
    if shape is Shape.COUNT:
        requests = _needed("count", _whole(args, "count", 1, MAX_REQUESTS))
        rate = requests / duration
        what = tn(
            "{n:count} request over {duration:g} s is {rate:,.4g} a second",
            "{n:count} requests over {duration:g} s are {rate:,.4g} a second",
            requests,
            duration=duration,
            rate=rate,
        )
    else:
        background = min(BACKGROUND_RATE, top) if shape is Shape.BACKGROUND else None
        given = _number(args, "rate", MIN_RATE, math.inf, t("the rate, requests a second"))
        rate = _needed("rate", background if given is None else given)
        requests = _requests_of(shape, rate, duration)
        what = t("the rate is {rate:,.4g} a second", rate=rate)
    if shape is Shape.BACKGROUND and rate > BACKGROUND_RATE:
        message = t("background traffic sends at most {most:g} a second; {what}.", most=BACKGROUND_RATE, what=what)
        raise PlanError(message, hint=t("Start a separate run for more."))
    if rate > top * (1 + 1e-9):
        message = t("{what}; {system} allows {most:,.4g} (max_rate).", what=what, system=system.id, most=top)
        raise PlanError(message, hint=t("Ask for less, or raise max_rate under [load] in the system file."))
    if requests > MAX_REQUESTS:
        message = t(
            "{requests:count} requests are more than {most:count}, the most of one run.",
            requests=requests,
            most=MAX_REQUESTS,
        )
        raise PlanError(message, hint=t("Ask for a lower rate or a shorter run."))
    return rate, duration, requests, None


def _requests_of(shape: Shape, rate: float, duration: float) -> int:
    if shape is Shape.RAMP:
        exact = rate * duration / 2
    elif shape is Shape.SPIKE:
        exact = _spike(rate, duration)[1][-1]
    else:
        exact = rate * duration
    if not math.isfinite(exact):
        message = t("{rate:g} a second for {duration:g} s is no number of requests.", rate=rate, duration=duration)
        raise PlanError(message, hint=t("Ask for a lower rate."))
    # rounding noise of 10/s × 0.7 s must not lose the last request
    requests = math.floor(exact + 1e-6)
    if requests < 1:
        message = t("{rate:g} a second for {duration:g} s is less than one request.", rate=rate, duration=duration)
        raise PlanError(message, hint=t("Ask for a longer run or a higher rate."))
    return requests


def _number(args: Mapping[str, Any], name: str, low: float, high: float, what: str) -> float | None:
    """The argument as a number within its bounds; None when absent."""
    value = args.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        message = t("{name} is {value}.", name=name, value=_quoted(value))
        raise PlanError(message, hint=t("Accepted: a number, {what}.", what=what))
    if not low <= value <= high:
        bounded = math.isfinite(high)
        bounds = t("from {low:g} to {high:g}", low=low, high=high) if bounded else t("at least {low:g}", low=low)
        message = t(
            "{name} is {value:g}; accepted: {bounds} ({what}).", name=name, value=value, bounds=bounds, what=what
        )
        raise PlanError(message, hint=t("Choose another {name}.", name=name))
    return float(value)


def _whole(args: Mapping[str, Any], name: str, low: int, high: int) -> int | None:
    value = args.get(name)
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        message = t(
            "{name} is {value}; accepted: a whole number from {low:count} to {high:count}.",
            name=name,
            value=_quoted(value),
            low=low,
            high=high,
        )
        raise PlanError(message, hint=t("Correct {name}.", name=name))
    return value


def _quoted(value: object) -> str:
    """A wrong argument for a message; a page or a script may send a whole text."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}…"


def _needed(name: str, value: Number | None) -> Number:
    if value is None:
        hint = t("Give count and duration, count and pause, or rate and duration.")
        raise PlanError(t("{name} is missing.", name=name), hint=hint)
    return value


def _period(args: Mapping[str, Any]) -> str | None:
    value = args.get("period")
    if value is None:
        return None
    if not isinstance(value, str) or not PERIOD_KEY.fullmatch(value):
        hint = t("Accepted: the key of a period, for example 2024-01-31.")
        raise PlanError(t("{name} is {value}.", name="period", value=_quoted(value)), hint=hint)
    return value


def no_request(system: System) -> PlanError:
    """There is nothing to send."""
    message = t("{system}: the system file has no [request]: there is nothing to send.", system=system.id)
    return PlanError(message, hint=t("Add [request] with path and body to the system file."))


def _accepted(names: Sequence[str]) -> Message:
    return t("Accepted: {names}.", names=", ".join(names))


def _requests_over(requests: int, duration: float) -> Message:
    return tn(
        "{n:count} request over {duration:g} s",
        "{n:count} requests over {duration:g} s",
        requests,
        duration=duration,
    )
