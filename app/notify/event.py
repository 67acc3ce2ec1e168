"""What happened: one decision of a comparison, as every channel tells it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from app.config import Settings, System
from app.drift.result import Policy, Result
from app.runs.kinds import DRIFT
from app.runs.own_source import source_of
from app.runs.progress import as_run, read_progress
from app.runs.result import read_result
from app.services import address, public_url
from app.words.message import english

VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Event:
    """A decision that represents its system."""

    settings: Settings
    system: System
    result: Result

    @property
    def variables(self) -> dict[str, str]:
        """What a command finds in its environment."""
        result = self.result
        values = {"run": result.run, "system": result.system, "decision": result.decision, "share": result.share}
        return {f"VIGIE_{name.upper()}": str(value) for name, value in values.items() if value is not None}

    @property
    def link(self) -> str | None:
        """The run in the console, as a browser reaches it; None where that is not known."""
        result = self.result
        where = public_url(self.settings, None, "console") or address(self.settings, None, "console").url
        return f"{where}/drift?system={quote(result.system)}&run={quote(result.run)}" if where else None

    @property
    def note(self) -> dict[str, Any]:
        """What a hook gets; None for unknown. `text` is the same as a sentence, for services that show a line."""
        result = self.result
        return {
            "version": VERSION,
            "system": result.system,
            "run": result.run,
            "decision": str(result.decision),
            "reason": english(result.reason),
            "share": result.share,
            "threshold": result.policy.threshold,
            "k": result.k,
            "n": result.n,
            "ref": result.ref.key,
            "cur": result.cur.key,
            "target_drift": result.target_drift.value,
            "simulated": True,
            "link": self.link,
            # no catalogue: kept in English
            "text": f"{self.system.title}: {result.decision} (simulated), {result.cur.key} against {result.ref.key}: "
            f"{english(result.reason)}",
        }


def outcome_of(settings: Settings, run: str) -> tuple[str, str] | None:
    """(system, outcome) of a comparison that is done; None for any other run."""
    progress = read_progress(settings, run)
    if progress is None or progress.kind != DRIFT or not as_run(progress).done:
        return None
    return progress.system, progress.outcome


def decision(settings: Settings, system: System, run: str) -> Event | None:
    """The decision of a done comparison; None when it says nothing for its system. Raises VigieError.

    Another policy than the system's own, captured requests and data of another source decide nothing for it.
    """
    progress = read_progress(settings, run)
    if progress is None or system.drift is None:
        return None
    result = read_result(as_run(progress), Result)
    if result.policy != Policy.of(system.drift) or result.captured:
        return None
    if result.source is not None and not result.source.same(source_of(settings, system)):
        return None
    return Event(settings, system, result)
