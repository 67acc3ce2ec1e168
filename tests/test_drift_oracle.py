"""Generated months against an oracle of its own: scipy's two-sample tests, which know nothing of Evidently.

Where the oracle is sure, no column says the opposite; everywhere, a comparison ends in a decision or in a reason.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from scipy import stats

from app.drift import compare
from app.drift.comparison import judge, save
from app.drift.decide import counted_columns
from app.drift.result import Result, Verdict
from app.drift.sentence import decision_line, sentence
from app.runs import reports
from app.runs.run import new_run_id
from tests.drift_frames import frame, pair, policy, quiet_job, settings

# A comparison of three columns takes a third of a second, and each is made twice.
EXAMPLES = 12
# The oracle is sure of drift below this p-value when the effect is large, too ...
SURE, LARGE = 1e-9, 0.5
# ... and sure of none when two samples of one distribution differ less than most pairs of samples would.
CALM = 0.5
# Up to so many different numbers are categories, to the oracle too: K-S is blind among them.
FEW = 5
# On both sides of the size at which Evidently changes its methods, and of the least size.
SIZES = st.sampled_from([12, 40, 200, 999, 1000, 1001, 1300, 2500])
SHIFTS = st.sampled_from([0.0, 0.0, 0.2, 3.0, 1e6])
NULLS = st.sampled_from([0.0, 0.0, 0.05, 0.2, 0.6, 1.0])


def words(random, rows, shift, of):
    """Categories; a shift turns their shares round, an enormous one renames them all."""
    shares = np.arange(1, of + 1) ** (-1.0 if not shift else min(shift, 1.0))
    found = random.choice(of, rows, p=shares / shares.sum())
    return np.array(
        [f"w{one if shift < 2 else of - 1 - one}{'new' if shift > 100 else ''}" for one in found], dtype=object
    )


# What can be compared: the oracle has an opinion on these.
HEALTHY = {
    "normal": lambda random, rows, shift: random.normal(10 + 2 * shift, 2, rows),
    "skewed": lambda random, rows, shift: random.exponential(3, rows) + 3 * shift,
    "counts": lambda random, rows, shift: random.poisson(4, rows) + round(2 * shift),
    "few numbers": lambda random, rows, shift: random.integers(0, 4, rows) + round(shift),
    "0 and 1": lambda random, rows, shift: (random.random(rows) < (0.3 if shift < 1 else 0.9)).astype(float),
    "flag": lambda random, rows, shift: random.random(rows) < (0.3 if shift < 1 else 0.9),
    "three words": lambda random, rows, shift: words(random, rows, shift, 3),
    "forty words": lambda random, rows, shift: words(random, rows, shift, 40),
    "rare words": lambda random, rows, shift: words(random, rows, shift, 3) + np.where(random.random(rows) < 0.004, "!", ""),
}  # fmt: skip
# What cannot, or only after a change of form: these must end in words.
ODD = {
    "constant": lambda _random, rows, shift: np.full(rows, 3.0 + shift),
    "infinities": lambda random, rows, _shift: np.where(random.random(rows) < 0.1, np.inf, 1.0),
    "tiny": lambda random, rows, shift: random.normal(shift, 1, rows) * 1e-9,
    "huge": lambda random, rows, shift: random.normal(shift, 1, rows) * 1e200,
    "outlier": lambda random, rows, shift: np.r_[random.normal(shift, 1, max(rows - 1, 0)), [1e80] * min(rows, 1)],
    "dates": lambda _random, rows, _shift: pd.date_range("2024-01-01", periods=rows),
    "numbers as text": lambda random, rows, shift: [f"{one:.2f}" for one in random.normal(shift, 1, rows)],
    "identifiers": lambda _random, rows, shift: [f"u{index}{shift}" for index in range(rows)],
    "lists": lambda _random, rows, shift: pd.Series([[shift]] * rows, dtype=object),
    "mixed": lambda _random, rows, _shift: pd.Series([1, "a", None, True] * rows, dtype=object)[:rows],
    "bytes": lambda _random, rows, _shift: pd.Series([b"x"] * rows, dtype=object),
    "categories": lambda random, rows, shift: pd.Categorical(words(random, rows, shift, 5)),
    "Int64": lambda random, rows, shift: pd.array(random.poisson(3 + shift if shift < 9 else 90, rows), dtype="Int64"),
    "durations": lambda random, rows, shift: pd.to_timedelta(random.normal(shift, 1, rows), unit="h"),
}  # fmt: skip
KINDS = HEALTHY | ODD


@dataclass(frozen=True)
class Spec:
    """One column of both months: its kind on either side, how far it moves, its share of nulls."""

    left: str
    right: str
    shift: float
    nulls: tuple[float, float]


SAME_KIND = st.none()


def specs(kinds, *, other=SAME_KIND):
    def made(kind, second, shift, first, last):
        return Spec(kind, second or kind, shift, (first, last))

    return st.builds(made, st.sampled_from(sorted(kinds)), other, SHIFTS, NULLS, NULLS)


CLEAN = st.builds(lambda kind, shift: Spec(kind, kind, shift, (0.0, 0.0)), st.sampled_from(sorted(HEALTHY)), SHIFTS)
MIXED = st.one_of(CLEAN, specs(HEALTHY), specs(KINDS), specs(KINDS, other=st.sampled_from(sorted(KINDS))))


def column(kind, random, rows, shift, nulls):
    values = pd.Series(KINDS[kind](random, rows, shift))
    return values.mask(random.random(rows) < nulls) if nulls else values


def months(found, sizes, seed):
    random = np.random.default_rng(seed)
    sides = []
    for place, rows in enumerate(sizes):
        data = {
            f"x{index}": column((one.left, one.right)[place], random, rows, one.shift * place, one.nulls[place])
            for index, one in enumerate(found)
        }
        sides.append(pd.DataFrame(data).assign(label=(random.random(rows) < 0.3).astype(int)))
    return sides


def oracle(ref: pd.Series, cur: pd.Series) -> tuple[float, float]:
    """p-value and effect (0 to 1) of the two-sample test that fits these values."""
    ref, cur = ref.dropna(), cur.dropna()
    if pd.api.types.is_numeric_dtype(ref) and ref.dtype != bool and pd.concat([ref, cur]).nunique() > FEW:
        left, right = ref.astype(float), cur.astype(float)
        found = stats.ks_2samp(left, right)
        # A distance sees a mean that K-S does not: both must be calm.
        return float(min(found.pvalue, stats.ttest_ind(left, right).pvalue)), float(found.statistic)
    counts = pd.DataFrame({"ref": ref.value_counts(), "cur": cur.value_counts()}).fillna(0)
    if len(counts) < 2:
        return 1.0, 0.0
    p_value = float(stats.chi2_contingency(counts.T, correction=False)[1])
    shares = counts / counts.sum()
    return p_value, float((shares.ref - shares.cur).abs().sum() / 2)


# Columns of one distribution on both sides: whatever differs is chance.
EQUAL = st.builds(lambda kind: Spec(kind, kind, 0.0, (0.0, 0.0)), st.sampled_from(sorted(HEALTHY)))
UNLIKE_SIZES = st.sampled_from([(40, 2500), (100, 1300), (2500, 40), (1300, 60), (60, 60), (300, 300), (900, 2500)])


@pytest.fixture(scope="module", autouse=True)
def evidently():
    """Loaded once for the whole file."""
    compare.preload()


def compared(ref, cur, used, folder):
    """One comparison as the worker makes it, saved and read back."""
    names = [name for name in ref.columns if name != "label"]
    one, two = pair(folder, names, used), (frame(ref, "jan"), frame(cur, "feb"))
    job = quiet_job(settings(folder, REPORT_DIR="out"), run=new_run_id())
    found = judge(job, one, *two)
    result, path = save(job, one, two, found, time.monotonic())
    stored = Result.from_json(reports.read_file(path, "result.json"))
    assert stored == result
    assert stored.to_json() == result.to_json()
    return found, result


def sound(found, result, used):
    """What holds for every comparison whatsoever."""
    decision, counted = found.decision, found.decision.counted
    assert 0 <= counted.k <= counted.comparable <= counted.n
    assert counted.n == len(counted_columns(found.columns, used))
    for one in found.columns:
        assert one.comparable == (one.reason == "")
        assert (one.drifted is None) == (one.score is None), one
        # What is refused as a whole is not scored; what is decided is.
        assert one.score is None if not one.comparable else one.score is not None or found.html is None, one
        assert one.score is None or np.isfinite([one.score, one.threshold]).all()
    assert sentence(used, decision, found.columns)
    assert "\n" not in decision_line(used, decision, found.target)
    if decision.verdict is Verdict.UNDECIDED:
        assert decision.reason
        assert (result.share, result.k, found.html) == (None, None, None)
    else:
        assert result.share == counted.k / counted.n
        assert (decision.verdict is Verdict.RETRAINING_TRIGGERED) == (result.share >= used.threshold)


def agrees(spec: Spec, column, ref: pd.Series, cur: pd.Series):
    """No verdict against a sure oracle."""
    if spec.left != spec.right or spec.left not in HEALTHY or min(ref.notna().sum(), cur.notna().sum()) < 2:
        return
    p_value, effect = oracle(ref, cur)
    said = (spec, column.method, column.score, p_value, effect, len(ref), len(cur))
    if p_value < SURE and effect > LARGE:
        assert column.drifted is not False, said
        if not any(spec.nulls):
            assert column.drifted is True, (column.reason, *said)
    if not spec.shift and p_value > CALM:
        assert column.drifted is not True, said


bounded = hypothesis_settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=list(HealthCheck),
    database=None,
    # A failing pair says itself which column it was; to shrink it takes minutes.
    phases=[Phase.generate],
)


@bounded
@given(
    st.lists(MIXED, min_size=1, max_size=3),
    st.tuples(SIZES, SIZES),
    st.integers(0, 2**32),
    st.sampled_from([0.01, 0.8, 1.0]),
)
def test_no_verdict_contradicts_a_sure_oracle_and_every_pair_ends_in_words(found, sizes, seed, comparable):
    used = policy(identifier=None, comparable=comparable)
    ref, cur = months(found, sizes, seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        verdicts, result = compared(ref, cur, used, folder)
        sound(verdicts, result, used)
        for index, spec in enumerate(found):
            one = verdicts.columns[index]
            assert one.name == f"x{index}"
            if result.decision is not Verdict.UNDECIDED or one.score is not None:
                agrees(spec, one, ref[one.name], cur[one.name])
        shutil.rmtree(folder / "root" / "out", ignore_errors=True)
        # The other way round is another question, and has an answer too.
        sound(*compared(cur, ref, used, folder), used)


@bounded
@given(st.lists(EQUAL, min_size=4, max_size=6), UNLIKE_SIZES, st.integers(0, 2**32))
def test_months_of_any_sizes_from_one_distribution_are_not_told_apart_by_chance(found, sizes, seed):
    used = policy(label=None, identifier=None, comparable=0.01)
    ref, cur = (side.drop(columns="label") for side in months(found, sizes, seed))
    one = pair(Path(tempfile.gettempdir()), list(ref.columns), used)
    verdicts = judge(quiet_job(), one, frame(ref, "jan"), frame(cur, "feb"))
    for spec, column in zip(found, verdicts.columns, strict=True):
        agrees(spec, column, ref[column.name], cur[column.name])
