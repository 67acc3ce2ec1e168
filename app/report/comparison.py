"""The drift decision: the newest comparison of the system's own data, or the gauge of a system that measures it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from app import charts
from app.charts.columns import LONGEST_VALUE, Row, rows, trimmed
from app.config import Gauge, Panel
from app.drift.decide import Decision
from app.drift.gauge import expression, look
from app.drift.result import Result
from app.drift.sentence import largest_move
from app.drift.what_if import Change, recompute
from app.errors import ReportError, VigieError
from app.prometheus import Series
from app.report import picture
from app.report.asking import Asking
from app.report.document import Block, Cell, Code, Evidence, Gap, Number, Picture, Section, Table, Text
from app.report.origin import EVIDENCE, Kept, again, gap, marks, moment, of_day, silent, unknown, whole
from app.report.panels import chart
from app.runs import reports
from app.runs.kinds import DRIFT
from app.runs.own_source import source_of
from app.runs.result import RESULT
from app.runs.run import Run, State
from app.runs.words import months_of
from app.verdict import headline, not_own
from app.words.explain import SIMULATED
from app.words.message import sentences, t
from app.words.numbers import apart, count, limit, number
from app.words.units import format_number, format_value

# Columns in the table, nearest to their threshold first; result.json has all of a wide table.
MOST_COLUMNS: Final = 60
FOLDER: Final = "drift"


@dataclass(frozen=True, slots=True)
class Compared:
    """A comparison with its result."""

    run: Run
    result: Result
    kept: Kept

    @property
    def decision(self) -> Decision:
        """The stored decision with both ways of counting."""
        return recompute(self.result, Change()).decision


def newest(asking: Asking) -> tuple[Run | None, bool]:
    """The newest comparison of the range, else the newest before it, and whether it is of the range.

    Raises LedgerError.
    """
    runs, _ = asking.runs(DRIFT, (State.DONE,))
    if runs:
        return runs[0], True
    source = source_of(asking.settings, asking.system)
    return asking.index(lambda ledger: ledger.newest(DRIFT, asking.system.id, source=source)), False


def decision(asking: Asking) -> Section:
    """What was decided on drift, why, and on which columns."""
    drift, title = asking.system.drift, t("Drift decision")
    if drift is None:
        why = t("The system file has no `[drift]` table: nothing is compared.")
        return Section(title, [Gap(why, t("Describe its data under `[drift]` in the system file."))])
    if isinstance(drift, Gauge):
        return _gauge(asking, title, drift)
    run, inside = newest(asking)
    if run is None:
        return Section(title, [none_yet(asking)])
    if run.gone:
        return Section(title, list(_deleted(asking, run)))
    try:
        return _compared(asking, title, read(run), inside=inside)
    except VigieError as error:
        return Section(title, [gap(error, t("Compare these months again.")), Table(*_index(run))])


def none_yet(asking: Asking) -> Gap:
    """What to do where nothing was compared."""
    step = t(
        "Open Compare months, pick two and press Compare months, or run `{command}`.",
        command=f"python -m app drift --system {asking.system.id} --ref … --cur …",
    )
    return Gap(t("No months of this system were compared."), sentences([step, again()]))


def read(run: Run) -> Compared:
    """A comparison from its directory. Raises ReportError."""
    data = reports.read_file(Path(run.path), RESULT)
    return Compared(run, Result.from_json(data), Kept(run.id, json.loads(data)))


def _deleted(asking: Asking, run: Run) -> Iterator[Block]:
    which = {"months": months_of(run), "when": moment(asking, run.created)}
    yield Gap(
        t("The files of the comparison {months} of {when} were deleted.", **which),
        sentences([t("Open Compare months and compare these months again."), again()]),
    )
    yield Text(t("What the index kept of it: {decision}. {reason}", decision=run.outcome, reason=t(run.reason)))
    yield Table(*_index(run))


def _index(run: Run) -> tuple[list[str], list[list[Cell]]]:
    """The summary that the index keeps of a comparison whose files are gone."""

    def row(name: str, column: str, value: float | None) -> list[Cell]:
        shown = unknown("") if value is None else number(value, 4)
        return [name, Number(name, value, shown, {"run": run.id, "column": column})]

    return [t("number"), t("value")], [
        row(t("share of drifted columns"), "share", run.share),
        row(t("share threshold"), "threshold", run.threshold),
        row(t("drifted columns"), "drifted", run.drifted),
        row(t("counted columns"), "counted", run.counted),
        row(t("target drift"), "target_drift", run.target_drift),
    ]


def _compared(asking: Asking, title: str, one: Compared, *, inside: bool) -> Section:
    run, result = one.run, one.result
    when = moment(asking, run.created)
    about = t("Comparison `{run}` of {months}, made {when}.", run=run.id, months=months_of(run), when=when)
    outside = t("No comparison was made in the range of this report: this is the newest one before it or after it.")
    blocks: list[Block] = [
        Text(about if inside else sentences([about, outside])),
        Text(f"**{result.decision}** · {headline(result.policy, one.decision)}"),
        Code(result.line, "text"),
        Text(sentences([whole(t(result.reason)), t(SIMULATED)])),
        Table([t("number"), t("value")], list(facts_of(one))),
    ]
    blocks += [Text(t(note)) for note in result.notes]
    if different := not_own(asking.system, result):
        blocks.append(Text(different))
    return Section(title, blocks, parts=[columns_of(one), evidence_of(run)])


def facts_of(one: Compared) -> Iterator[list[Cell]]:
    """What was compared and decided, in numbers."""
    result, kept = one.result, one.kept
    undecided = t("nothing was decided")

    def row(name: str, place: str, why: str, digits: int = 4) -> list[Cell]:
        return [name, kept.number(name, place, lambda value: number(value, digits), why)]

    def whole(name: str, place: str, why: str) -> list[Cell]:
        return [name, kept.number(name, place, count, why)]

    yield whole(t("rows of the reference, {month}", month=result.ref.key), "ref.rows", t("not counted"))
    yield whole(t("rows of the current month, {month}", month=result.cur.key), "cur.rows", t("not counted"))
    yield whole(t("drifted columns"), "k", undecided)
    yield whole(t("counted columns"), "n", undecided)
    yield row(t("share of drifted columns (covariate drift)"), "share", undecided)
    threshold = t("share threshold")
    yield [threshold, kept.number(threshold, "policy.threshold", limit)]
    yield row(t("share of the features alone"), "share_features", undecided)
    target = result.target_drift
    why = target.reason or t("no labels")
    yield row(t("rate of the label in the reference"), "target_drift.ref_rate", why)
    yield row(t("rate of the label in the current month"), "target_drift.cur_rate", why)
    yield row(t("target drift: the difference of the rates"), "target_drift.value", why)
    if result.policy.target_threshold is not None:
        name = t("target drift triggers from")
        yield [name, kept.number(name, "policy.target_threshold", limit)]


def columns_of(one: Compared) -> Section:
    """Every column with its score and threshold, nearest first, as a table and as a dot plot."""
    result = one.result
    title = t("Columns")
    shown = rows(result)
    if not shown:
        step = t("Compare months that have columns in common.")
        return Section(title, [Gap(t("The comparison has no column."), step)])
    places = {column.name: place for place, column in enumerate(result.columns)}
    heads = [t("column"), t("verdict"), t("score"), t("threshold"), t("method"), t("role")]
    table = Table(heads, [_column(one.kept, row, places[row.column]) for row in shown[:MOST_COLUMNS]])
    svg, csv = picture.dot_plot(result.columns)
    caption = t("Score ÷ threshold of each column (of p-values threshold ÷ score): from 1 on it drifted")
    sizes = Table([t("column"), t("measure"), t("reference"), t("current month")], list(_sizes(one)))
    blocks: list[Block] = [Picture("drift-columns", svg, csv, caption), table, *([sizes] if sizes.rows else [])]
    if len(shown) > MOST_COLUMNS:
        total = len(shown)
        blocks.append(
            Text(t("{shown} of {total:count} columns; result.json has all.", shown=MOST_COLUMNS, total=total))
        )
    return Section(title, blocks)


def _column(kept: Kept, row: Row, place: int) -> list[Cell]:
    threshold = row.threshold
    score = kept.number(
        t("score of {column}", column=row.column),
        f"columns.{place}.score",
        lambda value: number(value) if threshold is None else apart(value, threshold),
        row.reason,
    )
    against = kept.number(
        t("threshold of {column}", column=row.column), f"columns.{place}.threshold", limit, row.reason or t("none")
    )
    return [row.column, row.verdict, score, against, row.method, row.role]


def _sizes(one: Compared) -> Iterator[list[Cell]]:
    """How large each column is on either side: its mean, or the share of the value that moved most."""
    for place, column in list(enumerate(one.result.columns))[:MOST_COLUMNS]:
        move = largest_move(column)
        if move is None and column.ref.mean is None and column.cur.mean is None:
            continue
        what = t("mean") if move is None else t("share of {value}", value=trimmed(move[0], LONGEST_VALUE))
        field = ["mean"] if move is None else ["shares", move[0]]
        show = partial(number, digits=4) if move is None else partial(format_value, unit="ratio")
        sides = {"ref": t("reference"), "cur": t("current month")}
        yield [
            column.name,
            what,
            *(
                one.kept.number(
                    t("{column}, {what}, {side}", column=column.name, what=what, side=words),
                    ["columns", str(place), side, *field],
                    show,
                    t("not measured"),
                )
                for side, words in sides.items()
            ),
        ]


def evidence_of(run: Run) -> Section:
    """Evidently's report and our result, as they were saved."""
    title = t("Evidently's report")
    folder = Path(run.path)
    about = {".html": t("Evidently's report"), ".json": t("Evidently's numbers")}
    blocks: list[Block] = []
    evidence = []
    try:
        names = sorted(reports.read_meta(folder).files)
    except ReportError as error:
        return Section(title, [gap(error, t("Compare these months again."))])
    for name in names:
        what = t("what Vigie decided on") if name == RESULT else about.get(Path(name).suffix, "")
        try:
            evidence.append(Evidence(f"{FOLDER}/{name}", reports.read_file(folder, name), what))
        except ReportError as error:
            blocks.append(gap(error))
    if evidence:
        text = t(
            "Evidently's report and what Vigie decided on are in the ZIP, under `{folder}`, as they were saved: each "
            "file was held against the checksum in the `meta.json` of its run.",
            folder=f"{EVIDENCE}/{FOLDER}",
        )
        blocks.append(Text(text))
    return Section(title, blocks, evidence)


def _gauge(asking: Asking, title: str, drift: Gauge) -> Section:
    """A system that measures its own drift: its gauge at the end of the range, and over it."""
    if missing := silent(asking):
        return Section(title, [missing])
    reading = look(asking.prometheus, asking.system, at=asking.until)
    query = {"query": expression(asking.system, drift.expr), "at": asking.until}
    name, threshold = t("drift gauge at the end of the range"), t("threshold of the gauge")
    shown = unknown(reading.reason) if reading.value is None else format_number(reading.value)
    blocks: list[Block] = [
        Text(t("The service measures its own drift: no months are compared, and there is no report of Evidently.")),
        Text(f"**{reading.decision}**"),
        Code(reading.line, "text"),
        Table(
            [t("number"), t("value")],
            [
                [name, Number(name, reading.value, shown, query)],
                [threshold, Number(threshold, drift.threshold, limit(drift.threshold), {"system": "drift.threshold"})],
            ],
        ),
    ]
    reason = whole(t(reading.reason))
    if reading.value is not None:
        blocks.append(Text(reason))
    elif reading.missing:
        step = t("Open Compare months: a button sends the {n:count} requests that are missing.", n=reading.missing)
        blocks.append(Gap(reason, sentences([step, again()])))
    else:
        blocks.append(Gap(reason, sentences([t("Open Generate traffic and send enough requests."), again()])))
    return Section(title, blocks, parts=[_over_time(asking, drift)])


def _over_time(asking: Asking, drift: Gauge) -> Section:
    """The gauge over the range with its threshold."""
    panel = Panel(id="drift_gauge", title=t("Drift gauge over the range"), expr=drift.expr, legend=t("drift"))
    span = asking.context.span
    answer = charts.ask(asking.prometheus, panel, asking.context, of_day(asking))
    times = np.linspace(span.start, span.end, span.points)
    line = Series({}, times, np.full(span.points, drift.threshold), t("threshold"), f"vector({drift.threshold!r})")
    whole = replace(answer, series=(*answer.series, line)) if answer.series else answer
    return chart(asking, panel, whole, marks(asking))
