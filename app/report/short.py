"""The report in a few lines, before its parts: what a reader who has a minute should know."""

from __future__ import annotations

from collections.abc import Callable

from app.drift.gauge import look
from app.errors import VigieError
from app.prometheus import State
from app.report import alerts, comparison, traffic
from app.report.asking import Asking
from app.report.document import Cell, Section, Table
from app.report.origin import instant, silent, unknown
from app.verdict import headline
from app.words.message import some, t

# Names of alerts in one cell.
MOST_NAMES = 5


def summary(asking: Asking) -> Section:
    """One line for each question: is it up, what did traffic do, has the data moved, what alerted."""
    lines: list[tuple[str, Callable[[Asking], Cell]]] = [
        (t("targets that are up"), _targets),
        (t("newest load run"), _load),
        (t("drift decision"), _drift),
        (t("alerts that fired"), _alerts),
    ]
    rows = [[name, _said(asking, one)] for name, one in lines]
    return Section(t("In short"), [Table([t("measure"), t("value")], rows)])


def _said(asking: Asking, line: Callable[[Asking], Cell]) -> Cell:
    try:
        return line(asking)
    except VigieError as error:
        return unknown(error.message)


def _targets(asking: Asking) -> Cell:
    if missing := silent(asking):
        return unknown(missing.why)
    every, _ = asking.targets

    def of(up: float) -> str:
        return t("{up:count} of {all:count}", up=up, all=len(every))

    return instant(asking, t("targets that are up"), "sum(up)", of, t("nothing is scraped"))


def _load(asking: Asking) -> Cell:
    load, _, _ = traffic.newest(asking)
    return t("none in this range") if load is None else t(load.result.sentence)


def _drift(asking: Asking) -> Cell:
    if asking.system.drift is None:
        return t("nothing is compared")
    if not asking.system.compares:
        if missing := silent(asking):
            return unknown(missing.why)
        reading = look(asking.prometheus, asking.system, at=asking.until)
        return t("{decision}: {why}", decision=str(reading.decision), why=t(reading.reason))
    run, _ = comparison.newest(asking)
    if run is None:
        return t("nothing was compared yet")
    if run.gone:
        return t("{decision}, its files were deleted", decision=run.outcome)
    one = comparison.read(run)
    numbers = headline(one.result.policy, one.decision)
    return t("{decision}: {why}", decision=str(one.result.decision), why=numbers)


def _alerts(asking: Asking) -> Cell:
    if missing := silent(asking):
        return unknown(missing.why)
    stretches, _, answer = alerts.fired(asking)
    if answer.state is State.ERROR:
        return unknown(answer.reason)
    names = list(dict.fromkeys(one.series.labels.get("alertname", "") for one in stretches))
    return some(names, MOST_NAMES) if names else t("none fired")
