"""What a kind of run says of its files: the index, retention and the job host ask here and know no kind.

A kind overrides what it knows more about than its process did.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.runs.run import Ending, Meta, Run

if TYPE_CHECKING:
    from app.config import Settings, System


class Record:
    """A kind whose files no one looks into."""

    def summary(self, folder: Path) -> Mapping[str, Any]:  # noqa: ARG002 - for kinds that keep a result
        """Values for the summary columns of the run whose result is in `folder`. Raises VigieError."""
        return {}

    def lacking(self, run: Run) -> bool:
        """Whether the row of a done run lacks its summary: an older version wrote it, or it could not be read."""
        return run.bytes is None or not run.source_kind

    def left(self, folder: Path, cause: str) -> Ending | None:  # noqa: ARG002 - for kinds that keep a result
        """The ending of a run whose process ended silently, by what `folder` holds; None when it says nothing."""
        return None

    def row(self, run: Run, folder: Path, meta: Meta, system: System) -> Run:  # noqa: ARG002 - for kinds with reports
        """The row of a report directory: `run` is what every kind has."""
        return replace(run, started=run.created, finished=run.created)

    def spared(self, settings: Settings, system: System, runs: Iterable[Run]) -> set[str]:  # noqa: ARG002 - as above
        """Ids that retention never takes, of the done `runs` of a system whose files are there, newest first."""
        return set()

    def sweep(self, settings: Settings) -> list[Path]:  # noqa: ARG002 - for kinds with files next to their runs
        """Remove what ended runs of this kind left outside their folders; what was removed."""
        return []
