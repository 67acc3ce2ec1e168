"""The decision of a run whose report is still being made: `decision.json` beside its progress, as a `Result`.

It is there from the moment the columns have their scores, and is superseded by the result in the report directory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from app.base import files
from app.drift.result import Result
from app.errors import ReportError
from app.runs.progress import directory

if TYPE_CHECKING:
    from app.config import Settings
    from app.runs.job import Job

NAME: Final = "decision.json"
# As much as a result of the widest table may have.
MAX_BYTES: Final = 50_000_000


def publish(job: Job, result: Result) -> None:
    """Write the decision where pages look while the report is made."""
    files.replace(job.directory / NAME, result.to_json().decode())


def read(settings: Settings, run: str) -> Result | None:
    """The decision of a run that goes on; None before there is one."""
    try:
        return Result.from_json(files.read(directory(settings, run) / NAME, MAX_BYTES))
    except (OSError, ValueError, ReportError):
        return None
