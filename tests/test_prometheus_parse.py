"""The fast path reads the same numbers, to the last bit, as the slow one, and never guesses."""

from __future__ import annotations

import json
import math
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import BadAnswer, DeadlineExceeded, QueryError
from app.prometheus import parse as module
from app.prometheus.parse import parse


def body(result, kind="matrix", **more) -> bytes:
    """As Prometheus writes it: no spaces, fields in its order, text as UTF-8."""
    whole = {"status": "success", "data": {"resultType": kind, "result": result}, **more}
    return json.dumps(whole, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


def go_float(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value).removesuffix(".0")


def bits(values) -> list[bytes]:
    return [struct.pack("<d", value) for value in values]


names = st.text(st.characters(codec="utf-8"), max_size=12)
values = st.floats(allow_nan=False, width=64)
rows = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from(["a", "b", "values", "metric"]), names, max_size=4),
        st.lists(values, min_size=1, max_size=8),
    ),
    max_size=4,
)


@settings(deadline=None)
@given(rows)
def test_the_fast_path_is_bit_equal_to_float(rows):
    result = [
        {"metric": labels, "values": [[1700000000.123 + at, go_float(value)] for at, value in enumerate(column)]}
        for labels, column in rows
    ]
    fast = module._fast(body(result))
    assert fast is not None
    for (labels, column), series in zip(rows, fast.series, strict=True):
        assert series.labels == labels
        assert bits(series.values) == bits(column)
        assert bits(series.times) == bits(1700000000.123 + at for at in range(len(column)))


@settings(deadline=None, max_examples=300)
@given(rows, st.data())
def test_a_damaged_body_is_an_error_or_the_same_numbers_never_others(rows, data):
    result = [
        {"metric": labels, "values": [[1700000000 + at, go_float(value)] for at, value in enumerate(column)]}
        for labels, column in rows
    ]
    whole = bytearray(body(result))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(whole) - 1))
        if data.draw(st.booleans()):
            del whole[place]
        else:
            whole[place] = data.draw(st.sampled_from(list(b'[]{}",:0e+-. x')))
    try:
        fast = module._fast(bytes(whole))
        slow = None if fast is None else module._slow(bytes(whole), "x", 200)
    except (BadAnswer, QueryError):
        return  # the slow path is the judge only where it can read the body
    if fast is None or slow is None:
        return
    assert [one.labels for one in fast.series] == [one.labels for one in slow.series]
    for quick, sure in zip(fast.series, slow.series, strict=True):
        np.testing.assert_array_equal(quick.values, sure.values)
        np.testing.assert_array_equal(quick.times, sure.times)


@pytest.mark.parametrize("text", ["NaN", "+Inf", "-Inf", "1e-05", "1.7976931348623157e+308", "5e-324", "-0", "0"])
def test_every_way_prometheus_writes_a_number_is_read_fast(text):
    fast = module._fast(body([{"metric": {}, "values": [[1.5, text], [2.5, text]]}]))
    assert fast is not None
    np.testing.assert_array_equal(fast.series[0].values, [float(text)] * 2)
    assert math.copysign(1, fast.series[0].values[0]) == math.copysign(1, float(text))


@pytest.mark.parametrize(
    "text",
    ['},{"metric":{}', ',"values":[[1,"2"]]', "]]", '"]]}', "\\", "\n", "é", "</script>", "\x00", "{}[]", '\\"],[1,"3'],
)
def test_hostile_label_values_come_back_as_they_are(text):
    labels = {"a": text, text: "b"}
    parsed = parse(body([{"metric": labels, "values": [[1, "2"]]}, {"metric": {}, "values": [[3, "4"]]}]))
    assert parsed.series[0].labels == labels
    assert [one.values.tolist() for one in parsed.series] == [[2.0], [4.0]]


def test_an_empty_answer_has_no_series():
    assert parse(body([])).series == ()


def test_warnings_and_infos_are_kept_on_both_paths():
    data = [{"metric": {}, "values": [[1, "2"]]}]
    for whole in (body(data, warnings=["w"], infos=["i"]), b" " + body(data, warnings=["w"], infos=["i"])):
        parsed = parse(whole)
        assert (parsed.warnings, parsed.infos) == (("w",), ("i",))
    assert module._fast(b" " + body(data)) is None


def test_the_other_kinds_take_the_slow_path():
    vector = parse(body([{"metric": {"a": "b"}, "value": [1.5, "NaN"]}], "vector"))
    assert vector.kind == "vector"
    assert math.isnan(vector.series[0].values[0])
    assert parse(body([1.5, "2"], "scalar")).series[0].values.tolist() == [2.0]
    assert parse(body([1.5, "hello"], "string")).text == "hello"


def test_native_histograms_are_counted_and_said_not_drawn():
    histogram = {"count": "1", "sum": "2", "buckets": []}
    mixed = [
        {"metric": {"a": "1"}, "histograms": [[1, histogram]]},
        {"metric": {"a": "2"}, "values": [[1, "2"]], "histograms": [[2, histogram]]},
        {"metric": {"a": "3"}, "values": [[1, "3"]]},
    ]
    parsed = parse(body(mixed))
    assert parsed.skipped == 2
    assert [one.labels["a"] for one in parsed.series] == ["2", "3"]
    instant = parse(body([{"metric": {}, "histogram": [1, histogram]}], "vector"))
    assert (instant.skipped, instant.series) == (1, ())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html>",
        b"null",
        b"[]",
        b"{}",
        b'{"status":"success"}',
        b'{"status":"success","data":[]}',
        b'{"status":"success","data":{"resultType":"matrix"}}',
        b'{"status":"success","data":{"resultType":"matrix","result":[{"metric":{}}]}}',
        b'{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1]]}]}}',
        b'{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,"x"]]}]}}',
        b'{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,"2"],[3,"4"',
        b'{"status":"success","data":{"resultType":"cube","result":[]}}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_query_result_is_a_bad_answer(data):
    with pytest.raises(BadAnswer) as caught:
        parse(data, where="http://127.0.0.1:9090")
    assert "127.0.0.1:9090" in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "text", "error", "position"),
    [
        ("bad_data", 'invalid parameter "query": 1:3: parse error: unexpected end of input', QueryError, (1, 3)),
        ("bad_data", "12:7: parse error: unclosed left parenthesis", QueryError, (12, 7)),
        ("execution", "query processing would load too many samples into memory in query execution", QueryError, None),
        ("bad_data", "exceeded maximum resolution of 11,000 points per timeseries.", QueryError, None),
        ("timeout", "query timed out in expression evaluation", DeadlineExceeded, None),
        ("unavailable", "TSDB not ready", BadAnswer, None),
        ("", "", BadAnswer, None),
    ],
)
def test_the_servers_own_error_is_told_with_its_place(kind, text, error, position):
    data = json.dumps({"status": "error", "errorType": kind, "error": text}).encode()
    with pytest.raises(error) as caught:
        parse(data, status=400)
    assert getattr(caught.value, "position", None) == position
    if position:
        assert f"line {position[0]}, column {position[1]}: parse error" in str(caught.value)
    if text:
        assert caught.value.hint
