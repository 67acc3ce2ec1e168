"""Every form in which the course documents and common libraries print a service's metrics, as pages that move.

`FORMS[name].page(n)` is the text of /metrics after `n` moves; a test double serves it, and a real Prometheus scrapes it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Form:
    """One form, and what is true of it.

    `errors` is the line of `[metrics]`; `share` is the true share of failed requests, None where the counter cannot tell
    and `words` say why; otherwise `words` are the rule. `rate` is requests per move. `latency` is the histogram's name.
    """

    counter: str
    errors: str
    page: Callable[[int], str]
    share: float | None
    words: str
    rate: float = 1.0
    latency: str = ""


def histogram(name: str, count: int, labels: str = "") -> str:
    """A histogram whose every request took between 25 and 50 ms, with the `_created` series of prometheus_client."""
    inside = f"{labels}," if labels else ""
    rows = [(edge, 0 if float(edge) < 0.05 else count) for edge in ("0.005", "0.025", "0.05", "0.1", "1.0", "+Inf")]
    text = f"# TYPE {name} histogram\n"
    text += "".join(f'{name}_bucket{{{inside}le="{edge}"}} {value}.0\n' for edge, value in rows)
    own = f"{{{labels}}}" if labels else ""
    text += f"{name}_count{own} {count}.0\n{name}_sum{own} {count * 0.04}\n"
    return text + f"# TYPE {name}_created gauge\n{name}_created{own} 1.7679472763333716e+09\n"


def streamflow(n: int) -> str:
    """The lab's own output: a counter without labels, its `_created` gauge, a histogram without labels."""
    return (
        "# HELP api_requests_total Total number of API requests\n# TYPE api_requests_total counter\n"
        f"api_requests_total {n}.0\n# TYPE api_requests_created gauge\napi_requests_created 1.7679472763333416e+09\n"
        + histogram("api_request_latency_seconds", n)
    )


def labelled(name: str, *rows: tuple[str, int]) -> str:
    return f"# TYPE {name} counter\n" + "".join(f"{name}{{{labels}}} {value}.0\n" for labels, value in rows)


def f1pa(n: int) -> str:
    """The counters of the F1PA document; its health check is no traffic."""
    return (
        labelled(
            "http_requests_total",
            ('method="GET",endpoint="/health",status="200"', 5 * n),
            ('method="POST",endpoint="/predict/lap",status="200"', 3 * n),
            ('method="POST",endpoint="/predict/lap",status="422"', n),
        )
        + histogram("http_request_duration_seconds", n, 'method="POST",endpoint="/predict/lap"')
        + labelled("f1pa_predictions_total", ('endpoint_type="single"', 3 * n))
        + f"# TYPE f1pa_prediction_errors_total counter\nf1pa_prediction_errors_total {n}.0\n"
        + "# TYPE f1pa_refusals_total counter\n"
        + 'f1pa_data_queries_total{endpoint="drivers"} 4.0\nf1pa_model_loaded 1.0\n'
    )


CODES, NOT_2XX, FAILED = 'status=~"[45].."', 'status!~"2.."', "f1pa_prediction_errors_total"
NO_LABEL = "has no label status, so it cannot tell failed requests from answered ones"
FORMS = {
    "bare": Form("api_requests_total", NOT_2XX, streamflow, None, NO_LABEL, latency="api_request_latency_seconds"),
    "bare_codes": Form(
        "http_requests_total",
        CODES,
        lambda n: f"http_requests_total {n}.0\n" + histogram("http_request_duration_seconds", n),
        None,
        NO_LABEL,
        latency="http_request_duration_seconds",
    ),
    "success": Form(
        "api_requests_total",
        NOT_2XX,
        lambda n: labelled("api_requests_total", ('endpoint="/predict",status="success"', n)),
        0.0,
        "status has words: success counts as answered, no failed one seen yet",
    ),
    "words": Form(
        "api_requests_total",
        NOT_2XX,
        lambda n: labelled(
            "api_requests_total",
            ('endpoint="/predict",status="success"', 3 * n),
            ('endpoint="/predict",status="error"', n),
        ),
        0.25,
        "status has words: success counts as answered, error as failed",
        rate=4.0,
    ),
    "codes": Form(
        "http_requests_total",
        CODES,
        f1pa,
        0.25,
        "status has codes: 200 counts as answered, 422 as failed",
        rate=4.0,
        latency="http_request_duration_seconds",
    ),
    "classes": Form(
        "http_requests_total",
        CODES,
        lambda n: labelled("http_requests_total", ('handler="/p",status="2xx"', n), ('handler="/p",status="5xx"', n)),
        0.5,
        "status has classes: 2xx counts as answered, 5xx as failed",
        rate=2.0,
    ),
    "some": Form(
        "api_requests_total",
        NOT_2XX,
        lambda n: labelled("api_requests_total", ('route="/a",status="200"', n), ('route="/b"', n)),
        None,
        "1 of 2 series of api_requests_total have no label status",
        rate=2.0,
    ),
    "counter": Form("f1pa_predictions_total", FAILED, f1pa, 1 / 3, "f1pa_prediction_errors_total: 1 series", rate=3.0),
}
