"""What may be compared: a look at both periods before Evidently, which is silently wrong on some inputs.

Evidently drops a column that is missing in current, compares a handful of rows, ignores nulls however many, counts
infinities in one metric and not in the other, and answers raw errors on categories, decimals, dates and empty columns.
So each counted column is normalised to plain numbers or plain categories here, or listed as not comparable with its
reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import pandas as pd

from app.drift.aggregates import sides
from app.drift.normalise import Plain, harmonised, plain, texts
from app.drift.result import Column, Policy

# From this difference of null shares on, the rows with a value are not the same kind of rows in both periods.
MAX_NULL_MOVE: Final = 0.25
# A smaller move is worth a line.
NOTED_NULL_MOVE: Final = 0.05
# More different values than this is free text or an identifier; a distribution over them says nothing.
MAX_CATEGORIES: Final = 1000
# Evidently changes its methods above this number of non-null reference rows.
METHOD_SWITCH_ROWS: Final = 1000
# "Near" the switch: a month that grows by a tenth would be judged by another method.
METHOD_SWITCH_MARGIN: Final = 0.1


@dataclass(frozen=True, slots=True)
class Gate:
    """Both frames with the comparable columns alone, normalised; every counted column; why not to decide at all.

    `columns` are in order features, label, identifier; scores are still unknown. `refusal` is "" when the comparison
    may go on.
    """

    reference: pd.DataFrame
    current: pd.DataFrame
    columns: tuple[Column, ...]
    refusal: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Names:
    """How the two periods are called in sentences."""

    ref: str
    cur: str


def check(
    reference: pd.DataFrame,
    current: pd.DataFrame,
    policy: Policy,
    names: Names,
    *,
    features: Sequence[str] = (),
    ignored: Sequence[str] = (),
    label_reason: str = "",
) -> Gate:
    """Look at both periods. Without `features`, every column of either counts except label, identifier, `ignored`.

    `label_reason` says why labels are missing, where the loader knows.
    """
    look = _Look(_named(reference), _named(current), policy, names)
    wanted = list(dict.fromkeys(features or look.derived(ignored)))
    found = [(look.feature(name), name) for name in wanted]
    if policy.label:
        found.append((look.feature(policy.label, counts_as_feature=False, missing=label_reason), policy.label))
    if policy.identifier:
        found.append((look.identifier(policy.identifier), policy.identifier))
    pairs = {name: one.pair for one, name in found if one.pair is not None}
    left = pd.DataFrame({name: pair[0].reset_index(drop=True) for name, pair in pairs.items()})
    right = pd.DataFrame({name: pair[1].reset_index(drop=True) for name, pair in pairs.items()})
    refusal = look.too_few()
    same = [name for name in wanted if name in pairs]
    if not refusal and same and _same_rows(left[same], right[same]):
        refusal = f"{names.ref} and {names.cur} hold the same rows: there is nothing to compare."
    if not features:
        look.note_one_sided()
    look.note_method_switch()
    return Gate(left, right, tuple(one.column for one, _ in found), refusal, tuple(look.notes))


def _named(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame under text column names (a CSV without header gives numbers)."""
    return frame.set_axis([str(name) for name in frame.columns], axis=1)


@dataclass(frozen=True, slots=True)
class _Found:
    """One counted column, and its two normalised series when they can be compared."""

    column: Column
    pair: tuple[pd.Series, pd.Series] | None = None


@dataclass(slots=True)
class _Look:
    """Both periods under inspection; `notes` collects what is worth a line without stopping anything."""

    reference: pd.DataFrame
    current: pd.DataFrame
    policy: Policy
    names: Names
    notes: list[str] = field(default_factory=list)

    def derived(self, ignored: Sequence[str]) -> list[str]:
        apart = {self.policy.label, self.policy.identifier, *ignored}
        return [name for name in dict.fromkeys([*self.reference.columns, *self.current.columns]) if name not in apart]

    def too_few(self) -> str:
        """Why there are too few rows to say anything, or ""."""
        rows = ((self.names.ref, len(self.reference)), (self.names.cur, len(self.current)))
        few = [f"{name} has {found:,} {'row' if found == 1 else 'rows'}" for name, found in rows if self._few(found)]
        needed = f"at least {self.policy.min_rows} are needed to say anything (min_rows)."
        return f"{' and '.join(few)}; {needed}" if few else ""

    def _few(self, rows: int) -> bool:
        return rows < self.policy.min_rows

    def feature(self, name: str, *, counts_as_feature: bool = True, missing: str = "") -> _Found:
        """Look at one feature, or at the label (`counts_as_feature` False)."""
        reason = self._presence(name)
        if reason:
            return _Found(Column(name, "unknown", reason=missing or reason))
        ref, cur = harmonised(plain(self.reference[name]), plain(self.current[name]))
        reason = self._kinds(ref, cur) or self._values(name, ref, cur)
        if not reason and counts_as_feature:
            reason = _identifying(ref, cur, self.policy)
        kind = ref.kind if ref.kind == cur.kind else "unknown"
        column = Column(name, kind, comparable=not reason, reason=missing or reason if reason else "")
        if kind in ("number", "category"):
            left, right = sides(ref.data, cur.data, kind)
            column = replace(column, ref=left, cur=right)
        return _Found(column, None if reason else (ref.data, cur.data))

    def identifier(self, name: str) -> _Found:
        """The identifier as text, which is how the original course script had it counted."""
        reason = self._presence(name)
        ref, cur = (None, None) if reason else (self.reference[name], self.current[name])
        if ref is None or cur is None:
            return _Found(Column(name, "text", reason=reason))
        for side, data in ((self.names.ref, ref), (self.names.cur, cur)):
            if not data.notna().any():
                return _Found(Column(name, "text", reason=f"no value at all in {side}"))
        left, right = texts(ref), texts(cur)
        one, two = sides(left, right, "text")
        return _Found(Column(name, "text", comparable=True, ref=one, cur=two), (left, right))

    def _presence(self, name: str) -> str:
        frames = ((self.names.ref, self.reference), (self.names.cur, self.current))
        counts = [(side, list(frame.columns).count(name)) for side, frame in frames]
        missing = [side for side, found in counts if not found]
        if len(missing) == len(counts):
            return "in neither of the two"
        if missing:
            return f"missing in {missing[0]}"
        twice = [side for side, found in counts if found > 1]
        return f"two columns of this name in {twice[0]}" if twice else ""

    def _kinds(self, ref: Plain, cur: Plain) -> str:
        both = ((self.names.ref, ref), (self.names.cur, cur))
        for side, plainly in both:
            if plainly.kind == "empty":
                return f"no value at all in {side}"
        for side, plainly in both:
            if plainly.kind == "unknown":
                return f"{plainly.reason} in {side}"
            if plainly.kind == "time":
                return "a point in time, which no distribution describes"
        if ref.kind == cur.kind:
            return ""
        words = {"number": "numbers", "category": "text or categories"}
        return f"{words[ref.kind]} in {self.names.ref}, {words[cur.kind]} in {self.names.cur}"

    def _values(self, name: str, ref: Plain, cur: Plain) -> str:
        empty = []
        for side, plainly in ((self.names.ref, ref), (self.names.cur, cur)):
            if plainly.kind == "number":
                infinite = int(np.isinf(plainly.data.to_numpy(dtype=float, na_value=np.nan)).sum())
                if infinite:
                    return f"{infinite:,} infinite {'value' if infinite == 1 else 'values'} in {side}"
            rows, present = len(plainly.data), int(plainly.data.notna().sum())
            # Too few rows in the whole period is said once, for the period.
            if self._few(present) and not self._few(rows):
                return f"only {present:,} of {rows:,} rows have a value in {side}"
            if plainly.kind == "category" and plainly.data.nunique() > MAX_CATEGORIES:
                return f"more than {MAX_CATEGORIES:,} different values in {side}: free text or an identifier"
            empty.append(1 - present / rows)
        return self._null_move(name, *empty)

    def _null_move(self, name: str, before: float, after: float) -> str:
        move = abs(after - before)
        if move > MAX_NULL_MOVE:
            return f"nulls went from {before:.0%} in {self.names.ref} to {after:.0%} in {self.names.cur}"
        if move > NOTED_NULL_MOVE:
            self.notes.append(
                f"{name}: nulls went from {before:.1%} in {self.names.ref} to {after:.1%} in {self.names.cur};"
                " the comparison leaves them out."
            )
        return ""

    def note_one_sided(self) -> None:
        """Name the columns that only one of the two has."""
        only = set(self.reference.columns) ^ set(self.current.columns)
        if only:
            self.notes.append(f"Columns in one of the two only: {', '.join(sorted(only))}.")

    def note_method_switch(self) -> None:
        """Say when a month is near the size at which Evidently changes its methods."""
        rows = len(self.reference)
        if abs(rows - METHOD_SWITCH_ROWS) <= METHOD_SWITCH_MARGIN * METHOD_SWITCH_ROWS:
            self.notes.append(
                f"{self.names.ref} has {rows:,} rows. Up to {METHOD_SWITCH_ROWS:,} Evidently tests for significance,"
                " above it measures a distance: a slightly larger month may be judged differently."
            )


def _identifying(ref: Plain, cur: Plain, policy: Policy) -> str:
    """A reason when both sides hold a different value in every row, as identifiers and row numbers do."""
    for values in (ref.data.dropna(), cur.data.dropna()):
        if len(values) < max(policy.min_rows, 2) or values.nunique() != len(values):
            return ""
        if ref.kind == "number":
            ordered = np.sort(values.to_numpy(dtype=float))
            if not np.all(np.diff(ordered) == 1):
                return ""
    return "a different value in every row: an identifier"


def _same_rows(left: pd.DataFrame, right: pd.DataFrame) -> bool:
    """Whether both hold the same rows in any order."""
    if len(left) != len(right) or list(left.dtypes) != list(right.dtypes):
        return False
    first, second = (pd.util.hash_pandas_object(frame, index=False).to_numpy() for frame in (left, right))
    return bool(np.array_equal(np.sort(first), np.sort(second)))
