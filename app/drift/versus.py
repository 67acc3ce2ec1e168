"""Two runs side by side, column by column: decisions, policies, scores, means, and what changed as text. Pure.

`a` is the earlier or first-named run, `b` the other one; every difference is b - a.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Final

from app.base.text import one_line
from app.drift.decide import counted_columns
from app.drift.result import Column, Policy, Result
from app.drift.sentence import method_words
from app.words.numbers import moved, number, share_moved

# Words for the fields of a policy, in the order a reader cares for them.
POLICY_WORDS: Final = {
    "threshold": "threshold of the share",
    "target_threshold": "threshold of target drift",
    "columns": "columns counted",
    "left_out": "columns left out",
    "thresholds": "thresholds of single columns",
    "methods": "methods of single columns",
    "min_rows": "rows needed",
    "comparable": "comparable columns needed",
    "label": "label",
    "identifier": "identifier",
}
# So many columns are named in one note; the table has them all.
NAMED: Final = 5


class Change(StrEnum):
    """What became of a column between two runs."""

    NEWLY_DRIFTED = "newly drifted"
    RECOVERED = "recovered"
    STILL_DRIFTED = "drifted in both"
    STILL_CALM = "drifted in neither"
    UNKNOWN = "not comparable"
    ONLY_A = "only in the first"
    ONLY_B = "only in the second"

    @property
    def same(self) -> bool:
        """True when the column says the same in both runs."""
        return self in (Change.STILL_DRIFTED, Change.STILL_CALM)


# What turned round is on top, what is unknown before what stayed.
ORDER: Final = (
    Change.NEWLY_DRIFTED,
    Change.RECOVERED,
    Change.ONLY_A,
    Change.ONLY_B,
    Change.UNKNOWN,
    Change.STILL_DRIFTED,
    Change.STILL_CALM,
)


@dataclass(frozen=True, slots=True)
class Row:
    """One column in both runs; a side is None where the run did not have the column.

    `score_moved` is b - a in the unit of the method; None when the methods differ or a score is unknown. `scores` and
    `moves` are words: `0.05 → 0.21`, `mean: first 2.3 → 2.6, second 2.3 → 3.1`. `remarks` is what a reader must know
    before comparing the two numbers.
    """

    name: str
    a: Column | None
    b: Column | None
    change: Change
    score_moved: float | None
    scores: str
    moves: str
    remarks: tuple[str, ...]

    @property
    def words(self) -> str:
        """The change and every remark on it, in one line."""
        return "; ".join([self.change, *self.remarks])


@dataclass(frozen=True, slots=True)
class Versus:
    """Two runs side by side."""

    a: Result
    b: Result
    rows: tuple[Row, ...]
    sentence: str
    notes: tuple[str, ...]

    def count(self, *changes: Change) -> int:
        """How many columns went through one of these changes."""
        return sum(row.change in changes for row in self.rows)


class _Side:
    """One of the two runs: what it is called, and the names of the columns that count in it."""

    def __init__(self, result: Result, word: str) -> None:
        self.result = result
        self.word = word
        self.counted = frozenset(column.name for column in counted_columns(result.columns, result.policy))


def versus(a: Result, b: Result) -> Versus:
    """Put two runs side by side, the columns that turned round first."""
    sides = (_Side(a, "first"), _Side(b, "second"))
    pairs = _paired(a.columns, b.columns)
    rows = sorted((_row(name, left, right, sides) for name, left, right in pairs), key=_rank)
    return Versus(
        a=a,
        b=b,
        rows=tuple(rows),
        sentence=_sentence(a, b, rows),
        notes=tuple(_notes(a, b, rows)),
    )


def _paired(left: Sequence[Column], right: Sequence[Column]) -> list[tuple[str, Column | None, Column | None]]:
    """Columns by name; one that is in a run twice (two metrics on it) is paired in order."""
    first, second = _keyed(left), _keyed(right)
    return [(name, first.get((name, n)), second.get((name, n))) for name, n in dict.fromkeys([*first, *second])]


def _keyed(columns: Sequence[Column]) -> dict[tuple[str, int], Column]:
    found: dict[tuple[str, int], Column] = {}
    for column in columns:
        n = 0
        while (column.name, n) in found:
            n += 1
        found[column.name, n] = column
    return found


def _rank(row: Row) -> tuple[int, float, str]:
    return ORDER.index(row.change), -abs(row.score_moved or 0.0), row.name


def _row(name: str, a: Column | None, b: Column | None, sides: tuple[_Side, _Side]) -> Row:
    change = _change(a, b)
    same = _same_method(a, b)
    return Row(
        name=name,
        a=a,
        b=b,
        change=change,
        score_moved=_difference(a.score, b.score) if a and b and same else None,
        scores=_scores(a, b),
        moves=_moves(a, b),
        remarks=tuple(one_line(remark) for remark in _remarks(name, a, b, sides)),
    )


def _change(a: Column | None, b: Column | None) -> Change:
    if a is None or b is None:
        return Change.ONLY_B if a is None else Change.ONLY_A
    if a.drifted is None or b.drifted is None:
        return Change.UNKNOWN
    if a.drifted == b.drifted:
        return Change.STILL_DRIFTED if a.drifted else Change.STILL_CALM
    return Change.NEWLY_DRIFTED if b.drifted else Change.RECOVERED


def _same_method(a: Column | None, b: Column | None) -> bool:
    """Two scores are numbers of one kind only when one known method made both."""
    return a is not None and b is not None and a.method is not None and a.method == b.method


def _difference(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else b - a


def _score(column: Column | None) -> str:
    return "no such column" if column is None else number(column.score)


def _scores(a: Column | None, b: Column | None) -> str:
    """Both scores; an arrow promises that they are readings of one instrument."""
    if a is None or b is None:
        return f"{_score(a)} → {_score(b)}"
    if a.score is None or b.score is None or not _same_method(a, b):
        return f"{_score(a)} | {_score(b)}"
    return moved(a.score, b.score)


def _remarks(name: str, a: Column | None, b: Column | None, sides: tuple[_Side, _Side]) -> list[str]:
    """What a reader must know before comparing the two numbers."""
    parts: list[str] = []
    if a is None or b is None:
        if name in sides[0 if a is None else 1].result.policy.left_out:
            parts.append("left out by the policy of the other run")
    else:
        parts += [
            f"{side.word}: {one.reason or 'no reason was kept'}"
            for one, side in zip((a, b), sides, strict=True)
            if one.drifted is None
        ]
        parts += _other_measure(a, b)
    parts += [
        f"not counted in the {side.word}"
        for one, side in zip((a, b), sides, strict=True)
        if one is not None and name not in side.counted
    ]
    return parts


def _other_measure(a: Column, b: Column) -> list[str]:
    """What makes two scores of a column something else than two readings of one instrument."""
    parts = []
    if a.drifted is not None and b.drifted is not None and not _same_method(a, b):
        methods = " and ".join(method_words(one.method) if one.method else "unknown" for one in (a, b))
        parts.append(f"different methods ({methods}): the scores are not comparable")
    if a.threshold is not None and b.threshold is not None and a.threshold != b.threshold:
        parts.append(f"threshold {moved(a.threshold, b.threshold)}")
    return parts


# --- means and shares ------------------------------------------------------------------------------------------------


def _moves(a: Column | None, b: Column | None) -> str:
    """Reference → current of both runs: the means, or the share of the value that moved most in either."""
    sides = [(one, word) for one, word in ((a, "first"), (b, "second")) if one is not None]
    value = _value([one for one, _ in sides])
    told = [f"{word} {_move(one, value)}" for one, word in sides]
    what = "mean" if any(one.ref.mean is not None or one.cur.mean is not None for one, _ in sides) else value
    return one_line(f"{what}: {', '.join(told)}" if what else "unknown")


def _move(column: Column, value: str | None) -> str:
    ref, cur = column.ref, column.cur
    if ref.mean is not None and cur.mean is not None:
        return moved(ref.mean, cur.mean)
    if ref.mean is not None or cur.mean is not None:
        return f"{number(ref.mean)} → {number(cur.mean)}"
    if value is None or ref.shares is None or cur.shares is None:
        return "unknown"
    return share_moved(ref.shares.get(value, 0.0), cur.shares.get(value, 0.0))


def _value(columns: Sequence[Column]) -> str | None:
    """The category whose share moved most in any of these columns, so that both name the same one."""
    size: dict[str, float] = {}
    for column in columns:
        ref, cur = column.ref.shares or {}, column.cur.shares or {}
        for value in {*ref, *cur}:
            size[value] = max(size.get(value, 0.0), abs(cur.get(value, 0.0) - ref.get(value, 0.0)))
    return min(size, key=lambda value: (-size[value], value)) if size else None


# --- the head --------------------------------------------------------------------------------------------------------


def _sentence(a: Result, b: Result, rows: Sequence[Row]) -> str:
    verdicts = f"Both {a.decision}" if a.decision == b.decision else f"{a.decision} → {b.decision}"
    counts = {change: sum(row.change is change for row in rows) for change in Change}
    same = counts[Change.STILL_DRIFTED] + counts[Change.STILL_CALM]
    parts = [
        f"{counts[Change.NEWLY_DRIFTED]} newly drifted",
        f"{counts[Change.RECOVERED]} recovered",
        f"{same} the same",
    ]
    alone = counts[Change.ONLY_A] + counts[Change.ONLY_B]
    parts += [f"{counts[Change.UNKNOWN]} not comparable"] if counts[Change.UNKNOWN] else []
    parts += [f"{alone} in one run only"] if alone else []
    return one_line(f"{verdicts}: {_share_words(a, b)}; {_target_words(a, b)}; {', '.join(parts)}.")


def _target_words(a: Result, b: Result) -> str:
    before, after = a.target_drift.value, b.target_drift.value
    if before is None or after is None:
        return f"target drift {number(before)} → {number(after)}"
    return f"target drift {moved(before, after)}"


def _share_words(a: Result, b: Result) -> str:
    if a.share is None or b.share is None:
        return f"share {_share(a)} → {_share(b)}"
    texts = f"{a.share:.2f}", f"{b.share:.2f}"
    shares = " → ".join(texts) if texts[0] != texts[1] else moved(a.share, b.share)
    return f"share {shares} ({a.k} of {a.n} → {b.k} of {b.n} columns)"


def _share(result: Result) -> str:
    return "unknown" if result.share is None else f"{number(result.share)} ({result.k} of {result.n})"


def _notes(a: Result, b: Result, rows: Sequence[Row]) -> list[str]:
    """What makes the two runs less comparable than they look."""
    notes = []
    if a.system != b.system:
        notes.append(f"Two systems: {a.system} and {b.system}. Columns of one name need not mean the same.")
    if a.ref.key != b.ref.key:
        notes.append(f"The references differ: {a.ref.key} and {b.ref.key}.")
    changed = policy_changes(a.policy, b.policy)
    if changed:
        notes.append(f"The policies differ: {'; '.join(changed)}.")
    other = [row.name for row in rows if _methods_differ(row)]
    if other:
        named = ", ".join(other[:NAMED]) + (f" and {len(other) - NAMED} more" if len(other) > NAMED else "")
        notes.append(f"Different methods on {named}: their scores are not comparable, only whether they drifted.")
    notes += [
        f"{word} run has no column by column result: {result.reason or 'the reason was not kept.'}"
        for result, word in ((a, "The first"), (b, "The second"))
        if not result.columns
    ]
    return [one_line(note) for note in notes]


def _methods_differ(row: Row) -> bool:
    if row.a is None or row.b is None or row.a.method is None or row.b.method is None:
        return False
    return row.a.method != row.b.method


def policy_changes(a: Policy, b: Policy) -> list[str]:
    """What differs between two policies, each as text: `threshold of the share 0.3 → 0.05`."""
    return [
        f"{words} {_shown(getattr(a, name))} → {_shown(getattr(b, name))}"
        for name, words in _policy_fields()
        if getattr(a, name) != getattr(b, name)
    ]


def _policy_fields() -> list[tuple[str, str]]:
    # A field that a later policy brings is compared too, under its own name until it has a better one.
    names = [field.name for field in fields(Policy)]
    known = [name for name in POLICY_WORDS if name in names]
    return [(name, POLICY_WORDS.get(name, name)) for name in dict.fromkeys([*known, *names])]


def _shown(value: Any) -> str:
    if value is None or (isinstance(value, Mapping | tuple) and not value):
        return "none"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_shown(one)}" for name, one in value.items())
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
