"""What a worker module gets; it gives back an `Ending`. It defines `preload()` and `run(job)`.

Where more can be imported while no one waits, it defines `settle()` as well.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.runs import progress as files
from app.runs.run import State

if TYPE_CHECKING:
    from app.config import Settings


@dataclass(slots=True)
class Job:
    """One run as its worker sees it. `stopping` is set when it should finish with what it has."""

    run: str
    kind: str
    system: str
    key: str
    args: Mapping[str, Any]
    settings: Settings
    stopping: threading.Event = field(default_factory=threading.Event)
    _closed: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def directory(self) -> Path:
        """`<home>/runs/<run id>`: exists before the job starts."""
        return files.directory(self.settings, self.run)

    def progress(self, stage: str, done: int | None = None, total: int | None = None, **detail: Any) -> None:
        """Say what is being done; safe from any thread, and without effect once the job has ended."""
        with self._lock:
            if self._closed:
                return
            now = time.time()
            old = files.load(self.directory) or files.Progress(
                self.run, self.kind, self.system, self.key, State.RUNNING, created=now
            )
            new = replace(
                old, state=State.RUNNING, stage=stage, done=done, total=total, started=old.started or now, detail=detail
            )
            files.write(self.directory, new)

    def close(self) -> None:
        """No progress is written after this: the host writes the final state."""
        with self._lock:
            self._closed = True
