"""Evidently's comparison against an independent one, its files old and new, and frames it cannot stand. One process."""

import functools
import json
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy import stats

from app.drift import compare, once
from app.drift.comparison import judge
from app.drift.decide import decide
from app.drift.gate import Names, check
from app.drift.result import Months, Result, Target, Verdict
from app.drift.sentence import decision_line, sentence
from app.drift.what_if import Change, recompute
from app.errors import DataError
from tests import drift_frames
from tests.drift_frames import FEATURES, calm, frame, pair, quiet_job

NAMES = Names("jan", "feb")
# The text of identifiers takes Evidently two seconds in small months: they are judged where a test names them.
policy = functools.partial(drift_frames.policy, identifier=None)


@pytest.fixture(scope="module", autouse=True)
def evidently():
    """Loaded once for the whole file."""
    with drift_frames.evidently_loaded():
        yield


def scored(ref, cur, used, features=FEATURES):
    gate = check(ref, cur, used, NAMES, features=features)
    assert gate.refusal == ""
    # As the worker does; that the report is the same to the last digit is proven of `once`.
    with once.once():
        return compare.compare(gate.reference, gate.current, gate.columns, used)


def wasserstein(ref, cur):
    return stats.wasserstein_distance(ref, cur) / max(ref.std(ddof=0), 0.001)


def jensen_shannon(ref, cur):
    values = sorted(set(ref) | set(cur))
    p, q = (np.array([np.mean(side == value) for value in values]) for side in (np.asarray(ref), np.asarray(cur)))
    m = (p + q) / 2
    parts = [np.sum(x[x > 0] * np.log2(x[x > 0] / m[x > 0])) for x in (p, q)]
    return np.sqrt(sum(parts) / 2)


def moved(rows=2000):
    ref, cur = calm(1, rows), calm(2, rows)
    cur["f0"] += 1.0
    cur["f3"] -= 2.0
    cur["f6"] = cur["f6"].replace("DSL", "Fiber")
    return ref, cur


def test_large_months_score_as_computed_by_hand():
    ref, cur = moved()
    found = {one.name: one for one in scored(ref, cur, policy()).columns}
    for name in FEATURES:
        numeric = name in [*FEATURES[:6], "f8"]
        expected = wasserstein(ref[name], cur[name]) if numeric else jensen_shannon(ref[name], cur[name])
        if name in FEATURES[:6]:
            assert found[name].score == pytest.approx(expected, abs=1e-12)
        elif not numeric:
            # Evidently smooths zero frequencies a little and takes its own logarithm.
            assert (found[name].score >= 0.1) == (expected * np.sqrt(np.log(2)) >= 0.1)
    assert {name for name, one in found.items() if one.drifted} == {"f0", "f3", "f6"}
    assert found["f0"].method == "Wasserstein distance (normed)"
    assert found["f6"].threshold == 0.1


def test_small_months_score_as_computed_by_hand():
    ref, cur = moved(300)
    found = {one.name: one for one in scored(ref, cur, policy()).columns}
    for name in FEATURES[:6]:
        assert found[name].score == pytest.approx(stats.ks_2samp(ref[name], cur[name]).pvalue, abs=1e-12)
    assert found["f0"].drifted
    assert found["f6"].drifted
    assert found["f0"].method == "K-S p_value"


def test_all_counts_label_and_identifier_and_features_alone_do_not():
    ref, cur = moved()
    for counted, n in (("all", 11), ("features", 9)):
        used = policy(columns=counted, identifier="user")
        both = scored(ref, cur, used)
        decision = decide(used, both.columns)
        reading = compare.read_scores(both.json)
        assert (decision.counted.k, decision.counted.n) == (3, n)
        assert reading.share == decision.share == 3 / n
        assert reading.drift_share == used.threshold
        assert (decision.features.n, decision.everything.n) == (9, 11)


@pytest.mark.parametrize("threshold", [0.0, 3 / 9, 0.34])
def test_the_report_beside_the_banner_says_the_same(threshold):
    ref, cur = moved()
    used = policy(threshold=threshold)
    both = scored(ref, cur, used)
    reading = compare.read_scores(both.json)
    report_says_drift = reading.share >= reading.drift_share
    assert (decide(used, both.columns).verdict is Verdict.RETRAINING_TRIGGERED) == report_says_drift
    assert ("Dataset Drift is detected" in both.html) or ("Dataset Drift is NOT detected" in both.html)
    assert ("Dataset Drift is NOT detected" in both.html) == (not report_says_drift)


def test_a_thousand_rows_of_reference_switch_the_method():
    for rows, method in ((1000, "K-S p_value"), (1001, "Wasserstein distance (normed)")):
        found = scored(calm(1, rows), calm(2, rows), policy(), FEATURES[:1]).columns
        assert found[0].method == method


@pytest.mark.parametrize("rows", [200, 2000])
def test_identifiers_that_are_all_new_are_counted_as_evidently_does(rows):
    used = policy(columns="all", identifier="user")
    ref, cur = calm(1, rows), calm(2, rows)
    cur["user"] = [f"newcustomer{index % 3}" for index in range(rows)]
    both = scored(ref, cur, used)
    assert next(one for one in both.columns if one.name == "user").drifted
    assert compare.read_scores(both.json).drifted == decide(used, both.columns).counted.k


# --- a policy per column ---------------------------------------------------------------------------------------------

OWN = {
    "methods": {"f0": "psi", "f1": "ks", "f3": "wasserstein", "f6": "chisquare", "label": "psi"},
    "thresholds": {"f0": 0.15, "f2": 0.05, "f3": 3.0, "label": 0.00001},
}


@pytest.mark.parametrize("counted", ["features", "all"])
def test_methods_and_thresholds_of_single_columns_are_those_of_the_report(tmp_path, counted):
    ref, cur = moved()
    # Not enough for Evidently's own threshold of 0.1, enough for 0.05.
    cur["f2"] += 0.16
    used = policy(columns=counted, identifier="user", **OWN)
    found = judge(quiet_job(), pair(tmp_path, FEATURES, used), frame(ref, "jan"), frame(cur, "feb"))
    by_name = {one.name: one for one in found.columns}
    assert {
        name: (by_name[name].method, by_name[name].threshold) for name in ("f0", "f1", "f2", "f3", "f6", "label")
    } == {
        "f0": ("PSI", 0.15),
        "f1": ("K-S p_value", 0.05),
        "f2": ("Wasserstein distance (normed)", 0.05),
        "f3": ("Wasserstein distance (normed)", 3.0),
        "f6": ("chi-square p_value", 0.05),
        "label": ("PSI", 0.00001),
    }
    # f3 moved by one of its standard deviations: far beyond Evidently's threshold, far below its own.
    drifted = {"f0", "f2", "f6"} | ({"label"} if counted == "all" else set())
    assert {one.name for one in found.columns if one.drifted} - {"label", "user"} == drifted - {"label"}
    assert by_name["label"].drifted
    reading = compare.read_scores(found.json)
    assert reading.drifted == found.decision.counted.k == len(drifted)
    assert reading.share == found.decision.share
    assert {name: one.value for name, one in reading.scores.items()} == {
        one.name: one.score for one in found.columns if one.name in reading.scores
    }


def test_the_page_of_the_report_shows_the_methods_and_flags_of_the_policy(tmp_path):
    ref, cur = moved()
    found = judge(quiet_job(), pair(tmp_path, FEATURES, policy(**OWN)), frame(ref, "jan"), frame(cur, "feb"))
    methods = dict(
        re.findall(r'"column_name": "(f\d)", "column_type": "[a-z]+", "stattest_name": "([^"]*)"', found.html)
    )
    assert methods == {one.name: one.method for one in found.columns if one.name in FEATURES}
    assert f'{{"value": "{found.decision.counted.k}", "label": "Drifted Columns"}}' in found.html
    assert found.html.count('"Detected"') == found.decision.counted.k


def test_columns_left_out_are_not_in_the_report_nor_counted_and_a_note_names_them(tmp_path):
    ref, cur = moved()
    used = policy(columns="all", identifier="user", left_out=("f0", "f1", "label", "user"))
    found = judge(quiet_job(), pair(tmp_path, FEATURES, used), frame(ref, "jan"), frame(cur, "feb"))
    assert [one.name for one in found.columns] == FEATURES[2:]
    assert (found.decision.counted.k, found.decision.counted.n) == (2, 7)
    assert set(compare.read_scores(found.json).scores) == set(FEATURES[2:])
    for name in ('"f0"', '"f1"', '"label"', '"user"'):
        assert name not in found.json
        assert name == '"label"' or name not in found.html
    assert any(note.startswith("Left out by the policy: f0, f1, label, user") for note in found.notes)


def test_names_that_no_column_has_are_notes_and_nothing_else(tmp_path):
    used = policy(
        identifier="user", left_out=("gone",), thresholds={"lost": 0.2}, methods={"missed": "psi", "user": "psi"}
    )
    found = judge(quiet_job(), pair(tmp_path, FEATURES, used), frame(calm(1), "jan"), frame(calm(8), "feb"))
    assert found.decision.verdict is Verdict.NO_ACTION
    said = " ".join(found.notes)
    for words in ("left_out names gone", "thresholds names lost", "methods names missed", "methods names user"):
        assert said.count(words) == 1, (words, found.notes)


def test_a_method_that_does_not_fit_leaves_its_column_out_with_the_reason_in_the_sentence(tmp_path):
    found, text, _ = outcome(
        tmp_path, calm(LEFT), calm(RIGHT), FEATURES, methods={"f6": "ks", "f0": "chisquare"}, comparable=0.5
    )
    assert found.decision.verdict is Verdict.NO_ACTION
    assert "not comparable: f0 (the method chosen for it (chisquare) judges text or categories, not numbers)" in text
    assert "f6 (the method chosen for it (ks) judges numbers, not text or categories)" in text
    few, text, _ = outcome(tmp_path, calm(LEFT), calm(RIGHT), ["f6", "f3"], methods={"f6": "ks"})
    assert few.decision.verdict is Verdict.UNDECIDED
    assert "(comparable): f6 (the method chosen for it (ks)" in text


def test_target_drift_triggers_by_its_rule_in_a_whole_run(tmp_path):
    ref, cur = calm(LEFT), calm(RIGHT)
    cur["label"] = 1
    found, text, _ = outcome(tmp_path, ref, cur, FEATURES, target_threshold=0.3)
    assert (found.decision.verdict, found.decision.by_target) == (Verdict.RETRAINING_TRIGGERED, True)
    assert text.startswith("target drift 0.")
    assert "triggers by itself; 0 of 9 columns drifted" in text
    assert found.html


# --- reading files ---------------------------------------------------------------------------------------------------

OLD = {
    "metrics": [
        {"metric_id": "DriftedColumnsCount(drift_share=0.3)", "value": {"count": 1.0, "share": 0.0625}},
        {"metric_id": "ValueDrift(column=churn_label)", "value": 0.02},
        {"metric_id": "ValueDrift(column=odd,name=x,method=K-S p_value,threshold=0.05)", "value": 0.5},
    ]
}


def test_a_file_of_an_older_evidently_is_read():
    reading = compare.read_scores(json.dumps(OLD))
    assert (reading.drifted, reading.share, reading.drift_share) == (1, 0.0625, 0.3)
    assert reading.scores["churn_label"].value == 0.02


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"metrics": []}', '{"metrics": [{"value": 1}]}', "[" * 4000, b"\xff"]
)
def test_a_file_without_a_share_is_an_error_and_never_zero(text):
    with pytest.raises(DataError):
        compare.read_scores(text)


# --- what Evidently cannot stand -------------------------------------------------------------------------------------


# Seeds between which no small test finds a difference (all p-values above 0.2).
LEFT, RIGHT = 1, 8


def spoiled(change):
    return change(calm(LEFT), calm(RIGHT))


def with_column(ref, cur, left, right, name="f0"):
    return ref.assign(**{name: left}), cur.assign(**{name: right})


ROWS = len(calm(1))
WORDS = ["a", "b"] * (ROWS // 2)
NAN = float("nan")
# What facts about Evidently say goes silently wrong or raises: what a person reads instead.
DEGENERATE = {
    "missing in current": (lambda r, c: (r, c.drop(columns="f0")), "missing in feb"),
    "missing in reference": (lambda r, c: (r.drop(columns="f0"), c), "missing in jan"),
    "all null in current": (lambda r, c: with_column(r, c, r.f0, NAN), "no value at all in feb"),
    "all null in reference": (lambda r, c: with_column(r, c, None, c.f0), "no value at all in jan"),
    "all null on both sides": (lambda r, c: with_column(r, c, None, NAN), "no value at all in jan"),
    "90 % null": (lambda r, c: with_column(r, c, r.f0, c.f0.where(np.arange(ROWS) < 20)), "only 20 of 200 rows"),
    "infinities": (lambda r, c: with_column(r, c, r.f0, c.f0.replace(c.f0[0], np.inf)), "1 infinite value in feb"),
    "numbers against text": (lambda r, c: with_column(r, c, r.f0, WORDS), "numbers in jan, text or categories in feb"),
    "whole numbers against text": (lambda r, c: with_column(r, c, range(ROWS), WORDS), "numbers in jan"),
    "mixed types": (lambda r, c: with_column(r, c, [*range(ROWS - 1), "x"], c.f0), "numbers and text mixed in jan"),
    "datetimes": (lambda r, c: with_column(r, c, *[pd.Timestamp("2024-01-01")] * 2), "a point in time"),
    "lists": (
        lambda r, c: with_column(r, c, pd.Series([[1]] * ROWS), pd.Series([[2]] * ROWS)),
        "neither numbers nor text",
    ),
    "duplicate column": (lambda r, c: (r, pd.concat([c, c[["f0"]]], axis=1)), "two columns of this name in feb"),
    "identifier": (lambda r, c: with_column(r, c, r.user, c.user + "x"), "an identifier"),
}
WHOLE = {
    "one row": (lambda r, c: (r, c.head(1)), "feb has 1 row"),
    "five rows": (lambda r, c: (r.head(5), c), "jan has 5 rows"),
    "an empty side": (lambda r, c: (r, c.head(0)), "feb has 0 rows"),
    "both empty": (lambda r, c: (r.head(0), c.head(0)), "jan has 0 rows and feb has 0 rows"),
    "no columns in common": (lambda r, c: (r, c.add_prefix("new_")), "only 0 of 9 columns can be compared"),
    "equal": (lambda r, _c: (r, r.copy()), "the same rows"),
    "every feature null": (lambda r, c: (r, c.assign(**dict.fromkeys(FEATURES, NAN))), "only 0 of 9 columns"),
}


def outcome(tmp_path, ref, cur, features, **changes):
    job = quiet_job()
    found = judge(job, pair(tmp_path, features, policy(**changes)), frame(ref, "jan"), frame(cur, "feb"))
    used = policy(**changes)
    text = sentence(used, found.decision, found.columns)
    kept = Result.from_json(saved(used, found, text).to_json())
    again = recompute(kept, Change())
    # Whatever came out, the stored run is decided again as it was.
    assert (again.decision, again.sentence) == (found.decision, text)
    return found, text, decision_line(used, found.decision, Target(reason="x"))


def saved(used, found, text):
    """What the worker keeps of a run."""
    decision = found.decision
    k, features = (None, None) if decision.share is None else (decision.counted.k, decision.features.share)
    months = (Months("jan", ROWS, ROWS), Months("feb", ROWS, ROWS))
    shares = {"share": decision.share, "k": k, "n": decision.counted.n, "share_features": features}
    rest = {
        "target_drift": found.target,
        "decision": decision.verdict,
        "reason": text,
        "line": "",
        "notes": found.notes,
    }
    return Result("run", "mine", *months, used, columns=found.columns, seconds=1.0, peak_bytes=None, **shares, **rest)


@pytest.mark.parametrize("case", DEGENERATE)
def test_a_sick_column_alone_is_undecided_and_never_a_share_of_zero(tmp_path, case):
    change, words = DEGENERATE[case]
    ref, cur = spoiled(change)
    found, text, line = outcome(tmp_path, ref, cur, ["f0"])
    assert found.decision.verdict is Verdict.UNDECIDED
    assert found.decision.share is None
    assert words in text
    assert "drift_share=NaN -> UNDECIDED" in line
    assert (found.html, found.json) == (None, None)


def test_sick_columns_among_healthy_ones_are_counted_in_n_and_each_named(tmp_path):
    ref, cur = calm(LEFT), calm(RIGHT)
    cur["f1"] = cur["f1"] + 3
    names = {}
    for index, (case, (change, words)) in enumerate(DEGENERATE.items()):
        if case == "duplicate column":
            continue
        names[f"sick{index}"] = words
        for frame_, changed in zip((ref, cur), spoiled(change), strict=True):
            if "f0" in changed.columns:
                frame_[f"sick{index}"] = changed["f0"]
    features = [*names, *FEATURES]
    # Even if every column that cannot be judged had drifted, 0.70 would not be reached.
    found, text, line = outcome(tmp_path, ref, cur, features, comparable=0.1, threshold=0.7, identifier="user")
    assert found.decision.verdict is Verdict.NO_ACTION
    assert (found.decision.counted.k, found.decision.counted.n) == (1, len(features))
    assert f"1 of {len(features)} columns drifted (with label and identifier 1 of {len(features) + 2}): f1 " in text
    assert "not comparable: sick0 (missing in feb)" in text
    assert "drift_share=0.05 -> NO_ACTION" in line
    reasons = {one.name: one.reason for one in found.columns if not one.comparable}
    assert list(reasons) == list(names)
    assert [name for name, words in names.items() if words not in reasons[name]] == []


@pytest.mark.parametrize("case", WHOLE)
def test_two_periods_that_cannot_be_compared_are_undecided_in_a_sentence(tmp_path, case):
    change, words = WHOLE[case]
    found, text, line = outcome(tmp_path, *spoiled(change), FEATURES)
    assert found.decision.verdict is Verdict.UNDECIDED
    assert words in text
    assert "\n" not in line
    assert found.html is None


# What Evidently raises on as it is, and what comes out after the gate.
NORMALISED = {
    "category": (pd.Categorical(WORDS), pd.Categorical(["a", "b", "b", "b"] * 50)),
    "string": (pd.array(WORDS, dtype="string"), pd.array(["a", "b", "b", "b"] * 50, dtype="string")),
    "Int64": (pd.array([1, 2, 3, None] * 50, dtype="Int64"), pd.array([7, 8, 9, 10] * 50, dtype="Int64")),
    "boolean": (pd.array([True, None, False, True] * 50, dtype="boolean"), pd.array([False] * ROWS, dtype="boolean")),
    "bool with nulls": ([True, None, True, True] * 50, [False, None, False, False] * 50),
    "one constant, then another": ([1.0] * ROWS, [2.0] * ROWS),
    "a category never seen": (["a"] * ROWS, ["b"] * ROWS),
    "text in other alphabets": (["é", "日本"] * 100, ["é", "😀", "😀", "😀"] * 50),
}


def test_what_can_be_normalised_is_compared(tmp_path):
    ref, cur = pd.DataFrame({"calm": calm(LEFT).f2}), pd.DataFrame({"calm": calm(RIGHT).f2})
    for case, (left, right) in NORMALISED.items():
        ref[case], cur[case] = left, right
    found, text, _ = outcome(tmp_path, ref, cur, list(ref.columns), label=None, identifier=None)
    assert {one.name: (one.comparable, one.drifted) for one in found.columns} == {
        "calm": (True, False),
        **dict.fromkeys(NORMALISED, (True, True)),
    }
    assert "8 of 9 columns drifted" in text


@pytest.mark.parametrize("rows", [200, 1500])
def test_a_constant_column_is_compared_and_has_not_drifted(tmp_path, rows):
    ref, cur = (calm(seed, rows).assign(f0=29.1) for seed in (1, 2))
    found, _, _ = outcome(tmp_path, ref, cur, ["f0", "f1"])
    assert (found.columns[0].comparable, found.columns[0].drifted) == (True, False)


@pytest.mark.parametrize("scale", [1e300, 1e-300, 1e18])
def test_extreme_numbers_end_in_a_decision_or_a_reason(tmp_path, scale):
    ref, cur = (calm(seed, 1500) for seed in (1, 2))
    found, text, _ = outcome(tmp_path, ref.assign(f0=ref.f0 * scale), cur.assign(f0=cur.f0 * scale), ["f0", "f1"])
    assert text
    assert found.columns[0].drifted is False or found.columns[0].reason


KINDS = st.sampled_from(["normal", "count", "word", "flag", "nulls", "text number", "date", "inf", "constant"])


def generated(kind, random, rows, shift):
    return {
        "normal": lambda: random.normal(shift, 1, rows),
        "count": lambda: random.poisson(3 + shift, rows),
        "word": lambda: random.choice(["a", "b", "c"], rows, p=[0.2, 0.3, 0.5] if shift else [0.5, 0.3, 0.2]),
        "flag": lambda: random.random(rows) < (0.8 if shift else 0.2),
        "nulls": lambda: np.where(random.random(rows) < 0.95, np.nan, 1.0),
        "text number": lambda: random.integers(0, 9, rows).astype(str),
        "date": lambda: pd.date_range("2024-01-01", periods=rows),
        "inf": lambda: np.where(random.random(rows) < 0.1, np.inf, 1.0),
        "constant": lambda: np.full(rows, 3.0),
    }[kind]()


@hypothesis_settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.tuples(KINDS, KINDS, st.booleans()), min_size=1, max_size=4), st.integers(0, 400), st.integers(0, 400)
)
def test_no_pair_of_frames_raises_or_contradicts_a_clear_case(tmp_path, kinds, left, right):
    random = np.random.default_rng(len(kinds) * 1000 + left)
    ref = pd.DataFrame({f"x{i}": generated(one, random, left, 0) for i, (one, _, _) in enumerate(kinds)})
    cur = pd.DataFrame({f"x{i}": generated(two, random, right, 3 * far) for i, (_, two, far) in enumerate(kinds)})
    used = policy(label=None, identifier=None)
    found = judge(quiet_job(), pair(tmp_path, list(ref.columns), used), frame(ref, "jan"), frame(cur, "feb"))
    assert sentence(used, found.decision, found.columns)
    for (one, two, far), column in zip(kinds, found.columns, strict=True):
        if column.comparable and column.score is not None and one == two == "normal" and min(left, right) >= 60:
            clear = stats.ks_2samp(ref[column.name], cur[column.name]).pvalue
            assert column.drifted == (clear < 0.05) if far or clear > 0.2 else True
