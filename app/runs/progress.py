"""`<home>/runs/<run id>/progress.json`: what a run is doing, written atomically, read by every page."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.base import files
from app.base.processes import Owner
from app.base.text import plain
from app.runs.kinds import record_of
from app.runs.run import ENDED, RUN_ID, Ending, Run, State
from app.runs.source import Source, columns_of
from app.words.message import code_of, english, kept

if TYPE_CHECKING:
    from app.config import Settings

NAME = "progress.json"
# A progress file is one screen of numbers; more is not ours.
MAX_BYTES = 1_000_000


@dataclass(frozen=True, slots=True)
class Progress:
    """One progress file. `state` as in the ledger; `done` of `total` steps where they can be counted."""

    run: str
    kind: str
    system: str
    key: str
    state: State
    stage: str = ""
    done: int | None = None
    total: int | None = None
    created: float = 0.0
    started: float | None = None
    finished: float | None = None
    updated: float = 0.0
    outcome: str = ""
    reason: str = ""
    path: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)
    owner: Owner | None = None
    source: Source | None = None

    @property
    def final(self) -> bool:
        """True when the run has ended, in every case."""
        return self.state.final

    @property
    def share(self) -> float | None:
        """Part done, 0 to 1; None when the stage cannot be counted.

        A stage that goes through columns (`columns` and `compared` in `detail`) counts as the part of it that is done.
        """
        if not self.total or self.done is None:
            return None
        columns, compared = self.detail.get("columns"), self.detail.get("compared")
        part = compared / columns if isinstance(columns, int) and isinstance(compared, int) and columns > 0 else 0.0
        return min(1.0, (self.done + part) / self.total)


def directory(settings: Settings, run: str) -> Path:
    """The run's own folder under `<home>/runs`; ValueError for anything but a run id."""
    if not RUN_ID.fullmatch(run):
        raise ValueError(f"{run[:80]!r} is no run id")
    return settings.home / "runs" / run


def write(folder: Path, progress: Progress) -> None:
    """Replace the progress file in one step; `updated` becomes now. No fsync: a power cut loses the run anyway."""
    values = asdict(replace(progress, updated=time.time(), reason=english(progress.reason)))
    values["reason_code"] = code_of(progress.reason)
    files.replace(folder / NAME, json.dumps(plain(values), allow_nan=False))


def load(folder: Path) -> Progress | None:
    """The progress file as it is, or None when there is none or it is not ours."""
    try:
        raw = json.loads(files.read(folder / NAME, MAX_BYTES))
        owner, source = raw.pop("owner", None), Source.from_dict(raw.pop("source", None))
        values = {name: raw[name] for name in Progress.__slots__ if name in raw}
        owned = Owner(int(owner["pid"]), str(owner["started"])) if owner else None
        reason = kept(str(raw.get("reason", "")), raw.get("reason_code"))
        return Progress(**{**values, "state": State(raw["state"]), "reason": reason}, owner=owned, source=source)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def read_progress(settings: Settings, run: str) -> Progress | None:
    """What a run is doing, or None for an unknown one.

    A run whose owner is gone reads `interrupted`, before anyone has written that down.
    """
    try:
        folder = directory(settings, run)
    except ValueError:
        return None
    progress = load(folder)
    if progress is None or progress.final or progress.owner is None or progress.owner.alive:
        return progress
    # It may have ended properly between the two looks: look once more.
    again = load(folder)
    if again is None or again.final:
        return again
    return replace(again, state=State.INTERRUPTED, reason=ENDED)


def ended_silently(progress: Progress) -> bool:
    """Whether its process ended without an end for the run."""
    return progress.state is State.INTERRUPTED and english(progress.reason) == english(ENDED)


def as_run(progress: Progress) -> Run:
    """The ledger's row as the progress file tells it: without the figures of the result and the size."""
    return Run(
        id=progress.run,
        kind=progress.kind,
        system=progress.system,
        key=progress.key,
        state=progress.state,
        created=progress.created,
        started=progress.started,
        finished=progress.finished,
        outcome=progress.outcome,
        reason=progress.reason,
        path=progress.path,
        **({} if progress.source is None else columns_of(progress.source)),
    )


def folders(parent: Path) -> list[Path]:
    """The folders of runs in `<home>/runs`."""
    try:
        return [Path(entry.path) for entry in os.scandir(parent) if RUN_ID.fullmatch(entry.name)]
    except OSError:
        return []


def write_down(folder: Path) -> Progress | None:
    """The progress of a run as it now is; one whose owner is gone is written down as its record, or as interrupted."""
    progress = load(folder)
    if progress is None or progress.final or (progress.owner is not None and progress.owner.alive):
        return progress
    left = record_of(progress.kind).left(folder, ENDED) or Ending(State.INTERRUPTED, "", ENDED)
    ended = replace(
        progress,
        state=left.state,
        outcome=left.outcome,
        reason=left.reason,
        finished=progress.updated,
        path=progress.path or str(folder),
    )
    write(folder, ended)
    return ended
