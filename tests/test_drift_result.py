"""result.json: what goes in comes out, unknown is null, and foreign files are refused in words."""

import json
import math

import pytest

from app.config import Drift
from app.drift.result import Column, Histogram, Months, Policy, Result, Side, Target, Verdict
from app.errors import ReportError


def result(**changes):
    side = Side(mean=2.3, nulls=0, infinite=0, histogram=Histogram((0.0, 1.0, 2.0), (3, 4)))
    known = {
        "run": "20240229T140532Z-1a2b3c",
        "system": "mine",
        "ref": Months("2024-01-31", 7043, 7043),
        "cur": Months("2024-02-29", 7043, None),
        "policy": Policy("all", 0.3, 30, 0.8, "churn_label", "user_id"),
        "share": 1 / 16,
        "k": 1,
        "n": 16,
        "share_features": 1 / 14,
        "columns": (Column("x", "number", "K-S p_value", 0.5, 0.05, False, True, "", side, Side(shares={"a": 1.0})),),
        "target_drift": Target(reason="no labels"),
        "decision": Verdict.NO_ACTION,
        "reason": "1 of 16",
        "line": "[Evidently] …",
        "seconds": 1.5,
        "peak_bytes": 1000,
    }
    return Result(**known | changes)


def test_a_result_survives_the_file():
    assert Result.from_json(result().to_json()) == result()


def test_a_whole_policy_survives_the_file_and_stands_in_it_by_name():
    policy = Policy(
        "features",
        0.2,
        30,
        0.5,
        "churn_label",
        "user_id",
        left_out=("b", "c"),
        thresholds={"x": 0.2},
        methods={"x": "psi"},
        target_threshold=0.05,
        sentinels={"x": (-999.0,)},
        rule="both",
        material_share=0.1,
    )
    data = result(policy=policy).to_json()
    assert Result.from_json(data).policy == policy
    assert json.loads(data)["policy"] == {
        "columns": "features",
        "threshold": 0.2,
        "min_rows": 30,
        "comparable": 0.5,
        "label": "churn_label",
        "identifier": "user_id",
        "left_out": ["b", "c"],
        "thresholds": {"x": 0.2},
        "methods": {"x": "psi"},
        "target_threshold": 0.05,
        "sentinels": {"x": [-999.0]},
        "rule": "both",
        "material_spread": 0.1,
        "material_share": 0.1,
    }


# As the first release wrote it: without the keys of a policy per column, notes of its own, or `own`.
FIRST = """\
{"version": 1, "run": "20240229T140532Z-1a2b3c", "system": "mine",
 "ref": {"key": "2024-01-31", "rows": 7043, "labelled": 7043},
 "cur": {"key": "2024-02-29", "rows": 7043, "labelled": null},
 "policy": {"columns": "all", "threshold": 0.3, "min_rows": 30, "comparable": 0.8,
            "label": "churn_label", "identifier": "user_id"},
 "share": 0.0625, "k": 1, "n": 16, "share_features": 0.07142857142857142,
 "columns": [{"name": "rebuffer_events_7d", "kind": "number", "method": "Wasserstein distance (normed)",
   "score": 0.20504, "threshold": 0.1, "drifted": true, "comparable": true, "reason": "",
   "ref": {"mean": 2.3, "shares": null, "nulls": 0, "infinite": 0, "histogram": {"edges": [0.0, 1.0], "counts": [9]}},
   "cur": {"mean": 2.6, "shares": null, "nulls": 0, "infinite": 0, "histogram": null}}],
 "target_drift": {"value": null, "ref_rate": null, "cur_rate": null, "reason": "no labels"},
 "decision": "NO_ACTION", "reason": "1 of 16 columns drifted.", "line": "[Evidently] …", "seconds": 1.5,
 "peak_bytes": null}
"""


def test_a_file_of_the_first_release_is_read_under_the_policy_it_had():
    found = Result.from_json(FIRST.encode())
    assert found.policy == Policy("all", 0.3, 30, 0.8, "churn_label", "user_id")
    assert (found.policy.left_out, found.policy.thresholds, found.policy.methods) == ((), {}, {})
    assert (found.policy.target_threshold, found.notes, found.own) == (None, (), None)
    assert (found.columns[0].score, found.columns[0].uncertain) == (0.20504, False)
    assert found.decision is Verdict.NO_ACTION
    assert Result.from_json(found.to_json()) == found


def test_a_trigger_below_the_share_threshold_was_target_drift():
    assert result(decision=Verdict.RETRAINING_TRIGGERED).by_target
    assert not result(decision=Verdict.RETRAINING_TRIGGERED, share=0.3).by_target
    assert not result().by_target
    assert not result(decision=Verdict.UNDECIDED, share=None).by_target


def test_the_keys_are_those_of_the_contract():
    raw = json.loads(result().to_json())
    assert {"version", "run", "system", "ref", "cur", "policy", "share", "k", "n", "share_features", "columns"} <= set(
        raw
    )
    assert {"target_drift", "decision", "reason", "line", "seconds", "peak_bytes"} <= set(raw)
    keys = set("name kind method score threshold drifted comparable reason ref cur".split())
    # These came later (CHANGELOG.md): a file without them is read as certain, without sentinels or opinion.
    assert set(raw["columns"][0]) == keys | {"uncertain", "sentinels", "opinion"}
    assert raw["target_drift"] == {"value": None, "ref_rate": None, "cur_rate": None, "reason": "no labels"}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_null(value):
    data = result(share=value, columns=(Column("x", "number", "m", value, 0.1),)).to_json()
    assert b"NaN" not in data
    assert b"Infinity" not in data
    assert json.loads(data)["share"] is None


def test_lone_surrogates_in_names_do_not_stop_the_file():
    assert Result.from_json(result(columns=(Column("a\ud800", "number"),)).to_json()).columns[0].name == "a?"


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b'{"version": 2}', b"\xff", b'{"version": 1, "run": 1}', b"[" * 5000]
)
def test_anything_else_is_refused_in_words(data):
    with pytest.raises(ReportError):
        Result.from_json(data)


def test_the_digest_of_a_policy_tells_thresholds_apart():
    assert Policy("all", 0.3, 30, 0.8).digest == Policy("all", 0.3, 30, 0.8).digest
    assert Policy("all", 0.3, 30, 0.8).digest != Policy("all", 0.31, 30, 0.8).digest


@pytest.mark.parametrize(
    "more",
    [
        {"left_out": ["a"]},
        {"thresholds": {"a": 0.2}},
        {"methods": {"a": "psi"}},
        {"target_threshold": 0.1},
        {"comparable": 0.9},
        {"sentinels": {"a": [-999]}},
        {"rule": "both"},
        {"material_spread": 0.2},
        {"material_share": 0.1},
    ],
)
def test_each_key_of_the_policy_makes_it_another_one(more):
    plain = {"source": "files"}
    assert Policy.of(Drift(**plain, **more)).digest != Policy.of(Drift(**plain)).digest


def test_the_order_of_columns_left_out_does_not_make_another_policy():
    plain = {"source": "files"}
    one, two = (Policy.of(Drift(**plain, left_out=names)) for names in (["a", "b"], ["b", "a", "b"]))
    assert (one, one.digest) == (two, two.digest)
    assert one.left_out == ("a", "b")
