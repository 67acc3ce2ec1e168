"""What a drift run found: dataclasses, and their JSON form `result.json` (null for unknown, never NaN).

The table, the what-if and the comparison of two runs read only this; nothing here needs Evidently or pandas.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, Literal

from app.base.text import plain
from app.config import Drift
from app.config.drift import DEFAULT_MATERIAL_SHARE, DEFAULT_MATERIAL_SPREAD, Rule
from app.errors import DataError, ReportError
from app.runs.source import Source
from app.words.language import ENGLISH, speaking
from app.words.message import code_of, english, kept, t

VERSION: Final = 1
# Periods made of captured requests: their comparisons are looked at by hand.
CAPTURE: Final = "capture-"


class Verdict(StrEnum):
    """What a run decides."""

    RETRAINING_TRIGGERED = "RETRAINING_TRIGGERED"
    NO_ACTION = "NO_ACTION"
    UNDECIDED = "UNDECIDED"


def _share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


@dataclass(frozen=True, slots=True)
class Policy:
    """Which columns count, from which share of drifted ones retraining is due, and what is too little to decide on.

    `columns` "features", or "all": label and identifier too, as the original course script counted. `comparable` is
    the share of counted columns below which nothing is decided. `thresholds` and `methods` by column replace
    Evidently's choice; `left_out` are neither compared nor counted; a difference of label rates of `target_threshold`
    triggers too. `sentinels` by column ("*": every other) are values that stand for none; without, they are looked for.
    `rule` says which columns count as drifted: Evidently's, those that moved significantly (over all columns) and
    materially (so many standard deviations, such a share of rows), or those that are both.
    """

    columns: Literal["features", "all"]
    threshold: float
    min_rows: int
    comparable: float
    label: str | None = None
    identifier: str | None = None
    left_out: tuple[str, ...] = ()
    thresholds: Mapping[str, float] = field(default_factory=dict)
    methods: Mapping[str, str] = field(default_factory=dict)
    target_threshold: float | None = None
    sentinels: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    rule: Rule = "evidently"
    material_spread: float = DEFAULT_MATERIAL_SPREAD
    material_share: float = DEFAULT_MATERIAL_SHARE

    @classmethod
    def of(cls, drift: Drift, threshold: float | None = None) -> Policy:
        """The system's own policy, or the same with another threshold, a share. Raises DataError for what is none."""
        if threshold is not None and not _share(threshold):
            shown = repr(threshold)[:40]
            message = t("threshold is {value}; accepted: a share from 0 to 1.", value=shown)
            raise DataError(message, hint=t("Try 0.3."))
        return cls(
            columns=drift.columns,
            threshold=drift.threshold if threshold is None else float(threshold),
            min_rows=drift.min_rows,
            comparable=drift.comparable,
            label=drift.label,
            identifier=drift.identifier,
            # In one order: two files that leave out the same columns are one policy.
            left_out=tuple(sorted(set(drift.left_out))),
            thresholds=drift.thresholds,
            methods=drift.methods,
            target_threshold=drift.target_threshold,
            sentinels=drift.sentinels,
            rule=drift.rule,
            material_spread=drift.material_spread,
            material_share=drift.material_share,
        )

    @property
    def digest(self) -> str:
        """12 hex digits that differ when the policies differ: part of a job's key."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts per bin; `edges` has one more number than `counts`, in the column's unit."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Mass:
    """A value that stands for none, and the share of each month's rows with a value that hold it."""

    value: float
    ref: float
    cur: float


@dataclass(frozen=True, slots=True)
class Side:
    """One column in one period, in aggregates. `mean` for numbers, `shares` by value for categories; None is unknown.

    `nulls` and `infinite` count rows.
    """

    mean: float | None = None
    shares: Mapping[str, float] | None = None
    nulls: int | None = None
    infinite: int | None = None
    histogram: Histogram | None = None


@dataclass(frozen=True, slots=True)
class Opinion:
    """Our own test of one column: how far it moved in its unit, between what, and how sure that is.

    `unit` "mean" of numbers, or "share" of rows that hold `value`, the one that moved most; from `before` to `after`,
    the move between `low` and `high`, `error` its standard error. `size` is in standard deviations of the reference,
    or the share of rows that changed their value, beyond what chance brings. `p` is the test's; `adjusted` over all
    counted columns. `moved` is significant and material; `perhaps` is so by its own `p` alone. `smallest` is the move
    that so many rows show nine times in ten. `again` is the share of drawings of the same rows in which Evidently's
    method calls the column drifted. What depends on other columns is None where the column does not count.
    """

    unit: Literal["mean", "share"]
    before: float
    after: float
    low: float
    high: float
    error: float
    size: float
    p: float
    value: str | None = None
    adjusted: float | None = None
    moved: bool | None = None
    perhaps: bool = False
    smallest: float | None = None
    again: float | None = None


@dataclass(frozen=True, slots=True)
class Second:
    """The second opinion: the verdict of the columns that moved significantly and materially, k of n.

    `low` and `high` are the shares between which Evidently's lies when the rows are drawn again; `line` says where the
    two disagree and why, "" where they do not.
    """

    verdict: Verdict
    k: int
    n: int
    low: float
    high: float
    line: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """One counted column: how it was compared and what came out, or the reason why it was not.

    `kind` is "number", "category", "text" (the identifier) or "unknown"; `drifted` is None when not comparable.
    `uncertain` is a column that was looked at and differs no more than by chance: not comparable, and no want of data.
    `sentinels` were taken for no value before it was compared: they are among the nulls of both sides.
    """

    name: str
    kind: str
    method: str | None = None
    score: float | None = None
    threshold: float | None = None
    drifted: bool | None = None
    comparable: bool = False
    reason: str = ""
    ref: Side = field(default_factory=Side)
    cur: Side = field(default_factory=Side)
    uncertain: bool = False
    sentinels: tuple[Mass, ...] = ()
    opinion: Opinion | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """Target drift: the absolute difference of the label rates. All None with the reason when not measured."""

    value: float | None = None
    ref_rate: float | None = None
    cur_rate: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Months:
    """One of the two periods: key, rows compared, rows with a label (None: labels not measurable)."""

    key: str
    rows: int | None = None
    labelled: int | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """A finished run. `reason` is the sentence of why; `line` the last line of a drift run; `notes` what to know.

    `share` is k / n of the counted columns, unrounded; `share_features` the same over the features alone. `own` says
    whether the policy was the system's own when it ran; `source` and `opinion` are None in results of older versions.
    """

    run: str
    system: str
    ref: Months
    cur: Months
    policy: Policy
    share: float | None
    k: int | None
    n: int
    share_features: float | None
    columns: tuple[Column, ...]
    target_drift: Target
    decision: Verdict
    reason: str
    line: str
    seconds: float | None
    peak_bytes: int | None
    notes: tuple[str, ...] = ()
    own: bool | None = None
    source: Source | None = None
    opinion: Second | None = None

    @property
    def by_target(self) -> bool:
        """Whether target drift alone triggered: the share of columns does not reach its threshold."""
        if self.decision is not Verdict.RETRAINING_TRIGGERED or self.share is None:
            return False
        return self.share < self.policy.threshold

    @property
    def captured(self) -> bool:
        """True when a side is made of captured requests: such a run says nothing for its system."""
        return any(side.key.startswith(CAPTURE) for side in (self.ref, self.cur))

    def to_json(self) -> bytes:
        """result.json, in English, with `codes` for another language. A number that is not finite becomes null."""
        line = "" if self.opinion is None else self.opinion.line
        texts = (self.reason, self.target_drift.reason, line, *self.notes, *(column.reason for column in self.columns))
        codes = {english(text): code for text in texts if (code := code_of(text)) is not None}
        with speaking(ENGLISH):
            raw = {"version": VERSION, **asdict(self), "codes": codes}
        return json.dumps(plain(raw), allow_nan=False, ensure_ascii=False, indent=1).encode("utf-8", "replace")

    @classmethod
    def from_json(cls, data: bytes) -> Result:
        """Read result.json. Raises ReportError when it is not one, or from a newer version."""
        try:
            raw = json.loads(data)
            if raw["version"] != VERSION:
                versions = {"version": raw["version"], "ours": VERSION}
                message = t(
                    "This run was saved in version {version} of result.json; this Vigie reads {ours}.", **versions
                )
                raise ReportError(message, hint=t("Open it with the Vigie that wrote it."))
            return _result(raw)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            message = t("result.json cannot be read ({why}).", why=type(error).__name__)
            raise ReportError(message, hint=t("Run the comparison again.")) from error


def _result(raw: dict[str, Any]) -> Result:
    rest = {name: raw[name] for name in ("run", "system", "share", "k", "n", "share_features", "line")}
    codes: Mapping[str, Any] = raw["codes"] if isinstance(raw.get("codes"), dict) else {}
    target = Target(**raw["target_drift"])
    return Result(
        **rest,
        reason=kept(raw["reason"], codes.get(raw["reason"])),
        ref=Months(**raw["ref"]),
        cur=Months(**raw["cur"]),
        policy=_policy(raw["policy"]),
        columns=tuple(_column(row, codes) for row in raw["columns"]),
        target_drift=replace(target, reason=kept(target.reason, codes.get(target.reason))),
        decision=Verdict(raw["decision"]),
        seconds=None if raw["seconds"] is None else float(raw["seconds"]),
        peak_bytes=raw["peak_bytes"],
        notes=tuple(kept(note, codes.get(note)) for note in raw.get("notes", ())),
        own=raw.get("own"),
        source=Source.from_dict(raw.get("source")),
        opinion=None if raw.get("opinion") is None else _second(raw["opinion"], codes),
    )


def _second(raw: dict[str, Any], codes: Mapping[str, Any]) -> Second:
    return Second(**{**raw, "verdict": Verdict(raw["verdict"]), "line": kept(raw["line"], codes.get(raw["line"]))})


def _policy(raw: dict[str, Any]) -> Policy:
    sentinels = {name: tuple(values) for name, values in raw.get("sentinels", {}).items()}
    return Policy(**{**raw, "left_out": tuple(raw.get("left_out", ())), "sentinels": sentinels})


def _column(row: dict[str, Any], codes: Mapping[str, Any]) -> Column:
    masses = tuple(Mass(**mass) for mass in row.get("sentinels", ()))
    opinion = None if row.get("opinion") is None else Opinion(**row["opinion"])
    column = Column(
        **{**row, "ref": _side(row["ref"]), "cur": _side(row["cur"]), "sentinels": masses, "opinion": opinion}
    )
    return replace(column, reason=kept(column.reason, codes.get(column.reason)))


def _side(row: dict[str, Any]) -> Side:
    bins = row["histogram"]
    histogram = None if bins is None else Histogram(tuple(bins["edges"]), tuple(bins["counts"]))
    return Side(**{**row, "histogram": histogram})
