"""The one way in which tests wait for what other processes and threads do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")
# Generous: other people's work shares the two cores. No test waits for it to pass.
PATIENCE = 500.0


def until(
    ask: Callable[[], Answer], what: str | Callable[[], object] = "it to happen", *, every: float = 0.02
) -> Answer:
    """What `ask` returns once it is true; `what` says, or tells when it was in vain, what was waited for."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        answer = ask()
        if answer:
            return answer
        time.sleep(every)
    raise AssertionError(f"waited in vain for {what() if callable(what) else what}")
