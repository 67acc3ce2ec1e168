"""From columns and a policy to a decision, its sentence and its two lines."""

import math
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.base.text import one_line
from app.drift.decide import decide, nearness, policy_notes, target_reached
from app.drift.methods import METHODS, method_of
from app.drift.result import Column, Policy, Side, Target, Verdict
from app.drift.sentence import countings_differ, decision_line, sentence, target_line, target_words
from app.words.numbers import moved, number

W1 = "Wasserstein distance (normed)"
KS = "K-S p_value"


def column(name, score=0.0, *, comparable=True, reason="", method=W1, threshold=0.1, **more):
    if not comparable:
        return Column(name, "number", reason=reason or "missing in feb")
    drifted = method_of(method).drifted(score, threshold)
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
        (columns(2, 5, 3), "only 7 of 10 columns can be compared and 80% are needed (comparable): m0, m1, m2"),
    ],
)
def test_too_few_comparable_columns_leave_it_undecided_with_the_reason(found, words):
    decision = decide(policy(), found)
    assert decision.verdict is Verdict.UNDECIDED
    assert words in decision.reason
    assert decision.share is None


def test_a_column_that_differs_by_chance_alone_is_no_want_of_data_and_matters_where_the_verdict_hangs_on_it():
    """Three of four drifted beyond doubt: the fourth, a coin thrown twice, must not silence them."""

    def with_chance(drifted, calm, by_chance):
        doubt = [replace(column(f"u{n}", comparable=False, reason="chance"), uncertain=True) for n in range(by_chance)]
        return columns(drifted, calm, extra=doubt)

    decision = decide(policy(), with_chance(3, 0, 1))
    assert (decision.verdict, decision.share, decision.counted.comparable) == (Verdict.RETRAINING_TRIGGERED, 0.75, 3)
    assert decide(policy(), columns(3, 0, 1)).verdict is Verdict.UNDECIDED
    # 1 of 3 reaches 0.3, 1 of 4 does not: here it matters.
    hanging = decide(policy(), with_chance(1, 2, 1))
    assert (hanging.verdict, hanging.share) == (Verdict.UNDECIDED, None)
    assert "it hangs on u0 (chance)" in hanging.reason
    assert decide(policy(), with_chance(0, 3, 1)).verdict is Verdict.NO_ACTION
    assert decide(policy(), with_chance(0, 0, 4)).verdict is Verdict.UNDECIDED


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


@pytest.mark.parametrize(
    ("drifted", "calm", "unknown", "verdict"),
    [
        (0, 2, 3, Verdict.UNDECIDED),
        (0, 4, 1, Verdict.NO_ACTION),
        (1, 3, 1, Verdict.UNDECIDED),
        (2, 11, 2, Verdict.NO_ACTION),
        (2, 11, 3, Verdict.UNDECIDED),
        (5, 8, 3, Verdict.RETRAINING_TRIGGERED),
    ],
)
@pytest.mark.parametrize("uncertain", [True, False])
def test_a_column_that_could_not_be_judged_counts_both_ways(drifted, calm, unknown, verdict, uncertain):
    """NO_ACTION only if it would stay so with all of them drifted: three of five with too few rows are no calm."""
    doubt = [
        replace(column(f"u{n}", comparable=False, reason="too few rows"), uncertain=uncertain) for n in range(unknown)
    ]
    decision = decide(replace(policy(), comparable=0.1), columns(drifted, calm, extra=doubt))
    assert decision.verdict is verdict
    if verdict is Verdict.UNDECIDED and (drifted, unknown) == (2, 3):
        assert decision.reason == (
            "2 of 16 columns drifted and 3 cannot be judged: 5 of 16 would reach 0.30, so it hangs on u0, u1, u2 (too"
            " few rows)."
        )


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
    assert method_of(KS).drifted(0.01, 0.05)
    assert not method_of(KS).drifted(0.5, 0.05)
    assert nearness(column("x", 0.01, method=KS, threshold=0.05)) == 5
    assert nearness(column("x", 0.0, method=KS, threshold=0.05)) == math.inf


# --- columns of a policy's own -----------------------------------------------------------------------------------------


def test_columns_left_out_are_in_neither_number_and_not_in_the_sentence():
    found = columns(3, 7, 1)
    used = policy(left_out=("d0", "m0"))
    decision = decide(used, found)
    assert (decision.counted.k, decision.counted.n, decision.counted.comparable) == (2, 9, 9)
    assert (decision.everything.k, decision.everything.n) == (2, 9)
    assert "d0" not in sentence(used, decision, found)
    assert "m0" not in sentence(used, decision, found)


@pytest.mark.parametrize(
    ("score", "threshold", "words"),
    [
        (0.21, 0.1, "x 0.21 ≥ 0.10 "),
        (0.2053, 0.205, "x 0.21 ≥ 0.205 "),
        (0.2051, 0.2049, "x 0.21 ≥ 0.2049 "),
        (0.2041, 0.204, "x 0.2041 ≥ 0.204 "),
        (0.10004, 0.1, "x 0.10004 ≥ 0.10 "),
        (0.1, 0.1, "x 0.1 ≥ 0.10 "),
        (0.004, 0.001, "x 0.004 ≥ 0.001 "),
        (25.0, 12.5, "x 25 ≥ 12.50 "),
        (12345.6, 12345.5, "x 12,346 ≥ 12345.50 "),
    ],
)
def test_score_and_threshold_never_look_the_wrong_way_round(score, threshold, words):
    found = (column("x", score, threshold=threshold),)
    assert words in sentence(policy(), decide(policy(), found), found)


@given(st.floats(1e-6, 1e5), st.floats(1e-4, 1e4).map(lambda value: float(f"{value:.4g}")))
def test_a_rounded_score_stands_on_its_own_side_of_the_threshold(score, threshold):
    found = (column("x", score, threshold=threshold), column("y", 0.0))
    text = sentence(policy(), decide(policy(), found), found)
    shown = re.search(r"(?:: x|miss x) ([0-9.,e+-]*[0-9])", text)[1].replace(",", "")
    if abs(score - threshold) > 1e-7 * threshold:
        assert (float(shown) > threshold) == (score > threshold)


def test_the_nearest_miss_is_told_with_as_many_digits_as_tell_it_from_its_threshold():
    found = (column("x", 0.09996), column("y", 0.0))
    assert sentence(policy(), decide(policy(), found), found) == "0 of 2 columns drifted; nearest miss x 0.09996."


@pytest.mark.parametrize("method", METHODS, ids=lambda one: one.name)
def test_the_sign_in_the_sentence_is_the_methods_own(method):
    score = 0.01 if method.p_value else 0.9
    found = (column("x", score, method=method.shown, threshold=0.3),)
    text = sentence(policy(), decide(policy(), found), found)
    if method.name == "perc_text_content_drift":
        assert text == "1 of 1 columns drifted: x 0.9 (text content)."
    else:
        assert f"x {score} {method.sign} 0.30 ({method.words})" in text


def test_what_a_policy_asks_of_the_identifier_and_a_one_sided_test_are_notes():
    used = policy(identifier="user", methods={"user": "ks", "x": "mannw"}, thresholds={"user": 0.5, "x": 0.1})
    text = Column("user", "text", comparable=True)
    assert policy_notes(used, (column("x"), text)) == [
        "thresholds names user: an identifier is judged as text, by Evidently's rule.",
        "methods names user: an identifier is judged as text, by Evidently's rule.",
        "x is judged by mannw. Evidently asks it one way only: it sees values that grew, not values that fell.",
    ]
    assert policy_notes(policy(), (column("x"), text)) == []


# --- target drift ------------------------------------------------------------------------------------------------------

MOVED = Target(0.02385347153201764, 0.26537, 0.24152)
RULE = {"target_threshold": 0.02, "label": "churn_label"}


def test_target_drift_at_its_threshold_triggers_by_itself_and_says_so_first():
    used, found = policy(**RULE), columns(1, 15)
    decision = decide(used, found, "", MOVED)
    assert (decision.verdict, decision.by_target, decision.share) == (Verdict.RETRAINING_TRIGGERED, True, 1 / 16)
    assert sentence(used, decision, found).startswith(
        "target drift 0.024 ≥ 0.02 (rate of churn_label 26.5% → 24.2%) triggers by itself; 1 of 16 columns drifted: d0"
    )
    assert not countings_differ(used, decision)


@pytest.mark.parametrize(
    ("least", "triggered"), [(0.02385347153201764, True), (math.nextafter(0.02385347153201764, 1), False), (0.5, False)]
)
def test_the_unrounded_target_drift_decides(least, triggered):
    used = policy(target_threshold=least)
    decision = decide(used, columns(1, 15), "", MOVED)
    assert (decision.verdict is Verdict.RETRAINING_TRIGGERED) == triggered == target_reached(used, MOVED)


def test_target_drift_below_its_threshold_triggers_nothing_and_not_measured_it_leaves_a_calm_share_undecided():
    found, used = columns(1, 15), policy(target_threshold=0.03, label="churn_label")
    below = decide(used, found, "", MOVED)
    assert below.verdict is Verdict.NO_ACTION
    assert sentence(used, below, found).endswith("; target drift 0.024 < 0.03 (rate of churn_label 26.5% → 24.2%).")
    unknown = decide(used, found, "", Target(reason="feb has no labels."))
    assert (unknown.verdict, unknown.share) == (Verdict.UNDECIDED, None)
    assert sentence(used, unknown, found) == (
        "1 of 16 columns drifted, below 0.30; target drift, which would trigger from 0.03 on, is not measured: feb has"
        " no labels."
    )
    assert decide(used, found).verdict is Verdict.UNDECIDED
    # Where the columns trigger, or nobody asks for the target, it changes nothing.
    assert decide(used, columns(7, 9), "", Target(reason="none")).verdict is Verdict.RETRAINING_TRIGGERED
    assert decide(policy(label="churn_label"), found, "", Target(reason="none")).verdict is Verdict.NO_ACTION


def test_when_columns_and_target_both_trigger_the_line_is_that_of_the_columns():
    used, found = policy(**RULE), columns(7, 9)
    decision = decide(used, found, "", MOVED)
    assert (decision.verdict, decision.by_target) == (Verdict.RETRAINING_TRIGGERED, False)
    assert sentence(used, decision, found).endswith("triggers too.")
    assert decision_line(used, decision, MOVED, **PATHS) == (
        HEAD + "drift_share=0.44 -> RETRAINING_TRIGGERED (SIMULÉ) drift_share=0.44 >= 0.30"
        " (target_drift=0.02385347153201764)"
    )


def test_without_a_rule_the_target_changes_neither_verdict_nor_sentence():
    found = columns(1, 15)
    with_target, without = decide(policy(), found, "", MOVED), decide(policy(), found)
    assert with_target == without
    assert "target" not in sentence(policy(), with_target, found)


def test_periods_too_little_to_decide_on_stay_undecided_whatever_the_target_did():
    used = policy(**RULE)
    refused = decide(used, columns(5, 0), "feb has 3 rows.", MOVED)
    assert (refused.verdict, refused.by_target) == (Verdict.UNDECIDED, False)
    assert refused.reason == (
        "feb has 3 rows; target drift 0.024 ≥ 0.02 (rate of churn_label 26.5% → 24.2%) would trigger by itself."
    )
    few = decide(used, columns(2, 5, 3), "", MOVED)
    assert few.verdict is Verdict.UNDECIDED
    assert few.reason.endswith("would trigger by itself.")


def test_a_share_that_hangs_on_columns_nobody_could_compare_is_not_decided_by_the_target_either():
    # 3 of 10 do not reach 0.32, 3 of the 9 that the report counts do: whatever the banner said, one would contradict.
    used, found = policy(threshold=0.32, **RULE), columns(3, 6, 1)
    decision = decide(used, found, "", MOVED)
    assert (decision.verdict, decision.by_target, decision.share) == (Verdict.UNDECIDED, False, None)
    assert decision.reason.startswith("3 of 9 comparable columns drifted, which reaches 0.32, but not of all 10")
    assert decision.reason.endswith(
        "; target drift 0.024 ≥ 0.02 (rate of churn_label 26.5% → 24.2%) would trigger by itself."
    )
    # Where both ways of counting say the same, the target decides.
    assert decide(policy(threshold=0.34, **RULE), found, "", MOVED).by_target


def test_the_line_of_a_trigger_by_the_target_alone_compares_the_target_first():
    decision = decide(policy(**RULE), columns(1, 15), "", MOVED)
    assert decision_line(policy(**RULE), decision, MOVED, **PATHS) == (
        HEAD + "drift_share=0.06 -> RETRAINING_TRIGGERED (SIMULÉ) target_drift=0.0239 >= 0.0200"
        " drift_share=0.06 < 0.30 (target_drift=0.02385347153201764)"
    )


def test_both_measures_of_target_drift_are_told_side_by_side():
    used = policy(label="churn_label")
    label = column("churn_label", 0.0275, method="Jensen-Shannon distance")
    assert target_words(used, MOVED, (label,)) == (
        "Target drift 0.024: the rate of churn_label went 26.5% → 24.2%. By Evidently's value drift churn_label did"
        " not drift: 0.028 < 0.10 (Jensen-Shannon)."
    )
    drifted = column("churn_label", 0.001, method="Z-test p_value", threshold=0.05)
    assert target_words(used, MOVED, (drifted,)).endswith("churn_label drifted: 0.001 < 0.05 (z-test p-value).")
    missing = column("churn_label", comparable=False, reason="no labels")
    assert target_words(used, Target(reason="feb has no labels."), (missing,)) == (
        "Target drift is not measured: feb has no labels."
    )
    assert target_words(policy(), Target(reason="the system file names no label."), ()) == (
        "Target drift is not measured: the system file names no label."
    )
    assert "25.0000% → 25.0004%" in target_words(used, Target(4e-6, 0.25, 0.250004), ())


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
        # Nor does any truth about the columns that could not be judged.
        for truly in range(missing + 1):
            assert decide(policy(threshold=threshold), columns(drifted + truly, calm + missing - truly)).verdict == (
                decision.verdict
            )
