"""result.json: what goes in comes out, unknown is null, and foreign files are refused in words."""

import json
import math

import pytest

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


def test_the_keys_are_those_of_the_contract():
    raw = json.loads(result().to_json())
    assert {"version", "run", "system", "ref", "cur", "policy", "share", "k", "n", "share_features", "columns"} <= set(
        raw
    )
    assert {"target_drift", "decision", "reason", "line", "seconds", "peak_bytes"} <= set(raw)
    assert set(raw["columns"][0]) == set("name kind method score threshold drifted comparable reason ref cur".split())
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
