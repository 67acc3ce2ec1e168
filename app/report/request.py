"""How a report is asked for: which there are, the key that tells equal runs, the arguments of the job. Light."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Self

from app.base.text import finite
from app.errors import JobError
from app.runs.kinds import REPORT, title_of
from app.words.language import offered
from app.words.message import Message, t, tn

MONITORING, LAB = "monitoring", "lab"
# What each is called in a sentence; a further one also needs its module in the worker.
TITLES: Final[Mapping[str, str]] = {MONITORING: t("monitoring report"), LAB: t("lab report")}
# What a report is about where no range is given.
LAST_HOUR: Final = 3600.0
# Charts of more have nothing to show: Prometheus keeps fifteen days unless told otherwise.
LONGEST: Final = 31 * 86_400.0
# A person's clock, or that of another machine, may be ahead by so much.
AHEAD: Final = 300.0


@dataclass(frozen=True, slots=True)
class Asked:
    """One report: `report` is one of TITLES, the range in whole epoch seconds, `language` that of its texts."""

    report: str
    since: int
    until: int
    language: str

    @classmethod
    def of(cls, args: Mapping[str, Any], now: float) -> Self:
        """The arguments of a job, checked. Raises JobError."""
        report, language = args.get("report"), args.get("lang")
        if report not in TITLES:
            names = ", ".join(TITLES)
            raise JobError(t("There is no report {name!r}; known: {names}.", name=str(report)[:80], names=names))
        if language not in offered():
            names = ", ".join(offered())
            raise JobError(t("No language is called {name!r}; known: {names}.", name=str(language)[:20], names=names))
        since, until = finite(args.get("since")), finite(args.get("until"))
        if since is None or until is None or not 0 < since < until <= now + AHEAD:
            message = t("A report covers a range of the past, from an earlier moment to a later one.")
            raise JobError(message, hint=t("Correct the two ends of the range."))
        if until - since > LONGEST:
            message = t("A report covers {most:duration} at most.", most=LONGEST)
            raise JobError(message, hint=t("Take a shorter range."))
        return cls(str(report), round(since), max(round(until), round(since) + 1), str(language))

    @property
    def args(self) -> dict[str, str | int]:
        """The arguments of the job."""
        return {"report": self.report, "since": self.since, "until": self.until, "lang": self.language}

    def key(self, system: str) -> str:
        """One run per system, report, range and language: a second start joins the first."""
        return f"{REPORT}:{system}:{self.report}:{self.since}:{self.until}:{self.language}"


def title(key: str) -> str:
    """Which report the run of this key writes."""
    _, _, report, *_ = (*key.split(":"), "", "", "")
    return t(TITLES.get(report, title_of(REPORT)))


def sentence(report: str, since: float, until: float, gaps: int) -> Message:
    """What became of a report: what it covers, and how much of it has no data."""
    begin, end = (datetime.fromtimestamp(at, UTC) for at in (since, until))
    values = {
        "report": t(TITLES.get(report, report)),
        "since": f"{begin:%Y-%m-%d %H:%M}",
        "until": f"{end:%H:%M}" if begin.date() == end.date() else f"{end:%Y-%m-%d %H:%M}",
    }
    if not gaps:
        return t("{report}, {since} to {until} UTC: nothing is missing", **values)
    return tn(
        "{report}, {since} to {until} UTC: {n} part has no data",
        "{report}, {since} to {until} UTC: {n} parts have no data",
        gaps,
        **values,
    )
