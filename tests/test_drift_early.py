"""The decision before the report, the report of a part of the data, and what happens where the two do not agree."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from app.drift import compare, early, scoring
from app.drift.comparison import compared, judge
from app.drift.evidently_json import metric_scores, metric_type, read_scores
from app.drift.result import Verdict
from app.errors import DataError
from app.runs.run import new_run_id
from tests.drift_frames import FEATURES, calm, evidently_loaded, frame, pair, policy, quiet_job, settings
from tests.warm import ROOT

ROWS = 1500
PLAIN = policy(label=None, identifier=None)


@pytest.fixture(scope="module", autouse=True)
def evidently():
    with evidently_loaded():
        yield


@pytest.fixture(scope="module")
def months():
    ref, cur = calm(1, ROWS), calm(2, ROWS)
    cur["f0"] += 1.0
    cur["f6"] = cur["f6"].replace("DSL", "Fiber")
    return frame(ref, "jan"), frame(cur, "feb")


def of_metrics(text, name):
    return [one for one in json.loads(text)["metrics"] if metric_type(one) == name]


# --- the decision first ----------------------------------------------------------------------------------------------


def test_the_decision_is_there_before_the_report_and_is_the_one_of_the_result(tmp_path, months, monkeypatch):
    used = policy(identifier="user")
    job = quiet_job(settings(tmp_path, REPORT_DIR="out"), run=new_run_id())
    seen = []
    real = compare.reported
    monkeypatch.setattr(
        compare, "reported", lambda *given: seen.append(early.read(job.settings, job.run)) or real(*given)
    )
    assert early.read(job.settings, job.run) is None
    result, _ = compared(job, pair(tmp_path, FEATURES, used), months, 0.0)
    (first,) = seen
    assert (first.decision, first.share, first.k, first.n) == (result.decision, result.share, result.k, result.n)
    assert first.decision is Verdict.NO_ACTION
    assert {one.name: one.drifted for one in first.columns if one.name != "user"} == {
        one.name: one.drifted for one in result.columns if one.name != "user"
    }
    # What does not count is compared when the decision is out.
    assert [one.score is None for one in first.columns if one.name == "user"] == [True]
    assert [one.score is None for one in result.columns if one.name == "user"] == [False]
    assert early.read(job.settings, "no run") is None


def test_a_decision_needs_neither_evidently_nor_feast_nor_a_report(tmp_path):
    code = """
import sys, numpy as np, pandas as pd
from app.drift import worker
worker.preload()
from app.drift.comparison import judge
from tests.drift_frames import FEATURES, calm, frame, pair, policy, quiet_job
from dataclasses import replace
from pathlib import Path
ref, cur = calm(1, 1500), calm(2, 1500)
one = replace(pair(Path("/nowhere"), FEATURES, policy()), report=False)
found = judge(quiet_job(), one, frame(ref, "jan"), frame(cur, "feb"))
print(found.decision.verdict, found.html, *({"evidently", "feast", "sklearn"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.stdout.split() == ["NO_ACTION", "None"], done.stderr[-2000:]


def test_nothing_decided_is_no_report_and_costs_none(tmp_path, months, monkeypatch):
    monkeypatch.setattr(compare, "reported", lambda *_: pytest.fail("a report was made"))
    used = policy(threshold=1.0, target_threshold=0.5)
    unlabelled = [frame(one.data.drop(columns="label"), one.key) for one in months]
    found = judge(quiet_job(), pair(tmp_path, FEATURES, used), *unlabelled)
    assert (found.decision.verdict, found.html) == (Verdict.UNDECIDED, None)


# --- a report of a part ----------------------------------------------------------------------------------------------


def test_a_report_of_many_rows_is_a_seeded_sample_that_says_so_in_every_place(months, monkeypatch, tmp_path):
    monkeypatch.setattr(compare, "REPORT_ROWS", 1450)
    one = pair(tmp_path, FEATURES, PLAIN)
    found, again = (judge(quiet_job(), one, *months) for _ in range(2))
    (note,) = [note for note in found.notes if note.startswith("The report draws a sample")]
    assert "1,450 rows of each side (1,500 and 1,500)" in note
    assert note in found.html
    assert "2 of 9 columns drifted" in found.html
    assert json.loads(found.json)["vigie"]["part"][0] == note
    assert read_scores(found.json).scores == read_scores(again.json).scores
    # The sample has scores of its own; those of the result are of all rows.
    whole = judge(quiet_job(), one, *months).columns
    assert found.columns == whole
    assert {one.name for one in found.columns if one.drifted} == {"f0", "f6"}
    assert found.decision.share == read_scores(found.json).share


def test_a_sample_that_judges_otherwise_counts_nothing_and_names_the_column(months, monkeypatch, tmp_path):
    monkeypatch.setattr(compare, "REPORT_ROWS", 1450)
    sampled = judge(quiet_job(), pair(tmp_path, FEATURES, PLAIN), *months)
    whole = next(one.score for one in sampled.columns if one.name == "f1")
    part = read_scores(sampled.json).scores["f1"].value
    used = policy(label=None, identifier=None, thresholds={"f1": (whole + part) / 2})
    found = judge(quiet_job(), pair(tmp_path, FEATURES, used), *months)
    assert next(one.drifted for one in found.columns if one.name == "f1") is (whole > part)
    assert any("judges f1 otherwise" in note for note in found.notes)
    assert of_metrics(found.json, "DriftedColumnsCount") == []
    assert len(of_metrics(found.json, "ValueDrift")) == len(FEATURES)
    assert "Dataset Drift" not in found.html


def test_a_report_of_a_wide_table_draws_what_drifted_most_and_counts_nothing(months, monkeypatch, tmp_path):
    monkeypatch.setattr(compare, "REPORT_COLUMNS", 3)
    found = judge(quiet_job(), pair(tmp_path, FEATURES, PLAIN), *months)
    drawn = set(metric_scores(json.loads(found.json)["metrics"]))
    assert len(drawn) == 3
    assert {"f0", "f6"} < drawn
    assert (found.decision.counted.k, found.decision.counted.n) == (2, 9)
    assert "Dataset Drift" not in found.html
    assert "The report draws the 3 columns that drifted most, or nearly, of 9" in found.html


def test_a_page_of_another_form_has_the_label_too():
    made = compare._labelled("<html>no body</html>", "{}", [], PLAIN, ["The report draws a sample."])
    assert made.html.startswith("<div") and "The report draws a sample." in made.html


def test_a_column_name_in_the_label_is_text(monkeypatch, tmp_path):
    monkeypatch.setattr(compare, "_differing", lambda *_: ["<script>alert(1)</script>"])
    monkeypatch.setattr(compare, "REPORT_ROWS", 100)
    frames = [frame(pd.DataFrame({"x": np.random.default_rng(seed).normal(0, 1, 150)}), "m") for seed in (1, 2)]
    found = judge(quiet_job(), pair(tmp_path, ["x"], PLAIN), *frames)
    assert "<script>alert" not in found.html
    assert "&lt;script&gt;alert" in found.html


# --- the two on the same rows ----------------------------------------------------------------------------------------


def off(monkeypatch, by):
    """Our own score of every column is wrong by this part."""
    real = scoring.score

    def wrong(*given):
        found = real(*given)
        return type(found)(found.method, found.value * by, found.threshold)

    monkeypatch.setattr(scoring, "score", wrong)


def test_another_score_of_evidentlys_on_the_same_rows_is_said_and_kept(months, monkeypatch, tmp_path):
    one = pair(tmp_path, ["f0"], PLAIN)
    true = judge(quiet_job(), one, *months)
    assert not any("our own counts" in note for note in true.notes)
    off(monkeypatch, 1.001)
    found = judge(quiet_job(), one, *months)
    assert any("Evidently's scores are not those of our own counts (in brackets): f0 " in note for note in found.notes)
    assert found.columns[0].score == true.columns[0].score


def test_a_decision_that_evidently_contradicts_is_none(months, monkeypatch, tmp_path):
    off(monkeypatch, 0.001)
    with pytest.raises(DataError, match="Evidently counts 1 drifted columns"):
        judge(quiet_job(), pair(tmp_path, ["f0"], PLAIN), *months)
