"""Targets and their errors in plain words."""

from __future__ import annotations

import pytest

from app.prometheus.targets import Health, explain, moment, of_system, read_targets, scrape_interval


def row(**keys):
    return {
        "labels": {"job": "api", "instance": "127.0.0.1:8000"},
        "scrapePool": "api",
        "scrapeUrl": "http://127.0.0.1:8000/metrics",
        "lastError": "",
        "lastScrape": "2026-11-21T07:54:10.859921323Z",
        "lastScrapeDuration": 0.012,
        "health": "up",
        "scrapeInterval": "1m30s",
        "scrapeTimeout": "10s",
        **keys,
    }


def target(**keys):
    return read_targets({"activeTargets": [row(**keys)]})[0]


def test_a_target_is_read_with_times_in_seconds():
    one = target()
    assert (one.job, one.instance, one.health) == ("api", "127.0.0.1:8000", Health.UP)
    assert (one.duration, one.interval, one.timeout) == (0.012, 90.0, 10.0)
    assert one.last_scrape == pytest.approx(1795247650.859921, abs=1e-3)
    assert one.address == "127.0.0.1:8000/metrics"


def test_down_comes_first_then_unknown_then_up():
    rows = [row(health=health) for health in ("up", "unknown", "down", "strange")]
    assert [str(one.health) for one in read_targets({"activeTargets": rows})] == ["down", "unknown", "unknown", "up"]


def test_before_the_first_scrape_a_target_is_waiting_not_down():
    one = target(health="unknown", lastScrape="0001-01-01T00:00:00Z", lastScrapeDuration=0)
    assert one.waiting
    assert one.meaning.text == "waiting for the first scrape"


def test_missing_fields_are_unknown_never_zero():
    one = read_targets({"activeTargets": [{"labels": None, "health": "up"}]})[0]
    assert (one.last_scrape, one.duration, one.interval, one.timeout) == (None, None, None, None)


CASES = [
    ('Get "http://127.0.0.1:8000/metrics": dial tcp 127.0.0.1:8000: connect: connection refused',
     "nothing listens on port 8000 of 127.0.0.1"),
    ('Get "http://api:8000/metrics": dial tcp: lookup api on 127.0.0.11:53: no such host', "is unknown where"),
    ('Get "http://api:8000/metrics": dial tcp: lookup api: Temporary failure in name resolution', "is unknown where"),
    ('Get "http://127.0.0.1:8000/metrics": context deadline exceeded', "within the scrape timeout of 10 s"),
    ("context deadline exceeded (Client.Timeout exceeded while awaiting headers)", "within the scrape timeout of 10 s"),
    ("server returned HTTP status 401 Unauthorized", "401"),
    ("server returned HTTP status 403 Forbidden", "403"),
    ("server returned HTTP status 404 Not Found", "no metrics under this path"),
    ("server returned HTTP status 500 Internal Server Error", "500: the service fails"),
    ("server returned HTTP status 429 Too Many Requests", "HTTP 429"),
    ('"INVALID" is not a valid start token', "not in the metrics format"),
    ('expected value after metric, got "INVALID" ("<") while parsing: "<html"', "not in the metrics format"),
    ('received unsupported Content-Type "text/html; charset=utf-8" and no fallback_scrape_protocol specified for target',
     "another content type"),
    ('strconv.ParseFloat: parsing "x": invalid syntax', "not in the metrics format"),
    ("tls: failed to verify certificate: x509: certificate signed by unknown authority", "signed by an authority"),
    ("x509: certificate has expired or is not yet valid: current time 2026", "has expired"),
    ("x509: certificate is valid for a, not b", "another name"),
    ("x509: cannot validate certificate for 127.0.0.1 because it doesn't contain any IP SANs", "another name"),
    ('Get "https://127.0.0.1": http: server gave HTTP response to HTTPS client', "the service plain http"),
    ('net/http: HTTP/1.x transport connection broken: malformed HTTP response "\\x15\\x03\\x01"', "expects https"),
    ("read tcp 127.0.0.1:1->127.0.0.1:2: read: connection reset by peer", "closed the connection"),
    ('Get "http://127.0.0.1:8000/metrics": EOF', "closed the connection"),
    ("dial tcp 10.0.0.1:80: connect: no route to host", "no way to"),
    ("sample limit exceeded", "more than Prometheus is allowed"),
    ('Get "/x": stopped after 10 redirects', "redirects in a circle"),
    ("remote error: tls: handshake failure", "encrypted connection failed"),
]  # fmt: skip


@pytest.mark.parametrize(("last_error", "words"), CASES)
def test_a_scrape_error_is_explained_with_a_next_step(last_error, words):
    one = target(health="down", lastError=last_error)
    assert words in one.meaning.text
    assert one.meaning.hint
    assert one.last_error == last_error


def test_an_unknown_error_stays_in_its_own_words():
    assert explain("quux {port} %s", target()).text == "quux {port} %s"


def test_a_hostile_error_or_address_does_not_break_the_words():
    assert "port" in target(lastError="connection refused", health="down", scrapeUrl="http://[::1").meaning.text
    assert target(scrapeUrl="http://u:p@h:1/m?token=x").address == "h:1/m"


def test_the_targets_of_a_system_are_those_its_selector_fits():
    rows = [row(), row(labels={"job": "node"}, scrapeInterval="5m")]
    targets = read_targets({"activeTargets": rows})
    assert [one.job for one in of_system(targets, 'job="api"')] == ["api"]
    assert scrape_interval(targets, 'job="api"') == 90
    assert scrape_interval(targets, 'job="other"') is None


@pytest.mark.parametrize("text", [None, 5, "", "yesterday", "0001-01-01T00:00:00Z"])
def test_what_is_no_moment_is_unknown(text):
    assert moment(text) is None
