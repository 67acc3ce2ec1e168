"""What a check says: a row for each part, and all of them as one answer."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from app.errors import VigieError
from app.words.message import joined, t, tn


class Outcome(StrEnum):
    """The result of one part."""

    OK = "OK"
    EMPTY = "EMPTY"
    ERROR = "ERROR"
    SKIPPED = "SKIPPED"


@dataclass(frozen=True, slots=True)
class Row:
    """One part of a system file: what was tried, its result, and the next step."""

    part: str
    name: str
    outcome: Outcome
    text: str
    hint: str = ""

    @property
    def words(self) -> str:
        """What was seen and the next step, as sentences."""
        if self.hint:
            return t("{text:clause}. {hint}", text=self.text, hint=self.hint)
        return t("{text:clause}", text=self.text)


@dataclass(frozen=True, slots=True)
class Report:
    """All rows of a check, in the order of the file."""

    system: str
    rows: tuple[Row, ...]

    @property
    def failed(self) -> bool:
        """True when something is wrong; what is only empty or was not tried is not."""
        return any(row.outcome is Outcome.ERROR for row in self.rows)

    def counts(self) -> dict[Outcome, int]:
        """How many rows of each outcome."""
        return {one: sum(row.outcome is one for row in self.rows) for one in Outcome}

    @property
    def sentence(self) -> str:
        """All in one line: `9 of 14 parts answer, 4 have nothing yet, 1 fails.`, for example."""
        counts = self.counts()
        parts: list[str] = [t("{answering} of {all} parts answer", answering=counts[Outcome.OK], all=len(self.rows))]
        if empty := counts[Outcome.EMPTY]:
            parts.append(tn("{n} has nothing yet", "{n} have nothing yet", empty))
        if skipped := counts[Outcome.SKIPPED]:
            parts.append(t("{count} not tried", count=skipped))
        failing = counts[Outcome.ERROR]
        parts.append(tn("{n} fails", "{n} fail", failing) if failing else t("nothing fails"))
        return t("{parts}.", parts=joined(parts, ", "))


def failed(part: str, name: str, error: VigieError) -> Row:
    """The row of a part that raised."""
    return Row(part, name, Outcome.ERROR, error.message, error.hint)
