"""What a supervisor runs, as plain values: tasks that end, services that stay. `stack.services` writes the real one.

A command is a function, because it is asked for at each start: ports and places may have changed since the last.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from app.base.home import Home
from stack.state import State

# A laptop under load starts a Python service with pandas in it in 5 to 20 s.
START_SECONDS = 60.0
# 100 MB on a slow line, or a sample world with a model trained on two busy cores.
TASK_SECONDS = 900.0


class CannotStart(Exception):
    """Raised by a service's command: it cannot be started, with the state and the reason to show."""

    def __init__(self, state: State, reason: str) -> None:
        super().__init__(reason)
        self.state = state
        self.reason = reason


def never_in_the_way() -> str:
    """Return "": nothing else uses what the service is about to use."""
    return ""


@dataclass(frozen=True, slots=True)
class Task:
    """A child that ends before the services that need it start; the last line it prints is shown as progress."""

    name: str
    about: str
    command: Sequence[str]
    # What a service that needs it becomes when it fails.
    failure: State = State.DOWN
    seconds: float = TASK_SECONDS


@dataclass(frozen=True, slots=True)
class Service:
    """A child that stays: up when `GET health` answers 200 on its port."""

    name: str
    port: int
    health: str
    command: Callable[[int], Sequence[str]]
    # Tasks that must have succeeded; services that must have settled (up, down or absent).
    needs: Sequence[str] = ()
    after: Sequence[str] = ()
    # Tasks that may still go on when it starts: it waits for what they make by itself, and fails when one of them does.
    beside: Sequence[str] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    start_seconds: float = START_SECONDS
    # Where it runs; None for the checkout.
    folder: Path | None = None
    # Asked before each start: who else uses what it needs, "" for no one.
    in_the_way: Callable[[], str] = never_in_the_way


@dataclass(frozen=True, slots=True)
class Addition:
    """A service that someone has asked for since the start, and the tasks it needs."""

    tasks: Sequence[Task]
    service: Service


def nothing_more(_say: Callable[[str], None]) -> Sequence[Addition]:
    """Return (): no one asks for anything later."""
    return ()


@dataclass(frozen=True, slots=True)
class Plan:
    """Tasks, services in start order, and what to do when an address becomes known."""

    home: Home
    root: Path
    environ: Mapping[str, str]
    tasks: Sequence[Task]
    services: Sequence[Service]
    publish: Callable[[Mapping[str, str]], None]
    # Asked a few times a second: what to start besides, each addition once. It may say something in the log.
    more: Callable[[Callable[[str], None]], Sequence[Addition]] = nothing_more
    # Services that can be asked for: what the console offers to start by itself.
    offers: Sequence[str] = ()
