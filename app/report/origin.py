"""Numbers with their origin, moments with their date, and gaps out of errors: what all parts of a report share."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from datetime import time as clock_time
from typing import Any, Final

import numpy as np

from app.base.text import finite
from app.charts import Mark
from app.charts.sentence import FRESH_SECONDS, FRESH_STEPS
from app.errors import VigieError
from app.prometheus import Answer, Series, TimeRange
from app.prometheus.promql import matcher
from app.report.asking import Asking
from app.report.document import Gap, Number, Section
from app.runs.kinds import DRIFT, LOAD
from app.runs.run import Run
from app.words.message import t
from app.words.units import Clock, format_time, format_value

LOG = logging.getLogger("vigie.report")

# A reader's "today" is not the day of the report: with this as the present every moment is written with its date, and
# no value is called "now".
LATER: Final = 4e9
# Where the ZIP of a report has its evidence.
EVIDENCE: Final = "evidence"
# What a range of samples is reduced to.
TAKES: Final[Mapping[str, Callable[[Any], float]]] = {
    "last": lambda values: float(values[-1]),
    "min": lambda values: float(values.min()),
    "max": lambda values: float(values.max()),
}


def dated(asking: Asking) -> Clock:
    """The reader's zone, in which every moment is written with its date."""
    return Clock(asking.clock.tz, LATER)


def of_day(asking: Asking) -> Clock:
    """The same without the date for a range within one day, which the head of the report names."""
    start, end = (datetime.fromtimestamp(at, asking.clock.tz) for at in (asking.since, asking.until))
    midnight = datetime.combine(end.date(), clock_time.max, asking.clock.tz).timestamp()
    # Close to midnight the end of the day would read as now.
    late = midnight - asking.until <= 2 * FRESH_SECONDS + 2 * FRESH_STEPS * asking.context.span.step
    return dated(asking) if late or start.date() != end.date() else Clock(asking.clock.tz, midnight)


def moment(asking: Asking, at: float | None) -> str:
    """A moment with its date."""
    return format_time(at, dated(asking))


def unknown(why: str) -> str:
    """What is shown where a number is not known."""
    return t("unknown ({reason})", reason=why.rstrip(".")) if why else t("unknown")


def instant(
    asking: Asking, name: str, expr: str, show: Callable[[float], str], why: str = "", *, at: float | None = None
) -> Number:
    """The value of `expr` `at` a moment, else at the end of the range; `why` is the reason of no answer."""
    at = asking.until if at is None else at
    lost = next(iter(asking.lost), None)
    answer = Answer.failed(lost) if lost else asking.heard(asking.prometheus.query(expr, at))
    value = answer.value
    shown = unknown(answer.reason if answer.error else why or answer.reason) if value is None else show(value)
    return Number(name, value, shown, {"query": expr, "at": at})


def over(name: str, series: Series, span: TimeRange, take: str, unit: str) -> Number:
    """One number out of the samples of a range."""
    values = series.values[np.isfinite(series.values)]
    value = TAKES[take](values) if values.size else None
    shown = unknown(t("no number in this range")) if value is None else format_value(value, unit)
    return Number(name, value, shown, {**asked(series, span), "take": take})


def asked(series: Series, span: TimeRange) -> dict[str, Any]:
    """How a series is asked for again: the expression, its range, and the labels that pick it."""
    return {
        "query": series.query,
        "start": span.start,
        "end": span.end,
        "step": span.step,
        "labels": dict(series.labels),
    }


@dataclass(frozen=True, slots=True)
class Kept:
    """The result of one run, whose numbers are named by their place in its `result.json`: `counted.delta`."""

    run: str
    raw: Mapping[str, Any]

    def number(self, name: str, place: str | Sequence[str], show: Callable[[float], str], why: str = "") -> Number:
        """The number at `place`; None with its reason where the result holds none."""
        value = at_place(self.raw, place)
        shown = unknown(why) if value is None else show(value)
        return Number(name, value, shown, {"run": self.run, "field": place})


def at_place(raw: Any, place: str | Sequence[str]) -> float | None:
    """What stands at `counted.delta` or `columns.3.score` of a JSON object; None where it is no finite number.

    A name that may hold a dot makes it a list: `["columns", "3", "ref", "shares", "v1.2"]`.
    """
    for part in place.split(".") if isinstance(place, str) else place:
        if isinstance(raw, Mapping):
            raw = raw.get(part)
        elif isinstance(raw, list) and part.isdigit() and int(part) < len(raw):
            raw = raw[int(part)]
        else:
            return None
    return finite(raw)


def selector(name: str, labels: Mapping[str, str]) -> str:
    """The series of that name with exactly these labels."""
    return f"{name}{{{', '.join(matcher(label, value) for label, value in sorted(labels.items()))}}}"


def gap(error: VigieError, step: str = "") -> Gap:
    """Why a part is missing, and the next step that its error names."""
    return Gap(whole(t(error.message)), t(error.hint) or step or again())


def whole(text: str) -> str:
    """A clause as a sentence of its own; an address at its beginning stays as it is."""
    if "://" in text.partition(" ")[0]:
        return text if text.endswith(".") else f"{text}."
    return t("{text:capital}", text=text) if text.endswith((".", "!", "?", "…")) else t("{text:capital}.", text=text)


def again() -> str:
    """The step after every other."""
    return t("Then write the report again.")


def silent(asking: Asking) -> Gap | None:
    """Why nothing can be asked of Prometheus; None where it answers."""
    _, error = asking.targets
    error = error or next(iter(asking.lost), None)
    return None if error is None else gap(error)


def guarded(asking: Asking, title: str, part: Callable[[Asking], Section]) -> Section:
    """A part, or under its title why there is none: no part costs the others."""
    asking.step(title)
    try:
        return part(asking)
    except VigieError as error:
        return Section(title, [gap(error)])
    except Exception as error:
        LOG.exception("a part of the report failed")
        why = t("This part could not be written ({error}).", error=type(error).__name__)
        return Section(title, [Gap(why, t("The log of Vigie has the details. The rest of the report is whole."))])


def marks(asking: Asking) -> list[Mark]:
    """Load runs and comparisons of the range, for its charts; none where the index does not answer."""
    try:
        runs = [run for kind in (LOAD, DRIFT) for run in asking.runs(kind)[0]]
    except VigieError:
        return []  # the parts on traffic and drift say so
    return [_mark(run) for run in runs if run.started is not None and not run.background]


def _mark(run: Run) -> Mark:
    started = run.started or run.created
    if run.kind == LOAD:
        return Mark(started, run.finished, "load", t("traffic"))
    return Mark(started, None, "drift", run.outcome or t("comparison"))
