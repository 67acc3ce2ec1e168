"""What every channel gets and gives back. A channel is a function `send(event, hook, body, wait, hide)`."""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from app.base.text import printable
from app.words.language import word
from app.words.message import t

_Given = TypeVar("_Given")
Hide = Callable[[str], str]
# An outcome is one line of a table.
MAX_OUTCOME: Final = 400
STOPPED: Final = word("the process that ran the comparison was stopped")


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


# The line of an outcome: what came of the call, a number of it, how long it took, what it answered.
_LINE: Final = re.compile(
    r"(exit|HTTP|killed by signal|ended|failed|not called|not started)(?: (\d+))?(?: after ([\d.]+) s)?(?:: (.*))?"
)


def in_words(line: str) -> str:
    """An outcome as it is kept, in the language of its reader; the words of a program and of a receiver stay."""
    parts = _LINE.fullmatch(line)
    if parts is None:
        return t(line)
    what, number, seconds, detail = parts.groups()
    text: str = {
        "exit": t("exit {code}", code=number),
        "HTTP": t("HTTP {code}", code=number),
        "killed by signal": t("killed by signal {code}", code=number),
        "ended": t("ended before its end"),
        "failed": t("the call failed"),
        "not called": t("not called"),
        "not started": t("not started"),
    }[what]
    if seconds:
        text = t("{what} after {seconds:.1f} s", what=text, seconds=float(seconds))
    return t("{name}: {why}", name=text, why=t(detail)) if detail else text


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
