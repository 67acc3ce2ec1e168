"""Which requests failed: a matcher held to the values its label really has."""

from __future__ import annotations

import pytest

from app.prometheus.outcomes import NO_VALUE, adapted, failed, outcome_labels, rule
from app.prometheus.promql import parse_selector

NOT_2XX, FAULTS, SERVER = 'status!~"2.."', 'status=~"[45].."', 'status=~"5.."'
UNTOLD = None


@pytest.mark.parametrize(
    ("value", "means"),
    [
        *((one, False) for one in ("200", "204", "302", "2xx", "3XX", "2", "success", "OK", "true", "Succeeded")),
        *((one, True) for one in ("404", "500", "4xx", "5XX", "5", "error", "Failure", "false", "timeout")),
        *((one, None) for one in ("", "0", "700", "cached", "20", "2x", "2000", "unknown", "ok!")),
    ],
)
def test_a_status_means_answered_or_failed_or_neither(value, means):
    assert failed(value) is means


@pytest.mark.parametrize(
    ("matcher", "values", "selects"),
    [
        # Codes: as they are written.
        (NOT_2XX, ("200", "404"), NOT_2XX),
        (NOT_2XX, ("200", "302"), NOT_2XX),
        (SERVER, ("200", "404"), SERVER),
        (NOT_2XX, ("2xx", "5xx"), NOT_2XX),
        (NOT_2XX, ("0", "200"), NOT_2XX),
        # Classes of one digit.
        (NOT_2XX, ("2", "5"), 'status=~"5"'),
        (FAULTS, ("2", "4", "5"), 'status=~"4|5"'),
        ('status="429"', ("2xx", "4xx"), UNTOLD),
        # Words.
        (NOT_2XX, ("success",), f'status="{NO_VALUE}"'),
        (NOT_2XX, ("success", "error"), 'status=~"error"'),
        (FAULTS, ("OK", "Error", "false"), 'status=~"Error|false"'),
        (SERVER, ("ok", "failed"), 'status=~"failed"'),
        ('status=~"4.."', ("ok", "error"), UNTOLD),
        ('status!~"5.."', ("ok", "error"), UNTOLD),
        ('status="200"', ("ok", "error"), 'status=~"ok"'),
        (NOT_2XX, ("success", "cached"), UNTOLD),
        # Matchers of words.
        ('status="error"', ("ok", "error"), 'status="error"'),
        ('status!="success"', ("success", "cached"), 'status!="success"'),
        ('status!="success"', ("ok", "failed"), 'status=~"failed"'),
        ('status!="cached"', ("success", "cached"), 'status!="cached"'),
        ('status="failed"', ("success", "error"), UNTOLD),
        ('status="error"', ("200", "500"), 'status=~"500"'),
        ('status!="success"', ("200", "500"), 'status=~"500"'),
        # A label that is not there, or not everywhere.
        (NOT_2XX, ("",), UNTOLD),
        (FAULTS, ("",), UNTOLD),
        (NOT_2XX, ("200", ""), UNTOLD),
        ('status="error"', ("",), UNTOLD),
        # Hostile values stay values.
        (NOT_2XX, ("200", 'error"} or vector(1)#'), UNTOLD),
        (NOT_2XX, tuple(str(code) for code in range(1000, 1300)), UNTOLD),
    ],
)
def test_a_matcher_is_held_to_the_values_of_its_label(matcher, values, selects):
    status = rule(parse_selector(matcher)[0], dict.fromkeys(values, 1), "calls_total")
    assert status.matcher == selects
    if selects is UNTOLD:
        assert "calls_total" in status.reason
        assert status.hint
    else:
        assert status.words.startswith("status has ")
        assert "answered" in status.words or "failed" in status.words


@pytest.mark.parametrize(
    ("matcher", "values", "words"),
    [
        (NOT_2XX, ("success", "error"), "status has words: success counts as answered, error as failed"),
        (NOT_2XX, ("200", "404", "500"), "status has codes: 200 counts as answered, 404 and 500 as failed"),
        (FAULTS, ("2xx",), "status has classes: 2xx counts as answered, no failed one seen yet"),
        (NOT_2XX, ("500",), "status has codes: 500 counts as failed"),
        (NOT_2XX, ("200", "ok"), "status has values: 200 and ok count as answered, no failed one seen yet"),
        (
            NOT_2XX,
            [f"20{n}" for n in range(7)],
            "status has codes: 200, 201, 202, 203, 204 and 2 more count as answered",
        ),
    ],
)
def test_the_rule_is_said_in_words(matcher, values, words):
    assert rule(parse_selector(matcher)[0], dict.fromkeys(values, 1), "calls_total").words.startswith(words)


def test_a_counter_without_series_is_no_reason_to_doubt():
    status = rule(parse_selector(NOT_2XX)[0], {}, "calls_total")
    assert (status.matcher, status.words) == (NOT_2XX, "calls_total has no series yet")


@pytest.mark.parametrize(
    ("expr", "filled", "asked"),
    [
        ('sum(rate(a_total{job="x", status!~"2.."}[1m]))', 'sum(rate(a_total{job="x", status=~"error"}[1m]))', ['a_total{job="x"}']),
        ('{__name__="a_total",status=~"5.."}', '{__name__="a_total", status=~"error"}', ['{__name__="a_total"}']),
        # Nothing to hold: other labels, other words, strings, comments, names alone.
        ('a_total{job="x", endpoint!~"/metrics"}', 'a_total{job="x", endpoint!~"/metrics"}', []),
        ('node_systemd_unit_state{state!="idle"}', 'node_systemd_unit_state{state!="idle"}', []),
        ('label_replace(up, "a", "{status=~\\"5..\\"}", "", "") # x{status=~"5.."}', None, []),
        ('{status=~"5.."}', None, []),
        ('a_total{status=~"5..', None, []),
    ],
)  # fmt: skip
def test_only_status_matchers_of_an_expression_are_held_to_their_values(expr, filled, asked):
    seen = []

    def values_of(selector, label):
        assert label == "status"
        seen.append(selector)
        return {"success": 1, "error": 1}

    assert adapted(expr, values_of) == (filled or expr, None)
    assert seen == asked


def test_the_first_matcher_that_cannot_tell_is_the_answer():
    expr = 'sum(a{status!~"2.."}) / sum(b{code=~"5.."})'
    assert adapted(expr, lambda _selector, _label: {"": 2})[1].reason.startswith("a has no label status")


@pytest.mark.parametrize(
    ("errors", "labels"),
    [
        (None, set()),
        ("errors_total", set()),
        ("code=~", set()),
        ('status!~"2.."', {"status"}),
        ('success="false"', {"success"}),
        ('endpoint="/p", status=~"5.."', {"status"}),
    ],
)
def test_the_labels_that_tell_failures_come_from_the_system_file(errors, labels):
    assert outcome_labels(errors) == labels
