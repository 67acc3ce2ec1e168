"""Which hooks a run calls, and what is written down of those that could not be called."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from app.base.files import read
from app.config import Settings, System, load_systems
from app.config.drift import Hook
from app.errors import VigieError
from app.notify.channel import STOPPED
from app.notify.event import Event, decision, outcome_of
from app.runs.kinds import DRIFT
from app.runs.opening import opened
from app.runs.progress import directory, read_progress
from app.runs.run import State
from app.words.language import word

Say = Callable[[str], None]

LOST: Final = word("unknown: no outcome was written down")
# Files in a run's folder: its owner is about to call the hooks, and someone has begun (a run calls them once).
PROMISE: Final = "hooks.due"
CLAIM: Final = "hooks.called"
# Names of at most eight hooks.
MAX_PROMISE_BYTES: Final = 10_000
# Promises of a host that was killed are among its newest runs.
RECENT_RUNS: Final = 200


@dataclass(frozen=True, slots=True)
class PendingHooks:
    """The hooks of a system that an event calls."""

    event: Event
    hooks: tuple[Hook, ...]


def called_on(system: System, outcome: str) -> tuple[Hook, ...]:
    """The hooks of a system that a decision calls."""
    return () if system.drift is None else tuple(hook for hook in system.drift.hooks if outcome in hook.on)


def due(settings: Settings, run: str) -> PendingHooks | None:
    """The hooks to call for a run; None for most runs. Raises VigieError when its result cannot be read."""
    done = outcome_of(settings, run)
    system = None if done is None else load_systems(settings).by_id.get(done[0])
    if done is None or system is None:
        return None
    hooks = called_on(system, done[1])
    event = decision(settings, system, run) if hooks else None
    return None if event is None else PendingHooks(event, hooks)


def promise(pending: PendingHooks, say: Say) -> None:
    """Leave a trace of the hooks that must be called, for `settle` should this process be killed before the end."""
    try:
        names = json.dumps([hook.name for hook in pending.hooks])
        (directory(pending.event.settings, pending.event.result.run) / PROMISE).write_text(names, encoding="utf-8")
    except OSError as error:
        say(f"{pending.event.result.run}: {error}")


def settle(settings: Settings, before: float, say: Say) -> None:
    """Write down what became of hooks promised before that moment (epoch seconds) by processes that are gone."""
    try:
        with opened(settings) as ledger:
            for run in ledger.runs(kind=DRIFT, states=(State.DONE,), limit=RECENT_RUNS):
                names = _promised(settings, run.id, before)
                called = {one.hook for one in ledger.hooks(run.id)} if names else set()
                for name in names:
                    if name not in called:
                        ledger.hook(run.id, name, LOST, 0.0)
                        say(f"{run.id} hook {name}: {LOST}")  # no catalogue: a log line
    except VigieError as error:
        say(error.text)


def _promised(settings: Settings, run: str, before: float) -> list[str]:
    """The hooks promised for a run before that moment whose owner is gone."""
    path = directory(settings, run) / PROMISE
    try:
        if path.stat().st_mtime >= before:
            return []
        names = json.loads(read(path, MAX_PROMISE_BYTES))
    except (OSError, ValueError, RecursionError):
        return []
    progress = read_progress(settings, run)
    alive = progress is not None and progress.owner is not None and progress.owner.alive
    return [str(name) for name in names] if isinstance(names, list) and not alive else []


# no catalogue: kept in English
def skip(settings: Settings, run: str, say: Say, why: str = f"not called: {STOPPED}") -> None:
    """Write down why those hooks of a run have no outcome that have none."""
    try:
        pending = due(settings, run)
        if pending is None:
            return
        with opened(settings) as ledger:
            called = {one.hook for one in ledger.hooks(run)}
            for hook in pending.hooks:
                if hook.name not in called:
                    ledger.hook(run, hook.name, why, 0.0)
                    say(f"hook {hook.name}: {why}")  # no catalogue: a log line
    except VigieError as error:
        say(f"{run}: {error.text}")
