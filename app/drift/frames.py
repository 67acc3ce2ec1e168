"""Two pandas frames compared from Python, with the verdict, the report and the files of the page.

`from app import compare` in a notebook or a script. Evidently is imported when it is called.
"""

from __future__ import annotations

import html
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from app.config import Settings, System, load_systems
from app.drift import comparison, tables
from app.drift.result import Column, Result, Target, Verdict
from app.errors import DataError, VigieError
from app.runs.job import Job
from app.runs.kinds import DRIFT
from app.runs.run import new_run_id
from app.runs.source import Source
from app.words.message import t

if TYPE_CHECKING:
    import pandas as pd

    from app.config.drift import Rule


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two frames come to; `result` is the whole of it. Paths are None where nothing was kept, or UNDECIDED."""

    result: Result
    folder: Path | None = None
    report_html: Path | None = None
    report_json: Path | None = None

    @property
    def decision(self) -> Verdict:
        """RETRAINING_TRIGGERED, NO_ACTION or UNDECIDED."""
        return self.result.decision

    @property
    def reason(self) -> str:
        """Why, in one sentence."""
        return self.result.reason

    @property
    def share(self) -> float | None:
        """Drifted columns of those that count, unrounded; None when undecided."""
        return self.result.share

    @property
    def columns(self) -> tuple[Column, ...]:
        """Every column with score, threshold, method and both sides."""
        return self.result.columns

    @property
    def target_drift(self) -> Target:
        """The difference of the label rates, or why it is not measured."""
        return self.result.target_drift

    @property
    def line(self) -> str:
        """The line that the original course script prints."""
        return self.result.line

    def _repr_html_(self) -> str:
        """The verdict as a notebook shows it."""
        where = f"<br><code>{html.escape(str(self.report_html))}</code>" if self.report_html else ""
        return f"<b>{self.decision}</b><br>{html.escape(self.reason)}{where}"


def compare(
    *,
    reference: pd.DataFrame,
    current: pd.DataFrame,
    name: str = "",
    system: str | None = None,
    reports: str | Path | None = None,
    threshold: float | None = None,
    label: str | None = None,
    identifier: str | None = None,
    columns: Literal["features", "all"] | None = None,
    features: Sequence[str] | None = None,
    left_out: Sequence[str] | None = None,
    thresholds: Mapping[str, float] | None = None,
    methods: Mapping[str, str] | None = None,
    target_threshold: float | None = None,
    sentinels: Mapping[str, Sequence[float]] | None = None,
    rule: Rule | None = None,
    material_spread: float | None = None,
    material_share: float | None = None,
    min_rows: int | None = None,
    comparable: float | None = None,
) -> Comparison:
    """Compare two frames and decide, as Compare months does; every row is one subject, every column one feature.

    The arguments from `threshold` on are the keys of `[drift]` in docs/system-file.md, with their defaults. With
    `reports`, a folder, HTML, JSON and result.json are kept in `reports/runs/<run>/`. With `system`, the id of a
    system, its `[drift]` gives what is not given here, the files are among its reports and the run is in the list of
    the console, as one of another source: it moves no gauge. `name` is `reference_vs_current` in the files' names, or
    a word for both. Raises DataError (or another VigieError).
    """
    _frames(reference=reference, current=current)
    os.environ.setdefault("DO_NOT_TRACK", "1")
    given = {
        "threshold": threshold,
        "label": label,
        "identifier": identifier,
        "columns": columns,
        "features": None if features is None else tuple(features),
        "left_out": None if left_out is None else tuple(left_out),
        "thresholds": thresholds,
        "methods": methods,
        "target_threshold": target_threshold,
        "sentinels": None if sentinels is None else {name: tuple(values) for name, values in sentinels.items()},
        "rule": rule,
        "material_spread": material_spread,
        "material_share": material_share,
        "min_rows": min_rows,
        "comparable": comparable,
    }
    settings = Settings.from_env()
    base, asked = _system(settings, system)
    rules = tables.Rules(**{**asked, **{key: value for key, value in given.items() if value is not None}})
    folder = None if reports is None else Path(reports).expanduser().absolute()
    job = Job(new_run_id(), DRIFT, base.id, "", {}, settings)
    # No one looks at the progress of a call.
    job.close()
    return _compared(job, base, rules, (reference, current), name=name, folder=folder, listed=system is not None)


def _frames(**given: object) -> None:
    """DataError for what is no frame."""
    import pandas as pd

    for name, one in given.items():
        if not isinstance(one, pd.DataFrame):
            message = t("{frame} is a {type}, not a pandas DataFrame.", frame=name, type=type(one).__name__)
            raise DataError(message, hint=t("Give two frames."))


def _compared(
    job: Job,
    system: System,
    rules: tables.Rules,
    data: tuple[pd.DataFrame, pd.DataFrame],
    *,
    name: str,
    folder: Path | None,
    listed: bool,
) -> Comparison:
    begun = time.monotonic()
    first, _, second = name.partition("_vs_")
    names = (
        (first, second) if second else (f"{name}-reference", f"{name}-current") if name else ("reference", "current")
    )
    source = Source.of("frames", " with ".join(names), job.run)
    pair = tables.pair(system, names, rules, source, folder)
    frames = (tables.frame(data[0], pair.drift, pair.ref), tables.frame(data[1], pair.drift, pair.cur))
    tables.named({"label": rules.label, "identifier": rules.identifier}, data)
    verdicts = comparison.judge(job, pair, *frames)
    if folder is None and not listed:
        kept_nowhere = replace(verdicts, html=None, json=None)
        return Comparison(comparison.written(job, pair, frames, kept_nowhere, begun)[0])
    result, path = comparison.save(job, pair, frames, verdicts, begun)
    if listed and folder is None:
        _list(job.settings, system, path)
    reports = (path / f"{pair.stem}.{ending}" for ending in ("html", "json"))
    return Comparison(result, path, *(report if report.is_file() else None for report in reports))


def _system(settings: Settings, name: str | None) -> tuple[System, dict[str, Any]]:
    """The system whose policy is taken and among whose runs this one is listed, else one for this call."""
    if name is None:
        return System(id="frames", title=t("Frames in Python")), {}
    systems = load_systems(settings)
    system = systems.by_id.get(name)
    if system is None:
        hint = t("There are {systems}.", systems=", ".join(systems.by_id))
        raise DataError(t("There is no system {system!r}.", system=name), hint=hint)
    if system.drift is None or not system.compares:
        return system, {}
    rules = {key: getattr(system.drift, key) for key in tables.Rules.__slots__}
    return system, rules | {"features": system.drift.feature_names}


def _list(settings: Settings, system: System, folder: Path) -> None:
    """Put the run into the index."""
    from app.runs import rescan
    from app.runs.opening import opened

    try:
        with opened(settings) as ledger:
            ledger.list_kept(rescan.row_of_report(folder, system))
    except VigieError as error:
        # The files are the truth: the next scan lists them.
        import warnings

        message = t("The run is kept in {folder} and not listed yet: {why}", folder=folder, why=error.text)
        warnings.warn(message, stacklevel=3)
