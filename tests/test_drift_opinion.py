"""The second opinion: its statistics are scipy's, its verdicts hold in repeated drawings, and its line says why."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from app.drift.counted import counted
from app.drift.decide import counted_columns, decide, opinions, second_opinion
from app.drift.opinion import opinion
from app.drift.result import Column, Opinion, Result, Second, Verdict
from app.drift.second import interval
from app.drift.sentence import sentence
from app.drift.what_if import Change, recompute
from benchmarks import drift_verdicts
from tests.drift_frames import policy
from tests.test_drift_result import result

RANDOM = np.random.default_rng(21)
RULE = {"rule": "significant-and-material"}


def look(left, right, kind="number", **more):
    return opinion(counted(pd.Series(left), pd.Series(right), kind), **more)


@pytest.mark.parametrize("draw", ["normal", "poisson", "exponential"])
@pytest.mark.parametrize("move", [0.0, 0.3])
def test_numbers_are_tested_as_scipy_does(draw, move):
    left, right = (getattr(RANDOM, draw)(size=rows) * 10 for rows in (400, 300))
    if draw == "poisson":
        left, right = RANDOM.poisson(9, 400), RANDOM.poisson(9, 300)
    right = right + move
    ranks = stats.mannwhitneyu(left, right, use_continuity=False, method="asymptotic").pvalue
    gap = stats.kstwobign.sf(stats.ks_2samp(left, right).statistic * np.sqrt(400 * 300 / 700))
    ours = look(left, right)
    assert ours.p == pytest.approx(min(1, 2 * min(ranks, gap)), rel=1e-9)
    assert (ours.before, ours.after) == (pytest.approx(np.mean(left)), pytest.approx(np.mean(right)))
    assert ours.low < ours.after - ours.before < ours.high
    assert ours.high - ours.low == pytest.approx(
        2 * 1.959964 * np.sqrt(np.var(left) / 400 + np.var(right) / 300), rel=1e-6
    )


def test_shares_are_tested_as_scipy_does():
    left, right = RANDOM.choice(list("abcd"), 500, p=[0.4, 0.3, 0.2, 0.1]), RANDOM.choice(list("abcd"), 300)
    table = [[np.sum(side == value) for value in "abcd"] for side in (left, right)]
    ours = look(left, right, "category")
    assert ours.p == pytest.approx(stats.chi2_contingency(table, correction=False).pvalue, rel=1e-9)
    assert ours.value == "a"
    assert (ours.before, ours.after) == (pytest.approx(np.mean(left == "a")), pytest.approx(np.mean(right == "a")))
    # Cells too small for the test are one: a value that no one has seen before is no certainty.
    assert look(["a", "b"] * 100, ["c", *["a", "b"] * 99], "category").p > 0.3
    flag = look([False, True] * 100, [False, True, True, True] * 50, "category")
    assert (flag.value, flag.before, flag.after) == ("True", 0.5, 0.75)
    assert look([0, 1] * 100, [0, 1, 1, 1] * 50).value == "1"


def test_p_values_are_corrected_over_the_columns_that_count():
    values = [0.001, 0.01, 0.02, 0.04, 0.5]
    columns = [Column(f"c{place}", "number", opinion=of(p)) for place, p in enumerate(values)]
    left_out = Column("label", "number", opinion=of(0.03))
    done = opinions(policy(), [*columns, left_out])
    expected = stats.false_discovery_control(values)
    assert [one.opinion.adjusted for one in done[:-1]] == pytest.approx(list(expected))
    assert [one.opinion.moved for one in done] == [True, True, True, True, False, None]
    assert done[-1].opinion.adjusted is None
    assert opinions(policy(), [columns[3], *columns[4:] * 9])[0].opinion.perhaps
    # Small moves of many rows are significant, and matter to no one.
    (small,) = opinions(policy(), [Column("x", "number", opinion=replace(of(1e-9), size=0.05))])
    assert small.opinion.moved is False
    assert small.opinion.smallest == pytest.approx((1.959964 + 1.281552) * 0.1, rel=1e-5)


def of(p, size=1.0, again=None):
    return Opinion("mean", 1.0, 2.0, 0.5, 1.5, 0.1, size, p, again=again)


def column(name, *, drifted=False, p=0.9, **more):
    score = 0.2 if drifted else 0.01
    shown = {"method": "Wasserstein distance (normed)", "score": score, "threshold": 0.1, "drifted": drifted}
    shown |= {"comparable": True, "opinion": of(p, again=float(bool(drifted)))}
    return Column(name, "number", **shown | more)


def test_a_yes_no_column_that_moved_ten_points_is_said_where_evidently_does_not_see_it():
    left, right = ([True] * rows + [False] * (1200 - rows) for rows in (708, 828))
    ours = opinions(policy(), [column("paperless", opinion=look(left, right, "category")), column("calm")])
    second = second_opinion(policy(), ours)
    assert (second.verdict, second.k, second.n) == (Verdict.RETRAINING_TRIGGERED, 1, 2)
    assert second.line == (
        "Second opinion RETRAINING_TRIGGERED: 1 of 2 columns moved significantly and materially; Evidently's methods do"
        " not see paperless (True: 59.0% → 69.0%, by +6.2 to +13.8 points)."
    )


def test_where_both_agree_on_every_column_there_is_no_line():
    ours = opinions(policy(), [column("a", drifted=True, p=1e-9), *(column(f"b{place}") for place in range(9))])
    second = second_opinion(policy(), ours)
    assert (second.verdict, second.k, second.n, second.line) == (Verdict.NO_ACTION, 1, 10, "")
    assert (second.low, second.high) == (0.1, 0.1)


def test_the_line_tells_chance_from_moves_that_do_not_matter():
    ours = [column("a", drifted=True, p=0.4), column("b", drifted=True, p=1e-9), *(column(f"c{n}") for n in range(8))]
    ours[1] = replace(ours[1], opinion=replace(ours[1].opinion, size=0.01))
    line = second_opinion(policy(), opinions(policy(), ours)).line
    assert line == (
        "Second opinion, the same verdict: 0 of 10 columns moved significantly and materially; a drifted no further than"
        " chance allows; b moved by less than matters (0.1 standard deviations, 5% of rows)."
    )


def test_the_rule_says_which_columns_are_counted():
    columns = [column("a", drifted=True), column("b", p=1e-9), column("c", drifted=True, p=1e-9), column("d")]
    counts = {}
    for rule in ("evidently", "significant-and-material", "both"):
        used = policy(rule=rule)
        counts[rule] = decide(used, opinions(used, columns)).counted.k
    assert counts == {"evidently": 2, "significant-and-material": 2, "both": 1}
    used = policy(**RULE)
    ours = opinions(used, columns)
    assert sentence(used, decide(used, ours), ours) == (
        "2 of 4 columns moved significantly and materially: b mean 1 → 2, by +0.5 to +1.5; c mean 1 → 2, by +0.5 to"
        " +1.5."
    )
    assert "By Evidently alone" in second_opinion(used, opinions(used, columns[:2])).line


def test_what_may_have_moved_counts_both_ways():
    used = policy(**RULE)
    ours = opinions(used, [column("a", p=0.03), *(column(f"b{n}") for n in range(2))])
    decision = decide(used, ours)
    assert decision.verdict is Verdict.UNDECIDED
    assert "moved by its own test (p 0.03)" in decision.reason
    many = opinions(used, [column("a", p=0.03), *(column(f"b{n}") for n in range(9))])
    assert decide(used, many).verdict is Verdict.NO_ACTION
    # Under "both" Evidently's word that it did not drift is enough.
    both = policy(rule="both")
    assert decide(both, opinions(both, ours)).verdict is Verdict.NO_ACTION


def test_a_column_too_few_rows_to_tell_is_told_by_the_second_opinion():
    unsure = column("a", comparable=False, uncertain=True, drifted=None, reason="too few rows to tell")
    used = policy(**RULE)
    assert decide(used, opinions(used, [unsure])).verdict is Verdict.NO_ACTION
    assert decide(policy(), opinions(policy(), [unsure])).verdict is Verdict.UNDECIDED


def test_the_interval_of_the_share_is_that_of_the_drawings():
    calm, sure, torn = (column(name, drifted=name == "b") for name in "abc")
    torn = replace(torn, opinion=replace(torn.opinion, again=0.5))
    assert interval([calm, sure]) == (0.5, 0.5)
    assert interval([calm, sure, torn]) == (1 / 3, 2 / 3)
    assert interval([]) is None


@pytest.mark.parametrize(("move", "again"), [(0.0, 0.0), (2.0, 1.0)])
@pytest.mark.parametrize("rows", [500, 3000])
def test_a_clear_case_comes_out_the_same_when_the_rows_are_drawn_again(move, again, rows):
    numbers, words = RANDOM.normal(size=rows), RANDOM.choice(list("abc"), rows)
    assert look(numbers, numbers + move).again == again
    other = RANDOM.choice(list("abc"), rows, p=[0.8, 0.1, 0.1]) if move else words
    assert look(words, other, "category").again == again


def test_a_case_at_the_threshold_comes_and_goes():
    left, right = (np.random.default_rng(seed).normal(size=2000) for seed in (1, 2))
    right = right - right.mean() + left.mean() + 0.1 * left.std()
    assert 0.1 < look(left, right).again < 0.9
    assert look(left, right, method="psi").again is None
    assert look(left, right, threshold=0.5).again == 0


def test_what_if_knows_the_rule():
    columns = [column("a", drifted=True), *(column(f"b{n}") for n in range(2))]
    stored = result(policy=policy(), columns=opinions(policy(), columns), k=1, n=3, share=1 / 3, reason="")
    stored = replace(stored, decision=Verdict.RETRAINING_TRIGGERED)
    again = recompute(stored, Change())
    assert again.decision.verdict is Verdict.RETRAINING_TRIGGERED
    assert again.opinion.verdict is Verdict.NO_ACTION
    flip = next(flip for flip in again.flips if flip.change.rule == "both")
    assert (flip.kind, flip.to, flip.words) == (
        "rule",
        Verdict.NO_ACTION,
        "NO_ACTION with the rule both (now evidently)",
    )
    assert recompute(stored, Change(rule="both")).decision.verdict is Verdict.NO_ACTION
    # What is left out no longer counts in the correction.
    fewer = recompute(stored, Change(left_out=frozenset({"b0"}))).columns
    assert len(counted_columns(fewer, stored.policy)) == 2


def test_the_opinion_survives_the_file():
    ours = opinions(policy(), [column("a", drifted=True)])
    kept = result(columns=ours, opinion=Second(Verdict.NO_ACTION, 0, 1, 0.0, 1.0, "Second opinion."))
    assert Result.from_json(kept.to_json()) == kept
    raw = json.loads(kept.to_json())
    assert raw["columns"][0]["opinion"]["moved"] is False
    del raw["opinion"], raw["columns"][0]["opinion"]
    older = Result.from_json(json.dumps(raw).encode())
    assert (older.opinion, older.columns[0].opinion) == (None, None)


# --- in repeated drawings ---------------------------------------------------------------------------------------------


def test_false_alarms_stay_below_five_per_cent_and_ten_points_are_not_called_calm():
    """The benchmark with few pairs: seeded, so that it is the same on every machine."""
    alarms = drift_verdicts.false_alarms(60, 500)
    assert alarms["significant-and-material"][0] <= 0.05 < 0.3 < alarms["evidently"][0]
    assert alarms["significant-and-material"][1] <= 0.05
    at_500 = drift_verdicts.power(60, 500, "paperless", yes=0.69)
    assert at_500["its own test"] >= 0.9
    assert at_500["not called calm"] >= 0.9
    at_1200 = drift_verdicts.power(30, 1200, "paperless", yes=0.69)
    assert at_1200["significant-and-material"] >= 0.9 > at_1200["evidently"]
