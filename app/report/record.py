"""What the files of a written report say: its row in the index, and which reports retention keeps."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from app.base.text import finite
from app.errors import ReportError, VigieError
from app.report.document import Gap
from app.report.request import Asked, sentence
from app.runs.kinds import REPORT
from app.runs.record import Record
from app.runs.result import read_result_in
from app.runs.run import Ending, Meta, Run, State
from app.runs.source import Source, columns_of
from app.words.message import t

if TYPE_CHECKING:
    from app.config import Settings, System

# The outcome of a report: every part has its data, or some say what is missing.
COMPLETE = "COMPLETE"
GAPS = "GAPS"
# The place of the report's name in the key of a run.
_NAME_IN_KEY = 2


@dataclass(frozen=True, slots=True)
class Kept:
    """A written report: `name` is that of its files, `title` as it is on its first page, `seconds` how long it took."""

    asked: Asked
    system: str
    name: str
    title: str
    gaps: tuple[Gap, ...] = ()
    numbers: int = 0
    seconds: float = 0.0
    source: Source | None = None

    @property
    def ending(self) -> Ending:
        """How its run ended."""
        asked, outcome = self.asked, GAPS if self.gaps else COMPLETE
        return Ending(State.DONE, outcome, sentence(asked.report, asked.since, asked.until, len(self.gaps)))

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Raises ReportError when it is no result of a report."""
        try:
            raw: dict[str, Any] = json.loads(data)
            asked = Asked(str(raw["report"]), int(raw["since"]), int(raw["until"]), str(raw["language"]))
            return cls(
                asked=asked,
                system=str(raw["system"]),
                name=str(raw["name"]),
                title=str(raw["title"]),
                gaps=tuple(Gap(str(gap["why"]), str(gap["step"])) for gap in raw["gaps"]),
                numbers=len(raw["numbers"]),
                seconds=finite(raw.get("seconds")) or 0.0,
                source=Source.from_dict(raw.get("source")),
            )
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            message = t("result.json of this report cannot be read.")
            raise ReportError(message, hint=t("Write the report again.")) from error


class Written(Record):
    """A run that wrote a report."""

    def left(self, folder: Path, cause: str) -> Ending | None:  # noqa: ARG002 - a report that is whole needs no cause
        """If the report was already saved when the worker died, the run counts as done."""
        try:
            return replace(read_result_in(folder, REPORT, Kept).ending, path=folder.absolute())
        except VigieError:
            return None

    def row(self, run: Run, folder: Path, meta: Meta, system: System) -> Run:
        """With what its result says."""
        plain = super().row(run, folder, meta, system)
        try:
            kept = read_result_in(folder, REPORT, Kept)
        except VigieError as error:
            return replace(plain, reason=error.text)
        return replace(
            plain,
            system=kept.system,
            key=kept.asked.key(kept.system),
            finished=run.created + kept.seconds,
            outcome=kept.ending.outcome,
            reason=kept.ending.reason,
            **({} if kept.source is None else columns_of(kept.source)),
        )

    def spared(self, settings: Settings, system: System, runs: Iterable[Run]) -> set[str]:  # noqa: ARG002 - as its base
        """The newest of each report."""
        newest: dict[str, str] = {}
        for run in runs:
            newest.setdefault("".join(run.key.split(":")[_NAME_IN_KEY : _NAME_IN_KEY + 1]), run.id)
        return set(newest.values())
