"""Hand one run to one worker and bring it to its end: answer, stop, deadline or death."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from app.errors import VigieError
from app.jobs.child import Child, Died
from app.runs.active import ActiveRun
from app.runs.kinds import Kind
from app.runs.summary import sent

CANCELLED = "cancelled by a person"
HOST_STOPPED = "the process that ran it was stopped"


@dataclass(slots=True)
class Stop:
    """The wish to end a run: which state it ends in, why, and how long its worker may take."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    state: str = "cancelled"
    reason: str = CANCELLED
    grace: float | None = None

    def ask(self, state: str = "cancelled", reason: str = CANCELLED, grace: float | None = None) -> None:
        """Ask once; a later wish does not replace the first."""
        if not self.asked.is_set():
            self.state, self.reason, self.grace = state, reason, grace
            self.asked.set()


@dataclass(frozen=True, slots=True)
class Ending:
    """The last word on a run, as `ActiveRun.end` takes it."""

    state: str
    outcome: str = ""
    reason: str = ""
    path: str | None = None


async def carry_out(active: ActiveRun, kind: Kind, child: Child, stop: Stop) -> Ending:
    """Run the job in `child`. When this returns, the worker has answered or is dead."""
    answer = asyncio.create_task(child.run(active.id, active.request))
    wish = asyncio.create_task(stop.asked.wait())
    try:
        await asyncio.wait({answer, wish}, timeout=kind.deadline, return_when=asyncio.FIRST_COMPLETED)
        late = not answer.done() and not stop.asked.is_set()
        if not answer.done():
            child.ask_to_stop()
            await asyncio.wait({answer}, timeout=kind.grace if stop.grace is None else min(stop.grace, kind.grace))
        if not answer.done():
            await child.end()
        told = await answer
        if isinstance(told, Died):
            finished = await asyncio.to_thread(_finished, active, told.reason, stop)
            if finished is not None:
                return finished
        return _ending(told, kind, stop, late=late)
    finally:
        wish.cancel()
        answer.cancel()


def _finished(active: ActiveRun, cause: str, stop: Stop) -> Ending | None:
    """The end of a run whose worker died, by what it left on the disk: nobody calls failed what can be read."""
    if active.request.kind == "load":
        asked = stop.asked.is_set()
        left = sent(active.folder, stop.reason if asked else cause)
        if left is None:
            return None
        state, outcome, reason = left
        return Ending(stop.state if asked and state == "interrupted" else state, outcome, reason)
    if active.request.kind != "drift":
        return None
    from app.config import load_systems
    from app.drift.result import Result
    from app.runs import reports

    try:
        folder = reports.find(active.settings, load_systems(active.settings), active.id)
        result = Result.from_json(reports.read_file(folder, "result.json"))
    except VigieError:
        return None
    return Ending("done", result.decision.value, result.reason, str(folder.absolute()))


def _ending(answer: dict[str, Any] | Died, kind: Kind, stop: Stop, *, late: bool) -> Ending:
    if late:
        reason = f"no result after {kind.deadline:g} s; the worker was ended"
        return Ending("failed", reason=reason, path=None if isinstance(answer, Died) else answer.get("path"))
    if isinstance(answer, Died):
        return Ending(stop.state, reason=stop.reason) if stop.asked.is_set() else Ending("failed", reason=answer.reason)
    state, reason = str(answer.get("state")), str(answer.get("reason") or "")
    outcome, path = str(answer.get("outcome") or ""), answer.get("path")
    if state not in ("done", "failed", "cancelled"):
        return Ending("failed", reason=f"the worker answered with the unknown state {state!r}", path=path)
    if stop.asked.is_set() and state == "cancelled":
        return Ending(stop.state, outcome, reason or stop.reason, path)
    return Ending(state, outcome, reason, path)
