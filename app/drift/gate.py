"""What may be compared: a look at both periods before Evidently, which is silently wrong on some inputs.

Evidently drops a column that is missing in current, compares a handful of rows, ignores any number of nulls, counts
infinities in one metric and not in the other, and answers raw errors on categories, decimals, dates and empty columns.
So each counted column is normalised to plain numbers or plain categories here, or listed as not comparable with its
reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import pandas as pd

from app.drift import chance, extremes, rows
from app.drift.aggregates import sides
from app.drift.counted import Counted, counted
from app.drift.methods import kind_words, method_of
from app.drift.normalise import Plain, flags_against_words, harmonised, plain, readable, texts
from app.drift.result import Column, Mass, Policy, Side
from app.drift.scores import default_method
from app.words.message import listed, some, t, tn

# From this difference of null shares on, the rows with a value are not the same kind of rows in both periods.
MAX_NULL_MOVE: Final = 0.25
# A smaller move is worth a line.
NOTED_NULL_MOVE: Final = 0.05
# More different values than this is free text or an identifier; a distribution over them says nothing.
MAX_CATEGORIES: Final = 1000
# So few different values are a category however few rows there are.
FEW_CATEGORIES: Final = 20
# "Near" the switch: a month that grows by a tenth would be judged by another method.
METHOD_SWITCH_MARGIN: Final = 0.1
# A spread is calculated with squares, of millions of rows: from here on they are beyond a float.
MAX_NUMBER: Final = 1e150
# Evidently draws as many bins as Sturges says, 23 at five million rows.
MANY_BINS: Final = 32
# The counts of so many different values are kept for the score; more are counted again, one column at a time.
KEPT_VALUES: Final = 200_000
# So many columns are named in a note.
NAMED: Final = 6


@dataclass(frozen=True, slots=True)
class Gate:
    """Both frames with the comparable columns alone, normalised; every counted column; why not to decide at all.

    `columns` are in order features, label, identifier; scores are still unknown. `refusal` is "" when the comparison
    may go on. `counts` of the columns that are comparable or `uncertain`, those aside whose values are too many to be
    kept.
    """

    reference: pd.DataFrame
    current: pd.DataFrame
    columns: tuple[Column, ...]
    refusal: str
    notes: tuple[str, ...]
    counts: Mapping[str, Counted]


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
    look = _Look(_named(reference, policy), _named(current, policy), policy, names)
    apart = {policy.label, policy.identifier, *policy.left_out}
    asked = [readable(name) for name in features] or look.derived(ignored)
    judged = [name for name in dict.fromkeys(asked) if name not in apart]
    looks = [(look.feature(name), name) for name in judged]
    if policy.label and policy.label not in policy.left_out:
        looks.append((look.feature(policy.label, counts_as_feature=False, missing=label_reason), policy.label))
    if policy.identifier and policy.identifier not in policy.left_out:
        looks.append((look.identifier(policy.identifier), policy.identifier))
    pairs = {name: one.pair for one, name in looks if one.pair is not None}
    left = pd.DataFrame({name: pair[0].reset_index(drop=True) for name, pair in pairs.items()})
    right = pd.DataFrame({name: pair[1].reset_index(drop=True) for name, pair in pairs.items()})
    counts = {name: one.counts for one, name in looks if one.counts is not None}
    refusal = look.too_few() or look.same([name for name in judged if name in pairs], left, right, counts)
    look.note_policy(reference, current, [name for _, name in looks])
    look.note_one_sided([name for _, name in looks], ignored)
    look.note_repeated()
    look.note_method_switch(left)
    return Gate(left, right, tuple(one.column for one, _ in looks), refusal, tuple(look.notes), counts)


def _named(frame: pd.DataFrame, policy: Policy) -> pd.DataFrame:
    """The frame under text column names (a CSV without header gives numbers), without the columns left out."""
    named = frame.set_axis([readable(str(name)) for name in frame.columns], axis=1)
    return named.loc[:, ~named.columns.isin(policy.left_out)]


@dataclass(frozen=True, slots=True)
class _Found:
    """One counted column; its two normalised series, and their counts, when they can be compared."""

    column: Column
    pair: tuple[pd.Series, pd.Series] | None = None
    counts: Counted | None = None


@dataclass(slots=True)
class _Look:
    """Both periods under inspection; `notes` collects what is worth a line without stopping anything."""

    reference: pd.DataFrame
    current: pd.DataFrame
    policy: Policy
    names: Names
    notes: list[str] = field(default_factory=list)

    def derived(self, ignored: Sequence[str]) -> list[str]:
        """Every column of either side that is not `ignored`."""
        return [name for name in dict.fromkeys([*self.reference.columns, *self.current.columns]) if name not in ignored]

    def too_few(self) -> str:
        """Why there are too few rows to say anything, or ""."""
        rows = ((self.names.ref, len(self.reference)), (self.names.cur, len(self.current)))
        few = [
            tn("{month} has {n:count} row", "{month} has {n:count} rows", count, month=name)
            for name, count in rows
            if self._few(count)
        ]
        if not few:
            return ""
        least = self.policy.min_rows
        return t("{few}; at least {n} are needed to say anything (min_rows).", few=listed(few), n=least)

    def _few(self, rows: int) -> bool:
        return rows < self.policy.min_rows

    def feature(self, name: str, *, counts_as_feature: bool = True, missing: str = "") -> _Found:
        """Look at one feature, or at the label (`counts_as_feature` False)."""
        reason = self._presence(name)
        if reason:
            return _Found(Column(name, "unknown", reason=missing or reason))
        ref, cur = harmonised(plain(self.reference[name]), plain(self.current[name]))
        reason = self._kinds(ref, cur)
        kind = ref.kind if ref.kind == cur.kind and ref.kind in ("number", "category") else "unknown"
        counts = None if kind == "unknown" else counted(ref.data, cur.data, kind)
        chancy = ""
        masses: tuple[Mass, ...] = ()
        if counts is not None and not reason:
            if counts_as_feature:
                reason = _identifying(counts, self.policy)
                masses, counts, ref, cur = self._without_sentinels(name, counts, ref, cur)
            reason = reason or self._values(name, counts) or self._measure(name, counts)
            chancy = "" if reason else self._by_chance(name, counts)
        reason = reason or chancy
        why = missing or reason if reason else ""
        column = Column(name, kind, comparable=not reason, reason=why, uncertain=bool(chancy), sentinels=masses)
        if counts is None:
            left, right = (Side(nulls=int(side.data.isna().sum())) for side in (ref, cur))
            return _Found(replace(column, ref=left, cur=right))
        left, right = sides(counts)
        kept = counts if len(counts.values) <= KEPT_VALUES and (not reason or chancy) else None
        return _Found(replace(column, ref=left, cur=right), None if reason else (ref.data, cur.data), kept)

    def _without_sentinels(
        self, name: str, counts: Counted, ref: Plain, cur: Plain
    ) -> tuple[tuple[Mass, ...], Counted, Plain, Plain]:
        """The values of a column that stand for none, and its counts and both sides with nulls in their place."""
        masses = extremes.sentinels(counts, self.policy.sentinels.get(name, self.policy.sentinels.get(extremes.ANY)))
        if not masses:
            return masses, counts, ref, cur
        self.notes.append(extremes.words(name, masses))
        values = [mass.value for mass in masses]
        left, right = (replace(side, data=side.data.where(~side.data.isin(values))) for side in (ref, cur))
        return masses, extremes.without(counts, values), left, right

    def identifier(self, name: str) -> _Found:
        """The identifier as text, which is how the original course script had it counted."""
        reason = self._presence(name)
        ref, cur = (None, None) if reason else (self.reference[name], self.current[name])
        if ref is None or cur is None:
            return _Found(Column(name, "text", reason=reason))
        for side, data in ((self.names.ref, ref), (self.names.cur, cur)):
            present = int(data.notna().sum())
            if not present:
                return _Found(Column(name, "text", reason=t("no value at all in {month}", month=side)))
            if self._few(present) and not self._few(len(data)):
                return _Found(Column(name, "text", reason=_few_values(present, len(data), side)))
        left, right = texts(ref), texts(cur)
        one, two = (Side(nulls=int(side.isna().sum())) for side in (left, right))
        return _Found(Column(name, "text", comparable=True, ref=one, cur=two), (left, right))

    def _presence(self, name: str) -> str:
        frames = ((self.names.ref, self.reference), (self.names.cur, self.current))
        counts = [(side, list(frame.columns).count(name)) for side, frame in frames]
        missing = [side for side, count in counts if not count]
        if len(missing) == len(counts):
            return t("in neither of the two")
        if missing:
            frame = self.reference if missing[0] == self.names.ref else self.current
            alike = [other for other in frame.columns if other.strip().casefold() == name.strip().casefold()]
            if alike:  # it differs in white space or case alone
                return t("missing in {month}, which has {column!r}", month=missing[0], column=alike[0])
            return t("missing in {month}", month=missing[0])
        twice = [side for side, count in counts if count > 1]
        return t("two columns of this name in {month}", month=twice[0]) if twice else ""

    def _kinds(self, ref: Plain, cur: Plain) -> str:
        both = ((self.names.ref, ref), (self.names.cur, cur))
        empty = [side for side, plainly in both if plainly.kind == "empty"]
        if empty:
            return t("no value at all in {month}", month=listed(empty))
        unlike = [_kind_words(plainly) for _, plainly in both]
        if any(plainly.kind == "time" for _, plainly in both):
            return t("a point in time, which no distribution describes")
        if unlike[0] != unlike[1]:
            first, second = unlike
            return t("{first} in {ref}, {second} in {cur}", first=first, second=second, **self._names)
        if ref.kind == "unknown":
            return t("{values} in {month}", values=ref.reason, month=self.names.ref)
        if ref.kind == "category" and flags_against_words(ref, cur):
            return t("True and False in one of {ref} and {cur}, text in the other", **self._names)
        return ""

    def _values(self, name: str, counts: Counted) -> str:
        empty = []
        for side, held, nulls in (
            (self.names.ref, counts.ref, counts.ref_nulls),
            (self.names.cur, counts.cur, counts.cur_nulls),
        ):
            infinite = int(held[np.isinf(counts.values)].sum()) if counts.kind == "number" else 0
            if infinite:
                return tn(
                    "{n:count} infinite value in {month}",
                    "{n:count} infinite values in {month}",
                    infinite,
                    month=side,
                )
            present = int(held.sum())
            # Too few rows in the whole period is reported once, for the period.
            if self._few(present) and not self._few(present + nulls):
                return _few_values(present, present + nulls, side)
            different = int(np.count_nonzero(held)) if counts.kind == "category" else 0
            if different > MAX_CATEGORIES or different > max(present / 2, FEW_CATEGORIES):
                return t(
                    "{values:count} different values in {rows:count} rows of {month}: free text or an identifier",
                    values=different,
                    rows=present,
                    month=side,
                )
            empty.append(nulls / (present + nulls))
        return self._null_move(name, *empty)

    def _null_move(self, name: str, before: float, after: float) -> str:
        move = abs(after - before)
        if move > MAX_NULL_MOVE:
            shares = {"before": before, "after": after, **self._names}
            return t("nulls went from {before:.0%} in {ref} to {after:.0%} in {cur}", **shares)
        if move > NOTED_NULL_MOVE:
            self.notes.append(
                t(
                    "{column}: nulls went from {before:.1%} in {ref} to {after:.1%} in {cur};"
                    " the comparison leaves them out.",
                    column=name,
                    before=before,
                    after=after,
                    **self._names,
                )
            )
        return ""

    def _measure(self, name: str, counts: Counted) -> str:
        """Why Evidently's own choice of method would measure nothing on these values, or ""."""
        chosen = self.policy.methods.get(name)
        if chosen is not None and (reason := method_of(chosen).misfit(counts.kind)):
            return reason
        if counts.kind != "number":
            return ""
        for side, held in ((self.names.ref, counts.ref), (self.names.cur, counts.cur)):
            if reason := _unbinned(counts.values[held > 0], side):
                return reason
        if (chosen or default_method(counts)) != "wasserstein":
            return ""
        return extremes.unmeasured(counts, self.names.ref, self.policy.thresholds.get(name))

    def _by_chance(self, name: str, counts: Counted) -> str:
        """Why a drift of this column would be no more than chance, or ""."""
        # Anyone who chose a method or a threshold for this column is believed.
        if name in self.policy.methods or name in self.policy.thresholds:
            return ""
        return chance.within(counts, default_method(counts))

    def same(self, names: Sequence[str], left: pd.DataFrame, right: pd.DataFrame, counts: Mapping[str, Counted]) -> str:
        """A refusal when both hold the same rows, identifiers aside; else ""."""
        if any(not np.array_equal(one.ref, one.cur) for name in names if (one := counts.get(name)) is not None):
            return ""
        identifier = self.policy.identifier
        also = (left[identifier], right[identifier]) if identifier in left.columns else None
        if not rows.same(left[list(names)], right[list(names)], also=also):
            return ""
        return t("{ref} and {cur} hold the same rows: there is nothing to compare.", **self._names)

    def note_policy(self, reference: pd.DataFrame, current: pd.DataFrame, counted: Sequence[str]) -> None:
        """Name what the policy leaves out, and what it names without effect."""
        policy, present = self.policy, {readable(str(name)) for name in (*reference.columns, *current.columns)}
        left_out = [name for name in policy.left_out if name in present]
        if left_out:
            self.notes.append(t("Left out by the policy: {columns}.", columns=_named_columns(left_out)))
        for key, named in (
            ("left_out", policy.left_out),
            ("thresholds", policy.thresholds),
            ("methods", policy.methods),
            ("sentinels", [name for name in policy.sentinels if name != extremes.ANY]),
        ):
            nowhere = [name for name in named if name not in present]
            if nowhere:
                absent = {"key": key, "columns": _named_columns(nowhere), **self._names}
                self.notes.append(t("{key} names {columns}, which neither {ref} nor {cur} has.", **absent))
            idle = [name for name in named if name in present and name not in counted]
            if idle and key != "left_out":
                columns = _named_columns(idle)
                self.notes.append(t("{key} names {columns}, which is not compared.", key=key, columns=columns))

    def note_one_sided(self, counted: Sequence[str], ignored: Sequence[str]) -> None:
        """Name the columns that only one of the two has, also those that no one asked to compare."""
        apart = {*ignored, self.policy.label, self.policy.identifier}
        sides = ((self.names.ref, self.reference, self.current), (self.names.cur, self.current, self.reference))
        for side, frame, other in sides:
            only = [name for name in frame.columns if name not in {*other.columns, *apart}]
            if only:
                columns = _named_columns(only)
                if set(only) & set(counted):
                    self.notes.append(t("Only {month} has {columns}.", month=side, columns=columns))
                else:
                    self.notes.append(t("Only {month} has {columns}; not compared.", month=side, columns=columns))

    def note_repeated(self) -> None:
        """Count rows that repeat another one, and identifiers that do."""
        identifier = self.policy.identifier
        for side, frame in ((self.names.ref, self.reference), (self.names.cur, self.current)):
            twice, counts = rows.repeated(frame), {"rows": len(frame), "month": side}
            if twice:
                self.notes.append(t("{n:count} of {rows:count} rows of {month} repeat another row.", n=twice, **counts))
            if identifier is None or list(frame.columns).count(identifier) != 1:
                continue
            again = rows.repeated_values(frame[identifier])
            if again:
                counts |= {"n": again, "identifier": identifier}
                self.notes.append(
                    t("{n:count} of {rows:count} rows of {month} repeat an identifier ({identifier}).", **counts)
                )

    def note_method_switch(self, compared: pd.DataFrame) -> None:
        """Say when a month is near the size at which Evidently changes its methods, or nulls put columns below it."""
        size, switch = len(self.reference), chance.METHOD_SWITCH_ROWS
        scored = [name for name in compared.columns if name != self.policy.identifier]
        few = [name for name in scored if compared[name].notna().sum() <= switch]
        if abs(size - switch) <= METHOD_SWITCH_MARGIN * switch:
            self.notes.append(
                t(
                    "{month} has {rows:count} rows. Up to {switch:count} Evidently tests for significance, above it"
                    " measures a distance: a slightly larger month may be judged differently.",
                    month=self.names.ref,
                    rows=size,
                    switch=switch,
                )
            )
        elif size > switch and few:
            self.notes.append(
                t(
                    "{columns}: {switch:count} values or fewer in {month}, so Evidently tests for significance where it"
                    " measures a distance for the other columns.",
                    columns=_named_columns(few),
                    switch=switch,
                    month=self.names.ref,
                )
            )

    @property
    def _names(self) -> dict[str, str]:
        return {"ref": self.names.ref, "cur": self.names.cur}


def _named_columns(names: Sequence[str]) -> str:
    return some([repr(name) if name != name.strip() else name for name in names], NAMED)


def _few_values(present: int, rows: int, month: str) -> str:
    counts = {"values": present, "rows": rows}
    return t("only {values:count} of {rows:count} rows have a value in {month}", **counts, month=month)


def _kind_words(side: Plain) -> str:
    return kind_words(side.kind) or side.reason


def _unbinned(values: np.ndarray, month: str) -> str:
    """Why these numbers have no histogram, and so no place in a report; or ""."""
    low, high = float(values[0]), float(values[-1])
    if max(abs(low), abs(high)) > MAX_NUMBER:
        return t("numbers beyond {most:g}, too large to reckon a spread of, in {month}", most=MAX_NUMBER, month=month)
    if high > low and not (np.diff(np.linspace(low, high, MANY_BINS + 1)) > 0).all():
        return t("numbers so close together that a float cannot tell what is between them in {month}", month=month)
    return ""


def _identifying(counts: Counted, policy: Policy) -> str:
    """A reason when both sides hold a different value in every row, as identifiers and row numbers do."""
    for held in (counts.ref, counts.cur):
        values = counts.values[held > 0]
        if held.sum() < max(policy.min_rows, 2) or len(values) != held.sum():
            return ""
        if counts.kind == "number" and not np.all(np.diff(values) == 1):
            return ""
    return t("a different value in every row: an identifier")
