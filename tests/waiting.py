"""The one way in which tests wait for what other processes and threads do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")
# Generous: other people's work shares the two cores. No test waits for it to pass.
PATIENCE = 500.0


def until(
    ask: Callable[[], Answer],
    what: str | Callable[[], object] = "it to happen",
    *,
    seconds: float = PATIENCE,
    every: float = 0.02,
    pause: Callable[[float], object] = time.sleep,
    despite: tuple[type[Exception], ...] = (),
) -> Answer:
    """What `ask` returns once it is true. The AssertionError at the end names `what`, or what it returns then.

    An exception of `despite` counts as not yet; every other one, a failed assertion in `ask` too, ends the wait.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            answer = ask()
        except despite:
            pass
        else:
            if answer:
                return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what() if callable(what) else what}")
        pause(every)
