"""The one reader of `result.json`, of every kind and in every place."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Protocol, Self, TypeVar

from app.base import files
from app.errors import ReportError, ReportNotFound
from app.runs import reports
from app.runs.kinds import kind_of
from app.runs.run import Run
from app.words.message import t

RESULT: Final = "result.json"
# 1,100 rows of a timeline and two histograms are about 200 KB.
MAX_BYTES: Final = 5_000_000


class Form(Protocol):
    """A class that a result is read into."""

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Raises ReportError when it is not one."""


Result = TypeVar("Result", bound=Form)


def read_result(run: Run, form: type[Result]) -> Result:
    """The result of a run. Raises ReportNotFound when it has none, ReportError when it cannot be read."""
    if not run.path:
        raise ReportNotFound(t("The directory of this run is gone."), hint=t("Run it again."))
    return read_result_in(Path(run.path), run.kind, form)


def read_result_in(folder: Path, kind: str, form: type[Result]) -> Result:
    """The result that a run of this kind left in `folder`; that of a report is checked against its hash."""
    if kind_of(kind).report:
        return form.from_json(reports.read_file(folder, RESULT))
    try:
        data = files.read(folder / RESULT, MAX_BYTES)
    except FileNotFoundError as error:
        message = t("the run {run} has no result.", run=folder.name)
        raise ReportNotFound(message, hint=t("It is still running, or ended before it sent anything.")) from error
    except (OSError, ValueError) as error:
        message = t("the result of run {run} cannot be read ({why}).", run=folder.name, why=type(error).__name__)
        raise ReportError(message, hint=t("Run it again.")) from error
    return form.from_json(data)
