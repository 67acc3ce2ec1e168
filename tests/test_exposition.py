import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from app import exposition
from app.errors import AnswerTooLarge, BadAnswer
from app.exposition import Bucket, Sample, counter_total, difference, histogram_difference, parse, quantile_bounds


def registry():
    made = CollectorRegistry()
    counter = Counter("api_requests", "requests", ["endpoint", "status"], registry=made)
    counter.labels("/predict", "200").inc(7)
    counter.labels("/predict", "404").inc(2)
    counter.labels("/health", "200").inc(50)
    Gauge("odd", "labels that need escapes", ["a"], registry=made).labels('back\\slash "quote" new\nline {x} # y,').set(
        math.nan
    )
    histogram = Histogram("latency_seconds", "latency", ["endpoint"], registry=made)
    for value in (0.004, 0.03, 0.03, 0.2):
        histogram.labels("/predict").observe(value)
    return made


def test_every_sample_is_read_as_the_reference_parser_reads_it():
    text = generate_latest(registry()).decode()
    expected = [
        (sample.name, tuple(sorted(sample.labels.items())), sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]
    assert repr([tuple(sample) for sample in parse(text)]) == repr(expected)


def test_openmetrics_with_exemplars_and_eof_is_read_too():
    text = generate_openmetrics(registry()).decode().replace(" 7.0\n", ' 7.0 # {trace="a"} 1.0 1.0\n')
    assert counter_total(parse(text), "api_requests") == 59


@pytest.mark.parametrize("name", ["api_requests_total", "api_requests"])
def test_a_counter_is_added_up_with_or_without_total_and_never_with_created(name, monkeypatch):
    # A service imported by another test may have switched these series off for the whole process.
    monkeypatch.setattr("prometheus_client.metrics._use_created", True)
    samples = parse(generate_latest(registry()))
    assert any(sample.name == "api_requests_created" for sample in samples)
    assert counter_total(samples, name) == 59
    assert counter_total(samples, name, exclude={"endpoint": ["/health"]}) == 9


def test_a_counter_that_is_not_exposed_is_unknown_and_not_zero():
    assert counter_total(parse("a_total 1\n"), "b_total") is None
    assert counter_total(parse("a_total 0\n"), "a_total") == 0


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a 1", [Sample("a", (), 1.0)]),
        ("a\t1\t1700000000000", [Sample("a", (), 1.0)]),
        ("a{} +Inf", [Sample("a", (), math.inf)]),
        ('a { b = "c" , d="e", } 1e3', [Sample("a", (("b", "c"), ("d", "e")), 1000.0)]),
        ('a{b="}"} 2', [Sample("a", (("b", "}"),), 2.0)]),
        ('a{b="x\u2028y"} 2', [Sample("a", (("b", "x\u2028y"),), 2.0)]),
        (
            'good 1\na{b="c} 2\na{b 3\na b c d\n{} 1\na 1_000\na 0x10\na\nab"1\na{b="c" d="e"} 1',
            [Sample("good", (), 1.0)],
        ),
        ('good 1\na{b="torn', [Sample("good", (), 1.0)]),
        ("# HELP a b\n# TYPE a counter\n\r\n", []),
        ("", []),
    ],
)
def test_lines_are_read_or_left_out(line, expected):
    assert parse(line) == expected


@pytest.mark.parametrize(
    "text", [b"<html><body>login</body></html>", b"\xff\xfe\x00", '{"json": 1}', "not a metric at all"]
)
def test_a_text_without_one_valid_line_is_an_error_in_words(text):
    with pytest.raises(BadAnswer) as caught:
        parse(text)
    assert caught.value.hint


def test_a_text_beyond_the_bounds_is_refused(monkeypatch):
    with pytest.raises(AnswerTooLarge):
        parse("a" * (exposition.MAX_BYTES + 1))
    monkeypatch.setattr(exposition, "MAX_SAMPLES", 3)
    with pytest.raises(AnswerTooLarge):
        parse("a 1\n" * 4)


def test_a_very_long_line_is_left_out():
    assert parse('a{b="' + "x" * exposition.MAX_LINE_CHARS + '"} 1\nc 2\n') == [Sample("c", (), 2.0)]


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200))
def test_no_text_brings_anything_but_samples_or_our_errors(text):
    try:
        parse(text)
    except (BadAnswer, AnswerTooLarge):
        pass


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(
        st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,9}", fullmatch=True).filter(lambda n: not n.startswith("__")),
        st.text(alphabet=st.characters(codec="utf-8"), max_size=20),
        max_size=4,
    )
)
def test_any_label_values_survive_being_written_and_read(labels):
    made = CollectorRegistry()
    gauge = Gauge("g", "h", list(labels), registry=made)
    (gauge.labels(**labels) if labels else gauge).set(4)
    assert parse(generate_latest(made)) == [Sample("g", tuple(sorted(labels.items())), 4.0)]


def test_a_new_series_counts_from_zero():
    moved = difference(parse('a_total{s="200"} 5\n'), parse('a_total{s="200"} 8\na_total{s="500"} 2\n'), "a_total")
    assert (moved.delta, moved.before, moved.after, moved.reset) == (5, 5, 10, False)


def test_a_counter_absent_before_counts_from_zero_and_absent_after_is_unknown():
    assert difference([], parse("a_total 3\n"), "a_total").delta == 3
    moved = difference(parse("a_total 3\n"), [], "a_total")
    assert moved.delta is None
    assert "does not expose a_total any more" in moved.reason


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a_total 10\n", "a_total 3\n"),
        ('a_total{s="1"} 10\n', 'a_total{s="2"} 30\n'),
        ("a_total 1\nprocess_start_time_seconds 100\n", "a_total 9\nprocess_start_time_seconds 200\n"),
    ],
)
def test_a_restart_of_the_service_makes_the_difference_unknown(before, after):
    moved = difference(parse(before), parse(after), "a_total")
    assert moved.delta is None
    assert moved.reset
    assert "restarted" in moved.reason


def test_a_histogram_moves_by_the_observations_in_between():
    before = 'l_bucket{e="a",le="0.1"} 1\nl_bucket{e="a",le="+Inf"} 2\n'
    after = (
        before.replace(" 1\n", " 5\n").replace(" 2\n", " 9\n")
        + 'l_bucket{e="b",le="0.1"} 1\nl_bucket{e="b",le="+Inf"} 1\nl_bucket{e="/health",le="+Inf"} 99\n'
    )
    moved = histogram_difference(parse(before), parse(after), "l", {"e": ["/health"]})
    assert moved == [Bucket(0.1, 5), Bucket(math.inf, 8)]


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [
        ([(0.025, 90), (0.05, 100), (math.inf, 100)], 0.025, 0.05),
        ([(0.025, 95), (0.05, 100), (math.inf, 100)], 0.0, 0.025),
        ([(0.025, 10), (0.05, 20), (math.inf, 100)], 0.05, None),
        ([(0.025, 0), (math.inf, 0)], None, None),
        ([], None, None),
    ],
)
def test_a_quantile_lies_between_the_edges_of_its_bucket(counts, low, high):
    bounds = quantile_bounds([Bucket(le, count) for le, count in counts], 0.95)
    assert (bounds.low, bounds.high) == (low, high)
    assert bool(bounds.reason) == (low is None)
