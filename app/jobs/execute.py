"""Hand one run to one worker and bring it to its end: answer, stop, deadline or death."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from app.jobs.child import Child, Died
from app.runs.active import ActiveRun
from app.runs.kinds import Kind
from app.runs.run import Ending, State
from app.words.message import kept, t

CANCELLED = t("cancelled by a person")
HOST_STOPPED = t("the process that ran it was stopped")
# The states in which a worker may end a run.
ANSWERED = (State.DONE, State.FAILED, State.CANCELLED)


@dataclass(slots=True)
class Stop:
    """The wish to end a run: which state it ends in, why, and how long its worker may take."""

    asked: asyncio.Event = field(default_factory=asyncio.Event)
    state: State = State.CANCELLED
    reason: str = CANCELLED
    grace: float | None = None

    def ask(self, state: State = State.CANCELLED, reason: str = CANCELLED, grace: float | None = None) -> None:
        """Ask once; a later wish does not replace the first."""
        if not self.asked.is_set():
            self.state, self.reason, self.grace = state, reason, grace
            self.asked.set()


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
        reply = await answer
        if isinstance(reply, Died):
            left = await asyncio.to_thread(_left, active, reply.reason, stop)
            if left is not None:
                return left
        return _ending(reply, kind, stop, late=late)
    finally:
        wish.cancel()
        answer.cancel()


def _left(active: ActiveRun, cause: str, stop: Stop) -> Ending | None:
    """The ending of a run whose worker died, by what it left on the disk."""
    asked = stop.asked.is_set()
    left = active.left(stop.reason if asked else cause)
    return replace(left, state=stop.state) if left and asked and left.state is State.INTERRUPTED else left


def _ending(answer: dict[str, Any] | Died, kind: Kind, stop: Stop, *, late: bool) -> Ending:
    path = None if isinstance(answer, Died) or not answer.get("path") else Path(answer["path"])
    if late:
        overdue = t("no result after {deadline:g} s; the worker was ended", deadline=kind.deadline)
        return Ending(State.FAILED, reason=overdue, path=path)
    if isinstance(answer, Died):
        asked = stop.asked.is_set()
        return Ending(stop.state, reason=stop.reason) if asked else Ending(State.FAILED, reason=answer.reason)
    state, outcome = answer.get("state"), str(answer.get("outcome") or "")
    reason = kept(str(answer.get("reason") or ""), answer.get("reason_code"))
    if state not in ANSWERED:
        unknown = t("the worker answered with the unknown state {state!r}", state=str(state))
        return Ending(State.FAILED, reason=unknown, path=path)
    if stop.asked.is_set() and state == State.CANCELLED:
        return Ending(stop.state, outcome, reason or stop.reason, path)
    return Ending(State(state), outcome, reason, path)
