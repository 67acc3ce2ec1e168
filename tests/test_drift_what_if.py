"""What-if on stored runs: nothing changed is the stored decision, and what is said to turn a verdict turns it."""

import math
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.drift.decide import counted_columns, decide
from app.drift.methods import METHODS, TEXT, method_of
from app.drift.result import Column, Months, Policy, Result, Side, Target, Verdict
from app.drift.sentence import sentence
from app.drift.what_if import Again, Change, Outcome, again, can_change, recompute

W1 = "Wasserstein distance (normed)"
KS = "K-S p_value"
TEXT_METHOD = "Percentile text content drift"
TRIGGERED, NO_ACTION, UNDECIDED = Verdict.RETRAINING_TRIGGERED, Verdict.NO_ACTION, Verdict.UNDECIDED


def scored(name, score, threshold=0.1, method=W1, kind="number"):
    drifted = method_of(method).drifted(score, threshold)
    return Column(name, kind, method, score, threshold, drifted, comparable=True)


def policy(**changes):
    return Policy(**{"columns": "features", "threshold": 0.3, "min_rows": 30, "comparable": 0.8} | changes)


def stored(columns, used=None, refusal="", target=None):
    """A run as the worker saves it."""
    used, target = used or policy(), target or Target(reason="no labels")
    decision = decide(used, columns, refusal, target)
    undecided = decision.share is None
    return Result(
        run="20240229T140532Z-1a2b3c",
        system="mine",
        ref=Months("2024-01-31", 7043, 7043),
        cur=Months("2024-02-29", 7043, 7043),
        policy=used,
        share=decision.share,
        k=None if undecided else decision.counted.k,
        n=decision.counted.n,
        share_features=None if undecided else decision.features.share,
        columns=tuple(columns),
        target_drift=target,
        decision=decision.verdict,
        reason=sentence(used, decision, columns),
        line="",
        seconds=1.0,
        peak_bytes=None,
    )


def flip(outcome: Outcome, kind):
    return next(one for one in outcome.flips if one.kind == kind)


# The calm pair of the course, in its large lines: 14 features, label and identifier.
CALM = (
    scored("rebuffer_events_7d", 0.20504),
    scored("watch_hours_30d", 0.08874),
    scored("support_tickets_90d", 0.0319),
    *(scored(f"f{index}", 0.0) for index in range(11)),
    scored("churn_label", 0.028, method="Jensen-Shannon distance", kind="category"),
    Column("user_id", "text", TEXT_METHOD, 0.5, 0.95, drifted=False, comparable=True),
)
ALL = policy(columns="all", label="churn_label", identifier="user_id")


def test_nothing_changed_is_the_stored_decision():
    run = stored(CALM, ALL)
    found = recompute(run, Change())
    assert (found.policy, found.columns) == (run.policy, run.columns)
    assert found.decision == decide(ALL, CALM, "", run.target_drift)
    assert found.sentence == run.reason
    assert "1 of 16 columns drifted" in found.sentence


def test_another_share_threshold():
    run = stored(CALM, ALL)
    assert recompute(run, Change(threshold=0.05)).decision.verdict is TRIGGERED
    assert recompute(run, Change(threshold=0.07)).decision.verdict is NO_ACTION
    assert recompute(run, Change(threshold=0.05)).policy == replace(ALL, threshold=0.05)


def test_another_threshold_for_every_distance_leaves_text_and_p_values_alone():
    columns = (*CALM, scored("small", 0.2, 0.05, KS))
    found = recompute(stored(columns, ALL), Change(distance=0.03))
    assert [one.name for one in found.columns if one.drifted] == [
        "rebuffer_events_7d",
        "watch_hours_30d",
        "support_tickets_90d",
    ]
    by_name = {one.name: one for one in found.columns}
    assert (by_name["small"].threshold, by_name["user_id"].threshold) == (0.05, 0.95)
    assert set(found.policy.thresholds) == {one.name for one in CALM} - {"user_id"}
    assert {one.name for one in recompute(stored(columns, ALL), Change(p_value=0.2)).columns if one.drifted} == {
        "rebuffer_events_7d",
        "small",
    }


def test_a_threshold_of_a_columns_own_beats_the_one_for_all():
    own = stored(CALM, replace(ALL, thresholds={"watch_hours_30d": 0.1}))
    by_name = {one.name: one for one in recompute(own, Change(distance=0.01)).columns}
    assert not by_name["watch_hours_30d"].drifted
    by_name = {one.name: one for one in recompute(own, Change(thresholds={"watch_hours_30d": 0.05})).columns}
    assert by_name["watch_hours_30d"].drifted


def test_the_identifier_keeps_its_flag_whatever_threshold_is_tried():
    found = recompute(stored(CALM, ALL), Change(thresholds={"user_id": 0.1}, distance=0.2))
    assert next(one for one in found.columns if one.name == "user_id") == CALM[-1]
    assert not can_change(CALM[-1])


def test_columns_left_out_are_in_neither_number():
    found = recompute(stored(CALM, ALL), Change(left_out=frozenset({"rebuffer_events_7d", "f0"})))
    assert (found.decision.counted.k, found.decision.counted.n) == (0, 14)
    assert found.policy.left_out == ("f0", "rebuffer_events_7d")
    assert "f0" not in {one.name for one in found.columns}


def test_the_other_way_of_counting():
    found = recompute(stored(CALM, ALL), Change(columns="features"))
    assert (found.decision.counted.k, found.decision.counted.n) == (1, 14)
    assert found.sentence.startswith("1 of 14 columns drifted (with label and identifier 1 of 16): ")


def test_a_rule_on_the_target_can_be_tried_and_turned():
    target = Target(0.0238534, 0.26537, 0.24152)
    run = stored(CALM, ALL, target=target)
    found = recompute(run, Change(target_threshold=0.02))
    assert (found.decision.verdict, found.decision.by_target) == (TRIGGERED, True)
    assert found.sentence.startswith(
        "target drift 0.024 ≥ 0.02 (rate of churn_label 26.5% → 24.2%) triggers by itself; 1 of 16 columns drifted"
    )
    turned = flip(found, "target")
    assert turned.words == "NO_ACTION with a target threshold of 0.02386 or higher (now 0.02)"
    assert [one.kind for one in found.flips] == ["target"]


# --- flips ------------------------------------------------------------------------------------------------------------


def test_the_flips_of_the_calm_pair_in_words():
    found = recompute(stored(CALM, replace(ALL, threshold=0.1)), Change())
    assert [one.words for one in found.flips] == [
        "RETRAINING_TRIGGERED with a share threshold of 0.0625 or lower (now 0.10): 1 of 16 columns drifted",
        "RETRAINING_TRIGGERED with a threshold of 0.08874 or lower for watch_hours_30d (now 0.10)",
        "RETRAINING_TRIGGERED with a threshold of 0.08874 or lower for every distance (now 0.10)",
    ]


def test_the_flips_of_a_trigger_name_the_column_it_rests_on():
    found = recompute(stored(CALM, replace(ALL, threshold=0.05)), Change())
    assert [one.words for one in found.flips] == [
        "NO_ACTION with a share threshold above 0.0625 (now 0.05): 1 of 16 columns drifted",
        "NO_ACTION with a threshold of 0.2051 or higher for rebuffer_events_7d (now 0.10)",
        "NO_ACTION with a threshold of 0.2051 or higher for every distance (now 0.10)",
        "NO_ACTION without rebuffer_events_7d",
    ]


def test_a_share_out_of_reach_for_one_column_turns_with_the_threshold_of_all():
    found = recompute(stored(CALM, replace(ALL, threshold=0.18)), Change())
    assert [one.kind for one in found.flips] == ["share", "distance"]
    assert flip(found, "distance").value == 0.0319


def test_leaving_out_a_calm_column_can_trigger():
    columns = [scored(f"d{index}", 0.5) for index in range(2)] + [
        scored(f"c{index}", 0.01 * index) for index in range(5)
    ]
    found = recompute(stored(columns, policy(threshold=0.33)), Change())
    assert flip(found, "left_out").words == "RETRAINING_TRIGGERED without c0, or any other of the 5 calm columns"


def test_a_column_that_cannot_be_compared_and_holds_the_verdict_up_is_the_flip():
    missing = Column("gone", "number", reason="missing in feb")
    columns = [*(scored(f"d{index}", 0.5) for index in range(3)), *(scored(f"c{index}", 0.0) for index in range(6))]
    run = stored([*columns, missing, replace(missing, name="lost")])
    assert run.decision is UNDECIDED
    found = recompute(run, Change(left_out=frozenset({"gone", "lost"})))
    assert (found.decision.verdict, found.decision.share) == (TRIGGERED, 3 / 9)
    kinds = {(one.kind, one.to) for one in recompute(run, Change()).flips}
    assert {("share", TRIGGERED), ("share", NO_ACTION), ("left_out", TRIGGERED)} <= kinds


def test_with_a_threshold_of_zero_only_the_threshold_turns_it():
    found = recompute(stored([scored("a", 0.5), scored("b", 0.0)], policy(threshold=0.0)), Change())
    assert [one.kind for one in found.flips] == ["share"]


# --- what was never scored --------------------------------------------------------------------------------------------


def test_a_refused_run_stays_undecided_under_every_change():
    bare = [Column(f"f{index}", "number", comparable=True) for index in range(4)]
    run = stored(bare, refusal="feb has 3 rows; at least 30 are needed to say anything (min_rows).")
    for change in (Change(), Change(threshold=0.0), Change(distance=0.0), Change(left_out=frozenset({"f0"}))):
        found = recompute(run, change)
        assert (found.decision.verdict, found.sentence, found.flips) == (UNDECIDED, run.reason, ())


def test_a_refused_run_whose_target_moved_says_so_once():
    bare = [Column(f"f{index}", "number", comparable=True) for index in range(4)]
    used = policy(target_threshold=0.02, label="churn_label")
    run = stored(bare, used, "feb has 3 rows.", Target(0.5, 0.2, 0.7))
    found = recompute(run, Change())
    assert found.sentence == run.reason
    assert found.sentence.count("target drift 0.5") == 1
    assert found.decision.verdict is UNDECIDED


def test_columns_that_the_run_never_scored_are_named_when_a_change_would_need_them():
    bare = [Column("a", "number", comparable=True), Column("b", "number", reason="missing in feb")]
    run = stored(bare)
    assert run.decision is UNDECIDED
    assert recompute(run, Change()).sentence == run.reason
    found = recompute(run, Change(left_out=frozenset({"b"})))
    assert (found.decision.verdict, found.sentence) == (
        UNDECIDED,
        "not scored in this run: a. Compare the months again.",
    )


@pytest.mark.parametrize("columns", [(), (Column("a", "number", None, 0.3, None, None, comparable=True),)])
def test_an_imported_report_that_knows_only_its_count_can_try_the_share_threshold_alone(columns):
    run = replace(stored(CALM, ALL), columns=columns)
    found = recompute(run, Change())
    assert (found.decision.verdict, found.decision.share, found.sentence) == (NO_ACTION, 1 / 16, run.reason)
    assert [one.kind for one in found.flips] == ["share"]
    assert recompute(run, Change(threshold=0.0625)).decision.verdict is TRIGGERED
    other = recompute(run, Change(distance=0.01))
    assert other.decision.verdict is UNDECIDED
    assert "only the share threshold can be tried" in other.sentence


# --- many runs --------------------------------------------------------------------------------------------------------


def test_again_counts_the_runs_that_would_have_triggered():
    event = [scored(f"d{index}", 0.5) for index in range(7)] + [scored(f"c{index}", 0.0) for index in range(9)]
    refused = stored([Column("a", "number", comparable=True)], refusal="feb has 3 rows.")
    runs = [stored(CALM, ALL), stored(event), refused]
    assert again(runs, Change()) == Again(1, 3, 1)
    assert again(runs, Change(threshold=0.05)) == Again(2, 3, 1)
    assert again([], Change()) == Again(0, 0, 0)


def test_two_scores_whose_distance_from_the_threshold_rounds_alike_flip_at_the_first():
    """At 0.1875 the energy distance is calm, PSI one step above; from 0.05 both are equally far in a float."""
    columns = [
        scored("psi", 0.1875, 0.05, "PSI"),
        scored("ed", 0.1875, 0.05, "Energy-distance"),
        scored("w", 0.01, 0.05),
    ]
    run = stored(columns, replace(ALL, threshold=0.5))
    assert flip(recompute(run, Change()), "distance").value == 0.1875


# --- by hypothesis ----------------------------------------------------------------------------------------------------

KNOWN = [one for one in METHODS if one.kinds != TEXT]
UNIT = st.floats(0, 1, allow_subnormal=False)
SCORES = st.one_of(UNIT, st.sampled_from([0.0, 0.05, 0.1, 0.25, 1.0]), st.floats(0, 40, allow_subnormal=False))
LEVELS = st.one_of(st.sampled_from([0.05, 0.1]), st.floats(0.001, 2))


@st.composite
def columns_of(draw):
    found = []
    for index in range(draw(st.integers(1, 8))):
        shape = draw(st.sampled_from(["scored", "scored", "scored", "text", "missing"]))
        if shape == "missing":
            found.append(Column(f"x{index}", "number", reason="missing in feb"))
        elif shape == "text":
            flag = draw(st.booleans())
            found.append(Column(f"x{index}", "text", TEXT_METHOD, draw(UNIT), 0.95, flag, comparable=True))
        else:
            method = draw(st.sampled_from(KNOWN))
            score = draw(UNIT if method.p_value else SCORES)
            found.append(scored(f"x{index}", score, draw(LEVELS), method.shown))
    return found


@st.composite
def runs(draw):
    columns = draw(columns_of())
    names = [one.name for one in columns]
    used = policy(
        columns=draw(st.sampled_from(["features", "all"])),
        threshold=draw(st.one_of(UNIT, st.sampled_from([0.25, 0.3, 0.5]))),
        comparable=draw(st.sampled_from([0.1, 0.8])),
        label=draw(st.sampled_from([None, *names])),
        identifier=draw(st.sampled_from([None, *names])),
        target_threshold=draw(st.sampled_from([None, 0.02, 0.5])),
        thresholds={name: next(one.threshold or 0.1 for one in columns if one.name == name) for name in names[:1]},
    )
    value = draw(st.one_of(st.none(), UNIT))
    target = Target(reason="no labels") if value is None else Target(value, 0.0, value)
    return stored(columns, used, draw(st.sampled_from(["", "", "", "feb has 3 rows."])), target)


CHANGES = st.builds(
    Change,
    threshold=st.one_of(st.none(), UNIT),
    distance=st.one_of(st.none(), LEVELS),
    p_value=st.one_of(st.none(), st.floats(0.001, 0.5)),
    thresholds=st.dictionaries(st.sampled_from(["x0", "x1", "nobody"]), LEVELS, max_size=2),
    left_out=st.frozensets(st.sampled_from(["x0", "x2", "nobody"]), max_size=2),
    columns=st.sampled_from([None, "features", "all"]),
    target_threshold=st.one_of(st.none(), st.floats(0.001, 1)),
)


@given(runs())
def test_every_run_is_decided_again_as_it_was(run):
    found = recompute(run, Change())
    assert (found.decision.verdict, found.sentence) == (run.decision, run.reason)
    assert (found.decision.share, found.columns, found.policy) == (run.share, run.columns, run.policy)
    assert again([run], Change()) == Again(run.decision is TRIGGERED, 1, run.decision is UNDECIDED)


@given(runs(), CHANGES)
def test_a_change_decides_as_a_run_with_that_policy_and_those_flags_would(run, change):
    found = recompute(run, change)
    fresh = decide(found.policy, found.columns, "", run.target_drift)
    if found.decision.verdict is not UNDECIDED:
        assert found.decision == fresh
        assert {one.name for one in found.columns}.isdisjoint(change.left_out)
    assert again([run], change).triggered == (found.decision.verdict is TRIGGERED)


def just_short(run, change, flipped):
    """The same change one float short of turning."""
    kind, value = flipped.kind, flipped.value
    name = {"share": "threshold", "distance": "distance", "p_value": "p_value", "target": "target_threshold"}.get(kind)
    policy_, columns = recompute(run, change).policy, {one.name: one for one in recompute(run, change).columns}
    if kind == "column":
        now = columns[flipped.column].threshold
        short = math.nextafter(value, now)
        return replace(change, thresholds={**change.thresholds, flipped.column: short})
    if kind in ("share", "target"):
        now = getattr(policy_, name)
    else:
        own = {*run.policy.thresholds, *change.thresholds}
        now = next(
            one.threshold
            for one in columns.values()
            if can_change(one)
            and one.name not in own
            and (one.method in P_VALUES) == (kind == "p_value")
            and one.name in {column.name for column in counted(recompute(run, change))}
        )
    return replace(change, **{name: math.nextafter(value, now)})


P_VALUES = {one.shown for one in METHODS if one.p_value}


def counted(found):
    return counted_columns(found.columns, found.policy)


@settings(deadline=None)
@given(runs(), st.one_of(st.just(Change()), CHANGES))
def test_a_flip_turns_the_verdict_and_one_step_less_does_not(run, change):
    before = recompute(run, change)
    assert len({(one.kind, one.to) for one in before.flips if one.kind != "left_out"}) == len(
        [one for one in before.flips if one.kind != "left_out"]
    )
    for one in before.flips:
        assert one.to is not before.decision.verdict
        assert recompute(run, one.change).decision.verdict is one.to
        assert one.words.startswith(str(one.to))
        if one.value is None:
            assert one.change.left_out == change.left_out | {one.column}
        else:
            assert recompute(run, just_short(run, change, one)).decision.verdict is not one.to


@given(runs())
def test_the_number_that_is_printed_turns_the_verdict_too(run):
    for one in recompute(run, Change()).flips:
        told = re.search(r"threshold (of|above|below) ([0-9.e+-]+)", one.words)
        if one.value is None or told is None:
            continue
        printed = float(told[2])
        if told[1] != "of":
            printed = math.nextafter(printed, math.inf if told[1] == "above" else -math.inf)
        if one.kind == "column":
            change = Change(thresholds={one.column: printed})
        else:
            name = {"share": "threshold", "target": "target_threshold"}.get(one.kind, one.kind)
            change = Change(**{name: printed})
        assert recompute(run, change).decision.verdict is one.to


def test_sides_are_carried_along():
    column = replace(CALM[0], ref=Side(mean=2.3), cur=Side(mean=2.6))
    found = recompute(stored([column, *CALM[1:]], ALL), Change(distance=0.15))
    assert "rebuffer_events_7d 0.21 ≥ 0.15 (normed Wasserstein), mean 2.3 → 2.6" in found.sentence
