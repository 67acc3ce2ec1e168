"""Two months of the StreamFlow shape with known answers: folders of CSV files in, the decision against numpy and scipy.

The expected numbers are computed here from the same rows by formulas of their own: nothing of `app` and nothing of
Evidently is asked for them.
"""

import dataclasses
import json
import os
from datetime import date

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import rel_entr

from app.drift import compare, worker
from app.drift.result import Result, Verdict
from app.drift.sentence import target_line
from app.drift.what_if import Change, recompute
from app.runs import reports
from app.runs.run import new_run_id
from stack.ingest import embedded
from stack.ingest.reading import read_month
from tests import warm
from tests.drift_frames import quiet_job, settings

LARGE, SMALL = 2200, 900
# Up to here Evidently tests for significance.
SWITCH = 1000
DAYS = {"month_000": date(2024, 1, 31), "month_001": date(2024, 2, 29)}
FILES = {
    "users.csv": ["signup_date", "user_gender", "user_is_senior", "has_family", "has_dependents"],
    "subscriptions.csv": [
        "months_active", "plan_stream_tv", "plan_stream_movies", "contract_type", "paperless_billing", "monthly_fee",
        "total_paid", "net_service",
    ],
    "usage_agg_30d.csv": [
        "watch_hours_30d", "avg_session_mins_7d", "unique_devices_30d", "skips_7d", "rebuffer_events_7d",
    ],
    "payments_agg_90d.csv": ["failed_payments_90d"],
    "support_agg_90d.csv": ["support_tickets_90d", "ticket_avg_resolution_hrs_90d"],
    "labels.csv": ["churn_label"],
}  # fmt: skip
FEATURES = [
    "months_active", "monthly_fee", "paperless_billing", "plan_stream_tv", "plan_stream_movies", "net_service",
    "watch_hours_30d", "avg_session_mins_7d", "unique_devices_30d", "skips_7d", "rebuffer_events_7d",
    "failed_payments_90d", "support_tickets_90d", "ticket_avg_resolution_hrs_90d",
]  # fmt: skip
CATEGORIES = {"paperless_billing", "plan_stream_tv", "plan_stream_movies", "net_service", "churn_label"}
EVENT = {"monthly_fee", "plan_stream_tv", "net_service", "watch_hours_30d", "skips_7d", "rebuffer_events_7d"}


def month(seed, rows, *, rebuffer=2.3, event=False, churn=0.265):
    """One month in the rough shape of the real one; an event moves six features."""
    random = np.random.default_rng(seed)
    tickets = random.poisson(0.9, rows)
    nets = [0.44, 0.34, 0.22] if not event else [0.7, 0.2, 0.1]
    active = random.integers(0, 73, rows)
    fee = np.round(random.uniform(18, 112, rows) + (15 if event else 0), 2)
    return pd.DataFrame(
        {
            "user_id": [f"U{index:05d}" for index in range(rows)],
            "signup_date": "2019-09-01",
            "user_gender": random.choice(["Female", "Male"], rows),
            "user_is_senior": random.random(rows) < 0.16,
            "has_family": random.random(rows) < 0.48,
            "has_dependents": random.random(rows) < 0.3,
            "months_active": active,
            "plan_stream_tv": random.random(rows) < (0.75 if event else 0.38),
            "plan_stream_movies": random.random(rows) < 0.39,
            "contract_type": random.choice(["Month-to-month", "One year", "Two year"], rows),
            "paperless_billing": random.random(rows) < 0.59,
            "monthly_fee": fee,
            "total_paid": np.round(active * fee, 2),
            "net_service": random.choice(["Fiber optic", "DSL", "No"], rows, p=nets),
            "watch_hours_30d": np.round(random.normal(24 if event else 29, 6.7, rows).clip(0), 2),
            "avg_session_mins_7d": 29.1,
            "unique_devices_30d": random.integers(1, 4, rows),
            "skips_7d": random.poisson(9 if event else 5, rows),
            "rebuffer_events_7d": random.poisson(4.1 if event else rebuffer, rows),
            "failed_payments_90d": random.choice([0, 1, 2], rows, p=[0.88, 0.1, 0.02]),
            "support_tickets_90d": tickets,
            "ticket_avg_resolution_hrs_90d": np.where(tickets > 0, np.round(random.gamma(2, 2, rows), 1), 0.0),
            "churn_label": random.random(rows) < churn,
        }
    )


def write_folder(data, folder, *, labels=True):
    """The month as the course hands it out: six CSV files, booleans as True and False."""
    folder.mkdir(parents=True)
    for name, columns in FILES.items():
        if labels or name != "labels.csv":
            data[["user_id", *columns]].to_csv(folder / name, index=False)


def joined(folder):
    """The six files of a folder as one table."""
    found = pd.read_csv(folder / "users.csv")
    for path in sorted(folder.glob("*.csv")):
        if path.name != "users.csv":
            found = found.merge(pd.read_csv(path), on="user_id", validate="1:1")
    return found


# --- the independent computation --------------------------------------------------------------------------------------


def distance_of_numbers(ref, cur):
    """First Wasserstein distance as the area between both distribution functions, by the reference's spread."""
    at = np.unique(np.concatenate([ref, cur]))
    left, right = (np.searchsorted(np.sort(side), at[:-1], side="right") / len(side) for side in (ref, cur))
    return float(np.sum(np.abs(left - right) * np.diff(at)) / max(np.std(ref), 0.001))


def distance_of_shares(ref, cur):
    """Jensen-Shannon distance in nats between the shares of each value."""
    values = np.unique(np.concatenate([ref, cur]))
    p, q = (np.array([np.mean(side == value) for value in values]) for side in (ref, cur))
    middle = (p + q) / 2
    return float(np.sqrt((rel_entr(p, middle).sum() + rel_entr(q, middle).sum()) / 2))


def chance_of_counts(ref, cur):
    """Chi-square: the counts of current against the shares of the reference; for two values the z-test."""
    values = np.unique(np.concatenate([ref, cur]))
    if len(values) == 1:
        return 1.0
    if len(values) == 2:
        one, two = (np.mean(side != values[0]) for side in (ref, cur))
        both = (one * len(ref) + two * len(cur)) / (len(ref) + len(cur))
        z = (one - two) / np.sqrt(both * (1 - both) * (1 / len(ref) + 1 / len(cur)))
        return float(2 * stats.norm.sf(abs(z)))
    seen = np.array([np.sum(cur == value) for value in values])
    expected = np.array([np.sum(ref == value) for value in values]) * len(cur) / len(ref)
    return float(stats.chi2.sf(np.sum((seen - expected) ** 2 / expected), len(values) - 1))


def judged(name, ref, cur):
    """Score, and whether it drifted, as Evidently documents its own choice."""
    ref, cur = (side[name].to_numpy() for side in (ref, cur))
    few = name in CATEGORIES or len(np.unique(np.concatenate([ref, cur]))) <= 5
    if len(ref) > SWITCH:
        score = distance_of_shares(ref, cur) if few else distance_of_numbers(ref, cur)
        return score, score >= 0.1
    if few:
        score = chance_of_counts(ref, cur)
        return score, score < 0.05
    score = float(stats.ks_2samp(ref, cur).pvalue)
    return score, score <= 0.05


@dataclasses.dataclass(frozen=True)
class Answer:
    scores: dict
    drifted: set
    k: int
    n: int
    target: float | None

    @property
    def triggers(self):
        return self.k / self.n >= 0.3


def answer(ref, cur, counted, *, labels=True):
    """What must come out. The same identifiers in both months tell nobody which month a row is of: never drifted."""
    names = [*FEATURES, *(["churn_label"] if labels else [])]
    found = {name: judged(name, ref, cur) for name in names}
    drifted = {name for name, (_, flag) in found.items() if flag}
    k = len(drifted) if counted == "all" else len(drifted - {"churn_label"})
    rates = [float(np.mean(side["churn_label"])) for side in (ref, cur)] if labels else None
    return Answer(
        {name: score for name, (score, _) in found.items()},
        drifted,
        k,
        16 if counted == "all" else 14,
        abs(rates[1] - rates[0]) if rates else None,
    )


# --- through the worker -----------------------------------------------------------------------------------------------

TOML = """\
title = "Known"
[drift]
source = "files"
path = "{path}/{{period}}.csv"
label = "churn_label"
identifier = "user_id"
features = {features}
columns = "{counted}"
"""


@pytest.fixture(scope="module", autouse=True)
def evidently():
    """Loaded once for the whole file."""
    compare.preload()


def compared(tmp_path, ref, cur, counted, labels=True, policy=""):
    """The result of a real run over the two months' folders, joined to a table each."""
    one = settings(tmp_path, REPORT_DIR="out")
    tables = tmp_path / "tables"
    tables.mkdir()
    for (name, day), data in zip(DAYS.items(), (ref, cur), strict=True):
        write_folder(data, tmp_path / "folders" / name, labels=labels)
        joined(tmp_path / "folders" / name).to_csv(tables / f"{day}.csv", index=False)
    text = TOML.format(path=tables, features=json.dumps(FEATURES), counted=counted)
    (one.root / "app" / "systems" / "known.toml").write_text(text + policy)
    args = {"ref": "month_000", "cur": "month_001", "threshold": None}
    outcome = worker.run(quiet_job(one, run=new_run_id(), system="known", args=args))
    return Result.from_json(reports.read_file(outcome.path, "result.json")), outcome.path


def check(result, expected, *, labels=True):
    """Share, scores, target drift, decision and both lines, each to the last digit that matters."""
    by_name = {one.name: one for one in result.columns}
    assert set(by_name) == {*FEATURES, "churn_label", "user_id"}
    for name, score in expected.scores.items():
        assert by_name[name].comparable, by_name[name].reason
        assert by_name[name].score == pytest.approx(score, abs=1e-9, rel=1e-9), name
    assert {name for name, one in by_name.items() if one.drifted} == expected.drifted
    assert not by_name["user_id"].drifted
    assert (result.k, result.n, result.share) == (expected.k, expected.n, expected.k / expected.n)
    features = expected.drifted - {"churn_label"}
    assert result.share_features == len(features) / 14
    assert (result.decision is Verdict.RETRAINING_TRIGGERED) == expected.triggers
    if labels:
        assert result.target_drift.value == pytest.approx(expected.target, abs=1e-12)
        assert target_line(result.target_drift).endswith(f" abs_diff={expected.target:.4f}")
    else:
        assert result.target_drift.value is None
        assert result.target_drift.reason
    share = expected.k / expected.n
    sign, words = (">=", "RETRAINING_TRIGGERED (SIMULÉ)") if expected.triggers else ("<", "NO_ACTION")
    told = repr(result.target_drift.value) if labels else "NaN"
    again = recompute(result, Change())
    assert (again.decision.verdict, again.decision.share, again.sentence) == (result.decision, share, result.reason)
    assert result.line.endswith(
        f" drift_share={share:.2f} -> {words} drift_share={share:.2f} {sign} 0.30 (target_drift={told})"
    )


def pair_of(rows, event):
    # Seeds between which nothing drifts by chance in the small months.
    ref = month(2, rows)
    cur = month(16, rows, event=True, churn=0.34) if event else month(16, rows, rebuffer=2.7, churn=0.24)
    return ref, cur


@pytest.mark.parametrize(
    ("rows", "event", "counted"),
    [
        (LARGE, False, "all"),
        (LARGE, False, "features"),
        (LARGE, True, "all"),
        (LARGE, True, "features"),
        # Comparing identifiers takes Evidently longer in small months than in large ones.
        (SMALL, False, "all"),
        (SMALL, True, "features"),
    ],
)
def test_every_number_of_a_run_is_that_of_the_independent_computation(tmp_path, rows, event, counted):
    ref, cur = pair_of(rows, event)
    expected = answer(ref, cur, counted)
    # The planted answers, before anything is computed: the calm pair moves one feature, the event six.
    assert expected.drifted - {"churn_label"} == (EVENT if event else {"rebuffer_events_7d"})
    result, path = compared(tmp_path, ref, cur, counted)
    check(result, expected)
    # The report beside it counts what the banner does.
    reading = compare.read_scores(reports.read_file(path, "drift_2024-01-31_vs_2024-02-29.json"))
    assert (reading.drifted, reading.share) == (expected.k, pytest.approx(expected.k / expected.n, abs=1e-12))
    other = 14 if counted == "all" else 16
    assert f"{expected.k} of {expected.n} columns drifted" in result.reason
    assert f" of {other})" in result.reason or "which decides differently)" in result.reason


@pytest.mark.parametrize(("rows", "counted"), [(LARGE, "all"), (SMALL, "features")])
def test_months_without_labels_have_their_answers_too(tmp_path, rows, counted):
    ref, cur = pair_of(rows, event=False)
    result, _ = compared(tmp_path, ref, cur, counted, labels=False)
    check(result, answer(ref, cur, counted, labels=False), labels=False)
    label = next(one for one in result.columns if one.name == "churn_label")
    assert (label.comparable, label.score) == (False, None)
    assert "has no column churn_label" in label.reason


POLICY = """\
left_out = ["avg_session_mins_7d"]
thresholds = { skips_7d = 5.0, plan_stream_tv = 0.2 }
methods = { watch_hours_30d = "t_test", net_service = "chisquare", plan_stream_movies = "z", monthly_fee = "ks", \
churn_label = "psi" }
target_threshold = 0.05
"""


def test_a_policy_for_single_columns_has_its_answers_too(tmp_path):
    ref, cur = pair_of(LARGE, event=True)
    result, path = compared(tmp_path, ref, cur, "features", policy=POLICY)
    by_name = {one.name: one for one in result.columns}
    rates = [float(np.mean(side.churn_label)) for side in (ref, cur)]
    expected = {
        "watch_hours_30d": (float(stats.ttest_ind(ref.watch_hours_30d, cur.watch_hours_30d).pvalue), 0.05),
        "net_service": (chance_of_counts(ref.net_service, cur.net_service), 0.05),
        "plan_stream_movies": (chance_of_counts(ref.plan_stream_movies, cur.plan_stream_movies), 0.05),
        "monthly_fee": (float(stats.ks_2samp(ref.monthly_fee, cur.monthly_fee).pvalue), 0.05),
        "skips_7d": (distance_of_numbers(ref.skips_7d.to_numpy(), cur.skips_7d.to_numpy()), 5.0),
        "plan_stream_tv": (distance_of_shares(ref.plan_stream_tv.to_numpy(), cur.plan_stream_tv.to_numpy()), 0.2),
        "churn_label": (sum((b - a) * np.log(b / a) for a, b in (rates, [1 - rate for rate in rates])), 0.1),
    }
    for name, (score, threshold) in expected.items():
        assert by_name[name].score == pytest.approx(score, abs=1e-9, rel=1e-9), name
        assert by_name[name].threshold == threshold
    # Beyond Evidently's 0.1 by far, below the column's own 5.
    assert by_name["skips_7d"].drifted is False
    assert {one.name for one in result.columns if one.drifted} - {"churn_label"} == EVENT - {"skips_7d"}
    assert "avg_session_mins_7d" not in by_name
    assert (result.k, result.n, result.share) == (5, 13, 5 / 13)
    assert result.target_drift.value == pytest.approx(abs(rates[1] - rates[0]), abs=1e-12)
    assert result.reason.endswith(" triggers too.")
    assert not result.by_target
    reading = compare.read_scores(reports.read_file(path, "drift_2024-01-31_vs_2024-02-29.json"))
    assert (reading.drifted, reading.share) == (5, pytest.approx(5 / 13, abs=1e-12))
    assert "avg_session_mins_7d" not in reading.scores
    assert dict(result.policy.methods)["net_service"] == "chisquare"


# --- through the folders, the feature store and the command line ------------------------------------------------------


def test_folders_of_csv_files_end_in_the_same_answer_on_the_command_line(tmp_path):
    """Ingested into the world, joined by Feast, compared by the shipped system file: 16 columns, as the course counts."""
    ref, cur = pair_of(LARGE, event=False)
    home, folders = tmp_path / "home", tmp_path / "folders"
    for (name, day), data in zip(DAYS.items(), (ref, cur), strict=True):
        write_folder(data, folders / name)
        embedded._keep(_made(home / "ingested" / str(day)), read_month(folders / name, day))
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("POSTGRES_", "VIGIE_"))}
    environ |= {"VIGIE_HOME": str(home), "REPORT_DIR": str(tmp_path / "out")}
    # The second month once more by the command, which makes the world with both and applies the feature store.
    ingest = ["stack", "ingest", "--from", str(folders / "month_001"), "--as-of", str(DAYS["month_001"])]
    said(ingest, environ)
    out, why = said(["app", "drift", "--system", "streamflow", "--ref", "month_000", "--cur", "month_001"], environ)
    stem = "drift_2024-01-31_vs_2024-02-29"
    run = next((tmp_path / "out").rglob("result.json")).parent
    result = Result.from_json(reports.read_file(run, "result.json"))
    expected = answer(ref, cur, "all")
    check(result, expected)
    assert (expected.k, expected.n) == (1, 16)
    shown = tmp_path / "out" / stem
    rates = f"ref_rate={np.mean(ref.churn_label):.4f} cur_rate={np.mean(cur.churn_label):.4f}"
    target, decision = out.splitlines()[-2:]
    assert target == f"[Target drift] {rates} abs_diff={expected.target:.4f}"
    assert decision == (
        f"[Evidently] report_html={shown}.html report_json={shown}.json drift_share=0.06 -> NO_ACTION"
        f" drift_share=0.06 < 0.30 (target_drift={result.target_drift.value!r})"
    )
    assert f"why: {result.reason}" in why.splitlines()
    assert "reference 2024-01-31: 2,200 rows, 2,200 with a label" in why.splitlines()
    assert "By Evidently's value drift churn_label did not drift: " in why


def _made(folder):
    folder.mkdir(parents=True)
    return folder


def said(arguments, environ):
    done = warm.run(*arguments, env=environ)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout, done.stderr
