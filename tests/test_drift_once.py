"""Computed once and told: the report is the same to the last digit, and nothing is left behind in Evidently."""

import functools
import importlib
import re
import threading

import numpy as np
import pandas as pd
import pytest

from app.drift import compare, once, scoring
from app.drift.gate import Names, check
from tests.drift_frames import FEATURES, calm, evidently_loaded, policy

IDENTIFIERS = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}")
SEAMS = [*once._REUSED, *once._COMPARED, once._MEASURED]


@pytest.fixture(scope="module", autouse=True)
def warm():
    with evidently_loaded():
        yield


def same_ids(html):
    """The report with its random identifiers numbered in the order in which they come."""
    numbers: dict[str, str] = {}
    return IDENTIFIERS.sub(lambda found: numbers.setdefault(found[0], f"id-{len(numbers)}"), html)


def function(place):
    owner = importlib.import_module(place[0])
    for part in place[1].split("."):
        owner = getattr(owner, part)
    return owner


def moved(rows):
    """Two months with drift, gaps, a repeated column and few values."""
    reference, current = calm(1, rows), calm(2, rows)
    current["f0"] += 3
    current.loc[current.index % 5 == 0, "f1"] = np.nan
    reference.loc[reference.index % 7 == 0, "f6"] = None
    for frame in (reference, current):
        frame["twin"] = frame["f2"]
    return reference, current


def gated(rows, used):
    reference, current = moved(rows)
    return check(reference, current, used, Names("jan", "feb"), features=[*FEATURES, "twin"])


CASES = {
    "small months, by tests": (400, {"identifier": None}),
    "the text of identifiers": (120, {"columns": "all"}),
    "large months, by distances": (3000, {"columns": "all"}),
    "chosen methods and thresholds": (
        3000,
        {"identifier": None, "methods": {"f0": "psi", "f1": "ks"}, "thresholds": {"f2": 0.3}},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_report_the_scores_and_the_json_are_those_of_evidently_alone(case):
    rows, more = CASES[case]
    used = policy(**more)
    gate = gated(rows, used)
    alone = compare.compare(gate.reference, gate.current, gate.columns, used)
    with once.once():
        found = compare.compare(gate.reference, gate.current, gate.columns, used)
    assert found.columns == alone.columns
    assert same_ids(found.json) == same_ids(alone.json)
    assert same_ids(found.html) == same_ids(alone.html)
    assert any(column.drifted for column in found.columns)


def counted(monkeypatch):
    """Counts the calls that reach Evidently's own drift tests and pictures."""
    calls: dict[str, int] = {}
    for module, path in once._REUSED:
        owner = importlib.import_module(module)
        *above, name = path.split(".")
        for part in above:
            owner = getattr(owner, part)

        monkeypatch.setattr(owner, name, counting(getattr(owner, name), path, calls))
    return calls


def counting(original, path, calls):
    @functools.wraps(original)
    def call(*arguments, **named):
        calls[path] = calls.get(path, 0) + 1
        return original(*arguments, **named)

    return call


def test_each_column_is_tested_and_drawn_once(monkeypatch):
    used = policy()
    gate = gated(3000, used)
    calls = counted(monkeypatch)
    compare.compare(gate.reference, gate.current, gate.columns, used)
    often = dict(calls)
    calls.clear()
    with once.once():
        compare.compare(gate.reference, gate.current, gate.columns, used)
    columns = sum(column.comparable for column in gate.columns)
    assert often["StatTest.__call__"] > 2 * columns
    assert calls["StatTest.__call__"] <= columns
    assert calls["plot_distr_with_perc_button"] < often["plot_distr_with_perc_button"] / 3


def test_every_column_is_told_in_both_stages_and_once():
    used = policy(columns="all")
    gate = gated(120, used)
    told, answers = [], once.Answers()
    scored = scoring.scored(gate.columns, gate.reference, gate.current, used, answers=answers)
    with once.once(lambda stage, done: told.append((stage, done)), answers):
        compare.reported(gate.reference, gate.current, scored, used)
    columns = sum(column.comparable for column in gate.columns)
    described = [done for stage, done in told if stage == once.DESCRIBING]
    assert (columns, [stage for stage, _ in told]) == (12, sorted((stage for stage, _ in told), reverse=True))
    # Of an identifier nothing is described but that it is text.
    assert described == list(range(1, columns))
    assert told[len(described) :] == [(once.COMPARING, n + 1) for n in range(columns)]


def test_a_listener_that_fails_is_heard_at_the_end_and_evidently_is_as_it_was():
    before = [function(place) for place in SEAMS]
    told, used = [], policy(identifier=None)

    def full(stage, done):
        told.append((stage, done))
        raise OSError(28, "No space left on device")

    gate = gated(400, used)
    with pytest.raises(OSError, match="No space left"), once.once(full):
        found = compare.compare(gate.reference, gate.current, gate.columns, used)
    assert told == [(once.DESCRIBING, 1)]
    assert all(column.score is not None for column in found.columns if column.comparable)
    assert [function(place) for place in SEAMS] == before
    with pytest.raises(ZeroDivisionError), once.once():
        _ = 1 // 0
    assert [function(place) for place in SEAMS] == before


@pytest.mark.parametrize("gone", SEAMS, ids=lambda place: place[1])
def test_without_one_of_its_functions_everything_else_works(monkeypatch, gone):
    """As in another version of Evidently, where that function has another name."""
    changed = (gone[0], f"{gone[1]}_of_another_version")
    monkeypatch.setattr(once, "_REUSED", tuple(changed if one == gone else one for one in once._REUSED))
    monkeypatch.setattr(once, "_COMPARED", tuple(changed if one == gone else one for one in once._COMPARED))
    monkeypatch.setattr(once, "_MEASURED", changed if gone == once._MEASURED else once._MEASURED)
    frame = pd.DataFrame({"a": np.arange(80) % 9 + 0.5, "b": ["x", "y"] * 40})
    with once.once():
        found = compare.compare(frame, frame.iloc[::2], columns_of("a", "b"), policy(label=None, identifier=None))
    assert all(column.score is not None for column in found.columns)


def columns_of(number, category):
    from app.drift.result import Column

    return [Column(number, "number", comparable=True), Column(category, "category", comparable=True)]


def test_a_module_that_is_gone_is_no_failure(monkeypatch):
    monkeypatch.setattr(once, "_REUSED", (("evidently.nowhere", "anything"),))
    with once.once():
        pass


def test_columns_of_one_length_and_name_are_told_apart_by_their_values():
    answers = once.Answers()
    call = once._reusing(lambda values: float(values.sum()), answers, threading.get_ident())
    first, second = pd.Series([1.0, 2.0], name="x"), pd.Series([1.0, 2.5], name="x")
    assert [call(first), call(second), call(first.copy()), call(pd.Series([1.0, np.nan], name="x"))] == [
        3.0,
        3.5,
        3.0,
        1,
    ]


def test_a_second_thread_computes_for_itself():
    calls = []
    call = once._reusing(lambda value: calls.append(value) or value, once.Answers(), threading.get_ident())
    assert [call(1), call(1)] == [1, 1]
    thread = threading.Thread(target=lambda: call(1))
    thread.start()
    thread.join()
    assert calls == [1, 1]
    with once.once():
        nested = [function(place) for place in SEAMS]
        with once.once():
            assert [function(place) for place in SEAMS] == nested
        assert [function(place) for place in SEAMS] == nested
