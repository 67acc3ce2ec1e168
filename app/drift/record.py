"""What the files of a comparison say: its row in the index, and which comparisons retention keeps."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.base.text import finite
from app.drift import uploads
from app.drift.result import Policy, Result
from app.errors import VigieError
from app.runs.kinds import DRIFT
from app.runs.own_source import source_of
from app.runs.record import Record
from app.runs.result import RESULT, read_result, read_result_in
from app.runs.run import MAX_WHOLE, Ending, Meta, Run, State
from app.runs.source import Source, columns_of
from app.words.message import kept

if TYPE_CHECKING:
    from app.config import Settings, System


class Comparison(Record):
    """A run that compared two tables."""

    def summary(self, folder: Path) -> Mapping[str, Any]:
        """The figures of the result, when there is one."""
        there = any((folder / name).is_file() for name in (RESULT, f"{RESULT}.gz"))
        return figures(read_result_in(folder, DRIFT, Result)) if there else {}

    def lacking(self, run: Run) -> bool:
        """A comparison also has figures."""
        return super().lacking(run) or run.counted is None

    def left(self, folder: Path, cause: str) -> Ending | None:  # noqa: ARG002 - a report that is whole needs no cause
        """If the report was already saved when the worker died, the run counts as done."""
        try:
            stored = read_result_in(folder, DRIFT, Result)
        except VigieError:
            return None
        return Ending(State.DONE, stored.decision.value, stored.reason, folder.absolute())

    def row(self, run: Run, folder: Path, meta: Meta, system: System) -> Run:
        """With the figures of its result. The exact key of a run made here is only in its progress file."""
        plain = super().row(run, folder, meta, system)
        if RESULT not in meta.files:
            return plain
        try:
            stored = read_result_in(folder, DRIFT, Result)
        except VigieError as error:
            return replace(plain, reason=error.text)
        if stored.own is None and system.drift is not None and stored.policy == Policy.of(system.drift):
            # It was saved before that was written down; the policy of today is most likely the one of then.
            stored = replace(stored, own=True)
        return replace(
            plain,
            system=stored.system,
            key=f"{DRIFT}:{stored.system}:{stored.ref.key}:{stored.cur.key}:{stored.policy.digest}",
            finished=run.created + (stored.seconds or 0.0),
            outcome=str(stored.decision),
            reason=stored.reason,
            **figures(stored),
        )

    def spared(self, settings: Settings, system: System, runs: Iterable[Run]) -> set[str]:
        """Its newest comparison, and the one its gauges show."""
        own = None if system.drift is None else Policy.of(system.drift)
        source = source_of(settings, system)
        newest: set[str] = set()
        for run in runs:
            newest = newest or {run.id}
            if not source.same(run.source):
                continue
            # Of one that cannot be read the gauges say nothing either, and count it as unreadable.
            with contextlib.suppress(VigieError):
                stored = read_result(run, Result)
                if stored.policy == own and not stored.captured:
                    return newest | {run.id}
        return newest

    def sweep(self, settings: Settings) -> list[Path]:
        """Files given for a comparison, older than any comparison may take."""
        return uploads.sweep(settings)


class Imported(Comparison):
    """A report that was made elsewhere. When it ran, and for how long, only its maker knew."""

    def row(self, run: Run, folder: Path, meta: Meta, system: System) -> Run:  # noqa: ARG002 - as its base
        """What was written next to the report when it was imported, and the figures of its JSON."""
        about = meta.about
        try:
            created = float(about.get("created", ""))
        except ValueError:
            created = run.created
        run = replace(
            run,
            created=created if math.isfinite(created) else run.created,
            key=about.get("key", run.key),
            outcome=about.get("outcome", ""),
            reason=kept(about.get("reason", ""), about.get("reason_code")),
            ref=about.get("ref", ""),
            cur=about.get("cur", ""),
            **columns_of(Source.of("imported", about.get("name", ""), run.id)),
        )
        try:
            return replace(run, **self.summary(folder)) if RESULT in meta.files else run
        except VigieError as error:
            return replace(run, reason=error.text)

    def spared(self, settings: Settings, system: System, runs: Iterable[Run]) -> set[str]:  # noqa: ARG002 - as its base
        """None: no gauge shows one."""
        return set()

    def sweep(self, settings: Settings) -> list[Path]:  # noqa: ARG002 - as its base
        """Nothing is next to it."""
        return []


def figures(stored: Result) -> Mapping[str, Any]:
    """The summary columns of a comparison; a value that is no number of sensible size is unknown."""
    return {
        "ref": str(stored.ref.key),
        "cur": str(stored.cur.key),
        "rows_ref": _whole(stored.ref.rows),
        "rows_cur": _whole(stored.cur.rows),
        "share": finite(stored.share),
        "threshold": finite(stored.policy.threshold),
        "drifted": _whole(stored.k),
        "counted": _whole(stored.n),
        "target_drift": finite(stored.target_drift.value),
        "own": stored.own if isinstance(stored.own, bool) else None,
        **({} if stored.source is None else columns_of(stored.source)),
    }


def _whole(value: object) -> int | None:
    number = finite(value) if not isinstance(value, int) or abs(value) <= MAX_WHOLE else None
    return int(number) if number is not None and abs(number) <= MAX_WHOLE else None
