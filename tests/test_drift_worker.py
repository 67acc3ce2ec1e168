"""The whole job on files: saved, published, in words when it fails, and harmless whatever the data hold."""

import json
import os

import numpy as np
import pandas as pd
import pytest

from app.drift import worker
from app.drift.compare import read_scores
from app.drift.result import Result, Verdict
from app.drift.sentence import target_line
from app.errors import DataError, StorageFull, UnknownPeriod
from app.runs import reports
from app.runs.run import new_run_id
from tests.drift_frames import FEATURES, calm, quiet_job, settings

ROWS = 1500
HOSTILE = "</script><script>document.title='x'</script><img src=x onerror=document.title='y'>"
TOML = """\
title = "Mine"
[drift]
source = "files"
path = "{path}/{{period}}.parquet"
label = "label"
identifier = "user"
features = {features}
columns = "all"
"""


@pytest.fixture(scope="module", autouse=True)
def warm():
    """Evidently and Feast, loaded once for the whole file."""
    worker.preload()


@pytest.fixture
def home(tmp_path):
    """A system of three months: a calm pair, then an event that moves four of nine features."""
    one = settings(tmp_path, REPORT_DIR="out")
    (tmp_path / "data").mkdir()
    for index, month in enumerate(["2024-01-31", "2024-02-29", "2024-03-31"]):
        data = calm(index + 1, ROWS)
        if index == 2:
            data[FEATURES[:4]] += 3
        data.to_parquet(tmp_path / "data" / f"{month}.parquet")
    write_system(one, tmp_path)
    return one


def write_system(one, tmp_path, features=FEATURES, name="mine", **replaced):
    text = TOML.format(path=tmp_path / "data", features=json.dumps(features))
    for old, new in replaced.items():
        text = text.replace(old, new)
    (one.root / "app" / "systems" / f"{name}.toml").write_text(text)


def job(one, ref="month_000", cur="month_001", threshold=None, system="mine"):
    args = {"ref": ref, "cur": cur, "threshold": threshold}
    return quiet_job(one, run=new_run_id(), system=system, args=args)


def ran(one, *given, **more):
    wanted = job(one, *given, **more)
    outcome = worker.run(wanted)
    result = Result.from_json(reports.read_file(outcome.path, "result.json"))
    assert (outcome.state, outcome.outcome, outcome.reason) == ("done", result.decision.value, result.reason)
    return outcome, result, wanted


def test_a_calm_pair_is_saved_published_and_told_in_the_two_lines(home):
    outcome, result, wanted = ran(home)
    stem = "drift_2024-01-31_vs_2024-02-29"
    folder = home.root / "out" / "mine"
    assert outcome.path == folder / "runs" / wanted.run
    assert set(reports.read_meta(outcome.path).files) == {f"{stem}.html", f"{stem}.json", "result.json"}
    for ending in ("html", "json"):
        assert (folder / f"{stem}.{ending}").read_bytes() == reports.read_file(outcome.path, f"{stem}.{ending}")
    assert (result.decision, result.n, result.ref.rows, result.cur.labelled) == (Verdict.NO_ACTION, 11, ROWS, ROWS)
    drift = abs(calm(2, ROWS).label.mean() - calm(1, ROWS).label.mean())
    assert result.target_drift.value == drift
    assert result.line == (
        f"[Evidently] report_html=out/mine/{stem}.html report_json=out/mine/{stem}.json drift_share=0.00"
        f" -> NO_ACTION drift_share=0.00 < 0.30 (target_drift={drift})"
    )
    assert target_line(result.target_drift).startswith("[Target drift] ref_rate=0.")
    assert wanted.stages[0] == "loading reference"
    assert wanted.stages[-1] == "writing the report"


def test_banner_result_report_and_line_agree_to_the_last_digit(home):
    outcome, result, _ = ran(home, "2024-01-31", "2024-03-31")
    reading = read_scores(reports.read_file(outcome.path, "drift_2024-01-31_vs_2024-03-31.json"))
    assert result.decision is Verdict.RETRAINING_TRIGGERED
    assert (result.k, result.n, result.share, result.share_features) == (4, 11, 4 / 11, 4 / 9)
    assert (reading.drifted, reading.share, reading.drift_share) == (4, 4 / 11, 0.3)
    assert {name: one.value for name, one in reading.scores.items()} == {one.name: one.score for one in result.columns}
    assert "RETRAINING_TRIGGERED (SIMULÉ) drift_share=0.36 >= 0.30" in result.line


def test_another_threshold_is_another_decision(home):
    assert ran(home, "month_000", "month_002", 0.5)[1].decision is Verdict.NO_ACTION
    assert ran(home, "month_000", "month_001", 0.0)[1].decision is Verdict.RETRAINING_TRIGGERED


def test_an_undecided_run_has_no_report_and_leaves_the_published_one_alone(home, tmp_path):
    ran(home)
    flat = home.root / "out" / "mine" / "drift_2024-01-31_vs_2024-02-29.html"
    before = flat.read_bytes()
    calm(2, 5).to_parquet(tmp_path / "data" / "2024-02-29.parquet")
    outcome, result, _ = ran(home)
    assert result.decision is Verdict.UNDECIDED
    assert (result.share, result.k, result.share_features) == (None, None, None)
    assert set(reports.read_meta(outcome.path).files) == {"result.json"}
    assert result.line == (
        "[Evidently] report_html=- report_json=- drift_share=NaN -> UNDECIDED 2024-02-29 has 5 rows;"
        " at least 30 are needed to say anything (min_rows)."
    )
    assert flat.read_bytes() == before


def test_an_unlabelled_month_is_decided_with_its_label_counted_as_not_comparable(home, tmp_path):
    data = pd.read_parquet(tmp_path / "data" / "2024-03-31.parquet")
    data.drop(columns="label").to_parquet(tmp_path / "data" / "2024-03-31.parquet")
    result = ran(home, "month_000", "month_002")[1]
    assert (result.k, result.n, result.decision) == (4, 11, Verdict.RETRAINING_TRIGGERED)
    assert result.line.endswith("drift_share=0.36 >= 0.30 (target_drift=NaN)")
    assert target_line(result.target_drift) == (
        "[Target drift] not measured: month_002 (2024-03-31) has no column label."
    )
    label = next(one for one in result.columns if one.name == "label")
    assert label.reason == "month_002 (2024-03-31) has no column label"


def test_a_label_that_is_no_yes_or_no_has_no_rate(home, tmp_path):
    for path in (tmp_path / "data").iterdir():
        data = pd.read_parquet(path)
        data.assign(label=np.arange(ROWS) * 0.7).to_parquet(path)
    result = ran(home)[1]
    assert "label is not a yes/no value" in result.target_drift.reason
    assert result.target_drift.value is None


def test_a_fixed_pair_needs_no_months(home, tmp_path):
    pd.concat([calm(1, ROWS), calm(2, ROWS)]).to_parquet(tmp_path / "data" / "all.parquet")
    write_system(home, tmp_path, name="split", **{"{period}": "all", 'label = "label"': "split = 0.5"})
    result = ran(home, None, None, system="split")[1]
    assert (result.ref.key, result.cur.key, result.ref.rows) == ("rows-000-050", "rows-050-100", ROWS)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"ref": "month_009"}, UnknownPeriod, "no period 'month_009'"),
        ({"cur": "../../etc/passwd"}, UnknownPeriod, "no period"),
        ({"ref": None, "cur": None}, DataError, "Two months are needed"),
        ({"system": "gone"}, DataError, "no system 'gone'"),
        ({"system": "gauge"}, DataError, "as a gauge"),
    ],
)
def test_a_run_that_cannot_start_says_why(home, given, error, words):
    (home.root / "app" / "systems" / "gauge.toml").write_text('title = "G"\n[drift]\nsource = "gauge"\nexpr = "x"\n')
    with pytest.raises(error, match=words) as caught:
        worker.run(job(home, **given))
    assert caught.value.hint
    assert not (home.root / "out").exists()


def test_a_full_disk_keeps_nothing_of_the_run(home, monkeypatch):
    real = os.fsync
    calls = iter(range(100))

    def full(handle):
        if next(calls) == 1:
            raise OSError(28, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageFull, match="No room left"):
        worker.run(job(home))
    monkeypatch.undo()
    assert [path for path in (home.root / "out").rglob("*") if path.is_file()] == []


def test_the_policy_is_the_system_files(home):
    assert ran(home)[1].policy.digest != ran(home, threshold=0.31)[1].policy.digest


# --- a hostile month --------------------------------------------------------------------------------------------------


@pytest.fixture
def hostile(home, tmp_path):
    """Hostile values and a hostile column name in every month, then the run on them."""
    names = [*FEATURES[:3], "net", HOSTILE]
    for index, path in enumerate(sorted((tmp_path / "data").iterdir())):
        data = calm(index + 1, ROWS)
        data["net"] = np.where(np.arange(ROWS) % 3 == 0, HOSTILE, "DSL")
        data[HOSTILE] = data["f6"]
        data.to_parquet(path)
    write_system(home, tmp_path, names)
    return ran(home)


def test_hostile_values_are_data_in_every_file(hostile):
    outcome, result, _ = hostile
    html = reports.read_file(outcome.path, "drift_2024-01-31_vs_2024-02-29.html").decode()
    assert "</script><script>document" not in html
    assert "<img src=x" not in html
    assert "\n" not in result.line
    assert HOSTILE in {one.name for one in result.columns}
    assert HOSTILE in next(one for one in result.columns if one.name == "net").ref.shares


@pytest.mark.browser
def test_in_a_browser_the_report_draws_and_no_value_runs(hostile, browser):
    page = browser.new_page()
    page.goto((hostile[0].path / "drift_2024-01-31_vs_2024-02-29.html").as_uri())
    page.get_by_text("Dataset Drift").first.wait_for(timeout=60_000)
    assert page.title() not in ("x", "y")
    assert page.get_by_text(HOSTILE).count() > 0
    page.close()
