"""Two runs side by side: what turned round, what cannot be compared as numbers, columns of one run only, CSV."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as some

from app.charts.export import versus_csv
from app.drift.result import Column, Policy, Result, Side, Target, Verdict
from app.drift.versus import Change, policy_changes, versus
from tests.test_drift_result import result


def column(name: str, score: float | None = 0.05, **changes) -> Column:
    known = {
        "name": name,
        "kind": "number",
        "method": "Wasserstein distance (normed)",
        "score": score,
        "threshold": 0.1,
        "drifted": None if score is None else score >= 0.1,
        "comparable": score is not None,
        "ref": Side(mean=2.3, nulls=0, infinite=0),
        "cur": Side(mean=2.6, nulls=0, infinite=0),
    }
    return Column(**known | changes)


def run(*columns: Column, **changes) -> Result:
    k = sum(one.drifted is True for one in columns)
    n = len(columns)
    known = {"columns": columns, "k": k, "n": n, "share": k / n if n else None}
    return result(**known | changes)


def row(a: Column | None, b: Column | None):
    one = versus(run(*([a] if a else [])), run(*([b] if b else [])))
    assert len(one.rows) == 1
    return one.rows[0]


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        (0.05, 0.21, Change.NEWLY_DRIFTED),
        (0.21, 0.05, Change.RECOVERED),
        (0.21, 0.3, Change.STILL_DRIFTED),
        (0.02, 0.05, Change.STILL_CALM),
        (None, 0.05, Change.UNKNOWN),
        (0.05, None, Change.UNKNOWN),
        (None, None, Change.UNKNOWN),
    ],
)
def test_what_became_of_a_column_is_one_of_a_few_words(before, after, change):
    found = row(column("x", before), column("x", after))
    assert found.change is change
    assert found.words.startswith(str(change))
    if before is not None and after is not None:
        assert found.score_moved == after - before
    else:
        assert found.score_moved is None
        assert "unknown" in found.scores


def test_a_column_of_one_run_only_is_listed_and_says_so():
    two = versus(run(column("x"), column("gone")), run(column("x"), column("new")))
    by_name = {one.name: one for one in two.rows}
    assert by_name["gone"].change is Change.ONLY_A
    assert by_name["gone"].b is None
    assert by_name["gone"].scores == "0.05 → no such column"
    assert by_name["new"].change is Change.ONLY_B
    assert "2 in one run only" in two.sentence


def test_a_column_left_out_by_the_other_policy_names_that_as_the_reason():
    left = replace(result().policy, left_out=("gone",))
    two = versus(run(column("gone")), run(column("x"), policy=left))
    assert "left out by the policy of the other run" in next(one for one in two.rows if one.name == "gone").words
    assert "columns left out none → gone" in " ".join(two.notes)


def test_scores_of_different_methods_are_not_compared_as_numbers():
    found = row(column("x", 0.05), column("x", 0.21, method="K-S p_value", drifted=False))
    assert found.score_moved is None
    assert found.scores == "0.05 | 0.21"
    assert "different methods (normed Wasserstein and Kolmogorov-Smirnov p-value)" in found.words
    two = versus(run(column("x")), run(column("x", method="K-S p_value")))
    assert any(note.startswith("Different methods on x:") for note in two.notes)


def test_two_unknown_methods_are_not_taken_for_one():
    found = row(column("x", 0.05, method=None), column("x", 0.21, method=None))
    assert found.score_moved is None
    assert "different methods (unknown and unknown)" in found.words


def test_a_threshold_that_moved_is_said_because_it_turns_a_column_round_by_itself():
    found = row(column("x", 0.15), column("x", 0.15, threshold=0.2, drifted=False))
    assert found.change is Change.RECOVERED
    assert "threshold 0.1 → 0.2" in found.words


def test_the_reason_of_a_column_that_was_not_compared_is_kept():
    found = row(column("x", None, reason="all null in feb"), column("x", None))
    assert "first: all null in feb" in found.words
    assert "second: no reason was kept" in found.words


def test_label_and_identifier_that_one_policy_does_not_count_are_marked():
    policy = Policy("features", 0.3, 30, 0.8, "churn", "user")
    two = versus(run(column("churn"), policy=policy), run(column("churn"), policy=replace(policy, columns="all")))
    assert "not counted in the first" in two.rows[0].words
    assert "not counted in the second" not in two.rows[0].words


def test_both_runs_tell_of_the_same_category():
    first = column("plan", ref=Side(shares={"a": 0.5, "b": 0.5}), cur=Side(shares={"a": 0.6, "b": 0.4}))
    second = column("plan", ref=Side(shares={"a": 0.5, "b": 0.5}), cur=Side(shares={"a": 0.1, "b": 0.5, "c": 0.4}))
    assert row(first, second).moves == "a: first 50.0% → 60.0%, second 50.0% → 10.0%"
    assert row(column("plan"), column("plan", cur=Side(mean=3.1))).moves == "mean: first 2.3 → 2.6, second 2.3 → 3.1"
    assert row(column("p", ref=Side(), cur=Side()), column("p", ref=Side(), cur=Side())).moves == "unknown"


def test_the_head_compares_share_target_drift_and_decision():
    a = run(column("x"), column("y"), target_drift=Target(0.02, 0.26, 0.24))
    b = run(
        column("x", 0.3),
        column("y"),
        target_drift=Target(0.05, 0.26, 0.31),
        decision=Verdict.RETRAINING_TRIGGERED,
    )
    two = versus(a, b)
    assert two.sentence == (
        "NO_ACTION → RETRAINING_TRIGGERED: share 0.00 → 0.50 (0 of 2 → 1 of 2 columns); target drift 0.02 → 0.05; "
        "1 newly drifted, 0 recovered, 1 the same."
    )
    assert [one.name for one in two.rows] == ["x", "y"]


def test_an_unknown_share_stays_unknown_and_its_reason_is_told():
    undecided = run(share=None, k=None, n=0, decision=Verdict.UNDECIDED, reason="feb has 3 rows.")
    two = versus(run(column("x")), undecided)
    assert "share 0 (0 of 1) → unknown; target drift unknown → unknown" in two.sentence
    assert any("The second run has no column by column result: feb has 3 rows." in note for note in two.notes)


def test_policies_months_and_systems_that_differ_are_said():
    a, b = run(column("x")), run(column("x"))
    other = replace(b.policy, threshold=0.05, columns="features", thresholds={"x": 0.2}, target_threshold=0.1)
    b = replace(b, system="yours", ref=replace(b.ref, key="2023-12-31"), policy=other)
    said = " ".join(versus(a, b).notes)
    for words in (
        "Two systems: mine and yours",
        "The references differ: 2024-01-31 and 2023-12-31",
        "threshold of the share 0.3 → 0.05",
        "columns counted all → features",
        "thresholds of single columns none → x 0.2",
        "threshold of target drift none → 0.1",
    ):
        assert words in said
    assert versus(a, a).notes == ()
    assert policy_changes(a.policy, a.policy) == []


def test_a_name_that_stands_twice_in_a_run_loses_neither():
    two = versus(run(column("x", 0.05), column("x", 0.2)), run(column("x", 0.3)))
    assert [one.change for one in two.rows] == [Change.NEWLY_DRIFTED, Change.ONLY_A]


names = some.text(some.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
scores = some.none() | some.floats(0, 1)
columns = some.lists(
    some.builds(column, names, scores, method=some.sampled_from(["K-S p_value", "Jensen-Shannon distance", None])),
    max_size=6,
)


@given(columns, columns)
def test_no_column_is_lost_and_turning_the_pair_round_turns_every_word_round(left, right):
    forth, back = versus(run(*left), run(*right)), versus(run(*right), run(*left))
    assert {one.name for one in forth.rows} == {one.name for one in (*left, *right)}
    assert sum(one.a is not None for one in forth.rows) == len(left)
    assert sum(one.b is not None for one in forth.rows) == len(right)
    assert forth.count(Change.NEWLY_DRIFTED, Change.ONLY_A) == back.count(Change.RECOVERED, Change.ONLY_B)
    assert forth.count(Change.STILL_CALM, Change.UNKNOWN) == back.count(Change.STILL_CALM, Change.UNKNOWN)
    for one in forth.rows:
        assert one.score_moved is None or math.isfinite(one.score_moved)
        assert one.words.isprintable()
        assert one.moves.isprintable()
    assert len(list(csv.reader(io.StringIO(versus_csv(forth).decode())))) == len(forth.rows) + 1


def test_the_csv_has_one_row_per_column_unrounded_and_no_formula():
    evil = '=HYPERLINK("http://x","y")'
    third = 1 / 3
    two = versus(run(column(evil, third)), run(column(evil, None, reason="@cmd"), column("-1+2")))
    rows = list(csv.DictReader(io.StringIO(versus_csv(two).decode())))
    assert len(rows) == 2
    told = next(one for one in rows if "HYPERLINK" in one["column"])
    assert told["column"] == "'" + evil
    assert float(told["first score"]) == third
    assert told["second score"] == "unknown"
    assert told["second reason"] == "'@cmd"
    assert told["first drifted"] == "yes"
    assert told["second drifted"] == "not comparable"
    alone = next(one for one in rows if one["column"] == "'-1+2")
    assert alone["first score"] == "no such column"
    assert not any(cell.startswith(("=", "+", "-", "@")) for one in rows for cell in one.values())


def test_a_negative_difference_is_a_number_in_the_csv():
    rows = list(csv.DictReader(io.StringIO(versus_csv(versus(run(column("x", 0.5)), run(column("x", 0.25)))).decode())))
    assert float(rows[0]["score second - first"]) == -0.25
