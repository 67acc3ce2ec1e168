"""The body of /query and /query_range to columns.

Fast path: a range answer as Prometheus writes it (`matrix`, float samples only) is cut at its fixed separators and each
series' numbers are read by numpy in one call, without a Python object per sample; bit-equal to `float()`. An answer
that differs in any byte (histograms, another field order, another server) takes the slow path over `json`.
"""

from __future__ import annotations

import ast
import json
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.egress import status_hint
from app.errors import BadAnswer, DeadlineExceeded, QueryError, VigieError
from app.prometheus.model import Column, Series
from app.words.message import t

_HEAD = b'{"status":"success","data":{"resultType":"matrix","result":['
_METRIC = b'{"metric":'
# What reading a well-formed answer of another shape raises: a missing key, a list for an object, a number beyond any
# float, objects nested deeper than Python follows.
UNFIT = (LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)
# Cannot occur inside a JSON string: there, its quotation marks would be escaped.
_VALUES = b',"values":[['
_END = b"]]"
_BETWEEN = b"],["
_CLUTTER = b'[]"'


@dataclass(frozen=True, slots=True, eq=False)
class Parsed:
    """An answer's data: `skipped` is the number of series that hold native histograms only, which are not drawn."""

    kind: str
    series: tuple[Series, ...]
    warnings: tuple[str, ...] = ()
    infos: tuple[str, ...] = ()
    skipped: int = 0
    text: str = ""


def parse(body: bytes, *, where: str = "Prometheus", status: int = 200) -> Parsed:
    """Read one answer. Raises QueryError, DeadlineExceeded (the server's own) or BadAnswer."""
    return (_fast(body) if body.startswith(_HEAD) else None) or _slow(body, where, status)


def _fast(body: bytes) -> Parsed | None:
    """The whole answer, or None when a byte is not where it should be."""
    series: list[Series] = []
    at = len(_HEAD)
    while body.startswith(_METRIC, at):
        middle = body.find(_VALUES, at)
        end = body.find(_END, middle)
        if middle < 0 or end < 0 or body[end + 2 : end + 3] != b"}":
            return None
        columns = _columns(body[middle + len(_VALUES) : end])
        try:
            labels = json.loads(body[at + len(_METRIC) : middle])
        except (ValueError, RecursionError):
            return None
        if columns is None or not isinstance(labels, dict):
            return None
        series.append(Series(labels, *columns))
        at = end + 3
        if body[at : at + 1] == b",":
            at += 1
    if body[at : at + 2] != b"]}":
        return None
    try:
        rest = json.loads(b'{"":0' + body[at + 2 :])
    except (ValueError, RecursionError):
        return None
    return Parsed("matrix", tuple(series), _texts(rest, "warnings"), _texts(rest, "infos"))


def _columns(text: bytes) -> tuple[Column, Column] | None:
    """`1,"2"],[3,"4"` to times and values; None when it holds anything but numbers."""
    count = text.count(_BETWEEN) + 1
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # how numpy reports text that it could not read to its end
        try:
            flat = np.fromstring(text.translate(None, _CLUTTER), dtype=np.float64, sep=",")
        except (ValueError, DeprecationWarning):
            return None
    if flat.size != 2 * count:
        return None
    return flat[0::2].copy(), flat[1::2].copy()


def _slow(body: bytes, where: str, status: int) -> Parsed:
    data, rest = envelope(body, where=where, status=status)
    try:
        return _read(data, rest)
    except UNFIT as error:
        message = t(
            "{server} answered JSON that is not a query result ({error}).", server=where, error=type(error).__name__
        )
        raise BadAnswer(message, hint=t("Is this address a Prometheus server?"), status=status) from error


def _read(data: Mapping[str, Any], rest: Mapping[str, Any]) -> Parsed:
    kind, result = data["resultType"], data["result"]
    notes = _texts(rest, "warnings"), _texts(rest, "infos")
    if rest.get("isPartial") is True:
        notes = (*notes[0], t("a part of the cluster did not answer")), notes[1]
    if kind == "string":
        return Parsed(kind, (), *notes, text=str(result[1]))
    if kind == "scalar":
        return Parsed(kind, (_series({}, [result]),), *notes)
    if kind not in ("vector", "matrix"):
        raise ValueError(kind)
    series, skipped = [], 0
    for row in result:
        points = row.get("values") if kind == "matrix" else [row["value"]] if "value" in row else None
        if points is None and not {"histogram", "histograms"} & row.keys():
            raise KeyError("values")
        skipped += "histogram" in row or "histograms" in row
        if points:
            series.append(_series(row["metric"], points))
    return Parsed(kind, tuple(series), *notes, skipped=skipped)


def _series(labels: Mapping[str, str], points: Sequence[Sequence[Any]]) -> Series:
    times = np.array([float(point[0]) for point in points], dtype=np.float64)
    values = np.array([float(point[1]) for point in points], dtype=np.float64)
    return Series(dict(labels), times, values)


def _texts(rest: Mapping[str, Any], key: str) -> tuple[str, ...]:
    return tuple(str(text) for text in rest.get(key) or ())


def envelope(body: bytes, *, where: str, status: int) -> tuple[Any, Mapping[str, Any]]:
    """(`data`, the whole envelope) of a Prometheus HTTP API answer. Raises what its `errorType` means."""
    try:
        whole = json.loads(body)
    except (ValueError, RecursionError) as error:
        message = t("{server} answered something that is not JSON (HTTP {status}).", server=where, status=status)
        raise BadAnswer(message, hint=t("Is this address a Prometheus server?"), status=status) from error
    if not isinstance(whole, dict) or whole.get("status") not in ("success", "error"):
        if status >= 400:  # a gateway's refusal: its status says more than its JSON
            message = t("{server} answered HTTP {status}.", server=where, status=status)
            raise BadAnswer(message, hint=status_hint(status), status=status)
        message = t(
            "{server} answered JSON without a Prometheus envelope (HTTP {status}).", server=where, status=status
        )
        raise BadAnswer(message, hint=t("Is this address a Prometheus server?"), status=status)
    if whole["status"] == "error":
        raise api_error(str(whole.get("errorType", "")), str(whole.get("error", "")), where=where, status=status)
    return whole.get("data"), whole


def api_error(kind: str, text: str, *, where: str, status: int) -> VigieError:
    """The error Prometheus describes. `text` is its own sentence; the position is taken out of it.

    VictoriaMetrics gives the HTTP status as kind.
    """
    if kind == "timeout" or "timeout exceeded" in text:
        hint = t("Ask for a shorter range or fewer series.")
        return DeadlineExceeded(t("{server} gave up on the expression: {why}.", server=where, why=text), hint=hint)
    if kind in ("bad_data", "execution", "400", "422"):
        return query_error(text)
    hint = t("The server is starting, stopping or overloaded: try again.")
    message = t("{server} answered {kind}: {why}.", server=where, kind=kind or t("an error"), why=text)
    return BadAnswer(message, hint=hint, status=status)


def query_error(text: str) -> QueryError:
    """`1:3: parse error: unexpected end of input` as sentence, hint and position."""
    metrics_ql = _METRICS_QL.search(text)
    if metrics_ql:
        position, sentence = _unparsed(metrics_ql["expr"], metrics_ql["why"])
    else:
        position, sentence = _position(re.sub(r'^invalid parameter "query": ', "", text))
    hint = t("Correct the expression at the place named.") if position else ""
    for pattern, advice in ADVICE:
        if re.search(pattern, text):
            hint = t(advice)
            break
    message = sentence if sentence.endswith((".", "?", ")")) else f"{sentence}."
    if position:
        message = t("line {line}, column {column}: {why}", line=position[0], column=position[1], why=message)
    return QueryError(message, hint=hint, position=position)


# What Prometheus says when it refuses an expression that parses, and what to do then.
ADVICE = (
    (r"too many samples", t("Shorten the range, or select fewer series.")),
    (r"maximum resolution", t("Ask for a larger step.")),
    (r"many-to-many", t("Aggregate one side, for example sum by (…), or match with on (…).")),
    (
        r"multiple matches for labels",
        t("Aggregate one side, for example sum by (…), or use group_left / group_right."),
    ),
    (
        r"duplicate time|same labelset",
        t("The expression gives two series with equal labels: aggregate with sum by (…)."),
    ),
    (
        r"invalid expression type",
        t("A graph needs numbers over time: wrap a range like x[5m] in rate(…) or a similar function."),
    ),
    (r"unknown func", t("The function is misspelt, or newer than this Prometheus.")),
    (r"too many points", t("Shorten the range, or take a larger step.")),
    (r"exceed", t("Shorten the range, or select fewer series.")),
)
# VictoriaMetrics: error when executing query="1 +" for (time=…, step=…): …; unparsed data: ""
_GO_STRING = r'"(?P<{}>(?:\\.|[^"\\])*)"'
_METRICS_QL = re.compile(
    rf"error when executing query={_GO_STRING.format('expr')} (?:for|on the time range) \([^)]*\): "
    r"(?:cannot execute query: )?(?P<why>.*)",
    re.DOTALL,
)
_UNPARSED = re.compile(rf"(?:cannot recognize|; unparsed data:) {_GO_STRING.format('rest')}")


def _position(text: str) -> tuple[tuple[int, int] | None, str]:
    line, _, rest = text.partition(":")
    column, _, sentence = rest.partition(":")
    if line.strip().isascii() and line.strip().isdigit() and column.isascii() and column.isdigit():
        return (int(line), int(column)), sentence.strip()
    return None, text


def _unparsed(expr: str, sentence: str) -> tuple[tuple[int, int] | None, str]:
    """The place where VictoriaMetrics stopped reading: the expression without what it quotes as unread."""
    unread = _UNPARSED.search(sentence)
    if unread is None:
        return None, sentence
    sentence = re.split("; unparsed data: ", sentence)[0]
    try:
        # Go and Python write these strings alike.
        whole, rest = (str(ast.literal_eval(f'"{text}"')) for text in (expr, unread["rest"]))
    except (ValueError, SyntaxError):
        return None, sentence
    if not whole.endswith(rest):
        return None, sentence
    read = whole[: len(whole) - len(rest)]
    position = read.count("\n") + 1, len(read) - read.rfind("\n")
    return position, sentence


def number(text: Any) -> float | None:
    """A float of the API, which writes numbers in quotes; None for NaN, infinity and anything else."""
    try:
        value = float(text)
    except (TypeError, ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None
