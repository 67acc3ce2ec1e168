"""Reading the JSON of reports made elsewhere: three forms, what each says, and files that are none."""

import json
import math

import pytest

from app.drift.imported import MAX_COLUMNS, Names, read
from app.drift.result import Result
from app.drift.what_if import Change, recompute
from app.errors import ReportError
from tests.hostile_text import DOCUMENTS

NAMES = Names("20240229T140532Z-1a2b3c", "mine", "2024-01-31", "2024-02-29", "by hand")
K_S, DISTANCE = "K-S p_value", "Wasserstein distance (normed)"
# name: (method, threshold, score)
SCORES = {"fee": (DISTANCE, 0.1, 0.21), "age": (K_S, 0.05, 0.04), "plan": ("chi-square p_value", 0.05, 0.05)}


def today(*, share=2 / 3, count=2, drift_share=0.5, scores=SCORES, counted=None, more=()):
    """As Evidently writes it since 0.7.16."""
    columns = list(scores) if counted is None else counted
    config = {"type": "evidently:metric_v2:DriftedColumnsCount", "columns": columns, "drift_share": drift_share}
    rows = [{"metric_name": "DriftedColumnsCount(…)", "config": config, "value": {"count": count, "share": share}}]
    for name, (method, threshold, score) in scores.items():
        config = {"type": "evidently:metric_v2:ValueDrift", "column": name, "method": method, "threshold": threshold}
        rows.append({"metric_name": f"ValueDrift(column={name})", "config": config, "value": score})
    return {"metrics": [*rows, *more], "tests": []}


def older(*, share=2 / 3, count=2, arguments="drift_share=0.5", names=tuple(SCORES)):
    """As 0.7.15 wrote it: everything but the value stands in `metric_id`."""
    rows = [{"id": "1", "metric_id": f"DriftedColumnsCount({arguments})", "value": {"count": count, "share": share}}]
    rows += [{"id": "2", "metric_id": f"ValueDrift(column={name})", "value": SCORES[name][2]} for name in names]
    return {"metrics": [*rows, {"id": "3", "metric_id": "RowCount()", "value": 7043.0}]}


def oldest():
    """As 0.4 wrote it."""
    table = {
        name: {
            "column_name": name,
            "column_type": "cat" if name == "plan" else "num",
            "stattest_name": method,
            "stattest_threshold": threshold,
            "drift_score": score,
            "drift_detected": name != "plan",
        }
        for name, (method, threshold, score) in SCORES.items()
    }
    numbers = {"number_of_columns": 3, "number_of_drifted_columns": 2, "share_of_drifted_columns": 2 / 3}
    sides = {"reference": {"number_of_rows": 10}, "current": {"number_of_rows": 20}}
    return {
        "version": "0.4.40",
        "metrics": [
            {"metric": "DatasetDriftMetric", "result": {"drift_share": 0.7, "dataset_drift": False, **numbers}},
            {"metric": "DataDriftTable", "result": {"drift_share": 0.5, "drift_by_columns": table, **numbers}},
            {"metric": "DatasetSummaryMetric", "result": sides},
        ],
    }


def imported(raw, own=0.3):
    data = raw if isinstance(raw, bytes) else json.dumps(raw).encode()
    found = read(data, NAMES, own)
    # What is stored is what was read: nothing in it that JSON cannot hold.
    assert Result.from_json(found.to_json()) == found
    return found


def flags(result):
    return {column.name: column.drifted for column in result.columns}


def test_todays_form_gives_share_threshold_methods_and_flags():
    rows = {"config": {"type": "evidently:metric_v2:RowCount"}, "value": 7043.0}
    mean = {"config": {"type": "evidently:metric_v2:MeanValue", "column": "fee"}, "value": 65.5}
    found = imported(today(more=[rows, mean]))
    assert (found.share, found.k, found.n, found.policy.threshold) == (2 / 3, 2, 3, 0.5)
    assert found.decision == "RETRAINING_TRIGGERED"
    assert flags(found) == {"fee": True, "age": True, "plan": False}
    fee = found.columns[0]
    assert (fee.method, fee.score, fee.threshold, fee.kind, fee.cur.mean) == (DISTANCE, 0.21, 0.1, "number", 65.5)
    assert (found.ref.key, found.ref.rows, found.cur.key, found.cur.rows) == ("2024-01-31", None, "2024-02-29", 7043)
    assert found.reason.startswith("imported from today's Evidently (metric_name), by hand: share 0.67 ≥ 0.50")
    assert "report_html=- report_json=-" in found.line
    assert "RETRAINING_TRIGGERED (SIMULÉ) drift_share=0.67 >= 0.50" in found.line
    assert (found.seconds, found.target_drift.value, found.own) == (None, None, None)


def test_the_unchanged_what_if_of_an_import_is_its_decision():
    for raw in (today(), today(share=0, count=0), older(), older(share=0.0, count=0), oldest()):
        found = imported(raw)
        again = recompute(found, Change())
        assert again.decision.verdict is found.decision
        assert (again.decision.counted.k, again.decision.counted.n) == (found.k, found.n)
    # With scores and methods it can be tried further.
    assert recompute(imported(today()), Change(threshold=0.7)).decision.verdict == "NO_ACTION"


def test_the_label_watched_beside_the_counted_columns_is_not_counted():
    found = imported(today(scores=SCORES | {"churn": (K_S, 0.05, 0.001)}, counted=list(SCORES)))
    assert (found.policy.columns, found.policy.label, found.k, found.n) == ("features", "churn", 2, 3)
    assert flags(found)["churn"] is True
    both = SCORES | {"churn": (K_S, 0.05, 0.001), "other": (K_S, 0.05, 0.001)}
    assert imported(today(scores=both, counted=list(SCORES))).policy.left_out == ("churn", "other")


def test_the_older_form_says_the_share_and_the_scores_but_not_which_columns_drifted():
    found = imported(older())
    assert (found.share, found.k, found.n, found.policy.threshold) == (2 / 3, 2, 3, 0.5)
    assert flags(found) == {"fee": None, "age": None, "plan": None}
    assert [column.score for column in found.columns] == [0.21, 0.04, 0.05]
    assert all(column.reason for column in found.columns)
    assert "metric_id" in found.reason
    assert found.cur.rows == 7043


def test_the_older_form_with_none_or_all_drifted_says_it_of_each():
    assert flags(imported(older(share=0.0, count=0))) == dict.fromkeys(SCORES, False)
    assert flags(imported(older(share=1.0, count=3))) == dict.fromkeys(SCORES, True)


def test_a_share_of_nothing_is_not_calm():
    """0 drifted of no column that anybody knows of: unknown, not 0."""
    bare = {"metrics": [older(share=0.0, count=0)["metrics"][0]]}
    found = imported(bare)
    assert (found.decision, found.share, found.k, found.n) == ("UNDECIDED", None, None, 0)
    assert found.reason.endswith(
        "a share of 0, and the report does not say of how many columns: nothing follows from it."
    )
    assert recompute(found, Change()).decision.verdict == "UNDECIDED"
    assert recompute(found, Change(threshold=0.0)).decision.verdict == "UNDECIDED"


def test_a_column_without_a_number_is_counted_too():
    raw = older(share=0.0, count=0)
    raw["metrics"][2]["value"] = None
    found = imported(raw)
    assert (found.k, found.n, found.decision) == (0, 3, "NO_ACTION")
    assert len(found.columns) == 3
    # The form of 0.4 says how many there are, with and without its table.
    raw = oldest()
    numbers = {"number_of_columns": 3, "number_of_drifted_columns": 0, "share_of_drifted_columns": 0.0}
    raw["metrics"] = [{"metric": "DatasetDriftMetric", "result": numbers}]
    found = imported(raw)
    assert (found.k, found.n, found.share, found.decision) == (0, 3, 0.0, "NO_ACTION")


def test_names_and_reasons_of_any_length_are_kept_short():
    long = "x" * 100_000
    found = imported(today(share=1.0, count=1, scores={long: (long, 0.05, 0.01)}, more=[older()["metrics"][-1]]))
    assert len(found.columns[0].name) == 200
    assert len(found.columns[0].method) == 200
    assert len(found.reason) <= 2000


def test_the_older_form_may_name_the_columns_it_counts():
    found = imported(older(share=0.5, count=1, arguments="columns=fee,age,drift_share=0.3"))
    assert (found.k, found.n, found.policy.threshold, found.policy.label) == (1, 2, 0.3, "plan")


def test_the_form_of_0_4_has_its_own_flags_and_both_row_counts():
    found = imported(oldest())
    assert (found.share, found.k, found.n, found.policy.threshold) == (2 / 3, 2, 3, 0.7)
    assert found.decision == "NO_ACTION"
    assert flags(found) == {"fee": True, "age": True, "plan": False}
    assert [column.kind for column in found.columns] == ["number", "number", "category"]
    assert (found.ref.rows, found.cur.rows) == (10, 20)


def test_a_share_at_its_threshold_triggers():
    assert imported(today(share=0.5, count=1, scores=dict(list(SCORES.items())[:2]))).decision == "RETRAINING_TRIGGERED"


def test_a_report_without_a_threshold_is_held_against_the_systems_own_and_says_so():
    found = imported(older(arguments=""), own=0.8)
    assert (found.policy.threshold, found.decision) == (0.8, "NO_ACTION")
    assert any("the system's own 0.80" in note for note in found.notes)


def test_a_text_column_judged_by_a_percentile_takes_its_flag_from_the_count():
    scores = {"fee": (DISTANCE, 0.1, 0.2), "user": ("Percentile text content drift", 0.55, 0.5)}
    assert flags(imported(today(share=0.5, count=1, scores=scores))) == {"fee": True, "user": False}
    assert flags(imported(today(share=1.0, count=2, scores=scores))) == {"fee": True, "user": True}


def test_a_method_that_is_not_known_leaves_the_flag_unknown():
    found = imported(today(share=0.5, count=1, scores={"a": ("my own", 0.1, 0.2), "b": (K_S, 0.05, 0.5)}))
    assert flags(found) == {"a": None, "b": False}


def test_scores_that_contradict_the_count_are_said():
    found = imported(today(share=1 / 3, count=1))
    assert any("counts 1 drifted columns; by the scores in it they are 2" in note for note in found.notes)
    assert recompute(found, Change()).decision.verdict is found.decision


def test_numbers_that_are_none_are_unknown():
    scores = {"a": (K_S, 0.05, math.nan), "b": (K_S, 0.05, math.inf), "c": (K_S, 0.05, None), "d": (K_S, 0.05, 0.01)}
    rows = {"config": {"type": "evidently:metric_v2:RowCount"}, "value": math.nan}
    found = imported(today(share=0.25, count=1, scores=scores, more=[rows]))
    assert [column.score for column in found.columns] == [None, None, None, 0.01]
    assert flags(found) == {"a": None, "b": None, "c": None, "d": True}
    assert found.cur.rows is None


def test_names_from_a_file_are_only_names():
    name = "</script>\x00\x1b[31m\ud800" + "x" * 1000
    found = read(json.dumps(today(share=1.0, count=1, scores={name: (K_S, 0.05, 0.01)})).encode(), NAMES, 0.3)
    assert len(found.columns[0].name) == 200
    assert not any(ord(char) < 32 for char in found.reason)
    assert Result.from_json(found.to_json()).k == 1


@pytest.mark.parametrize(
    "values",
    [
        {"share": 2.0, "count": 6},
        {"share": -0.5, "count": -1},
        {"share": 0.5, "count": 0},
        {"share": 0.0, "count": 1},
        {"share": 0.5, "count": 1.5},
        {"share": 0.34, "count": 1},
        {"share": 1e-320, "count": 1},
        {"share": 0.001, "count": 1e308},
        {"share": 1e-9, "count": 1},
        {"share": 1.0, "count": 10**400},
        {"share": math.nan, "count": 1},
        {"share": math.inf, "count": 1},
        {"share": None, "count": None},
        {"share": "much", "count": []},
        {"share": True, "count": True},
    ],
)
def test_a_count_and_a_share_that_cannot_be_are_refused_in_words(values):
    with pytest.raises(ReportError, match=r"contradicts itself|no share of drifted columns") as raised:
        imported(today(**values))
    assert raised.value.hint


HOSTILE = [
    b"",
    b"{",
    b"\xff\xfe\x00",
    b"[" * 100_000,
    b'{"metrics":' * 50_000,
    b"9" * 10_000,
    b"null",
    b"[]",
    b"3",
    b'"metrics"',
    b"{}",
    b'{"metrics": {}}',
    b'{"metrics": [1, null, "x", []]}',
    b'{"metrics": [{}]}',
    b'{"metrics": [{"metric_id": null, "config": [], "value": {}}]}',
    b'{"metrics": [{"metric_id": "DriftedColumnsCount(drift_share=0.5)"}]}',
    b'{"metrics": [{"metric_id": "DriftedColumnsCount(drift_share=0.5)", "value": [1, 2]}]}',
    b'{"metrics": [{"config": {"type": 5, "column": {}}, "value": {}}]}',
    b'{"metrics": [{"metric": "DatasetDriftMetric", "result": []}]}',
    b'{"metrics": [{"metric": "x", "result": {"share_of_drifted_columns": {}, "drift_by_columns": [1]}}]}',
    b'{"metrics": [{"metric_id": "RowCount()", "value": 1}]}',
]


@pytest.mark.parametrize("data", HOSTILE, ids=range(len(HOSTILE)))
def test_what_is_no_report_is_refused_in_words(data):
    with pytest.raises(ReportError) as raised:
        imported(data)
    assert len(str(raised.value)) < 400
    assert str(raised.value).isprintable()
    assert raised.value.hint


def test_more_columns_than_anybody_looks_at_are_refused():
    scores = {f"c{n}": (K_S, 0.05, 0.5) for n in range(MAX_COLUMNS + 1)}
    with pytest.raises(ReportError, match="more than 2000 columns"):
        imported(today(share=0, count=0, scores=scores))


def test_every_hostile_document_is_refused_in_words_alone_and_as_a_value_in_a_report():
    for name, data in DOCUMENTS.items():
        with pytest.raises(ReportError):
            imported(data)
        around = json.dumps(today(share=0.5, count=1, scores=dict(list(SCORES.items())[:2]))).encode()
        for place in (b"0.21", b'"fee"', b'"K-S p_value"', b"0.5}"):
            try:
                found = read(around.replace(place, data + (b"}" if place.endswith(b"}") else b""), 1), NAMES, 0.3)
            except ReportError as error:
                assert str(error).isprintable(), name
            else:
                assert Result.from_json(found.to_json()).share == found.share, name
