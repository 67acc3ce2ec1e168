"""Within one report Evidently computes the same things again and again: here they are computed once, and reported.

The drift test of a column runs three times, its distribution nine times, its picture eight times. While `once` is in
force a call with equal arguments gives the first answer, and equal means value by value, so that the report stays the
same. Where another version of Evidently has no such function, that part is computed as often as Evidently likes.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any, Final

import numpy as np
import pandas as pd

from app.words.language import word

# Which of the two a column has been through, and how many columns have.
Told = Callable[[str, int], None]
DESCRIBING: Final = word("describing")
COMPARING: Final = word("comparing")

_DRIFT: Final = "evidently.legacy.calculations.data_drift"
_TABLE: Final = "evidently.legacy.metrics.data_drift.data_drift_table"
_COLUMNS: Final = "evidently.metrics.column_statistics"
# Module and name of what is computed once.
_REUSED: Final = (
    ("evidently.legacy.calculations.stattests.registry", "StatTest.__call__"),
    (_DRIFT, "get_distribution_for_column"),
    (_COLUMNS, "get_distribution_for_column"),
    (_COLUMNS, "plot_distr_with_perc_button"),
    (_TABLE, "plot_distr_with_perc_button"),
)
# Module and name of what compares one column, named by `column_name`; and of what computes any metric.
_COMPARED: Final = ((_DRIFT, "get_one_column_drift"), (_COLUMNS, "get_one_column_drift"))
_MEASURED: Final = ("evidently.core.report", "Context.calculate_metric")
# One report at a time has its calls answered from memory: the functions are those of the whole process.
_IN_FORCE: Final = threading.Lock()


@contextmanager
def once(listener: Told | None = None, answers: Answers | None = None) -> Iterator[None]:
    """Evidently's reports made inside, by this thread, compute each column once; `listener` hears of every column.

    What is in `answers` already is not computed again. What `listener` raises is raised at the end.
    """
    if not _IN_FORCE.acquire(blocking=False):
        # Another thread makes a report: this one is made as Evidently makes it.
        yield
        return
    undo: list[tuple[Any, str, Any]] = []
    try:
        mine, answers = threading.get_ident(), answers or Answers()
        counter = _Counter(listener)
        for place in _REUSED:
            _replace(place, lambda original: _reusing(original, answers, mine), undo)
        for place in _COMPARED:
            _replace(place, lambda original: _telling(original, counter.compared, mine), undo)
        _replace(_MEASURED, lambda original: _telling(original, counter.measured, mine), undo)
        yield
        if counter.failure is not None:
            raise counter.failure
    finally:
        for owner, name, original in reversed(undo):
            setattr(owner, name, original)
        _IN_FORCE.release()


def _replace(
    place: tuple[str, str],
    wrapped: Callable[[Callable[..., Any]], Callable[..., Any]],
    undo: list[tuple[Any, str, Any]],
) -> None:
    """Put a function of Evidently's aside for a while; nothing happens where there is none of that name."""
    module, path = place
    try:
        owner: Any = importlib.import_module(module)
        *above, name = path.split(".")
        for part in above:
            owner = getattr(owner, part)
        original = getattr(owner, name)
    except (ImportError, AttributeError):
        return
    undo.append((owner, name, original))
    setattr(owner, name, wrapped(original))


def _telling(original: Callable[..., Any], tell: Callable[..., None], mine: int) -> Callable[..., Any]:
    @functools.wraps(original)
    def call(*arguments: Any, **named: Any) -> Any:
        answer = original(*arguments, **named)
        if threading.get_ident() == mine:
            tell(*arguments, **named)
        return answer

    return call


class _Counter:
    """Columns that have been described, and compared."""

    def __init__(self, listener: Told | None) -> None:
        self._listener = listener
        # Raised when the reports are made: inside Evidently it would pass for a failure of a column.
        self.failure: Exception | None = None
        self._seen: dict[str, set[str]] = {DESCRIBING: set(), COMPARING: set()}

    def compared(self, *_arguments: Any, column_name: str = "", **_named: Any) -> None:
        self._count(COMPARING, column_name)

    def measured(self, *arguments: Any, **_named: Any) -> None:
        # Drift is counted where it is computed; this is what is reported of a single column besides.
        metric = getattr(arguments[1], "metric", None) if len(arguments) > 1 else None
        if type(metric).__name__ != "ValueDrift":
            self._count(DESCRIBING, str(getattr(metric, "column", "") or ""))

    def _count(self, stage: str, column: str) -> None:
        seen = self._seen[stage]
        if column and column not in seen:
            seen.add(column)
            if self._listener is not None and self.failure is None:
                try:
                    self._listener(stage, len(seen))
                except Exception as error:  # noqa: BLE001 - raised by `once`
                    self.failure = error


# --- equal calls -----------------------------------------------------------------------------------------------------


class _Foreign(Exception):
    """An argument that is unknown equal or different: the call is made."""


class Answers:
    """Answers by what was asked; columns are held as they are (most are views of the two frames) and compared whole."""

    def __init__(self) -> None:
        self._by_key: dict[tuple[Any, ...], list[tuple[list[pd.Series], Any]]] = {}

    def find(self, key: tuple[Any, ...], columns: list[pd.Series]) -> tuple[Any] | None:
        """The answer to an equal call, in its own tuple, for an answer may be None."""
        for asked, answer in self._by_key.get(key, ()):
            if all(one is other or one.equals(other) for one, other in zip(asked, columns, strict=True)):
                return (answer,)
        return None

    def keep(self, key: tuple[Any, ...], columns: list[pd.Series], answer: Any) -> None:
        """Remember an answer."""
        self._by_key.setdefault(key, []).append((columns, answer))


def _reusing(original: Callable[..., Any], answers: Answers, mine: int) -> Callable[..., Any]:
    signature = inspect.signature(original)
    called = getattr(original, "__qualname__", repr(original))

    @functools.wraps(original)
    def call(*arguments: Any, **named: Any) -> Any:
        if threading.get_ident() != mine:
            return original(*arguments, **named)
        columns: list[pd.Series] = []
        try:
            bound = signature.bind(*arguments, **named)
            bound.apply_defaults()
            key = (called, *(_token(value, columns) for value in bound.arguments.values()))
        except (_Foreign, TypeError):
            return original(*arguments, **named)
        earlier = answers.find(key, columns)
        if earlier is not None:
            return earlier[0]
        answer = original(*arguments, **named)
        answers.keep(key, columns, answer)
        return answer

    return call


def _token(value: Any, columns: list[pd.Series]) -> Any:
    """What represents an argument in the key; a column is put into `columns`, to be compared value by value."""
    if value is None or isinstance(value, str | int | float | bool | Enum | type):
        return type(value).__name__, value
    if isinstance(value, pd.Series):
        columns.append(value)
        return "column", str(value.name), str(value.dtype), len(value)
    if isinstance(value, np.ndarray):
        return "array", str(value.dtype), value.shape, value.tobytes()
    if isinstance(value, list | tuple | dict):
        parts = value.items() if isinstance(value, dict) else value
        return type(value).__name__, tuple(_token(part, columns) for part in parts)
    name = type(value).__name__
    if name == "StatTest":
        # One object for each method, registered for good.
        return name, id(value)
    if name in ("HistogramData", "ColorOptions"):
        return name, tuple((part, _token(inner, columns)) for part, inner in sorted(vars(value).items()))
    raise _Foreign(name)
