"""From columns and a policy to a decision, its sentence and its two lines."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.drift.decide import (
    countings_differ,
    decide,
    decision_line,
    is_drifted,
    moved,
    nearness,
    number,
    one_line,
    sentence,
    target_line,
)
from app.drift.result import Column, Policy, Side, Target, Verdict

W1 = "Wasserstein distance (normed)"
KS = "K-S p_value"


def column(name, score=0.0, *, comparable=True, reason="", method=W1, threshold=0.1, **more):
    if not comparable:
        return Column(name, "number", reason=reason or "missing in feb")
    drifted = is_drifted(method, score, threshold)
    return Column(name, "number", method, score, threshold, drifted, comparable=True, **more)


def columns(drifted, calm, missing=0, *, extra=()):
    found = [column(f"d{index}", 0.5) for index in range(drifted)] + [column(f"c{index}") for index in range(calm)]
    return (*found, *(column(f"m{index}", comparable=False) for index in range(missing)), *extra)


def policy(counted="features", threshold=0.3, **more):
    return Policy(counted, threshold, 30, 0.8, **more)


def test_the_share_at_the_threshold_triggers_and_one_column_less_does_not():
    assert decide(policy(), columns(3, 7)).verdict is Verdict.RETRAINING_TRIGGERED
    assert decide(policy(), columns(2, 8)).verdict is Verdict.NO_ACTION


def test_the_unrounded_share_decides_although_both_print_as_030():
    found = columns(297, 703)
    decision = decide(policy(), found)
    assert decision.share == 0.297
    assert decision_line(policy(), decision, Target()).endswith("drift_share=0.30 < 0.30 (target_drift=NaN)")


def test_a_threshold_of_zero_always_triggers():
    assert decide(policy(threshold=0.0), columns(0, 5)).verdict is Verdict.RETRAINING_TRIGGERED


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ((), "no column to compare"),
        (columns(0, 0, 3), "only 0 of 3 columns can be compared"),
        (columns(2, 5, 3), "only 7 of 10 columns can be compared and 80% are needed"),
    ],
)
def test_too_few_comparable_columns_leave_it_undecided_with_the_reason(found, words):
    decision = decide(policy(), found)
    assert decision.verdict is Verdict.UNDECIDED
    assert words in decision.reason
    assert decision.share is None


def test_a_refusal_of_the_gate_is_the_reason():
    decision = decide(policy(), columns(5, 0), "feb has 3 rows")
    assert (decision.verdict, decision.reason) == (Verdict.UNDECIDED, "feb has 3 rows")


def test_columns_that_cannot_be_compared_count_in_n():
    decision = decide(policy(), columns(1, 8, 1))
    assert (decision.counted.k, decision.counted.n, decision.counted.comparable) == (1, 10, 9)
    assert decision.share == 0.1


def test_when_the_report_among_comparable_columns_would_say_otherwise_nothing_is_decided():
    # 3 of 11 is 0.27, 3 of the 9 comparable is 0.33: the report beside the banner would say drift.
    decision = decide(policy(), columns(3, 6, 2))
    assert decision.verdict is Verdict.UNDECIDED
    assert "3 of 9 comparable columns drifted" in decision.reason


def test_both_countings_are_kept_and_a_different_decision_is_said():
    used = policy("all", label="label", identifier="user")
    found = columns(4, 9, extra=(column("label"), column("user")))
    decision = decide(used, found)
    assert decision.verdict is Verdict.NO_ACTION
    assert (decision.features.k, decision.features.n) == (4, 13)
    assert countings_differ(used, decision)
    assert "(features alone 4 of 13, which decides differently)" in sentence(used, decision, found)


def test_the_features_policy_leaves_label_and_identifier_out():
    used = policy(label="label", identifier="user")
    decision = decide(used, columns(0, 3, extra=(column("label", 0.9), column("user", 0.9))))
    assert (decision.counted.k, decision.counted.n) == (0, 3)
    assert (decision.everything.k, decision.everything.n) == (2, 5)


def test_the_sentence_names_drifted_columns_sizes_and_the_nearest_miss():
    drifted = column("rebuffer_events_7d", 0.20504, ref=Side(mean=2.3), cur=Side(mean=2.61))
    used = policy("all", label="label", identifier="user")
    found = (drifted, column("watch_hours_30d", 0.0887), *columns(0, 12), column("label"), column("user"))
    assert sentence(used, decide(used, found), found) == (
        "1 of 16 columns drifted (features alone 1 of 14): rebuffer_events_7d 0.21 ≥ 0.10 (normed Wasserstein),"
        " mean 2.3 → 2.6; nearest miss watch_hours_30d 0.089."
    )


def test_the_sentence_shows_the_category_that_moved_most():
    shares = {"ref": Side(shares={"DSL": 0.5, "No": 0.5}), "cur": Side(shares={"DSL": 0.8, "No": 0.2})}
    found = (column("net", 0.3, method="Jensen-Shannon distance", **shares),)
    assert "net 0.3 ≥ 0.10 (Jensen-Shannon), DSL 50.0% → 80.0%" in sentence(policy(), decide(policy(), found), found)


def test_p_values_drift_when_they_are_low():
    assert is_drifted(KS, 0.01, 0.05)
    assert not is_drifted(KS, 0.5, 0.05)
    assert nearness(column("x", 0.01, method=KS, threshold=0.05)) == 5
    assert nearness(column("x", 0.0, method=KS, threshold=0.05)) == math.inf


# contracts.md, byte for byte.
PATHS = {"html": "reports/evidently/drift_a_vs_b.html", "json": "reports/evidently/drift_a_vs_b.json"}
HEAD = "[Evidently] report_html=reports/evidently/drift_a_vs_b.html report_json=reports/evidently/drift_a_vs_b.json "


def test_the_line_of_no_action():
    target = Target(0.02385347153201764, 0.2654, 0.2415)
    line = decision_line(policy(), decide(policy(), columns(1, 15)), target, **PATHS)
    assert line == (HEAD + "drift_share=0.06 -> NO_ACTION drift_share=0.06 < 0.30 (target_drift=0.02385347153201764)")


def test_the_line_of_a_trigger_with_an_unknown_target_drift():
    line = decision_line(policy(), decide(policy(), columns(7, 9)), Target(reason="no labels"), **PATHS)
    assert line == (
        HEAD + "drift_share=0.44 -> RETRAINING_TRIGGERED (SIMULÉ) drift_share=0.44 >= 0.30 (target_drift=NaN)"
    )


def test_the_line_of_an_undecided_run_is_one_line():
    decision = decide(policy(), columns(5, 0), "feb has\nno rows\x1b[31m")
    assert decision_line(policy(), decision, Target()) == (
        "[Evidently] report_html=- report_json=- drift_share=NaN -> UNDECIDED feb has no rows [31m"
    )


def test_the_target_line():
    assert target_line(Target(0.0238534, 0.26537, 0.24152)) == (
        "[Target drift] ref_rate=0.2654 cur_rate=0.2415 abs_diff=0.0239"
    )
    assert target_line(Target(reason="feb has no labels.")) == "[Target drift] not measured: feb has no labels."
    assert target_line(Target(0.0, 0.25, 0.25)) == "[Target drift] ref_rate=0.2500 cur_rate=0.2500 abs_diff=0.0000"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0887, "0.089"),
        (12345.6, "12,346"),
        (65.2, "65"),
        (2.0, "2"),
        (1e-9, "1.0e-09"),
        (None, "unknown"),
        (0.0, "0"),
    ],
)
def test_numbers_are_short(value, text):
    assert number(value) == text


def test_two_means_get_as_many_digits_as_show_a_difference():
    assert moved(65.21, 65.38) == "65.2 → 65.4"


@given(st.text())
def test_one_line_is_one_line(text):
    assert len(one_line(text).splitlines()) <= 1


@given(st.integers(0, 16), st.integers(0, 16), st.integers(0, 16), st.floats(0, 1))
def test_no_decision_contradicts_the_report_beside_it(drifted, calm, missing, threshold):
    decision = decide(policy(threshold=threshold), columns(drifted, calm, missing))
    if decision.verdict is not Verdict.UNDECIDED:
        report = drifted / (drifted + calm)
        assert (decision.verdict is Verdict.RETRAINING_TRIGGERED) == (report >= threshold)
        assert decision.counted.n == drifted + calm + missing
