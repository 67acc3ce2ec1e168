"""What exercises ask of drift: Evidently's report of two months or the service's own gauge, and the decision."""

from __future__ import annotations

from collections.abc import Callable

from app.config import Gauge
from app.errors import VigieError
from app.report import comparison
from app.report.document import Block, Code, Gap, Section, Table, Text
from app.report.facts import Facts
from app.report.origin import gap, whole
from app.report.proof import Proof
from app.words.explain import COVARIATE_AND_TARGET, SIMULATED
from app.words.message import t
from app.words.units import format_number


def _not_compared(facts: Facts) -> Gap:
    """No comparison in the range: which one to make; or why that is not known."""
    if facts.unread is not None:
        return gap(facts.unread)
    if facts.pair is None:
        step = t("Compare months: take a reference and a current month, then press Compare months.")
        return Gap(t("No months of this system were compared in this range."), step)
    ref, cur = facts.pair
    step = t(
        "Compare months: take {ref} as reference and {cur} as current, then press Compare months, or run `{command}`.",
        ref=ref,
        cur=cur,
        command=f"python -m app drift --system {facts.system.id} --ref {ref} --cur {cur}",  # no catalogue: a command
    )
    return Gap(t("No months of this system were compared in this range."), step)


def drift_report(facts: Facts) -> Proof:
    """Evidently's report of the two months, HTML and JSON, and what it says of each column."""
    what, one = t("Evidently's report of two months, HTML and JSON"), facts.compared
    if one is None:
        return Proof(what, "drift", missing=_not_compared(facts))

    def draw() -> Section:
        files = comparison.evidence_of(one.run)
        columns = comparison.columns_of(one)
        apart = [column for column in one.result.columns if not column.comparable and not column.uncertain]
        schema: Block = Text(t("Reference and current month have the same columns: nothing differs in the schema."))
        if apart:
            rows = [[column.name, t(column.reason)] for column in apart]
            schema = Table([t("column that was not compared"), t("why")], rows)
        return Section(what, [*files.blocks, schema, *columns.blocks], files.evidence)

    months = t("{ref} with {cur}", ref=one.result.ref.key, cur=one.result.cur.key)
    return Proof(what, "drift", months, draw=draw)


def both_drifts(facts: Facts) -> Proof:
    """Covariate drift and target drift of the comparison, told apart."""
    what, one = t("Covariate drift and target drift, told apart"), facts.compared
    if one is None:
        return Proof(what, "drift", missing=_not_compared(facts))
    table = Table([t("number"), t("value")], list(comparison.facts_of(one)))
    state = "" if one.result.share is None else t("share {share:.2f}", share=one.result.share)
    return Proof(what, "drift", state, draw=lambda: Section(what, [Text(t(COVARIATE_AND_TARGET)), table]))


def gauge_value(facts: Facts) -> Proof:
    """The drift that the service measures itself, against its threshold and over the range."""
    what = t("The drift score that the service measures itself, against its threshold")
    return _of_gauge(facts, what, lambda: comparison.decision(facts.asking), number=True)


def decision(facts: Facts) -> Proof:
    """The decision line, byte for byte."""
    what = t("The decision line")
    if isinstance(facts.system.drift, Gauge):
        return _of_gauge(facts, what, lambda: _line(what, facts.gauge.line, facts.gauge.reason), number=False)
    one = facts.compared
    if one is None:
        return Proof(what, "drift", missing=_not_compared(facts))
    return Proof(what, "drift", str(one.result.decision), draw=lambda: _line(what, one.result.line, one.result.reason))


def _line(what: str, line: str, reason: str) -> Section:
    return Section(what, [Code(line, "text"), Text(whole(t(reason))), Text(t(SIMULATED))])


def _of_gauge(facts: Facts, what: str, draw: Callable[[], Section], *, number: bool) -> Proof:
    try:
        seen = facts.gauge
    except VigieError as error:
        return Proof(what, "drift", missing=gap(error))
    if seen.value is None:
        step = t("Compare months says how many requests are missing, and sends them.")
        return Proof(what, "drift", str(seen.decision), Gap(whole(t(seen.reason)), step))
    return Proof(what, "drift", format_number(seen.value) if number else str(seen.decision), draw=draw)
