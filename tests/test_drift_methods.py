"""The table of methods against Evidently itself: names, defaults, the way each score points, and what each can judge."""

from typing import get_args

import numpy as np
import pandas as pd
import pytest

from app.config.drift import Method as Chosen
from app.drift import compare, evidently_json, evidently_run, scoring
from app.drift.methods import BOTH, METHODS, TEXT, method_of
from app.drift.result import Column
from tests.drift_frames import policy

ROWS = 300
CHOOSABLE = [one for one in METHODS if one.kinds != TEXT]
CASES = [(one, kind) for one in CHOOSABLE for kind in sorted(one.kinds)]


def months(kind, far):
    random = np.random.default_rng(5)
    if kind == "number":
        left = random.normal(0, 1, ROWS)
        return left, left + (0.9 if far else 0.01)
    left = np.array(["a", "b"] * (ROWS // 2))
    right = left.copy()
    right[: ROWS // 2 if far else 4] = "a"
    return left, right


def flagged(method, kind, far, threshold=None):
    """Score, threshold and Evidently's own flag of one column under this method."""
    from evidently.metrics import ValueDrift

    left, right = (pd.DataFrame({"x": side}) for side in months(kind, far))
    asked = [ValueDrift(column="x", method=method.name, threshold=threshold)]
    snapshot = evidently_run.run(left, right, {"x": kind}, asked, tests=True)
    found = evidently_json.metric_scores(snapshot.dict()["metrics"])["x"]
    return found.value, found.threshold, snapshot.dict()["tests"][0]["status"].value == "FAIL"


def test_the_table_has_every_method_a_system_file_may_name():
    assert {one.name for one in CHOOSABLE} == set(get_args(Chosen))


def test_the_table_says_what_evidently_registers():
    from evidently.legacy.calculations.stattests import registry

    registered = registry._registered_stat_tests
    kinds = {"num": "number", "cat": "category", "text": "text"}
    for one in METHODS:
        found = registered[one.name]
        assert {kinds[kind.value] for kind in found} == one.kinds, one.name
        assert {test.display_name for test in found.values()} == {one.shown}


@pytest.mark.slow
@pytest.mark.parametrize(("method", "kind"), CASES, ids=[f"{one.name}-{kind}" for one, kind in CASES])
def test_the_flag_is_evidentlys_own_far_near_and_at_the_threshold_itself(method, kind):
    seen = set()
    for far in (False, True):
        score, threshold, flag = flagged(method, kind, far)
        assert method.drifted(score, threshold) is flag
        seen.add(flag)
    assert seen == {False, True}
    score, _, _ = flagged(method, kind, far=False)
    _, threshold, flag = flagged(method, kind, far=False, threshold=score)
    assert threshold == score
    assert (method.drifted(score, threshold), method.strict) == (flag, not flag)
    for step, drifted in ((-np.inf, not method.p_value), (np.inf, method.p_value)):
        beside = float(np.nextafter(score, step))
        assert flagged(method, kind, far=False, threshold=beside)[2] is method.drifted(score, beside) is drifted


@pytest.mark.parametrize("method", METHODS, ids=lambda one: one.name)
def test_a_method_is_found_by_either_of_its_names(method):
    assert method_of(method.name) is method_of(method.shown) is method_of(method.shown.upper()) is method


def test_a_method_nobody_knows_counts_as_a_distance():
    found = method_of("their own")
    assert (found.words, found.kinds, found.p_value, found.sign) == ("their own", BOTH, False, "≥")


@pytest.mark.parametrize(
    ("name", "kind", "left", "right", "words"),
    [
        ("ks", "category", ["a", "b"], ["b", "a"], "judges numbers, not text or categories"),
        ("chisquare", "number", [1, 2], [1, 3], "judges text or categories, not numbers"),
        ("z", "category", ["a", "b", "c"], ["a", "a", "b"], "needs two values"),
        ("fisher_exact", "category", ["a", "b", "c"], ["a", "a", "b"], "needs two values and equally many rows"),
        ("fisher_exact", "category", ["a", "b", "a"], ["a", "b"], "needs two values and equally many rows"),
        ("g_test", "category", ["a", "b", "a"], ["a", "b"], "needs equally many rows on both sides"),
        ("hellinger", "number", [0, 1, 0], [0, 1, 1], "needs values that fall into more than one bin"),
        ("anderson", "number", [1, 1], [1, 1], "needs more than one value"),
        ("es", "number", [1] * 9 + [5], [1] * 9 + [7], "needs values that differ in their middle half"),
    ],
)
def test_a_method_that_cannot_judge_a_column_is_a_reason_and_the_others_are_compared(name, kind, left, right, words):
    copies = 30
    frames = []
    for seed, values in ((1, left), (2, right)):
        rows = copies * len(values)
        calm = np.random.default_rng(seed).normal(0, 1, rows)
        frames.append(pd.DataFrame({"sick": list(values) * copies, "calm": calm}))
    columns = [Column("sick", kind, comparable=True), Column("calm", "number", comparable=True)]
    found = compare.compare(*frames, columns, policy(methods={"sick": name}))
    sick, calm = found.columns
    assert (sick.comparable, sick.score, sick.drifted) == (False, None, None)
    assert f"the method chosen for it ({name})" in sick.reason
    assert words in sick.reason
    assert calm.drifted is not None
    assert set(compare.read_scores(found.json).scores) == {"calm"}


def test_a_method_that_raises_on_values_nobody_foresaw_is_a_reason_with_its_words(monkeypatch):
    monkeypatch.setattr(scoring, "fits", lambda *_: True)
    frames = [pd.DataFrame({"sick": ["a", "b"] * rows, "calm": np.arange(2 * rows)}) for rows in (50, 60)]
    columns = [Column("sick", "category", comparable=True), Column("calm", "number", comparable=True)]
    sick, calm = compare.compare(*frames, columns, policy(methods={"sick": "g_test"})).columns
    assert "the method chosen for it (g_test) fails on its values: " in sick.reason
    assert calm.drifted is not None


def test_nothing_left_to_compare_is_no_report_and_no_error():
    frames = [pd.DataFrame({"sick": ["a", "b"] * rows}) for rows in (50, 60)]
    found = compare.compare(*frames, [Column("sick", "category", comparable=True)], policy(methods={"sick": "g_test"}))
    assert (found.html, found.json, found.columns[0].comparable) == ("", "", False)
