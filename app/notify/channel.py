"""What every channel gets and gives back. A channel is a function `send(event, hook, body, wait, hide)`."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from app.base.text import printable

_Given = TypeVar("_Given")
Hide = Callable[[str], str]
# An outcome is one line of a table.
MAX_OUTCOME: Final = 400
STOPPED: Final = "the process that ran the comparison was stopped"  # no catalogue: kept in English


class Cancellable:
    """Waits for one piece of work at a time; asking it to stop ends the wait."""

    def __init__(self) -> None:
        self.stopped = False
        # Its `put` may be called from a signal handler; an Event's `set` may not.
        self._inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def stop(self, *_: object) -> None:
        """End the wait, and every later one at once."""
        self.stopped = True
        self._inbox.put(None)

    def wait(self, work: Callable[[], _Given], seconds: float) -> _Given | None:
        """What `work` gives; None when it takes longer, or when stopping was asked for: it then goes on unheard."""
        inbox = self._inbox = queue.SimpleQueue()
        threading.Thread(target=lambda: inbox.put(work()), daemon=True).start()
        if self.stopped:
            return None
        try:
            given: _Given | None = inbox.get(timeout=seconds)
        except queue.Empty:
            return None
        return given


@dataclass(frozen=True, slots=True)
class HookResult:
    """How one call went: `what` ("exit 0", "HTTP 500", "ended"), what it printed, and whether its time counts."""

    what: str
    detail: str = ""
    timed: bool = True

    def line(self, seconds: float) -> str:
        """All of it on one bounded line."""
        text = f"{self.what} after {seconds:.1f} s" if self.timed else self.what  # no catalogue: kept in English
        text += f": {self.detail}" if self.detail else ""
        text = printable(text)
        return text if len(text) <= MAX_OUTCOME else text[: MAX_OUTCOME - 1] + "…"
